//! One JSON line for each audit record, target `audit`.

use crate::remote::audit::AuditRecord;

/// Writes the line.
pub fn write(record: &AuditRecord) {
    match serde_json::to_string(record) {
        Ok(line) => tracing::info!(target: "audit", "{line}"),
        Err(error) => tracing::error!(target: "audit", %error, audit_id = %record.audit_id, "audit record could not be printed"),
    }
}
