//! The queue of audit records for the webhooks of the orgs. A record is an `AuditRecord` object from before the write that it is
//! about leaves the status until the webhook has accepted it: nothing is lost, nothing waits for a webhook, and no volume is needed.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use kube::api::ListParams;
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client, ResourceExt};
use lru::LruCache;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::lease::Leadership;
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
use queue::{Queue, REMEMBERED, Record};

/// A list that failed is tried again after this.
const LIST_AGAIN: Duration = Duration::from_secs(2);
/// The role may come a moment after the operator.
const MOST_REFUSALS: u32 = 5;
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
    leadership: Leadership,
    workers: TaskTracker,
    /// Ids of the last records: none is told twice.
    told: Mutex<LruCache<String, ()>>,
}

impl Outbox {
    /// No record yet.
    pub fn new(
        client: Client,
        metrics: Arc<Metrics>,
        trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
        shutdown: CancellationToken,
        leadership: Leadership,
    ) -> Self {
        Self {
            client,
            queues: Mutex::default(),
            metrics,
            trigger,
            shutdown,
            leadership,
            workers: TaskTracker::new(),
            told: Mutex::new(LruCache::new(REMEMBERED)),
        }
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

    /// Takes over the records that a process before this one left; `intended` says which of them are still in an intent. Returns
    /// once they are known, or on shutdown.
    pub async fn load(&self, namespace: Option<&str>, intended: impl FnOnce() -> HashSet<String>) {
        let mut records: Vec<(OrgName, Record)> =
            self.list(namespace).await.into_iter().filter_map(|stored| taken_over(&stored)).collect();
        // Asked after the records: what was settled meanwhile is settled.
        let intended = intended();
        records.sort_by_key(|(_, record)| record.at);
        for (org, record) in records {
            let (queue, id) = (self.queue(&org), record.id.clone());
            queue.park(record);
            if !intended.contains(&id) {
                queue.release(&id);
            }
        }
    }

    async fn list(&self, namespace: Option<&str>) -> Vec<Stored> {
        let api: Api<Stored> =
            namespace.map_or_else(|| Api::all(self.client.clone()), |ns| Api::namespaced(self.client.clone(), ns));
        let (mut all, mut params) = (Vec::new(), ListParams::default().limit(500));
        let mut refusals = 0;
        loop {
            match api.list(&params).await {
                Ok(list) => {
                    all.extend(list.items);
                    match list.metadata.continue_.filter(|token| !token.is_empty()) {
                        Some(token) => params = params.continue_token(&token),
                        None => return all,
                    }
                    continue;
                }
                Err(kube::Error::Api(status)) if matches!(status.code, 403 | 404) => {
                    tracing::error!(error = %status, "audit records cannot be listed: apply the CRDs and the role of this operator version");
                    refusals += 1;
                    // Only orgs with a webhook need them, and these say so as soon as they have one to store.
                    if refusals == MOST_REFUSALS {
                        return all;
                    }
                }
                Err(kube::Error::Api(status)) if status.code == 410 => {
                    (all, params) = (Vec::new(), ListParams::default().limit(500))
                }
                Err(error) => tracing::error!(%error, "audit records could not be listed; no object is looked at before"),
            }
            tokio::select! {
                () = tokio::time::sleep(LIST_AGAIN) => {}
                () = self.shutdown.cancelled() => return all,
            }
        }
    }

    /// Sets where the records of an org go.
    pub fn configure(&self, org: &OrgName, destination: Destination) {
        if matches!(destination, Destination::None) && !lock(&self.queues).contains_key(org) {
            return;
        }
        self.queue(org).configure(destination);
    }

    /// Whether a destination was set that is not [`Destination::None`].
    pub fn has_webhook(&self, org: &OrgName) -> bool {
        self.known(org).is_some_and(|queue| queue.has_webhook())
    }

    /// The records with these ids may be delivered: no intent holds them any more.
    pub fn release<'a>(&self, org: &OrgName, ids: impl IntoIterator<Item = &'a str>) {
        let Some(queue) = self.known(org) else { return };
        ids.into_iter().for_each(|id| queue.release(id));
        self.told_if_full(org, &queue);
    }

    /// Whether a destination made for this configuration is in use already.
    pub fn uses(&self, org: &OrgName, made_for: &str) -> bool {
        self.known(org).is_some_and(|queue| queue.uses(made_for))
    }

    /// A number that changes whenever writes of an org have to wait for room, or may go on.
    pub fn pressure(&self, org: &OrgName) -> u64 {
        self.known(org).map_or(0, |queue| queue.pressure())
    }

    /// The org is gone, perhaps only to be created anew: what is still under way is kept.
    pub fn org_is_gone(&self, org: &OrgName) {
        if let Some(queue) = self.known(org).filter(|queue| queue.has_webhook()) {
            queue.configure(Destination::Unusable("its GenesysOrg is gone".to_owned()));
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

    /// Whether the outcome of a write was told before by this process.
    pub fn is_told(&self, audit_id: &str) -> bool {
        lock(&self.told).contains(audit_id)
    }

    /// Whether the outcome of a write was told before by this process, with or without a webhook. From now on it was.
    pub fn was_told(&self, audit_id: &str) -> bool {
        lock(&self.told).put(audit_id.to_owned(), ()).is_some()
    }

    /// How delivery goes, where the org has a webhook.
    pub fn health(&self, org: &OrgName) -> Option<Health> {
        self.known(org)?.health()
    }

    /// Org, number of records, age of the oldest: for metrics.
    pub fn backlog(&self) -> Vec<(String, usize, Duration)> {
        lock(&self.queues).iter().map(|(org, queue)| (format!("{}/{}", org.0, org.1), queue.len(), queue.oldest())).collect()
    }

    /// Keeps a record until it is [released](Self::release) and delivered. `Ok` once it cannot be lost, or where the org has no webhook.
    ///
    /// # Errors
    /// The API server did not take it: it is kept in memory and tried again, and the caller must not forget the write.
    pub async fn put(&self, org: &OrgName, webhook: bool, record: &AuditRecord) -> Result<(), String> {
        // Its spec may say so before its reconcile has.
        let queue = if webhook { Some(self.queue(org)) } else { self.known(org).filter(|queue| queue.has_webhook()) };
        let Some(queue) = queue else { return Ok(()) };
        if queue.knows(&record.audit_id) {
            return if queue.has_unsaved() { Err("the API server did not take it yet".to_owned()) } else { Ok(()) };
        }
        let body = serde_json::to_string(record).map_err(|error| error.to_string())?;
        let record = Record { id: record.audit_id.clone(), body, at: record.timestamp.parse().unwrap_or_default() };
        queue.remember(&record.id);
        match delivery::save(&self.client, org, &record).await {
            Ok(stored) => {
                queue.park(stored);
                Ok(())
            }
            Err(error) => {
                queue.keep_unsaved(record, error.to_string());
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
            leadership: self.leadership.clone(),
        };
        self.workers.spawn(worker.run());
        queue
    }
}

/// `None`: it is none that this operator made. What is posted is signed, so nothing else is.
fn taken_over(stored: &Stored) -> Option<(OrgName, Record)> {
    let org = (stored.namespace().unwrap_or_default(), stored.spec.org.clone());
    let record: serde_json::Value = serde_json::from_str(&stored.spec.record).ok().unwrap_or_default();
    let member = |name: &str| record.get(name).and_then(serde_json::Value::as_str);
    let (name, label) = (stored.name_any(), format!("{}/{}", org.0, org.1));
    let ours = member("auditId") == Some(&name) && member("org") == Some(&label);
    let at: Option<Timestamp> = member("timestamp").and_then(|text| text.parse().ok());
    let Some(at) = at.filter(|_| ours) else {
        tracing::error!(name, org = label, "an AuditRecord was not made by this operator and is left alone; delete it");
        return None;
    };
    Some((org, Record { id: name, body: stored.spec.record.clone(), at }))
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
