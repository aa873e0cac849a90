//! Routing profiles and metrics under `/sandbox/users`.

use serde_json::{Value, json};

use super::super::config_store::merge_patch;
use super::super::error_body::{bad_request, not_found};
use super::super::reply::{Call, Reply};
use super::super::world::World;
use super::super::{profiles, user_details};
use super::{body, done, found, not_allowed};

/// Answers a request whose path goes on so behind `/sandbox/users`.
pub(super) fn handle(world: &World, call: &Call, method: &str, rest: &[&str]) -> Result<Reply, Reply> {
    match (method, rest) {
        ("GET", []) => Ok(Reply::json(json!(world.user_ids()))),
        (method, [id]) => profile(world, call, method, id),
        ("PUT", [id, "skills", skill]) => Ok(found(world.set_skill(id, skill, Some(proficiency(call)?)))),
        ("DELETE", [id, "skills", skill]) => Ok(found(world.skill(id, skill).is_some() && world.set_skill(id, skill, None))),
        ("PUT", [id, "raw"]) => Ok(found(world.set_raw_profile(id, Some(call.body.clone())))),
        ("DELETE", [id, "raw"]) => Ok(found(world.set_raw_profile(id, None))),
        (method, [id, "metrics"]) => metrics(world, call, method, id),
        _ => Err(not_found("The requested resource")),
    }
}

/// GET, PUT (as seed), PATCH (a foreign edit by JSON merge patch) and DELETE of one profile.
fn profile(world: &World, call: &Call, method: &str, id: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => {}
        "PUT" => {
            let document: Value = body(call)?;
            check(profiles::findings(id, &document))?;
            world.put_user(id, document);
        }
        "PATCH" => {
            let patch: Value = body(call)?;
            let edit = |document: &mut Value| merge_patch(document, &patch);
            if let Some(mut document) = world.user(id) {
                edit(&mut document);
                check(profiles::findings(id, &document))?;
                world.edit_user(id, edit);
            }
        }
        "DELETE" => return Ok(found(world.remove_user(id))),
        _ => return Err(not_allowed()),
    }
    Ok(world.user(id).map_or_else(|| not_found("The user"), Reply::json))
}

/// GET, PUT (`{"handleTime": …, "satisfaction": …}`, any values) and DELETE of a user's metrics.
fn metrics(world: &World, call: &Call, method: &str, id: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => Ok(world.metrics(id).map_or_else(|| not_found("The metrics"), Reply::json)),
        "PUT" => {
            let metrics: Value = body(call)?;
            check(user_details::findings(id, &metrics))?;
            world.set_metrics(id, metrics.get("handleTime").cloned(), metrics.get("satisfaction").cloned());
            Ok(done())
        }
        "DELETE" => Ok(found(world.remove_metrics(id))),
        _ => Err(not_allowed()),
    }
}

/// PUT (any bytes) and DELETE `/sandbox/analytics/raw`: what S3 answers.
pub(super) fn raw_details(world: &World, call: &Call, method: &str) -> Result<Reply, Reply> {
    match method {
        "PUT" => world.set_raw_details(Some(call.body.clone())),
        "DELETE" => world.set_raw_details(None),
        _ => return Err(not_allowed()),
    }
    Ok(done())
}

/// GET and DELETE `/sandbox/alerts`.
pub(super) fn alerts(world: &World, method: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => Ok(Reply::json(world.alert_report())),
        "DELETE" => {
            world.clear_alerts();
            Ok(done())
        }
        _ => Err(not_allowed()),
    }
}

fn proficiency(call: &Call) -> Result<f64, Reply> {
    let proficiency: f64 = body(call)?;
    if (0.0..=1.0).contains(&proficiency) { Ok(proficiency) } else { Err(bad_request("a proficiency is from 0 to 1")) }
}

fn check(findings: Vec<String>) -> Result<(), Reply> {
    if findings.is_empty() { Ok(()) } else { Err(bad_request(findings.join("; "))) }
}
