//! The sandbox's journal as the reader sees it, and what it must be.

use anyhow::ensure;

use crate::engine::display::escape;
use crate::sandbox::{Actor, Entry};

/// The calls of the contract that the story needs, in the order of the table.
pub const CALLS: [(&str, &str); 10] = [
    ("T1", "token"),
    ("C1", "read"),
    ("C2", "read an old version"),
    ("C3", "write"),
    ("P1", "look at the versions"),
    ("P2", "promote"),
    ("S1", "read a profile"),
    ("S2", "write a profile"),
    ("S3", "read metrics"),
    ("S4", "alert"),
];

/// One line for each request, and for each change that somebody else made.
pub fn rows(entries: &[Entry]) -> Vec<Vec<String>> {
    entries.iter().map(row).collect()
}

fn row(entry: &Entry) -> Vec<String> {
    let version = |version: Option<i64>| version.map(|v| format!("version {v}")).unwrap_or_default();
    if entry.actor != Actor::Client {
        let made = version(entry.result_version);
        return ["--", "somebody else writes", "", "", &made].map(str::to_owned).to_vec();
    }
    let what = CALLS.iter().find(|(call, _)| *call == entry.call).map_or("another call", |(_, what)| what);
    let asked = entry.body.as_ref().filter(|_| entry.call == "P2").and_then(|body| body["version"].as_str());
    let whose = entry.target.as_deref().map(escape).unwrap_or_default();
    let how = match (&entry.if_match, entry.version, asked) {
        (Some(tag), Some(version), _) => format!("If-Match {}, as version {version}", escape(tag)),
        (_, _, Some(version)) => format!("as version {}", escape(version)),
        (_, Some(version), _) if entry.call == "S2" => format!("{whose}, as version {version}"),
        _ if entry.call == "S1" => whose,
        _ => about(entry),
    };
    let asked = entry.path.rsplit_once("/versions/").and_then(|(_, version)| version.parse().ok());
    let shown = entry.shown.as_ref().and_then(|shown| shown.version).or(asked);
    let outcome = match (entry.status, &entry.promoted) {
        (0, Some(_)) => "it took effect, its answer is lost".to_owned(),
        (200 | 201, Some(version)) => format!("version {}", escape(version)),
        (200, None) => version(shown.or(entry.result_version)),
        (409 | 412, _) => "guard lost, nothing written".to_owned(),
        _ => entry.code.as_deref().map(escape).unwrap_or_default(),
    };
    vec![escape(&entry.call), what.to_owned(), how, status(entry.status), outcome]
}

/// What a request without a target is about: how many agents, or the title of an alert.
fn about(entry: &Entry) -> String {
    let Some(body) = &entry.body else { return String::new() };
    let agents = body.get("filter").and_then(|filter| filter.get("clauses")?.as_array()).filter(|_| entry.call == "S3");
    match (agents, body.get("links").and_then(|links| links.pointer("/0/id")?.as_str())) {
        (Some(agents), _) => format!("{} agents", agents.len()),
        (None, Some(id)) => escape(id),
        (None, None) => String::new(),
    }
}

/// A status code; nothing was answered where it is 0.
pub fn status(code: u16) -> String {
    if code == 0 { "-".to_owned() } else { code.to_string() }
}

/// The requests of the operator: call and status.
pub fn answers(entries: &[Entry]) -> Vec<(&str, u16)> {
    let own = entries.iter().filter(|entry| entry.actor == Actor::Client);
    own.map(|entry| (entry.call.as_str(), entry.status)).collect()
}

/// The requests are exactly these.
///
/// # Errors
/// They are others.
pub fn expect(entries: &[Entry], expected: &[(&str, u16)]) -> anyhow::Result<()> {
    let seen = answers(entries);
    ensure!(seen == expected, "the calls were to be {expected:?}, and were {seen:?}");
    Ok(())
}
