//! Writes whose answer never came: only a read can tell what became of them (contract sections 3 and 6).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::json;

use super::aac::Aac;
use super::stage::{Stage, quick};

fn applied(status: u16) -> FaultKind {
    FaultKind::Status { status, retry_after: None, body: None, applied: true }
}

#[tokio::test]
async fn a_write_that_was_applied_before_its_answer_was_lost_is_applied_once() {
    for (fault, status) in [(FaultKind::ResetAfter, 0), (applied(502), 502), (applied(408), 408), (applied(500), 500)] {
        let stage = Stage::new().await;
        stage.fault("C3", 1, fault);
        let mut aac = Aac::new(json!({"name": "New", "made": 1}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!((convergence.end, convergence.conflicts), (End::Done, 0), "{status}");
        // The repeat meets its own write: equal content on the read that follows is success, not a conflict.
        assert_eq!(stage.calls().await, ["C1 200", &format!("C3 {status}"), "C3 409", "C1 200"]);
        assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)));
        assert_eq!((convergence.written.len(), convergence.keep_intent), (1, false));
        assert_eq!(aac.created(), ["/made"]);
        assert_eq!(aac.status.history[0].version, "8");
    }
}

#[tokio::test]
async fn a_write_that_was_not_applied_is_repeated_in_place() {
    for fault in [FaultKind::ResetBefore, FaultKind::status(503), FaultKind::status(504)] {
        let stage = Stage::new().await;
        stage.fault("C3", 2, fault);
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(stage.count("C3").await, 3);
        assert_eq!(stage.calls().await.last().unwrap(), "C3 200");
        assert_eq!(aac.audits(), ["APPLIED"]);
        let puts = stage.entries("C3").await;
        assert!(puts.iter().all(|e| e.body_sha256 == puts[0].body_sha256 && e.if_match == puts[0].if_match));
    }
}

#[tokio::test]
async fn a_write_that_timed_out_is_looked_up() {
    let stage = Stage::with_timing(Timing { total: Duration::from_millis(250), ..quick() }).await;
    stage.fault("C3", 1, FaultKind::Delay { before_ms: 0, after_ms: 600 });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    stage.calls().await;
    assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)));
}

#[tokio::test]
async fn a_write_whose_every_answer_was_lost_is_looked_up() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ResetAfter);
    stage.fault("C3", 2, FaultKind::ResetBefore);
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 0", "C3 0", "C3 0", "C1 200"]);
    assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)));
}

#[tokio::test]
async fn a_write_that_a_read_shows_as_not_applied_has_failed_and_is_tried_again_later() {
    let stage = Stage::new().await;
    stage.fault("C3", 3, FaultKind::ResetBefore);
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Failed(ref f) if f.reason == Reason::OrgUnavailable), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200", "C3 0", "C3 0", "C3 0", "C1 200"]);
    assert_eq!((aac.audits(), convergence.keep_intent), (vec!["FAILED"], false));
    assert!(aac.status.intent.is_none());
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[5..], ["C1 200", "C3 200"]);
    assert_eq!(aac.audits(), ["FAILED", "APPLIED"]);
}
