//! `send` against a scripted server: one test for each row of contract section 6, and for each promise of [`Session::send`].

mod limits;
mod tls;

use std::sync::atomic::{AtomicU32, Ordering};

use futures::{StreamExt, stream};
use reqwest::Method;
use serde_json::json;

use super::super::testing::{Rig, Scripted, answer, ok, quick};
use super::super::*;
use super::*;
use ErrorKind::{BadAnswer, Conflict, Forbidden, LostAnswer, NotFound, Rejected, Throttled, Unauthorized, Unavailable};
use RetryClass::{GuardedWrite, Read, Repeatable, UnguardedWrite};

fn read() -> Call {
    Call::get("C1", &["api", "v2", "agentassist", "configs", "c"])
}

fn write(class: RetryClass) -> Call {
    Call::new("C3", Method::PUT, class, &["x"]).json(&json!({"version": 2}))
}

/// Sends `call` to a server that answers `calls`; the result's kind, and how many requests it took.
async fn outcome(call: Call, calls: Vec<Scripted>) -> (Option<ErrorKind>, usize) {
    let rig = Rig::new(vec![], calls).await;
    let result = rig.session().await.send(call).await;
    let requests = match &result {
        Ok(answer) => answer.requests,
        Err(error) => error.requests,
    };
    assert_eq!(requests as usize, rig.calls().len());
    (result.err().map(|error| error.kind), rig.calls().len())
}

fn status(status: u16) -> Scripted {
    answer(status, &[], "")
}

fn truncated() -> Scripted {
    // The pause lets the head and the first part go out.
    let cut = stream::once(async {
        tokio::time::sleep(Duration::from_millis(50)).await;
        Err(std::io::Error::other("cut"))
    });
    let parts = stream::iter([Ok("{\"id\":")]).chain(cut);
    answer(200, &[], axum::body::Body::from_stream(parts))
}

fn late() -> Scripted {
    Scripted::Late(Duration::from_secs(2))
}

#[tokio::test]
async fn a_call_carries_its_parts_and_the_answer_comes_back() {
    let headers = ["ETag: \"7\"", "Date: Fri, 20 Nov 2026 10:00:00 GMT", "ININ-Correlation-Id: c-1"];
    let rig = Rig::new(vec![], vec![answer(200, &headers, "{\"a\":1}")]).await;
    let call = write(GuardedWrite).query("q", "a b").header(reqwest::header::IF_MATCH, "W/\"6\"").unwrap();
    let found = rig.session().await.send(call).await.unwrap();
    assert_eq!((found.status, &*found.body, found.requests), (200, &b"{\"a\":1}"[..], 1));
    assert_eq!(found.etag.as_deref(), Some(&b"\"7\""[..]));
    assert_eq!(found.date.unwrap().to_string(), "2026-11-20T10:00:00Z");
    assert_eq!(found.correlation_id.as_deref(), Some("c-1"));
    let seen = &rig.calls()[0];
    assert_eq!((seen.line.as_str(), seen.body.as_str()), ("PUT /x?q=a+b", "{\"version\":2}"));
    assert_eq!(seen.header("authorization"), "Bearer token");
    assert_eq!(seen.header("user-agent"), USER_AGENT);
    assert_eq!(seen.header("if-match"), "W/\"6\"");
    assert_eq!(seen.header("content-type"), "application/json");
    assert_eq!(rig.labels.take(), [("T1", "200"), ("C3", "200")]);
}

#[tokio::test]
async fn server_errors_are_repeated_for_reads_and_guarded_writes_at_most_3_requests_in_all() {
    for code in [500, 502, 503, 504, 408] {
        let fails = || vec![status(code), status(code), status(code)];
        let recovers = || vec![status(code), status(code), ok()];
        assert_eq!(outcome(read(), recovers()).await, (None, 3), "{code}");
        assert_eq!(outcome(read(), fails()).await, (Some(Unavailable), 3), "{code}");
        assert_eq!(outcome(write(GuardedWrite), recovers()).await, (None, 3), "{code}");
        assert_eq!(outcome(write(GuardedWrite), fails()).await, (Some(LostAnswer), 3), "{code}");
        assert_eq!(outcome(write(Repeatable), fails()).await, (Some(LostAnswer), 3), "{code}");
        assert_eq!(outcome(write(UnguardedWrite), fails()).await, (Some(LostAnswer), 1), "{code}");
    }
}

#[tokio::test]
async fn resets_and_timeouts_are_like_server_errors() {
    for broken in [|| Scripted::Reset, late] {
        assert_eq!(outcome(read(), vec![broken(), ok()]).await, (None, 2));
        assert_eq!(outcome(read(), vec![broken(), broken(), broken()]).await, (Some(Unavailable), 3));
        assert_eq!(outcome(write(GuardedWrite), vec![broken(), ok()]).await, (None, 2));
        assert_eq!(outcome(write(UnguardedWrite), vec![broken(), ok()]).await, (Some(LostAnswer), 1));
    }
}

#[tokio::test]
async fn unusable_bodies_are_repeated_for_reads_and_lose_the_answer_of_a_write() {
    let html = || answer(200, &["Content-Type: text/html"], "<html>");
    let large = || answer(200, &[], format!("\"{}\"", "x".repeat(quick().max_body)));
    let empty = || answer(204, &[], "");
    let not_utf8 = || answer(200, &[], &b"{\"a\":\"\xff\"}"[..]);
    let not_gzip = || answer(200, &["Content-Encoding: gzip"], "{}");
    for bad in [html, large, empty, not_utf8, not_gzip, truncated] as [fn() -> Scripted; 6] {
        assert_eq!(outcome(read(), vec![bad(), ok()]).await, (None, 2));
        assert_eq!(outcome(read(), vec![bad(), bad(), bad()]).await, (Some(BadAnswer), 3));
        for class in [GuardedWrite, UnguardedWrite] {
            assert_eq!(outcome(write(class), vec![bad(), ok()]).await, (Some(LostAnswer), 1));
        }
        assert_eq!(outcome(write(Repeatable), vec![bad()]).await, (None, 1));
    }
}

#[tokio::test]
async fn refusals_end_the_call() {
    let mismatch = r#"{"message":"version supplied does not match the current version of the user"}"#;
    for (code, body, kind) in [
        (400, r#"{"code":"invalid.property"}"#, Rejected),
        (400, mismatch, Conflict),
        (403, "", Forbidden),
        (404, "<html>", NotFound),
        (409, "", Conflict),
        (412, "", Conflict),
        (413, "", Rejected),
        (422, "", Rejected),
        (501, "", Rejected),
    ] {
        for call in [read(), write(GuardedWrite), write(UnguardedWrite)] {
            let answers = vec![answer(code, &[], body), ok()];
            assert_eq!(outcome(call, answers).await, (Some(kind), 1), "{code}");
        }
    }
}

#[tokio::test]
async fn redirects_are_not_followed() {
    for code in [301, 302, 307, 308] {
        let elsewhere = answer(code, &["Location: /stolen"], "");
        assert_eq!(outcome(read(), vec![elsewhere, ok()]).await, (Some(BadAnswer), 1));
    }
}

#[tokio::test]
async fn a_401_renews_the_token_once_and_repeats_once() {
    let logins = || vec![testing::token("first"), testing::token("second"), testing::token("third")];
    let rig = Rig::new(logins(), vec![status(401), ok()]).await;
    let found = rig.session().await.send(write(UnguardedWrite)).await.unwrap();
    assert_eq!(found.requests, 2);
    let tokens: Vec<String> = rig.calls().iter().map(|s| s.header("authorization").to_owned()).collect();
    assert_eq!(tokens, ["Bearer first", "Bearer second"]);
    let rig = Rig::new(logins(), vec![status(401), status(401), ok()]).await;
    let error = rig.session().await.send(read()).await.unwrap_err();
    assert_eq!((error.kind, rig.calls().len(), rig.logins()), (Unauthorized, 2, 2));
}

#[tokio::test]
async fn an_uncertain_write_stays_a_lost_answer_whatever_comes_after() {
    for after in [400, 403, 404, 501] {
        let answers = vec![status(503), status(after)];
        assert_eq!(outcome(write(GuardedWrite), answers).await, (Some(LostAnswer), 2), "{after}");
    }
    let rig = Rig::new(vec![], vec![status(502), status(409)]).await;
    let error = rig.session().await.send(write(GuardedWrite)).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain), (Conflict, true));
    let rig = Rig::new(vec![], vec![status(409)]).await;
    let error = rig.session().await.send(write(GuardedWrite)).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain), (Conflict, false));
}

#[tokio::test]
async fn no_connection_is_no_lost_answer() {
    let nowhere = Endpoints::custom("http://127.0.0.1:1", "http://127.0.0.1:1", None).unwrap();
    let rig = Rig::new(vec![], vec![]).await;
    let endpoints = Endpoints { login: rig.account.login().clone(), ..nowhere };
    let client = Client::with_timing(rig.account.clone(), &endpoints, Arc::new(NoObserver), quick()).unwrap();
    for class in [Read, GuardedWrite, UnguardedWrite] {
        let ticket = rig.account.budget().ticket(Lane::Change).await;
        let error = client.session(ticket).send(write(class)).await.unwrap_err();
        assert_eq!((error.kind, error.uncertain, error.requests), (Unavailable, false, 3));
        assert!(!error.to_string().contains("127.0.0.1"), "{error}");
    }
}

#[tokio::test]
async fn the_gate_is_asked_before_every_request_and_halts() {
    let asked = Arc::new(AtomicU32::new(0));
    let gate = |allowed: u32| -> Gate {
        let asked = asked.clone();
        asked.store(0, Ordering::SeqCst);
        Arc::new(move || match asked.fetch_add(1, Ordering::SeqCst) < allowed {
            true => Ok(()),
            false => Err(Halted("suspended".into())),
        })
    };
    let rig = Rig::new(vec![], vec![status(503), status(429), ok()]).await;
    rig.session().await.send(write(GuardedWrite).gate(gate(9))).await.unwrap();
    assert_eq!(asked.load(Ordering::SeqCst), 3);

    let rig = Rig::new(vec![], vec![]).await;
    let error = rig.session().await.send(write(GuardedWrite).gate(gate(0))).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::Halted, false, 0));
    assert_eq!(error.to_string(), "C3 was not sent: suspended; it is planned again");
    assert_eq!(rig.calls().len(), 0);

    let rig = Rig::new(vec![], vec![status(503), ok()]).await;
    let error = rig.session().await.send(write(GuardedWrite).gate(gate(1))).await.unwrap_err();
    assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::Halted, true, 1));
}

#[tokio::test]
async fn a_503_says_when_to_come_back() {
    let busy = || answer(503, &["Retry-After: 1"], "");
    let rig = Rig::new(vec![], vec![busy(), ok()]).await;
    rig.session().await.send(read()).await.unwrap();
    let calls = rig.calls();
    assert!(calls[1].at - calls[0].at >= Duration::from_secs(1));
    assert_eq!(rig.account.paused_for(), None);
    let rig = Rig::new(vec![], vec![answer(503, &["Retry-After: 100"], ""), ok()]).await;
    let error = rig.session().await.send(read()).await.unwrap_err();
    assert_eq!((error.kind, error.requests), (Unavailable, 1));
    assert!(error.retry_after.unwrap() >= Duration::from_secs(100));
}

#[tokio::test]
async fn errors_carry_the_problem_and_never_the_token() {
    let body = r#"{"code":"missing.permissions","message":"Bearer token lacks it","contextId":"c-9"}"#;
    let rig = Rig::new(vec![], vec![answer(403, &[], body)]).await;
    let error = rig.session().await.send(read()).await.unwrap_err();
    assert_eq!(error.correlation_id(), Some("c-9"));
    assert!(error.to_string().contains("Bearer [redacted] lacks it"), "{error}");
}
