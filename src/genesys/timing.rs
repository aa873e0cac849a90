//! The time and size limits of a client.

use std::time::Duration;

/// Limits of one client. [`Timing::default`] is what the operator runs with; tests shorten it.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Longest time to open a connection, TLS included.
    pub connect: Duration,
    /// Longest time of one request, from the first byte to the end of the answer's body.
    pub total: Duration,
    /// The first back-off after a 5xx, a 408, a reset or a timeout; it doubles.
    pub backoff: Duration,
    /// The longest back-off.
    pub backoff_cap: Duration,
    /// A wait longer than this is not slept out: the call ends, and says when to come back.
    pub hold: Duration,
    /// Largest body in bytes, after decompression (contract section 6).
    pub max_body: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Timing {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(30),
            backoff: Duration::from_secs(1),
            backoff_cap: Duration::from_secs(30),
            hold: Duration::from_secs(30),
            max_body: 10 * 1024 * 1024,
        }
    }
}

/// `base` doubled `doublings` times, at most `cap`.
pub(super) fn doubled(base: Duration, doublings: u32, cap: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(doublings.min(31));
    base.checked_mul(factor).unwrap_or(cap).min(cap)
}

/// 0.5 to 1.5 times `wait` (contract section 6).
pub(super) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.5 + fastrand::f64())
}

/// `wait` and up to half of it more, at most 5 s more: for waits that the server asked for, which are never cut short.
pub(super) fn jittered_up(wait: Duration) -> Duration {
    let extra = (wait / 2).min(Duration::from_secs(5));
    wait.saturating_add(extra.mul_f64(fastrand::f64()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_ends_at_the_cap() {
        let (s, cap) = (Duration::from_secs(1), Duration::from_secs(30));
        let waits: Vec<u64> = (0..7).map(|n| doubled(s, n, cap).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 30, 30]);
        assert_eq!(doubled(s, u32::MAX, cap), cap);
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        let s = Duration::from_secs(2);
        for _ in 0..1000 {
            let (both, up) = (jittered(s), jittered_up(s));
            assert!(both >= s / 2 && both <= s * 3 / 2);
            assert!(up >= s && up <= s * 3 / 2);
        }
        assert!(jittered_up(Duration::from_secs(3600)) <= Duration::from_secs(3605));
    }
}
