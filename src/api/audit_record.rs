//! `AuditRecord`: one audit record that waits for delivery. Internal: the operator's own durable queue.
#![allow(clippy::duplicated_attributes, reason = "each printer column has a name and a path of its own")]

use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// One audit record that waits for delivery.
#[derive(CustomResource, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[kube(
    group = "assist-operator.dev",
    version = "v1alpha1",
    kind = "AuditRecord",
    plural = "auditrecords",
    namespaced,
    doc = "One audit record that waits for delivery to the webhook of its GenesysOrg. The operator creates it before it forgets the write that it is about, and deletes it once the webhook has accepted it; it is named after its audit id. Not to be created or edited by hand.",
    printcolumn(name = "Org", type_ = "string", json_path = ".spec.org"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = ("self == oldSelf", "an audit record is immutable: a redelivery is byte for byte the same"))]
pub struct AuditRecordSpec {
    /// Name of the GenesysOrg, in the same namespace, whose webhook receives the record.
    #[schemars(length(max = 253))]
    pub org: String,
    /// The record as JSON, byte for byte as it is posted. It holds no configuration values, prompt text, tokens or secrets.
    #[schemars(length(max = 16384))]
    pub record: String,
}
