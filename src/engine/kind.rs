//! What a kind brings to the engine: its rules, its targets, and its plan.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::Value;

use super::finding::Finding;
use super::memory::Memory;
use super::plan::{Guard, Plan, Target};
use crate::api::conditions::Reason;
use crate::api::status::{AgentResult, Evaluation, IntentStep};
use crate::api::{Managed, Policy};

/// A managed kind. One file in each layer; this is the engine's.
pub trait Kind: Managed {
    /// Kind as in manifests; also the label of metrics.
    const KIND: &'static str;
    /// Who numbers the versions of the remote object, and so what a lost answer means.
    const VERSIONS: Versions = Versions::Counted;
    /// The validated spec. Later phases do not see the raw one.
    type Desired: Send + Sync;

    /// The texts outside of the object that its spec refers to. They are read before phase 2.
    fn sources(&self) -> Vec<Source> {
        Vec::new()
    }
    /// Phase 2: the desired state, or all findings. `texts` holds the sources that could be read.
    fn validate(&self, texts: &Texts) -> Result<Self::Desired, Vec<Finding>>;
    /// What phase 3 reads, given what it has read so far: asked again until everything is read. The very first target is the one
    /// that `status.remote` is about.
    fn targets(desired: &Self::Desired, input: &PlanInput<'_>) -> Vec<Target>;
    /// Whether the failure of a target is its own: the others go on, and the plan says what became of it.
    fn fails_alone(_target: &Target) -> bool {
        false
    }
    /// The pairs of a skill and users that this object writes only where no object declares them (see [`Kind::declares`]).
    fn pairs(_desired: &Self::Desired) -> Option<(&str, &[String])> {
        None
    }
    /// Whether this object declares a skill of a user.
    fn declares(&self, _user: &str, _skill: &str) -> bool {
        false
    }
    /// The parts of the remote object that this object claims; `None`: all of it. Objects of one remote id overlap where they share a part,
    /// or where one of them claims all: that finds the few to compare among very many.
    fn parts(&self) -> Option<Vec<&str>> {
        None
    }
    /// What both objects claim of the remote, where they claim the same: one of them has to yield.
    fn overlap(&self, other: &Self) -> Option<String> {
        (self.remote_id() == other.remote_id()).then(|| self.remote_id().to_owned())
    }
    /// Phase 4: the plan, or why there can be none.
    fn plan(desired: &Self::Desired, input: &PlanInput<'_>) -> Result<Plan, Blocked>;
    /// Whether the spec holds content that was never applied.
    fn is_unapplied(desired: &Self::Desired, memory: &Memory) -> bool;
    /// The live content as this kind manifests it, as a check that two states hold the same: what takes part in comparisons.
    fn content(state: &State) -> Value;
    /// Where the remote stands relative to a write that asked for `version`; `None` where it cannot be told.
    fn standing(state: &State, version: &str) -> Option<Standing> {
        let (live, asked): (i64, i64) = (state.version.as_deref()?.parse().ok()?, version.parse().ok()?);
        Some(match live.cmp(&asked) {
            Ordering::Less => Standing::Before,
            Ordering::Equal => Standing::At(Box::new(state.clone())),
            Ordering::Greater => Standing::Beyond,
        })
    }
    /// Digest of what decides about the outcome of an evaluation of metrics, where the kind has them.
    fn evaluates(_desired: &Self::Desired) -> Option<String> {
        None
    }
    /// Whether a state holds what a write would have made, where that can be told without a plan.
    fn holds(_desired: &Self::Desired, _step: &IntentStep, _state: &State) -> Option<bool> {
        None
    }
    /// What `export` calls the remote objects of this kind, where it can write them as manifests.
    const EXPORTED_AS: Option<&'static str> = None;
    /// The smallest spec that reads a remote object, without `orgRef`: where an export begins.
    fn probe(_id: &str) -> Value {
        Value::Null
    }
    /// The spec that declares what a remote object holds now, without `orgRef`: planned against it, nothing differs.
    ///
    /// # Errors
    /// What of it no manifest can say.
    fn export(_id: &str, _state: &State) -> Result<Value, String> {
        Err("it has no state of its own in Genesys Cloud".to_owned())
    }
    /// Whether and how propagation of a write is watched.
    fn propagation(_desired: &Self::Desired) -> Option<super::propagation::Watch> {
        None
    }
}

/// A text outside of the object: a key of a ConfigMap in the object's namespace.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Source {
    /// Name of the ConfigMap.
    pub name: String,
    /// Key in it.
    pub key: String,
}

/// The texts that were read, by source.
pub type Texts = BTreeMap<Source, String>;

/// Who numbers the versions of a remote object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Versions {
    /// The server counts: a write asks for the next number, under a guard that makes a second effect impossible.
    Counted,
    /// Each write creates an immutable version under a number that the writer chooses. A write whose answer was lost is looked
    /// up by its number, which is used again until it is seen; and repairs are few, since each stays for ever.
    Created,
}

/// Where the remote stands relative to a write.
#[derive(Clone, Debug, PartialEq)]
pub enum Standing {
    /// The version that the write asked for is not there.
    Before,
    /// It is there: the state that it would be if nothing newer were live.
    At(Box<State>),
    /// The server counted on: what became of that version cannot be told from here.
    Beyond,
}

/// What phase 4 knows.
#[derive(Debug)]
pub struct PlanInput<'a> {
    /// The live state by target.
    pub observed: &'a Observed,
    /// What the status remembers.
    pub memory: &'a Memory,
    /// The number of a version whose creation was never confirmed ([`Versions::Created`]).
    pub unconfirmed: Option<&'a str>,
    /// A number that belongs to a version which the read does not show.
    pub taken: Option<&'a str>,
    /// The numbers of versions that status remembers.
    pub numbers: &'a [String],
    /// What may be done about a difference.
    pub policy: Policy,
    /// The users whose pair somebody declares (see [`Kind::pairs`]).
    pub claimed: &'a BTreeSet<String>,
    /// The evaluation that goes on; `None`: a new one.
    pub unfinished: Option<Unfinished<'a>>,
    /// What the last evaluation of the same question made of each agent; empty where a person asks for another try.
    pub previous: &'a [AgentResult],
    /// The writes of an intent whose outcome is unknown: what they are about is read, too.
    pub intended: &'a [IntentStep],
    /// Generation of the object.
    pub generation: i64,
    /// When the look at the remote began.
    pub now: Timestamp,
}

/// An evaluation that status remembers and that is not done.
#[derive(Clone, Copy, Debug)]
pub struct Unfinished<'a> {
    /// The evaluation.
    pub evaluation: &'a Evaluation,
    /// What it made of each agent.
    pub agents: &'a [AgentResult],
}

/// The live state by target.
pub type Observed = BTreeMap<Target, Seen>;

/// What a read showed.
#[derive(Clone, Debug, PartialEq)]
pub enum Seen {
    /// The remote object.
    Present(State),
    /// 404.
    Absent,
    /// It could not be read, and that is its own failure ([`Kind::fails_alone`]).
    Unreadable {
        /// Reason of the failure.
        reason: Reason,
        /// What happened.
        message: String,
    },
}

/// One remote object as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub struct State {
    /// The whole document.
    pub document: Value,
    /// Version, as text.
    pub version: Option<String>,
    /// ETag, as it is sent back.
    pub etag: Option<String>,
    /// Whether the document would change by parsing and printing alone.
    pub lossy: bool,
    /// The guard for a write that is computed from this state, or why nothing may be written.
    pub guard: Result<Guard, String>,
}

/// Why there can be no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// Reason of the condition.
    pub reason: Reason,
    /// What happened, to which object, and what to do.
    pub message: String,
}

impl Blocked {
    /// A blocked plan.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self { reason, message: message.into() }
    }
}

/// Nobody's pair is claimed.
static UNCLAIMED: BTreeSet<String> = BTreeSet::new();

impl<'a> PlanInput<'a> {
    /// What is known of an object without a past besides its memory.
    pub fn new(observed: &'a Observed, memory: &'a Memory, policy: Policy, now: Timestamp) -> Self {
        Self {
            observed,
            memory,
            policy,
            now,
            unconfirmed: None,
            taken: None,
            numbers: &[],
            claimed: &UNCLAIMED,
            unfinished: None,
            previous: &[],
            intended: &[],
            generation: 0,
        }
    }

    /// The state of a target; `absent` is the message where it does not exist.
    pub fn state(&self, target: &Target, absent: impl FnOnce() -> String) -> Result<&State, Blocked> {
        match self.observed.get(target) {
            Some(Seen::Present(state)) => Ok(state),
            Some(Seen::Absent) => Err(Blocked::new(Reason::NotFound, absent())),
            Some(Seen::Unreadable { reason, message }) => Err(Blocked::new(*reason, message)),
            None => Err(Blocked::new(Reason::InternalError, format!("{target} was not read; this is a defect of the operator"))),
        }
    }
}
