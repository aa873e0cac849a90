//! One round of a convergence: the intent of all its steps, then one after the other, and what each end means for the rest.

use std::time::Duration;

use futures::FutureExt;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::sync::OwnedMutexGuard;

use super::Remote;
use super::audit::Attempt;
use super::converge::End;
use super::ledger::{Intended, Ledger};
use super::run::{MAX_PATHS, Run, not_kept};
use crate::api::conditions::Reason;
use crate::api::status::{AppliedField, Intent};
use crate::engine::{Guard, Plan, Step, Target, Why, display, gate};

/// An intent of more writes leaves out the hashes of what was before and after: with 500 writes they alone are 80 KB of status.
const MANY_STEPS: usize = 20;

/// How one step of a round ended.
pub(super) enum StepEnd {
    /// Written, and the answer shows it.
    Settled,
    /// The target was read again: it is to be planned anew.
    Again,
    /// The round is over.
    Over(End),
}

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// Executes all steps once. `None`: live states were read again, and it is to be planned anew.
    pub(super) async fn round(&mut self, mut plan: Plan) -> Option<End> {
        let newly_approved = self.request.approved.filter(|_| self.request.approval_required && !self.is_begun(&plan));
        if self.request.approval_required {
            plan.approve();
            self.out.evaluated.clone_from(&plan.evaluated);
        }
        let attempts: Vec<Attempt> = plan.steps.iter().map(|step| Attempt::new(step, self.ledger.now())).collect();
        if let Err(why) = self.intend(&plan, &attempts).await {
            return Some(End::Halted(why));
        }
        self.log(&plan, &attempts, newly_approved);
        self.out.approved = newly_approved.map(str::to_owned).or(self.out.approved.take());
        self.alone.begin();
        let (mut over, mut again) = (None, false);
        for (step, attempt) in plan.steps.iter().zip(&attempts) {
            let end = self.one(step, attempt, &plan).await;
            self.tell().await;
            if step.level.is_some() && self.alone.unresolved.contains(&attempt.step.audit_id) {
                // The order no longer tells which alerts were sent, nor what is resolved.
                let mut steps = self.out.intent.iter_mut().flat_map(|intent| &mut intent.steps);
                steps.find(|s| s.audit_id == attempt.step.audit_id).into_iter().for_each(|s| s.attempted = true);
                self.hold_alerts().await;
            }
            match end {
                StepEnd::Settled => {}
                StepEnd::Again => again = true,
                StepEnd::Over(end) => {
                    over = self.absorb(step, &plan, end);
                    if over.is_some() {
                        break;
                    }
                }
            }
        }
        let end = over.or_else(|| (!again).then(|| self.verify(&plan)));
        if !self.out.written.is_empty() || end.is_some() {
            self.out.plan = Some(plan);
        }
        end
    }

    /// One line for the writes of a plan; the audit records of several follow it, each with its own id.
    fn log(&self, plan: &Plan, attempts: &[Attempt], approved: Option<&str>) {
        let subject = self.request.subject;
        tracing::info!(
            kind = subject.kind,
            namespace = subject.namespace,
            name = subject.name,
            org = subject.org,
            plan = plan.digest(),
            approved,
            why = plan.why().map(Why::as_str),
            writes = attempts.len(),
            audit_id = attempts.first().map(|attempt| attempt.step.audit_id.as_str()),
            "writing"
        );
    }

    /// One step of a round.
    async fn one(&mut self, step: &Step, attempt: &Attempt, plan: &Plan) -> StepEnd {
        if let Some(why) = self.alone.halted.take() {
            return StepEnd::Over(End::Halted(why));
        }
        if K::fails_alone(&step.target)
            && let Err(end) = self.turn(&step.target, false).await
        {
            return StepEnd::Over(end);
        }
        match self.is_claimed(step).await {
            Ok(false) => {}
            Ok(true) => return StepEnd::Again,
            Err(why) => return StepEnd::Over(End::Halted(why)),
        }
        let _writer = self.writer(&step.target).await;
        if self.was_passed(step) {
            return StepEnd::Again;
        }
        let held = |reason, message: &str, until| StepEnd::Over(End::Held { reason, message: message.to_owned(), until });
        if self.ledger.is_audit_full() {
            return held(Reason::AuditBacklog, gate::BACKLOG, None);
        }
        match self.ledger.attempt(step.why) {
            Ok(()) => {
                // It has waited for those before it.
                let attempt = Attempt { began: self.ledger.now(), ..attempt.clone() };
                self.step(step, &attempt, plan).await
            }
            Err(until) => held(Reason::ChangeBudgetExceeded, gate::LIMITED, Some(until)),
        }
    }

    /// Becomes the one writer of a target. Who has to wait for another one holds no call meanwhile: that one may need it.
    async fn writer(&mut self, target: &Target) -> OwnedMutexGuard<()> {
        let key = self.key(target);
        match self.states.writer(&key).now_or_never() {
            Some(writer) => writer,
            None => {
                self.session.give_back();
                self.states.writer(&key).await
            }
        }
    }

    /// Whether another object wrote to the target while this one waited for it: then the write would only lose its guard.
    fn was_passed(&mut self, step: &Step) -> bool {
        let newer = self.states.get(&self.key(&step.target), Duration::MAX).filter(|sent| sent.guard.as_ref() != Ok(&step.guard));
        let Some(sent) = newer.filter(|_| step.guard != Guard::None) else { return false };
        self.take(&step.target, Some(&sent));
        self.remembered.insert(step.target.clone());
        true
    }

    /// The answers of all steps are the live state now: nothing may be left to write.
    fn verify(&mut self, plan: &Plan) -> End {
        self.out.applied = Some(plan.applied.clone());
        if plan.evaluated.is_some() {
            // Each target was looked at when it was written.
            return End::Done;
        }
        let left = match self.plan() {
            Ok(left) if left.is_empty() => return End::Done,
            Ok(left) => left.changes().take(MAX_PATHS).map(|c| display::path(&c.path)).collect(),
            Err(blocked) => vec![blocked.message],
        };
        End::NotKept(not_kept::<K>(&left))
    }

    async fn intend(&mut self, plan: &Plan, attempts: &[Attempt]) -> Result<(), String> {
        let new = |a: &&AppliedField| a.created;
        let mut steps: Vec<_> = self.alone.carried.iter().chain(attempts.iter().map(|a| &a.step)).cloned().collect();
        if steps.len() > MANY_STEPS {
            steps.iter_mut().for_each(|step| (step.before_hash, step.after_hash) = (None, None));
        }
        let intent = Intent {
            digest: plan.digest(),
            host: self.request.host.to_owned(),
            time: Time(self.ledger.now()),
            generation: self.request.subject.generation,
            why: plan.why().map(|why| why.as_str().to_owned()).unwrap_or_default(),
            paths: plan.changes().take(MAX_PATHS).map(|c| display::short_path(&c.path)).collect(),
            steps,
            alerts_held: self.alone.alerts_held,
            creates: plan.applied.iter().filter(new).map(|a| a.path.clone()).collect(),
        };
        let intended = Intended {
            intent: Some(&intent),
            evaluated: plan.evaluated.as_ref(),
            alerts: &self.out.alerts,
            written: &self.out.written,
        };
        self.ledger.intend(&intended).await?;
        self.out.intent = Some(intent);
        self.out.keep_intent = false;
        if self.request.approval_required {
            self.approved.extend(plan.steps.iter().map(|step| (step.target.clone(), step.changes.clone())));
        }
        Ok(())
    }
}
