//! Holds what the operator may do against what it did in the whole cluster suite: the audit logs of all its API servers, which `./test`
//! keeps until then. Nothing may have been denied, and nothing may be granted that was not used.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;

use assist_operator::cli::rbac;
use serde_json::Value;

/// The user whose role the cluster tests install.
const OPERATOR_USER: &str = "assist-operator";

/// Namespaces of tests in which also what is granted is denied, and why.
const DENYING: &[(&str, &str)] = &[
    ("outage-", "its API server is restarted, and denies everything until it has read its roles"),
    ("unrenewed-", "the role for the lease is taken away"),
];

/// What is granted for situations that no cluster test makes: resource (none: each), verb, and when it is used.
const RARE: &[(Option<&str>, &str, &str)] = &[
    (None, "list", "API servers before 1.34 have no streaming lists"),
    (Some("auditrecords"), "get", "a record is there already: the answer to its creation was lost"),
];

/// Group, resource with its subresource, verb.
type Permission = (String, String, String);

/// What the rules grant.
fn granted(rules: &[Value]) -> BTreeSet<Permission> {
    let list = |value: &Value| value.as_array().unwrap().iter().map(|item| item.as_str().unwrap().to_owned()).collect::<Vec<_>>();
    let mut granted = BTreeSet::new();
    for rule in rules {
        for group in list(&rule["apiGroups"]) {
            for resource in list(&rule["resources"]) {
                granted.extend(list(&rule["verbs"]).into_iter().map(|verb| (group.clone(), resource.clone(), verb)));
            }
        }
    }
    granted
}

/// The permission that a request needs; none for paths such as `/version`, which everybody may read.
fn needed(event: &Value) -> Option<Permission> {
    let reference = event.get("objectRef")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (resource, sub) = (text(&reference["resource"]), text(&reference["subresource"]));
    let resource = if sub.is_empty() { resource } else { format!("{resource}/{sub}") };
    Some((text(&reference["apiGroup"]), resource, text(&event["verb"])))
}

/// What was asked in one log: each permission with how often, and the requests that were denied.
fn read(log: &Path, used: &mut BTreeMap<Permission, usize>, denied: &mut Vec<(String, Permission)>) {
    for line in BufReader::new(File::open(log).unwrap()).lines() {
        let line = line.unwrap();
        // The last line may be cut: the server is killed with the test.
        let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
        if event["user"]["username"] != OPERATOR_USER {
            continue;
        }
        let Some(permission) = needed(&event) else { continue };
        if event["annotations"]["authorization.k8s.io/decision"] == "allow" {
            *used.entry(permission).or_default() += 1;
        } else {
            let namespace = event["objectRef"]["namespace"].as_str().unwrap_or_default();
            denied.push((namespace.to_owned(), permission));
        }
    }
}

#[test]
#[ignore = "reads what the cluster tests left behind: ./test"]
fn nothing_was_denied_in_the_cluster_suite_and_nothing_granted_was_unused() {
    let folder = std::env::var_os("ASSIST_OPERATOR_AUDIT_LOGS").expect("ASSIST_OPERATOR_AUDIT_LOGS names the folder: run ./test");
    let (mut used, mut denied) = (BTreeMap::new(), Vec::new());
    let logs: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    logs.iter().for_each(|log| read(log, &mut used, &mut denied));
    assert!(used.values().sum::<usize>() > 1000, "the cluster suite did not run: {} logs with {used:?}", logs.len());
    let rules = rbac::rules().unwrap();
    let granted = granted(&[rules.controller, rules.cluster, rules.lease].concat());
    let is_meant = |namespace: &str| DENYING.iter().any(|(prefix, _)| namespace.starts_with(prefix));
    denied.retain(|(namespace, permission)| !is_meant(namespace) || !granted.contains(permission));
    assert!(denied.is_empty(), "the role lacks {:#?}", denied.into_iter().collect::<BTreeSet<_>>());
    let excused = |(_, resource, verb): &Permission| {
        RARE.iter().any(|(rare, on, _)| on == verb && rare.is_none_or(|rare| rare == resource))
    };
    let unused: Vec<_> = granted.iter().filter(|permission| !used.contains_key(*permission) && !excused(permission)).collect();
    assert!(unused.is_empty(), "granted and never used: {unused:#?}\nused: {used:#?}");
    for (resource, verb, reason) in RARE {
        let seen = |(_, of, with): &&Permission| with == verb && resource.is_none_or(|resource| resource == of);
        let all_used = granted.iter().filter(seen).all(|permission| used.contains_key(permission));
        assert!(!all_used, "{verb} of {resource:?} is used by now, and no exception any more: {reason}");
    }
}
