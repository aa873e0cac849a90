//! What an evaluation of metrics means for an object: when the next one is due, whether one goes on, and what conditions and events
//! say of it. Counts only: who is who, and how well, is in `status.agents`, which not everybody may read.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::load::{self, Due, Loaded};
use super::outcome::{EventDraft, Next, REFUSAL, ready_reason};
use super::summary::Summary;
use crate::api::common::DEFAULT_INTERVAL;
use crate::api::conditions::Reason;
use crate::api::status::{AgentAction, AgentResult, ManagedStatus};
use crate::engine::Plan;
use crate::engine::skill_policy::is_open;
use crate::remote::Remote;
use crate::remote::converge::Convergence;
use crate::remote::failure::Retry;

/// How long until the next evaluation, where the object has them: they keep their time of the day.
pub fn due_in(status: &ManagedStatus, interval: Duration, now: Timestamp) -> Option<Duration> {
    let evaluation = status.evaluation.as_ref()?;
    let age = Duration::try_from(now.duration_since(evaluation.time.0)).unwrap_or_default();
    Some(interval.saturating_sub(age))
}

/// Schedules the next look. What keeps its time of the day has no jitter.
pub fn plan_next<K: Remote>(loaded: &mut Loaded<K>, next: Next, status: &ManagedStatus, stretch: f64) {
    let interval = loaded.object.interval().mul_f64(stretch.max(1.0));
    if !K::PARTS.contains(&"evaluation") {
        loaded.entry.plan(next, interval, fastrand::f64());
        return;
    }
    // Where there is none yet, or it is overdue, it cannot be made now.
    let left = due_in(status, interval, load::now()).filter(|left| !left.is_zero());
    let check = left.unwrap_or(interval.min(DEFAULT_INTERVAL));
    let is_refused = ready_reason(status)
        .is_some_and(|ready| [Reason::PermissionDenied, Reason::RemoteRejected].map(Reason::as_str).contains(&ready));
    let next = match next {
        // What is left of a refused plan is tried again after an hour, like any other.
        Next::Check if is_refused && left.is_some() => Next::After(REFUSAL),
        other => other,
    };
    match next {
        Next::After(wait) if wait >= check => loaded.entry.plan(Next::Check, check, 0.0),
        Next::BackOff => loaded.entry.plan(next, check, fastrand::f64()),
        _ => loaded.entry.plan(next, check, 0.0),
    }
}

/// Whether the evaluation in status goes on: no new one is due. Where nothing is left of it, nothing is read.
pub fn resumes<K: Remote>(loaded: &Loaded<K>, now: Timestamp) -> bool {
    let status = &loaded.status;
    let Some(evaluation) = &status.evaluation else { return false };
    let every = SignedDuration::try_from(loaded.object.interval()).unwrap_or(SignedDuration::MAX);
    let is_due = matches!(loaded.due, Due::Requested | Due::Check) || loaded.entry.reads_all;
    !is_due && now.duration_since(evaluation.time.0) < every
}

/// How many agents there are of each kind.
#[derive(Default)]
struct Counts {
    applied: usize,
    proposed: usize,
    pending: usize,
    unchanged: usize,
    skipped: usize,
    failed: usize,
}

impl Counts {
    fn of(agents: &[AgentResult]) -> Self {
        let mut counts = Self::default();
        for agent in agents {
            *match agent.action {
                AgentAction::Applied => &mut counts.applied,
                AgentAction::Proposed => &mut counts.proposed,
                AgentAction::Pending => &mut counts.pending,
                AgentAction::Unchanged => &mut counts.unchanged,
                AgentAction::Skipped => &mut counts.skipped,
                AgentAction::Failed => &mut counts.failed,
            } += 1;
        }
        counts
    }

    /// `500 agents: 480 changed, 20 left alone`.
    fn text(&self) -> String {
        let named = [
            (self.applied, "changed"),
            (self.proposed, "would change"),
            (self.pending, "waiting"),
            (self.unchanged, "unchanged"),
            (self.skipped, "left alone"),
            (self.failed, "failed"),
        ];
        let total: usize = named.iter().map(|(count, _)| count).sum();
        let parts: Vec<String> =
            named.iter().filter(|(count, _)| *count > 0).map(|(count, name)| format!("{count} {name}")).collect();
        format!("{total} agents: {}", parts.join(", "))
    }
}

/// The reasons of those that `chosen` lets through, the most frequent first: `3 InsufficientData, 1 ManagedByProfile`.
fn reasons(agents: &[AgentResult], chosen: impl Fn(&AgentResult) -> bool) -> String {
    let mut counted: Vec<(usize, &str)> = Vec::new();
    for agent in agents.iter().filter(|agent| chosen(agent)) {
        match counted.iter_mut().find(|(_, reason)| *reason == agent.reason) {
            Some((count, _)) => *count += 1,
            None => counted.push((1, &agent.reason)),
        }
    }
    counted.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
    counted.iter().map(|(count, reason)| format!("{count} {reason}")).collect::<Vec<_>>().join(", ")
}

/// What was made of the agents, as people read it.
fn told(agents: &[AgentResult]) -> String {
    let why = reasons(agents, |agent| matches!(agent.action, AgentAction::Skipped | AgentAction::Failed));
    let why = if why.is_empty() { why } else { format!(" ({why})") };
    format!("{}{why}", Counts::of(agents).text())
}

/// When to look again: soon where something may pass, as the remote asks; later where it refuses an alert.
fn next(status: &ManagedStatus, convergence: &Convergence) -> Next {
    let refused = convergence.alert_failure.as_ref().is_some_and(|failure| failure.retry == Retry::Interval);
    match (status.agents.iter().any(is_open), status.alerts.is_empty()) {
        (false, true) => Next::Check,
        (false, false) if refused => Next::After(REFUSAL),
        _ => convergence.retry_after.map_or(Next::BackOff, Next::After),
    }
}

/// The summary of an evaluation that came to its end.
pub fn summary(status: &ManagedStatus, convergence: &Convergence) -> Summary {
    let (agents, counts) = (&status.agents, Counts::of(&status.agents));
    let told = told(agents);
    let next = next(status, convergence);
    if counts.failed + counts.pending > 0 {
        // What failed with whom is in status.agents alone: this text becomes an event too.
        return Summary::new(Reason::PartiallyApplied, format!("{told}; see status.agents"), Some(false), next);
    }
    if !status.alerts.is_empty() {
        let why = convergence.alert_failure.as_ref().map(|failure| format!(": {}", failure.message)).unwrap_or_default();
        let message = format!("{told}; {} alerts could not be sent yet and are tried again{why}", status.alerts.len());
        return Summary::new(Reason::PartiallyApplied, message, Some(true), next);
    }
    if counts.proposed > 0 {
        let message = format!("{told}; nothing is written with spec.mode Propose, see status.agents");
        return Summary::new(Reason::Observed, message, Some(false), next);
    }
    Summary::new(Reason::Succeeded, told, Some(true), next)
}

/// The event of an evaluation that wrote, or that came to another result than the one before.
pub fn event(convergence: &Convergence, previous: &ManagedStatus, status: &ManagedStatus) -> Option<EventDraft> {
    convergence.evaluated.as_ref()?;
    let plan = convergence.plan.as_ref();
    let note = format!("evaluated {}", told(&status.agents));
    if !convergence.written.is_empty() {
        let plan = plan.map(|plan| format!(" (plan {})", Plan::digest(plan))).unwrap_or_default();
        return Some(EventDraft { warning: false, reason: "SkillsApplied", action: "Write", note: format!("{note}{plan}") });
    }
    let proposals = |status: &ManagedStatus| -> Vec<_> {
        let proposed = status.agents.iter().filter(|agent| agent.action == AgentAction::Proposed);
        proposed.map(|agent| (agent.user_id.clone(), agent.target.map(f64::to_bits))).collect()
    };
    let new = proposals(status);
    (!new.is_empty() && new != proposals(previous)).then_some(EventDraft {
        warning: false,
        reason: "SkillsProposed",
        action: "Evaluate",
        note,
    })
}
