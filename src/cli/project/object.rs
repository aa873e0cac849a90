//! One managed object of a project, whatever its kind: phases 1 to 4 of it, and `apply`.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::SignedDuration;
use kube::ResourceExt;
use serde::Serialize;

use super::applied::{Applied, Orders};
use super::cluster::Cluster;
use super::proposal::Planned;
use super::surroundings::{Link, Surroundings};
use super::{ObjectName, Proposal, Stop};
use crate::api::ManagedStatus;
use crate::api::conditions::Reason;
use crate::cli::ledger::MemoryLedger;
use crate::cli::manifests::{Manifest, ManifestError};
use crate::clock;
use crate::controller::claims::{self, Claimant};
use crate::controller::orgs::{OrgName, Orgs};
use crate::controller::reconcile::Reconcilable;
use crate::engine::gate::approval_digest;
use crate::engine::{finding, json};
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
    /// Whether the cluster has the object, with another spec.
    pub differs: bool,
    pub ledger: MemoryLedger,
}

impl<K: Reconcilable + Serialize> Of<K> {
    fn new(object: K, place: String) -> Self {
        let name = ObjectName { kind: K::KIND, namespace: object.namespace().unwrap_or_default(), name: object.name_any() };
        Self { object, name, place }
    }

    /// Phases 1 and 2.
    pub(super) async fn prepare(&self, around: &Surroundings) -> Result<Prepared<K>, Stop> {
        let (namespace, name) = (&self.name.namespace, &self.name.name);
        let live: Option<K> = around.live(namespace, name).await?;
        let org_name = self.org();
        let org = around.org(&org_name).await?;
        // What a manifest leaves out stays as somebody set it in the cluster.
        let by = match (self.object.managed().suspend, live.as_ref().and_then(|live| live.managed().suspend)) {
            (Some(true), _) => Some("spec.suspend"),
            (None, Some(true)) => Some("spec.suspend in the cluster"),
            _ if org.spec.suspend.unwrap_or(false) => Some("spec.suspend of its GenesysOrg"),
            _ => None,
        };
        if let Some(by) = by {
            return Err(Stop::new(Reason::Suspended, format!("suspended by {by}; nothing is read or written")));
        }
        let texts = around.texts(namespace, &self.object.sources()).await?;
        let desired =
            self.object.validate(&texts).map_err(|findings| Stop::new(Reason::InvalidSpec, finding::summary(&findings)))?;
        around.grant(&org, &org_name.0, K::KIND, namespace).await?;
        let link = around.link(&org_name).await?;
        self.check_claims(around, live.as_ref()).await?;
        let status = live.as_ref().and_then(|live| live.status().cloned()).unwrap_or_default();
        let ledger = MemoryLedger::new(self.name.to_string(), status.clone(), link.limit.clone(), around.stop.clone());
        if K::pairs(&desired).is_some() {
            let (declarers, org) = (around.declarers(namespace).await?, org_name.clone());
            ledger.yield_to(Box::new(move |user, skill| {
                declarers.iter().any(|object| object.declares(user, skill) && object.org() == org)
            }));
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
        let required = self.object.managed().approval.as_ref().and_then(|approval| approval.required).unwrap_or(false);
        let approval = required || link.org.spec.approval_required();
        let memory = around.cluster.is_some();
        Ok(Prepared { desired, link, status, subject, approval, memory, differs, ledger })
    }

    /// An object of the cluster that claims the same remote object and is older keeps it.
    async fn check_claims(&self, around: &Surroundings, live: Option<&K>) -> Result<(), Stop> {
        let Some(cluster) = &around.cluster else { return Ok(()) };
        let all = cluster.all::<K>(&self.name.namespace).await.map_err(Stop::missing)?;
        let id = self.object.remote_id();
        let holds = |object: &K| object.status().and_then(|s| s.remote.as_ref()).is_some_and(|r| r.id == object.remote_id());
        let others = all.iter().filter(|other| {
            let itself = other.name_any() == self.name.name && other.namespace().as_deref() == Some(&self.name.namespace);
            !itself && Of::new((*other).clone(), String::new()).org() == self.org()
        });
        let claimants: Vec<Claimant> = others
            .filter_map(|other| {
                Some(Claimant { meta: other.meta().clone(), holds: holds(other), claimed: self.object.overlap(other)? })
            })
            .collect();
        let owner = match live {
            Some(live) => {
                let own = Claimant { meta: live.meta().clone(), holds: holds(live), claimed: id.to_owned() };
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
    pub(super) fn request<'a>(
        &'a self,
        prepared: &'a Prepared<K>,
        status: &'a ManagedStatus,
        approved: Option<&'a str>,
    ) -> Request<'a, K> {
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
            approved,
            refused: None,
            requested: false,
            immediate_retry: true,
            resumes: goes_on,
        }
    }

    async fn plan(&self, around: &Surroundings) -> Result<Planned, Stop> {
        let prepared = Box::pin(self.prepare(around)).await?;
        let mut session = Self::session(&prepared.link, Lane::Change).await;
        let request = self.request(&prepared, &prepared.status, None);
        let plan = preview(&mut session, &around.states, &prepared.ledger, &request).await?;
        let digest = approval_digest(&plan, &prepared.status.history);
        Ok(Planned { plan, digest, approval: prepared.approval, memory: prepared.memory })
    }
}

impl<K: Reconcilable + Serialize> Object for Of<K> {
    fn name(&self) -> &ObjectName {
        &self.name
    }

    fn org(&self) -> OrgName {
        Orgs::name_of(&self.object.managed().org_ref, &self.name.namespace)
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

/// Whether two objects say the same of the remote. Numbers compare by value: the API server writes `1.0` as `1`.
fn same_spec<K: Serialize>(a: &K, b: &K) -> bool {
    let spec = |object: &K| {
        let value = serde_json::to_value(object).unwrap_or_default();
        value.get("spec").map(|spec| json::normal(&json::without(spec, &["suspend"])))
    };
    spec(a) == spec(b)
}
