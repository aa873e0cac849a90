//! Phase 8: at most one status patch, and only where a fact changed.

use std::collections::HashMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lease;
use super::reconcile::Shared;

/// Field manager of status.
pub const STATUS_MANAGER: &str = "assist-operator-status";

/// How often a status is put on top of what others have just changed of the object.
const TRIES: u32 = 5;

/// Why a status was not written.
#[derive(Debug, thiserror::Error)]
pub enum Unwritten {
    /// The object is gone, or is another one of the same name.
    #[error("the object is gone")]
    Gone,
    /// Another replica may have written it.
    #[error("{}", lease::NOT_HELD)]
    NotLeading,
    /// The API server did not take it.
    #[error("{0}")]
    Failed(Box<kube::Error>),
}

/// Applies a status, whole. The UID keeps it from landing on an object that was created anew under the same name, the version from
/// replacing what the next leader wrote: the version was read before the lease was asked, so at that moment nobody else had written, and
/// the API server refuses whatever was held up since, however long.
pub async fn patch_status<K, S>(shared: &Shared, written: &Written<S>, object: &K, status: &S) -> Result<K, Unwritten>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    S: Serialize + Clone,
{
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let api: Api<K> = Api::namespaced(shared.client.clone(), &namespace);
    let params = PatchParams::apply(STATUS_MANAGER).force();
    let mut version = written.latest(object);
    for _ in 0..TRIES {
        if !shared.leadership.is_held() {
            return Err(Unwritten::NotLeading);
        }
        let mut patch = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": object.uid()},
            "status": status,
        });
        if let Some(version) = version {
            patch["metadata"]["resourceVersion"] = serde_json::json!(version.to_string());
        }
        match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
            Ok(answered) => return Ok(answered),
            Err(error) if is_conflict(&error) => {}
            Err(error) if is_gone(&error) => return Err(Unwritten::Gone),
            Err(error) => return Err(Unwritten::Failed(Box::new(error))),
        }
        // Somebody else changed the object, or it is another one.
        match api.get(&name).await {
            Ok(live) if live.uid() == object.uid() => version = number(&live),
            Ok(_) => return Err(Unwritten::Gone),
            Err(error) if is_gone(&error) => return Err(Unwritten::Gone),
            Err(error) => return Err(Unwritten::Failed(Box::new(error))),
        }
    }
    let busy = "the object is changed by others all the time".into();
    Err(Unwritten::Failed(Box::new(kube::Error::Service(busy))))
}

/// Whether a call failed because the object is gone.
pub fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}

fn is_conflict(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 409)
}

/// Statuses that were written and that the watch may not have brought back yet: without them a reconcile right after a write
/// would decide on an old status. By UID.
pub struct Written<S>(Mutex<HashMap<String, Known<S>>>);

/// What is known of one object. The watch is often faster than the answer to the patch: without the version that it brought,
/// such a status would be kept for nothing until the next one.
struct Known<S> {
    /// The version that the watch brought last.
    seen: u64,
    /// The version that a status was answered with last.
    answered: u64,
    /// A status that is newer, and its version.
    newer: Option<Box<(u64, S)>>,
}

impl<S> Default for Known<S> {
    fn default() -> Self {
        Self { seen: 0, answered: 0, newer: None }
    }
}

impl<S> Default for Written<S> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<S: Clone> Written<S> {
    /// Remembers a status that the server answered with, unless the watch has brought it.
    pub fn put<K: Resource>(&self, answered: &K, status: S) {
        if let Some(uid) = answered.uid() {
            let mut written = self.lock();
            let known = written.entry(uid).or_default();
            known.answered = known.answered.max(version(answered));
            known.put(version(answered), status);
        }
    }

    /// The greatest version of an object that is known.
    fn latest<K: Resource>(&self, object: &K) -> Option<u64> {
        let known = object.uid().and_then(|uid| self.lock().get(&uid).map(|known| known.seen.max(known.answered)));
        Some(known.unwrap_or_default().max(version(object))).filter(|version| *version > 0)
    }

    /// Remembers a status that could not be written: it stays the newest until one is.
    pub fn keep<K: Resource>(&self, object: &K, status: S) {
        if let Some(uid) = object.uid() {
            self.lock().entry(uid).or_default().put(u64::MAX, status);
        }
    }

    /// The status, where it is newer than the object.
    pub fn newer<K: Resource>(&self, object: &K) -> Option<S> {
        let uid = object.uid()?;
        let written = self.lock();
        written.get(&uid)?.newer.as_ref().filter(|newer| newer.0 > version(object)).map(|newer| newer.1.clone())
    }

    /// The watch brought an object: what is not newer is forgotten.
    pub fn seen<K: Resource>(&self, object: &K) {
        let Some(uid) = object.uid() else { return };
        let mut written = self.lock();
        let known = written.entry(uid).or_default();
        known.seen = version(object);
        known.newer.take_if(|newer| newer.0 <= known.seen);
    }

    /// An object is gone.
    pub fn forget(&self, uid: &str) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Known<S>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S> Known<S> {
    /// An answer replaces also what could not be written before, even where the watch was faster.
    fn put(&mut self, version: u64, status: S) {
        self.newer = (version > self.seen).then(|| Box::new((version, status)));
    }
}

fn number<K: Resource>(object: &K) -> Option<u64> {
    Some(version(object)).filter(|version| *version > 0)
}

/// Resource versions of one kind are comparable as numbers.
fn version<K: Resource>(object: &K) -> u64 {
    object.resource_version().and_then(|v| v.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use kube::core::{ObjectMeta, PartialObjectMeta, PartialObjectMetaExt};

    use super::*;
    use crate::api::SkillProfile;

    fn object(version: u64) -> PartialObjectMeta<SkillProfile> {
        let meta = ObjectMeta { uid: Some("u".into()), resource_version: Some(version.to_string()), ..Default::default() };
        meta.into_response_partial::<SkillProfile>()
    }

    #[test]
    fn a_written_status_counts_until_the_watch_brings_it() {
        let written = Written::default();
        written.seen(&object(1));
        written.put(&object(2), "b");
        assert_eq!(written.newer(&object(1)), Some("b"));
        written.seen(&object(2));
        assert_eq!(written.newer(&object(1)), None);
    }

    #[test]
    fn nothing_is_kept_where_the_watch_was_faster_than_the_answer() {
        let written = Written::default();
        written.seen(&object(2));
        written.put(&object(2), "b");
        assert!(written.lock()["u"].newer.is_none());
    }

    #[test]
    fn an_unwritten_status_counts_until_one_is_written() {
        let written = Written::default();
        written.keep(&object(1), "kept");
        written.seen(&object(3));
        assert_eq!(written.newer(&object(3)), Some("kept"));
        written.put(&object(3), "written");
        assert_eq!(written.newer(&object(3)), None);
    }
}
