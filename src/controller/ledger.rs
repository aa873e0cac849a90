//! The cluster as the ledger of a write: intent in status, live checks from the watch store, audit line and metrics.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use kube::core::NamespaceResourceScope;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;

use super::change_limit::ChangeLimit;
use super::lease;
use super::load::requested;
use super::metrics::{ByKind, ByOutcome};
use super::orgs::OrgName;
use super::reconcile::{KindContext, Shared};
use super::report::{self, Place, Unwritten};
use super::stream::Guarded;
use super::written::Base;
use crate::api::ManagedStatus;
use crate::clock;
use crate::engine::Why;
use crate::genesys::{Gate, Halted};
use crate::remote::Remote;
use crate::remote::audit::AuditRecord;
use crate::remote::ledger::{Intended, Ledger};

/// The ledger of one object.
pub struct ClusterLedger<'a, K: Remote> {
    /// Shared state of the kind.
    pub context: &'a Arc<KindContext<K>>,
    /// The object as it was loaded.
    pub object: &'a K,
    /// Its last status.
    pub status: &'a ManagedStatus,
    /// Its org.
    pub org: &'a OrgName,
    /// {API host, client id}.
    pub key: &'a str,
    /// Change limit of the org.
    pub limit: &'a ChangeLimit,
    /// Set once an intent was recorded: the status must be patched once more.
    pub intended: AtomicBool,
    /// What the API server holds: the status that was loaded, then the last one that was recorded.
    pub base: tokio::sync::Mutex<Base<ManagedStatus>>,
    /// Ids of the audit records that are safe now.
    pub recorded: Mutex<Vec<String>>,
}

/// Tells the outcome of an attempted write to log and metrics, once, and keeps it for the org's webhook. `Ok` once it cannot be lost.
pub async fn tell(shared: &Shared, org: &OrgName, record: &AuditRecord) -> Result<(), String> {
    if !shared.outbox.was_told(&record.audit_id) {
        let labels = ByOutcome { action: record.action.clone(), status: record.status.as_str() };
        shared.metrics.writes.get_or_create(&labels).inc();
        super::audit_log::write(record);
    }
    let webhook = shared.orgs.live(org).and_then(|org| org.spec.audit).is_some_and(|audit| audit.webhook.is_some());
    shared.outbox.put(org, webhook, record).await
}

impl<K> Ledger for ClusterLedger<'_, K>
where
    K: Remote + Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Debug,
{
    async fn intend(&self, intended: &Intended<'_>) -> Result<(), String> {
        let mut status = intended.status(self.status);
        if let Some(token) = requested(self.object).filter(|_| intended.evaluated.is_some()) {
            // The evaluation that was asked for is made: after a crash it goes on.
            status.last_handled_reconcile_at = Some(token.to_owned());
        }
        let shared = &self.context.shared;
        if shared.outbox.has_unsaved(self.org) {
            return Err("an earlier audit record is not stored yet; the API server did not take it".to_owned());
        }
        self.intended.store(true, Ordering::Relaxed);
        let place = Place { object: self.object, of: K::status, written: &self.context.written };
        match report::patch_status(shared, &place, &mut *self.base.lock().await, &status).await {
            Ok(answered) => {
                shared.metrics.status_patches.get_or_create(&ByKind { kind: K::KIND }).inc();
                // The answer is the live object: a write without a guard needs one last look at it.
                unchanged(self.object, &answered).map_err(str::to_owned)
            }
            Err(Unwritten::Failed(error)) => Err(format!("the intent could not be recorded in status: {error}")),
            Err(why) => Err(why.to_string()),
        }
    }

    async fn look(&self) -> Result<(), String> {
        let namespace = self.object.namespace().unwrap_or_default();
        let api: Api<K> = Api::namespaced(self.context.shared.client.clone(), &namespace);
        let live = match api.get(&self.object.name_any()).await {
            Ok(live) => live,
            Err(error) if report::is_gone(&error) => return Err("the object was deleted".to_owned()),
            Err(error) => return Err(format!("the object could not be looked at: {error}")),
        };
        let live_status = live.status().cloned().unwrap_or_default();
        if !self.base.lock().await.is(&live_status) {
            return Err("another process goes on with its writes".to_owned());
        }
        if !self.context.shared.leadership.is_held() {
            return Err(lease::NOT_HELD.to_owned());
        }
        unchanged(self.object, &live).map_err(str::to_owned)
    }

    async fn claimed(&self, skill: &str, users: &[String]) -> Result<BTreeSet<String>, String> {
        let shared = &self.context.shared;
        shared.pairs.claimed(&shared.orgs, self.key, skill, users).await
    }

    fn gate(&self) -> Gate {
        let check = Check {
            store: self.context.store.clone(),
            shutdown: self.context.shared.shutdown.clone(),
            context: self.context.clone(),
            key: ObjectRef::new(&self.object.name_any()).within(&self.object.namespace().unwrap_or_default()),
            planned: self.object.clone(),
            org: self.org.clone(),
        };
        Arc::new(move || check.run().map_err(|why| Halted(why.to_owned())))
    }

    fn limited_until(&self, why: Why) -> Option<Timestamp> {
        self.limit.limited_until(&self.object.uid().unwrap_or_default(), why, clock::now())
    }

    fn attempt(&self, why: Why) -> Result<(), Timestamp> {
        self.limit.attempt(&self.object.uid().unwrap_or_default(), why, clock::now())
    }

    fn not_attempted(&self) {
        self.limit.give_back();
    }

    fn is_audit_full(&self) -> bool {
        self.context.shared.outbox.is_full(self.org)
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), String> {
        tell(&self.context.shared, self.org, &record).await?;
        self.recorded.lock().unwrap_or_else(PoisonError::into_inner).push(record.audit_id);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        clock::precise()
    }
}

/// What must hold at the moment a write goes out.
struct Check<K: Remote> {
    store: Store<Guarded<K>>,
    shutdown: CancellationToken,
    context: Arc<KindContext<K>>,
    key: ObjectRef<Guarded<K>>,
    planned: K,
    org: OrgName,
}

/// Whether an object is still the one that was planned for, and may be written.
///
/// # Errors
/// Why not.
pub fn unchanged<K: Remote>(planned: &K, live: &K) -> Result<(), &'static str> {
    if live.meta().uid != planned.meta().uid || live.meta().deletion_timestamp.is_some() {
        return Err("the object was deleted");
    }
    if live.managed().suspend.unwrap_or(false) {
        return Err("it was suspended");
    }
    if live.meta().generation != planned.meta().generation {
        return Err("its spec changed meanwhile; the new one is planned");
    }
    Ok(())
}

impl<K: Remote> Check<K> {
    fn run(&self) -> Result<(), &'static str> {
        if self.shutdown.is_cancelled() {
            return Err("the operator is shutting down");
        }
        if !self.context.shared.leadership.is_held() {
            return Err(lease::NOT_HELD);
        }
        let object = self.store.get(&self.key).ok_or("the object was deleted")?;
        let object = object.0.as_ref().map_err(|_| "the object is not readable any more")?;
        let org = self.context.shared.orgs.live(&self.org).ok_or("its GenesysOrg was deleted")?;
        if org.spec.suspend.unwrap_or(false) {
            return Err("it was suspended");
        }
        unchanged(&self.planned, object)
    }
}
