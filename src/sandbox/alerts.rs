//! S4: supervisor alerts about changed skills (contract 5). What was taken is kept; nothing on the wire reads it back.

use std::collections::VecDeque;

use jiff::Timestamp;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::configs::json_object;
use super::error_body::{invalid_property, invalid_value};
use super::reply::{Body, Call, Effect, Reply};
use super::routes::Route;
use super::world::{World, wall_clock};

/// S4.
pub(super) const ROUTES: &[Route] =
    &[Route { call: "S4", method: "POST", pattern: "/api/v2/alerts", scopes: Some(&["alert:write"]), write: true, handle: take }];

/// The keys of a request, all of which must be there.
const KEYS: [&str; 7] = ["title", "type", "category", "subCategory", "body", "severity", "links"];

/// The members that are always the same.
const FIXED: [(&str, &str); 4] =
    [("type", "routing"), ("category", "skillLevel"), ("subCategory", "proficiencyChange"), ("severity", "warning")];

/// So many alerts are kept; the oldest go first.
const CAPACITY: usize = 100_000;

/// An alert that was taken, also one whose answer was lost or replaced by a fault.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRecord {
    /// Arrival by the server's wall clock.
    pub time: Timestamp,
    /// The OAuth client that sent it.
    pub client: Option<String>,
    /// The request body.
    pub alert: Value,
}

impl World {
    /// The alerts that were taken, oldest first: the last 100,000.
    pub fn alerts(&self) -> Vec<AlertRecord> {
        self.state().alerts.iter().cloned().collect()
    }

    /// Forgets the alerts.
    pub fn clear_alerts(&self) {
        self.state().alerts.clear();
    }

    /// The alerts for the steering surface.
    pub(super) fn alert_report(&self) -> Value {
        let shown =
            |record: AlertRecord| json!({"time": record.time.to_string(), "client": record.client, "alert": record.alert});
        let alerts: Vec<Value> = self.alerts().into_iter().map(shown).collect();
        json!({"count": alerts.len(), "alerts": alerts})
    }
}

/// S4. The same alert is taken as often as it comes.
fn take(world: &World, call: &Call) -> Reply {
    let alert = match json_object(call).and_then(|body| schema(&body).map(|()| Value::Object(body))) {
        Ok(alert) => alert,
        Err(refusal) => return refusal,
    };
    let mut answer = alert.clone();
    answer["id"] = Uuid::new_v4().to_string().into();
    let reply = Reply::new(201, Body::Json(answer));
    if call.drop_write {
        return reply;
    }
    let mut state = world.state();
    let time = wall_clock(&state.settings);
    keep(&mut state.alerts, AlertRecord { time, client: call.client.clone(), alert });
    let change = Some(state.next_change());
    reply.effect(Effect { applied: true, change, changed_us: Some(world.now_us()), ..Effect::default() })
}

fn keep(alerts: &mut VecDeque<AlertRecord>, record: AlertRecord) {
    if alerts.len() >= CAPACITY {
        alerts.pop_front();
    }
    alerts.push_back(record);
}

fn schema(body: &Map<String, Value>) -> Result<(), Reply> {
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid_property(key));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    if let Some((key, value)) = FIXED.iter().find(|(key, value)| text(key) != Some(value)) {
        return Err(invalid_value(key, &format!("must be {value}")));
    }
    let user = body.get("links").and_then(|links| links.pointer("/0/id")).and_then(Value::as_str).unwrap_or_default();
    if user.is_empty() || body.get("links") != Some(&json!([{"type": "user", "id": user}])) {
        return Err(invalid_value("links", "must be one link of type user with an id"));
    }
    if text("title") != Some(format!("Automated Skill Adjustment: {user}").as_str()) {
        return Err(invalid_value("title", "must name the linked user"));
    }
    if text("body").and_then(skill_of).is_none() {
        return Err(invalid_value("body", "must say which skill changed, and from where to where with two decimals each"));
    }
    Ok(())
}

/// The skill that the text of an alert is about; none where the text is not the contract's.
pub(super) fn skill_of(text: &str) -> Option<&str> {
    let rest = text.strip_prefix("Skill ")?.strip_suffix(". Change exceeds threshold.")?;
    let (skill, change) = rest.split_once(" proficiency adjusted from ")?;
    let (from, to) = change.split_once(" to ")?;
    (!skill.is_empty() && is_proficiency(from) && is_proficiency(to)).then_some(skill)
}

/// Whether a text is a number from 0.00 to 1.00 with two decimals.
fn is_proficiency(text: &str) -> bool {
    text.len() == 4
        && text.split_once('.').is_some_and(|(whole, fraction)| match whole {
            "0" => fraction.bytes().all(|byte| byte.is_ascii_digit()),
            "1" => fraction == "00",
            _ => false,
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_of_an_alert_is_the_contract_s() {
        let text = |change: &str| format!("Skill s-1 proficiency adjusted from {change}. Change exceeds threshold.");
        for change in ["0.10 to 0.72", "1.00 to 0.00"] {
            assert_eq!(skill_of(&text(change)), Some("s-1"), "{change}");
        }
        for change in ["0.1 to 0.72", "0.10 to 1.01", "0.10 to 0.7x", "0.10", "0.10 to 0.72.", ".10 to 0.72", "0.10 to 0.720"] {
            assert_eq!(skill_of(&text(change)), None, "{change}");
        }
        assert_eq!(skill_of("Skill  proficiency adjusted from 0.10 to 0.72. Change exceeds threshold."), None);
        assert_eq!(skill_of("Skill s-1 proficiency adjusted from 0.10 to 0.72."), None);
    }
}
