//! What stops a write: the gate before each request, approval, the change limit (design, Before every write; Approval).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::{Convergence, End};
use assist_operator::sandbox::FaultKind;
use jiff::SignedDuration;
use serde_json::json;

use super::held::Aac;
use super::stage::{ID, Stage};

#[tokio::test]
async fn a_closed_gate_stops_the_write_before_it_is_sent() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.open_for = Some(0);
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(convergence.end, End::Halted("it was suspended".into()));
    assert_eq!(stage.calls().await, ["C1 200"]);
    assert!(aac.audits().is_empty() && !convergence.keep_intent && aac.status.intent.is_none());
    assert_eq!(aac.ready().0, "Progressing");
    aac.book.open_for = None;
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(aac.audits(), ["APPLIED"]);
}

#[tokio::test]
async fn a_gate_that_closes_behind_an_uncertain_try_keeps_the_intent() {
    for fault in [FaultKind::ResetAfter, FaultKind::ResetBefore] {
        let stage = Stage::new().await;
        stage.fault("C3", 1, fault.clone());
        let mut aac = Aac::new(json!({"name": "New", "made": 1}));
        aac.book.open_for = Some(1);
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Halted(_)), "{:?}", convergence.end);
        assert_eq!(stage.calls().await, ["C1 200", "C3 0"]);
        assert!(convergence.keep_intent && aac.audits().is_empty());
        let intent = aac.status.intent.clone().expect("the intent stays in status until it is settled");
        aac.book.open_for = None;
        aac.restart();
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(aac.book.records()[0].audit_id, intent.steps[0].audit_id);
        let expected = if fault == FaultKind::ResetAfter { vec!["APPLIED"] } else { vec!["FAILED", "APPLIED"] };
        assert_eq!(aac.audits(), expected);
        assert_eq!(stage.entries("C3").await.iter().filter(|e| e.applied).count(), 1);
        assert_eq!(aac.created(), ["/made"]);
    }
}

#[tokio::test]
async fn a_gate_that_closes_behind_a_certain_refusal_leaves_the_record_of_that_try() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::retry_after(429, "1"));
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.open_for = Some(1);
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Halted(_)), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200", "C3 429"]);
    assert!(!convergence.keep_intent);
    assert_eq!(aac.audits(), ["FAILED"], "one record for every attempted write");
    assert_eq!(aac.book.attempts().len(), 1);
}

#[tokio::test]
async fn a_gate_that_closes_between_a_lost_guard_and_its_retry_stops_the_retry() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.open_for = Some(1);
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(convergence.end, End::Halted(_)), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200", "C3 409", "C1 200"]);
    assert_eq!((aac.audits(), convergence.keep_intent), (vec!["CONFLICT"], false));
}

fn digest(convergence: &Convergence) -> String {
    let held = matches!(convergence.end, End::Held { reason: Reason::AwaitingApproval, .. });
    assert!(held, "{:?}", convergence.end);
    convergence.digest.clone().unwrap()
}

#[tokio::test]
async fn a_plan_waits_for_the_approval_of_its_digest() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.approval_required = true;
    let digest = digest(&stage.converge(&mut aac).await);
    let pending = aac.status.pending_plan.clone().unwrap();
    assert_eq!((pending.digest.as_str(), pending.changes.len()), (digest.as_str(), 1));
    assert!(aac.ready().1.contains(&digest) && aac.book.intents().is_empty());
    for other in ["", "x", &digest[1..], &digest.to_uppercase()] {
        aac.approved = Some(other.to_owned());
        assert!(matches!(stage.converge(&mut aac).await.end, End::Held { .. }), "{other:?}");
    }
    aac.approved = Some(digest);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert!(aac.status.pending_plan.is_none());
    assert_eq!((stage.count("C3").await, aac.audits()), (1, vec!["APPLIED"]));
}

#[tokio::test]
async fn an_approval_lets_its_plan_run_once() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.approval_required = true;
    let before = stage.live("/name");
    let pending = |aac: &Aac| aac.status.pending_plan.as_ref().map(|pending| pending.digest.clone());
    stage.converge(&mut aac).await;
    aac.approved = pending(&aac);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    // Somebody changes it back: the same changes again, and the annotation is still there.
    for runs in 2..4 {
        stage.foreign("name", before.clone());
        aac.checks();
        let end = stage.converge(&mut aac).await.end;
        assert!(matches!(end, End::Held { reason: Reason::AwaitingApproval, .. }), "{end:?}");
        let again = pending(&aac);
        assert!(again.is_some() && again != aac.approved && aac.ready().1.contains(again.as_deref().unwrap()));
        assert_eq!((stage.live("/name"), stage.count("C3").await), (before.clone(), runs - 1));
        aac.approved = again;
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!((stage.live("/name"), stage.count("C3").await), (json!("New"), runs));
    }
}

#[tokio::test]
async fn an_approval_whose_plan_was_withdrawn_does_not_count_when_the_same_is_planned_once_more() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.approval_required = true;
    let before = stage.live("/name");
    let first = digest(&stage.converge(&mut aac).await);
    aac.approved = Some(first.clone());
    aac.declare(json!({"name": before}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    // Months later, and the annotation is still there.
    aac.declare(json!({"name": "New"}));
    let second = digest(&stage.converge(&mut aac).await);
    assert_ne!(first, second);
    assert_eq!((stage.live("/name"), stage.count("C3").await), (before, 0));
    aac.approved = Some(second);
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((stage.live("/name"), stage.count("C3").await), (json!("New"), 1));
}

#[tokio::test]
async fn a_foreign_edit_elsewhere_does_not_void_an_approval_and_one_of_its_paths_does() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.approval_required = true;
    aac.approved = Some(digest(&stage.converge(&mut aac).await));
    stage.foreign("name", json!("Theirs"));
    let void = digest(&stage.converge(&mut aac).await);
    assert_ne!(Some(&void), aac.approved.as_ref());
    aac.approved = Some(void);
    stage.foreign("note", json!(1));
    // Also where the edit comes between the read and the write.
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: Some(json!({"enabled": false})) });
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((stage.live("/name"), stage.live("/note"), stage.live("/enabled")), (json!("New"), json!(1), json!(false)));
}

#[tokio::test]
async fn an_approval_is_void_where_its_path_changed_between_read_and_write() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.approval_required = true;
    aac.approved = Some(digest(&stage.converge(&mut aac).await));
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: Some(json!({"name": "Theirs"})) });
    let convergence = stage.converge(&mut aac).await;
    assert_ne!(Some(digest(&convergence)), aac.approved);
    assert_eq!((stage.live("/name"), aac.audits()), (json!("Theirs"), vec!["CONFLICT"]));
}

#[tokio::test]
async fn the_change_limit_holds_every_write_but_a_restore() {
    let stage = Stage::new().await;
    let until = assist_operator::clock::now() + SignedDuration::from_mins(10);
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.limited_until = Some(until);
    let convergence = stage.converge(&mut aac).await;
    let held =
        matches!(&convergence.end, End::Held { reason: Reason::ChangeBudgetExceeded, until: Some(at), .. } if *at == until);
    assert!(held, "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200"]);
    aac.edit(|spec| spec["restoreVersion"] = json!(6));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/name"), "Older");
}

#[tokio::test]
async fn under_observe_nothing_is_ever_written_and_under_report_drift_only_what_the_spec_changed() {
    let stage = Stage::new().await;
    let mut aac = Aac::of(json!({"orgRef": {"name": "o"}, "configId": ID, "config": {"name": "New"}, "policy": "Observe"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((aac.ready().0, stage.count("C3").await), ("Observed", 0));
    aac.edit(|spec| spec["policy"] = json!("ReportDrift"));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((aac.ready().0, stage.count("C3").await), ("Succeeded", 1));
    stage.foreign("name", json!("Theirs"));
    aac.checks();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((aac.ready().0, stage.live("/name")), ("DriftReported", json!("Theirs")));
    let drift = &aac.status.drift[0];
    assert_eq!(
        (drift.path.as_str(), drift.desired.as_deref(), drift.actual.as_deref()),
        ("/name", Some("\"New\""), Some("\"Theirs\""))
    );
    aac.declare(json!({"name": "New", "enabled": false}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!((stage.live("/name"), stage.live("/enabled")), (json!("Theirs"), json!(false)));
}
