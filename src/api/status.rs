//! The status that every managed kind has. Nothing here changes while no fact changes.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Most drift items kept in status.
pub const MAX_DRIFT: usize = 20;
/// Most history entries kept in status.
pub const MAX_HISTORY: usize = 10;

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
    /// The last writes, newest first; at most 10.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub history: Vec<HistoryEntry>,
    /// Which version handles live conversations; only with `propagation.verify`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<PropagationStatus>,
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
            history: Vec::new(),
            propagation: None,
            last_handled_reconcile_at: None,
        }
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
    pub digest: String,
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
    /// Why: `SpecChange`, `DriftRepair` or `Restore`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// The first changed fields, at most 5.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub paths: Vec<String>,
    /// One entry for each write.
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub steps: Vec<IntentStep>,
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
    /// Remote version that the write made.
    pub version: String,
    /// Generation of this object that was written.
    pub generation: i64,
    /// Digest of the plan.
    pub digest: String,
    /// When the remote answered.
    pub time: Time,
    /// Why: `SpecChange`, `DriftRepair` or `Restore`.
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
