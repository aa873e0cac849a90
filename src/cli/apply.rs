//! `apply`: converges manifests once, without a controller, with the same plan and the same guards.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args as ClapArgs;
use tokio_util::sync::CancellationToken;

use super::plan;
use super::project::applied::{Applied, Ended, Orders};
use super::project::surroundings::Surroundings;
use super::project::{self, Sources, Stop};
use crate::engine::display;

const NAME: Style = Style::new().bold();
const GOOD: Style = AnsiColor::Green.on_default();
const WAITS: Style = AnsiColor::Yellow.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const FAINT: Style = Style::new().dimmed();

/// Arguments of `apply`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    #[command(flatten)]
    sources: Sources,
    /// The digest of a plan that a person approved (repeatable); `plan` shows it
    #[arg(long, value_name = "DIGEST")]
    approve: Vec<String>,
    /// How long an object is tried again after a conflict or an outage
    #[arg(long, value_name = "DURATION", default_value = "5m", value_parser = super::duration)]
    timeout: Duration,
    /// Show no text of prompts and settings, only lengths and digests
    #[arg(long)]
    redact: bool,
}

/// What became of all objects.
#[derive(Default)]
struct Counts {
    written: usize,
    unchanged: usize,
    waiting: usize,
    suspended: usize,
    failed: usize,
    not_begun: usize,
}

impl Counts {
    fn add(&mut self, applied: &Applied) {
        *match applied.end {
            Ended::Unchanged(_) => &mut self.unchanged,
            Ended::Written(..) => &mut self.written,
            Ended::Waits(_) => &mut self.waiting,
            Ended::Left(_) => &mut self.suspended,
            Ended::Failed(_) => &mut self.failed,
        } += 1;
    }

    fn line(&self) -> String {
        let all = [
            (self.written, "written"),
            (self.unchanged, "unchanged"),
            (self.suspended, "suspended"),
            (self.waiting, "waiting"),
            (self.failed, "failed"),
            (self.not_begun, "not begun"),
        ];
        let parts = all.iter().enumerate().filter(|(index, (count, _))| *index < 2 || *count > 0);
        parts.map(|(_, (count, what))| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    fn exit(&self) -> ExitCode {
        match (self.failed + self.not_begun, self.waiting) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }
}

/// Converges and tells. 0: everything that is declared is live; 2: something waits for approval or the change limit; 1: something
/// failed, or the run was interrupted.
///
/// # Errors
/// Manifests, a cluster or an environment that cannot be used.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let Some(project) = project::load(&args.sources)? else { return Ok(ExitCode::FAILURE) };
    let stop = CancellationToken::new();
    let around = Surroundings::open(project, &args.sources.place, stop.clone()).await?;
    let orders = Orders { approved: args.approve.clone(), patience: args.timeout };
    tokio::select! {
        result = Box::pin(run(&around, &orders, args.redact)) => result,
        result = signals(stop) => result,
    }
}

/// The first signal stops what has not begun; a second one does not wait for what has.
async fn signals(stop: CancellationToken) -> anyhow::Result<ExitCode> {
    tokio::signal::ctrl_c().await?;
    stop.cancel();
    anstream::eprintln!("interrupted: no new write starts, the one under way is finished; once more to end at once");
    tokio::signal::ctrl_c().await?;
    anyhow::bail!("ended by a second signal before the write under way was answered; the next run looks at what became of it")
}

async fn run(around: &Surroundings, orders: &Orders, redact: bool) -> anyhow::Result<ExitCode> {
    let mut counts = Counts::default();
    let mut out = anstream::stdout();
    for object in &around.project.objects {
        if around.stop.is_cancelled() {
            counts.not_begun += 1;
            continue;
        }
        let mut applied = object.apply(around, orders).await;
        if let Some((plan, _)) = applied.plan.as_mut().filter(|_| redact) {
            *plan = plan.redacted();
        }
        tell(&mut out, &applied)?;
        counts.add(&applied);
        if applied.undelivered.is_some() && !matches!(applied.end, Ended::Failed(_)) {
            counts.failed += 1;
        }
    }
    writeln!(out, "{NAME}Applied:{NAME:#} {}.", counts.line())?;
    if around.cluster.is_none() {
        writeln!(
            out,
            "{FAINT}Note: without a cluster's memory, members that the manifests no longer declare were left as they are.{FAINT:#}"
        )?;
    }
    Ok(counts.exit())
}

fn tell(out: &mut impl Write, applied: &Applied) -> io::Result<()> {
    let (style, text) = match &applied.end {
        Ended::Unchanged(text) if text.is_empty() => (FAINT, "unchanged".to_owned()),
        Ended::Unchanged(text) => (FAINT, format!("unchanged: {text}")),
        Ended::Written(writes, text) => (GOOD, format!("{writes} written: {text}")),
        Ended::Waits(stop) => (WAITS, stopped(stop)),
        Ended::Left(stop) => (FAINT, stopped(stop)),
        Ended::Failed(stop) => (BAD, stopped(stop)),
    };
    if let Some((plan, digest)) = &applied.plan {
        writeln!(out, "{NAME}{}{NAME:#} {FAINT}plan {digest}{FAINT:#}", applied.name)?;
        plan::changes(out, plan)?;
        writeln!(out, "  {style}{}{style:#}\n", display::escape(&text))?;
    } else {
        writeln!(out, "{NAME}{}{NAME:#} {style}{}{style:#}", applied.name, display::escape(&text))?;
    }
    if let Some((records, why)) = &applied.undelivered {
        writeln!(out, "  {BAD}{} audit records were not delivered ({why}); keep them:{BAD:#}", records.len())?;
        records.iter().try_for_each(|record| writeln!(out, "  {record}"))?;
    }
    Ok(())
}

fn stopped(stop: &Stop) -> String {
    format!("{}: {}", stop.reason.as_str(), stop.message)
}
