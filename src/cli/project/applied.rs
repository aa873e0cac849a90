//! `apply` of one object: phases 3 to 7 until there is nothing left to do that time alone would do.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::object::{Object, Of, Prepared};
use super::surroundings::Surroundings;
use super::{ObjectName, Stop, audit};
use crate::api::conditions::{self, Phase, READY, Reason};
use crate::api::{ManagedStatus, Policy};
use crate::clock;
use crate::controller::outcome::{Facts, Next, Verdict, outcome};
use crate::controller::reconcile::Reconcilable;
use crate::engine::{Plan, display};
use crate::genesys::Lane;
use crate::remote::audit::{Attempt, AuditStatus};
use crate::remote::converge::{End, converge, preview};
use crate::remote::failure::Retry;

/// First wait after a lost guard or an answer that did not come; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a run of `apply` was told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The digests of the plans that a person approved.
    pub approved: Vec<String>,
    /// Until when what failed is tried again.
    pub deadline: Instant,
}

/// How an object ended.
pub struct Applied {
    /// Which.
    pub name: ObjectName,
    /// What was planned last, where there was something.
    pub plan: Option<(Plan, String)>,
    /// How it ended.
    pub end: Ended,
    /// Why the audit records of its writes were not delivered.
    pub undelivered: Option<String>,
}

/// See [`Applied`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nothing was to be written.
    Unchanged(String),
    /// Written, so many times, and everything that is declared is there.
    Written(usize, String),
    /// It waits for a person or for time.
    Waits(Stop),
    /// It is left alone: suspended.
    Left(Stop),
    /// It failed.
    Failed(Stop),
}

impl Applied {
    /// Takes all text out of it.
    pub fn redact(&mut self) {
        if let Some((plan, _)) = &mut self.plan {
            *plan = plan.redacted();
        }
        if let Ended::Waits(stop) | Ended::Left(stop) | Ended::Failed(stop) = &mut self.end {
            stop.redact();
        }
    }
}

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        match stop.reason {
            Reason::Suspended => Self::Left(stop),
            Reason::AwaitingApproval | Reason::ChangeBudgetExceeded | Reason::AwaitingPropagation => Self::Waits(stop),
            _ => Self::Failed(stop),
        }
    }
}

/// A retry, and when the next one is due.
struct Patience {
    deadline: Instant,
    wait: Duration,
}

impl Patience {
    /// Waits before the next try; not where that would be too late.
    async fn wait(&mut self, around: &Surroundings, asked: Option<Duration>) -> Result<bool, Stop> {
        let pause = asked.unwrap_or(self.wait);
        self.wait = (self.wait * 2).min(LONGEST_WAIT);
        if Instant::now() + pause > self.deadline {
            return Ok(false);
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => Ok(true),
            () = around.stop.cancelled() => Err(interrupted()),
        }
    }
}

impl<K: Reconcilable + Serialize> Of<K> {
    /// Writes what differs, guarded as the controller does, and says how it ended.
    pub(super) async fn converge(&self, around: &Surroundings, orders: &Orders) -> Applied {
        let mut applied =
            Applied { name: self.name().clone(), plan: None, end: Ended::Unchanged(String::new()), undelivered: None };
        let intended = Arc::new(AtomicBool::new(false));
        let end = tokio::select! {
            end = Box::pin(self.write(around, orders, &intended, &mut applied)) => end,
            () = around.interrupted(&intended) => Err(interrupted()),
        };
        applied.end = end.unwrap_or_else(Ended::from);
        applied
    }

    async fn write(
        &self,
        around: &Surroundings,
        orders: &Orders,
        intended: &Arc<AtomicBool>,
        applied: &mut Applied,
    ) -> Result<Ended, Stop> {
        let mut prepared = Box::pin(self.prepare(around, Some(intended.clone()))).await?;
        self.may_apply(&prepared)?;
        prepared.link.found.is_applied(&self.org())?;
        let sink = around.sink(&self.org(), &prepared.link).await?;
        if sink.is_some() && prepared.link.is_audit_lost() {
            let message = "the audit webhook did not take the records of an earlier write; nothing more is written for this org";
            return Err(Stop::new(Reason::AuditBacklog, message));
        }
        let mut patience = Patience { deadline: orders.deadline, wait: FIRST_WAIT };
        let plan = self.plan_patiently(around, &prepared, &mut patience).await?;
        if plan.is_empty() {
            let reported = plan.drift.len();
            let text = if reported > 0 { format!("{reported} differences are only reported") } else { String::new() };
            return Ok(Ended::Unchanged(text));
        }
        let digest = prepared.digest(&plan, &prepared.status);
        applied.plan = Some((plan, digest.clone()));
        if orders.approved.contains(&digest) {
            prepared.approved = Some(digest.clone());
        }
        if prepared.approval && prepared.approved.as_ref() != Some(&digest) {
            let message = "run apply again with --approve and the digest of this plan";
            return Err(Stop::new(Reason::AwaitingApproval, message));
        }
        let end = self.until_settled(around, &prepared, applied, &mut patience).await;
        let end = self.outcome_is_known(&prepared, end);
        if let Some(sink) = sink {
            applied.undelivered = audit::deliver(around, &sink, prepared.ledger.audited()).await.err();
            if applied.undelivered.is_some() {
                prepared.link.audit_is_lost();
            }
        }
        end
    }

    /// What only the controller may do.
    fn may_apply(&self, prepared: &Prepared<K>) -> Result<(), Stop> {
        if prepared.differs {
            let message = "the cluster has this object with another spec, and its operator enforces that one; apply the manifest there (kubectl apply), or leave --cluster and --kubeconfig out where no operator runs";
            return Err(Stop::new(Reason::DuplicateOwner, message));
        }
        if prepared.status.intent.is_some() {
            let message = "the operator of the cluster has a write under way (status.intent); try again when it is gone";
            return Err(Stop::new(Reason::Progressing, message));
        }
        if K::PARTS.contains(&"evaluation") && prepared.is_new && self.object.policy() == Policy::Enforce {
            let message = "its evaluations are remembered in a status: without one every run would be another evaluation and make another step; apply it to a cluster whose operator enforces it, or set mode to Propose";
            return Err(Stop::new(Reason::DependencyNotFound, message));
        }
        Ok(())
    }

    /// Phases 3 and 4, again after what passes by itself.
    async fn plan_patiently(&self, around: &Surroundings, prepared: &Prepared<K>, patience: &mut Patience) -> Result<Plan, Stop> {
        loop {
            let mut session = Self::session(&prepared.link, Lane::Change).await;
            let request = self.request(prepared, &prepared.status);
            let end = match preview(&mut session, &around.states, &prepared.ledger, &request).await {
                Ok((plan, _)) => return Ok(plan),
                Err(end) => end,
            };
            drop(session);
            let asked = match &end {
                End::Failed(failure) if failure.retry == Retry::BackOff => None,
                End::Failed(failure) => match failure.retry {
                    Retry::After(wait) => Some(wait),
                    _ => return Err(end.into()),
                },
                _ => return Err(end.into()),
            };
            if !patience.wait(around, asked).await? {
                return Err(end.into());
            }
        }
    }

    /// Converges, and again after what passes by itself.
    async fn until_settled(
        &self,
        around: &Surroundings,
        prepared: &Prepared<K>,
        applied: &mut Applied,
        patience: &mut Patience,
    ) -> Result<Ended, Stop> {
        let (mut writes, mut is_first) = (0, true);
        loop {
            let status = prepared.ledger.status().clone();
            let mut request = self.request(prepared, &status);
            if !is_first {
                request.max_age = None;
            }
            let mut session = Self::session(&prepared.link, if is_first { Lane::Change } else { Lane::Retry }).await;
            let convergence = converge(&mut session, &around.states, &prepared.ledger, &request).await;
            drop(session);
            is_first = false;
            writes += convergence.written.iter().map(|entry| entry.writes.unwrap_or(1).max(1) as usize).sum::<usize>();
            if let Some(plan) = convergence.plan.as_ref().filter(|plan| !plan.is_empty()) {
                // After a lost guard it is another one.
                applied.plan = Some((plan.clone(), prepared.digest(plan, &status)));
            }
            let out = outcome(&Verdict::Converged(&convergence), &self.facts(prepared, &status));
            prepared.ledger.status().clone_from(&out.status);
            let asked = match out.next {
                Next::BackOff => None,
                Next::After(wait) => Some(wait),
                Next::Check | Next::Until(_) | Next::Change => return self.settled(prepared, &out.status, writes),
            };
            if !patience.wait(around, asked).await? {
                return self.settled(prepared, &out.status, writes);
            }
        }
    }

    fn facts<'a>(&'a self, prepared: &'a Prepared<K>, status: &'a ManagedStatus) -> Facts<'a> {
        Facts {
            generation: prepared.subject.generation,
            policy: self.object.policy(),
            requested: None,
            approved: None,
            previous: status,
            watch: None,
            traffic: None,
            now: clock::now(),
        }
    }

    /// The end, from the conditions.
    fn settled(&self, prepared: &Prepared<K>, status: &ManagedStatus, writes: usize) -> Result<Ended, Stop> {
        let Some(ready) = conditions::find(&status.conditions, READY) else {
            return Err(Stop::new(Reason::InternalError, "there is no outcome; this is a defect of the operator"));
        };
        let reason = Reason::of(&ready.reason).unwrap_or(Reason::InternalError);
        if reason.phase() != Phase::Done {
            return Err(Stop::new(reason, display::escape(&ready.message)));
        }
        let gated = K::propagation(&prepared.desired).is_some_and(|watch| watch.gate);
        match writes {
            0 => Ok(Ended::Unchanged(ready.message.clone())),
            _ if gated => Err(Stop::new(
                Reason::AwaitingPropagation,
                format!("{}; which version handles conversations is watched by the operator only", ready.message),
            )),
            writes => Ok(Ended::Written(writes, ready.message.clone())),
        }
    }

    /// A write whose outcome nobody knows has its audit record too, and the end says so: no next run remembers it.
    fn outcome_is_known(&self, prepared: &Prepared<K>, end: Result<Ended, Stop>) -> Result<Ended, Stop> {
        let Some(intent) = prepared.ledger.status().intent.take() else { return end };
        let told = prepared.ledger.audited();
        let open: Vec<_> =
            intent.steps.iter().filter(|step| told.iter().all(|record| record.audit_id != step.audit_id)).collect();
        for step in &open {
            let attempt = Attempt { step: (*step).clone(), began: clock::precise() };
            prepared.ledger.keep(attempt.record(&prepared.subject, AuditStatus::Unknown, None, clock::precise()));
        }
        match open.first() {
            None => end,
            Some(step) => Err(Stop::new(
                Reason::OrgUnavailable,
                format!(
                    "a write to {} was sent, and its outcome is not known (audit id {}); plan shows what is live",
                    step.target, step.audit_id
                ),
            )),
        }
    }
}

impl super::orgs::Link {
    fn is_audit_lost(&self) -> bool {
        self.audit_lost.load(Ordering::Relaxed)
    }

    fn audit_is_lost(&self) {
        self.audit_lost.store(true, Ordering::Relaxed);
    }
}

fn interrupted() -> Stop {
    Stop::new(
        Reason::Progressing,
        "it was interrupted; whatever was sent is finished, and the next run goes on from the live state",
    )
}
