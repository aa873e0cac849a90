//! Bodies that no client should trust, on reads and on writes (contract section 6).

use std::time::Duration;

use assist_operator::api::conditions::Reason;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::{Value, json};

use super::held::Aac;
use super::stage::{ID, Stage, quick};

fn undecodable() -> Vec<FaultKind> {
    let text =
        |body: &str| FaultKind::Status { status: 200, retry_after: None, body: Some(Value::String(body.into())), applied: true };
    vec![
        FaultKind::TruncatedBody,
        FaultKind::EmptyBody,
        FaultKind::Html { status: 200 },
        FaultKind::Oversized { gzip: false },
        FaultKind::Oversized { gzip: true },
        text("{\"id\":"),
        text("{}{}"),
        text("nonsense"),
    ]
}

/// JSON that is no config of ours.
fn unusable() -> Vec<FaultKind> {
    let json = |body: Value| FaultKind::Status { status: 200, retry_after: None, body: Some(body), applied: true };
    vec![
        FaultKind::WrongDocument,
        FaultKind::DeepNesting { depth: 100_000 },
        FaultKind::DeepNesting { depth: 200 },
        json(json!([])),
        json(json!(null)),
        json(json!({"id": 7})),
    ]
}

/// Bodies of 11 MiB take their time in a debug build.
async fn stage() -> Stage {
    Stage::with_timing(Timing { total: Duration::from_secs(20), ..quick() }).await
}

#[tokio::test]
async fn an_undecodable_read_is_repeated_and_then_given_up() {
    for kind in undecodable() {
        let stage = stage().await;
        stage.fault("C1", 1, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
        assert_eq!(stage.calls().await, ["C1 200", "C1 200", "C3 200"], "{kind:?}");
    }
    for kind in undecodable() {
        let stage = stage().await;
        stage.fault("C1", 3, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        let end = stage.converge(&mut aac).await.end;
        assert!(matches!(&end, End::Failed(f) if f.reason == Reason::OrgUnavailable && f.unreadable), "{kind:?}: {end:?}");
        assert_eq!(stage.calls().await, ["C1 200"; 3], "{kind:?}");
    }
}

#[tokio::test]
async fn a_read_of_something_else_is_an_error_and_never_a_difference() {
    for kind in unusable() {
        let stage = stage().await;
        stage.fault("C1", 3, kind.clone());
        let mut aac = Aac::new(json!({"name": "New"}));
        let end = stage.converge(&mut aac).await.end;
        assert!(matches!(&end, End::Failed(f) if f.unreadable), "{kind:?}: {end:?}");
        assert_eq!(stage.count("C3").await, 0, "{kind:?}");
        assert!(aac.audits().is_empty());
        stage.world.faults().clear();
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
    }
}

#[tokio::test]
async fn an_unusable_answer_to_a_write_is_looked_up_and_never_repeated() {
    for kind in undecodable().into_iter().chain(unusable()) {
        let stage = stage().await;
        stage.fault("C3", 1, kind.clone());
        let mut aac = Aac::new(json!({"name": "New", "made": 1}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!(convergence.end, End::Done, "{kind:?}");
        assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200"], "{kind:?}");
        assert_eq!((aac.audits(), stage.live("/version")), (vec!["APPLIED"], json!(8)), "{kind:?}");
        assert_eq!(aac.created(), ["/made"]);
        assert_eq!(aac.status.remote.as_ref().unwrap().version.as_deref(), Some("8"));
        // What was learnt from the read guards the next write.
        aac.declare(json!({"name": "Newer", "made": 1}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{kind:?}");
        assert_eq!(stage.calls().await[3..], ["C3 200"], "{kind:?}");
    }
}

#[tokio::test]
async fn a_stale_read_loses_its_guard_and_nothing_else() {
    let stage = Stage::new().await;
    stage.foreign("note", json!("theirs"));
    stage.fault("C1", 1, FaultKind::StaleRead);
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 409", "C1 200", "C3 200"]);
    assert_eq!((stage.live("/name"), stage.live("/note")), (json!("New"), json!("theirs")));
    assert_eq!(aac.audits(), ["CONFLICT", "APPLIED"]);
}

#[tokio::test]
async fn error_answers_with_foreign_bodies_are_judged_by_their_status() {
    for (status, reason) in [(403, Reason::PermissionDenied), (400, Reason::RemoteRejected)] {
        let stage = Stage::new().await;
        stage.fault("C1", 1, FaultKind::Html { status });
        let mut aac = Aac::new(json!({"name": "New"}));
        let end = stage.converge(&mut aac).await.end;
        assert!(matches!(&end, End::Failed(f) if f.reason == reason), "{status}: {end:?}");
    }
    let stage = Stage::new().await;
    stage.fault("C1", 1, FaultKind::Html { status: 404 });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert!(
        matches!(stage.converge(&mut aac).await.end, End::Blocked(b) if b.reason == Reason::NotFound && b.message.contains(ID))
    );
}
