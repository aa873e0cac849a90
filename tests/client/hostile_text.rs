//! Text of the remote is untrusted, and our secrets are nobody's business (reliability I6).

use std::io::Write;
use std::sync::{Arc, Mutex};

use assist_operator::genesys::{Endpoints, Lane, configs};
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::{Value, json};
use tracing_subscriber::fmt::MakeWriter;

use super::held::Aac;
use super::stage::{CLIENT, ID, SECRET, Stage, client, leaks, quick};
use super::wire::{Received, Scripted, answer};

/// Control characters, bidirectional marks, escapes of terminals, invisible characters.
const HOSTILE: &str = "a\u{1b}[2J\u{1b}]0;x\u{7}b\r\nlevel=ERROR fake\u{202e}gnp\u{2066}\u{200b}\u{feff}\u{0}\u{85}\u{e0041}z";

/// Whether a text can steer a terminal or hide in a log.
fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    })
}

/// Every text that people see of an object.
fn texts(aac: &Aac) -> Vec<String> {
    let mut texts: Vec<String> = aac.status.conditions.iter().flat_map(|c| [c.message.clone(), c.reason.clone()]).collect();
    texts.extend(aac.book.records().iter().map(|record| serde_json::to_string(record).unwrap()));
    texts.extend(aac.book.records().into_iter().filter_map(|record| record.correlation_id));
    texts.extend(aac.status.drift.iter().map(|d| format!("{}{:?}{:?}", d.path, d.desired, d.actual)));
    texts.extend(aac.status.pending_plan.iter().flat_map(|p| p.changes.clone()));
    texts
}

fn assert_harmless(aac: &Aac) {
    for text in texts(aac) {
        assert!(is_clean(&text) && !leaks(&text) && text.chars().count() < 2000, "{text:?}");
    }
}

fn body(status: u16, body: Value) -> FaultKind {
    FaultKind::Status { status, retry_after: None, body: Some(body), applied: false }
}

#[tokio::test]
async fn an_error_body_reaches_people_escaped_and_short() {
    let long = format!("{HOSTILE}{}", "x".repeat(100_000));
    for call in ["C1", "C3"] {
        for status in [400, 403, 409, 404, 501, 418] {
            let stage = Stage::new().await;
            let hostile = json!({
                "code": long, "message": long, "contextId": long, "status": 200,
                "details": [{"errorCode": long, "fieldName": long}, {"fieldName": HOSTILE}],
            });
            stage.fault(call, 9, body(status, hostile));
            let mut aac = Aac::new(json!({"name": "New"}));
            assert_ne!(stage.converge(&mut aac).await.end, End::Done);
            assert_harmless(&aac);
        }
    }
}

#[tokio::test]
async fn an_error_body_of_another_shape_says_nothing() {
    let deep = format!("{{\"message\":{}{}}}", "[".repeat(50_000), "]".repeat(50_000));
    for text in [deep.as_str(), "", "[]", "{\"message\":7,\"code\":[],\"details\":{\"a\":1}}", "\u{fffd}", HOSTILE] {
        let stage = Stage::new().await;
        stage.fault("C3", 9, body(400, Value::String(text.to_owned())));
        let mut aac = Aac::new(json!({"name": "New"}));
        assert!(matches!(stage.converge(&mut aac).await.end, End::Refused(..)), "{text:.20}");
        assert_eq!(aac.ready().0, "RemoteRejected");
        assert_harmless(&aac);
    }
}

#[tokio::test]
async fn names_and_values_of_the_remote_reach_people_escaped() {
    let stage = Stage::new().await;
    stage.foreign("name", json!(HOSTILE));
    stage.foreign(HOSTILE, json!({HOSTILE: HOSTILE}));
    let mut aac = Aac::of(
        json!({"orgRef": {"name": "o"}, "configId": ID, "policy": "Observe", "config": {"name": "New", HOSTILE: {HOSTILE: 1}}}),
    );
    let convergence = stage.converge(&mut aac).await;
    assert_eq!(aac.status.drift.len(), 2);
    for line in convergence.plan.unwrap().to_string().lines() {
        assert!(is_clean(line), "{line:?}");
    }
    assert_harmless(&aac);
    aac.edit(|spec| spec["policy"] = json!("Enforce"));
    aac.approval_required = true;
    stage.converge(&mut aac).await;
    assert_eq!(aac.status.pending_plan.as_ref().unwrap().changes.len(), 2);
    assert_harmless(&aac);
    aac.approval_required = false;
    let rule = json!({"rule": "remove", "path": format!("/{HOSTILE}")});
    stage.world.set_normaliser([serde_json::from_value(rule).unwrap()]);
    assert!(matches!(stage.converge(&mut aac).await.end, End::NotKept(_)));
    assert_harmless(&aac);
    stage.converge(&mut aac).await;
    assert_harmless(&aac);
}

/// A writer that keeps everything.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

/// While it lives, this thread's log is kept: the test's runtime has no other thread.
struct Listening {
    _default: tracing::subscriber::DefaultGuard,
    _second: tracing::Dispatch,
}

impl Log {
    /// Keeps everything, at the most talkative level.
    fn listen(&self) -> Listening {
        // Each log statement asks once who listens. While there is but one subscriber, it asks for the thread that comes first, which
        // may be another test's.
        let second = tracing::Dispatch::new(tracing::subscriber::NoSubscriber::default());
        let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_writer(self.clone()).finish();
        Listening { _default: tracing::subscriber::set_default(subscriber), _second: second }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

const TOKEN: &str = "t0ken-canary-0123456789";

/// A Genesys that puts everything that it was sent into its error bodies and correlation ids.
async fn echo(status: u16, token: bool) -> Scripted {
    Scripted::start(move |request: &Received| {
        let login = request.head.starts_with("POST /oauth/token");
        let sent = format!("{} {}", request.header("authorization"), if login { SECRET } else { TOKEN });
        let text = json!({"message": sent, "description": sent, "code": sent, "error": sent, "contextId": sent}).to_string();
        if login && token {
            return answer(200, "", &json!({"access_token": TOKEN, "token_type": "bearer", "expires_in": 3600}).to_string());
        }
        answer(status, &format!("ININ-Correlation-Id: {}\r\n", request.header("authorization")), &text)
    })
    .await
}

#[tokio::test]
async fn a_remote_that_echoes_credentials_puts_them_nowhere() {
    let log = Log::default();
    let _listening = log.listen();
    let cases = [400, 401, 403, 500].map(|status| (status, false));
    for (status, token) in cases.into_iter().chain([400, 401, 403, 409, 500].map(|status| (status, true))) {
        let server = echo(status, token).await;
        let endpoints = Endpoints::custom(&server.url, &server.url, None).unwrap();
        let (account, client) = client(&endpoints, quick());
        let mut session = client.session(account.budget().ticket(Lane::Change).await);
        let error = configs::get(&mut session, ID).await.unwrap_err();
        let seen = server.seen();
        let authorizations: Vec<&str> = seen.iter().map(|request| request.header("authorization")).collect();
        assert!(
            !seen.is_empty() && authorizations.iter().all(|a| if a.starts_with("Basic") { leaks(a) } else { a.contains(TOKEN) })
        );
        let failure = assist_operator::remote::failure::Failure::of(&error, "config/c1", true);
        for text in
            [error.to_string(), format!("{error:?}"), format!("{failure:?}"), format!("{client:?}"), format!("{session:?}")]
        {
            assert!(!leaks(&text) && !text.contains("t0ken-canary"), "{status} {token}: {text}");
        }
    }
    let text = log.text();
    let line = text.lines().find(|line| leaks(line) || line.contains("t0ken-canary"));
    assert_eq!(line, None);
}

#[tokio::test]
async fn the_most_talkative_log_holds_no_secret() {
    let log = Log::default();
    let _listening = log.listen();
    let stage = Stage::new().await;
    stage.fault("T1", 1, body(500, json!({"error": SECRET})));
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: None });
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    stage.world.rotate_secret(CLIENT, "another");
    stage.world.revoke_tokens();
    stage.converge(&mut aac).await;
    let text = log.text();
    assert!(text.contains("call") && text.len() > 1000, "nothing was logged");
    let line = text.lines().find(|line| leaks(line));
    assert_eq!(line, None);
}

#[tokio::test]
async fn the_credentials_go_to_the_token_endpoint_alone_and_the_token_to_the_api_alone() {
    let server = echo(403, true).await;
    let endpoints = Endpoints::custom(&server.url, &server.url, None).unwrap();
    let (account, client) = client(&endpoints, quick());
    let mut session = client.session(account.budget().ticket(Lane::Change).await);
    let _ = configs::get(&mut session, "a/../b?c").await;
    let seen = server.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen[0].header("authorization").starts_with("Basic ") && seen[0].body == "grant_type=client_credentials");
    assert_eq!(seen[1].header("authorization"), format!("Bearer {TOKEN}"));
    assert!(seen[1].head.starts_with("GET /api/v2/agentassist/configs/a%2F..%2Fb%3Fc HTTP/1.1"), "{}", seen[1].head);
    assert!(
        seen.iter().all(|request| !leaks(&request.head.replace(request.header("authorization"), "")) && !leaks(&request.body))
    );
}
