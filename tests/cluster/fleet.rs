//! `get` shows what its user may see.

use std::fs;
use std::process::{Command, Output};

use assist_operator::cli::rbac;
use serde_json::{Value, json};

use crate::stage::{BINARY, Stage};

/// The fleet, as a user sees it.
fn get(stage: &Stage, user: Option<&str>) -> Output {
    let mut config: Value = serde_json::from_str(&fs::read_to_string(stage.plane.kubeconfig()).unwrap()).unwrap();
    if let Some(user) = user {
        config["users"][0]["user"]["as"] = json!(user);
    }
    let path = stage.plane.scratch().join(format!("{}.kubeconfig", stage.namespace));
    fs::write(&path, config.to_string()).unwrap();
    let mut command = Command::new(BINARY);
    command.args(["get", "-n", &stage.namespace, "-o", "json", "--kubeconfig"]).arg(&path).output().unwrap()
}

fn kinds(output: &Output) -> Vec<String> {
    let fleet: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    fleet["objects"].as_array().unwrap().iter().map(|object| object["kind"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_viewer_gets_the_fleet_without_what_holds_personal_data() {
    let stage = Stage::new("fleet");
    stage.apply_config("retail-assist", json!({"config": {"parameters": {"maxSuggestions": 4}}}));
    stage.apply_ok(&stage.object("SkillPolicy", "returns", json!({"skillId": "retail-returns", "userIds": ["agent-ana"]})));
    stage.wait_ready("retail-assist", "True", "Succeeded");
    stage.wait_ready("skpol/returns", "True", "Observed");
    let meta = |kind: &str| json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {"name": "viewer"}});
    let (mut role, mut binding) = (meta("Role"), meta("RoleBinding"));
    role["rules"] = json!(rbac::rules().unwrap().viewer);
    binding["roleRef"] = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "viewer"});
    binding["subjects"] = json!([{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "ann"}]);
    stage.apply_ok(&role);
    stage.apply_ok(&binding);

    assert_eq!(kinds(&get(&stage, None)), ["AgentAssistConfig", "SkillPolicy"]);
    let seen = get(&stage, Some("ann"));
    assert!(seen.status.success(), "{seen:?}");
    assert_eq!(kinds(&seen), ["AgentAssistConfig"]);
    let said = String::from_utf8_lossy(&seen.stderr).into_owned();
    assert_eq!(said.trim(), "note: SkillPolicy objects are left out, for they may not be listed");
    // Who may see nothing is told so, and gets no empty fleet.
    let refused = get(&stage, Some("nobody"));
    assert!(!refused.status.success() && refused.stdout.is_empty(), "{refused:?}");
}
