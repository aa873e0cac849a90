//! Planted violations, and the nearest harmless case of each.

use serde_json::json;

use super::*;
use crate::sandbox::invariants::check_with;
use crate::sandbox::journal::{Actor, Document, Shown, digest};

/// Builds the journal of one profile on a clock of milliseconds.
#[derive(Default)]
struct Story(Vec<Entry>);

impl Story {
    fn push(&mut self, call: &str, at_ms: u64, edit: impl FnOnce(&mut Entry)) -> &mut Self {
        let mut entry = Entry::new(Actor::Client, "PUT", "/api/v2/users/u/routing/profile", call, at_ms * 1000);
        entry.seq = self.0.len() as u64 + 1;
        entry.client = Some("c".to_owned());
        entry.target = Some("u".to_owned());
        (entry.took_us, entry.took_ms) = (1000, 1);
        edit(&mut entry);
        self.0.push(entry);
        self
    }

    /// S1 that shows a version with this content.
    fn read(&mut self, at_ms: u64, version: i64, content: &Value) -> &mut Self {
        self.push("S1", at_ms, |entry| entry.shown = Some(shown(version, content)))
    }

    /// S2 after a read of `version`, answered with `status`.
    fn write(&mut self, at_ms: u64, version: i64, before: &Value, after: &Value, status: u16) -> &mut Self {
        self.push("S2", at_ms, |entry| {
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
        self.push("other", at_ms, |entry| {
            (entry.actor, entry.client, entry.took_us) = (Actor::Foreign, None, 0);
            apply(entry, version, before, after);
        })
    }

    fn rules(&self) -> Vec<Rule> {
        crate::sandbox::check(&self.0).into_iter().map(|violation| violation.rule).collect()
    }
}

fn apply(entry: &mut Entry, version: i64, before: &Value, after: &Value) {
    entry.applied = true;
    entry.change = Some(entry.seq);
    entry.changed_us = Some(entry.at_us);
    entry.result_version = Some(version);
    entry.before = Some(Document::from(before.clone()));
    entry.after = Some(Document::from(after.clone()));
}

fn shown(version: i64, content: &Value) -> Shown {
    Shown { version: Some(version), guard: Some(version.to_string()), content_sha256: digest(content) }
}

fn profile(skills: &[(&str, f64)]) -> Value {
    let skills: Vec<Value> = skills.iter().map(|(id, level)| json!({"skillId": id, "proficiency": level})).collect();
    json!({"name": "Ana", "skills": skills})
}

fn profiles() -> (Value, Value, Value) {
    (profile(&[("s", 0.1)]), profile(&[("s", 0.2)]), profile(&[("s", 0.2), ("theirs", 1.0)]))
}

#[test]
fn a_correct_story_has_no_violation() {
    let (one, two, three) = profiles();
    let mut story = Story::default();
    story.read(0, 12, &one).write(10, 12, &one, &two, 200).write(20, 13, &two, &one, 200);
    story.edit(30, 15, &one, &three).write(40, 14, &one, &two, 409).read(50, 15, &three).write(60, 15, &three, &one, 200);
    assert_eq!(crate::sandbox::check(&story.0), []);
}

#[test]
fn a_write_without_the_next_version_is_found_also_where_it_was_refused() {
    let (one, two, _) = profiles();
    for wrong in [None, Some(12), Some(14), Some(i64::MIN)] {
        let mut story = Story::default();
        story.read(0, 12, &one).write(10, 12, &one, &two, 409);
        story.0[1].version = wrong;
        assert_eq!(story.rules(), [Rule::UnguardedWrite], "{wrong:?}");
    }
    let mut story = Story::default();
    story.write(10, 12, &one, &two, 409);
    assert_eq!(story.rules(), [], "nobody told it a version, and nothing was written");
    story.0[0].version = None;
    assert_eq!(story.rules(), [Rule::UnguardedWrite]);
}

#[test]
fn a_version_that_is_used_twice_is_found() {
    let (one, two, three) = profiles();
    let mut story = Story::default();
    story.read(0, 12, &one).write(10, 12, &one, &two, 200).write(20, 12, &two, &three, 200);
    assert_eq!(story.rules(), [Rule::GuardReused, Rule::LostUpdate]);
}

#[test]
fn a_profile_that_was_never_sent_is_a_lost_update() {
    let (one, two, _) = profiles();
    let with = |edit: &dyn Fn(&mut Story)| {
        let mut story = Story::default();
        story.read(0, 12, &one).write(10, 12, &one, &two, 200);
        edit(&mut story);
        story.rules()
    };
    assert_eq!(with(&|_| {}), []);
    assert_eq!(with(&|story| _ = story.0.remove(0)), [Rule::LostUpdate], "no read at all");
    assert_eq!(with(&|story| story.0[0].at_us = 9_500), [Rule::LostUpdate], "not answered yet");
    assert_eq!(with(&|story| story.0[0].shown = Some(shown(12, &two))), [Rule::LostUpdate], "other skills at the same version");
    assert_eq!(with(&|story| story.0[0].client = Some("other".to_owned())), [Rule::LostUpdate], "sent to another client");
    assert_eq!(with(&|story| story.0[0].path = "/api/v2/agentassist/configs/u".to_owned()), [Rule::LostUpdate], "a config");
    let mut story = Story::default();
    story.read(0, 12, &one).write(10, 12, &one, &two, 200).read(20, 13, &one).write(30, 13, &one, &two, 200);
    assert_eq!(story.rules(), [Rule::LostUpdate], "it changed and no entry says so");
}

#[test]
fn ids_of_other_kinds_are_not_mixed_up() {
    let (one, two, _) = profiles();
    for path in ["/api/v2/agentassist/configs/u", "/api/v2/ai/prompt-templates/u/versions"] {
        let mut story = Story::default();
        story.edit(0, 1, &two, &two).read(10, 12, &one).write(20, 12, &one, &two, 200);
        assert_eq!(story.rules(), [Rule::LostUpdate]);
        story.0[0].path = path.to_owned();
        assert_eq!(story.rules(), []);
    }
}

#[test]
fn a_refused_body_needs_a_new_read_before_it_comes_again() {
    let (one, two, _) = profiles();
    let resent = |read_at: Option<u64>| {
        let mut story = Story::default();
        story.read(0, 12, &one).write(10, 12, &one, &two, 409);
        if let Some(at) = read_at {
            story.read(at, 12, &one);
        }
        story.write(20, 12, &one, &two, 409).rules()
    };
    assert_eq!(resent(None), [Rule::ResentAfterRefusal]);
    assert_eq!(resent(Some(10)), [Rule::ResentAfterRefusal], "the read began before the refusal was out");
    assert_eq!(resent(Some(12)), []);
}

#[test]
fn what_nobody_declared_must_survive() {
    let before = json!({"name": "Ana", "team": 1, "skills": [
        {"skillId": "mine", "proficiency": 0.1}, {"skillId": "theirs", "proficiency": 0.5, "note": "x"}]});
    let judged = |after: Value| {
        let mut story = Story::default();
        story.read(0, 12, &before).write(10, 12, &before, &after, 200);
        let declared_skills = BTreeMap::from([("u".to_owned(), BTreeSet::from(["mine".to_owned(), "new".to_owned()]))]);
        let found = check_with(&story.0, &Expectations { declared_skills, ..Expectations::default() });
        assert_eq!(crate::sandbox::check(&story.0), []);
        found
            .into_iter()
            .map(|violation| (violation.rule, violation.message.rsplit(": ").next().unwrap().to_owned()))
            .collect::<Vec<_>>()
    };
    let mut after = before.clone();
    after["skills"] = json!([{"skillId": "new", "proficiency": 1}, {"skillId": "theirs", "proficiency": 0.5, "note": "x"}]);
    assert_eq!(judged(after.clone()), []);
    after["skills"][1] = json!({"skillId": "theirs", "proficiency": 0.5});
    assert_eq!(judged(after), [(Rule::UndeclaredChanged, "theirs".to_owned())]);
    let lost = json!({"name": "Ana", "skills": []});
    assert_eq!(judged(lost), [(Rule::UndeclaredChanged, "/team, theirs".to_owned())]);
}
