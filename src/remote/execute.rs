//! Phase 6: one step, and what each of its ends means. A losing body is never sent again; a lost answer is looked up.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::audit::{Attempt, AuditStatus};
use super::converge::End;
use super::failure::{Failure, Retry};
use super::ledger::Ledger;
use super::round::StepEnd;
use super::run::{MAX_PATHS, Run};
use super::{Remote, Sent};
use crate::api::conditions::Reason;
use crate::api::status::HistoryEntry;
use crate::engine::kind::{Seen, Standing};
use crate::engine::{Change, Guard, Plan, Step, display};
use crate::genesys::{Error, ErrorKind};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    pub(super) async fn step(&mut self, step: &Step, attempt: &Attempt, plan: &Plan) -> StepEnd {
        if step.guard == Guard::None {
            return self.unguarded(step, attempt, plan).await;
        }
        match K::write(self.session, step, self.ledger.gate()).await {
            Ok(sent) if accepted(step, &sent) => {
                self.settled(step, attempt, plan, &sent).await;
                if self.is_held(&attempt.step, &step.target) == Some(false) {
                    let message = format!("Genesys Cloud does not keep the level that is written to {}", step.target);
                    return StepEnd::Over(End::NotKept(message));
                }
                self.took(step, plan, &attempt.step.audit_id);
                StepEnd::Settled
            }
            Ok(sent) => self.unshown(step, attempt, plan, sent.correlation_id).await,
            Err(error) => self.failed(step, attempt, plan, &error).await,
        }
    }

    pub(super) async fn failed(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, error: &Error) -> StepEnd {
        let correlation = error.correlation_id().map(str::to_owned);
        let failure = Failure::of(error, &step.target.to_string(), false);
        match error.kind {
            ErrorKind::Halted => {
                // A repeat was stopped: what became of the first try is looked up at the next start.
                if error.uncertain {
                    self.keep(attempt);
                }
                if error.requests == 0 {
                    self.ledger.not_attempted();
                } else if !error.uncertain {
                    // The requests before it were refused: an attempt like any other.
                    self.audit(attempt, AuditStatus::Failed, correlation).await;
                }
                StepEnd::Over(End::Halted(error.detail.clone().unwrap_or_else(|| error.to_string())))
            }
            ErrorKind::Conflict => self.lost_guard(step, attempt, plan, error.uncertain, correlation).await,
            ErrorKind::LostAnswer => self.lost_answer(step, attempt, plan, failure, correlation).await,
            ErrorKind::Rejected | ErrorKind::Forbidden => {
                self.audit(attempt, AuditStatus::Failed, correlation).await;
                StepEnd::Over(End::Refused(plan.digest(), failure))
            }
            _ => {
                // What was never sent was not attempted.
                if error.requests == 0 {
                    self.ledger.not_attempted();
                } else {
                    self.audit(attempt, AuditStatus::Failed, correlation).await;
                }
                self.states.forget(&self.key(&step.target));
                StepEnd::Over(End::Failed(failure))
            }
        }
    }

    /// Somebody else wrote first: the same body is never sent again. One fresh look, and one more try where there is one left.
    async fn lost_guard(
        &mut self,
        step: &Step,
        attempt: &Attempt,
        plan: &Plan,
        uncertain: bool,
        correlation: Option<String>,
    ) -> StepEnd {
        self.states.forget(&self.key(&step.target));
        let lost = || {
            let target = &step.target;
            StepEnd::Over(End::LostGuard(format!(
                "{target} was changed by somebody else at the same moment; nothing was overwritten, it is read and planned again"
            )))
        };
        if !self.may_retry(step) && !uncertain {
            self.conflict(attempt, correlation).await;
            return lost();
        }
        if let Err(failure) = self.observe(&step.target, None, None).await {
            if uncertain {
                // It may have met its own write: the intent stays, and the next reconcile looks again.
                self.keep(attempt);
            } else {
                self.conflict(attempt, correlation).await;
            }
            return StepEnd::Over(End::Failed(failure));
        }
        if uncertain && self.holds(step, attempt) {
            // A repeat met its own write.
            self.took_effect(step, attempt, plan, correlation).await;
            return StepEnd::Again;
        }
        if uncertain && self.standing(step) == Some(Standing::Beyond) {
            // Either it lost, or it took effect and somebody wrote on top of it.
            self.out.conflicts += 1;
            self.audit(attempt, AuditStatus::Unknown, correlation).await;
        } else {
            self.conflict(attempt, correlation).await;
        }
        if self.is_unmoved(step) || !self.may_retry(step) {
            return lost();
        }
        self.retried.insert(step.target.clone());
        StepEnd::Again
    }

    /// Looks up what became of a write. `Ok`: it did not take effect; whether the live state is still the one before it.
    async fn look_up(
        &mut self,
        step: &Step,
        attempt: &Attempt,
        plan: &Plan,
        correlation: Option<String>,
    ) -> Result<bool, StepEnd> {
        self.states.forget(&self.key(&step.target));
        if let Err(failure) = self.observe(&step.target, None, None).await {
            // Still unknown: the intent stays, and the next reconcile looks again.
            self.keep(attempt);
            return Err(StepEnd::Over(End::Failed(failure)));
        }
        if self.holds(step, attempt) {
            self.took_effect(step, attempt, plan, correlation).await;
            return Err(StepEnd::Again);
        }
        Ok(self.is_unmoved(step))
    }

    /// The write may or may not have taken effect: the live state tells.
    async fn lost_answer(
        &mut self,
        step: &Step,
        attempt: &Attempt,
        plan: &Plan,
        failure: Failure,
        correlation: Option<String>,
    ) -> StepEnd {
        match self.look_up(step, attempt, plan, correlation.clone()).await {
            Err(end) => end,
            Ok(unmoved) => {
                if unmoved && K::fails_alone(&step.target) {
                    // It may still come, and then a supervisor may have to be told: the next run looks once more.
                    self.keep(attempt);
                } else {
                    self.audit(attempt, if unmoved { AuditStatus::Failed } else { AuditStatus::Unknown }, correlation).await;
                }
                StepEnd::Over(End::Failed(failure))
            }
        }
    }

    /// A success that shows no new version: one read decides. A write that is silently dropped lacks a permission.
    async fn unshown(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, correlation: Option<String>) -> StepEnd {
        let dropped = match self.look_up(step, attempt, plan, correlation.clone()).await {
            Err(end) => return end,
            Ok(unmoved) => unmoved,
        };
        let target = &step.target;
        self.audit(attempt, if dropped { AuditStatus::Failed } else { AuditStatus::Unknown }, correlation.clone()).await;
        let (reason, message) = if dropped {
            (
                Reason::PermissionDenied,
                format!(
                    "{target}: the write was answered with success, but nothing changed; give the OAuth client the permission and scope to write"
                ),
            )
        } else {
            (
                Reason::ConflictDetected,
                format!(
                    "{target}: the write was answered with success, but the live state is another one; it is read and planned again"
                ),
            )
        };
        let failure = Failure { reason, message, unreadable: false, retry: Retry::BackOff, correlation_id: correlation };
        StepEnd::Over(if dropped { End::Refused(plan.digest(), failure) } else { End::Failed(failure) })
    }

    pub(super) async fn settled(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, sent: &Sent) {
        let time = sent.date.unwrap_or_else(|| self.ledger.now());
        self.out.written.push(history(step, plan, self.request.subject.generation, time));
        self.out.action = Some(step.action);
        // Whatever else was on its way is not what is declared now, and greater numbers are known than one that was taken.
        (self.out.unconfirmed, self.out.taken) = (None, None);
        self.audit(attempt, AuditStatus::Applied, sent.correlation_id.clone()).await;
        self.states.put(self.key(&step.target), sent.clone());
        self.take(&step.target, Some(sent));
    }

    pub(super) async fn took_effect(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, correlation: Option<String>) {
        self.out.written.push(history(step, plan, self.request.subject.generation, self.ledger.now()));
        self.out.action = Some(step.action);
        self.out.taken = None;
        // What it declared is applied, whatever is live by now: a change on top of it is somebody else's.
        self.applied = Some(plan.applied.clone());
        self.audit(attempt, AuditStatus::Applied, correlation).await;
        self.took(step, plan, &attempt.step.audit_id);
    }

    /// Whether a lost guard may be answered by one more write at once.
    pub(super) fn may_retry(&self, step: &Step) -> bool {
        self.request.immediate_retry && !self.retried.contains(&step.target)
    }

    pub(super) async fn conflict(&mut self, attempt: &Attempt, correlation: Option<String>) {
        self.out.conflicts += 1;
        self.audit(attempt, AuditStatus::Conflict, correlation).await;
    }

    /// Whether the live state holds what the step would have made, at its version or a later one.
    fn holds(&self, step: &Step, attempt: &Attempt) -> bool {
        let planned = || self.plan().is_ok_and(|plan| plan.steps.iter().all(|s| s.target != step.target));
        matches!(self.standing(step), Some(Standing::At(_) | Standing::Beyond))
            && match self.is_held(&attempt.step, &step.target) {
                Some(held) => held,
                None => step.level.is_none() && planned(),
            }
    }

    /// Where the remote, as last read, stands relative to a step.
    pub(super) fn standing(&self, step: &Step) -> Option<Standing> {
        match self.observed.get(&step.target) {
            Some(Seen::Present(state)) => K::standing(state, &step.version),
            _ => None,
        }
    }

    /// Whether the live state is still the one that the step was computed from.
    fn is_unmoved(&self, step: &Step) -> bool {
        matches!(self.observed.get(&step.target), Some(Seen::Present(state)) if state.guard.as_ref() == Ok(&step.guard))
    }
}

/// Whether an answer shows that the write took effect: the version that it asked for and, for a config, a new tag.
fn accepted(step: &Step, sent: &Sent) -> bool {
    let version = sent.version.as_deref() == Some(&step.version);
    version
        && match &step.guard {
            Guard::EtagAndVersion { etag, .. } => sent.etag.as_ref().is_some_and(|new| new != etag),
            Guard::Version(_) | Guard::None => true,
        }
}

fn history(step: &Step, plan: &Plan, generation: i64, time: jiff::Timestamp) -> HistoryEntry {
    HistoryEntry {
        version: step.version.clone(),
        writes: None,
        generation,
        digest: plan.digest(),
        time: Time(time),
        why: step.why.as_str().to_owned(),
        paths: step.changes.iter().take(MAX_PATHS).map(|c| path_of(step, c)).collect(),
    }
}

/// The path of a change; where one plan writes to several remote objects, also whose it is.
fn path_of(step: &Step, change: &Change) -> String {
    let path = if step.level.is_some() { format!("/{}{}", step.target, change.path) } else { change.path.clone() };
    display::short_path(&path)
}
