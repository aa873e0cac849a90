//! Writes whose answer a process never saw: the intent in status says what to look up, and the live state what became of it.

use serde_json::Value;

use super::Remote;
use super::audit::{Attempt, AuditStatus};
use super::converge::Run;
use super::ledger::Ledger;
use crate::api::status::{AppliedField, HistoryEntry, Intent, IntentStep};
use crate::engine::kind::{Seen, Standing, Versions};
use crate::engine::{Why, json};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// What became of writes whose answer this process never saw.
    pub(super) async fn settle_intent(&mut self) {
        let Some(intent) = self.request.status.intent.clone() else { return };
        self.out.keep_intent = false;
        for step in &intent.steps {
            let standing = self.observed.iter().find(|(target, _)| target.to_string() == step.target);
            let standing = standing.and_then(|(_, seen)| match seen {
                Seen::Present(state) => K::standing(state, &step.version),
                Seen::Absent => None,
            });
            let status = match &standing {
                Some(Standing::At(content)) if self.is_made(step, content) => AuditStatus::Applied,
                Some(Standing::Before) => AuditStatus::Failed,
                _ => AuditStatus::Unknown,
            };
            match standing {
                Some(Standing::At(content)) if status == AuditStatus::Applied => self.made(&intent, step, &content),
                // It may still come.
                Some(Standing::Before) if K::VERSIONS == Versions::Created => self.out.unconfirmed = Some(step.version.clone()),
                _ => {}
            }
            self.audit(&Attempt { step: step.clone(), began: intent.time.0 }, status, None).await;
        }
    }

    /// Whether the content at the version of an interrupted write is the one that it would have made.
    fn is_made(&self, step: &IntentStep, content: &Value) -> bool {
        let same = step.after_hash.is_some() && json::canonical_hash(content) == step.after_hash;
        let done = || self.plan().is_ok_and(|plan| plan.steps.iter().all(|s| s.target.to_string() != step.target));
        same || (K::VERSIONS == Versions::Counted && done())
    }

    fn made(&mut self, intent: &Intent, step: &IntentStep, live: &Value) {
        self.created.extend(intent.creates.iter().filter_map(|path| created(path, live)));
        let known = if step.action == "CONFIG_RESTORE" { Why::Restore } else { Why::SpecChange };
        let why = if intent.why.is_empty() { known.as_str().to_owned() } else { intent.why.clone() };
        // An intent of an older operator version has no generation.
        let generation = if intent.generation > 0 { intent.generation } else { self.request.subject.generation };
        self.out.written.push(HistoryEntry {
            version: step.version.clone(),
            generation,
            digest: intent.digest.clone(),
            time: intent.time.clone(),
            why,
            paths: intent.paths.clone(),
        });
    }
}

/// The memory of a field that a write created: what it holds now, for nobody wrote since. An object is remembered as being there.
fn created(path: &str, live: &Value) -> Option<AppliedField> {
    let empty = Value::Object(serde_json::Map::new());
    let value = live.pointer(path)?;
    let digest = json::short_digest(if value.is_object() { &empty } else { value });
    Some(AppliedField { path: path.to_owned(), digest, created: true })
}
