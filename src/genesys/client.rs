//! The one `send`: token, budget, gate, repeats and limits for every call of the contract.

mod attempt;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use super::account::Account;
use super::budget::Ticket;
use super::call::{Answer, Call, Halted};
use super::endpoints::{self, Endpoints};
use super::error::{Error, ErrorKind};
use super::lane::Lane;
use super::observer::Observer;
use super::retry::RetryClass;
use super::timing::Timing;
use super::token::{Step, T1, Token, Tokens};
use super::wire::Wire;
use attempt::Run;

/// Speaks to one org. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Client {
    account: Arc<Account>,
    wire: Arc<Wire>,
    api: url::Url,
}

impl Client {
    /// A client of `account` at `endpoints`, with the operator's limits.
    ///
    /// # Errors
    /// [`ErrorKind::Configuration`]: a base URL that [`endpoints::check`] refuses, a login URL that is not the account's, or a CA
    /// bundle that is not PEM.
    pub fn new(account: Arc<Account>, endpoints: &Endpoints, observer: Arc<dyn Observer>) -> Result<Client, Error> {
        Client::with_timing(account, endpoints, observer, Timing::default())
    }

    /// As [`Client::new`], with other limits.
    ///
    /// # Errors
    /// As [`Client::new`].
    pub fn with_timing(
        account: Arc<Account>,
        endpoints: &Endpoints,
        observer: Arc<dyn Observer>,
        timing: Timing,
    ) -> Result<Client, Error> {
        let refused = |detail: &str| Error::new("setup", ErrorKind::Configuration).because(detail);
        for url in [&endpoints.login, &endpoints.api] {
            endpoints::check(url).map_err(|error| refused(&error.to_string()))?;
        }
        if endpoints.login != *account.login() {
            return Err(refused("the login endpoint is not the account's"));
        }
        Ok(Client { account, wire: Arc::new(Wire::new(endpoints, observer, timing)?), api: endpoints.api.clone() })
    }

    /// The account that pays for the calls.
    #[must_use]
    pub fn account(&self) -> &Arc<Account> {
        &self.account
    }

    /// A sequence of calls for one object: the first is paid by `ticket`, which must be of this account's budget, the others
    /// wait in [`Lane::Underway`].
    #[must_use]
    pub fn session(&self, ticket: Ticket) -> Session {
        Session { client: self.clone(), lane: ticket.lane(), prepaid: Some(ticket), reserved: None }
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("account", &self.account).field("api", &self.api.as_str()).finish_non_exhaustive()
    }
}

/// Who holds a call in reserve waits for another one that long.
const HOLD_AND_WAIT: Duration = Duration::from_secs(10);

/// Calls for one object, one after the other.
#[derive(Debug)]
pub struct Session {
    client: Client,
    /// The lane of the first call.
    lane: Lane,
    prepaid: Option<Ticket>,
    /// Kept for a write without a guard.
    reserved: Option<Ticket>,
}

/// What comes after a request that did not end its call.
enum Next {
    Done(Answer),
    /// Repeat after this time.
    Wait(Duration),
    /// Repeat as soon as the account allows it.
    Again,
}

impl Session {
    /// Sends a call: takes the token and the budget, asks the gate, repeats what may be repeated (contract section 6), and
    /// returns a 2xx answer whose body is JSON.
    ///
    /// It holds the task for waits of at most [`Timing::hold`] each; a longer pause ends it as [`ErrorKind::Throttled`] with
    /// [`Error::retry_after`]. Waiting for a full budget is not bounded.
    ///
    /// # Errors
    /// [`Error`], by [`ErrorKind`]. After a request of a write that may have taken effect every end but success, conflict and
    /// halt is [`ErrorKind::LostAnswer`].
    pub async fn send(&mut self, call: Call) -> Result<Answer, Error> {
        let url = call.url(&self.client.api)?;
        let mut run = Run::new(&self.client, &call);
        loop {
            if call.class == RetryClass::UnguardedWrite && self.prepaid.is_none() {
                self.prepaid = self.reserved.take();
            }
            let (token, ticket) = match self.admit(call.endpoint).await {
                Ok(admitted) => admitted,
                Err(error) => return Err(run.ended(error)),
            };
            // Nothing is awaited between the gate and the wire.
            if let Some(Err(Halted(why))) = call.gate.as_ref().map(|gate| gate()) {
                self.prepaid = Some(ticket);
                let halted = Error::new(call.endpoint, ErrorKind::Halted).because(why);
                return Err(run.ended(halted));
            }
            match run.request(&url, &token, ticket).await {
                Ok(Next::Done(answer)) => return Ok(answer),
                Ok(Next::Wait(wait)) => tokio::time::sleep(wait).await,
                Ok(Next::Again) => {}
                Err(error) => return Err(run.ended(error)),
            }
        }
    }

    /// Takes the budget for one write without a guard in advance, so that it follows the read before it at once. It is kept
    /// until such a write is sent, or a read would wait for long.
    ///
    /// # Errors
    /// [`ErrorKind::Throttled`] during a long pause.
    pub async fn reserve(&mut self) -> Result<(), Error> {
        if self.reserved.is_some() {
            return Ok(());
        }
        self.reserved = Some(self.ticket("reserve", Lane::Underway).await?);
        Ok(())
    }

    /// Waits for the next call in the lane of the first one, behind the changes of others: a sequence of a thousand calls must not stand
    /// in the way of an edit.
    ///
    /// # Errors
    /// [`ErrorKind::Throttled`] during a long pause.
    pub async fn turn(&mut self) -> Result<(), Error> {
        if self.prepaid.is_some() {
            return Ok(());
        }
        self.prepaid = Some(self.ticket("turn", self.lane.max(Lane::First)).await?);
        Ok(())
    }

    /// A call in advance; an error during a long pause.
    async fn ticket(&self, what: &'static str, lane: Lane) -> Result<Ticket, Error> {
        let account = &self.client.account;
        tokio::select! {
            biased;
            left = account.paused_longer_than(self.client.wire.timing.hold) => Err(paused(what, left)),
            ticket = account.budget().ticket(lane) => Ok(ticket),
        }
    }

    /// Gives the next call back: its owner waits for something else.
    pub fn give_back(&mut self) {
        self.prepaid = None;
    }

    /// A ticket for what is under way. Who holds one in reserve does not wait for long: many that hold and wait would stop each
    /// other for ever.
    async fn underway(&mut self) -> Ticket {
        let account = self.client.account.clone();
        let ticket = account.budget().ticket(Lane::Underway);
        if self.reserved.is_none() {
            return ticket.await;
        }
        match tokio::time::timeout(HOLD_AND_WAIT, ticket).await {
            Ok(ticket) => ticket,
            Err(_) => match self.reserved.take() {
                Some(ticket) => ticket,
                None => account.budget().ticket(Lane::Underway).await,
            },
        }
    }

    /// Makes sure of a valid token, with a T1 where there is none, and makes no other call: proof that the credentials are good.
    ///
    /// # Errors
    /// [`ErrorKind::BadCredentials`], [`ErrorKind::Throttled`] and whatever else T1 can end with.
    pub async fn authenticate(&mut self) -> Result<(), Error> {
        let account = self.client.account.clone();
        let hold = self.client.wire.timing.hold;
        tokio::select! {
            biased;
            left = account.paused_longer_than(hold) => Err(paused(T1, left)),
            token = self.token() => token.map(drop),
        }
    }

    /// Waits for pause, token and budget, so that a request may go out at this moment.
    async fn admit(&mut self, endpoint: &'static str) -> Result<(Token, Ticket), Error> {
        let account = self.client.account.clone();
        let hold = self.client.wire.timing.hold;
        tokio::select! {
            biased;
            left = account.paused_longer_than(hold) => Err(paused(endpoint, left)),
            admitted = self.admitted() => admitted,
        }
    }

    async fn admitted(&mut self) -> Result<(Token, Ticket), Error> {
        let account = self.client.account.clone();
        loop {
            // Before the ticket: a granted call that waits for a token is one that nobody else can make.
            self.token().await?;
            if self.prepaid.is_none() {
                self.prepaid = Some(self.underway().await);
            }
            if let Some(left) = account.paused_for() {
                tokio::time::sleep(left).await;
                continue;
            }
            // Again, because the waits may have outlived it.
            if let Step::Use(token) = Tokens::step(&account, &self.client.wire)
                && let Some(ticket) = self.prepaid.take()
            {
                return Ok((token, ticket));
            }
        }
    }

    /// The valid token; waits for T1 where there is none.
    async fn token(&mut self) -> Result<Token, Error> {
        let account = &self.client.account;
        loop {
            let version = account.tokens.version();
            let flight = match Tokens::step(account, &self.client.wire) {
                Step::Use(token) => return Ok(token),
                Step::Refuse(error) => return Err(error),
                Step::Wait(flight) => flight,
            };
            self.prepaid = self.prepaid.take().and_then(|ticket| account.tokens.pay(ticket));
            let result = flight.await;
            // A refusal of a secret that was replaced while we waited is not ours.
            if result.is_ok() || account.tokens.version() == version {
                return result;
            }
        }
    }
}

fn paused(endpoint: &'static str, left: Duration) -> Error {
    Error::new(endpoint, ErrorKind::Throttled).after(Some(left))
}
