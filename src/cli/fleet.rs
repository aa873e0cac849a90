//! The managed objects of a cluster, as `get` and `approve` see them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use serde::Serialize;

use super::project::cluster::{Cluster, list};
use crate::api::conditions::{self, IN_SYNC, READY, RECONCILING};
use crate::api::status::PendingPlan;
use crate::api::{GROUP, GenesysOrgStatus, ManagedStatus};
use crate::kinds::{self, KindEntry};

/// One object, with what its status says.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Member {
    /// Kind as in manifests.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// `<namespace>/<name>` of its org.
    pub org: String,
    /// Status of `Ready`; `Unknown` where no operator has seen this generation.
    pub ready: String,
    /// Its reason.
    pub reason: String,
    /// Its message.
    pub message: String,
    /// Whether the remote equals the manifest: `True`, `False` or `Unknown`.
    pub in_sync: String,
    /// Whether the operator is at it, or waits for something.
    pub reconciling: bool,
    /// Whether the spec suspends it.
    pub suspended: bool,
    /// Version of the remote object, as last seen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// When it was last written.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change: Option<String>,
    /// Differences that are reported, at most 20.
    pub drift: usize,
    /// The plan that waits for approval.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pending_plan: Option<PendingPlan>,
    /// What the next patch has to be about.
    #[serde(skip)]
    pub meta: ObjectMeta,
}

/// One org.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OrgMember {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Status of `Ready`.
    pub ready: String,
    /// Its reason.
    pub reason: String,
    /// Calls a minute that it allows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_per_minute: Option<i64>,
    /// Until when Genesys Cloud asked for a pause.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<String>,
    /// Whether the spec suspends it.
    pub suspended: bool,
}

/// A kind by what people call it: kind, plural or short name, in any case.
pub fn kind(text: &str) -> anyhow::Result<&'static KindEntry> {
    for entry in kinds::KINDS {
        let names = entry.names();
        let known = [Some(&names.kind), Some(&names.plural), names.singular.as_ref()].into_iter().flatten();
        if known.chain(names.short_names.iter().flatten()).any(|name| name.eq_ignore_ascii_case(text)) {
            return Ok(entry);
        }
    }
    let all: Vec<&str> = kinds::KINDS.iter().map(|entry| entry.kind).collect();
    anyhow::bail!("{text} is no managed kind; one of {}, or their short names", all.join(", "))
}

/// The objects of a kind in a namespace, or in all.
pub fn api(cluster: &Cluster, entry: &KindEntry, namespace: Option<&str>) -> Api<DynamicObject> {
    resource(cluster, entry.kind, &entry.names().plural, namespace)
}

fn resource(cluster: &Cluster, kind: &str, plural: &str, namespace: Option<&str>) -> Api<DynamicObject> {
    let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", kind), plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(cluster.client().clone(), namespace, &resource),
        None => Api::all_with(cluster.client().clone(), &resource),
    }
}

/// All managed objects, by kind, namespace and name; without those that hold personal data where these may not be listed.
///
/// # Errors
/// They could not be listed: of which kind, and why.
pub async fn members(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Vec<Member>> {
    let (mut members, personal) = (Vec::new(), kinds::with_part("agents"));
    for entry in kinds::KINDS {
        match list(&api(cluster, entry, namespace)).await {
            Ok(found) => members.extend(found.into_iter().map(|object| member(entry.kind, object))),
            // What holds personal data is not for everybody who may see the rest.
            Err(kube::Error::Api(status)) if status.code == 403 && personal.contains(&entry.names().plural) => {
                anstream::eprintln!("note: {} objects are left out, for they may not be listed", entry.kind);
            }
            Err(error) => return Err(unlisted(entry.kind, namespace, &error)),
        }
    }
    Ok(members)
}

/// All orgs.
///
/// # Errors
/// They could not be listed.
pub async fn orgs(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<Vec<OrgMember>> {
    let found = list(&resource(cluster, "GenesysOrg", "genesysorgs", namespace)).await;
    Ok(found.map_err(|error| unlisted("GenesysOrg", namespace, &error))?.into_iter().map(org).collect())
}

fn unlisted(kind: &str, namespace: Option<&str>, error: &kube::Error) -> anyhow::Error {
    match error {
        kube::Error::Api(status) if status.code == 403 && namespace.is_none() => {
            anyhow::anyhow!(
                "{kind} objects of all namespaces may not be listed; name one with -n, or ask for the role assist-operator-viewer"
            )
        }
        kube::Error::Api(status) if status.code == 404 => {
            anyhow::anyhow!(
                "the cluster does not know the kind {kind}; apply the CRDs first: assist-operator crds | kubectl apply --server-side -f -"
            )
        }
        kube::Error::Api(status) => anyhow::anyhow!("{kind} objects could not be listed: {}", status.message),
        error => anyhow::anyhow!("{kind} objects could not be listed: {error}"),
    }
}

/// An object with what its status says.
pub fn member(kind: &'static str, object: DynamicObject) -> Member {
    let status: ManagedStatus =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok()).unwrap_or_default();
    let namespace = object.namespace().unwrap_or_default();
    let text = |pointer: &str| object.data.pointer(pointer).and_then(serde_json::Value::as_str);
    let org =
        format!("{}/{}", text("/spec/orgRef/namespace").unwrap_or(&namespace), text("/spec/orgRef/name").unwrap_or_default());
    let seen = object.metadata.generation == Some(status.observed_generation);
    let ready = conditions::find(&status.conditions, READY).filter(|_| seen);
    let in_sync = conditions::find(&status.conditions, IN_SYNC).filter(|_| seen);
    Member {
        kind,
        org,
        ready: ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned(),
        reason: ready.map_or("NotSeen", |ready| ready.reason.as_str()).to_owned(),
        message: ready.map_or("no operator has looked at this generation yet", |ready| ready.message.as_str()).to_owned(),
        in_sync: in_sync.map_or("Unknown", |in_sync| in_sync.status.as_str()).to_owned(),
        reconciling: conditions::find(&status.conditions, RECONCILING).is_some() || !seen,
        suspended: object.data.pointer("/spec/suspend") == Some(&true.into()),
        version: status.remote.as_ref().and_then(|remote| remote.version.clone()),
        last_change: status.history.first().map(|entry| entry.time.0.to_string()),
        drift: status.drift.len(),
        pending_plan: status.pending_plan,
        namespace,
        name: object.name_any(),
        meta: object.metadata,
    }
}

fn org(object: DynamicObject) -> OrgMember {
    let status: Option<GenesysOrgStatus> =
        object.data.get("status").and_then(|status| serde_json::from_value(status.clone()).ok());
    let ready = status.as_ref().and_then(|status| conditions::find(&status.conditions, READY));
    let budget = status.as_ref().and_then(|status| status.budget.as_ref());
    OrgMember {
        namespace: object.namespace().unwrap_or_default(),
        name: object.name_any(),
        ready: ready.map_or("Unknown", |ready| ready.status.as_str()).to_owned(),
        reason: ready.map_or("NotSeen", |ready| ready.reason.as_str()).to_owned(),
        calls_per_minute: budget.map(|budget| i64::from(budget.limit)),
        throttled_until: budget.and_then(|budget| budget.throttled_until.as_ref()).map(|until| until.0.to_string()),
        suspended: object.data.pointer("/spec/suspend") == Some(&true.into()),
    }
}
