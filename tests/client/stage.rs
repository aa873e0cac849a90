//! A sandbox, an account and a client that fit together.

use std::sync::Arc;
use std::time::Duration;

use assist_operator::genesys::{Account, Client, Endpoints, Lane, NoObserver, Session, Timing};
use assist_operator::remote::Remote;
use assist_operator::remote::converge::{Convergence, converge};
use assist_operator::sandbox::{self, ClientSeed, Entry, Fault, FaultKind, Options, Sandbox, Seed, Times, World};
use secrecy::SecretString;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::held::Held;

/// The client secret of every stage. It must never be seen again: not in an error, a record, a log line or a debug print.
pub const SECRET: &str = "c4n4ry-s3cr3t +/%&ü";
/// The client id of every stage.
pub const CLIENT: &str = "client id/1";
/// The config of every stage.
pub const ID: &str = "c1";

/// The live document at the beginning, version 7.
pub fn live() -> Value {
    json!({
        "id": ID, "version": 7, "name": "Retail assist", "enabled": true,
        "rules": [{"id": "r1", "on": true}], "parameters": {"threshold": 0.72, "limit": 3},
    })
}

/// Short waits. They end on the real clock: a paused one would run into timeouts while the sockets work.
pub fn quick() -> Timing {
    Timing {
        connect: Duration::from_secs(2),
        total: Duration::from_secs(4),
        backoff: Duration::from_millis(2),
        backoff_cap: Duration::from_millis(8),
        hold: Duration::from_secs(4),
        ..Timing::default()
    }
}

/// Everything that a test needs.
pub struct Stage {
    pub sandbox: Sandbox,
    pub world: World,
    pub account: Arc<Account>,
    pub client: Client,
}

impl Stage {
    /// Over plain HTTP, with [`quick`] timing.
    pub async fn new() -> Self {
        Self::start(false, quick()).await
    }

    /// With other limits.
    pub async fn with_timing(timing: Timing) -> Self {
        Self::start(false, timing).await
    }

    /// Over TLS.
    pub async fn tls() -> Self {
        Self::start(true, quick()).await
    }

    async fn start(tls: bool, timing: Timing) -> Self {
        let mut past = live();
        (past["version"], past["name"], past["added"]) = (json!(6), json!("Older"), json!([1, null]));
        past["parameters"]["limit"] = json!(2);
        let seed = Seed {
            clients: vec![ClientSeed { id: CLIENT.into(), secret: SECRET.into(), scopes: None }],
            configs: vec![live()],
            history: [(ID.to_owned(), vec![past])].into(),
            ..Seed::empty()
        };
        let sandbox = Sandbox::start(Options { tls, seed, ..Options::default() }).await.unwrap();
        let world = sandbox.world().clone();
        let ca = sandbox.ca_pem().map(str::to_owned);
        let endpoints = Endpoints::custom(sandbox.url(), sandbox.url(), ca).unwrap();
        let (account, client) = client(&endpoints, timing);
        Self { sandbox, world, account, client }
    }

    /// A session that may make its first call now.
    pub async fn session(&self) -> Session {
        self.client.session(self.account.budget().ticket(Lane::Change).await)
    }

    /// Converges once, and brings the status of the object up to date as the controller does.
    pub async fn converge<K: Remote + DeserializeOwned>(&self, held: &mut Held<K>) -> Convergence {
        self.converge_in(&mut self.session().await, held).await
    }

    /// The same, in a session that is there already.
    pub async fn converge_in<K: Remote + DeserializeOwned>(&self, session: &mut Session, held: &mut Held<K>) -> Convergence {
        let host = self.sandbox.url().to_owned();
        let desired = held.desired();
        let subject = held.subject();
        let request = held.request(&host, &desired, &subject);
        held.book.begin(&held.status);
        let convergence = converge(session, &held.states, &held.book, &request).await;
        held.conclude(&convergence);
        convergence
    }

    /// Converges until the sandbox has ended so many requests, or a record of the status is never answered, and is killed then: what is left is the status that was recorded last.
    /// Answers the result where the end came first.
    pub async fn killed<K: Remote + DeserializeOwned>(&self, held: &mut Held<K>, requests: usize) -> Option<Convergence> {
        let host = self.sandbox.url().to_owned();
        let desired = held.desired();
        let subject = held.subject();
        let request = held.request(&host, &desired, &subject);
        held.book.begin(&held.status);
        let mut session = self.session().await;
        let before = self.world.journal_size().0;
        let enough = async {
            while self.world.journal_size().0 < before.saturating_add(requests) && !held.book.is_stuck() {
                tokio::task::yield_now().await;
            }
        };
        let ended = tokio::select! {
            biased;
            () = enough => None,
            convergence = converge(&mut session, &held.states, &held.book, &request) => Some(convergence),
        };
        drop(session);
        self.journal().await;
        match &ended {
            Some(convergence) => held.conclude(convergence),
            None => {
                held.status = held.book.last().unwrap_or_else(|| held.status.clone());
                held.restart();
            }
        }
        ended
    }

    /// A fault with the next so many of these calls.
    pub fn fault(&self, call: &str, times: u32, kind: FaultKind) {
        self.world.faults().push(Fault::new(kind).on(&[call]).times(Times::Count(times)));
    }

    /// The same, after so many of these calls have passed.
    pub fn fault_after(&self, call: &str, skip: u32, times: u32, kind: FaultKind) {
        self.world.faults().push(Fault::new(kind).on(&[call]).after(skip).times(Times::Count(times)));
    }

    /// Every request so far, whole: those that the client gave up on have ended too.
    pub async fn journal(&self) -> Vec<Entry> {
        while self.world.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        self.world.journal()
    }

    /// Requests other than T1 as `C1 200`, oldest first, after the invariants were checked.
    pub async fn calls(&self) -> Vec<String> {
        let journal = self.journal().await;
        assert_eq!(sandbox::check(&journal), []);
        let calls = journal.iter().filter(|e| e.actor == sandbox::Actor::Client && e.call != "T1");
        calls.map(|e| format!("{} {}", e.call, e.status)).collect()
    }

    /// How many requests of one call there were.
    pub async fn count(&self, call: &str) -> usize {
        self.journal().await.iter().filter(|e| e.call == call).count()
    }

    /// How many requests of one call are in the journal by now.
    pub fn count_now(&self, call: &str) -> usize {
        self.world.journal().iter().filter(|e| e.call == call).count()
    }

    /// Requests of one call.
    pub async fn entries(&self, call: &str) -> Vec<Entry> {
        self.journal().await.into_iter().filter(|e| e.call == call).collect()
    }

    /// A member of the live document.
    pub fn live(&self, pointer: &str) -> Value {
        self.world.config(ID).unwrap().pointer(pointer).cloned().unwrap_or_default()
    }

    /// Somebody else sets a member of the live document.
    pub fn foreign(&self, name: &str, value: Value) {
        assert!(self.world.edit_config(ID, |document| document[name] = value));
    }
}

/// An account with [`SECRET`] and a client of it. The limit is so large that the budget never waits.
pub fn client(endpoints: &Endpoints, timing: Timing) -> (Arc<Account>, Client) {
    let account = Account::new(endpoints.login.clone(), CLIENT, 60_000);
    account.set_credentials(SecretString::from(SECRET), "1");
    let client = Client::with_timing(account.clone(), endpoints, Arc::new(NoObserver), timing).unwrap();
    (account, client)
}

/// Whether a text holds the secret: as it is, cut, form-encoded (all begin alike), or inside a Basic header.
pub fn leaks(text: &str) -> bool {
    text.contains("c4n4ry") || text.contains("jNG40cnkt")
}
