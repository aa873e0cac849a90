//! The audit record (contract section 7): its members, its hashes, and nothing of the content.

use assist_operator::sandbox::{FaultKind, digest};
use serde_json::json;

use super::held::Aac;
use super::stage::{Stage, leaks};

#[tokio::test]
async fn a_record_has_the_contract_s_members_and_no_content() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "c0ntent-canary", "parameters": {"limit": 4}}));
    stage.converge(&mut aac).await;
    let put = stage.entries("C3").await.remove(0);
    let record = serde_json::to_value(&aac.book.records()[0]).unwrap();
    let names: Vec<&str> = record.as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "action",
            "afterHash",
            "auditId",
            "beforeHash",
            "correlationId",
            "generation",
            "generationSuccessRate",
            "kind",
            "latencyMs",
            "name",
            "namespace",
            "org",
            "remoteId",
            "rollbackDirective",
            "status",
            "timestamp",
            "version",
            "webhookSynced",
        ]
    );
    assert_eq!(record["action"], "CONFIG_UPDATE");
    assert_eq!((&record["status"], &record["generationSuccessRate"]), (&json!("APPLIED"), &json!(1.0)));
    let subject = [&record["org"], &record["namespace"], &record["kind"], &record["name"], &record["generation"]];
    assert_eq!(subject, [&json!("team/o"), &json!("team"), &json!("AgentAssistConfig"), &json!("x"), &json!(1)]);
    assert_eq!((&record["remoteId"], &record["version"]), (&json!("c1"), &json!("8")));
    assert_eq!((&record["rollbackDirective"], &record["webhookSynced"]), (&json!(false), &json!(false)));
    assert!(record["latencyMs"].is_u64());
    assert_eq!(record["correlationId"], json!(put.correlation_id));
    assert!(record["timestamp"].as_str().unwrap().ends_with('Z') && record["auditId"].as_str().unwrap().len() == 36);
    assert_eq!(record["beforeHash"], digest(put.before.as_ref().unwrap()));
    assert_eq!(record["afterHash"], digest(put.after.as_ref().unwrap()));
    let text = record.to_string();
    assert!(!text.contains("c0ntent-canary") && !text.contains("Retail") && !leaks(&text), "{text}");
}

#[tokio::test]
async fn a_record_of_a_refusal_has_its_correlation_id() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::status(403));
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    let record = aac.book.records().remove(0);
    assert_eq!((record.status.as_str(), record.generation_success_rate), ("FAILED", 0.0));
    assert_eq!(record.correlation_id, stage.entries("C3").await[0].correlation_id);
    assert!(record.correlation_id.is_some());
}

#[tokio::test]
async fn every_attempt_counts_against_the_change_limit_and_no_other_call_does() {
    let stage = Stage::new().await;
    stage.fault("C3", 1, FaultKind::ForeignEditBefore { patch: None });
    stage.fault("C3", 1, FaultKind::ResetBefore);
    let mut aac = Aac::new(json!({"name": "New"}));
    stage.converge(&mut aac).await;
    aac.checks();
    stage.converge(&mut aac).await;
    // A repeat in place of the same request shares its record and its count.
    assert_eq!((stage.count("C3").await, aac.book.attempts().len(), aac.book.records().len()), (3, 2, 2));
    let mut ids: Vec<String> = aac.book.records().into_iter().map(|r| r.audit_id).collect();
    ids.dedup();
    assert_eq!(ids.len(), 2);
}

#[tokio::test]
async fn a_write_that_never_left_does_not_count_against_the_change_limit() {
    let stage = Stage::new().await;
    let mut aac = Aac::new(json!({"name": "New"}));
    aac.book.open_for = Some(0);
    stage.converge(&mut aac).await;
    assert!(aac.audits().is_empty());
    assert_eq!(aac.book.attempts(), []);
}
