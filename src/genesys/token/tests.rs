//! T1 against a scripted server.

use std::time::Duration;

use tokio::time::sleep;

use super::super::testing::{Rig, answer, ok, token};
use super::super::*;

const S: Duration = Duration::from_secs(1);

fn read() -> Call {
    Call::get("C1", &["c"])
}

fn lasting(name: &str, seconds: f64) -> testing::Scripted {
    answer(200, &[], format!("{{\"access_token\":\"{name}\",\"expires_in\":{seconds}}}"))
}

fn refused() -> testing::Scripted {
    answer(400, &[], r#"{"error":"invalid_client","description":"s3cr3t/+ is wrong"}"#)
}

async fn kind(rig: &Rig) -> Option<ErrorKind> {
    rig.session().await.send(read()).await.err().map(|error| error.kind)
}

#[tokio::test]
async fn the_request_is_the_contract_s() {
    let rig = Rig::new(vec![], vec![ok()]).await;
    rig.session().await.send(read()).await.unwrap();
    let seen = &rig.seen()[0];
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("POST /oauth/token", "grant_type=client_credentials"));
    assert_eq!(seen.header("content-type"), "application/x-www-form-urlencoded");
    // base64 of "client+id:s3cr3t%2F%2B"
    assert_eq!(seen.header("authorization"), "Basic Y2xpZW50K2lkOnMzY3IzdCUyRiUyQg==");
}

#[tokio::test]
async fn however_many_callers_wait_one_refresh_is_in_flight() {
    let rig = Rig::new(vec![], (0..50).map(|_| ok()).collect()).await;
    let calls = (0..50).map(|_| async { rig.session().await.send(read()).await });
    for call in futures::future::join_all(calls).await {
        call.unwrap();
    }
    assert_eq!((rig.logins(), rig.calls().len()), (1, 50));
}

#[tokio::test]
async fn the_refresh_outlives_the_caller_that_started_it() {
    let rig = Rig::new(vec![testing::Scripted::Late(S / 5)], vec![]).await;
    let mut session = rig.session().await;
    let _ = tokio::time::timeout(S / 10, session.authenticate()).await;
    drop(session);
    sleep(S / 5).await;
    // The late answer holds no token: the same task tries again, and nobody else does.
    rig.session().await.authenticate().await.unwrap();
    assert_eq!(rig.logins(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_at_half_its_lifetime_without_making_callers_wait() {
    let logins = vec![lasting("one", 2.0), testing::Scripted::Late(S * 2 / 5), lasting("two", 3600.0)];
    let rig = Rig::new(logins, (0..9).map(|_| ok()).collect()).await;
    assert_eq!(kind(&rig).await, None);
    sleep(S * 11 / 10).await;
    let asked = tokio::time::Instant::now();
    assert_eq!(kind(&rig).await, None);
    assert!(asked.elapsed() < S / 5, "a caller waited for an early refresh");
    assert_eq!(rig.calls()[1].header("authorization"), "Bearer one");
    sleep(S).await;
    assert_eq!(kind(&rig).await, None);
    assert_eq!(rig.calls()[2].header("authorization"), "Bearer two");
    assert_eq!(rig.logins(), 3);
}

#[tokio::test]
async fn refused_credentials_get_one_try_for_each_version_and_each_request() {
    let rig = Rig::new(vec![refused(), refused(), refused(), token("good")], vec![ok()]).await;
    for _ in 0..3 {
        assert_eq!(kind(&rig).await, Some(ErrorKind::BadCredentials));
    }
    assert_eq!(rig.logins(), 1);
    let error = rig.session().await.authenticate().await.unwrap_err();
    assert!(error.retry_after.unwrap() > 590 * S);
    assert!(!format!("{error:?}").contains("s3cr3t"), "{error:?}");

    rig.account.set_credentials("other".into(), "1");
    assert_eq!(kind(&rig).await, Some(ErrorKind::BadCredentials));
    assert_eq!(rig.logins(), 1);
    rig.account.allow_token_try();
    for _ in 0..3 {
        assert_eq!(kind(&rig).await, Some(ErrorKind::BadCredentials));
    }
    assert_eq!(rig.logins(), 2);
    rig.account.set_credentials("other".into(), "2");
    assert_eq!(kind(&rig).await, Some(ErrorKind::BadCredentials));
    assert_eq!(rig.logins(), 3);
    rig.account.set_credentials("right".into(), "3");
    assert_eq!(kind(&rig).await, None);
    assert_eq!(rig.logins(), 4);
}

#[tokio::test]
async fn a_new_secret_renews_a_valid_token_in_the_background() {
    let rig = Rig::new(vec![token("old"), refused()], vec![ok(), ok(), ok()]).await;
    assert_eq!(kind(&rig).await, None);
    rig.account.set_credentials("wrong".into(), "2");
    for _ in 0..2 {
        assert_eq!(kind(&rig).await, None);
        sleep(S / 10).await;
    }
    assert_eq!(rig.logins(), 2);
    assert!(rig.calls().iter().all(|call| call.header("authorization") == "Bearer old"));
}

#[tokio::test]
async fn a_throttled_t1_is_a_429_without_retry_after_and_the_valid_token_goes_on() {
    let limit = || answer(400, &["Retry-After: 900"], r#"{"error":"invalid_request","description":"rate limit exceeded"}"#);
    let rig = Rig::new(vec![limit(), token("good")], vec![ok()]).await;
    assert_eq!(kind(&rig).await, None);
    let seen = rig.seen();
    assert!(seen[1].at - seen[0].at >= S);

    let logins = vec![lasting("old", 3.0), limit(), limit(), limit()];
    let rig = Rig::new(logins, vec![ok(), ok(), ok()]).await;
    assert_eq!(kind(&rig).await, None);
    sleep(S * 16 / 10).await;
    assert_eq!(kind(&rig).await, None);
    assert_eq!(rig.calls()[1].header("authorization"), "Bearer old");
}

#[tokio::test]
async fn t1_gives_up_after_3_requests_and_is_left_alone_for_a_while() {
    let down = || answer(503, &[], "");
    let rig = Rig::new(vec![down(), down(), down()], vec![]).await;
    let callers = (0..20).map(|_| kind(&rig));
    let kinds = futures::future::join_all(callers).await;
    assert!(kinds.iter().all(|kind| *kind == Some(ErrorKind::Unavailable)), "{kinds:?}");
    assert_eq!((rig.logins(), rig.calls().len()), (3, 0));
    let error = rig.session().await.authenticate().await.unwrap_err();
    assert!(error.retry_after.is_some());
    assert_eq!(rig.logins(), 3);
    sleep(S * 16 / 10).await;
    rig.session().await.authenticate().await.unwrap();
}

#[tokio::test]
async fn without_credentials_no_call_is_made() {
    let rig = Rig::new(vec![], vec![]).await;
    let account = Account::new(rig.account.login().clone(), "other", 60);
    let endpoints = Endpoints { login: account.login().clone(), api: account.login().clone(), ca_bundle: None };
    let client = Client::new(account.clone(), &endpoints, std::sync::Arc::new(NoObserver)).unwrap();
    let mut session = client.session(account.budget().ticket(Lane::Check).await);
    assert_eq!(session.send(read()).await.unwrap_err().kind, ErrorKind::Configuration);
    assert_eq!(rig.seen().len(), 0);
}
