//! How findings are told: for people, for programs, and as annotations of a pull request.

use std::io::{self, Write};

use serde::Serialize;

use super::Verdict;
use crate::cli::manifests::{Finding, Level};
use crate::engine::display;

/// How findings are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// A line each
    Text,
    /// One JSON document
    Json,
    /// Workflow commands of GitHub Actions: annotations in the pull request
    Github,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Document<'a> {
    manifests: usize,
    skipped_files: usize,
    errors: usize,
    notes: usize,
    findings: &'a [Finding],
}

/// `1 error`, `2 errors`.
pub fn count(number: usize, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// Writes the findings.
pub fn write(verdict: &Verdict, format: Format, out: &mut impl Write) -> io::Result<()> {
    match format {
        Format::Text => {
            for finding in &verdict.findings {
                writeln!(out, "{finding}")?;
            }
            if verdict.errors() == 0 {
                let skipped = match verdict.skipped {
                    0 => String::new(),
                    files => format!(", {} that hold none skipped", count(files, "file")),
                };
                let notes = verdict.findings.len();
                let notes = if notes == 0 { String::new() } else { format!(", {}", count(notes, "note")) };
                writeln!(out, "{} valid{notes}{skipped}", count(verdict.manifests, "manifest"))?;
            }
        }
        Format::Json => {
            let errors = verdict.errors();
            let notes = verdict.findings.len() - errors;
            let (manifests, skipped_files, findings) = (verdict.manifests, verdict.skipped, verdict.findings.as_slice());
            serde_json::to_writer_pretty(&mut *out, &Document { manifests, skipped_files, errors, notes, findings })?;
            writeln!(out)?;
        }
        Format::Github => {
            for finding in &verdict.findings {
                annotation(finding, out)?;
            }
        }
    }
    out.flush()
}

fn annotation(finding: &Finding, out: &mut impl Write) -> io::Result<()> {
    let command = if finding.level == Level::Error { "error" } else { "notice" };
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    write!(out, "::{command} file={}", property(&display::escape(&finding.place.file)))?;
    if finding.place.line > 0 {
        write!(out, ",line={},col={}", finding.place.line, finding.place.column)?;
    }
    writeln!(out, "::{}", data(&finding.message()))
}
