//! The orgs of a project: where each is found, what holds of it, its connection, and the credentials that may go there.
//!
//! Whoever proposes a change of a manifest must not choose where credentials go, nor take off what holds in the cluster. So an org of the
//! cluster counts beside its manifest, and a Secret of the cluster is used only as the org of the cluster says.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use tokio::sync::OnceCell;

use super::audit;
use super::connections::{Credentials, connect};
use super::surroundings::Surroundings;
use super::{ObjectName, Stop};
use crate::api::conditions::Reason;
use crate::api::genesys_org::{From, GenesysOrgSpec};
use crate::api::{Approval, GenesysOrg};
use crate::controller::change_limit::ChangeLimit;
use crate::controller::orgs::OrgName;
use crate::engine::genesys_org::{Request, grants};
use crate::genesys::audit_sink::Sink;
use crate::remote::connection::Connection;

/// An org, as far as it was found.
#[derive(Clone, Debug)]
pub struct FoundOrg {
    /// What holds: the manifest where there is one, and what the cluster's org holds back.
    pub org: GenesysOrg,
    /// The org of the cluster.
    pub live: Option<GenesysOrg>,
}

/// An org in use.
pub struct Link {
    /// The org.
    pub found: FoundOrg,
    /// Its connection.
    pub connection: Connection,
    /// Its change limit: with the writes that the cluster remembers, else those of this run.
    pub limit: Arc<ChangeLimit>,
    /// Its audit webhook; `None` where it has none.
    pub(super) sink: OnceCell<Option<Arc<Sink>>>,
    /// Whether a record of this run could not be delivered: then nothing more is written.
    pub(super) audit_lost: AtomicBool,
}

/// What is known of an org in this run, each looked up once.
#[derive(Default)]
pub(super) struct Known {
    org: OnceCell<Result<FoundOrg, Stop>>,
    link: OnceCell<Result<Arc<Link>, Stop>>,
}

impl FoundOrg {
    /// What an `apply` needs besides: the cluster's org is the one of the manifest.
    ///
    /// # Errors
    /// It is another one.
    pub fn is_applied(&self, name: &OrgName) -> Result<(), Stop> {
        let mut live = self.live.as_ref().map(|live| live.spec.clone());
        if let Some(live) = &mut live {
            (live.suspend, live.approval, live.change_limit) =
                (self.org.spec.suspend, self.org.spec.approval.clone(), self.org.spec.change_limit.clone());
        }
        match live.is_none_or(|live| live == self.org.spec) {
            true => Ok(()),
            false => Err(Stop::new(
                Reason::DuplicateOwner,
                format!("the cluster has GenesysOrg {}/{} with another spec; apply its manifest there first", name.0, name.1),
            )),
        }
    }
}

/// The stricter of both: neither side takes off what the other holds back.
fn stricter(mut org: GenesysOrg, live: Option<&GenesysOrg>) -> GenesysOrg {
    let Some(live) = live.map(|live| &live.spec) else { return org };
    let spec = &mut org.spec;
    if live.suspend == Some(true) {
        spec.suspend = Some(true);
    }
    if live.approval_required() {
        spec.approval = Some(Approval { required: Some(true) });
    }
    let limit = |spec: &GenesysOrgSpec| spec.change_limit.as_ref().and_then(|limit| limit.per_hour);
    if limit(live).is_some_and(|live| limit(spec).is_none_or(|own| live < own)) {
        spec.change_limit.clone_from(&live.change_limit);
    }
    org
}

impl Surroundings {
    async fn known(&self, name: &OrgName) -> Arc<Known> {
        self.orgs.lock().await.entry(name.clone()).or_default().clone()
    }

    /// An org: among the manifests, in the cluster, or what the environment says.
    ///
    /// # Errors
    /// It is nowhere.
    pub async fn org(&self, name: &OrgName) -> Result<FoundOrg, Stop> {
        let known = self.known(name).await;
        known.org.get_or_init(|| self.find_org(name)).await.clone()
    }

    async fn find_org(&self, name: &OrgName) -> Result<FoundOrg, Stop> {
        let live = self.live::<GenesysOrg>(&name.0, &name.1).await?;
        if let Some(org) = self.project.orgs.get(name).or(live.as_ref()) {
            return Ok(FoundOrg { org: stricter(org.clone(), live.as_ref()), live });
        }
        if let (Some(region), Some(_)) = (&self.environment.region, &self.environment.credentials) {
            let mut org = GenesysOrg::new(&name.1, GenesysOrgSpec { region: Some(*region), ..Default::default() });
            org.metadata.namespace = Some(name.0.clone());
            return Ok(FoundOrg { org, live: None });
        }
        Err(Stop::missing(format!(
            "GenesysOrg {}/{} is not among the manifests{}; add its manifest, {}or set GENESYSCLOUD_REGION, GENESYSCLOUD_OAUTHCLIENT_ID and GENESYSCLOUD_OAUTHCLIENT_SECRET",
            name.0,
            name.1,
            if self.cluster.is_some() { " and not in the cluster" } else { "" },
            if self.cluster.is_some() { "" } else { "give --cluster, " },
        )))
    }

    /// The connection of an org, made once.
    ///
    /// # Errors
    /// What is missing, or breaks a rule.
    pub async fn link(&self, name: &OrgName) -> Result<Arc<Link>, Stop> {
        let known = self.known(name).await;
        known.link.get_or_init(|| async { self.make_link(name).await.map(Arc::new) }).await.clone()
    }

    async fn make_link(&self, name: &OrgName) -> Result<Link, Stop> {
        let label = format!("{}/{}", name.0, name.1);
        let found = self.org(name).await?;
        let credentials = self.credentials(&found, name).await?;
        let connection = connect(&found.org, &credentials, &self.allowed, &mut *self.accounts.lock().await)
            .map_err(|message| Stop::new(Reason::InvalidSpec, format!("GenesysOrg {label}: {message}")))?;
        let limit = Arc::new(ChangeLimit::default());
        let per_hour = found.org.spec.change_limit.as_ref().and_then(|limit| limit.per_hour);
        if per_hour.is_some() {
            limit.set(per_hour);
            limit.rebuild(self.written_lately(name).await?);
        }
        Ok(Link { found, connection, limit, sink: OnceCell::new(), audit_lost: AtomicBool::new(false) })
    }

    /// The writes for an org that the statuses of the cluster remember.
    async fn written_lately(&self, name: &OrgName) -> Result<Vec<jiff::Timestamp>, Stop> {
        let hour_ago = crate::clock::now().checked_sub(jiff::SignedDuration::from_hours(1)).unwrap_or(jiff::Timestamp::MIN);
        let objects = self.live_objects(&name.0).await?;
        let of_org = objects.iter().filter(|object| object.org() == *name);
        Ok(of_org.flat_map(|object| object.written()).filter(|at| *at > hour_ago).collect())
    }

    async fn credentials(&self, found: &FoundOrg, name: &OrgName) -> Result<Credentials, Stop> {
        let label = format!("{}/{}", name.0, name.1);
        if let Some(credentials) = &self.environment.credentials {
            if self.project.orgs_in_use().len() > 1 {
                return Err(Stop::missing(format!(
                    "the environment holds one OAuth client, and these manifests use several orgs: choose one with --org {label}"
                )));
            }
            self.environment.fits(&found.org, &label).map_err(|message| Stop::new(Reason::InvalidSpec, message))?;
            return Ok(credentials.clone());
        }
        let secret_name = &found.org.spec.credentials.secret_ref.name;
        if let Some(secret) = self.project.secrets.get(&(name.0.clone(), secret_name.clone())) {
            return Credentials::of_secret(secret, &name.0, &found.org).map_err(Stop::missing);
        }
        let places = |spec: &GenesysOrgSpec| (spec.region, spec.endpoints.clone(), spec.credentials.clone());
        let same = found.live.as_ref().is_some_and(|live| places(&live.spec) == places(&found.org.spec));
        if self.cluster.is_some() && !same {
            return Err(Stop::new(
                Reason::InvalidSpec,
                format!(
                    "a Secret of the cluster is used only as the GenesysOrg of the cluster says, and the manifest of {label} names another place or Secret; apply it to the cluster first, or give the credentials in the environment"
                ),
            ));
        }
        let secret = self.live::<Secret>(&name.0, secret_name).await?.ok_or_else(|| {
            Stop::missing(format!(
                "there are no credentials for GenesysOrg {label}: set GENESYSCLOUD_OAUTHCLIENT_ID and GENESYSCLOUD_OAUTHCLIENT_SECRET, add Secret {}/{secret_name} to the manifests{}",
                name.0,
                if self.cluster.is_some() { " or to the cluster" } else { ", or give --cluster" },
            ))
        })?;
        Credentials::of_secret(&secret, &name.0, &found.org).map_err(Stop::missing)
    }

    /// Whether an object may use an org: as the manifest says, and as the cluster's org says.
    ///
    /// # Errors
    /// It may not, or that cannot be told.
    pub async fn grant(&self, found: &FoundOrg, home: &str, object: &ObjectName) -> Result<(), Stop> {
        let orgs = [Some(&found.org), found.live.as_ref()];
        if home == object.namespace {
            return Ok(());
        }
        let by_label = |org: &GenesysOrg| org.spec.allowed_namespaces.as_ref().is_some_and(|a| a.from == Some(From::Selector));
        let labels = match orgs.into_iter().flatten().any(by_label) {
            true => Some(self.labels(home, &found.org, &object.namespace).await?),
            false => None,
        };
        let request = Request { kind: object.kind, namespace: &object.namespace, labels: labels.as_ref() };
        if orgs.into_iter().flatten().all(|org| grants(home, org.spec.allowed_namespaces.as_ref(), &request)) {
            return Ok(());
        }
        Err(Stop::missing(format!(
            "GenesysOrg {home}/{} does not grant its use to {} objects of namespace {}; add the namespace to its allowedNamespaces",
            found.org.name_any(),
            object.kind,
            object.namespace
        )))
    }

    /// The labels of a namespace; the cluster's count where there is one.
    async fn labels(&self, home: &str, org: &GenesysOrg, namespace: &str) -> Result<BTreeMap<String, String>, Stop> {
        let labels = match (&self.cluster, self.project.labels.get(namespace)) {
            (Some(cluster), own) => {
                let live = cluster.labels(namespace).await.map_err(|message| Stop::new(Reason::OrgUnavailable, message))?;
                live.or_else(|| own.cloned()).unwrap_or_default()
            }
            (None, Some(labels)) => labels.clone(),
            (None, None) => {
                return Err(Stop::missing(format!(
                    "whether GenesysOrg {home}/{} grants its use to namespace {namespace} depends on the labels of that namespace: add its manifest, or give --cluster",
                    org.name_any()
                )));
            }
        };
        // Every namespace has it, also one that is only a manifest yet.
        let name = ("kubernetes.io/metadata.name".to_owned(), namespace.to_owned());
        Ok(labels.into_iter().chain([name]).collect())
    }

    /// The audit webhook of an org.
    ///
    /// # Errors
    /// It has one that cannot be used.
    pub async fn sink(&self, name: &OrgName, link: &Link) -> Result<Option<Arc<Sink>>, Stop> {
        link.sink.get_or_try_init(|| audit::sink(self, name, link, &self.allowed)).await.cloned()
    }

    /// Whether two orgs are one organisation for one client: whose remote objects are the same.
    pub async fn are_one(&self, a: &OrgName, b: &OrgName) -> bool {
        // The client of the environment says nothing of other orgs.
        if a == b || self.environment.credentials.is_some() {
            return a == b;
        }
        match (self.link(a).await, self.link(b).await) {
            (Ok(a), Ok(b)) => a.connection.key == b.connection.key,
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn org(spec: serde_json::Value) -> GenesysOrg {
        let mut full = json!({"credentials": {"secretRef": {"name": "genesys"}}});
        full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        GenesysOrg::new("org", serde_json::from_value(full).unwrap())
    }

    #[test]
    fn a_manifest_takes_nothing_off_that_holds_in_the_cluster() {
        let manifest = org(json!({"suspend": false, "changeLimit": {"perHour": 100}}));
        let live = org(json!({"suspend": true, "approval": {"required": true}, "changeLimit": {"perHour": 5}}));
        let found = stricter(manifest, Some(&live)).spec;
        assert_eq!((found.suspend, found.approval_required()), (Some(true), true));
        assert_eq!(found.change_limit.unwrap().per_hour, Some(5));
        let alone = stricter(org(json!({"changeLimit": {"perHour": 1}})), Some(&org(json!({})))).spec;
        assert_eq!((alone.suspend, alone.change_limit.unwrap().per_hour), (None, Some(1)));
    }
}
