//! The records of one org: what is safe, what is not yet, and where they go. No IO.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lru::LruCache;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::Destination;
use crate::api::conditions::Reason;
use crate::clock;
use crate::genesys::audit_sink::Sink;

/// Most records of an org that wait for delivery. Beyond it nothing more is written for the org.
pub const MAX_RECORDS: usize = 1000;
/// Once the store was full, writes go on when so many records are left.
const ROOM_AGAIN: usize = MAX_RECORDS / 10 * 9;
/// A record that waits longer is late: the org says so.
const LATE: SignedDuration = SignedDuration::from_secs(60);
/// Ids of the last records are remembered, so that none is told or put twice.
pub const REMEMBERED: NonZeroUsize = match NonZeroUsize::new(4096) {
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
    /// Not yet safe with the API server, and why.
    unsaved: VecDeque<Record>,
    unsavable: Option<String>,
    /// Those of them that may be delivered as soon as they are safe.
    released: HashSet<String>,
    /// Safe, and not to be delivered before the status no longer holds the intent that they could be made from once more.
    parked: BTreeMap<String, Record>,
    /// Safe, to be delivered.
    saved: VecDeque<Record>,
    /// Whether the store was full, and has not emptied enough since.
    full: bool,
    /// Delivered, and still with the API server.
    delivered: VecDeque<String>,
    known: LruCache<String, ()>,
    /// The last ones that were delivered.
    last: LruCache<String, ()>,
    /// How the records that were not accepted failed last.
    failures: HashMap<String, String>,
    /// Why a delivered record could not be deleted.
    undeletable: Option<String>,
    /// How often the store was full.
    fills: u64,
}

impl State {
    /// A record is safe: it waits for its release, or has it already.
    fn settle(&mut self, record: Record) {
        if self.released.remove(&record.id) {
            self.saved.push_back(record);
        } else {
            self.parked.insert(record.id.clone(), record);
        }
    }

    /// Whether a record is beyond its release.
    fn has_gone(&self, id: &str) -> bool {
        self.saved.iter().any(|record| record.id == id) || self.last.contains(id)
    }

    fn is_late(&self) -> bool {
        let oldest = self.saved.iter().chain(self.parked.values()).map(|record| record.at).min();
        oldest.is_some_and(|at| clock::now().duration_since(at) >= LATE)
    }

    /// Why records wait.
    fn late(&self) -> Option<String> {
        let failure = self.saved.iter().find_map(|record| self.failures.get(&record.id));
        let parked = self.parked.values().any(|record| clock::now().duration_since(record.at) >= LATE);
        Some(match (failure, &self.undeletable) {
            (Some(why), _) => format!("{why}; it is tried again"),
            (None, Some(why)) => format!("delivered records cannot be deleted: {why}"),
            (None, None) if parked => "a record waits until its object is looked at again; is it suspended?".to_owned(),
            (None, None) => "records are accepted slower than they are made".to_owned(),
        })
    }

    fn len(&self) -> usize {
        self.unsaved.len() + self.parked.len() + self.saved.len() + self.delivered.len()
    }
}

/// The records of one org.
pub struct Queue {
    state: Mutex<State>,
    /// Wakes the delivery.
    pub wake: Notify,
    /// Ends the delivery.
    pub stop: CancellationToken,
}

/// The kinds of tasks that may be tried now.
#[derive(Clone, Copy, Debug)]
pub struct Allowed {
    /// Storing.
    pub save: bool,
    /// Deleting what was delivered.
    pub delete: bool,
    /// Posting.
    pub deliver: bool,
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
            unsaved: VecDeque::new(),
            unsavable: None,
            released: HashSet::new(),
            parked: BTreeMap::new(),
            full: false,
            saved: VecDeque::new(),
            delivered: VecDeque::new(),
            known: LruCache::new(REMEMBERED),
            last: LruCache::new(REMEMBERED),
            failures: HashMap::new(),
            undeletable: None,
            fills: 0,
        };
        Self { state: Mutex::new(state), wake: Notify::new(), stop }
    }

    /// Sets where the records go.
    pub fn configure(&self, destination: Destination) {
        let mut state = self.lock();
        let same = match (&state.destination, &destination) {
            (Destination::Sink(_, old), Destination::Sink(_, new)) => old == new,
            (Destination::Unusable(old), Destination::Unusable(new)) => old == new,
            (Destination::None, Destination::None) => true,
            _ => false,
        };
        if !same {
            state.destination = destination;
            state.failures.clear();
            self.wake.notify_one();
        }
    }

    /// Whether this is the configuration in use.
    pub fn uses(&self, made_for: &str) -> bool {
        matches!(&self.lock().destination, Destination::Sink(_, known) if known == made_for)
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

    /// A record is safe. It is delivered once it is [released](Self::release).
    pub fn park(&self, record: Record) {
        let mut state = self.lock();
        state.known.put(record.id.clone(), ());
        state.settle(record);
        self.wake.notify_one();
    }

    /// The status does not hold the intent of a record any more: it may be delivered.
    pub fn release(&self, id: &str) {
        let mut state = self.lock();
        if let Some(record) = state.parked.remove(id) {
            state.saved.push_back(record);
            self.wake.notify_one();
        } else if state.known.contains(id) && !state.has_gone(id) {
            // It is still on its way here.
            state.released.insert(id.to_owned());
        }
    }

    /// A record could not be stored, and why.
    pub fn keep_unsaved(&self, record: Record, why: String) {
        let mut state = self.lock();
        state.unsaved.push_back(record);
        state.unsavable = Some(why);
        self.wake.notify_one();
    }

    /// Storing a record failed once more.
    pub fn unsavable(&self, why: String) {
        self.lock().unsavable = Some(why);
    }

    /// Whether no more records can be kept. Without a webhook none are.
    pub fn is_full(&self) -> bool {
        let mut state = self.lock();
        let (waiting, was) = (state.len(), state.full);
        state.full = waiting >= MAX_RECORDS || (was && waiting > ROOM_AGAIN);
        state.fills += u64::from(state.full && !was);
        state.full && !matches!(state.destination, Destination::None)
    }

    /// A number that changes whenever writes have to wait, or may go on.
    pub fn pressure(&self) -> u64 {
        let full = self.is_full();
        self.lock().fills * 2 + u64::from(full)
    }

    /// Whether a record is not safe yet.
    pub fn has_unsaved(&self) -> bool {
        let state = self.lock();
        !state.unsaved.is_empty() && !matches!(state.destination, Destination::None)
    }

    /// Number of records that wait.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Age of the oldest record that waits.
    pub fn oldest(&self) -> Duration {
        let state = self.lock();
        let oldest = state.saved.iter().chain(&state.unsaved).chain(state.parked.values()).map(|record| record.at).min();
        oldest.and_then(|at| Duration::try_from(clock::now().duration_since(at)).ok()).unwrap_or_default()
    }

    /// What is to be done next, of the kinds that may be tried now: what cannot be stored must not hold up the deliveries, which
    /// make room.
    pub fn task(&self, may: Allowed) -> Task {
        let state = self.lock();
        let save = state.unsaved.front().filter(|_| may.save).map(|record| Task::Save(record.clone()));
        let delete = state.delivered.front().filter(|_| may.delete).map(|id| Task::Delete(id.clone()));
        let delivery = match (&state.destination, state.saved.front()) {
            (Destination::Sink(sink, _), Some(record)) if may.deliver => Some(Task::Deliver(record.clone(), sink.clone())),
            _ => None,
        };
        save.or(delete).or(delivery).unwrap_or(Task::Wait)
    }

    /// A record was stored.
    pub fn saved(&self, record: Record) {
        let mut state = self.lock();
        if state.unsaved.front().is_some_and(|first| first.id == record.id) {
            state.unsaved.pop_front();
            state.unsavable = None;
            state.settle(record);
        }
    }

    /// A record was accepted by the webhook. It is never posted again by this process.
    pub fn delivered(&self, id: &str) {
        let mut state = self.lock();
        state.saved.retain(|record| record.id != id);
        state.delivered.push_back(id.to_owned());
        state.last.put(id.to_owned(), ());
        state.failures.remove(id);
    }

    /// A delivered record is no longer stored.
    pub fn deleted(&self, id: &str) {
        let mut state = self.lock();
        state.delivered.retain(|delivered| delivered != id);
        state.undeletable = None;
    }

    /// A delivered record could not be deleted.
    pub fn undeletable(&self, why: String) {
        self.lock().undeletable = Some(why);
    }

    /// The webhook did not accept a record. It goes behind the others: one that is never accepted holds up none of them.
    pub fn failed(&self, id: &str, why: String) {
        let mut state = self.lock();
        if state.saved.front().is_some_and(|record| record.id == id) {
            state.saved.rotate_left(1);
        }
        state.failures.insert(id.to_owned(), why);
    }

    /// How delivery goes; `None` where the org has no webhook. The texts change with the cause only.
    pub fn health(&self) -> Option<Health> {
        let full = self.is_full();
        let state = self.lock();
        if matches!(state.destination, Destination::None) {
            return None;
        }
        if let Some(why) = &state.unsavable {
            let message = format!(
                "a record could not be stored: {why}; nothing more is written for this org until it is, correct the cause"
            );
            return Some(Health { ok: false, reason: Reason::AuditBacklog, message });
        }
        let cause = match &state.destination {
            Destination::Unusable(why) => Some((Reason::DependencyNotFound, why.clone())),
            _ => state.late().filter(|_| full || state.is_late()).map(|why| (Reason::Progressing, why)),
        };
        Some(match cause {
            None => {
                Health { ok: true, reason: Reason::Succeeded, message: "no audit record waits longer than it should".to_owned() }
            }
            Some((_, why)) if full => Health {
                ok: false,
                reason: Reason::AuditBacklog,
                message: format!(
                    "{why}. {MAX_RECORDS} records are stored, and nothing more is written for this org until there are less"
                ),
            },
            Some((reason, why)) => {
                Health { ok: false, reason, message: format!("{why}. Records are kept until they are delivered") }
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
        queue.configure(Destination::Unusable("no key".into()));
        queue
    }

    fn with_sink() -> Queue {
        let queue = queue();
        let sink = Sink::new("https://example.com/".parse().unwrap(), None, false).unwrap();
        queue.configure(Destination::Sink(Arc::new(sink), "v1".into()));
        queue
    }

    const ALL: Allowed = Allowed { save: true, delete: true, deliver: true };

    fn keep(queue: &Queue, id: &str) {
        queue.park(record(id));
        queue.release(id);
    }

    #[test]
    fn a_record_is_stored_first_and_waits_while_the_webhook_cannot_be_used() {
        let queue = queue();
        queue.keep_unsaved(record("a"), "quota".into());
        assert!(matches!(queue.task(ALL), Task::Save(r) if r.id == "a"));
        assert_eq!(queue.health().map(|h| (h.ok, h.reason)), Some((false, Reason::AuditBacklog)));
        queue.saved(record("a"));
        queue.release("a");
        assert!(matches!(queue.task(ALL), Task::Wait) && !queue.has_unsaved());
        assert_eq!(queue.health().map(|h| (h.ok, h.reason)), Some((false, Reason::DependencyNotFound)));
    }

    #[test]
    fn a_record_is_delivered_only_after_its_intent_is_gone() {
        let queue = with_sink();
        queue.park(record("a"));
        assert!(matches!(queue.task(ALL), Task::Wait) && queue.knows("a"));
        queue.release("a");
        assert!(matches!(queue.task(ALL), Task::Deliver(r, _) if r.id == "a"));
    }

    #[test]
    fn what_cannot_be_stored_or_is_never_accepted_does_not_hold_up_the_others() {
        let queue = with_sink();
        ["poison", "good"].iter().for_each(|id| keep(&queue, id));
        queue.keep_unsaved(record("quota"), "forbidden".into());
        assert!(matches!(queue.task(ALL), Task::Save(_)));
        let posts = Allowed { save: false, ..ALL };
        assert!(matches!(queue.task(posts), Task::Deliver(r, _) if r.id == "poison"));
        queue.failed("poison", "HTTP 400".into());
        assert!(matches!(queue.task(posts), Task::Deliver(r, _) if r.id == "good"));
    }

    #[test]
    fn a_delivered_record_counts_until_it_is_deleted_and_is_not_delivered_again() {
        let queue = with_sink();
        keep(&queue, "a");
        queue.delivered("a");
        assert!(matches!(queue.task(ALL), Task::Delete(id) if id == "a"));
        assert_eq!(queue.len(), 1);
        queue.deleted("a");
        assert_eq!(queue.len(), 0);
        assert!(queue.knows("a"));
    }

    #[test]
    fn a_full_store_says_so_and_has_room_again_well_below_its_limit() {
        let queue = with_sink();
        (0..MAX_RECORDS).for_each(|n| keep(&queue, &n.to_string()));
        assert!(queue.is_full());
        assert_eq!(queue.health().map(|h| h.reason), Some(Reason::AuditBacklog));
        let go = |n: usize| {
            queue.delivered(&n.to_string());
            queue.deleted(&n.to_string());
        };
        (0..50).for_each(go);
        assert!(queue.is_full(), "one more or less must not wake every object");
        (50..100).for_each(go);
        assert!(!queue.is_full());
    }

    #[test]
    fn without_a_webhook_there_is_no_condition_and_no_limit() {
        let queue = with_sink();
        (0..MAX_RECORDS).for_each(|n| keep(&queue, &n.to_string()));
        queue.configure(Destination::None);
        assert_eq!(queue.health(), None);
        assert!(!queue.has_webhook() && !queue.is_full());
    }
}
