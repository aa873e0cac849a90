//! One JSON line for each audit record, target `audit`.

use crate::remote::audit::AuditRecord;

/// Writes the line.
pub fn write(record: &AuditRecord) {
    match serde_json::to_string(record) {
        Ok(line) => tracing::info!(target: "audit", "{line}"),
        Err(error) => tracing::error!(target: "audit", %error, audit_id = %record.audit_id, "audit record could not be printed"),
    }
}

/// Writes the line that reports a delivery: the record as it was posted, with `webhookSynced` true (contract section 7).
pub fn synced(body: &str) {
    match serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(body) {
        Ok(mut record) => {
            record.insert("webhookSynced".to_owned(), true.into());
            tracing::info!(target: "audit", "{}", serde_json::Value::from(record));
        }
        Err(error) => tracing::error!(target: "audit", %error, "a delivered audit record is no JSON object"),
    }
}
