//! `SkillProfile` (`skp`): the skill levels of one agent.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Enforcement, Managed, ManagedSpec, Policy};
use super::status::ManagedStatus;

/// Most skills of a profile.
pub const MAX_SKILLS: usize = 2000;

/// Desired state of one agent's skill levels.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "SkillProfile",
    plural = "skillprofiles",
    shortname = "skp",
    category = "genesys",
    namespaced,
    status = "ManagedStatus",
    doc = "The skill levels of one agent in Genesys Cloud. Declared skills are enforced; what is not declared stays as it is, or is removed, as `spec.unlisted` says. Every write carries the version of the profile it was computed from, so nobody's change is overwritten unseen.",
    selectable = ".spec.orgRef.name",
    selectable = ".spec.userId",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.conditions[?(@.type==\"InSync\")].status"),
    printcolumn(name = "User", type_ = "string", json_path = ".spec.userId"),
    printcolumn(name = "Version", type_ = "string", json_path = ".status.remote.version"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.orgRef.name", priority = 1),
    printcolumn(name = "Policy", type_ = "string", json_path = ".spec.policy", priority = 1),
    printcolumn(name = "LastChange", type_ = "date", json_path = ".status.history[0].time", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
pub struct SkillProfileSpec {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub managed: ManagedSpec,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub enforcement: Enforcement,
    /// Id of the agent (user) in Genesys Cloud, for example `4f6c5b1e-9d3a-4c51-8a53-1f2f6f0f1c11`. Immutable: create another
    /// object instead; deleting this one leaves Genesys as it is.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self == oldSelf", "userId is immutable: create a new object and delete this one; deletion leaves Genesys as it is"))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')", "userId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit"))]
    pub user_id: String,
    /// The skills to enforce, by `skillId`, at most 2000. A skill that is no longer listed is removed from the agent only if it was
    /// added for this object and still has the level that was written.
    #[serde(default)]
    #[schemars(length(max = 4000), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["skillId"]))]
    #[x_kube(validation = ("self.size() <= 2000", "skills must have at most 2000 entries"))]
    pub skills: Vec<SkillLevel>,
    /// What happens to skills of the agent that are not listed: `Keep` (when unset) leaves them as they are; `Remove` removes them, and
    /// claims every skill of this agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unlisted: Option<Unlisted>,
}

/// The level of one skill.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SkillLevel {
    /// Id of the skill in Genesys Cloud, for example `billing`.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')", "skillId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit"))]
    pub skill_id: String,
    /// Level of the skill from 0 (lowest) to 1 (highest), for example `0.72`.
    #[x_kube(validation = ("self >= 0.0 && self <= 1.0", "proficiency must be 0 to 1, for example 0.72"))]
    pub proficiency: f64,
}

/// What happens to skills of the agent that are not listed: `Keep` (when unset) leaves them as they are; `Remove` removes them, and claims
/// every skill of this agent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Unlisted {
    /// They stay as they are.
    #[default]
    Keep,
    /// They are removed.
    Remove,
}

impl Managed for SkillProfile {
    fn managed(&self) -> &ManagedSpec {
        &self.spec.managed
    }

    fn status(&self) -> Option<&ManagedStatus> {
        self.status.as_ref()
    }

    fn interval(&self) -> Duration {
        self.spec.enforcement.effective_interval()
    }

    fn policy(&self) -> Policy {
        self.spec.enforcement.policy.unwrap_or_default()
    }

    fn remote_id(&self) -> &str {
        &self.spec.user_id
    }
}
