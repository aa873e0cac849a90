//! Phase 3: the reads of an object's targets, or the last states that the remote sent.

use std::time::Duration;

use tokio::time::Instant;

use super::converge::Run;
use super::failure::Failure;
use super::ledger::Ledger;
use super::{Remote, Sent};
use crate::engine::Target;
use crate::engine::kind::{Seen, Standing};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    pub(super) async fn observe_all(&mut self, max_age: Option<Duration>) -> Result<(), Failure> {
        self.remembered.clear();
        // A version that may have been created is looked for, however many are newer.
        let intended = self.request.status.intent.as_ref().and_then(|intent| intent.steps.first()).map(|s| s.version.clone());
        let sought = self.out.unconfirmed.as_ref().map(|u| u.version.clone()).or(intended);
        for target in K::targets(self.request.desired) {
            self.observe(&target, max_age, sought.as_deref()).await?;
        }
        Ok(())
    }

    pub(super) async fn observe(
        &mut self,
        target: &Target,
        max_age: Option<Duration>,
        sought: Option<&str>,
    ) -> Result<(), Failure> {
        let key = self.key(target);
        let immutable = K::is_immutable(target);
        let max_age = if immutable { Some(Duration::MAX) } else { max_age };
        if let Some(sent) = max_age.and_then(|age| self.states.get(&key, age)) {
            if !immutable {
                self.remembered.insert(target.clone());
            }
            self.take(target, Some(&sent));
            return Ok(());
        }
        let answer =
            K::read(self.session, target, sought).await.map_err(|error| Failure::of(&error, &target.to_string(), true))?;
        self.out.observed = true;
        self.remembered.remove(target);
        match &answer {
            Some(sent) => self.states.put(key, sent.clone()),
            None => self.states.forget(&key),
        }
        self.take(target, answer.as_ref());
        Ok(())
    }

    pub(super) fn take(&mut self, target: &Target, sent: Option<&Sent>) {
        let primary = K::targets(self.request.desired).first() == Some(target);
        if let Some(sent) = sent.filter(|_| primary) {
            self.out.remote.version.clone_from(&sent.version);
            self.out.remote.etag.clone_from(&sent.etag);
        }
        self.read_at.insert(target.clone(), Instant::now());
        let seen = sent.map_or(Seen::Absent, |sent| Seen::Present(sent.state()));
        if let (Seen::Present(state), Some(awaited), true) = (&seen, &self.out.unconfirmed, primary)
            && K::standing(state, &awaited.version).is_some_and(|standing| standing != Standing::Before)
        {
            self.out.unconfirmed = None;
        }
        self.observed.insert(target.clone(), seen);
    }
}
