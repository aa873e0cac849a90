//! Writes without a guard (P2): one follows a fresh read, is never repeated blindly, and is looked up by its version where its
//! outcome is unclear (contract section 4).

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use tokio::time::Instant;

use super::Remote;
use super::audit::{Attempt, AuditStatus};
use super::converge::End;
use super::failure::{Failure, Retry};
use super::ledger::Ledger;
use super::round::StepEnd;
use super::run::Run;
use crate::api::conditions::Reason;
use crate::api::status::UnconfirmedVersion;
use crate::engine::kind::Standing;
use crate::engine::{Guard, Plan, State, Step, display, json};
use crate::genesys::{Error, ErrorKind, Gate, Halted};

/// A plan is made from a read that is not older than this.
const FRESH: Duration = Duration::from_secs(5);
/// Nothing goes out on the strength of a read that is older than this.
const STALE: Duration = Duration::from_secs(15);

/// Why a write has to be looked up.
enum Unclear {
    /// 409: the number is taken, or promotions are blocked.
    Conflict(Error),
    /// The answer was lost.
    Lost(Failure),
    /// A success that does not show the version.
    Unshown,
}

/// Whether a version that was never confirmed may still come.
pub(super) fn is_expected(version: &UnconfirmedVersion, now: jiff::Timestamp) -> bool {
    now.duration_since(version.since.0) < jiff::SignedDuration::from_hours(24)
}

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// The numbers of versions that are known besides those that a read showed.
    pub(super) fn numbers(&self) -> Vec<String> {
        let same =
            self.request.status.remote.as_ref().is_some_and(|r| r.host == self.out.remote.host && r.id == self.out.remote.id);
        let status = same.then_some(self.request.status);
        let past = status.into_iter().flat_map(|status| &status.history);
        // The version that was live, also where it is gone by now: its number was used.
        let before = status.and_then(|status| status.remote.as_ref()?.version.clone());
        let numbers = past.chain(&self.out.written).map(|entry| entry.version.clone());
        numbers.chain(before).chain(self.out.remote.version.clone()).collect()
    }

    /// Whether the unguarded steps of a plan rest on a fresh read; else their targets were read again, and it is to be planned anew.
    /// Their call is paid for first: the wait for it must not lie between the read and the write.
    pub(super) async fn freshen(&mut self, plan: &Plan) -> Result<bool, End> {
        if let Err(error) = self.session.reserve().await {
            let target = plan.steps.first().map(|step| step.target.to_string()).unwrap_or_default();
            return Err(End::Failed(Failure::of(&error, &target, false)));
        }
        let mut unguarded = plan.steps.iter().filter(|step| step.guard == Guard::None);
        if unguarded.all(|step| self.read_at.get(&step.target).is_some_and(|at| at.elapsed() <= FRESH)) {
            return Ok(true);
        }
        let Some(left) = self.looks.checked_sub(1) else {
            let message = "calls take too long now for a read that is fresh enough; it is planned again";
            return Err(End::Halted(message.to_owned()));
        };
        self.looks = left;
        self.observe_all(None).await?;
        Ok(false)
    }

    pub(super) async fn unguarded(&mut self, step: &Step, attempt: &Attempt, plan: &Plan) -> StepEnd {
        let gate = still_fresh(self.read_at.get(&step.target).copied(), self.ledger.gate());
        match K::write(self.session, step, gate).await {
            Ok(sent) if sent.version.as_deref() == Some(&step.version) => {
                self.settled(step, attempt, plan, &sent).await;
                StepEnd::Settled
            }
            Ok(sent) => self.look(step, attempt, plan, Unclear::Unshown, sent.correlation_id).await,
            Err(error) => {
                let correlation = error.correlation_id().map(str::to_owned);
                match error.kind {
                    ErrorKind::Conflict => self.look(step, attempt, plan, Unclear::Conflict(error), correlation).await,
                    ErrorKind::LostAnswer if error.unshown => self.look(step, attempt, plan, Unclear::Unshown, correlation).await,
                    ErrorKind::LostAnswer => {
                        let failure = Failure::of(&error, &step.target.to_string(), false);
                        self.look(step, attempt, plan, Unclear::Lost(failure), correlation).await
                    }
                    _ => {
                        if error.uncertain {
                            self.expect(&step.version, Time(self.ledger.now()));
                        }
                        self.failed(step, attempt, plan, &error).await
                    }
                }
            }
        }
    }

    /// Looks for the version before anything else.
    async fn look(
        &mut self,
        step: &Step,
        attempt: &Attempt,
        plan: &Plan,
        unclear: Unclear,
        correlation: Option<String>,
    ) -> StepEnd {
        let awaited = self.out.unconfirmed.as_ref().is_some_and(|u| u.version == step.version);
        if let Err(failure) = self.observe(&step.target, None, Some(&step.version)).await {
            // Still unknown: the intent stays, and the next reconcile looks again.
            self.keep(attempt);
            return StepEnd::Over(End::Failed(failure));
        }
        match self.standing(step) {
            Some(Standing::At(state)) if self.is_ours(step, &state) => {
                // Refused, and no earlier write of ours was under way: somebody else promoted the very same, now or long ago.
                if matches!(&unclear, Unclear::Conflict(error) if !error.uncertain) && !awaited {
                    return self.taken(step, attempt, correlation).await;
                }
                self.took_effect(step, attempt, plan, correlation).await;
                StepEnd::Again
            }
            Some(Standing::At(_) | Standing::Beyond) if matches!(unclear, Unclear::Conflict(_)) => {
                self.taken(step, attempt, correlation).await
            }
            Some(Standing::At(_) | Standing::Beyond) => self.altered(step, attempt, plan, correlation).await,
            Some(Standing::Before) | None => self.absent(step, attempt, plan, unclear, correlation).await,
        }
    }

    /// Whether a version is the one that the step would have made: its content, or one that is live and leaves nothing to do.
    fn is_ours(&self, step: &Step, state: &State) -> bool {
        let live = self.out.remote.version.as_deref() == Some(&step.version);
        json::canonical_hash(&K::content(state)) == step.after_hash || (live && self.plan().is_ok_and(|plan| plan.is_empty()))
    }

    /// The answer was lost, and the number holds other content: somebody else's, or ours as the remote rewrote it. The next number is
    /// tried after the back-off; where it happens twice in a row, one try after the other could make a version each.
    async fn altered(&mut self, step: &Step, attempt: &Attempt, plan: &Plan, correlation: Option<String>) -> StepEnd {
        let before = self.out.taken.replace(step.version.clone());
        self.audit(attempt, AuditStatus::Unknown, correlation.clone()).await;
        let (target, version) = (&step.target, &step.version);
        let what = format!(
            "the answer to the promotion of version {version} of {target} was lost, and that version holds other content: somebody else promoted it at the same moment, or Genesys Cloud changes what is written"
        );
        if before.is_none() {
            return StepEnd::Over(End::LostGuard(format!("{what}; the next number is tried")));
        }
        let message = format!("{what}. It is not the first time; the next number is tried in an hour, or on request");
        let (reason, retry) = (Reason::NotConverging, Retry::Interval);
        let failure = Failure { reason, message, unreadable: false, retry, correlation_id: correlation };
        StepEnd::Over(End::Refused(plan.digest(), failure))
    }

    /// The number belongs to somebody else's version: the next one is planned, unless that one is live and is what is declared.
    async fn taken(&mut self, step: &Step, attempt: &Attempt, correlation: Option<String>) -> StepEnd {
        self.out.taken = Some(step.version.clone());
        self.conflict(attempt, correlation).await;
        if self.plan().is_ok_and(|plan| plan.is_empty()) {
            return StepEnd::Again;
        }
        if !self.may_retry(step) {
            let (target, version) = (&step.target, &step.version);
            let message =
                format!("version {version} of {target} was promoted by somebody else at the same moment; it is planned again");
            return StepEnd::Over(End::LostGuard(message));
        }
        self.retried.insert(step.target.clone());
        StepEnd::Again
    }

    /// There is no such version, yet.
    async fn absent(
        &mut self,
        step: &Step,
        attempt: &Attempt,
        plan: &Plan,
        unclear: Unclear,
        correlation: Option<String>,
    ) -> StepEnd {
        let (target, version) = (&step.target, &step.version);
        match unclear {
            Unclear::Conflict(error) => {
                self.conflict(attempt, correlation.clone()).await;
                let said = error.problem.as_ref().and_then(|p| p.message.as_deref()).unwrap_or("no reason given");
                let message = format!(
                    "version {version} of {target} was refused as a conflict, yet it does not exist: a rollback flag of the template is on (Genesys Cloud says: {}); clear the flag in Genesys Cloud, it is tried again",
                    display::escape(said)
                );
                let (reason, retry) = (Reason::ConflictDetected, Retry::BackOff);
                StepEnd::Over(End::Failed(Failure { reason, message, unreadable: false, retry, correlation_id: correlation }))
            }
            Unclear::Lost(failure) => {
                // It may still come: the number is used again.
                let message = format!(
                    "the answer to the promotion of version {version} of {target} was lost, and the version does not exist; it is promoted again under this number"
                );
                self.expect(version, Time(self.ledger.now()));
                self.audit(attempt, AuditStatus::Failed, correlation).await;
                StepEnd::Over(End::Failed(Failure { message, ..failure }))
            }
            Unclear::Unshown => {
                self.expect(version, Time(self.ledger.now()));
                self.audit(attempt, AuditStatus::Failed, correlation.clone()).await;
                let message = format!(
                    "{target}: the promotion was answered with success, but version {version} does not exist; give the OAuth client the permission and scope to write"
                );
                let (reason, retry) = (Reason::PermissionDenied, Retry::BackOff);
                let failure = Failure { reason, message, unreadable: false, retry, correlation_id: correlation };
                StepEnd::Over(End::Refused(plan.digest(), failure))
            }
        }
    }
}

/// The gate, and that the read is not too old by now: a pause may have passed since.
fn still_fresh(read_at: Option<Instant>, gate: Gate) -> Gate {
    Arc::new(move || match read_at {
        Some(at) if at.elapsed() <= STALE => gate(),
        _ => Err(Halted("what it was planned from is too old by now; it is read again".to_owned())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn nothing_goes_out_on_the_strength_of_an_old_read() {
        let open: Gate = Arc::new(|| Ok(()));
        let shut: Gate = Arc::new(|| Err(Halted("suspended".to_owned())));
        let gate = still_fresh(Some(Instant::now()), open.clone());
        assert_eq!(gate(), Ok(()));
        assert!(still_fresh(None, open)().is_err(), "what was never read is not fresh");
        assert_eq!(still_fresh(Some(Instant::now()), shut)(), Err(Halted("suspended".to_owned())));
        tokio::time::advance(STALE).await;
        assert_eq!(gate(), Ok(()));
        tokio::time::advance(Duration::from_millis(1)).await;
        let Err(Halted(why)) = gate() else { panic!("a pause has made the read too old") };
        assert!(why.contains("too old"), "{why}");
    }
}
