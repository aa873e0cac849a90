//! What phases 1 to 4 make of one object: a plan, or what stands in the way.

use std::fmt;

use super::ObjectName;
use crate::api::conditions::Reason;
use crate::controller::orgs::OrgName;
use crate::engine::{Plan, display};
use crate::remote::converge::End;

/// An object that was looked at.
pub struct Proposal {
    /// Which.
    pub name: ObjectName,
    /// File and line of its manifest.
    pub place: String,
    /// Its org.
    pub org: OrgName,
    /// What would be written, or why that cannot be told.
    pub result: Result<Planned, Stop>,
}

impl Planned {
    /// Whether a person has to approve it.
    pub fn awaits_approval(&self) -> bool {
        self.held.as_ref().is_some_and(|held| held.reason == Reason::AwaitingApproval)
    }
}

impl Proposal {
    /// Takes all text out of it.
    pub fn redact(&mut self) {
        match &mut self.result {
            Ok(planned) => {
                planned.plan = planned.plan.redacted();
                planned.held.iter_mut().for_each(Stop::redact);
            }
            Err(stop) => stop.redact(),
        }
    }
}

/// A plan, and what has to happen before it runs.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What a person approves.
    pub digest: String,
    /// What the plan waits for before it runs: a person, or a limit.
    pub held: Option<Stop>,
    /// Whether what was applied before is known: without that, what is no longer declared stays.
    pub memory: bool,
}

/// Why an object is not planned, or not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The reason, as in conditions.
    pub reason: Reason,
    /// What happened, and what to do.
    pub message: String,
}

impl Stop {
    /// A stop.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }

    /// Something that the object needs is not there.
    pub fn missing(message: impl Into<String>) -> Self {
        Self::new(Reason::DependencyNotFound, message)
    }

    /// Leaves out what a rule or a server says of the content.
    pub fn redact(&mut self) {
        if !matches!(self.reason, Reason::Suspended | Reason::AwaitingApproval | Reason::ChangeBudgetExceeded) {
            self.message = "(left out; run it without --redact)".to_owned();
        }
    }

    /// Whether somebody has to do something about it. To leave a suspended object alone is what was asked for.
    pub fn is_error(&self) -> bool {
        self.reason != Reason::Suspended
    }
}

impl fmt::Display for Stop {
    /// Escaped: some of it may come from a server.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason.as_str(), display::escape(&self.message))
    }
}

impl From<End> for Stop {
    fn from(end: End) -> Self {
        match end {
            End::Blocked(blocked) => Self::new(blocked.reason, blocked.message),
            End::Failed(failure) | End::Refused(_, failure) => Self::new(failure.reason, failure.message),
            End::Held { reason, message, .. } => Self::new(reason, message),
            End::LostGuard(message) => Self::new(Reason::ConflictDetected, message),
            End::NotKept(message) => Self::new(Reason::NotConverging, message),
            End::Halted(message) => Self::new(Reason::Progressing, format!("a write was not sent: {message}")),
            End::Done => Self::new(Reason::Succeeded, "nothing is left to do"),
        }
    }
}
