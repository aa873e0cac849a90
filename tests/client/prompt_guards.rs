//! What stops a promotion: the gate, the budget, the audit store, the repairs of a day, a server that does not keep it.

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::Retry;
use assist_operator::sandbox::{FaultKind, Normaliser};
use jiff::SignedDuration;
use serde_json::json;

use super::prompt_stage::{Pt, TEMPLATE, foreign, live, numbers, of, pt, shows, stage};
use super::stage::Stage;

fn reason(end: &End) -> Reason {
    let End::Held { reason, .. } = end else { panic!("{end:?}") };
    *reason
}

#[tokio::test]
async fn a_gate_that_closes_between_look_and_post_stops_the_post() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.open_for = Some(0);
    let convergence = stage.converge(&mut pt).await;
    assert_eq!(convergence.end, End::Halted("it was suspended".into()));
    assert_eq!(stage.calls().await, ["P1 200"]);
    assert!(pt.audits().is_empty() && pt.book.attempts().is_empty() && pt.status.intent.is_none());
    pt.book.open_for = None;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(stage.calls().await, ["P1 200", "P1 200", "P2 201"]);
}

#[tokio::test]
async fn a_gate_that_closes_between_a_lost_number_and_the_next_stops_the_retry() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut pt = pt("Hello");
    pt.book.open_for = Some(1);
    assert!(matches!(stage.converge(&mut pt).await.end, End::Halted(_)));
    assert_eq!(stage.calls().await, ["P1 200", "P2 409", "P1 200"]);
    assert_eq!((pt.audits(), pt.status.intent.is_some(), pt.book.attempts().len()), (vec!["CONFLICT"], false, 1));
}

#[tokio::test]
async fn a_pause_behind_a_429_that_is_short_is_slept_out_and_a_long_one_ends_the_attempt() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::retry_after(429, "1"));
    let mut pt = pt("Hello");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(stage.calls().await, ["P1 200", "P2 429", "P2 201"]);
    assert_eq!(pt.audits(), ["PROMOTED"], "one record for both requests");

    stage.fault("P2", 1, FaultKind::retry_after(429, "60"));
    pt.edit(|spec| spec["content"] = json!("Hello again"));
    let convergence = stage.converge(&mut pt).await;
    let End::Failed(failure) = &convergence.end else { panic!("{:?}", convergence.end) };
    assert_eq!(failure.reason, Reason::RateLimited);
    assert!(matches!(failure.retry, Retry::After(wait) if wait.as_secs() >= 59), "{:?}", failure.retry);
    assert_eq!((pt.audits(), pt.unconfirmed()), (vec!["PROMOTED", "FAILED"], None));
    assert_eq!(stage.calls().await[3..], ["P1 200", "P2 429"]);
    assert_eq!(live(&stage), shows("1.0.1", "Hello"));
}

#[tokio::test]
async fn a_call_that_was_kept_for_a_promotion_is_given_back() {
    for halted in [true, false] {
        let stage = stage().await;
        let mut pt = pt("Hello");
        (pt.book.broken, pt.book.open_for) = (!halted, halted.then_some(0));
        assert!(matches!(stage.converge(&mut pt).await.end, End::Halted(_)));
        // The token and one look, and nothing else: what was kept for the post is free again.
        assert_eq!((stage.calls().await, stage.account.budget().used()), (vec!["P1 200".to_owned()], 2));
        assert_eq!(stage.account.budget().waiting(), 0);
        (pt.book.broken, pt.book.open_for) = (false, None);
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        assert_eq!(stage.account.budget().used(), 4);
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_stored_keeps_the_intent_and_is_made_again() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.unsafe_records = true;
    let convergence = stage.converge(&mut pt).await;
    assert_eq!((convergence.end, convergence.keep_intent), (End::Done, true));
    let intent = pt.status.intent.clone().unwrap();
    for _ in 0..3 {
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        assert_eq!(pt.status.intent.as_ref(), Some(&intent));
    }
    assert_eq!(pt.status.history.len(), 1, "one promotion is one entry, however often its record is tried");
    pt.book.unsafe_records = false;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.audits(), &pt.book.records()[0].audit_id), (vec!["PROMOTED"], &intent.steps[0].audit_id));
    assert_eq!((pt.status.intent.is_some(), pt.status.history.len()), (false, 1));
    assert_eq!(stage.calls().await, ["P1 200", "P2 201", "P1 200", "P1 200", "P1 200", "P1 200"]);
}

#[tokio::test]
async fn no_promotion_goes_out_over_a_record_that_is_not_safe() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.unsafe_records = true;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    let intent = pt.status.intent.clone().unwrap();
    pt.edit(|spec| spec["content"] = json!("Hello again"));
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::AuditBacklog);
    assert_eq!((pt.status.intent.as_ref(), stage.count("P2").await), (Some(&intent), 1));
    pt.book.unsafe_records = false;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.audits(), &pt.book.records()[0].audit_id), (vec!["PROMOTED", "PROMOTED"], &intent.steps[0].audit_id));
    assert_eq!(pt.book.records().len(), pt.book.intents().len());
    stage.calls().await;
}

#[tokio::test]
async fn a_conflict_whose_record_is_not_safe_is_not_tried_again_at_once() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut pt = pt("Hello");
    pt.book.unsafe_records = true;
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::AuditBacklog);
    assert_eq!(stage.calls().await, ["P1 200", "P2 409", "P1 200"]);
    let lost = pt.status.intent.clone().unwrap().steps[0].audit_id.clone();
    pt.book.unsafe_records = false;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.book.records()[0].audit_id.as_str(), pt.book.records().len()), (lost.as_str(), 2));
    assert_eq!(live(&stage), shows("1.0.2", "Hello"));
}

#[tokio::test]
async fn a_full_audit_store_holds_every_promotion() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.audit_full = true;
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::AuditBacklog);
    assert_eq!((pt.ready().0, stage.calls().await), ("AuditBacklog", vec!["P1 200".to_owned()]));
    assert!(pt.book.intents().is_empty() && pt.status.intent.is_none());
    pt.book.audit_full = false;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(live(&stage), shows("1.0.1", "Hello"));
}

#[tokio::test]
async fn a_prompt_waits_for_the_approval_of_exactly_its_change() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.approval_required = true;
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::AwaitingApproval);
    pt.approved = pt.status.pending_plan.as_ref().map(|pending| pending.digest.clone());
    // Somebody changes what it would change from: the approval is void.
    foreign(&stage, "1.0.1", "Theirs");
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::AwaitingApproval);
    pt.approved = pt.status.pending_plan.as_ref().map(|pending| pending.digest.clone());
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((live(&stage), stage.calls().await.len()), (shows("1.0.2", "Hello"), 4));
}

/// Time passes for the object.
fn later(pt: &mut Pt, hours: i64) {
    for entry in &mut pt.status.history {
        entry.time.0 -= SignedDuration::from_hours(hours);
    }
}

/// Somebody else promotes, and the object is checked.
async fn drifts(stage: &Stage, pt: &mut Pt, number: u32) -> End {
    foreign(stage, &format!("2.{number}.0"), "Theirs");
    pt.checks();
    stage.converge(pt).await.end
}

#[tokio::test]
async fn a_prompt_is_repaired_three_times_a_day_and_on_request() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    for number in 1..=3 {
        later(&mut pt, 7);
        assert_eq!(drifts(&stage, &mut pt, number).await, End::Done);
        assert_eq!(pt.status.history[0].why, "DriftRepair");
    }
    later(&mut pt, 7);
    let end = drifts(&stage, &mut pt, 4).await;
    let End::Held { reason: Reason::Progressing, message, until: Some(_) } = &end else { panic!("{end:?}") };
    assert!(message.contains("3 times within 24 hours"), "{message}");
    assert_eq!((stage.count("P2").await, live(&stage).1.as_str()), (4, "Theirs"));
    // A restart makes no difference, another day does; so does a person, and a change of spec.
    pt.restart();
    assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::Progressing);
    pt.requested = true;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    pt.requested = false;
    assert_eq!(reason(&drifts(&stage, &mut pt, 5).await), Reason::Progressing);
    pt.edit(|spec| spec["content"] = json!("Hello again"));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(pt.status.history[0].why, "SpecChange");
    assert_eq!(reason(&drifts(&stage, &mut pt, 6).await), Reason::Progressing);
    later(&mut pt, 24);
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(numbers(&stage).len(), 1 + 6 + 7);
    stage.calls().await;
}

#[tokio::test]
async fn a_repair_whose_record_is_tried_again_counts_once() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    pt.book.unsafe_records = true;
    assert_eq!(drifts(&stage, &mut pt, 1).await, End::Done);
    for _ in 0..4 {
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    }
    pt.book.unsafe_records = false;
    assert_eq!(drifts(&stage, &mut pt, 2).await, End::Done, "it was repaired once only");
}

#[tokio::test]
async fn a_prompt_that_is_not_kept_is_promoted_once_until_the_spec_changes() {
    for (rule, path) in [
        (json!({"rule": "upperCase", "path": "/content"}), "/content"),
        (json!({"rule": "remove", "path": "/metadata/author"}), "/metadata/author"),
        (json!({"rule": "defaults", "path": "/variables", "members": {"added": "x"}}), "/variables/added"),
    ] {
        let stage = stage().await;
        stage.world.set_normaliser([serde_json::from_value::<Normaliser>(rule.clone()).unwrap()]);
        let mut pt = of(json!({"content": "Hello", "metadata": {"author": "us"}}));
        let end = stage.converge(&mut pt).await.end;
        let End::NotKept(message) = &end else { panic!("{rule}: {end:?}") };
        assert!(message.contains(path) && !message.contains("spec.ignore"), "{message}");
        assert_eq!((pt.audits(), pt.ready().0), (vec!["PROMOTED"], "NotConverging"));
        for _ in 0..3 {
            assert_eq!(reason(&stage.converge(&mut pt).await.end), Reason::NotConverging, "{rule}");
            assert!(pt.ready().1.contains(path));
            pt.restart();
        }
        assert_eq!(stage.calls().await, ["P1 200", "P2 201", "P1 200", "P1 200", "P1 200"]);
        pt.edit(|spec| spec["content"] = json!("Hello again"));
        assert!(matches!(stage.converge(&mut pt).await.end, End::NotKept(_)));
        assert_eq!(stage.count("P2").await, 2);
        stage.world.set_normaliser([]);
        pt.edit(|spec| spec["content"] = json!("Hello at last"));
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        assert_eq!(stage.world.live_prompt(TEMPLATE).unwrap()["metadata"], json!({"author": "us"}));
        stage.calls().await;
    }
}

#[tokio::test]
async fn under_observe_and_report_drift_a_prompt_is_left_alone() {
    let stage = stage().await;
    let mut pt = of(json!({"content": "Hello", "policy": "Observe"}));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.ready().0, stage.count("P2").await), ("Observed", 0));
    pt.edit(|spec| spec["policy"] = json!("ReportDrift"));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.ready().0, live(&stage)), ("Succeeded", shows("1.0.1", "Hello")));
    assert_eq!(drifts(&stage, &mut pt, 1).await, End::Done);
    assert_eq!((pt.ready().0, live(&stage).1.as_str(), stage.count("P2").await), ("DriftReported", "Theirs", 1));
    stage.calls().await;
}
