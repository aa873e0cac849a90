//! The checker: pure rules over a journal (`reliability.md` 3.4, I1, I3, I8 and I10). It believes the server's own record, never a client.

mod alerts;
mod pace;
mod profiles;
mod prompts;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error_body::CONFLICT;
use super::journal::{Actor, Entry, digest};

/// What a journal is measured against.
#[derive(Debug, Clone)]
pub struct Expectations {
    /// API calls (all but T1 and A1) that each client may make in any 60 s; none: not checked.
    pub calls_per_minute: Option<usize>,
    /// By config id, every document that was declared at some time: a member that none of them declares must survive each write of a client.
    /// Configs that are not named are not checked (a rollback replaces everything).
    pub declared: BTreeMap<String, Vec<Value>>,
    /// By user id, every skill that was declared at some time: all else of the profile must survive each write of a client. Users that are not
    /// named are not checked.
    pub declared_skills: BTreeMap<String, BTreeSet<String>>,
    /// What the way between client and server may shift, in microseconds; 5 ms when unset.
    pub tolerance_us: u64,
}

impl Default for Expectations {
    fn default() -> Self {
        Self { calls_per_minute: None, declared: BTreeMap::new(), declared_skills: BTreeMap::new(), tolerance_us: 5_000 }
    }
}

/// The rule that was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Rule {
    /// C3 without `If-Match`, or with a version that is not the guard's plus one; S2 without a version, or with one that does not follow any
    /// that the client was told: also where it was refused.
    UnguardedWrite,
    /// Two accepted writes with the same guard of the same object: the tag of a config, the version of a profile.
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
    /// The same S4 once more after it was taken, without a change of the skill in between.
    DuplicateAlert,
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
    violations.extend(pace::check(&requests, expected));
    violations.extend(prompts::check(entries, expected));
    violations.extend(profiles::check(&requests, expected));
    violations.extend(alerts::check(&requests));
    violations.sort_by(|a, b| (a.rule, a.entries.last()).cmp(&(b.rule, b.entries.last())));
    violations
}

/// Whether an entry is a write that has a guard.
fn is_write(entry: &Entry) -> bool {
    matches!(entry.call.as_str(), "C3" | "S2")
}

/// Whether an entry reads the guard of such a write.
fn is_read(entry: &Entry) -> bool {
    matches!(entry.call.as_str(), "C1" | "S1")
}

/// What an object is: a config, a prompt template and a user may have the same id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    Config,
    Prompt,
    Profile,
}

/// The object that an entry is about.
type Object<'a> = (Family, &'a str);

fn object(entry: &Entry) -> Option<Object<'_>> {
    let family = match entry {
        entry if prompts::is_about(entry) => Family::Prompt,
        entry if profiles::is_about(entry) => Family::Profile,
        _ => Family::Config,
    };
    entry.target.as_deref().map(|target| (family, target))
}

/// The guard of a write: the tag as sent, of a profile the version below the one that it asks for.
fn guard(write: &Entry) -> Option<Cow<'_, str>> {
    if write.call == "S2" {
        return write.version.and_then(|version| version.checked_sub(1)).map(|version| version.to_string().into());
    }
    write.if_match.as_deref().map(Cow::from)
}

/// The whole number that a tag begins with: `"7-9f2c"` was made for version 7.
fn version_of_tag(tag: &str) -> Option<i64> {
    tag.trim_start_matches("W/").trim_matches('"').split('-').next()?.parse().ok()
}

/// What a client was told: by client, object and guard, the answers in which it was.
type Told<'a> = HashMap<(&'a str, Object<'a>, Cow<'a, str>), Vec<&'a Entry>>;

fn told<'a>(requests: &[&'a Entry]) -> Told<'a> {
    let mut told: Told<'a> = HashMap::new();
    for entry in requests.iter().filter(|entry| (is_read(entry) || is_write(entry)) && entry.status == 200) {
        let guard = entry.shown.as_ref().and_then(|shown| shown.guard.as_deref());
        if let (Some(client), Some(object), Some(guard)) = (entry.client.as_deref(), object(entry), guard) {
            told.entry((client, object, guard.into())).or_default().push(entry);
        }
    }
    told
}

/// The answers that told the client the guard of this write, and were out before the write arrived.
fn told_before<'a>(told: &Told<'a>, write: &'a Entry) -> Vec<&'a Entry> {
    let key = (write.client.as_deref(), object(write), guard(write));
    let (Some(client), Some(object), Some(guard)) = key else { return Vec::new() };
    let answers = told.get(&(client, object, guard)).into_iter().flatten().copied();
    answers.filter(|answer| answer.end_us() <= write.at_us).collect()
}

fn unguarded_writes(requests: &[&Entry]) -> Vec<Violation> {
    let told = told(requests);
    let mut violations = Vec::new();
    for write in requests.iter().copied().filter(|entry| entry.call == "C3") {
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
    let mut consumed: HashMap<(Object<'_>, Cow<'_, str>), u64> = HashMap::new();
    let mut last: HashMap<Object<'_>, &Entry> = HashMap::new();
    for entry in changes {
        let Some(object) = object(entry) else { continue };
        let (_, target) = object;
        if entry.actor == Actor::Admin {
            // The object begins anew.
            consumed.retain(|(other, _), _| *other != object);
            last.insert(object, entry);
            continue;
        }
        if entry.actor == Actor::Client
            && let Some(guard) = guard(entry)
            && let Some(first) = consumed.insert((object, guard.clone()), entry.seq)
        {
            let message = format!("guard {guard} of {target} was accepted twice");
            violations.push(Violation::new(Rule::GuardReused, &[first, entry.seq], message));
        }
        if let Some(previous) = last.insert(object, entry)
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
            let message = format!("the state under guard {:?} was never sent to {:?} before", guard(write), write.client);
            violations.push(Violation::new(Rule::LostUpdate, &[write.seq], message));
        }
    }
    violations
}

fn undeclared_changes(requests: &[&Entry], expected: &Expectations) -> Vec<Violation> {
    let mut violations = Vec::new();
    for write in requests.iter().copied().filter(|entry| entry.call == "C3" && entry.applied) {
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
    let mut by_object: HashMap<(Option<&str>, Option<Object<'_>>), Vec<&Entry>> = HashMap::new();
    for entry in requests.iter().copied().filter(|entry| is_write(entry) || is_read(entry)) {
        by_object.entry((entry.client.as_deref(), object(entry))).or_default().push(entry);
    }
    for mut entries in by_object.into_values() {
        entries.sort_by_key(|entry| entry.at_us);
        // By guard and body: the last refusal that the client got to see.
        let mut refusals: HashMap<(Option<Cow<'_, str>>, Option<&str>), &Entry> = HashMap::new();
        for (index, entry) in entries.iter().copied().enumerate().filter(|(_, entry)| is_write(entry)) {
            let key = (guard(entry), entry.body_sha256.as_deref());
            if let Some(refusal) = refusals.get(&key).filter(|refusal| refusal.end_us() <= entry.at_us) {
                let between = entries.get(..index).unwrap_or_default();
                let mut reads = between.iter().rev().take_while(|read| read.at_us >= refusal.end_us());
                if !reads.any(|read| is_read(read) && read.status == 200 && read.end_us() <= entry.at_us) {
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

#[cfg(test)]
mod tests;
