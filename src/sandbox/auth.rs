//! T1 (contract 2), bearer tokens and scopes (contract 1).

use std::collections::BTreeSet;
use std::fmt;

use axum::http::HeaderMap;
use percent_encoding::percent_decode;
use serde_json::json;
use uuid::Uuid;

use super::error_body::{error, oauth};
use super::reply::{Call, Reply};
use super::routes::{self, Route};
use super::settings::{MissingScope, Settings};
use super::world::{State, World};

/// T1.
pub(super) const ROUTES: &[Route] =
    &[Route { call: "T1", method: "POST", pattern: "/oauth/token", scopes: None, write: false, handle: token }];

/// An OAuth client.
pub(super) struct Client {
    secret: String,
    pub(super) scopes: BTreeSet<String>,
}

/// An access token that was issued.
#[derive(Debug)]
pub(super) struct Token {
    client: String,
    expires_us: u64,
    revoked: bool,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("scopes", &self.scopes).finish_non_exhaustive()
    }
}

impl World {
    /// Adds or replaces an OAuth client. An empty list of scopes grants nothing; [`World::all_scopes`] lists what there is.
    pub fn add_client(&self, client_id: &str, secret: &str, scopes: &[&str]) {
        let client = Client { secret: secret.to_owned(), scopes: owned(scopes) };
        self.state().clients.insert(client_id.to_owned(), client);
    }

    /// Every scope that some call of the contract needs.
    pub fn all_scopes() -> Vec<&'static str> {
        routes::all_scopes().collect::<BTreeSet<_>>().into_iter().collect()
    }

    /// Replaces a client's secret; tokens that are out stay valid. Answers whether there is such a client.
    pub fn rotate_secret(&self, client_id: &str, secret: &str) -> bool {
        self.state().clients.get_mut(client_id).map(|client| client.secret = secret.to_owned()).is_some()
    }

    /// Replaces a client's scopes, also for tokens that are out. Answers whether there is such a client.
    pub fn set_scopes(&self, client_id: &str, scopes: &[&str]) -> bool {
        self.state().clients.get_mut(client_id).map(|client| client.scopes = owned(scopes)).is_some()
    }

    /// Removes a client; its tokens answer 401 from now on.
    pub fn remove_client(&self, client_id: &str) {
        self.state().clients.remove(client_id);
    }

    /// Makes every token that is out answer 401.
    pub fn revoke_tokens(&self) {
        self.state().tokens.values_mut().for_each(|token| token.revoked = true);
    }

    /// Lifetime of the tokens issued from now on, in seconds.
    pub fn set_token_lifetime(&self, seconds: u64) {
        self.set(|settings| settings.token_lifetime_seconds = seconds);
    }
}

fn owned(scopes: &[&str]) -> BTreeSet<String> {
    scopes.iter().map(|&scope| scope.to_owned()).collect()
}

/// The client that a request belongs to, whether or not it proved it: for the journal, the limits and the choice of faults.
pub(super) fn caller(state: &State, headers: &HeaderMap) -> Option<String> {
    let id = match bearer(headers).and_then(|token| state.tokens.get(token)) {
        Some(token) => token.client.clone(),
        None => basic(headers)?.0,
    };
    // Only ids that exist: a header may hold anything, a misplaced secret too.
    state.clients.contains_key(&id).then_some(id)
}

/// Checks the token and the scopes of an API call. The error is the refusal; the ok value tells whether the write is to be dropped silently.
pub(super) fn authorize(state: &State, call: &Call, scopes: &[&str], now_us: u64) -> Result<bool, Reply> {
    let Some(presented) = bearer(&call.headers) else {
        return Err(error(401, "authentication.required", "No authentication bearer token specified in authorization header."));
    };
    let refused = || error(401, "bad.credentials", "Invalid login credentials.");
    let token = state.tokens.get(presented).filter(|token| !token.revoked && now_us < token.expires_us).ok_or_else(refused)?;
    let client = state.clients.get(&token.client).ok_or_else(refused)?;
    let Some(missing) = scopes.iter().find(|&&scope| !client.scopes.contains(scope)) else {
        return Ok(false);
    };
    let write = call.route.is_some_and(|route| route.write);
    match state.settings.missing_scope {
        MissingScope::SilentDrop if write => Ok(true),
        MissingScope::MissingPermissions => {
            Err(error(403, "missing.permissions", format!("You are missing the following permission(s): {missing}")))
        }
        MissingScope::SilentDrop | MissingScope::NotAuthorizedForScope => {
            let message = format!("This client does not have sufficient scope for this request: {missing}");
            Err(error(403, "app.not.authorized.for.scope", message))
        }
    }
}

/// Counts an API call against the client's limit; the error is the 429.
pub(super) fn admit(state: &mut State, client: &str, now_us: u64) -> Result<(), Reply> {
    let limit = state.settings.rate_limit;
    // Calls are counted without a limit too: one that is set later then knows the last minute.
    let log = state.api_log.entry(client.to_owned()).or_default();
    log.admit(now_us, limit.unwrap_or(u32::MAX)).map_err(super::error_body::too_many_requests)
}

/// T1: an access token for client credentials.
fn token(world: &World, call: &Call) -> Reply {
    let now_us = world.now_us();
    let mut state = world.state();
    let state = &mut *state;
    if let Err(refusal) = form(call) {
        return refusal;
    }
    let bad_credentials = |settings: &Settings| {
        oauth(settings.invalid_client_status, "invalid_client", "client authentication failed")
            .header("WWW-Authenticate", "Basic")
    };
    let Some((id, secret)) = basic(&call.headers) else { return bad_credentials(&state.settings) };
    if let Some(limit) = state.settings.token_rate_limit {
        // Unknown ids share one log, so that guessing cannot grow the table.
        let key = if state.clients.contains_key(&id) { id.clone() } else { String::new() };
        if state.token_log.entry(key).or_default().admit(now_us, limit).is_err() {
            return throttled();
        }
    }
    if state.clients.get(&id).is_none_or(|client| client.secret != secret) {
        return bad_credentials(&state.settings);
    }
    let lifetime = state.settings.token_lifetime_seconds;
    let token = Uuid::new_v4().simple().to_string();
    let expires_us = now_us.saturating_add(lifetime.saturating_mul(1_000_000));
    state.tokens.insert(token.clone(), Token { client: id, expires_us, revoked: false });
    Reply::json(json!({"access_token": token, "token_type": "bearer", "expires_in": lifetime}))
}

/// The token endpoint's throttling, which is a 400 (contract 2).
pub(super) fn throttled() -> Reply {
    oauth(400, "invalid_request", "Token request failed: rate limit exceeded for this client")
}

/// Checks the form of T1.
fn form(call: &Call) -> Result<(), Reply> {
    let media_type = call.header("content-type").and_then(|value| value.split(';').next()).unwrap_or_default();
    if !media_type.trim().eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err(oauth(400, "invalid_request", "the body must be application/x-www-form-urlencoded"));
    }
    let grants: Vec<_> = url::form_urlencoded::parse(&call.body).filter(|(name, _)| name == "grant_type").collect();
    match grants.as_slice() {
        [(_, grant)] if grant == "client_credentials" => Ok(()),
        [_] => Err(oauth(400, "unsupported_grant_type", "only client_credentials is supported")),
        _ => Err(oauth(400, "invalid_request", "grant_type must be given exactly once")),
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    credentials(headers, "bearer")
}

/// Id and secret of an `Authorization: Basic` header, each part form-decoded.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let text = String::from_utf8(base64_decode(credentials(headers, "basic")?)?).ok()?;
    let (id, secret) = text.split_once(':')?;
    Some((form_decode(id)?, form_decode(secret)?))
}

fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (found, rest) = headers.get("authorization")?.to_str().ok()?.split_once(' ')?;
    found.eq_ignore_ascii_case(scheme).then(|| rest.trim())
}

/// One part of the Basic header: `+` is a space, `%41` an `A`.
fn form_decode(part: &str) -> Option<String> {
    let spaced = part.replace('+', " ");
    percent_decode(spaced.as_bytes()).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// Standard base64 with or without padding; none for anything else.
fn base64_decode(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0_u32, 0_u32);
    for character in text.trim_end_matches('=').bytes() {
        let value = match character {
            b'A'..=b'Z' => character - b'A',
            b'a'..=b'z' => character - b'a' + 26,
            b'0'..=b'9' => character - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(value);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(((bits >> count) & 0xff) as u8);
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn basic_parts_are_form_decoded() {
        let mut headers = HeaderMap::new();
        // "my%3Aid:a%2Bb+c" in base64.
        headers.insert("authorization", "Basic bXklM0FpZDphJTJCYitj".parse().unwrap());
        assert_eq!(basic(&headers), Some(("my:id".to_owned(), "a+b c".to_owned())));
    }

    #[test]
    fn base64_that_is_none_is_refused() {
        assert_eq!(base64_decode("TWFu").as_deref(), Some(&b"Man"[..]));
        assert_eq!(base64_decode("TWE=").as_deref(), Some(&b"Ma"[..]));
        assert_eq!(base64_decode("T_-"), None);
    }
}
