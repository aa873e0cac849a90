//! Prompt templates under `/sandbox/prompts`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::super::error_body::{bad_request, not_found};
use super::super::prompt_store::findings;
use super::super::reply::{Call, Reply};
use super::super::world::World;
use super::{body, found, not_allowed};

/// Answers a request whose path goes on so behind `/sandbox/prompts`.
pub(super) fn handle(world: &World, call: &Call, method: &str, rest: &[&str]) -> Result<Reply, Reply> {
    match (method, rest) {
        ("GET", []) => Ok(Reply::json(json!(world.prompt_ids()))),
        (method, [id]) => template(world, call, method, id),
        ("POST", [id, "versions"]) => promotion(world, call, id),
        ("DELETE", [id, "versions", version]) => Ok(found(world.delete_version(id, version))),
        ("PUT", [id, "rollback-flag"]) => Ok(found(world.set_rollback_flag(id, body(call)?))),
        ("PUT", [id, "raw"]) => Ok(found(world.set_raw_versions(id, Some(call.body.clone())))),
        ("DELETE", [id, "raw"]) => Ok(found(world.set_raw_versions(id, None))),
        _ => Err(not_found("The requested resource")),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct NewTemplate {
    #[serde(default)]
    versions: Vec<Value>,
    #[serde(default)]
    rollback_flag: bool,
}

/// GET, PUT (as seed) and DELETE of one template.
fn template(world: &World, call: &Call, method: &str, id: &str) -> Result<Reply, Reply> {
    match method {
        "GET" => {}
        "PUT" => {
            let NewTemplate { versions, rollback_flag } = body(call)?;
            check(id, &versions)?;
            world.put_prompt(id, &versions);
            world.set_rollback_flag(id, rollback_flag);
        }
        "DELETE" => return Ok(found(world.remove_prompt(id))),
        _ => return Err(not_allowed()),
    }
    Ok(world.prompt(id).map_or_else(|| not_found("The prompt template"), Reply::json))
}

/// POST of a version: somebody else promotes.
fn promotion(world: &World, call: &Call, id: &str) -> Result<Reply, Reply> {
    let version: Value = body(call)?;
    check(id, std::slice::from_ref(&version))?;
    if world.prompt_versions(id).is_some() && !world.promote(id, version) {
        return Err(bad_request("the version exists already"));
    }
    Ok(found(world.prompt_versions(id).is_some()))
}

fn check(id: &str, versions: &[Value]) -> Result<(), Reply> {
    let findings = findings(id, versions);
    if findings.is_empty() { Ok(()) } else { Err(bad_request(findings.join("; "))) }
}
