//! The webhook of an org: its URL, its signing key, and what is wrong with them.

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::org::OrgContext;
use super::orgs::OrgName;
use super::outbox::Destination;
use crate::api::GenesysOrg;
use crate::api::genesys_org::KeyRef;
use crate::engine::genesys_org::webhook;
use crate::engine::{finding, json};
use crate::genesys::audit_sink::Sink;

/// Brings the destination of the org's audit records up to date. Whether no more of them can be kept.
pub async fn configure(context: &OrgContext, org: &GenesysOrg, name: &OrgName) -> bool {
    let outbox = &context.shared.outbox;
    if let Some(destination) = destination(context, org, name).await {
        outbox.configure(name, destination);
    }
    outbox.is_full(name)
}

/// `None`: as it was.
async fn destination(context: &OrgContext, org: &GenesysOrg, name: &OrgName) -> Option<Destination> {
    let mut findings = Vec::new();
    let hook = webhook(&org.spec, &context.shared.orgs.allowed, &mut findings);
    if !findings.is_empty() {
        return Some(Destination::Unusable(finding::summary(&findings)));
    }
    let Some(hook) = hook else { return Some(Destination::None) };
    let key = match &hook.key {
        None => None,
        Some(reference) => match signing_key(context, &name.0, reference).await {
            Ok(key) => Some(key),
            Err(Unread::Missing(why)) => return Some(Destination::Unusable(why)),
            // The API server did not answer: what is known goes on being true, and records are kept in any case.
            Err(Unread::Unknown) if context.shared.outbox.has_webhook(name) => return None,
            Err(Unread::Unknown) => {
                return Some(Destination::Unusable("the signing key could not be read yet; it is tried again".to_owned()));
            }
        },
    };
    let made_for = json::hex(&Sha256::digest(format!("{}\n{}\n{}", hook.url, hook.private, key.as_deref().unwrap_or_default())));
    if context.shared.outbox.uses(name, &made_for) {
        return None;
    }
    Some(match Sink::new(hook.url, key.map(SecretString::from), hook.private) {
        Ok(sink) => Destination::Sink(Arc::new(sink), made_for),
        Err(error) => Destination::Unusable(error.to_string()),
    })
}

enum Unread {
    Missing(String),
    Unknown,
}

async fn signing_key(context: &OrgContext, namespace: &str, reference: &KeyRef) -> Result<String, Unread> {
    let api: Api<Secret> = Api::namespaced(context.shared.client.clone(), namespace);
    let (name, key) = (&reference.name, &reference.key);
    let secret = match api.get_opt(name).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return Err(Unread::Missing(format!(
                "Secret {namespace}/{name} of the signing key was not found; create it with the key {key}"
            )));
        }
        Err(kube::Error::Api(status)) if status.code == 403 => {
            return Err(Unread::Missing(format!(
                "Secret {namespace}/{name} of the signing key may not be read; grant the operator get on it"
            )));
        }
        Err(error) => {
            tracing::warn!(%error, namespace, name, "the signing key could not be read; it is tried again");
            return Err(Unread::Unknown);
        }
    };
    let bytes = secret.data.as_ref().and_then(|data| data.get(key)).map(|ByteString(bytes)| bytes.clone());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).map(|text| text.trim().to_owned());
    text.filter(|text| !text.is_empty()).ok_or_else(|| {
        Unread::Missing(format!("Secret {namespace}/{name} has no key {key}, or it is empty or no text; set the signing key"))
    })
}
