//! Skill profiles on a real API server.

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, condition, message};

fn level(id: &str, proficiency: f64) -> Value {
    json!({"skillId": id, "proficiency": proficiency})
}

fn apply(stage: &Stage, name: &str, skills: &Value) {
    stage.apply_ok(&stage.object("SkillProfile", name, json!({"userId": "u1", "skills": skills})));
}

fn agent(stage: &Stage) {
    stage.world().put_user("u1", json!({"version": 3, "name": "Ana", "skills": [level("billing", 0.5), level("kept", 0.3)]}));
}

#[test]
fn declared_skills_are_enforced_and_others_stay() {
    let stage = Stage::new("skills");
    agent(&stage);
    apply(&stage, "p1", &json!([level("billing", 0.72), level("new", 1.0)]));
    stage.wait_ready("skp/p1", "True", "Succeeded");
    assert_eq!(stage.names_since(0), ["S1", "S2"]);
    assert_eq!(
        stage.world().user("u1").unwrap()["skills"],
        json!([level("billing", 0.72), level("kept", 0.3), level("new", 1.0)])
    );
    // A supervisor changes a declared skill and another one.
    stage.world().set_skill("u1", "billing", Some(0.1));
    stage.world().set_skill("u1", "kept", Some(0.9));
    stage.request_check("skp/p1", "one");
    stage.wait_ready("skp/p1", "True", "Succeeded");
    assert_eq!(
        stage.world().user("u1").unwrap()["skills"],
        json!([level("billing", 0.72), level("kept", 0.9), level("new", 1.0)])
    );
    stage.wait_until("the events", || {
        let events = stage.events("skp/p1");
        events.contains(&"SkillsApplied".to_owned()) && events.contains(&"DriftCorrected".to_owned())
    });
    // No longer declared: what was added for this object goes.
    apply(&stage, "p1", &json!([level("billing", 0.72)]));
    stage.wait_until("the removal", || stage.world().skill("u1", "new").is_none());
    stage.wait_ready("skp/p1", "True", "Succeeded");
    let mark = stage.mark();
    apply(&stage, "p1", &json!([level("billing", 0.72)]));
    stage.request_check("skp/p1", "two");
    assert_eq!(stage.names_since(mark), ["S1"]);
    stage.assert_invariants();
}

#[test]
fn a_supervisor_edits_another_skill_at_the_same_moment_and_both_edits_are_there() {
    let stage = Stage::new("skills-race");
    agent(&stage);
    stage.fault(Fault::new(FaultKind::ForeignEditBefore { patch: None }).on(&["S2"]).times(Times::Count(1)));
    apply(&stage, "p1", &json!([level("billing", 0.72)]));
    stage.wait_ready("skp/p1", "True", "Succeeded");
    assert_eq!(stage.world().skill("u1", "billing"), Some(json!(0.72)));
    assert!(stage.world().skill("u1", "foreign-skill").is_some());
    assert_eq!(stage.names_since(0), ["S1", "S2", "S1", "S2"]);
    stage.assert_invariants();
}

#[test]
fn two_profiles_share_an_agent_but_not_a_skill() {
    let stage = Stage::new("skills-claims");
    agent(&stage);
    apply(&stage, "p1", &json!([level("billing", 0.7)]));
    apply(&stage, "p2", &json!([level("returns", 0.8)]));
    stage.wait_ready("skp/p1", "True", "Succeeded");
    stage.wait_ready("skp/p2", "True", "Succeeded");
    apply(&stage, "p3", &json!([level("returns", 0.1), level("other", 0.2)]));
    let object = stage.wait_ready("skp/p3", "False", "DuplicateOwner");
    assert!(message(&object).contains("skill returns of agent u1 is already managed by p2"), "{}", message(&object));
    assert_eq!(stage.world().skill("u1", "other"), None);
    stage.kubectl(&["delete", "skp", "p2"]);
    stage.wait_ready("skp/p3", "True", "Succeeded");
    assert_eq!(
        (stage.world().skill("u1", "returns"), stage.world().skill("u1", "billing")),
        (Some(json!(0.1)), Some(json!(0.7)))
    );
    stage.assert_invariants();
}

#[test]
fn mistakes_come_in_one_answer_and_a_missing_agent_is_told() {
    let stage = Stage::new("skills-bad");
    let bad = json!({"userId": "../x", "skills": [level("a b", 1.5)], "interval": "1s"});
    let out = stage.apply(&stage.object("SkillProfile", "bad", bad));
    for part in ["userId must be", "skillId must be", "proficiency must be 0 to 1", "at least 30s"] {
        assert!(out.stderr.contains(part), "{part} is not in {}", out.stderr);
    }
    let twice = stage.apply(&stage.object(
        "SkillProfile",
        "twice",
        json!({"userId": "u1", "skills": [level("a", 0.1), level("a", 0.2)]}),
    ));
    assert!(twice.stderr.contains("Duplicate value"), "{}", twice.stderr);
    let many: Vec<Value> = (0..2_000).map(|n| level(&format!("skill-{n}"), 0.5)).collect();
    apply(&stage, "p1", &Value::from(many));
    let object = stage.wait_ready("skp/p1", "False", "NotFound");
    assert_eq!(condition(&object, "Stalled")["status"], "True");
    stage.world().put_user("u1", json!({"version": 1, "name": "Ana", "skills": []}));
    stage.request_check("skp/p1", "now");
    let object = stage.wait_ready("skp/p1", "True", "Succeeded");
    assert_eq!(stage.world().user("u1").unwrap()["skills"].as_array().map(Vec::len), Some(2_000));
    assert!(object["status"].to_string().len() < 256 * 1024, "{} bytes of status", object["status"].to_string().len());
}
