//! T1: one token for an account, one refresh in flight, however many callers wait (contract section 2).

mod answer;
mod refresh;

#[cfg(test)]
mod tests;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use reqwest::header::HeaderValue;
use secrecy::{ExposeSecret, SecretString};
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::Instant;

use super::account::Account;
use super::budget::Ticket;
use super::error::{Error, ErrorKind};
use super::timing::{doubled, jittered};
use super::wire::Wire;

/// The contract's short name of the call.
pub(super) const T1: &str = "T1";

/// Between two tries of credentials that were refused, unless something gives a new try.
const REFUSED: Duration = Duration::from_secs(600);

/// The first and the longest back-off of T1 after other failures, for all callers together.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Renewed at most this long before its end; a short-lived token at half its lifetime.
const EARLY: Duration = Duration::from_secs(30);

/// The token of an account and all that is needed to renew it.
#[derive(Default)]
pub(super) struct Tokens {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    credentials: Option<Credentials>,
    token: Option<Held>,
    flight: Option<InFlight>,
    failure: Option<Failure>,
    /// Failures in a row.
    failures: u32,
    /// Numbers the tokens, so that a 401 drops the one that it is about and no later one.
    serial: u64,
}

#[derive(Clone)]
struct Credentials {
    secret: SecretString,
    version: String,
}

/// An access token as a caller uses it.
#[derive(Clone)]
pub(super) struct Token {
    value: SecretString,
    serial: u64,
}

struct Held {
    token: Token,
    renew_at: Instant,
    expires_at: Instant,
}

type Flight = Shared<BoxFuture<'static, Result<Token, Error>>>;

struct InFlight {
    flight: Flight,
    /// Takes a ticket from a caller that waits, see [`Tokens::pay`].
    payer: mpsc::Sender<Ticket>,
}

/// The last refresh failed: not again before `until`.
struct Failure {
    error: Error,
    until: Instant,
}

/// What a caller that needs a token does next.
pub(super) enum Step {
    Use(Token),
    Wait(Flight),
    Refuse(Error),
}

impl Token {
    /// The `Authorization` header, marked sensitive.
    pub(super) fn header(&self) -> Result<HeaderValue, Error> {
        let mut value = HeaderValue::try_from(format!("Bearer {}", self.value.expose_secret()))
            .map_err(|_| Error::new(T1, ErrorKind::BadAnswer).because("the token cannot be sent as a header"))?;
        value.set_sensitive(true);
        Ok(value)
    }

    /// For taking it out of texts.
    pub(super) fn expose(&self) -> &str {
        self.value.expose_secret()
    }

    pub(super) fn serial(&self) -> u64 {
        self.serial
    }
}

impl Tokens {
    pub(super) fn set_credentials(&self, secret: SecretString, version: &str) {
        let mut state = self.lock();
        if state.credentials.as_ref().is_some_and(|c| c.version == version) {
            return;
        }
        state.credentials = Some(Credentials { secret, version: version.to_owned() });
        state.failure = None;
        state.failures = 0;
        // A wrong new secret shall show now and not when the old token ends.
        if let Some(held) = &mut state.token {
            held.renew_at = Instant::now();
        }
    }

    pub(super) fn allow_try(&self) {
        self.lock().failure = None;
    }

    /// The valid token (a refresh that is due starts in the background), or the refresh to wait for, or why there is none.
    pub(super) fn step(account: &Arc<Account>, wire: &Arc<Wire>) -> Step {
        let mut state = account.tokens.lock();
        let now = Instant::now();
        let failed = state.failure.as_ref().filter(|failure| now < failure.until);
        let failed = failed.map(|failure| failure.error.clone().after(Some(failure.until - now)));
        if let Some(held) = state.token.as_ref().filter(|held| now < held.expires_at) {
            let token = held.token.clone();
            if now >= held.renew_at && failed.is_none() && state.flight.is_none() {
                state.depart(account, wire);
            }
            return Step::Use(token);
        }
        if let Some(in_flight) = &state.flight {
            return Step::Wait(in_flight.flight.clone());
        }
        if let Some(error) = failed {
            return Step::Refuse(error);
        }
        match state.depart(account, wire) {
            Some(flight) => Step::Wait(flight),
            None => Step::Refuse(Error::new(T1, ErrorKind::Configuration).because("no credentials were read yet")),
        }
    }

    /// Pays the refresh in flight with a caller's ticket, and gives the ticket back where it is paid for already.
    ///
    /// Callers hold granted calls while they wait for the token. With a small limit these can be the whole budget: T1 would
    /// wait for them and they for T1.
    pub(super) fn pay(&self, ticket: Ticket) -> Option<Ticket> {
        let state = self.lock();
        let Some(in_flight) = &state.flight else {
            return Some(ticket);
        };
        match in_flight.payer.try_send(ticket) {
            Ok(()) => None,
            Err(TrySendError::Full(ticket) | TrySendError::Closed(ticket)) => Some(ticket),
        }
    }

    /// A 401 named this token: it is used no more.
    pub(super) fn drop_token(&self, serial: u64) {
        let mut state = self.lock();
        if state.token.as_ref().is_some_and(|held| held.token.serial == serial) {
            state.token = None;
        }
    }

    /// The version of the credentials that the next refresh would use.
    pub(super) fn version(&self) -> Option<String> {
        self.lock().credentials.as_ref().map(|c| c.version.clone())
    }

    /// Ends the flight of `version` with a token and its lifetime, or with the failure.
    fn land(&self, version: &str, result: Result<(SecretString, Duration), Error>) -> Result<Token, Error> {
        let mut state = self.lock();
        let now = Instant::now();
        state.flight = None;
        let current = state.credentials.as_ref().is_some_and(|c| c.version == version);
        match result {
            Ok((value, lifetime)) => {
                state.serial += 1;
                let token = Token { value, serial: state.serial };
                state.failure = None;
                state.failures = 0;
                // Of a secret that was replaced meanwhile: it serves, and the next call renews it.
                let early = if current { EARLY.min(lifetime / 2) } else { lifetime };
                state.token = Some(Held {
                    token: token.clone(),
                    renew_at: now + lifetime.saturating_sub(early),
                    expires_at: now + lifetime,
                });
                Ok(token)
            }
            Err(error) => {
                // A failure of an old secret says nothing about the new one.
                if current {
                    let wait = state.hold_off(&error);
                    state.failure = Some(Failure { error: error.clone(), until: now + wait });
                }
                Err(error)
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Starts a refresh; None without credentials.
    fn depart(&mut self, account: &Arc<Account>, wire: &Arc<Wire>) -> Option<Flight> {
        let credentials = self.credentials.clone()?;
        let (payer, paid) = mpsc::channel(1);
        // A task of its own: the caller that happened to start it may be dropped while others wait.
        let task = tokio::spawn(refresh::run(account.clone(), wire.clone(), credentials, paid));
        let flight = async move {
            task.await.unwrap_or_else(|_| Err(Error::new(T1, ErrorKind::Unavailable).because("the refresh was broken off")))
        };
        let flight = flight.boxed().shared();
        self.flight = Some(InFlight { flight: flight.clone(), payer });
        Some(flight)
    }

    /// How long T1 is left alone after `error`.
    fn hold_off(&mut self, error: &Error) -> Duration {
        self.failures = self.failures.saturating_add(1);
        if error.is_terminal() {
            return REFUSED;
        }
        let (first, longest) = BACKOFF;
        let wait = jittered(doubled(first, self.failures - 1, longest));
        wait.max(error.retry_after.unwrap_or_default())
    }
}
