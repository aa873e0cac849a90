//! `rbac`: what the operator and the people who use it may do, from the registry. The command prints the role of the operator, the
//! chart's roles are generated from the same rules.

use std::io::Write;

use clap::Args as ClapArgs;
use kube::CustomResourceExt;
use serde::Serialize;
use serde_json::{Value, json};

use crate::api::{AuditRecord, GROUP};
use crate::kinds;

/// Arguments of `rbac`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Name of the Lease, as in `run`
    #[arg(long, default_value = "assist-operator", value_name = "NAME")]
    lease_name: String,
    /// Namespace of the Lease; when unset, the one that the Role is applied to
    #[arg(long, value_name = "NAMESPACE")]
    lease_namespace: Option<String>,
}

/// The rules of every role of an installation, as in `rules` of a role.
#[derive(Debug, Serialize)]
pub struct Rules {
    /// What the operator does in the namespaces that it watches.
    pub controller: Vec<Value>,
    /// What it needs besides where it watches all namespaces.
    pub cluster: Vec<Value>,
    /// Its Lease, in its own namespace. A rule without `create` can be kept to the Lease's name.
    pub lease: Vec<Value>,
    /// Reading what holds no personal data.
    pub viewer: Vec<Value>,
    /// Reading everything, and writing what belongs to people: specs, never a status.
    pub editor: Vec<Value>,
}

/// All rules. None of the operator's is a write to a spec; it reads Secrets and ConfigMaps one by one and never lists them.
///
/// # Errors
/// A CRD that does not survive its finish: a defect.
pub fn rules() -> anyhow::Result<Rules> {
    let records = [AuditRecord::crd().spec.names.plural];
    let plurals: Vec<String> =
        kinds::crds()?.into_iter().map(|crd| crd.spec.names.plural).filter(|p| !records.contains(p)).collect();
    let personal = kinds::with_part("agents");
    let open: Vec<String> = plurals.iter().filter(|plural| !personal.contains(plural)).cloned().collect();
    let statuses: Vec<String> = plurals.iter().map(|p| format!("{p}/status")).collect();
    let rule = |groups: &str, resources: &[String], verbs: &[&str]| json!({"apiGroups": [groups], "resources": resources, "verbs": verbs});
    let one = |name: &str| vec![name.to_owned()];
    let read = ["get", "list", "watch"];
    Ok(Rules {
        controller: vec![
            // They are read one by one after a status met somebody else's change.
            rule(GROUP, &plurals, &read),
            rule(GROUP, &statuses, &["patch"]),
            rule("events.k8s.io", &one("events"), &["create", "patch"]),
            rule(GROUP, &records, &["create", "get", "list", "delete"]),
            rule("", &one("secrets"), &["get"]),
            rule("", &one("configmaps"), &["get"]),
        ],
        cluster: vec![rule("", &one("namespaces"), &["get"])],
        lease: vec![
            rule("coordination.k8s.io", &one("leases"), &["create"]),
            rule("coordination.k8s.io", &one("leases"), &["get", "update"]),
        ],
        viewer: vec![rule(GROUP, &open, &read)],
        editor: vec![
            rule(GROUP, &plurals, &[&read[..], &["create", "update", "patch", "delete", "deletecollection"]].concat()),
            rule(GROUP, &records, &read),
        ],
    })
}

/// The rules for the Lease of this name. A creation cannot be bound to a name.
fn bound(rules: Vec<Value>, name: &str) -> Vec<Value> {
    let bound = |mut rule: Value| {
        if !rule["verbs"].as_array().is_some_and(|verbs| verbs.contains(&json!("create"))) {
            rule["resourceNames"] = json!([name]);
        }
        rule
    };
    rules.into_iter().map(bound).collect()
}

/// The role of an operator that watches all namespaces, and that for its Lease, as YAML.
///
/// # Errors
/// Roles that cannot be printed: a defect.
fn yaml(args: &Args) -> anyhow::Result<String> {
    let rules = rules()?;
    let role = |kind: &str, metadata: Value, rules: Vec<Value>| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules});
    let mut metadata = json!({"name": "assist-operator-lease"});
    if let Some(namespace) = &args.lease_namespace {
        metadata["namespace"] = json!(namespace);
    }
    let roles = [
        role("ClusterRole", json!({"name": "assist-operator"}), [rules.controller, rules.cluster].concat()),
        role("Role", metadata, bound(rules.lease, &args.lease_name)),
    ];
    let documents = roles.iter().map(|role| Ok(format!("---\n{}", serde_saphyr::to_string(role)?)));
    documents.collect()
}

/// Prints them.
pub fn main(args: &Args) -> anyhow::Result<()> {
    std::io::stdout().write_all(yaml(args)?.as_bytes())?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_bound_to_its_name_wherever_that_is_possible() {
        let [create, held] = bound(rules().unwrap().lease, "mine").try_into().unwrap();
        assert_eq!((&create["verbs"], create.get("resourceNames")), (&json!(["create"]), None));
        assert_eq!((&held["verbs"], &held["resourceNames"]), (&json!(["get", "update"]), &json!(["mine"])));
        let printed = yaml(&Args { lease_name: "mine".to_owned(), lease_namespace: Some("here".to_owned()) }).unwrap();
        assert!(
            printed.contains("kind: ClusterRole\n") && printed.contains("kind: Role\n") && printed.contains("namespace: here")
        );
    }
}
