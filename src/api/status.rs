//! The status that every managed kind has. Nothing here changes while no fact changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

mod field_digest;

pub use field_digest::FieldDigest;

/// Most drift items kept in status.
pub const MAX_DRIFT: usize = 20;
/// Most history entries kept in status.
pub const MAX_HISTORY: usize = 10;

/// The parts of [`ManagedStatus`] that not every kind has.
pub const OPTIONAL_PARTS: [&str; 6] = ["unconfirmed", "takenVersion", "propagation", "evaluation", "agents", "alerts"];

/// Observed state of a managed object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ManagedStatus {
    /// The generation that the conditions are about; -1 before the operator has seen the object.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// `Ready` is the summary; `Reconciling` and `Stalled` are present only while they are True, never both; `InSync` says
    /// whether the live state equals the declared one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The remote object and the last state seen of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote: Option<RemoteState>,
    /// The fields that this object declared when they were last written or found equal. A field that is no longer declared
    /// is removed from the remote only if it is listed here as created and still holds what was written.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub applied: Vec<AppliedField>,
    /// Differences that are reported, not written; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub drift: Vec<DriftItem>,
    /// Writes that were about to be sent. Present after a crash until the operator has looked up what became of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub intent: Option<Intent>,
    /// A version whose creation was never confirmed: its number is used again until it is seen, so that a late success makes no
    /// second version. Only of kinds whose versions are immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unconfirmed: Option<UnconfirmedVersion>,
    /// A number that was found to belong to another version than the newest 25. Only of kinds whose versions are immutable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub taken_version: Option<String>,
    /// A plan that waits for approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending_plan: Option<PendingPlan>,
    /// The last approval that does not count any more: its plan ran, or was withdrawn while the annotation
    /// `assist-operator.dev/approve-plan` named it. The same changes have another digest next time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voided_approval: Option<String>,
    /// The last writes, newest first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Which version handles live conversations; only with `propagation.verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<PropagationStatus>,
    /// The last evaluation of metrics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evaluation: Option<Evaluation>,
    /// Every agent of the last evaluation, in the order of `spec.userIds`: what was measured, what follows, and what was done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub agents: Vec<AgentResult>,
    /// Alerts for supervisors that are due and were not answered yet; they are sent until they are.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub alerts: Vec<DueAlert>,
    /// The last handled value of the annotation `assist-operator.dev/reconcile-requested-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

fn never_observed() -> i64 {
    -1
}

impl Default for ManagedStatus {
    fn default() -> Self {
        Self {
            observed_generation: -1,
            conditions: Vec::new(),
            remote: None,
            applied: Vec::new(),
            drift: Vec::new(),
            intent: None,
            unconfirmed: None,
            taken_version: None,
            pending_plan: None,
            voided_approval: None,
            history: Vec::new(),
            propagation: None,
            evaluation: None,
            agents: Vec::new(),
            alerts: Vec::new(),
            last_handled_reconcile_at: None,
        }
    }
}

impl ManagedStatus {
    /// Puts writes into the history; oldest first.
    pub fn remember(&mut self, written: impl IntoIterator<Item = HistoryEntry>) {
        for entry in written {
            self.history.insert(0, entry);
        }
        self.history.truncate(MAX_HISTORY);
    }
}

/// The remote object and the last state seen of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RemoteState {
    /// Host of the API, with the port where it is not the scheme's own.
    pub host: String,
    /// Id of the remote object.
    pub id: String,
    /// Version last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// ETag last seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
}

/// A declared field that was written, or found equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AppliedField {
    /// JSON pointer (RFC 6901); the empty pointer stands for a whole restored snapshot.
    pub path: String,
    /// First 32 hex digits of the SHA-256 of the declared value in normal form.
    #[schemars(with = "String")]
    pub digest: FieldDigest,
    /// Whether the field did not exist before the operator wrote it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub created: bool,
}

/// A reported difference.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DriftItem {
    /// JSON pointer (RFC 6901) of the field.
    pub path: String,
    /// Declared value as JSON, long values as a digest; unset where the field must be absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
    /// Live value as JSON, long values as a digest; unset where the field is absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actual: Option<String>,
    /// When this difference was first seen.
    pub first_seen: Time,
}

/// Writes that were about to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Intent {
    /// Digest of the plan.
    pub digest: String,
    /// Host of the API that the writes are for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub host: String,
    /// When the intent was recorded.
    pub time: Time,
    /// Generation that is written.
    #[serde(default)]
    pub generation: i64,
    /// Why: `SpecChange`, `DriftRepair`, `Restore` or `Evaluation`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The first changed fields, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<String>,
    /// One entry for each write.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<IntentStep>,
    /// Whether alerts of these writes could not be sent: all of them are due then, not that of the last write alone.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alerts_held: bool,
    /// The fields that the writes would create.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub creates: Vec<String>,
}

/// A version whose creation was never confirmed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct UnconfirmedVersion {
    /// Its number.
    pub version: String,
    /// When its answer was lost first; a day later it is no longer expected.
    pub since: Time,
}

/// One write that was about to be sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IntentStep {
    /// Id of the write's audit record.
    pub audit_id: String,
    /// Remote object, for example `config/retail-assist`.
    pub target: String,
    /// What the write does: `CONFIG_UPDATE`, `CONFIG_RESTORE`, `VERSION_PROMOTION` or `SKILL_UPDATE`.
    pub action: String,
    /// Version that the write asks for.
    pub version: String,
    /// SHA-256 of the content before, as RFC 8785 JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_hash: Option<String>,
    /// SHA-256 of the content after, as RFC 8785 JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_hash: Option<String>,
    /// Estimated tokens of a prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub estimated_tokens: Option<f64>,
    /// Whether the write is known to have been sent, its outcome not. Unset, where there are several: they go out one after the other.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attempted: bool,
    /// The level of the skill that the write changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelChange>,
}

impl IntentStep {
    /// Id of the remote object, without its family.
    pub fn target_id(&self) -> &str {
        self.target.split_once('/').map_or(&self.target, |(_, id)| id)
    }
}

/// The level of a skill before and after a write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LevelChange {
    /// Level before, with two decimals.
    pub from: String,
    /// Level after, with two decimals.
    pub to: String,
    /// Whether supervisors are told of it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub alert: bool,
}

/// An evaluation of metrics.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Evaluation {
    /// When the metrics were read.
    pub time: Time,
    /// Generation of this object that was evaluated.
    pub generation: i64,
    /// Digest of what decides about levels: skill, agents, window, scoring, `maxStep` and `missing`. Where another field of the spec changes,
    /// what is left of the evaluation goes on.
    #[serde(default)]
    pub digest: String,
    /// First day of the window, UTC.
    pub date_from: String,
    /// The day after the last day of the window, UTC.
    pub date_to: String,
}

/// What an evaluation made of one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AgentResult {
    /// Id of the agent.
    pub user_id: String,
    /// Average satisfaction of the agent's customers; unset where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub csat: Option<f64>,
    /// Average handle time in seconds; unset where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aht: Option<f64>,
    /// Level before; unset where the agent lacks the skill, or was not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<f64>,
    /// Level that the evaluation arrived at, after `maxStep`; unset where it arrived at none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<f64>,
    /// What was done about it.
    pub action: AgentAction,
    /// Why, in one word: `Scored`, `StepLimited` (`maxStep` keeps the level from the score), `SkillMissing`, `InsufficientData`,
    /// `BadData`, `ManagedByProfile` (a SkillProfile declares this skill of this agent), or the reason of a failure.
    pub reason: String,
    /// What happened, where it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Whether a person approved exactly this change, from `current` to `target`: it is written later in the same evaluation without another
    /// approval.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub approved: bool,
}

/// What was done about an agent's level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AgentAction {
    /// The target was written.
    Applied,
    /// The target would be written, and `spec.mode` is `Propose`.
    Proposed,
    /// The target is to be written.
    Pending,
    /// The level is the target already, which counts at two decimals.
    Unchanged,
    /// The agent is left alone.
    Skipped,
    /// It could not be done.
    Failed,
}

/// An alert for supervisors that is due.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DueAlert {
    /// Id of the agent.
    pub user_id: String,
    /// Level before, with two decimals.
    pub from: String,
    /// Level after, with two decimals.
    pub to: String,
}

/// A plan that waits for approval.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PendingPlan {
    /// Digest to put into the annotation `assist-operator.dev/approve-plan`.
    pub digest: String,
    /// The changes in readable form, at most 20.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub changes: Vec<String>,
}

/// One write of the past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct HistoryEntry {
    /// Remote version that the write made; unset where one plan wrote to several remote objects.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Writes of the plan, where there were several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub writes: Option<i32>,
    /// Generation of this object that was written.
    pub generation: i64,
    /// Digest of the plan.
    pub digest: String,
    /// When the remote answered.
    pub time: Time,
    /// Why: `SpecChange`, `DriftRepair`, `Restore` or `Evaluation`.
    pub why: String,
    /// The first changed fields, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<String>,
}

/// Which version handles live conversations.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PropagationStatus {
    /// First remote version that holds the declared content.
    pub version: String,
    /// When the remote accepted it.
    pub since: Time,
    /// `Pending`, `NoTraffic`, `Verified`, `Unverified` or `TimedOut`.
    pub state: String,
}
