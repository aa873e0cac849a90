//! C4: which config version handles live conversations (contract 3, Propagation).

use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::configs::json_object;
use super::error_body::{bad_request, error, invalid_property, invalid_value};
use super::reply::{Call, Reply};
use super::routes::Route;
use super::world::{State, World, wall_clock};

/// C4.
pub(super) const ROUTES: &[Route] = &[Route {
    call: "C4",
    method: "POST",
    pattern: "/api/v2/analytics/agentassist/conversations/query",
    scopes: Some(&["analytics:read"]),
    write: false,
    handle: query,
}];

/// The keys of a request.
const KEYS: [&str; 5] = ["configId", "filter", "interval", "pageSize", "pageNumber"];

/// A conversation and the config version that handles it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Conversation {
    id: String,
    version: i64,
    start: Timestamp,
}

impl World {
    /// Adds a conversation that a config version handles.
    pub fn add_conversation(&self, config_id: &str, version: i64, start: Timestamp) {
        let conversation = Conversation { id: Uuid::new_v4().to_string(), version, start };
        self.state().conversations.entry(config_id.to_owned()).or_default().push(conversation);
    }

    /// Forgets the conversations of a config that were added.
    pub fn clear_conversations(&self, config_id: &str) {
        self.state().conversations.remove(config_id);
    }
}

/// A checked request.
struct Query {
    config_id: String,
    /// How the predicates combine, and the versions that each of them matches.
    any: bool,
    versions: Vec<String>,
    from: Timestamp,
    to: Timestamp,
    page_size: usize,
    page_number: usize,
}

/// C4: rows oldest first; `total` counts all pages. A config that does not exist has no conversations, as in any analytics store.
fn query(world: &World, call: &Call) -> Reply {
    let query = match json_object(call).and_then(|body| parse(&body)) {
        Ok(query) => query,
        Err(refusal) => return refusal,
    };
    let mut rows = conversations(&world.state(), &query.config_id);
    rows.retain(|row| row.start >= query.from && row.start < query.to && query.matches(row.version));
    rows.sort_by(|a, b| (a.start, &a.id).cmp(&(b.start, &b.id)));
    let total = rows.len();
    let skipped = query.page_size.saturating_mul(query.page_number - 1);
    let page: Vec<Value> = rows.iter().skip(skipped).take(query.page_size).map(Conversation::row).collect();
    Reply::json(json!({"conversations": page, "total": total}))
}

impl Conversation {
    fn row(&self) -> Value {
        json!({"conversationId": self.id, "configVersionId": self.version.to_string(), "startTime": self.start.to_string()})
    }
}

impl Query {
    fn matches(&self, version: i64) -> bool {
        let version = version.to_string();
        let mut matches = self.versions.iter().map(|wanted| *wanted == version);
        if self.any && !self.versions.is_empty() { matches.any(|it| it) } else { matches.all(|it| it) }
    }
}

/// The conversations that were added, and those that the setting `trafficDelayMs` makes: each version that is old enough has one.
fn conversations(state: &State, config_id: &str) -> Vec<Conversation> {
    let mut rows = state.conversations.get(config_id).cloned().unwrap_or_default();
    let (Some(delay), Some(config)) = (state.settings.traffic_delay_ms, state.configs.get(config_id)) else { return rows };
    let delay = SignedDuration::from_millis(i64::try_from(delay).unwrap_or(i64::MAX));
    let now = wall_clock(&state.settings);
    for snapshot in config.versions() {
        let Ok(start) = snapshot.written.checked_add(delay) else { continue };
        if start <= now {
            let name = format!("{config_id}/{}", snapshot.version);
            let id = Uuid::new_v5(&Uuid::NAMESPACE_URL, name.as_bytes()).to_string();
            rows.push(Conversation { id, version: snapshot.version, start });
        }
    }
    rows
}

fn parse(body: &Map<String, Value>) -> Result<Query, Reply> {
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid_property(key));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    let config_id = text("configId").filter(|id| !id.is_empty()).ok_or_else(|| invalid_value("configId", "must be given"))?;
    let (from, to) = text("interval").and_then(interval).ok_or_else(|| {
        error(400, "invalid.date", "interval must be <from>/<to>, both RFC 3339, and from must not be after to")
    })?;
    let (any, versions) = body.get("filter").map_or_else(|| Ok((false, Vec::new())), filter)?;
    let page_size = count(body, "pageSize", 100)?;
    let page_number = count(body, "pageNumber", usize::MAX)?;
    Ok(Query { config_id: config_id.to_owned(), any, versions, from, to, page_size, page_number })
}

fn interval(text: &str) -> Option<(Timestamp, Timestamp)> {
    let (from, to) = text.split_once('/')?;
    let (from, to) = (Timestamp::from_str(from).ok()?, Timestamp::from_str(to).ok()?);
    (from <= to).then_some((from, to))
}

/// A whole number from 1 to `max`.
fn count(body: &Map<String, Value>, key: &str, max: usize) -> Result<usize, Reply> {
    let number = body.get(key).and_then(Value::as_u64).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| (1..=max).contains(number)).ok_or_else(|| invalid_value(key, "is missing or out of range"))
}

/// Whether one predicate is enough, and the values of all of them.
fn filter(filter: &Value) -> Result<(bool, Vec<String>), Reply> {
    let any = match filter.get("type").and_then(Value::as_str) {
        Some("and") => false,
        Some("or") => true,
        _ => return Err(invalid_value("filter.type", "must be and, or or")),
    };
    let predicates = match filter.get("predicates") {
        None => &Vec::new(),
        Some(Value::Array(predicates)) => predicates,
        Some(_) => return Err(bad_request("filter.predicates must be an array")),
    };
    let values = predicates.iter().map(predicate).collect::<Result<_, _>>()?;
    Ok((any, values))
}

fn predicate(predicate: &Value) -> Result<String, Reply> {
    let text = |key: &str| predicate.get(key).and_then(Value::as_str);
    match (text("dimension"), text("operator"), text("value")) {
        (Some("configVersionId"), Some("matches"), Some(value)) => Ok(value.to_owned()),
        _ => Err(invalid_value("filter.predicates", "must each be {dimension: configVersionId, operator: matches, value: text}")),
    }
}
