//! Skill policies where reads and writes fail: a failed agent never holds up the others, and nothing is written twice.

use std::time::Duration;

use assist_operator::api::SkillPolicy;
use assist_operator::api::conditions::Reason;
use assist_operator::api::status::AgentAction::{Applied, Failed, Pending};
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::json;

use super::held::Held;
use super::skill_stage::{SKILL, alerted, count, fault, id, ids, level, measure, policy, spent, stage, told, verdicts};
use super::stage::Stage;

#[tokio::test]
async fn an_agent_who_cannot_be_read_fails_alone() {
    let reads = [
        (FaultKind::status(404), "NotFound", 1, false),
        (FaultKind::status(403), "PermissionDenied", 1, false),
        (FaultKind::status(500), "OrgUnavailable", 3, true),
        (FaultKind::ResetBefore, "OrgUnavailable", 3, true),
        (FaultKind::Html { status: 200 }, "OrgUnavailable", 3, true),
        (FaultKind::TruncatedBody, "OrgUnavailable", 3, true),
        (FaultKind::WrongDocument, "OrgUnavailable", 1, true),
    ];
    for (kind, reason, tries, is_open) in reads {
        let stage = stage(3, 0.7).await;
        fault(&stage, "S1", 1, Times::Always, kind.clone());
        let mut held = policy(3, &json!({}));
        assert_eq!(stage.converge(&mut held).await.end, End::Done, "{kind:?}");
        assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, reason), (Applied, "Scored")], "{kind:?}");
        assert_eq!(spent(&stage).await, format!("S1 {}, S2 2, S3 1", 2 + tries), "{kind:?}");
        let agent = told(&held, 1);
        assert!(agent.message.as_ref().is_some_and(|message| message.contains("u001")) && agent.csat == Some(4.5), "{agent:?}");
        assert_eq!(held.ready().0, "PartiallyApplied");
        stage.world.faults().clear();
        held.resumes = true;
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(spent(&stage).await, if is_open { "S1 1, S2 1" } else { "" }, "{kind:?}");
    }
}

#[tokio::test]
async fn an_agent_who_cannot_be_written_fails_alone() {
    let writes = [
        (FaultKind::status(403), "PermissionDenied", "FAILED"),
        (FaultKind::status(400), "RemoteRejected", "FAILED"),
        (FaultKind::SilentDrop, "PermissionDenied", "FAILED"),
        (FaultKind::status(404), "NotFound", "FAILED"),
    ];
    for (kind, reason, audit) in writes {
        let stage = stage(3, 0.7).await;
        fault(&stage, "S2", 1, Times::Always, kind.clone());
        let mut held = policy(3, &json!({}));
        assert_eq!(stage.converge(&mut held).await.end, End::Done, "{kind:?}");
        assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, reason), (Applied, "Scored")], "{kind:?}");
        assert_eq!(held.audits(), ["APPLIED", audit, "APPLIED"], "{kind:?}");
        assert_eq!(level(&stage, 1), 0.7);
        spent(&stage).await;
    }
}

#[tokio::test]
async fn many_failures_in_a_row_are_those_of_all() {
    // Answers that cannot be used, three times each: Genesys Cloud is down.
    let stage = stage(14, 0.7).await;
    stage.world.faults().push(Fault::new(FaultKind::Html { status: 200 }).on(&["S1"]).after(2).times(Times::Always));
    let mut held = policy(14, &json!({}));
    let End::Failed(failure) = stage.converge(&mut held).await.end else { panic!("it went on") };
    assert_eq!((failure.reason, spent(&stage).await.as_str()), (Reason::OrgUnavailable, "S1 32, S3 1"));
    assert!(failure.message.starts_with("many agents one after the other: "), "{}", failure.message);
    // Refusals before any success: a permission is missing, and everybody is as open as before.
    for (call, expected) in [("S1", "S1 20, S3 1"), ("S2", "S1 24, S2 20, S3 1")] {
        let stage = super::skill_stage::stage(24, 0.7).await;
        stage.world.faults().push(Fault::new(FaultKind::status(403)).on(&[call]).times(Times::Always));
        let mut held = policy(24, &json!({}));
        let end = stage.converge(&mut held).await.end;
        let (End::Failed(failure) | End::Refused(_, failure)) = &end else { panic!("{end:?}") };
        assert_eq!((failure.reason, spent(&stage).await.as_str()), (Reason::PermissionDenied, expected));
        assert_eq!((count(&held, Failed), count(&held, Pending)), (0, if call == "S2" { 24 } else { 0 }));
        stage.world.faults().clear();
        (held.resumes, held.refusal) = (true, None);
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(count(&held, Applied), 24);
    }
    // After a success they are refusals of single agents, however many, and hold up nobody.
    let stage = super::skill_stage::stage(30, 0.7).await;
    (1..28).for_each(|number| fault(&stage, "S2", number, Times::Always, FaultKind::status(403)));
    let mut held = policy(30, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((count(&held, Applied), count(&held, Failed)), (3, 27));
}

#[tokio::test]
async fn a_remembered_profile_that_cannot_be_read_again_ends_no_run() {
    let stage = stage(3, 0.7).await;
    assert!(stage.world.set_skill(&id(1), SKILL, Some(0.9)));
    let mut held = policy(3, &json!({"mode": "Propose"}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    // The second one is unchanged as remembered, which nobody may claim without a look.
    fault(&stage, "S1", 1, Times::Always, FaultKind::status(403));
    held.edit(|spec| (spec["mode"], spec["lookback"]) = (json!("Enforce"), json!("48h")));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, "PermissionDenied"), (Applied, "Scored")]);
    assert_eq!(spent(&stage).await, "S1 4, S2 2, S3 2");
}

#[tokio::test]
async fn an_alert_that_is_refused_holds_up_no_other() {
    let stage = stage(3, 0.1).await;
    stage.world.faults().push(Fault::new(FaultKind::status(400)).on(&["S4"]).times(Times::Count(1)));
    let mut held = policy(3, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    let due = |held: &Held<SkillPolicy>| held.status.alerts.iter().map(|alert| alert.user_id.clone()).collect::<Vec<_>>();
    assert_eq!((due(&held), alerted(&stage)), (vec![id(0)], vec![id(1), id(2)]));
    held.resumes = true;
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((due(&held), alerted(&stage)), (vec![], ids(3)));
    // Where everything is refused, few are tried.
    let stage = super::skill_stage::stage(9, 0.1).await;
    stage.world.faults().push(Fault::new(FaultKind::status(400)).on(&["S4"]).times(Times::Always));
    let mut held = policy(9, &json!({}));
    for run in ["S1 9, S2 9, S3 1, S4 3", "S4 3"] {
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!((due(&held).len(), spent(&stage).await.as_str()), (9, run));
        held.resumes = true;
    }
}

#[tokio::test]
async fn a_429_in_the_middle_ends_the_run_and_it_goes_on_later() {
    for (call, expected) in [("S1", "S1 3, S3 1"), ("S2", "S1 4, S2 3, S3 1")] {
        let stage = stage(4, 0.7).await;
        stage.fault_after(call, 2, 1, FaultKind::retry_after(429, "60"));
        let mut held = policy(4, &json!({}));
        let end = stage.converge(&mut held).await.end;
        let End::Failed(failure) = &end else { panic!("{end:?}") };
        assert_eq!((failure.reason, held.ready().0), (Reason::RateLimited, "RateLimited"));
        assert_eq!(spent(&stage).await, expected, "{call}");
        if call == "S2" {
            assert_eq!((count(&held, Applied), count(&held, Pending)), (2, 2));
        }
    }
    // A short pause is waited for.
    let stage = stage(4, 0.7).await;
    stage.fault_after("S2", 2, 1, FaultKind::status(429));
    let mut held = policy(4, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), count(&held, Applied)), ("S1 4, S2 5, S3 1", 4));
}

/// Runs until nothing is left of the evaluation.
async fn finish(stage: &Stage, held: &mut super::skill_stage::Skpol) {
    held.resumes = true;
    for _ in 0..4 {
        if count(held, Applied) == held.status.agents.len() && held.status.alerts.is_empty() && held.status.intent.is_none() {
            return;
        }
        stage.converge(held).await;
    }
    panic!("{:?} {:?}", verdicts(held), held.status.alerts);
}

#[tokio::test]
async fn lost_answers_are_looked_up_and_there_is_one_step_an_evaluation() {
    let once = [
        FaultKind::ResetAfter,
        FaultKind::TruncatedBody,
        FaultKind::Html { status: 200 },
        FaultKind::ResetBefore,
        FaultKind::EmptyBody,
    ];
    let applied = FaultKind::Status { status: 503, retry_after: None, body: None, applied: true };
    for (kind, times) in
        once.into_iter().map(|kind| (kind, 1)).chain([(applied, 1), (FaultKind::ResetBefore, 3), (FaultKind::ResetAfter, 3)])
    {
        for extra in [json!({}), json!({"maxStep": 0.5})] {
            let stage = stage(3, 0.1).await;
            fault(&stage, "S2", 1, Times::Count(times), kind.clone());
            let mut held = policy(3, &extra);
            stage.converge(&mut held).await;
            finish(&stage, &mut held).await;
            let expected = if extra["maxStep"].is_null() { 0.9 } else { 0.6 };
            for number in 0..3 {
                assert_eq!(
                    (level(&stage, number), stage.world.user(&id(number)).unwrap()["version"].as_i64()),
                    (expected, Some(4)),
                    "{kind:?}"
                );
            }
            assert_eq!(alerted(&stage), ids(3), "{kind:?}");
            spent(&stage).await;
        }
    }
}

#[tokio::test]
async fn a_write_that_commits_late_is_found_told_of_and_not_made_twice() {
    for extra in [json!({}), json!({"maxStep": 0.5})] {
        let stage = stage(3, 0.1).await;
        // It commits when everybody has given up on it.
        fault(&stage, "S2", 1, Times::Count(1), FaultKind::CommitLate { after_ms: 400 });
        fault(&stage, "S2", 1, Times::Count(2), FaultKind::ResetBefore);
        let mut held = policy(3, &extra);
        assert_eq!(stage.converge(&mut held).await.end, End::Done);
        assert_eq!(verdicts(&held)[1], (Failed, "OrgUnavailable"));
        let wait = tokio::time::timeout(Duration::from_secs(10), async {
            while stage.world.user(&id(1)).unwrap()["version"] != 4 {
                tokio::task::yield_now().await;
            }
        });
        wait.await.unwrap();
        finish(&stage, &mut held).await;
        let expected = if extra["maxStep"].is_null() { 0.9 } else { 0.6 };
        assert_eq!((level(&stage, 1), stage.world.user(&id(1)).unwrap()["version"].as_i64()), (expected, Some(4)));
        assert_eq!(alerted(&stage), ids(3));
        let mut audits = held.audits();
        audits.sort_unstable();
        assert_eq!(audits, ["APPLIED"; 3]);
        spent(&stage).await;
    }
}

#[tokio::test]
async fn an_outcome_that_cannot_be_looked_up_stays_until_it_can_be() {
    let stage = stage(3, 0.1).await;
    fault(&stage, "S2", 1, Times::Count(3), FaultKind::ResetAfter);
    // Read once for the plan, and not after it.
    stage.world.faults().push(Fault::new(FaultKind::status(500)).on(&["S1"]).target(&id(1)).after(1).times(Times::Always));
    let mut held = policy(3, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    held.resumes = true;
    for _ in 0..3 {
        assert_eq!(verdicts(&held), [(Applied, "Scored"), (Failed, "OrgUnavailable"), (Applied, "Scored")]);
        let intent = held.status.intent.as_ref().unwrap();
        assert_eq!((intent.steps.len(), intent.steps[0].target.as_str()), (1, "user/u001"));
        assert_eq!(held.audits(), ["APPLIED", "APPLIED"]);
        stage.converge(&mut held).await;
    }
    // An evaluation anew goes by it, and does not forget it.
    held.resumes = false;
    (0..3).filter(|number| *number != 1).for_each(|number| measure(&stage, &id(number), 2.5, 350));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((level(&stage, 0), level(&stage, 2)), (0.5, 0.5));
    assert_eq!(held.status.intent.as_ref().unwrap().steps.len(), 1);
    stage.world.faults().clear();
    held.resumes = true;
    while held.status.intent.is_some() || !held.status.alerts.is_empty() {
        stage.converge(&mut held).await;
    }
    let told = alerted(&stage);
    assert!(ids(3).iter().all(|id| told.contains(id)), "{told:?}");
    assert_eq!(told.iter().filter(|user| **user == id(1)).count(), 1);
    let mut audits = held.audits();
    audits.sort_unstable();
    assert_eq!(audits, ["APPLIED"; 5]);
    spent(&stage).await;
}

#[tokio::test]
async fn analytics_that_fail_write_nothing() {
    // A token that comes again.
    let stage = stage(3, 0.7).await;
    stage.world.set(|settings| (settings.details_page_size, settings.repeat_page_token) = (Some(1), true));
    let mut held = policy(3, &json!({}));
    let End::Failed(failure) = stage.converge(&mut held).await.end else { panic!("the pages have no end") };
    assert_eq!((failure.reason, failure.unreadable), (Reason::OrgUnavailable, true));
    assert_eq!((spent(&stage).await.as_str(), held.status.agents.len()), ("S3 2", 0));
    // Pages come to an end.
    stage.world.set(|settings| settings.repeat_page_token = false);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), count(&held, Applied)), ("S1 3, S2 3, S3 3", 3));
    // The second question fails: nobody is judged.
    let stage = super::skill_stage::stage(150, 0.7).await;
    stage.fault_after("S3", 1, 3, FaultKind::status(500));
    let mut held = policy(150, &json!({}));
    assert!(matches!(stage.converge(&mut held).await.end, End::Failed(_)));
    assert_eq!(spent(&stage).await, "S3 4");
    for kind in [
        FaultKind::status(403),
        FaultKind::status(404),
        FaultKind::status(400),
        FaultKind::Html { status: 200 },
        FaultKind::TruncatedBody,
    ] {
        stage.fault("S3", 3, kind.clone());
        let end = stage.converge(&mut held).await.end;
        assert!(matches!(end, End::Failed(_) | End::Blocked(_)), "{kind:?} {end:?}");
        stage.world.faults().clear();
        assert!(!spent(&stage).await.contains("S2"), "{kind:?}");
    }
    for raw in
        ["{}", "[]", "{\"entities\": 3}", "{\"entities\": [{\"metrics\": {}}]}", "{\"entities\": [], \"nextPageToken\": 3}"]
    {
        stage.world.set_raw_details(Some(raw.into()));
        let end = stage.converge(&mut held).await.end;
        assert!(matches!(end, End::Failed(_)), "{raw} {end:?}");
        assert!(!spent(&stage).await.contains("S2"), "{raw}");
    }
}

#[tokio::test]
async fn metrics_that_are_no_numbers_and_names_that_differ_in_case_write_nothing() {
    let stage = stage(4, 0.7).await;
    measure(&stage, &id(0), "4.5", 350);
    measure(&stage, &id(1), 4.5, true);
    measure(&stage, &id(2), 1e9, 350);
    measure(&stage, &id(3), -1, 350);
    let mut held = policy(4, &json!({}));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), verdicts(&held)), ("S3 1", vec![(Failed, "BadData"); 4]));
    let entity = |id: &str, name: &str| json!({"entityId": id, "metrics": {name: 350, "conversation/summary/avgCustomerSatisfaction": 4.5}});
    // Another spelling is another metric, and agents that nobody asked about do not count.
    let entities =
        json!([entity("u000", "conversation/summary/avghandletime"), entity("stranger", "conversation/summary/avgHandleTime")]);
    stage.world.set_raw_details(Some(json!({"entities": entities, "nextPageToken": ""}).to_string().into()));
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    assert_eq!((spent(&stage).await.as_str(), told(&held, 0).reason.as_str()), ("S3 1", "InsufficientData"));
    assert_eq!(held.status.agents.len(), 4);
}
