//! Watch streams: what the store keeps, what triggers a reconcile, and what happens on the way.

use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};

use futures::stream::BoxStream;
use futures::{StreamExt, TryStreamExt};
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::store::Writer;
use kube::runtime::utils::WatchStreamExt;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{PredicateConfig, reflector};
use kube::{Api, Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;

use crate::api::{APPROVE_PLAN, RECONCILE_REQUESTED_AT};

/// An object that may not be readable: one bad object never blocks the others.
pub type Guarded<K> = DeserializeGuard<K>;

/// How to watch.
#[derive(Clone)]
pub struct Watching {
    /// Client for the API server.
    pub client: Client,
    /// One namespace, or all.
    pub namespace: Option<String>,
    /// Whether the server has streaming lists.
    pub streaming: bool,
}

impl Watching {
    /// The API of a kind, in the watched namespaces.
    pub fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope>,
    {
        match &self.namespace {
            Some(namespace) => Api::namespaced(self.client.clone(), namespace),
            None => Api::all(self.client.clone()),
        }
    }

    /// The stream of objects whose reconcile-worthy facts changed. The store is kept up to date on the way, and `on_event`
    /// sees every event after it.
    pub fn objects<K>(
        &self,
        writer: Writer<Guarded<K>>,
        mut on_event: impl FnMut(&Event<Guarded<K>>) + Send + 'static,
    ) -> BoxStream<'static, Result<Guarded<K>, watcher::Error>>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned + Send + Sync + 'static,
    {
        let config = watcher::Config::default();
        let config = if self.streaming { config.streaming_lists() } else { config.page_size(50) };
        let events =
            kube::runtime::watcher(self.api::<Guarded<K>>(), config).default_backoff().map_ok(|event| event.modify(strip));
        reflector(writer, events)
            .inspect(move |event| match event {
                Ok(event) => on_event(event),
                Err(error) => tracing::warn!(%error, kind = %K::kind(&()), "watch failed; it is tried again"),
            })
            .applied_objects()
            .predicate_filter(facts, PredicateConfig::default())
            .boxed()
    }
}

/// Drops what takes memory and nobody reads.
fn strip<K: Resource>(object: &mut K) {
    object.managed_fields_mut().clear();
    object.annotations_mut().remove("kubectl.kubernetes.io/last-applied-configuration");
}

/// Everything but status that can give a reconcile something to do. The UID is among it: an object that is deleted and
/// created anew between two events has generation 1 again.
fn facts<K: Resource>(object: &K) -> Option<u64> {
    let meta = object.meta();
    let annotation = |name: &str| meta.annotations.as_ref().and_then(|a| a.get(name));
    let mut hasher = DefaultHasher::new();
    (&meta.uid, meta.generation, meta.deletion_timestamp.is_some(), annotation(RECONCILE_REQUESTED_AT), annotation(APPROVE_PLAN))
        .hash(&mut hasher);
    Some(hasher.finish())
}
