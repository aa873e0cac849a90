//! S3: handle time and satisfaction per agent (contract section 5). It never triggers a write by itself.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

use jiff::Timestamp;
use reqwest::Method;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Number, Value, json};

use super::call::{Answer, Call};
use super::client::Session;
use super::error::{Error, ErrorKind};
use super::retry::RetryClass;

/// Most users that one request asks about (contract section 5).
pub const MAX_USERS: usize = 100;

/// Agents on a page.
const PAGE_SIZE: usize = 100;

/// Pages that a scan reads at most: twice as many as there can be, one agent each.
const MAX_PAGES: usize = 2 * MAX_USERS;

/// The metric of the handle time, in seconds.
const HANDLE_TIME: &str = "conversation/summary/avgHandleTime";

/// The metric of the satisfaction.
const SATISFACTION: &str = "conversation/summary/avgCustomerSatisfaction";

/// What is asked.
#[derive(Debug, Clone, Copy)]
pub struct UserQuery<'a> {
    /// The agents, 1 to [`MAX_USERS`].
    pub users: &'a [String],
    /// First day, UTC, as `YYYY-MM-DD`.
    pub date_from: &'a str,
    /// The day after the last one.
    pub date_to: &'a str,
    /// The one bucket, which covers the window: `P7D`.
    pub interval: &'a str,
    /// Where to go on; empty at the beginning.
    pub page_token: &'a str,
}

/// A metric that an answer has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Metric {
    /// A finite number, as the answer wrote it.
    Number(Number),
    /// Anything else: text, a truth value, a number beyond all bounds, or two different ones for the same agent.
    Bad,
}

/// The metrics of an agent. None where one is absent or null: no data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserMetrics {
    /// The agent, who need not be one that was asked about.
    pub user_id: String,
    /// Average handle time in seconds.
    pub handle_time: Option<Metric>,
    /// Average satisfaction of the customers.
    pub satisfaction: Option<Metric>,
}

/// A page of S3.
#[derive(Debug, Clone)]
pub struct DetailsPage {
    /// The agents on it, in its order.
    pub entities: Vec<UserMetrics>,
    /// Where the next page begins; None where this is the last.
    pub next_page_token: Option<String>,
    /// The server's clock at this answer.
    pub date: Option<Timestamp>,
    /// The platform's correlation id.
    pub correlation_id: Option<String>,
    /// Requests that it took (T1 not counted).
    pub requests: u32,
}

/// All pages of a query.
#[derive(Debug, Clone)]
pub struct Details {
    /// Each agent once, in the order of the pages. Those without any data may be absent.
    pub entities: Vec<UserMetrics>,
    /// The server's clock at the last page.
    pub date: Option<Timestamp>,
    /// The platform's correlation id of the last page.
    pub correlation_id: Option<String>,
    /// Requests that all pages took (T1 not counted).
    pub requests: u32,
}

/// S3: one page.
///
/// # Errors
/// [`ErrorKind::Configuration`] where there are no users, or too many; [`ErrorKind::BadAnswer`] where the answer has no list of
/// entities, or one without an id.
pub async fn query(session: &mut Session, query: &UserQuery<'_>) -> Result<DetailsPage, Error> {
    if !(1..=MAX_USERS).contains(&query.users.len()) {
        let detail = format!("{} users in one request, 1 to {MAX_USERS} are allowed", query.users.len());
        return Err(Error::new("S3", ErrorKind::Configuration).because(detail));
    }
    let path = ["api", "v2", "analytics", "users", "details", "query"];
    let call = Call::new("S3", Method::POST, RetryClass::Read, &path).json(&request(query));
    page(session.send(call).await?)
}

/// S3: all pages, from the token of the query on.
///
/// # Errors
/// As [`query`]. A page that fails fails the scan: part of an answer is none. So does a token that was seen before, and pages without
/// end: both are [`ErrorKind::BadAnswer`].
pub async fn all(session: &mut Session, first: &UserQuery<'_>) -> Result<Details, Error> {
    let mut merged = Merged::default();
    let mut seen = HashSet::from([first.page_token.to_owned()]);
    let (mut token, mut requests) = (first.page_token.to_owned(), 0);
    for _ in 0..MAX_PAGES {
        let page = query(session, &UserQuery { page_token: &token, ..*first }).await.map_err(|error| counted(error, requests))?;
        requests += page.requests;
        page.entities.into_iter().for_each(|metrics| merged.add(metrics));
        let Some(next) = page.next_page_token else {
            return Ok(Details { entities: merged.entities, date: page.date, correlation_id: page.correlation_id, requests });
        };
        if !seen.insert(next.clone()) {
            let error = Error::new("S3", ErrorKind::BadAnswer).because("a page token came a second time: the pages have no end");
            return Err(counted(error, requests));
        }
        token = next;
    }
    let error = Error::new("S3", ErrorKind::BadAnswer).because(format!("there are more than {MAX_PAGES} pages"));
    Err(counted(error, requests))
}

/// The error with the requests of the pages before it.
fn counted(mut error: Error, earlier: u32) -> Error {
    error.requests += earlier;
    error
}

fn request(query: &UserQuery<'_>) -> Value {
    let clauses = query.users.iter().map(|id| json!({"type": "string", "path": "user.id", "op": "equals", "value": id}));
    json!({
        "dateFrom": query.date_from,
        "dateTo": query.date_to,
        "interval": query.interval,
        "groupings": ["user"],
        "metrics": [HANDLE_TIME, SATISFACTION],
        "pageSize": PAGE_SIZE,
        "nextPageToken": query.page_token,
        "filter": {"type": "or", "clauses": clauses.collect::<Vec<_>>()},
    })
}

/// Agents that pages named, each once.
#[derive(Default)]
struct Merged {
    entities: Vec<UserMetrics>,
    index: HashMap<String, usize>,
}

impl Merged {
    /// There is one bucket, so two different figures of an agent cannot both be right, and nobody knows which one is.
    fn add(&mut self, metrics: UserMetrics) {
        match self.index.entry(metrics.user_id.clone()) {
            Entry::Vacant(entry) => {
                entry.insert(self.entities.len());
                self.entities.push(metrics);
            }
            Entry::Occupied(entry) => {
                if let Some(known) = self.entities.get_mut(*entry.get()) {
                    merge(&mut known.handle_time, metrics.handle_time);
                    merge(&mut known.satisfaction, metrics.satisfaction);
                }
            }
        }
    }
}

fn merge(known: &mut Option<Metric>, found: Option<Metric>) {
    if known.is_none() {
        *known = found;
    } else if found.is_some() && *known != found {
        *known = Some(Metric::Bad);
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WirePage {
    entities: Vec<WireEntity>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntity {
    entity_id: String,
    /// As text: one number that no type holds must not cost the whole page.
    #[serde(default)]
    metrics: Option<BTreeMap<String, Box<RawValue>>>,
}

impl From<WireEntity> for UserMetrics {
    fn from(entity: WireEntity) -> UserMetrics {
        let metrics = entity.metrics.unwrap_or_default();
        let metric = |name: &str| metric(metrics.get(name)?.get());
        UserMetrics { user_id: entity.entity_id, handle_time: metric(HANDLE_TIME), satisfaction: metric(SATISFACTION) }
    }
}

fn metric(json: &str) -> Option<Metric> {
    match serde_json::from_str(json) {
        Ok(Value::Null) => None,
        Ok(Value::Number(number)) => Some(Metric::Number(number)),
        Ok(Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_)) | Err(_) => Some(Metric::Bad),
    }
}

fn page(answer: Answer) -> Result<DetailsPage, Error> {
    let mut parser = serde_json::Deserializer::from_slice(&answer.body);
    let page: WirePage = serde_path_to_error::deserialize(&mut parser).map_err(|error| {
        // The path only: the cause would quote content.
        let mut bad = Error::new("S3", ErrorKind::BadAnswer).because(format!("not the expected shape at '{}'", error.path()));
        bad.requests = answer.requests;
        bad
    })?;
    Ok(DetailsPage {
        entities: page.entities.into_iter().map(UserMetrics::from).collect(),
        next_page_token: page.next_page_token.filter(|token| !token.is_empty()),
        date: answer.date,
        correlation_id: answer.correlation_id,
        requests: answer.requests,
    })
}

#[cfg(test)]
mod tests;
