//! One object in each state that the operator shows, as the real operator wrote it: what Argo CD, Flux and Helm make of each.
//!
//! `UPDATE_GOLDEN=1 ./test --gitops recorded` writes them anew into `deploy/argocd`, where the tests of the scripts find them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::stage::{Stage, condition};
use crate::tools;

/// A state: what it is called, and what the tools must say.
pub struct State {
    /// Name of the file.
    pub name: &'static str,
    /// Health in Argo CD.
    pub health: &'static str,
    /// Verdict of kstatus, which Flux and Helm 4 follow.
    pub kstatus: &'static str,
}

const fn state(name: &'static str, health: &'static str, kstatus: &'static str) -> State {
    State { name, health, kstatus }
}

/// Every state.
pub const STATES: [State; 21] = [
    state("agentassistconfig_unseen", "Progressing", "InProgress"),
    state("agentassistconfig_succeeded", "Healthy", "Current"),
    state("agentassistconfig_stale", "Progressing", "InProgress"),
    state("agentassistconfig_drift_reported", "Healthy", "Current"),
    state("agentassistconfig_observed", "Healthy", "Current"),
    state("agentassistconfig_awaiting_approval", "Suspended", "InProgress"),
    state("agentassistconfig_suspended", "Suspended", "Current"),
    state("agentassistconfig_suspended_unapplied", "Suspended", "InProgress"),
    state("agentassistconfig_suspended_by_org", "Suspended", "Current"),
    state("agentassistconfig_org_unavailable", "Progressing", "InProgress"),
    state("agentassistconfig_dependency_not_found", "Progressing", "InProgress"),
    state("agentassistconfig_not_found", "Degraded", "Failed"),
    state("prompttemplate_succeeded", "Healthy", "Current"),
    state("prompttemplate_remote_rejected", "Degraded", "Failed"),
    state("skillprofile_succeeded", "Healthy", "Current"),
    state("skillpolicy_proposed", "Healthy", "Current"),
    state("skillpolicy_awaiting_approval", "Suspended", "InProgress"),
    state("genesysorg_succeeded", "Healthy", "Current"),
    state("genesysorg_suspended", "Suspended", "Current"),
    state("genesysorg_invalid_spec", "Degraded", "Failed"),
    state("genesysorg_audit_undelivered", "Healthy", "Current"),
];

/// Where the scripts of the group are, laid out as in Argo CD's own repository.
pub fn customizations() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/argocd/resource_customizations/assist-operator.dev")
}

/// The file of a recorded object.
pub fn file(name: &str) -> PathBuf {
    customizations().join("_/testdata").join(format!("{name}.yaml"))
}

/// A recorded object.
pub fn read(name: &str) -> Value {
    let path = file(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Whether the files are to be written, not compared.
pub fn updates() -> bool {
    std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1")
}

/// Compares a text with a file, or writes it.
pub fn compare_or_write(path: &Path, text: &str) {
    if updates() {
        std::fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("create the folder");
        std::fs::write(path, text).expect("write the file");
        return;
    }
    let known = std::fs::read_to_string(path).unwrap_or_default();
    assert_eq!(known, text, "{} is out of date: UPDATE_GOLDEN=1 ./test --gitops", path.display());
}

/// What differs from one run to the next is replaced, and what is only about storage is left out.
fn scrubbed(stage: &Stage, object: &Value) -> Value {
    let mut object = object.clone();
    let metadata = object["metadata"].as_object_mut().expect("metadata");
    metadata.remove("managedFields");
    metadata.insert("namespace".to_owned(), json!("genesys"));
    metadata.insert("uid".to_owned(), json!("00000000-0000-0000-0000-000000000000"));
    metadata.insert("resourceVersion".to_owned(), json!("1"));
    if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
        annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
    }
    if metadata.get("annotations").is_some_and(|left| left == &json!({})) {
        metadata.remove("annotations");
    }
    let host = stage.url().trim_start_matches("http://").to_owned();
    // It is for one organisation, and that has another port in each run.
    let digest = object["status"]["pendingPlan"]["digest"].as_str().unwrap_or("no plan waits").to_owned();
    scrub(&mut object, &|text| {
        if text.parse::<jiff::Timestamp>().is_ok() {
            return "2026-01-01T00:00:00Z".to_owned();
        }
        if text.parse::<jiff::civil::Date>().is_ok() {
            return "2026-01-01".to_owned();
        }
        text.replace(&host, "127.0.0.1:8181").replace(&stage.namespace, "genesys").replace(&digest, "0123456789abcdef")
    });
    object
}

fn scrub(value: &mut Value, replace: &dyn Fn(&str) -> String) {
    match value {
        Value::String(text) => *text = replace(text),
        Value::Array(items) => items.iter_mut().for_each(|item| scrub(item, replace)),
        Value::Object(members) => members.values_mut().for_each(|member| scrub(member, replace)),
        _ => {}
    }
}

/// The verdicts of the real kstatus, in the order of the objects.
fn kstatus(objects: &[Value]) -> Vec<Value> {
    use std::io::Write;
    let mut child =
        Command::new(tools::path("kstatus")).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("start kstatus");
    child.stdin.take().expect("stdin").write_all(json!(objects).to_string().as_bytes()).expect("kstatus reads");
    let output = child.wait_with_output().expect("kstatus ends");
    assert!(output.status.success(), "kstatus failed: its reason is above");
    serde_json::from_slice(&output.stdout).expect("verdicts")
}

type Objects = BTreeMap<&'static str, Value>;

fn level(id: &str, proficiency: f64) -> Value {
    json!({"skillId": id, "proficiency": proficiency})
}

/// Configs that are read and written: done, reported, observed, waiting for a person, held.
fn record_configs(stage: &Stage, into: &mut Objects) {
    let declared = json!({"parameters": {"confidenceThreshold": 0.8}});
    let live = json!({"name": "Retail", "parameters": {"confidenceThreshold": 0.72}});
    for name in ["succeeded", "drift-reported", "observed", "awaiting-approval", "suspended", "suspended-unapplied"] {
        stage.world().put_config(name, live.clone());
    }
    stage.apply_config("succeeded", json!({"config": declared}));
    stage.apply_config("drift-reported", json!({"config": declared, "policy": "ReportDrift"}));
    stage.apply_config("observed", json!({"config": declared, "policy": "Observe"}));
    stage.apply_config("awaiting-approval", json!({"config": declared, "approval": {"required": true}}));
    stage.apply_config("suspended", json!({"config": declared}));
    stage.apply_config("suspended-unapplied", json!({"config": declared, "suspend": true}));
    stage.apply_config("not-found", json!({"config": declared}));
    stage.apply_config("dependency-not-found", json!({"config": declared, "orgRef": {"name": "missing"}}));
    into.insert("agentassistconfig_succeeded", stage.wait_ready("succeeded", "True", "Succeeded"));
    into.insert("agentassistconfig_observed", stage.wait_ready("observed", "True", "Observed"));
    into.insert("agentassistconfig_awaiting_approval", stage.wait_ready("awaiting-approval", "False", "AwaitingApproval"));
    into.insert("agentassistconfig_not_found", stage.wait_ready("not-found", "False", "NotFound"));
    into.insert(
        "agentassistconfig_dependency_not_found",
        stage.wait_ready("dependency-not-found", "False", "DependencyNotFound"),
    );
    into.insert("agentassistconfig_suspended_unapplied", stage.wait_ready("suspended-unapplied", "Unknown", "Suspended"));
    stage.wait_ready("suspended", "True", "Succeeded");
    stage.apply_config("suspended", json!({"config": declared, "suspend": true}));
    into.insert("agentassistconfig_suspended", stage.wait_ready("suspended", "True", "Suspended"));
    stage.wait_ready("drift-reported", "True", "Succeeded");
    assert!(stage.world().edit_config("drift-reported", |live| live["parameters"]["confidenceThreshold"] = json!(0.5)));
    stage.request_check("drift-reported", "one");
    into.insert("agentassistconfig_drift_reported", stage.wait_ready("drift-reported", "True", "DriftReported"));
}

fn record_other_kinds(stage: &Stage, into: &mut Objects) {
    stage.world().put_prompt("loyalty-save", &[]);
    stage.world().put_prompt("rejected", &[]);
    let text = json!({"content": "Help {{name}}.", "variables": {"name": {"type": "String", "maxLength": 80}}});
    stage.apply_prompt("loyalty-save", text.clone());
    into.insert("prompttemplate_succeeded", stage.wait_ready("pt/loyalty-save", "True", "Succeeded"));
    stage.fault(Fault::new(FaultKind::status(400)).on(&["P2"]).times(Times::Count(1)));
    stage.apply_prompt("rejected", text);
    into.insert("prompttemplate_remote_rejected", stage.wait_ready("pt/rejected", "False", "RemoteRejected"));
    for agent in ["u1", "u2", "u3"] {
        stage.world().put_user(agent, json!({"version": 1, "name": agent, "skills": [level("billing", 0.5)]}));
        stage.world().set_metrics(agent, Some(json!(350)), Some(json!(4.5)));
    }
    stage.apply_ok(&stage.object("SkillProfile", "u1", json!({"userId": "u1", "skills": [level("returns", 0.7)]})));
    into.insert("skillprofile_succeeded", stage.wait_ready("skp/u1", "True", "Succeeded"));
    stage.apply_ok(&stage.object("SkillPolicy", "proposed", json!({"skillId": "billing", "userIds": ["u2"]})));
    into.insert("skillpolicy_proposed", stage.wait_ready("skpol/proposed", "True", "Observed"));
    let approved = json!({"skillId": "billing", "userIds": ["u3"], "mode": "Enforce", "approval": {"required": true}});
    stage.apply_ok(&stage.object("SkillPolicy", "awaiting-approval", approved));
    into.insert("skillpolicy_awaiting_approval", stage.wait_ready("skpol/awaiting-approval", "False", "AwaitingApproval"));
}

fn wait_org(stage: &Stage, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let mut object = Value::Null;
    stage.wait_until(&format!("{name} {what}"), || {
        object = stage.get(&format!("gorg/{name}"));
        object["status"]["observedGeneration"] == object["metadata"]["generation"] && holds(&object)
    });
    object
}

fn reason(object: &Value, expected: &str) -> bool {
    condition(object, "Ready")["reason"] == expected
}

fn apply_org(stage: &Stage, name: &str, spec: &Value) {
    let mut full = json!({"credentials": {"secretRef": {"name": "genesys"}}});
    full.as_object_mut().expect("an object").extend(spec.as_object().expect("an object").clone());
    stage.apply_ok(
        &json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": name}, "spec": full}),
    );
}

fn record_orgs(stage: &Stage, into: &mut Objects) {
    let endpoints = json!({"login": stage.url(), "api": stage.url()});
    apply_org(stage, "unknown-host", &json!({"endpoints": {"login": "https://login.example", "api": "https://api.example"}}));
    let webhook = json!({"url": "https://audit.example/records", "signingKeyRef": {"name": "missing", "key": "key"}});
    apply_org(stage, "audited", &json!({"endpoints": endpoints, "audit": {"webhook": webhook}}));
    into.insert("genesysorg_succeeded", wait_org(stage, "org", "is ready", |org| reason(org, "Succeeded")));
    into.insert("genesysorg_invalid_spec", wait_org(stage, "unknown-host", "is refused", |org| reason(org, "InvalidSpec")));
    into.insert(
        "genesysorg_audit_undelivered",
        wait_org(stage, "audited", "says that its key is missing", |org| {
            condition(org, "AuditDelivered")["reason"] == "DependencyNotFound" && reason(org, "Succeeded")
        }),
    );
}

/// What needs the org, the remote or the operator away: last, for nothing works after it.
fn record_outages(stage: &Stage, into: &mut Objects) {
    let declared = json!({"parameters": {"confidenceThreshold": 0.8}});
    for name in ["org-unavailable", "suspended-by-org", "stale"] {
        stage.world().put_config(name, json!({"parameters": {"confidenceThreshold": 0.72}}));
    }
    stage.apply_config("suspended-by-org", json!({"config": declared}));
    stage.apply_config("stale", json!({"config": declared}));
    stage.wait_ready("suspended-by-org", "True", "Succeeded");
    stage.wait_ready("stale", "True", "Succeeded");
    stage.fault(Fault::new(FaultKind::status(503)).on(&["C1"]).target("org-unavailable").times(Times::Always));
    stage.apply_config("org-unavailable", json!({"config": declared}));
    into.insert("agentassistconfig_org_unavailable", stage.wait_ready("org-unavailable", "Unknown", "OrgUnavailable"));
    stage.apply_org(json!({"suspend": true}));
    into.insert("genesysorg_suspended", wait_org(stage, "org", "is suspended", |org| org["spec"]["suspend"] == true));
    into.insert("agentassistconfig_suspended_by_org", stage.wait_ready("suspended-by-org", "True", "Suspended"));
    stage.kill_operator();
    stage.apply_config("stale", json!({"config": {"parameters": {"confidenceThreshold": 0.9}}}));
    into.insert("agentassistconfig_stale", stage.get("stale"));
    stage.apply_config("unseen", json!({"config": declared}));
    into.insert("agentassistconfig_unseen", stage.get("unseen"));
}

fn record() -> BTreeMap<&'static str, Value> {
    let stage = Stage::without_org("recorded");
    stage.kill_operator();
    stage.start_operator_with(&["--allow-endpoint", stage.url()]);
    stage.apply_org(json!({}));
    let mut objects = Objects::new();
    record_configs(&stage, &mut objects);
    record_other_kinds(&stage, &mut objects);
    record_orgs(&stage, &mut objects);
    record_outages(&stage, &mut objects);
    stage.assert_invariants();
    objects.iter().map(|(name, object)| (*name, scrubbed(&stage, object))).collect()
}

/// A document as kubectl prints it: keys in order, so that two recordings of the same state are the same text.
pub fn yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).expect("a JSON value is YAML")
}

#[test]
#[ignore = "needs Argo CD, Flux and Helm: ./test --gitops"]
fn recorded_states_are_those_of_the_operator_and_kstatus_judges_each() {
    let objects = record();
    let names: Vec<&str> = STATES.iter().map(|state| state.name).collect();
    let mut recorded: Vec<&str> = objects.keys().copied().collect();
    recorded.sort_by_key(|name| names.iter().position(|known| known == name));
    assert_eq!(recorded, names);
    for (name, object) in &objects {
        compare_or_write(&file(name), &yaml(object));
    }
    let expected: Vec<(&str, &str)> = STATES.iter().map(|state| (state.name, state.kstatus)).collect();
    let ordered: Vec<Value> = names.iter().map(|name| objects[name].clone()).collect();
    let verdicts = kstatus(&ordered);
    let given: Vec<(&str, &str)> =
        names.iter().zip(&verdicts).map(|(name, verdict)| (*name, verdict["status"].as_str().unwrap_or_default())).collect();
    assert_eq!(given, expected);
    for (object, verdict) in ordered.iter().zip(&verdicts) {
        if verdict["status"] == "Failed" {
            assert_eq!(verdict["message"], condition(object, "Stalled")["message"], "the reason is told");
        }
    }
    // An object on its way out is neither done nor failed.
    let mut leaving = objects["agentassistconfig_succeeded"].clone();
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(kstatus(&[leaving])[0]["status"], "Terminating");
}
