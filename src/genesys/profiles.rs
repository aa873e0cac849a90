//! S1 and S2: the routing profile of an agent, with its skills (contract section 5).

use jiff::Timestamp;
use reqwest::Method;
use serde_json::Value;

use super::call::{Answer, Call, Gate};
use super::client::Session;
use super::document::Document;
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// A profile as an answer showed it.
#[derive(Debug, Clone)]
pub struct ProfileState {
    /// The whole object, with the fields that the server adds.
    pub document: Document,
    /// The server's counter, which is the guard; None where it is no whole number from 0 up: then nothing may be written.
    pub version: Option<i64>,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

/// S1: the live profile.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is no such user; [`ErrorKind::BadAnswer`] where the answer is no object, or another profile;
/// [`ErrorKind::Unsupported`] where it holds a number or text that cannot be kept.
pub async fn get(session: &mut Session, user_id: &str) -> Result<ProfileState, Error> {
    let answer = session.send(Call::get("S1", &profile(user_id))).await?;
    state("S1", ErrorKind::BadAnswer, user_id, answer)
}

/// S2: replaces the whole profile. `body` is the profile as read, its `id` included, with `version` = version of the read + 1. The gate
/// is asked before each request.
///
/// The same bytes may be repeated after a 5xx, a reset or a timeout, so a [`ErrorKind::Conflict`] with [`Error::uncertain`] may
/// be the profile meeting its own write.
///
/// # Errors
/// [`ErrorKind::Conflict`]: read again, merge again. [`ErrorKind::LostAnswer`]: read before anything else; also where the answer
/// is no object, or another profile.
pub async fn put(session: &mut Session, user_id: &str, body: &Value, gate: Gate) -> Result<ProfileState, Error> {
    let call = Call::new("S2", Method::PUT, RetryClass::GuardedWrite, &profile(user_id));
    let answer = session.send(call.json(body).gate(gate)).await?;
    state("S2", ErrorKind::LostAnswer, user_id, answer)
}

fn profile(user_id: &str) -> [&str; 6] {
    ["api", "v2", "users", user_id, "routing", "profile"]
}

/// Reads an answer; `bad` is what an answer that cannot be used means.
fn state(endpoint: &'static str, bad: ErrorKind, user_id: &str, answer: Answer) -> Result<ProfileState, Error> {
    let document = answer.document(endpoint, bad, "the profile")?;
    let fields = document.parse();
    match fields.get("id") {
        None | Some(Value::Null) => {}
        Some(Value::String(found)) if found == user_id => {}
        Some(_) => return Err(answer.refused(endpoint, bad, "the answer is about another user")),
    }
    Ok(ProfileState {
        version: fields.get("version").and_then(Value::as_i64).filter(|version| *version >= 0),
        date: answer.date,
        correlation_id: answer.correlation_id,
        requests: answer.requests,
        document,
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::super::call::Halted;
    use super::super::testing::{Rig, Scripted, answer};
    use super::*;

    fn read(endpoint: &'static str, bad: ErrorKind, body: &str) -> Result<ProfileState, Error> {
        let answer =
            Answer { status: 200, body: body.as_bytes().into(), etag: None, date: None, correlation_id: None, requests: 2 };
        state(endpoint, bad, "u/1", answer)
    }

    #[test]
    fn version_is_a_whole_number_from_0_up_or_nothing() {
        for (text, expected) in [
            ("12", Some(12)),
            ("0", Some(0)),
            ("9223372036854775807", Some(i64::MAX)),
            ("9223372036854775808", None),
            ("-1", None),
            ("12.0", None),
            ("\"12\"", None),
            ("null", None),
        ] {
            let body = format!("{{\"version\":{text}}}");
            assert_eq!(read("S1", ErrorKind::BadAnswer, &body).unwrap().version, expected, "{text}");
        }
    }

    #[test]
    fn another_profile_or_none_is_refused_as_the_call_says() {
        for body in [r#"{"id":"u/2"}"#, r#"{"id":1}"#, "[]", "\"u/1\"", r#"{"id":"u/1","x":1e999}"#] {
            let written = read("S2", ErrorKind::LostAnswer, body).unwrap_err();
            assert_eq!((written.kind, written.uncertain, written.requests), (ErrorKind::LostAnswer, true, 2), "{body}");
            let expected = if body.contains("1e999") { ErrorKind::Unsupported } else { ErrorKind::BadAnswer };
            let error = read("S1", ErrorKind::BadAnswer, body).unwrap_err();
            assert_eq!((error.kind, error.uncertain, error.requests), (expected, false, 2), "{body}");
        }
        let kept = r#"{ "id":"u/1", "skills":[{"skillId":"s","proficiency":0.70}] }"#;
        assert_eq!(read("S1", ErrorKind::BadAnswer, kept).unwrap().document.bytes(), kept.as_bytes());
    }

    fn body() -> Value {
        json!({"id": "u/1", "version": 13, "skills": [{"skillId": "s", "proficiency": 0.72}]})
    }

    /// S2 against a server that answers so.
    async fn send(calls: Vec<Scripted>) -> (Result<ProfileState, Error>, Rig, usize) {
        let rig = Rig::new(vec![], calls).await;
        let asked = Arc::new(AtomicUsize::new(0));
        let count = asked.clone();
        let gate: Gate = Arc::new(move || match count.fetch_add(1, Ordering::SeqCst) {
            0..=2 => Ok(()),
            _ => Err(Halted("enough".to_owned())),
        });
        let result = put(&mut rig.session().await, "u/1", &body(), gate).await;
        let asked = asked.load(Ordering::SeqCst);
        (result, rig, asked)
    }

    #[tokio::test]
    async fn a_write_is_the_whole_body_without_a_tag_and_repeats_the_same_bytes() {
        let shown = r#"{"id":"u/1","version":13}"#;
        let (result, rig, asked) = send(vec![answer(503, &[], ""), Scripted::Reset, answer(200, &[], shown)]).await;
        let done = result.unwrap();
        assert_eq!((done.version, done.requests, asked), (Some(13), 3, 3));
        for seen in rig.calls() {
            assert_eq!(seen.line, "PUT /api/v2/users/u%2F1/routing/profile");
            assert_eq!((seen.body, seen.headers.get("if-match")), (body().to_string(), None));
        }
    }

    #[tokio::test]
    async fn a_conflict_is_one_request_and_after_a_lost_answer_uncertain() {
        let (result, rig, _) = send(vec![answer(409, &[], "{}")]).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.uncertain, rig.calls().len()), (ErrorKind::Conflict, false, 1));
        let (result, rig, _) = send(vec![Scripted::Reset, answer(409, &[], "{}")]).await;
        let error = result.unwrap_err();
        assert_eq!((error.kind, error.uncertain, rig.calls().len()), (ErrorKind::Conflict, true, 2));
    }
}
