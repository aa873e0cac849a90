//! The tag of a read in each form in which deployments send it (contract section 3).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{EtagStyle, FaultKind};
use serde_json::json;

use super::held::Aac;
use super::stage::{ID, Stage, live};

/// The strong tag of the live document.
fn tag(stage: &Stage) -> String {
    stage.live("/etag").as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_tag_goes_back_as_it_came_and_gets_lost_quotes_back() {
    let styles = [
        EtagStyle::Header,
        EtagStyle::HeaderOnly,
        EtagStyle::BodyOnly,
        EtagStyle::Unquoted,
        EtagStyle::BodyUnquoted,
        EtagStyle::BodyStale,
        EtagStyle::Weak,
    ];
    for style in styles {
        let stage = Stage::new().await;
        stage.world.set_etag_style(style);
        let weak = if style == EtagStyle::Weak { "W/" } else { "" };
        let expected = format!("{weak}{}", tag(&stage));
        let mut aac = Aac::new(json!({"name": "New"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{style:?}");
        assert_eq!(stage.calls().await, ["C1 200", "C3 200"], "{style:?}");
        let put = stage.entries("C3").await.remove(0);
        assert_eq!((put.if_match, put.version), (Some(expected), Some(8)), "{style:?}");
        assert_eq!(aac.audits(), ["APPLIED"], "{style:?}");
        // The answer's tag guards the next write, in the same form.
        aac.declare(json!({"name": "Newer"}));
        assert_eq!(stage.converge(&mut aac).await.end, End::Done, "{style:?}");
        assert_eq!(stage.calls().await[2..], ["C3 200"], "{style:?}");
        assert_eq!(stage.live("/name"), "Newer");
    }
}

#[tokio::test]
async fn without_a_usable_tag_nothing_is_written() {
    for style in [EtagStyle::Absent, EtagStyle::UnquotedWeak] {
        let stage = Stage::new().await;
        stage.world.set_etag_style(style);
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        assert!(matches!(convergence.end, End::Blocked(ref b) if b.reason == Reason::RemoteRejected), "{:?}", convergence.end);
        assert_eq!(stage.calls().await, ["C1 200"], "{style:?}");
        assert!(aac.audits().is_empty() && aac.book.intents().is_empty());
        assert!(aac.ready().1.contains("ETag"), "{:?}", aac.ready());
    }
}

#[tokio::test]
async fn without_a_tag_an_equal_config_is_ready_all_the_same() {
    let stage = Stage::new().await;
    stage.world.set_etag_style(EtagStyle::Absent);
    let mut aac = Aac::new(json!({"name": "Retail assist"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(aac.ready().0, "Succeeded");
}

#[tokio::test]
async fn an_answer_to_a_write_without_a_new_tag_is_proven_by_one_read() {
    let stage = Stage::new().await;
    let mut untagged = live();
    (untagged["name"], untagged["version"]) = (json!("New"), json!(8));
    stage.fault("C3", 1, FaultKind::Status { status: 200, retry_after: None, body: Some(untagged), applied: true });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200", "C3 200", "C1 200"]);
    assert_eq!(aac.audits(), ["APPLIED"]);
    assert_eq!(aac.status.remote.as_ref().unwrap().etag, Some(tag(&stage)));
}

#[tokio::test]
async fn a_write_never_carries_what_the_server_owns() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"parameters": {"limit": 5}}));
    stage.converge(&mut aac).await;
    let body = stage.entries("C3").await.remove(0).body.unwrap().to_value();
    let expected = json!({
        "version": 8, "name": "Retail assist", "enabled": true,
        "rules": [{"id": "r1", "on": true}], "parameters": {"threshold": 0.72, "limit": 5},
    });
    assert_eq!(body, expected);
    assert_eq!(stage.world.config(ID).unwrap()["version"], 8);
}
