//! T1, tokens, scopes, rate limits and TLS.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;

use super::support::{Bench, ID, http, send};
use crate::sandbox::{Error, MissingScope, Options, Sandbox, check};

#[tokio::test]
async fn a_token_needs_the_right_credentials_and_grant() {
    let bench = Bench::start().await;
    bench.world().add_client("odd id:+%", "s&=%41 ü", &[]);
    let odd = send(bench.token_request("odd id:+%", "s&=%41 ü")).await.unwrap();
    assert_eq!((odd.status, odd.body["expires_in"].as_u64()), (200, Some(86_400)));
    let wrong = send(bench.token_request("demo-client", "wrong")).await.unwrap();
    assert_eq!((wrong.status, wrong.body["error"].as_str()), (401, Some("invalid_client")));
    let url = format!("{}/oauth/token", bench.sandbox.url());
    let plain = bench.http.post(&url).form(&[("grant_type", "client_credentials")]);
    assert_eq!(send(plain).await.unwrap().status, 401);
    let grant = bench.http.post(&url).basic_auth("demo-client", Some("demo-secret")).form(&[("grant_type", "password")]);
    assert_eq!(send(grant).await.unwrap().body["error"], "unsupported_grant_type");
    let json = bench.http.post(&url).basic_auth("demo-client", Some("demo-secret")).header("content-type", "application/json");
    assert_eq!(send(json.body("{}")).await.unwrap().body["error"], "invalid_request");
}

#[tokio::test]
async fn tokens_expire_are_revoked_and_survive_a_new_secret() {
    let mut bench = Bench::start().await;
    let world = bench.world().clone();
    assert!(world.rotate_secret("demo-client", "demo-secret-2"));
    assert_eq!(bench.read(ID).await.status, 200);
    assert_eq!(send(bench.token_request("demo-client", "demo-secret")).await.unwrap().status, 401);
    world.rotate_secret("demo-client", "demo-secret");
    world.revoke_tokens();
    let refused = bench.read(ID).await;
    assert_eq!((refused.status, refused.code()), (401, "bad.credentials"));
    assert_eq!(bench.last("C1").client.as_deref(), Some("demo-client"));
    world.set_token_lifetime(0);
    bench.token = bench.new_token().await;
    assert_eq!(bench.read(ID).await.status, 401);
    let anonymous = send(bench.http.get(format!("{}/api/v2/agentassist/configs/{ID}", bench.sandbox.url()))).await.unwrap();
    assert_eq!(anonymous.code(), "authentication.required");
}

#[tokio::test]
async fn a_missing_scope_is_refused_or_drops_the_write() {
    let bench = Bench::start().await;
    let (tag, body) = bench.prepared("x").await;
    bench.world().set_scopes("demo-client", &["agentassist:config:read"]);
    let refused = bench.write(ID, Some(&tag), &body).await;
    assert_eq!((refused.status, refused.code()), (403, "app.not.authorized.for.scope"));
    bench.world().set(|settings| settings.missing_scope = MissingScope::MissingPermissions);
    assert_eq!(bench.write(ID, Some(&tag), &body).await.code(), "missing.permissions");
    bench.world().set(|settings| settings.missing_scope = MissingScope::SilentDrop);
    let dropped = bench.write(ID, Some(&tag), &body).await;
    assert_eq!((dropped.status, dropped.body["version"].as_i64()), (200, Some(7)));
    assert!(!bench.last("C3").applied);
    bench.world().set_scopes("demo-client", &[]);
    assert_eq!(bench.read(ID).await.status, 403);
}

#[tokio::test]
async fn the_rate_limit_answers_like_the_platform() {
    let bench = Bench::start().await;
    bench.world().set_rate_limit(Some(2));
    bench.read(ID).await;
    bench.read(ID).await;
    let refused = bench.read(ID).await;
    assert_eq!((refused.status, refused.code()), (429, "too.many.requests.retry.after"));
    assert_eq!(refused.header("retry-after"), Some("60"));
    assert_eq!(bench.last("C1").retry_after_ms, Some(60_000));
    assert_eq!(check(&bench.world().journal()), []);
    // Beyond the tolerance of the checker.
    tokio::time::sleep(Duration::from_millis(20)).await;
    bench.read(ID).await;
    assert_eq!(check(&bench.world().journal()).len(), 1);
    bench.world().set(|settings| settings.token_rate_limit = Some(1));
    bench.new_token().await;
    let throttled = send(bench.token_request("demo-client", "demo-secret")).await.unwrap();
    assert_eq!((throttled.status, throttled.body["error"].as_str()), (400, Some("invalid_request")));
    assert!(throttled.body["description"].as_str().unwrap().contains("rate limit exceeded"));
}

#[tokio::test]
async fn no_secret_and_no_token_reaches_the_journal() {
    let bench = Bench::start().await;
    send(bench.token_request("demo-client", "canary-secret")).await.unwrap();
    send(bench.token_request("canary-id", "canary-secret")).await.unwrap();
    let url = format!("{}/oauth/token", bench.sandbox.url());
    let in_body = [("grant_type", "client_credentials"), ("client_secret", "canary-secret")];
    send(bench.http.post(&url).form(&in_body)).await.unwrap();
    send(bench.http.post(&url).header("content-type", "application/json").body(json!({"s": "canary"}).to_string()))
        .await
        .unwrap();
    let query = bench.http.post(format!("{url}?client_secret=canary"));
    send(query).await.unwrap();
    send(bench.http.post(format!("{url}s")).body(json!({"secret": "canary"}).to_string())).await.unwrap();
    bench.read(ID).await;
    let journal = serde_json::to_string(&bench.world().journal()).unwrap();
    assert!(!journal.contains("canary") && !journal.contains(&bench.token) && !journal.contains("demo-secret"));
    let debug = format!("{:?}", bench.world());
    assert!(!debug.contains("demo-secret") && !debug.contains(&bench.token), "the world's debug text holds secrets");
}

#[tokio::test]
async fn tls_is_trusted_by_its_own_authority_only() {
    let bench = Bench::with(Options { tls: true, ..Options::default() }).await;
    assert!(bench.sandbox.url().starts_with("https://127.0.0.1:"));
    assert_eq!(bench.read(ID).await.status, 200);
    let stranger = http(None).get(format!("{}/api/v2/x", bench.sandbox.url())).send().await;
    assert!(stranger.unwrap_err().is_connect());
}

#[tokio::test]
async fn other_machines_are_shut_out_unless_allowed() {
    let listen = "0.0.0.0:0".parse().unwrap();
    let refused = Sandbox::start(Options { listen, ..Options::default() }).await;
    assert!(matches!(refused, Err(Error::NotLoopback(_))));
    let allowed = Sandbox::start(Options { listen, allow_non_loopback: true, ..Options::default() }).await.unwrap();
    allowed.shutdown().await;
}

#[tokio::test]
async fn a_stopped_sandbox_answers_nothing() {
    let bench = Bench::start().await;
    let url = bench.sandbox.url().to_owned();
    bench.sandbox.shutdown().await;
    assert!(http(None).get(&url).send().await.is_err());
    let dropped = Sandbox::start(Options::default()).await.unwrap();
    let url = dropped.url().to_owned();
    drop(dropped);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(http(None).get(&url).send().await.is_err());
}

#[tokio::test]
async fn hostile_requests_get_an_answer_each() {
    let bench = Bench::start().await;
    bench.world().set(|settings| settings.body_limit_bytes = 1024);
    let big = json!({"name": "x".repeat(2000), "version": 8});
    assert_eq!(bench.write(ID, Some("\"a\""), &big).await.status, 413);
    bench.world().set(|settings| settings.body_limit_bytes = 1 << 20);
    let path = format!("/api/v2/agentassist/configs/{ID}");
    let put = |body: Vec<u8>| {
        let request = bench.request(Method::PUT, &path).header("content-type", "application/json");
        send(request.header("if-match", vec![b'"', 0xff]).body(body))
    };
    for body in [b"[".repeat(100_000), vec![0xff; 10], Vec::new(), b"{\"version\":1e999}".to_vec()] {
        assert_eq!(put(body).await.unwrap().status, 400);
    }
    for path in ["/api/v2/agentassist/configs/%", "/api/v2/agentassist/configs/%ff", "//", "/sandbox/configs/%ff"] {
        assert_eq!(bench.get(path).await.status, 404, "{path}");
    }
}
