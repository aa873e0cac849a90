//! Objects that are gone while a write of theirs is unresolved: nobody will look up what became of it, and its record must not be lost.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use kube::ResourceExt;

use super::ledger;
use super::orgs::Orgs;
use super::reconcile::{Reconcilable, Shared};
use crate::api::ManagedStatus;
use crate::api::status::IntentStep;
use crate::clock;
use crate::remote::audit::{Attempt, AuditRecord, AuditStatus, Subject};

/// The objects whose calls are under way, by UID.
#[derive(Clone, Default)]
pub struct UnderWay(Arc<Mutex<HashSet<String>>>);

/// Ends it on drop, also after a panic.
pub struct Guard(UnderWay, String);

impl UnderWay {
    /// The calls of an object begin.
    pub fn begin(&self, uid: &str) -> Guard {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(uid.to_owned());
        Guard(self.clone(), uid.to_owned())
    }

    /// They have ended.
    pub fn end(&self, uid: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
    }

    /// Whether they are under way.
    pub fn is(&self, uid: &str) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(uid)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.end(&self.1);
    }
}

/// Tells what is left to tell of an object that is gone: UNKNOWN for the writes of an open intent, and that the records which it has
/// made may be delivered.
pub async fn tell<K: Reconcilable>(shared: &Shared, gone: &K, status: &ManagedStatus, recorded: &[String]) {
    let org = Orgs::name_of(&gone.managed().org_ref, &gone.namespace().unwrap_or_default());
    let records = unresolved(gone, status);
    for record in &records {
        // What the run itself has told is known better.
        if !shared.outbox.is_told(&record.audit_id)
            && let Err(error) = ledger::tell(shared, &org, record).await
        {
            tracing::warn!(error, audit_id = record.audit_id, "an audit record could not be stored; it is tried again");
        }
    }
    let ids = records.iter().map(|record| &record.audit_id).chain(recorded);
    shared.outbox.release(&org, ids.map(String::as_str));
}

fn unresolved<K: Reconcilable>(gone: &K, status: &ManagedStatus) -> Vec<AuditRecord> {
    let Some(intent) = &status.intent else { return Vec::new() };
    let namespace = gone.namespace().unwrap_or_default();
    let org = Orgs::name_of(&gone.managed().org_ref, &namespace);
    let subject = Subject {
        org: format!("{}/{}", org.0, org.1),
        namespace,
        kind: K::KIND.to_owned(),
        name: gone.name_any(),
        generation: intent.generation,
    };
    // Of hundreds that go out one after the other nobody knows any more which were sent.
    let sent = |step: &&IntentStep| intent.steps.len() == 1 || step.level.is_none() || step.attempted;
    let attempts = intent.steps.iter().filter(sent).map(|step| Attempt { step: step.clone(), began: intent.time.0 });
    attempts.map(|attempt| attempt.record(&subject, AuditStatus::Unknown, None, clock::precise())).collect()
}
