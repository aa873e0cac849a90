//! The table of contract section 6 as pure functions: what an outcome means for a call, and how long a `Retry-After` is.

use std::time::Duration;

use super::error::ErrorKind;

/// Most requests of one call. The repeat after a 401 may come on top where the 401 was the last of them.
pub(super) const MAX_REQUESTS: u32 = 3;

/// The longest `Retry-After` that is taken at its word; anything above is cut to it.
const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// What may be repeated, and what an unknown outcome means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RetryClass {
    /// C1, C2, C4, P1, S1, S3 (and T1): no effect, repeated freely.
    Read,
    /// C3, S2: a write with a guard. The same bytes may be repeated after an unknown outcome: the guard refuses a second effect.
    GuardedWrite,
    /// P2: a write without a guard. Never repeated after an unknown outcome.
    UnguardedWrite,
    /// S4: a write that may take effect twice. Its answer's body is not looked at.
    Repeatable,
}

/// What came of one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// A status, whole body read. `mismatch`: the text says that the version was not the current one.
    Status { status: u16, mismatch: bool },
    /// A 2xx whose body is not JSON, too large or cut short.
    BadBody,
    /// No connection: nothing was sent.
    NotSent,
    /// A reset or a timeout after the request may have gone out.
    Lost,
}

/// What to do about an outcome.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Success.
    Accept,
    /// Drop the token, take a new one, repeat.
    Renew,
    /// Pause the whole account; then repeat, or end as `Throttled` where the requests are used up.
    Throttle,
    /// Back off, and repeat while requests are left; else end as the kind.
    Repeat(ErrorKind),
    /// End.
    Fail(ErrorKind),
}

impl RetryClass {
    /// Whether the call can have an effect.
    pub(super) fn is_write(self) -> bool {
        self != RetryClass::Read
    }

    /// Whether a 2xx must carry JSON.
    pub(super) fn expects_json(self) -> bool {
        self != RetryClass::Repeatable
    }
}

/// The table. `renewed`: the one repeat after a 401 is spent.
pub(super) fn decide(class: RetryClass, outcome: Outcome, renewed: bool) -> Decision {
    match outcome {
        Outcome::NotSent => Decision::Repeat(ErrorKind::Unavailable),
        Outcome::Lost => ambiguous(class),
        Outcome::BadBody if class.is_write() => Decision::Fail(ErrorKind::LostAnswer),
        Outcome::BadBody => Decision::Repeat(ErrorKind::BadAnswer),
        Outcome::Status { status, mismatch } => match status {
            200..=299 => Decision::Accept,
            300..=399 => Decision::Fail(ErrorKind::BadAnswer),
            400 if mismatch => Decision::Fail(ErrorKind::Conflict),
            401 if renewed => Decision::Fail(ErrorKind::Unauthorized),
            401 => Decision::Renew,
            403 => Decision::Fail(ErrorKind::Forbidden),
            404 => Decision::Fail(ErrorKind::NotFound),
            409 | 412 => Decision::Fail(ErrorKind::Conflict),
            429 => Decision::Throttle,
            501 => Decision::Fail(ErrorKind::Rejected),
            408 | 500..=599 => ambiguous(class),
            400..=499 => Decision::Fail(ErrorKind::Rejected),
            _ if class.is_write() => Decision::Fail(ErrorKind::LostAnswer),
            _ => Decision::Fail(ErrorKind::BadAnswer),
        },
    }
}

/// Whether the request may have taken effect although its answer does not say so.
pub(super) fn is_ambiguous(class: RetryClass, outcome: Outcome) -> bool {
    class.is_write()
        && match outcome {
            Outcome::NotSent => false,
            Outcome::Lost | Outcome::BadBody => true,
            Outcome::Status { status, .. } => !matches!(status, 200..=499 | 501) || status == 408,
        }
}

fn ambiguous(class: RetryClass) -> Decision {
    match class {
        RetryClass::Read => Decision::Repeat(ErrorKind::Unavailable),
        RetryClass::GuardedWrite | RetryClass::Repeatable => Decision::Repeat(ErrorKind::LostAnswer),
        RetryClass::UnguardedWrite => Decision::Fail(ErrorKind::LostAnswer),
    }
}

/// `Retry-After`: whole seconds, or an HTTP date, which counts from the `date` of the same answer and never from our clock.
/// None where it is absent, not above zero, or garbage.
pub(super) fn retry_after(value: Option<&str>, date: Option<&str>) -> Option<Duration> {
    let value = value?.trim();
    let wait = if value.bytes().all(|b| b.is_ascii_digit()) && !value.is_empty() {
        // More digits than fit are a very long time, not garbage.
        Duration::from_secs(value.parse().unwrap_or(u64::MAX))
    } else {
        let until = httpdate::parse_http_date(value).ok()?;
        let from = httpdate::parse_http_date(date?.trim()).ok()?;
        until.duration_since(from).ok()?
    };
    (!wait.is_zero()).then_some(wait.min(LONGEST))
}

#[cfg(test)]
mod tests {
    use super::*;
    use Decision::{Accept, Fail, Renew, Repeat, Throttle};
    use ErrorKind::{BadAnswer, Conflict, Forbidden, LostAnswer, NotFound, Rejected, Unauthorized, Unavailable};
    use RetryClass::{GuardedWrite, Read, Repeatable, UnguardedWrite};

    fn status(status: u16) -> Outcome {
        Outcome::Status { status, mismatch: false }
    }

    #[test]
    fn the_table_of_section_6() {
        let again = |read, guarded, unguarded, repeatable| [read, guarded, unguarded, repeatable];
        let same = |decision| [decision; 4];
        let server = again(Repeat(Unavailable), Repeat(LostAnswer), Fail(LostAnswer), Repeat(LostAnswer));
        let rows = [
            (status(200), same(Accept)),
            (status(201), same(Accept)),
            (status(204), same(Accept)),
            (status(301), same(Fail(BadAnswer))),
            (status(304), same(Fail(BadAnswer))),
            (status(400), same(Fail(Rejected))),
            (Outcome::Status { status: 400, mismatch: true }, same(Fail(Conflict))),
            (Outcome::Status { status: 422, mismatch: true }, same(Fail(Rejected))),
            (status(401), same(Renew)),
            (status(403), same(Fail(Forbidden))),
            (status(404), same(Fail(NotFound))),
            (status(408), server),
            (status(409), same(Fail(Conflict))),
            (status(412), same(Fail(Conflict))),
            (status(413), same(Fail(Rejected))),
            (status(429), same(Throttle)),
            (status(500), server),
            (status(501), same(Fail(Rejected))),
            (status(502), server),
            (status(503), server),
            (status(599), server),
            (status(999), again(Fail(BadAnswer), Fail(LostAnswer), Fail(LostAnswer), Fail(LostAnswer))),
            (Outcome::Lost, server),
            (Outcome::NotSent, same(Repeat(Unavailable))),
            (Outcome::BadBody, again(Repeat(BadAnswer), Fail(LostAnswer), Fail(LostAnswer), Fail(LostAnswer))),
        ];
        for (outcome, expected) in rows {
            let classes = [Read, GuardedWrite, UnguardedWrite, Repeatable];
            assert_eq!(classes.map(|class| decide(class, outcome, false)), expected, "{outcome:?}");
        }
        assert_eq!(decide(Read, status(401), true), Fail(Unauthorized));
    }

    #[test]
    fn only_writes_are_ambiguous_and_only_where_the_answer_does_not_say() {
        for outcome in [status(500), status(408), status(999), Outcome::Lost, Outcome::BadBody] {
            assert!(is_ambiguous(GuardedWrite, outcome), "{outcome:?}");
            assert!(!is_ambiguous(Read, outcome));
        }
        for outcome in [status(200), status(401), status(409), status(429), status(501), Outcome::NotSent] {
            assert!(!is_ambiguous(UnguardedWrite, outcome), "{outcome:?}");
        }
    }

    #[test]
    fn retry_after_in_seconds_and_as_a_date() {
        let date = Some("Fri, 20 Nov 2026 10:00:00 GMT");
        for (value, date, expected) in [
            (Some("7"), None, Some(7)),
            (Some(" 7 "), None, Some(7)),
            (Some("0"), None, None),
            (Some("-5"), None, None),
            (Some("+5"), None, None),
            (Some("1.5"), None, None),
            (Some(""), None, None),
            (Some("soon"), date, None),
            (None, date, None),
            (Some("99999999999999999999999"), None, Some(86_400)),
            (Some("86401"), None, Some(86_400)),
            (Some("Fri, 20 Nov 2026 10:01:30 GMT"), date, Some(90)),
            (Some("Fri, 20 Nov 2026 10:00:00 GMT"), date, None),
            (Some("Fri, 20 Nov 2026 09:00:00 GMT"), date, None),
            (Some("Fri, 20 Nov 2026 10:01:30 GMT"), None, None),
            (Some("Fri, 20 Nov 2026 10:01:30 GMT"), Some("garbage"), None),
        ] {
            let expected = expected.map(Duration::from_secs);
            assert_eq!(retry_after(value, date), expected, "{value:?} {date:?}");
        }
    }
}
