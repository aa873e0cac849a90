//! `get`: the fleet of a cluster in a table, or as JSON.

use std::io::{self, Write};
use std::process::ExitCode;

use anstyle::{AnsiColor, Style};
use clap::{Args as ClapArgs, ValueEnum};
use jiff::Timestamp;
use serde_json::json;

use super::fleet::{self, Member, OrgMember};
use super::kubernetes::Access;
use crate::clock;
use crate::engine::display;

const HEAD: Style = Style::new().dimmed();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const WAITS: Style = AnsiColor::Yellow.on_default();

/// Arguments of `get`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Of this namespace only
    #[arg(short, long)]
    namespace: Option<String>,
    /// Only what is not ready, differs, or waits for somebody
    #[arg(long)]
    attention: bool,
    /// How it is printed
    #[arg(short, long, value_enum, default_value = "table")]
    output: Output,
    #[command(flatten)]
    access: Access,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    /// A table
    Table,
    /// The table, with messages
    Wide,
    /// Everything
    Json,
}

/// Prints the fleet. 0: all is ready; 1: something is not.
///
/// # Errors
/// A cluster that cannot be asked.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = args.access.connect().await?;
    let namespace = args.namespace.as_deref();
    let orgs = fleet::orgs(&cluster, namespace).await?;
    let mut members = fleet::members(&cluster, namespace).await?;
    if args.attention {
        members.retain(needs_attention);
    }
    let all_ready = members.iter().all(|member| member.ready == "True") && orgs.iter().all(|org| org.ready == "True");
    let mut out = anstream::stdout().lock();
    if args.output == Output::Json {
        serde_json::to_writer_pretty(&mut out, &json!({"orgs": orgs, "objects": members}))?;
        writeln!(out)?;
    } else if orgs.is_empty() && members.is_empty() {
        writeln!(out, "{}", if args.attention { "Nothing needs attention." } else { "No objects." })?;
    } else {
        table(&mut out, &org_rows(&orgs), |_| Style::new())?;
        writeln!(out)?;
        let rows = member_rows(&members, args.output == Output::Wide, clock::now());
        table(&mut out, &rows, |row| members.get(row).map(style).unwrap_or_default())?;
    }
    Ok(if all_ready { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn needs_attention(member: &Member) -> bool {
    member.ready != "True" || member.in_sync != "True" || member.suspended
}

fn style(member: &Member) -> Style {
    match (member.ready.as_str(), member.in_sync.as_str()) {
        _ if member.pending_plan.is_some() || member.suspended => WAITS,
        ("True", "True") => GOOD,
        ("True", _) => WAITS,
        _ => BAD,
    }
}

fn org_rows(orgs: &[OrgMember]) -> Vec<Vec<String>> {
    let mut rows = vec![["ORG", "READY", "REASON", "CALLS/MIN", "PAUSED UNTIL"].map(str::to_owned).to_vec()];
    rows.extend(orgs.iter().map(|org| {
        vec![
            format!("{}/{}", org.namespace, org.name),
            org.ready.clone(),
            if org.suspended { "Suspended".to_owned() } else { org.reason.clone() },
            org.calls_per_minute.map(|n| n.to_string()).unwrap_or_default(),
            org.throttled_until.clone().unwrap_or_default(),
        ]
    }));
    rows
}

fn member_rows(members: &[Member], wide: bool, now: Timestamp) -> Vec<Vec<String>> {
    let head =
        ["KIND", "OBJECT", "ORG", "READY", "REASON", "IN SYNC", "DRIFT", "VERSION", "LAST CHANGE", "WAITING PLAN", "MESSAGE"];
    let columns = if wide { head.len() } else { head.len() - 1 };
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(members.iter().map(|member| {
        vec![
            member.kind.to_owned(),
            format!("{}/{}", member.namespace, member.name),
            display::escape(&member.org),
            member.ready.clone(),
            display::escape(&member.reason),
            member.in_sync.clone(),
            if member.drift > 0 { member.drift.to_string() } else { String::new() },
            display::escape(member.version.as_deref().unwrap_or_default()),
            member.last_change.as_deref().map(|at| age(at, now)).unwrap_or_default(),
            member.pending_plan.as_ref().map(|plan| display::escape(&plan.digest)).unwrap_or_default(),
            display::escape(&member.message),
        ]
    }));
    rows.iter_mut().for_each(|row| row.truncate(columns));
    rows
}

/// How long ago, in the largest unit that is full.
fn age(at: &str, now: Timestamp) -> String {
    let Ok(at) = at.parse::<Timestamp>() else { return String::new() };
    let seconds = now.duration_since(at).as_secs().max(0);
    match seconds {
        0..120 => format!("{seconds}s"),
        120..7_200 => format!("{}m", seconds / 60),
        7_200..172_800 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Prints rows in columns, the first as their head. Columns without any text are left out.
fn table(out: &mut impl Write, rows: &[Vec<String>], style: impl Fn(usize) -> Style) -> io::Result<()> {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().skip(1).filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let head = |column: usize| rows.first().and_then(|row| row.get(column)).map_or(0, |cell| cell.chars().count());
    let widths: Vec<usize> = (0..columns)
        .map(|column| width(column).filter(|width| *width > 0).map_or(0, |width| width.max(head(column)) + 2))
        .collect();
    for (index, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).filter(|(_, width)| **width > 0);
        let line: String = cells.map(|(cell, width)| format!("{cell:<width$}")).collect();
        let style = if index == 0 { HEAD } else { style(index - 1) };
        writeln!(out, "{style}{}{style:#}", line.trim_end())?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_leaves_empty_columns_out() {
        let rows = [vec!["A", "B", "C"], vec!["long one", "", "x"], vec!["y", "", "z"]];
        let rows: Vec<Vec<String>> = rows.into_iter().map(|row| row.into_iter().map(str::to_owned).collect()).collect();
        let mut out = Vec::new();
        table(&mut out, &rows, |_| Style::new()).unwrap();
        let text = anstream::adapter::strip_bytes(&out).into_vec();
        assert_eq!(String::from_utf8(text).unwrap(), "A         C\nlong one  x\ny         z\n");
    }

    #[test]
    fn ages_are_short() {
        let now: Timestamp = "2026-01-02T00:00:00Z".parse().unwrap();
        assert_eq!(age("2026-01-01T23:59:00Z", now), "60s");
        assert_eq!(age("2026-01-01T22:59:00Z", now), "61m");
        assert_eq!(age("2026-01-01T00:00:00Z", now), "24h");
        assert_eq!(age("2025-12-30T00:00:00Z", now), "3d");
        assert_eq!(age("2027-12-30T00:00:00Z", now), "0s");
        assert_eq!(age("soon", now), "");
    }
}
