//! S4 (contract 5): an alert is sent at least once, and a second time only where nobody knows what became of the first.

use std::collections::HashMap;

use super::{Rule, Violation, profiles};
use crate::sandbox::alerts::skill_of;
use crate::sandbox::journal::Entry;

/// The rule.
pub(super) fn check(requests: &[&Entry]) -> Vec<Violation> {
    let mut alerts: Vec<&Entry> = requests.iter().copied().filter(|entry| entry.call == "S4").collect();
    alerts.sort_by_key(|entry| entry.at_us);
    let mut violations = Vec::new();
    let mut last: HashMap<(Option<&str>, Option<&str>), &Entry> = HashMap::new();
    for alert in alerts {
        if let Some(earlier) = last.insert((alert.client.as_deref(), alert.body_sha256.as_deref()), alert)
            && was_taken(earlier)
            && !changed_again(requests, earlier, alert)
        {
            let message = format!("{:?} sent an alert again that had been taken", alert.client);
            violations.push(Violation::new(Rule::DuplicateAlert, &[earlier.seq, alert.seq], message));
        }
    }
    violations
}

/// Whether the client was told that the alert was taken.
fn was_taken(alert: &Entry) -> bool {
    alert.delivered && matches!(alert.status, 200 | 201)
}

/// Whether the client changed the skill of the user between two alerts about it: then the same words are about another change.
fn changed_again(requests: &[&Entry], earlier: &Entry, alert: &Entry) -> bool {
    let body = alert.body.as_ref();
    let user = body.and_then(|body| body.pointer("/links/0/id")?.as_str());
    let skill = body.and_then(|body| skill_of(body["body"].as_str()?)).unwrap_or_default();
    requests.iter().any(|write| {
        let at_us = write.changed_us.unwrap_or_else(|| write.end_us());
        write.call == "S2"
            && write.applied
            && write.client == alert.client
            && (earlier.at_us < at_us && at_us <= alert.at_us)
            && user.is_none_or(|user| write.target.as_deref() == Some(user))
            && profiles::moved(write, skill)
    })
}

#[cfg(test)]
mod tests;
