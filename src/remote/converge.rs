//! Phases 3 to 6 of one object: observe, plan, guard, execute, and once more after a lost guard. The controller and the CLI
//! run the same loop; what differs is the [`Ledger`].

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::audit::{Attempt, AuditStatus, Subject};
use super::failure::{Failure, Retry};
use super::ledger::Ledger;
use super::states::{Key, States};
use super::{Remote, Sent};
use crate::api::conditions::Reason;
use crate::api::status::{HistoryEntry, Intent, ManagedStatus, RemoteState};
use crate::engine::gate::{self, Gate, GateInput, Refusal};
use crate::engine::kind::{Blocked, Seen};
use crate::engine::memory::Memory;
use crate::engine::{Guard, Observed, Plan, PlanInput, Step, Target, Why, display};
use crate::genesys::{Error, ErrorKind, Session};

/// Most changed paths that a history entry names.
const MAX_PATHS: usize = 5;

/// What is to converge.
pub struct Request<'a, K: Remote> {
    /// The object.
    pub object: &'a K,
    /// Its validated spec.
    pub desired: &'a K::Desired,
    /// {API host, client id}: whose remote objects these are.
    pub connection: &'a str,
    /// Host of the API.
    pub host: &'a str,
    /// The last status.
    pub status: &'a ManagedStatus,
    /// For audit records.
    pub subject: &'a Subject,
    /// A remembered state may serve where it is younger and a guarded write follows; `None`: everything is read.
    pub max_age: Option<Duration>,
    /// Whether a person must approve.
    pub approval_required: bool,
    /// The digest in the approve annotation.
    pub approved: Option<&'a str>,
    /// A plan that was refused lately.
    pub refused: Option<&'a Refusal>,
    /// A reconcile request.
    pub requested: bool,
    /// Whether a lost guard may be answered by one more write at once.
    pub immediate_retry: bool,
}

/// What happened.
#[derive(Debug)]
pub struct Convergence {
    /// The remote object as last seen.
    pub remote: RemoteState,
    /// Whether the remote itself was asked.
    pub observed: bool,
    /// The plan that ran, else the last one that was made.
    pub plan: Option<Plan>,
    /// `status.applied` from now on; unset where it stays.
    pub applied: Option<Vec<crate::api::status::AppliedField>>,
    /// The writes that took effect, oldest first.
    pub written: Vec<HistoryEntry>,
    /// Lost guards.
    pub conflicts: u32,
    /// Whether the intent stays in status: a write is unresolved.
    pub keep_intent: bool,
    /// How it ended.
    pub end: End,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to write.
    Done,
    /// The plan waits.
    Held {
        /// Reason of the condition.
        reason: Reason,
        /// On what.
        message: String,
        /// When to look again at the latest.
        until: Option<jiff::Timestamp>,
    },
    /// There can be no plan.
    Blocked(Blocked),
    /// The guard was lost, and the retry too or there was none.
    LostGuard(String),
    /// A call failed.
    Failed(Failure),
    /// The remote refused the plan with this digest.
    Refused(String, Failure),
    /// The remote does not keep what was written.
    NotKept(String),
    /// A write was stopped before it was sent.
    Halted(String),
}

/// How one step of a round ended.
enum StepEnd {
    /// Written, and the answer shows it.
    Settled,
    /// The target was read again: it is to be planned anew.
    Again,
    /// The round is over.
    Over(End),
}

struct Run<'a, K: Remote, L: Ledger> {
    request: &'a Request<'a, K>,
    session: &'a mut Session,
    states: &'a States,
    ledger: &'a L,
    observed: Observed,
    remembered: bool,
    /// Immediate retries that are left.
    retries: u32,
    /// Fields that an interrupted write created.
    created: Vec<String>,
    out: Convergence,
}

/// Runs phases 3 to 6.
pub async fn converge<K: Remote, L: Ledger>(
    session: &mut Session,
    states: &States,
    ledger: &L,
    request: &Request<'_, K>,
) -> Convergence {
    let remote = RemoteState { host: request.host.to_owned(), id: request.object.remote_id().to_owned(), ..Default::default() };
    let same = request.status.remote.as_ref().filter(|r| r.host == remote.host && r.id == remote.id);
    let out = Convergence {
        remote: same.cloned().unwrap_or(remote),
        observed: false,
        plan: None,
        applied: None,
        written: Vec::new(),
        conflicts: 0,
        keep_intent: request.status.intent.is_some(),
        end: End::Done,
    };
    let retries = u32::from(request.immediate_retry);
    let observed = Observed::new();
    let mut run = Run { request, session, states, ledger, observed, remembered: false, retries, created: Vec::new(), out };
    run.out.end = run.run().await;
    run.out
}

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    async fn run(&mut self) -> End {
        let max_age = self.request.max_age.filter(|_| self.request.status.intent.is_none());
        if let Err(failure) = self.observe_all(max_age).await {
            return End::Failed(failure);
        }
        self.settle_intent();
        loop {
            let planned = self.plan();
            let decision = planned.as_ref().ok().map(|plan| self.decide(plan));
            if self.remembered && !matches!(decision, Some(Gate::Run)) {
                // A remembered state may serve a guarded write, never a claim about the present.
                if let Err(failure) = self.observe_all(None).await {
                    return End::Failed(failure);
                }
                continue;
            }
            let plan = match (planned, decision) {
                (Err(blocked), _) => return End::Blocked(blocked),
                (Ok(plan), Some(Gate::Run)) => plan,
                (Ok(plan), Some(Gate::Hold { reason, message, until })) => {
                    self.out.plan = Some(plan);
                    return End::Held { reason, message, until };
                }
                (Ok(plan), _) => {
                    self.out.applied = Some(plan.applied.clone());
                    self.out.plan.get_or_insert(plan);
                    return End::Done;
                }
            };
            if let Some(end) = self.round(plan).await {
                return end;
            }
        }
    }

    /// Executes all steps once. `None`: live states were read again, and it is to be planned anew.
    async fn round(&mut self, plan: Plan) -> Option<End> {
        let attempts: Vec<Attempt> = plan.steps.iter().map(|step| Attempt::new(step, self.ledger.now())).collect();
        if let Err(why) = self.intend(&plan, &attempts).await {
            return Some(End::Halted(why));
        }
        let (mut over, mut again) = (None, false);
        for (step, attempt) in plan.steps.iter().zip(&attempts) {
            match self.step(step, attempt, &plan).await {
                StepEnd::Settled => {}
                StepEnd::Again => again = true,
                StepEnd::Over(end) => {
                    let stop = matches!(end, End::Halted(_) | End::Failed(Failure { retry: Retry::After(_), .. }));
                    over.get_or_insert(end);
                    if stop {
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

    /// The answers of all steps are the live state now: nothing may be left to write.
    fn verify(&mut self, plan: &Plan) -> End {
        self.out.applied = Some(plan.applied.clone());
        let left = match self.plan() {
            Ok(left) if left.is_empty() => return End::Done,
            Ok(left) => left.changes().take(MAX_PATHS).map(|c| display::escape(&c.path)).collect(),
            Err(blocked) => vec![blocked.message],
        };
        End::NotKept(not_kept(&left))
    }

    async fn intend(&mut self, plan: &Plan, attempts: &[Attempt]) -> Result<(), String> {
        let new = |a: &&crate::api::status::AppliedField| a.created;
        let intent = Intent {
            digest: plan.digest(),
            time: Time(self.ledger.now()),
            steps: attempts.iter().map(|a| a.step.clone()).collect(),
            creates: plan.applied.iter().filter(new).map(|a| a.path.clone()).collect(),
        };
        self.ledger.intend(intent).await?;
        self.out.keep_intent = false;
        Ok(())
    }

    async fn step(&mut self, step: &Step, attempt: &Attempt, plan: &Plan) -> StepEnd {
        self.ledger.attempted(step.why);
        match K::write(self.session, step, self.ledger.gate()).await {
            Ok(sent) if accepted(step, &sent) => {
                self.settled(step, attempt, plan, &sent);
                StepEnd::Settled
            }
            Ok(sent) => self.unshown(step, attempt, plan, sent.correlation_id).await,
            Err(error) => self.failed(step, attempt, plan, &error).await,
        }
    }

    async fn failed(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, error: &Error) -> StepEnd {
        let correlation = error.correlation_id().map(str::to_owned);
        let failure = Failure::of(error, &step.target.to_string(), false);
        match error.kind {
            ErrorKind::Halted => {
                // A repeat was stopped: what became of the first try is looked up at the next start.
                self.out.keep_intent = error.uncertain;
                StepEnd::Over(End::Halted(error.detail.clone().unwrap_or_else(|| error.to_string())))
            }
            ErrorKind::Conflict => self.lost_guard(step, attempt, plan, error.uncertain, correlation).await,
            ErrorKind::LostAnswer => self.lost_answer(step, attempt, plan, failure, correlation).await,
            ErrorKind::Rejected | ErrorKind::Forbidden => {
                self.audit(attempt, AuditStatus::Failed, correlation);
                StepEnd::Over(End::Refused(plan.digest(), failure))
            }
            _ => {
                self.audit(attempt, AuditStatus::Failed, correlation);
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
        if self.retries == 0 && !uncertain {
            self.conflict(attempt, correlation);
            return lost();
        }
        if let Err(failure) = self.observe(&step.target, None).await {
            self.conflict(attempt, correlation);
            return StepEnd::Over(End::Failed(failure));
        }
        if uncertain && self.holds(step) {
            // A repeat met its own write.
            self.took_effect(step, attempt, plan, correlation);
            return StepEnd::Again;
        }
        self.conflict(attempt, correlation);
        if self.is_unmoved(step) || self.retries == 0 {
            return lost();
        }
        self.retries -= 1;
        StepEnd::Again
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
        self.states.forget(&self.key(&step.target));
        if let Err(failure) = self.observe(&step.target, None).await {
            // Still unknown: the intent stays, and the next reconcile looks again.
            self.out.keep_intent = true;
            return StepEnd::Over(End::Failed(failure));
        }
        if self.holds(step) {
            self.took_effect(step, attempt, plan, correlation);
            return StepEnd::Again;
        }
        let status = if self.is_unmoved(step) { AuditStatus::Failed } else { AuditStatus::Unknown };
        self.audit(attempt, status, correlation);
        StepEnd::Over(End::Failed(failure))
    }

    /// A success that shows no new version: one read decides. A write that is silently dropped lacks a permission.
    async fn unshown(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, correlation: Option<String>) -> StepEnd {
        self.states.forget(&self.key(&step.target));
        if let Err(failure) = self.observe(&step.target, None).await {
            self.out.keep_intent = true;
            return StepEnd::Over(End::Failed(failure));
        }
        if self.holds(step) {
            self.took_effect(step, attempt, plan, correlation);
            return StepEnd::Again;
        }
        let target = &step.target;
        let dropped = self.is_unmoved(step);
        self.audit(attempt, if dropped { AuditStatus::Failed } else { AuditStatus::Unknown }, correlation.clone());
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

    fn settled(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, sent: &Sent) {
        let time = sent.date.unwrap_or_else(|| self.ledger.now());
        self.out.written.push(history(step, plan, self.request.subject.generation, time));
        self.audit(attempt, AuditStatus::Applied, sent.correlation_id.clone());
        self.states.put(self.key(&step.target), sent.clone());
        self.take(&step.target, Some(sent));
    }

    fn took_effect(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, correlation: Option<String>) {
        self.out.written.push(history(step, plan, self.request.subject.generation, self.ledger.now()));
        self.created.extend(plan.applied.iter().filter(|a| a.created).map(|a| a.path.clone()));
        self.audit(attempt, AuditStatus::Applied, correlation);
    }

    fn conflict(&mut self, attempt: &Attempt, correlation: Option<String>) {
        self.out.conflicts += 1;
        self.audit(attempt, AuditStatus::Conflict, correlation);
    }

    /// Whether the live state is the one that the step would have made.
    fn holds(&self, step: &Step) -> bool {
        let version = matches!(self.observed.get(&step.target), Some(Seen::Present(state)) if state.version.as_deref() == Some(&step.version));
        version && self.plan().is_ok_and(|plan| plan.steps.iter().all(|s| s.target != step.target))
    }

    /// Whether the live state is still the one that the step was computed from.
    fn is_unmoved(&self, step: &Step) -> bool {
        matches!(self.observed.get(&step.target), Some(Seen::Present(state)) if state.guard.as_ref() == Ok(&step.guard))
    }

    fn plan(&self) -> Result<Plan, Blocked> {
        let memory = self.memory();
        let input =
            PlanInput { observed: &self.observed, memory: &memory, policy: self.request.object.policy(), now: self.ledger.now() };
        K::plan(self.request.desired, &input)
    }

    fn memory(&self) -> Memory {
        Memory::of(Some(self.request.status), self.request.host, self.request.object.remote_id())
            .having_created(self.created.iter().cloned())
    }

    fn decide(&self, plan: &Plan) -> Gate {
        let request = self.request;
        let not_kept = self.kept_nothing(plan);
        gate::decide(
            plan,
            &GateInput {
                approval_required: request.approval_required,
                approved: request.approved,
                limited_until: plan.why().and_then(|why| self.ledger.limited_until(why)),
                not_kept: not_kept.as_deref(),
                refused: request.refused,
                history: &request.status.history,
                generation: request.subject.generation,
                interval: request.object.interval(),
                requested: request.requested,
                now: self.ledger.now(),
            },
        )
    }

    /// The loop breaker: the live version is the one that this object wrote last, and yet declared fields differ.
    fn kept_nothing(&self, plan: &Plan) -> Option<String> {
        let last = self.request.status.history.first()?;
        let own = last.generation == self.request.subject.generation && self.out.remote.version.as_deref() == Some(&last.version);
        let left: Vec<String> = plan.changes().take(MAX_PATHS).map(|c| display::escape(&c.path)).collect();
        (own && plan.why() == Some(Why::DriftRepair)).then(|| not_kept(&left))
    }

    /// What became of writes whose answer this process never saw.
    fn settle_intent(&mut self) {
        let Some(intent) = self.request.status.intent.clone() else { return };
        self.out.keep_intent = false;
        let plan = self.plan().ok();
        for step in intent.steps {
            let target = self.observed.keys().find(|t| t.to_string() == step.target);
            let version = target.and_then(|t| match self.observed.get(t) {
                Some(Seen::Present(state)) => state.version.clone(),
                _ => None,
            });
            let done = plan.as_ref().is_some_and(|plan| plan.steps.iter().all(|s| s.target.to_string() != step.target));
            let status = match version.and_then(|v| v.parse::<i64>().ok()).zip(step.version.parse::<i64>().ok()) {
                Some((live, asked)) if live == asked && done => AuditStatus::Applied,
                Some((live, asked)) if live < asked => AuditStatus::Failed,
                _ => AuditStatus::Unknown,
            };
            if status == AuditStatus::Applied {
                self.created.extend(intent.creates.iter().cloned());
                let why = if step.action == "CONFIG_RESTORE" { Why::Restore } else { Why::SpecChange };
                self.out.written.push(HistoryEntry {
                    version: step.version.clone(),
                    generation: self.request.subject.generation,
                    digest: intent.digest.clone(),
                    time: intent.time.clone(),
                    why: why.as_str().to_owned(),
                    paths: Vec::new(),
                });
            }
            self.audit(&Attempt { step, began: intent.time.0 }, status, None);
        }
    }

    async fn observe_all(&mut self, max_age: Option<Duration>) -> Result<(), Failure> {
        self.remembered = false;
        for target in K::targets(self.request.desired) {
            self.observe(&target, max_age).await?;
        }
        Ok(())
    }

    async fn observe(&mut self, target: &Target, max_age: Option<Duration>) -> Result<(), Failure> {
        let key = self.key(target);
        if let Some(sent) = max_age.and_then(|age| self.states.get(&key, age)) {
            self.remembered = true;
            self.take(target, Some(&sent));
            return Ok(());
        }
        let answer = K::read(self.session, target).await.map_err(|error| Failure::of(&error, &target.to_string(), true))?;
        self.out.observed = true;
        match &answer {
            Some(sent) => self.states.put(key, sent.clone()),
            None => self.states.forget(&key),
        }
        self.take(target, answer.as_ref());
        Ok(())
    }

    fn take(&mut self, target: &Target, sent: Option<&Sent>) {
        let primary = K::targets(self.request.desired).first() == Some(target);
        if let Some(sent) = sent.filter(|_| primary) {
            self.out.remote.version.clone_from(&sent.version);
            self.out.remote.etag.clone_from(&sent.etag);
        }
        self.observed.insert(target.clone(), sent.map_or(Seen::Absent, |sent| Seen::Present(sent.state())));
    }

    fn key(&self, target: &Target) -> Key {
        (self.request.connection.to_owned(), target.clone())
    }

    fn audit(&self, attempt: &Attempt, status: AuditStatus, correlation: Option<String>) {
        self.ledger.audit(&attempt.record(self.request.subject, status, correlation, self.ledger.now()));
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

fn not_kept(paths: &[String]) -> String {
    format!(
        "Genesys Cloud does not keep what is written at {}; list what the server sets in spec.ignore, or declare the value that it keeps",
        paths.join(", ")
    )
}

fn history(step: &Step, plan: &Plan, generation: i64, time: jiff::Timestamp) -> HistoryEntry {
    HistoryEntry {
        version: step.version.clone(),
        generation,
        digest: plan.digest(),
        time: Time(time),
        why: step.why.as_str().to_owned(),
        paths: step.changes.iter().take(MAX_PATHS).map(|c| c.path.clone()).collect(),
    }
}
