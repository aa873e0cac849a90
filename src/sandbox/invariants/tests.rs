//! Planted violations: each rule is broken once, and the nearest harmless case is not reported.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::journal::{Document, Shown};

/// Builds a journal on a clock of milliseconds.
#[derive(Default)]
struct Story(Vec<Entry>);

impl Story {
    fn push(&mut self, call: &str, at_ms: u64, took_ms: u64, edit: impl FnOnce(&mut Entry)) -> &mut Self {
        let mut entry = Entry::new(Actor::Client, "PUT", "/x", call, at_ms * 1000);
        entry.seq = self.0.len() as u64 + 1;
        entry.client = Some("c".to_owned());
        entry.took_us = took_ms * 1000;
        entry.took_ms = took_ms;
        if call == "C1" || call == "C3" {
            entry.target = Some("cfg".to_owned());
        }
        edit(&mut entry);
        self.0.push(entry);
        self
    }

    /// C1 that shows a version with this content.
    fn read(&mut self, at_ms: u64, version: i64, content: &Value) -> &mut Self {
        self.push("C1", at_ms, 1, |entry| entry.shown = Some(shown(version, content)))
    }

    /// C3 on the guard of `version`, answered with `status`.
    fn write(&mut self, at_ms: u64, version: i64, before: &Value, after: &Value, status: u16) -> &mut Self {
        self.push("C3", at_ms, 1, |entry| {
            entry.if_match = Some(tag(version));
            entry.version = Some(version + 1);
            entry.body_sha256 = Some(digest(&json!([version, after])));
            entry.status = status;
            if status == 200 {
                apply(entry, version + 1, before, after);
                entry.shown = Some(shown(version + 1, after));
            }
        })
    }

    /// A foreign edit that leaves `version`.
    fn edit(&mut self, at_ms: u64, version: i64, before: &Value, after: &Value) -> &mut Self {
        self.push("C3", at_ms, 0, |entry| {
            entry.actor = Actor::Foreign;
            entry.call = "other".to_owned();
            entry.client = None;
            apply(entry, version, before, after);
        })
    }

    fn rules(&self) -> Vec<Rule> {
        check(&self.0).into_iter().map(|violation| violation.rule).collect()
    }
}

fn apply(entry: &mut Entry, version: i64, before: &Value, after: &Value) {
    entry.applied = true;
    entry.change = Some(entry.seq);
    entry.result_version = Some(version);
    entry.before = Some(Document::from(before.clone()));
    entry.after = Some(Document::from(after.clone()));
}

fn tag(version: i64) -> String {
    format!("\"{version}-aaaa\"")
}

fn shown(version: i64, content: &Value) -> Shown {
    Shown { version: Some(version), guard: Some(tag(version)), content_sha256: digest(content) }
}

fn documents() -> (Value, Value, Value) {
    (json!({"a": 1}), json!({"a": 2}), json!({"a": 3}))
}

#[test]
fn a_correct_story_has_no_violation() {
    let (one, two, three) = documents();
    let mut story = Story::default();
    story.read(0, 7, &one).write(10, 7, &one, &two, 200).write(20, 8, &two, &three, 200);
    story.edit(30, 10, &three, &one).write(40, 9, &three, &two, 409).read(50, 10, &one).write(60, 10, &one, &two, 200);
    assert_eq!(check(&story.0), []);
}

#[test]
fn an_unguarded_write_is_found_also_where_it_was_refused() {
    for guard in [None, Some(""), Some("*")] {
        let mut story = Story::default();
        story.push("C3", 0, 1, |entry| {
            entry.if_match = guard.map(str::to_owned);
            entry.version = Some(8);
            entry.status = 428;
        });
        assert_eq!(story.rules(), [Rule::UnguardedWrite], "{guard:?}");
    }
}

#[test]
fn a_version_that_does_not_fit_the_guard_is_found() {
    let (one, two, _) = documents();
    for wrong in [Some(7), Some(9), None] {
        let mut story = Story::default();
        story.read(0, 7, &one).write(10, 7, &one, &two, 409);
        story.0[1].version = wrong;
        assert_eq!(story.rules(), [Rule::UnguardedWrite], "{wrong:?}");
        story.0.remove(0);
        assert_eq!(story.rules(), [Rule::UnguardedWrite], "{wrong:?} without the read");
    }
}

#[test]
fn a_guard_that_is_used_twice_is_found() {
    let (one, two, three) = documents();
    let mut story = Story::default();
    story.read(0, 7, &one).write(10, 7, &one, &two, 200).write(20, 7, &two, &three, 200);
    assert_eq!(story.rules(), [Rule::GuardReused, Rule::LostUpdate]);
}

#[test]
fn a_state_that_was_never_sent_is_a_lost_update() {
    let (one, two, _) = documents();
    let mut story = Story::default();
    story.write(10, 7, &one, &two, 200);
    assert_eq!(story.rules(), [Rule::LostUpdate], "no read at all");
    let mut story = Story::default();
    story.read(10, 7, &one).write(10, 7, &one, &two, 200);
    assert_eq!(story.rules(), [Rule::LostUpdate], "the read was not answered yet");
    let mut story = Story::default();
    story.read(0, 7, &two).write(10, 7, &one, &two, 200);
    assert_eq!(story.rules(), [Rule::LostUpdate], "other content under the same guard");
    let mut story = Story::default();
    story.read(0, 7, &one).write(10, 7, &one, &two, 200);
    story.0[0].client = Some("other".to_owned());
    assert_eq!(story.rules(), [Rule::LostUpdate], "sent to another client");
}

#[test]
fn a_change_that_no_entry_explains_is_a_lost_update() {
    let (one, two, three) = documents();
    let mut story = Story::default();
    story.read(0, 7, &one).write(10, 7, &one, &two, 200).read(20, 8, &three).write(30, 8, &three, &one, 200);
    assert_eq!(story.rules(), [Rule::LostUpdate]);
}

#[test]
fn an_undeclared_member_must_survive() {
    let before = json!({"p": {"mine": 1, "theirs": 2}, "list": [1], "dateModified": "a"});
    let after = json!({"p": {"mine": 3}, "list": [2], "dateModified": "b"});
    let mut story = Story::default();
    story.read(0, 7, &before).write(10, 7, &before, &after, 200);
    let declared = BTreeMap::from([("cfg".to_owned(), vec![json!({"p": {"mine": 3}}), json!({"list": []})])]);
    let expected = Expectations { declared, ..Expectations::default() };
    let found = check_with(&story.0, &expected);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].rule, Rule::UndeclaredChanged);
    assert!(found[0].message.ends_with(": /p/theirs"), "{}", found[0].message);
    assert_eq!(check(&story.0), []);
}

#[test]
fn a_refused_body_needs_a_new_read_before_it_comes_again() {
    let (one, two, _) = documents();
    let resent = |read_at: Option<u64>| {
        let mut story = Story::default();
        story.read(0, 7, &one).write(10, 7, &one, &two, 412);
        if let Some(at) = read_at {
            story.read(at, 7, &one);
        }
        story.write(20, 7, &one, &two, 409);
        story.rules()
    };
    assert_eq!(resent(None), [Rule::ResentAfterRefusal]);
    assert_eq!(resent(Some(10)), [Rule::ResentAfterRefusal], "the read began before the refusal was out");
    assert_eq!(resent(Some(20)), [Rule::ResentAfterRefusal], "the read was not answered yet");
    assert_eq!(resent(Some(12)), []);
}

#[test]
fn a_lost_answer_is_no_refusal() {
    let (one, two, _) = documents();
    let mut story = Story::default();
    story.read(0, 7, &one).write(10, 7, &one, &two, 409).write(20, 7, &one, &two, 409);
    story.0[1].delivered = false;
    assert_eq!(story.rules(), []);
}

#[test]
fn calls_beyond_the_budget_are_found_once_for_each_run() {
    let mut story = Story::default();
    for at_ms in [0, 1000, 2000, 2500, 63_000, 63_010, 63_020] {
        story.push("C2", at_ms, 1, |_| {});
    }
    story.push("T1", 2100, 1, |_| {});
    let with = |limit| {
        let expected = Expectations { calls_per_minute: Some(limit), ..Expectations::default() };
        check_with(&story.0, &expected).into_iter().map(|violation| violation.entries).collect::<Vec<_>>()
    };
    assert_eq!(with(4), Vec::<Vec<u64>>::new());
    assert_eq!(with(3), [vec![1, 4]]);
    assert_eq!(with(2), [vec![1, 3], vec![5, 7]]);
}

#[test]
fn nothing_is_sent_before_retry_after() {
    let paused = |status: u16, path: &str, call: &str, at_ms: u64| {
        let mut story = Story::default();
        story.push("C1", 0, 1, |entry| {
            entry.status = status;
            entry.retry_after_ms = Some(1000);
        });
        story.push(call, at_ms, 1, |entry| entry.path = path.to_owned());
        story.rules()
    };
    assert_eq!(paused(429, "/x", "C1", 500), [Rule::RetryAfterIgnored]);
    assert_eq!(paused(429, "/oauth/token", "T1", 500), [Rule::RetryAfterIgnored]);
    assert_eq!(paused(429, "/x", "C1", 4), [], "it was under way");
    assert_eq!(paused(429, "/x", "C1", 1001), []);
    assert_eq!(paused(503, "/x", "C1", 500), [Rule::RetryAfterIgnored]);
    assert_eq!(paused(503, "/y", "C1", 500), []);
}

#[test]
fn one_token_request_at_a_time() {
    let mut story = Story::default();
    story.push("T1", 0, 10, |_| {}).push("T1", 10, 10, |_| {});
    assert_eq!(story.rules(), []);
    story.push("T1", 19, 1, |_| {});
    assert_eq!(story.rules(), [Rule::ParallelTokenRequests]);
    let mut story = Story::default();
    story.push("T1", 0, 100, |entry| entry.hung_up_us = Some(20_000)).push("T1", 30, 10, |_| {});
    assert_eq!(story.rules(), []);
}
