//! The records of one org: what is safe, what is not yet, and where they go. No IO.

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use lru::LruCache;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Destination;
use crate::api::conditions::Reason;
use crate::clock;
use crate::genesys::audit_sink::Sink;

/// Most records of an org that wait for delivery. Beyond it nothing more is written for the org.
pub const MAX_RECORDS: usize = 1000;
/// A record that waits longer is late: the org says so.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// Ids of the last records are remembered, so that none is put twice.
const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4096) {
    Some(count) => count,
    None => NonZeroUsize::MIN,
};

/// One record on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The audit id.
    pub id: String,
    /// The JSON, byte for byte as it is posted.
    pub body: String,
    /// When its outcome was known.
    pub at: Timestamp,
}

/// How delivery goes, as the condition `AuditDelivered` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Whether records arrive.
    pub ok: bool,
    /// Reason of the condition.
    pub reason: Reason,
    /// What is wrong, and what to do.
    pub message: String,
}

struct State {
    destination: Destination,
    owner: Option<OwnerReference>,
    /// Not yet safe with the API server.
    unsaved: VecDeque<Record>,
    /// Safe, oldest first.
    saved: VecDeque<Record>,
    /// Delivered, and still with the API server.
    delivered: VecDeque<String>,
    known: LruCache<String, ()>,
    /// Since when the webhook fails, and how.
    failing: Option<(Timestamp, String)>,
}

/// The records of one org.
pub struct Queue {
    state: Mutex<State>,
    /// Wakes the delivery.
    pub wake: Notify,
    /// Ends the delivery.
    pub stop: CancellationToken,
}

/// The next thing that delivery has to do.
pub enum Task {
    /// Store this record.
    Save(Record),
    /// Delete the stored record with this id: it was delivered.
    Delete(String),
    /// Post this record to this sink.
    Deliver(Record, Arc<Sink>),
    /// Wait until something changes.
    Wait,
}

impl Queue {
    /// An empty queue.
    pub fn new(stop: CancellationToken) -> Self {
        let state = State {
            destination: Destination::None,
            owner: None,
            unsaved: VecDeque::new(),
            saved: VecDeque::new(),
            delivered: VecDeque::new(),
            known: LruCache::new(REMEMBERED),
            failing: None,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), stop }
    }

    /// Sets where the records go.
    pub fn configure(&self, owner: OwnerReference, destination: Destination) {
        let mut state = self.lock();
        state.owner = Some(owner);
        let same = match (&state.destination, &destination) {
            (Destination::Sink(_, old), Destination::Sink(_, new)) => old == new,
            (Destination::Unusable(old), Destination::Unusable(new)) => old == new,
            (Destination::None, Destination::None) => true,
            _ => false,
        };
        if !same {
            (state.destination, state.failing) = (destination, None);
            self.wake.notify_one();
        }
    }

    /// Whether this is the configuration in use.
    pub fn uses(&self, made_for: &str) -> bool {
        matches!(&self.lock().destination, Destination::Sink(_, known) if known == made_for)
    }

    /// Owner of stored records.
    pub fn owner(&self) -> Option<OwnerReference> {
        self.lock().owner.clone()
    }

    /// Whether the org has a webhook, usable or not.
    pub fn has_webhook(&self) -> bool {
        !matches!(self.lock().destination, Destination::None)
    }

    /// Notes an id, so that its record is not put twice.
    pub fn remember(&self, id: &str) {
        self.lock().known.put(id.to_owned(), ());
    }

    /// Whether a record with this id was put before.
    pub fn knows(&self, id: &str) -> bool {
        self.lock().known.contains(id)
    }

    /// A record is safe and waits for delivery.
    pub fn keep(&self, record: Record) {
        let mut state = self.lock();
        state.known.put(record.id.clone(), ());
        state.saved.push_back(record);
        self.wake.notify_one();
    }

    /// A record could not be stored.
    pub fn keep_unsaved(&self, record: Record) {
        self.lock().unsaved.push_back(record);
        self.wake.notify_one();
    }

    /// Whether no more records can be kept.
    pub fn is_full(&self) -> bool {
        self.len() >= MAX_RECORDS
    }

    /// Whether a record is not safe yet.
    pub fn has_unsaved(&self) -> bool {
        !self.lock().unsaved.is_empty()
    }

    /// Number of records that wait.
    pub fn len(&self) -> usize {
        let state = self.lock();
        state.unsaved.len() + state.saved.len() + state.delivered.len()
    }

    /// Age of the oldest record that waits.
    pub fn oldest(&self) -> Duration {
        let state = self.lock();
        let oldest = state.saved.iter().chain(&state.unsaved).map(|record| record.at).min();
        oldest.and_then(|at| Duration::try_from(clock::now().duration_since(at)).ok()).unwrap_or_default()
    }

    /// What is to be done next.
    pub fn task(&self) -> Task {
        let state = self.lock();
        if let Some(record) = state.unsaved.front() {
            return Task::Save(record.clone());
        }
        if let Some(id) = state.delivered.front() {
            return Task::Delete(id.clone());
        }
        match (&state.destination, state.saved.front()) {
            (Destination::Sink(sink, _), Some(record)) => Task::Deliver(record.clone(), sink.clone()),
            _ => Task::Wait,
        }
    }

    /// A record was stored.
    pub fn saved(&self, id: &str) {
        let mut state = self.lock();
        if state.unsaved.front().is_some_and(|record| record.id == id)
            && let Some(record) = state.unsaved.pop_front()
        {
            state.saved.push_back(record);
        }
    }

    /// A record was accepted by the webhook. It is never posted again by this process.
    pub fn delivered(&self, id: &str) {
        let mut state = self.lock();
        state.saved.retain(|record| record.id != id);
        state.delivered.push_back(id.to_owned());
        state.failing = None;
    }

    /// A delivered record is no longer stored.
    pub fn deleted(&self, id: &str) {
        self.lock().delivered.retain(|delivered| delivered != id);
    }

    /// The webhook did not accept a record.
    pub fn failed(&self, why: String) {
        let mut state = self.lock();
        let since = state.failing.as_ref().map_or_else(clock::now, |(since, _)| *since);
        state.failing = Some((since, why));
    }

    /// How delivery goes; `None` where the org has no webhook.
    pub fn health(&self) -> Option<Health> {
        let full = self.is_full();
        let state = self.lock();
        let cause = match (&state.destination, &state.failing) {
            (Destination::None, _) => return None,
            (Destination::Unusable(why), _) => Some((Reason::DependencyNotFound, why.clone())),
            (Destination::Sink(..), Some((since, why))) if full || clock::now().duration_since(*since) >= LATE => {
                let since = Timestamp::from_second(since.as_second()).unwrap_or(*since);
                Some((Reason::Progressing, format!("no record was accepted since {since}: {why}; it is tried again")))
            }
            _ if full => Some((Reason::Progressing, "records arrive slower than they are made".to_owned())),
            _ => None,
        };
        Some(match cause {
            None => Health { ok: true, reason: Reason::Succeeded, message: "the webhook accepts the audit records".to_owned() },
            Some((_, message)) if full => Health {
                ok: false,
                reason: Reason::AuditBacklog,
                message: format!(
                    "{message}. {MAX_RECORDS} records wait, and nothing more is written for this org until they are delivered"
                ),
            },
            Some((reason, message)) => {
                Health { ok: false, reason, message: format!("{message}. Records are kept until they are delivered") }
            }
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(id: &str) -> Record {
        Record { id: id.into(), body: "{}".into(), at: clock::now() }
    }

    fn queue() -> Queue {
        let queue = Queue::new(CancellationToken::new());
        queue.configure(OwnerReference::default(), Destination::Unusable("no key".into()));
        queue
    }

    #[test]
    fn a_record_is_stored_first_and_waits_while_the_webhook_cannot_be_used() {
        let queue = queue();
        queue.keep_unsaved(record("a"));
        assert!(matches!(queue.task(), Task::Save(r) if r.id == "a"));
        assert!(queue.has_unsaved());
        queue.saved("a");
        assert!(matches!(queue.task(), Task::Wait) && !queue.has_unsaved());
        assert_eq!(queue.health().map(|h| (h.ok, h.reason)), Some((false, Reason::DependencyNotFound)));
    }

    #[test]
    fn a_delivered_record_counts_until_it_is_deleted_and_is_not_delivered_again() {
        let queue = queue();
        queue.keep(record("a"));
        queue.delivered("a");
        assert!(matches!(queue.task(), Task::Delete(id) if id == "a"));
        assert_eq!(queue.len(), 1);
        queue.deleted("a");
        assert_eq!(queue.len(), 0);
        assert!(queue.knows("a"));
    }

    #[test]
    fn a_full_store_says_so() {
        let queue = queue();
        (0..MAX_RECORDS).for_each(|n| queue.keep(record(&n.to_string())));
        assert!(queue.is_full());
        assert_eq!(queue.health().map(|h| h.reason), Some(Reason::AuditBacklog));
    }

    #[test]
    fn without_a_webhook_there_is_no_condition() {
        let queue = Queue::new(CancellationToken::new());
        assert_eq!(queue.health(), None);
        assert!(!queue.has_webhook());
    }
}
