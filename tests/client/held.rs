//! An object of any kind with its status, and the ledger that stands for its cluster.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use assist_operator::api::conditions::{READY, find};
use assist_operator::api::status::Intent;
use assist_operator::api::{AgentAssistConfig, ManagedStatus};
use assist_operator::clock;
use assist_operator::controller::outcome::{Facts, Verdict, outcome};
use assist_operator::engine::gate::Refusal;
use assist_operator::engine::kind::Texts;
use assist_operator::engine::{Kind, Why};
use assist_operator::genesys::{Gate, Halted};
use assist_operator::remote::Remote;
use assist_operator::remote::audit::{AuditRecord, Subject};
use assist_operator::remote::converge::{Convergence, Request};
use assist_operator::remote::ledger::{Intended, Ledger};
use assist_operator::remote::states::States;
use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::stage::{ID, leaks};

/// An AgentAssistConfig under test.
pub type Aac = Held<AgentAssistConfig>;

/// The object under test.
pub struct Held<K: Remote> {
    pub spec: Value,
    pub status: ManagedStatus,
    pub generation: i64,
    pub book: Book,
    pub max_age: Option<Duration>,
    pub approval_required: bool,
    pub approved: Option<String>,
    pub requested: bool,
    pub immediate_retry: bool,
    pub refusal: Option<Refusal>,
    /// Whether an evaluation that status remembers may go on.
    pub resumes: bool,
    /// What the operator remembers of remote states.
    pub states: Arc<States>,
    object: K,
}

impl Aac {
    /// That declares these settings.
    pub fn new(config: Value) -> Self {
        Self::of(json!({"orgRef": {"name": "o"}, "configId": ID, "config": config}))
    }

    /// Declares other settings.
    pub fn declare(&mut self, config: Value) {
        self.edit(|spec| spec["config"] = config);
    }
}

impl<K: Remote + DeserializeOwned> Held<K> {
    /// With this spec.
    pub fn of(spec: Value) -> Self {
        let object = object(&spec);
        Self {
            spec,
            status: ManagedStatus::default(),
            generation: 1,
            book: Book::default(),
            max_age: None,
            approval_required: false,
            approved: None,
            requested: false,
            immediate_retry: true,
            refusal: None,
            resumes: false,
            states: Arc::default(),
            object,
        }
    }

    /// A change of spec: the next reconcile has a new generation and may use remembered states.
    pub fn edit(&mut self, edit: impl FnOnce(&mut Value)) {
        edit(&mut self.spec);
        self.object = object(&self.spec);
        self.generation += 1;
        self.max_age = Some(Duration::from_secs(600));
        (self.immediate_retry, self.refusal) = (true, None);
    }

    /// A drift check: everything is read.
    pub fn checks(&mut self) {
        self.max_age = None;
    }

    /// The operator ended and began anew: what is left is the status.
    pub fn restart(&mut self) {
        (self.states, self.max_age, self.refusal, self.immediate_retry) = (Arc::default(), None, None, true);
    }

    pub fn desired(&self) -> K::Desired {
        self.object.validate(&Texts::new()).unwrap()
    }

    pub fn subject(&self) -> Subject {
        Subject {
            org: "team/o".into(),
            namespace: "team".into(),
            kind: K::KIND.into(),
            name: "x".into(),
            generation: self.generation,
        }
    }

    pub fn request<'a>(&'a self, host: &'a str, desired: &'a K::Desired, subject: &'a Subject) -> Request<'a, K> {
        Request {
            object: &self.object,
            desired,
            connection: "connection",
            host,
            status: &self.status,
            subject,
            max_age: self.max_age,
            approval_required: self.approval_required,
            approved: self.approved.as_deref(),
            refused: self.refusal.as_ref(),
            requested: self.requested,
            immediate_retry: self.immediate_retry,
            resumes: self.resumes,
        }
    }

    /// Phase 7: the status from now on.
    pub fn conclude(&mut self, convergence: &Convergence) {
        let facts = Facts {
            generation: self.generation,
            policy: self.object.policy(),
            requested: None,
            approved: self.approved.as_deref(),
            previous: &self.status,
            watch: None,
            traffic: None,
            now: clock::now(),
        };
        let outcome = outcome(&Verdict::Converged(convergence), &facts);
        let records = format!("{:?}", self.book.records());
        for text in [format!("{convergence:?}"), format!("{:?}", outcome.status), format!("{:?}", outcome.event), records] {
            assert!(!leaks(&text), "the secret is in {text}");
        }
        self.refusal = outcome.refusal.or(self.refusal.take());
        self.status = outcome.status;
    }

    /// Reason and message of `Ready`.
    pub fn ready(&self) -> (&str, &str) {
        let ready = find(&self.status.conditions, READY).unwrap();
        (&ready.reason, &ready.message)
    }

    /// The outcomes of the audit records, oldest first.
    pub fn audits(&self) -> Vec<&'static str> {
        self.book.records().iter().map(|record| record.status.as_str()).collect()
    }

    /// The number of a version that was never confirmed.
    pub fn unconfirmed(&self) -> Option<&str> {
        self.status.unconfirmed.as_ref().map(|unconfirmed| unconfirmed.version.as_str())
    }

    /// The paths that the status remembers as created by this object.
    pub fn created(&self) -> Vec<&str> {
        self.status.applied.iter().filter(|a| a.created).map(|a| a.path.as_str()).collect()
    }
}

fn object<K: Kind + DeserializeOwned>(spec: &Value) -> K {
    serde_json::from_value(json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": K::KIND,
        "metadata": {"name": "x", "namespace": "team"}, "spec": spec,
    }))
    .unwrap()
}

/// The ledger: keeps everything, and says what the test told it to say.
#[derive(Default)]
pub struct Book {
    records: Mutex<Vec<AuditRecord>>,
    intents: Mutex<Vec<Intent>>,
    attempts: Mutex<Vec<Why>>,
    /// The status that the run began with.
    before: Mutex<ManagedStatus>,
    /// What of the status was recorded last in the midst of the run.
    last: Mutex<Option<ManagedStatus>>,
    /// How often status was recorded in the midst of runs.
    patches: AtomicU32,
    /// The record with this number, from 1, is never answered; whether it is made.
    pub stuck_at: Option<(u32, bool)>,
    stuck: AtomicBool,
    /// The users whose skills somebody declares.
    pub claimed: BTreeSet<String>,
    /// So many questions about them are answered as if nobody did.
    pub unclaimed_for: u32,
    claims_asked: AtomicU32,
    /// The time; unset: the real one.
    pub now: Option<Timestamp>,
    /// So many requests of writes pass the gate; unset: all.
    pub open_for: Option<u32>,
    asked: Arc<AtomicU32>,
    /// No intent can be recorded.
    pub broken: bool,
    /// The store of audit records is full.
    pub audit_full: bool,
    /// It is full once it holds so many records; unset: never.
    pub audit_room: Option<usize>,
    /// So many writes are left of the change limit of the org; unset: any number.
    pub attempts_left: Option<usize>,
    /// No audit record can be stored.
    pub unsafe_records: bool,
    /// The change limit of the org is used up until then.
    pub limited_until: Option<Timestamp>,
}

impl Book {
    pub fn records(&self) -> Vec<AuditRecord> {
        self.records.lock().unwrap().clone()
    }

    pub fn intents(&self) -> Vec<Intent> {
        self.intents.lock().unwrap().clone()
    }

    /// A run begins with this status.
    pub fn begin(&self, status: &ManagedStatus) {
        self.before.lock().unwrap().clone_from(status);
        self.stuck.store(false, Ordering::SeqCst);
        *self.last.lock().unwrap() = None;
    }

    /// How often status was recorded in the midst of runs.
    pub fn patches(&self) -> u32 {
        self.patches.load(Ordering::SeqCst)
    }

    /// Whether a record is never answered.
    pub fn is_stuck(&self) -> bool {
        self.stuck.load(Ordering::SeqCst)
    }

    /// What of the status was recorded last in the midst of a run: what a crash leaves. None where nothing was.
    pub fn last(&self) -> Option<ManagedStatus> {
        self.last.lock().unwrap().clone()
    }

    pub fn attempts(&self) -> Vec<Why> {
        self.attempts.lock().unwrap().clone()
    }
}

impl Ledger for Book {
    async fn intend(&self, intended: &Intended<'_>) -> Result<(), String> {
        if self.broken {
            return Err("the intent could not be recorded".into());
        }
        self.intents.lock().unwrap().extend(intended.intent.cloned());
        let number = self.patches.fetch_add(1, Ordering::SeqCst) + 1;
        let stuck = self.stuck_at.filter(|(at, _)| *at == number);
        if stuck.is_none_or(|(_, is_made)| is_made) {
            let mut last = self.last.lock().unwrap();
            let before = last.take().unwrap_or_else(|| self.before.lock().unwrap().clone());
            *last = Some(intended.status(&before));
        }
        if stuck.is_some() {
            self.stuck.store(true, Ordering::SeqCst);
            std::future::pending::<()>().await;
        }
        Ok(())
    }

    async fn look(&self) -> Result<(), String> {
        (self.gate())().map_err(|Halted(why)| why)
    }

    async fn claimed(&self, _: &str, users: &[String]) -> Result<BTreeSet<String>, String> {
        if self.claims_asked.fetch_add(1, Ordering::SeqCst) < self.unclaimed_for {
            return Ok(BTreeSet::new());
        }
        Ok(users.iter().filter(|user| self.claimed.contains(*user)).cloned().collect())
    }

    fn gate(&self) -> Gate {
        let (asked, open_for) = (self.asked.clone(), self.open_for);
        Arc::new(move || {
            let before = asked.fetch_add(1, Ordering::SeqCst);
            if open_for.is_none_or(|n| before < n) { Ok(()) } else { Err(Halted("it was suspended".into())) }
        })
    }

    fn limited_until(&self, _: Why) -> Option<Timestamp> {
        self.limited_until
    }

    fn attempt(&self, why: Why) -> Result<(), Timestamp> {
        let mut attempts = self.attempts.lock().unwrap();
        if self.attempts_left.is_some_and(|left| attempts.len() >= left) {
            return Err(self.now() + jiff::SignedDuration::from_mins(30));
        }
        attempts.push(why);
        Ok(())
    }

    fn not_attempted(&self) {
        self.attempts.lock().unwrap().pop();
    }

    fn is_audit_full(&self) -> bool {
        self.audit_full || self.audit_room.is_some_and(|room| self.records.lock().unwrap().len() >= room)
    }

    async fn audit(&self, record: AuditRecord) -> Result<(), String> {
        if self.unsafe_records {
            return Err("the record could not be stored".into());
        }
        self.records.lock().unwrap().push(record);
        Ok(())
    }

    fn now(&self) -> Timestamp {
        self.now.unwrap_or_else(clock::precise)
    }
}
