//! The delivery of one org's records: store, post, delete, one after the other, with back-off and never in the way of a reconcile.

use std::sync::Arc;
use std::time::Duration;

use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::runtime::reflector::ObjectRef;
use kube::{Api, Client};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::queue::{Allowed, Queue, Record, Task};
use crate::api::GenesysOrg;
use crate::api::audit_record::{AuditRecord as Stored, AuditRecordSpec};
use crate::controller::audit_log;
use crate::controller::lease::Leadership;
use crate::controller::metrics::{ByDelivery, Metrics};
use crate::controller::orgs::OrgName;
use crate::controller::stream::Guarded;
use crate::genesys::audit_sink::Sink;

/// First wait after a failure; it doubles.
const FIRST_BACKOFF: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// A lease that is not held may be held again a moment later.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Delivers the records of one org until its queue is stopped.
pub struct Worker {
    /// Client for the API server.
    pub client: Client,
    /// The org.
    pub org: OrgName,
    /// Its queue.
    pub queue: Arc<Queue>,
    /// Counts deliveries.
    pub metrics: Arc<Metrics>,
    /// Wakes the org's reconcile where its condition may change.
    pub trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
    /// Whether this process may deliver.
    pub leadership: Leadership,
}

/// Stores a record, and answers it as it is stored: one that was stored before keeps its body, which may have been posted.
pub async fn save(client: &Client, org: &OrgName, record: &Record) -> kube::Result<Record> {
    let api: Api<Stored> = Api::namespaced(client.clone(), &org.0);
    // No owner: a record must outlive an org that is deleted and created anew.
    let metadata = ObjectMeta { name: Some(record.id.clone()), namespace: Some(org.0.clone()), ..ObjectMeta::default() };
    let stored = Stored { metadata, spec: AuditRecordSpec { org: org.1.clone(), record: record.body.clone() } };
    match api.create(&PostParams::default(), &stored).await {
        Ok(_) => Ok(record.clone()),
        Err(kube::Error::Api(status)) if status.code == 409 => {
            let stored = api.get(&record.id).await?;
            Ok(Record { body: stored.spec.record, ..record.clone() })
        }
        Err(error) => Err(error),
    }
}

impl Worker {
    /// Runs until the queue is stopped. What is under way then is finished: an accepted record that is posted once more after a
    /// restart could have been avoided.
    pub async fn run(self) {
        let (mut save, mut delete, mut deliver) = (BackOff::default(), BackOff::default(), BackOff::default());
        loop {
            let (was, now) = (self.state([&save, &delete, &deliver]), Instant::now());
            let (stopping, held) = (self.queue.stop.is_cancelled(), self.leadership.is_held());
            let deliverable = deliver.is_over(now) && !stopping && held;
            let may = Allowed { save: save.is_over(now), delete: delete.is_over(now), deliver: deliverable };
            match self.queue.task(may) {
                Task::Wait if stopping => return,
                Task::Wait => {
                    let look = (!held).then(|| now + LOOK_AGAIN);
                    let next = [&save, &delete, &deliver].into_iter().filter_map(|b| b.until).filter(|at| *at > now).min();
                    tokio::select! {
                        () = self.queue.wake.notified() => {}
                        () = until(next) => {}
                        () = until(look) => {}
                        () = self.queue.stop.cancelled() => {}
                    }
                }
                Task::Save(record) => save.note(self.save(&record).await),
                Task::Delete(id) => delete.note(self.delete(&id).await),
                Task::Deliver(record, sink) => deliver.note(self.deliver(&record, &sink).await),
            }
            if self.state([&save, &delete, &deliver]) != was {
                // The receiver lives as long as the org controller; without it the process is stopping.
                let _ = self.trigger.send(ObjectRef::new(&self.org.1).within(&self.org.0));
            }
        }
    }

    /// What the org's condition depends on.
    fn state(&self, tasks: [&BackOff; 3]) -> (u64, [bool; 3]) {
        (self.queue.pressure(), tasks.map(|task| task.failures > 0))
    }

    async fn save(&self, record: &Record) -> bool {
        match save(&self.client, &self.org, record).await {
            Ok(stored) => {
                self.queue.saved(stored);
                true
            }
            Err(error) => {
                tracing::error!(%error, audit_id = record.id, "an audit record could not be stored; it is tried again");
                self.queue.unsavable(error.to_string());
                false
            }
        }
    }

    async fn deliver(&self, record: &Record, sink: &Sink) -> bool {
        let result = sink.deliver(&record.id, record.body.as_bytes()).await;
        let label = if result.is_ok() { "delivered" } else { "failed" };
        let labels = ByDelivery { org: format!("{}/{}", self.org.0, self.org.1), result: label };
        self.metrics.audit_deliveries.get_or_create(&labels).inc();
        match result {
            Ok(()) => {
                self.queue.delivered(&record.id);
                audit_log::synced(&record.body);
                true
            }
            Err(undelivered) => {
                let why = undelivered.to_string();
                tracing::warn!(org = labels.org, audit_id = record.id, error = why, "the webhook did not accept an audit record");
                self.queue.failed(&record.id, why);
                false
            }
        }
    }

    async fn delete(&self, id: &str) -> bool {
        let api: Api<Stored> = Api::namespaced(self.client.clone(), &self.org.0);
        match api.delete(id, &DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => {
                tracing::warn!(%error, audit_id = id, "a delivered audit record could not be deleted; it is tried again");
                self.queue.undeletable(error.to_string());
                return false;
            }
        }
        self.queue.deleted(id);
        true
    }
}

/// When one kind of task may be tried again.
#[derive(Default)]
struct BackOff {
    failures: u32,
    until: Option<Instant>,
}

impl BackOff {
    fn is_over(&self, now: Instant) -> bool {
        self.until.is_none_or(|until| until <= now)
    }

    fn note(&mut self, done: bool) {
        if done {
            *self = Self::default();
            return;
        }
        self.failures = self.failures.saturating_add(1);
        let factor = 1_u32.checked_shl(self.failures - 1).unwrap_or(u32::MAX);
        let wait = FIRST_BACKOFF.saturating_mul(factor).min(LONGEST_BACKOFF).mul_f64(0.5 + fastrand::f64());
        self.until = Some(Instant::now() + wait);
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_worker_outlives_a_moment_without_the_lease() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(kube::Config::new("http://127.0.0.1:9".parse().unwrap())).unwrap();
        let (stop, (trigger, _triggered)) = (CancellationToken::new(), mpsc::unbounded_channel());
        let worker = Worker {
            client,
            org: ("a".to_owned(), "o".to_owned()),
            queue: Arc::new(Queue::new(stop.clone())),
            metrics: Arc::new(Metrics::new()),
            trigger,
            leadership: Leadership::contested(),
        };
        let running = tokio::spawn(worker.run());
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(!running.is_finished());
        stop.cancel();
        running.await.unwrap();
    }
}
