//! The controller: watches, lanes, the one generic reconcile, outcome, status, events, orgs, metrics, probes.
//!
//! `watch → lane ticket → reconcile(K)`: `stream` → `kind` → `load` (phases 1, 2) → `tickets` → `remote::converge` (3–6) →
//! `outcome` (7) → `report` (8).

mod audit_log;
pub mod change_limit;
pub mod claims;
mod evaluation;
mod event;
mod events;
mod gauges;
mod gone;
pub mod kind;
mod learned;
pub mod lease;
pub mod ledger;
mod load;
pub mod metrics;
pub mod org;
mod org_audit;
mod org_status;
pub mod orgs;
mod outbox;
pub mod outcome;
mod pairs;
mod patch;
mod polls;
mod probes;
pub mod reconcile;
pub mod references;
mod report;
mod schedule;
pub mod stream;
mod summary;
mod texts;
mod tickets;
mod watch;
mod written;

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, controller};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::kind::Started;
use self::lease::{Election, Leadership, LeaseOptions};
use self::metrics::Metrics;
use self::org::OrgContext;
use self::orgs::Orgs;
use self::outbox::Outbox;
use self::probes::Probes;
use self::reconcile::Shared;
use self::stream::{Guarded, Watching};
use crate::api::GenesysOrg;
use crate::engine::genesys_org::AllowedEndpoints;
use crate::kinds::KINDS;
use crate::remote::states::States;

/// Servers from this minor version on have streaming lists switched on.
const STREAMING_SINCE: u32 = 34;

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// One namespace to watch, or all.
    pub namespace: Option<String>,
    /// Where metrics and probes are served.
    pub listen: SocketAddr,
    /// Which custom endpoints are allowed.
    pub allowed: AllowedEndpoints,
}

/// One of several replicas: the client for the lease, and how it is held.
pub type Replica = (Client, LeaseOptions);

/// Everything that runs for the life of the process, put together.
struct Parts {
    shared: Arc<Shared>,
    watching: Watching,
    context: Arc<OrgContext>,
    runs: Vec<BoxFuture<'static, ()>>,
    filled: Vec<BoxFuture<'static, bool>>,
    refreshes: Vec<gauges::Refresh>,
    intents: Vec<Box<dyn Fn() -> Vec<String> + Send + Sync>>,
    wakes: Vec<Box<dyn Fn() + Send + Sync>>,
}

/// Where the gauges come from, once everything is put together.
type Gauges = OnceLock<Arc<dyn Fn() + Send + Sync>>;

/// The moments of an election.
#[derive(Clone, Default)]
struct Moments {
    /// All watch stores are filled.
    warm: CancellationToken,
    /// This process may begin.
    elected: CancellationToken,
}

/// Runs until `shutdown`: no new write starts then, and the ones under way are finished and recorded. With a `replica` it works only while it
/// holds the lease.
///
/// # Errors
/// What it cannot serve on, or that the lease was lost: then nothing is finished, as after a crash, and the next leader looks up what was
/// under way. A process that begins anew as a follower knows nothing of the past that could be wrong.
pub async fn run(client: Client, options: Options, replica: Option<Replica>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = probes::bind(options.listen).await?;
    let (leadership, moments) =
        (replica.as_ref().map_or_else(Leadership::alone, |_| Leadership::contested()), Moments::default());
    let election = replica.map(|(client, lease)| Arc::new(Election::new(client, lease, &instance(), leadership.clone())));
    let (org_store, org_writer) = reflector::store::<Guarded<GenesysOrg>>();
    let (trigger, triggered) = mpsc::unbounded_channel();
    let (metrics, ready, gauges) = (Arc::new(Metrics::new()), Arc::new(AtomicBool::new(false)), Arc::new(Gauges::new()));
    let probes = Probes { metrics: metrics.clone(), ready: ready.clone(), refresh: refresh(gauges.clone()) };
    let mut server = pin!(probes::serve(listener, probes, shutdown.clone()));
    // An API server that hangs must not make the process look dead.
    let streaming = tokio::select! {
        streaming = has_streaming_lists(&client) => streaming,
        served = &mut server => return Ok(served?),
    };
    let watching = Watching { client, namespace: options.namespace, streaming };
    let mut parts = assemble(watching, metrics, options.allowed, (org_store, trigger), leadership, &shutdown);
    // Nobody else sets it.
    let _ = gauges.set(gauges::all(parts.shared.clone(), std::mem::take(&mut parts.refreshes)));
    let (runs, filled) = (std::mem::take(&mut parts.runs), std::mem::take(&mut parts.filled));
    let work = async {
        let orgs = run_orgs(&parts, org_writer, triggered);
        let (served, (), (), _) = tokio::join!(server, orgs, begin(&parts, filled, &moments, &ready), join_all(runs));
        parts.shared.outbox.finish().await;
        served
    };
    let served = tokio::select! {
        served = work => served,
        why = lost(election.clone(), moments.clone()) => anyhow::bail!(why),
    };
    if let Some(election) = election {
        election.release().await;
    }
    tracing::info!("stopped");
    Ok(served?)
}

/// Takes part in the election; ends when the lease is lost: why. A task of its own, for all the rest is one: renewals wait for no work.
async fn lost(election: Option<Arc<Election>>, moments: Moments) -> String {
    let Some(election) = election else {
        moments.elected.cancel();
        return std::future::pending().await;
    };
    let mut task = JoinSet::new();
    task.spawn(async move { election.run(&moments.warm, &moments.elected).await });
    match task.join_next().await {
        Some(Ok(why)) => why,
        _ => "the task that renews the lease ended by a defect; see the log".to_owned(),
    }
}

fn assemble(
    watching: Watching,
    metrics: Arc<Metrics>,
    allowed: AllowedEndpoints,
    (org_store, trigger): (Store<Guarded<GenesysOrg>>, mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>),
    leadership: Leadership,
    shutdown: &CancellationToken,
) -> Parts {
    let client = watching.client.clone();
    let shared = Arc::new(Shared {
        outbox: Outbox::new(client.clone(), metrics.clone(), trigger.clone(), shutdown.clone(), leadership.clone()),
        orgs: Orgs::new(client.clone(), org_store.clone(), allowed, metrics.observer(), trigger),
        states: States::default(),
        pairs: pairs::Pairs::default(),
        events: events::Events::new(client.clone(), instance(), leadership.clone()),
        metrics,
        shutdown: shutdown.clone(),
        leadership,
        working: CancellationToken::new(),
        client,
    });
    let kinds: Vec<Started> = KINDS.iter().map(|kind| (kind.start)(&shared, &watching)).collect();
    let (mut runs, mut filled, mut refreshes, mut histories) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut intents, mut wakes) = (Vec::new(), Vec::new());
    for kind in kinds {
        runs.push(kind.run);
        filled.push(kind.filled);
        refreshes.push(kind.refresh);
        histories.push(kind.history);
        intents.push(kind.intents);
        wakes.push(kind.wake);
        shared.orgs.add_demand(kind.demand);
    }
    let context = Arc::new(OrgContext {
        shared: shared.clone(),
        store: org_store,
        written: written::Written::default(),
        history: Box::new(move |org| histories.iter().flat_map(|history| history(org)).collect()),
        pauses: std::sync::Mutex::default(),
        waiting: std::sync::Mutex::default(),
    });
    refreshes.push(gauges::of_orgs(context.clone()));
    Parts { shared, watching, context, runs, filled, refreshes, intents, wakes }
}

/// Waits until the stores are filled and this process may work, takes over what the one before left, and looks at everything.
async fn begin(parts: &Parts, filled: Vec<BoxFuture<'static, bool>>, moments: &Moments, ready: &AtomicBool) {
    let (shared, orgs) = (&parts.shared, &parts.context.store);
    let elected = async {
        // The change limit of an org is rebuilt from the statuses of its objects: those come first.
        let all = join_all(filled).await;
        let orgs = orgs.wait_until_ready().await;
        tracing::info!(
            streaming = parts.watching.streaming,
            filled = orgs.is_ok() && all.iter().all(|ok| *ok),
            "watch stores are filled"
        );
        ready.store(true, Ordering::Relaxed);
        moments.warm.cancel();
        moments.elected.cancelled().await;
    };
    tokio::select! {
        () = elected => {}
        () = shared.shutdown.cancelled() => return,
    }
    // What webhooks have not received yet is stored too, and the process before this one has added to it until now.
    let intended = || parts.intents.iter().flat_map(|open| open()).collect();
    shared.outbox.load(parts.watching.namespace.as_deref(), intended).await;
    shared.metrics.is_leader.set(1);
    shared.working.cancel();
    for org in orgs.state() {
        shared.orgs.recheck(&(org.namespace().unwrap_or_default(), org.name_any()));
    }
    parts.wakes.iter().for_each(|wake| wake());
}

async fn run_orgs(
    parts: &Parts,
    writer: reflector::store::Writer<Guarded<GenesysOrg>>,
    triggered: mpsc::UnboundedReceiver<ObjectRef<Guarded<GenesysOrg>>>,
) {
    let (context, hook) = (parts.context.clone(), parts.context.clone());
    let events = parts.watching.objects::<GenesysOrg>(writer, move |event| match event {
        Event::Apply(object) | Event::InitApply(object) => hook.written.seen(object),
        Event::Delete(object) => {
            hook.written.forget(&object.uid().unwrap_or_default());
            let name = (object.namespace().unwrap_or_default(), object.name_any());
            hook.forget(&name, &object.uid().unwrap_or_default());
            // Its records wait: a GenesysOrg may be deleted and created anew.
            hook.shared.outbox.org_is_gone(&name);
            hook.shared.orgs.remove(&name);
        }
        Event::InitDone => hook.shared.orgs.ready.store(true, Ordering::Relaxed),
        Event::Init => {}
    });
    let triggered =
        futures::stream::unfold(triggered, |mut triggered| async move { triggered.recv().await.map(|key| (key, triggered)) });
    let stop = context.shared.shutdown.clone();
    Controller::for_stream(events, context.store.clone())
        .with_config(controller::Config::default())
        .reconcile_on(triggered)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(org::reconcile, |_, error, _| match *error {}, context)
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, kind = "GenesysOrg", "controller");
            }
        })
        .await;
}

async fn has_streaming_lists(client: &Client) -> bool {
    match client.apiserver_version().await {
        Ok(version) => version.minor.trim_end_matches('+').parse().is_ok_and(|minor: u32| minor >= STREAMING_SINCE),
        Err(error) => {
            tracing::warn!(%error, "the version of the API server is not known yet; lists are paged");
            false
        }
    }
}

/// Brings the gauges up to date, as soon as there are any.
fn refresh(gauges: Arc<Gauges>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || gauges.get().iter().for_each(|refresh| refresh()))
}

/// Name of this process in events.
fn instance() -> String {
    #[expect(clippy::disallowed_methods, reason = "the name of the pod is known from its environment only")]
    std::env::var("HOSTNAME").unwrap_or_else(|_| "assist-operator".to_owned())
}
