//! The seam between engine values and Genesys calls: phases 3 (observe) and 6 (execute), and the loop around them that the
//! controller and the CLI share.

pub mod agent_assist_config;
mod alerts;
mod alone;
pub mod audit;
pub mod connection;
pub mod converge;
mod execute;
pub mod failure;
mod interrupted;
pub mod ledger;
mod observe;
pub mod prompt_template;
pub mod propagation;
mod round;
mod run;
pub mod skill_policy;
pub mod skill_profile;
pub mod states;
mod unguarded;

use std::future::Future;

use jiff::Timestamp;

use crate::engine::{Guard, Kind, State, Step, Target};
use crate::genesys::{Document, Error, Gate, Session};

/// A kind's calls. One file in each layer; this is the seam's.
pub trait Remote: Kind {
    /// Reads one target; `None` is a 404.
    fn read(
        session: &mut Session,
        desired: &Self::Desired,
        target: &Target,
        look: Look<'_>,
    ) -> impl Future<Output = Result<Option<Sent>, Error>> + Send;
    /// Whether a target never changes once it exists, so that one read is enough for ever.
    fn is_immutable(_target: &Target) -> bool {
        false
    }
    /// Runs one step under its guard. The gate is asked immediately before every request that is put on the wire.
    fn write(session: &mut Session, step: &Step, gate: Gate) -> impl Future<Output = Result<Sent, Error>> + Send;
    /// Versions that conversations ran on between two times; only for kinds that watch propagation.
    fn conversations(
        _session: &mut Session,
        _id: &str,
        _version: Option<&str>,
        _window: (Timestamp, Timestamp),
    ) -> impl Future<Output = Result<Vec<String>, Error>> + Send {
        std::future::ready(Ok(Vec::new()))
    }
}

/// What a read is for.
#[derive(Clone, Copy, Debug)]
pub struct Look<'a> {
    /// Where the remote keeps its versions in pages, the later ones are read only to find this version.
    pub sought: Option<&'a str>,
    /// When the look at the whole object began: what depends on the time is the same for all its targets.
    pub began: Timestamp,
}

/// One remote object as the remote itself sent it: the answer to a read or to a write. Kept as bytes.
#[derive(Clone, Debug)]
pub struct Sent {
    /// The document.
    pub document: Document,
    /// Version, as text.
    pub version: Option<String>,
    /// ETag, as it is sent back.
    pub etag: Option<String>,
    /// Guard for a write that is computed from it, or why nothing may be written.
    pub guard: Result<Guard, String>,
    /// `Date` of the answer.
    pub date: Option<Timestamp>,
    /// The platform's id of the exchange.
    pub correlation_id: Option<String>,
    /// Requests that it took.
    pub requests: u32,
}

impl Sent {
    /// The parsed state.
    pub fn state(&self) -> State {
        State {
            document: self.document.parse(),
            version: self.version.clone(),
            etag: self.etag.clone(),
            lossy: !self.document.survives(),
            guard: self.guard.clone(),
        }
    }
}
