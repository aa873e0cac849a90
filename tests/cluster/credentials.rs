//! Credentials: missing, wrong, rotated, and never shown.

use serde_json::json;

use crate::stage::{Stage, condition, message};

fn org(stage: &Stage) -> serde_json::Value {
    stage.plane.get_json(&["-n", &stage.namespace, "get", "gorg", "org"])
}

fn wait_org(stage: &Stage, status: &str, reason: &str) -> serde_json::Value {
    stage.wait_until(&format!("org Ready={status} {reason}"), || {
        let ready = condition(&org(stage), "Ready");
        ready["status"] == status && ready["reason"] == reason
    });
    org(stage)
}

#[test]
fn wrong_credentials_are_tried_once_and_a_corrected_secret_heals_everything() {
    let stage = Stage::without_org("wrongcreds");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_org(json!({}));
    wait_org(&stage, "True", "Succeeded");
    // A canary that must not show up anywhere.
    stage.kill_operator();
    stage.apply_secret("demo-client", "canary-7f3a-secret");
    stage.start_operator();
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let object = wait_org(&stage, "False", "AuthenticationFailed");
    assert_eq!(condition(&object, "CredentialsValid")["status"], "False");
    let config = stage.wait_ready("c1", "False", "AuthenticationFailed");
    assert_eq!(condition(&config, "Stalled")["status"], "True");
    let refused = stage.world().journal().iter().filter(|e| e.call == "T1" && e.status >= 400).count();
    assert_eq!(refused, 1, "one try for each start and version of the Secret");
    stage.apply_secret("demo-client", "demo-secret");
    stage.kubectl(&["annotate", "--overwrite", "gorg", "org", "assist-operator.dev/reconcile-requested-at=now"]);
    stage.wait_ready("c1", "True", "Succeeded");
    let everything =
        format!("{}{}{}", stage.log_text(), config, stage.kubectl(&["get", "events.events.k8s.io,gorg,aac", "-o", "yaml"]));
    assert!(!everything.contains("canary-7f3a") && !everything.contains("demo-secret"));
}

#[test]
fn a_rotated_secret_is_picked_up_within_a_minute_without_a_restart() {
    let stage = Stage::new("rotate");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.world().rotate_secret("demo-client", "rotated");
    stage.world().revoke_tokens();
    stage.apply_secret("demo-client", "rotated");
    stage.apply_config("c1", json!({"config": {"name": "newer"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "newer");
}

#[test]
fn a_missing_org_secret_or_key_is_named_and_waited_for() {
    let stage = Stage::without_org("missing");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let object = stage.wait_ready("c1", "False", "DependencyNotFound");
    assert!(message(&object).contains("GenesysOrg") && message(&object).contains("was not found"), "{}", message(&object));
    assert_eq!(condition(&object, "Reconciling")["status"], "True");
    stage.apply_org(json!({"credentials": {"secretRef": {"name": "other"}}}));
    assert!(message(&wait_org(&stage, "False", "DependencyNotFound")).contains("/other was not found"));
    stage.apply_ok(
        &json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "other"}, "stringData": {"clientId": "demo-client"}}),
    );
    stage.wait_until("the missing key is named", || message(&org(&stage)).contains("no key clientSecret"));
    stage.apply_org(json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
}

#[test]
fn a_missing_scope_is_stalled_and_a_silently_dropped_write_too() {
    let stage = Stage::new("scopes");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_config("c2", json!({"name": "old"}));
    stage.world().set_scopes("demo-client", &["agentassist:config:read"]);
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let object = stage.wait_ready("c1", "False", "PermissionDenied");
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    stage.world().set(|s| s.missing_scope = assist_operator::sandbox::MissingScope::SilentDrop);
    stage.apply_config("c2", json!({"config": {"name": "new"}}));
    let object = stage.wait_ready("c2", "False", "PermissionDenied");
    assert!(message(&object).contains("nothing changed"), "{}", message(&object));
    // Granted, a request tries again at once.
    stage.world().set_scopes("demo-client", &assist_operator::sandbox::World::all_scopes());
    stage.request_check("c2", "again");
    stage.wait_ready("c2", "True", "Succeeded");
}
