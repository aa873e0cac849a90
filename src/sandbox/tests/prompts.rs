//! P1 and P2 as contract 4 says, and what goes wrong with them.

use std::time::Duration;

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Answer, Bench, send};
use crate::sandbox::{Actor, Fault, FaultKind, MissingScope, Normaliser, Rule, check};

/// The template of the default seed.
const ID: &str = "loyalty-save";

fn path(id: &str) -> String {
    format!("/api/v2/ai/prompt-templates/{id}/versions")
}

/// P1.
async fn look(bench: &Bench, query: &str) -> Answer {
    bench.get(&format!("{}{query}", path(ID))).await
}

fn body(version: &str, content: &str) -> Value {
    json!({"templateId": ID, "version": version, "content": content, "variables": {}, "rollbackDirective": false})
}

fn request(bench: &Bench, body: &Value) -> RequestBuilder {
    bench.request(Method::POST, &path(ID)).header("content-type", "application/json").body(body.to_string())
}

/// P2.
async fn post(bench: &Bench, body: &Value) -> Answer {
    send(request(bench, body)).await.unwrap()
}

fn versions(bench: &Bench) -> Vec<String> {
    let versions = bench.world().prompt_versions(ID).unwrap();
    versions.iter().map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

fn rules(bench: &Bench) -> Vec<Rule> {
    check(&bench.world().journal()).into_iter().map(|violation| violation.rule).collect()
}

#[tokio::test]
async fn a_promotion_is_live_at_once() {
    let bench = Bench::start().await;
    let before = look(&bench, "?pageSize=25&pageNumber=1").await;
    assert_eq!((&before.body["total"], &before.body["pageCount"], &before.body["pageNumber"]), (&json!(1), &json!(1), &json!(1)));
    let mut sent = body("2.1.0", "Hi {{name}}");
    sent["variables"] = json!({"name": "string", "n": 1});
    sent["content"] = json!("Hi {{name}} {{n}} {{name}}");
    sent["metadata"] = json!({"author": "me"});
    let made = post(&bench, &sent).await;
    assert_eq!((made.status, &made.body["templateId"], &made.body["version"]), (201, &json!(ID), &json!("2.1.0")));
    let after = look(&bench, "").await;
    let live = &after.body["entities"][0];
    let keys: Vec<&String> = live.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["abTestingTrigger", "content", "dateCreated", "metadata", "variables", "version"]);
    for key in keys.iter().map(|key| key.as_str()) {
        assert_eq!(live[key], made.body[key], "{key}");
    }
    assert_eq!((&live["variables"], &live["abTestingTrigger"]), (&sent["variables"], &Value::Null));
    assert_eq!(versions(&bench), ["2.1.0", "1.0.0"]);
    let entry = bench.last("P2");
    assert_eq!((entry.promoted.as_deref(), entry.target.as_deref(), entry.result_version), (Some("2.1.0"), Some(ID), None));
    assert_eq!((&entry.before.unwrap()["version"], &entry.after.unwrap()["version"]), (&json!("1.0.0"), &json!("2.1.0")));
    assert!(entry.applied && entry.change.is_some() && entry.changed_us.is_some());
    assert_eq!(check(&bench.world().journal()), []);
}

#[tokio::test]
async fn pages_end_by_their_count() {
    let bench = Bench::start().await;
    for number in 1..=60 {
        assert!(bench.world().promote(ID, json!({"version": format!("1.1.{number}"), "content": "x"})));
    }
    let third = look(&bench, "?pageSize=25&pageNumber=3").await;
    assert_eq!((&third.body["pageCount"], &third.body["total"]), (&json!(3), &json!(61)));
    assert_eq!(third.body["entities"].as_array().unwrap().len(), 11);
    assert_eq!(look(&bench, "?pageNumber=1").await.body["entities"][0]["version"], "1.1.60");
    assert_eq!(look(&bench, "?pageSize=1").await.body["pageCount"], 61);
    assert_eq!(look(&bench, "?pageNumber=4").await.body["entities"], json!([]));
    for query in ["?pageSize=26", "?pageSize=0", "?pageSize=x", "?pageNumber=0", "?pageNumber=-1", "?pageNumber="] {
        let refused = look(&bench, query).await;
        assert_eq!((refused.status, refused.code()), (400, "invalid.query.param.value"), "{query}");
    }
    assert_eq!(bench.get(&path("none")).await.status, 404);
    bench.world().put_prompt("new", &[]);
    let empty = bench.get(&path("new")).await;
    assert_eq!(empty.body, json!({"entities": [], "pageNumber": 1, "pageCount": 0, "total": 0}));
}

#[tokio::test]
async fn the_schema_is_strict() {
    let bench = Bench::start().await;
    let good = body("1.0.1", "Hi");
    for (key, value, code) in [
        ("templateId", json!("other"), "invalid.value"),
        ("version", json!("1.0"), "invalid.value"),
        ("version", json!(1), "invalid.value"),
        ("content", json!(1), "invalid.value"),
        ("variables", json!([]), "invalid.value"),
        ("variables", json!({"a": null}), "invalid.value"),
        ("variables", json!({"a": {"type": "string"}}), "invalid.value"),
        ("rollbackDirective", json!(true), "invalid.value"),
        ("rollbackDirective", Value::Null, "invalid.value"),
        ("metadata", json!("x"), "invalid.value"),
        ("abTestingTrigger", Value::Null, "invalid.value"),
        ("limits", json!({}), "invalid.property"),
    ] {
        let mut wrong = good.clone();
        wrong[key] = value;
        let refused = post(&bench, &wrong).await;
        assert_eq!((refused.status, refused.code()), (400, code), "{wrong}");
        assert_eq!(refused.body["details"][0]["fieldName"], key);
    }
    for key in ["templateId", "version", "content", "variables", "rollbackDirective"] {
        let mut lacking = good.clone();
        lacking.as_object_mut().unwrap().remove(key);
        assert_eq!(post(&bench, &lacking).await.status, 400, "{key}");
    }
    assert_eq!(post(&bench, &json!([])).await.code(), "bad.request");
    let other = bench.request(Method::POST, &path("none")).header("content-type", "application/json").body(good.to_string());
    assert_eq!(send(other).await.unwrap().status, 404);
    assert_eq!(versions(&bench), ["1.0.0"]);
}

#[tokio::test]
async fn the_rules_hold_on_the_server_too_unless_it_is_told_otherwise() {
    let bench = Bench::start().await;
    let with = |content: &str, variables: Value| {
        let mut body = body("1.0.1", content);
        body["variables"] = variables;
        body
    };
    let long = "é".repeat(32_769);
    let broken = [
        with(&long, json!({})),
        with("{{ a }}", json!({"a": "string"})),
        with("{{a", json!({"a": "string"})),
        with("{{a}}", json!({})),
        with("a", json!({"a": "string"})),
    ];
    for body in &broken {
        assert_eq!(post(&bench, body).await.code(), "invalid.value");
    }
    assert_eq!(post(&bench, &with(&long[2..], json!({}))).await.status, 201);
    bench.world().set(|settings| settings.prompt_rules = false);
    for (number, body) in broken.iter().enumerate() {
        let mut body = body.clone();
        body["version"] = json!(format!("1.1.{number}"));
        assert_eq!(post(&bench, &body).await.status, 201);
    }
}

#[tokio::test]
async fn a_test_needs_its_header_and_a_header_its_test() {
    let bench = Bench::start().await;
    let mut tested = body("1.0.1", "Hi");
    tested["abTestingTrigger"] = json!({"enabled": true, "trafficPercent": 0.29, "variantId": "v_1.0-b"});
    let send_with = |body: &Value, header: Option<&str>| {
        let request = request(&bench, body);
        send(match header {
            Some(header) => request.header("x-genesys-ab-test", header),
            None => request,
        })
    };
    for header in [None, Some("variant=v_1.0-b,traffic=28"), Some("variant=v,traffic=29"), Some("traffic=29,variant=v_1.0-b")] {
        assert_eq!(send_with(&tested, header).await.unwrap().status, 400, "{header:?}");
    }
    assert_eq!(send_with(&body("1.0.1", "Hi"), Some("variant=v,traffic=0")).await.unwrap().status, 400);
    for wrong in [
        json!({"enabled": false, "trafficPercent": 0.2, "variantId": "v"}),
        json!({"enabled": true, "trafficPercent": 1.1, "variantId": "v"}),
        json!({"enabled": true, "trafficPercent": "0.2", "variantId": "v"}),
        json!({"enabled": true, "trafficPercent": 0.2, "variantId": "a b"}),
        json!({"enabled": true, "trafficPercent": 0.2, "variantId": "v", "x": 1}),
        json!(true),
    ] {
        let mut body = tested.clone();
        body["abTestingTrigger"] = wrong;
        assert_eq!(send_with(&body, Some("variant=v,traffic=20")).await.unwrap().status, 400);
    }
    // 0.29 × 100 is 28.99… in binary.
    let made = send_with(&tested, Some("variant=v_1.0-b,traffic=29")).await.unwrap();
    assert_eq!((made.status, &made.body["abTestingTrigger"]), (201, &tested["abTestingTrigger"]));
}

#[tokio::test]
async fn a_version_is_made_once_and_the_rollback_flag_stops_all() {
    let bench = Bench::start().await;
    let taken = post(&bench, &body("1.0.0", "Other")).await;
    assert_eq!((taken.status, taken.code()), (409, "request.conflict"));
    assert!(taken.body["message"].as_str().unwrap().contains("1.0.0"));
    assert!(bench.world().set_rollback_flag(ID, true));
    let stopped = post(&bench, &body("1.0.1", "New")).await;
    assert_eq!((stopped.status, stopped.code()), (409, "request.conflict"));
    assert!(stopped.body["message"].as_str().unwrap().contains("rollback flag"));
    assert!(!look(&bench, "").await.body.to_string().contains("rollback"));
    assert_eq!(versions(&bench), ["1.0.0"]);
    bench.world().set_rollback_flag(ID, false);
    assert_eq!(post(&bench, &body("1.0.1", "New")).await.status, 201);
    let answers = futures::future::join_all((0..10).map(|_| async { post(&bench, &body("1.0.2", "x")).await.status })).await;
    assert_eq!(answers.iter().filter(|status| **status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|status| **status == 409).count(), 9);
}

#[tokio::test]
async fn the_scopes_are_those_of_the_contract() {
    let bench = Bench::start().await;
    bench.world().set_scopes("demo-client", &["ai:prompt-template:write", "ai:prompt-template:read"]);
    assert_eq!(post(&bench, &body("1.0.1", "x")).await.code(), "app.not.authorized.for.scope");
    bench.world().set(|settings| settings.missing_scope = MissingScope::SilentDrop);
    let dropped = post(&bench, &body("1.0.1", "x")).await;
    assert_eq!((dropped.status, &dropped.body["version"]), (200, &json!("1.0.0")));
    assert_eq!(look(&bench, "").await.status, 200);
    bench.world().set_scopes("demo-client", &["ai:prompt-template:write", "ai:llm-gateway:manage"]);
    assert_eq!(look(&bench, "").await.status, 403);
    assert_eq!(post(&bench, &body("1.0.1", "x")).await.status, 201);
}

#[tokio::test]
async fn somebody_else_promotes_and_deletes() {
    let bench = Bench::start().await;
    let world = bench.world();
    assert!(world.promote(ID, json!({"version": "1.5.0", "content": "Theirs"})));
    assert!(!world.promote(ID, json!({"version": "1.5.0", "content": "Again"})));
    assert!(!world.promote(ID, json!({"content": "No number"})) && !world.promote("none", json!({"version": "1.0.0"})));
    assert_eq!(world.live_prompt(ID).unwrap()["content"], "Theirs");
    let entry = world.journal().into_iter().find(|entry| entry.actor == Actor::Foreign).unwrap();
    assert_eq!((entry.promoted.as_deref(), entry.target.as_deref()), (Some("1.5.0"), Some(ID)));
    assert!(world.delete_version(ID, "1.5.0") && !world.delete_version(ID, "1.5.0"));
    assert_eq!(versions(&bench), ["1.0.0"]);
    assert_eq!((world.prompt_ids(), world.remove_prompt(ID)), (vec![ID.to_owned()], true));
    assert_eq!((look(&bench, "").await.status, world.prompt_versions(ID), world.remove_prompt(ID)), (404, None, false));
    assert_eq!(check(&world.journal()), []);
}

#[tokio::test]
async fn a_normaliser_rewrites_what_is_promoted() {
    let bench = Bench::start().await;
    bench.world().set_normaliser([Normaliser::Trim { path: "/content".to_owned() }]);
    assert_eq!(post(&bench, &body("1.0.1", " Hi \n")).await.body["content"], "Hi");
    assert_eq!(look(&bench, "").await.body["entities"][0]["content"], "Hi");
}

#[tokio::test]
async fn a_promotion_is_lost_before_or_after_or_dropped_or_answered_wrongly() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    faults.push(Fault::new(FaultKind::ResetBefore).on(&["P2"]));
    assert!(send(request(&bench, &body("1.0.1", "a"))).await.is_err());
    assert_eq!(versions(&bench), ["1.0.0"]);
    faults.push(Fault::new(FaultKind::ResetAfter).on(&["P2"]).target(ID));
    assert!(send(request(&bench, &body("1.0.1", "a"))).await.is_err());
    assert_eq!(versions(&bench), ["1.0.1", "1.0.0"]);
    faults.push(Fault::new(FaultKind::Status { status: 503, retry_after: None, body: None, applied: true }));
    assert_eq!(post(&bench, &body("1.0.2", "b")).await.status, 503);
    assert_eq!(versions(&bench)[0], "1.0.2");
    faults.push(Fault::new(FaultKind::SilentDrop));
    let dropped = post(&bench, &body("1.0.3", "c")).await;
    assert_eq!((dropped.status, &dropped.body["version"], versions(&bench).len()), (200, &json!("1.0.2"), 3));
    faults.push(Fault::new(FaultKind::WrongDocument));
    let wrong = post(&bench, &body("1.0.4", "d")).await;
    assert_eq!((wrong.status, &wrong.body["templateId"]), (201, &json!("other-loyalty-save")));
    faults.push(Fault::new(FaultKind::StaleRead));
    assert_eq!(look(&bench, "").await.body["entities"][0]["version"], "1.0.2");
    assert_eq!(look(&bench, "").await.body["entities"][0]["version"], "1.0.4");
    faults.push(Fault::new(FaultKind::ForeignEditBefore { patch: None }));
    assert_eq!(post(&bench, &body("1.0.5", "e")).await.status, 409);
    faults.push(Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"version": "9.0.0", "content": "x"})) }));
    assert_eq!(post(&bench, &body("1.0.6", "e")).await.status, 201);
    assert_eq!(versions(&bench)[..3], ["1.0.6", "9.0.0", "1.0.5"]);
}

#[tokio::test]
async fn a_late_commit_comes_after_its_lost_answer() {
    let bench = Bench::start().await;
    let late = |after_ms| bench.world().faults().push(Fault::new(FaultKind::CommitLate { after_ms }).on(&["P2"]));
    let settled = || async {
        while bench.world().in_flight() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    late(100);
    look(&bench, "").await;
    assert!(send(request(&bench, &body("1.0.1", "a"))).await.is_err());
    assert_eq!(look(&bench, "").await.body["total"], 1);
    assert_eq!(bench.world().in_flight(), 1);
    settled().await;
    assert_eq!(versions(&bench), ["1.0.1", "1.0.0"]);
    let entry = bench.last("P2");
    assert_eq!((entry.status, entry.applied, entry.delivered, entry.fault.as_deref()), (0, true, false, Some("commitLate")));
    assert!(entry.changed_us.unwrap() >= entry.at_us + 100_000 && entry.end_us() < entry.changed_us.unwrap());
    assert_eq!(check(&bench.world().journal()), []);

    // The same number again, before the late one: that one then makes no duplicate.
    late(100);
    look(&bench, "").await;
    assert!(send(request(&bench, &body("1.0.2", "b"))).await.is_err());
    look(&bench, "").await;
    assert_eq!(post(&bench, &body("1.0.2", "b")).await.status, 201);
    settled().await;
    assert_eq!(versions(&bench), ["1.0.2", "1.0.1", "1.0.0"]);
    assert!(!bench.last("P2").applied);
    assert_eq!(check(&bench.world().journal()), []);
    // What is refused at the door has nothing to commit.
    late(1);
    bench.world().revoke_tokens();
    assert_eq!(post(&bench, &body("1.0.3", "c")).await.status, 401);
}

#[tokio::test]
async fn the_checker_sees_what_a_careless_client_does() {
    let bench = Bench::start().await;
    post(&bench, &body("1.0.1", "a")).await;
    assert_eq!(rules(&bench), [Rule::UnseenPromotion]);
    bench.world().clear_journal();
    look(&bench, "?pageNumber=2").await;
    post(&bench, &body("1.0.2", "a")).await;
    assert_eq!(rules(&bench), [Rule::UnseenPromotion], "the second page shows no live version");
    bench.world().clear_journal();
    look(&bench, "").await;
    post(&bench, &body("1.0.3", "b")).await;
    look(&bench, "").await;
    post(&bench, &body("1.0.4", "b")).await;
    assert_eq!(rules(&bench), [Rule::DuplicateVersion]);
    bench.world().clear_journal();
    look(&bench, "").await;
    post(&bench, &body("1.0.4", "c")).await;
    post(&bench, &body("1.0.5", "c")).await;
    assert_eq!(rules(&bench), [Rule::BlindRepost]);
}

#[tokio::test]
async fn prompts_can_be_steered() {
    let bench = Bench::start().await;
    let call = |method: Method, path: &str, body: Value| {
        send(bench.http.request(method, format!("{}/sandbox/prompts{path}", bench.sandbox.url())).body(body.to_string()))
    };
    let versions = json!([{"version": "1.0.0", "content": "a"}, {"version": "1.1.0", "content": "b", "metadata": {"k": "v"}}]);
    let put = call(Method::PUT, "/new", json!({"versions": versions, "rollbackFlag": true})).await.unwrap();
    assert_eq!(
        (put.status, &put.body["rollbackFlag"], &put.body["versions"][0]["version"]),
        (200, &json!(true), &json!("1.1.0"))
    );
    assert_eq!(call(Method::GET, "", Value::Null).await.unwrap().body, json!([ID, "new"]));
    let version = json!({"version": "1.2.0", "content": "c"});
    assert_eq!(call(Method::POST, "/new/versions", version.clone()).await.unwrap().status, 204);
    assert_eq!(call(Method::POST, "/new/versions", version.clone()).await.unwrap().status, 400);
    assert_eq!(call(Method::POST, "/none/versions", version).await.unwrap().status, 404);
    assert_eq!(call(Method::POST, "/new/versions", json!({"version": "1"})).await.unwrap().status, 400);
    assert_eq!(call(Method::DELETE, "/new/versions/1.2.0", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::PUT, "/new/rollback-flag", json!(false)).await.unwrap().status, 204);
    let read = call(Method::GET, "/new", Value::Null).await.unwrap().body;
    assert_eq!((&read["rollbackFlag"], read["versions"].as_array().unwrap().len()), (&json!(false), 2));
    assert_eq!(call(Method::PUT, "/new/raw", json!({"entities": 3})).await.unwrap().status, 204);
    assert_eq!(bench.get(&path("new")).await.body, json!({"entities": 3}));
    assert_eq!(call(Method::DELETE, "/new/raw", Value::Null).await.unwrap().status, 204);
    assert_eq!(bench.get(&path("new")).await.body["total"], 2);
    for wrong in [json!({"versions": [{"version": "1.0.0"}]}), json!({"version": []}), json!(3)] {
        assert_eq!(call(Method::PUT, "/new", wrong).await.unwrap().status, 400);
    }
    let state = send(bench.http.get(format!("{}/sandbox/state", bench.sandbox.url()))).await.unwrap().body;
    assert_eq!((&state["prompts"]["new"], &state["prompts"][ID]), (&json!("1.1.0"), &json!("1.0.0")));
    assert_eq!(call(Method::DELETE, "/new", Value::Null).await.unwrap().status, 204);
    assert_eq!(call(Method::GET, "/new", Value::Null).await.unwrap().status, 404);
}
