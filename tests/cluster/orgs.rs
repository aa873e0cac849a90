//! Who may use an org, and from where.

use serde_json::json;

use crate::stage::{Stage, condition, message};

#[test]
fn another_namespace_needs_a_grant_and_reads_the_same_as_a_missing_org() {
    let stage = Stage::without_org("tenant");
    stage.world().put_config("c1", json!({"name": "old"}));
    let spec = |name: &str| json!({"orgRef": {"name": name, "namespace": format!("{}-home", stage.namespace)}, "config": {"name": "new"}});
    stage.apply_config("c1", spec("org"));
    let foreign = message(&stage.wait_ready("c1", "False", "DependencyNotFound"));
    assert!(foreign.contains("was not found, or does not grant"), "{foreign}");
    assert!(stage.calls_since(0).is_empty());
}

#[test]
fn a_grant_lets_another_namespace_in_by_labels_and_kinds() {
    // An operator for all namespaces needs a control plane of its own.
    let plane = Box::leak(Box::new(crate::control_plane::ControlPlane::start()));
    let stage = Stage::cluster_wide(plane, "home");
    stage.plane.kubectl_ok(&["create", "namespace", "team"]);
    stage.world().put_config("c1", json!({"name": "old"}));
    let mut config =
        stage.config("c1", json!({"orgRef": {"name": "org", "namespace": stage.namespace}, "config": {"name": "new"}}));
    config["metadata"]["namespace"] = json!("team");
    stage.plane.apply_ok(&config.to_string());
    let reason = || condition(&stage.plane.get_json(&["-n", "team", "get", "aac", "c1"]), "Ready")["reason"].clone();
    stage.wait_until("no grant", || reason() == "DependencyNotFound");
    let grant = |kinds: serde_json::Value| {
        stage.apply_org(
            json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"tier": "gold"}}, "kinds": kinds}}),
        )
    };
    stage.plane.kubectl_ok(&["label", "namespace", "team", "tier=gold"]);
    grant(json!(["PromptTemplate"]));
    stage.plane.kubectl_ok(&["-n", "team", "annotate", "aac", "c1", "assist-operator.dev/reconcile-requested-at=one"]);
    stage.wait_until("looked at", || {
        stage.plane.get_json(&["-n", "team", "get", "aac", "c1"])["status"]["lastHandledReconcileAt"] == "one"
    });
    assert_eq!(reason(), "DependencyNotFound");
    assert!(stage.calls_since(0).is_empty());
    grant(json!(["AgentAssistConfig"]));
    stage.wait_until("granted", || reason() == "Succeeded");
}

#[test]
fn a_custom_endpoint_is_refused_unless_the_operator_was_started_for_it() {
    let stage = Stage::without_org("endpoint");
    stage.kill_operator();
    stage.start_operator_with(&[]);
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_org(json!({}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let org = || stage.plane.get_json(&["-n", &stage.namespace, "get", "gorg", "org"]);
    stage.wait_until("the org is refused", || condition(&org(), "Stalled")["reason"] == "InvalidSpec");
    assert!(message(&org()).contains("--allow-endpoint"), "{}", message(&org()));
    stage.wait_ready("c1", "False", "DependencyNotFound");
    assert!(stage.world().journal().iter().all(|e| e.call != "T1"));
    stage.kill_operator();
    stage.start_operator_with(&["--allow-endpoint", stage.url()]);
    stage.wait_ready("c1", "True", "Succeeded");
}

#[test]
fn a_change_limit_lets_restores_through_and_holds_the_rest() {
    let stage = Stage::new("limit");
    stage.apply_org(json!({"changeLimit": {"perHour": 1}}));
    for name in ["c1", "c2"] {
        stage.world().put_config(name, json!({"name": "old"}));
    }
    stage.wait_until("the limit is in force", || {
        let org = stage.plane.get_json(&["-n", &stage.namespace, "get", "gorg", "org"]);
        org["status"]["observedGeneration"] == org["metadata"]["generation"]
    });
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.apply_config("c2", json!({"config": {"name": "new"}}));
    stage.wait_ready("c2", "False", "ChangeBudgetExceeded");
    assert_eq!(stage.world().config("c2").unwrap()["name"], "old");
    stage.apply_config("c1", json!({"config": {"name": "new"}, "restoreVersion": 1}));
    stage.wait_ready("c1", "True", "Succeeded");
    // The hour is rebuilt from status after a restart.
    stage.kill_operator();
    stage.start_operator();
    stage.request_check("c2", "again");
    stage.wait_ready("c2", "False", "ChangeBudgetExceeded");
    assert_eq!(stage.writes().len(), 2);
}

#[test]
fn a_plan_that_needs_approval_waits_for_exactly_its_digest() {
    let stage = Stage::new("approve");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}, "approval": {"required": true}}));
    let object = stage.wait_ready("c1", "False", "AwaitingApproval");
    let digest = object["status"]["pendingPlan"]["digest"].as_str().unwrap().to_owned();
    let approve = |digest: &str| {
        stage.kubectl(&["annotate", "--overwrite", "aac", "c1", &format!("assist-operator.dev/approve-plan={digest}")])
    };
    approve("0000000000000000");
    // The live state changes: the old digest is void.
    stage.world().edit_config("c1", |doc| doc["name"] = json!("theirs"));
    approve(&digest);
    stage.wait_until("a new plan waits", || {
        let pending = &stage.get("c1")["status"]["pendingPlan"];
        pending["digest"].is_string() && pending["digest"] != digest.as_str()
    });
    assert!(stage.writes().is_empty());
    let digest = stage.get("c1")["status"]["pendingPlan"]["digest"].as_str().unwrap().to_owned();
    approve(&digest);
    let object = stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!((stage.world().config("c1").unwrap()["name"].clone(), object["status"].get("pendingPlan")), (json!("new"), None));
}

#[test]
fn an_object_that_is_applied_a_moment_before_its_org_makes_no_warning() {
    let stage = Stage::without_org("order");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.apply_org(json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_until("the event", || stage.events("c1").contains(&"Updated".to_owned()));
    assert_eq!(stage.events("c1"), ["Updated"]);
}
