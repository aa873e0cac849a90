//! The journal: one entry for every request and every foreign or administrative change, in the order of their ends. It is the witness of
//! the tests (`reliability.md` 3.4), so it holds what a checker needs and never a secret or a token.

use std::collections::VecDeque;
use std::ops::Deref;
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// A JSON document, cheap to clone: the state, the history and the journal share it.
#[derive(Debug, Clone, PartialEq)]
pub struct Document(Arc<Value>);

impl Document {
    /// The document as a value of its own.
    pub fn to_value(&self) -> Value {
        Value::clone(&self.0)
    }
}

impl From<Value> for Document {
    fn from(value: Value) -> Self {
        Self(Arc::new(value))
    }
}

impl Deref for Document {
    type Target = Value;

    fn deref(&self) -> &Value {
        &self.0
    }
}

impl Serialize for Document {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.as_ref().serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Document {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Value::deserialize(deserializer).map(Self::from)
    }
}

/// Who caused an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Actor {
    /// A request over the wire, with or without valid credentials.
    Client,
    /// Another writer of the same organisation: a person in the web console, a script.
    Foreign,
    /// The test's own hand: state was set or removed as if it had always been so.
    Admin,
}

/// The state of an object that an answer told its client.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Shown {
    /// The version in the answer.
    pub version: Option<i64>,
    /// The tag as a client sends it back in `If-Match`; none where the answer held no usable tag. Of a routing profile, which has no tag, its
    /// version as text.
    pub guard: Option<String>,
    /// [`digest`] of the content without `id`, `version`, `etag` and `selfUri`.
    pub content_sha256: String,
}

/// One request, or one change behind the clients' backs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Entry {
    /// Position in the journal, from 1, in the order in which the answers were ready.
    pub seq: u64,
    /// Arrival in milliseconds since the server's start, on a monotonic clock.
    pub at_ms: u64,
    /// The same in microseconds.
    pub at_us: u64,
    /// Arrival by the wall clock.
    pub time: Timestamp,
    /// Who caused it.
    pub actor: Actor,
    /// The OAuth client: of the token (also an expired one), for T1 of the Basic header. None where the sandbox knows no such client.
    pub client: Option<String>,
    /// HTTP method.
    pub method: String,
    /// The path as sent, still encoded.
    pub path: String,
    /// The query as sent.
    pub query: Option<String>,
    /// The call's name in contract 1 (`T1`, `C3`), or `other`.
    pub call: String,
    /// The remote id that the path names.
    pub target: Option<String>,
    /// `If-Match` as sent.
    pub if_match: Option<String>,
    /// `version` in the request body: the version of the read plus 1.
    pub version: Option<i64>,
    /// [`digest`] of the request body, `version` included.
    pub body_sha256: Option<String>,
    /// The request body; never of T1. None where the journal keeps no bodies.
    pub body: Option<Document>,
    /// The status answered; 0 where the connection was dropped without an answer.
    pub status: u16,
    /// The error code answered.
    pub code: Option<String>,
    /// `ININ-Correlation-Id` of the answer.
    pub correlation_id: Option<String>,
    /// How long `Retry-After` asked the client to wait, in milliseconds; none where it was absent or says nothing usable.
    pub retry_after_ms: Option<u64>,
    /// Whether the whole answer went out to a client that was still there.
    pub delivered: bool,
    /// When the client hung up before its answer, in microseconds since the server's start.
    pub hung_up_us: Option<u64>,
    /// Whether a write took effect.
    pub applied: bool,
    /// Position in the order of all changes of state, where one happened.
    pub change: Option<u64>,
    /// When the change took effect, in microseconds since the server's start: between arrival and answer, or after both where a fault made
    /// the commit late.
    pub changed_us: Option<u64>,
    /// The version after an applied write.
    pub result_version: Option<i64>,
    /// The tag after an applied write, strong and quoted whatever the style on the wire.
    pub result_etag: Option<String>,
    /// The prompt version that became the live one.
    pub promoted: Option<String>,
    /// Content before an applied write, without `id`, `version`, `etag` and `selfUri`; of a prompt the live version, as P1 shows it.
    pub before: Option<Document>,
    /// Content after an applied write; of a prompt the live version.
    pub after: Option<Document>,
    /// The state that the answer told, where it told one: of P1 only the first page does, as the digest of its list of versions.
    pub shown: Option<Shown>,
    /// Name of the fault that fired.
    pub fault: Option<String>,
    /// From arrival until the answer was ready, in milliseconds.
    pub took_ms: u64,
    /// The same in microseconds.
    pub took_us: u64,
}

impl Entry {
    /// An entry with nothing in it but who, what and when.
    pub fn new(actor: Actor, method: &str, path: &str, call: &str, at_us: u64) -> Self {
        Self {
            seq: 0,
            at_ms: at_us / 1000,
            at_us,
            time: crate::clock::precise(),
            actor,
            client: None,
            method: method.to_owned(),
            path: path.to_owned(),
            query: None,
            call: call.to_owned(),
            target: None,
            if_match: None,
            version: None,
            body_sha256: None,
            body: None,
            status: 200,
            code: None,
            correlation_id: None,
            retry_after_ms: None,
            delivered: true,
            hung_up_us: None,
            applied: false,
            change: None,
            changed_us: None,
            result_version: None,
            result_etag: None,
            promoted: None,
            before: None,
            after: None,
            shown: None,
            fault: None,
            took_ms: 0,
            took_us: 0,
        }
    }

    /// When the answer was ready, in microseconds since the server's start.
    pub fn end_us(&self) -> u64 {
        self.at_us + self.took_us
    }
}

/// SHA-256, in hex, of a value as RFC 8785 JSON.
pub fn digest(value: &Value) -> String {
    // The canonical form exists for every value that serde_json can hold; the plain form only stands in for the impossible.
    let bytes = serde_json_canonicalizer::to_vec(value).unwrap_or_else(|_| value.to_string().into_bytes());
    hex(&Sha256::digest(bytes))
}

/// Lower-case hex.
pub(super) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(|nibble| char::from(DIGITS[usize::from(nibble)])).collect()
}

/// The entries kept: bounded, the oldest go first.
#[derive(Debug)]
pub(super) struct Journal {
    entries: VecDeque<Entry>,
    last_seq: u64,
    dropped: u64,
}

/// So many entries are kept. A full day at 240 calls a minute is 345,600.
const CAPACITY: usize = 1_000_000;

impl Journal {
    /// An empty journal.
    pub(super) fn new() -> Self {
        Self { entries: VecDeque::new(), last_seq: 0, dropped: 0 }
    }

    /// Numbers the entry and keeps it.
    pub(super) fn push(&mut self, mut entry: Entry) {
        self.last_seq += 1;
        entry.seq = self.last_seq;
        if self.entries.len() >= CAPACITY {
            self.entries.pop_front();
            self.dropped += 1;
        }
        self.entries.push_back(entry);
    }

    /// The entries after `seq`.
    pub(super) fn since(&self, seq: u64) -> Vec<Entry> {
        let from = self.entries.partition_point(|entry| entry.seq <= seq);
        self.entries.range(from..).cloned().collect()
    }

    /// Forgets all entries; numbers go on.
    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.dropped = 0;
    }

    /// Number of entries kept.
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Number of entries that had to go for newer ones since the last [`Self::clear`].
    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_digest_does_not_depend_on_the_order_of_members() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":2.0}"#).unwrap();
        let two: Value = serde_json::from_str(r#"{"b":2,"a":1}"#).unwrap();
        assert_eq!(digest(&one), digest(&two));
        assert_ne!(digest(&one), digest(&json!({"a": 1})));
    }

    #[test]
    fn since_answers_only_newer_entries() {
        let mut journal = Journal::new();
        for _ in 0..3 {
            journal.push(Entry::new(Actor::Admin, "PUT", "/x", "other", 0));
        }
        assert_eq!(journal.since(1).iter().map(|entry| entry.seq).collect::<Vec<_>>(), [2, 3]);
        journal.clear();
        journal.push(Entry::new(Actor::Admin, "PUT", "/x", "other", 0));
        assert_eq!(journal.since(0)[0].seq, 4);
    }
}
