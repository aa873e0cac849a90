//! The last state that the remote itself sent, by target: bytes in a bounded LRU. A miss costs one read.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use lru::LruCache;
use tokio::sync::OwnedMutexGuard;
use tokio::time::Instant;

use super::Sent;
use crate::engine::{Guard, Target};

/// Most bytes of documents that are kept.
const MAX_BYTES: usize = 24 * 1024 * 1024;
/// A larger document is not kept: it would push out too many others.
const MAX_DOCUMENT: usize = 1024 * 1024;

/// Key of a remote object across organisations: {API host, client id}, and the target.
pub type Key = (String, Target);

struct Entry {
    sent: Sent,
    at: Instant,
}

struct Inner {
    entries: LruCache<Key, Entry>,
    bytes: usize,
}

/// The last states seen, and who writes now.
pub struct States {
    inner: Mutex<Inner>,
    /// Held by the one writer of a target.
    writers: Mutex<HashMap<Key, Weak<tokio::sync::Mutex<()>>>>,
}

impl Default for States {
    fn default() -> Self {
        Self { inner: Mutex::new(Inner { entries: LruCache::unbounded(), bytes: 0 }), writers: Mutex::default() }
    }
}

impl States {
    /// The last state of a target, where it is younger than `max_age`.
    pub fn get(&self, key: &Key, max_age: Duration) -> Option<Sent> {
        let mut inner = self.lock();
        inner.entries.get(key).filter(|entry| entry.at.elapsed() < max_age).map(|entry| entry.sent.clone())
    }

    /// Keeps a state, and drops the least used ones where there is too much.
    pub fn put(&self, key: Key, sent: Sent) {
        let size = sent.document.bytes().len();
        let mut inner = self.lock();
        inner.forget(&key);
        // What is written without a guard is read right before: a remembered state could serve nothing.
        if size > MAX_DOCUMENT || sent.guard == Ok(Guard::None) {
            return;
        }
        inner.bytes += size;
        inner.entries.put(key, Entry { sent, at: Instant::now() });
        while inner.bytes > MAX_BYTES {
            let Some((_, entry)) = inner.entries.pop_lru() else { break };
            inner.bytes -= entry.sent.document.bytes().len();
        }
    }

    /// Forgets a target: after a lost guard, or an answer that was lost.
    pub fn forget(&self, key: &Key) {
        self.lock().forget(key);
    }

    /// Waits until nobody else writes to a target, across objects and kinds: two writes at once can only cost one of them its guard.
    pub async fn writer(&self, key: &Key) -> OwnedMutexGuard<()> {
        let lock = {
            let mut writers = self.writers.lock().unwrap_or_else(PoisonError::into_inner);
            writers.retain(|_, lock| lock.strong_count() > 0);
            let known = writers.get(key).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let lock = Arc::new(tokio::sync::Mutex::new(()));
                writers.insert(key.clone(), Arc::downgrade(&lock));
                lock
            })
        };
        lock.lock_owned().await
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= entry.sent.document.bytes().len();
        }
    }
}
