//! S1 and S2 (contract 5): a profile has no tag, its version is the guard.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde_json::Value;

use super::{Expectations, Rule, Violation};
use crate::sandbox::journal::Entry;

/// Whether an entry is about a routing profile.
pub(super) fn is_about(entry: &Entry) -> bool {
    entry.path.starts_with("/api/v2/users/")
}

/// The two rules that need more than a guard.
pub(super) fn check(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let mut violations = unguarded(requests);
    violations.extend(undeclared(requests, expected));
    violations
}

/// S2 without a version, or with one that does not follow any that the client was told before.
fn unguarded(requests: &[&Entry]) -> Vec<Violation> {
    let mut told: HashMap<(Option<&str>, Option<&str>), Vec<&Entry>> = HashMap::new();
    for entry in requests.iter().copied().filter(|entry| matches!(entry.call.as_str(), "S1" | "S2") && entry.status == 200) {
        told.entry((entry.client.as_deref(), entry.target.as_deref())).or_default().push(entry);
    }
    let mut violations = Vec::new();
    for write in requests.iter().filter(|entry| entry.call == "S2") {
        let Some(version) = write.version else {
            violations.push(Violation::new(Rule::UnguardedWrite, &[write.seq], "a write of a profile without a version"));
            continue;
        };
        let told = told.get(&(write.client.as_deref(), write.target.as_deref()));
        let answers = told.into_iter().flatten().filter(|answer| answer.end_us() <= write.at_us);
        let known: BTreeSet<i64> = answers.filter_map(|answer| answer.shown.as_ref()?.version).collect();
        // Where nobody told any, an accepted write is a lost update, and a refused one did no harm.
        if !known.is_empty() && !known.iter().any(|known| known.checked_add(1) == Some(version)) {
            let message = format!("version {version} of a profile that was told at {known:?}");
            violations.push(Violation::new(Rule::UnguardedWrite, &[write.seq], message));
        }
    }
    violations
}

fn undeclared(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let mut violations = Vec::new();
    for write in requests.iter().filter(|entry| entry.call == "S2" && entry.applied) {
        let declared = write.target.as_deref().and_then(|target| expected.declared_skills.get(target));
        let (Some(declared), Some(before), Some(after)) = (declared, &write.before, &write.after) else { continue };
        let (old, new) = (parts(before), parts(after));
        let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
        let changed = names.into_iter().filter(|name| !declared.contains(*name) && old.get(*name) != new.get(*name));
        let changed: Vec<&str> = changed.map(String::as_str).collect();
        if !changed.is_empty() {
            let message = format!("skills or members that nobody declared changed: {}", changed.join(", "));
            violations.push(Violation::new(Rule::UndeclaredChanged, &[write.seq], message));
        }
    }
    violations
}

/// The skills by their ids, and the other members by `/` and their names: no id begins so. The order of skills means nothing.
fn parts(profile: &Value) -> BTreeMap<String, Vec<&Value>> {
    let mut parts: BTreeMap<String, Vec<&Value>> = BTreeMap::new();
    for (name, member) in profile.as_object().into_iter().flatten() {
        match member.as_array().filter(|_| name == "skills") {
            Some(skills) => {
                for skill in skills {
                    parts.entry(skill["skillId"].as_str().unwrap_or_default().to_owned()).or_default().push(skill);
                }
            }
            None => parts.entry(format!("/{name}")).or_default().push(member),
        }
    }
    parts
}

/// Whether a write changed a skill of its user; also where the journal keeps no documents that could tell.
pub(super) fn moved(write: &Entry, skill_id: &str) -> bool {
    let (Some(before), Some(after)) = (&write.before, &write.after) else { return true };
    parts(before).get(skill_id) != parts(after).get(skill_id)
}

#[cfg(test)]
mod tests;
