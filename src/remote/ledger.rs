//! Where an object lives: the cluster for the controller, a file for the CLI. It takes the intent before a write, says
//! whether a write may still go out, and receives the audit records.

use std::collections::BTreeSet;
use std::future::Future;

use jiff::Timestamp;

use super::audit::AuditRecord;
use super::converge::folded;
use crate::api::ManagedStatus;
use crate::api::status::{DueAlert, HistoryEntry, Intent};
use crate::engine::Why;
use crate::engine::plan::Evaluated;
use crate::genesys::Gate;

/// What status must hold before the next request goes out.
#[derive(Clone, Copy, Debug)]
pub struct Intended<'a> {
    /// The writes whose outcome is not known yet.
    pub intent: Option<&'a Intent>,
    /// The evaluation that they follow from; `None`: it stays.
    pub evaluated: Option<&'a Evaluated>,
    /// Alerts that are due.
    pub alerts: &'a [DueAlert],
    /// The writes of this run that took effect so far.
    pub written: &'a [HistoryEntry],
}

impl Intended<'_> {
    /// The status that holds it; `before` is the one that the run began with.
    pub fn status(&self, before: &ManagedStatus) -> ManagedStatus {
        let mut status = ManagedStatus { intent: self.intent.cloned(), alerts: self.alerts.to_vec(), ..before.clone() };
        if let Some(evaluated) = self.evaluated {
            status.remember(folded(self.written.to_vec()));
            evaluated.put_into(&mut status);
        }
        status
    }
}

/// Where an object lives.
pub trait Ledger: Sync {
    /// Keeps the intent, durably, before the first write, which is a live look at the object too: it still exists, with this
    /// generation, and is not suspended. The error says what happened; nothing is written then.
    fn intend(&self, intended: &Intended<'_>) -> impl Future<Output = Result<(), String>> + Send;
    /// A live look at the object before a request that nothing guards: it is still there, unchanged, not suspended, and nobody else
    /// goes on with its writes.
    fn look(&self) -> impl Future<Output = Result<(), String>> + Send;
    /// The users whose skill another object declares; or why that cannot be told now.
    fn claimed(&self, skill: &str, users: &[String]) -> impl Future<Output = Result<BTreeSet<String>, String>> + Send;
    /// Asked immediately before every request of a write: does the object still exist with this generation, is nothing
    /// suspended, is this process still the one that writes?
    fn gate(&self) -> Gate;
    /// Until when the change limit of the org is used up for such a write. Only looks.
    fn limited_until(&self, why: Why) -> Option<Timestamp>;
    /// A write is about to be sent: it counts against the change limit, or must wait until then.
    fn attempt(&self, why: Why) -> Result<(), Timestamp>;
    /// The write that was counted last was not sent after all.
    fn not_attempted(&self);
    /// Whether no more audit records can be kept: then nothing more is written.
    fn is_audit_full(&self) -> bool;
    /// The outcome of an attempted write is known. `Ok` once the record can no longer be lost; otherwise the intent stays.
    fn audit(&self, record: AuditRecord) -> impl Future<Output = Result<(), String>> + Send;
    /// The time.
    fn now(&self) -> Timestamp;
}
