//! The task that fetches a token.

use std::sync::Arc;
use std::time::Duration;

use reqwest::Request;
use reqwest::header::AUTHORIZATION;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc;
use tokio::time::Instant;
use url::form_urlencoded::byte_serialize;

use super::super::account::Account;
use super::super::budget::Ticket;
use super::super::error::{Error, ErrorKind, Problem};
use super::super::lane::Lane;
use super::super::retry::MAX_REQUESTS;
use super::super::timing::{doubled, jittered, jittered_up};
use super::super::wire::Wire;
use super::answer::{Verdict, judge};
use super::{Credentials, T1, Token};

/// Clears the flight should the task end without landing.
struct Landing {
    account: Arc<Account>,
    landed: bool,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if !self.landed {
            self.account.tokens.lock().flight = None;
        }
    }
}

/// Fetches a token with `credentials` and lands it.
pub(super) async fn run(
    account: Arc<Account>,
    wire: Arc<Wire>,
    credentials: Credentials,
    paid: mpsc::Receiver<Ticket>,
) -> Result<Token, Error> {
    let mut landing = Landing { account: account.clone(), landed: false };
    let result = fetch(&account, &wire, &credentials, paid).await;
    landing.landed = true;
    if let Err(error) = &result {
        tracing::warn!(client_id = account.client_id(), %error, "no access token");
    }
    account.tokens.land(&credentials.version, result)
}

async fn fetch(
    account: &Account,
    wire: &Wire,
    credentials: &Credentials,
    mut paid: mpsc::Receiver<Ticket>,
) -> Result<(SecretString, Duration), Error> {
    let mut requests = 0;
    loop {
        let request = request(account, wire, credentials)?;
        let basic = basic(&request);
        let ticket = admit(account, &mut paid).await;
        let sent_at = Instant::now();
        let spent = ticket.spend();
        let reply = wire.exchange(T1, request).await;
        drop(spent);
        requests += 1;
        let reply = match reply {
            Ok(reply) => reply,
            Err(fault) => {
                let error = Error::new(T1, ErrorKind::Unavailable).because(fault.text);
                again(wire, error, requests, None).await?;
                continue;
            }
        };
        let retry_after = reply.retry_after();
        let secret = credentials.secret.expose_secret();
        let encoded = encoded(secret);
        let secrets = [basic.as_str(), secret, &encoded];
        let problem = Problem::parse(reply.status, reply.text(), reply.correlation_id(&secrets), &secrets);
        match judge(reply.status, reply.text(), &problem) {
            Verdict::Granted(token, lifetime) => {
                account.unthrottled(sent_at);
                return Ok((token, lifetime));
            }
            Verdict::Throttled(error) => {
                // The 400 has no Retry-After to believe: it counts as a 429 without one.
                let known = retry_after.filter(|_| reply.status == 429);
                let wait = account.throttled(sent_at, known);
                if requests >= MAX_REQUESTS || wait > wire.timing.hold {
                    return Err(error.after(Some(wait)));
                }
            }
            Verdict::Again(error) => {
                let known = retry_after.filter(|_| reply.status == 503);
                again(wire, error, requests, known).await?;
            }
            Verdict::Refused(error) => return Err(error),
        }
    }
}

/// Waits for the budget, or takes the ticket of a caller; then for the end of a pause that began meanwhile.
async fn admit(account: &Account, paid: &mut mpsc::Receiver<Ticket>) -> Ticket {
    let own = account.budget().ticket(Lane::Underway);
    let ticket = tokio::select! {
        biased;
        Some(ticket) = paid.recv() => ticket,
        ticket = own => ticket,
    };
    while let Some(left) = account.paused_for() {
        tokio::time::sleep(left).await;
    }
    ticket
}

/// Backs off, or gives up with `error`.
async fn again(wire: &Wire, error: Error, requests: u32, retry_after: Option<Duration>) -> Result<(), Error> {
    let timing = &wire.timing;
    let wait = match retry_after {
        Some(wait) => jittered_up(wait),
        None => jittered(doubled(timing.backoff, requests - 1, timing.backoff_cap)),
    };
    if requests >= MAX_REQUESTS || wait > timing.hold {
        return Err(error.after(retry_after));
    }
    tokio::time::sleep(wait).await;
    Ok(())
}

fn request(account: &Account, wire: &Wire, credentials: &Credentials) -> Result<Request, Error> {
    let mut url = account.login().clone();
    url.set_path("/oauth/token");
    // Basic auth of the form-encoded parts (contract section 2); reqwest marks the header sensitive.
    wire.http
        .post(url)
        .basic_auth(encoded(account.client_id()), Some(encoded(credentials.secret.expose_secret())))
        .form(&[("grant_type", "client_credentials")])
        .build()
        .map_err(|_| Error::new(T1, ErrorKind::Configuration).because("the token request cannot be built"))
}

/// The credentials as the header has them: a server that echoes its request shows them so.
fn basic(request: &Request) -> String {
    let header = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    header.and_then(|value| value.strip_prefix("Basic ")).unwrap_or_default().to_owned()
}

fn encoded(part: &str) -> String {
    byte_serialize(part.as_bytes()).collect()
}
