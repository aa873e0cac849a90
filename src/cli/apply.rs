//! `apply`: converges manifests once, without a controller, with the same plan and the same guards.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anstyle::{AnsiColor, Style};
use clap::Args as ClapArgs;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::plan;
use super::progress::Progress;
use super::project::applied::{Applied, Ended, Orders};
use super::project::surroundings::Surroundings;
use super::project::{self, Sources};
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
    /// The digest of a plan that a person approved (repeatable); `plan` shows it. Without a cluster nobody remembers that it was used: do
    /// not keep it in a pipeline
    #[arg(long, value_name = "DIGEST")]
    approve: Vec<String>,
    /// Until when the run tries again what a conflict or an outage held up
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
    undelivered: usize,
    not_begun: usize,
}

impl Counts {
    fn add(&mut self, applied: &Applied) {
        self.undelivered += usize::from(applied.undelivered.is_some());
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
            (self.undelivered, "without their audit record"),
            (self.not_begun, "not begun"),
        ];
        let parts = all.iter().enumerate().filter(|(index, (count, _))| *index < 2 || *count > 0);
        parts.map(|(_, (count, what))| format!("{count} {what}")).collect::<Vec<_>>().join(", ")
    }

    fn exit(&self) -> ExitCode {
        match (self.failed + self.undelivered + self.not_begun, self.waiting) {
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
    let stop = CancellationToken::new();
    let around = match project::open(&args.sources, stop.clone()).await? {
        Ok(around) => around,
        Err(findings) => {
            project::tell(&findings)?;
            return Ok(ExitCode::FAILURE);
        }
    };
    let orders = Orders { approved: args.approve.clone(), deadline: Instant::now() + args.timeout };
    let result = tokio::select! {
        code = Box::pin(run(&around, &orders, args.redact)) => Ok(code),
        result = signals(stop) => result,
    };
    // Nobody else has them.
    for record in around.take_undelivered() {
        let record = serde_json::to_string(&record).unwrap_or_default();
        anstream::eprintln!("undelivered audit record: {}", display::escape(&record));
    }
    result
}

/// The first signal stops what has not begun; a second one does not wait for what has.
async fn signals(stop: CancellationToken) -> anyhow::Result<ExitCode> {
    let (mut term, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    for is_first in [true, false] {
        tokio::select! {
            _ = term.recv() => {}
            _ = interrupt.recv() => {}
        }
        if is_first {
            stop.cancel();
            anstream::eprintln!(
                "interrupted: no new write starts, one that may be under way is finished; once more to end at once"
            );
        }
    }
    anyhow::bail!("ended by a second signal; a write may have been sent whose answer was not waited for: plan shows what is live")
}

async fn run(around: &Surroundings, orders: &Orders, redact: bool) -> ExitCode {
    let mut counts = Counts::default();
    let mut progress = Progress::new("applying", around.project.objects.len());
    let mut out = anstream::stdout();
    for object in &around.project.objects {
        if around.stop.is_cancelled() {
            counts.not_begun += 1;
            continue;
        }
        let mut applied = object.apply(around, orders).await;
        if redact {
            applied.redact();
        }
        counts.add(&applied);
        progress.clear();
        // Whoever does not read on any more must not stop the writes that were asked for.
        let _ = tell(&mut out, &applied);
        progress.step();
    }
    progress.clear();
    let _ = conclude(&mut out, around, &counts);
    counts.exit()
}

fn conclude(out: &mut impl Write, around: &Surroundings, counts: &Counts) -> io::Result<()> {
    writeln!(out, "{NAME}Applied:{NAME:#} {}.", counts.line())?;
    if around.cluster.is_none() {
        writeln!(
            out,
            "{FAINT}Note: without a cluster's memory, members that the manifests no longer declare were left as they are, and a change limit counts this run only.{FAINT:#}"
        )?;
    }
    Ok(())
}

fn tell(out: &mut impl Write, applied: &Applied) -> io::Result<()> {
    let (style, text) = match &applied.end {
        Ended::Unchanged(text) if text.is_empty() => (FAINT, "unchanged".to_owned()),
        Ended::Unchanged(text) => (FAINT, format!("unchanged: {text}")),
        Ended::Written(writes, text) => (GOOD, format!("{writes} written: {text}")),
        Ended::Waits(stop) => (WAITS, stop.to_string()),
        Ended::Left(stop) => (FAINT, stop.to_string()),
        Ended::Failed(stop) => (BAD, stop.to_string()),
    };
    if let Some((plan, digest)) = &applied.plan {
        writeln!(out, "{NAME}{}{NAME:#} {FAINT}plan {digest}{FAINT:#}", applied.name)?;
        plan::changes(out, plan)?;
        writeln!(out, "  {style}{}{style:#}\n", display::escape(&text))?;
    } else {
        writeln!(out, "{NAME}{}{NAME:#} {style}{}{style:#}", applied.name, display::escape(&text))?;
    }
    match &applied.undelivered {
        Some(why) => writeln!(out, "  {BAD}its audit records were not delivered: {}{BAD:#}", display::escape(why)),
        None => Ok(()),
    }
}
