//! What stands around the objects of a project: their orgs and connections, the texts that they refer to, and the cluster.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Namespaced};
use super::connections::{Accounts, Credentials, Environment, connect};
use super::object::AnyObject;
use super::{Place, Project, Stop, audit};
use crate::api::GenesysOrg;
use crate::api::conditions::Reason;
use crate::api::genesys_org::{From, GenesysOrgSpec};
use crate::cli::kubernetes;
use crate::cli::ledger::MemoryLedger;
use crate::controller::change_limit::ChangeLimit;
use crate::controller::orgs::OrgName;
use crate::engine::genesys_org::{AllowedEndpoints, Request, grants};
use crate::engine::kind::{Source, Texts};
use crate::genesys::audit_sink::Sink;
use crate::kinds;
use crate::remote::connection::Connection;
use crate::remote::states::States;

/// An org in use.
pub struct Link {
    /// The org.
    pub org: GenesysOrg,
    /// Its connection.
    pub connection: Connection,
    /// Its change limit, as far as this run knows.
    pub limit: Arc<ChangeLimit>,
    /// Its audit webhook; `None` where it has none.
    sink: OnceCell<Option<Arc<Sink>>>,
}

/// See the module.
pub struct Surroundings {
    /// The manifests.
    pub project: Project,
    /// The cluster, where one was given.
    pub cluster: Option<Cluster>,
    /// The remote states of this run: no target is read twice.
    pub states: States,
    /// Cancelled: no write starts any more.
    pub stop: CancellationToken,
    environment: Environment,
    allowed: AllowedEndpoints,
    links: Mutex<BTreeMap<OrgName, Result<Arc<Link>, Stop>>>,
    accounts: Mutex<Accounts>,
    declarers: Mutex<Option<Arc<Vec<AnyObject>>>>,
}

impl Surroundings {
    /// Of a project.
    ///
    /// # Errors
    /// A cluster or an environment that cannot be used.
    pub async fn open(project: Project, place: &Place, stop: CancellationToken) -> anyhow::Result<Self> {
        let cluster = match place.has_cluster() {
            true => {
                let config = kubernetes::config(place.kubeconfig.as_deref(), place.context.as_deref()).await?;
                Some(Cluster::connect(config)?)
            }
            false => None,
        };
        Ok(Self {
            project,
            cluster,
            states: States::default(),
            stop,
            environment: Environment::of_process()?,
            allowed: AllowedEndpoints { all: false, urls: place.allow_endpoints.clone() },
            links: Mutex::default(),
            accounts: Mutex::default(),
            declarers: Mutex::default(),
        })
    }

    /// An org: among the manifests, in the cluster, or what the environment says.
    ///
    /// # Errors
    /// It is nowhere.
    pub async fn org(&self, name: &OrgName) -> Result<GenesysOrg, Stop> {
        if let Some(org) = self.project.orgs.get(name) {
            return Ok(org.clone());
        }
        if let Some(org) = self.live::<GenesysOrg>(&name.0, &name.1).await? {
            return Ok(org);
        }
        if let (Some(region), Some(_)) = (&self.environment.region, &self.environment.credentials) {
            let mut org = GenesysOrg::new(&name.1, GenesysOrgSpec { region: Some(*region), ..Default::default() });
            org.metadata.namespace = Some(name.0.clone());
            return Ok(org);
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
        let mut links = self.links.lock().await;
        if let Some(link) = links.get(name) {
            return link.clone();
        }
        let link = self.make_link(name).await.map(Arc::new);
        links.insert(name.clone(), link.clone());
        link
    }

    async fn make_link(&self, name: &OrgName) -> Result<Link, Stop> {
        let label = format!("{}/{}", name.0, name.1);
        let org = self.org(name).await?;
        let credentials = self.credentials(&org, name).await?;
        let mut accounts = self.accounts.lock().await;
        let connection = connect(&org, &credentials, &self.allowed, &mut accounts)
            .map_err(|message| Stop::new(Reason::InvalidSpec, format!("GenesysOrg {label}: {message}")))?;
        let limit = Arc::new(ChangeLimit::default());
        limit.set(org.spec.change_limit.as_ref().and_then(|limit| limit.per_hour));
        Ok(Link { org, connection, limit, sink: OnceCell::new() })
    }

    async fn credentials(&self, org: &GenesysOrg, name: &OrgName) -> Result<Credentials, Stop> {
        let label = format!("{}/{}", name.0, name.1);
        if let Some(credentials) = &self.environment.credentials {
            if self.project.orgs_in_use().len() > 1 {
                return Err(Stop::missing(format!(
                    "the environment holds one OAuth client, and these manifests use several orgs: choose one with --org {label}"
                )));
            }
            self.environment.fits(org, &label).map_err(|message| Stop::new(Reason::InvalidSpec, message))?;
            return Ok(credentials.clone());
        }
        let secret_name = &org.spec.credentials.secret_ref.name;
        let secret = self.secret(&name.0, secret_name).await?;
        let secret = secret.ok_or_else(|| {
            Stop::missing(format!(
                "there are no credentials for GenesysOrg {label}: set GENESYSCLOUD_OAUTHCLIENT_ID and GENESYSCLOUD_OAUTHCLIENT_SECRET, add Secret {}/{secret_name} to the manifests{}",
                name.0,
                if self.cluster.is_some() { " or to the cluster" } else { ", or give --cluster" },
            ))
        })?;
        Credentials::of_secret(&secret, &name.0, org).map_err(Stop::missing)
    }

    /// A Secret, among the manifests or in the cluster.
    ///
    /// # Errors
    /// The cluster could not be asked.
    pub async fn secret(&self, namespace: &str, name: &str) -> Result<Option<Secret>, Stop> {
        match self.project.secrets.get(&(namespace.to_owned(), name.to_owned())) {
            Some(secret) => Ok(Some(secret.clone())),
            None => self.live::<Secret>(namespace, name).await,
        }
    }

    /// The audit webhook of an org.
    ///
    /// # Errors
    /// It has one that cannot be used.
    pub async fn sink(&self, name: &OrgName, link: &Link) -> Result<Option<Arc<Sink>>, Stop> {
        link.sink.get_or_try_init(|| audit::sink(self, name, link, &self.allowed)).await.cloned()
    }

    /// Resolves when the run is interrupted, unless a write of this object may have been sent: that one is finished.
    pub async fn interrupted(&self, ledger: &MemoryLedger) {
        self.stop.cancelled().await;
        if ledger.has_intended() {
            std::future::pending::<()>().await;
        }
    }

    /// Whether an object of `kind` in `namespace` may use an org.
    ///
    /// # Errors
    /// It may not, or that cannot be told.
    pub async fn grant(&self, org: &GenesysOrg, home: &str, kind: &str, namespace: &str) -> Result<(), Stop> {
        let allowed = org.spec.allowed_namespaces.as_ref();
        let by_label = home != namespace && allowed.is_some_and(|allowed| allowed.from == Some(From::Selector));
        let labels = match (by_label, self.project.labels.get(namespace), &self.cluster) {
            (true, Some(labels), _) => Some(labels.clone()),
            (true, None, Some(cluster)) => {
                cluster.labels(namespace).await.map_err(|message| Stop::new(Reason::OrgUnavailable, message))?
            }
            (true, None, None) => {
                return Err(Stop::missing(format!(
                    "whether GenesysOrg {home}/{} grants its use to namespace {namespace} depends on the labels of that namespace: add its manifest, or give --cluster",
                    org.name_any()
                )));
            }
            (false, ..) => None,
        };
        match grants(home, allowed, &Request { kind, namespace, labels: labels.as_ref() }) {
            true => Ok(()),
            false => Err(Stop::missing(format!(
                "GenesysOrg {home}/{} does not grant its use to {kind} objects of namespace {namespace}; add the namespace to its allowedNamespaces",
                org.name_any()
            ))),
        }
    }

    /// The texts that an object of `namespace` refers to.
    ///
    /// # Errors
    /// The first one that is nowhere.
    pub async fn texts(&self, namespace: &str, sources: &[Source]) -> Result<Texts, Stop> {
        let mut texts = Texts::new();
        for source in sources {
            let map = match self.project.config_maps.get(&(namespace.to_owned(), source.name.clone())) {
                Some(map) => Some(map.clone()),
                None => self.live::<ConfigMap>(namespace, &source.name).await?,
            };
            let text = map.and_then(|map| map.data?.remove(&source.key));
            let text = text.ok_or_else(|| {
                let (name, key) = (&source.name, &source.key);
                Stop::missing(format!(
                    "ConfigMap {namespace}/{name} with key {key} is not among the manifests{}; add it (kustomize build makes it from a file), or correct spec.contentFrom",
                    if self.cluster.is_some() { ", nor in the cluster" } else { "" }
                ))
            })?;
            texts.insert(source.clone(), text);
        }
        Ok(texts)
    }

    /// An object of the cluster; `None` without a cluster.
    ///
    /// # Errors
    /// It could not be read.
    pub async fn live<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<Option<K>, Stop> {
        match &self.cluster {
            Some(cluster) => cluster.get(namespace, name).await.map_err(|message| Stop::new(Reason::DependencyNotFound, message)),
            None => Ok(None),
        }
    }

    /// All objects that may declare skills: those of the project, and those of the cluster that are not in it.
    ///
    /// # Errors
    /// They could not be listed.
    pub async fn declarers(&self, namespace: &str) -> Result<Arc<Vec<AnyObject>>, Stop> {
        let mut declarers = self.declarers.lock().await;
        if let Some(known) = declarers.as_ref() {
            return Ok(known.clone());
        }
        let mut all = self.project.objects.clone();
        if let Some(cluster) = &self.cluster {
            for kind in kinds::KINDS {
                let found = (kind.live)(cluster, namespace).await;
                let found = found.map_err(|message| Stop::new(Reason::DependencyNotFound, message))?;
                all.extend(found.into_iter().filter(|live| !self.project.objects.iter().any(|own| own.name() == live.name())));
            }
        }
        let all = Arc::new(all);
        *declarers = Some(all.clone());
        Ok(all)
    }
}
