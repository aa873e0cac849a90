//! The commands of the one binary, a file each.

mod crds;
mod demo;
mod logging;
mod manifests;
mod rbac;
mod run;
mod sandbox;

use clap::{Parser, Subcommand};

/// GitOps for Genesys Cloud agent assist.
#[derive(Debug, Parser)]
#[command(name = "assist-operator", version, about, long_about = None, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the controller against a cluster
    Run(run::Args),
    /// Tell the main story on an embedded sandbox: no cluster, no account
    Demo(demo::Args),
    /// Serve the embedded Genesys, for the operator, the CLI and curl
    Sandbox(sandbox::Args),
    /// Print the CRDs
    Crds,
    /// Print the ClusterRole that the operator needs
    Rbac,
}

/// Runs the command.
///
/// # Errors
/// What happened and what to do, for a person.
pub async fn main(cli: Cli) -> anyhow::Result<()> {
    match cli.command {
        Command::Run(args) => run::main(args).await,
        Command::Demo(args) => Box::pin(demo::main(args)).await,
        Command::Sandbox(args) => sandbox::main(args).await,
        Command::Crds => crds::main(),
        Command::Rbac => rbac::main(),
    }
}
