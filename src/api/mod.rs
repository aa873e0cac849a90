//! Custom resource types of the group `assist-operator.dev/v1alpha1`.
//!
//! The doc comment of a field is what `kubectl explain` prints. Schema bounds are loose and
//! structural; rules are CEL with a message that says the remedy, because one schema violation would
//! hide every CEL finding. The engine holds every rule too (`engine/<kind>`).

pub mod agent_assist_config;
pub mod audit_record;
pub mod common;
pub mod conditions;
mod durations;
pub mod genesys_org;
pub mod json_text;
pub mod prompt_template;
pub mod schema;
pub mod skill_policy;
pub mod skill_profile;
pub mod status;

pub use agent_assist_config::{AgentAssistConfig, AgentAssistConfigSpec};
pub use audit_record::AuditRecord;
pub use common::{Approval, Enforcement, GoDuration, Managed, ManagedSpec, OrgRef, Policy};
pub use genesys_org::{GenesysOrg, GenesysOrgSpec, GenesysOrgStatus};
pub use json_text::JsonText;
pub use prompt_template::{
    AbTest, ConfigMapKeyRef, ContentFrom, Limits, PromptTemplate, PromptTemplateSpec, Variable, VariableType,
};
pub use skill_policy::{SkillPolicy, SkillPolicySpec};
pub use skill_profile::{SkillProfile, SkillProfileSpec};
pub use status::ManagedStatus;

/// API group of all kinds.
pub const GROUP: &str = "assist-operator.dev";
/// Annotation: check this object at once; the token is echoed in `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "assist-operator.dev/reconcile-requested-at";
/// Annotation: run exactly the pending plan with this digest, once.
pub const APPROVE_PLAN: &str = "assist-operator.dev/approve-plan";
/// CEL and engine rule for ids of remote objects: one URL path segment, no dots or slashes.
pub const REMOTE_ID: &str = "^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$";
/// Form of a Go-style duration such as `90s`, `10m` or `1h30m`.
pub const GO_DURATION: &str = "^([0-9]+(h|m|s))+$";
