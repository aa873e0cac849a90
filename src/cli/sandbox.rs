//! `sandbox`: the embedded Genesys as a server.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args as ClapArgs;

use crate::sandbox::{Options, Sandbox, Seed};

/// Arguments of `sandbox`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Address to listen on; loopback only, since there is no access control
    #[arg(long, default_value = "127.0.0.1:8181")]
    listen: SocketAddr,
    /// Serve https with a certificate made at the start
    #[arg(long)]
    tls: bool,
    /// State to begin with (YAML or JSON)
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
    /// Write the certificate of the authority to this file (with --tls)
    #[arg(long, value_name = "FILE", requires = "tls")]
    ca_file: Option<PathBuf>,
}

/// Serves until SIGINT.
pub async fn main(args: Args) -> anyhow::Result<()> {
    let seed = match &args.seed {
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| anyhow::anyhow!("seed {}: {error}", path.display()))?;
            Seed::parse(&text).map_err(|error| anyhow::anyhow!("seed {}: {error}", path.display()))?
        }
        None => Seed::default(),
    };
    let sandbox = Sandbox::start(Options { listen: args.listen, tls: args.tls, seed, ..Options::default() }).await?;
    let url = sandbox.url();
    anstream::println!("sandbox of Genesys Cloud on {url}");
    if let Some(path) = &args.ca_file {
        std::fs::write(path, sandbox.ca_pem().unwrap_or_default())?;
        anstream::println!("  its authority is in {}", path.display());
    }
    anstream::println!("  client demo-client, secret demo-secret, unless a seed says otherwise");
    anstream::println!("  token    curl -su demo-client:demo-secret -d grant_type=client_credentials {url}/oauth/token");
    anstream::println!("  journal  curl -s {url}/sandbox/journal");
    anstream::println!("  edit     curl -s -X PATCH -d '{{\"name\": \"edited\"}}' {url}/sandbox/configs/retail-assist");
    anstream::println!("Ctrl-C ends it.");
    tokio::signal::ctrl_c().await?;
    sandbox.shutdown().await;
    Ok(())
}
