//! One remote object belongs to one custom resource.

use serde_json::json;

use crate::stage::{Stage, condition, message};

#[test]
fn the_older_keeps_it_and_the_younger_goes_on_when_the_owner_goes() {
    let stage = Stage::new("owner");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "first"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let mut younger = stage.config("younger", json!({"config": {"name": "second"}}));
    younger["spec"]["configId"] = json!("c1");
    stage.apply_ok(&younger);
    let object = stage.wait_ready("younger", "False", "DuplicateOwner");
    assert!(message(&object).contains("c1 of this namespace"), "{}", message(&object));
    assert_eq!(condition(&object, "Reconciling")["status"], "True");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "first");
    stage.kubectl(&["delete", "aac", "c1"]);
    stage.wait_ready("younger", "True", "Succeeded");
    assert_eq!(stage.world().config("c1").unwrap()["name"], "second");
    stage.assert_invariants();
}

#[test]
fn the_younger_is_stalled_after_a_minute() {
    let stage = Stage::new("stalled");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "first"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let mut younger = stage.config("younger", json!({"config": {"name": "second"}}));
    younger["spec"]["configId"] = json!("c1");
    stage.apply_ok(&younger);
    stage.wait_ready("younger", "False", "DuplicateOwner");
    let began = std::time::Instant::now();
    while condition(&stage.get("younger"), "Stalled")["status"] != "True" {
        assert!(began.elapsed().as_secs() < 100, "not stalled");
        std::thread::sleep(std::time::Duration::from_millis(500));
    }
    assert!(began.elapsed().as_secs() >= 50, "too early: {:?}", began.elapsed());
    // A restart is no new fact: it stays stalled, and nothing is written for it.
    let before = stage.get("younger");
    stage.kill_operator();
    stage.start_operator();
    stage.request_check("c1", "after-restart");
    assert_eq!(stage.get("younger")["metadata"]["resourceVersion"], before["metadata"]["resourceVersion"]);
}
