//! Prometheus metrics. Labels are bounded: kinds, reasons, lanes, endpoints, statuses, and orgs by name.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::Hash;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

use crate::genesys::Observer;

/// Labels of a reconcile.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByReason {
    /// Kind of the object.
    pub kind: &'static str,
    /// Reason of `Ready` after it.
    pub reason: String,
}

/// Labels of a kind.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByKind {
    /// Kind of the object.
    pub kind: &'static str,
}

/// Labels of objects in the same state.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByState {
    /// Their kind.
    pub kind: &'static str,
    /// Status of `Ready`.
    pub ready: &'static str,
    /// Its reason.
    pub reason: &'static str,
}

/// Labels of a condition of an org.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByCondition {
    /// `<namespace>/<name>` of the org.
    pub org: String,
    /// Type of the condition.
    pub r#type: String,
}

/// Labels of a write.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByOutcome {
    /// Action of the audit record.
    pub action: String,
    /// Status of the audit record.
    pub status: &'static str,
}

/// Labels of a call.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByCall {
    /// Short name of the call in the contract.
    pub endpoint: &'static str,
    /// HTTP status, or what happened instead.
    pub status: &'static str,
}

/// Labels of a lane.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByLane {
    /// Kind of the object.
    pub kind: &'static str,
    /// Lane.
    pub lane: &'static str,
}

/// Labels of an org.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByOrg {
    /// `<namespace>/<name>`.
    pub org: String,
}

/// Labels of a delivery.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
pub struct ByDelivery {
    /// `<namespace>/<name>` of the org.
    pub org: String,
    /// `delivered` or `failed`.
    pub result: &'static str,
}

type FloatGauge = Gauge<f64, AtomicU64>;

/// Gauges of label sets that come and go.
#[derive(Debug)]
pub struct Changing<L> {
    gauges: Family<L, Gauge>,
    shown: Mutex<HashSet<L>>,
}

impl<L: Clone + Hash + Eq> Default for Changing<L> {
    fn default() -> Self {
        Self { gauges: Family::default(), shown: Mutex::default() }
    }
}

impl<L: Clone + Hash + Eq> Changing<L> {
    /// Shows these series of a part, and no others of it. Those that stay are never away, whoever reads meanwhile.
    pub fn set(&self, part: impl Fn(&L) -> bool, values: HashMap<L, i64>) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for over in shown.extract_if(|labels| part(labels) && !values.contains_key(labels)) {
            self.gauges.remove(&over);
        }
        for (labels, value) in values {
            self.gauges.get_or_create(&labels).set(value);
            shown.insert(labels);
        }
    }
}

/// All metrics.
pub struct Metrics {
    registry: Registry,
    /// Reconciles that did something.
    pub reconciles: Family<ByReason, Counter>,
    /// Plans that had something to write.
    pub plans: Family<ByKind, Counter>,
    /// Reported or found differences.
    pub drift: Family<ByKind, Counter>,
    /// Attempted writes.
    pub writes: Family<ByOutcome, Counter>,
    /// Lost guards.
    pub conflicts: Family<ByKind, Counter>,
    /// Panics that were caught.
    pub panics: Family<ByKind, Counter>,
    /// Status patches.
    pub status_patches: Family<ByKind, Counter>,
    /// 1 where this process works, 0 where another replica does.
    pub is_leader: Gauge,
    /// Objects by state.
    pub objects: Changing<ByState>,
    /// Objects whose spec suspends them.
    pub suspended: Family<ByKind, Gauge>,
    /// Conditions of orgs: 1 True, 0 False, -1 Unknown.
    pub org_condition: Changing<ByCondition>,
    /// Objects that wait for a lane.
    pub waiting: Family<ByKind, Gauge>,
    /// Longest time since an object was observed.
    pub since_observed: Family<ByKind, FloatGauge>,
    /// Calls used in the last 60 s.
    pub budget_used: Family<ByOrg, Gauge>,
    /// Calls allowed in 60 s.
    pub budget_limit: Family<ByOrg, Gauge>,
    /// Audit records that wait for delivery.
    pub audit_records: Family<ByOrg, Gauge>,
    /// Age of the oldest of them.
    pub audit_oldest: Family<ByOrg, FloatGauge>,
    /// Posts to webhooks.
    pub audit_deliveries: Family<ByDelivery, Counter>,
    queue: Family<ByLane, Histogram, fn() -> Histogram>,
    calls: Calls,
}

/// Metrics that the client layer feeds.
#[derive(Clone)]
struct Calls {
    count: Family<ByCall, Counter>,
    seconds: Family<ByCall, Histogram, fn() -> Histogram>,
}

impl Default for Calls {
    fn default() -> Self {
        Self {
            count: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 2.0, 12))),
        }
    }
}

impl Observer for Calls {
    fn call(&self, endpoint: &'static str, status: &'static str, latency: Duration) {
        let labels = ByCall { endpoint, status };
        self.count.get_or_create(&labels).inc();
        self.seconds.get_or_create(&labels).observe(latency.as_secs_f64());
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, registered.
    pub fn new() -> Self {
        let mut metrics = Self {
            queue: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.01, 3.0, 10))),
            registry: Registry::default(),
            reconciles: Family::default(),
            plans: Family::default(),
            drift: Family::default(),
            writes: Family::default(),
            conflicts: Family::default(),
            panics: Family::default(),
            status_patches: Family::default(),
            is_leader: Gauge::default(),
            objects: Changing::default(),
            suspended: Family::default(),
            org_condition: Changing::default(),
            waiting: Family::default(),
            since_observed: Family::default(),
            budget_used: Family::default(),
            budget_limit: Family::default(),
            audit_records: Family::default(),
            audit_oldest: Family::default(),
            audit_deliveries: Family::default(),
            calls: Calls::default(),
        };
        let mut registry = Registry::with_prefix("assist_operator");
        registry.register("reconciles", "Reconciles that did something, by kind and reason of Ready", metrics.reconciles.clone());
        registry.register("plans", "Plans with something to write", metrics.plans.clone());
        registry.register("drift", "Declared fields found different and not written", metrics.drift.clone());
        registry.register("writes", "Attempted remote writes, by action and audit status", metrics.writes.clone());
        registry.register("conflicts", "Guards lost to another writer", metrics.conflicts.clone());
        registry.register("panics", "Panics caught in a reconcile", metrics.panics.clone());
        registry.register("status_patches", "Patches of the status subresource", metrics.status_patches.clone());
        registry.register("is_leader", "1 where this process works, 0 where another replica does", metrics.is_leader.clone());
        metrics.register_gauges(&mut registry);
        registry.register("audit_deliveries", "Posts to the webhook of an org, by result", metrics.audit_deliveries.clone());
        registry.register_with_unit("queue_age", "Time that an object waited for its lane", Unit::Seconds, metrics.queue.clone());
        registry.register("remote_calls", "Requests to Genesys Cloud, by call and status", metrics.calls.count.clone());
        registry.register_with_unit(
            "remote_call_duration",
            "Duration of requests to Genesys Cloud",
            Unit::Seconds,
            metrics.calls.seconds.clone(),
        );
        metrics.registry = registry;
        metrics
    }

    /// What `gauges` brings up to date.
    fn register_gauges(&self, registry: &mut Registry) {
        let objects = self.objects.gauges.clone();
        registry.register("objects", "Objects in the watch store, by status and reason of Ready", objects);
        registry.register("suspended_objects", "Objects whose spec suspends them", self.suspended.clone());
        let conditions = self.org_condition.gauges.clone();
        registry.register("org_condition", "Conditions of orgs: 1 True, 0 False, -1 Unknown", conditions);
        registry.register("waiting_objects", "Objects that wait for a lane of the call budget", self.waiting.clone());
        registry.register_with_unit(
            "since_observed",
            "Longest time since an object was last observed",
            Unit::Seconds,
            self.since_observed.clone(),
        );
        registry.register("budget_used_calls", "Calls of the last 60 seconds", self.budget_used.clone());
        registry.register("budget_limit_calls", "Calls allowed in any 60 seconds", self.budget_limit.clone());
        registry.register("audit_records", "Audit records that wait for the webhook of their org", self.audit_records.clone());
        registry.register_with_unit(
            "audit_oldest",
            "Age of the oldest audit record that waits",
            Unit::Seconds,
            self.audit_oldest.clone(),
        );
    }

    /// What the client layer reports to.
    pub fn observer(&self) -> Arc<dyn Observer> {
        Arc::new(self.calls.clone())
    }

    /// Shows counters of rare events before the first one: a series that begins with it is no rise.
    pub fn begin_with_zero(&self, kind: &ByKind) {
        self.panics.get_or_create(kind).inc_by(0);
        self.conflicts.get_or_create(kind).inc_by(0);
    }

    /// A reconcile ended with this reason of `Ready`.
    pub fn reconciled(&self, kind: &'static str, reason: Option<&str>) {
        self.reconciles.get_or_create(&ByReason { kind, reason: reason.unwrap_or_default().to_owned() }).inc();
    }

    /// An object got its lane.
    pub fn queued(&self, kind: &'static str, lane: &'static str, wait: Duration) {
        self.queue.get_or_create(&ByLane { kind, lane }).observe(wait.as_secs_f64());
    }

    /// The text format.
    pub fn render(&self) -> String {
        let mut text = String::new();
        if encode(&mut text, &self.registry).is_err() {
            // Writing to a string cannot fail; an empty answer would hide it if it did.
            let _ = write!(text, "# metrics could not be encoded\n# EOF\n");
        }
        text
    }
}
