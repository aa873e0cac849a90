//! Answers to P2 that do not tell what became of it: the look decides (contract section 4).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::Retry;
use assist_operator::sandbox::{FaultKind, MissingScope};
use serde_json::json;

use super::prompt_stage::{
    TEMPLATE, failed, foreign, landed, live, numbers, of, pt, shows, stage, stage_with, version, versions,
};
use super::stage::{CLIENT, Stage, quick};

fn applied(status: u16) -> FaultKind {
    FaultKind::Status { status, retry_after: None, body: None, applied: true }
}

fn late(after_ms: u64) -> FaultKind {
    FaultKind::CommitLate { after_ms }
}

fn promoted_by_them(number: &str, content: &str) -> FaultKind {
    FaultKind::ForeignEditBefore { patch: Some(version(number, content)) }
}

#[tokio::test]
async fn a_409_with_exactly_our_content_is_done_and_nobody_claims_it() {
    let stage = stage().await;
    stage.fault("P2", 1, promoted_by_them("1.0.1", "Hello"));
    let mut pt = pt("Hello");
    let convergence = stage.converge(&mut pt).await;
    assert_eq!((convergence.end, convergence.conflicts), (End::Done, 1));
    assert_eq!(stage.calls().await, ["P1 200", "P2 409", "P1 200"]);
    assert_eq!((pt.audits(), live(&stage)), (vec!["CONFLICT"], shows("1.0.1", "Hello")));
    assert!(pt.status.history.is_empty(), "the version is somebody else's");
    stage.converge(&mut pt).await;
    assert_eq!(stage.count("P2").await, 1);
}

#[tokio::test]
async fn a_409_with_other_content_takes_the_next_number_once_and_then_backs_off() {
    let stage = stage().await;
    stage.fault("P2", 1, promoted_by_them("1.0.1", "Theirs"));
    let mut held = pt("Hello");
    let convergence = stage.converge(&mut held).await;
    assert_eq!((convergence.end, convergence.conflicts), (End::Done, 1));
    assert_eq!(stage.calls().await, ["P1 200", "P2 409", "P1 200", "P2 201"]);
    assert_eq!((held.audits(), numbers(&stage)[0].as_str()), (vec!["CONFLICT", "PROMOTED"], "1.0.2"));

    stage.fault("P2", 2, FaultKind::ForeignEditBefore { patch: None });
    held.edit(|spec| spec["content"] = json!("Hello again"));
    let convergence = stage.converge(&mut held).await;
    assert!(matches!(&convergence.end, End::LostGuard(message) if message.contains("1.0.4")), "{:?}", convergence.end);
    assert_eq!(stage.calls().await[4..], ["P1 200", "P2 409", "P1 200", "P2 409", "P1 200"]);
    assert_eq!((held.audits()[2..].to_vec(), held.ready().0), (vec!["CONFLICT", "CONFLICT"], "ConflictDetected"));
    // In the back-off there is no immediate retry.
    held.immediate_retry = false;
    stage.fault("P2", 1, FaultKind::ForeignEditBefore { patch: None });
    assert!(matches!(stage.converge(&mut held).await.end, End::LostGuard(_)));
    assert_eq!(stage.calls().await[9..], ["P1 200", "P2 409", "P1 200"]);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(live(&stage), shows("1.0.6", "Hello again"));
}

#[tokio::test]
async fn a_foreign_version_under_another_number_is_found_at_the_next_look() {
    let stage = stage().await;
    stage.fault("P2", 1, promoted_by_them("9.0.0", "Theirs"));
    let mut pt = pt("Hello");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(numbers(&stage), ["1.0.1", "9.0.0", "1.0.0"]);
    pt.edit(|spec| spec["content"] = json!("Hello again"));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(live(&stage), shows("9.0.1", "Hello again"));
    stage.calls().await;
}

#[tokio::test]
async fn a_409_without_a_trace_names_the_rollback_flag() {
    let stage = stage().await;
    stage.world.set_rollback_flag(TEMPLATE, true);
    let mut pt = pt("Hello");
    for _ in 0..3 {
        let convergence = stage.converge(&mut pt).await;
        assert!(failed(&convergence).contains("rollback flag"), "{}", failed(&convergence));
        assert!(!convergence.keep_intent && pt.status.unconfirmed.is_none());
    }
    assert_eq!(pt.ready().0, "ConflictDetected");
    assert_eq!(stage.calls().await, ["P1 200", "P2 409", "P1 200"].repeat(3));
    assert_eq!(pt.audits(), ["CONFLICT"; 3]);
    stage.world.set_rollback_flag(TEMPLATE, false);
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(live(&stage), shows("1.0.1", "Hello"));
}

#[tokio::test]
async fn a_promotion_that_took_effect_before_its_answer_was_lost_is_found() {
    let faults = [
        FaultKind::ResetAfter,
        applied(500),
        applied(502),
        applied(408),
        FaultKind::TruncatedBody,
        FaultKind::EmptyBody,
        FaultKind::Html { status: 200 },
        FaultKind::Html { status: 502 },
        FaultKind::Oversized { gzip: true },
        FaultKind::DeepNesting { depth: 1000 },
        FaultKind::WrongDocument,
    ];
    for fault in faults {
        let stage = stage().await;
        stage.fault("P2", 1, fault.clone());
        let mut pt = pt("Hello");
        assert_eq!(stage.converge(&mut pt).await.end, End::Done, "{fault:?}");
        assert_eq!((stage.calls().await.len(), pt.audits()), (3, vec!["PROMOTED"]), "{fault:?}");
        assert_eq!((pt.status.history.len(), pt.unconfirmed()), (1, None));
        stage.converge(&mut pt).await;
        assert_eq!(numbers(&stage), ["1.0.1", "1.0.0"], "{fault:?}");
    }
}

#[tokio::test]
async fn a_promotion_that_never_took_effect_is_tried_again_under_its_number() {
    for fault in [FaultKind::ResetBefore, FaultKind::status(500), FaultKind::status(503), FaultKind::status(408)] {
        let stage = stage().await;
        stage.fault("P2", 2, fault.clone());
        let mut pt = pt("Hello");
        for tries in 1..=2 {
            failed(&stage.converge(&mut pt).await);
            assert_eq!((pt.audits().len(), pt.unconfirmed()), (tries, Some("1.0.1")), "{fault:?}");
            assert!(pt.status.intent.is_none());
        }
        assert_eq!(stage.converge(&mut pt).await.end, End::Done, "{fault:?}");
        assert_eq!(pt.audits(), ["FAILED", "FAILED", "PROMOTED"]);
        assert_eq!((numbers(&stage), pt.unconfirmed()), (vec!["1.0.1".into(), "1.0.0".into()], None));
        stage.calls().await;
    }
}

#[tokio::test]
async fn a_503_that_asks_for_a_pause_is_looked_up_at_once_and_tried_again_behind_it() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::retry_after(503, "60"));
    let mut pt = pt("Hello");
    let convergence = stage.converge(&mut pt).await;
    let End::Failed(failure) = &convergence.end else { panic!("{:?}", convergence.end) };
    assert!(matches!(failure.retry, Retry::After(wait) if wait.as_secs() >= 59), "{:?}", failure.retry);
    assert_eq!(stage.calls().await, ["P1 200", "P2 503", "P1 200"]);
    assert_eq!(pt.unconfirmed(), Some("1.0.1"));
}

#[tokio::test]
async fn a_timeout_is_looked_up_like_any_other_loss() {
    for (before_ms, after_ms) in [(0, 500), (350, 0)] {
        let stage = stage_with(Timing { total: Duration::from_millis(250), ..quick() }).await;
        stage.fault("P2", 1, FaultKind::Delay { before_ms, after_ms });
        let mut pt = pt("Hello");
        while stage.converge(&mut pt).await.end != End::Done {}
        stage.calls().await;
        assert_eq!(numbers(&stage), ["1.0.1", "1.0.0"]);
    }
}

#[tokio::test]
async fn a_promotion_that_is_silently_dropped_is_a_missing_permission() {
    let by_scope = |stage: &Stage| {
        stage.world.set(|settings| settings.missing_scope = MissingScope::SilentDrop);
        stage.world.set_scopes(CLIENT, &["ai:prompt-template:read"]);
    };
    let by_fault = |stage: &Stage| stage.fault("P2", 1, FaultKind::SilentDrop);
    for arrange in [&by_scope as &dyn Fn(&Stage), &by_fault] {
        let stage = stage().await;
        arrange(&stage);
        let mut pt = pt("Hello");
        let convergence = stage.converge(&mut pt).await;
        let End::Refused(_, failure) = &convergence.end else { panic!("{:?}", convergence.end) };
        assert_eq!((failure.reason, pt.audits()), (Reason::PermissionDenied, vec!["FAILED"]));
        assert!(failure.message.contains("permission"), "{}", failure.message);
        assert_eq!(stage.calls().await, ["P1 200", "P2 200", "P1 200"]);
        // It waits for a person, and then the number is the same.
        assert!(matches!(stage.converge(&mut pt).await.end, End::Held { reason: Reason::PermissionDenied, .. }));
        stage.world.set_scopes(CLIENT, &["ai:prompt-template:read", "ai:prompt-template:write", "ai:llm-gateway:manage"]);
        pt.requested = true;
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        assert_eq!(live(&stage), shows("1.0.1", "Hello"));
    }
}

#[tokio::test]
async fn a_late_commit_before_the_look_is_found_by_it() {
    let stage = stage().await;
    stage.fault("P2", 1, late(10));
    stage.fault_after("P1", 1, 1, FaultKind::Delay { before_ms: 200, after_ms: 0 });
    let mut pt = pt("Hello");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.audits(), stage.count("P2").await), (vec!["PROMOTED"], 1));
    assert_eq!((numbers(&stage).len(), pt.status.history.len()), (2, 1));
    stage.calls().await;
}

#[tokio::test]
async fn a_late_commit_between_look_and_retry_makes_the_retry_needless() {
    let stage = stage().await;
    stage.fault("P2", 1, late(150));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    assert_eq!(pt.unconfirmed(), Some("1.0.1"));
    landed(&stage, 2).await;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((stage.count("P2").await, live(&stage)), (1, shows("1.0.1", "Hello")));
    assert_eq!(pt.unconfirmed(), None);
    // As the look showed it (contract section 7).
    assert_eq!(pt.audits(), ["FAILED"]);
    stage.calls().await;
}

#[tokio::test]
async fn a_late_commit_during_the_retry_refuses_it_and_is_ours() {
    let stage = stage().await;
    stage.fault("P2", 1, late(250));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    stage.fault("P2", 1, FaultKind::Delay { before_ms: 600, after_ms: 0 });
    let convergence = stage.converge(&mut pt).await;
    assert_eq!((convergence.end, convergence.conflicts), (End::Done, 0));
    assert_eq!((pt.audits(), pt.status.history.len()), (vec!["FAILED", "PROMOTED"], 1));
    assert_eq!((numbers(&stage).len(), pt.unconfirmed()), (2, None));
    assert_eq!(stage.entries("P2").await.iter().filter(|entry| entry.applied).count(), 1);
    stage.calls().await;
}

#[tokio::test]
async fn a_late_commit_behind_the_retry_meets_its_number() {
    let stage = stage().await;
    stage.fault("P2", 1, late(300));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    // A restart in between changes nothing: the number is in status.
    pt.restart();
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(stage.calls().await.last().unwrap(), "P2 0");
    assert_eq!((numbers(&stage).len(), pt.audits()), (2, vec!["FAILED", "PROMOTED"]));
    let statuses: Vec<bool> = stage.entries("P2").await.iter().map(|entry| entry.applied).collect();
    assert_eq!(statuses, [true, false], "the retry came first, and the late commit met its number");
}

#[tokio::test]
async fn a_late_commit_under_a_foreign_version_is_promoted_again_above_it() {
    let stage = stage().await;
    stage.fault("P2", 1, late(100));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    landed(&stage, 2).await;
    foreign(&stage, "5.0.0", "Theirs");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(numbers(&stage), ["5.0.1", "5.0.0", "1.0.1", "1.0.0"]);
    assert_eq!((live(&stage), pt.unconfirmed()), (shows("5.0.1", "Hello"), None));
    stage.calls().await;
}

#[tokio::test]
async fn a_late_commit_whose_number_somebody_took_never_comes() {
    let stage = stage().await;
    stage.fault("P2", 1, late(300));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    foreign(&stage, "1.0.1", "Theirs");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    stage.calls().await;
    assert_eq!(numbers(&stage), ["1.0.2", "1.0.1", "1.0.0"]);
    assert_eq!((live(&stage), pt.unconfirmed()), (shows("1.0.2", "Hello"), None));
}

#[tokio::test]
async fn a_retry_below_a_foreign_version_keeps_its_number_while_a_late_commit_may_come() {
    let stage = stage().await;
    stage.fault("P2", 1, late(300));
    let mut pt = pt("Hello");
    failed(&stage.converge(&mut pt).await);
    foreign(&stage, "5.0.0", "Theirs");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    stage.calls().await;
    assert_eq!(numbers(&stage), ["1.0.1", "5.0.0", "1.0.0"]);
    assert_eq!(live(&stage), shows("1.0.1", "Hello"));
    pt.edit(|spec| spec["content"] = json!("Next"));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(live(&stage), shows("5.0.1", "Next"));
}

#[tokio::test]
async fn a_late_commit_of_what_is_declared_no_longer_is_never_the_last_word() {
    for landed_first in [true, false] {
        let stage = stage().await;
        stage.fault("P2", 1, late(200));
        let mut pt = pt("Old");
        failed(&stage.converge(&mut pt).await);
        if landed_first {
            landed(&stage, 2).await;
        }
        pt.edit(|spec| spec["content"] = json!("New"));
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        stage.calls().await;
        assert_eq!(live(&stage), shows(if landed_first { "1.0.2" } else { "1.0.1" }, "New"));
        assert_eq!(numbers(&stage).len(), if landed_first { 3 } else { 2 });
    }
}

#[tokio::test]
async fn a_fixed_number_survives_losses_too() {
    let stage = stage().await;
    versions(&stage, &[]);
    stage.fault("P2", 1, late(150));
    stage.fault("P2", 1, FaultKind::ResetAfter);
    let mut pt = of(json!({"content": "Hello", "version": "7.0.0"}));
    failed(&stage.converge(&mut pt).await);
    while stage.converge(&mut pt).await.end != End::Done {}
    stage.calls().await;
    assert_eq!(numbers(&stage), ["7.0.0"]);
}

#[tokio::test]
async fn lost_answers_of_a_server_that_rewrites_content_make_two_versions_and_no_more() {
    let stage = stage().await;
    stage.world.set_normaliser([serde_json::from_value(json!({"rule": "upperCase", "path": "/content"})).unwrap()]);
    let mut pt = pt("declared");
    stage.fault("P2", 2, FaultKind::ResetAfter);
    let first = stage.converge(&mut pt).await;
    assert!(matches!(&first.end, End::LostGuard(message) if message.contains("1.0.1")), "{:?}", first.end);
    let second = stage.converge(&mut pt).await;
    let End::Refused(_, failure) = &second.end else { panic!("{:?}", second.end) };
    assert_eq!(failure.reason, Reason::NotConverging);
    // Held, however often it is looked at; nobody else is blamed for a success.
    for _ in 0..3 {
        assert!(matches!(stage.converge(&mut pt).await.end, End::Held { reason: Reason::NotConverging, .. }));
    }
    assert_eq!(numbers(&stage), ["1.0.2", "1.0.1", "1.0.0"]);
    assert_eq!(pt.audits(), ["UNKNOWN", "UNKNOWN"]);
}

#[tokio::test]
async fn a_lost_answer_whose_number_a_foreign_version_holds_by_then_is_followed_by_the_next_number() {
    let stage = stage().await;
    let mut pt = pt("declared");
    // The post is lost before it arrives, and while it is looked for, somebody else promotes under the same number.
    stage.fault("P2", 1, FaultKind::ResetBefore);
    stage.fault_after("P1", 1, 1, FaultKind::Delay { before_ms: 300, after_ms: 0 });
    let racing = async {
        while stage.world.in_flight() == 0 || stage.count_now("P2") == 0 {
            tokio::task::yield_now().await;
        }
        foreign(&stage, "1.0.1", "theirs");
    };
    let (lost, ()) = tokio::join!(stage.converge(&mut pt), racing);
    assert!(matches!(lost.end, End::LostGuard(_)), "{:?}", lost.end);
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(numbers(&stage), ["1.0.2", "1.0.1", "1.0.0"]);
    assert_eq!(pt.audits(), ["UNKNOWN", "PROMOTED"]);
    stage.calls().await;
}
