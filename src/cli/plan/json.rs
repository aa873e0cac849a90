//! A plan for programs. Field names are an interface: `docs/cli.md`.

use std::io::{self, Write};

use serde::Serialize;

use super::Summary;
use crate::cli::project::{ObjectName, Proposal, Stop};
use crate::engine::Plan;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    summary: &'a Summary,
    objects: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Entry<'a> {
    #[serde(flatten)]
    name: &'a ObjectName,
    place: &'a str,
    org: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    plan: Option<&'a Plan>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    held: Option<Stopped<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stopped: Option<Stopped<'a>>,
}

#[derive(Serialize)]
struct Stopped<'a> {
    reason: &'static str,
    message: &'a str,
    error: bool,
}

/// Writes all proposals as one JSON object.
pub fn write(out: &mut impl Write, proposals: &[Proposal], summary: &Summary) -> io::Result<()> {
    let objects = proposals.iter().map(entry).collect();
    serde_json::to_writer_pretty(&mut *out, &Report { summary, objects })?;
    writeln!(out)
}

fn stopped(stop: &Stop) -> Stopped<'_> {
    Stopped { reason: stop.reason.as_str(), message: &stop.message, error: stop.is_error() }
}

fn entry(proposal: &Proposal) -> Entry<'_> {
    let planned = proposal.result.as_ref().ok();
    Entry {
        name: &proposal.name,
        place: &proposal.place,
        org: format!("{}/{}", proposal.org.0, proposal.org.1),
        plan: planned.map(|planned| &planned.plan),
        digest: planned.filter(|planned| !planned.plan.is_empty()).map(|planned| planned.digest.as_str()),
        held: planned.and_then(|planned| planned.held.as_ref()).map(stopped),
        stopped: proposal.result.as_ref().err().map(stopped),
    }
}

/// Writes what is wrong with the manifests as one JSON object.
pub fn write_findings(out: &mut impl Write, findings: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer_pretty(&mut *out, &serde_json::json!({"findings": findings}))?;
    writeln!(out)
}
