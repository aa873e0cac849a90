//! One verdict as the conditions `Ready`, `Reconciling`, `Stalled` and `InSync`. Pure.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::outcome::{Facts, Next};
use crate::api::ManagedStatus;
use crate::api::conditions::{self, IN_SYNC, Phase, READY, RECONCILING, Reason, STALLED, Stamp};

/// The condition to set: reason, message, phase, readability.
pub struct Summary {
    /// Reason of Ready.
    pub reason: Reason,
    /// Message of Ready.
    pub message: String,
    /// How it shows.
    pub phase: Phase,
    /// Whether the live state equals the declared one, where that is known.
    pub in_sync: Option<bool>,
    /// Whether the live state could not be read.
    pub unreadable: bool,
    /// When to look again.
    pub next: Next,
}

impl Summary {
    /// A summary whose phase is that of its reason.
    pub fn new(reason: Reason, message: impl Into<String>, in_sync: Option<bool>, next: Next) -> Self {
        Self { reason, message: message.into(), phase: reason.phase(), in_sync, unreadable: false, next }
    }
}

/// Sets the conditions.
pub fn set_conditions(status: &mut ManagedStatus, summary: &Summary, facts: &Facts<'_>) {
    let at = Stamp { now: Time(facts.now), generation: facts.generation };
    let list = &mut status.conditions;
    let previous = conditions::find(list, READY).map_or("Unknown", |c| c.status.as_str()).to_owned();
    let ready = match summary.phase {
        Phase::Done => "True",
        Phase::Suspended if summary.unreadable => "Unknown",
        Phase::Suspended => &previous,
        _ if summary.unreadable => "Unknown",
        Phase::Waiting | Phase::Stalled => "False",
    };
    conditions::set(list, READY, ready, summary.reason.as_str(), &summary.message, &at);
    for (kind, phase) in [(RECONCILING, Phase::Waiting), (STALLED, Phase::Stalled)] {
        if summary.phase == phase {
            conditions::set(list, kind, "True", summary.reason.as_str(), &summary.message, &at);
        } else {
            conditions::remove(list, kind);
        }
    }
    if summary.phase != Phase::Suspended {
        let in_sync = summary.in_sync.map_or("Unknown", |s| if s { "True" } else { "False" });
        let reason = if summary.in_sync == Some(true) { Reason::Succeeded } else { summary.reason };
        let equal = match status.evaluation {
            Some(_) => "every level that was evaluated is its target",
            None => "the live state equals the declared one",
        };
        let message = if summary.in_sync == Some(true) { equal } else { &summary.message };
        conditions::set(list, IN_SYNC, in_sync, reason.as_str(), message, &at);
    }
}
