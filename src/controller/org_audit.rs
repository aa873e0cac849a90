//! The webhook of an org: its URL, its signing key, and what is wrong with them.

use k8s_openapi::api::core::v1::Secret;
use kube::ResourceExt;
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use std::sync::Arc;

use super::org::OrgContext;
use super::orgs::OrgName;
use super::outbox::Destination;
use super::references::{self, Unread};
use crate::api::GenesysOrg;
use crate::api::genesys_org::KeyRef;
use crate::engine::genesys_org::webhook;
use crate::engine::{finding, json};
use crate::genesys::audit_sink::Sink;

/// Brings the destination of the org's audit records up to date.
pub async fn configure(context: &OrgContext, org: &GenesysOrg, name: &OrgName) {
    let destination = destination(context, org, name).await;
    // Deleted, or created anew, while the key was read: what was found is about another org.
    let same = context.shared.orgs.live(name).is_some_and(|live| live.uid() == org.uid());
    if let Some(destination) = destination.filter(|_| same) {
        context.shared.outbox.configure(name, destination);
    }
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

async fn signing_key(context: &OrgContext, namespace: &str, reference: &KeyRef) -> Result<String, Unread> {
    let (name, key) = (&reference.name, &reference.key);
    let remedy = format!("create it with the key {key}, which signs the audit records");
    let secret = references::read::<Secret>(&context.shared.client, namespace, name, &remedy).await?;
    references::secret_text(&secret, key).ok_or_else(|| {
        Unread::Missing(format!("Secret {namespace}/{name} has no key {key}, or it is empty or no text; set the signing key"))
    })
}
