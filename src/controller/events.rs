//! Publishes events (`events.k8s.io/v1`). The same event with the same note within six minutes becomes a series.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::ObjectReference;
use k8s_openapi::api::events::v1::{Event, EventSeries};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta};
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client, ResourceExt};

use super::lease::Leadership;
use super::outcome::EventDraft;
use crate::clock;

/// Reporting controller of all events.
const REPORTER: &str = "assist-operator.dev/controller";
/// A repetition within this is counted, not created anew.
const SERIES: SignedDuration = SignedDuration::from_mins(6);

type Key = (String, &'static str, String);

/// Publishes events.
pub struct Events {
    client: Client,
    instance: String,
    leadership: Leadership,
    recent: Mutex<HashMap<Key, (String, i32, Timestamp)>>,
}

impl Events {
    /// For a client; `instance` names this process.
    pub fn new(client: Client, instance: String, leadership: Leadership) -> Self {
        Self { client, instance, leadership, recent: Mutex::default() }
    }

    /// Publishes an event about an object. A failure is logged: events are a courtesy, status is the truth.
    pub async fn publish(&self, draft: &EventDraft, regarding: ObjectReference) {
        if !self.leadership.is_held() {
            return;
        }
        let namespace = regarding.namespace.clone().unwrap_or_default();
        let api: Api<Event> = Api::namespaced(self.client.clone(), &namespace);
        let key = (regarding.uid.clone().unwrap_or_default(), draft.reason, draft.note.clone());
        let result = match self.repeat(&key) {
            Some((name, count)) => {
                let series = EventSeries { count, last_observed_time: MicroTime(clock::precise()) };
                let patch = serde_json::json!({"series": series});
                api.patch(&name, &PatchParams::default(), &Patch::Merge(&patch)).await.map(drop)
            }
            None => self.create(&api, draft, regarding, key).await,
        };
        if let Err(error) = result {
            tracing::warn!(%error, reason = draft.reason, "event was not published");
        }
    }

    async fn create(&self, api: &Api<Event>, draft: &EventDraft, regarding: ObjectReference, key: Key) -> kube::Result<()> {
        let now = clock::precise();
        let name = format!("{}.{:x}", regarding.name.as_deref().unwrap_or_default(), now.as_nanosecond());
        let event = Event {
            metadata: ObjectMeta { name: Some(name), namespace: regarding.namespace.clone(), ..Default::default() },
            action: Some(draft.action.to_owned()),
            reason: Some(draft.reason.to_owned()),
            note: Some(draft.note.clone()),
            type_: Some(if draft.warning { "Warning" } else { "Normal" }.to_owned()),
            event_time: Some(MicroTime(now)),
            regarding: Some(regarding),
            reporting_controller: Some(REPORTER.to_owned()),
            reporting_instance: Some(self.instance.clone()),
            ..Default::default()
        };
        let created = api.create(&PostParams::default(), &event).await?;
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).insert(key, (created.name_any(), 1, now));
        Ok(())
    }

    fn repeat(&self, key: &Key) -> Option<(String, i32)> {
        let now = clock::precise();
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        recent.retain(|_, (_, _, at)| now.duration_since(*at) < SERIES);
        let (name, count, at) = recent.get_mut(key)?;
        *count = count.saturating_add(1);
        *at = now;
        Some((name.clone(), *count))
    }
}
