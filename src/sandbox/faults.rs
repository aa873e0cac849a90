//! Faults: what goes wrong, with which calls, and how often (`reliability.md` 3.6). How each one acts is in `injection.rs`.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::reply::Call;
use super::world::{State, World};

/// Something that goes wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Fault {
    /// Names of the calls in contract 1 (`T1`, `C3`); empty: every call, T1 and A1 included.
    #[serde(default)]
    pub calls: Vec<String>,
    /// Only for the object with this remote id.
    #[serde(default)]
    pub target: Option<String>,
    /// Only for this OAuth client.
    #[serde(default)]
    pub client: Option<String>,
    /// So many matching calls pass before it begins.
    #[serde(default)]
    pub skip: u32,
    /// How often it fires.
    #[serde(default)]
    pub times: Times,
    /// What happens.
    pub kind: FaultKind,
}

/// How often a fault fires.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Times {
    /// With the next so many matching calls; then it is gone.
    Count(u32),
    /// With a matching call at random, the same way in every run with the same seed.
    Probability {
        /// From 0 to 1.
        p: f64,
        /// Start of the random numbers.
        seed: u64,
    },
    /// With every matching call until it is removed.
    Always,
}

impl Default for Times {
    fn default() -> Self {
        Self::Count(1)
    }
}

/// What goes wrong. "Applied" means: the call was handled and took effect, and only its answer is wrong.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "camelCase", rename_all_fields = "camelCase", deny_unknown_fields)]
pub enum FaultKind {
    /// This status instead of an answer.
    Status {
        /// The HTTP status.
        status: u16,
        /// `Retry-After` as it stands; `date:30` becomes the HTTP date 30 seconds after the answer's `Date`.
        #[serde(default)]
        retry_after: Option<String>,
        /// The body: text goes out as it is, everything else as JSON; none: an error body that fits the status.
        #[serde(default)]
        body: Option<Value>,
        /// Whether the call is applied first.
        #[serde(default)]
        applied: bool,
    },
    /// The connection is reset, nothing was applied.
    ResetBefore,
    /// The call is applied, then the connection is reset: not one byte is answered.
    ResetAfter,
    /// A write is lost on its way out and takes effect later: the connection is reset at once, not one byte is answered, and the call is
    /// handled only then. Its journal entry comes with the commit.
    CommitLate {
        /// Milliseconds between reset and commit.
        after_ms: u64,
    },
    /// Time passes; longer than the client's patience, this is a timeout.
    Delay {
        /// Milliseconds before the call is handled.
        #[serde(default)]
        before_ms: u64,
        /// Milliseconds between handling and answer.
        #[serde(default)]
        after_ms: u64,
    },
    /// Applied; half of the body, then the connection ends.
    TruncatedBody,
    /// Applied; no body at all.
    EmptyBody,
    /// Applied; an HTML page, as from a proxy.
    Html {
        /// The HTTP status.
        #[serde(default = "ok")]
        status: u16,
    },
    /// Applied; a body over 10 MiB.
    Oversized {
        /// As a small gzip body that grows when it is unpacked; else without a `Content-Length`.
        #[serde(default)]
        gzip: bool,
    },
    /// Applied; JSON that nests too deep for any parser that recurses.
    DeepNesting {
        /// Levels.
        #[serde(default = "deep")]
        depth: usize,
    },
    /// A redirect, nothing was applied.
    Redirect {
        /// The HTTP status.
        #[serde(default = "temporary_redirect")]
        status: u16,
        /// Where to.
        location: String,
    },
    /// A write answers 2xx and changes nothing (contract 1).
    SilentDrop,
    /// Applied; the answer holds another object.
    WrongDocument,
    /// C1 and S1 answer the version before the live one, P1 all versions but the live one: a replica that lags behind.
    StaleRead,
    /// Just before a write is handled, a foreign writer edits the object: a write with a guard loses it. A prompt template gets a version,
    /// the next patch number where the patch names none; a user another skill.
    ForeignEditBefore {
        /// A JSON merge patch; none: the member `foreignNote` changes (of a prompt: of its metadata), of a user the skill `foreign-skill`.
        #[serde(default)]
        patch: Option<Value>,
    },
    /// T1 answers its own kind of throttling, a 400 (contract 2).
    TokenThrottle,
    /// 401; the token itself stays valid.
    Unauthorized,
}

fn ok() -> u16 {
    200
}

fn temporary_redirect() -> u16 {
    307
}

fn deep() -> usize {
    100_000
}

impl FaultKind {
    /// The name in the journal and in files.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Status { .. } => "status",
            Self::ResetBefore => "resetBefore",
            Self::ResetAfter => "resetAfter",
            Self::CommitLate { .. } => "commitLate",
            Self::Delay { .. } => "delay",
            Self::TruncatedBody => "truncatedBody",
            Self::EmptyBody => "emptyBody",
            Self::Html { .. } => "html",
            Self::Oversized { .. } => "oversized",
            Self::DeepNesting { .. } => "deepNesting",
            Self::Redirect { .. } => "redirect",
            Self::SilentDrop => "silentDrop",
            Self::WrongDocument => "wrongDocument",
            Self::StaleRead => "staleRead",
            Self::ForeignEditBefore { .. } => "foreignEditBefore",
            Self::TokenThrottle => "tokenThrottle",
            Self::Unauthorized => "unauthorized",
        }
    }

    /// An error status with nothing special about it.
    pub fn status(status: u16) -> Self {
        Self::Status { status, retry_after: None, body: None, applied: false }
    }

    /// An error status that asks the client to wait; see [`FaultKind::Status`] for the text.
    pub fn retry_after(status: u16, retry_after: &str) -> Self {
        Self::Status { status, retry_after: Some(retry_after.to_owned()), body: None, applied: false }
    }

    /// Whether the fault can act on this call at all: one that cannot is kept for a call where it can.
    fn fits(&self, call: &Call) -> bool {
        let Some(route) = call.route else { return false };
        match self {
            Self::SilentDrop | Self::CommitLate { .. } => route.write,
            Self::ForeignEditBefore { .. } => matches!(route.call, "C3" | "P2" | "S2"),
            Self::WrongDocument => matches!(route.call, "C1" | "C2" | "C3" | "P2" | "S1" | "S2"),
            Self::StaleRead => matches!(route.call, "C1" | "P1" | "S1"),
            Self::TokenThrottle => route.call == "T1",
            Self::Unauthorized => route.scopes.is_some(),
            Self::Status { .. }
            | Self::ResetBefore
            | Self::ResetAfter
            | Self::Delay { .. }
            | Self::TruncatedBody
            | Self::EmptyBody
            | Self::Html { .. }
            | Self::Oversized { .. }
            | Self::DeepNesting { .. }
            | Self::Redirect { .. } => true,
        }
    }
}

impl Fault {
    /// A fault that fires with the next call, whatever it is.
    pub fn new(kind: FaultKind) -> Self {
        Self { calls: Vec::new(), target: None, client: None, skip: 0, times: Times::default(), kind }
    }

    /// Only with these calls.
    #[must_use]
    pub fn on(mut self, calls: &[&str]) -> Self {
        self.calls = calls.iter().map(|&call| call.to_owned()).collect();
        self
    }

    /// Only with the object of this remote id.
    #[must_use]
    pub fn target(mut self, id: &str) -> Self {
        self.target = Some(id.to_owned());
        self
    }

    /// Only after so many matching calls.
    #[must_use]
    pub fn after(mut self, skip: u32) -> Self {
        self.skip = skip;
        self
    }

    /// So often.
    #[must_use]
    pub fn times(mut self, times: Times) -> Self {
        self.times = times;
        self
    }

    fn matches(&self, call: &Call) -> bool {
        self.kind.fits(call)
            && (self.calls.is_empty() || self.calls.iter().any(|name| name == call.name()))
            && self.target.as_deref().is_none_or(|target| call.target() == Some(target))
            && self.client.as_deref().is_none_or(|client| call.client.as_deref() == Some(client))
    }
}

/// A fault that is waiting, with its own random numbers.
#[derive(Debug)]
pub(super) struct Planned {
    id: u64,
    fault: Fault,
    random: fastrand::Rng,
}

/// The faults to come: a handle on the world's list.
#[derive(Debug, Clone)]
pub struct Faults(World);

impl Faults {
    pub(super) fn new(world: World) -> Self {
        Self(world)
    }

    /// Adds a fault behind those that wait already, and answers its id. With each call at most one fault fires: the first that matches.
    pub fn push(&self, fault: Fault) -> u64 {
        let mut state = self.0.state();
        state.last_fault_id += 1;
        let id = state.last_fault_id;
        let seed = if let Times::Probability { seed, .. } = fault.times { seed } else { 0 };
        state.faults.push(Planned { id, fault, random: fastrand::Rng::with_seed(seed) });
        id
    }

    /// The faults that wait, with their ids; `Count` and `skip` are what is left.
    pub fn list(&self) -> Vec<(u64, Fault)> {
        self.0.state().faults.iter().map(|planned| (planned.id, planned.fault.clone())).collect()
    }

    /// Removes one fault; answers whether it was there.
    pub fn remove(&self, id: u64) -> bool {
        let mut state = self.0.state();
        let before = state.faults.len();
        state.faults.retain(|planned| planned.id != id);
        state.faults.len() < before
    }

    /// Removes all faults.
    pub fn clear(&self) {
        self.0.state().faults.clear();
    }
}

/// Takes the fault that fires with this call, if one does.
pub(super) fn draw(state: &mut State, call: &Call) -> Option<FaultKind> {
    let index = state.faults.iter_mut().position(|planned| planned.fault.matches(call) && planned.fires())?;
    let planned = state.faults.get_mut(index)?;
    let kind = planned.fault.kind.clone();
    if let Times::Count(left) = &mut planned.fault.times {
        *left -= 1;
        if *left == 0 {
            state.faults.remove(index);
        }
    }
    Some(kind)
}

impl Planned {
    /// Whether it fires with a call that matches.
    fn fires(&mut self) -> bool {
        if self.fault.skip > 0 {
            self.fault.skip -= 1;
            return false;
        }
        match self.fault.times {
            Times::Count(left) => left > 0,
            Times::Probability { p, .. } => self.random.f64() < p,
            Times::Always => true,
        }
    }
}
