//! Restarts and crashes: nothing is written for their own sake, and nothing is lost by them.

use std::collections::HashSet;
use std::time::Duration;

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::json;

use crate::control_plane::OPERATOR_USER;
use crate::stage::{Stage, condition};

#[test]
fn a_restart_writes_nothing_remote_and_nothing_in_kubernetes() {
    let stage = Stage::new("quiet");
    for name in ["c1", "c2"] {
        stage.world().put_config(name, json!({"name": "old"}));
        stage.apply_config(name, json!({"config": {"name": "new"}}));
        stage.wait_ready(name, "True", "Succeeded");
    }
    stage.wait_until("the events", || !stage.events("c2").is_empty());
    let versions = || ["c1", "c2"].map(|name| stage.get(name)["metadata"]["resourceVersion"].clone());
    let before = versions();
    stage.kill_operator();
    let mark = stage.mark();
    stage.start_operator();
    // A drift check on request proves that the new process has looked at everything: only its own token is recorded.
    stage.request_check("c1", "after-restart");
    stage.wait_until("the org was looked at", || stage.world().journal_since(mark).iter().any(|e| e.call == "T1"));
    assert_eq!(stage.names_since(mark), ["C1"]);
    assert_eq!(versions()[1], before[1]);
    let writes: Vec<String> = stage
        .plane
        .requests_of(OPERATOR_USER)
        .into_iter()
        .filter(|e| {
            e["objectRef"]["namespace"] == stage.namespace.as_str() && e["objectRef"]["name"] == "c2" && e["verb"] == "patch"
        })
        .map(|e| e["requestReceivedTimestamp"].to_string())
        .collect();
    assert_eq!(writes.len(), 2, "intent and outcome of the one convergence: {writes:?}");
}

#[test]
fn a_kill_between_the_write_and_its_record_writes_once_and_tells_the_outcome() {
    let stage = Stage::new("intent");
    stage.world().put_config("c1", json!({"name": "old"}));
    // The write takes effect, and the answer does not come before the kill.
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 20_000 }).on(&["C3"]));
    stage.apply_config("c1", json!({"config": {"name": "new", "made": 1}}));
    stage.wait_until("the write took effect", || stage.world().config("c1").unwrap()["version"] == 2);
    stage.kill_operator();
    assert!(stage.get("c1")["status"]["intent"]["steps"][0]["auditId"].is_string());
    stage.start_operator();
    let object = stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!((&object["status"]["history"][0]["version"], object["status"].get("intent")), (&json!("2"), None));
    assert_eq!(stage.world().config("c1").unwrap()["version"], 2);
    let log = stage.log_text();
    assert_eq!(log.matches("\"status\":\"APPLIED\"").count(), 1, "{log}");
    // What the interrupted write created is known as created.
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap().get("made"), None);
}

#[test]
fn kills_at_random_moments_under_conflicts_lose_nothing() {
    const CONFIGS: usize = 200;
    const KILLS: usize = 8;
    let stage = Stage::new("kills");
    for n in 0..CONFIGS {
        stage.world().put_config(&format!("c{n}"), json!({"name": "old", "theirs": 0}));
    }
    stage.fault(
        Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"theirs": 1})) })
            .on(&["C3"])
            .times(Times::Probability { p: 0.3, seed: 7 }),
    );
    stage.fault(Fault::new(FaultKind::ResetAfter).on(&["C3"]).times(Times::Probability { p: 0.1, seed: 8 }));
    stage.world().set_latency(Duration::from_millis(20));
    let objects: Vec<String> = (0..CONFIGS)
        .map(|n| stage.config(&format!("c{n}"), json!({"config": {"name": "new"}, "interval": "30s"})).to_string())
        .collect();
    stage.plane.kubectl_with_input(&["-n", &stage.namespace, "apply", "-f", "-"], &objects.join("\n---\n"));
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(fastrand_millis()));
        stage.kill_operator();
        stage.start_operator();
    }
    stage.world().faults().clear();
    let mut left: HashSet<usize> = (0..CONFIGS).collect();
    stage.wait_until("all converge", || {
        left.retain(|n| stage.world().config(&format!("c{n}")).unwrap()["name"] != "new");
        left.is_empty()
    });
    stage.wait_until("all are ready", || {
        let list = stage.plane.get_json(&["-n", &stage.namespace, "get", "aac"]);
        list["items"]
            .as_array()
            .is_some_and(|items| items.len() == CONFIGS && items.iter().all(|o| condition(o, "Ready")["status"] == "True"))
    });
    stage.wait_until("nothing is in flight", || stage.world().in_flight() == 0);
    stage.assert_invariants();
}

/// 200 to 1,200 ms, different at each call.
fn fastrand_millis() -> u64 {
    200 + crate::control_plane::process::random() % 1000
}

#[test]
fn a_read_that_hangs_does_not_hold_up_the_end_and_changes_nothing() {
    let stage = Stage::new("hanging-end");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let before = stage.get("c1")["metadata"]["resourceVersion"].clone();
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 60_000, after_ms: 0 }).on(&["C1"]));
    let hung = stage.world().in_flight();
    stage.kubectl(&["annotate", "--overwrite", "aac", "c1", "assist-operator.dev/reconcile-requested-at=now"]);
    stage.wait_until("the read hangs", || stage.world().in_flight() > hung);
    let annotated = stage.get("c1")["metadata"]["resourceVersion"].clone();
    assert_ne!(annotated, before);
    // A pod has 30 s; a read may take three times that.
    assert!(stage.terminate_operator() < std::time::Duration::from_secs(10));
    assert_eq!(stage.get("c1")["metadata"]["resourceVersion"], annotated, "nothing was written on the way out");
}
