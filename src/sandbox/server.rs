//! The server: what happens to every request between the socket and its handler, and the journal entry that it leaves.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body as HttpBody;
use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::response::Response;
use axum::{Extension, Router};
use futures::{StreamExt, stream};
use jiff::Timestamp;
use serde_json::Value;
use uuid::Uuid;

use super::error_body::{error, not_found};
use super::faults::{self, FaultKind};
use super::journal::{Actor, Entry, digest};
use super::reply::{Body, Call, Delivery, Effect, Reply};
use super::routes::{self, Found, Route};
use super::wire::Wire;
use super::world::{Arrival, World, wall_clock};
use super::{admin, auth, injection};

/// The whole server as one handler: the route tables of the contract are this crate's own.
pub(super) fn router(world: World) -> Router {
    Router::new().fallback(serve).with_state(world)
}

/// Serves one request in a task of its own: a client that hangs up must not stop what it has begun, as on any real server.
async fn serve(State(world): State<World>, Extension(wire): Extension<Wire>, request: Request) -> Response {
    let mut presence = Presence { world: world.clone(), gone_us: Arc::default(), answered: false };
    let gone_us = Arc::clone(&presence.gone_us);
    let answer = tokio::spawn(exchange(world, wire, request, gone_us)).await;
    presence.answered = true;
    answer.unwrap_or_else(|_| plain(500))
}

/// Notes when the client hung up: then the server drops the request's future, and with it this.
struct Presence {
    world: World,
    /// Microseconds since the start; 0: the client is there.
    gone_us: Arc<AtomicU64>,
    answered: bool,
}

impl Drop for Presence {
    fn drop(&mut self) {
        if !self.answered {
            self.gone_us.store(self.world.now_us().max(1), Ordering::SeqCst);
        }
    }
}

/// From request to response.
async fn exchange(world: World, wire: Wire, request: Request, gone_us: Arc<AtomicU64>) -> Response {
    let arrived = (world.now_us(), crate::clock::precise());
    let (parts, body) = request.into_parts();
    let is_admin = admin::owns(parts.uri.path());
    let arrival = (!is_admin).then(|| world.arrival());
    let body = read_body(body, world.settings().body_limit_bytes).await;
    let mut call = Call {
        route: None,
        params: Vec::new(),
        method: parts.method.as_str().to_owned(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().map(str::to_owned),
        client: auth::caller(&world.state(), &parts.headers),
        headers: parts.headers,
        body: Vec::new(),
        drop_write: false,
        stale_read: false,
    };
    let found = routes::find(&call.method, &call.path);
    if let Found::Route(route, params) = &found {
        call.route = Some(*route);
        call.params.clone_from(params);
    }
    let refusal = match body {
        Ok(bytes) => {
            call.body = bytes;
            None
        }
        Err(refusal) => Some(refusal),
    };
    if is_admin {
        let reply = refusal.unwrap_or_else(|| admin::handle(&world, &wire, &call));
        return respond(&world, &wire, reply, &correlation_id());
    }
    let (reply, fault) = match refusal {
        Some(refusal) => (refusal, None),
        None => answer(&world, &mut call, &found).await,
    };
    let correlation_id = correlation_id();
    let entry = entry(&world, &call, &reply, arrived, fault.as_ref(), gone_us.load(Ordering::SeqCst), &correlation_id);
    if let Some(FaultKind::CommitLate { after_ms }) = fault {
        tokio::spawn(commit_late(world.clone(), call, entry, Duration::from_millis(after_ms), arrival));
    } else {
        world.record(entry);
    }
    respond(&world, &wire, reply, &correlation_id)
}

/// Handles a write whose answer was lost before; it counts as under way until then.
async fn commit_late(world: World, call: Call, mut entry: Entry, wait: Duration, _arrival: Option<Arrival>) {
    tokio::time::sleep(wait).await;
    let Some(route) = call.route else { return };
    let effect = (route.handle)(&world, &call).effect;
    took_effect(&mut entry, &effect, world.settings().journal_bodies);
    world.record(entry);
}

fn correlation_id() -> String {
    Uuid::new_v4().to_string()
}

/// Half of the latency, the fault, the handler, the other half.
async fn answer(world: &World, call: &mut Call, found: &Found) -> (Reply, Option<FaultKind>) {
    let half = Duration::from_micros(world.settings().latency_ms.saturating_mul(500));
    pause(half).await;
    let fault = faults::draw(&mut world.state(), call);
    let instead = match &fault {
        Some(fault) => injection::before(world, call, fault).await,
        None => None,
    };
    let reply = match (instead, &fault) {
        (Some(reply), _) => reply,
        (None, Some(FaultKind::CommitLate { .. })) => match admit(world, call, found) {
            Ok(_) => Reply::reset(),
            Err(refusal) => return (refusal, None),
        },
        (None, Some(fault)) => {
            let reply = handle(world, call, found);
            injection::after(world, call, fault, reply).await
        }
        (None, None) => handle(world, call, found),
    };
    pause(half).await;
    (reply, fault)
}

async fn pause(time: Duration) {
    // A sleep of nothing would still wait for the timer's next tick.
    if !time.is_zero() {
        tokio::time::sleep(time).await;
    }
}

/// Admission, handler.
fn handle(world: &World, call: &mut Call, found: &Found) -> Reply {
    match admit(world, call, found) {
        Ok(route) => (route.handle)(world, call),
        Err(refusal) => refusal,
    }
}

/// Authentication, limit, scopes.
fn admit(world: &World, call: &mut Call, found: &Found) -> Result<&'static Route, Reply> {
    let route = match found {
        Found::Route(route, _) => *route,
        Found::OtherMethod => return Err(error(405, "method.not.allowed", "The method is not allowed here")),
        Found::Nothing => return Err(not_found("The requested resource")),
    };
    if let Some(scopes) = route.scopes {
        let now_us = world.now_us();
        let mut state = world.state();
        let authorized = auth::authorize(&state, call, scopes, now_us);
        // A call with bad credentials counts for nobody; every other one counts, also one that is refused for its scopes.
        if !matches!(&authorized, Err(refusal) if refusal.status == 401)
            && let Some(client) = call.client.clone()
        {
            auth::admit(&mut state, &client, now_us)?;
        }
        call.drop_write |= authorized?;
    }
    Ok(route)
}

/// The body, or a refusal: 413 above `limit` bytes, 400 where the client broke off.
async fn read_body(body: HttpBody, limit: usize) -> Result<Vec<u8>, Reply> {
    let mut bytes = Vec::new();
    let mut received = 0_usize;
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| error(400, "client.failed.request", "The request body broke off"))?;
        received = received.saturating_add(chunk.len());
        if received <= limit {
            bytes.extend_from_slice(&chunk);
        } else {
            bytes = Vec::new();
        }
        // What is too large is read on for a while, so that the client gets to see the answer.
        if received > limit.saturating_mul(4) {
            break;
        }
    }
    if received > limit {
        return Err(error(413, "request.entity.too.large", format!("The request body exceeds {limit} bytes")));
    }
    Ok(bytes)
}

/// The journal entry of an answered request.
fn entry(
    world: &World,
    call: &Call,
    reply: &Reply,
    (at_us, time): (u64, Timestamp),
    fault: Option<&FaultKind>,
    gone_us: u64,
    correlation_id: &str,
) -> Entry {
    let settings = world.settings();
    let mut entry = Entry::new(Actor::Client, &call.method, &call.path, call.name(), at_us);
    let delivered = gone_us == 0 && reply.delivery == Delivery::Whole;
    entry.time = time;
    entry.client.clone_from(&call.client);
    entry.query = call.query.as_deref().map(without_secrets);
    entry.target = call.target().map(str::to_owned);
    entry.if_match = call.header("if-match").map(str::to_owned);
    // Only API calls: the body of T1, or of what missed its path, may hold credentials.
    let is_api = call.route.is_some_and(|route| route.scopes.is_some());
    let body = if is_api { serde_json::from_slice::<Value>(&call.body).ok() } else { None };
    if let Some(body) = body {
        entry.version = body.get("version").and_then(Value::as_i64);
        entry.body_sha256 = Some(digest(&body));
        entry.body = settings.journal_bodies.then(|| body.into());
    }
    entry.status = if reply.delivery == Delivery::Reset { 0 } else { reply.status };
    entry.code.clone_from(&reply.effect.code);
    entry.correlation_id = Some(correlation_id.to_owned());
    entry.retry_after_ms = retry_after_ms(reply, wall_clock(&settings)).filter(|_| delivered);
    entry.delivered = delivered;
    entry.hung_up_us = (gone_us > 0).then_some(gone_us);
    took_effect(&mut entry, &reply.effect, settings.journal_bodies);
    entry.shown = reply.effect.shown.clone().filter(|_| delivered);
    entry.fault = fault.map(|fault| fault.name().to_owned());
    entry.took_us = world.now_us().saturating_sub(at_us);
    entry.took_ms = entry.took_us / 1000;
    entry
}

/// Notes what a call changed.
fn took_effect(entry: &mut Entry, effect: &Effect, bodies: bool) {
    entry.applied = effect.applied;
    entry.change = effect.change;
    entry.changed_us = effect.changed_us;
    entry.result_version = effect.version;
    entry.result_etag.clone_from(&effect.etag);
    entry.promoted.clone_from(&effect.promoted);
    entry.before = effect.before.clone().filter(|_| bodies);
    entry.after = effect.after.clone().filter(|_| bodies);
}

/// A query for the journal: no call of the contract puts credentials there, so what looks like some is a mistake and is left out.
fn without_secrets(query: &str) -> String {
    let lower = query.to_ascii_lowercase();
    let suspect = ["secret", "token", "password"].iter().any(|word| lower.contains(word));
    if suspect { "(left out)".to_owned() } else { query.to_owned() }
}

/// What `Retry-After` asks for: whole seconds, or a date as the difference to the answer's own `Date` (contract 6).
fn retry_after_ms(reply: &Reply, now: Timestamp) -> Option<u64> {
    let (_, value) = reply.headers.iter().find(|(name, _)| *name == "Retry-After")?;
    let seconds = value.parse::<i64>().ok().or_else(|| {
        let at = Timestamp::try_from(httpdate::parse_http_date(value).ok()?).ok()?;
        Some(at.as_second() - now.as_second())
    })?;
    u64::try_from(seconds).ok().filter(|&seconds| seconds > 0).and_then(|seconds| seconds.checked_mul(1000))
}

/// Turns a reply into bytes, with the headers that every answer has (`genesys-published.md` 3.8).
fn respond(world: &World, wire: &Wire, reply: Reply, correlation_id: &str) -> Response {
    if reply.delivery == Delivery::Reset {
        wire.reset();
        return plain(503);
    }
    let (content_type, encoding, bytes, chunked) = match reply.body {
        Body::Empty => (None, None, Vec::new(), false),
        Body::Json(value) => (Some("application/json"), None, value.to_string().into_bytes(), false),
        Body::Error(mut value) => {
            value["contextId"] = correlation_id.into();
            (Some("application/json"), None, value.to_string().into_bytes(), false)
        }
        Body::Bytes { content_type, encoding, bytes } => (Some(content_type), encoding, bytes, false),
        Body::Chunked { content_type, bytes } => (Some(content_type), None, bytes, true),
    };
    let mut headers = reply.headers;
    headers.push(("ININ-Correlation-Id", correlation_id.to_owned()));
    headers.push(("Date", httpdate::fmt_http_date(wall_clock(&world.settings()).into())));
    headers.push(("Cache-Control", "no-cache, no-store".to_owned()));
    headers.extend(content_type.map(|value| ("Content-Type", value.to_owned())));
    headers.extend(encoding.map(|value| ("Content-Encoding", value.to_owned())));
    if reply.delivery == Delivery::Truncated {
        headers.push(("Content-Length", bytes.len().to_string()));
    }
    let body = match reply.delivery {
        Delivery::Truncated => truncated(bytes),
        Delivery::Whole | Delivery::Reset if chunked => in_chunks(&bytes),
        Delivery::Whole | Delivery::Reset => HttpBody::from(bytes),
    };
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    for (name, value) in headers {
        // A fault may ask for a header that cannot be one; then it stays away.
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().append(name, value);
        }
    }
    response
}

/// A response with nothing in it.
fn plain(status: u16) -> Response {
    let mut response = Response::new(HttpBody::empty());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response
}

/// Half of the bytes, then an error that ends the connection.
fn truncated(mut bytes: Vec<u8>) -> HttpBody {
    bytes.truncate(bytes.len() / 2);
    let end = stream::once(async {
        // The first half must leave before the connection is given up.
        tokio::time::sleep(Duration::from_millis(20)).await;
        Err(std::io::Error::from(std::io::ErrorKind::ConnectionReset))
    });
    HttpBody::from_stream(stream::once(async { Ok(bytes) }).chain(end))
}

fn in_chunks(bytes: &[u8]) -> HttpBody {
    let chunks: Vec<std::io::Result<Vec<u8>>> = bytes.chunks(64 * 1024).map(|chunk| Ok(chunk.to_vec())).collect();
    HttpBody::from_stream(stream::iter(chunks))
}
