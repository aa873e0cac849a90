//! The platform's error body (`genesys-published.md` 3.5) and the codes that the sandbox answers with.

use serde_json::{Value, json};

use super::reply::{Body, Reply};

/// Code of a guard that lost, whatever the status (409, 412 or 400).
pub(super) const CONFLICT: &str = "general.conflict";

/// An answer with an error body. `contextId` is filled in by the server, which knows the correlation id.
pub(super) fn error(status: u16, code: &str, message: impl Into<String>) -> Reply {
    let body = json!({
        "message": message.into(),
        "code": code,
        "status": status,
        "messageParams": {},
        "details": [],
        "errors": [],
    });
    coded(Reply::new(status, Body::Error(body)), code)
}

/// 404: what the path names does not exist.
pub(super) fn not_found(what: &str) -> Reply {
    error(404, "not.found", format!("{what} was not found"))
}

/// 400 for a body or parameter that has the wrong shape.
pub(super) fn bad_request(message: impl Into<String>) -> Reply {
    error(400, "bad.request", message)
}

/// 400 for a key that the schema does not have; the field is named in `details`, as the platform does.
pub(super) fn invalid_property(field: &str) -> Reply {
    let mut reply = error(400, "invalid.property", format!("Unrecognized property \"{field}\""));
    if let Body::Error(body) = &mut reply.body {
        body["details"] = json!([{"errorCode": "invalid.property", "fieldName": field}]);
    }
    reply
}

/// 400 for a known key whose value cannot be.
pub(super) fn invalid_value(field: &str, why: &str) -> Reply {
    let mut reply = error(400, "invalid.value", format!("{field} {why}"));
    if let Body::Error(body) = &mut reply.body {
        body["details"] = json!([{"errorCode": "invalid.value", "fieldName": field}]);
    }
    reply
}

/// 429 in the words of the platform (`genesys-published.md` 3.4), with `Retry-After` in whole seconds.
pub(super) fn too_many_requests(seconds: u64) -> Reply {
    let message = format!("Rate limit exceeded the maximum. Retry the request in [{seconds}] seconds");
    error(429, "too.many.requests.retry.after", message).header("Retry-After", seconds.to_string())
}

/// An OAuth error: T1 has a body of its own (`genesys-published.md` 3.1).
pub(super) fn oauth(status: u16, error: &str, description: &str) -> Reply {
    let body: Value = json!({"error": error, "description": description, "error_description": description});
    coded(Reply::new(status, Body::Json(body)), error)
}

fn coded(mut reply: Reply, code: &str) -> Reply {
    reply.effect.code = Some(code.to_owned());
    reply
}
