//! Supervisor alerts (S4): each change above the threshold is told of, once where nothing is disturbed, and never forgotten.

use std::collections::BTreeSet;

use assist_operator::api::status::AgentAction::{Applied, Proposed};
use assist_operator::api::status::DueAlert;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::json;

use super::skill_stage::{
    Skpol, agent, alerted, check_but_alerts, count, id, ids, level, measure, policy, spent, stage, verdicts,
};
use super::stage::Stage;

#[tokio::test]
async fn only_what_is_strictly_above_the_threshold_is_told_and_exactly_so() {
    let stage = stage(6, 0.7).await;
    for (number, level) in [0.6, 0.599_999, 0.1, 0.895].into_iter().enumerate() {
        agent(&stage, &id(number), level);
    }
    // Down, too; and who lacks the skill begins at 0.00.
    measure(&stage, &id(4), 1.5, 350);
    stage.world.put_user(&id(5), json!({"version": 1}));
    stage.world.clear_journal();
    let mut held = policy(6, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    let texts: Vec<String> =
        stage.world.alerts().iter().map(|record| record.alert["body"].as_str().unwrap().to_owned()).collect();
    let text = |change: &str| format!("Skill billing proficiency adjusted from {change}. Change exceeds threshold.");
    assert_eq!(texts, ["0.60 to 0.90", "0.10 to 0.90", "0.70 to 0.30", "0.00 to 0.90"].map(text));
    let expected = json!({
        "title": "Automated Skill Adjustment: u002", "type": "routing", "category": "skillLevel", "subCategory": "proficiencyChange",
        "body": text("0.10 to 0.90"), "severity": "warning", "links": [{"type": "user", "id": "u002"}],
    });
    assert_eq!(stage.world.alerts()[1].alert, expected);
    assert_eq!(spent(&stage).await, "S1 6, S2 5, S3 1, S4 4");
    // Nothing is told again.
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(spent(&stage).await, "S1 6, S3 1");
    assert!(held.status.alerts.is_empty() && held.book.patches() == 1);
}

#[tokio::test]
async fn nothing_is_told_of_what_is_only_proposed_or_did_not_take_effect() {
    let stage = stage(3, 0.1).await;
    let mut held = policy(3, &json!({"mode": "Propose"}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((count(&held, Proposed), spent(&stage).await.as_str()), (3, "S1 3, S3 1"));
    held.edit(|spec| spec["mode"] = "Enforce".into());
    held.checks();
    for kind in [FaultKind::status(403), FaultKind::SilentDrop, FaultKind::ForeignEditBefore { patch: None }] {
        stage.world.faults().push(Fault::new(kind).on(&["S2"]).target(&id(1)).times(Times::Count(2)));
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert!(!alerted(&stage).contains(&id(1)) && level(&stage, 1) < 0.5);
        stage.world.faults().clear();
    }
    assert_eq!(alerted(&stage), [id(0), id(2)]);
    spent(&stage).await;
}

#[tokio::test]
async fn an_alert_that_fails_undoes_nothing_and_is_sent_later() {
    for kind in [FaultKind::status(500), FaultKind::ResetBefore, FaultKind::status(403), FaultKind::status(400)] {
        let stage = stage(3, 0.1).await;
        stage.world.faults().push(Fault::new(kind.clone()).on(&["S4"]).after(1).times(Times::Always));
        let mut held = policy(3, &json!({}));
        let convergence = stage.converge(&mut held).await;
        assert_eq!(convergence.end, End::Done, "{kind:?}");
        let due = |number| DueAlert { user_id: id(number), from: "0.10".into(), to: "0.90".into() };
        assert_eq!((count(&held, Applied), &held.status.alerts), (3, &vec![due(1), due(2)]), "{kind:?}");
        assert_eq!((held.ready().0, held.status.intent.is_none()), ("PartiallyApplied", true));
        // What fails for all is not tried for everybody; what is refused may be about one.
        let tries = match &kind {
            FaultKind::Status { status: 403, .. } => 2,
            FaultKind::Status { status: 400, .. } => 3,
            _ => 4,
        };
        assert_eq!(spent(&stage).await, format!("S1 3, S2 3, S3 1, S4 {tries}"), "{kind:?}");
        held.resumes = true;
        stage.converge(&mut held).await;
        assert_eq!(held.status.alerts, [due(1), due(2)]);
        spent(&stage).await;
        stage.world.faults().clear();
        held.restart();
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(spent(&stage).await, "S4 2", "{kind:?}");
        assert_eq!((alerted(&stage), held.ready().0, held.status.alerts.len()), (ids(3), "Succeeded", 0));
        assert_eq!(verdicts(&held), [(Applied, "Scored"); 3]);
    }
}

#[tokio::test]
async fn an_alert_is_due_whatever_becomes_of_the_policy() {
    let stage = stage(2, 0.1).await;
    stage.world.faults().push(Fault::new(FaultKind::status(403)).on(&["S4"]).times(Times::Always));
    let mut held = policy(2, &json!({}));
    stage.converge(&mut held).await;
    assert_eq!(held.status.alerts.len(), 2);
    stage.world.faults().clear();
    held.edit(|spec| (spec["mode"], spec["userIds"]) = (json!("Propose"), json!(["u001"])));
    held.checks();
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((alerted(&stage), held.status.alerts.len(), held.status.agents.len()), (ids(2), 0, 1));
    spent(&stage).await;
}

#[tokio::test]
async fn another_organisation_is_not_told_of_the_one_before() {
    let stage = stage(1, 0.7).await;
    let mut held = policy(1, &json!({}));
    stage.converge(&mut held).await;
    held.status.alerts = vec![DueAlert { user_id: id(0), from: "0.10".into(), to: "0.90".into() }];
    held.status.remote.as_mut().unwrap().host = "api.elsewhere.example".into();
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((alerted(&stage).len(), held.status.alerts.len()), (0, 0));
}

#[tokio::test]
async fn an_answer_that_is_lost_costs_at_most_one_more() {
    for kind in [FaultKind::ResetAfter, FaultKind::Status { status: 503, retry_after: None, body: None, applied: true }] {
        let stage = stage(3, 0.1).await;
        stage.world.faults().push(Fault::new(kind.clone()).on(&["S4"]).after(1).times(Times::Count(1)));
        let mut held = policy(3, &json!({}));
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(alerted(&stage), [id(0), id(1), id(1), id(2)], "{kind:?}");
        assert!(held.status.alerts.is_empty());
        spent(&stage).await;
    }
}

#[tokio::test]
async fn a_suspension_between_a_write_and_its_alert_keeps_the_alert() {
    let stage = stage(3, 0.1).await;
    let mut held = policy(3, &json!({}));
    // Three reads, and one write, which asks twice.
    held.book.open_for = Some(5);
    assert!(matches!(stage.converge(&mut held).await.end, End::Halted(_)));
    assert_eq!((held.status.alerts.len(), spent(&stage).await.as_str()), (1, "S1 3, S2 1, S3 1"));
    (held.book.open_for, held.resumes) = (None, true);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((alerted(&stage), spent(&stage).await.as_str()), (ids(3), "S1 2, S2 2, S4 3"));
}

#[tokio::test]
async fn records_that_cannot_be_stored_cost_no_second_alert_and_no_second_history() {
    let stage = stage(3, 0.1).await;
    let mut held = policy(3, &json!({}));
    held.book.unsafe_records = true;
    for _ in 0..4 {
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(held.status.intent.as_ref().unwrap().steps.len(), 3);
        (held.resumes, held.requested) = (true, false);
    }
    assert_eq!((alerted(&stage), held.status.history.len(), held.status.history[0].writes), (ids(3), 1, Some(3)));
    held.book.unsafe_records = false;
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((held.audits(), held.status.intent.is_none()), (vec!["APPLIED"; 3], true));
    assert_eq!((alerted(&stage), held.status.history.len(), held.ready().0), (ids(3), 1, "Succeeded"));
    spent(&stage).await;
}

#[tokio::test]
async fn records_that_cannot_be_stored_after_a_crash_cost_one_alert_at_most() {
    for requests in [7, 8, 9] {
        let (stage, case) = (stage(4, 0.1).await, format!("killed after {requests} requests"));
        let mut held = policy(4, &json!({}));
        assert!(stage.killed(&mut held, requests).await.is_none());
        (held.book.unsafe_records, held.resumes) = (true, true);
        for _ in 0..3 {
            stage.converge(&mut held).await;
        }
        held.book.unsafe_records = false;
        finish(&stage, &mut held, 4, &case).await;
        all_is_told(&stage, &held, 4, 1, &case).await;
    }
}

/// What must be true when everything has come to its end: everybody was written once and told of, and at most so many alerts were too many.
async fn all_is_told(stage: &Stage, held: &Skpol, agents: usize, crashes: usize, case: &str) {
    check_but_alerts(stage).await;
    for number in 0..agents {
        let live = stage.world.user(&id(number)).unwrap();
        assert_eq!((level(stage, number), live["version"].as_i64()), (0.9, Some(4)), "{case}");
    }
    let told = alerted(stage);
    let each: BTreeSet<String> = told.iter().cloned().collect();
    assert_eq!(each.into_iter().collect::<Vec<_>>(), ids(agents), "{case}");
    assert!(told.len() <= agents + crashes, "{case}: {told:?}");
    // One record for each write, whoever made it.
    let applied: BTreeSet<String> = held
        .book
        .records()
        .into_iter()
        .filter(|record| record.status.as_str() == "APPLIED")
        .map(|record| record.audit_id)
        .collect();
    assert_eq!(applied.len(), agents, "{case}");
    assert!(held.status.alerts.is_empty() && held.status.intent.is_none(), "{case}");
}

/// Runs until nothing is left.
async fn finish(stage: &Stage, held: &mut Skpol, agents: usize, case: &str) {
    for _ in 0..6 {
        held.resumes = held.status.evaluation.is_some();
        stage.converge(held).await;
        let is_left = !held.status.alerts.is_empty() || held.status.intent.is_some() || held.status.agents.len() < agents;
        if !is_left && count(held, Applied) == agents {
            return;
        }
    }
    panic!("{case}: {:?} {:?}", verdicts(held), held.status.alerts);
}

/// The requests of a whole evaluation: the token, the metrics, and of each agent a read, a write and an alert.
fn requests(agents: usize) -> usize {
    2 + 3 * agents
}

#[tokio::test]
async fn killed_at_any_request_nobody_is_forgotten_or_written_twice() {
    for requests in 1..=requests(4) {
        let (stage, case) = (stage(4, 0.1).await, format!("killed after {requests} requests"));
        let mut held = policy(4, &json!({}));
        let ended = stage.killed(&mut held, requests).await;
        assert!(ended.is_none() || requests == self::requests(4), "{case}");
        finish(&stage, &mut held, 4, &case).await;
        all_is_told(&stage, &held, 4, 1, &case).await;
    }
}

#[tokio::test]
async fn killed_again_and_again_nobody_is_forgotten_or_written_twice() {
    for every in 2..=7 {
        let (stage, case) = (stage(4, 0.1).await, format!("killed after every {every} requests"));
        let mut held = policy(4, &json!({}));
        // Who reads four agents before each write needs five requests to come forward.
        let mut crashes = 0;
        while crashes < 6 && stage.killed(&mut held, every).await.is_none() {
            held.resumes = held.status.evaluation.is_some();
            crashes += 1;
        }
        finish(&stage, &mut held, 4, &case).await;
        all_is_told(&stage, &held, 4, crashes, &case).await;
    }
}

#[tokio::test]
async fn killed_while_alerts_fail_nobody_is_forgotten() {
    for (skip, kind) in [(0, FaultKind::status(403)), (2, FaultKind::status(403)), (1, FaultKind::ResetBefore)] {
        for requests in 6..=requests(4) + 2 {
            let (stage, case) =
                (stage(4, 0.1).await, format!("killed after {requests} requests, alerts fail after {skip}, {kind:?}"));
            stage.world.faults().push(Fault::new(kind.clone()).on(&["S4"]).after(skip).times(Times::Always));
            let mut held = policy(4, &json!({}));
            let crashed = stage.killed(&mut held, requests).await.is_none();
            held.resumes = held.status.evaluation.is_some();
            // A second run that cannot tell either, and is killed as well.
            let again = stage.killed(&mut held, requests / 2).await.is_none();
            stage.world.faults().clear();
            finish(&stage, &mut held, 4, &case).await;
            all_is_told(&stage, &held, 4, usize::from(crashed) + usize::from(again), &case).await;
        }
    }
}

#[tokio::test]
async fn killed_among_conflicts_and_lost_answers_nobody_is_forgotten() {
    for requests in 6..=requests(4) + 6 {
        let (stage, case) = (stage(4, 0.1).await, format!("killed after {requests} requests"));
        let on = |kind, number| Fault::new(kind).on(&["S2"]).target(&id(number)).times(Times::Count(1));
        stage.world.faults().push(on(FaultKind::ResetAfter, 1));
        stage.world.faults().push(on(FaultKind::ForeignEditBefore { patch: None }, 2));
        let mut held = policy(4, &json!({}));
        let crashed = stage.killed(&mut held, requests).await.is_none();
        finish(&stage, &mut held, 4, &case).await;
        check_but_alerts(&stage).await;
        let told = alerted(&stage);
        assert_eq!(told.iter().collect::<BTreeSet<_>>().len(), 4, "{case}: {told:?}");
        assert!(told.len() <= 4 + usize::from(crashed), "{case}: {told:?}");
        for number in 0..4 {
            let version = if number == 2 { 5 } else { 4 };
            assert_eq!(
                (level(&stage, number), stage.world.user(&id(number)).unwrap()["version"].as_i64()),
                (0.9, Some(version)),
                "{case}"
            );
        }
    }
}

#[tokio::test]
async fn killed_at_any_record_of_the_status_nobody_is_forgotten() {
    for (skip, at, is_made) in
        [0, 1, 3].into_iter().flat_map(|skip| (1..=6).flat_map(move |at| [(skip, at, false), (skip, at, true)]))
    {
        let case = format!("alerts fail after {skip}, record {at} is never answered, made: {is_made}");
        let stage = stage(4, 0.1).await;
        stage.world.faults().push(Fault::new(FaultKind::status(403)).on(&["S4"]).after(skip).times(Times::Count(1)));
        let mut held = policy(4, &json!({}));
        held.book.stuck_at = Some((at, is_made));
        let mut crashes = 0;
        // The first run holds alerts back, the next one sends them and records each.
        for _ in 0..2 {
            crashes += usize::from(stage.killed(&mut held, usize::MAX).await.is_none());
            held.resumes = held.status.evaluation.is_some();
        }
        assert!(crashes <= 1, "{case}");
        finish(&stage, &mut held, 4, &case).await;
        all_is_told(&stage, &held, 4, crashes, &case).await;
    }
}
