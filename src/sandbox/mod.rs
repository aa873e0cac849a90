//! The embedded Genesys: a real HTTP(S) server that holds the guarded contract (guards, versions, scopes, limits), with faults on demand and
//! a journal of every request. The tests, the demo and the bench run against it, and `assist-operator sandbox` serves it.
//!
//! One call family is one file with a route table: `auth.rs` T1, `configs.rs` C1 to C3, `conversations.rs` C4, `prompts.rs` P1 and
//! P2, `profiles.rs` S1 and S2, `user_details.rs` S3, `alerts.rs` S4, `audit_sink.rs` A1. A new kind adds its file, a line in
//! `routes.rs` and its part of the state in `world.rs`. What a request meets on its way is in `server.rs`; the steering
//! surface over HTTP is `admin.rs`, the checker of the journal `invariants.rs`.

mod admin;
mod alerts;
mod audit_sink;
mod auth;
mod config_store;
mod configs;
mod conversations;
mod error_body;
mod faults;
mod hostile;
mod injection;
mod invariants;
mod journal;
mod limits;
mod normaliser;
mod profile_store;
mod profiles;
mod prompt_rules;
mod prompt_store;
mod prompts;
mod reply;
mod routes;
mod seed;
mod server;
mod settings;
mod tls;
mod user_details;
mod wire;
mod world;

#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use rustls::ServerConfig;
use tokio::task::JoinHandle;

pub use alerts::AlertRecord;
pub use audit_sink::AuditRecord;
pub use faults::{Fault, FaultKind, Faults, Times};
pub use invariants::{Expectations, Rule, Violation, check, check_with};
pub use journal::{Actor, Document, Entry, Shown, digest};
pub use normaliser::Normaliser;
pub use seed::{ClientSeed, ConversationSeed, Seed};
pub use settings::{ConflictStyle, EtagStyle, MissingGuard, MissingScope, Settings};
pub use world::World;

/// Why a sandbox could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Anyone who reaches the port can read and change everything, so it stays on this machine unless told otherwise.
    #[error("the sandbox has no access control: {0} is not a loopback address; allow it explicitly or listen on 127.0.0.1")]
    NotLoopback(SocketAddr),
    /// The address is taken or not this machine's.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system says.
        source: io::Error,
    },
    /// No certificate could be made.
    #[error("cannot make a certificate: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The certificate does not suit TLS.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The seed is not valid: everything that is wrong with it.
    #[error("the seed is not valid:\n{}", .0.iter().map(|finding| format!("- {finding}")).collect::<Vec<_>>().join("\n"))]
    Seed(Vec<String>),
}

/// How to start a sandbox.
#[derive(Debug, Clone)]
pub struct Options {
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Whether to serve HTTPS, with an authority made for this start ([`Sandbox::ca_pem`]).
    pub tls: bool,
    /// The state to begin with.
    pub seed: Seed,
    /// Whether an address that other machines can reach is accepted. The admin surface answers loopback clients only, in any case.
    pub allow_non_loopback: bool,
}

impl Default for Options {
    /// Loopback, any port, no TLS, the default seed.
    fn default() -> Self {
        Self { listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), tls: false, seed: Seed::default(), allow_non_loopback: false }
    }
}

/// A running server. Dropping it stops the server at once; the [`World`] lives on as long as somebody holds it.
#[derive(Debug)]
pub struct Sandbox {
    url: String,
    ca_pem: Option<String>,
    world: World,
    handle: Handle<SocketAddr>,
    task: JoinHandle<io::Result<()>>,
}

impl Sandbox {
    /// Starts a server on the current tokio runtime; when this returns, it accepts connections.
    ///
    /// # Errors
    /// Every [`Error`]: the address, the certificate, the seed.
    pub async fn start(options: Options) -> Result<Self, Error> {
        let address = options.listen;
        if !address.ip().is_loopback() && !options.allow_non_loopback {
            return Err(Error::NotLoopback(address));
        }
        let listen = |source| Error::Listen { address, source };
        let world = World::new(options.seed)?;
        let listener = tokio::net::TcpListener::bind(address).await.map_err(listen)?;
        let address = listener.local_addr().map_err(listen)?;
        let tls = if options.tls { Some(tls::generate(&address.ip().to_string())?) } else { None };
        let scheme = if options.tls { "https" } else { "http" };
        let (config, ca_pem) = tls.map_or((None, None), |tls| (Some(tls.config), Some(tls.ca_pem)));
        let handle = Handle::new();
        let task = spawn(listener, config, world.clone(), handle.clone()).map_err(listen)?;
        Ok(Self { url: format!("{scheme}://{address}"), ca_pem, world, handle, task })
    }

    /// The base URL of login and API, without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The certificate authority to trust, PEM; none without TLS.
    pub fn ca_pem(&self) -> Option<&str> {
        self.ca_pem.as_deref()
    }

    /// The state and the journal.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Stops the server: no new connections, and those that are open end when they have been answered, or after a second.
    pub async fn shutdown(mut self) {
        self.handle.graceful_shutdown(Some(Duration::from_secs(1)));
        // How the server's loop ended no longer matters.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        self.handle.shutdown();
        self.task.abort();
    }
}

/// Serves on the listener until the handle stops it.
fn spawn(
    listener: tokio::net::TcpListener,
    tls: Option<Arc<ServerConfig>>,
    world: World,
    handle: Handle<SocketAddr>,
) -> io::Result<JoinHandle<io::Result<()>>> {
    let service = server::router(world).into_make_service();
    let server = axum_server::from_tcp(listener.into_std()?)?.handle(handle).http1_only();
    Ok(match tls {
        Some(config) => {
            let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(config)).acceptor(wire::WireAcceptor);
            tokio::spawn(server.acceptor(acceptor).serve(service))
        }
        None => tokio::spawn(server.acceptor(wire::WireAcceptor).serve(service)),
    })
}
