//! Starts the controller of one kind: its watch, its store, and the hooks between them.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use kube::runtime::reflector::{self, ObjectRef, Store};
use kube::runtime::watcher::Event;
use kube::runtime::{Controller, controller};
use kube::{Resource, ResourceExt};
use tokio::sync::{broadcast, mpsc};

use super::gauges::{self, Refresh};
use super::gone;
use super::load::requested;
use super::orgs::{Demand, History, OrgName, Orgs};
use super::pairs;
use super::reconcile::{KindContext, Reconcilable, Shared, audit_ids, reconcile};
use super::schedule::Schedule;
use super::stream::{Guarded, Watching};
use super::tickets::Tickets;
use super::written::Written;
use crate::api::skill_policy::MAX_USERS as MAX_WRITES;
use crate::api::{Managed, ManagedStatus};

/// A started kind.
pub struct Started {
    /// Runs until shutdown.
    pub run: BoxFuture<'static, ()>,
    /// Resolves once the watch store is filled.
    pub filled: BoxFuture<'static, bool>,
    /// Brings its gauges up to date.
    pub refresh: Refresh,
    /// Calls a minute that drift checks of an org need.
    pub demand: Demand,
    /// Times of the past writes for an org.
    pub history: History,
    /// The audit ids of all open intents.
    pub intents: Box<dyn Fn() -> Vec<String> + Send + Sync>,
    /// Looks at all objects.
    pub wake: Box<dyn Fn() + Send + Sync>,
}

/// Starts the controller of a kind.
pub fn start<K: Reconcilable>(shared: &Arc<Shared>, watching: &Watching) -> Started {
    let (store, writer) = reflector::store::<Guarded<K>>();
    let (wake, woken) = mpsc::unbounded_channel();
    let context = Arc::new(KindContext {
        shared: shared.clone(),
        store: store.clone(),
        schedule: Schedule::default(),
        written: Written::default(),
        tickets: Tickets::default(),
        under_way: gone::UnderWay::default(),
    });
    let (hook, waker) = (context.clone(), wake.clone());
    let events = watching.objects::<K>(writer, move |event| on_event(&hook, event, &waker));
    let of_orgs = objects_of_changed_orgs::<K>(shared.orgs.changed.subscribe(), store.clone());
    let woken = stream::unfold(woken, |mut woken| async move { woken.recv().await.map(|key| (key, woken)) });
    let stop = shared.shutdown.clone();
    let run = Controller::for_stream(events, store.clone())
        .with_config(controller::Config::default())
        .reconcile_on(of_orgs)
        .reconcile_on(woken)
        .graceful_shutdown_on(async move { stop.cancelled().await })
        .run(reconcile::<K>, |_, error, _| match *error {}, context.clone())
        .for_each(|result| async move {
            if let Err(error) = result {
                tracing::debug!(%error, kind = K::KIND, "controller");
            }
        })
        .boxed();
    let filled = {
        let store = store.clone();
        async move { store.wait_until_ready().await.is_ok() }.boxed()
    };
    shared.pairs.add(pairs::of_kind(store.clone()));
    let (demand, history, intents) = (demand(store.clone()), history(store.clone()), intents(store.clone()));
    let wake = Box::new(move || {
        // Nobody receives only when the controller is stopping.
        store.state().iter().for_each(|object| drop(wake.send(ObjectRef::from_obj(&**object))));
    });
    Started { run, filled, refresh: gauges::of_kind(context), demand, history, intents, wake }
}

/// What every watch event means besides a reconcile.
fn on_event<K: Reconcilable>(
    context: &Arc<KindContext<K>>,
    event: &Event<Guarded<K>>,
    wake: &mpsc::UnboundedSender<ObjectRef<Guarded<K>>>,
) {
    match event {
        Event::Apply(object) | Event::InitApply(object) => {
            context.written.seen(object);
            if let (Some(uid), Some(generation)) = (object.uid(), object.meta().generation) {
                let handled = |o: &K| o.status().and_then(|s| s.last_handled_reconcile_at.clone());
                let asked =
                    object.0.as_ref().is_ok_and(|o| requested(o).is_some_and(|token| handled(o).as_deref() != Some(token)));
                context.tickets.changed(&uid, generation, asked);
            }
        }
        Event::Delete(object) => deleted(context, object, wake),
        Event::Init | Event::InitDone => {}
    }
}

/// What remains to be done for an object that is gone.
fn deleted<K: Reconcilable>(
    context: &Arc<KindContext<K>>,
    object: &Guarded<K>,
    wake: &mpsc::UnboundedSender<ObjectRef<Guarded<K>>>,
) {
    let uid = object.uid().unwrap_or_default();
    let recorded = context.schedule.get(&uid).map(|entry| entry.recorded).unwrap_or_default();
    context.schedule.forget(&uid);
    let Ok(gone) = &object.0 else { return };
    let status = context.written.load(gone, gone.status()).status;
    context.written.forget(&uid);
    let org = Orgs::name_of(&gone.managed().org_ref, &gone.namespace().unwrap_or_default());
    if let Some(entry) = context.shared.orgs.entry(&org) {
        entry.limit.forget(&uid);
    }
    // A follower leaves that to the leader.
    if !context.under_way.is(&uid) && context.shared.is_working() {
        let (shared, object) = (context.shared.clone(), gone.clone());
        tokio::spawn(async move { gone::tell(&shared, &object, &status, &recorded).await });
    }
    // Younger objects that claim the same remote object go on.
    let same = |other: &Guarded<K>| other.0.as_ref().is_ok_and(|other| gone.overlap(other).is_some());
    for other in context.store.state_filter(same) {
        if let Some(mut entry) = other.uid().and_then(|uid| context.schedule.get(&uid)) {
            entry.look(tokio::time::Instant::now());
            context.schedule.put(&other.uid().unwrap_or_default(), entry);
        }
        // Nobody receives only when the controller is stopping.
        let _ = wake.send(ObjectRef::from_obj(&*other));
    }
}

/// The objects of orgs whose facts changed. A receiver that fell behind looks at everything.
fn objects_of_changed_orgs<K: Reconcilable>(
    changed: broadcast::Receiver<OrgName>,
    store: Store<Guarded<K>>,
) -> impl futures::Stream<Item = ObjectRef<Guarded<K>>> + Send {
    stream::unfold((changed, store), |(mut changed, store)| async move {
        let org = match changed.recv().await {
            Ok(org) => Some(org),
            Err(broadcast::error::RecvError::Lagged(_)) => None,
            Err(broadcast::error::RecvError::Closed) => return None,
        };
        let refs = of_org(&store, org.as_ref()).iter().map(|o| ObjectRef::from_obj(&**o)).collect::<Vec<_>>();
        Some((stream::iter(refs), (changed, store)))
    })
    .flatten()
}

/// The objects that refer to an org, or all of them.
fn of_org<K: Reconcilable>(store: &Store<Guarded<K>>, org: Option<&OrgName>) -> Vec<Arc<Guarded<K>>> {
    store.state_filter(|guarded| {
        guarded.0.as_ref().is_ok_and(|object| {
            let name = Orgs::name_of(&object.managed().org_ref, &object.namespace().unwrap_or_default());
            org.is_none_or(|org| *org == name)
        })
    })
}

fn demand<K: Reconcilable>(store: Store<Guarded<K>>) -> Demand {
    Box::new(move |org| {
        let checks = |o: &Arc<Guarded<K>>| match &o.0 {
            Ok(object) if !object.managed().suspend.unwrap_or(false) => {
                let reads = f64::from(u32::try_from(object.reads_a_check()).unwrap_or(u32::MAX));
                reads * 60.0 / object.interval().max(Duration::from_secs(1)).as_secs_f64()
            }
            _ => 0.0,
        };
        of_org(&store, Some(org)).iter().map(checks).sum()
    })
}

fn history<K: Reconcilable>(store: Store<Guarded<K>>) -> History {
    Box::new(move |org| {
        let objects = of_org(&store, Some(org));
        let times = |o: &Arc<Guarded<K>>| match &o.0 {
            Ok(object) => object.status().into_iter().flat_map(attempts).collect::<Vec<_>>(),
            Err(_) => Vec::new(),
        };
        objects.iter().flat_map(times).collect()
    })
}

/// The time of each write that status remembers. Those of an open intent count too: they may have been sent.
fn attempts(status: &ManagedStatus) -> Vec<jiff::Timestamp> {
    let count = |writes: i32| usize::try_from(writes).unwrap_or(1).min(MAX_WRITES);
    let past = status.history.iter().map(|entry| (entry.time.0, count(entry.writes.unwrap_or(1))));
    let told = |digest: &str| status.history.iter().filter(|e| e.digest == digest).map(|e| count(e.writes.unwrap_or(1))).sum();
    let open = status.intent.iter().map(|i| (i.time.0, i.steps.len().min(MAX_WRITES).saturating_sub(told(&i.digest))));
    past.chain(open).flat_map(|(time, writes)| std::iter::repeat_n(time, writes)).collect()
}

fn intents<K: Reconcilable>(store: Store<Guarded<K>>) -> Box<dyn Fn() -> Vec<String> + Send + Sync> {
    Box::new(move || {
        let open = |o: &Arc<Guarded<K>>| o.0.as_ref().ok().and_then(Managed::status).map(audit_ids).unwrap_or_default();
        store.state().iter().flat_map(open).collect()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::{AgentAssistConfig, PromptTemplate, SkillPolicy, SkillProfile};

    fn size_of_future<A, B, F: Future>(_: fn(A, B) -> F) -> usize {
        size_of::<F>()
    }

    #[test]
    fn a_reconcile_that_waits_for_its_lane_is_small() {
        let sizes = [
            size_of_future(reconcile::<AgentAssistConfig>),
            size_of_future(reconcile::<PromptTemplate>),
            size_of_future(reconcile::<SkillProfile>),
            size_of_future(reconcile::<SkillPolicy>),
        ];
        assert!(sizes.iter().all(|size| *size <= 2048), "thousands may wait at once: {sizes:?}");
    }
}
