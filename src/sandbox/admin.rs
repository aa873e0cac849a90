//! The steering surface under `/sandbox/`: what tests do through [`World`], over HTTP. It takes no credentials, so it answers loopback
//! clients only, and its requests are not in the journal; the changes that they make are.

mod prompts;
mod skills;

use std::collections::BTreeMap;

use jiff::Timestamp;
use percent_encoding::percent_decode_str;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::config_store::merge_patch;
use super::error_body::{bad_request, error, not_found};
use super::faults::Fault;
use super::invariants::{Expectations, check_with};
use super::reply::{Body, Call, Reply};
use super::settings::Settings;
use super::wire::Wire;
use super::world::World;

/// Whether a path belongs to this surface.
pub(super) fn owns(path: &str) -> bool {
    path == "/sandbox" || path.starts_with("/sandbox/")
}

/// Answers an admin request.
pub(super) fn handle(world: &World, wire: &Wire, call: &Call) -> Reply {
    let nothing = || not_found("The requested resource");
    // A page in a browser on this machine is not the one who started the sandbox.
    if !wire.is_loopback() || call.header("origin").is_some() {
        return nothing();
    }
    let decoded: Option<Vec<String>> = call
        .path
        .split('/')
        .skip(2)
        .map(|segment| percent_decode_str(segment).decode_utf8().ok().map(std::borrow::Cow::into_owned))
        .collect();
    let Some(segments) = decoded else { return nothing() };
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let result = match (call.method.as_str(), segments.as_slice()) {
        ("GET", ["state"]) => Ok(state(world)),
        ("GET", ["violations"]) => violations(world, call),
        (method, ["journal"]) => journal(world, call, method),
        (method, ["settings"]) => settings(world, call, method),
        ("GET", ["configs"]) => Ok(Reply::json(json!(world.config_ids()))),
        (method, ["configs", id]) => config(world, call, method, id),
        (method, ["configs", id, part]) => config_part(world, call, method, id, part),
        (method, ["prompts", rest @ ..]) => prompts::handle(world, call, method, rest),
        (method, ["users", rest @ ..]) => skills::handle(world, call, method, rest),
        (method, ["analytics", "raw"]) => skills::raw_details(world, call, method),
        (method, ["alerts"]) => skills::alerts(world, method),
        (method, ["audit", part]) => audit(world, call, method, part),
        ("POST", ["conversations"]) => conversation(world, call),
        (method, ["faults"]) => faults(world, call, method),
        ("DELETE", ["faults", id]) => Ok(found(id.parse().is_ok_and(|id| world.faults().remove(id)))),
        (method, ["clients", id]) => client(world, call, method, id),
        ("DELETE", ["tokens"]) => {
            world.revoke_tokens();
            Ok(done())
        }
        _ => Ok(nothing()),
    };
    result.unwrap_or_else(|refusal| refusal)
}

/// 204.
fn done() -> Reply {
    Reply::new(204, Body::Empty)
}

fn found(found: bool) -> Reply {
    if found { done() } else { not_found("The object") }
}

fn not_allowed() -> Reply {
    error(405, "method.not.allowed", "The method is not allowed here")
}

/// The request body as a typed value; the error names the field.
fn body<T: DeserializeOwned>(call: &Call) -> Result<T, Reply> {
    let mut json = serde_json::Deserializer::from_slice(&call.body);
    serde_path_to_error::deserialize(&mut json).map_err(|cause| bad_request(cause.to_string()))
}

/// A number of the query.
fn parameter(call: &Call, name: &str) -> Result<Option<u64>, Reply> {
    let query = call.query.as_deref().unwrap_or_default();
    let value = url::form_urlencoded::parse(query.as_bytes()).find(|(key, _)| key == name);
    value.map(|(_, value)| value.parse().map_err(|_| bad_request(format!("{name} must be a whole number")))).transpose()
}

/// GET state: what there is, by name.
fn state(world: &World) -> Reply {
    let configs: BTreeMap<String, Value> = world
        .config_ids()
        .into_iter()
        .filter_map(|id| world.config(&id).map(|config| (id, json!({"version": config["version"], "etag": config["etag"]}))))
        .collect();
    let live = |id: &str| world.live_prompt(id).map_or(Value::Null, |mut live| live["version"].take());
    let prompts: BTreeMap<String, Value> = world.prompt_ids().into_iter().map(|id| (id.clone(), live(&id))).collect();
    let version = |id: &str| world.user(id).map_or(Value::Null, |mut user| user["version"].take());
    let users: BTreeMap<String, Value> = world.user_ids().into_iter().map(|id| (id.clone(), version(&id))).collect();
    let (entries, dropped) = world.journal_size();
    Reply::json(json!({
        "clients": world.client_scopes(),
        "configs": configs,
        "prompts": prompts,
        "users": users,
        "alerts": world.alerts().len(),
        "auditRecords": world.audit_records().len(),
        "faults": world.faults().list().len(),
        "settings": world.settings(),
        "journal": {"entries": entries, "dropped": dropped},
        "inFlight": world.in_flight(),
    }))
}

/// GET journal (`?since=seq`), DELETE journal.
fn journal(world: &World, call: &Call, method: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => {
            let entries = world.journal_since(parameter(call, "since")?.unwrap_or(0));
            Ok(Reply::json(json!({"entries": entries, "dropped": world.journal_size().1})))
        }
        "DELETE" => {
            world.clear_journal();
            Ok(done())
        }
        _ => Err(not_allowed()),
    }
}

/// GET violations (`?callsPerMinute=n`): the checker's verdict on the journal so far.
fn violations(world: &World, call: &Call) -> Result<Reply, Reply> {
    let limit = parameter(call, "callsPerMinute")?.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    let expectations = Expectations { calls_per_minute: limit, ..Expectations::default() };
    Ok(Reply::json(json!({"violations": check_with(&world.journal(), &expectations)})))
}

/// GET settings, PUT settings: what is named changes, the rest stays.
fn settings(world: &World, call: &Call, method: &str) -> Result<Reply, Reply> {
    if method == "PUT" {
        let patch: Value = body(call)?;
        let mut merged = json!(world.settings());
        merge_patch(&mut merged, &patch);
        let settings: Settings = serde_path_to_error::deserialize(merged).map_err(|cause| bad_request(cause.to_string()))?;
        world.set(|current| *current = settings);
    } else if method != "GET" {
        return Err(not_allowed());
    }
    Ok(Reply::json(json!(world.settings())))
}

/// GET, PUT (as seed), PATCH (a foreign edit by JSON merge patch) and DELETE of one config.
fn config(world: &World, call: &Call, method: &str, id: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => {}
        "PUT" => {
            let document: Value = body(call)?;
            if !document.is_object() {
                return Err(bad_request("the document must be an object"));
            }
            world.put_config(id, document);
        }
        "PATCH" => {
            let patch: Value = body(call)?;
            if world.config(id).is_some() && !world.edit_config(id, |document| merge_patch(document, &patch)) {
                return Err(bad_request("the edit leaves no object, or the version has no successor"));
            }
        }
        "DELETE" => return Ok(found(world.remove_config(id))),
        _ => return Err(not_allowed()),
    }
    Ok(world.config(id).map_or_else(|| not_found("The config"), Reply::json))
}

/// GET history; PUT (any bytes) and DELETE raw: the body that C1 answers.
fn config_part(world: &World, call: &Call, method: &str, id: &str, part: &str) -> Result<Reply, Reply> {
    match (method, part) {
        ("GET", "history") => {
            let documents: Vec<Value> = world.history(id).into_iter().map(|(_, document)| document).collect();
            Ok(Reply::json(json!(documents)))
        }
        ("PUT", "raw") => Ok(found(world.set_raw_body(id, Some(call.body.clone())))),
        ("DELETE", "raw") => Ok(found(world.set_raw_body(id, None))),
        _ => Err(not_found("The requested resource")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewConversation {
    config_id: String,
    version: i64,
    /// Unset: now.
    start_time: Option<Timestamp>,
}

/// POST conversations.
fn conversation(world: &World, call: &Call) -> Result<Reply, Reply> {
    let NewConversation { config_id, version, start_time } = body(call)?;
    let now = || super::world::wall_clock(&world.settings());
    world.add_conversation(&config_id, version, start_time.unwrap_or_else(now));
    Ok(done())
}

/// GET, POST (one fault) and DELETE faults.
fn faults(world: &World, call: &Call, method: &str) -> Result<Reply, Reply> {
    let faults = world.faults();
    match method {
        "GET" => {
            let list: Vec<Value> = faults.list().into_iter().map(|(id, fault)| json!({"id": id, "fault": fault})).collect();
            Ok(Reply::json(json!(list)))
        }
        "POST" => {
            let fault: Fault = body(call)?;
            Ok(Reply::json(json!({"id": faults.push(fault)})))
        }
        "DELETE" => {
            faults.clear();
            Ok(done())
        }
        _ => Err(not_allowed()),
    }
}

/// GET and DELETE records; PUT (`{"key": …}`) and DELETE key: what the signatures of records are checked with.
fn audit(world: &World, call: &Call, method: &str, part: &str) -> Result<Reply, Reply> {
    match (method, part) {
        ("GET", "records") => return Ok(Reply::json(world.audit_report())),
        ("DELETE", "records") => world.clear_audit_records(),
        ("PUT", "key") => {
            let AuditKey { key } = body(call)?;
            world.set_audit_key(Some(&key));
        }
        ("DELETE", "key") => world.set_audit_key(None),
        _ => return Err(not_found("The requested resource")),
    }
    Ok(done())
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AuditKey {
    key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct ClientChange {
    secret: Option<String>,
    scopes: Option<Vec<String>>,
}

/// PUT (secret and scopes, each where named; a new client needs its secret) and DELETE of one client.
fn client(world: &World, call: &Call, method: &str, id: &str) -> Result<Reply, Reply> {
    match method {
        "PUT" => {
            let ClientChange { secret, scopes } = body(call)?;
            if !world.client_scopes().contains_key(id) {
                let secret = secret.clone().ok_or_else(|| bad_request("a new client needs a secret"))?;
                world.add_client(id, &secret, &World::all_scopes());
            }
            if let Some(secret) = secret {
                world.rotate_secret(id, &secret);
            }
            if let Some(scopes) = scopes {
                world.set_scopes(id, &scopes.iter().map(String::as_str).collect::<Vec<_>>());
            }
            Ok(done())
        }
        "DELETE" => {
            world.remove_client(id);
            Ok(done())
        }
        _ => Err(not_allowed()),
    }
}
