//! Phases 3 to 6 of one object: observe, plan, guard, execute, and once more after a lost guard. The controller and the CLI
//! run the same loop; what differs is the [`Ledger`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::audit::{Attempt, AuditStatus, Subject};
use super::failure::{Failure, Retry};
use super::ledger::Ledger;
use super::states::{Key, States};
use super::{Remote, unguarded};
use crate::api::conditions::Reason;
use crate::api::status::{AppliedField, HistoryEntry, Intent, ManagedStatus, RemoteState, UnconfirmedVersion};
use crate::engine::gate::{self, Gate, GateInput, Refusal};
use crate::engine::kind::{Blocked, Versions};
use crate::engine::memory::Memory;
use crate::engine::{Action, Guard, Observed, Plan, PlanInput, Step, Target, Why, display};
use crate::genesys::Session;

/// How often a target is read again because the wait for a call took too long.
const MAX_LOOKS: u32 = 4;
/// Most changed paths that a history entry names.
pub(super) const MAX_PATHS: usize = 5;

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
    pub applied: Option<Vec<AppliedField>>,
    /// The writes that took effect, oldest first.
    pub written: Vec<HistoryEntry>,
    /// Lost guards.
    pub conflicts: u32,
    /// The intent that was recorded last, where one was.
    pub intent: Option<Intent>,
    /// Whether the intent stays in status: a write is unresolved, or its audit record is not safe yet.
    pub keep_intent: bool,
    /// The version whose creation was never confirmed ([`Versions::Created`]).
    pub unconfirmed: Option<UnconfirmedVersion>,
    /// A number that was found to be taken by a version that page 1 does not show.
    pub taken: Option<String>,
    /// What the last write that took effect did.
    pub action: Option<Action>,
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
pub(super) enum StepEnd {
    /// Written, and the answer shows it.
    Settled,
    /// The target was read again: it is to be planned anew.
    Again,
    /// The round is over.
    Over(End),
}

pub(super) struct Run<'a, K: Remote, L: Ledger> {
    pub(super) request: &'a Request<'a, K>,
    pub(super) session: &'a mut Session,
    pub(super) states: &'a States,
    pub(super) ledger: &'a L,
    pub(super) observed: Observed,
    pub(super) remembered: BTreeSet<Target>,
    /// When each target was read.
    pub(super) read_at: BTreeMap<Target, Instant>,
    /// Immediate retries that are left.
    pub(super) retries: u32,
    /// How often the target of an unguarded write may still be read again because the read was too old.
    pub(super) looks: u32,
    /// `status.applied` of a write that was found to have taken effect.
    pub(super) applied: Option<Vec<AppliedField>>,
    /// Fields that an interrupted write created.
    pub(super) created: Vec<AppliedField>,
    pub(super) out: Convergence,
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
        intent: None,
        keep_intent: request.status.intent.is_some(),
        unconfirmed: same.and_then(|_| request.status.unconfirmed.clone()).filter(|u| unguarded::is_expected(u, ledger.now())),
        taken: same.and_then(|_| request.status.taken_version.clone()),
        action: None,
        end: End::Done,
    };
    let retries = u32::from(request.immediate_retry);
    let observed = Observed::new();
    let (remembered, read_at) = (BTreeSet::new(), BTreeMap::new());
    let (applied, created, looks) = (None, Vec::new(), MAX_LOOKS);
    let mut run = Run { request, session, states, ledger, observed, remembered, read_at, retries, looks, applied, created, out };
    run.out.end = run.run().await;
    // What was found to have taken effect is applied, however the run ended.
    run.out.applied = run.out.applied.take().or(run.applied.take());
    run.out
}

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    async fn run(&mut self) -> End {
        let max_age = self.request.max_age.filter(|_| self.request.status.intent.is_none());
        if let Err(failure) = self.observe_all(max_age).await {
            return End::Failed(failure);
        }
        self.settle_intent().await;
        loop {
            let planned = self.plan();
            let decision = planned.as_ref().ok().map(|plan| self.decide(plan));
            if !self.remembered.is_empty() && !matches!(decision, Some(Gate::Run)) {
                // A remembered state may serve a guarded write, never a claim about the present.
                if let Err(failure) = self.observe_all(None).await {
                    return End::Failed(failure);
                }
                continue;
            }
            let plan = match (planned, decision) {
                (Err(blocked), _) => return End::Blocked(blocked),
                // The intent in status is what the record can be made from: the next write would put its own in that place.
                (Ok(plan), Some(Gate::Run)) if self.out.keep_intent => {
                    self.out.plan = Some(plan);
                    return End::Held { reason: Reason::AuditBacklog, message: gate::UNSAFE.to_owned(), until: self.soon() };
                }
                (Ok(plan), Some(Gate::Run)) if plan.is_unguarded() => match self.freshen(&plan).await {
                    Ok(true) => plan,
                    Ok(false) => continue,
                    Err(end) => return end,
                },
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
            let _writer = self.states.writer(&self.key(&step.target)).await;
            if self.was_passed(step) {
                again = true;
                continue;
            }
            let end = match self.ledger.attempt(step.why) {
                Ok(()) => self.step(step, attempt, &plan).await,
                Err(until) => StepEnd::Over(End::Held {
                    reason: Reason::ChangeBudgetExceeded,
                    message: gate::LIMITED.to_owned(),
                    until: Some(until),
                }),
            };
            match end {
                StepEnd::Settled => {}
                StepEnd::Again => again = true,
                StepEnd::Over(end) => {
                    let paused = matches!(end, End::Failed(Failure { retry: Retry::After(_), .. }));
                    let stop = paused || matches!(end, End::Halted(_) | End::Held { .. });
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
        let left = match self.plan() {
            Ok(left) if left.is_empty() => return End::Done,
            Ok(left) => left.changes().take(MAX_PATHS).map(|c| display::path(&c.path)).collect(),
            Err(blocked) => vec![blocked.message],
        };
        End::NotKept(not_kept::<K>(&left))
    }

    async fn intend(&mut self, plan: &Plan, attempts: &[Attempt]) -> Result<(), String> {
        let new = |a: &&AppliedField| a.created;
        let intent = Intent {
            digest: plan.digest(),
            host: self.request.host.to_owned(),
            time: Time(self.ledger.now()),
            generation: self.request.subject.generation,
            why: plan.why().map(|why| why.as_str().to_owned()).unwrap_or_default(),
            paths: plan.changes().take(MAX_PATHS).map(|c| display::short_path(&c.path)).collect(),
            steps: attempts.iter().map(|a| a.step.clone()).collect(),
            creates: plan.applied.iter().filter(new).map(|a| a.path.clone()).collect(),
        };
        self.ledger.intend(intent.clone()).await?;
        self.out.intent = Some(intent);
        self.out.keep_intent = false;
        Ok(())
    }

    /// When to look again at what heals by itself.
    fn soon(&self) -> Option<jiff::Timestamp> {
        self.ledger.now().checked_add(jiff::SignedDuration::from_secs(20)).ok()
    }

    pub(super) fn plan(&self) -> Result<Plan, Blocked> {
        let memory = self.memory();
        let input = PlanInput {
            observed: &self.observed,
            memory: &memory,
            unconfirmed: self.out.unconfirmed.as_ref().map(|u| u.version.as_str()),
            taken: self.out.taken.as_deref(),
            numbers: &self.numbers(),
            policy: self.request.object.policy(),
            now: self.ledger.now(),
        };
        K::plan(self.request.desired, &input)
    }

    fn memory(&self) -> Memory {
        Memory::of(Some(self.request.status), self.request.host, self.request.object.remote_id())
            .with(self.applied.as_deref())
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
            self.out.keep_intent = true;
        }
    }
}

fn not_kept<K: Remote>(paths: &[String]) -> String {
    let remedy = match K::VERSIONS {
        Versions::Counted => "list what the server sets in spec.ignore, or declare the value that it keeps",
        Versions::Created => "declare the value that it keeps; no further version is made until then",
    };
    format!("Genesys Cloud does not keep what is written at {}; {remedy}", paths.join(", "))
}
