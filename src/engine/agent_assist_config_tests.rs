use super::*;
use crate::api::ManagedStatus;
use crate::api::status::RemoteState;
use crate::engine::kind::{Observed, Seen, Texts};

fn object(spec: Value) -> AgentAssistConfig {
    serde_json::from_value(json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "AgentAssistConfig",
        "metadata": {"name": "x", "namespace": "d"}, "spec": spec,
    }))
    .unwrap()
}

fn desired(spec: Value) -> Desired {
    object(spec).validate(&Texts::new()).unwrap()
}

fn state(document: Value) -> State {
    let version = document["version"].as_i64().map(|v| i32::try_from(v).unwrap());
    let guard = version
        .map(|version| Guard::EtagAndVersion { etag: format!("\"{version}\""), version })
        .ok_or_else(|| "no version".to_owned());
    State { version: version.map(|v| v.to_string()), etag: None, lossy: false, guard, document }
}

fn observed(live: Value) -> Observed {
    Observed::from([(Target::new(CONFIG, "c1"), Seen::Present(state(live)))])
}

fn plan_of(desired: &Desired, observed: &Observed, applied: Vec<AppliedField>, policy: Policy) -> Result<Plan, Blocked> {
    let status = ManagedStatus {
        remote: Some(RemoteState { host: "h".into(), id: "c1".into(), ..Default::default() }),
        applied,
        ..Default::default()
    };
    let memory = Memory::of(Some(&status), "h", "c1");
    AgentAssistConfig::plan(desired, &PlanInput::new(observed, &memory, policy, jiff::Timestamp::UNIX_EPOCH))
}

fn spec(config: Value) -> Value {
    json!({"orgRef": {"name": "o"}, "configId": "c1", "config": config})
}

#[test]
fn all_findings_come_at_once_with_their_remedies() {
    let findings = object(json!({
        "orgRef": {"name": "o"}, "configId": "../../users/u1", "interval": "5s", "ignore": ["rules"], "restoreVersion": 0,
        "config": {"versionRevert": true, "trafficShift": {"a": 1}, "id": "x", "version": 3},
    }))
    .validate(&Texts::new())
    .unwrap_err();
    let paths: Vec<&str> = findings.iter().map(|f| f.path.as_str()).collect();
    for path in [
        "/spec/configId",
        "/spec/interval",
        "/spec/ignore/0",
        "/spec/restoreVersion",
        "/spec/config/versionRevert",
        "/spec/config/trafficShift",
        "/spec/config/id",
        "/spec/config/version",
    ] {
        assert!(paths.contains(&path), "{path} in {paths:?}");
    }
    assert!(findings.iter().all(|f| !f.remedy.is_empty()));
}

#[test]
fn the_put_carries_the_guard_and_everything_that_is_not_declared() {
    let live =
        json!({"id": "c1", "etag": "\"7\"", "selfUri": "/x", "version": 7, "name": "old", "parameters": {"a": 1, "b": 2.5}});
    let plan = plan_of(&desired(spec(json!({"name": "new", "parameters": {"a": 2}}))), &observed(live), vec![], Policy::Enforce)
        .unwrap();
    let step = &plan.steps[0];
    assert_eq!(step.guard, Guard::EtagAndVersion { etag: "\"7\"".into(), version: 7 });
    assert_eq!(step.body, json!({"version": 8, "name": "new", "parameters": {"a": 2, "b": 2.5}}));
    assert_eq!(step.why, Why::SpecChange);
    insta_like(&plan, "config/c1 (SpecChange, version 7 -> 8)\n  ~ /name: \"old\" -> \"new\"\n  ~ /parameters/a: 1 -> 2\n");
}

fn insta_like(plan: &Plan, want: &str) {
    assert_eq!(plan.to_string(), want);
}

#[test]
fn nothing_differs_nothing_is_written() {
    let plan = plan_of(
        &desired(spec(json!({"a": {"b": 1.0}}))),
        &observed(json!({"version": 1, "a": {"b": 1, "c": 2}})),
        vec![],
        Policy::Enforce,
    )
    .unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.to_string(), "No changes.\n");
    assert_eq!(plan.applied.len(), 1);
}

#[test]
fn report_drift_writes_only_what_the_spec_changed() {
    let first =
        plan_of(&desired(spec(json!({"a": 1, "b": 1}))), &observed(json!({"version": 1})), vec![], Policy::ReportDrift).unwrap();
    assert_eq!(first.changes().count(), 2);
    let foreign = observed(json!({"version": 3, "a": 9, "b": 1}));
    let drifted = plan_of(&desired(spec(json!({"a": 1, "b": 1}))), &foreign, first.applied.clone(), Policy::ReportDrift).unwrap();
    assert!(drifted.is_empty());
    assert_eq!(drifted.drift.iter().map(|c| c.path.as_str()).collect::<Vec<_>>(), vec!["/a"]);
    assert_eq!(drifted.applied, first.applied);
    let changed = plan_of(&desired(spec(json!({"a": 1, "b": 2}))), &foreign, first.applied, Policy::ReportDrift).unwrap();
    assert_eq!(changed.changes().map(|c| c.path.as_str()).collect::<Vec<_>>(), vec!["/b"]);
    assert_eq!(changed.drift.len(), 1);
}

#[test]
fn observe_never_writes_and_keeps_the_memory() {
    let plan =
        plan_of(&desired(spec(json!({"a": 1}))), &observed(json!({"version": 1, "a": 2})), vec![], Policy::Observe).unwrap();
    assert!(plan.is_empty() && plan.applied.is_empty());
    assert_eq!(plan.drift.len(), 1);
}

#[test]
fn a_field_no_longer_declared_goes_only_if_it_was_created_here() {
    let first = plan_of(
        &desired(spec(json!({"found": 1, "made": 1}))),
        &observed(json!({"version": 1, "found": 1})),
        vec![],
        Policy::Enforce,
    )
    .unwrap();
    let then = plan_of(
        &desired(spec(json!({}))),
        &observed(json!({"version": 2, "found": 1, "made": 1})),
        first.applied,
        Policy::Enforce,
    )
    .unwrap();
    assert_eq!(then.steps[0].body, json!({"version": 3, "found": 1}));
    assert_eq!(then.released, vec!["/found"]);
    assert!(then.applied.is_empty());
}

#[test]
fn a_snapshot_is_brought_back_whole_with_the_live_guard() {
    let desired = desired(json!({"orgRef": {"name": "o"}, "configId": "c1", "restoreVersion": 3, "config": {"a": 9}}));
    let mut observed = observed(json!({"id": "c1", "version": 7, "a": 2, "extra": true, "dateModified": "now"}));
    let old = json!({"id": "c1", "version": 3, "etag": "\"3\"", "a": 1, "b": null, "dateModified": "then"});
    observed.insert(snapshot("c1", 3), Seen::Present(state(old)));
    let plan = plan_of(&desired, &observed, vec![], Policy::Enforce).unwrap();
    assert_eq!(plan.steps[0].body, json!({"version": 8, "a": 1, "b": null, "dateModified": "now"}));
    assert_eq!((plan.steps[0].action, plan.steps[0].why), (Action::ConfigRestore, Why::Restore));
    observed.insert(
        Target::new(CONFIG, "c1"),
        Seen::Present(state(json!({"version": 8, "a": 1, "b": null, "dateModified": "later"}))),
    );
    let after = plan_of(&desired, &observed, plan.applied, Policy::Enforce).unwrap();
    assert!(after.is_empty(), "{after}");
}

#[test]
fn a_config_or_snapshot_that_does_not_exist_is_named() {
    let absent = Observed::from([(Target::new(CONFIG, "c1"), Seen::Absent)]);
    let blocked = plan_of(&desired(spec(json!({}))), &absent, vec![], Policy::Enforce).unwrap_err();
    assert_eq!(blocked.reason, Reason::NotFound);
    let mut observed = observed(json!({"version": 1}));
    observed.insert(snapshot("c1", 3), Seen::Absent);
    let blocked = plan_of(
        &desired(json!({"orgRef": {"name": "o"}, "configId": "c1", "restoreVersion": 3})),
        &observed,
        vec![],
        Policy::Enforce,
    )
    .unwrap_err();
    assert!(blocked.message.contains("no version 3"), "{}", blocked.message);
}

#[test]
fn without_a_guard_or_a_successor_nothing_is_written() {
    let last =
        plan_of(&desired(spec(json!({"a": 1}))), &observed(json!({"version": i32::MAX})), vec![], Policy::Enforce).unwrap_err();
    assert!(last.message.contains("no successor"));
    let none = plan_of(&desired(spec(json!({"a": 1}))), &observed(json!({})), vec![], Policy::Enforce).unwrap_err();
    assert_eq!(none.reason, Reason::RemoteRejected);
}

#[test]
fn the_digest_is_about_the_changed_paths_only() {
    let digest =
        |live: Value| plan_of(&desired(spec(json!({"a": 1}))), &observed(live), vec![], Policy::Enforce).unwrap().digest();
    let base = digest(json!({"version": 1, "a": 0, "x": 1}));
    assert_eq!(base, digest(json!({"version": 9, "a": 0, "x": 2})));
    assert_ne!(base, digest(json!({"version": 1, "a": 5, "x": 1})));
}
