//! The state of the sandbox: one lock around everything that calls change, and the journal beside it.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::time::Instant;

use super::Error;
use super::alerts::AlertRecord;
use super::audit_sink::Registry;
use super::auth::{Client, Token};
use super::config_store::Config;
use super::conversations::Conversation;
use super::faults::{Faults, Planned};
use super::journal::{Entry, Journal};
use super::limits::SlidingLog;
use super::normaliser::Normaliser;
use super::profile_store::Profile;
use super::prompt_store::Template;
use super::seed::Seed;
use super::settings::{ConflictStyle, EtagStyle, Settings};
use super::user_details::Analytics;

/// Everything that the sandbox holds. A clone is another handle on the same world; every method is synchronous and may be called from any
/// thread, also while requests are served.
#[derive(Clone)]
pub struct World(Arc<Inner>);

// The state holds secrets and tokens: none of it is printed.
impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World").finish_non_exhaustive()
    }
}

struct Inner {
    // Tokio's clock: equal to the system's, and a test that pauses it pauses the sandbox too.
    started: Instant,
    state: Mutex<State>,
    // Locked after `state`, never before it.
    journal: Mutex<Journal>,
    in_flight: AtomicUsize,
}

/// What calls read and change.
#[derive(Default)]
pub(super) struct State {
    pub(super) settings: Settings,
    pub(super) clients: BTreeMap<String, Client>,
    /// By access token; expired ones stay, so that the journal can name their client.
    pub(super) tokens: HashMap<String, Token>,
    pub(super) configs: BTreeMap<String, Config>,
    pub(super) prompts: BTreeMap<String, Template>,
    /// Routing profiles by user.
    pub(super) users: BTreeMap<String, Profile>,
    pub(super) analytics: Analytics,
    /// The supervisor alerts that were taken.
    pub(super) alerts: VecDeque<AlertRecord>,
    /// The registry of audit records.
    pub(super) audit: Registry,
    /// By config id.
    pub(super) conversations: BTreeMap<String, Vec<Conversation>>,
    pub(super) faults: Vec<Planned>,
    pub(super) last_fault_id: u64,
    /// API calls by client.
    pub(super) api_log: HashMap<String, SlidingLog>,
    /// Token requests by client.
    pub(super) token_log: HashMap<String, SlidingLog>,
    /// Number of changes so far, over all objects.
    changes: u64,
}

impl State {
    /// The position of the change that is being made, in the order of all changes.
    pub(super) fn next_change(&mut self) -> u64 {
        self.changes += 1;
        self.changes
    }
}

impl World {
    /// A world as the seed describes it.
    ///
    /// # Errors
    /// [`Error::Seed`] with everything that is wrong in the seed.
    pub fn new(seed: Seed) -> Result<Self, Error> {
        let world = Self(Arc::new(Inner {
            started: Instant::now(),
            state: Mutex::default(),
            journal: Mutex::new(Journal::new()),
            in_flight: AtomicUsize::new(0),
        }));
        seed.plant(&world)?;
        Ok(world)
    }

    /// The journal so far.
    pub fn journal(&self) -> Vec<Entry> {
        self.journal_since(0)
    }

    /// The entries after position `seq`.
    pub fn journal_since(&self, seq: u64) -> Vec<Entry> {
        lock(&self.0.journal).since(seq)
    }

    /// Forgets the journal; positions go on counting.
    pub fn clear_journal(&self) {
        lock(&self.0.journal).clear();
    }

    /// Ends the planting of a seed: what it did is the beginning, not history.
    pub(super) fn begin(&self) {
        *lock(&self.0.journal) = Journal::new();
    }

    /// Number of entries kept, and of those that had to go for newer ones: the journal holds the last million. A run whose journal lost
    /// entries cannot be judged by the checker.
    pub fn journal_size(&self) -> (usize, u64) {
        let journal = lock(&self.0.journal);
        (journal.len(), journal.dropped())
    }

    /// Requests that have arrived and are not answered yet. A client that gave up may have left one behind.
    pub fn in_flight(&self) -> usize {
        self.0.in_flight.load(Ordering::SeqCst)
    }

    /// The faults to come.
    pub fn faults(&self) -> Faults {
        Faults::new(self.clone())
    }

    /// All settings.
    pub fn settings(&self) -> Settings {
        self.state().settings.clone()
    }

    /// Changes settings.
    pub fn set(&self, change: impl FnOnce(&mut Settings)) {
        change(&mut self.state().settings);
    }

    /// API calls that one client may make in any 60 s, from now on; none: no limit.
    pub fn set_rate_limit(&self, per_minute: Option<u32>) {
        self.set(|settings| settings.rate_limit = per_minute);
    }

    /// How long every call takes, in whole milliseconds.
    pub fn set_latency(&self, latency: Duration) {
        self.set(|settings| settings.latency_ms = u64::try_from(latency.as_millis()).unwrap_or(u64::MAX));
    }

    /// How tags appear in answers.
    pub fn set_etag_style(&self, style: EtagStyle) {
        self.set(|settings| settings.etag_style = style);
    }

    /// What a lost guard answers.
    pub fn set_conflict_style(&self, style: ConflictStyle) {
        self.set(|settings| settings.conflict_style = style);
    }

    /// How the server rewrites what clients write, in this order; none: it keeps what it is sent.
    pub fn set_normaliser(&self, rules: impl IntoIterator<Item = Normaliser>) {
        let rules = rules.into_iter().collect();
        self.set(|settings| settings.normaliser = rules);
    }

    /// The state, locked.
    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.0.state)
    }

    /// Writes an entry. May be called with the state locked.
    pub(super) fn record(&self, entry: Entry) {
        lock(&self.0.journal).push(entry);
    }

    /// Monotonic microseconds since the start.
    pub(super) fn now_us(&self) -> u64 {
        u64::try_from(self.0.started.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// Counts a request until the guard is dropped.
    pub(super) fn arrival(&self) -> Arrival {
        self.0.in_flight.fetch_add(1, Ordering::SeqCst);
        Arrival(self.clone())
    }

    /// The scopes of every client; secrets are never told.
    pub(super) fn client_scopes(&self) -> BTreeMap<String, BTreeSet<String>> {
        self.state().clients.iter().map(|(id, client)| (id.clone(), client.scopes.clone())).collect()
    }
}

/// Ten years in seconds: beyond the year 9999 there are no HTTP dates.
pub(super) const MAX_SKEW: i64 = 315_360_000;

/// The server's wall clock: this machine's, ahead by the skew that the settings ask for.
pub(super) fn wall_clock(settings: &Settings) -> Timestamp {
    crate::clock::precise()
        .saturating_add(SignedDuration::from_secs(settings.clock_skew_seconds.clamp(-MAX_SKEW, MAX_SKEW)))
        .unwrap_or(Timestamp::MAX)
}

/// A request under way.
pub(super) struct Arrival(World);

impl Drop for Arrival {
    fn drop(&mut self) {
        self.0.0.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Locks, also after a panic elsewhere: an editor closure of a test may have panicked, and no half-made change is ever stored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
