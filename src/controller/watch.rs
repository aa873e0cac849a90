//! What conversations mean for an object whose propagation is watched (contract section 3). Pure.

use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outcome::{Facts, Next};
use super::summary::Summary;
use crate::api::ManagedStatus;
use crate::api::conditions::Reason;
use crate::api::status::PropagationStatus;
use crate::engine::propagation::{Verdict as Traffic, Watch};

/// States of a propagation that is over.
const SETTLED: [&str; 3] = ["Verified", "Unverified", "TimedOut"];

/// Whether a watched propagation is still open.
pub fn is_propagating(status: &ManagedStatus) -> bool {
    status.propagation.as_ref().is_some_and(|p| !SETTLED.contains(&p.state.as_str()))
}

/// Only the conversations were asked, about the state that status has.
pub fn polled(status: &mut ManagedStatus, facts: &Facts<'_>) -> Summary {
    let version = status.remote.as_ref().and_then(|r| r.version.clone()).unwrap_or_default();
    match facts.watch {
        Some(watch) => propagation(status, watch, &version, facts),
        None => Summary::new(
            Reason::Succeeded,
            format!("version {version} holds everything that is declared"),
            Some(true),
            Next::Check,
        ),
    }
}

/// The state is in sync: whether conversations run on it.
pub fn propagation(status: &mut ManagedStatus, watch: &Watch, version: &str, facts: &Facts<'_>) -> Summary {
    let written = status.history.first().filter(|h| h.version == version).map(|h| h.time.clone());
    let previous = status.propagation.take();
    // A later version that still holds the content goes on with the wait of the first one.
    let current = previous.filter(|p| written.is_none() || p.version == version);
    let mut state = current.unwrap_or_else(|| PropagationStatus {
        version: version.to_owned(),
        since: written.unwrap_or(Time(facts.now)),
        state: "Pending".into(),
    });
    let waited = Duration::try_from(facts.now.duration_since(state.since.0)).unwrap_or_default();
    let settled = SETTLED.contains(&state.state.as_str());
    if !settled {
        state.state = match facts.traffic {
            Some(Traffic::Verified) => "Verified",
            Some(Traffic::NoTraffic) if waited >= watch.timeout => "Unverified",
            Some(Traffic::Pending) if waited >= watch.timeout => "TimedOut",
            Some(Traffic::NoTraffic) => "NoTraffic",
            Some(Traffic::Pending) => "Pending",
            None => &state.state,
        }
        .to_owned();
    }
    let summary = |reason, message: String| Summary::new(reason, message, Some(true), Next::Check);
    let result = match state.state.as_str() {
        "Verified" => {
            summary(Reason::Verified, format!("version {version} holds everything that is declared, and conversations run on it"))
        }
        "Unverified" => summary(
            Reason::Unverified,
            format!("version {version} holds everything that is declared; no conversation ran until the timeout"),
        ),
        "TimedOut" if watch.gate => summary(
            Reason::PropagationTimeout,
            format!(
                "version {version} was accepted, but conversations still run on older versions; ask Genesys Cloud support why it does not reach the edge"
            ),
        ),
        _ if watch.gate => {
            summary(Reason::AwaitingPropagation, format!("version {version} was accepted; no conversation runs on it yet"))
        }
        _ => summary(Reason::Succeeded, format!("version {version} holds everything that is declared")),
    };
    status.propagation = Some(state);
    result
}
