//! One call and its answer, as values.

use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::{HeaderName, HeaderValue};
use serde_json::Value;
use url::Url;

use super::document::{Document, DocumentError};
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// Why a write must not go out (any more), in one phrase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Halted(pub String);

/// Asked immediately before every request of a write is put on the wire, after all waits: does the object still exist, is its
/// generation the plan's, is it not suspended, is the lease held, has no shutdown begun? It must not block.
pub type Gate = Arc<dyn Fn() -> Result<(), Halted> + Send + Sync>;

/// A call to be sent. Method, path and headers hold nothing that [`super::Session::send`] adds itself (the token, the user
/// agent, the content type).
#[derive(Clone)]
pub struct Call {
    /// The contract's short name (`"C1"`); a bounded metric label.
    pub endpoint: &'static str,
    /// The HTTP method.
    pub method: Method,
    /// Segments of the path, each encoded as exactly one: a slash in an id stays in its segment.
    pub path: Vec<String>,
    /// Query parameters, form-encoded.
    pub query: Vec<(String, String)>,
    /// Further headers.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    /// The JSON body. Repeats send the same bytes.
    pub body: Option<Vec<u8>>,
    /// What may be repeated, and what an unknown outcome means.
    pub class: RetryClass,
    /// For writes; see [`Gate`].
    pub gate: Option<Gate>,
}

impl Call {
    /// A call without query, headers, body and gate.
    #[must_use]
    pub fn new(endpoint: &'static str, method: Method, class: RetryClass, path: &[&str]) -> Call {
        Call {
            endpoint,
            method,
            path: path.iter().map(|segment| (*segment).to_owned()).collect(),
            query: Vec::new(),
            headers: Vec::new(),
            body: None,
            class,
            gate: None,
        }
    }

    /// A GET of the class [`RetryClass::Read`].
    #[must_use]
    pub fn get(endpoint: &'static str, path: &[&str]) -> Call {
        Call::new(endpoint, Method::GET, RetryClass::Read, path)
    }

    /// With one more query parameter.
    #[must_use]
    pub fn query(mut self, name: &str, value: impl fmt::Display) -> Call {
        self.query.push((name.to_owned(), value.to_string()));
        self
    }

    /// With a JSON body.
    #[must_use]
    pub fn json(mut self, body: &Value) -> Call {
        self.body = Some(body.to_string().into_bytes());
        self
    }

    /// With a header.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] where the value cannot be a header.
    pub fn header(mut self, name: HeaderName, value: &str) -> Result<Call, Error> {
        // From bytes: a tag may hold non-ASCII characters and goes back exactly as it came.
        let value = HeaderValue::from_bytes(value.as_bytes()).map_err(|_| {
            Error::new(self.endpoint, ErrorKind::Configuration).because(format!("the value of {name} cannot be sent as a header"))
        })?;
        self.headers.push((name, value));
        Ok(self)
    }

    /// With a gate.
    #[must_use]
    pub fn gate(mut self, gate: Gate) -> Call {
        self.gate = Some(gate);
        self
    }

    /// The URL below `base`.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`] for a segment that is empty, `.` or `..`: URL rules would drop it or climb out of the path.
    pub(super) fn url(&self, base: &Url) -> Result<Url, Error> {
        let refused = |detail: &str| Error::new(self.endpoint, ErrorKind::Configuration).because(detail);
        if self.path.iter().any(|s| matches!(s.as_str(), "" | "." | "..")) {
            return Err(refused("an id in the path is empty, '.' or '..'"));
        }
        let mut url = base.clone();
        url.path_segments_mut().map_err(|()| refused("the endpoint cannot be a base"))?.clear().extend(&self.path);
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        Ok(url)
    }
}

impl fmt::Debug for Call {
    /// Without headers and body: they hold configuration, which is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("endpoint", &self.endpoint)
            .field("method", &self.method)
            .field("path", &self.path)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

/// A 2xx answer with a body that is JSON (for [`RetryClass::Repeatable`]: any body).
#[derive(Clone)]
pub struct Answer {
    /// 200 to 299.
    pub status: u16,
    /// The body after decompression, at most 10 MiB.
    pub body: Arc<[u8]>,
    /// The header `ETag` as it came.
    pub etag: Option<Vec<u8>>,
    /// The header `Date`: the server's clock, for comparisons with other times of the server.
    pub date: Option<Timestamp>,
    /// The platform's correlation id, cleaned.
    pub correlation_id: Option<String>,
    /// Requests that this call took (T1 not counted).
    pub requests: u32,
}

impl Answer {
    /// An error about this answer.
    pub(super) fn refused(&self, endpoint: &'static str, kind: ErrorKind, detail: &str) -> Error {
        let mut error = Error::new(endpoint, kind).because(detail);
        error.requests = self.requests;
        error
    }

    /// The body as a document; `bad` is what an answer that cannot be used means, `what` names the document in the error.
    ///
    /// # Errors
    /// `bad`; for a read [`ErrorKind::Unsupported`] where the document cannot be kept: it tells nothing else the next time, while
    /// what became of a write, a read has to tell.
    pub(super) fn document(&self, endpoint: &'static str, bad: ErrorKind, what: &str) -> Result<Document, Error> {
        Document::new(self.body.clone()).map_err(|error| {
            let final_word = bad == ErrorKind::BadAnswer && matches!(error, DocumentError::Unsupported(_));
            self.refused(endpoint, if final_word { ErrorKind::Unsupported } else { bad }, &format!("{what} is {error}"))
        })
    }
}

impl fmt::Debug for Answer {
    /// Without the body.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Answer")
            .field("status", &self.status)
            .field("bytes", &self.body.len())
            .field("correlation_id", &self.correlation_id)
            .field("requests", &self.requests)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url_of(id: &str) -> Result<String, Error> {
        let base = Url::parse("https://api.example.com/").unwrap();
        let call = Call::get("C1", &["api", "v2", "agentassist", "configs", id]);
        call.url(&base).map(|url| url.to_string())
    }

    #[test]
    fn every_id_stays_one_segment() {
        let prefix = "https://api.example.com/api/v2/agentassist/configs/";
        for (id, encoded) in [
            ("cfg-1", "cfg-1"),
            ("a/b", "a%2Fb"),
            ("../users", "..%2Fusers"),
            ("a?b=c#d", "a%3Fb=c%23d"),
            ("a%2fb", "a%252fb"),
            ("a b\u{e9}", "a%20b%C3%A9"),
            ("a\\b", "a%5Cb"),
            ("%2e%2e", "%252e%252e"),
        ] {
            assert_eq!(url_of(id).unwrap(), format!("{prefix}{encoded}"), "{id}");
        }
    }

    #[test]
    fn segments_that_urls_would_resolve_are_refused() {
        for id in ["", ".", ".."] {
            assert_eq!(url_of(id).unwrap_err().kind, ErrorKind::Configuration);
        }
    }

    #[test]
    fn query_and_headers_are_carried() {
        let base = Url::parse("https://api.example.com/").unwrap();
        let call = Call::get("P1", &["x"]).query("pageSize", 25).query("q", "a&b");
        assert_eq!(call.url(&base).unwrap().query(), Some("pageSize=25&q=a%26b"));
        let refused = Call::get("C3", &["x"]).header(reqwest::header::IF_MATCH, "a\nb");
        assert_eq!(refused.unwrap_err().kind, ErrorKind::Configuration);
    }
}
