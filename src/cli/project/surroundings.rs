//! What stands around the objects of a project: their orgs (`orgs.rs`), the texts that they refer to, and the cluster.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex as StdMutex, PoisonError};

use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use tokio::sync::{Mutex, OnceCell};
use tokio_util::sync::CancellationToken;

use super::cluster::{Cluster, Namespaced};
use super::connections::{Accounts, Environment};
use super::object::AnyObject;
use super::orgs::Known;
use super::{Place, Project, Stop};
use crate::api::conditions::Reason;
use crate::controller::orgs::OrgName;
use crate::engine::genesys_org::AllowedEndpoints;
use crate::engine::kind::{Source, Texts};
use crate::kinds;
use crate::remote::audit::AuditRecord;
use crate::remote::states::States;

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
    /// Audit records that were not delivered yet: whoever ends the process prints them.
    pub undelivered: StdMutex<Vec<AuditRecord>>,
    pub(super) environment: Environment,
    pub(super) allowed: AllowedEndpoints,
    pub(super) orgs: Mutex<BTreeMap<OrgName, Arc<Known>>>,
    pub(super) accounts: Mutex<Accounts>,
    live: OnceCell<Result<Arc<Vec<AnyObject>>, Stop>>,
}

impl Surroundings {
    /// Of a project.
    ///
    /// # Errors
    /// An environment that cannot be used.
    pub fn new(project: Project, cluster: Option<Cluster>, place: &Place, stop: CancellationToken) -> anyhow::Result<Self> {
        Ok(Self {
            project,
            cluster,
            states: States::default(),
            stop,
            undelivered: StdMutex::default(),
            environment: Environment::of_process()?,
            allowed: AllowedEndpoints { all: false, urls: place.allow_endpoints.clone() },
            orgs: Mutex::default(),
            accounts: Mutex::default(),
            live: OnceCell::new(),
        })
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

    /// Resolves when the run is interrupted, unless a write may have been sent: that one is finished.
    pub async fn interrupted(&self, intended: &AtomicBool) {
        self.stop.cancelled().await;
        if intended.load(Ordering::Relaxed) {
            std::future::pending::<()>().await;
        }
    }

    /// Takes the records that were not delivered.
    pub fn take_undelivered(&self) -> Vec<AuditRecord> {
        std::mem::take(&mut *self.undelivered.lock().unwrap_or_else(PoisonError::into_inner))
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
            Some(cluster) => cluster.get(namespace, name).await.map_err(|message| Stop::new(Reason::OrgUnavailable, message)),
            None => Ok(None),
        }
    }

    /// All managed objects of the cluster, listed once; none without a cluster.
    ///
    /// # Errors
    /// They could not be listed.
    pub(super) async fn live_objects(&self, namespace: &str) -> Result<Arc<Vec<AnyObject>>, Stop> {
        let list = async {
            let mut all = Vec::new();
            if let Some(cluster) = &self.cluster {
                for kind in kinds::KINDS {
                    let found = (kind.live)(cluster, namespace).await;
                    all.extend(found.map_err(|message| Stop::new(Reason::OrgUnavailable, message))?);
                }
            }
            Ok(Arc::new(all))
        };
        self.live.get_or_init(|| list).await.clone()
    }

    /// The objects that declare skills for an organisation: those of the project, and those of the cluster that are not in it.
    ///
    /// # Errors
    /// They could not be listed.
    pub(super) async fn declarers(&self, namespace: &str, org: &OrgName) -> Result<Vec<AnyObject>, Stop> {
        let live = self.live_objects(namespace).await?;
        let others = live.iter().filter(|live| !self.project.objects.iter().any(|own| own.name() == live.name()));
        let mut declarers = Vec::new();
        for object in self.project.objects.iter().chain(others) {
            if self.are_one(&object.org(), org).await {
                declarers.push(object.clone());
            }
        }
        Ok(declarers)
    }
}
