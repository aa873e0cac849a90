//! Deletion needs no call, no credentials and no org, and cannot hang.

use serde_json::json;

use crate::stage::Stage;

#[test]
fn objects_go_at_once_with_the_remote_down_the_secret_gone_and_the_org_gone() {
    let stage = Stage::new("delete");
    for name in ["c1", "c2", "c3"] {
        stage.world().put_config(name, json!({"name": "old"}));
        stage.apply_config(name, json!({"config": {"name": "new"}}));
        stage.wait_ready(name, "True", "Succeeded");
    }
    assert!(stage.get("c1")["metadata"].get("finalizers").is_none());
    let mark = stage.mark();
    stage.world().faults().push(
        assist_operator::sandbox::Fault::new(assist_operator::sandbox::FaultKind::ResetBefore)
            .times(assist_operator::sandbox::Times::Always),
    );
    stage.kubectl(&["delete", "aac", "c1", "--timeout=5s"]);
    stage.kubectl(&["delete", "secret", "genesys"]);
    stage.kubectl(&["delete", "aac", "c2", "--timeout=5s"]);
    stage.kubectl(&["delete", "gorg", "org", "--timeout=5s"]);
    stage.kubectl(&["delete", "aac", "c3", "--timeout=5s"]);
    assert!(stage.calls_since(mark).iter().all(|e| e.call != "C3"));
    assert_eq!(stage.world().config("c1").unwrap()["name"], "new");
}
