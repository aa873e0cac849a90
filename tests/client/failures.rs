//! Reads and writes that meet server errors, resets and timeouts (contract section 6).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::{Failure, Retry};
use assist_operator::sandbox::FaultKind;
use serde_json::json;

use super::held::Aac;
use super::stage::{Stage, quick};

/// The failure of a convergence that ended in one.
fn failure(end: End) -> Failure {
    match end {
        End::Failed(failure) | End::Refused(_, failure) => failure,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_read_is_repeated_at_most_twice() {
    for kind in
        [500, 502, 503, 504, 408].map(FaultKind::status).into_iter().chain([FaultKind::ResetBefore, FaultKind::ResetAfter])
    {
        let stage = Stage::new().await;
        stage.fault("C1", 2, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
        assert_eq!(stage.calls().await[2..], ["C1 200", "C3 200"]);

        let stage = Stage::new().await;
        stage.fault("C1", 3, kind.clone());
        let failure = failure(stage.converge(&mut aac).await.end);
        assert_eq!(
            (failure.reason, failure.retry, failure.unreadable),
            (Reason::OrgUnavailable, Retry::BackOff, true),
            "{kind:?}"
        );
        assert_eq!(stage.count("C1").await, 3);
        assert_eq!(stage.count("C3").await, 0);
    }
}

#[tokio::test]
async fn a_read_that_times_out_is_repeated() {
    let stage = Stage::with_timing(Timing { total: Duration::from_millis(250), ..quick() }).await;
    stage.fault("C1", 1, FaultKind::Delay { before_ms: 600, after_ms: 0 });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.count("C1").await, 2);
    assert_eq!(aac.audits(), ["APPLIED"]);
}

#[tokio::test]
async fn what_is_not_implemented_is_not_repeated() {
    for call in ["C1", "C3"] {
        let stage = Stage::new().await;
        stage.fault(call, 1, FaultKind::status(501));
        let mut aac = Aac::new(json!({"name": "New"}));
        let failure = failure(stage.converge(&mut aac).await.end);
        assert_eq!(failure.reason, Reason::RemoteRejected);
        assert_eq!(stage.count(call).await, 1);
        assert_eq!(aac.audits().len(), usize::from(call == "C3"));
    }
}

#[tokio::test]
async fn the_live_state_is_unknown_while_it_cannot_be_read() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "Retail assist"}));
    stage.converge(&mut aac).await;
    assert_eq!(aac.ready().0, "Succeeded");
    stage.fault("C1", 3, FaultKind::status(502));
    stage.converge(&mut aac).await;
    let ready = assist_operator::api::conditions::find(&aac.status.conditions, "Ready").unwrap();
    assert_eq!((ready.status.as_str(), ready.reason.as_str()), ("Unknown", "OrgUnavailable"));
    stage.converge(&mut aac).await;
    assert_eq!(aac.ready().0, "Succeeded");
    assert_eq!(stage.count("C3").await, 0);
}

#[tokio::test]
async fn a_503_is_repeated_no_sooner_than_it_says() {
    for call in ["C1", "C3"] {
        let stage = Stage::new().await;
        stage.fault(call, 1, FaultKind::retry_after(503, "1"));
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        let calls = stage.entries(call).await;
        assert!(calls[1].at_us - calls[0].end_us() >= 1_000_000);
        stage.calls().await;
    }
}

#[tokio::test]
async fn a_503_with_a_long_wait_is_obeyed_by_the_next_reconcile_too() {
    for call in ["C1", "C3"] {
        let stage = Stage::new().await;
        stage.fault(call, 1, FaultKind::retry_after(503, "120"));
        let mut aac = Aac::new(json!({"name": "New"}));
        let failure = failure(stage.converge(&mut aac).await.end);
        assert_eq!(failure.reason, Reason::OrgUnavailable);
        assert_eq!(stage.count(call).await, 1);
        assert!(matches!(failure.retry, Retry::After(wait) if wait >= Duration::from_secs(120)), "{call}: {:?}", failure.retry);
    }
}

#[tokio::test]
async fn the_same_failure_gives_the_same_message() {
    let faults = [
        FaultKind::status(500),
        FaultKind::retry_after(503, "30"),
        FaultKind::Html { status: 200 },
        FaultKind::status(403),
        FaultKind::Redirect { status: 307, location: "https://elsewhere.example/".into() },
        FaultKind::WrongDocument,
    ];
    for fault in faults {
        let stage = Stage::new().await;
        let mut aac = Aac::new(json!({"name": "New"}));
        stage.fault("C1", 1000, fault);
        stage.converge(&mut aac).await;
        let first = aac.status.clone();
        stage.converge(&mut aac).await;
        assert_eq!(first, aac.status, "the status is patched although no fact changed");
    }
}

#[tokio::test]
async fn a_call_that_was_never_connected_is_no_lost_answer() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.declare(json!({"name": "Newer"}));
    let Stage { sandbox, world, account, client } = stage;
    let session = client.session(account.budget().ticket(assist_operator::genesys::Lane::Change).await);
    let host = sandbox.url().to_owned();
    sandbox.shutdown().await;
    let (desired, subject) = (aac.desired(), aac.subject());
    let request = aac.request(&host, &desired, &subject);
    let mut session = session;
    let convergence = assist_operator::remote::converge::converge(&mut session, &aac.states, &aac.book, &request).await;
    aac.conclude(&convergence);
    let failure = failure(convergence.end);
    assert_eq!(failure.reason, Reason::OrgUnavailable);
    assert!(!convergence.keep_intent, "nothing was sent, so nothing is to be looked up");
    assert_eq!(world.journal().iter().filter(|e| e.call == "C3").count(), 1);
}
