//! S3: handle time and satisfaction per agent (contract 5). The metrics are those that were set, whatever the window.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::Date;
use serde_json::{Map, Value, json};

use super::configs::json_object;
use super::error_body::{error, invalid_property, invalid_value};
use super::journal::digest;
use super::reply::{Body, Call, Reply};
use super::routes::Route;
use super::world::World;

/// S3.
pub(super) const ROUTES: &[Route] = &[Route {
    call: "S3",
    method: "POST",
    pattern: "/api/v2/analytics/users/details/query",
    scopes: Some(&["analytics:read"]),
    write: false,
    handle: query,
}];

/// The keys of a request, all of which must be there.
const KEYS: [&str; 8] = ["dateFrom", "dateTo", "interval", "groupings", "metrics", "pageSize", "nextPageToken", "filter"];

/// Short and full names of the metrics.
const METRICS: [(&str, &str); 2] =
    [("handleTime", "conversation/summary/avgHandleTime"), ("satisfaction", "conversation/summary/avgCustomerSatisfaction")];

/// Most users of a request, and agents on a page (contract 5).
const MOST: usize = 100;

/// What S3 answers from.
#[derive(Debug, Default)]
pub(super) struct Analytics {
    /// By user, the metrics by their short names.
    users: BTreeMap<String, Map<String, Value>>,
    /// Bytes that S3 answers instead of a page.
    raw: Option<Vec<u8>>,
}

impl World {
    /// Sets the metrics of a user, whatever there was: average handle time in seconds and average satisfaction. None is a metric that answers
    /// leave out, [`Value::Null`] one that they name without a value, and text or a truth value is a server gone wrong. The user need not
    /// have a profile.
    pub fn set_metrics(&self, user_id: &str, handle_time: Option<Value>, satisfaction: Option<Value>) {
        let values = [("handleTime", handle_time), ("satisfaction", satisfaction)];
        let metrics = values.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?)));
        self.state().analytics.users.insert(user_id.to_owned(), metrics.collect());
    }

    /// Forgets the metrics of a user: answers do not name the user at all. Answers whether there were any.
    pub fn remove_metrics(&self, user_id: &str) -> bool {
        self.state().analytics.users.remove(user_id).is_some()
    }

    /// The metrics of a user by their short names, `handleTime` and `satisfaction`; none where answers do not name the user.
    pub fn metrics(&self, user_id: &str) -> Option<Value> {
        self.state().analytics.users.get(user_id).cloned().map(Value::Object)
    }

    /// From now on S3 answers these bytes, whatever they are; none: its pages again.
    pub fn set_raw_details(&self, body: Option<Vec<u8>>) {
        self.state().analytics.raw = body;
    }
}

/// Everything that is wrong with the metrics of a user.
pub(super) fn findings(id: &str, metrics: &Value) -> Vec<String> {
    let Some(members) = metrics.as_object() else { return vec![format!("analytics of {id:?}: must be an object")] };
    let unknown = members.keys().filter(|name| METRICS.iter().all(|(short, _)| short != name));
    unknown.map(|name| format!("analytics of {id:?}: there is no metric {name:?}, only handleTime and satisfaction")).collect()
}

/// A checked request.
struct Query {
    users: BTreeSet<String>,
    /// Their short and full names.
    metrics: Vec<(&'static str, &'static str)>,
    page_size: usize,
    token: String,
    /// Part of every token: one of another query is none of this one.
    mark: String,
}

/// S3: agents by their ids; those without metrics are absent.
fn query(world: &World, call: &Call) -> Reply {
    let query = match json_object(call).and_then(|body| parse(&body)) {
        Ok(query) => query,
        Err(refusal) => return refusal,
    };
    let state = world.state();
    let page_size = state.settings.details_page_size.map_or(query.page_size, |size| size.clamp(1, query.page_size));
    let skipped = match offset(&query, page_size) {
        Ok(skipped) => skipped,
        Err(refusal) => return refusal,
    };
    if let Some(raw) = &state.analytics.raw {
        return Reply::new(200, Body::Bytes { content_type: "application/json", encoding: None, bytes: raw.clone() });
    }
    let found: Vec<(&String, &Map<String, Value>)> =
        state.analytics.users.iter().filter(|(user, _)| query.users.contains(*user)).collect();
    let entities: Vec<Value> =
        found.iter().skip(skipped).take(page_size).map(|(user, metrics)| entity(user, metrics, &query)).collect();
    let next = skipped.saturating_add(page_size);
    let token = if state.settings.repeat_page_token {
        format!("{}-{page_size}", query.mark)
    } else if next < found.len() {
        format!("{}-{next}", query.mark)
    } else {
        String::new()
    };
    Reply::json(json!({"entities": entities, "nextPageToken": token}))
}

fn entity(user: &str, metrics: &Map<String, Value>, query: &Query) -> Value {
    let asked = query.metrics.iter().filter_map(|(short, full)| Some(((*full).to_owned(), metrics.get(*short)?.clone())));
    json!({"entityId": user, "metrics": asked.collect::<Map<_, _>>()})
}

/// How many agents the token passes over.
fn offset(query: &Query, page_size: usize) -> Result<usize, Reply> {
    if query.token.is_empty() {
        return Ok(0);
    }
    let offset = query.token.strip_prefix(&query.mark).and_then(|rest| rest.strip_prefix('-')?.parse::<usize>().ok());
    let offset = offset.filter(|offset| *offset > 0 && offset.is_multiple_of(page_size));
    offset.ok_or_else(|| invalid_value("nextPageToken", "belongs to no page of this query"))
}

fn parse(body: &Map<String, Value>) -> Result<Query, Reply> {
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid_property(key));
    }
    if let Some(key) = KEYS.iter().find(|key| !body.contains_key(**key)) {
        return Err(invalid_value(key, "must be given"));
    }
    window(body)?;
    if body.get("groupings") != Some(&json!(["user"])) {
        return Err(invalid_value("groupings", "must be [user]"));
    }
    let page_size = body.get("pageSize").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
    let page_size = page_size.filter(|size| (1..=MOST).contains(size));
    let page_size = page_size.ok_or_else(|| invalid_value("pageSize", "must be a whole number from 1 to 100"))?;
    let token =
        body.get("nextPageToken").and_then(Value::as_str).ok_or_else(|| invalid_value("nextPageToken", "must be text"))?;
    let mut rest = body.clone();
    rest.remove("nextPageToken");
    let mark = digest(&Value::Object(rest)).get(..8).unwrap_or_default().to_owned();
    let users = clauses(body.get("filter").unwrap_or(&Value::Null))?;
    Ok(Query { users, metrics: metrics(body)?, page_size, token: token.to_owned(), mark })
}

/// Checks the window: two days, and one bucket that covers them.
fn window(body: &Map<String, Value>) -> Result<(), Reply> {
    let wrong = |why: &str| error(400, "invalid.date", why);
    let day = |key: &str| body.get(key).and_then(Value::as_str).and_then(day);
    let (Some(from), Some(to)) = (day("dateFrom"), day("dateTo")) else {
        return Err(wrong("dateFrom and dateTo must be days, YYYY-MM-DD"));
    };
    if from >= to {
        return Err(wrong("dateFrom must be before dateTo, which is exclusive"));
    }
    let days = from.duration_until(to).as_hours() / 24;
    if body.get("interval").and_then(Value::as_str) != Some(format!("P{days}D").as_str()) {
        return Err(invalid_value("interval", &format!("must be P{days}D: one bucket that covers the window")));
    }
    Ok(())
}

fn day(text: &str) -> Option<Date> {
    // The parser takes other forms of a date too.
    text.parse::<Date>().ok().filter(|date| date.to_string() == text)
}

fn metrics(body: &Map<String, Value>) -> Result<Vec<(&'static str, &'static str)>, Reply> {
    let asked = body.get("metrics").and_then(Value::as_array).filter(|asked| !asked.is_empty());
    let asked = asked.ok_or_else(|| invalid_value("metrics", "must be a list of names"))?;
    let known = |name: &Value| METRICS.into_iter().find(|(_, full)| *name == **full);
    asked.iter().map(|name| known(name).ok_or_else(|| invalid_value("metrics", &format!("has no {name}")))).collect()
}

/// The users of a filter.
fn clauses(filter: &Value) -> Result<BTreeSet<String>, Reply> {
    let members = filter.as_object().ok_or_else(|| invalid_value("filter", "must be an object"))?;
    if let Some(key) = members.keys().find(|key| !["type", "clauses"].contains(&key.as_str())) {
        return Err(invalid_property(&format!("filter.{key}")));
    }
    if filter["type"] != "or" {
        return Err(invalid_value("filter.type", "must be or"));
    }
    let clauses = filter["clauses"].as_array().filter(|clauses| (1..=MOST).contains(&clauses.len()));
    let clauses = clauses.ok_or_else(|| invalid_value("filter.clauses", "must be 1 to 100 clauses"))?;
    clauses.iter().map(clause).collect()
}

fn clause(clause: &Value) -> Result<String, Reply> {
    let value = clause["value"].as_str().filter(|value| !value.is_empty());
    let expected = value.map(|value| json!({"type": "string", "path": "user.id", "op": "equals", "value": value}));
    let value = value.filter(|_| expected.as_ref() == Some(clause)).map(str::to_owned);
    value.ok_or_else(|| invalid_value("filter.clauses", "must each be {type: string, path: user.id, op: equals, value: text}"))
}
