//! P1 and P2: the versions of a prompt template, and the promotion of a new one (contract 4).

use serde_json::{Map, Value, json};

use super::configs::json_object;
use super::error_body::{bad_request, error, not_found};
use super::journal::{Document, Shown, digest};
use super::prompt_rules::{self, Test};
use super::prompt_store::Template;
use super::reply::{Body, Call, Effect, Reply};
use super::routes::Route;
use super::world::{State, World};

const PATTERN: &str = "/api/v2/ai/prompt-templates/{templateId}/versions";

/// P1 and P2.
pub(super) const ROUTES: &[Route] = &[
    Route {
        call: "P1",
        method: "GET",
        pattern: PATTERN,
        scopes: Some(&["ai:prompt-template:read"]),
        write: false,
        handle: versions,
    },
    Route {
        call: "P2",
        method: "POST",
        pattern: PATTERN,
        scopes: Some(&["ai:prompt-template:write", "ai:llm-gateway:manage"]),
        write: true,
        handle: promote,
    },
];

/// Most versions on a page (contract 4).
const MAX_PAGE_SIZE: usize = 25;

/// The platform's code of a refused promotion.
const CONFLICT: &str = "request.conflict";

/// P1. Only the first page tells the live version, so only it is noted as shown.
fn versions(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let (size, number) = match (count(call, "pageSize", MAX_PAGE_SIZE), count(call, "pageNumber", usize::MAX)) {
        (Ok(size), Ok(number)) => (size.unwrap_or(MAX_PAGE_SIZE), number.unwrap_or(1)),
        (Err(refusal), _) | (_, Err(refusal)) => return refusal,
    };
    let state = world.state();
    let Some(template) = state.prompts.get(id) else { return missing(id) };
    let page = match &template.raw {
        Some(raw) => {
            let body = Body::Bytes { content_type: "application/json", encoding: None, bytes: raw.clone() };
            return shown(Reply::new(200, body), number, serde_json::from_slice(raw).ok());
        }
        None => page(template, size, number, usize::from(call.stale_read)),
    };
    shown(Reply::json(page.clone()), number, Some(page))
}

/// A page, without the newest `hidden` versions.
fn page(template: &Template, size: usize, number: usize, hidden: usize) -> Value {
    let all: Vec<&Document> = template.newest_first().skip(hidden).collect();
    let skipped = size.saturating_mul(number - 1);
    let entities: Vec<Value> = all.iter().skip(skipped).take(size).map(|version| version.to_value()).collect();
    json!({"entities": entities, "pageNumber": number, "pageCount": all.len().div_ceil(size), "total": all.len()})
}

fn shown(mut reply: Reply, number: usize, page: Option<Value>) -> Reply {
    let list = page.as_ref().and_then(|page| page.get("entities")).filter(|_| number == 1);
    reply.effect.shown = list.map(|list| Shown { version: None, guard: None, content_sha256: digest(list) });
    reply
}

/// A whole number of the query from 1 to `max`; none where it is absent.
fn count(call: &Call, name: &str, max: usize) -> Result<Option<usize>, Reply> {
    let query = call.query.as_deref().unwrap_or_default();
    let Some((_, value)) = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name) else { return Ok(None) };
    let number = value.parse::<usize>().ok().filter(|number| (1..=max).contains(number));
    number.map(Some).ok_or_else(|| error(400, "invalid.query.param.value", format!("{name} is not valid: {value}")))
}

/// P2. Checked in this order: existence, schema, header, content, rollback flag, number.
fn promote(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let body = match json_object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut state = world.state();
    let State { settings, prompts, .. } = &mut *state;
    let Some(template) = prompts.get_mut(id) else { return missing(id) };
    if call.drop_write {
        return version(200, id, template.live(), Effect::default());
    }
    let checked = prompt_rules::schema(id, &body)
        .and_then(|test| header(call, test.as_ref()))
        .and_then(|()| if settings.prompt_rules { prompt_rules::content(&body) } else { Ok(()) });
    if let Err(refusal) = checked.and_then(|()| free(template, &body)) {
        return refusal;
    }
    let mut effect = template.commit(body, settings);
    let live = template.live().cloned();
    effect.change = Some(state.next_change());
    effect.changed_us = Some(world.now_us());
    let shown = live.as_ref().map(|live| Shown { version: None, guard: None, content_sha256: digest(live) });
    version(201, id, live.as_ref(), Effect { shown, ..effect })
}

/// The header says what the body says.
fn header(call: &Call, test: Option<&Test>) -> Result<(), Reply> {
    let sent = call.header("x-genesys-ab-test");
    match test {
        Some(test) if sent == Some(test.header().as_str()) => Ok(()),
        Some(test) => Err(bad_request(format!("X-Genesys-AB-Test must be {}", test.header()))),
        // Also one that is no text.
        None if call.headers.contains_key("x-genesys-ab-test") => {
            Err(bad_request("X-Genesys-AB-Test must be absent without abTestingTrigger"))
        }
        None => Ok(()),
    }
}

/// Whether the template takes this version now.
fn free(template: &Template, body: &Map<String, Value>) -> Result<(), Reply> {
    if template.rollback_flag {
        return Err(error(409, CONFLICT, "The rollback flag of the prompt template is on: no version can be promoted"));
    }
    let number = body.get("version").and_then(Value::as_str).unwrap_or_default();
    if template.has(number) {
        return Err(error(409, CONFLICT, format!("Version {number} of the prompt template exists already")));
    }
    Ok(())
}

/// An answer with a version; of a template without one it shows the template only.
fn version(status: u16, id: &str, version: Option<&Document>, effect: Effect) -> Reply {
    let mut body = version.map_or_else(|| json!({}), Document::to_value);
    body["templateId"] = id.into();
    Reply::new(status, Body::Json(body)).effect(effect)
}

fn missing(id: &str) -> Reply {
    let mut reply = not_found("The prompt template");
    if let Body::Error(body) = &mut reply.body {
        body["entityId"] = id.into();
    }
    reply
}
