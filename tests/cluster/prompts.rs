//! Prompt templates on a real API server: promoted once each, reverted by their text alone, explained, and never shown in status.

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, condition, message};

fn content(stage: &Stage, id: &str) -> String {
    stage.world().live_prompt(id).unwrap()["content"].as_str().unwrap().to_owned()
}

fn versions(stage: &Stage, id: &str) -> Vec<String> {
    let versions = stage.world().prompt_versions(id).unwrap();
    versions.iter().rev().map(|v| v["version"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn apply_change_and_revert_are_three_promotions_with_rising_numbers() {
    let stage = Stage::new("promote");
    stage.world().put_prompt("p1", &[]);
    let declare = |text: &str| {
        stage.apply_prompt(
            "p1",
            json!({"content": format!("{text} {{{{issue}}}}"), "variables": {"issue": {"type": "String", "maxLength": 100}}}),
        );
    };
    let texts = ["first", "second", "first"];
    for (index, text) in texts.iter().enumerate() {
        let mark = stage.mark();
        declare(text);
        stage.wait_until("the promotion", || versions(&stage, "p1").len() == index + 1);
        stage.wait_ready("pt/p1", "True", "Succeeded");
        assert_eq!(stage.names_since(mark), ["P1", "P2"], "a promotion is one page and one post");
        assert_eq!(content(&stage, "p1"), format!("{text} {{{{issue}}}}"));
    }
    assert_eq!(versions(&stage, "p1"), ["1.0.0", "1.0.1", "1.0.2"]);
    // The same again, and a check: nothing is written.
    let mark = stage.mark();
    declare("first");
    stage.request_check("pt/p1", "again");
    assert_eq!(stage.names_since(mark), ["P1"]);
    stage.wait_until("the event", || stage.events("pt/p1").iter().filter(|e| *e == "VersionPromoted").count() == 3);
    let object = stage.get("pt/p1").to_string();
    for secret in ["second {", "first {"] {
        let status = stage.get("pt/p1")["status"].to_string();
        assert!(!status.contains(secret) && !stage.log_text().contains(secret), "{object}");
    }
    stage.assert_invariants();
}

#[test]
fn a_text_in_a_config_map_gets_the_same_findings_in_status() {
    let stage = Stage::new("from-map");
    stage.world().put_prompt("p1", &[]);
    let map = |text: &str| {
        stage.apply_ok(
            &json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "text-1"}, "data": {"prompt.txt": text}}),
        );
    };
    let spec = json!({
        "contentFrom": {"configMapKeyRef": {"name": "text-1", "key": "prompt.txt"}}, "limits": {"maxCharacters": 60, "maxTokens": 30},
        "variables": {"issue": {"type": "String", "maxLength": 400}, "unused": {"type": "String"}},
    });
    stage.apply_prompt("p1", spec);
    let object = stage.wait_ready("pt/p1", "False", "DependencyNotFound");
    assert!(message(&object).contains("text-1"), "{}", message(&object));
    map("Help with {{issue}}, {{isue}} and {{ name }}.\nThis line is too long for the limit of sixty.");
    stage.request_check("pt/p1", "one");
    let object = stage.wait_ready("pt/p1", "False", "InvalidSpec");
    let text = message(&object);
    for part in ["5 findings", "at most 60", "line 1, column 22: {{isue}}", "line 1, column 35", "unused", "at most 30"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    assert!(stage.calls_since(0).is_empty(), "an invalid prompt makes no call");
    // The text is mended in place: the annotation, or the next check, sees it.
    stage.apply_prompt("p1", json!({
        "contentFrom": {"configMapKeyRef": {"name": "text-1", "key": "prompt.txt"}}, "variables": {"issue": {"type": "String"}},
    }));
    map("Help with {{issue}}.");
    stage.request_check("pt/p1", "two");
    stage.wait_ready("pt/p1", "True", "Succeeded");
    assert_eq!(content(&stage, "p1"), "Help with {{issue}}.");
}

#[test]
fn an_ab_test_is_percent_in_the_header_and_a_fraction_in_the_body_and_ends_with_its_block() {
    let stage = Stage::new("ab-test");
    stage.world().put_prompt("p1", &[json!({"version": "2.0.9", "content": "text"})]);
    stage.apply_prompt("p1", json!({"content": "text", "abTest": {"variantId": "v2_1_0_beta", "trafficPercent": 20}}));
    stage.wait_ready("pt/p1", "True", "Succeeded");
    let post = stage.calls_since(0).into_iter().find(|e| e.call == "P2").unwrap();
    // The sandbox refuses a header that does not belong to the body.
    assert_eq!((post.status, post.promoted.as_deref()), (201, Some("2.0.10")));
    let body: Value = serde_json::from_str(&serde_json::to_string(&post.body).unwrap()).unwrap();
    assert_eq!(body["abTestingTrigger"], json!({"enabled": true, "trafficPercent": 0.2, "variantId": "v2_1_0_beta"}));
    stage.apply_prompt("p1", json!({"content": "text"}));
    stage.wait_until("the end of the test", || stage.world().live_prompt("p1").unwrap()["abTestingTrigger"].is_null());
    assert_eq!(stage.world().live_prompt("p1").unwrap()["version"], "2.0.11");
    stage.assert_invariants();
}

#[test]
fn a_newer_foreign_version_is_repaired_and_supersedes_a_declared_number() {
    let stage = Stage::new("superseded");
    for id in ["p1", "p2"] {
        stage.world().put_prompt(id, &[]);
    }
    stage.apply_prompt("p1", json!({"content": "mine"}));
    stage.apply_prompt("p2", json!({"content": "mine", "version": "3.0.0"}));
    stage.wait_ready("pt/p1", "True", "Succeeded");
    stage.wait_ready("pt/p2", "True", "Succeeded");
    for id in ["p1", "p2"] {
        assert!(stage.world().promote(id, json!({"version": "4.0.0", "content": "theirs"})));
    }
    stage.request_check("pt/p1", "one");
    stage.wait_ready("pt/p1", "True", "Succeeded");
    assert_eq!(versions(&stage, "p1"), ["1.0.0", "4.0.0", "4.0.1"]);
    assert_eq!(stage.get("pt/p1")["status"]["history"][0]["why"], "DriftRepair");
    stage.request_check("pt/p2", "one");
    let object = stage.wait_ready("pt/p2", "False", "Superseded");
    assert!(message(&object).contains("set spec.version to 4.0.1"), "{}", message(&object));
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    assert_eq!(versions(&stage, "p2"), ["3.0.0", "4.0.0"]);
    // A number that is not taken goes through.
    stage.apply_prompt("p2", json!({"content": "mine", "version": "4.0.1"}));
    stage.wait_ready("pt/p2", "True", "Succeeded");
    assert_eq!(content(&stage, "p2"), "mine");
    stage.assert_invariants();
}

#[test]
fn an_operator_that_is_killed_around_a_promotion_makes_it_once() {
    let stage = Stage::new("promote-kill");
    stage.world().put_prompt("p1", &[]);
    // The write takes effect, its answer hangs, and the process dies.
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 30_000 }).on(&["P2"]).times(Times::Count(1)));
    stage.apply_prompt("p1", json!({"content": "text"}));
    stage.wait_until("the commit", || versions(&stage, "p1").len() == 1);
    stage.kill_operator();
    stage.start_operator();
    let object = stage.wait_ready("pt/p1", "True", "Succeeded");
    assert_eq!(versions(&stage, "p1"), ["1.0.0"]);
    assert_eq!(object["status"]["history"][0]["version"], "1.0.0");
    assert!(object["status"].get("intent").is_none());
    assert!(stage.log_text().contains("\"status\":\"PROMOTED\""));
    stage.assert_invariants();
}

#[test]
fn a_rollback_flag_is_named() {
    let stage = Stage::new("rollback-flag");
    stage.world().put_prompt("p1", &[]);
    assert!(stage.world().set_rollback_flag("p1", true));
    stage.apply_prompt("p1", json!({"content": "text"}));
    let object = stage.wait_ready("pt/p1", "False", "ConflictDetected");
    assert!(message(&object).contains("rollback flag"), "{}", message(&object));
    stage.world().set_rollback_flag("p1", false);
    stage.wait_ready("pt/p1", "True", "Succeeded");
    assert_eq!(versions(&stage, "p1"), ["1.0.0"]);
    stage.assert_invariants();
}

#[test]
fn two_prompts_for_one_template_the_older_keeps_it() {
    let stage = Stage::new("prompt-owner");
    stage.world().put_prompt("p1", &[]);
    stage.apply_prompt("p1", json!({"content": "first"}));
    stage.wait_ready("pt/p1", "True", "Succeeded");
    stage.apply_ok(&stage.object("PromptTemplate", "other", json!({"templateId": "p1", "content": "second"})));
    stage.wait_ready("pt/other", "False", "DuplicateOwner");
    assert_eq!(content(&stage, "p1"), "first");
    stage.kubectl(&["delete", "pt", "p1"]);
    stage.wait_ready("pt/other", "True", "Succeeded");
    assert_eq!(content(&stage, "p1"), "second");
}
