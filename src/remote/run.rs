//! The loop of one convergence: observe, plan, guard, execute, and once more what has to be.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio::time::Instant;

use super::Remote;
use super::alone::Alone;
use super::audit::{Attempt, AuditStatus, Subject};
use super::converge::{Convergence, End, Request};
use super::ledger::Ledger;
use super::states::{Key, States};
use crate::api::Policy;
use crate::api::conditions::Reason;
use crate::api::status::{AppliedField, Intent};
use crate::engine::gate::{self, Gate, GateInput};
use crate::engine::kind::{Blocked, Unfinished, Versions};
use crate::engine::memory::Memory;
use crate::engine::{Change, Observed, Plan, PlanInput, Step, Target, Why, display};
use crate::genesys::Session;

/// How often a target is read again because the wait for a call took too long.
pub(super) const MAX_LOOKS: u32 = 4;
/// Most changed paths that a history entry names.
pub(super) const MAX_PATHS: usize = 5;
pub(super) struct Run<'a, K: Remote, L: Ledger> {
    pub(super) request: &'a Request<'a, K>,
    pub(super) session: &'a mut Session,
    pub(super) states: &'a States,
    pub(super) ledger: &'a L,
    /// When it began.
    pub(super) began: Timestamp,
    pub(super) observed: Observed,
    /// The target that `status.remote` is about.
    pub(super) primary: Option<Target>,
    pub(super) remembered: BTreeSet<Target>,
    /// When each target was read.
    pub(super) read_at: BTreeMap<Target, Instant>,
    /// The targets that had their immediate retry.
    pub(super) retried: BTreeSet<Target>,
    /// How often the target of an unguarded write may still be read again because the read was too old.
    pub(super) looks: u32,
    /// The users whose pair somebody declares.
    pub(super) claimed: BTreeSet<String>,
    /// What was approved, once it has begun: the rest of it needs no other approval.
    pub(super) approved: Vec<(Target, Vec<Change>)>,
    /// The targets that fail alone.
    pub(super) alone: Alone,
    /// `status.applied` of a write that was found to have taken effect.
    pub(super) applied: Option<Vec<AppliedField>>,
    /// Fields that an interrupted write created.
    pub(super) created: Vec<AppliedField>,
    pub(super) out: Convergence,
}

impl<'a, K: Remote, L: Ledger> Run<'a, K, L> {
    pub(super) fn new(
        request: &'a Request<'a, K>,
        session: &'a mut Session,
        states: &'a States,
        ledger: &'a L,
        out: Convergence,
    ) -> Self {
        Run {
            request,
            session,
            states,
            ledger,
            began: ledger.now(),
            observed: Observed::new(),
            primary: None,
            remembered: BTreeSet::new(),
            read_at: BTreeMap::new(),
            retried: BTreeSet::new(),
            looks: MAX_LOOKS,
            claimed: BTreeSet::new(),
            approved: Vec::new(),
            alone: Alone::default(),
            applied: None,
            created: Vec::new(),
            out,
        }
    }

    /// Phase 3.
    pub(super) async fn observe_first(&mut self) -> Result<(), End> {
        if let Some((skill, users)) = K::pairs(self.request.desired) {
            self.claimed = self.ledger.claimed(skill, users).await.map_err(End::Halted)?;
        }
        let max_age = self.request.max_age.filter(|_| self.request.status.intent.is_none());
        self.observe_all(max_age).await
    }

    /// What is left of an evaluation is not read while none of it may be written.
    fn is_limited(&self) -> Option<End> {
        let waits = self.request.object.policy() == Policy::Enforce && self.request.status.intent.is_none();
        self.unfinished().filter(|_| waits && !self.targets().is_empty())?;
        let until = Some(self.ledger.limited_until(Why::Evaluation)?);
        Some(End::Held { reason: Reason::ChangeBudgetExceeded, message: gate::LIMITED.to_owned(), until })
    }

    pub(super) async fn run(&mut self) -> End {
        if let Some(held) = self.is_limited() {
            return self.send_due().await.err().map_or(held, End::Halted);
        }
        if let Err(end) = self.observe_first().await {
            return end;
        }
        self.settle_intent().await;
        if let Err(why) = self.send_due().await {
            // What was made is remembered all the same.
            self.out.evaluated = self.plan().ok().and_then(|plan| plan.evaluated);
            return End::Halted(why);
        }
        loop {
            let planned = self.plan();
            let digest = planned.as_ref().ok().map(|plan| self.digest(plan));
            let decision = planned.as_ref().ok().zip(digest.as_deref()).map(|(plan, digest)| self.decide(plan, digest));
            self.out.digest = digest.filter(|_| planned.as_ref().is_ok_and(|plan| !plan.is_empty()));
            match self.observe_stale(planned.as_ref().ok(), decision.as_ref()).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(end) => return end,
            }
            let plan = match planned {
                Ok(plan) => plan,
                Err(blocked) => return End::Blocked(blocked),
            };
            self.out.evaluated.clone_from(&plan.evaluated);
            match decision {
                // The intent in status is what the record can be made from: the next write would put its own in that place.
                Some(Gate::Run) if self.out.keep_intent => return self.wait_for_intent(plan),
                Some(Gate::Run) if plan.is_unguarded() => match self.freshen(&plan).await {
                    Ok(true) => {}
                    Ok(false) => continue,
                    Err(end) => return end,
                },
                Some(Gate::Run) => {}
                Some(Gate::Hold { reason, message, until }) => {
                    self.out.plan = Some(plan);
                    return End::Held { reason, message, until };
                }
                Some(Gate::Nothing) | None => {
                    self.out.applied = Some(plan.applied.clone());
                    self.out.plan.get_or_insert(plan);
                    return End::Done;
                }
            }
            if let Some(end) = self.round(plan).await {
                return end;
            }
        }
    }

    /// The result, whatever the end.
    pub(super) fn finish(mut self) -> Convergence {
        // What was found to have taken effect is applied, however the run ended.
        self.out.applied = self.out.applied.take().or(self.applied.take());
        if let Some(evaluated) = &mut self.out.evaluated {
            self.alone.settle(evaluated);
            self.out.written = super::converge::folded(std::mem::take(&mut self.out.written));
        }
        self.out.resumed = self.unfinished().is_some();
        self.out.retry_after = self.alone.after;
        self.out.keep_intent |= !self.alone.carried.is_empty();
        if self.out.keep_intent {
            self.alone.unresolved.extend(self.alone.carried.iter().map(|step| step.audit_id.clone()));
            self.out.intent = self.kept_intent();
        }
        self.out
    }

    /// What of the intent the next run has to look up: not what was never sent, nor what is resolved.
    fn kept_intent(&mut self) -> Option<Intent> {
        let mut intent = self.out.intent.take().or_else(|| self.request.status.intent.clone())?;
        if !self.alone.unresolved.is_empty() {
            intent.steps.retain(|step| self.alone.unresolved.contains(&step.audit_id));
            intent.steps.iter_mut().filter(|step| step.level.is_some()).for_each(|step| step.attempted = true);
            intent.alerts_held = intent.steps.iter().any(|step| step.level.is_some());
        }
        Some(intent)
    }

    /// A remembered state may serve a guarded write, never a claim about the present. Whether something was read again.
    async fn observe_stale(&mut self, plan: Option<&Plan>, decision: Option<&Gate>) -> Result<bool, End> {
        let steps = plan.filter(|_| decision == Some(&Gate::Run)).map(|plan| &plan.steps);
        let written: BTreeSet<&Target> = steps.into_iter().flatten().map(|step| &step.target).collect();
        let stale: Vec<Target> = self.remembered.iter().filter(|target| !written.contains(target)).cloned().collect();
        for target in &stale {
            self.observe_one(target, None, None).await?;
        }
        Ok(!stale.is_empty())
    }

    fn wait_for_intent(&mut self, plan: Plan) -> End {
        self.out.plan = Some(plan);
        if !self.alone.closed.is_empty() {
            // One of several targets is unresolved; what is left of the others waits with it.
            return End::Done;
        }
        End::Held { reason: Reason::AuditBacklog, message: gate::UNSAFE.to_owned(), until: self.soon() }
    }

    /// When to look again at what heals by itself.
    fn soon(&self) -> Option<jiff::Timestamp> {
        self.ledger.now().checked_add(jiff::SignedDuration::from_secs(20)).ok()
    }

    pub(super) fn plan(&self) -> Result<Plan, Blocked> {
        let mut plan = self.with_input(|input| K::plan(self.request.desired, input))?;
        plan.steps.retain(|step| !self.alone.closed.contains_key(&step.target.id));
        if let Some(evaluated) = &mut plan.evaluated {
            self.alone.settle(evaluated);
        }
        Ok(plan)
    }

    /// What is to be read, given what was read.
    pub(super) fn targets(&self) -> Vec<Target> {
        self.with_input(|input| K::targets(self.request.desired, input))
    }

    fn with_input<T>(&self, ask: impl FnOnce(&PlanInput<'_>) -> T) -> T {
        let memory = self.memory();
        let numbers = self.numbers();
        let intended = self.request.status.intent.as_ref().map(|intent| intent.steps.as_slice());
        ask(&PlanInput {
            observed: &self.observed,
            memory: &memory,
            unconfirmed: self.out.unconfirmed.as_ref().map(|u| u.version.as_str()),
            taken: self.out.taken.as_deref(),
            numbers: &numbers,
            policy: self.request.object.policy(),
            claimed: &self.claimed,
            unfinished: self.unfinished(),
            previous: self.same_question().filter(|_| !self.request.requested).map_or(&[], |last| last.agents),
            intended: intended.unwrap_or_default(),
            generation: self.request.subject.generation,
            now: self.began,
        })
    }

    /// The evaluation that goes on.
    pub(super) fn unfinished(&self) -> Option<Unfinished<'_>> {
        self.same_question().filter(|_| self.request.resumes)
    }

    /// The last evaluation, where it was of the same question, and of this organisation.
    fn same_question(&self) -> Option<Unfinished<'_>> {
        let status = self.request.status;
        let of_remote = status.remote.as_ref().is_some_and(|remote| remote.host == self.request.host);
        let of_intent = status.intent.as_ref().is_some_and(|intent| intent.host == self.request.host);
        let evaluation = status.evaluation.as_ref().filter(|_| of_remote || of_intent)?;
        let same = K::evaluates(self.request.desired).is_some_and(|digest| digest == evaluation.digest);
        same.then_some(Unfinished { evaluation, agents: &status.agents })
    }

    fn memory(&self) -> Memory {
        Memory::of(Some(self.request.status), self.request.host, self.request.object.remote_id())
            .with(self.applied.as_deref())
            .having_created(self.created.iter().cloned())
    }

    pub(super) fn digest(&self, plan: &Plan) -> String {
        gate::approval_digest(plan, self.request.connection, self.request.status)
    }

    /// Phase 5.
    pub(super) fn decide(&self, plan: &Plan, digest: &str) -> Gate {
        let request = self.request;
        let not_kept = self.kept_nothing(plan);
        gate::decide(
            plan,
            &GateInput {
                approval_required: request.approval_required,
                digest,
                approved: if self.is_begun(plan) { Some(digest) } else { request.approved },
                limited_until: plan.why().and_then(|why| self.ledger.limited_until(why)),
                not_kept: not_kept.as_deref(),
                refused: request.refused,
                audit_full: self.ledger.is_audit_full(),
                repairs_a_day: (K::VERSIONS == Versions::Created).then_some(gate::REPAIRS_A_DAY),
                history: &request.status.history,
                generation: request.subject.generation,
                interval: request.object.interval(),
                requested: request.requested,
                now: self.ledger.now(),
            },
        )
    }

    /// Whether all that is planned was approved before, in this run or in an earlier one of the same evaluation.
    pub(super) fn is_begun(&self, plan: &Plan) -> bool {
        let known =
            |step: &Step| self.approved.iter().any(|(target, changes)| (target, changes) == (&step.target, &step.changes));
        self.request.approval_required && plan.steps.iter().all(|step| known(step) || plan.is_approved(step))
    }

    /// The loop breaker: the live version is the one that this object wrote last, and yet declared fields differ.
    fn kept_nothing(&self, plan: &Plan) -> Option<String> {
        let last = self.request.status.history.first()?;
        let own = last.generation == self.request.subject.generation && self.out.remote.version.as_deref() == Some(&last.version);
        let left: Vec<String> = plan.changes().take(MAX_PATHS).map(|c| display::path(&c.path)).collect();
        (own && plan.why() == Some(Why::DriftRepair)).then(|| not_kept::<K>(&left))
    }

    pub(super) fn key(&self, target: &Target) -> Key {
        (self.request.connection.to_owned(), target.clone())
    }

    /// The intent of an attempt stays: what became of it is looked up by the next run.
    pub(super) fn keep(&mut self, attempt: &Attempt) {
        self.out.keep_intent = true;
        self.alone.unresolved.insert(attempt.step.audit_id.clone());
    }

    /// Reports the outcome of an attempt. Until the record is safe the intent stays: it is what the record can be made from.
    pub(super) async fn audit(&mut self, attempt: &Attempt, status: AuditStatus, correlation: Option<String>) {
        self.audit_as(self.request.subject.generation, attempt, status, correlation).await;
    }

    /// The same for the generation of an earlier spec.
    pub(super) async fn audit_as(
        &mut self,
        generation: i64,
        attempt: &Attempt,
        status: AuditStatus,
        correlation: Option<String>,
    ) {
        let subject = Subject { generation, ..self.request.subject.clone() };
        let record = attempt.record(&subject, status, correlation, self.ledger.now());
        if let Err(error) = self.ledger.audit(record).await {
            tracing::warn!(error, audit_id = attempt.step.audit_id, "an audit record could not be stored; it is tried again");
            self.keep(attempt);
        }
    }
}

pub(super) fn not_kept<K: Remote>(paths: &[String]) -> String {
    let remedy = match K::VERSIONS {
        Versions::Counted => "list what the server sets in spec.ignore, or declare the value that it keeps",
        Versions::Created => "declare the value that it keeps; no further version is made until then",
    };
    format!("Genesys Cloud does not keep what is written at {}; {remedy}", paths.join(", "))
}
