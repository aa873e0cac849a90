//! `SkillPolicy` (`skpol`): the levels of one skill that follow the performance of agents.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{GoDuration, MAX_DURATION, MIN_INTERVAL, Managed, ManagedSpec, Policy};
use super::status::ManagedStatus;

/// Most agents of a policy.
pub const MAX_USERS: usize = 500;
/// Most bands of handle times.
pub const MAX_BANDS: usize = 20;
/// Time between two evaluations where `spec.evaluateEvery` is unset.
pub const DEFAULT_EVALUATE_EVERY: Duration = Duration::from_secs(24 * 3600);
/// Users that one request of analytics asks about (contract section 5).
const USERS_A_REQUEST: usize = 100;

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
    pub skill_id: String,
    /// Ids of the agents (users) in Genesys Cloud, 1 to 500, each once.
    pub user_ids: Vec<String>,
    /// How far the metrics look back, in whole days, for example `168h`, which is also the value when unset. The window ends with the
    /// last day that is over (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lookback: Option<GoDuration>,
    /// Time between two evaluations, for example `24h`, which is also the value when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluate_every: Option<GoDuration>,
    /// How a score is computed: satisfaction / scale × factor of the handle time, at most 1, rounded half-up to two decimals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scoring: Option<ScoringSpec>,
    /// A change of an agent's level by more than this raises an alert for supervisors after it was written; `0.3` when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub alert_threshold: Option<f64>,
    /// Largest change of an agent's level in one evaluation, 0.01 to 1; any change when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
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
    /// The best satisfaction that surveys can have, for example `5`, which is also the value when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csat_scale: Option<f64>,
    /// What a long handle time does to a score; the band with the highest `aboveSeconds` that is exceeded counts, and only that one. When
    /// unset: above 600 s 0.6, above 400 s 0.8. An empty list leaves handle times out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub handle_time_bands: Option<Vec<HandleTimeBand>>,
}

/// What a long handle time does to a score.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct HandleTimeBand {
    /// The average handle time in seconds that must be exceeded, 0 to 86400.
    pub above_seconds: f64,
    /// What the score is multiplied by, 0 to 10.
    pub factor: f64,
}

/// What happens to agents that lack the skill.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Missing {
    /// They get it.
    #[default]
    Assign,
    /// They are left alone.
    Skip,
}

/// What is done about a difference.
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
        let every = self.spec.evaluate_every.as_ref().and_then(GoDuration::get);
        every.unwrap_or(DEFAULT_EVALUATE_EVERY).clamp(MIN_INTERVAL, MAX_DURATION)
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
