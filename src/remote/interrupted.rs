//! Writes whose answer a process never saw: the intent in status says what to look up, and the live state what became of it.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use serde_json::Value;

use super::Remote;
use super::audit::{Attempt, AuditStatus};
use super::ledger::Ledger;
use super::run::Run;
use crate::api::status::{AgentAction, AppliedField, HistoryEntry, Intent, IntentStep, UnconfirmedVersion};
use crate::engine::kind::{Seen, Standing, Versions};
use crate::engine::{Action, State, Target, Why, json};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// What became of writes whose answer this process never saw.
    pub(super) async fn settle_intent(&mut self) {
        let Some(mut intent) = self.request.status.intent.clone() else { return };
        self.out.keep_intent = false;
        // Another organisation knows nothing of it.
        let elsewhere = !intent.host.is_empty() && intent.host != self.request.host;
        // An intent of an older operator version has no generation.
        let generation = if intent.generation > 0 { intent.generation } else { self.request.subject.generation };
        let (mut made, mut unseen, mut statuses) = (Vec::new(), Vec::new(), Vec::new());
        for (place, step) in intent.steps.iter().enumerate() {
            if !elsewhere && self.is_hidden(step) {
                unseen.push(place);
                continue;
            }
            let found = self.found(step).filter(|_| !elsewhere);
            let status = match &found {
                Some((_, Standing::At(state))) if self.is_made(step, state) => AuditStatus::Applied,
                Some((target, Standing::Beyond)) if self.is_held(step, target) == Some(true) => AuditStatus::Applied,
                Some((_, Standing::Before)) => AuditStatus::Failed,
                _ => AuditStatus::Unknown,
            };
            match found {
                Some((target, standing)) if status == AuditStatus::Applied => {
                    made.push(place);
                    if K::fails_alone(&target) {
                        self.was_made(&intent, generation, step, &target);
                    } else if let Standing::At(state) = standing {
                        self.made(&intent, generation, step, target, *state);
                    }
                }
                // It may still come.
                Some((_, Standing::Before)) if K::VERSIONS == Versions::Created => {
                    self.expect(&step.version, intent.time.clone());
                }
                _ => {}
            }
            statuses.push((place, status));
        }
        let last = made.last().copied();
        for (place, status) in statuses {
            let Some(step) = intent.steps.get(place).filter(|step| was_attempted(step, place, last)) else { continue };
            self.audit_as(generation, &Attempt { step: step.clone(), began: intent.time.0 }, status, None).await;
        }
        self.expect_alerts(&mut intent, &made);
        self.carry(unseen.into_iter().filter_map(|place| intent.steps.get(place).cloned()).collect());
        self.out.intent = Some(intent);
    }

    /// What was read of the target of a write.
    fn seen(&self, step: &IntentStep) -> Option<(&Target, &Seen)> {
        self.observed.iter().find(|(target, _)| target.to_string() == step.target)
    }

    /// Whether the target of a write cannot be read for now, which is its own failure: the write is looked up later.
    fn is_hidden(&self, step: &IntentStep) -> bool {
        matches!(self.seen(step), Some((_, Seen::Unreadable { .. })))
    }

    /// Writes that cannot be looked up now stay in status. The order no longer tells which alerts of theirs were sent.
    fn carry(&mut self, steps: Vec<IntentStep>) {
        self.alone.alerts_held |= steps.iter().any(|step| step.level.as_ref().is_some_and(|level| level.alert));
        self.alone.carried = steps.into_iter().map(|step| IntentStep { attempted: true, ..step }).collect();
    }

    /// The target of a write, and where it stands.
    fn found(&self, step: &IntentStep) -> Option<(Target, Standing)> {
        let (target, seen) = self.seen(step)?;
        match seen {
            Seen::Present(state) => Some((target.clone(), K::standing(state, &step.version)?)),
            Seen::Absent | Seen::Unreadable { .. } => None,
        }
    }

    /// Whether the live state holds what a write would have made, where that can be told without a plan.
    pub(super) fn is_held(&self, step: &IntentStep, target: &Target) -> Option<bool> {
        match self.observed.get(target) {
            Some(Seen::Present(state)) => K::holds(self.request.desired, step, state),
            _ => None,
        }
    }

    /// A write to one of several targets took effect: for an evaluation that goes on, that one is done.
    fn was_made(&mut self, intent: &Intent, generation: i64, step: &IntentStep, target: &Target) {
        if self.unfinished().is_some() {
            self.close(target, &self.request.status.agents, |agent| agent.action = AgentAction::Applied);
        }
        self.out.action = Action::of(&step.action);
        self.remember(intent, generation, step);
    }

    /// A version may still be created by a write whose answer was lost.
    pub(super) fn expect(&mut self, version: &str, since: Time) {
        let known = self.out.unconfirmed.take().filter(|known| known.version == version);
        self.out.unconfirmed = Some(known.unwrap_or_else(|| UnconfirmedVersion { version: version.to_owned(), since }));
    }

    /// Whether the version of an interrupted write holds what it would have made.
    fn is_made(&self, step: &IntentStep, state: &State) -> bool {
        let same = step.after_hash.is_some() && json::canonical_hash(&K::content(state)) == step.after_hash;
        if step.level.is_some() {
            return same || K::holds(self.request.desired, step, state) == Some(true);
        }
        let done = || self.plan().is_ok_and(|plan| plan.steps.iter().all(|s| s.target.to_string() != step.target));
        let live = self.out.remote.version.as_deref() == Some(&step.version);
        same || ((live || K::VERSIONS == Versions::Counted) && done())
    }

    /// Whether status says of the agent of a write that it was made.
    fn is_told(&self, step: &IntentStep) -> bool {
        let id = step.target_id();
        self.request.status.agents.iter().any(|agent| agent.user_id == id && agent.action == AgentAction::Applied)
    }

    fn made(&mut self, intent: &Intent, generation: i64, step: &IntentStep, target: Target, state: State) {
        let live = K::content(&state);
        self.created.extend(intent.creates.iter().filter_map(|path| created(path, &live)));
        // As if nothing newer were live: where it holds what is declared, that was applied, and a newer version is somebody else's.
        let now = self.observed.insert(target.clone(), Seen::Present(state));
        if let Ok(plan) = self.plan()
            && plan.is_empty()
        {
            self.applied = Some(plan.applied);
        }
        self.observed.extend(now.map(|now| (target, now)));
        self.out.action = Action::of(&step.action);
        self.remember(intent, generation, step);
    }

    fn remember(&mut self, intent: &Intent, generation: i64, step: &IntentStep) {
        // Where only its record could not be stored, the write is in the history already, maybe with others.
        let known = |entry: &HistoryEntry| if step.level.is_some() { self.is_told(step) } else { entry.version == step.version };
        if self.request.status.history.iter().any(|entry| entry.digest == intent.digest && known(entry)) {
            return;
        }
        let known = if step.action == "CONFIG_RESTORE" { Why::Restore } else { Why::SpecChange };
        let why = if intent.why.is_empty() { known.as_str().to_owned() } else { intent.why.clone() };
        self.out.written.push(HistoryEntry {
            version: step.version.clone(),
            writes: None,
            generation,
            digest: intent.digest.clone(),
            time: intent.time.clone(),
            why,
            paths: intent.paths.clone(),
        });
    }
}

/// Whether a write of an interrupted plan was attempted and its outcome not recorded: they went out one after the other, so only the last
/// that took effect and the one behind it can be that, and those that a run knew of.
fn was_attempted(step: &IntentStep, place: usize, last: Option<usize>) -> bool {
    let from = last.unwrap_or_default();
    step.level.is_none() || step.attempted || (from..=from + usize::from(last.is_some())).contains(&place)
}

/// The memory of a field that a write created: what it holds now, for nobody wrote since. An object is remembered as being there.
fn created(path: &str, live: &Value) -> Option<AppliedField> {
    let empty = Value::Object(serde_json::Map::new());
    let value = live.pointer(path)?;
    let digest = json::short_digest(if value.is_object() { &empty } else { value }).into();
    Some(AppliedField { path: path.to_owned(), digest, created: true })
}
