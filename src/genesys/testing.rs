//! A scripted server on loopback for the tests of this layer. It checks nothing: the project's sandbox does.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, Response};
use secrecy::SecretString;
use tokio::net::TcpListener;
use tokio::time::Instant;

use super::*;

/// A request as the server saw it.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) line: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
    pub(super) at: Instant,
}

impl Seen {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What the server answers.
pub(super) enum Scripted {
    Answer(Response<Body>),
    /// Closes the connection without an answer.
    Reset,
    /// Answers after this time.
    Late(Duration),
}

/// An answer with a status, headers (`"Name: value"`) and a body.
pub(super) fn answer(status: u16, headers: &[&str], body: impl Into<Body>) -> Scripted {
    let mut response = Response::builder().status(status);
    for header in headers {
        let (name, value) = header.split_once(": ").unwrap();
        response = response.header(name, value);
    }
    Scripted::Answer(response.body(body.into()).unwrap())
}

/// A 200 with a JSON object.
pub(super) fn ok() -> Scripted {
    answer(200, &["ETag: \"1\""], "{\"id\":\"c\",\"version\":1}")
}

/// A token of one hour.
pub(super) fn token(name: &str) -> Scripted {
    let body = format!("{{\"access_token\":\"{name}\",\"token_type\":\"bearer\",\"expires_in\":3600}}");
    answer(200, &[], body)
}

#[derive(Default)]
struct Book {
    logins: VecDeque<Scripted>,
    calls: VecDeque<Scripted>,
    seen: Vec<Seen>,
}

/// A server, an account and a client that fit together.
pub(super) struct Rig {
    book: Arc<Mutex<Book>>,
    pub(super) account: Arc<Account>,
    pub(super) client: Client,
    pub(super) labels: Arc<Labels>,
}

/// Keeps the reports to the observer.
#[derive(Default)]
pub(super) struct Labels(Mutex<Vec<(&'static str, &'static str)>>);

impl Labels {
    pub(super) fn take(&self) -> Vec<(&'static str, &'static str)> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Labels {
    fn call(&self, endpoint: &'static str, status: &'static str, _: Duration) {
        self.0.lock().unwrap().push((endpoint, status));
    }
}

/// Short waits, so that the tests run on the real clock: a paused one would run into timeouts while the sockets work.
pub(super) fn quick() -> Timing {
    Timing {
        connect: Duration::from_secs(1),
        total: Duration::from_millis(500),
        backoff: Duration::from_millis(20),
        backoff_cap: Duration::from_millis(50),
        hold: Duration::from_secs(3),
        max_body: 1024 * 1024,
    }
}

impl Rig {
    /// Answers T1 from `logins` and everything else from `calls`; then with tokens and 500.
    pub(super) async fn new(logins: Vec<Scripted>, calls: Vec<Scripted>) -> Rig {
        Rig::with_limit(600, logins, calls).await
    }

    pub(super) async fn with_limit(limit: u32, logins: Vec<Scripted>, calls: Vec<Scripted>) -> Rig {
        let book = Arc::new(Mutex::new(Book { logins: logins.into(), calls: calls.into(), seen: Vec::new() }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}/", listener.local_addr().unwrap());
        let served = book.clone();
        let app = axum::Router::new().fallback(move |request: Request| serve(served.clone(), request));
        tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        let endpoints = Endpoints::custom(&base, &base, None).unwrap();
        let account = Account::new(endpoints.login.clone(), "client id", limit);
        account.set_credentials(SecretString::from("s3cr3t/+"), "1");
        let labels = Arc::new(Labels::default());
        let client = Client::with_timing(account.clone(), &endpoints, labels.clone(), quick()).unwrap();
        Rig { book, account, client, labels }
    }

    pub(super) async fn session(&self) -> Session {
        self.client.session(self.account.budget().ticket(Lane::Change).await)
    }

    /// All requests so far.
    pub(super) fn seen(&self) -> Vec<Seen> {
        self.book.lock().unwrap().seen.clone()
    }

    /// The requests other than T1.
    pub(super) fn calls(&self) -> Vec<Seen> {
        self.seen().into_iter().filter(|seen| !is_login(&seen.line)).collect()
    }

    /// How many T1 there were.
    pub(super) fn logins(&self) -> usize {
        self.seen().iter().filter(|seen| is_login(&seen.line)).count()
    }
}

fn is_login(line: &str) -> bool {
    line.starts_with("POST /oauth/token")
}

async fn serve(book: Arc<Mutex<Book>>, request: Request) -> Response<Body> {
    let at = Instant::now();
    let line = format!("{} {}", request.method(), request.uri());
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap();
    let scripted = {
        let mut book = book.lock().unwrap();
        let scripted = if is_login(&line) {
            book.logins.pop_front().unwrap_or_else(|| token("token"))
        } else {
            book.calls.pop_front().unwrap_or_else(|| answer(500, &[], ""))
        };
        book.seen.push(Seen { line, headers: parts.headers, body: String::from_utf8(body.to_vec()).unwrap(), at });
        scripted
    };
    match scripted {
        Scripted::Answer(response) => response,
        Scripted::Late(wait) => {
            tokio::time::sleep(wait).await;
            Response::new(Body::from("{}"))
        }
        Scripted::Reset => {
            // The server closes a connection whose handler panics; this one does it without the noise of a message.
            std::panic::resume_unwind(Box::new("reset"))
        }
    }
}
