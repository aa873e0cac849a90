//! The cluster, where the CLI was given one. It is only read: statuses, orgs, Secrets and texts that are not among the manifests.

use std::any::Any;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::ListParams;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::Mutex;

use crate::engine::display;

/// Objects a page of a list.
const PAGE: u32 = 200;

/// A cluster.
pub struct Cluster {
    client: Client,
    /// All objects of a kind, by kind.
    lists: Mutex<HashMap<String, Arc<dyn Any + Send + Sync>>>,
}

/// An object that lives in a namespace.
pub trait Namespaced:
    Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}
impl<K> Namespaced for K where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static
{
}

impl Cluster {
    /// Connects.
    ///
    /// # Errors
    /// A configuration that cannot be used.
    pub fn connect(config: Config) -> anyhow::Result<Self> {
        Ok(Self { client: Client::try_from(config)?, lists: Mutex::default() })
    }

    /// The client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// An object; `None` where there is none.
    ///
    /// # Errors
    /// It could not be read: which, and why.
    pub async fn get<K: Namespaced>(&self, namespace: &str, name: &str) -> Result<Option<K>, String> {
        // It becomes a part of a URL.
        if !is_name(namespace) || !is_name(name) {
            let (namespace, name) = (display::escape(namespace), display::escape(name));
            return Err(format!("{namespace}/{name} is no name of a {}", K::kind(&())));
        }
        let api: Api<K> = Api::namespaced(self.client.clone(), namespace);
        api.get_opt(name).await.map_err(|error| unread(&format!("{} {namespace}/{name}", K::kind(&())), &error))
    }

    /// The labels of a namespace; `None` where there is none.
    ///
    /// # Errors
    /// It could not be read.
    pub async fn labels(&self, namespace: &str) -> Result<Option<BTreeMap<String, String>>, String> {
        let api: Api<Namespace> = Api::all(self.client.clone());
        let found = api.get_opt(namespace).await.map_err(|error| unread(&format!("Namespace {namespace}"), &error))?;
        Ok(found.map(|found| found.labels().clone()))
    }

    /// All objects of a kind, read once. Where only a namespace may be listed, those of that one.
    ///
    /// # Errors
    /// They could not be listed.
    pub async fn all<K: Namespaced>(&self, namespace: &str) -> Result<Arc<Vec<K>>, String> {
        let mut lists = self.lists.lock().await;
        for key in [K::kind(&()).to_string(), format!("{}/{namespace}", K::kind(&()))] {
            if let Some(known) = lists.get(&key).cloned().and_then(|list| list.downcast::<Vec<K>>().ok()) {
                return Ok(known);
            }
        }
        let (key, found) = match list(&Api::<K>::all(self.client.clone())).await {
            Err(kube::Error::Api(status)) if status.code == 403 => {
                let found = list(&Api::<K>::namespaced(self.client.clone(), namespace)).await;
                (format!("{}/{namespace}", K::kind(&())), found)
            }
            found => (K::kind(&()).to_string(), found),
        };
        let found = Arc::new(found.map_err(|error| unread(&format!("the {} objects", K::kind(&())), &error))?);
        lists.insert(key, found.clone());
        Ok(found)
    }
}

/// Whether a text is a name as objects of a cluster have it.
fn is_name(text: &str) -> bool {
    let inner = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.');
    inner && !text.is_empty() && text.len() <= 253 && !text.starts_with('.') && !text.contains("..")
}

/// All objects, in pages.
///
/// # Errors
/// The answer of the API server.
pub async fn list<K: Clone + Debug + DeserializeOwned>(api: &Api<K>) -> kube::Result<Vec<K>> {
    let (mut all, mut params) = (Vec::new(), ListParams::default().limit(PAGE));
    loop {
        let page = api.list(&params).await?;
        all.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(all),
        }
    }
}

fn unread(what: &str, error: &kube::Error) -> String {
    match error {
        kube::Error::Api(status) if status.code == 403 => {
            format!("{what} may not be read in the cluster: grant get and list, or leave --cluster and --kubeconfig out")
        }
        kube::Error::Api(status) if status.code == 404 => {
            format!("{what}: the cluster does not know this kind; apply the CRDs first (assist-operator crds)")
        }
        error => format!("{what} could not be read in the cluster: {}", display::escape(&error.to_string())),
    }
}
