//! What a handler answers, before the server turns it into bytes.

use axum::http::HeaderMap;
use serde_json::Value;

use super::journal::{Document, Shown};
use super::routes::Route;

/// A request as the handlers see it. Everything in it is untrusted.
pub(super) struct Call {
    /// The route that matched, or none for an unknown path.
    pub(super) route: Option<&'static Route>,
    /// Percent-decoded path parameters, in the order of the route's pattern.
    pub(super) params: Vec<String>,
    pub(super) method: String,
    /// The path as it was sent, not decoded.
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// The client that a token (also an expired one) or the Basic header names, if the sandbox knows it.
    pub(super) client: Option<String>,
    /// A write is answered with 2xx and changes nothing (contract 1, the silent drop).
    pub(super) drop_write: bool,
    /// A read answers the version before the live one: a replica that lags behind.
    pub(super) stale_read: bool,
}

impl Call {
    /// Name of the call in contract 1 (`C1`), or `other`.
    pub(super) fn name(&self) -> &'static str {
        self.route.map_or("other", |route| route.call)
    }

    /// The remote id that the path names.
    pub(super) fn target(&self) -> Option<&str> {
        self.route.filter(|route| route.pattern.contains('{')).and_then(|_| self.param(0))
    }

    /// The path parameter at `index`.
    pub(super) fn param(&self, index: usize) -> Option<&str> {
        self.params.get(index).map(String::as_str)
    }

    /// A header as text; none where it is absent or not text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

/// What goes out as the body.
#[derive(Debug, Clone)]
pub(super) enum Body {
    Empty,
    Json(Value),
    /// An error body that still lacks its `contextId`.
    Error(Value),
    Bytes {
        content_type: &'static str,
        encoding: Option<&'static str>,
        bytes: Vec<u8>,
    },
    /// Bytes without a length: the client cannot refuse them by their `Content-Length`.
    Chunked {
        content_type: &'static str,
        bytes: Vec<u8>,
    },
}

/// What happens on the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Delivery {
    /// The answer is sent.
    Whole,
    /// Half of the body is sent under a `Content-Length` of all of it, then the connection ends.
    Truncated,
    /// The connection is reset; not one byte is answered.
    Reset,
}

/// What a call did to the state and told its client, for the journal.
#[derive(Debug, Clone, Default)]
pub(super) struct Effect {
    /// The error code answered.
    pub(super) code: Option<String>,
    pub(super) applied: bool,
    /// Position in the order of all changes of state.
    pub(super) change: Option<u64>,
    /// When the change took effect, in microseconds since the start.
    pub(super) changed_us: Option<u64>,
    pub(super) version: Option<i64>,
    pub(super) etag: Option<String>,
    /// The prompt version that became the live one.
    pub(super) promoted: Option<String>,
    pub(super) before: Option<Document>,
    pub(super) after: Option<Document>,
    /// The state that the answer tells the client.
    pub(super) shown: Option<Shown>,
}

/// A handler's answer.
#[derive(Debug, Clone)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// Boxed: replies are also the errors of every check, and should be cheap to pass up.
    pub(super) effect: Box<Effect>,
    pub(super) delivery: Delivery,
}

impl Reply {
    /// An answer without headers of its own and without an effect.
    pub(super) fn new(status: u16, body: Body) -> Self {
        Self { status, headers: Vec::new(), body, effect: Box::default(), delivery: Delivery::Whole }
    }

    /// A 200 with a JSON body.
    pub(super) fn json(body: Value) -> Self {
        Self::new(200, Body::Json(body))
    }

    /// No answer at all.
    pub(super) fn reset() -> Self {
        Self { delivery: Delivery::Reset, ..Self::new(503, Body::Empty) }
    }

    /// Adds a header.
    pub(super) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Says what the call did.
    pub(super) fn effect(mut self, effect: Effect) -> Self {
        self.effect = Box::new(effect);
        self
    }
}
