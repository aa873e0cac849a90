//! A promotion whose process ended: the intent in status says what to look up (design, Intent); and versions on later pages.

use assist_operator::remote::converge::End;
use assist_operator::sandbox::FaultKind;
use serde_json::{Value, json};

use super::prompt_stage::{
    TEMPLATE, crashed, failed, foreign, killed, landed, live, numbers, of, pt, shows, stage, version, versions,
};

#[tokio::test]
async fn an_interrupted_promotion_that_is_there_is_ours_and_is_not_made_again() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    let intent = pt.status.intent.clone().unwrap();
    assert_eq!(intent.steps[0].version, "1.0.1");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(stage.calls().await, ["P1 200", "P2 201", "P1 200"]);
    assert_eq!((pt.audits(), &pt.book.records()[0].audit_id), (vec!["PROMOTED"], &intent.steps[0].audit_id));
    assert_eq!((pt.status.history.len(), pt.status.history[0].version.as_str()), (1, "1.0.1"));
    assert!(pt.status.intent.is_none() && pt.status.unconfirmed.is_none());
}

#[tokio::test]
async fn an_interrupted_promotion_whose_number_holds_other_content_is_not_claimed() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    stage.fault("P2", 1, FaultKind::ForeignEditBefore { patch: Some(version("1.0.1", "Theirs")) });
    stage.fault_after("P1", 1, 3, FaultKind::status(503));
    crashed(&stage, &mut pt).await;
    assert_eq!(live(&stage), shows("1.0.1", "Theirs"));
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    // A server may rewrite what it takes, so it cannot be told whose this is.
    assert_eq!(pt.audits(), ["UNKNOWN", "PROMOTED"]);
    assert_eq!((live(&stage), pt.unconfirmed()), (shows("1.0.2", "Hello"), None));
    assert_eq!((pt.status.history.len(), pt.status.history[0].version.as_str()), (1, "1.0.2"));
    stage.calls().await;
}

#[tokio::test]
async fn an_interrupted_promotion_that_is_absent_has_failed_and_its_number_is_used_again() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.open_for = Some(0);
    crashed(&stage, &mut pt).await;
    let lost = pt.status.intent.clone().unwrap().steps[0].audit_id.clone();
    pt.book.open_for = Some(0);
    // Still suspended: the number is remembered, and the record is made.
    assert!(matches!(stage.converge(&mut pt).await.end, End::Halted(_)));
    assert_eq!((pt.audits(), pt.unconfirmed()), (vec!["FAILED"], Some("1.0.1")));
    assert_eq!(pt.book.records()[0].audit_id, lost);
    pt.book.open_for = None;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.audits(), live(&stage)), (vec!["FAILED", "PROMOTED"], shows("1.0.1", "Hello")));
    assert_eq!(stage.count("P2").await, 1);
    stage.calls().await;
}

#[tokio::test]
async fn an_interrupted_promotion_that_commits_after_the_restart_makes_no_second_version() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    stage.fault("P2", 1, FaultKind::CommitLate { after_ms: 250 });
    crashed(&stage, &mut pt).await;
    stage.fault("P2", 1, FaultKind::Delay { before_ms: 600, after_ms: 0 });
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    landed(&stage, 2).await;
    assert_eq!((pt.audits(), numbers(&stage).len()), (vec!["FAILED", "PROMOTED"], 2));
    stage.calls().await;
}

#[tokio::test]
async fn an_interrupted_promotion_below_a_foreign_one_is_ours_and_comes_back_above_it() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    foreign(&stage, "1.0.2", "Theirs");
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(pt.audits(), ["PROMOTED", "PROMOTED"]);
    let history: Vec<&str> = pt.status.history.iter().map(|entry| entry.version.as_str()).collect();
    assert_eq!((history, live(&stage)), (vec!["1.0.3", "1.0.1"], shows("1.0.3", "Hello")));
    stage.calls().await;
}

#[tokio::test]
async fn an_interrupted_promotion_of_a_template_that_is_gone_is_unknown() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    stage.world.remove_prompt(TEMPLATE);
    assert!(matches!(stage.converge(&mut pt).await.end, End::Blocked(_)));
    assert_eq!((pt.audits(), pt.status.intent.is_some()), (vec!["UNKNOWN"], false));
}

#[tokio::test]
async fn a_spec_that_changed_since_does_not_hide_whose_version_it_is() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    pt.edit(|spec| spec["content"] = json!("New"));
    pt.restart();
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!((pt.audits(), live(&stage)), (vec!["PROMOTED", "PROMOTED"], shows("1.0.2", "New")));
    stage.calls().await;
}

/// Many versions by others, `from` to `to`.
fn many(from: u32, to: u32) -> Vec<Value> {
    (from..=to).map(|number| version(&format!("2.0.{number}"), "Theirs")).collect()
}

#[tokio::test]
async fn an_interrupted_promotion_is_found_on_a_later_page() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    for theirs in many(1, 60) {
        assert!(stage.world.promote(TEMPLATE, theirs));
    }
    let before = stage.count("P1").await;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    // 62 versions on three pages: they are read until it is found.
    assert_eq!(stage.count("P1").await - before, 3);
    assert_eq!((pt.audits(), live(&stage)), (vec!["PROMOTED", "PROMOTED"], shows("2.0.61", "Hello")));
    // Without a number to be found, one page is enough.
    let before = stage.count("P1").await;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert_eq!(stage.count("P1").await - before, 1);
    stage.calls().await;
}

#[tokio::test]
async fn a_fixed_number_that_exists_on_a_later_page_is_met_as_a_conflict_and_then_found() {
    for (content, status) in [("Hello", "CONFLICT"), ("Other", "CONFLICT")] {
        let stage = stage().await;
        let mut all = vec![version("3.0.0", content)];
        all.extend(many(1, 70));
        versions(&stage, &all);
        let mut pt = of(json!({"content": "Hello", "version": "3.0.0"}));
        assert!(matches!(stage.converge(&mut pt).await.end, End::Blocked(_)));
        assert_eq!((pt.audits(), stage.count("P2").await), (vec![status], 1), "{content}");
        assert_eq!(live(&stage), shows("2.0.70", "Theirs"));
        stage.calls().await;
    }
}

#[tokio::test]
async fn pages_that_overlap_count_each_version_once() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    crashed(&stage, &mut pt).await;
    for theirs in many(1, 60) {
        assert!(stage.world.promote(TEMPLATE, theirs));
    }
    // While the second page is on its way, others promote: the pages move.
    stage.fault_after("P1", 1, 1, FaultKind::Delay { before_ms: 200, after_ms: 0 });
    let world = stage.world.clone();
    let others = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        many(61, 70).into_iter().all(|theirs| world.promote(TEMPLATE, theirs))
    });
    while stage.converge(&mut pt).await.end != End::Done {}
    assert!(others.await.unwrap());
    assert_eq!(pt.audits()[0], "PROMOTED");
    assert_eq!(live(&stage).1, "Hello");
    stage.journal().await;
    let mut unique = numbers(&stage);
    unique.sort();
    unique.dedup();
    assert_eq!(unique.len(), numbers(&stage).len());
}

#[tokio::test]
async fn pages_that_shrink_meanwhile_end_the_search() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    pt.book.open_for = Some(0);
    crashed(&stage, &mut pt).await;
    for theirs in many(1, 60) {
        assert!(stage.world.promote(TEMPLATE, theirs));
    }
    stage.fault_after("P1", 1, 1, FaultKind::Delay { before_ms: 200, after_ms: 0 });
    let world = stage.world.clone();
    let others = tokio::spawn(async move {
        tokio::time::sleep(std::time::Duration::from_millis(60)).await;
        (1..=55).all(|number| world.delete_version(TEMPLATE, &format!("2.0.{number}")))
    });
    while stage.converge(&mut pt).await.end != End::Done {}
    assert!(others.await.unwrap());
    assert_eq!((pt.audits()[0], live(&stage)), ("FAILED", shows("1.0.1", "Hello")));
}

#[tokio::test]
async fn a_count_of_pages_that_lies_costs_no_calls() {
    let page = |count: Value| {
        let entities = [version("1.0.0", "Zero")];
        json!({"entities": entities, "pageNumber": 1, "pageCount": count, "total": 1}).to_string().into_bytes()
    };
    for count in [json!(1_000_000_000), json!(u64::MAX), json!(-1), json!(0), json!("7"), json!(null), json!(1e300)] {
        let stage = stage().await;
        let mut pt = pt("Hello");
        pt.book.open_for = Some(0);
        crashed(&stage, &mut pt).await;
        let before = stage.count("P1").await;
        assert!(stage.world.set_raw_versions(TEMPLATE, Some(page(count.clone()))));
        pt.book.open_for = Some(0);
        assert!(matches!(stage.converge(&mut pt).await.end, End::Halted(_)), "{count}");
        let calls = stage.count("P1").await - before;
        assert!(calls <= 2, "{count}: {calls} calls");
        assert_eq!(pt.audits(), ["FAILED"]);
    }
}

#[tokio::test]
async fn while_the_look_fails_the_intent_stays() {
    for took_effect in [true, false] {
        let stage = stage().await;
        let mut pt = pt("Hello");
        stage.fault("P2", 1, if took_effect { FaultKind::ResetAfter } else { FaultKind::ResetBefore });
        stage.fault_after("P1", 1, 3, FaultKind::status(503));
        let convergence = stage.converge(&mut pt).await;
        failed(&convergence);
        assert!(convergence.keep_intent && pt.audits().is_empty());
        let intent = pt.status.intent.clone().unwrap();
        killed(&mut pt, 1);
        assert_eq!(pt.status.intent, Some(intent.clone()));
        assert_eq!(stage.converge(&mut pt).await.end, End::Done);
        assert_eq!(pt.book.records()[0].audit_id, intent.steps[0].audit_id);
        assert_eq!(pt.audits(), if took_effect { vec!["PROMOTED"] } else { vec!["FAILED", "PROMOTED"] });
        assert_eq!(numbers(&stage), ["1.0.1", "1.0.0"]);
        stage.calls().await;
    }
}
