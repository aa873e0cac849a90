//! The organisations in use: their connections, and who may use them. Two orgs with the same login URL and client share one
//! account (budget, token, pause).

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::Api;
use kube::runtime::reflector::{ObjectRef, Store};
use kube::{Client, ResourceExt};
use tokio::sync::{broadcast, mpsc};
use tokio::time::Instant;
use url::Url;

use super::change_limit::ChangeLimit;
use super::stream::Guarded;
use crate::api::conditions::Reason;
use crate::api::genesys_org::From;
use crate::api::{GenesysOrg, OrgRef};
use crate::engine::genesys_org::{AllowedEndpoints, Request, grants};
use crate::genesys::{Account, Observer};
use crate::remote::connection::Connection;

/// How long the labels of a namespace are remembered.
const LABELS_FRESH: Duration = Duration::from_secs(60);

/// Namespace and name of an org.
pub type OrgName = (String, String);

/// What is known of an org.
#[derive(Clone)]
pub enum OrgState {
    /// It can be used.
    Usable(Arc<Connection>),
    /// It cannot: reason for its objects, and message.
    Unusable(Reason, String),
}

/// An org that was reconciled.
#[derive(Clone)]
pub struct OrgEntry {
    /// UID and generation of the org that was looked at.
    pub of: Option<(String, i64)>,
    /// Its account, also while it cannot be used: it remembers refused credentials.
    pub account: Option<Arc<Account>>,
    /// The last known {API host, client id}, also while it cannot be used.
    pub key: Option<String>,
    /// Whether it can be used.
    pub state: OrgState,
    /// Version of the Secret that was read.
    pub secret_version: String,
    /// By how much the intervals of its objects are stretched; at least 1.
    pub stretch: f64,
    /// Changes whenever writes have to wait for room for audit records, or may go on.
    pub audit_pressure: u64,
    /// Its change limit.
    pub limit: Arc<ChangeLimit>,
}

/// Permission to use an org.
pub struct Granted {
    /// The connection.
    pub connection: Arc<Connection>,
    /// Whether every plan waits for approval.
    pub approval: bool,
    /// By how much intervals are stretched.
    pub stretch: f64,
    /// The change limit.
    pub limit: Arc<ChangeLimit>,
    /// `<namespace>/<name>`.
    pub label: String,
    /// Version of the Secret in use.
    pub secret_version: String,
}

/// Whether an object may use an org now.
pub enum Access {
    /// It may.
    Granted(Granted),
    /// It does not exist, or is not granted: both read the same.
    Missing(String),
    /// It exists and cannot be used.
    Unusable(Reason, String),
    /// It was not reconciled yet.
    Unknown,
}

struct Shared {
    /// One for each secret in use; they share budget and pause.
    by_secret: HashMap<String, Arc<Account>>,
    limits: BTreeMap<OrgName, u32>,
}

/// Calls a minute that drift checks of an org need.
pub type Demand = Box<dyn Fn(&OrgName) -> f64 + Send + Sync>;
/// Times of the past writes for an org.
pub type History = Box<dyn Fn(&OrgName) -> Vec<jiff::Timestamp> + Send + Sync>;
type Labels = BTreeMap<String, String>;

/// The organisations in use.
pub struct Orgs {
    store: Store<Guarded<GenesysOrg>>,
    client: Client,
    entries: Mutex<HashMap<OrgName, OrgEntry>>,
    /// The epoch of an org that its objects were told of last.
    announced: Mutex<HashMap<OrgName, u64>>,
    accounts: Mutex<HashMap<(String, String), Shared>>,
    labels: Mutex<HashMap<String, (Instant, Labels)>>,
    demands: Mutex<Vec<Demand>>,
    /// Set once the watch store of the orgs is filled: before, "not found" means nothing.
    pub ready: AtomicBool,
    /// Which custom endpoints are allowed.
    pub allowed: AllowedEndpoints,
    /// What calls report to.
    pub observer: Arc<dyn Observer>,
    /// Orgs whose facts changed: their objects look again.
    pub changed: broadcast::Sender<OrgName>,
    /// Orgs to reconcile at once.
    pub trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
}

impl Orgs {
    /// No org yet.
    pub fn new(
        client: Client,
        store: Store<Guarded<GenesysOrg>>,
        allowed: AllowedEndpoints,
        observer: Arc<dyn Observer>,
        trigger: mpsc::UnboundedSender<ObjectRef<Guarded<GenesysOrg>>>,
    ) -> Self {
        let (changed, _) = broadcast::channel(256);
        Self {
            store,
            client,
            entries: Mutex::default(),
            announced: Mutex::default(),
            accounts: Mutex::default(),
            labels: Mutex::default(),
            demands: Mutex::default(),
            ready: AtomicBool::new(false),
            allowed,
            observer,
            changed,
            trigger,
        }
    }

    /// The org as the store has it.
    pub fn live(&self, name: &OrgName) -> Option<GenesysOrg> {
        let object = self.store.get(&ObjectRef::new(&name.1).within(&name.0))?;
        object.0.as_ref().ok().cloned()
    }

    /// Whether the org is suspended, live from the store.
    pub fn is_suspended(&self, name: &OrgName) -> bool {
        self.live(name).is_some_and(|org| org.spec.suspend.unwrap_or(false))
    }

    /// What an object's org ref means.
    pub fn name_of(reference: &OrgRef, namespace: &str) -> OrgName {
        (reference.namespace.clone().unwrap_or_else(|| namespace.to_owned()), reference.name.clone())
    }

    /// Whether an object of `kind` in `namespace` may use the org.
    pub async fn access(&self, name: &OrgName, kind: &str, namespace: &str) -> Access {
        let missing = || {
            Access::Missing(format!(
                "GenesysOrg {}/{} was not found, or does not grant its use to {kind} objects of namespace {namespace}; create it, or add the namespace to its allowedNamespaces",
                name.0, name.1
            ))
        };
        let Some(org) = self.live(name) else { return missing() };
        let allowed = org.spec.allowed_namespaces.as_ref();
        let by_label = name.0 != namespace && allowed.is_some_and(|a| a.from == Some(From::Selector));
        let labels = match by_label {
            true => match self.labels_of(namespace).await {
                Ok(labels) => labels,
                // The API server does not answer: that is no refusal.
                Err(_) => return Access::Unknown,
            },
            false => None,
        };
        if !grants(&name.0, allowed, &Request { kind, namespace, labels: labels.as_ref() }) {
            return missing();
        }
        let Some(entry) = self.entry(name) else { return Access::Unknown };
        // What was looked at before the org changed says nothing about the org that grants now.
        if entry.of != Some((org.uid().unwrap_or_default(), org.metadata.generation.unwrap_or_default())) {
            return Access::Unknown;
        }
        match entry.state {
            OrgState::Unusable(reason, message) => Access::Unusable(reason, message),
            OrgState::Usable(connection) => Access::Granted(Granted {
                connection,
                approval: org.spec.approval_required(),
                stretch: entry.stretch,
                limit: entry.limit,
                label: format!("{}/{}", name.0, name.1),
                secret_version: entry.secret_version,
            }),
        }
    }

    /// The labels of a namespace; `None` where there is none, or it may not be read.
    async fn labels_of(&self, namespace: &str) -> kube::Result<Option<BTreeMap<String, String>>> {
        if let Some((_, labels)) = lock(&self.labels).get(namespace).filter(|(at, _)| at.elapsed() < LABELS_FRESH) {
            return Ok(Some(labels.clone()));
        }
        let api: Api<Namespace> = Api::all(self.client.clone());
        let labels = match api.get(namespace).await {
            Ok(found) => found.labels().clone(),
            Err(error) => {
                tracing::warn!(%error, namespace, "labels of the namespace cannot be read");
                let refused = matches!(&error, kube::Error::Api(status) if [403, 404].contains(&status.code));
                return if refused { Ok(None) } else { Err(error) };
            }
        };
        lock(&self.labels).insert(namespace.to_owned(), (Instant::now(), labels.clone()));
        Ok(Some(labels))
    }

    /// Whether an object of `namespace` that refers to `name` has its remote objects where `key` says. `None`: not known yet.
    pub async fn shares(&self, name: &OrgName, kind: &str, namespace: &str, key: &str) -> Option<bool> {
        match self.access(name, kind, namespace).await {
            Access::Granted(granted) => Some(granted.connection.key == key),
            // Known from before its spec changed: else whoever edits an org all the time would make others wait.
            Access::Unknown => match self.entry(name) {
                Some(entry) => Some(entry.key.as_deref() == Some(key)),
                // It will never be looked at.
                None if self.live(name).is_none_or(|org| org.metadata.deletion_timestamp.is_some()) => Some(false),
                None => None,
            },
            // Not usable now, and yet its objects keep what they hold.
            Access::Unusable(..) => Some(self.entry(name).is_some_and(|entry| entry.key.as_deref() == Some(key))),
            Access::Missing(_) => Some(false),
        }
    }

    /// The entry of an org.
    pub fn entry(&self, name: &OrgName) -> Option<OrgEntry> {
        lock(&self.entries).get(name).cloned()
    }

    /// Sets the entry of an org, and tells its objects where the facts changed.
    pub fn set(&self, name: &OrgName, entry: OrgEntry) {
        lock(&self.entries).insert(name.clone(), entry);
        let epoch = self.epoch(name);
        if lock(&self.announced).insert(name.clone(), epoch) != Some(epoch) {
            // Nobody listens before the kinds have started; they look at everything then.
            let _ = self.changed.send(name.clone());
        }
    }

    /// Forgets an org that is gone, and tells its objects.
    pub fn remove(&self, name: &OrgName) {
        lock(&self.entries).remove(name);
        lock(&self.announced).remove(name);
        for shared in lock(&self.accounts).values_mut() {
            shared.limits.remove(name);
        }
        let _ = self.changed.send(name.clone());
    }

    /// A number that changes with every fact of an org that matters to its objects.
    pub fn epoch(&self, name: &OrgName) -> u64 {
        let Some(org) = self.live(name) else { return 0 };
        let mut hasher = DefaultHasher::new();
        (org.uid(), org.metadata.generation).hash(&mut hasher);
        if let Some(entry) = self.entry(name) {
            (&entry.secret_version, entry.audit_pressure).hash(&mut hasher);
            match entry.state {
                OrgState::Usable(connection) => connection.key.hash(&mut hasher),
                // Not the message: the same failure must not wake every object again.
                OrgState::Unusable(reason, _) => reason.hash(&mut hasher),
            }
        }
        hasher.finish()
    }

    /// The account of {login URL, client id} with this secret, named by its digest.
    pub fn account(&self, login: &Url, client_id: &str, secret: &str, limit: u32) -> Arc<Account> {
        let mut accounts = lock(&self.accounts);
        let shared = accounts
            .entry((login.to_string(), client_id.to_owned()))
            .or_insert_with(|| Shared { by_secret: HashMap::new(), limits: BTreeMap::new() });
        if let Some(account) = shared.by_secret.get(secret) {
            return account.clone();
        }
        let other = shared.by_secret.values().next();
        let account = other.map_or_else(|| Account::new(login.clone(), client_id, limit), |other| other.with_other_secret());
        shared.by_secret.insert(secret.to_owned(), account.clone());
        account
    }

    /// An org has proved that it knows the secret of an account: from now on its limit counts, and the smallest is in force.
    pub fn join(&self, account: &Account, org: &OrgName, limit: u32) {
        let mut accounts = lock(&self.accounts);
        for shared in accounts.values_mut() {
            if shared.by_secret.values().any(|a| a.shares_budget(account)) {
                shared.limits.insert(org.clone(), limit);
            } else {
                shared.limits.remove(org);
            }
            // A secret that nobody uses any more goes, with its token.
            shared.by_secret.retain(|_, a| Arc::strong_count(a) > 1);
        }
        accounts.retain(|_, shared| !shared.by_secret.is_empty());
        for shared in accounts.values() {
            let (smallest, any) = (shared.limits.values().min(), shared.by_secret.values().next());
            if let Some((smallest, any)) = smallest.zip(any).filter(|(smallest, any)| any.budget().limit() != **smallest) {
                any.budget().set_limit(*smallest);
            }
        }
    }

    /// The orgs that share an account with this one, itself included.
    fn siblings(&self, name: &OrgName) -> Vec<OrgName> {
        let accounts = lock(&self.accounts);
        accounts
            .values()
            .find(|s| s.limits.contains_key(name))
            .map_or_else(|| vec![name.clone()], |s| s.limits.keys().cloned().collect())
    }

    /// A kind says how many calls a minute its drift checks of an org need.
    pub fn add_demand(&self, demand: Demand) {
        lock(&self.demands).push(demand);
    }

    /// Calls a minute that drift checks on the account of this org need.
    pub fn demand(&self, name: &OrgName) -> f64 {
        let orgs = self.siblings(name);
        lock(&self.demands).iter().map(|demand| orgs.iter().map(demand).sum::<f64>()).sum()
    }

    /// Budget use by org, for metrics.
    pub fn budgets(&self) -> Vec<(String, u32, u32)> {
        let accounts = lock(&self.accounts);
        let row = |org: &OrgName, account: &Account| {
            let budget = account.budget();
            (format!("{}/{}", org.0, org.1), budget.used(), budget.limit())
        };
        let rows = |s: &Shared| s.by_secret.values().next().map(|a| s.limits.keys().map(|org| row(org, a)).collect::<Vec<_>>());
        accounts.values().filter_map(rows).flatten().collect()
    }

    /// The org looks at its credentials at once: a call was refused for them.
    pub fn recheck(&self, name: &OrgName) {
        // The receiver lives as long as the org controller; without it the process is stopping.
        let _ = self.trigger.send(ObjectRef::new(&name.1).within(&name.0));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
