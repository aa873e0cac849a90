//! P1 and P2 through a session, against the sandbox: what the caller gets, and what went over the wire.

use std::sync::Arc;
use std::time::{Duration, Instant};

use assist_operator::genesys::prompts::{self, AbHeader, PAGE_SIZE, Promoted};
use assist_operator::genesys::{Endpoints, Error, ErrorKind, Gate, Lane, Timing};
use assist_operator::sandbox::{FaultKind, MissingScope, Rule, check};
use serde_json::{Value, json};

use super::stage::{CLIENT, Stage, client, leaks, quick};
use super::wire::{Scripted, answer};

/// The template of every test; its id must be encoded.
const TEMPLATE: &str = "greet/1";

async fn stage() -> Stage {
    stage_with(quick()).await
}

async fn stage_with(timing: Timing) -> Stage {
    let stage = Stage::with_timing(timing).await;
    stage.world.put_prompt(TEMPLATE, &[json!({"version": "1.0.0", "content": "Hello"})]);
    stage.world.clear_journal();
    stage
}

fn open() -> Gate {
    Arc::new(|| Ok(()))
}

fn body(version: &str) -> Value {
    json!({
        "templateId": TEMPLATE, "version": version, "content": "Hi {{name}}", "variables": {"name": "string"},
        "rollbackDirective": false, "metadata": {"author": "me"},
    })
}

/// P1, then P2.
async fn look_and_promote(stage: &Stage, version: &str) -> Result<Promoted, Error> {
    let mut session = stage.session().await;
    prompts::versions(&mut session, TEMPLATE, 1).await?;
    prompts::promote(&mut session, TEMPLATE, &body(version), None, open()).await
}

fn live(stage: &Stage) -> Value {
    stage.world.live_prompt(TEMPLATE).unwrap()["version"].clone()
}

#[tokio::test]
async fn a_promotion_is_shown_by_its_answer_and_by_the_next_look() {
    let stage = stage().await;
    let mut session = stage.session().await;
    let before = prompts::versions(&mut session, TEMPLATE, 1).await.unwrap();
    assert_eq!((before.page_count, before.requests), (1, 1));
    let made = prompts::promote(&mut session, TEMPLATE, &body("1.0.1"), None, open()).await.unwrap();
    assert!(made.date.is_some() && made.correlation_id.is_some() && made.requests == 1);
    let after = prompts::versions(&mut session, TEMPLATE, 1).await.unwrap();
    let mut made = made.document.parse();
    assert_eq!(made.as_object_mut().unwrap().remove("templateId"), Some(json!(TEMPLATE)));
    assert_eq!(after.document.parse()["entities"][0], made);
    assert_eq!(stage.calls().await, ["P1 200", "P2 201", "P1 200"]);
    let entry = stage.entries("P2").await.remove(0);
    assert_eq!((entry.promoted.as_deref(), entry.target.as_deref()), (Some("1.0.1"), Some(TEMPLATE)));
    assert_eq!(entry.body.unwrap().to_value(), body("1.0.1"));
}

#[tokio::test]
async fn a_test_has_its_header() {
    let stage = stage().await;
    let mut session = stage.session().await;
    prompts::versions(&mut session, TEMPLATE, 1).await.unwrap();
    let mut tested = body("1.0.1");
    tested["abTestingTrigger"] = json!({"enabled": true, "trafficPercent": 0.2, "variantId": "v2_1.0-b"});
    // The server refuses a test without its header, and a header that says something else.
    let other = AbHeader { variant_id: "v2_1.0-b", percent: 21 };
    for header in [None, Some(other)] {
        let refused = prompts::promote(&mut session, TEMPLATE, &tested, header, open()).await.unwrap_err();
        assert_eq!(refused.kind, ErrorKind::Rejected);
    }
    let header = AbHeader { variant_id: "v2_1.0-b", percent: 20 };
    let made = prompts::promote(&mut session, TEMPLATE, &tested, Some(header), open()).await.unwrap();
    assert_eq!(made.document.parse()["abTestingTrigger"], tested["abTestingTrigger"]);
    assert_eq!(stage.calls().await, ["P1 200", "P2 400", "P2 400", "P2 201"]);
}

#[tokio::test]
async fn pages_are_as_large_as_they_may_be() {
    let stage = stage().await;
    for number in 1..=60 {
        assert!(stage.world.promote(TEMPLATE, json!({"version": format!("1.1.{number}"), "content": "x"})));
    }
    let mut session = stage.session().await;
    let mut seen = Vec::new();
    for page in 1..=3 {
        let page = prompts::versions(&mut session, TEMPLATE, page).await.unwrap();
        assert_eq!(page.page_count, 3);
        let entities = page.document.parse()["entities"].as_array().unwrap().clone();
        assert!(entities.len() <= PAGE_SIZE as usize);
        seen.extend(entities.into_iter().map(|entity| entity["version"].clone()));
    }
    assert_eq!((seen.len(), &seen[0], &seen[60]), (61, &json!("1.1.60"), &json!("1.0.0")));
    let beyond = prompts::versions(&mut session, TEMPLATE, 4).await.unwrap();
    assert_eq!(beyond.document.parse()["entities"], json!([]));
    stage.world.put_prompt(TEMPLATE, &[]);
    assert_eq!(prompts::versions(&mut session, TEMPLATE, 1).await.unwrap().page_count, 0);
}

#[tokio::test]
async fn a_template_that_does_not_exist_is_not_found() {
    let stage = stage().await;
    stage.world.remove_prompt(TEMPLATE);
    let mut session = stage.session().await;
    let read = prompts::versions(&mut session, TEMPLATE, 1).await.unwrap_err();
    let write = prompts::promote(&mut session, TEMPLATE, &body("1.0.1"), None, open()).await.unwrap_err();
    assert_eq!((read.kind, write.kind), (ErrorKind::NotFound, ErrorKind::NotFound));
}

#[tokio::test]
async fn a_conflict_says_whether_a_flag_is_on() {
    let stage = stage().await;
    let taken = look_and_promote(&stage, "1.0.0").await.unwrap_err();
    assert_eq!((taken.kind, taken.uncertain), (ErrorKind::Conflict, false));
    assert!(taken.problem.as_ref().unwrap().message.as_deref().unwrap().contains("exists"));
    stage.world.set_rollback_flag(TEMPLATE, true);
    let flagged = look_and_promote(&stage, "1.0.1").await.unwrap_err();
    assert_eq!(flagged.kind, ErrorKind::Conflict);
    assert!(flagged.to_string().contains("rollback flag"), "{flagged}");
    assert_eq!(
        (live(&stage), stage.calls().await),
        (json!("1.0.0"), ["P1 200", "P2 409", "P1 200", "P2 409"].map(String::from).to_vec())
    );
}

#[tokio::test]
async fn an_unknown_outcome_is_one_request_and_a_lost_answer() {
    let applied = |status| FaultKind::Status { status, retry_after: None, body: None, applied: true };
    let faults = [
        (FaultKind::ResetAfter, true),
        (FaultKind::ResetBefore, false),
        (FaultKind::status(500), false),
        (FaultKind::retry_after(503, "1"), false),
        (FaultKind::status(408), false),
        (applied(502), true),
        (applied(504), true),
        (FaultKind::TruncatedBody, true),
        (FaultKind::EmptyBody, true),
        (FaultKind::Html { status: 200 }, true),
        (FaultKind::Oversized { gzip: true }, true),
        (FaultKind::DeepNesting { depth: 1000 }, true),
        (FaultKind::WrongDocument, true),
        (FaultKind::SilentDrop, false),
    ];
    for (fault, made) in faults {
        let stage = stage().await;
        stage.fault("P2", 1, fault.clone());
        let error = look_and_promote(&stage, "1.0.1").await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, 1), "{fault:?}");
        assert_eq!(live(&stage), if made { "1.0.1" } else { "1.0.0" }, "{fault:?}");
        // The look tells, and the checker finds nothing to say.
        let page = prompts::versions(&mut stage.session().await, TEMPLATE, 1).await.unwrap();
        assert_eq!(page.document.parse()["entities"][0]["version"], live(&stage));
        assert_eq!(stage.calls().await.len(), 3);
    }
}

#[tokio::test]
async fn a_timeout_is_a_lost_answer() {
    let stage = stage_with(Timing { total: Duration::from_millis(200), ..quick() }).await;
    stage.fault("P2", 1, FaultKind::Delay { before_ms: 0, after_ms: 400 });
    let error = look_and_promote(&stage, "1.0.1").await.unwrap_err();
    assert_eq!((error.kind, error.requests, live(&stage)), (ErrorKind::LostAnswer, 1, json!("1.0.1")));
    prompts::versions(&mut stage.session().await, TEMPLATE, 1).await.unwrap();
    let next = prompts::promote(&mut stage.session().await, TEMPLATE, &body("1.0.2"), None, open()).await;
    assert!(next.is_ok());
    assert_eq!(
        check(&stage.journal().await).iter().map(|violation| violation.rule).collect::<Vec<_>>(),
        [Rule::DuplicateVersion]
    );
}

#[tokio::test]
async fn a_late_commit_meets_the_same_number() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::CommitLate { after_ms: 150 });
    assert_eq!(look_and_promote(&stage, "1.0.1").await.unwrap_err().kind, ErrorKind::LostAnswer);
    assert_eq!(live(&stage), "1.0.0");
    // The retry has the same number, so one of the two is refused.
    assert!(look_and_promote(&stage, "1.0.1").await.is_ok());
    stage.calls().await;
    assert_eq!(stage.world.prompt_versions(TEMPLATE).unwrap().len(), 2);
    stage.fault("P2", 1, FaultKind::CommitLate { after_ms: 1 });
    look_and_promote(&stage, "1.0.2").await.unwrap_err();
    stage.journal().await;
    assert_eq!((live(&stage), look_and_promote(&stage, "1.0.2").await.unwrap_err().kind), (json!("1.0.2"), ErrorKind::Conflict));
}

#[tokio::test]
async fn a_429_pauses_before_the_same_promotion_goes_out_again() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::retry_after(429, "1"));
    let began = Instant::now();
    let made = look_and_promote(&stage, "1.0.1").await.unwrap();
    assert!(made.requests == 2 && began.elapsed() >= Duration::from_secs(1));
    assert_eq!(stage.calls().await, ["P1 200", "P2 429", "P2 201"]);
    stage.fault("P2", 1, FaultKind::retry_after(429, "60"));
    let error = look_and_promote(&stage, "1.0.2").await.unwrap_err();
    assert_eq!((error.kind, error.uncertain), (ErrorKind::Throttled, false));
    assert!(error.retry_after.unwrap() >= Duration::from_secs(60));
}

#[tokio::test]
async fn a_401_renews_the_token_once() {
    let stage = stage().await;
    stage.fault("P2", 1, FaultKind::Unauthorized);
    assert_eq!(look_and_promote(&stage, "1.0.1").await.unwrap().requests, 2);
    assert_eq!((stage.calls().await, stage.count("T1").await), (["P1 200", "P2 401", "P2 201"].map(String::from).to_vec(), 2));
    stage.fault("P2", 2, FaultKind::Unauthorized);
    let error = look_and_promote(&stage, "1.0.2").await.unwrap_err();
    assert_eq!((error.kind, error.requests), (ErrorKind::Unauthorized, 2));
}

#[tokio::test]
async fn a_missing_scope_is_forbidden_or_shows_nothing() {
    let stage = stage().await;
    stage.world.set_scopes(CLIENT, &["ai:prompt-template:read", "ai:prompt-template:write"]);
    let error = look_and_promote(&stage, "1.0.1").await.unwrap_err();
    assert_eq!((error.kind, error.requests), (ErrorKind::Forbidden, 1));
    assert!(error.to_string().contains("ai:llm-gateway:manage"), "{error}");
    stage.world.set(|settings| settings.missing_scope = MissingScope::SilentDrop);
    assert_eq!(look_and_promote(&stage, "1.0.1").await.unwrap_err().kind, ErrorKind::LostAnswer);
    stage.world.set_scopes(CLIENT, &[]);
    assert_eq!(look_and_promote(&stage, "1.0.1").await.unwrap_err().kind, ErrorKind::Forbidden);
    assert_eq!(live(&stage), "1.0.0");
}

#[tokio::test]
async fn pages_that_are_none_are_read_again_and_refused() {
    for (fault, kind) in [
        (FaultKind::Html { status: 200 }, ErrorKind::BadAnswer),
        (FaultKind::TruncatedBody, ErrorKind::BadAnswer),
        (FaultKind::Oversized { gzip: false }, ErrorKind::BadAnswer),
        (FaultKind::status(500), ErrorKind::Unavailable),
    ] {
        let stage = stage().await;
        stage.fault("P1", 2, fault.clone());
        assert_eq!(prompts::versions(&mut stage.session().await, TEMPLATE, 1).await.unwrap().requests, 3, "{fault:?}");
        stage.fault("P1", 3, fault.clone());
        let error = prompts::versions(&mut stage.session().await, TEMPLATE, 1).await.unwrap_err();
        assert_eq!((error.kind, error.requests), (kind, 3), "{fault:?}");
    }
    let stage = stage().await;
    for raw in [&b"{}"[..], b"[]", b"{\"entities\":null}", b"{\"entities\":{\"0\":{}}}", b"{\"entities\":[\"1.0.0\"]}", b"3"] {
        assert!(stage.world.set_raw_versions(TEMPLATE, Some(raw.to_vec())));
        let error = prompts::versions(&mut stage.session().await, TEMPLATE, 1).await.unwrap_err();
        assert_eq!((error.kind, error.requests), (ErrorKind::BadAnswer, 1), "{}", String::from_utf8_lossy(raw));
    }
}

#[tokio::test]
async fn accepted_promotions_that_lie_are_lost_answers() {
    let bodies = [
        "[]",
        r#"{"templateId":"greet/2","version":"1.0.1","content":"Hi {{name}}"}"#,
        r#"{"templateId":"greet/1","version":"1.0.0","content":"Hi {{name}}"}"#,
        r#"{"templateId":"greet/1","version":"1.0.1"}"#,
    ];
    for status in [200, 201, 202] {
        for reply in bodies {
            let server = Scripted::start(move |request| {
                if request.head.starts_with("POST /oauth") {
                    return answer(200, "", r#"{"access_token":"t","token_type":"bearer","expires_in":3600}"#);
                }
                answer(status, "", reply)
            })
            .await;
            let (account, client) = client(&Endpoints::custom(&server.url, &server.url, None).unwrap(), quick());
            let mut session = client.session(account.budget().ticket(Lane::Change).await);
            let error = prompts::promote(&mut session, TEMPLATE, &body("1.0.1"), None, open()).await.unwrap_err();
            assert_eq!((error.kind, server.seen().len()), (ErrorKind::LostAnswer, 2), "{status} {reply}");
            assert!(!leaks(&format!("{error} {error:?}")) && !error.to_string().contains("Hi"), "{error}");
        }
    }
}
