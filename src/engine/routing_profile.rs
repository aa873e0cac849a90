//! The routing profile of an agent as S1 shows it and S2 replaces it (contract section 5): its skills in normal form, and the step that
//! changes some of them.

use serde_json::{Map, Value, json};

use super::json as json_util;
use super::kind::{Blocked, State};
use super::plan::{Action, Change, Guard, Step, Target, Why};
use crate::api::conditions::Reason;

/// Family of agents.
pub const USER: &str = "user";

/// The skills of a profile by id, which is how they are compared: their order has no meaning.
pub fn normal(document: &Value) -> Result<Value, &'static str> {
    let mut skills = Map::new();
    let list = match document.get("skills") {
        None | Some(Value::Null) => &[][..],
        Some(Value::Array(list)) => list,
        Some(_) => return Err("its skills are no list"),
    };
    for skill in list {
        let id = skill.get("skillId").and_then(Value::as_str).ok_or("one of its skills has no skillId")?;
        let level = skill.get("proficiency").cloned().unwrap_or_default();
        if skills.insert(id.to_owned(), level).is_some() {
            return Err("one of its skills is there twice");
        }
    }
    Ok(json!({"skills": skills}))
}

/// The step that replaces the profile with the skills of `after`: whatever was not decided keeps its value and its place. `live` and
/// `after` are normal forms.
///
/// # Errors
/// [`Blocked`] where the profile cannot be written under its guard.
pub fn step(
    target: Target,
    state: &State,
    (live, after): (&Value, &Value),
    changes: Vec<Change>,
    why: Why,
) -> Result<Step, Blocked> {
    let version = match &state.guard {
        Ok(Guard::Version(version)) => *version,
        Ok(_) => {
            let message = format!("{target} was read without its guard; this is a defect of the operator");
            return Err(Blocked::new(Reason::InternalError, message));
        }
        Err(why) => return Err(Blocked::new(Reason::RemoteRejected, format!("{target} is not written: {why}"))),
    };
    let Some(next) = version.checked_add(1) else {
        return Err(Blocked::new(
            Reason::RemoteRejected,
            format!("{target} is not written: its version {version} has no successor"),
        ));
    };
    let mut body = state.document.clone();
    let skills = merged(&state.document, after);
    if let Some(map) = body.as_object_mut() {
        map.insert("version".into(), next.into());
        map.insert("skills".into(), skills);
    }
    Ok(Step {
        target,
        guard: Guard::Version(version),
        action: Action::SkillUpdate,
        why,
        version: next.to_string(),
        changes,
        body,
        before_hash: json_util::canonical_hash(live),
        after_hash: json_util::canonical_hash(after),
        tokens: None,
        level: None,
    })
}

/// The list of skills with the levels of `after`: what was there stays in its place with its further members, what is new comes last.
fn merged(document: &Value, after: &Value) -> Value {
    let empty = Map::new();
    let levels = after.get("skills").and_then(Value::as_object).unwrap_or(&empty);
    let id_of = |skill: &Value| skill.get("skillId").and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut left = levels.clone();
    let old = document.get("skills").and_then(Value::as_array).into_iter().flatten();
    let kept = old.filter_map(|skill| {
        let level = left.remove(&id_of(skill))?;
        let mut skill = skill.clone();
        if let Some(map) = skill.as_object_mut() {
            map.insert("proficiency".into(), level);
        }
        Some(skill)
    });
    let mut list: Vec<Value> = kept.collect();
    list.extend(left.into_iter().map(|(id, level)| json!({"skillId": id, "proficiency": level})));
    list.into()
}
