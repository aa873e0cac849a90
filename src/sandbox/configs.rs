//! C1 to C3: reading an agent-assist config, a version of its past, and the guarded full replacement (contract 3).

use serde_json::{Map, Value};

use super::config_store::{Config, MAX_VERSION, Snapshot};
use super::error_body::{CONFLICT, bad_request, error, invalid_property, invalid_value, not_found};
use super::journal::{Shown, digest};
use super::reply::{Body, Call, Effect, Reply};
use super::routes::Route;
use super::settings::{ConflictStyle, MissingGuard, Settings};
use super::world::{State, World};

/// C1, C2 and C3.
pub(super) const ROUTES: &[Route] = &[
    Route {
        call: "C1",
        method: "GET",
        pattern: "/api/v2/agentassist/configs/{configId}",
        scopes: Some(&["agentassist:config:read"]),
        write: false,
        handle: read,
    },
    Route {
        call: "C2",
        method: "GET",
        pattern: "/api/v2/agentassist/configs/{configId}/versions/{version}",
        scopes: Some(&["agentassist:config:read"]),
        write: false,
        handle: read_version,
    },
    Route {
        call: "C3",
        method: "PUT",
        pattern: "/api/v2/agentassist/configs/{configId}",
        scopes: Some(&["agentassist:config:write", "agentassist:config:read"]),
        write: true,
        handle: replace,
    },
];

/// Keys that this schema never has, and those that only the server may write.
const REFUSED_KEYS: [&str; 5] = ["versionRevert", "trafficShift", "id", "etag", "selfUri"];

/// C1.
fn read(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let state = world.state();
    let Some(config) = state.configs.get(id) else { return missing(id) };
    let Some(raw) = config.raw.as_deref() else {
        let snapshot = if call.stale_read { config.previous() } else { &config.live };
        return document(id, snapshot, &state.settings, Effect::default());
    };
    let header = state.settings.etag_style.header(&config.live.tag);
    let shown = serde_json::from_slice(raw).ok().and_then(|value| shown_by(&value, header.as_deref()));
    let body = Body::Bytes { content_type: "application/json", encoding: None, bytes: raw.to_vec() };
    let reply = Reply::new(200, body).effect(Effect { shown, ..Effect::default() });
    with_tag(reply, header)
}

/// C2. The answer has the shape of C1, tag included: whoever takes it for a guard loses.
fn read_version(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let Some(version) = call.param(1).and_then(|version| version.parse::<i32>().ok()) else {
        return bad_request("version must be an int32");
    };
    let state = world.state();
    let Some(config) = state.configs.get(id) else { return missing(id) };
    match config.snapshot(version.into()) {
        Some(snapshot) => {
            let mut reply = document(id, snapshot, &state.settings, Effect::default());
            // A snapshot shows the past, not the state that a write may be computed from.
            reply.effect.shown = None;
            reply
        }
        None => not_found(&format!("Version {version} of the agent assist config")),
    }
}

/// C3. Checked in this order: existence, schema, guard present, tag, version.
fn replace(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let mut content = match json_object(call) {
        Ok(content) => content,
        Err(refusal) => return refusal,
    };
    let mut state = world.state();
    let State { settings, configs, .. } = &mut *state;
    let Some(config) = configs.get_mut(id) else { return missing(id) };
    if call.drop_write {
        return document(id, &config.live, settings, Effect::default());
    }
    if let Err(refusal) = schema(config, &content).and_then(|version| guard(config, call, version, settings)) {
        return refusal;
    }
    content.remove("version");
    let mut content = Value::Object(content);
    settings.normaliser.iter().for_each(|rule| rule.apply(&mut content));
    // A rule may aim at the document itself; what is no object any more counts as an empty one.
    let content = if let Value::Object(content) = content { content } else { Map::new() };
    let Some(mut effect) = config.commit(id, content, settings) else {
        return invalid_value("version", "has no successor");
    };
    let reply = document(id, &config.live, settings, Effect::default());
    effect.shown = reply.effect.shown.clone();
    effect.change = Some(state.next_change());
    effect.changed_us = Some(world.now_us());
    reply.effect(effect)
}

/// Checks the keys and answers the version of the body.
fn schema(config: &Config, content: &Map<String, Value>) -> Result<i64, Reply> {
    let allowed = |key: &str| key == "version" || config.allowed.as_ref().is_none_or(|allowed| allowed.contains(key));
    if let Some(key) = content.keys().find(|key| REFUSED_KEYS.contains(&key.as_str()) || !allowed(key)) {
        return Err(invalid_property(key));
    }
    let version = content.get("version").ok_or_else(|| invalid_value("version", "must not be null"))?;
    version
        .as_i64()
        .filter(|version| (0..=MAX_VERSION).contains(version))
        .ok_or_else(|| invalid_value("version", "must be an int32 and not negative"))
}

/// Checks the guard: the tag first, then the version.
fn guard(config: &Config, call: &Call, version: i64, settings: &Settings) -> Result<(), Reply> {
    let live = &config.live;
    let Some(tag) = call.header("if-match").filter(|tag| !tag.trim().is_empty()) else {
        return Err(match settings.missing_guard {
            MissingGuard::PreconditionRequired => error(428, "precondition.required", "If-Match is required"),
            MissingGuard::BadRequest => bad_request("If-Match is required"),
        });
    };
    // A style without a usable tag leaves the strong one: nobody was told it.
    let expected = settings.etag_style.guard(&live.tag).unwrap_or_else(|| live.tag.clone());
    if tag != expected {
        return Err(lost(settings, &format!("The entity tag does not match the current version {}", live.version)));
    }
    if version != live.version + 1 {
        let message = format!("The version {version} does not match the current version {} plus one", live.version);
        return Err(lost(settings, &message));
    }
    Ok(())
}

/// The guard lost: someone else wrote.
pub(super) fn lost(settings: &Settings, message: &str) -> Reply {
    let status = match settings.conflict_style {
        ConflictStyle::Conflict => 409,
        ConflictStyle::PreconditionFailed => 412,
        ConflictStyle::BadRequest => 400,
    };
    error(status, CONFLICT, message)
}

/// A 200 with the document of one version and its tag.
fn document(id: &str, snapshot: &Snapshot, settings: &Settings, effect: Effect) -> Reply {
    let style = settings.etag_style;
    let effect = Effect { shown: Some(snapshot.shown(style)), ..effect };
    with_tag(Reply::json(snapshot.render(id, style)).effect(effect), style.header(&snapshot.tag))
}

fn with_tag(reply: Reply, tag: Option<String>) -> Reply {
    match tag {
        Some(tag) => reply.header("ETag", tag),
        None => reply,
    }
}

fn missing(id: &str) -> Reply {
    let mut reply = not_found("The agent assist config");
    if let Body::Error(body) = &mut reply.body {
        body["entityId"] = id.into();
    }
    reply
}

/// The request body as a JSON object.
pub(super) fn json_object(call: &Call) -> Result<Map<String, Value>, Reply> {
    let media_type = call.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/json") {
        return Err(error(415, "unsupported.media.type", "The content type must be application/json"));
    }
    match serde_json::from_slice(&call.body) {
        Ok(Value::Object(object)) => Ok(object),
        Ok(_) => Err(bad_request("The request body must be a JSON object")),
        Err(cause) => Err(bad_request(format!("The request body could not be parsed: {cause}"))),
    }
}

/// What a document that did not come from the state tells a client; none where it is no object.
pub(super) fn shown_by(document: &Value, header_tag: Option<&str>) -> Option<Shown> {
    let mut content = document.as_object()?.clone();
    let version = content.get("version").and_then(Value::as_i64);
    let tag = header_tag.or_else(|| document.get("etag").and_then(Value::as_str));
    let guard = tag.and_then(|tag| match tag {
        strong_or_weak if strong_or_weak.starts_with('"') || strong_or_weak.starts_with("W/\"") => Some(tag.to_owned()),
        unquoted_weak if unquoted_weak.starts_with("W/") => None,
        _ => Some(format!("\"{tag}\"")),
    });
    ["id", "version", "etag", "selfUri"].iter().for_each(|name| drop(content.remove(*name)));
    Some(Shown { version, guard, content_sha256: digest(&Value::Object(content)) })
}
