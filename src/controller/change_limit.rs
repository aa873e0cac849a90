//! `changeLimit.perHour` of an org: attempted writes in a sliding hour, user changes before repairs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::engine::Why;

const HOUR: SignedDuration = SignedDuration::from_hours(1);
/// Who yields to a change of spec looks again after that.
const YIELD: SignedDuration = SignedDuration::from_secs(10);

#[derive(Default)]
struct Inner {
    per_hour: Option<usize>,
    attempts: VecDeque<Timestamp>,
    /// Objects whose change of spec waits for the limit.
    waiting: BTreeSet<String>,
}

/// The limit of one org.
#[derive(Default)]
pub struct ChangeLimit(Mutex<Inner>);

impl ChangeLimit {
    /// Sets the limit; `None`: unlimited.
    pub fn set(&self, per_hour: Option<i32>) {
        self.lock().per_hour = per_hour.and_then(|n| usize::try_from(n).ok());
    }

    /// Takes over attempts that status remembers, at the start.
    pub fn rebuild(&self, attempts: impl IntoIterator<Item = Timestamp>) {
        let mut inner = self.lock();
        let mut all: Vec<Timestamp> = inner.attempts.iter().copied().chain(attempts).collect();
        all.sort_unstable();
        inner.attempts = all.into();
    }

    /// Until when a write would have to wait. Only looks.
    pub fn limited_until(&self, object: &str, why: Why, now: Timestamp) -> Option<Timestamp> {
        self.lock().limited_until(object, why, now)
    }

    /// Counts a write, or says until when it must wait; a change of spec that waits goes before repairs. Restores never wait,
    /// but count.
    pub fn attempt(&self, object: &str, why: Why, now: Timestamp) -> Result<(), Timestamp> {
        let mut inner = self.lock();
        let limited = inner.limited_until(object, why, now);
        match limited {
            Some(until) => Err(until),
            None => {
                inner.waiting.remove(object);
                inner.attempts.push_back(now);
                Ok(())
            }
        }
    }

    /// A change of spec waits for the limit.
    pub fn wait(&self, object: &str) {
        self.lock().waiting.insert(object.to_owned());
    }

    /// The write that was counted last was not sent.
    pub fn give_back(&self) {
        self.lock().attempts.pop_back();
    }

    /// An object is gone, or has nothing to write any more: it waits no longer.
    pub fn forget(&self, object: &str) {
        self.lock().waiting.remove(object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn limited_until(&mut self, object: &str, why: Why, now: Timestamp) -> Option<Timestamp> {
        self.expire(now);
        let limit = self.per_hour?;
        let full = self.attempts.len() >= limit;
        let yields = why != Why::SpecChange && self.waiting.iter().any(|other| other != object);
        if why == Why::Restore || !(full || yields) {
            return None;
        }
        if !full {
            // Its turn comes once the change that waits was written.
            return now.checked_add(YIELD).ok();
        }
        let oldest = self.attempts.get(self.attempts.len().saturating_sub(limit)).copied().unwrap_or(now);
        oldest.checked_add(HOUR).ok()
    }

    fn expire(&mut self, now: Timestamp) {
        while self.attempts.front().is_some_and(|at| now.duration_since(*at) >= HOUR) {
            self.attempts.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    #[test]
    fn the_hour_slides_and_a_waiting_change_goes_before_repairs() {
        let limit = ChangeLimit::default();
        assert_eq!(limit.limited_until("a", Why::SpecChange, at(0)), None);
        limit.set(Some(2));
        assert_eq!(limit.attempt("a", Why::SpecChange, at(0)), Ok(()));
        assert_eq!(limit.attempt("b", Why::SpecChange, at(10)), Ok(()));
        assert_eq!(limit.attempt("c", Why::SpecChange, at(20)), Err(at(3600)));
        limit.wait("c");
        assert_eq!(limit.limited_until("d", Why::Restore, at(20)), None);
        assert!(limit.attempt("e", Why::DriftRepair, at(3601)).is_err(), "c waits first");
        assert_eq!(limit.attempt("c", Why::SpecChange, at(3601)), Ok(()));
        assert_eq!(limit.limited_until("e", Why::DriftRepair, at(3611)), None);
    }

    #[test]
    fn a_write_that_was_not_sent_does_not_count_and_a_withdrawn_change_blocks_nobody() {
        let limit = ChangeLimit::default();
        limit.set(Some(1));
        assert_eq!(limit.attempt("a", Why::SpecChange, at(0)), Ok(()));
        limit.give_back();
        limit.wait("b");
        assert!(limit.attempt("c", Why::DriftRepair, at(1)).is_err());
        limit.forget("b");
        assert_eq!(limit.attempt("c", Why::DriftRepair, at(1)), Ok(()));
    }

    #[test]
    fn a_restart_rebuilds_the_hour() {
        let limit = ChangeLimit::default();
        limit.set(Some(1));
        limit.rebuild([at(-10)]);
        assert_eq!(limit.limited_until("a", Why::SpecChange, at(0)), Some(at(3590)));
    }
}
