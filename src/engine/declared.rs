//! Declared fields against a live document: what is written, what is only reported, what is remembered. Every kind that declares
//! fields plans with it.

use serde_json::Value;

use super::diff;
use super::kind::PlanInput;
use super::plan::{Change, Plan, Why};
use super::pointer::{self, Ignore};
use crate::api::Policy;

/// What differs, before it becomes a step.
pub struct Draft {
    /// The fields to write, by path.
    pub write: Vec<Change>,
    /// The live document with them.
    pub after: Value,
    /// Why they are written.
    pub why: Why,
    /// Drift, released paths and memory; no steps yet.
    pub plan: Plan,
}

/// Compares `declared` with `live` as the policy says. What was created and is no longer declared is removed.
pub fn draft(declared: &Value, live: &Value, ignore: &Ignore, input: &PlanInput<'_>) -> Draft {
    between(declared, declared, live, ignore, input)
}

/// The same where `wanted` holds more than what is declared and remembered: members that must be absent because somebody else added
/// them to an object that is declared whole.
pub fn between(declared: &Value, wanted: &Value, live: &Value, ignore: &Ignore, input: &PlanInput<'_>) -> Draft {
    let leaves = diff::leaves(declared, ignore);
    let differing = diff::declared(wanted, live, ignore);
    // After a restore of a snapshot the declared fields are a change of spec again.
    let restored = input.memory.entries().iter().any(|a| a.path.is_empty());
    let known = |change: &Change| {
        !restored
            && leaves
                .iter()
                .filter(|(path, _)| pointer::covers(&change.path, path))
                .all(|(path, value)| input.memory.knows(path, value))
    };
    let (mut write, drift): (Vec<Change>, Vec<Change>) = differing.into_iter().partition(|change| match input.policy {
        Policy::Enforce => true,
        Policy::ReportDrift => !known(change),
        Policy::Observe => false,
    });
    let mut plan = Plan { drift, applied: input.memory.entries(), ..Plan::default() };
    let mut why = if write.iter().all(known) { Why::DriftRepair } else { Why::SpecChange };
    if input.policy != Policy::Observe {
        let undeclared = input.memory.undeclared(&leaves, live, ignore);
        if !undeclared.remove.is_empty() {
            why = Why::SpecChange;
        }
        write.extend(undeclared.remove);
        // What is removed because it is ours is nobody's drift.
        plan.drift.retain(|change| write.iter().all(|w| w.path != change.path));
        plan.released = undeclared.released;
        plan.applied = input.memory.after(&leaves, live, &plan.drift);
    }
    write.sort_by(|a, b| a.path.cmp(&b.path));
    // What must be absent may be ours to remove too.
    write.dedup_by(|a, b| a.path == b.path);
    plan.released.retain(|path| write.iter().all(|change| change.path != *path));
    let after = diff::apply(&write, live, ignore);
    Draft { write, after, why, plan }
}
