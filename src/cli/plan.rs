//! `plan`: what the controller would write for these manifests now. Nothing is written.

mod json;
mod markdown;
mod summary;
mod text;

use std::io::Write;
use std::process::ExitCode;

use clap::{Args as ClapArgs, ValueEnum};
use futures::{StreamExt, stream};
use tokio_util::sync::CancellationToken;

use super::manifests::Finding;
use super::progress::Progress;
use super::project::surroundings::Surroundings;
use super::project::{self, Proposal, Sources};

pub(super) use summary::Summary;
pub(super) use text::changes;

/// Objects that are looked at at the same time: with the latency of the API, one after the other would not use the call budget.
const AT_ONCE: usize = 8;

/// Arguments of `plan`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    sources: Sources,
    /// How the plan is printed
    #[arg(short, long, value_enum, default_value = "text")]
    output: Output,
    /// Show no text of prompts and settings, no levels of agents, and no words of rules about them, only lengths and digests: for logs and
    /// comments that many can read. Names, ids and paths stay
    #[arg(long)]
    redact: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people, in colour on a terminal
    Text,
    /// For programs
    Json,
    /// For a comment on a pull request
    Markdown,
}

/// Plans and prints. 0: nothing to write; 2: changes; 1: something could not be planned.
///
/// # Errors
/// A cluster or an environment that cannot be used, or an output that cannot be written to.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let around = match project::open(&args.sources, CancellationToken::new()).await? {
        Ok(around) => around,
        Err(findings) => {
            invalid(&findings, &args)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let mut proposals = Box::pin(propose(&around)).await;
    if args.redact {
        proposals.iter_mut().for_each(Proposal::redact);
    }
    let summary = Summary::of(&proposals);
    let mut out = anstream::stdout().lock();
    match args.output {
        Output::Text => text::write(&mut out, &proposals, &summary)?,
        Output::Json => json::write(&mut out, &proposals, &summary)?,
        Output::Markdown => out.write_all(markdown::text(&proposals, &summary).as_bytes())?,
    }
    Ok(summary.exit())
}

/// Tells what is wrong with the manifests, in the form that was asked for: a pipeline shows what is on standard output.
fn invalid(findings: &[Finding], args: &Args) -> anyhow::Result<()> {
    let lines = findings.iter().map(|finding| if args.redact { finding.place() } else { finding.to_string() });
    match args.output {
        Output::Text => lines.for_each(|line| anstream::eprintln!("{line}")),
        Output::Json if args.redact => {
            json::write_findings(&mut anstream::stdout().lock(), &lines.collect::<Vec<_>>())?;
        }
        Output::Json => json::write_findings(&mut anstream::stdout().lock(), &findings)?,
        Output::Markdown => {
            let text = markdown::findings(&lines.collect::<Vec<_>>());
            anstream::stdout().lock().write_all(text.as_bytes())?;
        }
    }
    Ok(())
}

/// Looks at every object, in the order of the manifests.
pub(super) async fn propose(around: &Surroundings) -> Vec<Proposal> {
    let objects = &around.project.objects;
    let mut progress = Progress::new("reading", objects.len());
    let mut proposals = Vec::with_capacity(objects.len());
    let mut looked = stream::iter(objects).map(|object| object.propose(around)).buffered(AT_ONCE);
    while let Some(proposal) = looked.next().await {
        proposals.push(proposal);
        progress.step();
    }
    progress.clear();
    proposals
}
