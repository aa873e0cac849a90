//! What a person must solve: a property that does not exist, a missing scope, a missing object (contract sections 1 and 3).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::engine::kind::Blocked;
use assist_operator::remote::converge::{Convergence, End};
use assist_operator::remote::failure::Retry;
use assist_operator::sandbox::{FaultKind, MissingScope};
use serde_json::json;

use super::held::Aac;
use super::stage::{CLIENT, ID, Stage, live};

const READ: &str = "agentassist:config:read";

fn refused(convergence: Convergence) -> (Reason, String) {
    let End::Refused(_, failure) = convergence.end else { panic!("{:?}", convergence.end) };
    (failure.reason, failure.message)
}

fn blocked(convergence: Convergence) -> (Reason, String) {
    let End::Blocked(Blocked { reason, message }) = convergence.end else { panic!("{:?}", convergence.end) };
    (reason, message)
}

#[tokio::test]
async fn an_unknown_property_is_refused_once_and_waits_for_a_person() {
    let stage = Stage::new().await;
    stage.world.set_allowed_keys(ID, Some(&["name", "enabled", "rules", "parameters"]));
    let mut aac = Aac::new(json!({"name": "New", "bogus": true}));
    let (reason, message) = refused(stage.converge(&mut aac).await);
    assert_eq!(reason, Reason::RemoteRejected);
    assert!(message.contains("invalid.property") && message.contains("bogus"), "{message}");
    assert_eq!(stage.calls().await, ["C1 200", "C3 400"]);
    assert_eq!((aac.audits(), aac.ready().0), (vec!["FAILED"], "RemoteRejected"));
    assert_eq!(stage.live("/name"), "Retail assist");

    // Drift checks go on reading; the refused plan is not sent again.
    for _ in 0..3 {
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Held { reason: Reason::RemoteRejected, .. }), "{:?}", convergence.end);
    }
    assert_eq!(stage.calls().await[2..], ["C1 200"; 3]);
    // A request of a person tries it at once; another spec too.
    aac.requested = true;
    refused(stage.converge(&mut aac).await);
    aac.declare(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(aac.audits(), ["FAILED", "FAILED", "APPLIED"]);
}

#[tokio::test]
async fn a_missing_scope_to_read_is_a_missing_permission() {
    for style in [MissingScope::NotAuthorizedForScope, MissingScope::MissingPermissions, MissingScope::SilentDrop] {
        let stage = Stage::new().await;
        stage.world.set(|settings| settings.missing_scope = style);
        stage.world.set_scopes(CLIENT, &[]);
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        let End::Failed(failure) = convergence.end else { panic!("{:?}", convergence.end) };
        assert_eq!((failure.reason, failure.retry), (Reason::PermissionDenied, Retry::Interval));
        assert!(failure.message.contains("scope"), "{}", failure.message);
        assert_eq!(stage.calls().await, ["C1 403"]);
        stage.world.set_scopes(CLIENT, &["agentassist:config:read", "agentassist:config:write"]);
        assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    }
}

#[tokio::test]
async fn a_missing_scope_to_write_is_a_missing_permission() {
    for style in [MissingScope::NotAuthorizedForScope, MissingScope::MissingPermissions] {
        let stage = Stage::new().await;
        stage.world.set(|settings| settings.missing_scope = style);
        stage.world.set_scopes(CLIENT, &[READ]);
        let mut aac = Aac::new(json!({"name": "New"}));
        let (reason, message) = refused(stage.converge(&mut aac).await);
        assert_eq!(reason, Reason::PermissionDenied);
        assert!(message.contains("scope"), "{message}");
        assert_eq!(stage.calls().await, ["C1 200", "C3 403"]);
        assert_eq!((aac.audits(), aac.ready().0), (vec!["FAILED"], "PermissionDenied"));
    }
}

#[tokio::test]
async fn a_write_that_is_silently_dropped_is_a_missing_permission() {
    let by_scope = |stage: &Stage| {
        stage.world.set(|settings| settings.missing_scope = MissingScope::SilentDrop);
        stage.world.set_scopes(CLIENT, &[READ]);
    };
    let by_fault = |stage: &Stage| stage.fault("C3", 1, FaultKind::SilentDrop);
    for arrange in [&by_scope as &dyn Fn(&Stage), &by_fault] {
        let stage = Stage::new().await;
        arrange(&stage);
        let mut aac = Aac::new(json!({"name": "New", "made": 1}));
        let (reason, message) = refused(stage.converge(&mut aac).await);
        assert_eq!(reason, Reason::PermissionDenied);
        assert!(message.contains("permission"), "{message}");
        assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200"]);
        assert_eq!((aac.audits(), stage.live("/version")), (vec!["FAILED"], json!(7)));
        assert!(aac.status.history.is_empty() && aac.status.applied.is_empty());
    }
}

#[tokio::test]
async fn a_config_that_does_not_exist_is_named_and_found_when_it_comes() {
    let stage = Stage::new().await;
    stage.world.remove_config(ID);
    let mut aac = Aac::new(json!({"name": "New"}));
    let (reason, message) = blocked(stage.converge(&mut aac).await);
    assert_eq!((reason, stage.calls().await), (Reason::NotFound, vec!["C1 404".to_owned()]));
    assert!(message.contains(ID), "{message}");
    stage.world.put_config(ID, live());
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
}

#[tokio::test]
async fn a_config_that_went_between_two_changes_is_not_made_anew() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    stage.world.remove_config(ID);
    aac.declare(json!({"name": "Newer"}));
    let convergence = stage.converge(&mut aac).await;
    assert!(matches!(&convergence.end, End::Failed(f) if f.reason == Reason::NotFound), "{:?}", convergence.end);
    assert_eq!(stage.calls().await[2..], ["C3 404"]);
    assert_eq!(aac.audits(), ["APPLIED", "FAILED"]);
    assert_eq!(blocked(stage.converge(&mut aac).await).0, Reason::NotFound);
}

#[tokio::test]
async fn a_version_without_a_successor_is_stalled() {
    let stage = Stage::new().await;
    let mut last = live();
    last["version"] = json!(i32::MAX);
    stage.world.put_config(ID, last);
    let mut aac = Aac::new(json!({"name": "New"}));
    let (reason, message) = blocked(stage.converge(&mut aac).await);
    assert_eq!(reason, Reason::RemoteRejected);
    assert!(message.contains("no successor"), "{message}");
    assert_eq!(stage.calls().await, ["C1 200"]);
    assert!(aac.audits().is_empty());
    aac.declare(json!({"name": "Retail assist"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
}

#[tokio::test]
async fn the_last_version_can_still_be_reached() {
    let stage = Stage::new().await;
    let mut last = live();
    last["version"] = json!(i32::MAX - 1);
    stage.world.put_config(ID, last);
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/version"), json!(i32::MAX));
}

#[tokio::test]
async fn other_refusals_of_a_write_end_it_with_the_platform_s_words() {
    for (status, body) in [
        (400, json!({"code": "bad.request", "message": "no such queue"})),
        (413, json!({"code": "request.entity.too.large", "message": "no such queue"})),
        (422, json!({"code": "unprocessable", "message": "no such queue"})),
        (428, json!({"code": "precondition.required", "message": "no such queue"})),
    ] {
        let stage = Stage::new().await;
        stage.fault("C3", 1, FaultKind::Status { status, retry_after: None, body: Some(body), applied: false });
        let mut aac = Aac::new(json!({"name": "New"}));
        let (reason, message) = refused(stage.converge(&mut aac).await);
        assert_eq!(reason, Reason::RemoteRejected);
        assert!(message.contains("no such queue"), "{message}");
        assert_eq!((stage.count("C3").await, aac.audits()), (1, vec!["FAILED"]));
    }
}

#[tokio::test]
async fn a_refused_write_is_tried_again_after_an_hour() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::status(403));
    let mut aac = Aac::new(json!({"name": "New"}));
    refused(stage.converge(&mut aac).await);
    let refusal = aac.refusal.clone().unwrap();
    let left = Duration::try_from(refusal.until.duration_since(assist_operator::clock::now())).unwrap();
    assert!(left > Duration::from_secs(3590) && left <= Duration::from_secs(3600), "{left:?}");
    aac.refusal.as_mut().unwrap().until = assist_operator::clock::now();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/name"), "New");
}
