//! The steering surface over HTTP.

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Answer, Bench, ID, send};
use crate::sandbox::Entry;

async fn call(bench: &Bench, method: Method, path: &str, body: Option<Value>) -> Answer {
    let request = bench.http.request(method, format!("{}/sandbox/{path}", bench.sandbox.url()));
    let request = match body {
        Some(body) => request.body(body.to_string()),
        None => request,
    };
    send(request).await.unwrap()
}

#[tokio::test]
async fn configs_can_be_steered() {
    let bench = Bench::start().await;
    let put = call(&bench, Method::PUT, "configs/new", Some(json!({"name": "n", "version": 4}))).await;
    assert_eq!((put.status, put.body["version"].as_i64()), (200, Some(4)));
    let patched = call(&bench, Method::PATCH, "configs/new", Some(json!({"name": null, "x": {"y": 1}}))).await;
    assert_eq!((&patched.body["version"], &patched.body["x"]["y"], patched.body.get("name")), (&json!(5), &json!(1), None));
    assert_eq!(call(&bench, Method::GET, "configs/new/history", None).await.body.as_array().unwrap().len(), 2);
    assert_eq!(call(&bench, Method::PUT, "configs/new/raw", Some(json!("raw"))).await.status, 204);
    assert_eq!(bench.read("new").await.body, json!("raw"));
    assert_eq!(call(&bench, Method::DELETE, "configs/new", None).await.status, 204);
    assert_eq!(call(&bench, Method::GET, "configs/new", None).await.status, 404);
    assert_eq!(call(&bench, Method::PATCH, "configs/new", Some(json!({}))).await.status, 404);
    assert_eq!(call(&bench, Method::PUT, "configs/new", Some(json!([]))).await.status, 400);
}

#[tokio::test]
async fn the_journal_is_told_and_judged() {
    let bench = Bench::start().await;
    bench.read(ID).await;
    let all = call(&bench, Method::GET, "journal", None).await;
    let entries: Vec<Entry> = serde_json::from_value(all.body["entries"].clone()).unwrap();
    assert_eq!(entries, bench.world().journal());
    let newer = call(&bench, Method::GET, "journal?since=1", None).await;
    assert_eq!(newer.body["entries"].as_array().unwrap().len(), 1);
    assert_eq!(call(&bench, Method::GET, "journal?since=x", None).await.status, 400);
    let violations = call(&bench, Method::GET, "violations?callsPerMinute=0", None).await;
    assert_eq!(violations.body["violations"][0]["rule"], "budgetExceeded");
    assert_eq!(call(&bench, Method::DELETE, "journal", None).await.status, 204);
    assert_eq!(bench.world().journal(), []);
}

#[tokio::test]
async fn faults_settings_and_clients_can_be_steered() {
    let bench = Bench::start().await;
    let fault = json!({"calls": ["C1"], "times": "always", "kind": {"type": "status", "status": 503, "retryAfter": "1"}});
    let id = call(&bench, Method::POST, "faults", Some(fault.clone())).await.body["id"].clone();
    assert_eq!(bench.read(ID).await.status, 503);
    let listed = call(&bench, Method::GET, "faults", None).await.body;
    assert_eq!(listed[0]["fault"]["kind"]["retryAfter"], "1");
    assert_eq!(call(&bench, Method::DELETE, &format!("faults/{id}"), None).await.status, 204);
    call(&bench, Method::POST, "faults", Some(fault)).await;
    assert_eq!(call(&bench, Method::DELETE, "faults", None).await.status, 204);
    assert_eq!(call(&bench, Method::POST, "faults", Some(json!({"kind": {"type": "none"}}))).await.status, 400);

    let settings = call(&bench, Method::PUT, "settings", Some(json!({"rateLimit": 9, "etagStyle": "absent"}))).await;
    assert_eq!((&settings.body["rateLimit"], &settings.body["latencyMs"]), (&json!(9), &json!(0)));
    assert_eq!(bench.read(ID).await.header("etag"), None);
    assert_eq!(call(&bench, Method::PUT, "settings", Some(json!({"rateLimits": 9}))).await.status, 400);

    assert_eq!(call(&bench, Method::PUT, "clients/demo-client", Some(json!({"scopes": []}))).await.status, 204);
    assert_eq!(bench.read(ID).await.status, 403);
    assert_eq!(call(&bench, Method::DELETE, "tokens", None).await.status, 204);
    assert_eq!(bench.read(ID).await.status, 401);
    assert_eq!(call(&bench, Method::POST, "conversations", Some(json!({"configId": ID, "version": 7}))).await.status, 204);
    let state = call(&bench, Method::GET, "state", None).await;
    assert_eq!(state.body["configs"][ID]["version"], 7);
    assert!(!state.body.to_string().contains("demo-secret"));
}

#[tokio::test]
async fn a_page_in_a_browser_may_not_steer() {
    let bench = Bench::start().await;
    let request = bench.http.delete(format!("{}/sandbox/journal", bench.sandbox.url())).header("origin", "http://example.com");
    assert_eq!(send(request).await.unwrap().status, 404);
    assert_eq!(bench.world().journal().len(), 1);
}
