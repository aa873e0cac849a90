//! `changeLimit.perHour` of an org: attempted writes in a sliding hour, user changes before repairs.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};

use crate::engine::Why;

const HOUR: SignedDuration = SignedDuration::from_hours(1);

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

    /// Until when a write must wait. Restores never wait; a repair also waits while a change of spec does.
    pub fn limited_until(&self, object: &str, why: Why, now: Timestamp) -> Option<Timestamp> {
        let mut inner = self.lock();
        inner.expire(now);
        let limit = inner.per_hour?;
        let full = inner.attempts.len() >= limit;
        let yields = why == Why::DriftRepair && inner.waiting.iter().any(|other| other != object);
        if why == Why::Restore || !(full || yields) {
            inner.waiting.remove(object);
            return None;
        }
        if why == Why::SpecChange {
            inner.waiting.insert(object.to_owned());
        }
        let oldest = inner.attempts.get(inner.attempts.len().saturating_sub(limit)).copied().unwrap_or(now);
        oldest.checked_add(HOUR).ok()
    }

    /// A write is about to be sent. Restores count too, but never wait.
    pub fn attempted(&self, object: &str, now: Timestamp) {
        let mut inner = self.lock();
        inner.waiting.remove(object);
        inner.expire(now);
        inner.attempts.push_back(now);
    }

    /// An object is gone: it waits no longer.
    pub fn forget(&self, object: &str) {
        self.lock().waiting.remove(object);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
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
        limit.attempted("a", at(0));
        limit.attempted("b", at(10));
        assert_eq!(limit.limited_until("c", Why::SpecChange, at(20)), Some(at(3600)));
        assert_eq!(limit.limited_until("d", Why::Restore, at(20)), None);
        assert!(limit.limited_until("e", Why::DriftRepair, at(3601)).is_some(), "c waits first");
        assert_eq!(limit.limited_until("c", Why::SpecChange, at(3601)), None);
        limit.attempted("c", at(3601));
        assert_eq!(limit.limited_until("e", Why::DriftRepair, at(3611)), None);
    }

    #[test]
    fn a_restart_rebuilds_the_hour() {
        let limit = ChangeLimit::default();
        limit.set(Some(1));
        limit.rebuild([at(-10)]);
        assert_eq!(limit.limited_until("a", Why::SpecChange, at(0)), Some(at(3590)));
    }
}
