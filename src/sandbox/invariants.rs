//! The checker: pure rules over a journal (`reliability.md` 3.4, I1, I3, I8 and I10). It believes the server's own record, never a client.

mod prompts;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error_body::CONFLICT;
use super::journal::{Actor, Entry, digest};
use super::limits::WINDOW_US;

/// No pause is obeyed for longer than this, in microseconds (contract 6: 15 minutes).
const LONGEST_PAUSE_US: u64 = 900_000_000;

/// What a journal is measured against.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// API calls (all but T1 and A1) that each client may make in any 60 s; none: not checked.
    pub calls_per_minute: Option<usize>,
    /// By config id, every document that was declared at some time: a member that none of them declares must survive each write of a client.
    /// Configs that are not named are not checked (a rollback replaces everything).
    pub declared: BTreeMap<String, Vec<Value>>,
    /// What the way between client and server may shift, in microseconds; 5 ms when unset.
    pub tolerance_us: u64,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { calls_per_minute: None, declared: BTreeMap::new(), tolerance_us: 5_000 }
    }
}

/// The rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// C3 without `If-Match`, or with a version that is not the guard's plus one, also where it was refused.
    UnguardedWrite,
    /// Two accepted writes with the same tag of the same object.
    GuardReused,
    /// An accepted write whose guard and content the client had not been sent before, or a state that changed unseen between two writes.
    LostUpdate,
    /// An accepted write changed a member that nobody declared.
    UndeclaredChanged,
    /// A refused body was sent again, with the same guard, without a read that began after the refusal.
    ResentAfterRefusal,
    /// More API calls in 60 s than allowed.
    BudgetExceeded,
    /// A call before `Retry-After` had passed.
    RetryAfterIgnored,
    /// Two token requests of one client at the same time.
    ParallelTokenRequests,
    /// An accepted P2 without a look: a P1 page 1 of the same client that began after the template last changed and was answered before the P2
    /// came. It is broken also where somebody else promoted between look and P2, which no client can rule out.
    UnseenPromotion,
    /// An accepted P2 of what the client's own last accepted P2 had made live, and still was: a second number for the same content.
    DuplicateVersion,
    /// A P2 after one whose end does not tell what became of it (409, 408, 5xx, no answer, a 2xx that does not show the version), without a
    /// P1 page 1 in between.
    BlindRepost,
}

/// A broken rule, with its evidence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// Which rule.
    pub rule: Rule,
    /// Positions ([`Entry::seq`]) of the entries that prove it, the offender last.
    pub entries: Vec<u64>,
    /// What happened.
    pub message: String,
}

impl Violation {
    fn new(rule: Rule, entries: &[u64], message: impl Into<String>) -> Self {
        Self { rule, entries: entries.to_vec(), message: message.into() }
    }
}

/// Checks a journal for every rule that needs no further knowledge.
pub fn check(entries: &[Entry]) -> Vec<Violation> {
    check_with(entries, &Expectations::default())
}

/// Checks a journal for every rule. The answer is in the order of the rules; empty means that all hold. The journal must be whole: an entry
/// that is missing looks like a read that never happened.
pub fn check_with(entries: &[Entry], expected: &Expectations) -> Vec<Violation> {
    let requests: Vec<&Entry> = entries.iter().filter(|entry| entry.actor == Actor::Client).collect();
    let mut violations = unguarded_writes(&requests);
    violations.extend(lineage(entries));
    violations.extend(unseen_guards(&requests));
    violations.extend(undeclared_changes(&requests, expected));
    violations.extend(resent(&requests));
    violations.extend(over_budget(&requests, expected));
    violations.extend(ignored_pauses(&requests, expected));
    violations.extend(parallel_tokens(&requests));
    violations.extend(prompts::check(entries, expected));
    violations.sort_by(|a, b| (a.rule, a.entries.last()).cmp(&(b.rule, b.entries.last())));
    violations
}

fn is_write(entry: &Entry) -> bool {
    entry.call == "C3"
}

/// The whole number that a tag begins with: `"7-9f2c"` was made for version 7.
fn version_of_tag(tag: &str) -> Option<i64> {
    tag.trim_start_matches("W/").trim_matches('"').split('-').next()?.parse().ok()
}

/// What a client was told: by client, object and guard, the answers in which it was.
type Told<'a> = HashMap<(&'a str, &'a str, &'a str), Vec<&'a Entry>>;

fn told<'a>(requests: &[&'a Entry]) -> Told<'a> {
    let mut told: Told<'a> = HashMap::new();
    for entry in requests.iter().filter(|entry| matches!(entry.call.as_str(), "C1" | "C3") && entry.status == 200) {
        let guard = entry.shown.as_ref().and_then(|shown| shown.guard.as_deref());
        if let (Some(client), Some(target), Some(guard)) = (entry.client.as_deref(), entry.target.as_deref(), guard) {
            told.entry((client, target, guard)).or_default().push(entry);
        }
    }
    told
}

/// The answers that told the client the guard of this write, and were out before the write arrived.
fn told_before<'a>(told: &Told<'a>, write: &'a Entry) -> Vec<&'a Entry> {
    let key = (write.client.as_deref(), write.target.as_deref(), write.if_match.as_deref());
    let (Some(client), Some(target), Some(guard)) = key else { return Vec::new() };
    let answers = told.get(&(client, target, guard)).into_iter().flatten().copied();
    answers.filter(|answer| answer.end_us() <= write.at_us).collect()
}

fn unguarded_writes(requests: &[&Entry]) -> Vec<Violation> {
    let told = told(requests);
    let mut violations = Vec::new();
    for write in requests.iter().copied().filter(|entry| is_write(entry)) {
        let guard = write.if_match.as_deref().map(str::trim).filter(|tag| !tag.is_empty() && *tag != "*");
        let Some(guard) = guard else {
            violations.push(Violation::new(Rule::UnguardedWrite, &[write.seq], "a write without a tag in If-Match"));
            continue;
        };
        let answers = told_before(&told, write);
        let versions = answers.iter().filter_map(|answer| answer.shown.as_ref().and_then(|shown| shown.version));
        let mut expected: Vec<i64> = versions.collect();
        // A guard that nobody told is judged by what it says itself.
        if expected.is_empty() {
            expected.extend(version_of_tag(guard));
        }
        if !expected.is_empty() && !expected.iter().any(|version| write.version == version.checked_add(1)) {
            let message = format!("version {:?} with guard {guard}, which belongs to version {expected:?}", write.version);
            violations.push(Violation::new(Rule::UnguardedWrite, &[write.seq], message));
        }
    }
    violations
}

/// Follows every object through its changes: each guard is used once, and each write starts from where the last change ended.
fn lineage(entries: &[Entry]) -> Vec<Violation> {
    let mut changes: Vec<&Entry> = entries.iter().filter(|entry| entry.change.is_some()).collect();
    changes.sort_by_key(|entry| entry.change);
    let mut violations = Vec::new();
    let mut consumed: HashMap<(&str, &str), u64> = HashMap::new();
    // A config and a prompt template may have the same id.
    let mut last: HashMap<(bool, &str), &Entry> = HashMap::new();
    for entry in changes {
        let Some(target) = entry.target.as_deref() else { continue };
        if entry.actor == Actor::Admin {
            // The object begins anew.
            consumed.retain(|(other, _), _| *other != target);
            last.insert((prompts::is_about(entry), target), entry);
            continue;
        }
        if entry.actor == Actor::Client
            && let Some(guard) = entry.if_match.as_deref()
            && let Some(first) = consumed.insert((target, guard), entry.seq)
        {
            let message = format!("guard {guard} of {target} was accepted twice");
            violations.push(Violation::new(Rule::GuardReused, &[first, entry.seq], message));
        }
        if let Some(previous) = last.insert((prompts::is_about(entry), target), entry)
            && let (Some(after), Some(before)) = (&previous.after, &entry.before)
            && after != before
        {
            let version = entry.promoted.clone().or_else(|| entry.result_version.map(|version| version.to_string()));
            let message = format!("{target} changed unseen before version {version:?} was written");
            violations.push(Violation::new(Rule::LostUpdate, &[previous.seq, entry.seq], message));
        }
    }
    violations
}

fn unseen_guards(requests: &[&Entry]) -> Vec<Violation> {
    let told = told(requests);
    let mut violations = Vec::new();
    for write in requests.iter().copied().filter(|entry| is_write(entry) && entry.applied) {
        let content = write.before.as_ref().map(|before| digest(before));
        let seen = told_before(&told, write).into_iter().filter_map(|answer| answer.shown.as_ref()).any(|shown| {
            shown.version.and_then(|version| version.checked_add(1)) == write.version
                && content.as_ref().is_none_or(|content| *content == shown.content_sha256)
        });
        if !seen {
            let message = format!("the state under guard {:?} was never sent to {:?} before", write.if_match, write.client);
            violations.push(Violation::new(Rule::LostUpdate, &[write.seq], message));
        }
    }
    violations
}

fn undeclared_changes(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let mut violations = Vec::new();
    for write in requests.iter().copied().filter(|entry| is_write(entry) && entry.applied) {
        let declared = write.target.as_deref().and_then(|target| expected.declared.get(target));
        let (Some(declared), Some(before), Some(after)) = (declared, &write.before, &write.after) else { continue };
        let mut paths = Vec::new();
        undeclared(before, after, &declared.iter().collect::<Vec<_>>(), "", &mut paths);
        // The server moves its own stamp with every write.
        paths.retain(|path| path != "/dateModified");
        if !paths.is_empty() {
            let message = format!("members that nobody declared changed: {}", paths.join(", "));
            violations.push(Violation::new(Rule::UndeclaredChanged, &[write.seq], message));
        }
    }
    violations
}

/// Collects the pointers of members that differ and that none of the declared documents reaches.
fn undeclared(before: &Value, after: &Value, declared: &[&Value], path: &str, out: &mut Vec<String>) {
    let (Some(old), Some(new)) = (before.as_object(), after.as_object()) else { return };
    for name in old.keys().chain(new.keys().filter(|name| !old.contains_key(*name))) {
        let (was, is) = (old.get(name), new.get(name));
        if was == is {
            continue;
        }
        let path = format!("{path}/{}", name.replace('~', "~0").replace('/', "~1"));
        let inner: Vec<&Value> = declared.iter().filter_map(|document| document.get(name)).collect();
        if inner.is_empty() {
            out.push(path);
        } else if inner.iter().all(|value| value.is_object()) {
            let nothing = Value::Object(serde_json::Map::new());
            undeclared(was.unwrap_or(&nothing), is.unwrap_or(&nothing), &inner, &path, out);
        }
    }
}

fn resent(requests: &[&Entry]) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut by_object: HashMap<(Option<&str>, Option<&str>), Vec<&Entry>> = HashMap::new();
    for entry in requests.iter().copied().filter(|entry| is_write(entry) || entry.call == "C1") {
        by_object.entry((entry.client.as_deref(), entry.target.as_deref())).or_default().push(entry);
    }
    for mut entries in by_object.into_values() {
        entries.sort_by_key(|entry| entry.at_us);
        // By guard and body: the last refusal that the client got to see.
        let mut refusals: HashMap<(Option<&str>, Option<&str>), &Entry> = HashMap::new();
        for (index, entry) in entries.iter().copied().enumerate().filter(|(_, entry)| is_write(entry)) {
            let key = (entry.if_match.as_deref(), entry.body_sha256.as_deref());
            if let Some(refusal) = refusals.get(&key).filter(|refusal| refusal.end_us() <= entry.at_us) {
                let between = entries.get(..index).unwrap_or_default();
                let mut reads = between.iter().rev().take_while(|read| read.at_us >= refusal.end_us());
                if !reads.any(|read| read.call == "C1" && read.status == 200 && read.end_us() <= entry.at_us) {
                    let message = "a refused body was sent again without a read that began after the refusal";
                    violations.push(Violation::new(Rule::ResentAfterRefusal, &[refusal.seq, entry.seq], message));
                }
            }
            let lost = matches!(entry.status, 409 | 412) || (entry.status == 400 && entry.code.as_deref() == Some(CONFLICT));
            if lost && entry.delivered {
                refusals.insert(key, entry);
            }
        }
    }
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

#[cfg(test)]
mod tests;
