//! The HTTP client layer: the guarded Genesys contract, sections 1 to 7, and nothing else.
//!
//! In come calls (a method, path segments, a retry class, a gate); out go answers or typed errors. The layer knows nothing
//! of Kubernetes, of the engine or of kinds. Every request of an [`Account`] passes its [`Budget`], its pause and its token,
//! and there is one [`Session::send`] for all of them.

pub mod account;
pub mod alerts;
pub mod audit_sink;
pub mod budget;
pub mod client;
pub mod configs;
pub mod conversations;
pub mod document;
pub mod endpoints;
pub mod error;
pub mod etag;
pub mod lane;
pub mod observer;
pub mod profiles;
pub mod prompts;
pub mod retry;
pub mod timing;
pub mod user_details;

mod call;
mod text;
mod token;
mod wire;

#[cfg(test)]
mod testing;

pub use account::Account;
pub use budget::{Budget, RaiseHandle, Ticket, Waiting};
pub use call::{Answer, Call, Gate, Halted};
pub use client::{Client, Session};
pub use configs::ConfigState;
pub use conversations::ConversationRow;
pub use document::{Document, DocumentError};
pub use endpoints::{EndpointError, Endpoints, REGIONS, region};
pub use error::{Error, ErrorKind, Problem, ProblemDetail};
pub use etag::Etag;
pub use lane::Lane;
pub use observer::{NoObserver, Observer};
pub use profiles::ProfileState;
pub use retry::RetryClass;
pub use timing::Timing;
pub use user_details::{Metric, UserMetrics};

/// What the operator calls itself towards the platform (`genesys-published` 3.8).
pub const USER_AGENT: &str = concat!("assist-operator/", env!("CARGO_PKG_VERSION"));
