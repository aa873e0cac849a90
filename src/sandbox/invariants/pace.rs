//! How fast a client calls (contract 2 and 6): its budget, the pauses that it was asked for, and one token request at a time.

use std::collections::BTreeMap;

use super::{Expectations, Rule, Violation};
use crate::sandbox::journal::Entry;
use crate::sandbox::limits::WINDOW_US;

/// No pause is obeyed for longer than this, in microseconds (contract 6: 15 minutes).
const LONGEST_PAUSE_US: u64 = 900_000_000;

/// The three rules.
pub(super) fn check(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let mut violations = over_budget(requests, expected);
    violations.extend(ignored_pauses(requests, expected));
    violations.extend(parallel_tokens(requests));
    violations
}

/// The calls of each client to the platform, by arrival. A1 goes elsewhere.
fn by_client<'a>(requests: &[&'a Entry]) -> BTreeMap<&'a str, Vec<&'a Entry>> {
    let mut clients: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
    for entry in requests.iter().copied().filter(|entry| entry.call != "A1") {
        if let Some(client) = entry.client.as_deref() {
            clients.entry(client).or_default().push(entry);
        }
    }
    clients.values_mut().for_each(|entries| entries.sort_by_key(|entry| entry.at_us));
    clients
}

/// One violation for each client and run of calls above the limit.
fn over_budget(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let Some(limit) = expected.calls_per_minute else { return Vec::new() };
    let window = WINDOW_US.saturating_sub(expected.tolerance_us);
    let mut violations = Vec::new();
    for (client, entries) in by_client(requests) {
        let calls: Vec<&Entry> = entries.into_iter().filter(|entry| entry.call != "T1").collect();
        let mut oldest = 0;
        let mut over = false;
        for (index, call) in calls.iter().enumerate() {
            while calls.get(oldest).is_some_and(|first| first.at_us + window <= call.at_us) {
                oldest += 1;
            }
            let count = index + 1 - oldest;
            if count > limit && !over {
                let first = calls.get(oldest).map_or(call.seq, |first| first.seq);
                let message = format!("{client} made {count} calls in 60 s, {limit} are allowed");
                violations.push(Violation::new(Rule::BudgetExceeded, &[first, call.seq], message));
            }
            over = count > limit;
        }
    }
    violations
}

/// A 429 pauses the whole client, T1 included; a 503 only the same call to the same path.
fn ignored_pauses(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let tolerance = expected.tolerance_us;
    let mut violations = Vec::new();
    for (client, entries) in by_client(requests) {
        for pause in entries.iter().copied().filter(|entry| matches!(entry.status, 429 | 503) && entry.delivered) {
            let Some(wait_ms) = pause.retry_after_ms else { continue };
            let until = pause.end_us() + wait_ms.saturating_mul(1000).min(LONGEST_PAUSE_US);
            // What arrives within the tolerance was under way when the answer left.
            let first = entries.partition_point(|entry| entry.at_us <= pause.end_us() + tolerance);
            let later = entries.get(first..).unwrap_or_default().iter().take_while(|entry| entry.at_us + tolerance < until);
            let same = |entry: &Entry| pause.status == 429 || (entry.method == pause.method && entry.path == pause.path);
            if let Some(early) = later.copied().find(|entry| same(entry)) {
                let left = (until - early.at_us) / 1000;
                let message = format!("{client} called {} with {left} ms of Retry-After left", early.call);
                violations.push(Violation::new(Rule::RetryAfterIgnored, &[pause.seq, early.seq], message));
            }
        }
    }
    violations
}

fn parallel_tokens(requests: &[&Entry]) -> Vec<Violation> {
    let mut violations = Vec::new();
    for (client, entries) in by_client(requests) {
        let mut open: Option<&Entry> = None;
        // A client that hung up has no request under way any more.
        let end = |entry: &Entry| entry.hung_up_us.unwrap_or(u64::MAX).min(entry.end_us());
        for entry in entries.into_iter().filter(|entry| entry.call == "T1") {
            if let Some(earlier) = open.filter(|earlier| entry.at_us < end(earlier)) {
                let message = format!("{client} asked for a token while another request for one was under way");
                violations.push(Violation::new(Rule::ParallelTokenRequests, &[earlier.seq, entry.seq], message));
            }
            if open.is_none_or(|earlier| end(entry) > end(earlier)) {
                open = Some(entry);
            }
        }
    }
    violations
}
