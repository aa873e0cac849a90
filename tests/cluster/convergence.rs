//! From `kubectl apply` to a guarded PUT, and the calls that it takes.

use assist_operator::sandbox::{Fault, FaultKind};
use serde_json::json;

use crate::stage::{Stage, condition, message};

#[test]
fn a_first_convergence_takes_two_calls_and_a_change_of_spec_one() {
    let stage = Stage::new("converge");
    stage.world().put_config("c1", json!({"name": "old", "parameters": {"kept": 1}, "version": 7}));
    stage.apply_config("c1", json!({"config": {"name": "new", "parameters": {"added": true}}}));
    let object = stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.names_since(0), ["C1", "C3"]);
    let live = stage.world().config("c1").unwrap();
    assert_eq!(
        (&live["name"], &live["parameters"], &live["version"]),
        (&json!("new"), &json!({"kept": 1, "added": true}), &json!(8))
    );
    assert_eq!(object["status"]["remote"]["version"], "8");
    assert_eq!(condition(&object, "InSync")["status"], "True");
    assert_eq!(object["status"].get("intent"), None);

    let mark = stage.mark();
    stage.apply_config("c1", json!({"config": {"name": "newer", "parameters": {"added": true}}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.names_since(mark), ["C3"]);
    stage.wait_until("two events", || stage.events("c1") == ["Updated", "Updated"]);
    stage.assert_invariants();
}

#[test]
fn applying_the_same_again_writes_nothing_anywhere() {
    let stage = Stage::new("same");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let before = stage.wait_ready("c1", "True", "Succeeded");
    let mark = stage.mark();
    assert!(stage.apply_ok(&stage.config("c1", json!({"config": {"name": "new"}}))).contains("unchanged"));
    // A second object is converged after it: whatever the first apply would have caused has happened.
    stage.world().put_config("c2", json!({"name": "old"}));
    stage.apply_config("c2", json!({"config": {"name": "new"}}));
    stage.wait_ready("c2", "True", "Succeeded");
    assert!(stage.calls_since(mark).iter().all(|e| e.target.as_deref() == Some("c2")));
    assert_eq!(stage.get("c1")["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
}

#[test]
fn a_field_no_longer_declared_is_removed_only_where_it_was_created_here() {
    let stage = Stage::new("undeclare");
    stage.world().put_config("c1", json!({"found": 1}));
    stage.apply_config("c1", json!({"config": {"found": 2, "made": {"deep": 1}}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.apply_config("c1", json!({"config": {"other": true}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let live = stage.world().config("c1").unwrap();
    assert_eq!((&live["found"], live.get("made"), &live["other"]), (&json!(2), None, &json!(true)));
    stage.assert_invariants();
}

#[test]
fn a_version_is_restored_with_two_calls_and_the_version_moves_forward() {
    let stage = Stage::new("restore");
    stage.world().put_config("c1", json!({"name": "first"}));
    stage.apply_config("c1", json!({"config": {"name": "second", "more": [1, 2]}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let mark = stage.mark();
    stage.apply_config("c1", json!({"config": {"name": "second", "more": [1, 2]}, "restoreVersion": 1}));
    let object = stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.names_since(mark), ["C2", "C3"]);
    let live = stage.world().config("c1").unwrap();
    assert_eq!((&live["name"], live.get("more"), &live["version"]), (&json!("first"), None, &json!(3)));
    assert_eq!(object["status"]["history"][0]["why"], "Restore");
    // Without it, the declared settings come back.
    stage.apply_ok(&stage.config("c1", json!({"config": {"name": "second", "more": [1, 2]}})));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["more"], json!([1, 2]));
    stage.wait_until("events", || stage.events("c1") == ["Updated", "Restored", "Updated"]);
    stage.assert_invariants();
}

#[test]
fn a_conflicting_writer_loses_nothing_and_costs_two_calls() {
    let stage = Stage::new("conflict");
    stage.world().put_config("c1", json!({"name": "old", "theirs": 1}));
    stage.fault(Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"theirs": 2})) }));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.names_since(0), ["C1", "C3", "C1", "C3"]);
    let live = stage.world().config("c1").unwrap();
    assert_eq!((&live["name"], &live["theirs"]), (&json!("new"), &json!(2)));
    stage.assert_invariants();
}

#[test]
fn propagation_gates_ready_until_conversations_run_on_the_written_version() {
    let stage = Stage::new("propagate");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}, "propagation": {"gate": true, "timeout": "10m"}}));
    let object = stage.wait_ready("c1", "False", "AwaitingPropagation");
    assert_eq!(
        (&condition(&object, "Reconciling")["status"], &condition(&object, "InSync")["status"]),
        (&json!("True"), &json!("True"))
    );
    let now = assist_operator::clock::now();
    stage.world().add_conversation("c1", 2, now);
    // The first poll comes after 30 s (contract section 3).
    let object = stage.wait_ready("c1", "True", "Verified");
    assert!(message(&object).contains("conversations run on it"));
    assert_eq!(stage.names_since(0), ["C1", "C3", "C4"]);
}
