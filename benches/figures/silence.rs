//! What must cause no write, neither remote nor to the API server: the same YAML again, restarts, an upgrade. The objects are in every
//! state in which an object can rest.

use std::time::Duration;

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::{Value, json};

use crate::Options;
use crate::documents::{declared, full, id, list, object};
use crate::stage::Stage;
use crate::table::Row;
use crate::watch::is_write;

/// Objects that are simply equal to the remote.
const PLAIN: usize = 20;
/// The shortest interval that there is: every object has a drift check in the time that is watched.
const INTERVAL: &str = "30s";
/// How long is watched.
const WATCHED: Duration = Duration::from_secs(36);

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let mut stage = Stage::new("silence", options, 3_000);
    let objects = arrange(&stage, options.quick);
    let mut rows = quiet(&mut stage, "the same YAML applied again", |stage| {
        stage.apply(&objects);
    });
    rows.extend(quiet(&mut stage, "the same YAML, server-side apply", |stage| {
        let args = ["-n", &stage.namespace, "apply", "--server-side", "--force-conflicts", "-f", "-"];
        assert!(stage.plane.kubectl_with_input(&args, &objects.to_string()).success(), "kubectl apply --server-side");
    }));
    rows.extend(quiet(&mut stage, "restart by SIGTERM", |stage| {
        stage.terminate();
        stage.start();
    }));
    rows.extend(quiet(&mut stage, "restart by kill -9", |stage| {
        stage.kill();
        stage.start();
    }));
    rows.extend(quiet(&mut stage, "upgrade", |stage| {
        stage.terminate();
        stage.apply_crds();
        stage.start();
    }));
    let took = stage.terminate();
    rows.push(Row::info("SIGTERM → process gone", format!("{:.2} s", took.as_secs_f64())));
    rows
}

/// Acts, waits, and counts what was written.
fn quiet(stage: &mut Stage, situation: &str, act: impl FnOnce(&mut Stage)) -> Vec<Row> {
    let mut watch = stage.watch();
    let before = stage.kubernetes_writes().len();
    act(stage);
    std::thread::sleep(WATCHED);
    let remote = watch.calls().into_iter().filter(|entry| is_write(entry)).count();
    let reads = watch.calls().len() - remote;
    let written: Vec<String> = stage.kubernetes_writes().into_iter().skip(before).collect();
    vec![
        Row::exactly(format!("{situation}: remote writes"), 0, remote, &format!("reads: {reads}")),
        Row::exactly(format!("{situation}: Kubernetes writes"), 0, written.len(), &written.join(", ")),
    ]
}

/// Brings objects into every state of rest; answers what was applied.
fn arrange(stage: &Stage, quick: bool) -> Value {
    let special = [
        ("Succeeded", json!({"config": declared(PLAIN, 1), "restoreVersion": 1})),
        ("DriftReported", json!({"config": declared(PLAIN + 1, 1), "policy": "ReportDrift"})),
        ("Observed", json!({"config": declared(PLAIN + 2, 1), "policy": "Observe"})),
        ("Suspended", json!({"config": declared(PLAIN + 3, 1), "suspend": true})),
        ("RemoteRejected", json!({"config": declared(PLAIN + 4, 1)})),
        ("Succeeded", json!({"config": declared(PLAIN + 5, 1), "policy": "ReportDrift"})),
        ("NotFound", json!({"config": declared(PLAIN + 6, 1)})),
    ];
    stage.plant(PLAIN + special.len() - 1);
    stage.world().faults().push(Fault::new(FaultKind::status(400)).on(&["C3"]).target(&id(PLAIN + 4)).times(Times::Always));
    let mut objects: Vec<Value> = (0..PLAIN).map(|n| full(n, 1)).collect();
    objects.extend(special.iter().enumerate().map(|(n, (_, spec))| object(PLAIN + n, spec)));
    if !quick {
        // Claims what another object owns: Stalled after a minute.
        let mut younger = full(0, 1);
        younger["metadata"]["name"] = json!("younger");
        objects.push(younger);
    }
    for object in &mut objects {
        object["spec"]["interval"] = json!(INTERVAL);
    }
    let mut first = objects.clone();
    // What is to be restored must have been left before.
    if let Some(spec) = first[PLAIN]["spec"].as_object_mut() {
        spec.remove("restoreVersion");
    }
    stage.apply(&list(first));
    (0..=PLAIN).for_each(|n| stage.wait_ready(&id(n)));
    stage.wait_ready(&id(PLAIN + 1));
    stage.world().edit_config(&id(PLAIN + 1), |document| document["name"] = json!("theirs"));
    stage.kubectl(&["annotate", "aac", &id(PLAIN + 1), "assist-operator.dev/reconcile-requested-at=once"]);
    let objects = list(objects);
    stage.apply(&objects);
    for (n, (reason, _)) in special.iter().enumerate() {
        stage.wait(reason, 60, |stage| stage.ready("aac", &id(PLAIN + n)).is_some_and(|(_, is)| is == *reason));
    }
    let stalled = ["get", "aac", "younger", "-o", "jsonpath={.status.conditions[?(@.type==\"Stalled\")].status}"];
    if !quick {
        stage.wait("the younger claim is Stalled", 120, |stage| stage.kubectl(&stalled) == "True");
    }
    // Every state has been looked at again.
    std::thread::sleep(WATCHED);
    objects
}
