//! S1 and S2: reading the routing profile of an agent, and its full replacement under its version (contract 5).

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::configs::{json_object, lost};
use super::error_body::{invalid_property, invalid_value, not_found};
use super::journal::{Shown, digest};
use super::profile_store::{Profile, Snapshot};
use super::reply::{Body, Call, Effect, Reply};
use super::routes::Route;
use super::world::{State, World};

const PATTERN: &str = "/api/v2/users/{userId}/routing/profile";

/// S1 and S2.
pub(super) const ROUTES: &[Route] = &[
    Route {
        call: "S1",
        method: "GET",
        pattern: PATTERN,
        scopes: Some(&["routing:read", "user:read"]),
        write: false,
        handle: read,
    },
    Route { call: "S2", method: "PUT", pattern: PATTERN, scopes: Some(&["routing:write"]), write: true, handle: replace },
];

/// The keys that every profile may have.
const KEYS: [&str; 4] = ["id", "version", "name", "skills"];

/// The keys that every skill may have.
const SKILL_KEYS: [&str; 2] = ["skillId", "proficiency"];

/// S1.
fn read(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let state = world.state();
    let Some(profile) = state.users.get(id) else { return missing(id) };
    let Some(raw) = &profile.raw else {
        return document(id, if call.stale_read { &profile.previous } else { &profile.live }, Effect::default());
    };
    let shown = serde_json::from_slice(raw).ok().and_then(|value| shown_by(&value));
    let body = Body::Bytes { content_type: "application/json", encoding: None, bytes: raw.clone() };
    Reply::new(200, body).effect(Effect { shown, ..Effect::default() })
}

/// S2. Checked in this order: existence, schema, version.
fn replace(world: &World, call: &Call) -> Reply {
    let id = call.param(0).unwrap_or_default();
    let body = match json_object(call) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let mut state = world.state();
    let State { settings, users, .. } = &mut *state;
    let Some(profile) = users.get_mut(id) else { return missing(id) };
    if call.drop_write {
        return document(id, &profile.live, Effect::default());
    }
    match schema(id, profile, &body) {
        Err(refusal) => return refusal,
        Ok(version) if profile.live.version.checked_add(1) == Some(version) => {}
        Ok(version) => {
            let live = profile.live.version;
            return lost(settings, &format!("The version {version} does not match the current version {live} plus one"));
        }
    }
    let Some(mut effect) = profile.commit(body, settings) else {
        return invalid_value("version", "has no successor");
    };
    let reply = document(id, &profile.live, Effect::default());
    effect.shown = reply.effect.shown.clone();
    effect.change = Some(state.next_change());
    effect.changed_us = Some(world.now_us());
    reply.effect(effect)
}

/// Checks the body, and answers its version. What a profile has beyond the contract's schema may come back, so that it can be kept.
fn schema(id: &str, profile: &Profile, body: &Map<String, Value>) -> Result<i64, Reply> {
    let live = &profile.live.content;
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str()) && live.get(key.as_str()).is_none()) {
        return Err(invalid_property(key));
    }
    if body.get("id").and_then(Value::as_str) != Some(id) {
        return Err(invalid_value("id", "must be the user of the path"));
    }
    if body.get("name").is_some_and(|name| !name.is_string()) {
        return Err(invalid_value("name", "must be text"));
    }
    let skills = body.get("skills").and_then(Value::as_array).ok_or_else(|| invalid_value("skills", "must be an array"))?;
    let known = live.get("skills").and_then(Value::as_array);
    let known: BTreeSet<&str> =
        known.into_iter().flatten().filter_map(Value::as_object).flat_map(Map::keys).map(String::as_str).collect();
    let mut seen = BTreeSet::new();
    for skill in skills {
        let skill_id = check_skill(skill, &known)?;
        if !seen.insert(skill_id) {
            return Err(invalid_value("skills.skillId", &format!("{skill_id:?} occurs twice")));
        }
    }
    let version = body.get("version").ok_or_else(|| invalid_value("version", "must not be null"))?;
    let version = version.as_i64().filter(|version| *version >= 0);
    version.ok_or_else(|| invalid_value("version", "must be a whole number and not negative"))
}

/// Checks one skill, and answers its id.
fn check_skill<'a>(skill: &'a Value, known: &BTreeSet<&str>) -> Result<&'a str, Reply> {
    let members = skill.as_object().ok_or_else(|| invalid_value("skills", "must each be an object"))?;
    if let Some(key) = members.keys().find(|key| !SKILL_KEYS.contains(&key.as_str()) && !known.contains(key.as_str())) {
        return Err(invalid_property(&format!("skills.{key}")));
    }
    let in_range = skill["proficiency"].as_f64().is_some_and(|proficiency| (0.0..=1.0).contains(&proficiency));
    if !in_range {
        return Err(invalid_value("skills.proficiency", "must be a number from 0 to 1"));
    }
    let skill_id = skill["skillId"].as_str().filter(|skill_id| !skill_id.is_empty());
    skill_id.ok_or_else(|| invalid_value("skills.skillId", "must be text"))
}

/// Everything that is wrong with a profile of a seed.
pub(super) fn findings(id: &str, profile: &Value) -> Vec<String> {
    let Some(members) = profile.as_object() else { return vec![format!("user {id:?}: must be an object")] };
    let mut findings = Vec::new();
    if members.get("id").is_some_and(|named| named.as_str() != Some(id)) {
        findings.push(format!("user {id:?}: \"id\" must be left out or the same"));
    }
    if members.get("version").is_some_and(|version| version.as_i64().is_none_or(|version| version < 0)) {
        findings.push(format!("user {id:?}: version must be a whole number and not negative"));
    }
    if members.get("name").is_some_and(|name| !name.is_string()) {
        findings.push(format!("user {id:?}: name must be text"));
    }
    let mut seen = BTreeSet::new();
    match members.get("skills").map(Value::as_array) {
        None => {}
        Some(None) => findings.push(format!("user {id:?}: skills must be an array")),
        Some(Some(skills)) => {
            for (index, skill) in skills.iter().enumerate() {
                let keys: BTreeSet<&str> = skill.as_object().into_iter().flat_map(Map::keys).map(String::as_str).collect();
                match check_skill(skill, &keys) {
                    Err(_) => findings.push(format!("user {id:?}, skills[{index}]: needs skillId and a proficiency from 0 to 1")),
                    Ok(skill_id) if !seen.insert(skill_id) => {
                        findings.push(format!("user {id:?}: skill {skill_id:?} occurs twice"))
                    }
                    Ok(_) => {}
                }
            }
        }
    }
    findings
}

/// A 200 with the profile at one version.
fn document(id: &str, snapshot: &Snapshot, effect: Effect) -> Reply {
    Reply::json(snapshot.render(id)).effect(Effect { shown: Some(snapshot.shown()), ..effect })
}

/// What a profile that did not come from the state tells a client; none where it is no object.
pub(super) fn shown_by(document: &Value) -> Option<Shown> {
    let mut content = document.as_object()?.clone();
    let version = content.get("version").and_then(Value::as_i64);
    ["id", "version", "selfUri"].iter().for_each(|name| drop(content.remove(*name)));
    let guard = version.map(|version| version.to_string());
    Some(Shown { version, guard, content_sha256: digest(&Value::Object(content)) })
}

fn missing(id: &str) -> Reply {
    let mut reply = not_found("The user");
    if let Body::Error(body) = &mut reply.body {
        body["entityId"] = id.into();
    }
    reply
}
