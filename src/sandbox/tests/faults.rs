//! Each fault as a client meets it.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};

use super::support::{Bench, ID, send};
use crate::sandbox::{Actor, Fault, FaultKind, Options, Times, check};

const CONFIG: &str = "/api/v2/agentassist/configs/retail-assist";

#[tokio::test]
async fn a_status_comes_with_its_headers_and_body() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    faults.push(Fault::new(FaultKind::retry_after(429, "7")).on(&["C1"]));
    faults.push(Fault::new(FaultKind::retry_after(503, "date:30")).on(&["C1"]));
    faults.push(Fault::new(FaultKind::Status { status: 500, retry_after: None, body: Some(json!("oops")), applied: false }));
    let throttled = bench.read(ID).await;
    assert_eq!((throttled.status, throttled.header("retry-after")), (429, Some("7")));
    let dated = bench.read(ID).await;
    let seconds = |name: &str| httpdate::parse_http_date(dated.header(name).unwrap()).unwrap();
    assert_eq!(seconds("retry-after").duration_since(seconds("date")).unwrap().as_secs(), 30);
    assert_eq!(bench.last("C1").retry_after_ms, Some(30_000));
    let plain = bench.read(ID).await;
    assert_eq!((plain.status, plain.body), (500, Value::Null));
    assert_eq!(bench.read(ID).await.status, 200);
    assert_eq!(bench.world().journal().iter().filter(|entry| entry.fault.as_deref() == Some("status")).count(), 3);
}

#[tokio::test]
async fn a_commit_whose_answer_is_an_error_is_applied() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("x").await;
    bench.world().faults().push(Fault::new(FaultKind::Status { status: 502, retry_after: None, body: None, applied: true }));
    assert_eq!(bench.write(ID, Some(&tag), &body).await.status, 502);
    assert_eq!(bench.world().config(ID).unwrap()["version"], 8);
    assert!(bench.last("C3").applied);
}

async fn no_answer_at_all(options: Options) {
    let bench = Bench::with(options).await;
    let (tag, body) = bench.prepared("x").await;
    bench.world().faults().push(Fault::new(FaultKind::ResetBefore).on(&["C3"]));
    assert!(send(bench.put(ID, Some(&tag), &body)).await.is_err());
    assert_eq!(bench.world().config(ID).unwrap()["version"], 7);
    bench.world().faults().push(Fault::new(FaultKind::ResetAfter).on(&["C3"]).target(ID));
    assert!(send(bench.put(ID, Some(&tag), &body)).await.is_err());
    assert_eq!(bench.world().config(ID).unwrap()["version"], 8);
    let entry = bench.last("C3");
    assert_eq!((entry.status, entry.applied, entry.delivered, entry.shown), (0, true, false, None));
    assert_eq!(bench.write(ID, Some(&tag), &body).await.status, 409);
}

#[tokio::test]
async fn a_reset_answers_nothing() {
    no_answer_at_all(Options::default()).await;
}

#[tokio::test]
async fn a_reset_answers_nothing_under_tls() {
    no_answer_at_all(Options { tls: true, ..Options::default() }).await;
}

#[tokio::test]
async fn not_one_byte_leaves_before_a_reset() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let bench = Bench::start().await;
    bench.world().faults().push(Fault::new(FaultKind::ResetAfter));
    let address = bench.sandbox.url().trim_start_matches("http://");
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    stream.write_all(format!("GET {CONFIG} HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let end = stream.read_to_end(&mut bytes).await;
    assert_eq!((bytes.len(), end.unwrap_err().kind()), (0, std::io::ErrorKind::ConnectionReset));
}

#[tokio::test]
async fn a_delay_outlives_an_impatient_client() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("x").await;
    bench.world().faults().push(Fault::new(FaultKind::Delay { before_ms: 150, after_ms: 0 }));
    let impatient = bench.put(ID, Some(&tag), &body).timeout(Duration::from_millis(50));
    assert!(send(impatient).await.unwrap_err().is_timeout());
    assert_eq!((bench.world().config(ID).unwrap()["version"].as_i64(), bench.world().in_flight()), (Some(7), 1));
    while bench.world().in_flight() > 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let entry = bench.last("C3");
    assert!(entry.applied && !entry.delivered && entry.hung_up_us.unwrap() < entry.end_us());
    bench.world().faults().push(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 60 }));
    bench.read(ID).await;
    assert!(bench.last("C1").took_ms >= 60);
}

#[tokio::test]
async fn bodies_break_off_grow_nest_and_lie() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    let get = || bench.request(Method::GET, CONFIG);
    faults.push(Fault::new(FaultKind::TruncatedBody));
    let response = get().send().await.unwrap();
    assert!(response.content_length().unwrap() > 1000);
    assert!(response.bytes().await.is_err());
    faults.push(Fault::new(FaultKind::Html { status: 200 }));
    assert!(get().send().await.unwrap().text().await.unwrap().starts_with("<!DOCTYPE html>"));
    faults.push(Fault::new(FaultKind::EmptyBody));
    assert_eq!(get().send().await.unwrap().text().await.unwrap(), "");
    faults.push(Fault::new(FaultKind::Oversized { gzip: false }));
    let response = get().send().await.unwrap();
    assert_eq!(response.content_length(), None);
    let bytes = response.bytes().await.unwrap();
    assert!(bytes.len() > 10 << 20);
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap()["version"], 7);
    faults.push(Fault::new(FaultKind::Oversized { gzip: true }));
    let bytes = get().send().await.unwrap().bytes().await.unwrap();
    assert!(bytes.len() > 10 << 20 && bytes.iter().all(|&byte| byte == b' '));
    faults.push(Fault::new(FaultKind::DeepNesting { depth: 100_000 }));
    let bytes = get().send().await.unwrap().bytes().await.unwrap();
    assert!(serde_json::from_slice::<Value>(&bytes).unwrap_err().to_string().contains("recursion"));
    faults.push(Fault::new(FaultKind::WrongDocument));
    assert_eq!(bench.read(ID).await.body["id"], "other-retail-assist");
    bench.world().edit_config(ID, |document| document["name"] = json!("New"));
    faults.push(Fault::new(FaultKind::StaleRead));
    assert_eq!(
        (bench.read(ID).await.body["version"].as_i64(), bench.read(ID).await.body["version"].as_i64()),
        (Some(7), Some(8))
    );
}

#[tokio::test]
async fn a_redirect_names_its_target() {
    let bench = Bench::start().await;
    bench.world().faults().push(Fault::new(FaultKind::Redirect { status: 302, location: "http://127.0.0.1:1/x".to_owned() }));
    let redirected = bench.read(ID).await;
    assert_eq!((redirected.status, redirected.header("location")), (302, Some("http://127.0.0.1:1/x")));
}

#[tokio::test]
async fn writes_are_dropped_or_raced() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    let (tag, body) = bench.prepared("x").await;
    faults.push(Fault::new(FaultKind::SilentDrop));
    assert_eq!(bench.read(ID).await.status, 200);
    assert_eq!(bench.write(ID, Some(&tag), &body).await.body["version"], 7);
    faults.push(Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"summary": {"maxWords": 1}})) }));
    assert_eq!(bench.write(ID, Some(&tag), &body).await.status, 409);
    let config = bench.world().config(ID).unwrap();
    assert_eq!((&config["summary"]["maxWords"], &config["version"]), (&json!(1), &json!(8)));
    let journal = bench.world().journal();
    assert_eq!(journal.iter().filter(|entry| entry.actor == Actor::Foreign).count(), 1);
    assert_eq!(check(&journal), []);
}

#[tokio::test]
async fn tokens_are_throttled_and_refused_once() {
    let bench = Bench::start().await;
    bench.world().faults().push(Fault::new(FaultKind::TokenThrottle));
    bench.world().faults().push(Fault::new(FaultKind::Unauthorized));
    assert_eq!(bench.read(ID).await.status, 401);
    assert_eq!(bench.read(ID).await.status, 200);
    let throttled = send(bench.token_request("demo-client", "demo-secret")).await.unwrap();
    assert_eq!((throttled.status, throttled.body["error"].as_str()), (400, Some("invalid_request")));
}

#[tokio::test]
async fn faults_fire_as_often_as_planned() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    faults.push(Fault::new(FaultKind::status(500)).on(&["C1"]).after(1).times(Times::Count(2)));
    let mut statuses = Vec::new();
    for _ in 0..4 {
        statuses.push(bench.read(ID).await.status);
    }
    assert_eq!(statuses, [200, 500, 500, 200]);
    assert_eq!(faults.list(), []);
    let mut runs = Vec::new();
    for _ in 0..2 {
        let id = faults.push(Fault::new(FaultKind::status(500)).times(Times::Probability { p: 0.5, seed: 11 }));
        let mut run = Vec::new();
        for _ in 0..12 {
            run.push(bench.read(ID).await.status);
        }
        assert!(run.contains(&200) && run.contains(&500));
        runs.push(run);
        assert!(faults.remove(id));
    }
    assert_eq!(runs[0], runs[1]);
    faults.push(Fault::new(FaultKind::status(500)).times(Times::Always).target("other"));
    assert_eq!(bench.read(ID).await.status, 200);
    faults.clear();
    assert_eq!(faults.list(), []);
}
