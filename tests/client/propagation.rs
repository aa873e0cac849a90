//! C4: which version handles conversations. It never triggers a write (contract section 3, Propagation).

use assist_operator::api::AgentAssistConfig;
use assist_operator::api::conditions::Reason;
use assist_operator::engine::propagation::Verdict;
use assist_operator::remote::failure::Failure;
use assist_operator::remote::propagation::poll;
use assist_operator::sandbox::FaultKind;
use jiff::{Timestamp, ToSpan};

use super::stage::{ID, Stage};

async fn ask(stage: &Stage, ours: &[&str]) -> Result<Verdict, Failure> {
    let now = assist_operator::clock::now();
    poll::<AgentAssistConfig>(&mut stage.session().await, ID, "8", ours, (now - 1.hour(), now + 1.hour())).await
}

fn conversation(stage: &Stage, version: i64) {
    stage.world.add_conversation(ID, version, assist_operator::clock::now());
}

#[tokio::test]
async fn conversations_on_the_version_verify_it_in_one_call() {
    let stage = Stage::new().await;
    conversation(&stage, 7);
    conversation(&stage, 8);
    assert_eq!(ask(&stage, &["8"]).await, Ok(Verdict::Verified));
    assert_eq!(stage.calls().await, ["C4 200"]);
}

#[tokio::test]
async fn where_none_is_found_all_are_asked_for_to_tell_pending_from_no_traffic() {
    let stage = Stage::new().await;
    assert_eq!(ask(&stage, &["8"]).await, Ok(Verdict::NoTraffic));
    assert_eq!(stage.calls().await, ["C4 200"; 2]);
    conversation(&stage, 7);
    assert_eq!(ask(&stage, &["8"]).await, Ok(Verdict::Pending));
    // A later version that a read showed to hold the content counts as ours.
    conversation(&stage, 9);
    assert_eq!(ask(&stage, &["8", "9"]).await, Ok(Verdict::Verified));
    let bodies = stage.entries("C4").await;
    let predicates: Vec<usize> =
        bodies.iter().map(|e| e.body.as_ref().unwrap()["filter"]["predicates"].as_array().unwrap().len()).collect();
    assert_eq!(predicates, [1, 0, 1, 0, 1, 0]);
}

#[tokio::test]
async fn conversations_outside_of_the_interval_do_not_count() {
    let stage = Stage::new().await;
    stage.world.add_conversation(ID, 8, Timestamp::UNIX_EPOCH);
    assert_eq!(ask(&stage, &["8"]).await, Ok(Verdict::NoTraffic));
}

#[tokio::test]
async fn a_failed_query_says_nothing() {
    for kind in [
        FaultKind::status(500),
        FaultKind::Html { status: 200 },
        FaultKind::status(403),
        FaultKind::DeepNesting { depth: 100_000 },
    ] {
        let stage = Stage::new().await;
        conversation(&stage, 8);
        stage.fault("C4", 3, kind.clone());
        let failure = ask(&stage, &["8"]).await.unwrap_err();
        assert!(matches!(failure.reason, Reason::OrgUnavailable | Reason::PermissionDenied), "{kind:?}: {failure:?}");
        assert!(!failure.unreadable);
        assert_eq!(stage.count("C3").await + stage.count("C1").await, 0);
    }
}
