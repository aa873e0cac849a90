//! Planted violations, and the nearest harmless case of each.

use serde_json::{Value, json};

use super::*;
use crate::sandbox::journal::{Document, Shown};

/// Builds the journal of one template on a clock of milliseconds.
#[derive(Default)]
struct Story(Vec<Entry>);

impl Story {
    fn push(&mut self, call: &str, at_ms: u64, edit: impl FnOnce(&mut Entry)) -> &mut Self {
        let mut entry = Entry::new(Actor::Client, "POST", "/api/v2/ai/prompt-templates/t/versions", call, at_ms * 1000);
        entry.seq = self.0.len() as u64 + 1;
        entry.client = Some("c".to_owned());
        entry.target = Some("t".to_owned());
        (entry.took_us, entry.took_ms) = (1000, 1);
        edit(&mut entry);
        self.0.push(entry);
        self
    }

    /// P1, page 1.
    fn look(&mut self, at_ms: u64) -> &mut Self {
        self.push("P1", at_ms, |entry| entry.shown = Some(shown()))
    }

    /// P2 that was accepted.
    fn promote(&mut self, at_ms: u64, content: &str) -> &mut Self {
        self.push("P2", at_ms, |entry| {
            entry.status = 201;
            entry.shown = Some(shown());
            apply(entry, content);
        })
    }

    /// P2 that had no effect.
    fn refused(&mut self, at_ms: u64, status: u16) -> &mut Self {
        self.push("P2", at_ms, |entry| {
            entry.status = status;
            entry.delivered = status != 0;
        })
    }

    fn foreign(&mut self, at_ms: u64, content: &str) -> &mut Self {
        self.push("other", at_ms, |entry| {
            (entry.actor, entry.client, entry.took_us) = (Actor::Foreign, None, 0);
            apply(entry, content);
        })
    }

    fn rules(&self) -> Vec<Rule> {
        crate::sandbox::check(&self.0).into_iter().map(|violation| violation.rule).collect()
    }
}

fn shown() -> Shown {
    Shown { version: None, guard: None, content_sha256: String::new() }
}

/// The change takes effect on arrival; what was live before it is left open.
fn apply(entry: &mut Entry, content: &str) {
    entry.applied = true;
    entry.change = Some(entry.seq);
    entry.changed_us = Some(entry.at_us);
    entry.promoted = Some(format!("1.0.{}", entry.seq));
    entry.after = Some(Document::from(json!({"version": entry.promoted, "content": content})));
}

#[test]
fn a_correct_story_has_no_violation() {
    let mut story = Story::default();
    story.look(0).promote(10, "a").look(20).promote(30, "b").foreign(40, "c").look(50).promote(60, "a");
    story.look(70).refused(80, 409).look(90).refused(100, 0).look(110).promote(120, "b");
    assert_eq!(crate::sandbox::check(&story.0), []);
}

#[test]
fn a_promotion_without_a_look_at_the_last_change_is_found() {
    let rules = |build: &dyn Fn(&mut Story)| {
        let mut story = Story::default();
        build(&mut story);
        story.rules()
    };
    let unseen = [Rule::UnseenPromotion];
    assert_eq!(rules(&|story| _ = story.promote(10, "a")), unseen, "no look at all");
    assert_eq!(rules(&|story| _ = story.look(10).promote(10, "a")), unseen, "not answered yet");
    assert_eq!(rules(&|story| _ = story.look(0).foreign(5, "x").promote(10, "a")), unseen, "somebody promoted since");
    assert_eq!(rules(&|story| _ = story.look(0).promote(10, "a").promote(20, "b")), unseen, "it changed it itself");
    assert_eq!(rules(&|story| _ = story.look(0).foreign(10, "x").promote(10, "a")), unseen, "at the same moment");
    assert_eq!(rules(&|story| _ = story.look(0).promote(10, "a").foreign(11, "x")), [], "it came later");
    for edit in [
        (|entry: &mut Entry| entry.shown = None) as fn(&mut Entry),
        |entry| entry.delivered = false,
        |entry| entry.status = 503,
        |entry| entry.client = Some("other".to_owned()),
        |entry| entry.target = Some("other".to_owned()),
    ] {
        let mut story = Story::default();
        story.look(0).promote(10, "a");
        edit(&mut story.0[0]);
        assert_eq!(story.rules(), unseen, "{:?}", story.0[0]);
    }
}

#[test]
fn a_late_commit_is_judged_by_its_arrival() {
    let mut story = Story::default();
    story.look(0).promote(10, "a").look(20).foreign(30, "x");
    (story.0[1].change, story.0[1].changed_us) = (Some(9), Some(50_000));
    assert_eq!(story.rules(), []);
    story.look(40).promote(60, "b");
    story.0[5].change = Some(10);
    assert_eq!(story.rules(), [Rule::UnseenPromotion], "the look was before the commit");
}

#[test]
fn the_same_content_under_a_second_number_is_found() {
    let mut story = Story::default();
    story.look(0).promote(10, "a").look(20).promote(30, "a");
    assert_eq!(story.rules(), [Rule::DuplicateVersion]);
    let plain = json!({"content": "a"});
    let same =
        json!({"content": "a", "variables": {}, "metadata": null, "abTestingTrigger": {"enabled": false}, "version": "9.9.9"});
    assert_eq!(substance(&plain), substance(&same));
    for other in [
        json!({"content": "b"}),
        json!({"content": "a", "variables": {"x": "string"}}),
        json!({"content": "a", "metadata": {"x": "y"}}),
        json!({"content": "a", "abTestingTrigger": {"enabled": true}}),
    ] {
        story.0[3].after = Some(Document::from(other));
        assert_eq!(story.rules(), []);
    }
    let mut story = Story::default();
    story.look(0).promote(10, "a").foreign(15, "x").look(20).promote(30, "a");
    assert_eq!(story.rules(), [], "somebody else promoted in between");
    let mut story = Story::default();
    story.look(0).promote(10, "a").look(20).promote(30, "a");
    for entry in &mut story.0[..2] {
        entry.client = Some("other".to_owned());
    }
    assert_eq!(story.rules(), [], "two clients");
}

#[test]
fn a_second_post_needs_a_look_after_the_first_one_s_end() {
    for status in [409, 408, 500, 503, 0, 200] {
        let posted = |look_at: Option<u64>| {
            let mut story = Story::default();
            story.look(0).refused(100, status);
            if let Some(at) = look_at {
                story.look(at);
            }
            story.promote(200, "a").rules()
        };
        assert_eq!(posted(None), [Rule::BlindRepost], "{status}");
        assert_eq!(posted(Some(90)), [Rule::BlindRepost], "{status}: began before its end");
        assert_eq!(posted(Some(200)), [Rule::BlindRepost], "{status}: was not answered yet");
        assert_eq!(posted(Some(110)), [], "{status}");
    }
    for status in [400, 401, 403, 404, 429, 501] {
        let mut story = Story::default();
        story.look(0).refused(100, status).promote(200, "a");
        assert_eq!(story.rules(), [], "{status} has no effect");
    }
}

#[test]
fn who_hung_up_may_look_at_once() {
    let mut story = Story::default();
    story.look(0).refused(100, 0).look(150).promote(160, "a");
    (story.0[1].took_us, story.0[1].hung_up_us) = (500_000, Some(151_000));
    assert_eq!(story.rules(), []);
    story.0[1].hung_up_us = None;
    assert_eq!(story.rules(), [Rule::BlindRepost]);
}

#[test]
fn a_change_that_no_entry_explains_is_found_and_ids_of_other_kinds_are_not_mixed_up() {
    let live: Value = json!({"version": "1.0.0", "content": "x"});
    let mut story = Story::default();
    story.foreign(0, "a").look(10).promote(20, "b");
    story.0[2].before = Some(Document::from(live));
    assert_eq!(story.rules(), [Rule::LostUpdate]);
    story.0[0].path = "/api/v2/agentassist/configs/t".to_owned();
    assert_eq!(story.rules(), []);
}

#[test]
fn prompts_count_and_pause_as_every_call_and_a1_does_not() {
    let mut story = Story::default();
    story.look(0).promote(10, "a").push("A1", 20, |entry| entry.path = "/audit/records".to_owned());
    let expected = |limit| Expectations { calls_per_minute: Some(limit), ..Expectations::default() };
    assert_eq!(crate::sandbox::check_with(&story.0, &expected(2)), []);
    assert_eq!(crate::sandbox::check_with(&story.0, &expected(1))[0].rule, Rule::BudgetExceeded);
    let mut story = Story::default();
    story.look(0).refused(10, 429).push("A1", 500, |entry| entry.path = "/audit/records".to_owned());
    story.0[1].retry_after_ms = Some(1000);
    assert_eq!(story.rules(), []);
    story.promote(600, "a");
    assert_eq!(story.rules(), [Rule::RetryAfterIgnored]);
}
