//! `apply` of one object: phases 3 to 7 until there is nothing left to do that time alone would do.

use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use super::object::{Object, Of, Prepared};
use super::surroundings::Surroundings;
use super::{ObjectName, Stop, audit};
use crate::api::conditions::{self, READY, Reason};
use crate::api::{ManagedStatus, conditions::Phase};
use crate::clock;
use crate::controller::outcome::{Facts, Next, Verdict, outcome};
use crate::controller::reconcile::Reconcilable;
use crate::engine::gate::approval_digest;
use crate::engine::{Plan, display};
use crate::genesys::Lane;
use crate::remote::converge::{converge, preview};

/// First wait after a lost guard or an answer that did not come; it doubles up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What a run of `apply` was told.
#[derive(Clone, Debug)]
pub struct Orders {
    /// The digests of the plans that a person approved.
    pub approved: Vec<String>,
    /// How long an object is tried again.
    pub patience: Duration,
}

/// How an object ended.
pub struct Applied {
    /// Which.
    pub name: ObjectName,
    /// What was planned at first, where there was something.
    pub plan: Option<(Plan, String)>,
    /// How it ended.
    pub end: Ended,
    /// Audit records that the webhook did not take, as JSON, and why.
    pub undelivered: Option<(Vec<String>, String)>,
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

impl From<Stop> for Ended {
    fn from(stop: Stop) -> Self {
        match stop.reason {
            Reason::Suspended => Self::Left(stop),
            Reason::AwaitingApproval | Reason::ChangeBudgetExceeded => Self::Waits(stop),
            _ => Self::Failed(stop),
        }
    }
}

impl<K: Reconcilable + Serialize> Of<K> {
    /// Writes what differs, guarded as the controller does, and says how it ended.
    pub(super) async fn converge(&self, around: &Surroundings, orders: &Orders) -> Applied {
        let mut applied =
            Applied { name: self.name().clone(), plan: None, end: Ended::Unchanged(String::new()), undelivered: None };
        applied.end = match Box::pin(self.write(around, orders, &mut applied)).await {
            Ok(end) => end,
            Err(stop) => stop.into(),
        };
        applied
    }

    async fn write(&self, around: &Surroundings, orders: &Orders, applied: &mut Applied) -> Result<Ended, Stop> {
        let prepared = Box::pin(self.prepare(around)).await?;
        if prepared.differs {
            let message = "the cluster has this object with another spec, and its operator enforces that one; apply the manifest there (kubectl apply), or leave --cluster and --kubeconfig out where no operator runs";
            return Err(Stop::new(Reason::DuplicateOwner, message));
        }
        if prepared.status.intent.is_some() {
            let message = "the operator of the cluster has a write under way (status.intent); try again when it is gone";
            return Err(Stop::new(Reason::Progressing, message));
        }
        let sink = around.sink(&self.org(), &prepared.link).await?;
        let mut session = Self::session(&prepared.link, Lane::Change).await;
        let request = self.request(&prepared, &prepared.status, None);
        let plan = preview(&mut session, &around.states, &prepared.ledger, &request).await?;
        drop(session);
        if plan.is_empty() {
            let reported = plan.drift.len();
            let text = if reported > 0 { format!("{reported} differences are only reported") } else { String::new() };
            return Ok(Ended::Unchanged(text));
        }
        let digest = approval_digest(&plan, &prepared.status.history);
        applied.plan = Some((plan, digest.clone()));
        let approved = orders.approved.contains(&digest).then_some(digest.as_str());
        if prepared.approval && approved.is_none() {
            let message = "run apply again with --approve and the digest of this plan";
            return Err(Stop::new(Reason::AwaitingApproval, message));
        }
        let end = self.until_settled(around, &prepared, approved, orders.patience).await;
        if let Some(sink) = sink {
            applied.undelivered = audit::deliver(&sink, &prepared.ledger.audited()).await.err();
        }
        end
    }

    /// Converges, and again after what passes by itself.
    async fn until_settled(
        &self,
        around: &Surroundings,
        prepared: &Prepared<K>,
        approved: Option<&str>,
        patience: Duration,
    ) -> Result<Ended, Stop> {
        let deadline = Instant::now() + patience;
        let (mut wait, mut writes, mut is_first) = (FIRST_WAIT, 0, true);
        loop {
            let status = prepared.ledger.status().clone();
            let mut request = self.request(prepared, &status, approved);
            if !is_first {
                request.max_age = None;
            }
            let mut session = Self::session(&prepared.link, if is_first { Lane::Change } else { Lane::Retry }).await;
            let convergence = tokio::select! {
                convergence = converge(&mut session, &around.states, &prepared.ledger, &request) => convergence,
                () = around.interrupted(&prepared.ledger) => return Err(interrupted()),
            };
            drop(session);
            is_first = false;
            writes += convergence.written.iter().map(|entry| entry.writes.unwrap_or(1).max(1) as usize).sum::<usize>();
            let facts = self.facts(prepared, &status);
            let out = outcome(&Verdict::Converged(&convergence), &facts);
            prepared.ledger.status().clone_from(&out.status);
            let pause = match out.next {
                Next::BackOff => wait,
                Next::After(wait) => wait,
                Next::Check | Next::Until(_) | Next::Change => return settled(&out.status, writes),
            };
            if Instant::now() + pause > deadline {
                return settled(&out.status, writes);
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = around.stop.cancelled() => return Err(interrupted()),
            }
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn facts<'a>(&'a self, prepared: &'a Prepared<K>, status: &'a ManagedStatus) -> Facts<'a> {
        Facts {
            generation: prepared.subject.generation,
            policy: self.object.policy(),
            requested: None,
            previous: status,
            watch: None,
            traffic: None,
            now: clock::now(),
        }
    }
}

fn interrupted() -> Stop {
    Stop::new(
        Reason::Progressing,
        "it was interrupted; whatever was sent is finished, and the next run goes on from the live state",
    )
}

/// The end, from the conditions.
fn settled(status: &ManagedStatus, writes: usize) -> Result<Ended, Stop> {
    let Some(ready) = conditions::find(&status.conditions, READY) else {
        return Err(Stop::new(Reason::InternalError, "there is no outcome; this is a defect of the operator"));
    };
    let reason = Reason::of(&ready.reason).unwrap_or(Reason::InternalError);
    if reason.phase() == Phase::Done {
        return Ok(if writes > 0 {
            Ended::Written(writes, ready.message.clone())
        } else {
            Ended::Unchanged(ready.message.clone())
        });
    }
    Err(Stop::new(reason, display::escape(&ready.message)))
}
