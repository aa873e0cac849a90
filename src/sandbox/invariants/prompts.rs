//! P1 and P2 (contract 4): P2 has no guard, so what protects a promotion is the look before it.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::{Expectations, Rule, Violation};
use crate::sandbox::journal::{Actor, Entry};

/// Whether an entry is about a prompt template.
pub(super) fn is_about(entry: &Entry) -> bool {
    entry.path.starts_with("/api/v2/ai/prompt-templates/")
}

/// The three rules.
pub(super) fn check(entries: &[Entry], expected: &Expectations) -> Vec<Violation> {
    let mut templates: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in entries.iter().filter(|entry| is_about(entry)) {
        if let Some(target) = entry.target.as_deref() {
            templates.entry(target).or_default().push(entry);
        }
    }
    let mut violations = Vec::new();
    for (target, mut entries) in templates {
        entries.sort_by_key(|entry| entry.at_us);
        violations.extend(unseen(target, &entries));
        violations.extend(duplicates(target, &entries));
        violations.extend(blind(target, &entries, expected.tolerance_us));
    }
    violations
}

fn is_promotion(entry: &Entry) -> bool {
    entry.actor == Actor::Client && entry.call == "P2"
}

/// Whether an entry is a look: P1 page 1 with a whole answer.
fn is_look(entry: &Entry) -> bool {
    entry.call == "P1" && entry.status == 200 && entry.delivered && entry.shown.is_some()
}

/// Whether the client made a look that began at `from` or later and was answered before this promotion came.
fn looked(entries: &[&Entry], promotion: &Entry, from: u64) -> bool {
    entries
        .iter()
        .any(|look| is_look(look) && look.client == promotion.client && look.at_us >= from && look.end_us() <= promotion.at_us)
}

/// When a change took effect.
fn changed_us(entry: &Entry) -> u64 {
    entry.changed_us.unwrap_or_else(|| entry.end_us())
}

fn unseen(target: &str, entries: &[&Entry]) -> Vec<Violation> {
    let changes = || entries.iter().filter(|entry| entry.change.is_some());
    let mut violations = Vec::new();
    for promotion in entries.iter().filter(|entry| is_promotion(entry) && entry.applied) {
        // What changes after its arrival nobody could have shown.
        let last = changes().filter(|change| change.seq != promotion.seq && changed_us(change) <= promotion.at_us);
        let last = last.max_by_key(|change| changed_us(change));
        if !looked(entries, promotion, last.map_or(0, |change| changed_us(change))) {
            let proof: Vec<u64> = last.map(|change| change.seq).into_iter().chain([promotion.seq]).collect();
            let message =
                format!("{:?} promoted {:?} of {target} without a look at it as it was", promotion.client, promotion.promoted);
            violations.push(Violation::new(Rule::UnseenPromotion, &proof, message));
        }
    }
    violations
}

fn duplicates(target: &str, entries: &[&Entry]) -> Vec<Violation> {
    let mut changes: Vec<&Entry> = entries.iter().copied().filter(|entry| entry.change.is_some()).collect();
    changes.sort_by_key(|entry| entry.change);
    let mut violations = Vec::new();
    for pair in changes.windows(2) {
        let [first, second] = pair else { continue };
        let own = is_promotion(first) && is_promotion(second) && first.client == second.client;
        let (Some(one), Some(two)) = (&first.after, &second.after) else { continue };
        if own && substance(one) == substance(two) {
            let message = format!("{:?} of {target} holds what {:?} held, which was live", second.promoted, first.promoted);
            violations.push(Violation::new(Rule::DuplicateVersion, &[first.seq, second.seq], message));
        }
    }
    violations
}

/// What a version is apart from its number and its date. No test, `null` and a test that is off are the same.
fn substance(version: &Value) -> Value {
    let member = |name: &str| version.get(name).filter(|value| !value.is_null()).cloned();
    let test = member("abTestingTrigger").filter(|test| test["enabled"] != false);
    let object = |name: &str| member(name).unwrap_or_else(|| json!({}));
    json!([member("content"), object("variables"), object("metadata"), test])
}

/// Whether only a look tells what became of a promotion.
fn is_unclear(promotion: &Entry) -> bool {
    let accepted = (200..300).contains(&promotion.status);
    !promotion.delivered
        || matches!(promotion.status, 0 | 408 | 409)
        || (promotion.status >= 500 && promotion.status != 501)
        || (accepted && (!promotion.applied || promotion.shown.is_none()))
}

fn blind(target: &str, entries: &[&Entry], tolerance_us: u64) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut last: HashMap<Option<&str>, &Entry> = HashMap::new();
    for promotion in entries.iter().copied().filter(|entry| is_promotion(entry)) {
        let Some(earlier) = last.insert(promotion.client.as_deref(), promotion).filter(|earlier| is_unclear(earlier)) else {
            continue;
        };
        // The client knows a little earlier than the server that it hung up; nobody knows of an answer before it is there.
        let hung_up = earlier.hung_up_us.map_or(u64::MAX, |at| at.saturating_sub(tolerance_us));
        let end = hung_up.min(earlier.end_us());
        if !looked(entries, promotion, end) {
            let message = format!("{:?} posted to {target} again without a look", promotion.client);
            violations.push(Violation::new(Rule::BlindRepost, &[earlier.seq, promotion.seq], message));
        }
    }
    violations
}

#[cfg(test)]
mod tests;
