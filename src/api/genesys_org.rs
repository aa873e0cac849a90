//! `GenesysOrg` (`gorg`): one connection to a Genesys Cloud organisation.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, LabelSelector, Time};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::Approval;

/// Desired state of one connection.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "GenesysOrg",
    plural = "genesysorgs",
    shortname = "gorg",
    category = "genesys",
    namespaced,
    status = "GenesysOrgStatus",
    doc = "One connection to a Genesys Cloud organisation: where it is, the OAuth client to use, who may refer to it, and how many calls and changes it allows.",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "Region", type_ = "string", json_path = ".spec.region"),
    printcolumn(name = "Budget", type_ = "integer", json_path = ".status.budget.limit"),
    printcolumn(name = "Suspended", type_ = "boolean", json_path = ".spec.suspend"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "ThrottledUntil", type_ = "string", json_path = ".status.budget.throttledUntil", priority = 1),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        priority = 1
    )
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("has(self.region) != has(self.endpoints)", "exactly one of region and endpoints is required: region for Genesys Cloud, endpoints for a custom server that the operator was started for"))]
pub struct GenesysOrgSpec {
    /// AWS region of the organisation, for example `eu-central-1`. Exactly one of `region` and `endpoints` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<Region>,
    /// Custom base URLs instead of `region`. Honoured only where the operator was started with `--allow-endpoint` for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoints: Option<Endpoints>,
    /// The OAuth client (client credentials grant) to use.
    pub credentials: Credentials,
    /// Who may refer to this org; objects of the same namespace when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_namespaces: Option<AllowedNamespaces>,
    /// Most calls in any 60 seconds, 10 to 3000; 240 when unset. The platform's own limit is 300 for a client. Two orgs with
    /// the same login URL and client share one budget: the smaller number counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 10 && self <= 3000", "requestsPerMinute must be 10 to 3000"))]
    pub requests_per_minute: Option<i32>,
    /// With `true`, no object of this org is written. Not suspended when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Whether a person approves each plan of every object of this org before it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub approval: Option<Approval>,
    /// How many changes the objects of this org may make.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub change_limit: Option<ChangeLimit>,
    /// Where audit records go besides the log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<Audit>,
}

/// AWS region of a Genesys Cloud organisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
#[allow(missing_docs)]
pub enum Region {
    #[serde(rename = "us-east-1")]
    UsEast1,
    #[serde(rename = "us-east-2")]
    UsEast2,
    #[serde(rename = "us-west-2")]
    UsWest2,
    #[serde(rename = "eu-west-1")]
    EuWest1,
    #[serde(rename = "eu-west-2")]
    EuWest2,
    #[serde(rename = "eu-central-1")]
    EuCentral1,
    #[serde(rename = "eu-central-2")]
    EuCentral2,
    #[serde(rename = "eusc-de-east-1")]
    EuscDeEast1,
    #[serde(rename = "ap-southeast-1")]
    ApSoutheast1,
    #[serde(rename = "ca-central-1")]
    CaCentral1,
    #[serde(rename = "mx-central-1")]
    MxCentral1,
    #[serde(rename = "sa-east-1")]
    SaEast1,
    #[serde(rename = "me-central-1")]
    MeCentral1,
    #[serde(rename = "ap-south-1")]
    ApSouth1,
    #[serde(rename = "ap-northeast-1")]
    ApNortheast1,
    #[serde(rename = "ap-northeast-2")]
    ApNortheast2,
    #[serde(rename = "ap-northeast-3")]
    ApNortheast3,
    #[serde(rename = "ap-southeast-2")]
    ApSoutheast2,
}

impl Region {
    /// The id as in the manifest, for example `eu-central-1`.
    pub fn id(self) -> String {
        serde_json::to_value(self).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
    }
}

/// Custom base URLs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Endpoints {
    /// Base URL of the login service, for example `https://login.example.com`; `http` to loopback only.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self.matches('^https?://[^/?#@]+/?$')", "endpoints.login must be a base URL such as https://login.example.com, without user, path or query"))]
    pub login: String,
    /// Base URL of the API, for example `https://api.example.com`; `http` to loopback only.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self.matches('^https?://[^/?#@]+/?$')", "endpoints.api must be a base URL such as https://api.example.com, without user, path or query"))]
    pub api: String,
    /// PEM certificates to trust for these URLs instead of the public authorities.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub ca_bundle: Option<String>,
}

/// The OAuth client to use.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Credentials {
    /// Secret in the same namespace with the keys `clientId` and `clientSecret`. A change is picked up within 60 seconds.
    pub secret_ref: SecretRef,
}

/// A Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "the name of a Secret is lower-case letters, digits, - and ."))]
    pub name: String,
}

/// Who may refer to an org.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("!has(self.selector) || (has(self.from) && self.from == 'Selector')", "allowedNamespaces.selector needs from: Selector"))]
#[x_kube(validation = ("!has(self.from) || self.from != 'Selector' || has(self.selector)", "allowedNamespaces.from: Selector needs a selector"))]
pub struct AllowedNamespaces {
    /// `Same` (when unset): objects of the org's namespace; `All`: of every namespace; `Selector`: of namespaces whose labels match.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<From>,
    /// Labels of the namespaces that are granted, with `from: Selector`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<LabelSelector>,
    /// Kinds that may refer to this org from another namespace; all when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 16), inner(length(max = 63)), extend("x-kubernetes-list-type" = "atomic"))]
    pub kinds: Option<Vec<String>>,
}

/// Which namespaces are granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum From {
    /// The org's own.
    #[default]
    Same,
    /// Every one.
    All,
    /// Those whose labels match `selector`.
    Selector,
}

/// How many changes the objects of an org may make.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChangeLimit {
    /// Most attempted writes in any 60 minutes; changes of a spec go before repairs of drift, restores are exempt.
    /// No limit when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1", "changeLimit.perHour must be at least 1; to stop all writes set suspend"))]
    pub per_hour: Option<i32>,
}

/// Where audit records go besides the log.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Audit {
    /// A server that receives each audit record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
}

/// A server that receives each audit record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    /// Where the records are posted: https, without user; http or a private address only where the operator was started with `--allow-endpoint` for it.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self.matches('^https?://[^/?#@]+(/[^?#]*)?$')", "audit.webhook.url must be a URL such as https://audit.example.com/records, without user or query"))]
    pub url: String,
    /// Key that signs each record (HMAC-SHA-256).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signing_key_ref: Option<KeyRef>,
}

/// A key of a Secret in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct KeyRef {
    /// Name of the Secret.
    #[schemars(length(min = 1, max = 253))]
    #[x_kube(validation = ("self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')", "the name of a Secret is lower-case letters, digits, - and ."))]
    pub name: String,
    /// Key in the Secret.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Observed state of a connection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GenesysOrgStatus {
    /// The generation that the conditions are about; -1 before the operator has seen the object.
    #[serde(default = "never_observed")]
    pub observed_generation: i64,
    /// `Ready` is the summary; `CredentialsValid` says whether the login service accepts the OAuth client; `BudgetSufficient`
    /// whether the call budget is enough for the intervals of the objects; `Reconciling` and `Stalled` only while True.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The call budget in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub budget: Option<BudgetStatus>,
    /// The last handled value of the annotation `assist-operator.dev/reconcile-requested-at`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_handled_reconcile_at: Option<String>,
}

fn never_observed() -> i64 {
    -1
}

impl Default for GenesysOrgStatus {
    fn default() -> Self {
        Self { observed_generation: -1, conditions: Vec::new(), budget: None, last_handled_reconcile_at: None }
    }
}

/// The call budget in force.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct BudgetStatus {
    /// Calls allowed in any 60 seconds.
    pub limit: i32,
    /// The remote asked for a pause until then; nothing is sent before, also after a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub throttled_until: Option<Time>,
}

/// Call budget where `requestsPerMinute` is unset.
pub const DEFAULT_REQUESTS_PER_MINUTE: i32 = 240;

impl GenesysOrgSpec {
    /// The effective call budget, within its bounds.
    pub fn effective_requests_per_minute(&self) -> u32 {
        u32::try_from(self.requests_per_minute.unwrap_or(DEFAULT_REQUESTS_PER_MINUTE).clamp(10, 3000)).unwrap_or(10)
    }

    /// Whether every plan waits for approval.
    pub fn approval_required(&self) -> bool {
        self.approval.as_ref().and_then(|a| a.required).unwrap_or(false)
    }
}
