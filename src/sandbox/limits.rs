//! Rate limits: a sliding log of 60 s per client (contract 6: "a sliding log of 60 s, not a bucket").

use std::collections::VecDeque;

/// Length of the window in microseconds.
pub(super) const WINDOW_US: u64 = 60_000_000;

/// The calls of one client in the last 60 s.
#[derive(Debug, Default)]
pub(super) struct SlidingLog {
    /// Microseconds since the server's start, ascending.
    calls: VecDeque<u64>,
}

impl SlidingLog {
    /// Counts a call at `now_us`, or refuses it with the whole seconds until one fits again. Refused calls do not count: else a client
    /// that obeys `Retry-After` would meet a window that its own refusals filled.
    pub(super) fn admit(&mut self, now_us: u64, limit: u32) -> Result<(), u64> {
        while self.calls.front().is_some_and(|&at| at + WINDOW_US <= now_us) {
            self.calls.pop_front();
        }
        let limit = limit as usize;
        if self.calls.len() < limit {
            self.calls.push_back(now_us);
            return Ok(());
        }
        // The limit may have been lowered: then several calls must leave the window before one fits.
        let blocking = self.calls.len() - limit;
        let free_at = self.calls.get(blocking).map_or(now_us + WINDOW_US, |&at| at + WINDOW_US);
        Err((free_at - now_us).div_ceil(1_000_000).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_slides() {
        let mut log = SlidingLog::default();
        assert_eq!(log.admit(0, 2), Ok(()));
        assert_eq!(log.admit(30_000_000, 2), Ok(()));
        assert_eq!(log.admit(30_500_000, 2), Err(30));
        assert_eq!(log.admit(60_000_000, 2), Ok(()));
        assert_eq!(log.admit(60_000_001, 2), Err(30));
    }

    #[test]
    fn a_lowered_limit_waits_for_several_calls_to_leave() {
        let mut log = SlidingLog::default();
        for second in 0..3 {
            assert_eq!(log.admit(second * 1_000_000, 3), Ok(()));
        }
        assert_eq!(log.admit(3_000_000, 1), Err(59));
        assert_eq!(log.admit(3_000_000, 0), Err(60));
    }
}
