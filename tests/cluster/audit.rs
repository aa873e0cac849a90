//! The audit trail at a webhook: every attempted write of every kind, signed, at least once, and never in the way of a reconcile.

use std::collections::BTreeSet;

use assist_operator::sandbox::{AuditRecord, Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, condition};

/// An org whose webhook is the registry of the sandbox.
fn audited(name: &str) -> Stage {
    let stage = Stage::without_org(name);
    stage.world().set_audit_key(Some("k3y-of-the-registry"));
    stage.apply_ok(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "audit-key"}, "stringData": {"key": "k3y-of-the-registry"}}));
    stage.apply_org(json!({"audit": {"webhook": {
        "url": format!("{}/audit/records", stage.url()), "signingKeyRef": {"name": "audit-key", "key": "key"},
    }}}));
    stage
}

/// What arrived so far, as JSON.
fn arrived(stage: &Stage) -> Vec<Value> {
    stage.world().audit_records().iter().filter_map(AuditRecord::json).collect()
}

fn attempts(stage: &Stage) -> usize {
    stage.writes().len()
}

fn pending(stage: &Stage) -> usize {
    let list = stage.plane.get_json(&["-n", &stage.namespace, "get", "auditrecords"]);
    list["items"].as_array().map_or(0, Vec::len)
}

fn org(stage: &Stage) -> Value {
    stage.get("gorg/org")
}

#[test]
fn every_attempted_write_arrives_signed_and_without_content() {
    let stage = audited("audit");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_prompt("p1", &[]);
    // A conflict, a refusal, and successes of two kinds.
    stage.fault(Fault::new(FaultKind::ForeignEditBefore { patch: Some(json!({"theirs": 2})) }));
    stage.apply_config("c1", json!({"config": {"name": "c0nfig-text"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.fault(Fault::new(FaultKind::status(400)).on(&["P2"]).times(Times::Count(1)));
    stage.apply_prompt("p1", json!({"content": "pr0mpt-text", "version": "1.1.0"}));
    stage.wait_ready("pt/p1", "False", "RemoteRejected");
    stage.request_check("pt/p1", "again");
    stage.wait_ready("pt/p1", "True", "Succeeded");
    stage.wait_until("all records", || arrived(&stage).len() == 4);
    let records = arrived(&stage);
    let ends: Vec<(&str, &str)> =
        records.iter().map(|r| (r["action"].as_str().unwrap(), r["status"].as_str().unwrap())).collect();
    assert_eq!(
        ends,
        [
            ("CONFIG_UPDATE", "CONFLICT"),
            ("CONFIG_UPDATE", "APPLIED"),
            ("VERSION_PROMOTION", "FAILED"),
            ("VERSION_PROMOTION", "PROMOTED")
        ]
    );
    let last = &records[3];
    assert_eq!((&last["templateId"], &last["remoteId"], &last["version"]), (&json!("p1"), &json!("p1"), &json!("1.1.0")));
    assert_eq!((&last["estimatedContextTokens"], &last["generationSuccessRate"]), (&json!(2.75), &json!(1.0)));
    assert_eq!((&last["webhookSynced"], &last["rollbackDirective"]), (&json!(false), &json!(false)));
    let raw = stage.world().audit_records();
    assert!(raw.iter().all(|r| r.signature_valid == Some(true)));
    assert!(raw.iter().all(|r| !String::from_utf8_lossy(&r.body).contains("-text")));
    let ids: BTreeSet<String> = raw.iter().filter_map(|r| r.audit_id.clone()).collect();
    assert_eq!(ids.len(), 4);
    stage.wait_until("an empty queue", || pending(&stage) == 0);
    assert_eq!(condition(&org(&stage), "AuditDelivered")["status"], "True");
    stage.wait_until("the lines that report the delivery", || stage.log_text().matches("\"webhookSynced\":true").count() == 4);
    assert!(!stage.log_text().contains("k3y-of-the-registry"));
}

#[test]
fn records_outlive_a_webhook_that_is_down_and_kills_and_hold_nothing_up() {
    let stage = audited("audit-down");
    let down = stage.world().faults().push(Fault::new(FaultKind::status(503)).on(&["A1"]).times(Times::Always));
    for index in 0..10 {
        let name = format!("c{index}");
        stage.world().put_config(&name, json!({"name": "old"}));
        stage.apply_config(&name, json!({"config": {"name": "new"}}));
    }
    (0..10).for_each(|index| drop(stage.wait_ready(&format!("c{index}"), "True", "Succeeded")));
    stage.wait_until("the records are kept", || pending(&stage) == 10);
    stage.kill_operator();
    stage.start_operator();
    stage.apply_config("c0", json!({"config": {"name": "newer"}}));
    stage.wait_until("another write", || stage.world().config("c0").unwrap()["name"] == "newer");
    stage.wait_until("its record is kept", || pending(&stage) == 11);
    assert!(arrived(&stage).is_empty());
    assert!(stage.world().faults().remove(down));
    stage.wait_until("all records", || arrived(&stage).len() >= 11);
    stage.wait_until("an empty queue", || pending(&stage) == 0);
    let ids: Vec<String> = stage.world().audit_records().into_iter().filter_map(|r| r.audit_id).collect();
    assert_eq!((ids.len(), ids.iter().collect::<BTreeSet<_>>().len()), (11, 11), "none twice to a sink that answered");
    assert_eq!(attempts(&stage), 11);
}

#[test]
fn a_webhook_that_cannot_be_used_is_told_and_its_records_wait() {
    let stage = audited("audit-key");
    stage.kubectl(&["delete", "secret", "audit-key"]);
    stage.kubectl(&["annotate", "--overwrite", "gorg", "org", "assist-operator.dev/reconcile-requested-at=one"]);
    stage.wait_until("the condition", || condition(&org(&stage), "AuditDelivered")["reason"] == "DependencyNotFound");
    assert_eq!(condition(&org(&stage), "Ready")["status"], "True");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!((pending(&stage), arrived(&stage).len()), (1, 0));
    stage.apply_ok(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "audit-key"}, "stringData": {"key": "k3y-of-the-registry"}}));
    stage.kubectl(&["annotate", "--overwrite", "gorg", "org", "assist-operator.dev/reconcile-requested-at=two"]);
    stage.wait_until("the record", || arrived(&stage).len() == 1 && pending(&stage) == 0);
    stage.wait_until("the condition", || condition(&org(&stage), "AuditDelivered")["status"] == "True");
}

#[test]
fn a_webhook_inside_of_the_network_is_not_called() {
    let stage = Stage::without_org("audit-ssrf");
    stage.kill_operator();
    // Started for the sandbox as Genesys, and for no webhook elsewhere.
    stage.start_operator_with(&["--allow-endpoint", stage.url()]);
    stage.apply_org(json!({"audit": {"webhook": {"url": "http://169.254.169.254/latest/meta-data"}}}));
    stage.wait_until("http is refused", || condition(&org(&stage), "Ready")["reason"] == "InvalidSpec");
    let spec = |url: &str| stage.apply_org(json!({"audit": {"webhook": {"url": url}}}));
    spec("https://169.254.169.254/latest/meta-data");
    stage.wait_until("a private address is refused", || condition(&org(&stage), "AuditDelivered")["status"] == "False");
    let text = condition(&org(&stage), "AuditDelivered")["message"].as_str().unwrap().to_owned();
    assert!(text.contains("private"), "{text}");
}

#[test]
fn a_full_store_stops_writes_until_records_are_delivered_or_the_webhook_is_removed() {
    let stage = audited("audit-full");
    stage.kill_operator();
    let down = stage.world().faults().push(Fault::new(FaultKind::status(503)).on(&["A1"]).times(Times::Always));
    let org = format!("{}/org", stage.namespace);
    let record = |n: usize| {
        let id = format!("00000000-0000-4000-8000-{n:012}");
        let body = json!({"auditId": id, "org": org, "timestamp": "2026-01-01T00:00:00Z", "webhookSynced": false});
        json!({
            "apiVersion": "assist-operator.dev/v1alpha1", "kind": "AuditRecord", "metadata": {"name": id},
            "spec": {"org": "org", "record": body.to_string()},
        })
    };
    let items: Vec<Value> = (0..1000).map(record).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let out = stage.plane.kubectl_with_input(&["-n", &stage.namespace, "create", "-f", "-"], &list);
    assert!(out.success(), "{}", out.stderr);
    // One that the operator did not make is neither signed nor posted, and does no harm.
    let mut forged = record(5000);
    forged["spec"]["record"] = json!("[]");
    stage.apply_ok(&forged);
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.start_operator();
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let object = stage.wait_ready("c1", "False", "AuditBacklog");
    assert_eq!(condition(&object, "Reconciling")["status"], "True");
    assert_eq!((condition(&self::org(&stage), "AuditDelivered")["reason"].as_str(), attempts(&stage)), (Some("AuditBacklog"), 0));
    // Without a webhook there is nothing to wait for.
    stage.apply_org(json!({}));
    stage.wait_ready("c1", "True", "Succeeded");
    // With it the store is full again, until it is accepted.
    stage.apply_org(json!({"audit": {"webhook": {"url": format!("{}/audit/records", stage.url())}}}));
    stage.apply_config("c1", json!({"config": {"name": "newer"}}));
    stage.wait_ready("c1", "False", "AuditBacklog");
    assert!(stage.world().faults().remove(down));
    stage.wait_ready("c1", "True", "Succeeded");
    stage.wait_until("all but the forged one", || pending(&stage) == 1);
    assert_eq!(arrived(&stage).len(), 1001);
}

#[test]
fn a_record_that_cannot_be_stored_stops_writes_and_loses_nothing() {
    let stage = audited("audit-quota");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_config("c2", json!({"name": "old"}));
    stage.apply_config("c2", json!({"config": {"name": "old"}}));
    stage.wait_ready("c2", "True", "Succeeded");
    let policy = refuse_records(&stage);
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_until("the write", || stage.world().config("c1").unwrap()["name"] == "new");
    stage.wait_until("the condition", || condition(&org(&stage), "AuditDelivered")["reason"] == "AuditBacklog");
    assert!(stage.get("c1")["status"]["intent"].is_object(), "the intent stays until its record is safe");
    stage.apply_config("c2", json!({"config": {"name": "new"}}));
    stage.wait_until("the next write waits", || condition(&stage.get("c2"), "Ready")["status"] == "False");
    assert_eq!(attempts(&stage), 1);
    stage.kubectl(&["delete", "validatingadmissionpolicybinding", &policy]);
    stage.wait_until("both are written", || stage.world().config("c2").unwrap()["name"] == "new");
    stage.wait_until("both records", || arrived(&stage).len() == 2 && pending(&stage) == 0);
    stage.wait_until("no intent is left", || stage.get("c1")["status"].get("intent").is_none());
    assert_eq!(stage.get("c1")["status"]["history"].as_array().map(Vec::len), Some(1), "one write is one entry");
}

/// From now on the API server refuses new records of the namespace; the name of what has to be deleted for the end of it.
fn refuse_records(stage: &Stage) -> String {
    let name = format!("no-records-{}", stage.namespace);
    let api = "admissionregistration.k8s.io/v1";
    stage.apply_ok(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicy", "metadata": {"name": name},
        "spec": {
            "matchConstraints": {"resourceRules": [
                {"apiGroups": ["assist-operator.dev"], "apiVersions": ["v1alpha1"], "operations": ["CREATE"], "resources": ["auditrecords"]},
            ]},
            "validations": [{"expression": "false", "message": "no room for records"}],
        },
    }));
    stage.apply_ok(&json!({
        "apiVersion": api, "kind": "ValidatingAdmissionPolicyBinding", "metadata": {"name": name},
        "spec": {
            "policyName": name, "validationActions": ["Deny"],
            "matchResources": {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": stage.namespace}}},
        },
    }));
    let probe = json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "AuditRecord", "metadata": {"name": "probe"},
        "spec": {"org": "org", "record": "{}"},
    });
    let refused = || {
        let args = ["-n", stage.namespace.as_str(), "create", "--dry-run=server", "-f", "-"];
        !stage.plane.kubectl_with_input(&args, &probe.to_string()).success()
    };
    stage.wait_until("the policy is in force", refused);
    name
}
