//! Documents that do not survive parse and print are never written back; those that do survive keep every undeclared value.

use assist_operator::api::conditions::Reason;
use assist_operator::remote::converge::{Convergence, End};
use assist_operator::sandbox;
use serde_json::json;

use super::held::Aac;
use super::stage::{ID, Stage};

/// A raw body of C1 at version 7 with one more member.
pub fn raw(member: &str) -> Vec<u8> {
    format!(r#"{{"id":"{ID}","version":7,"name":"Retail assist",{member}}}"#).into_bytes()
}

/// The reason why nothing is written.
fn reason(convergence: &Convergence) -> Reason {
    match &convergence.end {
        End::Blocked(blocked) => blocked.reason,
        End::Failed(failure) => failure.reason,
        other => panic!("{other:?}"),
    }
}

/// Members that parse and print would change.
pub const FRAGILE: [&str; 6] = [
    r#""x":0.12345678901234567890"#,
    r#""x":12345678901234567890123"#,
    r#""x":[{"y":100000000000000000000.5}]"#,
    r#""x":1,"x":2"#,
    r#""x":{"y":1,"\u0079":2}"#,
    r#""x":1e-400"#,
];

#[tokio::test]
async fn a_document_that_would_change_on_the_way_back_is_not_written() {
    for member in FRAGILE {
        let stage = Stage::new().await;
        stage.world.set_raw_body(ID, Some(raw(member)));
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!(stage.count("C3").await, 0, "{member}");
        assert_eq!(reason(&convergence), Reason::RemoteRejected, "{member}: {:?}", convergence.end);
        assert!(aac.audits().is_empty() && aac.book.intents().is_empty());
    }
}

#[tokio::test]
async fn what_no_tree_of_ours_holds_is_refused_and_no_outage() {
    for member in [r#""x":1e400"#, r#""x":{"y":[-1E+999]}"#, r#""x":"\ud800""#] {
        let stage = Stage::new().await;
        stage.world.set_raw_body(ID, Some(raw(member)));
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!(reason(&convergence), Reason::RemoteRejected, "{member}: {:?}", convergence.end);
        assert_eq!(stage.calls().await, ["C1 200"], "{member}");
    }
}

#[tokio::test]
async fn a_version_that_is_none_is_no_guard() {
    for version in ["null", "\"7\"", "7.5", "-1", "2147483648", "{}"] {
        let stage = Stage::new().await;
        let body = format!(r#"{{"id":"{ID}","version":{version},"name":"Retail assist"}}"#);
        stage.world.set_raw_body(ID, Some(body.into_bytes()));
        let mut aac = Aac::new(json!({"name": "New"}));
        let convergence = stage.converge(&mut aac).await;
        assert_eq!((reason(&convergence), stage.count("C3").await), (Reason::RemoteRejected, 0), "{version}");
    }
}

#[tokio::test]
async fn undeclared_values_of_every_form_survive_a_write() {
    let odd = json!({
        "big": u64::MAX, "small": i64::MIN, "tiny": 5e-324, "third": 0.1, "huge": 1.797_693_134_862_315_7e308, "negative": -0.0,
        "beyond": 9_007_199_254_740_993_u64, "text": "\u{0}\u{1b}[31m\u{202e}\u{fffd}é漢👋\"\\/", "null": null, "": {"": []}, "a/b~c": [[], {}, null],
        "deep": {"a": {"b": {"c": [{"d": false}]}}},
    });
    let stage = Stage::new().await;
    stage.foreign("odd", odd.clone());
    let mut aac = Aac::new(json!({"name": "New"}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.live("/odd"), odd);
    let declared = [(ID.to_owned(), vec![json!({"name": "New"})])].into();
    let expected = sandbox::Expectations { declared, ..Default::default() };
    assert_eq!(sandbox::check_with(&stage.journal().await, &expected), []);
}

#[tokio::test]
async fn a_null_member_is_left_out_and_an_empty_object_owns_only_that_it_is_there() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"enabled": null, "parameters": {}, "fresh": {}, "rules": [null]}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    let body = stage.entries("C3").await.remove(0).body.unwrap().to_value();
    assert_eq!(body.get("enabled"), None);
    assert_eq!(body["parameters"], json!({"threshold": 0.72, "limit": 3}));
    assert_eq!((&body["fresh"], &body["rules"]), (&json!({}), &json!([null])));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.count("C3").await, 1);
}

#[tokio::test]
async fn numbers_that_are_equal_by_value_are_no_difference() {
    let stage = Stage::new().await;
    stage.foreign("n", json!([1.0, 1e3, 0.0, 2_000_000]));
    let mut aac = Aac::new(json!({"n": [1, 1000, -0.0, 2e6], "parameters": {"limit": 3.0}}));
    assert_eq!(stage.converge(&mut aac).await.end, End::Done);
    assert_eq!(stage.calls().await, ["C1 200"]);
}
