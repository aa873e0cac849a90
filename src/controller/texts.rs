//! The texts that a spec refers to: keys of ConfigMaps in the object's own namespace. Read anew each time that an object is
//! looked at; not watched, so that the operator needs no more than `get` on them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::{Api, Client};

use crate::engine::kind::{Source, Texts};

/// Why the texts are not there.
pub enum Unread {
    /// One of them does not exist: the message for the object.
    Missing(String),
    /// The API server did not answer: it is tried again.
    Unknown,
}

/// Reads the sources of an object of `namespace`.
pub async fn read(client: &Client, namespace: &str, sources: &[Source]) -> Result<Texts, Unread> {
    let mut maps: BTreeMap<&str, ConfigMap> = BTreeMap::new();
    let mut texts = Texts::new();
    for source in sources {
        if !maps.contains_key(source.name.as_str()) {
            maps.insert(&source.name, config_map(client, namespace, &source.name).await?);
        }
        let text = maps.get(source.name.as_str()).and_then(|map| map.data.as_ref()).and_then(|data| data.get(&source.key));
        let text = text.ok_or_else(|| {
            let (name, key) = (&source.name, &source.key);
            Unread::Missing(format!(
                "ConfigMap {namespace}/{name} has no key {key} with text; add it, or correct spec.contentFrom"
            ))
        })?;
        texts.insert(source.clone(), text.clone());
    }
    Ok(texts)
}

async fn config_map(client: &Client, namespace: &str, name: &str) -> Result<ConfigMap, Unread> {
    let api: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    match api.get_opt(name).await {
        Ok(Some(map)) => Ok(map),
        Ok(None) => {
            Err(Unread::Missing(format!("ConfigMap {namespace}/{name} was not found; create it, or correct spec.contentFrom")))
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(Unread::Missing(format!("ConfigMap {namespace}/{name} may not be read; grant the operator get on it")))
        }
        Err(error) => {
            tracing::warn!(%error, namespace, name, "ConfigMap could not be read; it is tried again");
            Err(Unread::Unknown)
        }
    }
}
