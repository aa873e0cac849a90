//! T1 and the token (contract section 2).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::configs;
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::{Failure, Retry};
use assist_operator::sandbox::{FaultKind, check};
use futures::future::join_all;
use serde_json::json;

use super::held::Aac;
use super::stage::{CLIENT, ID, SECRET, Stage, leaks};

fn failure(end: End) -> Failure {
    let End::Failed(failure) = end else { panic!("{end:?}") };
    failure
}

#[tokio::test]
async fn wrong_credentials_are_tried_once() {
    for status in [400, 401] {
        let stage = Stage::new().await;
        stage.world.set(|settings| settings.invalid_client_status = status);
        stage.world.rotate_secret(CLIENT, "another");
        let mut aac = Aac::new(json!({"name": "New"}));
        for _ in 0..3 {
            let failure = failure(stage.converge(&mut aac).await.end);
            assert_eq!((failure.reason, failure.retry), (Reason::AuthenticationFailed, Retry::Interval));
        }
        assert_eq!(stage.calls().await, [""; 0]);
        assert_eq!(stage.count("T1").await, 1);
        // The same version of the Secret is no reason to try; a new one, or a request, is.
        stage.account.set_credentials(SECRET.into(), "1");
        stage.converge(&mut aac).await;
        assert_eq!(stage.count("T1").await, 1);
        stage.account.allow_token_try();
        stage.converge(&mut aac).await;
        assert_eq!(stage.count("T1").await, 2);
        stage.account.set_credentials("another".into(), "2");
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(stage.count("T1").await, 3);
        assert_eq!(aac.audits(), ["APPLIED"]);
    }
}

#[tokio::test]
async fn refused_credentials_give_the_same_message_each_time() {
    let stage = Stage::new().await;
    stage.world.rotate_secret(CLIENT, "another");
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    let first = aac.status.clone();
    stage.converge(&mut aac).await;
    assert_eq!(first, aac.status, "the status is patched although no fact changed");
}

#[tokio::test]
async fn many_callers_wait_for_one_token() {
    let stage = Stage::new().await;
    stage.world.set_latency(Duration::from_millis(40));
    let calls = (0..30).map(async |_| configs::get(&mut stage.session().await, ID).await);
    assert!(join_all(calls).await.iter().all(Result::is_ok));
    assert_eq!((stage.count("T1").await, stage.count("C1").await), (1, 30));
    assert_eq!(check(&stage.journal().await), []);
}

#[tokio::test]
async fn a_401_renews_the_token_once_and_repeats_once() {
    for call in ["C1", "C3"] {
        let stage = Stage::new().await;
        stage.fault(call, 1, FaultKind::Unauthorized);
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{call}");
        assert_eq!((stage.count("T1").await, stage.count(call).await), (2, 2));
        assert_eq!(aac.audits(), ["APPLIED"]);

        let stage = Stage::new().await;
        stage.fault(call, 9, FaultKind::Unauthorized);
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(failure(stage.converge(&mut aac).await.end).reason, Reason::AuthenticationFailed);
        assert_eq!((stage.count("T1").await, stage.count(call).await), (2, 2));
        assert_eq!(aac.audits().len(), usize::from(call == "C3"));
        stage.calls().await;
    }
}

#[tokio::test]
async fn a_token_that_is_revoked_between_read_and_write_is_renewed() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    stage.world.revoke_tokens();
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[2..], ["C3 401", "C3 200"]);
    assert_eq!((stage.count("T1").await, aac.audits()), (2, vec!["APPLIED", "APPLIED"]));
}

#[tokio::test]
async fn a_write_that_could_not_be_sent_for_want_of_a_token_is_no_attempted_write() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    // The token goes and the secret is wrong: the call fails before anything is on the wire.
    stage.world.revoke_tokens();
    let _ = configs::get(&mut stage.session().await, ID).await;
    stage.world.rotate_secret(CLIENT, "another");
    stage.world.revoke_tokens();
    let _ = configs::get(&mut stage.session().await, ID).await;
    let before = stage.count("C3").await;
    aac.declare(json!({"name": "Newer"}));
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(failure(convergence.end).reason, Reason::AuthenticationFailed);
    assert_eq!(stage.count("C3").await, before);
    assert_eq!(aac.audits(), ["APPLIED"], "a record of a write that was never sent");
    assert_eq!(aac.book.attempts().len(), 1, "it counts against the change limit");
    assert!(!convergence.keep_intent);
}

#[tokio::test]
async fn t1_is_repeated_like_a_read() {
    let kinds = [
        FaultKind::status(500),
        FaultKind::status(503),
        FaultKind::ResetBefore,
        FaultKind::TruncatedBody,
        FaultKind::EmptyBody,
        FaultKind::Html { status: 200 },
        FaultKind::DeepNesting { depth: 100_000 },
    ];
    for kind in kinds {
        let stage = Stage::new().await;
        stage.fault("T1", 2, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
        assert_eq!(stage.count("T1").await, 3, "{kind:?}");

        let stage = Stage::new().await;
        stage.fault("T1", 3, kind.clone());
        let failure = failure(stage.converge(&mut Aac::new(json!({"name": "New"}))).await.end);
        assert_eq!(failure.reason, Reason::OrgUnavailable, "{kind:?}");
        assert_eq!((stage.count("T1").await, stage.count("C1").await), (3, 0), "{kind:?}");
        stage.calls().await;
    }
}

#[tokio::test]
async fn the_secret_is_in_no_debug_print() {
    let stage = Stage::new().await;
    let session = stage.session().await;
    for text in [format!("{:?}", stage.client), format!("{:?}", stage.account), format!("{session:?}")] {
        assert!(!leaks(&text), "{text}");
    }
    // The check itself sees it, in each form.
    assert!(leaks(SECRET) && leaks("Y2xpZW50K2lkJTJGMTpjNG40cnktczNjcjN0"));
}
