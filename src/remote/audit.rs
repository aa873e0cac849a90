//! Audit records (contract section 7): one for every attempted write, whatever its outcome. No values, no secrets.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use crate::api::status::IntentStep;
use crate::engine::{Action, Step};

/// How an attempted write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum AuditStatus {
    /// A prompt version is live.
    Promoted,
    /// The content is live.
    Applied,
    /// The guard was lost.
    Conflict,
    /// It was refused, or a read showed that it did not take effect.
    Failed,
    /// Nobody can tell.
    Unknown,
}

impl AuditStatus {
    /// The text of the record and of metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Promoted => "PROMOTED",
            Self::Applied => "APPLIED",
            Self::Conflict => "CONFLICT",
            Self::Failed => "FAILED",
            Self::Unknown => "UNKNOWN",
        }
    }
}

/// The object on whose behalf a write was attempted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Subject {
    /// `<namespace>/<name>` of the GenesysOrg.
    pub org: String,
    /// Namespace of the object.
    pub namespace: String,
    /// Kind of the object.
    pub kind: String,
    /// Name of the object.
    pub name: String,
    /// Generation that was written.
    pub generation: i64,
}

/// One audit record.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
#[allow(missing_docs, reason = "the fields are those of contract section 7")]
pub struct AuditRecord {
    pub timestamp: String,
    pub audit_id: String,
    pub action: String,
    pub status: AuditStatus,
    pub org: String,
    pub namespace: String,
    pub kind: String,
    pub name: String,
    pub generation: i64,
    pub remote_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub template_id: Option<String>,
    pub version: String,
    pub latency_ms: u64,
    pub generation_success_rate: f64,
    pub rollback_directive: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimated_context_tokens: Option<f64>,
    pub before_hash: Option<String>,
    pub after_hash: Option<String>,
    pub correlation_id: Option<String>,
    pub webhook_synced: bool,
}

/// A write that was attempted, before its outcome is known.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// What was recorded of it before it was sent.
    pub step: IntentStep,
    /// When it began.
    pub began: Timestamp,
}

impl Attempt {
    /// The attempt of a step, with a new audit id.
    pub fn new(step: &Step, began: Timestamp) -> Self {
        let step = IntentStep {
            audit_id: Uuid::new_v4().to_string(),
            target: step.target.to_string(),
            action: step.action.as_str().to_owned(),
            version: step.version.clone(),
            before_hash: step.before_hash.clone(),
            after_hash: step.after_hash.clone(),
            estimated_tokens: step.tokens,
            attempted: false,
            level: step.level.clone(),
        };
        Self { step, began }
    }

    /// Its record.
    pub fn record(&self, subject: &Subject, status: AuditStatus, correlation_id: Option<String>, now: Timestamp) -> AuditRecord {
        let latency = now.duration_since(self.began).as_millis();
        let remote_id = self.step.target_id().to_owned();
        let promotion = self.step.action == Action::VersionPromotion.as_str();
        let status = if promotion && status == AuditStatus::Applied { AuditStatus::Promoted } else { status };
        AuditRecord {
            timestamp: now.to_string(),
            audit_id: self.step.audit_id.clone(),
            action: self.step.action.clone(),
            status,
            org: subject.org.clone(),
            namespace: subject.namespace.clone(),
            kind: subject.kind.clone(),
            name: subject.name.clone(),
            generation: subject.generation,
            template_id: promotion.then(|| remote_id.clone()),
            remote_id,
            version: self.step.version.clone(),
            latency_ms: u64::try_from(latency).unwrap_or_default(),
            generation_success_rate: if matches!(status, AuditStatus::Promoted | AuditStatus::Applied) { 1.0 } else { 0.0 },
            rollback_directive: false,
            estimated_context_tokens: self.step.estimated_tokens,
            before_hash: self.step.before_hash.clone(),
            after_hash: self.step.after_hash.clone(),
            correlation_id,
            webhook_synced: false,
        }
    }
}
