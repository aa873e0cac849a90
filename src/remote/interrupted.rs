//! Writes whose answer a process never saw: the intent in status says what to look up, and the live state what became of it.

use serde_json::Value;

use super::Remote;
use super::audit::{Attempt, AuditStatus};
use super::converge::Run;
use super::ledger::Ledger;
use crate::api::status::{AppliedField, HistoryEntry, IntentStep};
use crate::engine::kind::Seen;
use crate::engine::{Why, json};

impl<K: Remote, L: Ledger> Run<'_, K, L> {
    /// What became of writes whose answer this process never saw.
    pub(super) fn settle_intent(&mut self) {
        let Some(intent) = self.request.status.intent.clone() else { return };
        self.out.keep_intent = false;
        let plan = self.plan().ok();
        for step in intent.steps {
            let target = self.observed.keys().find(|t| t.to_string() == step.target);
            let version = target.and_then(|t| match self.observed.get(t) {
                Some(Seen::Present(state)) => state.version.clone(),
                _ => None,
            });
            let done = plan.as_ref().is_some_and(|plan| plan.steps.iter().all(|s| s.target.to_string() != step.target));
            let content = target.and_then(|t| match self.observed.get(t) {
                Some(Seen::Present(state)) => Some(K::content(state)),
                _ => None,
            });
            let hash = content.as_ref().and_then(json::canonical_hash);
            let same = |step: &IntentStep| hash.is_some() && hash == step.after_hash;
            let status = match version.and_then(|v| v.parse::<i64>().ok()).zip(step.version.parse::<i64>().ok()) {
                Some((live, asked)) if live == asked && (done || same(&step)) => AuditStatus::Applied,
                Some((live, asked)) if live < asked => AuditStatus::Failed,
                _ => AuditStatus::Unknown,
            };
            if status == AuditStatus::Applied {
                let live = content.unwrap_or_default();
                self.created.extend(intent.creates.iter().filter_map(|path| created(path, &live)));
                let why = if step.action == "CONFIG_RESTORE" { Why::Restore } else { Why::SpecChange };
                self.out.written.push(HistoryEntry {
                    version: step.version.clone(),
                    generation: self.request.subject.generation,
                    digest: intent.digest.clone(),
                    time: intent.time.clone(),
                    why: why.as_str().to_owned(),
                    paths: Vec::new(),
                });
            }
            self.audit(&Attempt { step, began: intent.time.0 }, status, None);
        }
    }
}

/// The memory of a field that a write created: what it holds now, for nobody wrote since. An object is remembered as being there.
fn created(path: &str, live: &Value) -> Option<AppliedField> {
    let empty = Value::Object(serde_json::Map::new());
    let value = live.pointer(path)?;
    let digest = json::short_digest(if value.is_object() { &empty } else { value });
    Some(AppliedField { path: path.to_owned(), digest, created: true })
}
