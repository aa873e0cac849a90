//! Which version really handles conversations (contract section 3, Propagation). It never triggers a write.

use std::time::Duration;

/// Whether and how propagation is watched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watch {
    /// Whether `Ready` waits for it.
    pub gate: bool,
    /// How long it is waited for.
    pub timeout: Duration,
}

/// What the conversations show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// One runs on a version that holds the declared content.
    Verified,
    /// Some run, all on older versions.
    Pending,
    /// None runs.
    NoTraffic,
}

/// First poll after a write; each further one waits twice as long, up to [`LAST_POLL`].
pub const FIRST_POLL: Duration = Duration::from_secs(30);
/// Longest wait between two polls.
pub const LAST_POLL: Duration = Duration::from_secs(300);

/// Judges rows by their version. `ours` holds the versions known to have the declared content.
pub fn judge<'a>(rows: impl IntoIterator<Item = &'a str>, ours: &[&str]) -> Verdict {
    let mut verdict = Verdict::NoTraffic;
    for version in rows {
        if ours.contains(&version) {
            return Verdict::Verified;
        }
        verdict = Verdict::Pending;
    }
    verdict
}

/// The wait before the poll with this number, from 0.
pub fn poll_delay(number: u32) -> Duration {
    FIRST_POLL.saturating_mul(1_u32.checked_shl(number).unwrap_or(u32::MAX)).min(LAST_POLL)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_judged_by_their_version() {
        assert_eq!(judge([], &["8"]), Verdict::NoTraffic);
        assert_eq!(judge(["7"], &["8"]), Verdict::Pending);
        assert_eq!(judge(["7", "8"], &["8"]), Verdict::Verified);
        assert_eq!(judge(["9"], &["8", "9"]), Verdict::Verified);
    }

    #[test]
    fn polls_double_up_to_five_minutes() {
        let delays: Vec<u64> = (0..6).map(|n| poll_delay(n).as_secs()).collect();
        assert_eq!(delays, vec![30, 60, 120, 240, 300, 300]);
        assert_eq!(poll_delay(40), LAST_POLL);
    }
}
