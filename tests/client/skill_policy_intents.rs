//! What status holds of an evaluation while it is written: intents, approvals, and how large it may get.

use assist_operator::api::ManagedStatus;
use assist_operator::api::conditions::Reason;
use assist_operator::api::status::AgentAction::{Applied, Failed, Pending, Unchanged};
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use super::skill_stage::{SKILL, Skpol, alerted, count, fault, id, ids, level, measure, policy, spent, stage, told, verdicts};

/// The largest that an object may be.
const MOST: usize = 262_144;

#[tokio::test]
async fn an_intent_of_many_writes_leaves_out_its_hashes() {
    for (agents, has_hashes) in [(20, true), (21, false)] {
        let stage = stage(agents, 0.7).await;
        let mut held = policy(agents, &json!({}));
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        let [intent] = held.book.intents().try_into().unwrap();
        assert_eq!(intent.steps.len(), agents);
        let (records, steps) = (held.book.records(), &intent.steps);
        for (number, (step, record)) in steps.iter().zip(&records).enumerate() {
            assert_eq!((&step.target, &step.audit_id), (&format!("user/{}", id(number)), &record.audit_id));
            assert_eq!((step.before_hash.is_some(), step.after_hash.is_some()), (has_hashes, has_hashes));
            // The record knows them all the same.
            assert!(record.before_hash.is_some() && record.after_hash.is_some());
            let level = step.level.as_ref().unwrap();
            assert_eq!((level.from.as_str(), level.to.as_str(), level.alert), ("0.70", "0.90", false));
        }
        assert_eq!(
            (held.status.history.len(), held.status.history[0].writes, held.status.history[0].paths.len()),
            (1, i32::try_from(agents).ok(), 5)
        );
    }
}

#[tokio::test]
async fn without_a_recorded_intent_nothing_is_written() {
    let stage = stage(2, 0.7).await;
    let mut held = policy(2, &json!({}));
    held.book.broken = true;
    assert!(matches!(stage.converge(&mut held).await.end, End::Halted(_)));
    assert_eq!((spent(&stage).await.as_str(), held.audits().len(), count(&held, Pending)), ("S1 2, S3 1", 0, 2));
}

#[tokio::test]
async fn after_a_crash_the_writes_are_looked_up_and_only_the_others_are_made() {
    let stage = stage(4, 0.7).await;
    let mut held = policy(4, &json!({}));
    // The token, the metrics, four reads, two writes.
    assert!(stage.killed(&mut held, 8).await.is_none());
    assert_eq!((count(&held, Pending), held.status.intent.as_ref().unwrap().steps.len()), (4, 4));
    stage.world.clear_journal();
    // Meanwhile somebody changes another skill of the first, and this skill of the third.
    assert!(stage.world.set_skill(&id(0), "theirs", Some(1.0)));
    assert!(stage.world.set_skill(&id(2), SKILL, Some(0.8)));
    held.resumes = true;
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((count(&held, Applied), stage.count("S1").await, stage.count("S2").await, stage.count("S3").await), (4, 4, 2, 0));
    assert_eq!((0..4).map(|number| level(&stage, number)).collect::<Vec<_>>(), [0.9; 4]);
    assert_eq!(stage.world.skill(&id(0), "theirs"), Some(json!(1.0)));
    let mut audits = held.audits();
    audits.sort_unstable();
    // The record of the first was made before the crash. The last one had not been attempted: it has none but that of its write.
    audits.dedup();
    assert_eq!(audits, ["APPLIED", "UNKNOWN"]);
    let writes: i32 = held.status.history.iter().map(|entry| entry.writes.unwrap_or(1)).sum();
    assert_eq!(writes, 4);
}

#[tokio::test]
async fn a_change_of_spec_after_a_crash_settles_the_intent_of_the_old_one() {
    let stage = stage(3, 0.1).await;
    let mut held = policy(3, &json!({}));
    assert!(stage.killed(&mut held, 2 + 3 + 1).await.is_none());
    assert_eq!(alerted(&stage).len(), 0);
    held.edit(|spec| (spec["userIds"], spec["lookback"]) = (json!(["u001"]), json!("24h")));
    held.checks();
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    // Who is no longer listed was written by the old one, and is told of.
    assert_eq!((level(&stage, 0), level(&stage, 1), level(&stage, 2)), (0.9, 0.9, 0.1));
    assert_eq!((alerted(&stage), verdicts(&held)), (ids(2), vec![(Applied, "Scored")]));
    let record = held.book.records().into_iter().find(|record| record.remote_id == id(0)).unwrap();
    assert_eq!((record.generation, record.status.as_str()), (1, "APPLIED"));
}

#[tokio::test]
async fn an_approved_plan_runs_and_only_that_one() {
    let stage = stage(3, 0.7).await;
    let mut held = policy(3, &json!({}));
    held.approval_required = true;
    let End::Held { reason, .. } = stage.converge(&mut held).await.end else { panic!("nobody approved") };
    assert_eq!((reason, count(&held, Pending), spent(&stage).await.as_str()), (Reason::AwaitingApproval, 3, "S1 3, S3 1"));
    let pending = held.status.pending_plan.clone().unwrap();
    assert_eq!(pending.changes, ids(3).iter().map(|id| format!("user/{id} ~ /skills/billing: 0.7 -> 0.9")).collect::<Vec<_>>());
    (held.resumes, held.approved) = (true, Some("0123456789abcdef".into()));
    assert!(matches!(stage.converge(&mut held).await.end, End::Held { .. }));
    assert_eq!((spent(&stage).await.as_str(), held.status.pending_plan.as_ref()), ("S1 3", Some(&pending)));
    // Somebody changes another skill: it is the same plan.
    assert!(stage.world.set_skill(&id(2), "theirs", Some(1.0)));
    held.approved = Some(pending.digest);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), count(&held, Applied), held.status.pending_plan.as_ref()), ("S1 3, S2 3", 3, None));
}

#[tokio::test]
async fn the_rest_of_an_approved_plan_needs_no_other_approval() {
    let theirs = json!({"skills": [{"skillId": SKILL, "proficiency": 0.75}]});
    for (patch, runs) in [(None, true), (Some(theirs), false)] {
        let stage = stage(3, 0.7).await;
        let mut held = policy(3, &json!({}));
        held.approval_required = true;
        stage.converge(&mut held).await;
        (held.resumes, held.approved) = (true, held.status.pending_plan.as_ref().map(|plan| plan.digest.clone()));
        fault(&stage, "S2", 1, Times::Count(1), FaultKind::ForeignEditBefore { patch });
        let end = stage.converge(&mut held).await.end;
        if runs {
            assert_eq!((end, count(&held, Applied), level(&stage, 1)), (End::Done, 3, 0.9));
            assert!(held.status.pending_plan.is_none());
        } else {
            assert!(matches!(end, End::Held { reason: Reason::AwaitingApproval, .. }), "{end:?}");
            assert_eq!((count(&held, Applied), count(&held, Pending), level(&stage, 1)), (2, 1, 0.75));
            assert_eq!(held.status.pending_plan.as_ref().unwrap().changes, ["user/u001 ~ /skills/billing: 0.75 -> 0.9"]);
        }
        spent(&stage).await;
    }
}

/// Ids as the platform has them.
fn uuid(number: usize) -> String {
    format!("4f6c5b1e-9d3a-4c51-8a53-{number:012x}")
}

/// Bytes of the object as the API server gives it out, the last applied manifest included.
fn size(held: &Skpol, status: &ManagedStatus) -> usize {
    let manifest = json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "SkillPolicy",
        "metadata": {"name": "billing-levels-of-the-retail-team", "namespace": "contact-centre"}, "spec": held.spec,
    });
    let mut object = manifest.clone();
    object["metadata"]["annotations"] = json!({"kubectl.kubernetes.io/last-applied-configuration": manifest.to_string()});
    object["metadata"]["uid"] = Value::from(uuid(0));
    object["status"] = serde_json::to_value(status).unwrap();
    object.to_string().len()
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are for people")]
async fn with_five_hundred_agents_the_object_stays_small() {
    const AGENTS: usize = 500;
    for alerts_fail in [false, true] {
        let stage = stage(0, 0.0).await;
        let users: Vec<String> = (0..AGENTS).map(uuid).collect();
        for user in &users {
            super::skill_stage::agent(&stage, user, 0.123_456);
            measure(&stage, user, 4.486_486_486_486_487, 351.234_567_891_234_5);
        }
        stage.world.clear_journal();
        let mut held =
            Skpol::of(json!({"orgRef": {"name": "o"}, "skillId": uuid(0), "userIds": users, "mode": "Enforce", "maxStep": 0.3}));
        held.spec["skillId"] = SKILL.into();
        held.spec["maxStep"] = json!(0.5);
        held.edit(|_| {});
        held.checks();
        if alerts_fail {
            stage.world.faults().push(Fault::new(FaultKind::status(403)).on(&["S4"]).times(Times::Always));
        }
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!((count(&held, Applied), stage.world.alerts().len()), (AGENTS, if alerts_fail { 0 } else { AGENTS }));
        let (during, after) = (size(&held, &held.book.last().unwrap()), size(&held, &held.status));
        println!(
            "{AGENTS} agents, alerts fail: {alerts_fail}: {during} bytes during the run, {after} after it, {} patches",
            held.book.patches() + 1
        );
        assert!(during.max(after) <= MOST, "{during} {after}");
        assert_eq!(held.book.patches(), if alerts_fail { 2 } else { 1 });
        // The next one, in the midst of which the alerts are still due.
        if alerts_fail {
            assert_eq!(held.status.alerts.len(), AGENTS);
            assert_eq!(stage.converge(&mut held).await.end, End::Done);
            let (during, after) = (size(&held, &held.book.last().unwrap()), size(&held, &held.status));
            println!("and with the alerts of the one before: {during} bytes during the run, {after} after it");
            assert!(during.max(after) <= MOST, "{during} {after}");
        }
    }
}

#[tokio::test]
async fn what_is_unchanged_by_the_time_it_is_resumed_is_not_written() {
    let stage = stage(2, 0.7).await;
    let mut held = policy(2, &json!({}));
    fault(&stage, "S2", 1, Times::Count(2), FaultKind::ForeignEditBefore { patch: None });
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(verdicts(&held)[1], (Failed, "ConflictDetected"));
    assert!(stage.world.set_skill(&id(1), SKILL, Some(0.9)));
    held.resumes = true;
    spent(&stage).await;
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), told(&held, 1).action), ("S1 1", Unchanged));
}
