//! Audit records of a run without a controller: delivered to the org's webhook before the command goes on. There is no queue that
//! outlives the process, so what cannot be delivered is printed.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use secrecy::SecretString;

use super::Stop;
use super::connections::with_plain_texts;
use super::orgs::Link;
use super::surroundings::Surroundings;
use crate::api::conditions::Reason;
use crate::controller::orgs::OrgName;
use crate::controller::references;
use crate::engine::finding;
use crate::engine::genesys_org::{AllowedEndpoints, webhook};
use crate::genesys::audit_sink::Sink;
use crate::remote::audit::AuditRecord;

/// Between the tries of a delivery.
const TRIES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(4)];

/// The webhook of an org; `None` where it has none.
///
/// # Errors
/// It has one that cannot be used: nothing may be written then.
pub async fn sink(
    around: &Surroundings,
    name: &OrgName,
    link: &Link,
    allowed: &AllowedEndpoints,
) -> Result<Option<Arc<Sink>>, Stop> {
    let mut findings = Vec::new();
    let hook = webhook(&link.found.org.spec, allowed, &mut findings);
    if !findings.is_empty() {
        return Err(Stop::new(Reason::InvalidSpec, finding::summary(&findings)));
    }
    let Some(hook) = hook else { return Ok(None) };
    let key = match &hook.key {
        None => None,
        Some(reference) => {
            let secret: Option<Secret> = around.secret(&name.0, &reference.name).await?;
            let key = secret.and_then(|secret| references::secret_text(&with_plain_texts(&secret), &reference.key));
            let missing = || {
                Stop::missing(format!(
                    "the signing key of the audit webhook, key {} of Secret {}/{}, is not among the manifests{}; nothing is written without its audit record",
                    reference.key,
                    name.0,
                    reference.name,
                    if around.cluster.is_some() { ", nor in the cluster" } else { "" }
                ))
            };
            Some(SecretString::from(key.ok_or_else(missing)?))
        }
    };
    let sink = Sink::new(hook.url, key, hook.private).map_err(|error| Stop::new(Reason::InvalidSpec, error.to_string()))?;
    Ok(Some(Arc::new(sink)))
}

/// Delivers the records that wait, oldest first, and stops at the first that cannot be delivered: with the reason.
///
/// # Errors
/// Why the first of those that are left was not accepted.
pub async fn deliver(around: &Surroundings, sink: &Sink, records: Vec<AuditRecord>) -> Result<(), String> {
    // Whoever ends the process meanwhile prints them.
    around.undelivered.lock().unwrap_or_else(PoisonError::into_inner).extend(records.iter().cloned());
    for record in records {
        let body = serde_json::to_string(&record).map_err(|error| error.to_string())?;
        attempt(around, sink, &record.audit_id, body.as_bytes()).await?;
        around.undelivered.lock().unwrap_or_else(PoisonError::into_inner).retain(|left| left.audit_id != record.audit_id);
    }
    Ok(())
}

async fn attempt(around: &Surroundings, sink: &Sink, id: &str, body: &[u8]) -> Result<(), String> {
    let mut why = String::new();
    for wait in TRIES {
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = around.stop.cancelled(), if !wait.is_zero() => return Err("the run was interrupted".to_owned()),
        }
        match sink.deliver(id, body).await {
            Ok(()) => return Ok(()),
            Err(error) => why = error.to_string(),
        }
    }
    Err(why)
}
