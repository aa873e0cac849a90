//! Where an object lives: the cluster for the controller, a file for the CLI. It takes the intent before a write, says
//! whether a write may still go out, and receives the audit records.

use std::future::Future;

use jiff::Timestamp;

use super::audit::AuditRecord;
use crate::api::status::Intent;
use crate::engine::Why;
use crate::genesys::Gate;

/// Where an object lives.
pub trait Ledger: Sync {
    /// Keeps the intent, durably, before the first write, which is a live look at the object too: it still exists, with this
    /// generation, and is not suspended. The error says what happened; nothing is written then.
    fn intend(&self, intent: Intent) -> impl Future<Output = Result<(), String>> + Send;
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
