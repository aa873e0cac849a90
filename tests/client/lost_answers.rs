//! Writes whose answer never came: only a read can tell what became of them (contract sections 3 and 6).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::json;

use super::held::Aac;
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

#[tokio::test]
async fn a_lost_answer_under_a_foreign_write_is_not_recorded_as_a_lost_guard() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ResetAfter);
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: Some(json!({"note": 1})) });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 0", "C3 409", "C1 200"]);
    // It did take effect, at version 8; the read shows 9 with its content.
    assert_ne!(aac.audits(), ["CONFLICT"]);
    assert_eq!((stage.live("/name"), stage.live("/note")), (json!("New"), json!(1)));
}

#[tokio::test]
async fn while_nobody_can_tell_the_intent_stays_and_the_next_reconcile_looks_again() {
    for took_effect in [true, false] {
        let stage = Stage::new().await;
        let mut aac = Aac::new(json!({"name": "New", "made": 1}));
        stage.fault("C3", 1, if took_effect { FaultKind::ResetAfter } else { FaultKind::ResetBefore });
        stage.fault("C3", 2, FaultKind::ResetBefore);
        stage.fault_after("C1", 1, 3, FaultKind::status(503));
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Failed(ref f) if f.unreadable), "{:?}", convergence.end);
        assert!(convergence.keep_intent && aac.audits().is_empty());
        let intent = aac.status.intent.clone().expect("the intent stays in status until it is settled");
        assert_eq!(intent, aac.book.intents()[0]);
        aac.restart();
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        let record = aac.book.records().remove(0);
        assert_eq!(record.audit_id, intent.steps[0].audit_id);
        assert_eq!(record.status.as_str(), if took_effect { "APPLIED" } else { "FAILED" });
        assert_eq!(stage.entries("C3").await.iter().filter(|e| e.applied).count(), 1);
        assert_eq!(aac.created(), ["/made"]);
        assert!(aac.status.intent.is_none());
        stage.calls().await;
    }
}

#[tokio::test]
async fn a_lost_answer_of_a_write_from_memory_is_looked_up_too() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    stage.fault("C3", 1, FaultKind::ResetAfter);
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C3 0", "C3 409", "C1 200"]);
    assert_eq!(aac.audits(), ["APPLIED", "APPLIED"]);
}

#[tokio::test]
async fn a_repeat_that_may_have_met_its_own_write_is_no_conflict_until_a_read_says_so() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ResetAfter);
    stage.fault_after("C1", 1, 3, FaultKind::status(503));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Failed(_)), "{:?}", convergence.end);
    assert!(convergence.keep_intent && aac.audits().is_empty());
    aac.restart();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)));
}
