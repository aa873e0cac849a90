//! Objects that a spec refers to by name, in its own namespace: read one by one, never listed or watched.

use std::fmt::Debug;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;

/// Why an object is not there.
pub enum Unread {
    /// It does not exist, lacks what is needed, or may not be read: what happened, and what to do.
    Missing(String),
    /// The API server did not answer: it is tried again.
    Unknown,
}

/// Reads an object; `remedy` is what to do where it does not exist.
pub async fn read<K>(client: &Client, namespace: &str, name: &str, remedy: &str) -> Result<K, Unread>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + Debug + DeserializeOwned,
{
    let (api, kind): (Api<K>, _) = (Api::namespaced(client.clone(), namespace), K::kind(&()));
    match api.get_opt(name).await {
        Ok(Some(object)) => Ok(object),
        Ok(None) => Err(Unread::Missing(format!("{kind} {namespace}/{name} was not found; {remedy}"))),
        Err(kube::Error::Api(status)) if status.code == 403 => {
            Err(Unread::Missing(format!("{kind} {namespace}/{name} may not be read; grant the operator get on it")))
        }
        Err(error) => {
            tracing::warn!(%error, namespace, name, %kind, "a referenced object could not be read; it is tried again");
            Err(Unread::Unknown)
        }
    }
}

/// A key of a Secret as text without white space around it; `None` where it is missing, empty or no text.
pub fn secret_text(secret: &Secret, key: &str) -> Option<String> {
    let ByteString(bytes) = secret.data.as_ref()?.get(key)?;
    let text = std::str::from_utf8(bytes).ok()?.trim();
    (!text.is_empty()).then(|| text.to_owned())
}
