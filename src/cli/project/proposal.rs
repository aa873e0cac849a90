//! What phases 1 to 4 make of one object: a plan, or what stands in the way.

use super::ObjectName;
use crate::api::conditions::Reason;
use crate::controller::orgs::OrgName;
use crate::engine::Plan;
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

impl Proposal {
    /// Takes all text out of it.
    pub fn redact(&mut self) {
        match &mut self.result {
            Ok(planned) => planned.plan = planned.plan.redacted(),
            Err(stop) => stop.message = stop.text(true).split_once(": ").map(|(_, text)| text.to_owned()).unwrap_or_default(),
        }
    }
}

/// A plan, and what has to happen before it runs.
pub struct Planned {
    /// The plan.
    pub plan: Plan,
    /// What a person approves.
    pub digest: String,
    /// Whether a person has to.
    pub approval: bool,
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

    /// For people. Redacted, what a rule or a server says of the content is left out.
    pub fn text(&self, redact: bool) -> String {
        let is_about_content =
            !matches!(self.reason, Reason::Suspended | Reason::AwaitingApproval | Reason::ChangeBudgetExceeded);
        match redact && is_about_content {
            true => format!("{}: (left out; run it without --redact)", self.reason.as_str()),
            false => format!("{}: {}", self.reason.as_str(), self.message),
        }
    }

    /// Whether somebody has to do something about it. To leave a suspended object alone is what was asked for.
    pub fn is_error(&self) -> bool {
        self.reason != Reason::Suspended
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
