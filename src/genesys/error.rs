//! What can go wrong with a call, in terms of what the caller does next.

use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use super::text;

/// Most entries of [`Problem::details`] that are kept.
const MAX_DETAILS: usize = 10;

/// A call that did not succeed. `Display` says what happened, to which call, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// The contract's short name of the call: `"C1"`, `"T1"`, …; `"setup"` for a client that cannot be built.
    pub endpoint: &'static str,
    /// What it means.
    pub kind: ErrorKind,
    /// The answer's error body, where there was an answer. An empty or foreign body leaves the status only.
    pub problem: Option<Box<Problem>>,
    /// Not to be tried again before this has passed, where known.
    pub retry_after: Option<Duration>,
    /// A short cause in our own or cleaned words: what halted it, what was wrong with the answer.
    pub detail: Option<String>,
    /// Requests that were put on the wire for this call (T1 not counted).
    pub requests: u32,
    /// An earlier request of this write may have taken effect. Always true for [`ErrorKind::LostAnswer`]; it can be true for
    /// [`ErrorKind::Halted`] and [`ErrorKind::Conflict`] also, where a repeat was stopped or refused.
    pub uncertain: bool,
    /// A write was answered with success, and the answer shows another state than the one that it asked for.
    pub unshown: bool,
}

/// The classes of failure, by what the caller does next (contract sections 3 and 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// 409, 412, or a 400 that says the version does not match: the guard lost. Read again, plan again; never resend.
    Conflict,
    /// 404.
    NotFound,
    /// T1 refused client id and secret.
    BadCredentials,
    /// 401 with a token that was just issued.
    Unauthorized,
    /// 403: a permission or a scope is missing.
    Forbidden,
    /// Any other 4xx, and 501.
    Rejected,
    /// 429, or a pause of the account that is too long to be slept out; see [`Error::retry_after`].
    Throttled,
    /// 5xx, reset, timeout or no connection, after all repeats. Nothing was written.
    Unavailable,
    /// A write whose outcome is unknown. The next read tells.
    LostAnswer,
    /// An answer that this layer does not accept: redirect, not JSON, too large, another object.
    BadAnswer,
    /// An object that this layer cannot keep as it is: a number beyond f64, half a surrogate pair.
    Unsupported,
    /// The write's gate said no, before the request was sent.
    Halted,
    /// The call or the client cannot be built: no credentials, an id that is no path segment, a bad CA bundle.
    Configuration,
}

impl ErrorKind {
    /// A bounded name for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Conflict => "conflict",
            ErrorKind::NotFound => "not_found",
            ErrorKind::BadCredentials => "bad_credentials",
            ErrorKind::Unauthorized => "unauthorized",
            ErrorKind::Forbidden => "forbidden",
            ErrorKind::Rejected => "rejected",
            ErrorKind::Throttled => "throttled",
            ErrorKind::Unavailable => "unavailable",
            ErrorKind::LostAnswer => "lost_answer",
            ErrorKind::BadAnswer => "bad_answer",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Halted => "halted",
            ErrorKind::Configuration => "configuration",
        }
    }

    /// What happened, and what to do about it.
    fn phrases(self) -> (&'static str, &'static str) {
        match self {
            ErrorKind::Conflict => ("lost its guard: someone else wrote", "it is read and planned again"),
            ErrorKind::NotFound => ("found no such object", "check the id and the org"),
            ErrorKind::BadCredentials => {
                ("was refused: client id or secret are wrong", "correct the Secret of the org, or the region")
            }
            ErrorKind::Unauthorized => ("was refused with a fresh token", "check the OAuth client and the region of the org"),
            ErrorKind::Forbidden => ("was forbidden", "give the OAuth client the missing permission or scope"),
            ErrorKind::Rejected => ("was rejected", "correct the input that it names"),
            ErrorKind::Throttled => ("is throttled by the platform", "it goes on by itself"),
            ErrorKind::Unavailable => ("got no usable answer", "it is tried again"),
            ErrorKind::LostAnswer => {
                ("may or may not have taken effect: its answer was lost", "the live state is read before anything else is done")
            }
            ErrorKind::BadAnswer => (
                "got an answer that cannot be used",
                "check that the endpoint is a Genesys API; it is tried again at the next interval",
            ),
            ErrorKind::Unsupported => {
                ("shows an object that would change on the way back", "correct its numbers or text in Genesys Cloud")
            }
            ErrorKind::Halted => ("was not sent", "it is planned again"),
            ErrorKind::Configuration => ("cannot be made", "correct the configuration"),
        }
    }
}

impl Error {
    /// An error of `endpoint` that made no request yet.
    #[must_use]
    pub fn new(endpoint: &'static str, kind: ErrorKind) -> Error {
        Error {
            endpoint,
            kind,
            problem: None,
            retry_after: None,
            detail: None,
            requests: 0,
            uncertain: kind == ErrorKind::LostAnswer,
            unshown: false,
        }
    }

    /// With a cause; cleaned, so it may come from outside.
    #[must_use]
    pub fn because(mut self, detail: impl AsRef<str>) -> Error {
        self.detail = Some(text::clean(detail.as_ref(), &[]));
        self
    }

    /// With the time that has to pass first.
    #[must_use]
    pub fn after(mut self, wait: Option<Duration>) -> Error {
        self.retry_after = wait;
        self
    }

    /// Whether only a human or a changed input can help: repeating the same call is useless until then.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        match self.kind {
            ErrorKind::NotFound
            | ErrorKind::BadCredentials
            | ErrorKind::Unauthorized
            | ErrorKind::Forbidden
            | ErrorKind::Rejected
            | ErrorKind::Unsupported
            | ErrorKind::Configuration => true,
            ErrorKind::Conflict
            | ErrorKind::Throttled
            | ErrorKind::Unavailable
            | ErrorKind::LostAnswer
            | ErrorKind::BadAnswer
            | ErrorKind::Halted => false,
        }
    }

    /// The platform's correlation id, where an answer carried one.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&str> {
        self.problem.as_ref()?.context_id.as_deref()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (happened, remedy) = match (self.kind, self.endpoint) {
            // It has no guard to lose: the version exists, or the platform takes none at the moment.
            (ErrorKind::Conflict, "P2") => ("was refused: it conflicts with what is there", "the versions are looked at first"),
            (kind, _) => kind.phrases(),
        };
        write!(f, "{} {happened}", self.endpoint)?;
        if let Some(detail) = &self.detail {
            write!(f, ": {detail}")?;
        }
        if let Some(problem) = &self.problem {
            write!(f, " ({problem})")?;
        }
        write!(f, "; {remedy}")?;
        if let Some(wait) = self.retry_after {
            // Rounded up: a wait of 0.4 s is not "in 0 s".
            write!(f, ", in {} s at the earliest", wait.as_millis().div_ceil(1000))?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// An error body (`genesys-published` 3.5, and 3.1 for T1). All text in it is cleaned: escaped, at most 300 characters, free of
/// our secrets.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Problem {
    /// The HTTP status of the answer (not the body's, which may differ).
    pub status: u16,
    /// The vendor's code (`missing.permissions`); for T1 the field `error`.
    pub code: Option<String>,
    /// The vendor's message.
    pub message: Option<String>,
    /// The correlation id: the body's `contextId`, else the header `ININ-Correlation-Id`.
    pub context_id: Option<String>,
    /// The first 10 details.
    pub details: Vec<ProblemDetail>,
}

/// One entry of the error body's `details`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ProblemDetail {
    /// The vendor's code of this detail.
    pub code: Option<String>,
    /// The field that it is about.
    pub field: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "HTTP {}", self.status)?;
        if let Some(code) = &self.code {
            write!(f, " {code}")?;
        }
        if let Some(message) = &self.message {
            write!(f, ": {message}")?;
        }
        let fields: Vec<&str> = self.details.iter().filter_map(|d| d.field.as_deref()).collect();
        if !fields.is_empty() {
            write!(f, " [fields: {}]", fields.join(", "))?;
        }
        if let Some(id) = &self.context_id {
            write!(f, ", correlation id {id}")?;
        }
        Ok(())
    }
}

/// Both shapes of error body at once; anything of another type is left out rather than refused.
#[derive(Deserialize, Default)]
#[serde(default)]
struct WireProblem {
    code: serde_json::Value,
    error: serde_json::Value,
    message: serde_json::Value,
    description: serde_json::Value,
    error_description: serde_json::Value,
    #[serde(rename = "contextId")]
    context_id: serde_json::Value,
    details: serde_json::Value,
}

impl Problem {
    /// Reads an error body of an answer with `status`; a body that is empty or no JSON object leaves the status and the
    /// correlation id. `secrets` are taken out of every text.
    pub(super) fn parse(status: u16, body: &[u8], correlation: Option<String>, secrets: &[&str]) -> Problem {
        let wire: WireProblem = serde_json::from_slice(body).unwrap_or_default();
        let clean =
            |value: &serde_json::Value| value.as_str().filter(|text| !text.is_empty()).map(|text| text::clean(text, secrets));
        let first = |values: &[&serde_json::Value]| values.iter().find_map(|value| clean(value));
        let details = wire.details.as_array().into_iter().flatten();
        let details = details
            .map(|detail| ProblemDetail { code: clean(&detail["errorCode"]), field: clean(&detail["fieldName"]) })
            .take(MAX_DETAILS);
        Problem {
            status,
            code: first(&[&wire.code, &wire.error]),
            message: first(&[&wire.message, &wire.description, &wire.error_description]),
            context_id: clean(&wire.context_id).or(correlation),
            details: details.collect(),
        }
    }

    /// Whether the text says that the version was not the current one: such a 400 is a conflict (contract section 6).
    pub(super) fn is_version_mismatch(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        message.contains("does not match the current version")
    }

    /// Whether T1 says that it is throttled, which it does with a 400 (contract section 2).
    pub(super) fn is_rate_limit(&self) -> bool {
        let message = self.message.as_deref().unwrap_or_default().to_ascii_lowercase();
        message.contains("rate limit exceeded")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_error_body_is_read_and_shown() {
        let body = br#"{"message":"No \u001b[31mway","code":"missing.permissions","status":403,"contextId":"c-1",
            "details":[{"errorCode":"x","fieldName":"rules"},{"entityId":"e"}],"errors":[]}"#;
        let mut error = Error::new("C3", ErrorKind::Forbidden);
        error.problem = Some(Box::new(Problem::parse(403, body, Some("header".into()), &[])));
        assert_eq!(
            error.to_string(),
            "C3 was forbidden (HTTP 403 missing.permissions: No \\u{1b}[31mway [fields: rules], correlation id c-1); \
             give the OAuth client the missing permission or scope"
        );
        assert_eq!(error.correlation_id(), Some("c-1"));
        assert!(error.is_terminal());
    }

    #[test]
    fn strange_bodies_leave_the_status() {
        let deep = "[".repeat(5000);
        for body in ["", "<html>", "[]", "null", "3", "{\"message\":", deep.as_str()] {
            let problem = Problem::parse(502, body.as_bytes(), Some("c".into()), &[]);
            assert_eq!(problem.to_string(), "HTTP 502, correlation id c", "{body:.20}");
        }
        let odd = Problem::parse(400, br#"{"message":7,"code":["x"],"details":"no","contextId":{}}"#, None, &[]);
        assert_eq!(odd, Problem { status: 400, ..Problem::default() });
    }

    #[test]
    fn secrets_that_the_server_echoes_are_taken_out() {
        let body = br#"{"error":"invalid_client","description":"secret s3cr3t is wrong"}"#;
        let problem = Problem::parse(400, body, None, &["s3cr3t"]);
        assert_eq!(problem.message.as_deref(), Some("secret [redacted] is wrong"));
        assert_eq!(problem.code.as_deref(), Some("invalid_client"));
    }

    #[test]
    fn texts_that_change_the_meaning_of_a_status_are_found() {
        let says = |message: &str| Problem { message: Some(message.into()), ..Problem::default() };
        assert!(says("The version supplied Does Not Match the current version of the user").is_version_mismatch());
        assert!(!says("no match").is_version_mismatch());
        assert!(says("Client Rate Limit Exceeded, wait").is_rate_limit());
    }

    #[test]
    fn a_wait_is_shown_rounded_up() {
        let error = Error::new("C1", ErrorKind::Throttled).after(Some(Duration::from_millis(1400)));
        assert!(error.to_string().ends_with("in 2 s at the earliest"), "{error}");
        assert!(!error.is_terminal());
    }
}
