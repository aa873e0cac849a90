//! The texts that a spec refers to: keys of ConfigMaps in the object's own namespace. Read anew each time that an object is
//! looked at; not watched, so that the operator needs no more than `get` on them.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;

use super::references::{Unread, read as read_object};
use crate::engine::kind::{Source, Texts};

/// Reads the sources of an object of `namespace`.
pub async fn read(client: &Client, namespace: &str, sources: &[Source]) -> Result<Texts, Unread> {
    let mut maps: BTreeMap<&str, ConfigMap> = BTreeMap::new();
    let mut texts = Texts::new();
    for source in sources {
        if !maps.contains_key(source.name.as_str()) {
            maps.insert(
                &source.name,
                read_object(client, namespace, &source.name, "create it, or correct spec.contentFrom").await?,
            );
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
