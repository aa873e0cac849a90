//! `rbac`: print the ClusterRole that the operator needs, from the registry.

use std::io::Write;

use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::api::{AuditRecord, GROUP, GenesysOrg};
use crate::kinds;

/// The role as YAML. Nothing of it is a write to a spec; Secrets and ConfigMaps are read one by one, never listed.
///
/// # Errors
/// A role that cannot be printed: a defect.
pub fn yaml() -> anyhow::Result<String> {
    let records = AuditRecord::crd().spec.names.plural;
    let plurals = kinds::crds()?.into_iter().map(|crd| crd.spec.names.plural);
    let plurals: Vec<String> = plurals.filter(|plural| *plural != records).collect();
    let statuses: Vec<String> = plurals.iter().map(|p| format!("{p}/status")).collect();
    let rule = |groups: &[&str], resources: &[String], verbs: &[&str]| json!({"apiGroups": groups, "resources": resources, "verbs": verbs});
    let one = |name: &str| vec![name.to_owned()];
    let role: Value = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "assist-operator"},
        "rules": [
            rule(&[GROUP], &plurals, &["get", "list", "watch"]),
            rule(&[GROUP], &statuses, &["patch"]),
            rule(&["events.k8s.io"], &one("events"), &["create", "patch"]),
            rule(&[GROUP], &[records], &["create", "get", "list", "delete"]),
            rule(&[""], &one("secrets"), &["get"]),
            rule(&[""], &one("configmaps"), &["get"]),
            rule(&[""], &one("namespaces"), &["get"]),
        ],
    });
    debug_assert!(plurals.contains(&GenesysOrg::crd().spec.names.plural));
    Ok(format!("---\n{}", serde_saphyr::to_string(&role)?))
}

/// Prints it.
pub fn main() -> anyhow::Result<()> {
    std::io::stdout().write_all(yaml()?.as_bytes())?;
    Ok(())
}
