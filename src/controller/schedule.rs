//! What this process remembers of each object between reconciles: back-off, next drift check, refusals. Losing it costs
//! reads, never a write.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::outcome::Next;
use crate::api::conditions::Reason;
use crate::engine::gate::Refusal;

/// First back-off; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest back-off.
const LONGEST_BACKOFF: Duration = Duration::from_secs(300);

/// Memory of one object.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Failures in a row.
    pub failures: u32,
    /// When to look again.
    pub due: Instant,
    /// Whether the next look is a drift check, not a retry.
    pub is_check: bool,
    /// Epoch of the org at the last reconcile.
    pub org_epoch: u64,
    /// A plan that was refused.
    pub refusal: Option<Refusal>,
    /// Whether a lost guard may be retried at once: anew after a success, a change of spec or a request.
    pub immediate_retry: bool,
    /// What is waited for, and since when: a missing dependency, an older owner.
    pub waiting_since: Option<(Reason, Instant)>,
    /// Polls for propagation so far, for the version they are about.
    pub polls: u32,
    /// When the next poll is due.
    pub poll_due: Option<Instant>,
    /// When the remote was last asked.
    pub observed: Option<Instant>,
    /// Version of the Secret at the last call.
    pub secret_version: Option<String>,
    /// What is due is a look at everything, which did not come to its end yet.
    pub reads_all: bool,
    /// The last status could not be written.
    pub dirty: bool,
    /// Audit records that may be delivered once the status no longer holds their intent.
    pub recorded: Vec<String>,
}

/// The schedule, by UID.
#[derive(Default)]
pub struct Schedule(Mutex<HashMap<String, Entry>>);

impl Schedule {
    /// The entry of an object.
    pub fn get(&self, uid: &str) -> Option<Entry> {
        self.lock().get(uid).cloned()
    }

    /// Sets the entry of an object.
    pub fn put(&self, uid: &str, entry: Entry) {
        self.lock().insert(uid.to_owned(), entry);
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    /// The longest time since one of the objects was last observed.
    pub fn oldest_observation(&self) -> Duration {
        self.lock().values().filter_map(|e| e.observed).map(|at| at.elapsed()).max().unwrap_or_default()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    /// The memory of an object that this process sees for the first time. `check_in`: when its first drift check is due,
    /// where it is at rest; otherwise it is looked at now.
    pub fn new(check_in: Option<Duration>, org_epoch: u64) -> Self {
        Self {
            failures: 0,
            due: Instant::now() + check_in.unwrap_or_default(),
            is_check: check_in.is_some(),
            org_epoch,
            refusal: None,
            immediate_retry: true,
            waiting_since: None,
            polls: 0,
            poll_due: None,
            observed: None,
            secret_version: None,
            reads_all: false,
            dirty: false,
            recorded: Vec::new(),
        }
    }

    /// Calls are about to be made. A refusal was about another spec, or other credentials, where one of them is new.
    pub fn begin(&mut self, anew: bool, secret_version: &str) {
        let other_credentials = self.secret_version.as_deref().is_some_and(|version| version != secret_version);
        if anew || other_credentials {
            self.refusal = None;
        }
        self.secret_version = Some(secret_version.to_owned());
        self.waiting_since = None;
    }

    /// Something else than a check is due then, at the latest: the check itself stays where it is in its interval.
    pub fn look(&mut self, at: Instant) {
        if at < self.due {
            (self.due, self.is_check) = (at, false);
        }
    }

    /// When to look again, for whatever reason.
    pub fn next(&self) -> Instant {
        self.poll_due.map_or(self.due, |poll| poll.min(self.due))
    }

    /// Schedules the next look.
    pub fn plan(&mut self, next: Next, interval: Duration, jitter: f64) {
        self.is_check = matches!(next, Next::Check | Next::Change);
        self.failures = if next == Next::BackOff { self.failures.saturating_add(1) } else { 0 };
        let wait = match next {
            // Jitter only shortens, by up to a tenth: a check is never later than the interval.
            Next::Check | Next::Change => interval.mul_f64(1.0 - jitter / 10.0),
            Next::After(wait) => wait,
            // Reads go on at each interval, whatever a write waits for.
            Next::Until(wait) => wait.min(interval),
            Next::BackOff => backoff(self.failures).mul_f64(0.5 + jitter),
        };
        let now = Instant::now();
        self.due = now.checked_add(wait).unwrap_or(now + LONGEST_BACKOFF);
    }
}

fn backoff(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF)
}

/// Where in its interval an object's first drift check falls after a start: spread evenly, and the same at each start.
pub fn phase(uid: &str, interval: Duration) -> Duration {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let mut hasher = DefaultHasher::new();
    uid.hash(&mut hasher);
    let millis = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(hasher.finish() % millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backoff_doubles_to_five_minutes() {
        let seconds: Vec<u64> = [1, 2, 3, 9, 10, 100].map(|n| backoff(n).as_secs()).to_vec();
        assert_eq!(seconds, vec![1, 2, 4, 256, 300, 300]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_check_is_never_later_than_the_interval_and_a_success_resets_the_backoff() {
        let interval = Duration::from_secs(600);
        let mut entry = Entry::new(None, 0);
        entry.plan(Next::BackOff, interval, 0.5);
        entry.plan(Next::BackOff, interval, 0.5);
        assert_eq!((entry.failures, entry.due - Instant::now()), (2, Duration::from_secs(2)));
        for jitter in [0.0, 0.5, 0.999] {
            entry.plan(Next::Check, interval, jitter);
            let wait = entry.due - Instant::now();
            assert!(wait <= interval && wait >= interval.mul_f64(0.9), "{wait:?}");
        }
        assert_eq!(entry.failures, 0);
    }

    #[test]
    fn first_checks_are_spread_over_the_interval() {
        let interval = Duration::from_secs(600);
        let early = (0..1000).filter(|n| phase(&format!("uid-{n}"), interval) < interval / 2).count();
        assert!((400..600).contains(&early), "{early}");
    }
}
