//! A1: the team's own registry of audit records (contract section 7). No call of the platform: it has no token, no budget and no
//! pause, and it is never sent to an address inside of the network unless that was allowed.

mod addresses;

use std::fmt;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use reqwest::Response;
use reqwest::header::CONTENT_TYPE;
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;
use url::Url;

use super::error::{Error, ErrorKind};
use super::wire;
use addresses::{GlobalOnly, Refused};

/// How long a delivery may take (contract section 7).
const TIMEOUT: Duration = Duration::from_secs(5);

/// So much of an answer's body is read, so that its connection can be used again; then it is given up.
const BODY_BYTES: usize = 4096;

/// And for no longer than this: the status has said all.
const BODY_TIME: Duration = Duration::from_millis(250);

/// Delivers audit records to one URL.
pub struct Sink {
    http: reqwest::Client,
    url: Url,
    key: Option<SecretString>,
}

/// A record that did not arrive, as far as we know. The text is the same for the same cause: no ids, no URL, no key, no record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Undelivered {
    /// The status, where there was an answer.
    pub status: Option<u16>,
    /// What happened, in our own words.
    pub detail: String,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the audit webhook {}", self.detail)
    }
}

impl std::error::Error for Undelivered {}

impl fmt::Debug for Sink {
    /// Without the URL's path and query and without the key: all of them may be secrets.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("host", &self.url.host_str()).field("signed", &self.key.is_some()).finish_non_exhaustive()
    }
}

impl Sink {
    /// A sink at `url`, which signs with `key`. Without `private` only https to addresses of the public internet is used, also
    /// after the name was resolved; with it any address, and http to loopback.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: the URL breaks one of these rules or holds a user name, or the key is empty.
    pub fn new(url: Url, key: Option<SecretString>, private: bool) -> Result<Sink, Error> {
        Sink::with_timeout(url, key, private, TIMEOUT)
    }

    fn with_timeout(url: Url, key: Option<SecretString>, private: bool, timeout: Duration) -> Result<Sink, Error> {
        check(&url, private).map_err(refused)?;
        if key.as_ref().is_some_and(|key| key.expose_secret().is_empty()) {
            return Err(refused("the signing key of the audit webhook is empty"));
        }
        let mut builder = wire::builder().https_only(url.scheme() == "https").timeout(timeout);
        if !private {
            builder = builder.dns_resolver(GlobalOnly);
        }
        let http = builder.build().map_err(|_| refused("no HTTP client for the audit webhook"))?;
        Ok(Sink { http, url, key })
    }

    /// A1: sends one record once. A 2xx is delivered; a redirect is not followed, and is none. The same record may be sent again,
    /// byte for byte.
    ///
    /// # Errors
    /// [`Undelivered`]; after a timeout or a broken connection it may have arrived all the same.
    pub async fn deliver(&self, audit_id: &str, body: &[u8]) -> Result<(), Undelivered> {
        let mut request = self
            .http
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header("X-Audit-Id", audit_id)
            .body(body.to_vec());
        if let Some(key) = &self.key {
            request = request.header("X-Signature-256", signature(key.expose_secret().as_bytes(), body));
        }
        let response = request.send().await.map_err(|error| lost(&error))?;
        let status = response.status().as_u16();
        discard(response).await;
        match status {
            200..=299 => Ok(()),
            300..=399 => Err(answered(status, "answered a redirect, which is not followed: correct its URL")),
            401 | 403 => Err(answered(status, "refused the record: check its signing key and its access rules")),
            404 | 405 | 410 => Err(answered(status, "was not found at its URL: correct the URL")),
            429 => Err(answered(status, "is throttling")),
            _ => Err(answered(status, "did not take the record")),
        }
    }
}

/// The rules for a webhook's URL.
fn check(url: &Url, private: bool) -> Result<(), &'static str> {
    if url.host().is_none() {
        return Err("the URL of the audit webhook has no host");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("the URL of the audit webhook must not hold a user name or a password");
    }
    match url.scheme() {
        "https" => {}
        "http" if private => {}
        _ => return Err("the audit webhook must use https (http only where this endpoint was allowed)"),
    }
    // The resolver never gets to see an address.
    let literal = match url.host() {
        Some(url::Host::Ipv4(ip)) => Some(ip.into()),
        Some(url::Host::Ipv6(ip)) => Some(ip.into()),
        Some(url::Host::Domain(_)) | None => None,
    };
    if !private && literal.is_some_and(|ip| !addresses::is_global(ip)) {
        return Err("the audit webhook is at a private address, which must be allowed first");
    }
    Ok(())
}

fn refused(detail: &str) -> Error {
    Error::new("A1", ErrorKind::Configuration).because(detail)
}

fn answered(status: u16, what: &str) -> Undelivered {
    Undelivered { status: Some(status), detail: format!("{what} (HTTP {status})") }
}

/// What became of a delivery without an answer.
fn lost(error: &reqwest::Error) -> Undelivered {
    let detail = if is_refused(error) {
        "has a name that leads to private addresses only, which must be allowed first"
    } else if error.is_timeout() {
        "did not answer in time"
    } else if error.is_connect() {
        "cannot be reached: no address, no connection or no valid certificate"
    } else if error.is_builder() {
        "cannot be sent this record: the request cannot be built"
    } else {
        "broke the connection"
    };
    Undelivered { status: None, detail: detail.to_owned() }
}

/// Whether our resolver refused the name.
fn is_refused(error: &reqwest::Error) -> bool {
    let mut next = std::error::Error::source(error);
    while let Some(cause) = next {
        if cause.is::<Refused>() {
            return true;
        }
        next = cause.source();
    }
    false
}

/// `sha256=` and the HMAC-SHA256 of the body in lower-case hex.
fn signature(key: &[u8], body: &[u8]) -> String {
    let mut text = "sha256=".to_owned();
    // Every length is a key for HMAC; there is nothing to go wrong.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return text };
    mac.update(body);
    for byte in mac.finalize().into_bytes() {
        text.extend([byte >> 4, byte & 15].into_iter().filter_map(|nibble| char::from_digit(nibble.into(), 16)));
    }
    text
}

/// Reads the rest of a small answer, so that the connection stays; whatever else there is goes with the connection.
async fn discard(mut response: Response) {
    let read = async {
        let mut left = BODY_BYTES;
        while let Ok(Some(chunk)) = response.chunk().await {
            let Some(rest) = left.checked_sub(chunk.len()) else { break };
            left = rest;
        }
    };
    // How far it came does not matter.
    let _ = tokio::time::timeout(BODY_TIME, read).await;
}

#[cfg(test)]
mod tests;
