//! Phase 1 and the way to it: is there something to do for an object, in which lane, and may it use its org?

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use tokio::time::Instant;

use super::claims::{self, Claimant};
use super::evaluation;
use super::orgs::{Access, Granted, OrgName, Orgs};
use super::outcome::{self, REFUSAL, Verdict};
use super::reconcile::KindContext;
use super::references::Unread;
use super::schedule::{Entry, phase};
use super::stream::Guarded;
use super::texts;
use super::watch;
use super::written::{Base, Believed};
use crate::api::conditions::{self, READY, Reason};
use crate::api::{APPROVE_PLAN, ManagedStatus, RECONCILE_REQUESTED_AT};
use crate::clock;
use crate::engine::finding::Finding;
use crate::engine::gate::Refusal;
use crate::engine::kind::Texts;
use crate::engine::memory::Memory;
use crate::engine::propagation::FIRST_POLL;
use crate::genesys::Lane;
use crate::remote::Remote;

/// Manifests that are applied together arrive within this.
const APPLIED_TOGETHER: SignedDuration = SignedDuration::from_secs(5);

/// No digest is longer; an annotation may hold 256 KiB, and status keeps it.
const LONGEST_DIGEST: usize = 64;

/// Why an object is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Its spec changed, or a plan was approved.
    Change,
    /// It was never seen.
    First,
    /// A person asks.
    Requested,
    /// Something failed, waited, or was interrupted.
    Retry,
    /// Facts of its org changed.
    OrgChanged,
    /// Its interval is over.
    Check,
    /// Conversations are to be asked for.
    Poll,
}

impl Due {
    /// The lane of its calls.
    pub fn lane(self, status: &ManagedStatus) -> Lane {
        match self {
            Self::Change | Self::Requested => Lane::Change,
            Self::First => Lane::First,
            Self::Retry | Self::OrgChanged if !status.drift.is_empty() => Lane::Repair,
            Self::Retry | Self::OrgChanged => Lane::Retry,
            Self::Check => Lane::Check,
            Self::Poll => Lane::Propagation,
        }
    }
}

/// An object with everything that is known of it.
pub struct Loaded<K> {
    /// The object.
    pub object: K,
    /// Its UID.
    pub uid: String,
    /// Its generation.
    pub generation: i64,
    /// Its last status.
    pub status: ManagedStatus,
    /// What a new status is put on.
    pub base: Base<ManagedStatus>,
    /// What this process remembers of it.
    pub entry: Entry,
    /// Its org.
    pub org: OrgName,
    /// Why it is looked at.
    pub due: Due,
}

/// What is known of an object before any call.
pub enum Preflight<K: Remote> {
    /// There is nothing to do before this has passed.
    Idle(Duration),
    /// Calls are needed.
    Call(Box<Loaded<K>>, K::Desired, Granted),
    /// The verdict needs no call.
    Verdict(Box<Loaded<K>>, Owned),
}

/// A verdict without borrows.
pub enum Owned {
    /// See [`Verdict::Invalid`].
    Invalid(Vec<Finding>),
    /// See [`Verdict::Suspended`].
    Suspended(&'static str, bool),
    /// See [`Verdict::Dependency`].
    Dependency(Reason, String),
    /// See [`Verdict::Duplicate`].
    Duplicate(String),
}

impl Owned {
    /// Something that the object refers to is not there.
    fn missing(message: String) -> Self {
        Self::Dependency(Reason::DependencyNotFound, message)
    }

    /// What is waited for, where it is.
    pub fn waits_for(&self) -> Option<Reason> {
        match self {
            Self::Dependency(reason, _) => Some(*reason),
            Self::Duplicate(_) => Some(Reason::DuplicateOwner),
            Self::Invalid(_) | Self::Suspended(..) => None,
        }
    }

    /// The verdict, with how long it has been so.
    pub fn verdict(&self, waited: Duration) -> Verdict<'_> {
        match self {
            Self::Invalid(findings) => Verdict::Invalid(findings),
            Self::Suspended(by, unapplied) => Verdict::Suspended { by, unapplied: *unapplied },
            Self::Dependency(reason, message) => Verdict::Dependency { reason: *reason, message: message.clone(), waited },
            Self::Duplicate(message) => Verdict::Duplicate { message: message.clone(), waited },
        }
    }
}

/// The value of the reconcile annotation.
pub fn requested<K: ResourceExt>(object: &K) -> Option<&str> {
    object.annotations().get(RECONCILE_REQUESTED_AT).map(String::as_str)
}

/// The value of the approve annotation; at most as long as a digest could be.
pub fn approved<K: ResourceExt>(object: &K) -> Option<&str> {
    object.annotations().get(APPROVE_PLAN).map(String::as_str).filter(|value| value.len() <= LONGEST_DIGEST)
}

/// Loads an object and decides how far it gets without a call. `None`: it is gone.
pub async fn preflight<K>(context: &Arc<KindContext<K>>, key: &ObjectRef<Guarded<K>>) -> Option<Preflight<K>>
where
    K: Remote + Debug,
{
    if !context.shared.orgs.ready.load(Ordering::Relaxed) {
        return Some(Preflight::Idle(Duration::from_secs(1)));
    }
    let guarded = context.store.get(key)?;
    let object = guarded.0.as_ref().ok()?.clone();
    if object.meta().deletion_timestamp.is_some() || context.shared.shutdown.is_cancelled() {
        return None;
    }
    let loaded = load(context, object);
    let loaded = match loaded {
        Ok(loaded) => Box::new(loaded),
        Err(wait) => return Some(Preflight::Idle(wait)),
    };
    let by = match (loaded.object.managed().suspend, context.shared.orgs.is_suspended(&loaded.org)) {
        (Some(true), _) => Some("spec.suspend"),
        (_, true) => Some("spec.suspend of its GenesysOrg"),
        _ => None,
    };
    let namespace = loaded.object.namespace().unwrap_or_default();
    if let Some(by) = by {
        let unapplied = match desired(context, &loaded, &namespace).await {
            Some(Ok(desired)) => is_unapplied(&loaded, &desired),
            Some(Err(Owned::Invalid(_))) => true,
            // Where the texts are not there, the last generation that was looked at tells.
            Some(Err(_)) | None => loaded.status.observed_generation != loaded.generation,
        };
        return Some(Preflight::Verdict(loaded, Owned::Suspended(by, unapplied)));
    }
    let desired = match desired(context, &loaded, &namespace).await {
        Some(Ok(desired)) => desired,
        Some(Err(verdict)) => return Some(Preflight::Verdict(loaded, verdict)),
        None => return Some(Preflight::Idle(Duration::from_secs(5))),
    };
    let granted = match context.shared.orgs.access(&loaded.org, K::KIND, &namespace).await {
        Access::Granted(granted) => granted,
        // Its reconcile wakes this object.
        Access::Unknown => return Some(Preflight::Idle(Duration::from_secs(5))),
        Access::Missing(_) if is_new(&loaded) => return Some(Preflight::Idle(Duration::from_secs(1))),
        Access::Missing(message) => return Some(Preflight::Verdict(loaded, Owned::missing(message))),
        Access::Unusable(reason, message) => return Some(Preflight::Verdict(loaded, Owned::Dependency(reason, message))),
    };
    match duplicate(context, &loaded, &granted).await {
        Claim::Free => {}
        Claim::Unknown => return Some(Preflight::Idle(Duration::from_secs(1))),
        Claim::Taken(message) => return Some(Preflight::Verdict(loaded, Owned::Duplicate(message))),
    }
    let same_host = loaded.status.remote.as_ref().is_some_and(|remote| remote.host == granted.connection.host);
    if loaded.due == Due::OrgChanged && is_done(&loaded.status) && same_host {
        let wait = loaded.entry.next().saturating_duration_since(Instant::now());
        context.schedule.put(&loaded.uid, loaded.entry);
        return Some(Preflight::Idle(wait));
    }
    Some(Preflight::Call(loaded, desired, granted))
}

/// Phase 2, with the texts that the spec refers to. `None`: they could not be read now.
async fn desired<K: Remote>(context: &KindContext<K>, loaded: &Loaded<K>, namespace: &str) -> Option<Result<K::Desired, Owned>> {
    match texts::read(&context.shared.client, namespace, &loaded.object.sources()).await {
        Ok(texts) => Some(loaded.object.validate(&texts).map_err(Owned::Invalid)),
        Err(Unread::Missing(message)) => match loaded.object.validate(&Texts::new()) {
            // It is not the only thing that is wrong: all of them at once.
            Err(findings) if findings.len() > 1 => Some(Err(Owned::Invalid(findings))),
            _ => Some(Err(Owned::missing(message))),
        },
        Err(Unread::Unknown) => None,
    }
}

fn load<K: Remote>(context: &Arc<KindContext<K>>, object: K) -> Result<Loaded<K>, Duration> {
    let uid = object.uid().unwrap_or_default();
    let generation = object.meta().generation.unwrap_or_default();
    let Believed { status, base } = context.written.load(&object, object.status());
    let org = Orgs::name_of(&object.managed().org_ref, &object.namespace().unwrap_or_default());
    let epoch = context.shared.orgs.epoch(&org);
    let mut entry = context.schedule.get(&uid).unwrap_or_else(|| first_entry(&object, &status, &uid, generation, epoch));
    let due = due(&object, &status, &entry, generation, epoch);
    entry.org_epoch = epoch;
    match due {
        Some(due) => Ok(Loaded { object, uid, generation, status, base, entry, org, due }),
        None => {
            if entry.poll_due.is_some_and(|at| at <= Instant::now()) {
                // Not in sync: it is not asked for, and looked at again when that has changed.
                entry.poll_due = Some(Instant::now() + FIRST_POLL);
            }
            let next = entry.next();
            context.schedule.put(&uid, entry);
            Err(next.saturating_duration_since(Instant::now()))
        }
    }
}

/// What a new process assumes of an object: at rest, its check falls somewhere in the interval; a refused write waits its
/// hour again; propagation is asked for soon.
fn first_entry<K: Remote>(object: &K, status: &ManagedStatus, uid: &str, generation: i64, epoch: u64) -> Entry {
    let at_rest = status.observed_generation == generation && outcome::is_settled(status) && status.intent.is_none();
    let first_check = || {
        let evaluation = evaluation::due_in(status, object.interval(), clock::now());
        evaluation.unwrap_or_else(|| phase(uid, object.interval()))
    };
    let mut entry = Entry::new(at_rest.then(first_check), epoch);
    let ready = conditions::find(&status.conditions, READY).filter(|_| at_rest);
    entry.refusal = ready.and_then(|ready| {
        let reason = [Reason::RemoteRejected, Reason::PermissionDenied].into_iter().find(|r| r.as_str() == ready.reason)?;
        let until = clock::now().checked_add(SignedDuration::try_from(REFUSAL).ok()?).ok()?;
        Some(Refusal { digest: String::new(), reason, message: ready.message.clone(), until })
    });
    if watch::is_propagating(status) {
        entry.poll_due = Some(Instant::now() + FIRST_POLL);
    }
    entry
}

fn due<K: Remote>(object: &K, status: &ManagedStatus, entry: &Entry, generation: i64, epoch: u64) -> Option<Due> {
    let now = Instant::now();
    let asked = requested(object).is_some_and(|token| status.last_handled_reconcile_at.as_deref() != Some(token));
    let approved = approved(object).is_some_and(|digest| status.pending_plan.as_ref().is_some_and(|p| p.digest == digest));
    if asked {
        Some(Due::Requested)
    } else if status.observed_generation < 0 {
        Some(Due::First)
    } else if status.observed_generation != generation || approved {
        Some(Due::Change)
    } else if status.intent.is_some() && entry.failures == 0 && entry.observed.is_none() {
        Some(Due::Retry)
    } else if epoch != entry.org_epoch {
        Some(Due::OrgChanged)
    } else if entry.due <= now {
        Some(if entry.is_check { Due::Check } else { Due::Retry })
    } else {
        // Only what is in sync is asked for: a poll says nothing about anything else.
        let pollable =
            [Reason::Succeeded, Reason::AwaitingPropagation].map(|r| Some(r.as_str())).contains(&outcome::ready_reason(status));
        entry.poll_due.filter(|at| *at <= now && pollable).map(|_| Due::Poll)
    }
}

/// Whether an object was created a moment ago: what it refers to may be applied with it, in any order.
fn is_new<K: Remote>(loaded: &Loaded<K>) -> bool {
    let created = loaded.object.meta().creation_timestamp.as_ref().map(|t| t.0);
    let age = created.map(|at| clock::precise().duration_since(at));
    loaded.status.observed_generation < 0 && age.is_some_and(|age| (SignedDuration::ZERO..APPLIED_TOGETHER).contains(&age))
}

/// Whether the object is Ready for its generation.
fn is_done(status: &ManagedStatus) -> bool {
    conditions::find(&status.conditions, READY)
        .is_some_and(|ready| ready.status == "True" && ready.reason != Reason::Suspended.as_str())
}

fn is_unapplied<K: Remote>(loaded: &Loaded<K>, desired: &K::Desired) -> bool {
    let Some(remote) = &loaded.status.remote else { return true };
    let memory = Memory::of(Some(&loaded.status), &remote.host, loaded.object.remote_id());
    K::is_unapplied(desired, &memory)
}

/// Whether the remote object is free to be managed.
enum Claim {
    Free,
    /// The org of another claimant was not reconciled yet.
    Unknown,
    /// An older object claims it; the message for the younger one.
    Taken(String),
}

async fn duplicate<K: Remote>(context: &Arc<KindContext<K>>, loaded: &Loaded<K>, granted: &Granted) -> Claim {
    let id = loaded.object.remote_id();
    let same = |guarded: &Guarded<K>| guarded.0.as_ref().is_ok_and(|other| loaded.object.overlap(other).is_some());
    let mut claimants = Vec::new();
    for guarded in context.store.state_filter(same) {
        let Ok(other) = guarded.0.as_ref() else { continue };
        let namespace = other.namespace().unwrap_or_default();
        let org = Orgs::name_of(&other.managed().org_ref, &namespace);
        let connected = org == loaded.org
            || match context.shared.orgs.shares(&org, K::KIND, &namespace, &granted.connection.key).await {
                Some(connected) => connected,
                None => return Claim::Unknown,
            };
        if connected {
            claimants.extend(loaded.object.overlap(other).map(|claimed| claimant(other, claimed)));
        }
    }
    let own = Claimant { holds: holds(&loaded.status, id), ..claimant(&loaded.object, id.to_owned()) };
    match claims::owner(&own, &claimants) {
        Some(owner) => Claim::Taken(claims::message(loaded.object.meta(), owner)),
        None => Claim::Free,
    }
}

fn claimant<K: Remote>(object: &K, claimed: String) -> Claimant {
    let holds = object.status().is_some_and(|status| holds(status, object.remote_id()));
    Claimant { meta: object.meta().clone(), holds, claimed }
}

fn holds(status: &ManagedStatus, id: &str) -> bool {
    status.remote.as_ref().is_some_and(|remote| remote.id == id)
}

/// The time, for facts.
pub fn now() -> Timestamp {
    clock::now()
}
