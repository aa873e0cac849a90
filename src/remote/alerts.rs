//! Alerts for supervisors (S4): at least once, and a second time only after an answer was lost.
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
use crate::engine::Step;
use crate::genesys::alerts::{self, Alert};
use crate::genesys::{Error, ErrorKind};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// The alert of a write that took effect.
    pub(super) async fn tell(&mut self, step: &Step, audit_id: &str) {
        let Some(alert) = step.level.as_ref().filter(|level| level.alert).map(|level| due(&step.target.id, level)) else {
            return;
        };
        let held = self.alone.alerts_held;
        let sent = if held { None } else { Some(self.send_alert(&alert).await) };
        let mut steps = self.out.intent.iter_mut().flat_map(|intent| &mut intent.steps);
        steps.find(|step| step.audit_id == audit_id).into_iter().for_each(unmark);
        let error = match sent {
            Some(Ok(())) => return,
            Some(Err(error)) => Some(error),
            None => None,
        };
        self.out.alerts.push(alert);
        if let Some(error) = error {
            self.failed_to_tell(&error);
            self.hold_alerts().await;
        }
    }

    /// From here on the alerts of this plan are kept, and status says so: all that are still marked are due after a crash.
    pub(super) async fn hold_alerts(&mut self) {
        self.alone.alerts_held = true;
        let Some(intent) = &mut self.out.intent else { return };
        if std::mem::replace(&mut intent.alerts_held, true) {
            return;
        }
        let intended = Intended { intent: Some(intent), evaluated: None, alerts: &self.out.alerts };
        if let Err(why) = self.ledger.intend(&intended).await {
            self.alone.halted = Some(why);
        }
    }

    /// Sends what is due since an earlier run, and remembers each that was taken.
    ///
    /// # Errors
    /// What could not be remembered: nothing may be sent after it.
    pub(super) async fn send_due(&mut self) -> Result<(), String> {
        while let Some(alert) = self.out.alerts.first().cloned() {
            if let Err(error) = self.send_alert(&alert).await {
                self.failed_to_tell(&error);
                self.alone.alerts_held = true;
                return Ok(());
            }
            self.out.alerts.remove(0);
            let intended = Intended { intent: self.out.intent.as_ref(), evaluated: None, alerts: &self.out.alerts };
            self.ledger.intend(&intended).await?;
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
            let alert = due(step.target.rsplit('/').next().unwrap_or_default(), level);
            if is_due && !self.out.alerts.contains(&alert) {
                self.out.alerts.push(alert);
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
        self.out.alert_failure = Some(failure);
    }
}

fn due(user_id: &str, level: &LevelChange) -> DueAlert {
    DueAlert { user_id: user_id.to_owned(), from: level.from.clone(), to: level.to.clone() }
}

/// Supervisors are told of a write, or the list of alerts says that they are to be.
fn unmark(step: &mut IntentStep) {
    step.level.iter_mut().for_each(|level| level.alert = false);
}
