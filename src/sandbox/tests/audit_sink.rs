//! A1: the registry of audit records.

use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::support::{Bench, send};
use crate::sandbox::{Expectations, Fault, FaultKind, Options, Seed, check_with};

/// HMAC-SHA256 of `{"n":1}` under `key`.
const SIGNATURE: &str = "sha256=105f53bf3b432ed2e10c1a2f4f0cdc165d1ecdcf1412664224a905f19651c2b2";

fn record(bench: &Bench, id: &str, body: &str) -> RequestBuilder {
    let request = bench.http.post(format!("{}/audit/records", bench.sandbox.url()));
    request.header("content-type", "application/json").header("x-audit-id", id).body(body.to_owned())
}

async fn report(bench: &Bench) -> Value {
    send(bench.http.get(format!("{}/sandbox/audit/records", bench.sandbox.url()))).await.unwrap().body
}

#[tokio::test]
async fn what_arrives_is_kept_and_answered() {
    let bench = Bench::start().await;
    let taken = send(record(&bench, "id-1", "{\"n\": 1}").header("x-extra", "é")).await.unwrap();
    assert_eq!((taken.status, taken.body), (200, json!({})));
    let record = bench.world().audit_records().remove(0);
    assert_eq!((record.audit_id.as_deref(), record.signature_valid, &record.refused), (Some("id-1"), None, &None));
    assert_eq!((record.body.as_slice(), record.json()), (&b"{\"n\": 1}"[..], Some(json!({"n": 1}))));
    assert!(record.headers.contains(&("x-extra".to_owned(), "é".to_owned())), "{:?}", record.headers);
    let entry = bench.last("A1");
    assert_eq!((entry.status, entry.client, entry.body), (200, None, None));
    bench.world().clear_audit_records();
    assert_eq!(bench.world().audit_records(), []);
}

#[tokio::test]
async fn what_is_not_well_formed_is_refused_and_kept() {
    let bench = Bench::start().await;
    let url = format!("{}/audit/records", bench.sandbox.url());
    let bare = || bench.http.post(&url);
    let json = || bare().header("content-type", "application/json");
    for request in [
        bare().header("x-audit-id", "a").body("{}"),
        json().body("{}"),
        json().header("x-audit-id", " ").body("{}"),
        json().header("x-audit-id", "a").body("[]"),
        json().header("x-audit-id", "a").body("{"),
    ] {
        assert_eq!(send(request).await.unwrap().status, 400);
    }
    let records = bench.world().audit_records();
    assert_eq!(records.iter().filter(|record| record.refused.is_some()).count(), 5);
    assert_eq!(send(bench.http.get(&url)).await.unwrap().status, 405);
}

#[tokio::test]
async fn signatures_are_judged_and_duplicates_are_told() {
    let bench =
        Bench::with(Options { seed: Seed { audit_key: Some("key".to_owned()), ..Seed::default() }, ..Options::default() }).await;
    let body = "{\"n\":1}";
    for (id, signature) in [("a", Some(SIGNATURE)), ("a", Some("sha256=00")), ("b", None), ("a", Some(&SIGNATURE[7..]))] {
        let request = record(&bench, id, body);
        let request = match signature {
            Some(signature) => request.header("x-signature-256", signature),
            None => request,
        };
        // A wrong one is taken: who sent it must not see a difference.
        assert_eq!(send(request).await.unwrap().status, 200);
    }
    let valid: Vec<Option<bool>> = bench.world().audit_records().iter().map(|record| record.signature_valid).collect();
    assert_eq!(valid, [Some(true), Some(false), Some(false), Some(false)]);
    let told = report(&bench).await;
    assert_eq!((&told["count"], &told["duplicates"]), (&json!(4), &json!([{"auditId": "a", "count": 3, "sameBytes": true}])));
    assert_eq!((&told["records"][0]["signatureValid"], &told["records"][0]["body"]), (&json!(true), &json!(body)));
    send(record(&bench, "b", "{}")).await.unwrap();
    assert_eq!(report(&bench).await["duplicates"][1]["sameBytes"], false);

    let steer = |method: Method, path: &str, body: &'static str| {
        send(bench.http.request(method, format!("{}/sandbox/audit/{path}", bench.sandbox.url())).body(body))
    };
    assert_eq!(steer(Method::DELETE, "key", "").await.unwrap().status, 204);
    send(record(&bench, "c", "{}")).await.unwrap();
    assert_eq!(bench.world().audit_records().last().unwrap().signature_valid, None);
    assert_eq!(steer(Method::PUT, "key", "{\"key\":\"other\"}").await.unwrap().status, 204);
    send(record(&bench, "c", "{}")).await.unwrap();
    assert_eq!(bench.world().audit_records().last().unwrap().signature_valid, Some(false));
    assert_eq!(steer(Method::DELETE, "records", "").await.unwrap().status, 204);
    assert_eq!(report(&bench).await, json!({"count": 0, "duplicates": [], "records": []}));
    assert_eq!(steer(Method::PUT, "key", "{}").await.unwrap().status, 400);
}

#[tokio::test]
async fn the_registry_fails_on_demand() {
    let bench = Bench::start().await;
    let faults = bench.world().faults();
    let deliver = || send(record(&bench, "id", "{}"));
    faults.push(Fault::new(FaultKind::status(503)).on(&["A1"]));
    faults.push(Fault::new(FaultKind::Redirect { status: 307, location: "http://127.0.0.1:1/".to_owned() }).on(&["A1"]));
    assert_eq!((deliver().await.unwrap().status, deliver().await.unwrap().status), (503, 307));
    faults.push(Fault::new(FaultKind::ResetBefore).on(&["A1"]));
    assert!(deliver().await.is_err());
    faults.push(Fault::new(FaultKind::Unauthorized).on(&["A1"]));
    assert_eq!((deliver().await.unwrap().status, bench.world().audit_records().len()), (200, 1));
    faults.clear();
    // Taken, and the sender does not know.
    faults.push(Fault::new(FaultKind::ResetAfter).on(&["A1"]));
    assert!(deliver().await.is_err());
    faults.push(Fault::new(FaultKind::Status { status: 500, retry_after: None, body: None, applied: true }).on(&["A1"]));
    assert_eq!((deliver().await.unwrap().status, bench.world().audit_records().len()), (500, 3));
    faults.push(Fault::new(FaultKind::Delay { before_ms: 60_000, after_ms: 0 }).on(&["A1"]));
    let hung = record(&bench, "id", "{}").timeout(std::time::Duration::from_millis(50));
    assert!(send(hung).await.unwrap_err().is_timeout());
}

#[tokio::test]
async fn deliveries_count_against_no_limit() {
    let bench = Bench::start().await;
    bench.world().set_rate_limit(Some(1));
    for _ in 0..3 {
        assert_eq!(send(record(&bench, "id", "{}").bearer_auth(&bench.token)).await.unwrap().status, 200);
    }
    assert_eq!(bench.read("retail-assist").await.status, 200);
    let expected = Expectations { calls_per_minute: Some(1), ..Expectations::default() };
    assert_eq!(check_with(&bench.world().journal(), &expected), []);
}
