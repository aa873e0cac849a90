//! Skill policies on a real API server.

use std::collections::BTreeMap;

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, condition, message};

const NAME: &str = "skpol/billing";

fn level(id: &str, proficiency: f64) -> Value {
    json!({"skillId": id, "proficiency": proficiency})
}

/// An agent with a level of `billing` and metrics.
fn agent(stage: &Stage, id: &str, billing: f64, csat: f64, aht: f64) {
    let skills = [level("billing", billing), level("kept", 0.3)];
    stage.world().put_user(id, json!({"version": 1, "name": id, "skills": skills}));
    stage.world().set_metrics(id, Some(json!(aht)), Some(json!(csat)));
}

fn policy(users: &[&str], extra: &Value) -> Value {
    let mut spec = json!({"skillId": "billing", "userIds": users});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    spec
}

fn apply(stage: &Stage, users: &[&str], extra: &Value) {
    stage.apply_ok(&stage.object("SkillPolicy", "billing", policy(users, extra)));
}

/// Action and reason of each agent.
fn agents(object: &Value) -> BTreeMap<String, (String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let agents = object["status"]["agents"].as_array().into_iter().flatten();
    agents.map(|a| (text(&a["userId"]), (text(&a["action"]), text(&a["reason"])))).collect()
}

fn billing(stage: &Stage, id: &str) -> Value {
    stage.world().skill(id, "billing").unwrap_or_default()
}

fn bodies(stage: &Stage) -> Vec<String> {
    stage.world().alerts().iter().map(|alert| alert.alert["body"].as_str().unwrap_or_default().to_owned()).collect()
}

fn count(names: &[String], call: &str) -> usize {
    names.iter().filter(|name| *name == call).count()
}

#[test]
fn what_is_proposed_is_explained_and_then_enforced_exactly() {
    let stage = Stage::new("policy");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    agent(&stage, "u2", 0.60, 4.5, 450.0);
    agent(&stage, "u3", 0.54, 4.5, 700.0);
    stage.world().put_user("u4", json!({"version": 1, "name": "u4", "skills": []}));
    let users = ["u1", "u2", "u3", "u4", "u5"];
    apply(&stage, &users, &json!({}));
    let object = stage.wait_ready(NAME, "True", "Observed");
    assert_eq!(condition(&object, "InSync")["status"], "False");
    assert_eq!(
        message(&object),
        "5 agents: 2 would change, 1 unchanged, 2 left alone (2 InsufficientData); nothing is written with spec.mode Propose, see status.agents"
    );
    let first =
        json!({"userId": "u1", "csat": 4.5, "aht": 350, "current": 0.1, "target": 0.9, "action": "Proposed", "reason": "Scored"});
    assert_eq!(object["status"]["agents"][0].to_string().replace("350.0", "350"), first.to_string());
    assert_eq!(object["status"]["agents"][4], json!({"userId": "u5", "action": "Skipped", "reason": "InsufficientData"}));
    // Agents without data cost no read.
    assert_eq!(stage.names_since(0), ["S3", "S1", "S1", "S1"]);
    let mark = stage.mark();
    apply(&stage, &users, &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!(message(&object), "5 agents: 2 changed, 1 unchanged, 2 left alone (2 InsufficientData)");
    assert_eq!((billing(&stage, "u1"), billing(&stage, "u2"), billing(&stage, "u3")), (json!(0.9), json!(0.72), json!(0.54)));
    assert_eq!(stage.world().skill("u1", "kept"), Some(json!(0.3)));
    let names = stage.names_since(mark);
    assert_eq!((count(&names, "S2"), count(&names, "S4")), (2, 1), "{names:?}");
    assert_eq!(count(&names, "S3"), 0, "what was proposed is what is written: {names:?}");
    assert_eq!(bodies(&stage), ["Skill billing proficiency adjusted from 0.10 to 0.90. Change exceeds threshold."]);
    assert_eq!((object["status"]["history"][0]["writes"].as_i64(), object["status"].get("intent")), (Some(2), None));
    stage.wait_until("the events", || {
        let events = stage.events(NAME);
        ["SkillsProposed", "SkillsApplied"].iter().all(|reason| events.iter().any(|event| event == reason))
    });
    // Again, on demand: reads only.
    let mark = stage.mark();
    stage.request_check(NAME, "again");
    assert_eq!(stage.names_since(mark), ["S3", "S1", "S1", "S1"]);
    stage.assert_invariants();
}

#[test]
fn an_evaluation_survives_restarts_and_is_not_made_anew_for_them() {
    let stage = Stage::new("policy-restart");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    apply(&stage, &["u1"], &json!({"mode": "Enforce", "maxStep": 0.2}));
    let object = stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!((billing(&stage, "u1"), &object["status"]["agents"][0]["reason"]), (json!(0.3), &json!("StepLimited")));
    stage.wait_ready("c1", "True", "Succeeded");
    let (mark, version) = (stage.mark(), object["metadata"]["resourceVersion"].clone());
    stage.kill_operator();
    stage.start_operator();
    stage.request_check("c1", "looked");
    assert_eq!(stage.names_since(mark), ["C1"], "the policy is at rest");
    assert_eq!(stage.get(NAME)["metadata"]["resourceVersion"], version);
    // The next evaluation takes the next step.
    stage.request_check(NAME, "next");
    assert_eq!(billing(&stage, "u1"), json!(0.5));
    stage.assert_invariants();
}

#[test]
fn nothing_but_the_schedule_and_a_request_makes_another_evaluation() {
    let stage = Stage::new("policy-once");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    // Metrics of an agent who is gone: a failure that stays.
    stage.world().set_metrics("gone", Some(json!(350)), Some(json!(4)));
    let enforced = json!({"mode": "Enforce", "maxStep": 0.2});
    apply(&stage, &["u1", "gone"], &enforced);
    let object = stage.wait_ready(NAME, "False", "PartiallyApplied");
    assert_eq!(agents(&object)["gone"], ("Failed".to_owned(), "NotFound".to_owned()));
    let mark = stage.mark();
    // A restart, an org that is suspended for a while, a policy that is, and a field that decides about no level.
    stage.kill_operator();
    stage.start_operator();
    stage.apply_org(json!({"suspend": true}));
    stage.wait_ready(NAME, "False", "Suspended");
    stage.apply_org(json!({}));
    stage.wait_ready(NAME, "False", "PartiallyApplied");
    apply(&stage, &["u1", "gone"], &json!({"mode": "Enforce", "maxStep": 0.2, "suspend": true}));
    stage.wait_ready(NAME, "False", "Suspended");
    apply(&stage, &["u1", "gone"], &json!({"mode": "Enforce", "maxStep": 0.2, "alertThreshold": 0.5}));
    stage.wait_ready(NAME, "False", "PartiallyApplied");
    assert_eq!((billing(&stage, "u1"), stage.names_since(mark)), (json!(0.3), Vec::<String>::new()));
    // What decides does.
    apply(&stage, &["u1", "gone"], &json!({"mode": "Enforce", "maxStep": 0.3}));
    stage.wait_until("another step", || billing(&stage, "u1") == json!(0.6));
    stage.assert_invariants();
}

#[test]
fn evaluations_come_at_their_interval() {
    let stage = Stage::new("policy-interval");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    apply(&stage, &["u1"], &json!({"mode": "Enforce", "maxStep": 0.2, "evaluateEvery": "30s"}));
    let first = stage.wait_ready(NAME, "True", "Succeeded");
    stage.wait_until("the second evaluation", || billing(&stage, "u1") == json!(0.5));
    let time = |object: &Value| object["status"]["evaluation"]["time"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap();
    stage.wait_until("its status", || time(&stage.get(NAME)) > time(&first));
    let gap = time(&stage.get(NAME)).duration_since(time(&first)).as_secs();
    assert!((29..=40).contains(&gap), "{gap} s between two evaluations");
}

#[test]
fn a_supervisor_edits_another_skill_at_the_same_moment_and_both_edits_are_there() {
    let stage = Stage::new("policy-race");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    stage.fault(Fault::new(FaultKind::ForeignEditBefore { patch: None }).on(&["S2"]).times(Times::Count(1)));
    apply(&stage, &["u1"], &json!({"mode": "Enforce"}));
    stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!(billing(&stage, "u1"), json!(0.9));
    assert!(stage.world().skill("u1", "foreign-skill").is_some());
    assert_eq!(stage.names_since(0), ["S3", "S1", "S2", "S1", "S2", "S4"]);
    stage.assert_invariants();
}

#[test]
fn bad_data_is_told_and_never_written() {
    let stage = Stage::new("policy-bad");
    for (id, csat, aht) in [
        ("u1", json!(-1), json!(350)),
        ("u2", json!("NaN"), json!(350)),
        ("u3", json!(4), json!(1e9)),
        ("u4", json!(4.5), json!(350)),
        ("u5", Value::Null, json!(350)),
    ] {
        agent(&stage, id, 0.85, 4.0, 350.0);
        stage.world().set_metrics(id, Some(aht), Some(csat));
    }
    stage.world().put_user(
        "u4",
        json!({"version": 1, "name": "u4", "skills": (0..2_000).map(|n| level(&format!("s{n}"), 0.5)).collect::<Value>()}),
    );
    apply(&stage, &["u1", "u2", "u3", "u4", "u5", "u6"], &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "False", "PartiallyApplied");
    assert!(
        message(&object)
            .starts_with("6 agents: 1 changed, 2 left alone, 3 failed (3 BadData, 2 InsufficientData); see status.agents"),
        "{}",
        message(&object)
    );
    assert_eq!(object["status"]["agents"][0]["message"], "satisfaction -1 is not between 0 and 5");
    assert!(
        agents(&object)
            .iter()
            .filter(|(id, _)| ["u1", "u2", "u3"].contains(&id.as_str()))
            .all(|(_, (action, reason))| action == "Failed" && reason == "BadData")
    );
    assert_eq!(count(&stage.names_since(0), "S2"), 1);
    assert_eq!(billing(&stage, "u4"), json!(0.9));
    assert_eq!(stage.world().user("u4").unwrap()["skills"].as_array().map(Vec::len), Some(2_001));
    stage.assert_invariants();
}

#[test]
fn analytics_that_are_down_are_told_and_waited_for() {
    let stage = Stage::new("policy-down");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    stage.fault(
        Fault::new(FaultKind::Status { status: 503, retry_after: None, body: None, applied: false })
            .on(&["S3"])
            .times(Times::Count(6)),
    );
    apply(&stage, &["u1"], &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "Unknown", "OrgUnavailable");
    assert!(message(&object).contains("analytics/1-1"), "{}", message(&object));
    assert_eq!(object["status"].get("agents"), None);
    stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!(billing(&stage, "u1"), json!(0.9));
    stage.assert_invariants();
}

#[test]
fn a_pair_that_a_profile_declares_is_never_touched() {
    let stage = Stage::new("policy-claims");
    for id in ["u1", "u2", "u3"] {
        agent(&stage, id, 0.85, 4.5, 350.0);
    }
    apply(&stage, &["u1", "u2", "u3"], &json!({}));
    stage.wait_ready(NAME, "True", "Observed");
    let profile = |name: &str, spec: Value| stage.apply_ok(&stage.object("SkillProfile", name, spec));
    profile("p1", json!({"userId": "u1", "skills": [level("billing", 0.2)]}));
    profile("p2", json!({"userId": "u2", "skills": [level("other", 0.2)], "unlisted": "Remove"}));
    stage.wait_ready("skp/p1", "True", "Succeeded");
    stage.wait_ready("skp/p2", "True", "Succeeded");
    apply(&stage, &["u1", "u2", "u3"], &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "True", "Succeeded");
    let managed = ("Skipped".to_owned(), "ManagedByProfile".to_owned());
    assert_eq!((&agents(&object)["u1"], &agents(&object)["u2"]), (&managed, &managed));
    assert_eq!((billing(&stage, "u1"), billing(&stage, "u2"), billing(&stage, "u3")), (json!(0.2), Value::Null, json!(0.9)));
    stage.kubectl(&["delete", "skp", "p1"]);
    stage.request_check(NAME, "freed");
    assert_eq!(billing(&stage, "u1"), json!(0.9));
    stage.assert_invariants();
}

#[test]
fn of_two_policies_for_one_agent_the_older_keeps_it() {
    let stage = Stage::new("policy-twice");
    agent(&stage, "u1", 0.85, 4.5, 350.0);
    agent(&stage, "u2", 0.85, 4.5, 350.0);
    apply(&stage, &["u1"], &json!({}));
    stage.wait_ready(NAME, "True", "Observed");
    stage.apply_ok(&stage.object("SkillPolicy", "second", policy(&["u2"], &json!({}))));
    stage.wait_ready("skpol/second", "True", "Observed");
    stage.apply_ok(&stage.object("SkillPolicy", "third", policy(&["u2", "u1"], &json!({"mode": "Enforce"}))));
    let object = stage.wait_ready("skpol/third", "False", "DuplicateOwner");
    assert!(message(&object).contains("skill billing of agent u"), "{}", message(&object));
    assert_eq!(count(&stage.names_since(0), "S2"), 0);
    // It goes, and that is no reason to evaluate anew.
    let mark = stage.mark();
    stage.kubectl(&["delete", "skpol", "third"]);
    agent(&stage, "u3", 0.85, 4.5, 350.0);
    stage.apply_ok(&stage.object("SkillPolicy", "fourth", policy(&["u3"], &json!({}))));
    stage.wait_ready("skpol/fourth", "True", "Observed");
    assert_eq!(stage.names_since(mark), ["S3", "S1"], "only the fourth was evaluated");
    stage.assert_invariants();
}

#[test]
fn an_evaluation_that_was_asked_for_while_it_could_not_be_made_is_made_later() {
    let stage = Stage::new("policy-asked");
    agent(&stage, "u1", 0.10, 4.5, 350.0);
    apply(&stage, &["u1"], &json!({"mode": "Enforce", "maxStep": 0.2}));
    stage.wait_ready(NAME, "True", "Succeeded");
    stage.apply_org(json!({"suspend": true}));
    stage.wait_ready(NAME, "True", "Suspended");
    stage.request_check(NAME, "asked");
    assert_eq!(billing(&stage, "u1"), json!(0.3));
    stage.apply_org(json!({}));
    stage.wait_until("the next step", || billing(&stage, "u1") == json!(0.5));
    stage.wait_ready(NAME, "True", "Succeeded");
    stage.assert_invariants();
}

#[test]
fn a_crash_in_an_evaluation_that_was_asked_for_steps_nobody_twice() {
    let stage = Stage::new("policy-asked-kill");
    let ids: Vec<String> = (0..8).map(|n| format!("u{n}")).collect();
    let users: Vec<&str> = ids.iter().map(String::as_str).collect();
    users.iter().for_each(|id| agent(&stage, id, 0.10, 4.5, 350.0));
    apply(&stage, &users, &json!({"mode": "Enforce", "maxStep": 0.2}));
    stage.wait_ready(NAME, "True", "Succeeded");
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 200, after_ms: 0 }).on(&["S2"]).times(Times::Always));
    let mark = stage.mark();
    stage.kubectl(&["annotate", NAME, "assist-operator.dev/reconcile-requested-at=asked"]);
    stage.wait_until("it writes", || count(&stage.names_since(mark), "S2") >= 3);
    stage.kill_operator();
    stage.world().faults().clear();
    stage.start_operator();
    stage.wait_until("everybody made the step", || users.iter().all(|id| billing(&stage, id) == json!(0.5)));
    stage.wait_ready(NAME, "True", "Succeeded");
    assert!(users.iter().all(|id| billing(&stage, id) == json!(0.5)));
    assert_eq!(count(&stage.names_since(mark), "S3"), 1, "it goes on");
    stage.assert_invariants();
}

#[test]
fn a_failed_agent_holds_up_nobody_and_is_tried_again_alone() {
    let stage = Stage::new("policy-failed");
    for id in ["u1", "u2", "u3"] {
        agent(&stage, id, 0.85, 4.5, 350.0);
    }
    // Two conflicts in a row: the agent backs off.
    let conflict = FaultKind::ForeignEditBefore { patch: None };
    stage.fault(Fault::new(conflict).on(&["S2"]).target("u2").times(Times::Count(2)));
    apply(&stage, &["u1", "u2", "u3"], &json!({"mode": "Enforce"}));
    stage.wait_ready(NAME, "True", "Succeeded");
    let names = stage.names_since(0);
    assert_eq!((count(&names, "S3"), count(&names, "S1"), count(&names, "S2")), (1, 5, 5), "{names:?}");
    assert!(["u1", "u2", "u3"].iter().all(|id| billing(&stage, id) == json!(0.9)));
    assert!(stage.events(NAME).iter().any(|event| event == "SkillsApplied"));
    stage.assert_invariants();
}

#[test]
fn the_change_limit_holds_in_the_middle_of_an_evaluation() {
    let stage = Stage::new("policy-limit");
    stage.apply_org(json!({"changeLimit": {"perHour": 2}}));
    for id in ["u1", "u2", "u3"] {
        agent(&stage, id, 0.85, 4.5, 350.0);
    }
    apply(&stage, &["u1", "u2", "u3"], &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "False", "ChangeBudgetExceeded");
    let left: Vec<String> = agents(&object).into_values().map(|(action, _)| action).collect();
    assert_eq!(left, ["Applied", "Applied", "Pending"]);
    // A restart forgets nothing of it.
    stage.kill_operator();
    stage.start_operator();
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "False", "ChangeBudgetExceeded");
    assert_eq!(count(&stage.names_since(0), "S2"), 2);
    stage.apply_org(json!({"changeLimit": {"perHour": 10}}));
    stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!(count(&stage.names_since(0), "S3"), 1, "it goes on with what it has");
    stage.assert_invariants();
}

#[test]
fn suspending_stops_an_evaluation_in_the_middle() {
    let stage = Stage::new("policy-suspend");
    let ids: Vec<String> = (0..12).map(|n| format!("u{n:02}")).collect();
    let users: Vec<&str> = ids.iter().map(String::as_str).collect();
    users.iter().for_each(|id| agent(&stage, id, 0.85, 4.5, 350.0));
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 300, after_ms: 0 }).on(&["S2"]).times(Times::Always));
    apply(&stage, &users, &json!({"mode": "Enforce"}));
    stage.wait_until("it writes", || count(&stage.names_since(0), "S2") >= 2);
    apply(&stage, &users, &json!({"mode": "Enforce", "suspend": true}));
    let object = stage.wait_ready(NAME, "Unknown", "Suspended");
    let written = count(&stage.names_since(0), "S2");
    assert!(written < 12, "{written} writes");
    let (applied, pending): (Vec<_>, Vec<_>) = agents(&object).into_values().partition(|(action, _)| action == "Applied");
    assert_eq!((applied.len(), pending.len()), (written, 12 - written));
    stage.world().faults().clear();
    apply(&stage, &users, &json!({"mode": "Enforce"}));
    stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!(count(&stage.names_since(0), "S2"), 12);
    stage.assert_invariants();
}

#[test]
fn kills_in_the_middle_lose_no_alert_and_step_nobody_twice() {
    let stage = Stage::new("policy-kill");
    let ids: Vec<String> = (0..30).map(|n| format!("u{n:02}")).collect();
    let users: Vec<&str> = ids.iter().map(String::as_str).collect();
    users.iter().for_each(|id| agent(&stage, id, 0.10, 4.5, 350.0));
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 20, after_ms: 20 }).on(&["S2", "S4"]).times(Times::Always));
    apply(&stage, &users, &json!({"mode": "Enforce", "maxStep": 0.4}));
    let mut kills = 0;
    for least in [1, 6, 7, 15, 22, 29] {
        stage.wait_until("it writes on", || stage.world().alerts().len() >= least);
        stage.kill_operator();
        kills += 1;
        stage.start_operator();
    }
    let object = stage.wait_ready(NAME, "True", "Succeeded");
    assert!(users.iter().all(|id| billing(&stage, id) == json!(0.5)), "one step each: {object}");
    let mut alerts: BTreeMap<String, usize> = BTreeMap::new();
    for alert in stage.world().alerts() {
        assert_eq!(alert.alert["body"], "Skill billing proficiency adjusted from 0.10 to 0.50. Change exceeds threshold.");
        *alerts.entry(alert.alert["links"][0]["id"].as_str().unwrap().to_owned()).or_default() += 1;
    }
    assert_eq!(alerts.len(), users.len(), "every change is told: {alerts:?}");
    let twice: usize = alerts.values().map(|n| n - 1).sum();
    assert!(twice <= kills, "{twice} alerts came again after {kills} kills");
    assert_eq!(count(&stage.names_since(0), "S3"), 1, "the evaluation goes on");
}

#[test]
fn alerts_that_cannot_be_sent_are_remembered_over_a_restart() {
    let stage = Stage::new("policy-alerts");
    for id in ["u1", "u2", "u3"] {
        agent(&stage, id, 0.10, 4.5, 350.0);
    }
    stage.fault(
        Fault::new(FaultKind::Status { status: 503, retry_after: None, body: None, applied: false })
            .on(&["S4"])
            .times(Times::Always),
    );
    apply(&stage, &["u1", "u2", "u3"], &json!({"mode": "Enforce"}));
    let object = stage.wait_ready(NAME, "False", "PartiallyApplied");
    assert_eq!(object["status"]["alerts"].as_array().map(Vec::len), Some(3), "{object}");
    assert!(message(&object).contains("3 alerts could not be sent yet"), "{}", message(&object));
    assert_eq!(condition(&object, "InSync")["status"], "True");
    stage.kill_operator();
    stage.world().faults().clear();
    stage.start_operator();
    let object = stage.wait_ready(NAME, "True", "Succeeded");
    assert_eq!((object["status"].get("alerts"), stage.world().alerts().len()), (None, 3));
    assert_eq!(count(&stage.names_since(0), "S3"), 1);
}
