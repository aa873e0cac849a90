//! Phase 3: the reads of an object's targets, or the last states that the remote sent.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::time::Instant;

use super::alone::{is_own, of_all};
use super::converge::End;
use super::failure::Failure;
use super::ledger::Ledger;
use super::run::Run;
use super::{Look, Remote, Sent};
use crate::engine::Target;
use crate::engine::kind::{Seen, Standing};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// Reads everything that the plan needs.
    pub(super) async fn observe_all(&mut self, max_age: Option<Duration>) -> Result<(), End> {
        self.remembered.clear();
        self.alone.begin();
        // A version that may have been created is looked for, however many are newer.
        let intended = self.request.status.intent.as_ref().and_then(|intent| intent.steps.first()).map(|s| s.version.clone());
        let sought = self.out.unconfirmed.as_ref().map(|u| u.version.clone()).or(intended);
        let mut read = BTreeSet::new();
        loop {
            let targets: Vec<Target> = self.targets().into_iter().filter(|target| !read.contains(target)).collect();
            if targets.is_empty() {
                return Ok(());
            }
            for target in targets {
                self.observe_one(&target, max_age, sought.as_deref()).await?;
                read.insert(target);
            }
        }
    }

    /// Reads one target. Where that fails alone, the failure is what was seen.
    pub(super) async fn observe_one(
        &mut self,
        target: &Target,
        max_age: Option<Duration>,
        sought: Option<&str>,
    ) -> Result<(), End> {
        let alone = K::fails_alone(target);
        if alone {
            // Hundreds of reads take minutes: a suspended object stops in the middle.
            let is_remembered = max_age.and_then(|age| self.states.get(&self.key(target), age)).is_some();
            if !is_remembered {
                self.turn(target, true).await?;
            }
        }
        match self.observe(target, max_age, sought).await {
            Ok(()) => {
                if alone {
                    self.alone.succeeded();
                }
                Ok(())
            }
            Err(failure) if alone && is_own(&failure) => {
                if self.alone.failed(&failure) {
                    return Err(End::Failed(of_all(failure)));
                }
                let Failure { reason, message, .. } = failure;
                self.remembered.remove(target);
                self.observed.insert(target.clone(), Seen::Unreadable { reason, message });
                Ok(())
            }
            Err(failure) => Err(End::Failed(failure)),
        }
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
        let failed = |error| Failure::of(&error, &target.to_string(), true);
        let look = Look { sought, began: self.began };
        let answer = K::read(self.session, self.request.desired, target, look).await.map_err(failed)?;
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
        // One of many is not what the object is about.
        let primary = !K::fails_alone(target) && self.primary.get_or_insert_with(|| target.clone()) == target;
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
