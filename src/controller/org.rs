//! The reconcile of `GenesysOrg`: credentials, connection, budget.

use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::SignedDuration;
use k8s_openapi::api::core::v1::Secret;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Resource, ResourceExt};
use secrecy::SecretString;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::change_limit::ChangeLimit;
use super::load::requested;
use super::metrics::ByKind;
use super::org_audit;
use super::org_status::{Found, next_status, transition};
use super::orgs::{History, OrgEntry, OrgName, OrgState};
use super::reconcile::Shared;
use super::references::{self, Unread};
use super::report::{self, Place, Unwritten};
use super::stream::Guarded;
use super::written::{Base, Believed, Written};
use crate::api::conditions::{Phase, Reason};
use crate::api::{GenesysOrg, GenesysOrgStatus};
use crate::clock;
use crate::engine::genesys_org::validate;
use crate::engine::{finding, json};
use crate::genesys::{self, Account, Endpoints, Lane};
use crate::remote::connection::{self, Connection};
use crate::remote::failure::Failure;

/// The Secret is read again that often.
const SECRET_FRESH: Duration = Duration::from_secs(50);
/// A pause that status remembers is obeyed at most that long after a restart (contract section 6).
const LONGEST_PAUSE: Duration = Duration::from_secs(900);
/// Drift checks may use that share of the budget.
const CHECK_SHARE: f64 = 0.6;
/// Kind, for metrics.
pub const KIND: &str = "GenesysOrg";

/// What the org's reconciles share.
pub struct OrgContext {
    /// What all kinds share.
    pub shared: Arc<Shared>,
    /// The watch store.
    pub store: Store<Guarded<GenesysOrg>>,
    /// Statuses that the watch has not brought back yet.
    pub written: Written<GenesysOrgStatus>,
    /// Past writes of the objects of an org, for its change limit.
    pub history: History,
    /// The account whose pauses wake an org.
    pub pauses: std::sync::Mutex<std::collections::HashMap<OrgName, std::sync::Weak<Account>>>,
    /// Since when a dependency is missing, by UID.
    pub waiting: std::sync::Mutex<std::collections::HashMap<String, Instant>>,
}

impl OrgContext {
    /// Drops what is remembered of an org that is gone.
    pub fn forget(&self, name: &OrgName, uid: &str) {
        self.pauses.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(name);
        self.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(uid);
    }
}

/// Reconciles one org.
pub async fn reconcile(org: Arc<Guarded<GenesysOrg>>, context: Arc<OrgContext>) -> Result<Action, Infallible> {
    let key = ObjectRef::from_obj(&*org);
    if !context.shared.is_working() {
        return Ok(Action::await_change());
    }
    let caught = tokio::select! {
        caught = AssertUnwindSafe(drive(&context, &key)).catch_unwind() => caught,
        () = context.shared.shutdown.cancelled() => Ok(Action::await_change()),
    };
    Ok(caught.unwrap_or_else(|_| {
        tracing::error!(org = %key, "the reconcile of the org panicked; others are not affected");
        context.shared.metrics.panics.get_or_create(&ByKind { kind: KIND }).inc();
        Action::requeue(Duration::from_secs(60))
    }))
}

async fn drive(context: &Arc<OrgContext>, key: &ObjectRef<Guarded<GenesysOrg>>) -> Action {
    let Some(guarded) = context.store.get(key) else { return Action::await_change() };
    let Ok(org) = guarded.0.as_ref() else {
        tracing::error!(org = %key, "org cannot be read and is left alone; apply the CRDs of this operator version");
        return Action::await_change();
    };
    if org.meta().deletion_timestamp.is_some() || context.shared.shutdown.is_cancelled() {
        return Action::await_change();
    }
    let name = (org.namespace().unwrap_or_default(), org.name_any());
    let Believed { status, base } = context.written.load(org, org.status.as_ref());
    let found = look(context, org, &name, &status).await;
    let previous = context.shared.orgs.entry(&name);
    let limit = previous.as_ref().map_or_else(|| first_limit(context, &name), |entry| entry.limit.clone());
    limit.set(org.spec.change_limit.as_ref().and_then(|l| l.per_hour));
    org_audit::configure(context, org, &name).await;
    let stretch = stretch(context, org, &name, found.account.as_deref());
    // Deleted, or created anew, while it was looked at: what was found is about another org.
    if context.shared.orgs.live(&name).is_none_or(|live| live.uid() != org.uid()) {
        return Action::requeue(Duration::from_secs(1));
    }
    let key = match &found.state {
        OrgState::Usable(connection) => Some(connection.key.clone()),
        OrgState::Unusable(..) => previous.and_then(|entry| entry.key),
    };
    let entry = OrgEntry {
        of: Some((org.uid().unwrap_or_default(), org.metadata.generation.unwrap_or_default())),
        account: found.account.clone(),
        key,
        state: found.state.clone(),
        secret_version: found.secret_version.clone(),
        stretch,
        audit_pressure: context.shared.outbox.pressure(&name),
        limit,
    };
    context.shared.orgs.set(&name, entry);
    let paused = found.account.as_ref().and_then(|a| a.paused_for());
    let is_known = conclude(context, org, (&status, base), &found, stretch).await;
    let next = match found.reason.phase() {
        _ if !is_known => Duration::from_secs(1),
        Phase::Done => SECRET_FRESH,
        Phase::Waiting => Duration::from_secs(10),
        _ => SECRET_FRESH,
    };
    Action::requeue(paused.map_or(next, |p| p.min(next)).max(Duration::from_millis(500)))
}

/// The change limit of an org that this process sees for the first time: the past hour comes from the statuses.
fn first_limit(context: &OrgContext, name: &OrgName) -> Arc<ChangeLimit> {
    let limit = Arc::new(ChangeLimit::default());
    let since = clock::now().checked_sub(SignedDuration::from_hours(1)).unwrap_or(jiff::Timestamp::MIN);
    limit.rebuild((context.history)(name).into_iter().filter(|at| *at > since));
    limit
}

fn stretch(context: &OrgContext, org: &GenesysOrg, name: &OrgName, account: Option<&Account>) -> f64 {
    // Orgs with one client share a budget: the smaller number counts.
    let limit = account.map_or(org.spec.effective_requests_per_minute(), |a| a.budget().limit());
    let share = f64::from(limit) * CHECK_SHARE;
    let factor = context.shared.orgs.demand(name) / share;
    // In steps of a half, so that one object more or less is no new fact.
    if factor <= 1.0 { 1.0 } else { (factor * 2.0).ceil() / 2.0 }
}

fn unusable(reason: Reason, message: impl Into<String>) -> Found {
    let message = message.into();
    Found {
        state: OrgState::Unusable(reason, message.clone()),
        secret_version: String::new(),
        credentials: None,
        account: None,
        message,
        reason,
    }
}

async fn look(context: &OrgContext, org: &GenesysOrg, name: &OrgName, status: &GenesysOrgStatus) -> Found {
    let shared = &context.shared;
    let place = match validate(&org.spec, &shared.orgs.allowed) {
        Ok(place) => place,
        Err(findings) => {
            let mut found = unusable(Reason::InvalidSpec, finding::summary(&findings));
            let message = format!("GenesysOrg {}/{} is not valid; see its status", name.0, name.1);
            found.state = OrgState::Unusable(Reason::DependencyNotFound, message);
            return found;
        }
    };
    let endpoints = match connection::endpoints(place) {
        Ok(endpoints) => endpoints,
        Err(message) => return unusable(Reason::InvalidSpec, message),
    };
    let secret = match read_secret(context, org, &name.0).await {
        Ok(secret) => secret,
        // The API server did not answer: what is known of the credentials goes on being true.
        Err(found) if found.reason == Reason::OrgUnavailable => return still_usable(context, name, &endpoints).unwrap_or(found),
        Err(found) => return found,
    };
    let (client_id, client_secret, version) = match credentials(&secret, &name.0, org) {
        Ok(credentials) => credentials,
        Err(message) => return unusable(Reason::DependencyNotFound, message),
    };
    let limit = org.spec.effective_requests_per_minute();
    let account = shared.orgs.account(&endpoints.login, &client_id, &version, limit);
    account.set_credentials(client_secret, &version);
    if shared.orgs.entry(name).is_none() {
        resume_pause(&account, status);
    }
    watch_pauses(context, &account, name);
    if requested(org).is_some_and(|token| status.last_handled_reconcile_at.as_deref() != Some(token)) {
        account.allow_token_try();
    }
    connect(context, name, &endpoints, account, version, limit).await
}

/// A pause belongs into the org's status as soon as it begins, for the case of a restart; and out of it once it is over.
fn watch_pauses(context: &OrgContext, account: &Arc<Account>, name: &OrgName) {
    let mut pauses = context.pauses.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = pauses.insert(name.clone(), Arc::downgrade(account));
    if known.is_some_and(|known| known.ptr_eq(&Arc::downgrade(account))) {
        return;
    }
    let (mut pause, trigger, key) =
        (account.subscribe_pause(), context.shared.orgs.trigger.clone(), ObjectRef::new(&name.1).within(&name.0));
    // Ends with the account, whose sender it listens to.
    tokio::spawn(async move {
        while pause.changed().await.is_ok() {
            if trigger.send(key.clone()).is_err() {
                return;
            }
        }
    });
}

/// A pause that the remote asked for outlives a restart.
fn resume_pause(account: &Account, status: &GenesysOrgStatus) {
    let until = status.budget.as_ref().and_then(|b| b.throttled_until.as_ref());
    let left = until.and_then(|until| Duration::try_from(until.0.duration_since(clock::precise())).ok());
    if let Some(left) = left.filter(|left| !left.is_zero() && account.paused_for().is_none()) {
        account.pause(left.min(LONGEST_PAUSE));
    }
}

async fn read_secret(context: &OrgContext, org: &GenesysOrg, namespace: &str) -> Result<Secret, Found> {
    let name = &org.spec.credentials.secret_ref.name;
    let remedy = "create it with the keys clientId and clientSecret";
    references::read(&context.shared.client, namespace, name, remedy).await.map_err(|unread| match unread {
        Unread::Missing(message) => unusable(Reason::DependencyNotFound, message),
        Unread::Unknown => unusable(
            Reason::OrgUnavailable,
            format!("Secret {namespace}/{name} could not be read from the API server; it is tried again"),
        ),
    })
}

/// Client id, client secret, and a digest of both, of the Secret of an org.
///
/// # Errors
/// The key that is missing, and what to do.
pub fn credentials(secret: &Secret, namespace: &str, org: &GenesysOrg) -> Result<(String, SecretString, String), String> {
    let secret_name = &org.spec.credentials.secret_ref.name;
    let key = |key: &str| {
        references::secret_text(secret, key).ok_or_else(|| {
            format!("Secret {namespace}/{secret_name} has no key {key}, or it is empty or no text; set clientId and clientSecret")
        })
    };
    let (id, client_secret) = (key("clientId")?, key("clientSecret")?);
    let version = version_of(&id, &client_secret);
    Ok((id, SecretString::from(client_secret), version))
}

/// What tells credentials apart. By content: two orgs with a Secret each, or an edit of a label, are no new credentials.
pub fn version_of(client_id: &str, client_secret: &str) -> String {
    json::hex(&Sha256::digest(format!("{client_id}\n{client_secret}")))
}

async fn connect(
    context: &OrgContext,
    name: &OrgName,
    endpoints: &Endpoints,
    account: Arc<Account>,
    secret_version: String,
    limit: u32,
) -> Found {
    let known = match context.shared.orgs.entry(name).map(|e| e.state) {
        Some(OrgState::Usable(connection))
            if connection.endpoints == *endpoints && Arc::ptr_eq(connection.client.account(), &account) =>
        {
            Some(connection)
        }
        _ => None,
    };
    let connection = match known {
        Some(connection) => connection,
        None => match Connection::new(account.clone(), endpoints, context.shared.orgs.observer.clone()) {
            Ok(connection) => Arc::new(connection),
            Err(error) => return unusable(Reason::InvalidSpec, error.to_string()),
        },
    };
    if account.paused_for().is_some() {
        return usable(connection, secret_version, account, None);
    }
    let ticket = tokio::select! {
        ticket = account.budget().ticket(Lane::Retry) => ticket,
        () = tokio::time::sleep(Duration::from_secs(5)) => {
            // Paused or busy: what is known of the credentials goes on being true.
            return usable(connection, secret_version, account, None);
        }
    };
    match connection.client.session(ticket).authenticate().await {
        Ok(()) => {
            // Only who knows the secret has a say in the budget of the client.
            context.shared.orgs.join(&account, name, limit);
            usable(connection, secret_version, account, Some(true))
        }
        Err(error) if error.kind == genesys::ErrorKind::Throttled => usable(connection, secret_version, account, None),
        Err(error) => {
            let failure = Failure::of(&error, &format!("login as client of GenesysOrg {}/{}", name.0, name.1), true);
            let refused = failure.reason == Reason::AuthenticationFailed;
            let mut found = unusable(failure.reason, failure.message);
            (found.secret_version, found.account, found.credentials) = (secret_version, Some(account), refused.then_some(false));
            found
        }
    }
}

/// The org as it was, where it could be used for the same endpoints.
fn still_usable(context: &OrgContext, name: &OrgName, endpoints: &Endpoints) -> Option<Found> {
    let entry = context.shared.orgs.entry(name)?;
    match entry.state {
        OrgState::Usable(connection) if connection.endpoints == *endpoints => {
            let account = connection.client.account().clone();
            Some(usable(connection, entry.secret_version, account, None))
        }
        _ => None,
    }
}

fn usable(connection: Arc<Connection>, secret_version: String, account: Arc<Account>, credentials: Option<bool>) -> Found {
    let message = format!("connected to {}", connection.host);
    let (reason, message) = if account.paused_for().is_some() {
        (Reason::RateLimited, "Genesys Cloud asked for a pause of all calls; see status.budget.throttledUntil".to_owned())
    } else {
        (Reason::Succeeded, message)
    };
    Found { state: OrgState::Usable(connection), secret_version, credentials, account: Some(account), message, reason }
}

/// Whether its status is known: not where another process has just written one.
async fn conclude(
    context: &Arc<OrgContext>,
    org: &GenesysOrg,
    (previous, mut base): (&GenesysOrgStatus, Base<GenesysOrgStatus>),
    found: &Found,
    stretch: f64,
) -> bool {
    let name = (org.namespace().unwrap_or_default(), org.name_any());
    let audit = context.shared.outbox.health(&name);
    let status = next_status(org, previous, found, org_phase(context, org, found), stretch, audit.as_ref());
    if status == *previous {
        return true;
    }
    let event = transition(previous, &status);
    context.shared.metrics.status_patches.get_or_create(&ByKind { kind: KIND }).inc();
    let place = Place { object: org, of: |org: &GenesysOrg| org.status.as_ref(), written: &context.written };
    match report::patch_status(&context.shared, &place, &mut base, &status).await {
        Ok(_) => {}
        Err(Unwritten::Gone | Unwritten::NotLeading) => return true,
        Err(Unwritten::Foreign) => return false,
        Err(error) => tracing::error!(%error, org = org.name_any(), "status of the org could not be written; it is tried again"),
    }
    if let Some(event) = event {
        context.shared.events.publish(&event, org.object_ref(&())).await;
    }
    true
}

fn org_phase(context: &OrgContext, org: &GenesysOrg, found: &Found) -> Phase {
    let mut waiting = context.waiting.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let uid = org.uid().unwrap_or_default();
    if found.reason != Reason::DependencyNotFound {
        waiting.remove(&uid);
        return found.reason.phase();
    }
    let since = waiting.entry(uid).or_insert_with(Instant::now);
    if since.elapsed() >= super::outcome::DEPENDENCY_PATIENCE { Phase::Stalled } else { Phase::Waiting }
}
