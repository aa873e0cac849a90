//! Skill policies against the sandbox: what is proposed is what is enforced, few calls are made, and nobody's change is lost.

use assist_operator::api::status::AgentAction::{Applied, Failed, Pending, Proposed, Skipped, Unchanged};
use assist_operator::engine::Why;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use super::skill_stage::{SKILL, agent, alerted, count, fault, id, level, measure, policy, spent, stage, told, verdicts};

/// Agents of all kinds: 0 and 1 change, 2 is right, 3 has no data, 4 has bad data, 5 lacks the skill, 6 is not there.
async fn mixed() -> super::stage::Stage {
    let stage = stage(7, 0.7).await;
    measure(&stage, &id(1), 4.5, 700);
    measure(&stage, &id(2), 3.5, 350);
    measure(&stage, &id(3), 4.5, Value::Null);
    measure(&stage, &id(4), "excellent", 350);
    stage.world.put_user(&id(5), json!({"version": 3}));
    stage.world.remove_user(&id(6));
    stage.world.clear_journal();
    stage
}

#[tokio::test]
async fn propose_writes_nothing_and_explains_everybody_and_enforce_writes_exactly_that() {
    let stage = mixed().await;
    let mut held = policy(7, &json!({"mode": "Propose"}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    // Nobody without a score is read.
    assert_eq!(spent(&stage).await, "S1 5, S3 1");
    let proposed: Vec<_> =
        held.status.agents.iter().map(|a| (a.csat, a.aht, a.current, a.target, a.action, a.reason.clone())).collect();
    let row = |csat: f64, aht: f64, current: f64, target: f64, action, reason: &str| {
        (Some(csat), Some(aht), Some(current), Some(target), action, reason.to_owned())
    };
    assert_eq!(
        proposed,
        [
            row(4.5, 350.0, 0.7, 0.9, Proposed, "Scored"),
            row(4.5, 700.0, 0.7, 0.54, Proposed, "Scored"),
            row(3.5, 350.0, 0.7, 0.7, Unchanged, "Scored"),
            (Some(4.5), None, None, None, Skipped, "InsufficientData".into()),
            (None, Some(350.0), None, None, Failed, "BadData".into()),
            (Some(4.5), Some(350.0), None, Some(0.9), Proposed, "Scored".into()),
            (Some(4.5), Some(350.0), None, None, Failed, "NotFound".into()),
        ]
    );
    assert_eq!((held.ready().0, held.audits().len(), held.book.patches()), ("PartiallyApplied", 0, 0));
    held.edit(|spec| spec["mode"] = "Enforce".into());
    held.checks();
    let convergence = stage.converge(&mut held).await;
    assert_eq!(convergence.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 5, S2 3, S3 1, S4 1");
    for (number, before) in proposed.iter().enumerate().filter(|(_, row)| row.4 == Proposed) {
        assert_eq!((Some(level(&stage, number)), told(&held, number).action), (before.3, Applied));
        assert_eq!(told(&held, number).current, before.2);
    }
    assert_eq!(stage.world.user(&id(0)).unwrap()["skills"][0], json!({"skillId": "kept", "proficiency": 0.3}));
    assert_eq!(alerted(&stage), [id(5)], "0.00 to 0.90");
    assert_eq!((held.audits(), held.book.attempts()), (vec!["APPLIED"; 3], vec![Why::Evaluation; 3]));
    // One patch before the first write; the other one is the status at the end.
    assert_eq!((held.book.patches(), held.book.intents().len()), (1, 1));
    let entry = &held.status.history[0];
    assert_eq!(
        (held.status.history.len(), entry.writes, entry.version.as_str(), entry.why.as_str()),
        (1, Some(3), "", "Evaluation")
    );
    assert_eq!(entry.paths, ["/user/u000/skills/billing", "/user/u001/skills/billing", "/user/u005/skills/billing"]);
    assert!(held.status.intent.is_none() && held.status.remote.as_ref().unwrap().version.is_none());
}

#[tokio::test]
async fn the_second_evaluation_reads_only_and_asks_a_hundred_agents_at_a_time() {
    let stage = stage(203, 0.7).await;
    // Nobody knows three of them.
    (200..203).for_each(|number| assert!(stage.world.remove_metrics(&id(number))));
    let mut held = policy(203, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 200, S2 200, S3 3");
    assert_eq!((count(&held, Applied), count(&held, Skipped)), (200, 3));
    assert_eq!(held.ready().0, "Succeeded");
    for _ in 0..2 {
        let before = held.status.clone();
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(spent(&stage).await, "S1 200, S3 3");
        assert_eq!((count(&held, Unchanged), held.ready().0), (200, "Succeeded"));
        assert_eq!(held.status.history, before.history);
    }
}

#[tokio::test]
async fn a_policy_about_nobody_who_is_measured_costs_one_call() {
    let stage = stage(3, 0.7).await;
    (0..3).for_each(|number| assert!(stage.world.remove_metrics(&id(number))));
    let mut held = policy(3, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), held.ready().0), ("S3 1", "Succeeded"));
    assert_eq!(verdicts(&held), [(Skipped, "InsufficientData"); 3]);
}

#[tokio::test]
async fn a_supervisor_who_edits_another_skill_at_the_same_moment_loses_nothing() {
    let stage = stage(3, 0.7).await;
    let mut held = policy(3, &json!({}));
    fault(&stage, "S2", 1, Times::Count(1), FaultKind::ForeignEditBefore { patch: None });
    let convergence = stage.converge(&mut held).await;
    assert_eq!((&convergence.end, convergence.conflicts), (&End::Done, 1));
    // Two calls more than without the conflict.
    assert_eq!(spent(&stage).await, "S1 4, S2 4, S3 1");
    assert!(stage.world.skill(&id(1), "foreign-skill").is_some());
    assert_eq!((level(&stage, 0), level(&stage, 1), level(&stage, 2)), (0.9, 0.9, 0.9));
    assert_eq!(held.audits(), ["APPLIED", "CONFLICT", "APPLIED", "APPLIED"]);
    assert_eq!((count(&held, Applied), held.ready().0, held.book.patches()), (3, "Succeeded", 2));
}

#[tokio::test]
async fn a_second_conflict_fails_that_agent_only_and_what_is_left_costs_two_calls() {
    let stage = stage(3, 0.7).await;
    let mut held = policy(3, &json!({}));
    fault(&stage, "S2", 1, Times::Count(2), FaultKind::ForeignEditBefore { patch: None });
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 4, S2 4, S3 1");
    assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, "ConflictDetected"), (Applied, "Scored")]);
    assert_eq!(held.ready().0, "PartiallyApplied");
    let evaluation = held.status.evaluation.clone();
    // It goes on where it was left: no metrics, nobody else.
    (held.resumes, held.immediate_retry) = (true, false);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 1, S2 1");
    assert_eq!((count(&held, Applied), held.ready().0), (3, "Succeeded"));
    assert_eq!((held.status.evaluation.clone(), held.status.history.len()), (evaluation, 2));
    // The version of one profile says nothing about the policy.
    assert_eq!(held.status.remote.as_ref().unwrap().version, None);
}

#[tokio::test]
#[allow(clippy::print_stdout, reason = "the figures are for people")]
async fn where_a_fifth_of_all_writes_meets_a_foreign_writer_nothing_is_lost_and_few_calls_are_made() {
    const AGENTS: usize = 200;
    let stage = stage(AGENTS, 0.7).await;
    let kind = FaultKind::ForeignEditBefore { patch: None };
    stage.world.faults().push(Fault::new(kind).on(&["S2"]).times(Times::Probability { p: 0.2, seed: 7 }));
    let mut held = policy(AGENTS, &json!({}));
    let (mut conflicts, mut runs) = (0, 0);
    while runs == 0 || count(&held, Applied) < AGENTS {
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        held.resumes = true;
        runs += 1;
        assert!(runs < 10);
    }
    let journal = stage.journal().await;
    let calls = |name: &str, status: Option<u16>| {
        journal.iter().filter(|e| e.call == name && status.is_none_or(|status| e.status == status)).count()
    };
    conflicts += calls("S2", Some(409));
    // Every foreign edit is still there, and so is every level.
    let foreign: std::collections::BTreeSet<_> =
        journal.iter().filter(|e| e.fault.as_deref() == Some("foreignEditBefore")).filter_map(|e| e.target.clone()).collect();
    for number in 0..AGENTS {
        let theirs = stage.world.skill(&id(number), "foreign-skill").is_some();
        assert_eq!((level(&stage, number), theirs), (0.9, foreign.contains(&id(number))));
    }
    let extra = calls("S1", None) + calls("S2", None) - 2 * AGENTS;
    let each = extra as f64 / conflicts as f64;
    println!("{conflicts} conflicts of {AGENTS} agents in {runs} runs: {extra} extra calls, {each:.2} a conflict");
    assert!(conflicts >= AGENTS / 10 && each <= 2.1 && calls("S3", None) == 2, "{each}");
    spent(&stage).await;
}

#[tokio::test]
async fn pairs_that_a_profile_declares_are_not_touched_and_not_read() {
    let stage = stage(3, 0.7).await;
    let mut held = policy(3, &json!({}));
    held.book.claimed = [id(1)].into();
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 2, S2 2, S3 1");
    assert_eq!(verdicts(&held), [(Applied, "Scored"), (Skipped, "ManagedByProfile"), (Applied, "Scored")]);
    assert_eq!((level(&stage, 1), held.ready().0), (0.7, "Succeeded"));
}

#[tokio::test]
async fn a_claim_that_comes_between_plan_and_write_is_honoured() {
    let stage = stage(3, 0.7).await;
    let mut held = policy(3, &json!({}));
    // Asked once for all of them, and then before each write.
    (held.book.claimed, held.book.unclaimed_for) = ([id(1)].into(), 2);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 3, S2 2, S3 1");
    assert_eq!(verdicts(&held), [(Applied, "Scored"), (Skipped, "ManagedByProfile"), (Applied, "Scored")]);
    assert_eq!((level(&stage, 1), held.audits().len(), held.book.attempts().len()), (0.7, 2, 2));
}

#[tokio::test]
async fn a_suspension_stops_an_evaluation_in_the_middle() {
    let stage = stage(5, 0.7).await;
    let mut held = policy(5, &json!({}));
    // Asked before each of five reads, and twice for each of two writes: before it waits for its turn, and before it goes out.
    held.book.open_for = Some(9);
    assert!(matches!(stage.converge(&mut held).await.end, End::Halted(_)));
    assert_eq!(spent(&stage).await, "S1 5, S2 2, S3 1");
    assert_eq!((count(&held, Applied), count(&held, Pending), held.ready().0), (2, 3, "Progressing"));
    assert_eq!((held.audits().len(), held.book.attempts().len()), (2, 2));
    (held.book.open_for, held.resumes) = (None, true);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), count(&held, Applied)), ("S1 3, S2 3", 5));
    // In the middle of the reads nothing is known yet, and the next time everything is read.
    let mut held = policy(5, &json!({}));
    held.book.open_for = Some(2);
    assert!(matches!(stage.converge(&mut held).await.end, End::Halted(_)));
    assert_eq!((spent(&stage).await.as_str(), held.status.agents.len()), ("S1 2, S3 1", 0));
}

#[tokio::test]
async fn the_change_limit_and_a_full_audit_store_hold_in_the_middle() {
    for (limit, room, reason) in [(Some(2), None, "ChangeBudgetExceeded"), (None, Some(2), "AuditBacklog")] {
        let stage = stage(5, 0.7).await;
        let mut held = policy(5, &json!({}));
        (held.book.attempts_left, held.book.audit_room) = (limit, room);
        let end = stage.converge(&mut held).await.end;
        assert!(matches!(end, End::Held { .. }), "{end:?}");
        assert_eq!(spent(&stage).await, "S1 5, S2 2, S3 1", "{reason}");
        assert_eq!((count(&held, Applied), count(&held, Pending), held.ready().0), (2, 3, reason));
        assert_eq!((held.audits().len(), held.status.intent.is_none()), (2, true));
        (held.book.attempts_left, held.book.audit_room, held.resumes) = (None, None, true);
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!((spent(&stage).await.as_str(), count(&held, Applied)), ("S1 3, S2 3", 5));
    }
}

#[tokio::test]
async fn a_level_that_the_server_does_not_keep_is_told_for_that_agent_only() {
    let stage = stage(3, 0.7).await;
    // Whoever has three skills loses the level of the last one.
    stage.world.edit_user(&id(1), |document| {
        let skills = document["skills"].as_array_mut().unwrap();
        skills.insert(0, json!({"skillId": "first", "proficiency": 1}));
    });
    stage
        .world
        .set_normaliser(serde_json::from_value::<Vec<_>>(json!([{"rule": "remove", "path": "/skills/2/proficiency"}])).unwrap());
    stage.world.clear_journal();
    let mut held = policy(3, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 3, S2 3, S3 1");
    assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, "NotConverging"), (Applied, "Scored")]);
    assert_eq!(held.ready().0, "PartiallyApplied");
    // It is not tried before the next evaluation.
    held.resumes = true;
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "");
}

#[tokio::test]
async fn what_is_never_kept_is_not_written_again_before_something_changes() {
    let stage = stage(1, 0.7).await;
    stage.world.edit_user(&id(0), |document| document["skills"] = json!([{"skillId": "kept", "proficiency": 1}]));
    // Ids of skills become others.
    let rules = json!([{"rule": "upperCase", "path": "/skills/*/skillId"}]);
    stage.world.set_normaliser(serde_json::from_value::<Vec<_>>(rules).unwrap());
    stage.world.clear_journal();
    let mut held = policy(1, &json!({}));
    for calls in ["S1 1, S2 1, S3 1", "S1 1, S3 1", "S1 1, S3 1"] {
        held.checks();
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!((spent(&stage).await.as_str(), verdicts(&held)), (calls, vec![(Failed, "NotConverging")]));
        assert!(held.status.agents[0].message.as_deref().is_some_and(|message| message.contains("does not keep")));
    }
    // Whoever asks for it, and another question, get another try.
    for asked in [true, false] {
        held.requested = asked;
        held.edit(|spec| spec["maxStep"] = if asked { Value::Null } else { json!(0.5) });
        held.checks();
        stage.world.edit_user(&id(0), |document| document["skills"] = json!([]));
        stage.world.clear_journal();
        stage.converge(&mut held).await;
        assert_eq!(spent(&stage).await, "S1 1, S2 1, S3 1");
    }
}

#[tokio::test]
async fn a_profile_of_two_thousand_skills_keeps_all_of_them() {
    let stage = stage(1, 0.7).await;
    let mut skills: Vec<Value> = (0..2000).map(|n| json!({"skillId": format!("s{n}"), "proficiency": 0.123_456_789})).collect();
    skills[1234] = json!({"skillId": SKILL, "proficiency": 0.7, "note": "kept"});
    stage.world.put_user(&id(0), json!({"version": 3, "skills": skills, "custom": {"a": [1.50, null]}}));
    stage.world.clear_journal();
    let mut held = policy(1, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    let live = stage.world.user(&id(0)).unwrap();
    skills[1234]["proficiency"] = json!(0.9);
    assert_eq!((&live["skills"], &live["custom"]), (&Value::from(skills), &json!({"a": [1.5, null]})));
    assert_eq!(held.status.history[0].version, "4");
    assert_eq!(spent(&stage).await, "S1 1, S2 1, S3 1");
}

#[tokio::test]
async fn small_steps_come_with_evaluations_and_end() {
    let stage = stage(1, 0.1).await;
    agent(&stage, &id(0), 0.123);
    let mut held = policy(1, &json!({"maxStep": 0.25}));
    let mut levels = Vec::new();
    for _ in 0..6 {
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        levels.push(level(&stage, 0));
    }
    assert_eq!(levels, [0.373, 0.623, 0.873, 0.9, 0.9, 0.9]);
    assert_eq!((held.audits().len(), told(&held, 0).reason.as_str()), (4, "Scored"));
}

#[tokio::test]
async fn metrics_of_the_window_are_asked_for_and_a_clock_decides_which() {
    let stage = stage(2, 0.7).await;
    let mut held = policy(2, &json!({"lookback": "720h"}));
    held.book.now = Some("2026-03-01T00:00:00Z".parse().unwrap());
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    let body = stage.entries("S3").await[0].body.clone().unwrap().to_value();
    assert_eq!(
        (&body["dateFrom"], &body["dateTo"], &body["interval"]),
        (&json!("2026-01-30"), &json!("2026-03-01"), &json!("P30D"))
    );
    let evaluation = held.status.evaluation.as_ref().unwrap();
    assert_eq!((evaluation.date_from.as_str(), evaluation.time.0), ("2026-01-30", held.book.now.unwrap()));
}
