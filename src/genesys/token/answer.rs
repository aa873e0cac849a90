//! What an answer of T1 means, without IO.

use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::super::error::{Error, ErrorKind, Problem};
use super::super::retry::{self, Decision, Outcome, RetryClass};
use super::T1;

/// The lifetime where the answer has none: the shortest that the platform gives (`genesys-published` 3.1).
const DEFAULT_LIFETIME: Duration = Duration::from_secs(300);

/// The longest lifetime that is believed: the longest that the platform gives.
const LONGEST_LIFETIME: f64 = 172_800.0;

/// What an answer of T1 means.
pub(super) enum Verdict {
    /// A token and its lifetime.
    Granted(SecretString, Duration),
    /// Throttled; the length of the pause, where known, is in the answer's `Retry-After`.
    Throttled(Error),
    /// May be repeated.
    Again(Error),
    /// Not to be repeated.
    Refused(Error),
}

#[derive(Deserialize)]
struct WireToken {
    access_token: String,
    #[serde(default)]
    token_type: Option<String>,
    #[serde(default)]
    expires_in: Option<f64>,
}

/// Reads an answer with its whole `body`.
pub(super) fn judge(status: u16, body: &[u8], problem: &Problem) -> Verdict {
    let fail = |kind| {
        let mut error = Error::new(T1, kind);
        error.problem = Some(Box::new(problem.clone()));
        error
    };
    if status == 400 && problem.is_rate_limit() {
        return Verdict::Throttled(fail(ErrorKind::Throttled));
    }
    // The token endpoint has no other 401 than this one.
    if status == 401 || (status == 400 && problem.code.as_deref() == Some("invalid_client")) {
        return Verdict::Refused(fail(ErrorKind::BadCredentials));
    }
    let outcome = Outcome::Status { status, mismatch: false };
    match retry::decide(RetryClass::Read, outcome, true) {
        Decision::Accept => accept(body, fail(ErrorKind::BadAnswer)),
        Decision::Throttle => Verdict::Throttled(fail(ErrorKind::Throttled)),
        Decision::Repeat(kind) => Verdict::Again(fail(kind)),
        Decision::Renew => Verdict::Refused(fail(ErrorKind::BadCredentials)),
        Decision::Fail(kind) => Verdict::Refused(fail(kind)),
    }
}

/// The token of a 2xx body; `bad` where there is none. Nothing of the body goes into the error: it may hold half a token.
fn accept(body: &[u8], bad: Error) -> Verdict {
    let Ok(token) = serde_json::from_slice::<WireToken>(body) else {
        return Verdict::Again(bad.because("the answer holds no access token"));
    };
    // What no header can carry would fail every call until it ends.
    if token.access_token.is_empty() || !token.access_token.bytes().all(|b| b.is_ascii_graphic()) {
        return Verdict::Again(bad.because("the access token is not usable"));
    }
    let bearer = token.token_type.as_deref().unwrap_or("bearer");
    if !bearer.eq_ignore_ascii_case("bearer") {
        return Verdict::Refused(bad.because("the token is no bearer token"));
    }
    let lifetime = match token.expires_in {
        Some(seconds) if seconds >= 1.0 => Duration::from_secs_f64(seconds.min(LONGEST_LIFETIME)),
        Some(_) => return Verdict::Again(bad.because("the token has no lifetime")),
        None => DEFAULT_LIFETIME,
    };
    Verdict::Granted(token.access_token.into(), lifetime)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, body: &str) -> (&'static str, Option<ErrorKind>) {
        let problem = Problem::parse(status, body.as_bytes(), None, &[]);
        match judge(status, body.as_bytes(), &problem) {
            Verdict::Granted(..) => ("granted", None),
            Verdict::Throttled(error) => ("throttled", Some(error.kind)),
            Verdict::Again(error) => ("again", Some(error.kind)),
            Verdict::Refused(error) => ("refused", Some(error.kind)),
        }
    }

    #[test]
    fn answers_of_t1_by_section_2() {
        let limit = r#"{"error":"invalid_request","description":"client rate limit exceeded, wait"}"#;
        let other = r#"{"error":"invalid_request","description":"grant_type is missing"}"#;
        let client = r#"{"error":"invalid_client"}"#;
        let html = "<html>";
        for (status, body, expected) in [
            (200, r#"{"access_token":"t","token_type":"bearer","expires_in":86399}"#, ("granted", None)),
            (200, r#"{"access_token":"t"}"#, ("granted", None)),
            (200, r#"{"access_token":"t","expires_in":0}"#, ("again", Some(ErrorKind::BadAnswer))),
            (200, r#"{"access_token":"t","token_type":"mac"}"#, ("refused", Some(ErrorKind::BadAnswer))),
            (200, r#"{"access_token":""}"#, ("again", Some(ErrorKind::BadAnswer))),
            (200, r#"{"access_token":"a\nb"}"#, ("again", Some(ErrorKind::BadAnswer))),
            (200, html, ("again", Some(ErrorKind::BadAnswer))),
            (400, limit, ("throttled", Some(ErrorKind::Throttled))),
            (400, other, ("refused", Some(ErrorKind::Rejected))),
            (400, client, ("refused", Some(ErrorKind::BadCredentials))),
            (401, client, ("refused", Some(ErrorKind::BadCredentials))),
            (401, "", ("refused", Some(ErrorKind::BadCredentials))),
            (429, "", ("throttled", Some(ErrorKind::Throttled))),
            (302, "", ("refused", Some(ErrorKind::BadAnswer))),
            (404, html, ("refused", Some(ErrorKind::NotFound))),
            (503, html, ("again", Some(ErrorKind::Unavailable))),
        ] {
            assert_eq!(kind(status, body), expected, "{status} {body}");
        }
    }

    #[test]
    fn a_bad_answer_never_shows_the_body() {
        let body = br#"{"access_token":"s3cr3t","expires_in":"#;
        let problem = Problem { status: 200, ..Problem::default() };
        let Verdict::Again(error) = judge(200, body, &problem) else { panic!() };
        assert!(!format!("{error} {error:?}").contains("s3cr3t"));
    }
}
