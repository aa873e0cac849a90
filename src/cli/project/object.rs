//! One managed object of a project, whatever its kind: phases 1 to 4 of it, and `apply`.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use jiff::Timestamp;
use kube::{Api, ResourceExt};
use serde::Serialize;
use serde_json::Value;

use super::applied::{Applied, Orders};
use super::cluster::Cluster;
use super::orgs::{FoundOrg, Link};
use super::proposal::Planned;
use super::surroundings::Surroundings;
use super::{ObjectName, Proposal, Stop};
use crate::api::APPROVE_PLAN;
use crate::api::ManagedStatus;
use crate::api::conditions::Reason;
use crate::cli::ledger::{LiveLook, MemoryLedger};
use crate::cli::manifests::{Manifest, ManifestError};
use crate::clock;
use crate::controller::claims::{self, Claimant};
use crate::controller::ledger::unchanged;
use crate::controller::orgs::{OrgName, Orgs};
use crate::controller::reconcile::Reconcilable;
use crate::engine::gate::{Gate, approval_digest};
use crate::engine::{Plan, finding, json};
use crate::genesys::{Lane, Session};
use crate::remote::audit::Subject;
use crate::remote::converge::{Request, preview};

/// A managed object.
pub trait Object: Send + Sync {
    /// Which.
    fn name(&self) -> &ObjectName;
    /// Its org.
    fn org(&self) -> OrgName;
    /// Whether it declares a skill of a user.
    fn declares(&self, user: &str, skill: &str) -> bool;
    /// When its status says that it was written.
    fn written(&self) -> Vec<Timestamp>;
    /// Phases 1 to 4: what would be written now. Nothing is.
    fn propose<'a>(&'a self, around: &'a Surroundings) -> BoxFuture<'a, Proposal>;
    /// Phases 1 to 7: writes what differs.
    fn apply<'a>(&'a self, around: &'a Surroundings, orders: &'a Orders) -> BoxFuture<'a, Applied>;
}

/// An object, whatever its kind.
pub type AnyObject = Arc<dyn Object>;
/// The objects of a kind that a cluster holds.
pub type Found<'a> = BoxFuture<'a, Result<Vec<AnyObject>, String>>;

/// An object of a kind.
pub struct Of<K> {
    /// The object.
    pub object: K,
    name: ObjectName,
    place: String,
}

/// Reads a manifest of a kind.
///
/// # Errors
/// The first field that does not fit.
pub fn read<K: Reconcilable + Serialize>(manifest: &Manifest, namespace: &str) -> Result<AnyObject, ManifestError> {
    let mut object: K = manifest.read()?;
    object.meta_mut().namespace.get_or_insert_with(|| namespace.to_owned());
    Ok(Arc::new(Of::new(object, manifest.place())))
}

/// All objects of a kind in a cluster.
pub fn live<'a, K: Reconcilable + Serialize>(cluster: &'a Cluster, namespace: &'a str) -> Found<'a> {
    async move {
        let all = cluster.all::<K>(namespace).await?;
        Ok(all.iter().map(|object| Arc::new(Of::new(object.clone(), String::new())) as AnyObject).collect())
    }
    .boxed()
}

/// An object that may be looked at in the remote.
pub(super) struct Prepared<K: Reconcilable> {
    pub desired: K::Desired,
    pub link: Arc<Link>,
    pub status: ManagedStatus,
    pub subject: Subject,
    pub approval: bool,
    /// Whether what was applied before is known.
    pub memory: bool,
    /// Whether the cluster has no such object.
    pub is_new: bool,
    /// Whether the cluster has the object, with another spec.
    pub differs: bool,
    /// The digest in the object's annotation.
    pub approved: Option<String>,
    pub ledger: MemoryLedger,
}

impl<K: Reconcilable> Prepared<K> {
    /// What a plan is known by: where a person approves it, what is approved; else as in events and `status.history`.
    pub(super) fn digest(&self, plan: &Plan, status: &ManagedStatus) -> String {
        if self.approval { approval_digest(plan, &self.link.connection.key, status) } else { plan.digest() }
    }
}

impl<K: Reconcilable + Serialize> Of<K> {
    fn new(object: K, place: String) -> Self {
        let name = ObjectName { kind: K::KIND, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        Self { object, name, place }
    }

    /// Phases 1 and 2, for a plan or for an `apply` whose writes are told in `intended`.
    pub(super) async fn prepare(&self, around: &Surroundings, applies: Option<Arc<AtomicBool>>) -> Result<Prepared<K>, Stop> {
        let (namespace, name, org_name) = (&self.name.namespace, &self.name.name, self.org());
        let live: Option<K> = around.live(namespace, name).await?;
        let found = around.org(&org_name).await?;
        if let Some(by) = self.suspended_by(live.as_ref(), applies.is_some(), &found) {
            return Err(Stop::new(Reason::Suspended, format!("suspended by {by}; nothing is read or written")));
        }
        let texts = around.texts(namespace, &self.object.sources()).await?;
        let desired =
            self.object.validate(&texts).map_err(|findings| Stop::new(Reason::InvalidSpec, finding::summary(&findings)))?;
        around.grant(&found, &org_name.0, &self.name).await?;
        let link = around.link(&org_name).await?;
        self.check_claims(around, live.as_ref()).await?;
        let status = live.as_ref().and_then(|live| live.status().cloned()).unwrap_or_default();
        let ledger = MemoryLedger::new(self.name.to_string(), status.clone(), link.limit.clone(), around.stop.clone());
        let ledger = applies.into_iter().fold(ledger, MemoryLedger::telling);
        let ledger = match (&around.cluster, &live) {
            (Some(cluster), Some(live)) => ledger.looking(look(cluster, live)),
            _ => ledger,
        };
        if K::pairs(&desired).is_some() {
            let declarers = around.declarers(namespace, &org_name).await?;
            ledger.yield_to(Box::new(move |user, skill| declarers.iter().any(|object| object.declares(user, skill))));
        }
        let differs = live.as_ref().is_some_and(|live| !same_spec(live, &self.object));
        let generation = live.as_ref().and_then(|live| live.meta().generation).unwrap_or_default() + i64::from(differs);
        let subject = Subject {
            org: format!("{}/{}", org_name.0, org_name.1),
            namespace: namespace.clone(),
            kind: K::KIND.to_owned(),
            name: name.clone(),
            generation: generation.max(1),
        };
        let required = |object: &K| object.managed().approval.as_ref().and_then(|approval| approval.required).unwrap_or(false);
        Ok(Prepared {
            desired,
            status,
            subject,
            // What holds in the cluster is taken off there, not by a manifest.
            approval: required(&self.object) || live.as_ref().is_some_and(required) || found.org.spec.approval_required(),
            approved: live.as_ref().and_then(|live| live.annotations().get(APPROVE_PLAN).cloned()),
            memory: around.cluster.is_some(),
            is_new: live.is_none(),
            differs,
            ledger,
            link,
        })
    }

    /// What suspends it. A plan shows what follows from the manifest; a run without the controller leaves alone what somebody suspended.
    fn suspended_by(&self, live: Option<&K>, applies: bool, org: &FoundOrg) -> Option<&'static str> {
        match (self.object.managed().suspend, live.and_then(|live| live.managed().suspend)) {
            (Some(true), _) => Some("spec.suspend"),
            (None, Some(true)) => Some("spec.suspend in the cluster"),
            (Some(false), Some(true)) if applies => Some("spec.suspend in the cluster"),
            _ if org.org.spec.suspend.unwrap_or(false) => Some("spec.suspend of its GenesysOrg"),
            _ => None,
        }
    }

    /// An object of the cluster that claims the same remote object and is older keeps it.
    async fn check_claims(&self, around: &Surroundings, live: Option<&K>) -> Result<(), Stop> {
        let Some(cluster) = &around.cluster else { return Ok(()) };
        let all = cluster.all::<K>(&self.name.namespace).await.map_err(|message| Stop::new(Reason::OrgUnavailable, message))?;
        let own_org = self.org();
        let holds = |object: &K| object.status().and_then(|s| s.remote.as_ref()).is_some_and(|r| r.id == object.remote_id());
        let mut claimants = Vec::new();
        for other in all.iter() {
            let itself = other.name_any() == self.name.name && other.namespace().as_deref() == Some(&self.name.namespace);
            let Some(claimed) = self.object.overlap(other).filter(|_| !itself) else { continue };
            let org = Orgs::name_of(&other.managed().org_ref, &other.namespace().unwrap_or_default());
            if around.are_one(&org, &own_org).await {
                claimants.push(Claimant { meta: other.meta().clone(), holds: holds(other), claimed });
            }
        }
        let owner = match live {
            Some(live) => {
                let own = Claimant { meta: live.meta().clone(), holds: holds(live), claimed: live.remote_id().to_owned() };
                claims::owner(&own, &claimants)
            }
            // Whatever is there is older than what is not.
            None => claimants.iter().find(|claimant| claimant.meta.deletion_timestamp.is_none()),
        };
        match owner {
            Some(owner) => Err(Stop::new(Reason::DuplicateOwner, claims::message(self.object.meta(), owner))),
            None => Ok(()),
        }
    }

    /// A session that holds a ticket.
    pub(super) async fn session(link: &Link, lane: Lane) -> Session {
        let client = &link.connection.client;
        client.session(client.account().budget().ticket(lane).await)
    }

    /// What phases 3 to 6 are asked for.
    pub(super) fn request<'a>(&'a self, prepared: &'a Prepared<K>, status: &'a ManagedStatus) -> Request<'a, K> {
        let every = SignedDuration::try_from(self.object.interval()).unwrap_or(SignedDuration::MAX);
        let goes_on = status.evaluation.as_ref().is_some_and(|last| clock::now().duration_since(last.time.0) < every);
        Request {
            object: &self.object,
            desired: &prepared.desired,
            connection: &prepared.link.connection.key,
            host: &prepared.link.connection.host,
            status,
            subject: &prepared.subject,
            // Whatever this run has read already, for whichever object.
            max_age: Some(self.object.interval()),
            approval_required: prepared.approval,
            approved: prepared.approved.as_deref(),
            refused: None,
            requested: false,
            immediate_retry: true,
            resumes: goes_on,
        }
    }

    async fn plan(&self, around: &Surroundings) -> Result<Planned, Stop> {
        let prepared = Box::pin(self.prepare(around, None)).await?;
        let mut session = Self::session(&prepared.link, Lane::Change).await;
        let request = self.request(&prepared, &prepared.status);
        let (mut plan, gate) = preview(&mut session, &around.states, &prepared.ledger, &request).await?;
        let digest = prepared.digest(&plan, &prepared.status);
        // Many of them wait to be printed, and nobody sends them.
        plan.steps.iter_mut().for_each(|step| step.body = Value::Null);
        let held = match gate {
            Gate::Hold { reason, message, .. } => Some(Stop::new(reason, message)),
            Gate::Run | Gate::Nothing => None,
        };
        Ok(Planned { plan, digest, held, memory: prepared.memory })
    }
}

impl<K: Reconcilable + Serialize> Object for Of<K> {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn org(&self) -> OrgName {
        Orgs::name_of(&self.object.managed().org_ref, &self.name.namespace)
    }

    fn written(&self) -> Vec<Timestamp> {
        let history = self.object.status().map(|status| status.history.as_slice()).unwrap_or_default();
        history.iter().flat_map(|entry| std::iter::repeat_n(entry.time.0, entry.writes.unwrap_or(1).max(1) as usize)).collect()
    }

    fn declares(&self, user: &str, skill: &str) -> bool {
        self.object.meta().deletion_timestamp.is_none() && self.object.declares(user, skill)
    }

    fn propose<'a>(&'a self, around: &'a Surroundings) -> BoxFuture<'a, Proposal> {
        async move {
            let result = self.plan(around).await;
            Proposal { name: self.name.clone(), place: self.place.clone(), org: self.org(), result }
        }
        .boxed()
    }

    fn apply<'a>(&'a self, around: &'a Surroundings, orders: &'a Orders) -> BoxFuture<'a, Applied> {
        self.converge(around, orders).boxed()
    }
}

/// A live look at an object: it is still there, unchanged, not suspended.
fn look<K: Reconcilable>(cluster: &Cluster, planned: &K) -> LiveLook {
    let api: Api<K> = Api::namespaced(cluster.client().clone(), &planned.namespace().unwrap_or_default());
    let planned = planned.clone();
    Box::new(move || {
        let (api, planned) = (api.clone(), planned.clone());
        async move {
            let live =
                api.get_opt(&planned.name_any()).await.map_err(|_| "it could not be looked at in the cluster".to_owned())?;
            unchanged(&planned, &live.ok_or("the object was deleted")?).map_err(str::to_owned)
        }
        .boxed()
    })
}

/// Whether two objects say the same of the remote. Numbers compare by value: the API server writes `1.0` as `1`.
fn same_spec<K: Serialize>(a: &K, b: &K) -> bool {
    let spec = |object: &K| {
        let value = serde_json::to_value(object).unwrap_or_default();
        value.get("spec").map(|spec| json::normal(&json::without(spec, &["suspend"])))
    };
    spec(a) == spec(b)
}
