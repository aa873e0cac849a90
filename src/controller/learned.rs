//! What a process keeps of a convergence until the next one: back-off, refusals, metrics.

use tokio::time::Instant;

use super::load::{Due, Loaded};
use super::metrics::ByKind;
use super::reconcile::{KindContext, Reconcilable};
use crate::api::conditions::Reason;
use crate::remote::converge::{Convergence, End};
use crate::remote::failure::{Failure, Retry};

/// What this process remembers of a convergence.
pub fn learn<K: Reconcilable>(context: &KindContext<K>, loaded: &mut Loaded<K>, convergence: &Convergence) {
    let entry = &mut loaded.entry;
    entry.reads_all = convergence.evaluated.is_none()
        && !convergence.resumed
        && (entry.reads_all || !matches!(loaded.due, Due::Retry | Due::OrgChanged));
    if convergence.observed || !convergence.written.is_empty() {
        entry.observed = Some(Instant::now());
    }
    match &convergence.end {
        End::Done => (entry.immediate_retry, entry.refusal) = (true, None),
        End::LostGuard(_) => entry.immediate_retry = false,
        End::Failed(Failure { reason: Reason::AuthenticationFailed, .. } | Failure { retry: Retry::After(_), .. }) => {
            context.shared.orgs.recheck(&loaded.org)
        }
        _ => {}
    }
}

/// Its metrics.
pub fn measure<K: Reconcilable>(context: &KindContext<K>, convergence: &Convergence) {
    let metrics = &context.shared.metrics;
    let kind = ByKind { kind: K::KIND };
    if let Some(plan) = &convergence.plan {
        metrics.plans.get_or_create(&kind).inc_by(u64::from(!plan.is_empty()));
        metrics.drift.get_or_create(&kind).inc_by(plan.drift.len() as u64);
    }
    metrics.conflicts.get_or_create(&kind).inc_by(u64::from(convergence.conflicts));
}
