//! Phase 7: what happened → conditions, status, event, and when to look again. Pure.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::evaluation;
use super::summary::{Summary, set_conditions};
use super::watch::{polled, propagation};
use crate::api::Policy;
use crate::api::conditions::{self, Phase, READY, RECONCILING, Reason};
use crate::api::status::{DriftItem, MAX_DRIFT, ManagedStatus, PendingPlan};
use crate::engine::finding::{self, Finding};
use crate::engine::gate::Refusal;
use crate::engine::propagation::{Verdict as Traffic, Watch};
use crate::engine::{Plan, display};
use crate::remote::converge::{Convergence, End};
use crate::remote::failure::{Failure, Retry};

/// A missing dependency or an older owner is waited for that long before the object is Stalled.
pub const DEPENDENCY_PATIENCE: Duration = Duration::from_secs(300);
/// See [`DEPENDENCY_PATIENCE`]; renames take less.
pub const OWNER_PATIENCE: Duration = Duration::from_secs(60);
/// A refused plan is sent again after that.
pub const REFUSAL: Duration = Duration::from_secs(3600);
/// Most changes that a pending plan or an event shows.
const MAX_SHOWN: usize = 20;

/// What happened to an object.
pub enum Verdict<'a> {
    /// The spec breaks rules.
    Invalid(&'a [Finding]),
    /// Nothing is done; whether the spec holds content that was never applied.
    Suspended {
        /// By what, for the message.
        by: &'static str,
        /// See above.
        unapplied: bool,
    },
    /// Something that the object needs is not there, or not usable.
    Dependency {
        /// Reason of the condition.
        reason: Reason,
        /// What, and what to do.
        message: String,
        /// How long it has been so.
        waited: Duration,
    },
    /// An older object claims the same remote object.
    Duplicate {
        /// Which, where it may be named.
        message: String,
        /// How long it has been so.
        waited: Duration,
    },
    /// Phases 3 to 6 ran.
    Converged(&'a Convergence),
    /// Only the conversations were asked, about the state that status has; or why they could not be.
    Polled(Option<Failure>),
    /// The reconcile panicked.
    Panicked,
}

/// What the outcome depends on besides the verdict.
pub struct Facts<'a> {
    /// Generation of the object.
    pub generation: i64,
    /// Policy of the object.
    pub policy: Policy,
    /// Value of the reconcile annotation.
    pub requested: Option<&'a str>,
    /// Value of the approve annotation.
    pub approved: Option<&'a str>,
    /// The status before.
    pub previous: &'a ManagedStatus,
    /// Whether propagation is watched.
    pub watch: Option<&'a Watch>,
    /// What the conversations showed, where they were asked.
    pub traffic: Option<Traffic>,
    /// The time.
    pub now: Timestamp,
}

/// An event to be published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventDraft {
    /// Normal or Warning.
    pub warning: bool,
    /// Reason of the event.
    pub reason: &'static str,
    /// Verb.
    pub action: &'static str,
    /// Note.
    pub note: String,
}

/// When to look again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// At the next drift check.
    Check,
    /// After the object's back-off: something failed.
    BackOff,
    /// After this at the earliest, and it counts as no failure.
    After(Duration),
    /// When a write may go out, or at the next drift check where that is sooner.
    Until(Duration),
    /// When something changes, or at the next drift check.
    Change,
}

/// The outcome.
#[derive(Debug)]
pub struct Outcome {
    /// The status from now on.
    pub status: ManagedStatus,
    /// An approval that let a plan run.
    pub approved: Option<EventDraft>,
    /// The event, where something changed.
    pub event: Option<EventDraft>,
    /// When to look again.
    pub next: Next,
    /// A plan that was refused: not sent again for a while.
    pub refusal: Option<Refusal>,
}

/// Phase 7.
pub fn outcome(verdict: &Verdict<'_>, facts: &Facts<'_>) -> Outcome {
    let mut status = facts.previous.clone();
    status.observed_generation = facts.generation;
    if let Some(token) = facts.requested {
        status.last_handled_reconcile_at = Some(token.to_owned());
    }
    let mut refusal = None;
    let summary = match verdict {
        Verdict::Invalid(findings) => Summary::new(Reason::InvalidSpec, finding::summary(findings), None, Next::Change),
        Verdict::Suspended { by, unapplied } => {
            let message = format!("suspended by {by}; nothing is read or written");
            let mut summary = Summary::new(Reason::Suspended, message, None, Next::Change);
            summary.unreadable = *unapplied;
            summary
        }
        Verdict::Dependency { reason, message, waited } => patient(*reason, message, *waited, DEPENDENCY_PATIENCE),
        Verdict::Duplicate { message, waited } => patient(Reason::DuplicateOwner, message, *waited, OWNER_PATIENCE),
        Verdict::Panicked => {
            let message = "the reconcile of this object failed by a defect of the operator; see its log, and report it";
            Summary::new(Reason::InternalError, message, None, Next::Check)
        }
        Verdict::Polled(None) => polled(&mut status, facts),
        // Ready waits for the conversations, and they cannot be asked for: it says why.
        Verdict::Polled(Some(failure)) if facts.watch.is_some_and(|w| w.gate) && failure.reason == Reason::PermissionDenied => {
            Summary::new(
                failure.reason,
                format!("{}; grant analytics:read, or remove propagation.gate", failure.message),
                Some(true),
                Next::Check,
            )
        }
        Verdict::Polled(Some(_)) => polled(&mut status, facts),
        Verdict::Converged(convergence) => {
            record(&mut status, convergence, facts);
            refusal = refused(convergence, facts.now);
            converged(&mut status, convergence, facts)
        }
    };
    set_conditions(&mut status, &summary, facts);
    let event = super::event::draft(verdict, facts, &status);
    let approved = super::event::approved(verdict);
    Outcome { status, approved, event, next: summary.next, refusal }
}

fn patient(reason: Reason, message: &str, waited: Duration, patience: Duration) -> Summary {
    let left = patience.saturating_sub(waited);
    let next = if left.is_zero() { Next::Check } else { Next::After(left.min(Duration::from_secs(30))) };
    let mut summary = Summary::new(reason, message, None, next);
    if left.is_zero() && matches!(reason, Reason::DependencyNotFound | Reason::DuplicateOwner) {
        summary.phase = Phase::Stalled;
    }
    summary.unreadable = matches!(reason, Reason::OrgUnavailable | Reason::RateLimited);
    summary
}

fn refused(convergence: &Convergence, now: Timestamp) -> Option<Refusal> {
    let End::Refused(digest, failure) = &convergence.end else { return None };
    let until = now.checked_add(jiff::SignedDuration::try_from(REFUSAL).ok()?).ok()?;
    Some(Refusal { digest: digest.clone(), reason: failure.reason, message: failure.message.clone(), until })
}

/// The facts of phases 3 to 6 that go into the status whatever the end.
fn record(status: &mut ManagedStatus, convergence: &Convergence, facts: &Facts<'_>) {
    let moved = status.remote.as_ref().is_some_and(|r| r.host != convergence.remote.host || r.id != convergence.remote.id);
    if moved {
        (status.applied, status.history, status.propagation) = (Vec::new(), Vec::new(), None);
        (status.evaluation, status.agents) = (None, Vec::new());
    }
    status.remote = Some(convergence.remote.clone());
    status.intent = if convergence.keep_intent { convergence.intent.clone().or(status.intent.take()) } else { None };
    status.unconfirmed.clone_from(&convergence.unconfirmed);
    status.taken_version.clone_from(&convergence.taken);
    if let Some(applied) = &convergence.applied {
        status.applied.clone_from(applied);
    }
    status.remember(convergence.written.iter().cloned());
    if let Some(evaluated) = &convergence.evaluated {
        evaluated.put_into(status);
    }
    status.alerts.clone_from(&convergence.alerts);
    let plan = convergence.plan.as_ref();
    if !matches!(convergence.end, End::Failed(_)) && (convergence.end != End::Done || plan.is_some_and(|p| !p.drift.is_empty())) {
        // Not in sync: there is nothing whose propagation could be watched.
        status.propagation = None;
    }
    if plan.is_none() {
        // Nothing new is known about differences.
        return;
    }
    status.drift = plan.map(|plan| drift(plan, &convergence.end, facts)).unwrap_or_default();
    status.pending_plan = match (&convergence.end, plan) {
        (End::Held { reason: Reason::AwaitingApproval, .. }, Some(plan)) => {
            convergence.digest.clone().map(|digest| PendingPlan { digest, changes: shown(plan) })
        }
        _ => None,
    };
    // What it names is not, or no longer, what would be written. It must not come true when that is planned once more.
    let left = convergence.digest.as_deref().filter(|_| convergence.end != End::Done);
    if let Some(approved) = facts.approved.filter(|approved| left != Some(approved)) {
        status.voided_approval = Some(approved.to_owned());
    }
}

/// The changes of a plan, as many as a person reads.
fn shown(plan: &Plan) -> Vec<String> {
    let more = plan.changes().count().saturating_sub(MAX_SHOWN);
    let more = (more > 0).then(|| format!("and {more} more"));
    plan.lines().take(MAX_SHOWN).chain(more).collect()
}

/// Differences that stay: those that the policy leaves alone, and those of a plan that did not run.
fn drift(plan: &Plan, end: &End, facts: &Facts<'_>) -> Vec<DriftItem> {
    if plan.evaluated.is_some() {
        // Each of them is in the list of agents.
        return Vec::new();
    }
    let unwritten = plan.changes().filter(|_| !matches!(end, End::Done));
    let item = |change: &crate::engine::Change| {
        let (actual, desired) = change.sides();
        let path = display::path(&change.path);
        let known = facts.previous.drift.iter().find(|d| d.path == path && d.desired == desired && d.actual == actual);
        let first_seen = known.map_or(Time(facts.now), |d| d.first_seen.clone());
        DriftItem { path, desired, actual, first_seen }
    };
    plan.drift.iter().chain(unwritten).take(MAX_DRIFT).map(item).collect()
}

fn converged(status: &mut ManagedStatus, convergence: &Convergence, facts: &Facts<'_>) -> Summary {
    match &convergence.end {
        // What became of a write is known, its record is not safe yet: that is looked at again soon.
        End::Done if convergence.keep_intent => Summary { next: Next::BackOff, ..done(status, convergence, facts) },
        End::Done => done(status, convergence, facts),
        End::Held { reason, message, until } => {
            let wait = until.and_then(|at| Duration::try_from(at.duration_since(facts.now)).ok());
            let next = wait.map_or(Next::Change, |wait| Next::Until(wait.max(Duration::from_secs(1))));
            Summary::new(*reason, message, Some(false), next)
        }
        End::Blocked(blocked) => Summary::new(blocked.reason, &blocked.message, Some(false), Next::Check),
        End::LostGuard(message) => Summary::new(Reason::ConflictDetected, message, Some(false), Next::BackOff),
        End::NotKept(message) => Summary::new(Reason::NotConverging, message, Some(false), Next::Check),
        End::Refused(_, failure) => Summary { next: Next::Check, ..failed(failure) },
        End::Failed(failure) => failed(failure),
        End::Halted(message) => {
            Summary::new(Reason::Progressing, format!("a write was not sent: {message}"), None, Next::BackOff)
        }
    }
}

fn failed(failure: &Failure) -> Summary {
    let next = match failure.retry {
        Retry::BackOff => Next::BackOff,
        Retry::After(wait) => Next::After(wait),
        Retry::Interval => Next::Check,
    };
    let in_sync = if failure.unreadable { None } else { Some(false) };
    let mut summary = Summary::new(failure.reason, &failure.message, in_sync, next);
    summary.unreadable = failure.unreadable;
    summary
}

fn done(status: &mut ManagedStatus, convergence: &Convergence, facts: &Facts<'_>) -> Summary {
    if convergence.evaluated.is_some() {
        return evaluation::summary(status, convergence);
    }
    let version = convergence.remote.version.as_deref().unwrap_or("unknown");
    if !status.drift.is_empty() {
        let count = convergence.plan.as_ref().map_or(0, |p| p.drift.len());
        let reason = if facts.policy == Policy::Observe { Reason::Observed } else { Reason::DriftReported };
        let message = format!(
            "{count} declared fields differ in version {version} and are not written under policy {:?}; see status.drift",
            facts.policy
        );
        return Summary::new(reason, message, Some(false), Next::Check);
    }
    match facts.watch {
        Some(watch) => propagation(status, watch, version, facts),
        None => {
            status.propagation = None;
            Summary::new(
                Reason::Succeeded,
                format!("version {version} holds everything that is declared"),
                Some(true),
                Next::Check,
            )
        }
    }
}

/// The reason of `Ready`, where it is set.
pub fn ready_reason(status: &ManagedStatus) -> Option<&str> {
    conditions::find(&status.conditions, READY).map(|c| c.reason.as_str())
}

/// Whether the object is at rest: nothing is retried before the next drift check.
pub fn is_settled(status: &ManagedStatus) -> bool {
    conditions::find(&status.conditions, RECONCILING).is_none() && ready_reason(status) != Some(Reason::Suspended.as_str())
}

#[cfg(test)]
#[path = "outcome_tests.rs"]
mod tests;
