//! `PromptTemplate` (`pt`): the live version of one prompt template.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

mod rules;

use std::collections::BTreeMap;
use std::time::Duration;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::common::{Enforcement, Managed, ManagedSpec, Policy};
use super::status::ManagedStatus;

/// Desired state of one prompt template.
#[derive(CustomResource, Clone, Debug, PartialEq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "PromptTemplate",
    plural = "prompttemplates",
    shortname = "pt",
    category = "genesys",
    namespaced,
    status = "ManagedStatus",
    doc = "One prompt template of Genesys Cloud: its live version has the declared content, variables, metadata and A/B test. A difference is promoted as a new version; versions are immutable and nothing is overwritten. All rules of the content are checked when the object is applied, and all that are broken are named in one answer.",
    selectable = ".spec.orgRef.name",
    selectable = ".spec.templateId",
    printcolumn(name = "Ready", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].status"),
    printcolumn(name = "Reason", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].reason"),
    printcolumn(name = "InSync", type_ = "string", json_path = ".status.conditions[?(@.type==\"InSync\")].status"),
    printcolumn(name = "Template", type_ = "string", json_path = ".spec.templateId"),
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
#[x_kube(validation = ("has(self.content) != has(self.contentFrom)", "exactly one of content and contentFrom is required: content for a prompt in this manifest, contentFrom for one in a ConfigMap"))]
#[x_kube(validation = rules::content_length())]
#[x_kube(validation = rules::placeholder_form())]
#[x_kube(validation = rules::placeholders_are_declared())]
#[x_kube(validation = rules::variables_occur())]
#[x_kube(validation = rules::estimated_tokens())]
pub struct PromptTemplateSpec {
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub managed: ManagedSpec,
    #[serde(flatten)]
    #[allow(missing_docs)]
    pub enforcement: Enforcement,
    /// Id of the prompt template in Genesys Cloud, for example `billing-summary`. Immutable: create another object instead;
    /// deleting this one leaves Genesys as it is.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self == oldSelf", "templateId is immutable: create a new object and delete this one; deletion leaves Genesys as it is"))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$')", "templateId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit"))]
    pub template_id: String,
    /// Number of the version that holds this content, as semantic version, for example `2.1.0`; a new content then needs a
    /// new number. The operator counts the patch number up when unset, and a revert is simply promoted again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 256))]
    #[x_kube(validation = rules::version())]
    pub version: Option<String>,
    /// The prompt text, with `{{name}}` where a variable is filled in, for example `Answer {{customer_issue}} in two
    /// sentences.` At most `limits.maxCharacters` characters. Exactly one of `content` and `contentFrom` is set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 49152))]
    pub content: Option<String>,
    /// Where the prompt text is, instead of `content`. Its rules are then checked by the operator, not when it is applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_from: Option<ContentFrom>,
    /// The variables of the prompt by name, at most 50, for example `customer_issue: {type: String, maxLength: 500}`. A name is 1
    /// to 64 letters, digits and `_`, not beginning with a digit. Each one occurs in the content as `{{name}}`, and every
    /// `{{name}}` of the content is here. No variables when unset.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 100))]
    #[x_kube(validation = ("self.size() <= 50", "variables must have at most 50 entries: join some, or split the prompt"))]
    #[x_kube(validation = rules::variable_names())]
    pub variables: BTreeMap<String, Variable>,
    /// Text that is kept with the version and not sent to a model, for example `purpose: billing`. Members that are not declared
    /// here are neither compared nor removed: a new version keeps those of the version before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("maxProperties" = 64), inner(length(max = 4096)))]
    pub metadata: Option<BTreeMap<String, String>>,
    /// A/B test of this content. When unset there is no test, and one that is found is ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ab_test: Option<AbTest>,
    /// How large the prompt may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Limits>,
}

/// Where a prompt text is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ContentFrom {
    /// A key of a ConfigMap in the same namespace.
    pub config_map_key_ref: ConfigMapKeyRef,
}

/// A key of a ConfigMap in the same namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct ConfigMapKeyRef {
    /// Name of the ConfigMap, for example `billing-prompt-7f9m2h`: a name that changes with the text, as kustomize generates
    /// it, makes a change of text a change of this object.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self.size() <= 253 && self.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*$')", "configMapKeyRef.name must be the name of a ConfigMap: lower-case letters, digits, - and ., at most 253"))]
    pub name: String,
    /// Key of its `data` that holds the text, for example `prompt.txt`.
    #[schemars(length(max = 512))]
    #[x_kube(validation = ("self.matches('^[-._a-zA-Z0-9]{1,253}$')", "configMapKeyRef.key must be a key of its data: letters, digits, -, _ and ., at most 253"))]
    pub key: String,
}

/// What stands for `{{name}}` in a prompt.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = rules::number_default())]
#[x_kube(validation = ("!has(self.default) || self.type != 'Boolean' || self.default in ['true', 'false']", "the default of a Boolean must be true or false, quoted as text: correct it, or change type"))]
#[x_kube(validation = ("!has(self.default) || self.type != 'String' || !(self.default in ['string', 'number', 'boolean'])", "the default of a String must not be string, number or boolean: on the wire these mean that there is no default; choose another text, or remove it"))]
#[x_kube(validation = rules::default_length())]
pub struct Variable {
    /// Type of the values: `String`, `Number` or `Boolean`.
    #[serde(rename = "type")]
    pub type_: VariableType,
    /// Value where a caller gives none, as text that is read by `type`, for example `"3"` for a Number or `"true"` for a
    /// Boolean. Callers must give one when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub default: Option<String>,
    /// Most characters of a value, 1 to 32768, for example `500`: the token estimate counts with it. When unset, the estimate
    /// counts the placeholder's own length.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1 && self <= 32768", "maxLength must be 1 to 32768 characters"))]
    pub max_length: Option<i32>,
    /// What the variable is for, for readers of the manifest, for example `What the customer asked first.` It is not sent to
    /// Genesys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub description: Option<String>,
}

/// Type of a variable's values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum VariableType {
    /// Text.
    #[default]
    String,
    /// A JSON number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// A test of this content on a part of the traffic.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct AbTest {
    /// Name of the variant in reports, for example `v2_1_0_beta`: 1 to 64 letters, digits, `.`, `_` or `-`.
    #[schemars(length(max = 256))]
    #[x_kube(validation = ("self.matches('^[A-Za-z0-9._-]{1,64}$')", "abTest.variantId must be 1 to 64 letters, digits, ., _ or -"))]
    pub variant_id: String,
    /// Part of the traffic that gets this content, in whole percent, 0 to 100, for example `20`.
    #[x_kube(validation = ("self >= 0 && self <= 100", "abTest.trafficPercent must be 0 to 100: whole percent, not a fraction"))]
    pub traffic_percent: i32,
}

/// How large a prompt may be.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// Most characters of the content (Unicode scalar values), 1 to 32768, for example `8000`; 4096 when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1 && self <= 32768", "limits.maxCharacters must be 1 to 32768"))]
    pub max_characters: Option<i32>,
    /// Most estimated tokens, 1 to 8192, for example `6000`; 3800 when unset. The estimate is a quarter of the characters, with
    /// each placeholder at its variable's `maxLength`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[x_kube(validation = ("self >= 1 && self <= 8192", "limits.maxTokens must be 1 to 8192"))]
    pub max_tokens: Option<i32>,
}

/// Most characters of a prompt where `limits.maxCharacters` is unset.
pub const DEFAULT_MAX_CHARACTERS: usize = 4096;
/// Greatest `limits.maxCharacters`.
pub const GREATEST_MAX_CHARACTERS: usize = 32_768;
/// Most estimated tokens where `limits.maxTokens` is unset.
pub const DEFAULT_MAX_TOKENS: u32 = 3800;
/// Greatest `limits.maxTokens`.
pub const GREATEST_MAX_TOKENS: u32 = 8192;
/// Most variables of a prompt.
pub const MAX_VARIABLES: usize = 50;

impl Limits {
    /// The effective limit of characters; one that is out of range counts as the nearest that is not.
    pub fn max_characters(&self) -> usize {
        let set = self.max_characters.map(|set| usize::try_from(set).unwrap_or(0).clamp(1, GREATEST_MAX_CHARACTERS));
        set.unwrap_or(DEFAULT_MAX_CHARACTERS)
    }

    /// The effective limit of estimated tokens; one that is out of range counts as the nearest that is not.
    pub fn max_tokens(&self) -> u32 {
        let set = self.max_tokens.map(|set| u32::try_from(set).unwrap_or(0).clamp(1, GREATEST_MAX_TOKENS));
        set.unwrap_or(DEFAULT_MAX_TOKENS)
    }
}

impl PromptTemplateSpec {
    /// The effective limit of characters.
    pub fn max_characters(&self) -> usize {
        self.limits.as_ref().map_or(DEFAULT_MAX_CHARACTERS, Limits::max_characters)
    }

    /// The effective limit of estimated tokens.
    pub fn max_tokens(&self) -> u32 {
        self.limits.as_ref().map_or(DEFAULT_MAX_TOKENS, Limits::max_tokens)
    }
}

impl VariableType {
    /// Its name on the wire, which stands for "no default" there.
    pub fn wire(self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Number => "number",
            Self::Boolean => "boolean",
        }
    }
}

impl Managed for PromptTemplate {
    const PARTS: &'static [&'static str] = &["unconfirmed", "takenVersion"];

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
        &self.spec.template_id
    }
}
