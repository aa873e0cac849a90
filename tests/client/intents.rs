//! The intent before a write, and what a restart makes of it (design, Intent; contract section 7).

use assist_operator::api::status::Intent;
use assist_operator::remote::converge::End;
use serde_json::json;

use super::held::Aac;
use super::stage::Stage;

/// The object after a crash in the midst of a write: the status is the one from before, with the intent.
async fn crashed(stage: &Stage, aac: &mut Aac, took_effect: bool) -> Intent {
    let before = aac.status.clone();
    aac.book.open_for = (!took_effect).then_some(0);
    stage.converge(aac).await;
    let intent = aac.book.intents().pop().unwrap();
    aac.status = before;
    aac.status.intent = Some(intent.clone());
    if let Some(remote) = &stage.world.config("c1") {
        assert_eq!(remote["version"], if took_effect { 8 } else { 7 });
    }
    aac.book = super::held::Book::default();
    aac.restart();
    intent
}

#[tokio::test]
async fn the_intent_is_recorded_before_the_write_and_names_its_record() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": {"x": 1}}));
    let convergence = stage.converge(&mut aac).await;
    let (intent, record) = (aac.book.intents().remove(0), aac.book.records().remove(0));
    assert_eq!(aac.book.intents().len(), 1);
    let step = &intent.steps[0];
    assert_eq!((&step.audit_id, &step.version), (&record.audit_id, &record.version));
    assert_eq!((&step.before_hash, &step.after_hash), (&record.before_hash, &record.after_hash));
    assert_eq!((step.target.as_str(), step.action.as_str(), step.version.as_str()), ("config/c1", "CONFIG_UPDATE", "8"));
    assert_eq!(intent.digest, convergence.plan.unwrap().digest());
    assert_eq!(intent.creates, ["/made", "/made/x"]);
    assert!(aac.status.intent.is_none());
}

#[tokio::test]
async fn without_a_recorded_intent_nothing_is_written() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.broken = true;
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Halted(_)), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200"]);
    assert!(aac.audits().is_empty() && aac.book.attempts().is_empty());
    aac.book.broken = false;
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
}

#[tokio::test]
async fn after_a_crash_behind_the_write_it_is_found_and_not_sent_again() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": {"x": 1}}));
    let intent = crashed(&stage, &mut aac, true).await;
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(convergence.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200"]);
    let record = aac.book.records().remove(0);
    assert_eq!((aac.audits(), &record.audit_id), (vec!["APPLIED"], &intent.steps[0].audit_id));
    assert_eq!((record.before_hash, record.version.as_str()), (intent.steps[0].before_hash.clone(), "8"));
    assert!(aac.status.intent.is_none());
    assert_eq!(aac.status.history[0].version, "8");
    // What it created is remembered: when it is declared no longer, it goes.
    assert_eq!(aac.created(), ["/made", "/made/x"]);
    aac.declare(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.world.config("c1").unwrap().get("made"), None);
}

#[tokio::test]
async fn after_a_crash_before_the_write_it_is_recorded_as_failed_and_sent_once() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": 1}));
    let intent = crashed(&stage, &mut aac, false).await;
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C1 200", "C3 200"]);
    let records = aac.book.records();
    assert_eq!(aac.audits(), ["FAILED", "APPLIED"]);
    assert_eq!(records[0].audit_id, intent.steps[0].audit_id);
    assert_ne!(records[1].audit_id, intent.steps[0].audit_id);
    assert_eq!(aac.created(), ["/made"]);
}

#[tokio::test]
async fn where_somebody_else_wrote_that_version_nobody_claims_it() {
    for took_effect in [false, true] {
        let stage = Stage::new().await;
        let mut aac = Aac::new(json!({"name": "New"}));
        crashed(&stage, &mut aac, took_effect).await;
        stage.foreign("name", json!("Theirs"));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(aac.audits(), ["UNKNOWN", "APPLIED"]);
        assert_eq!(stage.live("/name"), "New");
        assert_eq!(aac.status.history.len(), 1);
        stage.calls().await;
    }
}

#[tokio::test]
async fn an_intent_is_settled_by_a_read_and_never_from_memory() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    let before = aac.status.clone();
    stage.converge(&mut aac).await;
    aac.status = before;
    aac.status.intent = aac.book.intents().pop();
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C1 200", "C3 200"]);
}

#[tokio::test]
async fn a_write_is_recognised_after_a_crash_although_the_spec_has_changed_since() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    crashed(&stage, &mut aac, true).await;
    aac.edit(|spec| spec["config"] = json!({"name": "Newer"}));
    aac.restart();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    // The live content is, to the byte, what the interrupted write asked for.
    assert_eq!(aac.audits(), ["APPLIED", "APPLIED"]);
}

#[tokio::test]
async fn a_field_made_by_an_interrupted_write_goes_although_it_is_declared_no_longer_at_the_restart() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New", "made": 1}));
    crashed(&stage, &mut aac, true).await;
    assert_eq!(stage.live("/made"), 1);
    aac.edit(|spec| spec["config"] = json!({"name": "New"}));
    aac.restart();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(aac.audits()[0], "APPLIED");
    assert_eq!(stage.world.config("c1").unwrap().get("made"), None);
}

#[tokio::test]
async fn an_intent_of_a_config_that_is_gone_is_unknown() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    crashed(&stage, &mut aac, true).await;
    stage.world.remove_config("c1");
    assert!(matches!(stage.converge(&mut aac).await.end, End::Blocked(_)));
    assert_eq!(aac.audits(), ["UNKNOWN"]);
    assert!(aac.status.intent.is_none());
    stage.converge(&mut aac).await;
    assert_eq!(aac.audits(), ["UNKNOWN"]);
}
