//! What a promotion is: a look and a post, under which number, with what in it (contract section 4).

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::{Convergence, End};
use serde_json::json;

use super::prompt_stage::{Pt, TEMPLATE, foreign, live, numbers, of, pt, shows, stage, version, versions};
use super::stage::Stage;

/// Converges until nothing is left to write.
async fn done(stage: &Stage, pt: &mut Pt) {
    assert_eq!(stage.converge(pt).await.end, End::Done);
}

fn blocked(convergence: Convergence) -> (Reason, String) {
    let End::Blocked(blocked) = convergence.end else { panic!("{:?}", convergence.end) };
    (blocked.reason, blocked.message)
}

#[tokio::test]
async fn a_promotion_is_a_look_and_a_post_and_nothing_else() {
    let stage = stage().await;
    let mut pt = of(json!({"content": "Hi {{name}}", "variables": {"name": {"type": "String"}}}));
    done(&stage, &mut pt).await;
    assert_eq!(stage.calls().await, ["P1 200", "P2 201"]);
    let sent = stage.entries("P2").await.remove(0).body.unwrap().to_value();
    let expected = json!({
        "templateId": TEMPLATE, "version": "1.0.1", "content": "Hi {{name}}", "variables": {"name": "string"}, "metadata": {},
        "rollbackDirective": false,
    });
    assert_eq!(sent, expected);
    let record = pt.book.records().remove(0);
    assert_eq!((record.action.as_str(), record.status.as_str()), ("VERSION_PROMOTION", "PROMOTED"));
    assert_eq!((record.template_id.as_deref(), record.remote_id.as_str()), (Some(TEMPLATE), TEMPLATE));
    assert_eq!((record.version.as_str(), record.generation_success_rate), ("1.0.1", 1.0));
    assert!(record.estimated_context_tokens.unwrap() > 0.0 && record.correlation_id.is_some());
    assert!(record.before_hash.is_some() && record.after_hash.is_some() && record.before_hash != record.after_hash);
    assert_eq!((pt.status.history[0].version.as_str(), pt.ready().0), ("1.0.1", "Succeeded"));
    assert!(pt.status.intent.is_none() && pt.status.unconfirmed.is_none());

    // The same again is a look only, also from another generation and after a restart.
    done(&stage, &mut pt).await;
    pt.edit(|spec| spec["interval"] = json!("1h"));
    done(&stage, &mut pt).await;
    pt.restart();
    done(&stage, &mut pt).await;
    assert_eq!(stage.calls().await[2..], ["P1 200"; 3]);
    assert_eq!((pt.book.intents().len(), pt.book.attempts().len(), pt.status.history.len()), (1, 1, 1));
}

#[tokio::test]
async fn the_number_is_the_next_patch_above_the_greatest() {
    for (there, expected) in [
        (vec![], "1.0.0"),
        (vec!["1.0.0"], "1.0.1"),
        (vec!["2.0.9", "1.4.0"], "2.0.10"),
        (vec!["odd", "v3", "03.0.0", "3"], "1.0.0"),
        (vec!["1.9.9", "odd"], "1.9.10"),
        (vec!["2.0.0-rc.1"], "2.0.1"),
        (vec!["1.0.0+build.7"], "1.0.1"),
        (vec!["1.0.18446744073709551615"], "1.1.0"),
        (vec!["1.18446744073709551615.18446744073709551615"], "2.0.0"),
        (vec!["99999999999999999999.0.0", "1.0.0"], "1.0.1"),
    ] {
        let stage = stage().await;
        versions(&stage, &there.iter().map(|number| version(number, "Zero")).collect::<Vec<_>>());
        done(&stage, &mut pt("Hello")).await;
        assert_eq!(live(&stage), shows(expected, "Hello"), "{there:?}");
        assert_eq!(stage.calls().await.len(), 2);
    }
}

#[tokio::test]
async fn a_fixed_number_is_promoted_once_and_its_content_never_changes() {
    let stage = stage().await;
    let mut pt = of(json!({"content": "Hello", "version": "3.0.0"}));
    done(&stage, &mut pt).await;
    assert_eq!(live(&stage), shows("3.0.0", "Hello"));
    pt.edit(|spec| spec["content"] = json!("Other"));
    let (reason, message) = blocked(stage.converge(&mut pt).await);
    assert_eq!(reason, Reason::RemoteRejected);
    assert!(message.contains("set spec.version to 3.0.1"), "{message}");
    pt.edit(|spec| spec["version"] = json!("3.0.1"));
    done(&stage, &mut pt).await;
    foreign(&stage, "4.0.0", "Theirs");
    pt.checks();
    let (reason, message) = blocked(stage.converge(&mut pt).await);
    assert_eq!(reason, Reason::Superseded);
    assert!(message.contains("set spec.version to 4.0.1"), "{message}");
    // The same content under another number is not what is declared.
    pt.edit(|spec| (spec["version"], spec["content"]) = (json!("4.0.1"), json!("Theirs")));
    done(&stage, &mut pt).await;
    assert_eq!(numbers(&stage), ["4.0.1", "4.0.0", "3.0.1", "3.0.0", "1.0.0"]);
    stage.calls().await;
}

#[tokio::test]
async fn a_revert_promotes_the_old_content_under_a_new_number() {
    let stage = stage().await;
    let mut pt = pt("One");
    for content in ["One", "Two", "One", "Zero"] {
        pt.edit(|spec| spec["content"] = json!(content));
        done(&stage, &mut pt).await;
        assert_eq!(live(&stage).1, content);
    }
    assert_eq!(numbers(&stage), ["1.0.4", "1.0.3", "1.0.2", "1.0.1", "1.0.0"]);
    assert_eq!(stage.calls().await.len(), 8);
}

#[tokio::test]
async fn metadata_that_is_not_declared_is_carried_over() {
    let stage = stage().await;
    let metadata = json!({"author": "them", "deep": {"a": [1, null]}});
    versions(&stage, &[json!({"version": "1.0.0", "content": "Zero", "metadata": metadata})]);
    let mut pt = pt("Hello");
    done(&stage, &mut pt).await;
    assert_eq!(stage.world.live_prompt(TEMPLATE).unwrap()["metadata"], metadata);
    pt.edit(|spec| spec["metadata"] = json!({"author": "us"}));
    done(&stage, &mut pt).await;
    let kept = stage.world.live_prompt(TEMPLATE).unwrap();
    assert_eq!((&kept["metadata"]["author"], &kept["metadata"]["deep"]), (&json!("us"), &metadata["deep"]));
    stage.calls().await;
}

#[tokio::test]
async fn a_test_is_in_header_and_body_and_ends_with_its_block() {
    let stage = stage().await;
    let mut pt = of(json!({"content": "Hello", "abTest": {"variantId": "v2_1.0-b", "trafficPercent": 29}}));
    done(&stage, &mut pt).await;
    // The sandbox answers 400 where header and body do not say the same.
    assert_eq!(stage.calls().await, ["P1 200", "P2 201"]);
    let test = stage.entries("P2").await.remove(0).body.unwrap().to_value()["abTestingTrigger"].clone();
    assert_eq!(test, json!({"enabled": true, "trafficPercent": 0.29, "variantId": "v2_1.0-b"}));
    done(&stage, &mut pt).await;
    for percent in [0, 100] {
        pt.edit(|spec| spec["abTest"]["trafficPercent"] = json!(percent));
        done(&stage, &mut pt).await;
    }
    pt.edit(|spec| drop(spec.as_object_mut().unwrap().remove("abTest")));
    done(&stage, &mut pt).await;
    let ended = stage.entries("P2").await.pop().unwrap().body.unwrap().to_value();
    assert!(ended.get("abTestingTrigger").is_none_or(serde_json::Value::is_null), "{ended}");
    assert_eq!(stage.count("P2").await, 4);
    stage.calls().await;
}

#[tokio::test]
async fn what_is_deleted_is_promoted_again_under_a_number_that_was_never_used() {
    let stage = stage().await;
    let mut pt = pt("Hello");
    for expected in ["1.0.1", "1.0.2", "1.0.3"] {
        done(&stage, &mut pt).await;
        assert_eq!(live(&stage), shows(expected, "Hello"));
        assert!(stage.world.delete_version(TEMPLATE, expected));
        // Repairs of long ago do not wait for each other.
        for entry in &mut pt.status.history {
            entry.time.0 -= jiff::SignedDuration::from_hours(25);
        }
        pt.checks();
    }
    stage.calls().await;
}

#[tokio::test]
async fn the_number_of_a_foreign_version_that_is_gone_is_not_used_again() {
    let stage = stage().await;
    let mut pt = of(json!({"content": "Hello", "policy": "Observe"}));
    foreign(&stage, "1.0.1", "Theirs");
    done(&stage, &mut pt).await;
    assert!(stage.world.delete_version(TEMPLATE, "1.0.1"));
    pt.edit(|spec| spec["policy"] = json!("Enforce"));
    done(&stage, &mut pt).await;
    assert_eq!(live(&stage), shows("1.0.2", "Hello"), "the greatest number seen counts, also that of status");
    stage.calls().await;
}

#[tokio::test]
async fn a_template_that_does_not_exist_is_named_and_found_when_it_comes() {
    let stage = stage().await;
    stage.world.remove_prompt(TEMPLATE);
    let mut pt = pt("Hello");
    let (reason, message) = blocked(stage.converge(&mut pt).await);
    assert_eq!((reason, stage.calls().await), (Reason::NotFound, vec!["P1 404".to_owned()]));
    assert!(message.contains(TEMPLATE), "{message}");
    stage.world.put_prompt(TEMPLATE, &[]);
    done(&stage, &mut pt).await;
    assert_eq!(live(&stage), shows("1.0.0", "Hello"));
    stage.calls().await;
}

#[tokio::test]
async fn a_template_that_goes_between_look_and_post_ends_the_attempt() {
    let stage = stage().await;
    stage.fault("P2", 1, assist_operator::sandbox::FaultKind::status(404));
    let mut pt = pt("Hello");
    let convergence = stage.converge(&mut pt).await;
    assert!(matches!(&convergence.end, End::Failed(f) if f.reason == Reason::NotFound), "{:?}", convergence.end);
    assert_eq!((pt.audits(), stage.calls().await), (vec!["FAILED"], vec!["P1 200".to_owned(), "P2 404".to_owned()]));
    assert!(pt.status.intent.is_none() && pt.status.unconfirmed.is_none());
}
