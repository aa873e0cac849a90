//! A webhook that is down while many writes happen: what arrives after it, and whether any write waited for it.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use assist_operator::sandbox::{Fault, FaultKind, Times};
use serde_json::json;

use crate::Options;
use crate::documents::{full, id};
use crate::stage::Stage;
use crate::table::{Row, spread};

/// Configs that take turns.
const OBJECTS: usize = 20;
/// Signs the records.
const KEY: &str = "bench-signing-key";
/// Asks whether the org says that the records arrive.
const DELIVERED: [&str; 5] = ["get", "gorg", "org", "-o", "jsonpath={.status.conditions[?(@.type==\"AuditDelivered\")].status}"];

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let (writes, outage) = if options.quick { (60, Duration::from_secs(60)) } else { (500, Duration::from_secs(600)) };
    let stage = Stage::new("audit", options, 600);
    stage.converge(OBJECTS);
    stage.world().set_audit_key(Some(KEY));
    stage.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "audit"}, "stringData": {"key": KEY}}));
    let hook = json!({"url": format!("{}/audit/records", stage.url()), "signingKeyRef": {"name": "audit", "key": "key"}});
    stage.kubectl(&["patch", "gorg", "org", "--type=merge", "-p", &json!({"spec": {"audit": {"webhook": hook}}}).to_string()]);
    stage.wait("the webhook is in use", 60, |stage| stage.kubectl(&DELIVERED) == "True");
    // A burst of edits in each phase, at the same pace.
    let pace = outage / writes;
    let up = edits(&stage, 1_000, writes / 5, pace);
    stage.wait("the records of the first phase", 60, |stage| stage.world().audit_records().len() == writes as usize / 5);
    stage.world().clear_audit_records();
    let down = stage.world().faults().push(Fault::new(FaultKind::status(503)).on(&["A1"]).times(Times::Always));
    let began = Instant::now();
    let during = edits(&stage, 100_000, writes, pace);
    let lasted = began.elapsed();
    let arrived_meanwhile = stage.world().audit_records().iter().filter(|record| record.refused.is_none()).count();
    stage.wait("the org says so", 60, |stage| stage.kubectl(&DELIVERED) == "False");
    let waiting = stage.kubectl(&["get", "auditrecords", "-o", "name"]).lines().count();
    assert!(stage.world().faults().remove(down), "the fault is there");
    let over = Instant::now();
    stage.wait("all records", 300, |stage| distinct(stage).len() >= writes as usize);
    let took = over.elapsed();
    stage.wait("an empty queue", 120, |stage| stage.kubectl(&["get", "auditrecords", "-o", "name"]).is_empty());
    stage.wait("the org says so", 120, |stage| stage.kubectl(&DELIVERED) == "True");
    let counts = distinct(&stage);
    let twice = counts.values().filter(|count| **count > 1).count();
    let unsigned = stage.world().audit_records().iter().filter(|record| record.signature_valid != Some(true)).count();
    let (before, before_worst) = spread(&up);
    let (meanwhile, meanwhile_worst) = spread(&during);
    vec![
        Row::info("webhook down", format!("{:.0} s, {writes} writes, {waiting} records kept", lasted.as_secs_f64())),
        Row::exactly("records that arrived meanwhile", 0, arrived_meanwhile, ""),
        Row::exactly("records delivered after it", writes as usize, counts.len(), &format!("in {:.1} s", took.as_secs_f64())),
        Row::exactly("of them twice", 0, twice, ""),
        Row::exactly("without a valid signature", 0, unsigned, ""),
        Row::new(
            "apply returned → PUT received, webhook up and down: medians",
            "unchanged (≤ 10 ms apart)",
            format!("{before:.1} ms, {meanwhile:.1} ms"),
            (before - meanwhile).abs() <= 10.0,
        ),
        Row::info("the same: worst", format!("{before_worst:.0} ms, {meanwhile_worst:.0} ms")),
        Row::exactly("audit: broken invariants in the journal", 0, stage.violations(), ""),
    ]
}

/// How often each record was accepted, by audit id.
fn distinct(stage: &Stage) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    for record in stage.world().audit_records().into_iter().filter(|record| record.refused.is_none()) {
        *counts.entry(record.audit_id.unwrap_or_default()).or_insert(0) += 1;
    }
    counts
}

/// So many edits at this pace: milliseconds from the return of `kubectl apply` to the PUT, each.
fn edits(stage: &Stage, first: u64, count: u32, pace: Duration) -> Vec<f64> {
    let began = Instant::now();
    (0..count)
        .map(|n| {
            std::thread::sleep((pace * n).saturating_sub(began.elapsed()));
            let (object, revision) = (n as usize % OBJECTS, first + u64::from(n));
            let mut watch = stage.watch();
            let returned = stage.apply(&full(object, revision));
            let mut put = None;
            stage.wait("the PUT", 60, |_| {
                put = watch.put(&id(object), revision);
                put.is_some()
            });
            watch.millis_after(returned, &put.expect("it was waited for")).max(0.0)
        })
        .collect()
}
