//! Phase 8: at most one status patch, and only where a fact changed.

use std::fmt::Debug;

use kube::api::{Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::lease;
use super::reconcile::Shared;
use super::written::{Base, Written, version};

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
    /// What it was computed from is not what the API server holds: putting it there would lose what another process did.
    #[error("another process wrote the status; the object is looked at again")]
    Foreign,
    /// The API server did not take it.
    #[error("{0}")]
    Failed(Box<kube::Error>),
}

/// Where a status goes, and how it is read.
pub struct Place<'a, K, S> {
    /// The object.
    pub object: &'a K,
    /// The status of an object of its kind.
    pub of: fn(&K) -> Option<&S>,
    /// Learns what the API server holds.
    pub written: &'a Written<S>,
}

/// Applies a status, whole. The UID keeps it from landing on an object that was created anew under the same name; the version is the one
/// of the status that it was computed from, so that it never replaces what another process wrote meanwhile, however far behind the watch
/// is and however long the patch was held up. A change of anything but status is no reason to give up.
pub async fn patch_status<K, S>(shared: &Shared, place: &Place<'_, K, S>, base: &mut Base<S>, status: &S) -> Result<K, Unwritten>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
    S: Serialize + Clone + Default + PartialEq,
{
    let object = place.object;
    let (name, namespace) = (object.name_any(), object.namespace().unwrap_or_default());
    let api: Api<K> = Api::namespaced(shared.client.clone(), &namespace);
    let params = PatchParams::apply(STATUS_MANAGER).force();
    for _ in 0..TRIES {
        if !shared.leadership.is_held() {
            return Err(Unwritten::NotLeading);
        }
        let patch = serde_json::json!({
            "apiVersion": K::api_version(&()),
            "kind": K::kind(&()),
            "metadata": {"name": name, "uid": object.uid(), "resourceVersion": base.version().to_string()},
            "status": status,
        });
        match api.patch_status(&name, &params, &Patch::Apply(&patch)).await {
            Ok(answered) => {
                *base = Base::new(version(&answered), (place.of)(&answered).cloned().unwrap_or_default());
                place.written.put(object, base);
                return Ok(answered);
            }
            Err(error) if is_conflict(&error) => {}
            Err(error) if is_gone(&error) => return Err(Unwritten::Gone),
            Err(error) => {
                base.may_be(status.clone());
                return Err(Unwritten::Failed(Box::new(error)));
            }
        }
        // Somebody else changed the object, or it is another one, or the answer to an earlier patch was lost.
        match api.get(&name).await {
            Ok(live) if live.uid() == object.uid() => {
                let now = (place.of)(&live).cloned().unwrap_or_default();
                if !base.is(&now) {
                    place.written.put(object, &Base::new(version(&live), now));
                    return Err(Unwritten::Foreign);
                }
                base.moved_to(version(&live));
            }
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
