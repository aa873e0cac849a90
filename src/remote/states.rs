//! The last state that the remote itself sent, by target: bytes in a bounded LRU. A miss costs one read.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
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

/// The last states seen.
pub struct States(Mutex<Inner>);

impl Default for States {
    fn default() -> Self {
        Self(Mutex::new(Inner { entries: LruCache::unbounded(), bytes: 0 }))
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

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn forget(&mut self, key: &Key) {
        if let Some(entry) = self.entries.pop(key) {
            self.bytes -= entry.sent.document.bytes().len();
        }
    }
}
