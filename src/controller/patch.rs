//! The status of a managed object on its way to the API server, and what becomes of it where it does not arrive.

use std::sync::Arc;
use std::time::Duration;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;

use super::load;
use super::metrics::ByKind;
use super::outcome::{Facts, Verdict, outcome};
use super::reconcile::{KindContext, Reconcilable};
use super::report::{self, Place, Unwritten};
use super::stream::Guarded;
use super::written::{Base, Believed};
use crate::api::ManagedStatus;

/// A status that could not be written is tried again after about that.
const UNWRITTEN_STATUS: Duration = Duration::from_secs(30);
/// An object whose status another process wrote is looked at again after about that.
const FOREIGN_STATUS: Duration = Duration::from_secs(1);

/// What became of a status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patched {
    /// Nothing is left to patch.
    Done,
    /// It is kept, and tried again.
    Kept,
    /// Another process wrote one: that counts, and nothing is kept.
    Foreign,
}

impl Patched {
    /// When to look at the object again, at the latest.
    pub fn look_again(self) -> Option<Duration> {
        match self {
            Self::Done => None,
            Self::Kept => Some(UNWRITTEN_STATUS),
            Self::Foreign => Some(FOREIGN_STATUS),
        }
    }
}

/// Patches the status on top of what it was computed from.
pub async fn patch<K: Reconcilable>(
    context: &KindContext<K>,
    object: &K,
    base: &mut Base<ManagedStatus>,
    status: ManagedStatus,
) -> Patched {
    context.shared.metrics.status_patches.get_or_create(&ByKind { kind: K::KIND }).inc();
    let place = Place { object, of: K::status, written: &context.written };
    match report::patch_status(&context.shared, &place, base, &status).await {
        Ok(_) | Err(Unwritten::Gone) => Patched::Done,
        Err(error @ Unwritten::Foreign) => {
            tracing::warn!(kind = K::KIND, namespace = object.namespace(), name = object.name_any(), %error, "status was not written");
            Patched::Foreign
        }
        Err(error) => {
            tracing::error!(kind = K::KIND, name = object.name_any(), %error, "status could not be written; it is tried again");
            context.written.keep(object, status, base.clone());
            Patched::Kept
        }
    }
}

/// The reconcile of an object panicked: its status says so.
pub async fn panicked<K: Reconcilable>(context: &Arc<KindContext<K>>, key: &ObjectRef<Guarded<K>>) {
    let Some(guarded) = context.store.get(key) else { return };
    let Ok(object) = guarded.0.as_ref() else { return };
    let Believed { status: previous, mut base } = context.written.load(object, object.status());
    let generation = object.meta().generation.unwrap_or_default();
    let facts = Facts {
        generation,
        policy: object.policy(),
        requested: load::requested(object),
        approved: load::approved(object),
        previous: &previous,
        watch: None,
        traffic: None,
        now: load::now(),
    };
    let outcome = outcome(&Verdict::Panicked, &facts);
    if outcome.status != previous {
        patch(context, object, &mut base, outcome.status).await;
    }
}
