//! The closed list of condition types and reasons (`Ready`, `Reconciling`, `Stalled`, `InSync`, and those of the org).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

/// Condition type: the summary.
pub const READY: &str = "Ready";
/// Condition type: present, and True, only while the operator works or waits.
pub const RECONCILING: &str = "Reconciling";
/// Condition type: present, and True, only while nothing but a person or a changed input helps.
pub const STALLED: &str = "Stalled";
/// Condition type: whether the live state equals the declared one.
pub const IN_SYNC: &str = "InSync";
/// Condition type of the org: whether the token endpoint accepts the credentials.
pub const CREDENTIALS_VALID: &str = "CredentialsValid";
/// Condition type of the org: whether the call budget is enough for the intervals of its objects.
pub const BUDGET_SUFFICIENT: &str = "BudgetSufficient";

/// Condition type of the org: whether its webhook receives the audit records. Present only where the org has one.
pub const AUDIT_DELIVERED: &str = "AuditDelivered";

/// Why an object is in its state. Reasons are stable API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Equal to the remote.
    Succeeded,
    /// Equal, and conversations run on it.
    Verified,
    /// Equal, but no traffic showed it until the timeout.
    Unverified,
    /// Differences are reported under `ReportDrift`.
    DriftReported,
    /// Differences are reported under `Observe`.
    Observed,
    /// Work is under way or will be retried.
    Progressing,
    /// The guard was lost to another writer.
    ConflictDetected,
    /// The remote asked for a pause.
    RateLimited,
    /// The remote cannot be reached or answers with errors.
    OrgUnavailable,
    /// A plan waits for a person.
    AwaitingApproval,
    /// `changeLimit` of the org is used up.
    ChangeBudgetExceeded,
    /// The audit store is full.
    AuditBacklog,
    /// Written, but not yet what conversations run on.
    AwaitingPropagation,
    /// Org, Secret, key or grant is missing.
    DependencyNotFound,
    /// An older object claims the same remote object.
    DuplicateOwner,
    /// Suspended by the object or its org.
    Suspended,
    /// The spec breaks a rule.
    InvalidSpec,
    /// The remote object or snapshot does not exist.
    NotFound,
    /// The credentials are refused.
    AuthenticationFailed,
    /// A permission or scope is missing, or writes are silently dropped.
    PermissionDenied,
    /// The remote refuses the content.
    RemoteRejected,
    /// A newer foreign version is live.
    Superseded,
    /// The remote does not keep what was written.
    NotConverging,
    /// Conversations did not move to the written version in time.
    PropagationTimeout,
    /// A defect of the operator.
    InternalError,
    /// Some targets failed.
    PartiallyApplied,
}

/// How a reason shows in `Ready`, `Reconciling` and `Stalled`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Ready.
    Done,
    /// Not Ready, Reconciling.
    Waiting,
    /// Not Ready, Stalled.
    Stalled,
    /// Ready as it was.
    Suspended,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Reason; 26] = [
        Self::Succeeded,
        Self::Verified,
        Self::Unverified,
        Self::DriftReported,
        Self::Observed,
        Self::Progressing,
        Self::ConflictDetected,
        Self::RateLimited,
        Self::OrgUnavailable,
        Self::AwaitingApproval,
        Self::ChangeBudgetExceeded,
        Self::AuditBacklog,
        Self::AwaitingPropagation,
        Self::DependencyNotFound,
        Self::DuplicateOwner,
        Self::Suspended,
        Self::InvalidSpec,
        Self::NotFound,
        Self::AuthenticationFailed,
        Self::PermissionDenied,
        Self::RemoteRejected,
        Self::Superseded,
        Self::NotConverging,
        Self::PropagationTimeout,
        Self::InternalError,
        Self::PartiallyApplied,
    ];

    /// The reason with this text.
    pub fn of(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text)
    }

    /// The text in `reason`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Verified => "Verified",
            Self::Unverified => "Unverified",
            Self::DriftReported => "DriftReported",
            Self::Observed => "Observed",
            Self::Progressing => "Progressing",
            Self::ConflictDetected => "ConflictDetected",
            Self::RateLimited => "RateLimited",
            Self::OrgUnavailable => "OrgUnavailable",
            Self::AwaitingApproval => "AwaitingApproval",
            Self::ChangeBudgetExceeded => "ChangeBudgetExceeded",
            Self::AuditBacklog => "AuditBacklog",
            Self::AwaitingPropagation => "AwaitingPropagation",
            Self::DependencyNotFound => "DependencyNotFound",
            Self::DuplicateOwner => "DuplicateOwner",
            Self::Suspended => "Suspended",
            Self::InvalidSpec => "InvalidSpec",
            Self::NotFound => "NotFound",
            Self::AuthenticationFailed => "AuthenticationFailed",
            Self::PermissionDenied => "PermissionDenied",
            Self::RemoteRejected => "RemoteRejected",
            Self::Superseded => "Superseded",
            Self::NotConverging => "NotConverging",
            Self::PropagationTimeout => "PropagationTimeout",
            Self::InternalError => "InternalError",
            Self::PartiallyApplied => "PartiallyApplied",
        }
    }

    /// The phase that the table of conditions gives this reason at once; `DependencyNotFound` and `DuplicateOwner`
    /// become Stalled after a while.
    pub fn phase(self) -> Phase {
        match self {
            Self::Succeeded | Self::Verified | Self::Unverified | Self::DriftReported | Self::Observed => Phase::Done,
            Self::Progressing
            | Self::ConflictDetected
            | Self::RateLimited
            | Self::OrgUnavailable
            | Self::AwaitingApproval
            | Self::ChangeBudgetExceeded
            | Self::AuditBacklog
            | Self::AwaitingPropagation
            | Self::DependencyNotFound
            | Self::DuplicateOwner
            | Self::PartiallyApplied => Phase::Waiting,
            Self::Suspended => Phase::Suspended,
            Self::InvalidSpec
            | Self::NotFound
            | Self::AuthenticationFailed
            | Self::PermissionDenied
            | Self::RemoteRejected
            | Self::Superseded
            | Self::NotConverging
            | Self::PropagationTimeout
            | Self::InternalError => Phase::Stalled,
        }
    }
}

/// The condition of type `kind`, where present.
pub fn find<'a>(conditions: &'a [Condition], kind: &str) -> Option<&'a Condition> {
    conditions.iter().find(|c| c.type_ == kind)
}

/// Sets a condition. The transition time changes only with `status`.
pub fn set(conditions: &mut Vec<Condition>, kind: &str, status: &str, reason: &str, message: &str, at: &Stamp) {
    let previous = find(conditions, kind);
    let since = previous.filter(|c| c.status == status).map_or_else(|| at.now.clone(), |c| c.last_transition_time.clone());
    let condition = Condition {
        type_: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: truncate(message, 4096),
        observed_generation: Some(at.generation),
        last_transition_time: since,
    };
    match conditions.iter_mut().find(|c| c.type_ == kind) {
        Some(slot) => *slot = condition,
        None => conditions.push(condition),
    }
}

/// Removes a condition.
pub fn remove(conditions: &mut Vec<Condition>, kind: &str) {
    conditions.retain(|c| c.type_ != kind);
}

/// The moment and generation that a condition is about.
#[derive(Clone, Debug)]
pub struct Stamp {
    /// Time of the change.
    pub now: Time,
    /// Generation of the object.
    pub generation: i64,
}

/// At most `max` bytes of `text`, cut at a character.
pub fn truncate(text: &str, max: usize) -> String {
    if text.len() <= max {
        return text.to_owned();
    }
    let end = (0..=max.saturating_sub(3)).rev().find(|i| text.is_char_boundary(*i)).unwrap_or(0);
    format!("{}…", text.get(..end).unwrap_or_default())
}
