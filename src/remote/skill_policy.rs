//! Calls of `SkillPolicy`: S3 for the metrics, S1 and S2 for the profiles. S4 is `remote/alerts.rs`.

use serde_json::{Map, Value, json};

use super::skill_profile::{read_profile, write_profile};
use super::{Look, Remote, Sent};
use crate::api::SkillPolicy;
use crate::engine::skill_policy::{Desired, METRICS, window};
use crate::engine::{Guard, Step, Target};
use crate::genesys::user_details::{self, Metric, UserMetrics, UserQuery};
use crate::genesys::{Document, Error, ErrorKind, Gate, Session};

impl Remote for SkillPolicy {
    async fn read(session: &mut Session, desired: &Desired, target: &Target, look: Look<'_>) -> Result<Option<Sent>, Error> {
        if target.family != METRICS {
            return read_profile(session, &target.id).await;
        }
        let users = desired.batches().find(|(batch, _)| batch == target).map(|(_, users)| users).unwrap_or_default();
        let window = window(desired.days, look.began);
        let query = UserQuery { users, date_from: &window.from, date_to: &window.to, interval: &window.bucket, page_token: "" };
        let details = user_details::all(session, &query).await?;
        let asked = |metrics: &&UserMetrics| users.contains(&metrics.user_id);
        let agents: Map<String, Value> =
            details.entities.iter().filter(asked).map(|metrics| (metrics.user_id.clone(), shown(metrics))).collect();
        let document = json!({"dateFrom": window.from, "dateTo": window.to, "agents": agents});
        let unreadable = |error: crate::genesys::DocumentError| Error::new("S3", ErrorKind::BadAnswer).because(error.to_string());
        Ok(Some(Sent {
            document: Document::of(&document).map_err(unreadable)?,
            version: None,
            etag: None,
            // Nothing is written to it, and it is read anew for each evaluation.
            guard: Ok(Guard::None),
            date: details.date,
            correlation_id: details.correlation_id,
            requests: details.requests,
        }))
    }

    async fn write(session: &mut Session, step: &Step, gate: Gate) -> Result<Sent, Error> {
        write_profile(session, step, gate).await
    }
}

/// The metrics of an agent: a number, a text for what is none, or nothing.
fn shown(metrics: &UserMetrics) -> Value {
    let metric = |metric: &Option<Metric>| match metric {
        Some(Metric::Number(number)) => Value::Number(number.clone()),
        Some(Metric::Bad) => "not a number".into(),
        None => Value::Null,
    };
    json!({"csat": metric(&metrics.satisfaction), "aht": metric(&metrics.handle_time)})
}
