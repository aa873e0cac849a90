//! Phase 8: at most one status patch, and only where a fact changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Field manager of status.
pub const STATUS_MANAGER: &str = "assist-operator-status";

/// Applies a status, whole. The UID keeps it from landing on an object that was created anew under the same name.
pub async fn patch_status<K, S>(client: &Client, object: &K, status: &S) -> kube::Result<K>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    S: Serialize,
{
    let namespace = object.namespace().unwrap_or_default();
    let api: Api<K> = Api::namespaced(client.clone(), &namespace);
    let patch = serde_json::json!({
        "apiVersion": K::api_version(&()),
        "kind": K::kind(&()),
        "metadata": {"name": object.name_any(), "uid": object.uid()},
        "status": status,
    });
    api.patch_status(&object.name_any(), &PatchParams::apply(STATUS_MANAGER).force(), &Patch::Apply(&patch)).await
}

/// Whether a patch failed because the object is gone, or is another one of the same name.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404 || status.code == 409)
}

/// Statuses that were written and that the watch may not have brought back yet: without them a reconcile right after a write
/// would decide on an old status.
pub struct Written<S>(Mutex<HashMap<String, (u64, S)>>);

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone> Written<S> {
    /// Remembers a status that the server answered with.
    pub fn put<K: Resource>(&self, answered: &K, status: S) {
        if let Some(uid) = answered.uid() {
            self.lock().insert(uid, (version(answered), status));
        }
    }

    /// Remembers a status that could not be written: it stays the newest until one is.
    pub fn keep<K: Resource>(&self, object: &K, status: S) {
        if let Some(uid) = object.uid() {
            self.lock().insert(uid, (u64::MAX, status));
        }
    }

    /// The status, where it is newer than the object.
    pub fn newer<K: Resource>(&self, object: &K) -> Option<S> {
        let uid = object.uid()?;
        self.lock().get(&uid).filter(|(at, _)| *at > version(object)).map(|(_, status)| status.clone())
    }

    /// The watch brought an object: what is not newer is forgotten.
    pub fn seen<K: Resource>(&self, object: &K) {
        let Some(uid) = object.uid() else { return };
        let mut written = self.lock();
        if written.get(&uid).is_some_and(|(at, _)| *at <= version(object)) {
            written.remove(&uid);
        }
    }

    /// An object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, (u64, S)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Resource versions of one kind are comparable as numbers.
fn version<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}
