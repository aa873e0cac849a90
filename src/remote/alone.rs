//! Targets that fail alone: the agents of an evaluation. A failure of one is its own result and never holds up the others; only what
//! looks like a failure of all of them ends the run.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Remote;
use super::alerts;
use super::converge::End;
use super::failure::{Failure, Retry};
use super::ledger::Ledger;
use super::run::Run;
use crate::api::conditions::Reason;
use crate::api::status::{AgentAction, AgentResult, DueAlert, IntentStep};
use crate::engine::plan::Evaluated;
use crate::engine::{Plan, Step, Target};
use crate::genesys::Halted;

/// So many answers one after the other that cannot be used are not those of single agents: Genesys Cloud is down.
const DOWN: u32 = 10;
/// So many refusals before any success are not those of single agents: a permission is missing.
const DENIED: u32 = 20;

/// How often who waits for a call asks whether it is still to be made.
const GATE_EVERY: Duration = Duration::from_millis(500);

/// What a run knows of its targets that fail alone.
#[derive(Default)]
pub(super) struct Alone {
    /// What became of those that are done with, by id.
    pub(super) closed: BTreeMap<String, AgentResult>,
    /// Answers since the last one that could be used.
    down: u32,
    /// Refusals; unset once something went well.
    denied: Option<u32>,
    /// Audit ids of the writes whose outcome stays open.
    pub(super) unresolved: BTreeSet<String>,
    /// Writes of an earlier run that cannot be looked up now, because their target cannot be read: they stay in status.
    pub(super) carried: Vec<IntentStep>,
    /// Before this has passed, none of those that failed may be asked again.
    pub(super) after: Option<Duration>,
    /// The alert of the write that took effect last: it is sent once the target is free for others again.
    pub(super) to_tell: Option<(DueAlert, String)>,
    /// Alerts that were refused.
    pub(super) refused_alerts: u32,
    /// Alerts cannot be sent now: they are kept.
    pub(super) alerts_held: bool,
    /// What is due could not be remembered, so nothing more may be sent.
    pub(super) halted: Option<String>,
}

impl Alone {
    /// Puts what became of the targets in its place.
    pub(super) fn settle(&self, evaluated: &mut Evaluated) {
        for agent in &mut evaluated.agents {
            if let Some(closed) = self.closed.get(&agent.user_id) {
                agent.clone_from(closed);
            }
        }
    }

    /// Reads, or writes, begin: what goes well with the ones says nothing of the others.
    pub(super) fn begin(&mut self) {
        (self.down, self.denied) = (0, Some(0));
    }

    /// The remote says when it may be asked again.
    pub(super) fn wait(&mut self, failure: &Failure) {
        if let Retry::After(wait) = failure.retry {
            self.after = self.after.max(Some(wait));
        }
    }

    /// One more failure. Whether it looks like one of all targets.
    pub(super) fn failed(&mut self, failure: &Failure) -> bool {
        self.wait(failure);
        match failure.reason {
            Reason::OrgUnavailable => {
                self.down += 1;
                self.down >= DOWN
            }
            Reason::PermissionDenied => {
                self.denied = self.denied.map(|count| count + 1);
                self.denied.is_some_and(|count| count >= DENIED)
            }
            _ => false,
        }
    }

    /// What looked like failures of single targets was one of all: they are as open as the rest.
    fn reopen(&mut self, reason: Reason) {
        self.closed.retain(|_, agent| agent.action != AgentAction::Failed || agent.reason != reason.as_str());
    }

    /// Something went well.
    pub(super) fn succeeded(&mut self) {
        (self.down, self.denied) = (0, None);
    }
}

/// Whether a failure may be that of one target: a pause, the credentials or a halt concern all of them.
pub(super) fn is_own(failure: &Failure) -> bool {
    let of_all = [
        Reason::AuthenticationFailed,
        Reason::RateLimited,
        Reason::Progressing,
        Reason::DependencyNotFound,
        Reason::InternalError,
    ];
    !of_all.contains(&failure.reason)
}

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// The end of a step, where it is that of the round too.
    pub(super) fn absorb(&mut self, step: &Step, plan: &Plan, end: End) -> Option<End> {
        if !K::fails_alone(&step.target) {
            return Some(end);
        }
        let (failure, message, reason) = match &end {
            End::LostGuard(message) => (None, message, Reason::ConflictDetected),
            End::NotKept(message) => (None, message, Reason::NotConverging),
            End::Failed(failure) | End::Refused(_, failure) if is_own(failure) => {
                (Some(failure.clone()), &failure.message, failure.reason)
            }
            _ => return Some(end),
        };
        let failed = |agent: &mut AgentResult| {
            (agent.action, agent.reason) = (AgentAction::Failed, reason.as_str().to_owned());
            agent.message = Some(message.clone());
        };
        self.close(&step.target, plan.agents(), failed);
        let of_all = of_all(failure.filter(|failure| self.alone.failed(failure))?);
        self.alone.reopen(reason);
        Some(match end {
            End::Refused(digest, _) => End::Refused(digest, of_all),
            _ => End::Failed(of_all),
        })
    }

    /// Waits for the turn of a target among hundreds, and no longer than anything may be done for the object.
    pub(super) async fn turn(&mut self, target: &Target, reads: bool) -> Result<(), End> {
        let gate = self.ledger.gate();
        let mut turn = std::pin::pin!(self.session.turn());
        loop {
            gate().map_err(|Halted(why)| End::Halted(why))?;
            match tokio::time::timeout(GATE_EVERY, &mut turn).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(error)) => return Err(End::Failed(Failure::of(&error, &target.to_string(), reads))),
                Err(_) => {}
            }
        }
    }

    /// A target is done with, for this run.
    pub(super) fn close(&mut self, target: &Target, agents: &[AgentResult], change: impl FnOnce(&mut AgentResult)) {
        let known = agents.iter().find(|agent| agent.user_id == target.id);
        if let Some(mut agent) = known.cloned() {
            change(&mut agent);
            self.alone.closed.insert(target.id.clone(), agent);
        }
    }

    /// A write took effect: supervisors are told, where they are to be.
    pub(super) fn took(&mut self, step: &Step, plan: &Plan, audit_id: &str) {
        if !K::fails_alone(&step.target) {
            return;
        }
        self.alone.succeeded();
        self.close(&step.target, plan.agents(), |agent| agent.action = AgentAction::Applied);
        let alert = step.level.as_ref().filter(|level| level.alert).map(|level| alerts::due(&step.target.id, level));
        self.alone.to_tell = alert.map(|alert| (alert, audit_id.to_owned()));
    }

    /// Whether somebody has come to declare what a step writes, since it was planned.
    ///
    /// # Errors
    /// It cannot be told now.
    pub(super) async fn is_claimed(&mut self, step: &Step) -> Result<bool, String> {
        let Some((skill, _)) = K::pairs(self.request.desired) else { return Ok(false) };
        let claimed = self.ledger.claimed(skill, std::slice::from_ref(&step.target.id)).await?;
        let is_claimed = !claimed.is_empty();
        self.claimed.extend(claimed);
        Ok(is_claimed)
    }
}

/// A failure as that of all targets: it names none of them.
pub(super) fn of_all(failure: Failure) -> Failure {
    let cause = failure.message.split_once(": ").map_or(failure.message.as_str(), |(_, cause)| cause);
    Failure { message: format!("many agents one after the other: {cause}"), ..failure }
}
