//! What a look at an org means for its status and events. Pure but for the clock.

use std::sync::Arc;

use jiff::SignedDuration;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;

use super::load::requested;
use super::orgs::OrgState;
use super::outbox::Health;
use super::outcome::EventDraft;
use crate::api::conditions::{
    self, AUDIT_DELIVERED, BUDGET_SUFFICIENT, CREDENTIALS_VALID, Phase, READY, RECONCILING, Reason, STALLED, Stamp,
};
use crate::api::genesys_org::BudgetStatus;
use crate::api::{GenesysOrg, GenesysOrgStatus};
use crate::clock;
use crate::genesys::Account;

/// What a look at the org found.
pub struct Found {
    /// Whether its objects can use it.
    pub state: OrgState,
    /// Version of the Secret that was read; empty where none was.
    pub secret_version: String,
    /// Whether the login service accepts the client; unknown where it was not asked.
    pub credentials: Option<bool>,
    /// Its account, where the credentials are known.
    pub account: Option<Arc<Account>>,
    /// Message of Ready.
    pub message: String,
    /// Reason of Ready.
    pub reason: Reason,
}

/// The status from now on. `stretch` is by how much drift checks are slowed down.
pub fn next_status(
    org: &GenesysOrg,
    previous: &GenesysOrgStatus,
    found: &Found,
    phase: Phase,
    stretch: f64,
    audit: Option<&Health>,
) -> GenesysOrgStatus {
    let generation = org.meta().generation.unwrap_or_default();
    let mut status = previous.clone();
    status.observed_generation = generation;
    if let Some(token) = requested(org) {
        status.last_handled_reconcile_at = Some(token.to_owned());
    }
    let at = Stamp { now: Time(clock::now()), generation };
    let list = &mut status.conditions;
    let reason = found.reason.as_str();
    conditions::set(list, READY, if phase == Phase::Done { "True" } else { "False" }, reason, &found.message, &at);
    for (kind, shown) in [(RECONCILING, Phase::Waiting), (STALLED, Phase::Stalled)] {
        if phase == shown {
            conditions::set(list, kind, "True", reason, &found.message, &at);
        } else {
            conditions::remove(list, kind);
        }
    }
    match found.credentials {
        Some(true) => conditions::set(list, CREDENTIALS_VALID, "True", "Succeeded", "the login service accepts the client", &at),
        Some(false) => conditions::set(list, CREDENTIALS_VALID, "False", reason, &found.message, &at),
        None if found.account.is_some() && conditions::find(list, CREDENTIALS_VALID).is_some() => {}
        None => conditions::set(list, CREDENTIALS_VALID, "Unknown", reason, "the login service was not asked", &at),
    }
    let limit = i32::try_from(found.account.as_ref().map_or(org.spec.effective_requests_per_minute(), |a| a.budget().limit()))
        .unwrap_or(i32::MAX);
    if stretch > 1.0 {
        let message = format!(
            "drift checks need more than 60% of {limit} calls a minute; their intervals are {stretch} times as long. Raise requestsPerMinute or the intervals"
        );
        conditions::set(list, BUDGET_SUFFICIENT, "False", "BudgetExceeded", &message, &at);
    } else {
        conditions::set(list, BUDGET_SUFFICIENT, "True", "Succeeded", "drift checks fit into the call budget", &at);
    }
    match audit {
        Some(health) => {
            let shown = if health.ok { "True" } else { "False" };
            conditions::set(list, AUDIT_DELIVERED, shown, health.reason.as_str(), &health.message, &at);
        }
        None => conditions::remove(list, AUDIT_DELIVERED),
    }
    let paused = found.account.as_ref().and_then(|a| a.paused_for()).and_then(|p| SignedDuration::try_from(p).ok());
    let until = paused
        .and_then(|p| clock::precise().checked_add(p).ok())
        .and_then(|at| jiff::Timestamp::from_second(at.as_second() + 1).ok());
    let known = previous.budget.as_ref().and_then(|b| b.throttled_until.clone());
    // The same pause, computed again, may differ by a second: it is not a new fact.
    let same = known.filter(|k| until.is_some_and(|u| (u.as_second() - k.0.as_second()).abs() <= 2));
    status.budget = Some(BudgetStatus { limit, throttled_until: same.or(until.map(Time)) });
    status
}

/// The event of a changed Ready reason.
pub fn transition(previous: &GenesysOrgStatus, status: &GenesysOrgStatus) -> Option<EventDraft> {
    let now = conditions::find(&status.conditions, READY)?;
    let before = conditions::find(&previous.conditions, READY);
    if before.is_some_and(|b| b.reason == now.reason) {
        return None;
    }
    let reason = match now.reason.as_str() {
        "AuthenticationFailed" => "CredentialsInvalid",
        other => Reason::ALL.iter().map(|r| r.as_str()).find(|r| *r == other)?,
    };
    Some(EventDraft { warning: now.status != "True", reason, action: "Connect", note: now.message.clone() })
}
