//! What the remote does wrong, and what the object then says. Every one ends in a clear condition or heals by itself.

use assist_operator::sandbox::{EtagStyle, Fault, FaultKind, Normaliser, Times};
use serde_json::json;

use crate::stage::{Stage, condition, message};

#[test]
fn a_config_or_a_version_that_does_not_exist_is_stalled_and_found_later() {
    let stage = Stage::new("absent");
    stage.apply_config("c1", json!({"config": {"name": "new"}, "interval": "30s"}));
    let object = stage.wait_ready("c1", "False", "NotFound");
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.apply_config("c1", json!({"restoreVersion": 99}));
    assert!(message(&stage.wait_ready("c1", "False", "NotFound")).contains("no version 99"));
}

#[test]
fn an_unknown_property_is_refused_once_and_not_sent_again() {
    let stage = Stage::new("property");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().set_allowed_keys("c1", Some(&["name"]));
    stage.apply_config("c1", json!({"config": {"name": "new", "colour": "blue"}, "interval": "30s"}));
    let object = stage.wait_ready("c1", "False", "RemoteRejected");
    assert!(message(&object).contains("invalid.property"), "{}", message(&object));
    let mark = stage.mark();
    stage.wait_check("c1", mark);
    stage.kill_operator();
    stage.start_operator();
    let mark = stage.mark();
    stage.wait_check("c1", mark);
    assert_eq!(stage.writes().len(), 1, "a refused write waits an hour, also after a restart");
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
}

#[test]
fn a_remote_that_normalises_what_is_written_is_not_written_again() {
    let stage = Stage::new("normalise");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().set_normaliser([Normaliser::UpperCase { path: "/name".into() }]);
    stage.apply_config("c1", json!({"config": {"name": "new"}, "interval": "30s"}));
    let object = stage.wait_ready("c1", "False", "NotConverging");
    assert!(message(&object).contains("/name") && message(&object).contains("spec.ignore"), "{}", message(&object));
    let mark = stage.mark();
    stage.wait_check("c1", mark);
    stage.kill_operator();
    stage.start_operator();
    let mark = stage.mark();
    stage.wait_check("c1", mark);
    assert_eq!(stage.writes().len(), 1);
    stage.apply_config("c1", json!({"config": {"name": "new", "other": 1}, "ignore": ["/name"]}));
    stage.wait_ready("c1", "True", "Succeeded");
}

#[test]
fn a_pause_of_the_remote_is_obeyed_by_the_whole_org_also_after_a_restart() {
    let stage = Stage::new("pause");
    for name in ["c1", "c2"] {
        stage.world().put_config(name, json!({"name": "old"}));
    }
    stage.fault(Fault::new(FaultKind::retry_after(429, "12")).on(&["C1"]));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_until("the pause shows on the org", || {
        let org = stage.plane.get_json(&["-n", &stage.namespace, "get", "gorg", "org"]);
        org["status"]["budget"]["throttledUntil"].is_string()
    });
    stage.kill_operator();
    stage.start_operator();
    stage.apply_config("c2", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_ready("c2", "True", "Succeeded");
    stage.assert_invariants();
}

#[test]
fn lost_answers_and_server_errors_heal_by_themselves() {
    let stage = Stage::new("lost");
    let kinds = [
        FaultKind::ResetAfter,
        FaultKind::ResetBefore,
        FaultKind::status(503),
        FaultKind::TruncatedBody,
        FaultKind::Html { status: 200 },
        FaultKind::Unauthorized,
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let name = format!("c{index}");
        stage.world().put_config(&name, json!({"name": "old", "theirs": index}));
        stage.fault(Fault::new(kind).on(&["C3"]).target(&name));
        stage.apply_config(&name, json!({"config": {"name": "new"}}));
    }
    for index in 0..6 {
        let object = stage.wait_ready(&format!("c{index}"), "True", "Succeeded");
        assert_eq!(object["status"]["history"].as_array().map(Vec::len), Some(1), "{}", object["status"]);
        assert_eq!(stage.world().config(&format!("c{index}")).unwrap()["version"], 2);
    }
    stage.assert_invariants();
}

#[test]
fn hostile_answers_to_reads_leave_ready_unknown_and_write_nothing() {
    let stage = Stage::new("hostile");
    let kinds = [
        FaultKind::DeepNesting { depth: 100_000 },
        FaultKind::Oversized { gzip: true },
        FaultKind::Redirect { status: 307, location: "http://127.0.0.1:9/".into() },
    ];
    for (index, kind) in kinds.into_iter().enumerate() {
        let name = format!("c{index}");
        stage.world().put_config(&name, json!({"name": "old"}));
        stage.fault(Fault::new(kind).on(&["C1"]).target(&name).times(Times::Always));
        stage.apply_config(&name, json!({"config": {"name": "new"}}));
    }
    for index in 0..3 {
        let object = stage.wait_ready(&format!("c{index}"), "Unknown", "OrgUnavailable");
        assert_eq!(condition(&object, "Reconciling")["status"], "True");
    }
    assert!(stage.writes().is_empty());
    // One bad object never blocks the others.
    stage.world().put_config("good", json!({"name": "old"}));
    stage.apply_config("good", json!({"config": {"name": "new"}}));
    stage.wait_ready("good", "True", "Succeeded");
}

#[test]
fn without_an_etag_nothing_is_written() {
    let stage = Stage::new("etag");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().set_etag_style(EtagStyle::Absent);
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let object = stage.wait_ready("c1", "False", "RemoteRejected");
    assert!(message(&object).contains("ETag"), "{}", message(&object));
    stage.world().set_etag_style(EtagStyle::BodyOnly);
    stage.request_check("c1", "again");
    stage.wait_ready("c1", "True", "Succeeded");
    stage.assert_invariants();
}
