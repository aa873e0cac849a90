//! `SkillPolicy` (`skpol`): the levels of one skill that follow the performance of agents.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

mod rules;

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{GoDuration, Managed, ManagedSpec, Policy, interval};
use super::durations;
use super::status::ManagedStatus;

/// Most agents of a policy.
pub const MAX_USERS: usize = 500;
/// Most bands of handle times.
pub const MAX_BANDS: usize = 20;
/// Time between two evaluations where `spec.evaluateEvery` is unset.
pub const DEFAULT_EVALUATE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Users that one request of analytics asks about (contract section 5).
pub const USERS_A_REQUEST: usize = 100;

/// Desired state of the levels of one skill.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "SkillPolicy",
    plural = "skillpolicies",
    shortname = "skpol",
    category = "genesys",
    namespaced,
    status = "ManagedStatus",
    doc = "Levels of one skill that follow performance: handle time and satisfaction from analytics make a score, which is proposed or enforced as the proficiency of each agent. `status.agents` explains every one of them. A level that a SkillProfile declares is never touched.",
    selectable = ".spec.orgRef.name",
    selectable = ".spec.skillId",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.conditions[?(@.type==\"InSync\")].status"),
    printcolumn(name = "Skill", type_ = "string", json_path = ".spec.skillId"),
    printcolumn(name = "Mode", type_ = "string", json_path = ".spec.mode"),
    printcolumn(name = "Evaluated", type_ = "date", json_path = ".status.evaluation.time"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.orgRef.name", priority = 1),
    printcolumn(name = "LastChange", type_ = "date", json_path = ".status.history[0].time", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SkillPolicySpec {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub managed: ManagedSpec,
    /// Id of the skill in Genesys Cloud, for example `billing`. Immutable: create another object instead; deleting this one leaves
    /// Genesys as it is.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self == oldSelf", "skillId is immutable: create a new object and delete this one; deletion leaves Genesys as it is"))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')", "skillId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit"))]
    pub skill_id: String,
    /// Ids of the agents (users) in Genesys Cloud, 1 to 500, each once, for example `4f6c5b1e-9d3a-4c51-8a53-1f2f6f0f1c11`. For
    /// more agents create another object with the same skill.
    #[schemars(length(max = 1000), inner(length(max = 256)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = ("self.size() >= 1 && self.size() <= 500", "userIds must have 1 to 500 entries: divide more agents among several objects"))]
    #[x_kube(validation = rules::user_ids())]
    pub user_ids: Vec<String>,
    /// How far the metrics look back, in whole days, for example `168h`, which is also the value when unset; at least `24h`, at most
    /// `8760h`. The window ends with the last day that is over (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = durations::form("lookback must be a duration of whole days such as 24h, 168h or 720h"))]
    #[x_kube(validation = durations::range("24h", "lookback must be at least 24h and at most 8760h, which is a year"))]
    #[x_kube(validation = durations::whole_days("lookback must be whole days, since metrics come by the day: use a multiple of 24h, such as 168h"))]
    pub lookback: Option<GoDuration>,
    /// Time between two evaluations, for example `24h`, which is also the value when unset; at least `30s`, at most `8760h`. The
    /// metrics change once a day only; levels that others changed are found at each evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = durations::form("evaluateEvery must be a duration such as 90m, 12h or 24h"))]
    #[x_kube(validation = durations::range("30s", "evaluateEvery must be at least 30s, since the API allows few calls a minute, and at most 8760h"))]
    pub evaluate_every: Option<GoDuration>,
    /// How a score is computed: satisfaction / scale × factor of the handle time, at most 1, rounded half-up to two decimals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<ScoringSpec>,
    /// A change of an agent's level by more than this, 0 to 1, raises an alert for supervisors after it was written; `0.3` when
    /// unset. With `0` every change does, with `1` none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0.0 && self <= 1.0", "alertThreshold must be 0 to 1, for example 0.3"))]
    pub alert_threshold: Option<f64>,
    /// Largest change of an agent's level in one evaluation, 0.01 to 1, for example `0.1`; any change when unset. Levels are equal
    /// when they agree in two decimals, so with a smaller step one could stand still for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 0.01 && self <= 1.0", "maxStep must be 0.01 to 1: levels are compared with two decimals, and with a smaller step one could stand still for ever"))]
    pub max_step: Option<f64>,
    /// What happens to agents that lack the skill: `Assign` (when unset) gives it to them, `Skip` leaves them alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// `Propose` (when unset) only shows in status what would change; `Enforce` writes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<Mode>,
}

/// How a score is computed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScoringSpec {
    /// The best satisfaction that surveys can have, above 0 and at most 1000, for example `5`, which is also the value when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self > 0.0 && self <= 1000.0", "scoring.csatScale must be above 0 and at most 1000: set the best satisfaction that surveys can have, for example 5"))]
    pub csat_scale: Option<f64>,
    /// What a long handle time does to a score, at most 20 bands in any order; the one with the highest `aboveSeconds` that is exceeded
    /// counts, and only that one. When unset: above 600 s 0.6, above 400 s 0.8. An empty list leaves handle times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = ("self.size() <= 20", "scoring.handleTimeBands must have at most 20 entries: join some"))]
    #[x_kube(validation = ("self.all(b, self.exists_one(o, o.aboveSeconds == b.aboveSeconds))", "scoring.handleTimeBands must have each aboveSeconds once: remove or change one of two that are equal"))]
    pub handle_time_bands: Option<Vec<HandleTimeBand>>,
}

/// What a long handle time does to a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandleTimeBand {
    /// The average handle time in seconds that must be exceeded, 0 to 86400 (a day), each once, for example `600`.
    #[x_kube(validation = ("self >= 0.0 && self <= 86400.0", "aboveSeconds must be 0 to 86400: seconds of a handle time, at most a day"))]
    pub above_seconds: f64,
    /// What the score is multiplied by, 0 to 10, for example `0.6`. A score is at most 1 also where the factor is above it.
    #[x_kube(validation = ("self >= 0.0 && self <= 10.0", "factor must be 0 to 10, for example 0.6"))]
    pub factor: f64,
}

// The text of the type is what `kubectl explain` prints of the field: of an enum whose values are described, the schema keeps
// that one only.

/// What happens to agents that lack the skill: `Assign` (when unset) gives it to them, `Skip` leaves them alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Missing {
    /// They get it.
    #[default]
    Assign,
    /// They are left alone.
    Skip,
}

/// `Propose` (when unset) only shows in status what would change; `Enforce` writes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// It is shown.
    #[default]
    Propose,
    /// It is written.
    Enforce,
}

impl Managed for SkillPolicy {
    const PARTS: &'static [&'static str] = &["evaluation", "agents", "alerts"];

    fn managed(&self) -> &ManagedSpec {
        &self.spec.managed
    }

    fn status(&self) -> Option<&ManagedStatus> {
        self.status.as_ref()
    }

    fn interval(&self) -> Duration {
        interval(self.spec.evaluate_every.as_ref(), DEFAULT_EVALUATE_EVERY)
    }

    fn policy(&self) -> Policy {
        match self.spec.mode.unwrap_or_default() {
            Mode::Propose => Policy::Observe,
            Mode::Enforce => Policy::Enforce,
        }
    }

    fn remote_id(&self) -> &str {
        &self.spec.skill_id
    }

    fn reads_a_check(&self) -> usize {
        let users = self.spec.user_ids.len();
        users + users.div_ceil(USERS_A_REQUEST)
    }
}
