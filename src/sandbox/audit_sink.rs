//! A1: a registry that takes audit records (contract 7). It belongs to the team, not to the platform: no token, no limit.

use std::collections::{BTreeMap, VecDeque};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::error_body::bad_request;
use super::journal::hex;
use super::reply::{Call, Reply};
use super::routes::Route;
use super::world::{World, wall_clock};

/// A1.
pub(super) const ROUTES: &[Route] =
    &[Route { call: "A1", method: "POST", pattern: "/audit/records", scopes: None, write: false, handle: take }];

/// So many records are kept; the oldest go first.
const CAPACITY: usize = 100_000;

/// A request to the registry that was handled, also one whose answer was lost or replaced by a fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditRecord {
    /// Arrival by the server's wall clock.
    pub time: Timestamp,
    /// The same in microseconds since the server's start.
    pub at_us: u64,
    /// `X-Audit-Id`.
    pub audit_id: Option<String>,
    /// `X-Signature-256`.
    pub signature: Option<String>,
    /// Whether the signature is that of the body; none where the registry has no key.
    pub signature_valid: Option<bool>,
    /// All headers, names in lower case, in the order in which they came.
    pub headers: Vec<(String, String)>,
    /// The body, byte for byte.
    pub body: Vec<u8>,
    /// What is wrong with the request, which was answered 400; none: it was taken.
    pub refused: Option<String>,
}

/// The registry.
#[derive(Debug, Default)]
pub(super) struct Registry {
    key: Option<Vec<u8>>,
    records: VecDeque<AuditRecord>,
}

impl World {
    /// The key that the signatures of audit records are checked with, from the next one on; none: they are not checked.
    pub fn set_audit_key(&self, key: Option<&str>) {
        self.state().audit.key = key.map(|key| key.as_bytes().to_vec());
    }

    /// The audit records that arrived, oldest first: the last 100,000.
    pub fn audit_records(&self) -> Vec<AuditRecord> {
        self.state().audit.records.iter().cloned().collect()
    }

    /// Forgets the audit records.
    pub fn clear_audit_records(&self) {
        self.state().audit.records.clear();
    }

    /// The records for the steering surface, with those that arrived more than once.
    pub(super) fn audit_report(&self) -> Value {
        let records = self.audit_records();
        let mut by_id: BTreeMap<&str, Vec<&AuditRecord>> = BTreeMap::new();
        for record in &records {
            if let Some(id) = record.audit_id.as_deref() {
                by_id.entry(id).or_default().push(record);
            }
        }
        by_id.retain(|_, records| records.len() > 1);
        let duplicates = by_id.into_iter().map(|(id, records)| {
            let same = records.windows(2).all(|pair| matches!(pair, [one, two] if one.body == two.body));
            json!({"auditId": id, "count": records.len(), "sameBytes": same})
        });
        let duplicates: Vec<Value> = duplicates.collect();
        let shown: Vec<Value> = records.iter().map(AuditRecord::shown).collect();
        json!({"count": records.len(), "duplicates": duplicates, "records": shown})
    }
}

impl AuditRecord {
    /// The body as JSON, where it is some.
    pub fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    fn shown(&self) -> Value {
        json!({
            "time": self.time.to_string(),
            "atUs": self.at_us,
            "auditId": self.audit_id,
            "signature": self.signature,
            "signatureValid": self.signature_valid,
            "headers": self.headers,
            "body": String::from_utf8_lossy(&self.body),
            "refused": self.refused,
        })
    }
}

/// A1: keeps what arrives, and answers 200 where it is well-formed. A wrong signature is noted, not refused: the judge is the test.
fn take(world: &World, call: &Call) -> Reply {
    let at_us = world.now_us();
    let mut state = world.state();
    let signature = call.header("x-signature-256").map(str::to_owned);
    let expected = state.audit.key.as_deref().map(|key| signature_of(key, &call.body));
    let refused = refusal(call);
    let record = AuditRecord {
        time: wall_clock(&state.settings),
        at_us,
        audit_id: call.header("x-audit-id").map(str::to_owned),
        signature_valid: expected.map(|expected| signature.as_deref() == Some(expected.as_str())),
        signature,
        headers: call
            .headers
            .iter()
            .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body: call.body.clone(),
        refused: refused.map(str::to_owned),
    };
    if state.audit.records.len() >= CAPACITY {
        state.audit.records.pop_front();
    }
    state.audit.records.push_back(record);
    refused.map_or_else(|| Reply::json(json!({})), bad_request)
}

/// What is wrong with a request.
fn refusal(call: &Call) -> Option<&'static str> {
    let media_type = call.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Some("The content type must be application/json");
    }
    if call.header("x-audit-id").is_none_or(|id| id.trim().is_empty()) {
        return Some("X-Audit-Id is required");
    }
    let object = serde_json::from_slice::<Value>(&call.body).is_ok_and(|body| body.is_object());
    (!object).then_some("The request body must be a JSON object")
}

/// The header that a correct sender puts on a body.
fn signature_of(key: &[u8], body: &[u8]) -> String {
    // Every length is a key for HMAC; the empty text only stands in for the impossible.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return String::new() };
    mac.update(body);
    format!("sha256={}", hex(&mac.finalize().into_bytes()))
}
