//! A plan for people: every object with changes, in colour on a terminal only.

use std::io::{self, Write};

use anstyle::{AnsiColor, Style};

use super::Summary;
use crate::cli::project::Proposal;
use crate::engine::{Plan, display};

const NAME: Style = Style::new().bold();
const ADDED: Style = AnsiColor::Green.on_default();
const REMOVED: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const FAINT: Style = Style::new().dimmed();

/// Writes all proposals.
pub fn write(out: &mut impl Write, proposals: &[Proposal], summary: &Summary) -> io::Result<()> {
    for proposal in proposals {
        object(out, proposal)?;
    }
    writeln!(out, "{NAME}Plan:{NAME:#} {}.", summary.line())?;
    summary.notes.iter().try_for_each(|note| writeln!(out, "{FAINT}Note: {note}.{FAINT:#}"))
}

fn object(out: &mut impl Write, proposal: &Proposal) -> io::Result<()> {
    let head = format!("{NAME}{}{NAME:#} {FAINT}{}{FAINT:#}", proposal.name, display::escape(&proposal.place));
    match &proposal.result {
        Ok(planned) if planned.plan.is_empty() && planned.plan.drift.is_empty() && planned.plan.released.is_empty() => Ok(()),
        Ok(planned) => {
            writeln!(out, "{head}")?;
            changes(out, &planned.plan)?;
            if !planned.plan.is_empty() {
                writeln!(out, "  {FAINT}plan {}{FAINT:#}", planned.digest)?;
            }
            if let Some(held) = &planned.held {
                writeln!(out, "  {CHANGED}it waits: {held}{CHANGED:#}")?;
            }
            writeln!(out)
        }
        Err(stop) => {
            let style = if stop.is_error() { REMOVED } else { FAINT };
            writeln!(out, "{head}\n  {style}{stop}{style:#}\n")
        }
    }
}

/// The steps and changes of a plan, two spaces in.
pub fn changes(out: &mut impl Write, plan: &Plan) -> io::Result<()> {
    for line in plan.to_string().lines() {
        let style = style(line);
        writeln!(out, "  {style}{line}{style:#}")?;
    }
    Ok(())
}

fn style(line: &str) -> Style {
    match line.trim_start().split(' ').next() {
        Some("~") => CHANGED,
        Some("+") => ADDED,
        Some("-") => REMOVED,
        _ => Style::new(),
    }
}
