//! Polls of which version handles conversations: what is asked, and when the next one is due.

use kube::ResourceExt;
use tokio::time::Instant;

use super::load::{self, Due, Loaded};
use super::reconcile::Reconcilable;
use super::watch;
use crate::api::ManagedStatus;
use crate::api::status::PropagationStatus;
use crate::engine::propagation::{self, Verdict as Traffic};
use crate::genesys::Session;
use crate::remote::failure::Failure;
use crate::remote::propagation::poll;

/// Asks which version handles conversations.
pub async fn ask<K: Reconcilable>(session: &mut Session, loaded: &Loaded<K>) -> Result<Option<Traffic>, Failure> {
    let Some(PropagationStatus { version, since, .. }) = loaded.status.propagation.as_ref() else { return Ok(None) };
    // What is polled is in sync: the live version holds the declared content too.
    let live = loaded.status.remote.as_ref().and_then(|r| r.version.clone()).unwrap_or_default();
    let window = (since.0, load::now());
    let traffic = poll::<K>(session, loaded.object.remote_id(), version, &[version, &live], window).await;
    if let Err(failure) = &traffic {
        tracing::warn!(
            kind = K::KIND,
            object = loaded.object.name_any(),
            error = failure.message,
            "conversations could not be queried"
        );
    }
    traffic.map(Some)
}

/// Plans the next poll.
pub fn schedule<K>(loaded: &mut Loaded<K>, status: &ManagedStatus) {
    if !watch::is_propagating(status) {
        (loaded.entry.polls, loaded.entry.poll_due) = (0, None);
        return;
    }
    let begun = status.propagation.as_ref().map(|p| &p.version) != loaded.status.propagation.as_ref().map(|p| &p.version);
    if begun {
        loaded.entry.polls = 0;
    }
    if begun || loaded.due == Due::Poll || loaded.entry.poll_due.is_none() {
        loaded.entry.poll_due = Some(Instant::now() + propagation::poll_delay(loaded.entry.polls));
    }
}
