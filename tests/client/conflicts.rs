//! The guard lost: someone else wrote (contract section 3).

use assist_operator::remote::converge::End;
use assist_operator::sandbox::{ConflictStyle, FaultKind};
use futures::future::join_all;
use serde_json::{Value, json};

use super::held::Aac;
use super::stage::Stage;

fn foreign(patch: Value) -> FaultKind {
    FaultKind::ForeignEditBefore { patch: Some(patch) }
}

#[tokio::test]
async fn a_lost_guard_costs_two_calls_and_both_changes_survive() {
    let styles = [(ConflictStyle::Conflict, 409), (ConflictStyle::PreconditionFailed, 412), (ConflictStyle::BadRequest, 400)];
    for (style, status) in styles {
        let stage = Stage::new().await;
        stage.world.set_conflict_style(style);
        stage.fault("C3", 1, foreign(json!({"enabled": false, "parameters": {"limit": 9}})));
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!((convergence.end, convergence.conflicts), (End::Done, 1), "{style:?}");
        assert_eq!(stage.calls().await, ["C1 200", &format!("C3 {status}"), "C1 200", "C3 200"]);
        assert_eq!(aac.audits(), ["CONFLICT", "APPLIED"]);
        let now = (stage.live("/name"), stage.live("/enabled"), stage.live("/parameters/limit"), stage.live("/version"));
        assert_eq!(now, (json!("New"), json!(false), json!(9), json!(9)));
        let puts = stage.entries("C3").await;
        assert_ne!(puts[0].body_sha256, puts[1].body_sha256);
        assert_ne!(puts[0].if_match, puts[1].if_match);
        assert_eq!(convergence.written.len(), 1);
    }
}

#[tokio::test]
async fn a_conflict_with_one_s_own_content_is_done() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, foreign(json!({"name": "New"})));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(convergence.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 409", "C1 200"]);
    assert_eq!(aac.audits(), ["CONFLICT"]);
    assert!(convergence.written.is_empty() && aac.status.history.is_empty());
    assert_eq!(aac.ready().0, "Succeeded");
}

#[tokio::test]
async fn a_conflict_of_a_write_from_memory_with_one_s_own_content_costs_one_more_call() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"enabled": false}));
    stage.converge(&mut aac).await;
    stage.foreign("name", json!("New"));
    aac.declare(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C3 409", "C1 200"]);
}

#[tokio::test]
async fn a_second_lost_guard_ends_the_round_and_the_next_one_reads_first() {
    let stage = Stage::new().await;
    stage.fault("C3", 2, FaultKind::ForeignEditBefore { patch: None });
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::LostGuard(_)), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200", "C3 409", "C1 200", "C3 409"]);
    assert_eq!((aac.audits(), aac.ready().0), (vec!["CONFLICT", "CONFLICT"], "ConflictDetected"));
    aac.immediate_retry = false;
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[4..], ["C1 200", "C3 200"]);
    assert_eq!(aac.audits(), ["CONFLICT", "CONFLICT", "APPLIED"]);
    assert_eq!(stage.live("/foreignNote"), "edited at version 8");
}

#[tokio::test]
async fn without_an_immediate_retry_a_lost_guard_ends_the_round_at_once() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.immediate_retry = false;
    assert!(matches!(stage.converge(&mut aac).await.end, End::LostGuard(_)));
    assert_eq!(stage.calls().await, ["C1 200", "C3 409"]);
    // What is remembered of before the refusal is forgotten: also a change of spec reads now.
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C1 200", "C3 200"]);
}

#[tokio::test]
async fn a_refusal_under_an_unmoved_guard_is_not_answered_by_the_same_body() {
    for status in [409, 412] {
        let stage = Stage::new().await;
        stage.fault("C3", 1, FaultKind::status(status));
        let mut aac = Aac::new(json!({"name": "New"}));
        assert!(matches!(stage.converge(&mut aac).await.end, End::LostGuard(_)));
        assert_eq!(stage.calls().await, ["C1 200", &format!("C3 {status}"), "C1 200"]);
        assert_eq!(aac.audits(), ["CONFLICT"]);
        aac.immediate_retry = false;
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(stage.calls().await[3..], ["C1 200", "C3 200"]);
    }
}

#[tokio::test]
async fn a_foreign_change_of_a_declared_field_at_the_worst_moment_is_seen_before_it_is_overwritten() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, foreign(json!({"name": "Theirs", "note": "mine"})));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(convergence.end, End::Done);
    let change = convergence.plan.as_ref().unwrap().changes().next().unwrap().clone();
    assert_eq!(change.from, Some(json!("Theirs")));
    assert_eq!((stage.live("/name"), stage.live("/note")), (json!("New"), json!("mine")));
}

#[tokio::test]
async fn the_read_after_a_lost_guard_may_fail() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: None });
    stage.fault_after("C1", 1, 3, FaultKind::status(503));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Failed(_)), "{:?}", convergence.end);
    assert_eq!(aac.audits(), ["CONFLICT"]);
    assert!(!convergence.keep_intent);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
}

#[tokio::test]
async fn many_writers_of_one_config_lose_no_update() {
    let stage = Stage::new().await;
    // Each writer is an operator of its own: its memory, its object.
    let writers = (0..8).map(async |n| {
        let name = format!("writer{n}");
        let mut aac = Aac::new(json!({name.as_str(): 0}));
        for value in 1..=3 {
            aac.declare(json!({name.as_str(): value}));
            while stage.converge(&mut aac).await.end != End::Done {}
        }
        aac.audits().iter().filter(|status| **status == "APPLIED").count()
    });
    let applied: usize = join_all(writers).await.into_iter().sum();
    stage.calls().await;
    assert_eq!(stage.entries("C3").await.iter().filter(|e| e.applied).count(), applied);
    assert_eq!(applied, 8 * 3);
    for n in 0..8 {
        assert_eq!(stage.live(&format!("/writer{n}")), 3);
    }
    assert_eq!(stage.live("/parameters"), json!({"threshold": 0.72, "limit": 3}));
}
