//! Remembered states: a change of spec costs one call, and nothing is claimed from memory alone (design, Memory).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::{Value, json};

use super::held::Aac;
use super::stage::{ID, Stage};

#[tokio::test]
async fn a_first_convergence_is_two_calls_and_each_change_of_spec_one() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "0"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    for n in 1..=5 {
        aac.declare(json!({"name": n.to_string(), "made": n}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!((convergence.end, convergence.observed), (End::Done, false));
        assert_eq!(convergence.remote.version, Some((8 + n).to_string()));
    }
    assert_eq!(stage.calls().await, [&["C1 200"][..], &["C3 200"; 6]].concat());
    assert_eq!(stage.count("T1").await, 1);
    assert_eq!((stage.live("/name"), stage.live("/made")), (json!("5"), json!(5)));
    assert_eq!(aac.created(), ["/made"]);
}

#[tokio::test]
async fn no_change_is_no_write_and_a_restart_is_one_read() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.checks();
    stage.converge(&mut aac).await;
    let before = aac.status.clone();
    aac.restart();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200", "C1 200"]);
    assert_eq!(aac.status, before);
}

#[tokio::test]
async fn nothing_is_called_done_from_memory_alone() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "enabled": true}));
    stage.converge(&mut aac).await;
    // Another spec that the remembered state satisfies; meanwhile somebody changed it.
    stage.foreign("name", json!("Theirs"));
    aac.declare(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!((convergence.end, convergence.observed), (End::Done, true));
    assert_eq!(stage.calls().await[2..], ["C1 200", "C3 200"]);
    assert_eq!(stage.live("/name"), "New");
}

#[tokio::test]
async fn nothing_is_held_or_reported_from_memory_alone() {
    for expected in [Reason::AwaitingApproval, Reason::ChangeBudgetExceeded] {
        let stage = Stage::new().await;
        let mut aac = Aac::new(json!({"name": "New"}));
        stage.converge(&mut aac).await;
        if expected == Reason::AwaitingApproval {
            aac.approval_required = true;
        } else {
            aac.book.limited_until = Some(assist_operator::clock::now() + jiff::SignedDuration::from_hours(1));
        }
        aac.declare(json!({"name": "Newer"}));
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Held { reason, .. } if reason == expected), "{:?}", convergence.end);
        assert_eq!(stage.calls().await[2..], ["C1 200"]);
    }
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.edit(|spec| (spec["policy"], spec["config"]["name"]) = (json!("Observe"), json!("Newer")));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!((convergence.end, convergence.observed), (End::Done, true));
    assert_eq!(stage.calls().await[2..], ["C1 200"]);
    assert_eq!((aac.ready().0, aac.status.drift.len()), ("Observed", 1));
}

#[tokio::test]
async fn a_foreign_edit_since_then_is_a_lost_guard_and_survives() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    stage.foreign("note", json!("theirs"));
    aac.declare(json!({"name": "Newer"}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!((convergence.end, convergence.conflicts), (End::Done, 1));
    assert_eq!(stage.calls().await[2..], ["C3 409", "C1 200", "C3 200"]);
    assert_eq!((stage.live("/name"), stage.live("/note")), (json!("Newer"), json!("theirs")));
    // What was read and written meanwhile is what the next change starts from.
    aac.declare(json!({"name": "Newest"}));
    stage.converge(&mut aac).await;
    assert_eq!(stage.calls().await[5..], ["C3 200"]);
}

#[tokio::test]
async fn a_state_that_is_too_old_is_not_used() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.declare(json!({"name": "Newer"}));
    aac.max_age = Some(Duration::ZERO);
    stage.converge(&mut aac).await;
    assert_eq!(stage.calls().await[2..], ["C1 200", "C3 200"]);
}

#[tokio::test]
async fn a_large_document_is_not_remembered() {
    let stage = Stage::new().await;
    stage.foreign("large", Value::String("x".repeat(1_100_000)));
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200", "C3 200"]);
}

#[tokio::test]
async fn what_a_failed_write_was_computed_from_is_not_used_again() {
    for kind in [FaultKind::status(404), FaultKind::Redirect { status: 307, location: "/".into() }] {
        let stage = Stage::new().await;
        let mut aac = Aac::new(json!({"name": "New"}));
        stage.converge(&mut aac).await;
        stage.fault("C3", 1, kind);
        aac.declare(json!({"name": "Newer"}));
        assert!(matches!(stage.converge(&mut aac).await.end, End::Failed(_)));
        aac.declare(json!({"name": "Newest"}));
        stage.converge(&mut aac).await;
        assert_eq!(stage.calls().await[3..], ["C1 200", "C3 200"]);
    }
}

#[tokio::test]
async fn memory_of_the_status_is_not_used_for_another_host() {
    let first = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": 1}));
    first.converge(&mut aac).await;
    assert_eq!(aac.created(), ["/made"]);
    // Another organisation, where somebody else made that field.
    let second = Stage::new().await;
    second.foreign("made", json!(1));
    aac.declare(json!({"name": "New"}));
    aac.restart();
    assert_eq!(second.converge(&mut aac).await.end, End::Done);
    assert_eq!(second.live("/made"), 1);
    assert_eq!(aac.status.remote.as_ref().unwrap().id, ID);
    assert_eq!(aac.status.history.len(), 1);
}

#[tokio::test]
async fn a_field_that_is_no_longer_declared_goes_only_if_it_was_made_here_and_is_as_it_was_written() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": {"a": 1, "b": 2}, "changed": 1}));
    stage.converge(&mut aac).await;
    stage.foreign("changed", json!(2));
    aac.declare(json!({}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(convergence.end, End::Done);
    assert_eq!(convergence.plan.unwrap().released, ["/changed", "/name"]);
    let live = stage.world.config(ID).unwrap();
    assert_eq!((&live["name"], &live["changed"], live.get("made")), (&json!("New"), &json!(2), None));
    assert!(aac.status.applied.is_empty());
    stage.calls().await;
}
