//! 429: the whole account pauses, and nothing is sent before (contract sections 2 and 6).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::{ErrorKind, configs};
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::Retry;
use assist_operator::sandbox::{self, FaultKind};
use futures::future::join_all;
use serde_json::json;
use tokio::time::timeout;

use super::held::Aac;
use super::stage::{ID, Stage};

const SECOND: u64 = 1_000_000;

/// A 429 with this `Retry-After`, or none.
fn busy(retry_after: &str) -> FaultKind {
    if retry_after.is_empty() { FaultKind::status(429) } else { FaultKind::retry_after(429, retry_after) }
}

/// One throttled read, and another session of the same account.
async fn a_pause_is_kept(retry_after: &str) {
    let stage = Stage::new().await;
    stage.session().await.authenticate().await.unwrap();
    stage.fault("C1", 1, busy(retry_after));
    let mut aac = Aac::new(json!({"name": "New"}));
    let paused = async {
        // The other session has its ticket already, and comes when the pause has begun.
        let mut other = stage.session().await;
        while stage.account.paused_for().is_none() {
            tokio::task::yield_now().await;
        }
        configs::get(&mut other, ID).await.unwrap();
    };
    let (convergence, ()) = tokio::join!(stage.converge(&mut aac), paused);
    assert_eq!(convergence.end, End::Done, "{retry_after:?}");
    let journal = stage.journal().await;
    let refused = journal.iter().position(|e| e.status == 429).unwrap();
    let end = journal[refused].end_us();
    assert_eq!(journal[refused + 1..].len(), 3, "{retry_after:?}");
    assert!(journal[refused + 1..].iter().all(|e| e.at_us >= end + SECOND), "{retry_after:?}");
    assert_eq!(sandbox::check(&journal), []);
}

#[tokio::test]
async fn a_pause_holds_every_session_of_the_account() {
    // Seconds, a date; nothing, garbage, nought and the past count as one second.
    join_all(["1", "date:2", "", "soon", "0", "-5", "1.5", "date:-60"].map(a_pause_is_kept)).await;
}

#[tokio::test]
async fn a_long_pause_ends_the_call_and_nothing_is_sent_in_it() {
    for (retry_after, least) in [("60", 60), ("date:90", 89)] {
        let stage = Stage::new().await;
        stage.session().await.authenticate().await.unwrap();
        let mut other = stage.session().await;
        stage.fault("C1", 1, busy(retry_after));
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        let End::Failed(failure) = convergence.end else { panic!("{:?}", convergence.end) };
        assert_eq!(failure.reason, Reason::RateLimited);
        assert!(matches!(failure.retry, Retry::After(wait) if wait > Duration::from_secs(least - 1)), "{:?}", failure.retry);
        let sent = stage.journal().await.len();
        let error = configs::get(&mut other, ID).await.unwrap_err();
        assert_eq!((error.kind, error.requests), (ErrorKind::Throttled, 0));
        assert!(error.retry_after.unwrap() > Duration::from_secs(least - 1));
        // Nobody gets a ticket, and no token is asked for, also with new credentials.
        stage.account.set_credentials("another".into(), "2");
        assert!(timeout(Duration::from_millis(100), stage.session()).await.is_err());
        let error = other.authenticate().await.unwrap_err();
        assert_eq!((error.kind, error.endpoint), (ErrorKind::Throttled, "T1"));
        assert_eq!(stage.journal().await.len(), sent);
    }
}

#[tokio::test]
async fn a_throttled_write_is_repeated_in_place_under_one_record() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, busy("1"));
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 429", "C3 200"]);
    assert_eq!(aac.audits(), ["APPLIED"]);
    assert!(aac.book.records()[0].latency_ms >= 1000);
}

#[tokio::test]
async fn a_write_that_is_throttled_for_long_has_failed_and_is_sent_again_after_the_pause() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, busy("60"));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    let End::Failed(failure) = &convergence.end else { panic!("{:?}", convergence.end) };
    assert!(matches!(failure.retry, Retry::After(wait) if wait >= Duration::from_secs(59)));
    assert_eq!(stage.calls().await, ["C1 200", "C3 429"]);
    assert_eq!((aac.audits(), convergence.keep_intent, aac.ready().0), (vec!["FAILED"], false, "RateLimited"));
}

#[tokio::test]
async fn after_three_refusals_the_call_ends() {
    let stage = Stage::new().await;
    stage.fault("C1", 9, busy("1"));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(&convergence.end, End::Failed(f) if f.reason == Reason::RateLimited), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 429"; 3]);
}

#[tokio::test]
async fn pauses_without_a_length_double() {
    let stage = Stage::new().await;
    stage.session().await.authenticate().await.unwrap();
    let mut session = stage.session().await;
    stage.fault("C1", 2, busy(""));
    let _ = configs::get(&mut session, ID).await.unwrap();
    let calls = stage.entries("C1").await;
    let gaps: Vec<u64> = calls.windows(2).map(|pair| pair[1].at_us - pair[0].end_us()).collect();
    assert!(gaps[0] >= SECOND && gaps[0] < 2 * SECOND && gaps[1] >= 2 * SECOND, "{gaps:?}");
}

#[tokio::test]
async fn a_token_endpoint_that_throttles_with_a_400_is_no_wrong_secret() {
    let stage = Stage::new().await;
    stage.fault("T1", 1, FaultKind::TokenThrottle);
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 200"]);
    let tokens = stage.entries("T1").await;
    assert_eq!(tokens.iter().map(|e| e.status).collect::<Vec<_>>(), [400, 200]);
    assert!(tokens[1].at_us - tokens[0].end_us() >= SECOND);
}

#[tokio::test]
async fn a_valid_token_goes_on_being_used_while_its_renewal_is_throttled() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    stage.fault("T1", 1, FaultKind::TokenThrottle);
    stage.account.set_credentials(super::stage::SECRET.into(), "2");
    // The first call starts the renewal beside itself; the second may wait for the pause, and needs no other token.
    for name in ["Newer", "Newest"] {
        aac.declare(json!({"name": name}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
        assert_eq!(stage.live("/name"), name);
    }
    assert_eq!(stage.calls().await[2..], ["C3 200", "C3 200"]);
}

#[tokio::test]
async fn the_platform_s_own_limit_is_a_pause() {
    let stage = Stage::new().await;
    stage.world.set_rate_limit(Some(1));
    let mut aac = Aac::new(json!({"name": "New"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(&convergence.end, End::Failed(f) if f.reason == Reason::RateLimited), "{:?}", convergence.end);
    assert_eq!(stage.calls().await, ["C1 200", "C3 429"]);
    assert_eq!(aac.audits(), ["FAILED"]);
}
