//! What all clients with the same {login URL, client id} share: the budget, the pause and the token.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::Instant;
use url::Url;

use super::budget::Budget;
use super::timing::{doubled, jittered_up};
use super::token::Tokens;

/// The first pause after a 429 that does not say how long (contract section 6).
const PAUSE: Duration = Duration::from_secs(1);

/// Where its doubling ends. The contract names no end; a minute is one whole window of the platform's own limit.
const PAUSE_CAP: Duration = Duration::from_secs(60);

/// An OAuth client at a login URL, with one secret. Two orgs with the same login URL and client id are one account to the
/// platform and share budget and pause; a token is shared only by those who know the same secret, or whoever knows a client
/// id could use another tenant's token.
pub struct Account {
    pacing: Arc<Pacing>,
    pub(super) tokens: Tokens,
}

/// What the platform counts for {login URL, client id}.
struct Pacing {
    login: Url,
    client_id: String,
    budget: Budget,
    pause: watch::Sender<Option<Instant>>,
    throttle: Mutex<Throttle>,
}

/// The memory of 429s without a length.
#[derive(Default)]
struct Throttle {
    /// How many in a row.
    count: u32,
    /// When the last one was answered. Answers to requests that were sent before it belong to the same episode.
    last: Option<Instant>,
}

impl Account {
    /// An account with its own budget of `limit_per_minute` calls, without credentials yet.
    #[must_use]
    pub fn new(login: Url, client_id: &str, limit_per_minute: u32) -> Arc<Account> {
        let pacing = Pacing {
            login,
            client_id: client_id.to_owned(),
            budget: Budget::new(limit_per_minute),
            pause: watch::Sender::new(None),
            throttle: Mutex::default(),
        };
        Arc::new(Account { pacing: Arc::new(pacing), tokens: Tokens::default() })
    }

    /// The same account of the platform with another secret: budget and pause are shared, tokens are not.
    #[must_use]
    pub fn with_other_secret(&self) -> Arc<Account> {
        Arc::new(Account { pacing: self.pacing.clone(), tokens: Tokens::default() })
    }

    /// Whether two accounts share budget and pause.
    #[must_use]
    pub fn shares_budget(&self, other: &Account) -> bool {
        Arc::ptr_eq(&self.pacing, &other.pacing)
    }

    /// The login base URL, where T1 goes.
    #[must_use]
    pub fn login(&self) -> &Url {
        &self.pacing.login
    }

    /// The OAuth client id.
    #[must_use]
    pub fn client_id(&self) -> &str {
        &self.pacing.client_id
    }

    /// The call budget.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.pacing.budget
    }

    /// Takes a client secret. `version` names its state (the Secret's resource version): the same version again changes
    /// nothing, a new one gives one new try after refused credentials, and renews a valid token with the next call.
    pub fn set_credentials(&self, secret: SecretString, version: &str) {
        self.tokens.set_credentials(secret, version);
    }

    /// Gives one new try after refused credentials: a reconcile request on the org (contract section 2).
    pub fn allow_token_try(&self) {
        self.tokens.allow_try();
    }

    /// Pauses every call and T1 for `length` from now. A pause is never shortened.
    pub fn pause(&self, length: Duration) {
        let now = Instant::now();
        let Some(until) = now.checked_add(length) else {
            return;
        };
        self.pacing.pause.send_if_modified(|end| {
            let longer = end.is_none_or(|end| end < until);
            if longer {
                *end = Some(until);
            }
            longer
        });
        self.pacing.budget.pause_until(until);
    }

    /// How long the pause still lasts; None where there is none.
    #[must_use]
    pub fn paused_for(&self) -> Option<Duration> {
        let until = (*self.pacing.pause.borrow())?;
        let left = until.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    /// The end of the last pause, each time it moves. An end in the past is no pause.
    #[must_use]
    pub fn subscribe_pause(&self) -> watch::Receiver<Option<Instant>> {
        self.pacing.pause.subscribe()
    }

    /// A 429 to a request that was sent at `sent_at`: pauses, and returns for how long.
    pub(super) fn throttled(&self, sent_at: Instant, retry_after: Option<Duration>) -> Duration {
        let mut throttle = self.throttle();
        let same_episode = throttle.last.is_some_and(|last| sent_at <= last);
        if !same_episode {
            throttle.last = Some(Instant::now());
        }
        let wait = if let Some(wait) = retry_after {
            jittered_up(wait)
        } else {
            // A volley that was under way together is refused together: it doubles once.
            if !same_episode {
                throttle.count = throttle.count.saturating_add(1);
            }
            jittered_up(doubled(PAUSE, throttle.count.saturating_sub(1), PAUSE_CAP))
        };
        drop(throttle);
        // The volley shares one pause: its later answers must not push the end of it out, each by its own jitter.
        if !same_episode || retry_after.is_some() {
            self.pause(wait);
        }
        self.paused_for().unwrap_or_default()
    }

    /// An answer other than 429 to a request that was sent at `sent_at`: the doubling starts anew.
    pub(super) fn unthrottled(&self, sent_at: Instant) {
        let mut throttle = self.throttle();
        if throttle.last.is_some_and(|last| sent_at > last) {
            *throttle = Throttle::default();
        }
    }

    /// Completes with the rest of the pause as soon as that is longer than `hold`.
    pub(super) async fn paused_longer_than(&self, hold: Duration) -> Duration {
        let mut pause = self.subscribe_pause();
        loop {
            pause.borrow_and_update();
            if let Some(left) = self.paused_for().filter(|left| *left > hold) {
                return left;
            }
            if pause.changed().await.is_err() {
                // The sender is our own: it cannot be gone.
                std::future::pending::<()>().await;
            }
        }
    }

    fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.pacing.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Account {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Account")
            .field("login", &self.pacing.login.as_str())
            .field("client_id", &self.pacing.client_id)
            .field("budget", &self.pacing.budget)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account() -> Arc<Account> {
        Account::new(Url::parse("https://login.example.com").unwrap(), "id", 600)
    }

    const S: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn a_pause_is_never_shortened_and_ends() {
        let account = account();
        let mut pauses = account.subscribe_pause();
        assert_eq!(account.paused_for(), None);
        account.pause(10 * S);
        account.pause(S);
        assert_eq!(account.paused_for(), Some(10 * S));
        assert!(pauses.has_changed().unwrap());
        assert_eq!(*pauses.borrow_and_update(), Some(Instant::now() + 10 * S));
        tokio::time::advance(10 * S).await;
        assert_eq!(account.paused_for(), None);
        account.pause(Duration::MAX);
        assert_eq!(account.paused_for(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn unknown_lengths_double_once_for_each_volley_and_start_anew_after_a_success() {
        let account = account();
        let mut bases = Vec::new();
        for _ in 0..9 {
            let sent = Instant::now();
            tokio::time::advance(S / 10).await;
            let first = account.throttled(sent, None);
            // Others of the same volley.
            assert_eq!(account.throttled(sent, None), first);
            bases.push(first.as_secs_f64());
            tokio::time::advance(first).await;
        }
        for (n, wait) in bases.iter().enumerate() {
            let base = f64::from(2_u32.pow(n as u32)).min(60.0);
            assert!((base..=base * 1.5).contains(wait), "{n}: {wait}");
        }
        account.unthrottled(Instant::now() + S);
        let again = account.throttled(Instant::now() + S, None);
        assert!(again <= S * 3 / 2, "{again:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_known_length_is_jittered_upwards_only() {
        for _ in 0..100 {
            let wait = account().throttled(Instant::now(), Some(4 * S));
            assert!((4 * S..=6 * S).contains(&wait), "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_success_from_before_the_throttling_does_not_end_it() {
        let account = account();
        let early = Instant::now();
        tokio::time::advance(S).await;
        account.throttled(Instant::now(), None);
        account.unthrottled(early);
        tokio::time::advance(2 * S).await;
        assert!(account.throttled(Instant::now(), None) >= 2 * S);
    }
}
