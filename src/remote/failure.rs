//! What a failed call means for the object: reason, message and when to try again.

use std::time::Duration;

use crate::api::conditions::Reason;
use crate::genesys::{Error, ErrorKind};

/// When to try again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retry {
    /// After the object's own back-off.
    BackOff,
    /// Not before this has passed.
    After(Duration),
    /// At the next drift check.
    Interval,
}

/// A failed call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Reason of the condition.
    pub reason: Reason,
    /// What happened, and what to do. Holds no id of the exchange: the same failure gives the same text.
    pub message: String,
    /// Whether the live state could not be read.
    pub unreadable: bool,
    /// When to try again.
    pub retry: Retry,
    /// The platform's id of the exchange, for events and the log.
    pub correlation_id: Option<String>,
}

impl Failure {
    /// Of a call to read or write `what`, for example `config/retail-assist`.
    pub fn of(error: &Error, what: &str, unreadable: bool) -> Self {
        let redirected = error.problem.as_ref().is_some_and(|p| (300..400).contains(&p.status));
        let (reason, retry) = match error.kind {
            ErrorKind::BadCredentials | ErrorKind::Unauthorized => (Reason::AuthenticationFailed, Retry::Interval),
            ErrorKind::Forbidden => (Reason::PermissionDenied, Retry::Interval),
            ErrorKind::NotFound => (Reason::NotFound, Retry::Interval),
            ErrorKind::Rejected => (Reason::RemoteRejected, Retry::Interval),
            ErrorKind::Conflict => (Reason::ConflictDetected, Retry::BackOff),
            ErrorKind::Throttled => (Reason::RateLimited, error.retry_after.map_or(Retry::BackOff, Retry::After)),
            ErrorKind::BadAnswer if redirected => (Reason::OrgUnavailable, Retry::Interval),
            ErrorKind::Unavailable | ErrorKind::LostAnswer | ErrorKind::BadAnswer => {
                (Reason::OrgUnavailable, error.retry_after.map_or(Retry::BackOff, Retry::After))
            }
            ErrorKind::Unsupported => (Reason::RemoteRejected, Retry::Interval),
            ErrorKind::Halted => (Reason::Progressing, Retry::BackOff),
            ErrorKind::Configuration => (Reason::DependencyNotFound, Retry::BackOff),
        };
        Self {
            reason,
            message: message(error, what),
            unreadable,
            retry,
            correlation_id: error.correlation_id().map(str::to_owned),
        }
    }
}

/// The error's own words without what changes from one try to the next.
fn message(error: &Error, what: &str) -> String {
    let mut stable = error.clone();
    stable.retry_after = None;
    if let Some(problem) = &mut stable.problem {
        problem.context_id = None;
    }
    match error.kind {
        ErrorKind::Throttled => format!("{what}: Genesys Cloud asks for a pause of all calls; it goes on by itself"),
        ErrorKind::Unavailable => {
            let cause = stable.problem.as_ref().map(|p| format!(" (HTTP {})", p.status)).unwrap_or_default();
            format!("{what}: Genesys Cloud gives no usable answer{cause}; it is tried again")
        }
        _ => format!("{what}: {stable}"),
    }
}
