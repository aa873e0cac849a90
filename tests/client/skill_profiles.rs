//! Skill profiles against the sandbox: declared levels are enforced, nobody's change is lost, and few calls are made.

use assist_operator::api::SkillProfile;
use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::{Value, json};

use super::held::Held;
use super::stage::Stage;

const AGENT: &str = "u1";

async fn stage() -> Stage {
    let stage = Stage::new().await;
    let skills = json!([{"skillId": "billing", "proficiency": 0.5}, {"skillId": "kept", "proficiency": 0.3}]);
    stage.world.put_user(AGENT, json!({"version": 3, "name": "Ana", "skills": skills}));
    stage
}

fn profile(skills: &Value, unlisted: &str) -> Held<SkillProfile> {
    Held::of(json!({"orgRef": {"name": "o"}, "userId": AGENT, "skills": skills, "unlisted": unlisted}))
}

fn level(id: &str, proficiency: f64) -> Value {
    json!({"skillId": id, "proficiency": proficiency})
}

#[tokio::test]
async fn declared_skills_are_written_and_others_stay_with_two_calls_and_a_change_of_spec_costs_one() {
    let stage = stage().await;
    let mut held = profile(&json!([level("billing", 0.72), level("new", 0.9)]), "Keep");
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(stage.calls().await, ["S1 200", "S2 200"]);
    let live = stage.world.user(AGENT).unwrap();
    assert_eq!(live["skills"], json!([level("billing", 0.72), level("kept", 0.3), level("new", 0.9)]));
    held.edit(|spec| spec["skills"] = json!([level("billing", 0.8)]));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    // What was added for this object goes, what was found stays.
    assert_eq!(stage.world.user(AGENT).unwrap()["skills"], json!([level("billing", 0.8), level("kept", 0.3)]));
    assert_eq!(stage.calls().await[2..], ["S2 200"]);
    held.checks();
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(stage.calls().await[3..], ["S1 200"]);
    assert_eq!(held.audits(), ["APPLIED", "APPLIED"]);
    assert_eq!(held.book.records()[0].action, "SKILL_UPDATE");
}

#[tokio::test]
async fn a_supervisor_who_edits_another_skill_at_the_same_moment_loses_nothing() {
    let stage = stage().await;
    let mut held = profile(&json!([level("billing", 0.72)]), "Keep");
    stage.fault("S2", 1, FaultKind::ForeignEditBefore { patch: None });
    let convergence = stage.converge(&mut held).await;
    assert_eq!((&convergence.end, convergence.conflicts), (&End::Done, 1));
    assert_eq!(stage.calls().await, ["S1 200", "S2 409", "S1 200", "S2 200"]);
    let live = stage.world.user(AGENT).unwrap();
    let ids: Vec<&str> = live["skills"].as_array().unwrap().iter().map(|s| s["skillId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["billing", "kept", "foreign-skill"]);
    assert_eq!(stage.world.skill(AGENT, "billing"), Some(json!(0.72)));
    assert_eq!(held.audits(), ["CONFLICT", "APPLIED"]);
}

#[tokio::test]
async fn remove_takes_away_what_is_not_listed() {
    let stage = stage().await;
    let mut held = profile(&json!([level("billing", 0.5)]), "Remove");
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(stage.world.user(AGENT).unwrap()["skills"], json!([level("billing", 0.5)]));
    let mut none = profile(&json!([]), "Remove");
    assert_eq!(stage.converge(&mut none).await.end, End::Done);
    assert_eq!(stage.world.user(AGENT).unwrap()["skills"], json!([]));
}

#[tokio::test]
async fn lost_answers_are_looked_up_and_nothing_is_written_twice() {
    for fault in [FaultKind::ResetAfter, FaultKind::TruncatedBody, FaultKind::Html { status: 200 }, FaultKind::ResetBefore] {
        let stage = stage().await;
        let mut held = profile(&json!([level("billing", 0.72)]), "Keep");
        stage.fault("S2", 1, fault.clone());
        assert_eq!(stage.converge(&mut held).await.end, End::Done, "{fault:?}");
        assert_eq!(stage.world.user(AGENT).unwrap()["version"], 4, "{fault:?}");
        assert_eq!(held.audits(), ["APPLIED"], "{fault:?}");
        stage.calls().await;
    }
}

#[tokio::test]
async fn an_agent_who_is_not_there_and_a_profile_that_cannot_be_merged_are_told_and_not_written() {
    let stage = stage().await;
    let mut held = Held::<SkillProfile>::of(json!({"orgRef": {"name": "o"}, "userId": "nobody", "skills": [level("a", 0.1)]}));
    let End::Blocked(blocked) = stage.converge(&mut held).await.end else { panic!("it is not there") };
    assert_eq!(blocked.reason, Reason::NotFound);
    for skills in [json!([level("a", 0.1), level("a", 0.2)]), json!({"a": 1}), json!([{"proficiency": 1}])] {
        let body = json!({"id": AGENT, "version": 3, "name": "Ana", "skills": skills}).to_string();
        assert!(stage.world.set_raw_profile(AGENT, Some(body.into_bytes())));
        let mut held = profile(&json!([level("billing", 0.72)]), "Keep");
        let End::Blocked(blocked) = stage.converge(&mut held).await.end else { panic!("{skills}") };
        assert_eq!(blocked.reason, Reason::RemoteRejected, "{}", blocked.message);
    }
    assert_eq!(stage.count("S2").await, 0);
}

#[tokio::test]
async fn two_objects_for_one_agent_do_not_cost_each_other_the_guard() {
    let stage = stage().await;
    let mut one = profile(&json!([level("one", 0.1)]), "Keep");
    let mut two = profile(&json!([level("two", 0.2)]), "Keep");
    // They share what is known of the remote, as in one process.
    two.states = one.states.clone();
    let (a, b) = tokio::join!(stage.converge(&mut one), stage.converge(&mut two));
    assert_eq!((a.end, b.end, a.conflicts + b.conflicts), (End::Done, End::Done, 0));
    assert_eq!((stage.world.skill(AGENT, "one"), stage.world.skill(AGENT, "two")), (Some(json!(0.1)), Some(json!(0.2))));
    stage.calls().await;
}
