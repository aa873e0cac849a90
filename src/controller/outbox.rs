//! The queue of audit records for the webhooks of the orgs. A record is an `AuditRecord` object from before the write that it is
//! about leaves the status until the webhook has accepted it: nothing is lost, nothing waits for a webhook, and no volume is needed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::metrics::Metrics;
use super::orgs::OrgName;
use super::stream::Guarded;
use crate::api::GenesysOrg;
use crate::api::audit_record::AuditRecord as Stored;
use crate::genesys::audit_sink::Sink;
use crate::remote::audit::AuditRecord;

mod delivery;
mod queue;

pub use queue::Health;
use queue::{Queue, Record};

/// A list that failed is tried again after this.
const LIST_AGAIN: Duration = Duration::from_secs(2);
/// The end of the process waits that long for what is under way: a post takes at most 5 s.
const FINISH: Duration = Duration::from_secs(8);

/// Where the records of an org go.
pub enum Destination {
    /// Nowhere: it has no webhook.
    None,
    /// To this sink; the text tells one configuration from another.
    Sink(Arc<Sink>, String),
    /// It has a webhook that cannot be used: why. The records wait.
    Unusable(String),
}

/// The queues of all orgs.
pub struct Outbox {
    client: Client,
    queues: Mutex<HashMap<OrgName, Arc<Queue>>>,
    metrics: Arc<Metrics>,
    trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
    shutdown: CancellationToken,
    workers: TaskTracker,
}

impl Outbox {
    /// No record yet.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
        shutdown: CancellationToken,
    ) -> Self {
        Self { client, queues: Mutex::default(), metrics, trigger, shutdown, workers: TaskTracker::new() }
    }

    /// After shutdown: waits until what is under way is finished.
    pub async fn finish(&self) {
        self.workers.close();
        if tokio::time::timeout(FINISH, self.workers.wait()).await.is_err() {
            tracing::warn!(
                "a delivery of audit records did not end in time; what was not accepted is delivered after the next start"
            );
        }
    }

    /// Takes over the records that a process before this one left. Returns once they are known, or on shutdown.
    pub async fn load(&self, namespace: Option<&str>) {
        let api: Api<Stored> =
            namespace.map_or_else(|| Api::all(self.client.clone()), |ns| Api::namespaced(self.client.clone(), ns));
        let list = loop {
            match api.list(&ListParams::default()).await {
                Ok(list) => break list,
                Err(error) => tracing::error!(%error, "audit records could not be listed; no object is looked at before"),
            }
            tokio::select! {
                () = tokio::time::sleep(LIST_AGAIN) => {}
                () = self.shutdown.cancelled() => return,
            }
        };
        let mut records: Vec<(OrgName, Record)> = list.items.into_iter().map(taken_over).collect();
        records.sort_by_key(|(_, record)| record.at);
        for (org, record) in records {
            self.queue(&org).keep(record);
        }
    }

    /// Sets where the records of an org go.
    pub fn configure(&self, org: &OrgName, owner: OwnerReference, destination: Destination) {
        if matches!(destination, Destination::None) && !lock(&self.queues).contains_key(org) {
            return;
        }
        self.queue(org).configure(owner, destination);
    }

    /// Whether a destination made for this configuration is in use already.
    pub fn uses(&self, org: &OrgName, made_for: &str) -> bool {
        self.known(org).is_some_and(|queue| queue.uses(made_for))
    }

    /// The org is gone, and with it the webhook; its records go with it (owner references).
    pub fn remove(&self, org: &OrgName) {
        if let Some(queue) = lock(&self.queues).remove(org) {
            queue.stop.cancel();
        }
    }

    /// Whether no more records of an org can be kept.
    pub fn is_full(&self, org: &OrgName) -> bool {
        self.known(org).is_some_and(|queue| queue.is_full())
    }

    /// Whether a record of an org is not safe yet: nothing new is written before it is.
    pub fn has_unsaved(&self, org: &OrgName) -> bool {
        self.known(org).is_some_and(|queue| queue.has_unsaved())
    }

    /// Whether a record was put here before by this process.
    pub fn knows(&self, org: &OrgName, audit_id: &str) -> bool {
        self.known(org).is_some_and(|queue| queue.knows(audit_id))
    }

    /// How delivery goes, where the org has a webhook.
    pub fn health(&self, org: &OrgName) -> Option<Health> {
        self.known(org)?.health()
    }

    /// Org, number of records, age of the oldest: for metrics.
    pub fn backlog(&self) -> Vec<(String, usize, Duration)> {
        lock(&self.queues).iter().map(|(org, queue)| (format!("{}/{}", org.0, org.1), queue.len(), queue.oldest())).collect()
    }

    /// Keeps a record until it is delivered. `Ok` once it cannot be lost, or where the org has no webhook.
    ///
    /// # Errors
    /// The API server did not take it: it is kept in memory and tried again, and the caller must not forget the write.
    pub async fn put(&self, org: &OrgName, record: &AuditRecord) -> Result<(), String> {
        let Some(queue) = self.known(org).filter(|queue| queue.has_webhook()) else { return Ok(()) };
        if queue.knows(&record.audit_id) {
            return if queue.has_unsaved() { Err("the API server did not take it yet".to_owned()) } else { Ok(()) };
        }
        let body = serde_json::to_string(record).map_err(|error| error.to_string())?;
        let record = Record { id: record.audit_id.clone(), body, at: record.timestamp.parse().unwrap_or_default() };
        queue.remember(&record.id);
        match delivery::save(&self.client, org, queue.owner(), &record).await {
            Ok(()) => {
                queue.keep(record);
                self.told_if_full(org, &queue);
                Ok(())
            }
            Err(error) => {
                queue.keep_unsaved(record);
                Err(error.to_string())
            }
        }
    }

    fn told_if_full(&self, org: &OrgName, queue: &Queue) {
        if queue.is_full() {
            // The receiver lives as long as the org controller; without it the process is stopping.
            let _ = self.trigger.send(ObjectRef::new(&org.1).within(&org.0));
        }
    }

    fn known(&self, org: &OrgName) -> Option<Arc<Queue>> {
        lock(&self.queues).get(org).cloned()
    }

    /// The queue of an org; its delivery is started with it.
    fn queue(&self, org: &OrgName) -> Arc<Queue> {
        let mut queues = lock(&self.queues);
        if let Some(queue) = queues.get(org) {
            return queue.clone();
        }
        let queue = Arc::new(Queue::new(self.shutdown.child_token()));
        queues.insert(org.clone(), queue.clone());
        let worker = delivery::Worker {
            client: self.client.clone(),
            org: org.clone(),
            queue: queue.clone(),
            metrics: self.metrics.clone(),
            trigger: self.trigger.clone(),
        };
        self.workers.spawn(worker.run());
        queue
    }
}

fn taken_over(stored: Stored) -> (OrgName, Record) {
    let org = (stored.namespace().unwrap_or_default(), stored.spec.org.clone());
    let created = stored.metadata.creation_timestamp.as_ref().map(|t| t.0);
    let told: Option<Timestamp> = serde_json::from_str::<serde_json::Value>(&stored.spec.record)
        .ok()
        .and_then(|record| record.get("timestamp")?.as_str()?.parse().ok());
    let at = told.or(created).unwrap_or_default();
    (org, Record { id: stored.name_any(), body: stored.spec.record, at })
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
