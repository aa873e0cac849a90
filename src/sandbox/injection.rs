//! How a fault acts on a call: in place of the answer, or on the answer.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::{Value, json};

use super::auth;
use super::config_store::merge_patch;
use super::configs::shown_by;
use super::error_body::{error, oauth};
use super::faults::FaultKind;
use super::hostile;
use super::profiles;
use super::reply::{Body, Call, Delivery, Reply};
use super::world::{MAX_SKEW, World, wall_clock};

/// Acts before the call is handled. A reply stands for the whole answer: the call is not handled at all.
pub(super) async fn before(world: &World, call: &mut Call, fault: &FaultKind) -> Option<Reply> {
    match fault {
        FaultKind::Status { applied: false, .. } => return Some(status(world, call, fault)),
        FaultKind::ResetBefore => return Some(Reply::reset()),
        FaultKind::Redirect { status, location } => {
            return Some(Reply::new(*status, Body::Empty).header("Location", location.clone()));
        }
        FaultKind::TokenThrottle => return Some(auth::throttled()),
        FaultKind::Unauthorized => return Some(error(401, "bad.credentials", "Invalid login credentials.")),
        FaultKind::Delay { before_ms, .. } => tokio::time::sleep(Duration::from_millis(*before_ms)).await,
        FaultKind::ForeignEditBefore { patch } => foreign_edit(world, call, patch.as_ref()),
        FaultKind::SilentDrop => call.drop_write = true,
        FaultKind::StaleRead => call.stale_read = true,
        FaultKind::Status { applied: true, .. }
        | FaultKind::ResetAfter
        | FaultKind::CommitLate { .. }
        | FaultKind::TruncatedBody
        | FaultKind::EmptyBody
        | FaultKind::Html { .. }
        | FaultKind::Oversized { .. }
        | FaultKind::DeepNesting { .. }
        | FaultKind::WrongDocument => {}
    }
    None
}

/// Acts on the answer of a call that was handled.
pub(super) async fn after(world: &World, call: &Call, fault: &FaultKind, reply: Reply) -> Reply {
    match fault {
        FaultKind::Status { applied: true, .. } => Reply { effect: reply.effect, ..status(world, call, fault) }.untold(),
        FaultKind::ResetAfter => Reply { delivery: Delivery::Reset, ..reply },
        FaultKind::Delay { after_ms, .. } => {
            tokio::time::sleep(Duration::from_millis(*after_ms)).await;
            reply
        }
        FaultKind::TruncatedBody => Reply { delivery: Delivery::Truncated, ..reply },
        FaultKind::EmptyBody => Reply { body: Body::Empty, ..reply }.untold(),
        FaultKind::Html { status } => Reply { status: *status, body: hostile::html(), ..reply }.untold(),
        FaultKind::Oversized { gzip: true } => Reply { body: hostile::gzip_bomb(), ..reply }.untold(),
        FaultKind::Oversized { gzip: false } => {
            let body = if let Body::Json(document) = &reply.body { Some(document) } else { None };
            Reply { body: hostile::oversized(body), ..reply }.untold()
        }
        FaultKind::DeepNesting { depth } => Reply { body: hostile::nested(*depth), ..reply }.untold(),
        FaultKind::WrongDocument => wrong_document(reply),
        FaultKind::Status { applied: false, .. }
        | FaultKind::ResetBefore
        | FaultKind::CommitLate { .. }
        | FaultKind::Redirect { .. }
        | FaultKind::SilentDrop
        | FaultKind::StaleRead
        | FaultKind::ForeignEditBefore { .. }
        | FaultKind::TokenThrottle
        | FaultKind::Unauthorized => reply,
    }
}

impl Reply {
    /// The answer tells no state.
    fn untold(mut self) -> Self {
        self.effect.shown = None;
        self
    }
}

/// The answer of [`FaultKind::Status`].
fn status(world: &World, call: &Call, fault: &FaultKind) -> Reply {
    let FaultKind::Status { status, retry_after, body, .. } = fault else { return Reply::reset() };
    let mut reply = match body {
        Some(Value::String(text)) => {
            let bytes = text.clone().into_bytes();
            Reply::new(*status, Body::Bytes { content_type: "text/plain; charset=utf-8", encoding: None, bytes })
        }
        Some(json) => Reply::new(*status, Body::Json(json.clone())),
        None if call.name() == "T1" => oauth(*status, "server_error", "the sandbox was asked to answer this"),
        None => error(*status, code(*status), "The sandbox was asked to answer this"),
    };
    if let Some(retry_after) = retry_after {
        let seconds = retry_after.strip_prefix("date:").and_then(|seconds| seconds.parse::<i64>().ok());
        let value = seconds.map_or_else(|| retry_after.clone(), |seconds| http_date(world, seconds));
        reply = reply.header("Retry-After", value);
    }
    reply
}

/// An HTTP date so many seconds after now, by the server's clock.
fn http_date(world: &World, seconds: i64) -> String {
    let at = wall_clock(&world.settings()).saturating_add(SignedDuration::from_secs(seconds.clamp(-MAX_SKEW, MAX_SKEW)));
    at.map(|at| httpdate::fmt_http_date(at.into())).unwrap_or_default()
}

/// The platform's code for a status (`genesys-published.md` 3.5).
fn code(status: u16) -> &'static str {
    match status {
        400 => "bad.request",
        401 => "bad.credentials",
        403 => "missing.permissions",
        404 => "not.found",
        408 => "client.timeout",
        409 | 412 => "general.conflict",
        413 => "request.entity.too.large",
        429 => "too.many.requests",
        503 => "service.unavailable",
        504 => "request.timeout",
        _ => "internal.server.error",
    }
}

/// Someone else edits the object that the call is about to write.
fn foreign_edit(world: &World, call: &Call, patch: Option<&Value>) {
    let Some(id) = call.target() else { return };
    if call.name() == "P2" {
        let note = || json!({"metadata": {"foreignNote": "promoted by somebody else"}});
        world.promote_patched(id, &patch.cloned().unwrap_or_else(note));
        return;
    }
    if call.name() == "S2" {
        world.edit_user(id, |document| match patch {
            Some(patch) => merge_patch(document, patch),
            None => foreign_skill(document),
        });
        return;
    }
    world.edit_config(id, |document| match patch {
        Some(patch) => merge_patch(document, patch),
        None => document["foreignNote"] = format!("edited at version {}", document["version"]).into(),
    });
}

/// Another skill than anyone declares: each edit moves it.
fn foreign_skill(document: &mut Value) {
    let proficiency = document["version"].as_i64().unwrap_or_default().rem_euclid(100) as f64 / 100.0;
    let Some(skills) = document["skills"].as_array_mut() else { return };
    skills.retain(|skill| skill["skillId"] != "foreign-skill");
    skills.push(json!({"skillId": "foreign-skill", "proficiency": proficiency}));
}

/// Another object in place of the one that was asked for.
fn wrong_document(mut reply: Reply) -> Reply {
    if let Body::Json(document) = &mut reply.body
        && let Some(template) = document["templateId"].as_str()
    {
        let template = format!("other-{template}");
        *document = json!({"templateId": template, "version": document["version"], "content": "Another prompt", "variables": {}});
        reply = reply.untold();
    } else if let Body::Json(document) = &mut reply.body
        && document["skills"].is_array()
    {
        let id = format!("other-{}", document["id"].as_str().unwrap_or_default());
        *document = json!({"id": id, "version": document["version"], "name": "Another agent", "skills": []});
        reply.effect.shown = profiles::shown_by(document);
    } else if let Body::Json(document) = &mut reply.body {
        let header = reply.headers.iter().find(|(name, _)| *name == "ETag").map(|(_, tag)| tag.as_str());
        let id = format!("other-{}", document["id"].as_str().unwrap_or_default());
        *document = json!({"id": id, "version": document["version"], "etag": document["etag"], "name": "Another config"});
        reply.effect.shown = shown_by(document, header);
    }
    reply
}
