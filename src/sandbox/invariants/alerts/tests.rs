//! Planted violations, and the nearest harmless case of each.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::journal::{Actor, Document, digest};

const TEXT: &str = "Skill s proficiency adjusted from 0.10 to 0.72. Change exceeds threshold.";

fn push(journal: &mut Vec<Entry>, call: &str, at_ms: u64, edit: impl FnOnce(&mut Entry)) {
    let mut entry = Entry::new(Actor::Client, "POST", "/api/v2/alerts", call, at_ms * 1000);
    entry.seq = journal.len() as u64 + 1;
    entry.client = Some("c".to_owned());
    (entry.took_us, entry.took_ms) = (1000, 1);
    edit(&mut entry);
    journal.push(entry);
}

fn alert(journal: &mut Vec<Entry>, at_ms: u64, status: u16) {
    push(journal, "S4", at_ms, |entry| {
        let body = json!({"links": [{"type": "user", "id": "u"}], "body": TEXT});
        (entry.status, entry.delivered) = (status, status != 0);
        entry.body_sha256 = Some(digest(&body));
        entry.body = Some(Document::from(body));
    });
}

/// An applied S2 that moves a skill.
fn write(journal: &mut Vec<Entry>, at_ms: u64, user: &str, skill: &str) {
    let profile = |level: f64| Document::from(json!({"skills": [{"skillId": skill, "proficiency": level}]}));
    push(journal, "S2", at_ms, |entry| {
        (entry.target, entry.applied) = (Some(user.to_owned()), true);
        (entry.before, entry.after) = (Some(profile(0.1)), Some(profile(0.2)));
    });
}

fn rules(journal: &[Entry]) -> Vec<Rule> {
    let requests: Vec<&Entry> = journal.iter().collect();
    check(&requests).into_iter().map(|violation| violation.rule).collect()
}

/// Two alerts, and something in between.
fn twice(status: u16, between: impl FnOnce(&mut Vec<Entry>)) -> Vec<Entry> {
    let mut journal = Vec::new();
    alert(&mut journal, 0, status);
    between(&mut journal);
    alert(&mut journal, 100, 201);
    journal
}

#[test]
fn an_alert_that_was_taken_is_not_sent_again() {
    for status in [200, 201] {
        assert_eq!(rules(&twice(status, |_| {})), [Rule::DuplicateAlert], "{status}");
    }
    for status in [0, 202, 204, 400, 403, 408, 409, 429, 500, 501, 503] {
        assert_eq!(rules(&twice(status, |_| {})), [], "{status}");
    }
    assert_eq!(rules(&twice(0, |journal| alert(journal, 50, 201))), [Rule::DuplicateAlert], "taken in the end");
    let other = |edit: fn(&mut Entry)| {
        let mut journal = twice(201, |_| {});
        edit(&mut journal[0]);
        rules(&journal)
    };
    assert_eq!(other(|entry| entry.delivered = false), []);
    assert_eq!(other(|entry| entry.client = Some("other".to_owned())), []);
    assert_eq!(other(|entry| entry.body_sha256 = Some("other".to_owned())), []);
}

#[test]
fn another_change_of_the_same_skill_is_another_alert() {
    assert_eq!(rules(&twice(201, |journal| write(journal, 50, "u", "s"))), []);
    assert_eq!(rules(&twice(201, |journal| write(journal, 50, "u", "t"))), [Rule::DuplicateAlert], "another skill");
    assert_eq!(rules(&twice(201, |journal| write(journal, 50, "v", "s"))), [Rule::DuplicateAlert], "another user");
    assert_eq!(rules(&twice(201, |journal| write(journal, 101, "u", "s"))), [Rule::DuplicateAlert], "not yet");
    for edit in [(|entry: &mut Entry| entry.applied = false) as fn(&mut Entry), |entry| entry.client = Some("other".to_owned())] {
        let mut journal = twice(201, |journal| write(journal, 50, "u", "s"));
        edit(&mut journal[1]);
        assert_eq!(rules(&journal), [Rule::DuplicateAlert]);
    }
    let mut unkept = twice(201, |journal| write(journal, 50, "u", "s"));
    unkept.iter_mut().for_each(|entry| (entry.body, entry.before, entry.after) = (None, None, None));
    assert_eq!(rules(&unkept), [], "nobody can tell");
}

#[test]
fn the_checker_of_all_rules_asks_this_one() {
    assert_eq!(crate::sandbox::check(&twice(201, |_| {})).len(), 1);
    let _: Value = serde_json::to_value(Rule::DuplicateAlert).unwrap();
}
