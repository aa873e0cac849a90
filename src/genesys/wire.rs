//! One request on the wire and what came of it: no tokens, no budget, no repeats.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{DATE, HeaderMap, HeaderName, RETRY_AFTER};
use reqwest::{Certificate, Request, Response};
use tokio::time::Instant;

use super::endpoints::{Endpoints, is_loopback};
use super::error::{Error, ErrorKind};
use super::observer::{Observer, status_label};
use super::{USER_AGENT, retry, text, timing::Timing};

/// The platform's correlation id (`genesys-published` 3.8).
const CORRELATION_ID: HeaderName = HeaderName::from_static("inin-correlation-id");

/// The HTTP client with its limits; shared by all sessions of a client.
pub(super) struct Wire {
    pub(super) http: reqwest::Client,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) timing: Timing,
}

/// A whole answer.
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    /// The body, or why there is none.
    pub(super) body: Result<Arc<[u8]>, Fault>,
}

/// Why there is no answer, or no body.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) kind: FaultKind,
    /// The cause, cleaned; it never holds the URL.
    pub(super) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FaultKind {
    /// No connection: nothing was sent.
    Connect,
    Timeout,
    /// The connection broke.
    Reset,
    /// The body is larger than the limit.
    TooLarge,
    /// The body ended early, or cannot be decompressed.
    Broken,
}

impl FaultKind {
    fn label(self) -> &'static str {
        match self {
            FaultKind::Connect => "connect",
            FaultKind::Timeout => "timeout",
            FaultKind::Reset => "reset",
            FaultKind::TooLarge => "too_large",
            FaultKind::Broken => "broken",
        }
    }
}

impl Wire {
    /// Builds the HTTP client: as [`builder`], https only except to loopback.
    pub(super) fn new(endpoints: &Endpoints, observer: Arc<dyn Observer>, timing: Timing) -> Result<Wire, Error> {
        let refused = |detail: &str| Error::new("setup", ErrorKind::Configuration).because(detail);
        let plain = is_loopback(&endpoints.login) || is_loopback(&endpoints.api);
        let mut builder = builder().https_only(!plain).connect_timeout(timing.connect).timeout(timing.total);
        if let Some(pem) = &endpoints.ca_bundle {
            let roots = Certificate::from_pem_bundle(pem.as_bytes()).map_err(|_| refused("the CA bundle is not valid PEM"))?;
            if roots.is_empty() {
                return Err(refused("the CA bundle holds no certificate"));
            }
            builder = builder.tls_certs_only(roots);
        }
        let http = builder.build().map_err(|error| refused(&format!("no HTTP client: {}", causes(&error))))?;
        Ok(Wire { http, observer, timing })
    }

    /// Sends `request` once and reads the answer to its end, at most [`Timing::max_body`] bytes.
    pub(super) async fn exchange(&self, endpoint: &'static str, request: Request) -> Result<Reply, Fault> {
        let began = Instant::now();
        let result = self.receive(request).await;
        let label = match &result {
            Ok(Reply { body: Err(fault), .. }) | Err(fault) => fault.kind.label(),
            Ok(reply) => status_label(reply.status),
        };
        let latency = began.elapsed();
        self.observer.call(endpoint, label, latency);
        tracing::debug!(endpoint, status = label, latency_ms = latency.as_millis(), "call");
        result
    }

    async fn receive(&self, request: Request) -> Result<Reply, Fault> {
        let mut response = self.http.execute(request).await.map_err(fault)?;
        let status = response.status().as_u16();
        let headers = std::mem::take(response.headers_mut());
        let body = self.body(response).await;
        Ok(Reply { status, headers, body })
    }

    async fn body(&self, mut response: Response) -> Result<Arc<[u8]>, Fault> {
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(fault)? {
            if body.len() + chunk.len() > self.timing.max_body {
                return Err(Fault {
                    kind: FaultKind::TooLarge,
                    text: format!("the body is larger than {} bytes", self.timing.max_body),
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body.into())
    }
}

/// What every HTTP client of the operator has in common: no redirects, no proxy, no hidden repeats.
pub(super) fn builder() -> reqwest::ClientBuilder {
    // Without a default provider the TLS client panics. Whoever was first wins, and all of them are ring.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder()
        .user_agent(USER_AGENT)
        .redirect(reqwest::redirect::Policy::none())
        // Its own repeats would pass neither the budget nor the gate.
        .retry(reqwest::retry::never())
        .no_proxy()
        .referer(false)
        // Below the idle time of common load balancers: a connection that they close under a write loses its answer.
        .pool_idle_timeout(Duration::from_secs(30))
}

impl Reply {
    /// The body, empty where it could not be read: for error bodies, which only explain.
    pub(super) fn text(&self) -> &[u8] {
        self.body.as_deref().unwrap_or_default()
    }

    /// `Retry-After`, relative to this answer's own `Date`.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        retry::retry_after(self.header(&RETRY_AFTER), self.header(&DATE))
    }

    /// The server's clock.
    pub(super) fn date(&self) -> Option<Timestamp> {
        let date = httpdate::parse_http_date(self.header(&DATE)?).ok()?;
        Timestamp::try_from(date).ok()
    }

    /// The correlation id, cleaned, and free of `secrets`.
    pub(super) fn correlation_id(&self, secrets: &[&str]) -> Option<String> {
        let id = self.header(&CORRELATION_ID)?.trim();
        (!id.is_empty()).then(|| text::clean(id, secrets))
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// Sorts an error of the HTTP client. A connection that was never made is told from one that broke: nothing was sent on it.
fn fault(error: reqwest::Error) -> Fault {
    let kind = if error.is_connect() {
        FaultKind::Connect
    } else if error.is_timeout() {
        FaultKind::Timeout
    } else if error.is_decode() {
        // The body: the HTTP client does not tell a bad one from one that was cut short.
        FaultKind::Broken
    } else {
        FaultKind::Reset
    };
    Fault { kind, text: causes(&error.without_url()) }
}

/// The error and its causes in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !line.contains(&text) {
            line.push_str(": ");
            line.push_str(&text);
        }
        next = cause.source();
    }
    text::clean(&line, &[])
}
