//! C4: which config version handles live conversations (contract section 3). It never triggers a write.

use std::collections::HashSet;

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{Answer, Call};
use super::client::Session;
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// Conversations on a page.
const PAGE_SIZE: usize = 100;

/// Pages that are read at most: the question is which versions occur, not how often.
const MAX_PAGES: usize = 5;

/// A conversation and the config version that handles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConversationRow {
    /// The conversation.
    pub conversation_id: Option<String>,
    /// The config version as text, as it came. A filter of the query is no proof of it.
    pub config_version_id: Option<String>,
    /// When it began.
    pub start_time: Option<Timestamp>,
}

impl ConversationRow {
    /// The config version as a number, where it is one.
    #[must_use]
    pub fn version(&self) -> Option<i32> {
        self.config_version_id.as_deref()?.parse().ok()
    }
}

/// C4: the conversations of `config_id` between `from` and `to`: those on `version`, or on any where that is None. Each
/// conversation once, at most 500.
///
/// # Errors
/// [`ErrorKind::BadAnswer`] where an answer has no list of conversations; otherwise as [`Session::send`]. A page that fails fails
/// the query: part of an answer is none.
pub async fn query(
    session: &mut Session,
    config_id: &str,
    version: Option<i32>,
    from: Timestamp,
    to: Timestamp,
) -> Result<Vec<ConversationRow>, Error> {
    let mut rows = Vec::new();
    let mut seen = HashSet::new();
    let mut read = 0;
    for page in 1..=MAX_PAGES {
        let body = request(config_id, version, from, to, page);
        let path = ["api", "v2", "analytics", "agentassist", "conversations", "query"];
        let call = Call::new("C4", Method::POST, RetryClass::Read, &path).json(&body);
        let answer = decode(&session.send(call).await?)?;
        let size = answer.conversations.len();
        read += size;
        for row in answer.conversations {
            // A page shifts while calls come in: one seen before is the same conversation.
            let row = ConversationRow::from(row);
            if row.conversation_id.clone().is_none_or(|id| seen.insert(id)) {
                rows.push(row);
            }
        }
        let all = answer.total.map_or(size < PAGE_SIZE, |total| read as u64 >= total);
        if size == 0 || all {
            break;
        }
    }
    Ok(rows)
}

fn request(config_id: &str, version: Option<i32>, from: Timestamp, to: Timestamp, page: usize) -> Value {
    let on_version =
        version.map(|version| json!({"dimension": "configVersionId", "operator": "matches", "value": version.to_string()}));
    json!({
        "configId": config_id,
        "filter": {"type": "and", "predicates": Vec::from_iter(on_version)},
        "interval": format!("{from:.3}/{to:.3}"),
        "pageSize": PAGE_SIZE,
        "pageNumber": page,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePage {
    conversations: Vec<WireRow>,
    #[serde(default)]
    total: Option<u64>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", default)]
struct WireRow {
    conversation_id: Option<String>,
    config_version_id: Value,
    start_time: Option<String>,
}

impl From<WireRow> for ConversationRow {
    fn from(row: WireRow) -> ConversationRow {
        ConversationRow {
            conversation_id: row.conversation_id,
            config_version_id: match row.config_version_id {
                Value::String(text) => Some(text),
                Value::Number(number) => Some(number.to_string()),
                Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
            },
            start_time: row.start_time.and_then(|text| text.parse().ok()),
        }
    }
}

fn decode(answer: &Answer) -> Result<WirePage, Error> {
    let mut parser = serde_json::Deserializer::from_slice(&answer.body);
    serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        // The path only: the cause would quote content.
        let mut bad = Error::new("C4", ErrorKind::BadAnswer).because(format!("not the expected shape at '{}'", error.path()));
        bad.requests = answer.requests;
        bad
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(body: &str) -> Result<WirePage, Error> {
        decode(&Answer { status: 200, body: body.as_bytes().into(), etag: None, date: None, correlation_id: None, requests: 1 })
    }

    #[test]
    fn the_request_is_the_contract_s() {
        let from = "2026-11-20T10:00:00Z".parse().unwrap();
        let to = "2026-11-20T10:05:00.25Z".parse().unwrap();
        let body = request("cfg-1", Some(8), from, to, 1);
        assert_eq!(
            body,
            json!({"configId": "cfg-1",
                "filter": {"type": "and", "predicates": [{"dimension": "configVersionId", "operator": "matches", "value": "8"}]},
                "interval": "2026-11-20T10:00:00.000Z/2026-11-20T10:05:00.250Z", "pageSize": 100, "pageNumber": 1})
        );
        assert_eq!(request("cfg-1", None, from, to, 2)["filter"]["predicates"], json!([]));
    }

    #[test]
    fn rows_are_read_leniently_and_pages_strictly() {
        let read = page(
            r#"{"conversations":[{"conversationId":"a","configVersionId":"8","startTime":"2026-11-20T10:00:00Z"},
            {"configVersionId":7},{"startTime":"soon","x":1}],"total":3}"#,
        );
        let rows: Vec<ConversationRow> = read.unwrap().conversations.into_iter().map(Into::into).collect();
        assert_eq!(rows[0].version(), Some(8));
        assert!(rows[0].start_time.is_some());
        assert_eq!(rows[1].version(), Some(7));
        assert_eq!(rows[2], ConversationRow { conversation_id: None, config_version_id: None, start_time: None });
        for body in ["{}", "[]", r#"{"conversations":{}}"#, r#"{"conversations":[3]}"#] {
            assert_eq!(page(body).err().unwrap().kind, ErrorKind::BadAnswer, "{body}");
        }
    }
}
