//! Running the operator: probes, metrics, log, and its end.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use assist_operator::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::stage::{BINARY, Stage};

fn http(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").as_bytes()).ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    Some(text)
}

#[test]
fn metrics_and_audit_lines_tell_what_was_done_without_values() {
    let stage = Stage::new("metrics");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "value-canary"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_until("ready", || http(stage.port(), "/readyz").is_some_and(|t| t.starts_with("HTTP/1.1 200")));
    assert!(http(stage.port(), "/healthz").unwrap().starts_with("HTTP/1.1 200"));
    let mut metrics = String::new();
    // The watch brings the status a moment after the API server has it.
    stage.wait_until("the object is counted", || {
        metrics = http(stage.port(), "/metrics").unwrap();
        metrics.contains("assist_operator_objects{kind=\"AgentAssistConfig\",ready=\"True\",reason=\"Succeeded\"} 1")
    });
    let org = format!("org=\"{}/org\"", stage.namespace);
    for line in [
        "assist_operator_writes_total{action=\"CONFIG_UPDATE\",status=\"APPLIED\"} 1",
        "assist_operator_remote_calls_total{endpoint=\"C3\",status=\"200\"} 1",
        "assist_operator_objects{kind=\"GenesysOrg\",ready=\"True\",reason=\"Succeeded\"} 1",
        "assist_operator_suspended_objects{kind=\"AgentAssistConfig\"} 0",
        "assist_operator_conflicts_total{kind=\"SkillPolicy\"} 0",
        "assist_operator_panics_total{kind=\"GenesysOrg\"} 0",
        &format!("assist_operator_org_condition{{{org},type=\"CredentialsValid\"}} 1"),
        "assist_operator_budget_limit_calls{",
        "assist_operator_queue_age_seconds_bucket{",
        "assist_operator_since_observed_seconds{",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let log = stage.log_text();
    let line = log.lines().find(|l| l.contains(" audit: ")).expect("an audit line");
    let record: Value = serde_json::from_str(&line[line.find('{').unwrap()..]).unwrap();
    for (field, value) in [
        ("action", json!("CONFIG_UPDATE")),
        ("status", json!("APPLIED")),
        ("kind", json!("AgentAssistConfig")),
        ("name", json!("c1")),
        ("remoteId", json!("c1")),
        ("version", json!("2")),
        ("webhookSynced", json!(false)),
        ("rollbackDirective", json!(false)),
        ("generationSuccessRate", json!(1.0)),
    ] {
        assert_eq!(record[field], value, "{field} in {record}");
    }
    assert!(record["correlationId"].is_string() && record["beforeHash"].is_string() && record["afterHash"].is_string());
    assert!(!log.contains("value-canary"));
}

#[test]
fn sigterm_finishes_and_records_the_write_under_way() {
    let stage = Stage::new("sigterm");
    stage.kill_operator();
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 1500 }).on(&["C3"]));
    let mut operator = Command::new(BINARY)
        .args([
            "run",
            "--namespace",
            &stage.namespace,
            "--listen",
            &format!("127.0.0.1:{}", stage.port()),
            "--allow-custom-endpoints",
            "--log-format",
            "json",
            "--kubeconfig",
        ])
        .arg(stage.plane.operator_kubeconfig())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_until("the write is under way", || stage.world().config("c1").unwrap()["version"] == 2);
    Command::new("kill").args(["-TERM", &operator.id().to_string()]).status().unwrap();
    let mut ended = None;
    stage.wait_until("the operator ends", || {
        ended = operator.try_wait().unwrap();
        ended.is_some()
    });
    assert!(ended.unwrap().success());
    let status = &stage.get("c1")["status"];
    assert_eq!((&status["remote"]["version"], status.get("intent")), (&json!("2"), None));
}

#[test]
fn an_outage_of_the_api_server_is_survived() {
    // A control plane of its own: the others must not feel this.
    let plane = crate::control_plane::ControlPlane::start();
    let stage = Stage::on(Box::leak(Box::new(plane)), "outage");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}, "interval": "30s"}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.plane.restart_api_server();
    stage.world().edit_config("c1", |doc| doc["name"] = json!("theirs"));
    stage.wait_until("the repair", || stage.world().config("c1").unwrap()["name"] == "new");
    stage.apply_config("c1", json!({"config": {"name": "newer"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.assert_invariants();
}
