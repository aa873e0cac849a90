//! The one reconcile of all kinds: load → lane → converge → outcome → report.

use std::convert::Infallible;
use std::fmt::Debug;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use kube::core::NamespaceResourceScope;
use kube::runtime::controller::Action;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::evaluation;
use super::events::Events;
use super::gone::{self, UnderWay};
use super::learned;
use super::lease::Leadership;
use super::ledger::ClusterLedger;
use super::load::{self, Due, Loaded, Preflight, preflight};
use super::metrics::{ByKind, Metrics};
use super::orgs::{Granted, Orgs};
use super::outbox::Outbox;
use super::outcome::{self, EventDraft, Facts, Outcome, Verdict, outcome};
use super::pairs::Pairs;
use super::patch::{Patched, panicked, patch};
use super::polls;
use super::schedule::Schedule;
use super::stream::Guarded;
use super::tickets::Tickets;
use super::written::Written;
use crate::api::ManagedStatus;
use crate::api::conditions::{self, Reason};
use crate::engine::propagation::{self, Verdict as Traffic};
use crate::engine::{Plan, Why, display};
use crate::genesys::{Session, Ticket};
use crate::remote::Remote;
use crate::remote::audit::Subject;
use crate::remote::converge::{Request, converge};
use crate::remote::states::States;

/// What all kinds share.
pub struct Shared {
    /// Client for the API server.
    pub client: Client,
    /// The organisations.
    pub orgs: Orgs,
    /// Audit records on their way to the webhooks.
    pub outbox: Outbox,
    /// The last remote states seen.
    pub states: States,
    /// Skills of users that objects declare.
    pub pairs: Pairs,
    /// Metrics.
    pub metrics: Arc<Metrics>,
    /// Events.
    pub events: Events,
    /// No new write starts once this is cancelled.
    pub shutdown: CancellationToken,
    /// Whether this process may write.
    pub leadership: Leadership,
    /// Cancelled once this process has begun to work. Before, another replica does, or what is needed of the past is not read yet.
    pub working: CancellationToken,
}

impl Shared {
    /// Whether objects are reconciled by this process.
    pub fn is_working(&self) -> bool {
        self.working.is_cancelled()
    }
}

/// What one kind's reconciles share.
pub struct KindContext<K: Remote> {
    /// What all kinds share.
    pub shared: Arc<Shared>,
    /// The watch store.
    pub store: Store<Guarded<K>>,
    /// Back-off and checks.
    pub schedule: Schedule,
    /// Statuses that the watch has not brought back yet.
    pub written: Written<ManagedStatus>,
    /// Objects that wait for a lane.
    pub tickets: Tickets,
    /// UIDs of the objects whose calls are under way: they tell the outcome of their writes themselves.
    pub under_way: UnderWay,
}

/// After a panic an object is looked at again after that.
const AFTER_PANIC: Duration = Duration::from_secs(300);

/// A managed custom resource of the generic reconcile.
pub trait Reconcilable: Remote + Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Debug {}
impl<K: Remote + Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned + Debug> Reconcilable for K {}

/// Reconciles one object. It never fails: every end is an outcome, and a panic is one too.
pub async fn reconcile<K: Reconcilable>(object: Arc<Guarded<K>>, context: Arc<KindContext<K>>) -> Result<Action, Infallible> {
    let key = ObjectRef::from_obj(&*object);
    if !context.shared.is_working() {
        // It is looked at when the work begins.
        return Ok(Action::await_change());
    }
    if let Err(invalid) = &object.0 {
        tracing::error!(kind = K::KIND, object = %key, error = %invalid.error, "object cannot be read and is left alone; apply the CRDs of this operator version");
        let note =
            format!("this operator version cannot read the object and leaves it alone: {}", display::escape(&invalid.error));
        let note = conditions::truncate(&note, 900);
        let draft = EventDraft { warning: true, reason: Reason::InvalidSpec.as_str(), action: "Read", note };
        Box::pin(context.shared.events.publish(&draft, object.object_ref(&()))).await;
        return Ok(Action::await_change());
    }
    match AssertUnwindSafe(drive(&context, &key)).catch_unwind().await {
        Ok(action) => Ok(action),
        Err(_) => {
            tracing::error!(kind = K::KIND, object = %key, "the reconcile panicked; other objects are not affected");
            context.shared.metrics.panics.get_or_create(&ByKind { kind: K::KIND }).inc();
            Box::pin(panicked(&context, &key)).await;
            Ok(Action::requeue(AFTER_PANIC))
        }
    }
}

async fn drive<K: Reconcilable>(context: &Arc<KindContext<K>>, key: &ObjectRef<Guarded<K>>) -> Action {
    let mut ticket: Option<(Ticket, String)> = None;
    loop {
        let (loaded, desired, granted) = match Box::pin(preflight(context, key)).await {
            None => return Action::await_change(),
            Some(Preflight::Idle(wait)) => return Action::requeue(wait),
            Some(Preflight::Verdict(mut loaded, verdict)) => {
                let since = verdict.waits_for().map(|reason| match loaded.entry.waiting_since {
                    Some((known, since)) if known == reason => (reason, since),
                    _ => (reason, waiting_since(&loaded, reason)),
                });
                loaded.entry.waiting_since = since;
                let verdict = verdict.verdict(since.map(|(_, since)| since.elapsed()).unwrap_or_default());
                return Box::pin(conclude(context, *loaded, &verdict, None, 1.0, false)).await;
            }
            Some(Preflight::Call(loaded, desired, granted)) => (loaded, desired, granted),
        };
        match ticket.take() {
            Some((ticket, connection)) if connection == granted.connection.key => {
                return Box::pin(call(context, *loaded, desired, granted, ticket)).await;
            }
            _ => {}
        }
        // An object waits for its lane before its work is done: it is loaded again, and all edits since count as one.
        let lane = loaded.due.lane(&loaded.status);
        let (uid, generation, connection) = (loaded.uid.clone(), loaded.generation, granted.connection.clone());
        // Thousands may wait at once: each keeps only what waiting needs.
        drop((loaded, desired, granted));
        let began = Instant::now();
        let got = tokio::select! {
            got = context.tickets.wait(connection.client.account().budget(), &uid, generation, lane) => got,
            () = context.shared.shutdown.cancelled() => return Action::await_change(),
        };
        context.shared.metrics.queued(K::KIND, lane.as_str(), began.elapsed());
        ticket = Some((got, connection.key.clone()));
    }
}

/// Since when an object waits for the same thing, where this process does not know: the status does, so that a restart
/// changes nothing.
fn waiting_since<K: Reconcilable>(loaded: &Loaded<K>, reason: Reason) -> Instant {
    let ready = conditions::find(&loaded.status.conditions, conditions::READY).filter(|r| r.reason == reason.as_str());
    let waited = ready.and_then(|r| Duration::try_from(load::now().duration_since(r.last_transition_time.0)).ok());
    let now = Instant::now();
    waited.and_then(|waited| now.checked_sub(waited)).unwrap_or(now)
}

async fn call<K: Reconcilable>(
    context: &Arc<KindContext<K>>,
    mut loaded: Loaded<K>,
    desired: K::Desired,
    granted: Granted,
    ticket: Ticket,
) -> Action {
    let _under_way = context.under_way.begin(&loaded.uid);
    let anew = matches!(loaded.due, Due::Change | Due::First | Due::Requested);
    loaded.entry.begin(anew, &granted.secret_version);
    let mut session = granted.connection.client.session(ticket);
    let watch = K::propagation(&desired);
    if loaded.due == Due::Poll {
        return ask(context, loaded, &mut session, watch.as_ref(), granted.stretch).await;
    }
    let subject = subject(&loaded, &granted);
    let approval = granted.approval || loaded.object.managed().approval.as_ref().and_then(|a| a.required).unwrap_or(false);
    let request = Request {
        object: &loaded.object,
        desired: &desired,
        connection: &granted.connection.key,
        host: &granted.connection.host,
        status: &loaded.status,
        subject: &subject,
        // A person approves what is live now, not what was.
        max_age: (loaded.due == Due::Change && !approval).then(|| loaded.object.interval()),
        approval_required: approval,
        approved: load::approved(&loaded.object),
        refused: loaded.entry.refusal.as_ref(),
        requested: loaded.due == Due::Requested,
        immediate_retry: anew || loaded.entry.immediate_retry,
        resumes: evaluation::resumes(&loaded, load::now()),
    };
    let ledger = ClusterLedger {
        context,
        object: &loaded.object,
        status: &loaded.status,
        org: &loaded.org,
        key: &granted.connection.key,
        limit: &granted.limit,
        intended: AtomicBool::new(false),
        base: tokio::sync::Mutex::new(loaded.base.clone()),
        recorded: Mutex::default(),
    };
    let convergence = tokio::select! {
        convergence = converge(&mut session, &context.shared.states, &ledger, &request) => convergence,
        () = stopped(&context.shared.shutdown, &ledger.intended) => return Action::await_change(),
    };
    drop(session);
    let intended = ledger.intended.load(Ordering::Relaxed);
    let recorded = ledger.recorded.into_inner().unwrap_or_else(PoisonError::into_inner);
    loaded.base = ledger.base.into_inner();
    loaded.entry.recorded.extend(recorded);
    learned::measure::<K>(context, &convergence);
    learned::learn(context, &mut loaded, &convergence);
    conclude(context, loaded, &Verdict::Converged(&convergence), watch.as_ref().map(|w| (w, None)), granted.stretch, intended)
        .await
}

fn subject<K: Reconcilable>(loaded: &Loaded<K>, granted: &Granted) -> Subject {
    Subject {
        org: granted.label.clone(),
        namespace: loaded.object.namespace().unwrap_or_default(),
        kind: K::KIND.to_owned(),
        name: loaded.object.name_any(),
        generation: loaded.generation,
    }
}

/// Resolves at shutdown, before anything was written: a read that hangs must not hold up the end of the process. What was
/// intended is finished.
async fn stopped(shutdown: &CancellationToken, intended: &AtomicBool) {
    shutdown.cancelled().await;
    if intended.load(Ordering::Relaxed) {
        std::future::pending::<()>().await;
    }
}

/// Only asks for conversations, and concludes from them.
async fn ask<K: Reconcilable>(
    context: &Arc<KindContext<K>>,
    loaded: Loaded<K>,
    session: &mut Session,
    watch: Option<&propagation::Watch>,
    stretch: f64,
) -> Action {
    let asked = tokio::select! {
        asked = polls::ask::<K>(session, &loaded) => asked,
        () = context.shared.shutdown.cancelled() => return Action::await_change(),
    };
    let (traffic, failure) = match asked {
        Ok(traffic) => (traffic, None),
        Err(failure) => (None, Some(failure)),
    };
    conclude(context, loaded, &Verdict::Polled(failure), watch.map(|watch| (watch, traffic)), stretch, false).await
}

/// Phases 7 and 8, and when to look again.
async fn conclude<K: Reconcilable>(
    context: &Arc<KindContext<K>>,
    mut loaded: Loaded<K>,
    verdict: &Verdict<'_>,
    watched: Option<(&propagation::Watch, Option<Traffic>)>,
    stretch: f64,
    must_patch: bool,
) -> Action {
    let facts = Facts {
        generation: loaded.generation,
        policy: loaded.object.policy(),
        requested: load::requested(&loaded.object),
        approved: load::approved(&loaded.object),
        previous: &loaded.status,
        watch: watched.map(|(watch, _)| watch),
        traffic: watched.and_then(|(_, traffic)| traffic),
        now: load::now(),
    };
    let Outcome { status, approved, event, next, refusal } = outcome(verdict, &facts);
    loaded.entry.refusal = refusal.or(loaded.entry.refusal);
    // Its token is answered, what it asked for is still to be done.
    loaded.entry.reads_all |= loaded.due == Due::Requested && !matches!(verdict, Verdict::Converged(_));
    if matches!(verdict, Verdict::Polled(_)) {
        loaded.entry.polls = loaded.entry.polls.saturating_add(1);
    } else {
        evaluation::plan_next(&mut loaded, next, &status, stretch);
    }
    polls::schedule(&mut loaded, &status);
    queue_for_limit(context, &loaded, verdict, &status);
    log(&loaded, &status);
    context.shared.metrics.reconciled(K::KIND, outcome::ready_reason(&status));
    let (open, mut is_known) = (audit_ids(&status), true);
    if must_patch || loaded.entry.dirty || status != loaded.status {
        let patched = patch(context, &loaded.object, &mut loaded.base, status.clone()).await;
        is_known = patched != Patched::Foreign;
        loaded.entry.dirty = patched == Patched::Kept;
        if let Some(wait) = patched.look_again() {
            loaded.entry.look(Instant::now() + wait.mul_f64(0.5 + fastrand::f64()));
        }
    }
    if is_known && !loaded.entry.dirty {
        let done = loaded.entry.recorded.extract_if(.., |id| !open.contains(id)).collect::<Vec<_>>();
        context.shared.outbox.release(&loaded.org, done.iter().map(String::as_str));
    }
    for event in approved.into_iter().chain(event) {
        context.shared.events.publish(&event, loaded.object.object_ref(&())).await;
    }
    let next = loaded.entry.next();
    context.under_way.end(&loaded.uid);
    if is_live(context, &loaded.object) {
        context.schedule.put(&loaded.uid, loaded.entry);
    } else {
        gone::tell(&context.shared, &loaded.object, &status, &loaded.entry.recorded).await;
    }
    Action::requeue(next.saturating_duration_since(Instant::now()))
}

/// One line for each reconcile that came to an end.
fn log<K: Reconcilable>(loaded: &Loaded<K>, status: &ManagedStatus) {
    tracing::info!(
        kind = K::KIND,
        namespace = loaded.object.namespace(),
        name = loaded.object.name_any(),
        org = %format!("{}/{}", loaded.org.0, loaded.org.1),
        due = ?loaded.due,
        reason = outcome::ready_reason(status),
        plan = status.history.first().filter(|_| status.history != loaded.status.history).map(|h| h.digest.as_str()),
        pending = status.pending_plan.as_ref().map(|pending| pending.digest.as_str()),
        "reconciled"
    );
}

/// The audit records that the intent of a status could be settled to.
pub fn audit_ids(status: &ManagedStatus) -> Vec<String> {
    status.intent.iter().flat_map(|intent| &intent.steps).map(|step| step.audit_id.clone()).collect()
}

/// Whether the object is still in the store: what is remembered of one that is gone would stay for ever.
fn is_live<K: Reconcilable>(context: &KindContext<K>, object: &K) -> bool {
    let key = ObjectRef::new(&object.name_any()).within(&object.namespace().unwrap_or_default());
    context.store.get(&key).is_some_and(|live| live.uid() == object.uid())
}

/// A change of spec that waits for the change limit goes before repairs; whoever has nothing to write any more waits for nothing.
fn queue_for_limit<K: Reconcilable>(context: &KindContext<K>, loaded: &Loaded<K>, verdict: &Verdict<'_>, status: &ManagedStatus) {
    let Some(entry) = context.shared.orgs.entry(&loaded.org) else { return };
    let change = matches!(verdict, Verdict::Converged(c) if c.plan.as_ref().and_then(Plan::why) == Some(Why::SpecChange));
    if change && outcome::ready_reason(status) == Some(Reason::ChangeBudgetExceeded.as_str()) {
        entry.limit.wait(&loaded.uid);
    } else {
        entry.limit.forget(&loaded.uid);
    }
}
