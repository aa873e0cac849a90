//! The part of Kubernetes: an object with its generation and its status, kept in memory.

use std::time::Duration;

use anyhow::{Context, anyhow};
use kube::ResourceExt;
use serde::Serialize;
use serde_json::Value;

use super::org::Org;
use crate::api::{AgentAssistConfig, ManagedStatus};
use crate::cli::ledger::MemoryLedger;
use crate::clock;
use crate::controller::outcome::{EventDraft, Facts, Outcome, Verdict, outcome};
use crate::controller::reconcile::Reconcilable;
use crate::engine::kind::Texts;
use crate::engine::{Plan, finding, pointer};
use crate::genesys::Lane;
use crate::remote::audit::{AuditRecord, Subject};
use crate::remote::converge::{Convergence, Request, converge, preview};
use crate::remote::states::States;

/// The namespace of the story.
pub const NAMESPACE: &str = "default";

/// Why the object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its spec changed: the last state seen may serve, since the write is guarded.
    Change,
    /// Its interval is over: everything is read.
    Check,
}

/// What a reconcile did.
pub struct Reconciled {
    /// Phases 3 to 6.
    pub convergence: Convergence,
    /// The status after it.
    pub status: ManagedStatus,
    /// The event that the controller would publish.
    pub event: Option<EventDraft>,
    /// Whether any field of the status changed.
    pub status_changed: bool,
}

/// An object as the API server would keep it.
pub struct Stored<K> {
    object: K,
    generation: i64,
    ledger: MemoryLedger,
    states: States,
}

impl<K: Reconcilable + Serialize> Stored<K> {
    /// An object that was just created.
    pub fn new(object: K) -> Self {
        Self { object, generation: 1, ledger: MemoryLedger::default(), states: States::default() }
    }

    /// The object.
    pub fn object(&self) -> &K {
        &self.object
    }

    /// The name of the object.
    pub fn name(&self) -> String {
        self.object.name_any()
    }

    /// The generation: how often the spec was changed.
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// The status.
    pub fn status(&self) -> ManagedStatus {
        self.ledger.status().clone()
    }

    /// The audit record of every attempted write, oldest first.
    pub fn audited(&self) -> Vec<AuditRecord> {
        self.ledger.audited()
    }

    /// The spec.
    ///
    /// # Errors
    /// A spec that is no JSON: a defect.
    pub fn spec(&self) -> anyhow::Result<Value> {
        spec(&self.object)
    }

    /// Applies a manifest, as the API server does: an equal spec is no new generation. Answers whether it is one.
    ///
    /// # Errors
    /// A spec that is no JSON: a defect.
    pub fn apply(&mut self, object: K) -> anyhow::Result<bool> {
        let is_new = spec(&object)? != self.spec()?;
        if is_new {
            self.object = object;
            self.generation += 1;
        }
        Ok(is_new)
    }

    /// The object with another value at a pointer into its spec.
    ///
    /// # Errors
    /// A value that does not fit there.
    pub fn with(&self, path: &str, value: Value) -> anyhow::Result<K> {
        let mut object = serde_json::to_value(&self.object)?;
        let tokens = pointer::split(&format!("/spec{path}")).with_context(|| format!("{path} is no pointer"))?;
        pointer::set(&mut object, &tokens, Some(value));
        Ok(serde_json::from_value(object)?)
    }

    /// Phases 2 to 4, and nothing that writes. The states that it reads are remembered.
    ///
    /// # Errors
    /// A spec, a read or a plan that fails.
    pub async fn plan(&self, org: &Org) -> anyhow::Result<Plan> {
        let (desired, status) = (self.desired()?, self.status());
        let mut session = org.connection.client.session(org.connection.client.account().budget().ticket(Lane::First).await);
        let subject = self.subject(org);
        let request = self.request(org, &desired, &status, &subject, None);
        let (plan, _) = preview(&mut session, &self.states, &self.ledger, &request).await.map_err(|end| anyhow!("{end:?}"))?;
        Ok(plan)
    }

    /// Phases 2 to 8, as `controller/reconcile` runs them.
    ///
    /// # Errors
    /// A spec that is not valid. How a valid one ends is in the answer.
    pub async fn reconcile(&mut self, org: &Org, due: Due) -> anyhow::Result<Reconciled> {
        let (desired, status) = (self.desired()?, self.status());
        let is_change = due == Due::Change;
        let lane = if is_change { Lane::Change } else { Lane::Check };
        let mut session = org.connection.client.session(org.connection.client.account().budget().ticket(lane).await);
        let subject = self.subject(org);
        let request = self.request(org, &desired, &status, &subject, is_change.then(|| self.object.interval()));
        let convergence = converge(&mut session, &self.states, &self.ledger, &request).await;
        let event = self.conclude(&Verdict::Converged(&convergence), &status);
        let now = self.status();
        Ok(Reconciled { convergence, event, status_changed: now != status, status: now })
    }

    /// From now on the object leaves alone what this one declares. Both belong to the one org of the story.
    pub fn yield_to<P: Reconcilable>(&self, other: P) {
        self.ledger.yield_to(Box::new(move |user, skill| other.declares(user, skill)));
    }

    fn subject(&self, org: &Org) -> Subject {
        Subject {
            org: org.label.clone(),
            namespace: NAMESPACE.to_owned(),
            kind: K::KIND.to_owned(),
            name: self.name(),
            generation: self.generation(),
        }
    }

    fn request<'a>(
        &'a self,
        org: &'a Org,
        desired: &'a K::Desired,
        status: &'a ManagedStatus,
        subject: &'a Subject,
        max_age: Option<Duration>,
    ) -> Request<'a, K> {
        Request {
            object: &self.object,
            desired,
            connection: &org.connection.key,
            host: &org.connection.host,
            status,
            subject,
            max_age,
            approval_required: false,
            approved: None,
            refused: None,
            requested: false,
            immediate_retry: true,
            resumes: false,
        }
    }

    /// Phases 7 and 8 for a spec that breaks rules: no call is made.
    pub fn refuse(&mut self, findings: &[finding::Finding]) -> Option<EventDraft> {
        let status = self.status();
        self.conclude(&Verdict::Invalid(findings), &status)
    }

    /// Phase 2.
    fn desired(&self) -> anyhow::Result<K::Desired> {
        self.object.validate(&Texts::new()).map_err(|findings| anyhow!("{}: {}", self.name(), finding::summary(&findings)))
    }

    /// Phase 7, and the status that phase 8 would patch.
    fn conclude(&self, verdict: &Verdict<'_>, previous: &ManagedStatus) -> Option<EventDraft> {
        let facts = Facts {
            generation: self.generation(),
            policy: self.object.policy(),
            requested: None,
            approved: None,
            previous,
            watch: None,
            traffic: None,
            now: clock::now(),
        };
        let Outcome { status, event, .. } = outcome(verdict, &facts);
        *self.ledger.status() = status;
        event
    }
}

impl Stored<AgentAssistConfig> {
    /// What `spec.config` declares.
    pub fn declared(&self) -> Value {
        self.object.spec.config.as_ref().map(|text| text.parse()).unwrap_or_default()
    }
}

fn spec(object: &impl Serialize) -> anyhow::Result<Value> {
    let spec = serde_json::to_value(object)?.get_mut("spec").map(Value::take);
    spec.context("the object has no spec")
}
