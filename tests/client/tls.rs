//! The same over TLS, with the org's own certificate authority.

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Endpoints;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::json;

use super::held::Aac;
use super::stage::{Stage, client, quick};

#[tokio::test]
async fn a_config_converges_conflicts_and_rolls_back_over_tls() {
    let stage = Stage::tls().await;
    assert!(stage.sandbox.url().starts_with("https://"));
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: Some(json!({"note": 1})) });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 409", "C1 200", "C3 200"]);
    aac.declare(json!({"name": "Newer"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[4..], ["C3 200"]);
    aac.edit(|spec| spec["restoreVersion"] = json!(6));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await[5..], ["C2 200", "C3 200"]);
    assert_eq!(aac.audits(), ["CONFLICT", "APPLIED", "APPLIED", "APPLIED"]);
}

#[tokio::test]
async fn faults_of_the_wire_are_the_same_over_tls() {
    let kinds = [
        FaultKind::ResetAfter,
        FaultKind::TruncatedBody,
        FaultKind::Html { status: 200 },
        FaultKind::EmptyBody,
        FaultKind::status(502),
    ];
    for kind in kinds {
        let stage = Stage::tls().await;
        stage.fault("C1", 1, kind.clone());
        stage.fault("C3", 1, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
        stage.calls().await;
        assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)), "{kind:?}");
    }
}

#[tokio::test]
async fn a_server_of_another_authority_gets_no_credentials() {
    let (stage, other) = (Stage::tls().await, Stage::tls().await);
    for ca in [other.sandbox.ca_pem().map(str::to_owned), None] {
        let endpoints = Endpoints::custom(stage.sandbox.url(), stage.sandbox.url(), ca).unwrap();
        let (account, client) = client(&endpoints, quick());
        let mut session = client.session(account.budget().ticket(assist_operator::genesys::Lane::First).await);
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge_in(&mut session, &mut aac).await;
        let End::Failed(failure) = convergence.end else { panic!("{:?}", convergence.end) };
        assert_eq!(failure.reason, Reason::OrgUnavailable);
        assert!(aac.audits().is_empty());
    }
    assert_eq!(stage.journal().await, []);
}
