//! The only place that reads the wall clock. Decisions take the time as a value; waits use tokio's monotonic clock.

use jiff::Timestamp;

/// The time, to the second: what status and records hold.
#[must_use]
pub fn now() -> Timestamp {
    let now = precise();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// The time, to the nanosecond: for latencies.
#[must_use]
pub fn precise() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "this is the one clock")]
    Timestamp::now()
}
