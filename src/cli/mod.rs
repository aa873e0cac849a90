//! The commands of the one binary, a file each.

mod apply;
mod approve;
mod crds;
mod demo;
mod export;
mod fleet;
mod get;
mod kubernetes;
mod ledger;
mod logging;
pub mod manifests;
mod plan;
mod progress;
pub mod project;
pub mod rbac;
mod run;
mod sandbox;
mod validate;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};

use crate::api::common::GoDuration;

/// GitOps for Genesys Cloud agent assist.
#[derive(Debug, Parser)]
#[command(name = "assist-operator", version, about, long_about = None, arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check manifests without a cluster: everything that the API server and the operator would refuse
    Validate(validate::Args),
    /// Show what the controller would write for manifests now: 0 nothing, 2 changes, 1 something failed
    Plan(plan::Args),
    /// Converge manifests once, without a controller: 0 done, 2 something waits, 1 something failed
    Apply(apply::Args),
    /// Write live objects as manifests, which plan as empty
    Export(export::Args),
    /// Show the objects of a cluster: ready, drift, versions, last change, budget
    Get(get::Args),
    /// Let one waiting plan run
    Approve(approve::Args),
    /// Run the controller against a cluster
    Run(run::Args),
    /// Tell the main story on an embedded sandbox: no cluster, no account
    Demo(demo::Args),
    /// Serve the embedded Genesys, for the operator, the CLI and curl
    Sandbox(sandbox::Args),
    /// Print the CRDs
    Crds,
    /// Print the ClusterRole and the Role that the operator needs
    Rbac(rbac::Args),
}

/// Runs the command; how the process ends.
///
/// # Errors
/// What happened and what to do, for a person.
pub async fn main(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Run(args) => run::main(args).await?,
        Command::Plan(args) => return Box::pin(plan::main(args)).await,
        Command::Apply(args) => return Box::pin(apply::main(args)).await,
        Command::Export(args) => return Box::pin(export::main(args)).await,
        Command::Get(args) => return Box::pin(get::main(args)).await,
        Command::Approve(args) => return Box::pin(approve::main(args)).await,
        Command::Demo(args) => Box::pin(demo::main(args)).await?,
        Command::Sandbox(args) => sandbox::main(args).await?,
        Command::Crds => crds::main()?,
        Command::Rbac(args) => rbac::main(&args)?,
        Command::Validate(args) => validate::main(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

/// A duration on the command line.
fn duration(text: &str) -> Result<Duration, String> {
    GoDuration(text.to_owned()).get().ok_or_else(|| "write it as 90s, 10m or 1h30m".to_owned())
}

/// Whether nobody reads the output any more, as in `plan | head`.
pub fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let of_io = |cause: &(dyn std::error::Error + 'static)| cause.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    error.chain().any(|cause| of_io(cause) == Some(std::io::ErrorKind::BrokenPipe))
}
