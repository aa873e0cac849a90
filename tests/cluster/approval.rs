//! Approval: what waits, what one approval covers, and what it does not.

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, message};

const POLICY: &str = "skpol/billing";

/// The digest of the plan that waits.
fn pending(stage: &Stage, name: &str) -> String {
    let object = stage.wait_ready(name, "False", "AwaitingApproval");
    object["status"]["pendingPlan"]["digest"].as_str().unwrap().to_owned()
}

fn approve(stage: &Stage, name: &str, digest: &str) {
    stage.kubectl(&["annotate", "--overwrite", name, &format!("assist-operator.dev/approve-plan={digest}")]);
}

fn writes(stage: &Stage) -> Vec<String> {
    stage.names_since(0).into_iter().filter(|call| ["C3", "P2", "S2"].contains(&call.as_str())).collect()
}

fn level(stage: &Stage, id: &str) -> Value {
    stage.world().skill(id, "billing").unwrap_or_default()
}

/// Agents at 0.1 whose metrics make 0.9, and a policy for them that needs approval.
fn policy(stage: &Stage, agents: usize) -> Vec<String> {
    let users: Vec<String> = (0..agents).map(|n| format!("u{n}")).collect();
    for id in &users {
        stage.world().put_user(id, json!({"version": 1, "name": id, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
        stage.world().set_metrics(id, Some(json!(350)), Some(json!(4.5)));
    }
    apply(stage, &users, &json!({}));
    users
}

fn apply(stage: &Stage, users: &[String], extra: &Value) {
    let mut spec = json!({"skillId": "billing", "userIds": users, "mode": "Enforce", "approval": {"required": true}});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    stage.apply_ok(&stage.object("SkillPolicy", "billing", spec));
}

#[test]
fn an_org_that_requires_approval_binds_all_its_objects() {
    let stage = Stage::without_org("approval-org");
    stage.apply_org(json!({"approval": {"required": true}}));
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_prompt("p1", &[]);
    for id in ["u1", "u2"] {
        stage.world().put_user(id, json!({"version": 1, "name": id, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
        stage.world().set_metrics(id, Some(json!(350)), Some(json!(4.5)));
    }
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    // An object cannot take itself out.
    stage.apply_prompt("p1", json!({"content": "Ask why.", "approval": {"required": false}}));
    let skills = json!([{"skillId": "spanish", "proficiency": 0.5}]);
    stage.apply_ok(&stage.object("SkillProfile", "u1", json!({"userId": "u1", "skills": skills})));
    stage.apply_ok(&stage.object("SkillPolicy", "billing", json!({"skillId": "billing", "userIds": ["u2"], "mode": "Enforce"})));
    let objects = ["aac/c1", "pt/p1", "skp/u1", POLICY];
    let digests = objects.map(|name| pending(&stage, name));
    assert_eq!(writes(&stage), Vec::<String>::new());
    for (count, (name, digest)) in objects.iter().zip(&digests).enumerate() {
        approve(&stage, name, digest);
        stage.wait_ready(name, "True", "Succeeded");
        assert_eq!(writes(&stage).len(), count + 1, "each approval lets one plan run");
    }
    stage.wait_until("the events", || {
        objects
            .iter()
            .all(|name| ["ApprovalRequired", "PlanApproved"].iter().all(|r| stage.events(name).contains(&(*r).to_owned())))
    });
    let (log, namespace) = (stage.log_text(), &stage.namespace);
    let line = log.lines().find(|line| line.contains(" writing ") && line.contains(&digests[0])).unwrap_or_default();
    for part in ["AgentAssistConfig", "name=\"c1\"", &format!("{namespace}/org"), "approved"] {
        assert!(line.contains(part), "{part} is missing in: {line}");
    }
    // The org lets go of its objects: no further plan waits.
    stage.apply_config("c1", json!({"config": {"name": "newer"}}));
    pending(&stage, "aac/c1");
    stage.apply_org(json!({"approval": {"required": false}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.assert_invariants();
}

#[test]
fn the_rest_of_an_approved_evaluation_goes_on_after_a_crash() {
    let stage = Stage::new("approval-crash");
    let users = policy(&stage, 8);
    stage.fault(Fault::new(FaultKind::Delay { before_ms: 300, after_ms: 0 }).on(&["S2"]).times(Times::Always));
    let approved = pending(&stage, POLICY);
    approve(&stage, POLICY, &approved);
    stage.wait_until("it writes", || writes(&stage).len() >= 3);
    stage.kill_operator();
    stage.wait_until("nothing is in flight", || stage.world().in_flight() == 0);
    // One of those that are left is changed by hand: that step was not approved.
    assert_eq!(level(&stage, "u7"), json!(0.1), "it is the last one");
    stage.world().edit_user("u7", |user| user["skills"][0]["proficiency"] = json!(0.2));
    stage.world().faults().clear();
    stage.start_operator();
    let waits = |stage: &Stage| stage.get(POLICY)["status"]["pendingPlan"]["digest"].as_str().map(str::to_owned);
    stage.wait_until("the rest waits", || waits(&stage).is_some_and(|digest| digest != approved));
    let digest = pending(&stage, POLICY);
    assert_eq!(level(&stage, "u7"), json!(0.2));
    approve(&stage, POLICY, &digest);
    stage.wait_ready(POLICY, "True", "Succeeded");
    assert!(users.iter().all(|id| level(&stage, id) == json!(0.9)));
    assert_eq!(writes(&stage).len(), users.len(), "nobody is written twice");
    stage.assert_invariants();
}

#[test]
fn a_pause_or_the_change_limit_needs_no_second_approval_and_another_evaluation_does() {
    let stage = Stage::new("approval-pause");
    stage.apply_org(json!({"changeLimit": {"perHour": 3}}));
    let users = policy(&stage, 8);
    let first = pending(&stage, POLICY);
    approve(&stage, POLICY, &first);
    let object = stage.wait_ready(POLICY, "False", "ChangeBudgetExceeded");
    assert_eq!((writes(&stage).len(), object["status"].get("pendingPlan")), (3, None), "{}", message(&object));
    // Paused, and the limit is raised meanwhile.
    apply(&stage, &users, &json!({"suspend": true}));
    stage.wait_ready(POLICY, "Unknown", "Suspended");
    stage.apply_org(json!({"changeLimit": {"perHour": 100}}));
    apply(&stage, &users, &json!({}));
    stage.wait_ready(POLICY, "True", "Succeeded");
    assert!(users.iter().all(|id| level(&stage, id) == json!(0.9)));
    assert_eq!(writes(&stage).len(), users.len());
    // The next evaluation is another plan.
    for id in &users {
        stage.world().set_metrics(id, Some(json!(350)), Some(json!(2.5)));
    }
    stage.request_check(POLICY, "again");
    assert_ne!(pending(&stage, POLICY), first);
    assert_eq!(writes(&stage).len(), users.len());
    stage.assert_invariants();
}
