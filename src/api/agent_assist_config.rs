//! `AgentAssistConfig` (`aac`): one agent-assist configuration.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::common::{Enforcement, GoDuration, MAX_DURATION, Managed, ManagedSpec, Policy};
use super::durations;
use super::json_text::JsonText;
use super::status::ManagedStatus;

/// Desired state of one agent-assist configuration.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "AgentAssistConfig",
    plural = "agentassistconfigs",
    shortname = "aac",
    category = "genesys",
    namespaced,
    status = "ManagedStatus",
    doc = "One agent-assist configuration of Genesys Cloud. What `spec.config` declares is enforced at any depth; what it leaves out stays as it is. Every write carries the ETag and version of the state it was computed from, so nobody's change is overwritten unseen.",
    selectable = ".spec.orgRef.name",
    selectable = ".spec.configId",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.conditions[?(@.type==\"InSync\")].status"),
    printcolumn(name = "Config", type_ = "string", json_path = ".spec.configId"),
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
#[x_kube(validation = ("has(self.config) || has(self.restoreVersion)", "one of config and restoreVersion is required: declare the settings to enforce, or the version to restore"))]
pub struct AgentAssistConfigSpec {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub managed: ManagedSpec,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub enforcement: Enforcement,
    /// Id of the agent-assist configuration in Genesys Cloud, for example `retail-assist`. Immutable: create another object
    /// instead; deleting this one leaves Genesys as it is.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self == oldSelf", "configId is immutable: create a new object and delete this one; deletion leaves Genesys as it is"))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')", "configId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit"))]
    pub config_id: String,
    /// The settings to enforce, as a JSON object of any form. What is declared is enforced at any depth; what is left out
    /// stays as it is in Genesys. Arrays are replaced whole. A member with the value `null` must be absent. Numbers compare by value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "config_schema")]
    pub config: Option<JsonText>,
    /// JSON pointers of parts of `config` that are neither compared nor written, such as what the server adds;
    /// `*` stands for any array index, for example `/rules/*/id`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100), inner(length(max = 512)), extend("x-kubernetes-list-type" = "atomic"))]
    #[x_kube(validation = ("self.all(p, p.matches('^(/([^~/]|~[01])*)+$'))", "each of ignore must be a JSON pointer such as /rules/*/id (~0 for ~ and ~1 for / inside a name)"))]
    pub ignore: Vec<String>,
    /// Roll back to this version of the configuration, whole. While it is set it overrides `config`; the version number
    /// in Genesys moves forward.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1", "restoreVersion must be at least 1: the number of a version that exists in Genesys"))]
    pub restore_version: Option<i32>,
    /// Whether to find out which version really handles conversations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propagation: Option<Propagation>,
}

/// Whether to find out which version really handles conversations.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Propagation {
    /// With `true`, conversations are queried after a write until one runs on the written version. Off when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<bool>,
    /// With `true`, `Ready` waits until a conversation runs on the written version; implies `verify`. Off when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gate: Option<bool>,
    /// How long to wait for it, for example `30m`, which is also the value when unset. After it, no traffic at all is
    /// `Unverified` (Ready), traffic only on older versions is `PropagationTimeout` (not Ready with `gate`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = durations::form("propagation.timeout must be a duration such as 90s, 10m or 1h30m"))]
    #[x_kube(validation = durations::range("0s", "propagation.timeout must be at most 8760h"))]
    pub timeout: Option<GoDuration>,
}

/// How long propagation is waited for where `propagation.timeout` is unset.
pub const DEFAULT_PROPAGATION_TIMEOUT: Duration = Duration::from_secs(1800);

impl Propagation {
    /// Whether conversations are queried at all.
    pub fn is_on(&self) -> bool {
        self.verify.unwrap_or(false) || self.gates()
    }

    /// Whether `Ready` waits.
    pub fn gates(&self) -> bool {
        self.gate.unwrap_or(false)
    }

    /// The effective timeout.
    pub fn effective_timeout(&self) -> Duration {
        self.timeout.as_ref().and_then(GoDuration::get).unwrap_or(DEFAULT_PROPAGATION_TIMEOUT).min(MAX_DURATION)
    }
}

impl Managed for AgentAssistConfig {
    const PARTS: &'static [&'static str] = &["propagation"];

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
        &self.spec.config_id
    }
}

/// A member of `config` that is refused: its name, and what to do instead.
pub const REFUSED: &[(&str, &str)] = &[
    ("id", "remove it and name the configuration in spec.configId"),
    ("version", "remove it: the server counts versions; to roll back set spec.restoreVersion"),
    ("etag", "remove it: the operator reads the tag that guards each write"),
    ("selfUri", "remove it: the server sets it"),
    ("versionRevert", "remove it and set spec.restoreVersion to the version to go back to"),
    ("trafficShift", "remove it: a configuration has no traffic share; see spec.propagation for which version is in use"),
];

/// Schema of `config`: any object, with the refused members declared so that CEL can see them.
fn config_schema(_: &mut SchemaGenerator) -> Schema {
    let property = |name: &str, remedy: &str| {
        let description = format!("Refused: {remedy}.");
        let schema = match name {
            "versionRevert" => json_schema!({"type": "boolean", "description": description}),
            "version" => json_schema!({"x-kubernetes-int-or-string": true, "description": description}),
            "trafficShift" => {
                json_schema!({"type": "object", "x-kubernetes-preserve-unknown-fields": true, "description": description})
            }
            _ => json_schema!({"type": "string", "description": description}),
        };
        (name.to_owned(), schema.to_value())
    };
    let properties: serde_json::Map<_, _> = REFUSED.iter().map(|(name, remedy)| property(name, remedy)).collect();
    let rules: Vec<_> = REFUSED
        .iter()
        .map(|(name, remedy)| serde_json::json!({"rule": format!("!has(self.{name})"), "message": format!("config.{name} is refused: {remedy}")}))
        .collect();
    json_schema!({
        "type": "object",
        "properties": properties,
        "x-kubernetes-preserve-unknown-fields": true,
        "x-kubernetes-validations": rules,
    })
}
