//! Foreign edits under each policy, and what suspends everything.

use serde_json::json;

use crate::stage::{Stage, condition};

fn edited(stage: &Stage, spec: serde_json::Value) {
    stage.world().put_config("c1", json!({"name": "old", "free": 1}));
    let mut full = json!({"config": {"name": "new"}, "interval": "30s"});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    stage.apply_config("c1", full);
}

#[test]
fn a_foreign_edit_of_a_declared_field_is_repaired_within_the_interval_and_another_one_stays() {
    let stage = Stage::new("drift");
    edited(&stage, json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.world().edit_config("c1", |doc| {
        doc["name"] = json!("theirs");
        doc["free"] = json!(2);
    });
    stage.wait_until("the repair", || stage.world().config("c1").unwrap()["name"] == "new");
    assert_eq!(stage.world().config("c1").unwrap()["free"], 2);
    stage.wait_until("the event", || stage.events("c1").contains(&"DriftCorrected".to_owned()));
    assert_eq!(stage.get("c1")["status"]["history"][0]["why"], "DriftRepair");
    stage.assert_invariants();
}

#[test]
fn the_annotation_checks_at_once() {
    let stage = Stage::new("annotate");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}, "interval": "6h"}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.world().edit_config("c1", |doc| doc["name"] = json!("theirs"));
    stage.request_check("c1", "one");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "new");
    let mark = stage.mark();
    stage.request_check("c1", "two");
    assert_eq!(stage.names_since(mark), ["C1"]);
}

#[test]
fn report_drift_lists_path_desired_and_actual_and_writes_only_a_change_of_spec() {
    let stage = Stage::new("report");
    edited(&stage, json!({"policy": "ReportDrift"}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.world().edit_config("c1", |doc| doc["name"] = json!("theirs"));
    stage.request_check("c1", "one");
    let object = stage.wait_ready("c1", "True", "DriftReported");
    let drift = &object["status"]["drift"][0];
    assert_eq!((&drift["path"], &drift["desired"], &drift["actual"]), (&json!("/name"), &json!("\"new\""), &json!("\"theirs\"")));
    assert_eq!(condition(&object, "InSync")["status"], "False");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "theirs");
    // A change of spec is written; what they changed still is not.
    stage.apply_config("c1", json!({"config": {"name": "new", "more": 1}, "interval": "30s", "policy": "ReportDrift"}));
    stage.wait_ready("c1", "True", "DriftReported");
    let live = stage.world().config("c1").unwrap();
    assert_eq!((&live["name"], &live["more"]), (&json!("theirs"), &json!(1)));
    stage.assert_invariants();
}

#[test]
fn under_observe_and_suspend_nothing_is_ever_written() {
    let stage = Stage::new("observe");
    edited(&stage, json!({"policy": "Observe"}));
    stage.wait_ready("c1", "True", "Observed");
    edited(&stage, json!({"policy": "Observe", "config": {"name": "other"}}));
    stage.wait_ready("c1", "True", "Observed");
    stage.apply_config("c1", json!({"config": {"name": "third"}, "suspend": true}));
    let object = stage.wait_ready("c1", "Unknown", "Suspended");
    assert_eq!(condition(&object, "Reconciling"), serde_json::Value::Null);
    assert!(stage.writes().is_empty());
    // Resumed, it converges.
    stage.apply_config("c1", json!({"config": {"name": "third"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "third");
}

#[test]
fn a_suspended_object_that_was_applied_stays_ready() {
    let stage = Stage::new("suspend");
    edited(&stage, json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
    edited_suspended(&stage);
    stage.wait_ready("c1", "True", "Suspended");
}

fn edited_suspended(stage: &Stage) {
    stage.apply_config("c1", json!({"config": {"name": "new"}, "interval": "30s", "suspend": true}));
}

#[test]
fn an_org_that_is_suspended_freezes_its_objects() {
    let stage = Stage::new("frozen");
    edited(&stage, json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.apply_org(json!({"suspend": true}));
    stage.wait_ready("c1", "True", "Suspended");
    let writes = stage.writes().len();
    stage.apply_config("c1", json!({"config": {"name": "later"}}));
    stage.wait_ready("c1", "Unknown", "Suspended");
    assert_eq!(stage.writes().len(), writes);
    stage.apply_org(json!({"suspend": false}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "later");
}

#[test]
fn ignored_parts_are_neither_compared_nor_written() {
    let stage = Stage::new("ignore");
    stage.world().put_config("c1", json!({"rules": [{"id": "server-1", "on": false}]}));
    stage.apply_config("c1", json!({"config": {"rules": [{"on": true}]}, "ignore": ["/rules/*/id"]}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["rules"], json!([{"id": "server-1", "on": true}]));
    let mark = stage.mark();
    stage.request_check("c1", "one");
    assert_eq!(stage.names_since(mark), ["C1"]);
}
