//! C1, C2 and C3: the agent-assist config (contract section 3).

use jiff::Timestamp;
use reqwest::Method;
use reqwest::header::IF_MATCH;
use serde_json::Value;

use super::call::{Answer, Call, Gate};
use super::client::Session;
use super::document::Document;
use super::error::{Error, ErrorKind};
use super::etag::Etag;
use super::retry::RetryClass;

/// A config as an answer showed it.
#[derive(Debug, Clone)]
pub struct ConfigState {
    /// The whole object, with the fields that the server adds.
    pub document: Document,
    /// The server's counter; None where it is no int32 from 0 up.
    pub version: Option<i32>,
    /// The guard; None where neither header nor body hold a tag: then nothing may be written. Of a snapshot (C2) it is no guard.
    pub etag: Option<Etag>,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

/// C1: the live config.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is none; [`ErrorKind::BadAnswer`] where the answer is no object, or another config.
pub async fn get(session: &mut Session, id: &str) -> Result<ConfigState, Error> {
    let answer = session.send(Call::get("C1", &config(id))).await?;
    state("C1", ErrorKind::BadAnswer, id, answer)
}

/// C2: a snapshot. Its `etag` and `version` are never a guard.
///
/// # Errors
/// [`ErrorKind::NotFound`] where there is no such version; otherwise as [`get`].
pub async fn get_version(session: &mut Session, id: &str, version: i32) -> Result<ConfigState, Error> {
    let version = version.to_string();
    let [api, v2, family, kind, id] = config(id);
    let path = [api, v2, family, kind, id, "versions", &version];
    let answer = session.send(Call::get("C2", &path)).await?;
    state("C2", ErrorKind::BadAnswer, id, answer)
}

/// C3: replaces the whole config. `body` carries `version` = version of the read + 1 and no `id`, `etag` and `selfUri`; `etag` is
/// the guard of the same read. The gate is asked before each request.
///
/// The same bytes may be repeated after a 5xx, a reset or a timeout, so a [`ErrorKind::Conflict`] with [`Error::uncertain`] may
/// be the config meeting its own write.
///
/// # Errors
/// [`ErrorKind::Conflict`]: read again, plan again. [`ErrorKind::LostAnswer`]: read before anything else; also where the answer
/// is no object, or another config.
pub async fn put(session: &mut Session, id: &str, body: &Value, etag: &Etag, gate: Gate) -> Result<ConfigState, Error> {
    let call = Call::new("C3", Method::PUT, RetryClass::GuardedWrite, &config(id));
    let call = call.header(IF_MATCH, etag.as_str())?.json(body).gate(gate);
    let answer = session.send(call).await?;
    state("C3", ErrorKind::LostAnswer, id, answer)
}

fn config(id: &str) -> [&str; 5] {
    ["api", "v2", "agentassist", "configs", id]
}

/// Reads an answer; `bad` is what an answer that cannot be used means.
fn state(endpoint: &'static str, bad: ErrorKind, id: &str, answer: Answer) -> Result<ConfigState, Error> {
    let document = answer.document(endpoint, bad, "the config")?;
    let fields = document.parse();
    match fields.get("id") {
        None | Some(Value::Null) => {}
        Some(Value::String(found)) if found == id => {}
        Some(_) => return Err(answer.refused(endpoint, bad, "the answer is about another config")),
    }
    let version = fields.get("version").and_then(Value::as_i64);
    let version = version.and_then(|version| i32::try_from(version).ok());
    Ok(ConfigState {
        version: version.filter(|version| *version >= 0),
        etag: Etag::of(answer.etag.as_deref(), fields.get("etag").and_then(Value::as_str)),
        date: answer.date,
        correlation_id: answer.correlation_id,
        requests: answer.requests,
        document,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(body: &str, etag: Option<&str>) -> Result<ConfigState, Error> {
        let answer = Answer {
            status: 200,
            body: body.as_bytes().into(),
            etag: etag.map(|tag| tag.as_bytes().to_vec()),
            date: None,
            correlation_id: None,
            requests: 2,
        };
        state("C3", ErrorKind::LostAnswer, "cfg-1", answer)
    }

    #[test]
    fn version_is_an_int32_from_0_up_or_nothing() {
        for (text, expected) in [
            ("7", Some(7)),
            ("0", Some(0)),
            ("2147483647", Some(i32::MAX)),
            ("2147483648", None),
            ("-1", None),
            ("7.0", None),
            ("\"7\"", None),
            ("null", None),
        ] {
            let body = format!("{{\"version\":{text}}}");
            assert_eq!(read(&body, None).unwrap().version, expected, "{text}");
        }
    }

    #[test]
    fn the_guard_comes_from_the_header_first() {
        let both = read(r#"{"id":"cfg-1","etag":"\"b\""}"#, Some("h")).unwrap();
        assert_eq!(both.etag, Etag::parse("\"h\""));
        let body = read(r#"{"etag":"b"}"#, None).unwrap();
        assert_eq!(body.etag, Etag::parse("\"b\""));
        assert_eq!(read("{\"etag\":5}", None).unwrap().etag, None);
    }

    #[test]
    fn another_object_or_none_is_refused_as_the_call_says() {
        for body in [r#"{"id":"cfg-2"}"#, r#"{"id":1}"#, "[]", "\"cfg-1\""] {
            let error = read(body, None).unwrap_err();
            assert_eq!((error.kind, error.uncertain, error.requests), (ErrorKind::LostAnswer, true, 2), "{body}");
        }
    }
}
