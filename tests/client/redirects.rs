//! Redirects are not followed, and credentials never go along (contract section 6).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::remote::failure::Retry;
use assist_operator::sandbox::FaultKind;
use serde_json::json;

use super::held::Aac;
use super::stage::{Stage, leaks};
use super::wire::Stranger;

#[tokio::test]
async fn a_redirect_to_another_host_is_an_error_and_nobody_goes_there() {
    let stranger = Stranger::start().await;
    for status in [301, 302, 303, 307, 308] {
        for call in ["T1", "C1", "C3"] {
            let stage = Stage::new().await;
            let location = format!("{}/api/v2/agentassist/configs/c1?token=x", stranger.url);
            stage.fault(call, 1, FaultKind::Redirect { status, location });
            let mut aac = Aac::new(json!({"name": "New"}));
            let convergence = stage.converge(&mut aac).await;
            let End::Failed(failure) = convergence.end else { panic!("{call} {status}: {:?}", convergence.end) };
            assert_eq!((failure.reason, failure.retry), (Reason::OrgUnavailable, Retry::Interval), "{call} {status}");
            assert!(!leaks(&failure.message), "{}", failure.message);
            assert_eq!(stage.count(call).await, 1, "{call} {status}");
            // It was attempted, and it had no effect.
            assert_eq!(aac.audits(), vec!["FAILED"; usize::from(call == "C3")]);
            assert_eq!((stage.live("/version"), convergence.keep_intent), (json!(7), false));
        }
    }
    assert_eq!(stranger.connections().await, 0);
}

#[tokio::test]
async fn a_redirect_to_the_same_host_is_not_followed_either() {
    let stage = Stage::new().await;
    stage.fault("C1", 1, FaultKind::Redirect { status: 307, location: "/api/v2/agentassist/configs/other".into() });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert!(matches!(stage.converge(&mut aac).await.end, End::Failed(_)));
    assert_eq!(stage.calls().await, ["C1 307"]);
}
