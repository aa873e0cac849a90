//! Phases 3 to 6 of one object: observe, plan, guard, execute, and once more after a lost guard. The controller and the CLI
//! run the same loop; what differs is the [`Ledger`].

use std::time::Duration;

use super::audit::Subject;
use super::failure::Failure;
use super::ledger::Ledger;
use super::run::{MAX_PATHS, Run};
use super::states::States;
use super::{Remote, unguarded};
use crate::api::conditions::Reason;
use crate::api::status::{AppliedField, DueAlert, HistoryEntry, Intent, ManagedStatus, RemoteState, UnconfirmedVersion};
use crate::engine::gate::{Gate, Refusal};
use crate::engine::kind::Blocked;
use crate::engine::plan::Evaluated;
use crate::engine::{Action, Plan};
use crate::genesys::Session;

/// What is to converge.
pub struct Request<'a, K: Remote> {
    /// The object.
    pub object: &'a K,
    /// Its validated spec.
    pub desired: &'a K::Desired,
    /// {API host, client id}: whose remote objects these are.
    pub connection: &'a str,
    /// Host of the API.
    pub host: &'a str,
    /// The last status.
    pub status: &'a ManagedStatus,
    /// For audit records.
    pub subject: &'a Subject,
    /// A remembered state may serve where it is younger and a guarded write follows; `None`: everything is read.
    pub max_age: Option<Duration>,
    /// Whether a person must approve.
    pub approval_required: bool,
    /// The digest in the approve annotation.
    pub approved: Option<&'a str>,
    /// A plan that was refused lately.
    pub refused: Option<&'a Refusal>,
    /// A reconcile request.
    pub requested: bool,
    /// Whether a lost guard may be answered by one more write at once.
    pub immediate_retry: bool,
    /// Whether an evaluation that status remembers may go on.
    pub resumes: bool,
}

/// What happened.
#[derive(Debug)]
pub struct Convergence {
    /// The remote object as last seen.
    pub remote: RemoteState,
    /// Whether the remote itself was asked.
    pub observed: bool,
    /// The plan that ran, else the last one that was made.
    pub plan: Option<Plan>,
    /// `status.applied` from now on; unset where it stays.
    pub applied: Option<Vec<AppliedField>>,
    /// The writes that took effect, oldest first.
    pub written: Vec<HistoryEntry>,
    /// Lost guards.
    pub conflicts: u32,
    /// The intent that was recorded last, where one was.
    pub intent: Option<Intent>,
    /// Whether the intent stays in status: a write is unresolved, or its audit record is not safe yet.
    pub keep_intent: bool,
    /// The version whose creation was never confirmed ([`Versions::Created`]).
    pub unconfirmed: Option<UnconfirmedVersion>,
    /// A number that was found to be taken by a version that page 1 does not show.
    pub taken: Option<String>,
    /// What an evaluation of metrics made of each agent, where there was one, or one went on.
    pub evaluated: Option<Evaluated>,
    /// Whether an evaluation went on that status remembers.
    pub resumed: bool,
    /// Before this has passed, no target that failed may be asked again.
    pub retry_after: Option<Duration>,
    /// The alerts that are due.
    pub alerts: Vec<DueAlert>,
    /// Why an alert could not be sent.
    pub alert_failure: Option<Failure>,
    /// The approval digest of the plan that was made last; unset where nothing was left to write.
    pub digest: Option<String>,
    /// The digest that a person approved, where that let a plan run.
    pub approved: Option<String>,
    /// What the last write that took effect did.
    pub action: Option<Action>,
    /// How it ended.
    pub end: End,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Nothing is left to write.
    Done,
    /// The plan waits.
    Held {
        /// Reason of the condition.
        reason: Reason,
        /// On what.
        message: String,
        /// When to look again at the latest.
        until: Option<jiff::Timestamp>,
    },
    /// There can be no plan.
    Blocked(Blocked),
    /// The guard was lost, and the retry too or there was none.
    LostGuard(String),
    /// A call failed.
    Failed(Failure),
    /// The remote refused the plan with this digest.
    Refused(String, Failure),
    /// The remote does not keep what was written.
    NotKept(String),
    /// A write was stopped before it was sent.
    Halted(String),
}
/// Runs phases 3 to 6.
pub async fn converge<K: Remote, L: Ledger>(
    session: &mut Session,
    states: &States,
    ledger: &L,
    request: &Request<'_, K>,
) -> Convergence {
    let mut run = Run::new(request, session, states, ledger, unchanged(request, ledger.now()));
    run.out.end = run.run().await;
    run.finish()
}

/// Phases 3 to 5 alone: what would be written now, and whether it may be. Nothing is.
///
/// # Errors
/// The [`End`] that stands in the way.
pub async fn preview<K: Remote, L: Ledger>(
    session: &mut Session,
    states: &States,
    ledger: &L,
    request: &Request<'_, K>,
) -> Result<(Plan, Gate), End> {
    let mut run = Run::new(request, session, states, ledger, unchanged(request, ledger.now()));
    run.observe_first().await?;
    let plan = run.plan().map_err(End::Blocked)?;
    let gate = run.decide(&plan, &run.digest(&plan));
    Ok((plan, gate))
}

/// The convergence of an object before anything has happened.
fn unchanged<K: Remote>(request: &Request<'_, K>, now: jiff::Timestamp) -> Convergence {
    let remote = RemoteState { host: request.host.to_owned(), id: request.object.remote_id().to_owned(), ..Default::default() };
    let same = request.status.remote.as_ref().filter(|r| r.host == remote.host && r.id == remote.id);
    // What is due belongs to the organisation that was written to last: another one knows nothing of it.
    let intended = request.status.intent.as_ref().map(|intent| &intent.host).filter(|host| !host.is_empty());
    let told = intended.or(request.status.remote.as_ref().map(|remote| &remote.host));
    let alerts = if told.is_none_or(|host| *host == remote.host) { request.status.alerts.clone() } else { Vec::new() };
    Convergence {
        remote: same.cloned().unwrap_or(remote),
        observed: false,
        plan: None,
        applied: None,
        written: Vec::new(),
        conflicts: 0,
        intent: None,
        keep_intent: request.status.intent.is_some(),
        unconfirmed: same.and_then(|_| request.status.unconfirmed.clone()).filter(|u| unguarded::is_expected(u, now)),
        taken: same.and_then(|_| request.status.taken_version.clone()),
        evaluated: None,
        resumed: false,
        retry_after: None,
        alerts,
        alert_failure: None,
        digest: None,
        approved: None,
        action: None,
        end: End::Done,
    }
}

/// The writes of one plan to several remote objects as one entry: an evaluation is one change.
pub(super) fn folded(written: Vec<HistoryEntry>) -> Vec<HistoryEntry> {
    let mut folded: Vec<HistoryEntry> = Vec::new();
    for entry in written {
        match folded.last_mut().filter(|last| last.digest == entry.digest && last.generation == entry.generation) {
            Some(last) => {
                last.version.clear();
                last.writes = Some(last.writes.unwrap_or(1).saturating_add(1));
                last.time = entry.time;
                let room = MAX_PATHS.saturating_sub(last.paths.len());
                last.paths.extend(entry.paths.into_iter().take(room));
            }
            None => folded.push(entry),
        }
    }
    folded
}
