//! From `kubectl apply` to a guarded PUT, and the calls that it takes.

use serde_json::json;

use crate::stage::{Stage, condition};

#[test]
fn a_first_convergence_takes_two_calls_and_a_change_of_spec_one() {
    let stage = Stage::new("converge");
    stage.world().put_config("c1", json!({"name": "old", "parameters": {"kept": 1}, "version": 7}));
    stage.apply_config("c1", json!({"config": {"name": "new", "parameters": {"added": true}}}));
    let object = stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.call_names(), ["C1", "C3"]);
    let live = stage.world().config("c1").unwrap();
    assert_eq!(
        (&live["name"], &live["parameters"], &live["version"]),
        (&json!("new"), &json!({"kept": 1, "added": true}), &json!(8))
    );
    assert_eq!(object["status"]["remote"]["version"], "8");
    assert_eq!(condition(&object, "InSync")["status"], "True");
    assert_eq!(object["status"].get("intent"), None);

    stage.world().clear_journal();
    stage.apply_config("c1", json!({"config": {"name": "newer", "parameters": {"added": true}}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(stage.call_names(), ["C3"]);
    assert_eq!(stage.events("c1"), ["Updated", "Updated"]);
    stage.assert_invariants();
}
