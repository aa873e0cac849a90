//! What this process knows of a status beyond what the watch has brought: without it a reconcile right after a write would decide on an
//! old status, and a status that could not be written would be lost.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use kube::{Resource, ResourceExt};

/// How many statuses are remembered that may have been written though no answer came.
const MAYBE: usize = 4;

/// What the API server holds, as far as this process knows: what a new status is computed from and put on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Base<S> {
    version: u64,
    status: S,
    /// Statuses that were sent, and whose answer was lost: the API server may hold the last of them that reached it.
    maybe: VecDeque<S>,
}

impl<S: PartialEq> Base<S> {
    /// A status, and the version of the object that held it.
    pub fn new(version: u64, status: S) -> Self {
        Self { version, status, maybe: VecDeque::new() }
    }

    /// The version of the object.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Whether a live status is the one that is known, or one that this process has sent.
    pub fn is(&self, live: &S) -> bool {
        self.status == *live || self.maybe.contains(live)
    }

    /// The object has another version, and the same status.
    pub fn moved_to(&mut self, version: u64) {
        self.version = version;
    }

    /// A status was sent, and no answer came.
    pub fn may_be(&mut self, status: S) {
        if !self.is(&status) {
            self.maybe.push_back(status);
            if self.maybe.len() > MAYBE {
                self.maybe.pop_front();
            }
        }
    }
}

/// The status that decisions are made on, and what a new one is put on. They differ where one could not be written.
pub struct Believed<S> {
    /// What decisions are made on.
    pub status: S,
    /// What the API server holds.
    pub base: Base<S>,
}

/// Statuses that the watch may not have brought back yet, by UID.
pub struct Written<S>(Mutex<HashMap<String, Known<S>>>);

/// What is known of one object. The watch is often faster than the answer to the patch: without the version that it brought,
/// such a status would be kept for nothing until the next one.
struct Known<S> {
    /// The version that the watch brought last.
    seen: u64,
    /// A status that is newer, and its version.
    newer: Option<Box<(u64, S)>>,
    /// A status that could not be written, and what it is to be put on.
    kept: Option<Box<(S, Base<S>)>>,
}

impl<S> Default for Known<S> {
    fn default() -> Self {
        Self { seen: 0, newer: None, kept: None }
    }
}

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone + Default + PartialEq> Written<S> {
    /// Remembers what the API server holds, unless the watch has brought it. What could not be written before is settled by that.
    pub fn put<K: Resource>(&self, object: &K, base: &Base<S>) {
        if let Some(uid) = object.uid() {
            let mut written = self.lock();
            let known = written.entry(uid).or_default();
            known.newer = (base.version > known.seen).then(|| Box::new((base.version, base.status.clone())));
            known.kept = None;
        }
    }

    /// Remembers a status that could not be written: it counts until one is, or until somebody else has written.
    pub fn keep<K: Resource>(&self, object: &K, status: S, base: Base<S>) {
        if let Some(uid) = object.uid() {
            self.lock().entry(uid).or_default().kept = Some(Box::new((status, base)));
        }
    }

    /// What is known of an object that the watch brought with this status.
    pub fn load<K: Resource>(&self, object: &K, brought: Option<&S>) -> Believed<S> {
        let at = version(object);
        let brought = Base::new(at, brought.cloned().unwrap_or_default());
        let mut written = self.lock();
        let known = object.uid().and_then(|uid| written.get_mut(&uid));
        let Some(known) = known else { return Believed { status: brought.status.clone(), base: brought } };
        let newer = known.newer.as_deref().filter(|(version, _)| *version > at);
        let base = newer.map_or(brought, |(version, status)| Base::new(*version, status.clone()));
        // What was kept belongs on top of what it was computed from, and on nothing else.
        if known.kept.as_ref().is_some_and(|kept| base.version > kept.1.version && !kept.1.is(&base.status)) {
            known.kept = None;
        }
        match known.kept.as_deref() {
            Some((status, base)) => Believed { status: status.clone(), base: base.clone() },
            None => Believed { status: base.status.clone(), base },
        }
    }

    /// The watch brought an object: what is not newer is forgotten.
    pub fn seen<K: Resource>(&self, object: &K) {
        let Some(uid) = object.uid() else { return };
        let mut written = self.lock();
        let known = written.entry(uid).or_default();
        known.seen = version(object);
        known.newer.take_if(|newer| newer.0 <= known.seen);
    }

    /// An object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one kind are comparable as numbers.
pub fn version<K: Resource>(object: &K) -> u64 {
    object.meta().resource_version.as_ref().and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt};

    use super::*;
    use crate::api::SkillProfile;

    fn object(version: u64) -> PartialObjectMeta<SkillProfile> {
        let meta = ObjectMeta { uid: Some("u".into()), resource_version: Some(version.to_string()), ..Default::default() };
        meta.into_response_partial::<SkillProfile>()
    }

    fn load(written: &Written<&'static str>, version: u64, brought: &'static str) -> (&'static str, u64) {
        let believed = written.load(&object(version), Some(&brought));
        (believed.status, believed.base.version())
    }

    #[test]
    fn a_written_status_counts_until_the_watch_brings_it() {
        let written = Written::default();
        written.seen(&object(1));
        written.put(&object(1), &Base::new(2, "b"));
        assert_eq!(load(&written, 1, "a"), ("b", 2));
        written.seen(&object(2));
        assert_eq!(load(&written, 1, "a"), ("a", 1));
    }

    #[test]
    fn nothing_is_kept_where_the_watch_was_faster_than_the_answer() {
        let written = Written::default();
        written.seen(&object(2));
        written.put(&object(1), &Base::new(2, "b"));
        assert!(written.lock()["u"].newer.is_none());
    }

    #[test]
    fn an_unwritten_status_counts_until_one_is_written() {
        let written = Written::default();
        let mut base = Base::new(1, "a");
        base.may_be("sent");
        written.keep(&object(1), "kept", base);
        // Somebody set a label; an answer was lost.
        for (version, brought) in [(1, "a"), (3, "a"), (4, "sent")] {
            written.seen(&object(version));
            assert_eq!(load(&written, version, brought), ("kept", 1));
        }
        written.put(&object(1), &Base::new(5, "kept"));
        assert_eq!(load(&written, 5, "kept"), ("kept", 5));
        assert!(written.lock()["u"].kept.is_none());
    }

    #[test]
    fn an_unwritten_status_gives_way_to_what_somebody_else_wrote() {
        let written = Written::default();
        written.keep(&object(1), "kept", Base::new(1, "a"));
        assert_eq!(load(&written, 2, "theirs"), ("theirs", 2));
        assert_eq!(load(&written, 2, "theirs"), ("theirs", 2));
    }

    #[test]
    fn only_what_was_sent_passes_for_its_own() {
        let mut base = Base::new(1, 0);
        (1..=9).for_each(|sent| base.may_be(sent));
        assert!(base.is(&0) && base.is(&9) && !base.is(&10));
        assert_eq!(base.maybe.len(), MAYBE);
    }
}
