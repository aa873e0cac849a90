//! Alerts for supervisors (S4): at least once, and a second time only after an answer was lost or the process crashed.
//!
//! There is no way to look one up, so what is due is remembered in status before it is sent. One patch for each of 500 alerts would be
//! too many: the intent of a plan marks the writes that alert, each is sent right after its write, and the writes go out in order.
//! After a crash only the last write that took effect may lack its alert. Where alerts cannot be sent the intent says so, and then all
//! that are marked are due.

use super::Remote;
use super::failure::Failure;
use super::ledger::{Intended, Ledger};
use super::run::Run;
use crate::api::status::{DueAlert, Intent, IntentStep, LevelChange};
use crate::genesys::alerts::{self, Alert};
use crate::genesys::{Error, ErrorKind};

/// Most alerts that are due at once.
const MAX_DUE: usize = 1000;
/// So many refused alerts are not about single agents: the others of this run are kept for later.
const MAX_REFUSED: u32 = 3;

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// The alert of the write that took effect last, if there is one.
    pub(super) async fn tell(&mut self) {
        let Some((alert, audit_id)) = self.alone.to_tell.take() else { return };
        let held = self.alone.alerts_held;
        let sent = if held { None } else { Some(self.send_alert(&alert).await) };
        let mut steps = self.out.intent.iter_mut().flat_map(|intent| &mut intent.steps);
        steps.find(|step| step.audit_id == audit_id).into_iter().for_each(unmark);
        if let Some(Ok(())) = sent {
            return;
        }
        self.expect_alert(alert);
        if let Some(Err(error)) = sent {
            self.failed_to_tell(&error);
            if is_own(&error) && self.alone.refused_alerts < MAX_REFUSED {
                self.remember_alerts().await;
            } else {
                self.hold_alerts().await;
            }
        }
    }

    /// One more alert is due. What Genesys Cloud refuses for months must not fill the object.
    fn expect_alert(&mut self, alert: DueAlert) {
        self.out.alerts.push(alert);
        if self.out.alerts.len() > MAX_DUE {
            tracing::warn!(due = self.out.alerts.len(), "too many alerts are due; the oldest one is dropped");
            self.out.alerts.remove(0);
        }
    }

    /// From here on the alerts of this plan are kept, and status says so: all that are still marked are due after a crash.
    pub(super) async fn hold_alerts(&mut self) {
        self.alone.alerts_held = true;
        let Some(intent) = &mut self.out.intent else { return };
        if !std::mem::replace(&mut intent.alerts_held, true) {
            self.remember_alerts().await;
        }
    }

    /// Puts what is due into status, in the midst of a plan.
    async fn remember_alerts(&mut self) {
        let mut evaluated = self.out.evaluated.clone();
        evaluated.iter_mut().for_each(|evaluated| self.alone.settle(evaluated));
        let (intent, alerts, written) = (self.out.intent.as_ref(), &self.out.alerts, &self.out.written);
        if let Err(why) = self.ledger.intend(&Intended { intent, evaluated: evaluated.as_ref(), alerts, written }).await {
            self.alone.halted = Some(why);
        }
    }

    /// Sends what is due since an earlier run, and remembers each that was taken.
    ///
    /// # Errors
    /// What could not be remembered: nothing may be sent after it.
    pub(super) async fn send_due(&mut self) -> Result<(), String> {
        let mut place = 0;
        while let Some(alert) = self.out.alerts.get(place).cloned() {
            if let Err(error) = self.send_alert(&alert).await {
                self.failed_to_tell(&error);
                if is_own(&error) && self.alone.refused_alerts < MAX_REFUSED {
                    place += 1;
                    continue;
                }
                self.alone.alerts_held = true;
                return Ok(());
            }
            self.out.alerts.remove(place);
            let (intent, alerts) = (self.out.intent.as_ref(), &self.out.alerts);
            self.ledger.intend(&Intended { intent, evaluated: None, alerts, written: &[] }).await?;
        }
        Ok(())
    }

    /// What an interrupted plan still has to tell: `made` are the places of its writes that took effect. What is due is in the list
    /// of alerts from here on, and no longer marked.
    pub(super) fn expect_alerts(&mut self, intent: &mut Intent, made: &[usize]) {
        let last = made.last().copied().unwrap_or_default();
        let held = intent.alerts_held;
        for (place, step) in intent.steps.iter_mut().enumerate() {
            let Some(level) = step.level.as_ref().filter(|level| level.alert) else { continue };
            // Whatever went out before the last one was told of right after it.
            let is_told = !held && place < last;
            let is_due = !is_told && made.contains(&place);
            let alert = due(step.target_id(), level);
            if is_due && !self.out.alerts.contains(&alert) {
                self.expect_alert(alert);
            }
            if is_due || is_told {
                unmark(step);
            }
        }
    }

    async fn send_alert(&mut self, alert: &DueAlert) -> Result<(), Error> {
        let Some((skill_id, _)) = K::pairs(self.request.desired) else { return Ok(()) };
        self.session.turn().await?;
        let halted = |why: String| Error::new("S4", ErrorKind::Halted).because(why);
        self.ledger.look().await.map_err(halted)?;
        let body = Alert { user_id: &alert.user_id, skill_id, from: &alert.from, to: &alert.to };
        alerts::send(self.session, &body, self.ledger.gate()).await.map(drop)
    }

    fn failed_to_tell(&mut self, error: &Error) {
        let failure = Failure::of(error, "alerts", false);
        tracing::warn!(reason = failure.reason.as_str(), error = failure.message, "an alert could not be sent; it is kept");
        self.alone.refused_alerts += u32::from(is_own(error));
        self.alone.wait(&failure);
        self.out.alert_failure = Some(failure);
    }
}

/// Whether the failure of an alert is about that alone: the others go on.
fn is_own(error: &Error) -> bool {
    matches!(error.kind, ErrorKind::Rejected | ErrorKind::NotFound)
}

pub(super) fn due(user_id: &str, level: &LevelChange) -> DueAlert {
    DueAlert { user_id: user_id.to_owned(), from: level.from.clone(), to: level.to.clone() }
}

/// Supervisors are told of a write, or the list of alerts says that they are to be.
fn unmark(step: &mut IntentStep) {
    step.level.iter_mut().for_each(|level| level.alert = false);
}
