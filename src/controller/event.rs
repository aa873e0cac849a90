//! Which event an outcome deserves: at most one, and only where something changed. Pure.

use super::evaluation;
use super::outcome::{EventDraft, Facts, Verdict, ready_reason};
use crate::api::ManagedStatus;
use crate::api::conditions::{self, READY, Reason};
use crate::engine::{Action, display};
use crate::remote::converge::{Convergence, End};

/// Longest note: the API allows 1 kB.
const MAX_NOTE: usize = 900;

/// The event of an outcome.
pub fn draft(verdict: &Verdict<'_>, facts: &Facts<'_>, status: &ManagedStatus) -> Option<EventDraft> {
    let draft = match verdict {
        Verdict::Converged(convergence) => evaluation::event(convergence, facts.previous, status)
            .or_else(|| written(convergence))
            .or_else(|| released(convergence, facts))
            .or_else(|| drifted(convergence, facts, status))
            .or_else(|| warned(convergence, facts, status)),
        _ => None,
    };
    let draft = draft.or_else(|| transition(facts, status)).or_else(|| requested(facts));
    draft.map(|draft| EventDraft { note: conditions::truncate(&draft.note, MAX_NOTE), ..draft })
}

fn event(warning: bool, reason: &'static str, action: &'static str, note: String) -> EventDraft {
    EventDraft { warning, reason, action, note }
}

/// An approval that let a plan run. It comes before the event of what was written.
pub fn approved(verdict: &Verdict<'_>) -> Option<EventDraft> {
    let Verdict::Converged(Convergence { approved: Some(digest), .. }) = verdict else { return None };
    Some(event(false, "PlanApproved", "Approve", format!("plan {digest} was approved, and runs")))
}

/// A write that took effect.
fn written(convergence: &Convergence) -> Option<EventDraft> {
    let entry = convergence.written.last()?;
    let plan = convergence.plan.as_ref()?;
    let changes: Vec<String> = plan.changes().take(5).map(ToString::to_string).collect();
    let more = plan.changes().count().saturating_sub(5);
    let more = if more > 0 { format!("; and {more} more") } else { String::new() };
    let conflict = if convergence.conflicts > 0 { ", after somebody else wrote at the same moment" } else { "" };
    let note = format!("wrote version {}{conflict} (plan {}): {}{more}", entry.version, entry.digest, changes.join("; "));
    Some(match (&convergence.end, entry.why.as_str()) {
        (End::NotKept(message), _) => event(true, "NotConverging", "Write", message.clone()),
        (_, "DriftRepair") => event(false, "DriftCorrected", "Repair", note),
        (_, "SpecChange") if convergence.action == Some(Action::VersionPromotion) => {
            event(false, "VersionPromoted", "Promote", note)
        }
        (_, "SpecChange") if convergence.action == Some(Action::SkillUpdate) => event(false, "SkillsApplied", "Write", note),
        (_, "Restore") => event(false, "Restored", "Restore", note),
        _ => event(false, "Updated", "Write", note),
    })
}

fn released(convergence: &Convergence, facts: &Facts<'_>) -> Option<EventDraft> {
    let plan = convergence.plan.as_ref().filter(|_| convergence.end == End::Done)?;
    let gone = |path: &&String| facts.previous.applied.iter().any(|a| a.path == **path);
    let paths: Vec<String> = plan.released.iter().filter(gone).map(|p| display::escape(p)).collect();
    (!paths.is_empty())
        .then(|| event(false, "Released", "Release", format!("no longer declared, and left as they are: {}", paths.join(", "))))
}

/// A difference that was not there before, and is only reported.
fn drifted(convergence: &Convergence, facts: &Facts<'_>, status: &ManagedStatus) -> Option<EventDraft> {
    let known = |path: &str| facts.previous.drift.iter().any(|d| d.path == path);
    let new = status.drift.iter().filter(|d| !known(&d.path));
    let shown: Vec<String> = new
        .take(5)
        .map(|d| format!("{}: declared {}, live {}", d.path, text(d.desired.as_ref()), text(d.actual.as_ref())))
        .collect();
    let reported = convergence.end == End::Done && !shown.is_empty();
    reported.then(|| event(true, "DriftDetected", "Observe", shown.join("; ")))
}

fn text(side: Option<&String>) -> &str {
    side.map_or("absent", String::as_str)
}

/// A failure, with the platform's id of the exchange, once for each transition.
fn warned(convergence: &Convergence, facts: &Facts<'_>, status: &ManagedStatus) -> Option<EventDraft> {
    let changed = ready_reason(facts.previous) != ready_reason(status);
    let with_id = |message: &str, id: Option<&String>| {
        id.map_or_else(|| message.to_owned(), |id| format!("{message} (correlation id {})", display::escape(id)))
    };
    match &convergence.end {
        End::LostGuard(message) => Some(event(true, "ConflictDetected", "Write", message.clone())),
        End::Held { reason: Reason::Progressing, message, .. } if changed => {
            Some(event(true, "ContestedField", "Repair", message.clone()))
        }
        End::Held { reason: Reason::AwaitingApproval, message, .. } if facts.previous.pending_plan != status.pending_plan => {
            Some(event(true, "ApprovalRequired", "Plan", message.clone()))
        }
        End::Refused(_, failure) | End::Failed(failure) if changed => {
            Some(event(true, failure.reason.as_str(), "Write", with_id(&failure.message, failure.correlation_id.as_ref())))
        }
        _ => None,
    }
}

/// Ready changed its status or reason.
fn transition(facts: &Facts<'_>, status: &ManagedStatus) -> Option<EventDraft> {
    let now = conditions::find(&status.conditions, READY)?;
    let before = conditions::find(&facts.previous.conditions, READY);
    if before.is_some_and(|b| b.reason == now.reason && b.status == now.status) {
        return None;
    }
    let reason = reason_name(&now.reason)?;
    Some(event(now.status != "True" && reason != "Suspended", reason, "Reconcile", now.message.clone()))
}

/// The static text of a reason.
fn reason_name(text: &str) -> Option<&'static str> {
    Reason::ALL.iter().map(|r| r.as_str()).find(|r| *r == text)
}

fn requested(facts: &Facts<'_>) -> Option<EventDraft> {
    let new = facts.requested.is_some() && facts.requested != facts.previous.last_handled_reconcile_at.as_deref();
    new.then(|| event(false, "ReconcileRequested", "Check", "checked on request; nothing had to be changed".to_owned()))
}
