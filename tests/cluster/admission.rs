//! What the API server itself refuses and shows: CEL with remedies, `kubectl explain`, printer columns.

use serde_json::{Value, json};

use crate::stage::Stage;

#[test]
fn all_mistakes_come_in_one_answer_with_their_remedies() {
    let stage = Stage::without_org("admission");
    let bad = json!({
        "configId": "../../users/u1", "interval": "5s", "ignore": ["rules"], "restoreVersion": 0,
        "config": {"versionRevert": true, "trafficShift": {"a": 1}, "id": "x", "version": 3, "etag": "e", "selfUri": "s"},
    });
    let answer = stage.apply(&stage.config("bad", bad)).stderr;
    for part in [
        "configId must be 1 to 64 letters",
        "interval must be at least 30s, since",
        "each of ignore must be a JSON pointer",
        "restoreVersion must be at least 1",
        "config.versionRevert is refused: remove it and set spec.restoreVersion",
        "config.trafficShift is refused",
        "config.id is refused",
        "config.version is refused",
        "config.etag is refused",
        "config.selfUri is refused",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
    let neither = stage.apply(&stage.config("bad", json!({}))).stderr;
    assert!(neither.contains("one of config and restoreVersion is required"), "{neither}");
    assert!(stage.world().journal().is_empty());
}

#[test]
fn unknown_fields_and_wrong_types_are_refused() {
    let stage = Stage::without_org("types");
    let refused = |spec: Value, part: &str| {
        let answer = stage.apply(&stage.config("bad", spec));
        assert!(!answer.success() && answer.stderr.contains(part), "{part} in {}", answer.stderr);
    };
    refused(json!({"config": {"a": 1}, "intervall": "10m"}), "unknown field");
    refused(json!({"config": "text"}), "must be of type object");
    refused(json!({"config": {"a": 1}, "policy": "Sometimes"}), "Unsupported value");
    refused(json!({"config": {"a": 1}, "orgRef": {"name": 5}}), "must be of type string");
}

#[test]
fn ids_and_org_refs_are_immutable() {
    let stage = Stage::new("immutable");
    stage.world().put_config("c1", json!({"name": "x"}));
    stage.apply_config("c1", json!({"config": {"name": "x"}}));
    let mut changed = stage.config("c1", json!({"config": {"name": "x"}, "orgRef": {"name": "other"}}));
    changed["spec"]["configId"] = json!("c2");
    let answer = stage.apply(&changed).stderr;
    assert!(answer.contains("configId is immutable") && answer.contains("orgRef is immutable"), "{answer}");
}

#[test]
fn the_org_says_what_is_wrong_with_it() {
    let stage = Stage::without_org("badorg");
    let org = json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec": {
        "region": "eu-central-1", "endpoints": {"login": "https://user:pw@evil.example", "api": "ftp://x"},
        "credentials": {"secretRef": {"name": "genesys"}}, "requestsPerMinute": 5, "changeLimit": {"perHour": 0},
        "allowedNamespaces": {"from": "Selector"},
    }});
    let answer = stage.apply(&org).stderr;
    for part in [
        "exactly one of region and endpoints",
        "endpoints.login must be a base URL",
        "endpoints.api must be",
        "requestsPerMinute must be 10 to 3000",
        "changeLimit.perHour must be at least 1",
        "needs a selector",
    ] {
        assert!(answer.contains(part), "{part} in {answer}");
    }
}

#[test]
fn explain_reads_like_documentation_and_columns_show_what_matters() {
    let stage = Stage::new("explain");
    stage.wait_until("kubectl explain knows the kind", || stage.plane.kubectl(&["explain", "aac.spec.config"]).success());
    let explained = stage.kubectl(&["explain", "aac.spec.config"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(
        explained.contains("What is declared is enforced at any depth") && explained.contains("Refused: remove it"),
        "{explained}"
    );
    stage.world().put_config("c1", json!({"name": "x"}));
    stage.apply_config("c1", json!({"config": {"name": "x"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let table = stage.kubectl(&["get", "aac"]);
    let header = table.lines().next().unwrap_or_default();
    for column in ["READY", "REASON", "INSYNC", "CONFIG", "VERSION", "SUSPENDED", "AGE"] {
        assert!(header.contains(column), "{column} in {table}");
    }
    assert!(table.contains("Succeeded"), "{table}");
}

#[test]
fn an_object_that_nobody_has_seen_is_not_ready() {
    let stage = Stage::without_org("unseen");
    stage.kill_operator();
    stage.apply_config("c1", json!({"config": {"name": "x"}}));
    assert_eq!(stage.get("c1")["status"], json!({"observedGeneration": -1}));
}
