//! A server that rewrites what is written: the loop breaker (design, Loop breaker).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::Normaliser;
use serde_json::{Value, json};

use super::held::Aac;
use super::stage::Stage;

async fn stage(rule: Value) -> Stage {
    let stage = Stage::new().await;
    let rule: Normaliser = serde_json::from_value(rule).unwrap();
    stage.world.set_normaliser([rule]);
    stage
}

fn not_kept(end: &End) -> &str {
    let End::NotKept(message) = end else { panic!("{end:?}") };
    message
}

#[tokio::test]
async fn a_value_that_is_not_kept_is_written_once_and_named() {
    let rules = [
        (json!({"rule": "upperCase", "path": "/name"}), json!({"name": "New"}), "/name"),
        (json!({"rule": "truncate", "path": "/name", "characters": 2}), json!({"name": "New"}), "/name"),
        (json!({"rule": "remove", "path": "/made"}), json!({"made": 1}), "/made"),
        (json!({"rule": "defaults", "path": "/rules/*", "members": {"weight": 1}}), json!({"rules": [{"id": "r2"}]}), "/rules"),
        (json!({"rule": "sort", "path": "/tags"}), json!({"tags": ["b", "a"]}), "/tags"),
        (json!({"rule": "defaults", "path": "", "members": {"enabled": true}}), json!({"enabled": null}), "/enabled"),
    ];
    for (rule, config, path) in rules {
        let stage = stage(rule.clone()).await;
        let mut aac = Aac::new(config);
        let end = stage.converge(&mut aac).await.end;
        assert!(not_kept(&end).contains(path) && not_kept(&end).contains("spec.ignore"), "{rule}: {end:?}");
        assert_eq!(stage.calls().await, ["C1 200", "C3 200"]);
        assert_eq!((aac.audits(), aac.ready().0), (vec!["APPLIED"], "NotConverging"));
        // No further write until the spec or the live content changes; also not after a restart.
        for _ in 0..3 {
            let convergence = stage.converge(&mut aac).await;
            assert!(matches!(convergence.end, End::Held { reason: Reason::NotConverging, .. }), "{rule}: {:?}", convergence.end);
            aac.restart();
        }
        assert_eq!(stage.calls().await[2..], ["C1 200"; 3]);
        assert_eq!(aac.ready().0, "NotConverging");
    }
}

#[tokio::test]
async fn what_is_ignored_may_be_rewritten() {
    let stage = stage(json!({"rule": "defaults", "path": "/rules/*", "members": {"weight": 1}})).await;
    let mut aac = Aac::new(json!({"rules": [{"id": "r2"}]}));
    not_kept(&stage.converge(&mut aac).await.end);
    aac.edit(|spec| spec["ignore"] = json!(["/rules/*/weight"]));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.count("C3").await, 1);
    aac.edit(|spec| spec["config"]["rules"] = json!([{"id": "r3"}]));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/rules"), json!([{"id": "r3", "weight": 1}]));
}

#[tokio::test]
async fn an_equal_number_in_another_form_is_kept() {
    let stage = stage(json!({"rule": "float", "path": "/parameters/limit"})).await;
    let mut aac = Aac::new(json!({"parameters": {"limit": 5}}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    aac.checks();
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.count("C3").await, 1);
}

#[tokio::test]
async fn a_rewrite_of_undeclared_fields_is_nobody_s_business() {
    let stage = stage(json!({"rule": "defaults", "path": "", "members": {"other": 1}})).await;
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(aac.ready().0, "Succeeded");
}

#[tokio::test]
async fn a_changed_spec_or_live_content_is_written_again() {
    let stage = stage(json!({"rule": "upperCase", "path": "/name"})).await;
    let mut aac = Aac::new(json!({"name": "New"}));
    not_kept(&stage.converge(&mut aac).await.end);
    aac.declare(json!({"name": "Newer"}));
    not_kept(&stage.converge(&mut aac).await.end);
    aac.checks();
    stage.converge(&mut aac).await;
    assert_eq!(stage.count("C3").await, 2);
    stage.foreign("name", json!("Theirs"));
    not_kept(&stage.converge(&mut aac).await.end);
    assert_eq!(stage.count("C3").await, 3);
    // A person asks, and the server has learnt to keep it.
    stage.world.set_normaliser([]);
    stage.converge(&mut aac).await;
    assert_eq!(stage.count("C3").await, 3);
    aac.requested = true;
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/name"), "Newer");
}

#[tokio::test]
async fn a_field_that_cannot_be_removed_is_not_fought_over() {
    let stage = stage(json!({"rule": "defaults", "path": "", "members": {"made": 1}})).await;
    let mut aac = Aac::new(json!({"made": 1}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    aac.declare(json!({}));
    for _ in 0..4 {
        stage.converge(&mut aac).await;
        aac.checks();
    }
    assert_eq!(stage.count("C3").await, 2);
    stage.calls().await;
}

#[tokio::test]
async fn a_rollback_that_is_not_kept_is_written_once() {
    let stage = stage(json!({"rule": "upperCase", "path": "/name"})).await;
    let mut aac = Aac::of(json!({"orgRef": {"name": "o"}, "configId": "c1", "restoreVersion": 6}));
    not_kept(&stage.converge(&mut aac).await.end);
    for _ in 0..3 {
        stage.converge(&mut aac).await;
        aac.checks();
    }
    assert_eq!((stage.count("C3").await, aac.ready().0), (1, "NotConverging"));
}
