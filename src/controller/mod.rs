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
mod gone;
pub mod kind;
mod learned;
mod ledger;
mod load;
pub mod metrics;
pub mod org;
mod org_audit;
mod org_status;
pub mod orgs;
mod outbox;
pub mod outcome;
mod pairs;
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

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::StreamExt;
use futures::future::join_all;
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, controller};
use kube::{Client, ResourceExt};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::kind::Started;
use self::metrics::{ByOrg, Metrics};
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

/// Runs until `shutdown`: no new write starts then, and the ones under way are finished and recorded.
pub async fn run(client: Client, options: Options, shutdown: CancellationToken) -> anyhow::Result<()> {
    let listener = probes::bind(options.listen).await?;
    let streaming = has_streaming_lists(&client).await;
    let watching = Watching { client: client.clone(), namespace: options.namespace.clone(), streaming };
    let metrics = Arc::new(Metrics::new());
    let (org_store, org_writer) = reflector::store::<Guarded<GenesysOrg>>();
    let (trigger, triggered) = mpsc::unbounded_channel();
    let shared = Arc::new(Shared {
        outbox: Outbox::new(client.clone(), metrics.clone(), trigger.clone(), shutdown.clone()),
        orgs: Orgs::new(client.clone(), org_store.clone(), options.allowed, metrics.observer(), trigger),
        states: States::default(),
        pairs: pairs::Pairs::default(),
        events: events::Events::new(client.clone(), instance()),
        metrics: metrics.clone(),
        shutdown: shutdown.clone(),
        client,
    });
    let kinds: Vec<Started> = KINDS.iter().map(|kind| (kind.start)(&shared, &watching)).collect();
    let (mut runs, mut filled, mut refreshes, mut histories) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut intents = Vec::new();
    for kind in kinds {
        runs.push(kind.run);
        filled.push(kind.filled);
        refreshes.push(kind.refresh);
        histories.push(kind.history);
        intents.push(kind.intents);
        shared.orgs.add_demand(kind.demand);
    }
    let context = Arc::new(OrgContext {
        shared: shared.clone(),
        store: org_store.clone(),
        written: report::Written::default(),
        history: Box::new(move |org| histories.iter().flat_map(|history| history(org)).collect()),
        pauses: std::sync::Mutex::default(),
        waiting: std::sync::Mutex::default(),
    });
    let ready = Arc::new(AtomicBool::new(false));
    let refresh = gauges(shared.clone(), refreshes);
    let server = probes::serve(listener, Probes { metrics, ready: ready.clone(), refresh }, shutdown.clone());
    let orgs = async {
        // The change limit of an org is rebuilt from the statuses of its objects: those come first.
        let all = join_all(filled).await;
        // And so is what its webhook has not received yet.
        let intended: HashSet<String> = intents.iter().flat_map(|open| open()).collect();
        context.shared.outbox.load(watching.namespace.as_deref(), &intended).await;
        tracing::info!(streaming, filled = all.iter().all(|ok| *ok), "watch stores are filled");
        run_orgs(&watching, context, org_writer, triggered, &ready).await;
    };
    let (served, (), _) = tokio::join!(server, orgs, join_all(runs));
    shared.outbox.finish().await;
    tracing::info!("stopped");
    Ok(served?)
}

async fn run_orgs(
    watching: &Watching,
    context: Arc<OrgContext>,
    writer: reflector::store::Writer<Guarded<GenesysOrg>>,
    triggered: mpsc::UnboundedReceiver<ObjectRef<Guarded<GenesysOrg>>>,
    ready: &Arc<AtomicBool>,
) {
    let (hook, ready) = (context.clone(), ready.clone());
    let events = watching.objects::<GenesysOrg>(writer, move |event| match event {
        Event::Apply(object) | Event::InitApply(object) => hook.written.seen(object),
        Event::Delete(object) => {
            hook.written.forget(&object.uid().unwrap_or_default());
            let name = (object.namespace().unwrap_or_default(), object.name_any());
            hook.forget(&name, &object.uid().unwrap_or_default());
            // Its records wait: a GenesysOrg may be deleted and created anew.
            hook.shared.outbox.org_is_gone(&name);
            hook.shared.orgs.remove(&name);
        }
        Event::InitDone => {
            hook.shared.orgs.ready.store(true, Ordering::Relaxed);
            ready.store(true, Ordering::Relaxed);
        }
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

fn gauges(shared: Arc<Shared>, refreshes: Vec<Box<dyn Fn() + Send + Sync>>) -> Arc<dyn Fn() + Send + Sync> {
    Arc::new(move || {
        refreshes.iter().for_each(|refresh| refresh());
        for (org, used, limit) in shared.orgs.budgets() {
            let labels = ByOrg { org };
            shared.metrics.budget_used.get_or_create(&labels).set(used.into());
            shared.metrics.budget_limit.get_or_create(&labels).set(limit.into());
        }
        for (org, records, oldest) in shared.outbox.backlog() {
            let labels = ByOrg { org };
            shared.metrics.audit_records.get_or_create(&labels).set(i64::try_from(records).unwrap_or(i64::MAX));
            shared.metrics.audit_oldest.get_or_create(&labels).set(oldest.as_secs_f64());
        }
    })
}

/// Name of this process in events.
fn instance() -> String {
    #[expect(clippy::disallowed_methods, reason = "the name of the pod is known from its environment only")]
    std::env::var("HOSTNAME").unwrap_or_else(|_| "assist-operator".to_owned())
}
