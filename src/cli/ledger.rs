//! An object's status in memory, and the ledger that goes with it: what the demo and `apply` have in place of a cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures::future::BoxFuture;
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use crate::api::ManagedStatus;
use crate::clock;
use crate::controller::change_limit::ChangeLimit;
use crate::engine::Why;
use crate::genesys::{Gate, Halted};
use crate::remote::audit::AuditRecord;
use crate::remote::ledger::{Intended, Ledger};

/// Whether another object declares a skill of a user.
pub type Declares = Box<dyn Fn(&str, &str) -> bool + Send + Sync>;

/// The ledger of one object.
pub struct MemoryLedger {
    /// Tells it apart in the change limit.
    id: String,
    status: Mutex<ManagedStatus>,
    audit: Mutex<Vec<AuditRecord>>,
    declared: Mutex<Vec<Declares>>,
    limit: Arc<ChangeLimit>,
    stop: CancellationToken,
    intended: Arc<AtomicBool>,
    look: Option<LiveLook>,
}

/// A live look at the object, where there is a cluster: why nothing may be written.
pub type LiveLook = Box<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

impl MemoryLedger {
    /// The ledger of an object with this status, under the change limit of its org. No write starts once `stop` is cancelled.
    pub fn new(id: impl Into<String>, status: ManagedStatus, limit: Arc<ChangeLimit>, stop: CancellationToken) -> Self {
        let (audit, declared, intended) = Default::default();
        Self { id: id.into(), status: Mutex::new(status), audit, declared, limit, stop, intended, look: None }
    }

    /// The same, which says in `intended` that a write was about to be sent.
    #[must_use]
    pub fn telling(self, intended: Arc<AtomicBool>) -> Self {
        Self { intended, ..self }
    }

    /// The same, which looks at the object before it writes.
    #[must_use]
    pub fn looking(self, look: LiveLook) -> Self {
        Self { look: Some(look), ..self }
    }

    /// The status.
    pub fn status(&self) -> MutexGuard<'_, ManagedStatus> {
        lock(&self.status)
    }

    /// The record of every write attempted so far, oldest first.
    pub fn audited(&self) -> Vec<AuditRecord> {
        lock(&self.audit).clone()
    }

    /// Adds a record.
    pub fn keep(&self, record: AuditRecord) {
        lock(&self.audit).push(record);
    }

    /// From now on the object leaves alone what `declares` says.
    pub fn yield_to(&self, declares: Declares) {
        lock(&self.declared).push(declares);
    }
}

impl Default for MemoryLedger {
    /// Of an object without a past and without limits.
    fn default() -> Self {
        Self::new("", ManagedStatus::default(), Arc::default(), CancellationToken::new())
    }
}

impl Ledger for MemoryLedger {
    async fn intend(&self, intended: &Intended<'_>) -> Result<(), String> {
        self.look().await?;
        self.intended.store(true, Ordering::Relaxed);
        let status = intended.status(&self.status());
        *self.status() = status;
        Ok(())
    }

    async fn look(&self) -> Result<(), String> {
        match &self.look {
            Some(look) => look().await,
            None => Ok(()),
        }
    }

    async fn claimed(&self, skill: &str, users: &[String]) -> Result<BTreeSet<String>, String> {
        let others = lock(&self.declared);
        Ok(users.iter().filter(|user| others.iter().any(|declares| declares(user, skill))).cloned().collect())
    }

    fn gate(&self) -> Gate {
        let stop = self.stop.clone();
        Arc::new(move || match stop.is_cancelled() {
            true => Err(Halted("it was interrupted".to_owned())),
            false => Ok(()),
        })
    }

    fn limited_until(&self, why: Why) -> Option<Timestamp> {
        self.limit.limited_until(&self.id, why, clock::now())
    }

    fn attempt(&self, why: Why) -> Result<(), Timestamp> {
        self.limit.attempt(&self.id, why, clock::now())
    }

    fn not_attempted(&self) {
        self.limit.give_back();
    }

    fn is_audit_full(&self) -> bool {
        false
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), String> {
        self.keep(record);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        clock::precise()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
