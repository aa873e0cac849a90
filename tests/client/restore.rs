//! Roll back to an earlier version (contract section 3, Roll back).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{EtagStyle, FaultKind};
use serde_json::json;

use super::held::Aac;
use super::stage::{ID, Stage};

fn restoring(version: i32) -> Aac {
    Aac::of(json!({"orgRef": {"name": "o"}, "configId": ID, "restoreVersion": version}))
}

#[tokio::test]
async fn a_snapshot_is_brought_back_whole_under_the_live_guard() {
    for style in [EtagStyle::Header, EtagStyle::BodyOnly, EtagStyle::Weak] {
        let stage = Stage::new().await;
        stage.world.set_etag_style(style);
        stage.foreign("extra", json!(true));
        let mut aac = restoring(6);
        let convergence = stage.converge(&mut aac).await;
        assert_eq!(convergence.end, End::Done);
        assert_eq!(stage.calls().await, ["C1 200", "C2 200", "C3 200"]);
        let body = stage.entries("C3").await.remove(0).body.unwrap().to_value();
        let expected = json!({
            "version": 9, "name": "Older", "enabled": true, "added": [1, null],
            "rules": [{"id": "r1", "on": true}], "parameters": {"threshold": 0.72, "limit": 2},
        });
        assert_eq!(body, expected);
        let record = aac.book.records().remove(0);
        assert_eq!((record.action.as_str(), record.version.as_str(), record.status.as_str()), ("CONFIG_RESTORE", "9", "APPLIED"));
        assert_eq!(aac.status.history[0].why, "Restore");
        // Nothing is left to do.
        aac.checks();
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(stage.count("C3").await, 1);
    }
}

#[tokio::test]
async fn a_rollback_costs_two_calls_where_the_live_state_is_remembered() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.edit(|spec| spec["restoreVersion"] = json!(7));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C2 200", "C3 200"]);
    assert_eq!((stage.live("/name"), stage.live("/version")), (json!("Retail assist"), json!(9)));
    // Without the line, what is declared comes back.
    aac.edit(|spec| drop(spec.as_object_mut().unwrap().remove("restoreVersion")));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((stage.live("/name"), stage.calls().await[4..].to_vec()), (json!("New"), vec!["C3 200".to_owned()]));
}

#[tokio::test]
async fn a_version_that_does_not_exist_is_named() {
    let stage = Stage::new().await;
    let mut aac = restoring(3);
    let convergence = stage.converge(&mut aac).await;
    let End::Blocked(blocked) = convergence.end else { panic!("{:?}", convergence.end) };
    assert_eq!(blocked.reason, Reason::NotFound);
    assert!(blocked.message.contains("version 3"), "{}", blocked.message);
    assert_eq!(stage.calls().await, ["C1 200", "C2 404"]);
    assert!(aac.audits().is_empty());
}

#[tokio::test]
async fn a_lost_guard_of_a_rollback_costs_two_calls_and_is_planned_again() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: Some(json!({"note": 1})) });
    let mut aac = restoring(6);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C2 200", "C3 409", "C1 200", "C3 200"]);
    assert_eq!(aac.audits(), ["CONFLICT", "APPLIED"]);
    assert_eq!(stage.world.config(ID).unwrap().get("note"), None);
}

#[tokio::test]
async fn a_version_that_is_live_already_needs_no_write() {
    let stage = Stage::new().await;
    let mut aac = restoring(7);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C2 200"]);
    assert_eq!(aac.ready().0, "Succeeded");
}

#[tokio::test]
async fn a_lost_answer_of_a_rollback_is_looked_up() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ResetAfter);
    let mut aac = restoring(6);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((aac.audits(), stage.live("/name")), (vec!["APPLIED"], json!("Older")));
    stage.calls().await;
}

#[tokio::test]
async fn a_snapshot_that_cannot_be_read_restores_nothing() {
    for kind in [FaultKind::status(503), FaultKind::Html { status: 200 }, FaultKind::WrongDocument, FaultKind::EmptyBody] {
        let stage = Stage::new().await;
        stage.fault("C2", 3, kind.clone());
        let mut aac = restoring(6);
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Failed(_)), "{kind:?}: {:?}", convergence.end);
        assert_eq!((stage.count("C3").await, stage.live("/version")), (0, json!(7)));
    }
}

#[tokio::test]
async fn what_the_server_stamps_itself_is_neither_brought_back_nor_a_difference() {
    let stage = Stage::new().await;
    let stamped = json!({"id": ID, "version": 9, "name": "Now", "dateModified": "2026-01-02T00:00:00Z", "createdBy": "a"});
    stage.world.put_config(ID, stamped);
    stage.world.put_snapshot(ID, json!({"version": 8, "name": "Then", "dateModified": "2026-01-01T00:00:00Z", "createdBy": "b"}));
    let mut aac = restoring(8);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    aac.checks();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((stage.count("C3").await, stage.live("/createdBy")), (1, json!("a")));
}

#[tokio::test]
async fn a_snapshot_that_would_change_on_the_way_back_is_not_restored() {
    for member in super::documents::FRAGILE {
        let stage = Stage::new().await;
        let body = String::from_utf8(super::documents::raw(member)).unwrap().replace("\"version\":7", "\"version\":6");
        let body = Some(serde_json::Value::String(body));
        stage.fault("C2", 9, FaultKind::Status { status: 200, retry_after: None, body, applied: false });
        let mut aac = restoring(6);
        let end = stage.converge(&mut aac).await.end;
        assert_eq!(stage.count("C3").await, 0, "{member}: {end:?}");
        assert!(matches!(&end, End::Blocked(b) if b.reason == Reason::RemoteRejected), "{member}: {end:?}");
    }
}
