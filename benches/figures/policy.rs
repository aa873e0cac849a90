//! An evaluation of metrics in which every agent changes, with edits of a config in the midst of it; then one without a change.

use std::collections::BTreeMap;
use std::time::Duration;

use assist_operator::sandbox::{Entry, Expectations, check_with};
use serde_json::{Value, json};

use crate::Options;
use crate::documents::full;
use crate::stage::Stage;
use crate::table::{Row, spread};
use crate::watch::{Watch, is_api};

/// Calls a minute: of the org, and of the sandbox, so that one too many would be answered with 429.
const RATE: u32 = 600;
/// How long each call takes (`reliability.md` 2.6).
const LATENCY: Duration = Duration::from_millis(80);
/// Agents of one request for metrics.
const BATCH: usize = 100;
/// Of so many agents one changes by more than the threshold.
const ALERTED: usize = 5;
/// What an object may take in etcd, in bytes.
const MAX_SIZE: usize = 256 * 1024;
/// Ids are as long as those of Genesys.
const SKILL: &str = "5b1e4f6c-9d3a-4c51-8a53-1f2f6f0f1c11";
const BETWEEN: Duration = Duration::from_millis(300);

/// What was seen while the evaluation went on.
#[derive(Default)]
struct Seen {
    /// Edit → PUT, in milliseconds.
    edits: Vec<f64>,
    /// Greatest object while the writes were under way, in bytes.
    size: usize,
}

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let agents = options.many().min(500);
    let stage = Stage::new("policy", options, RATE);
    (0..agents).for_each(|n| plant(&stage, n));
    stage.converge(1);
    stage.world().set_rate_limit(Some(RATE));
    stage.world().set_latency(LATENCY);
    let (mut watch, written) = (stage.watch(), stage.kubernetes_writes().len());
    stage.apply(&policy(agents));
    let seen = midst(&stage, &mut watch);
    watch.settle(Duration::from_secs(3));
    let mut rows = first(&stage, &mut watch, agents, &seen);
    let patches = patches(&stage, written);
    rows.push(Row::exactly(format!("evaluation of {agents} agents: status patches"), 2, patches, ""));
    rows.extend(sizes(&stage, &seen, agents));
    rows.extend(again(&stage, agents));
    let kept = Expectations { calls_per_minute: Some(RATE as usize), ..Expectations::default() };
    let found = check_with(&stage.world().journal(), &kept);
    found.iter().take(5).for_each(|violation| anstream::eprintln!("  {violation:?}"));
    rows.push(Row::exactly("evaluations: broken invariants in the journal", 0, found.len(), ""));
    rows
}

fn id(n: usize) -> String {
    format!("{n:08x}-9d3a-4c51-8a53-{n:012x}")
}

/// An agent whose averages have as many digits as averages have.
fn plant(stage: &Stage, n: usize) {
    let level = if n.is_multiple_of(ALERTED) { 0.1 } else { 0.72 };
    let skills = json!([{"skillId": SKILL, "proficiency": level}, {"skillId": "spanish", "proficiency": 1.0}]);
    stage.world().put_user(&id(n), json!({"version": 1, "name": format!("Agent {n}"), "skills": skills}));
    let part = n as f64 / 7_000.0;
    stage.world().set_metrics(&id(n), Some(json!(310.0 + 100.0 * part)), Some(json!(4.6 - part)));
}

fn policy(agents: usize) -> Value {
    let users: Vec<String> = (0..agents).map(id).collect();
    json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "SkillPolicy", "metadata": {"name": "policy"},
        "spec": {"orgRef": {"name": "org"}, "skillId": SKILL, "userIds": users, "mode": "Enforce"},
    })
}

/// Edits a config again and again until the evaluation is over.
fn midst(stage: &Stage, watch: &mut Watch) -> Seen {
    let mut seen = Seen::default();
    stage.wait("the evaluation begins", 60, |_| !watch.calls().is_empty());
    for revision in 100.. {
        let object = object(stage);
        if object.pointer("/status/conditions").is_some() && object.pointer("/status/intent").is_none() && is_ready(stage) {
            return seen;
        }
        if object.pointer("/status/intent").is_some() {
            seen.size = seen.size.max(object.to_string().len());
        }
        let returned = stage.apply(&full(0, revision));
        let mut put = None;
        stage.wait("the PUT of an edit", 300, |_| {
            put = watch.put(&crate::documents::id(0), revision);
            put.is_some()
        });
        seen.edits.push(put.map_or(f64::INFINITY, |put| watch.millis_after(returned, &put).max(0.0)));
        std::thread::sleep(BETWEEN);
    }
    seen
}

fn is_ready(stage: &Stage) -> bool {
    stage.ready("skpol", "policy").is_some_and(|(status, _)| status == "True")
}

/// The object as the API server stores it: with managed fields and what kubectl remembers.
fn object(stage: &Stage) -> Value {
    let path = format!("/apis/assist-operator.dev/v1alpha1/namespaces/{}/skillpolicies/policy", stage.namespace);
    serde_json::from_str(&stage.plane.kubectl_ok(&["get", "--raw", &path])).expect("JSON")
}

/// Status patches of the policy since so many writes.
fn patches(stage: &Stage, before: usize) -> usize {
    let writes = stage.kubernetes_writes().into_iter().skip(before);
    writes.filter(|write| write == "patch skillpolicies/status/policy").count()
}

/// Accepted calls by their name.
fn counts(calls: &[&Entry]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    calls.iter().for_each(|entry| *counts.entry(entry.call.clone()).or_default() += 1);
    counts
}

fn first(stage: &Stage, watch: &mut Watch, agents: usize, seen: &Seen) -> Vec<Row> {
    let calls: Vec<&Entry> = watch.refresh().iter().filter(|entry| is_api(entry)).collect();
    let of = |call: &str| counts(&calls).get(call).copied().unwrap_or(0);
    let name = format!("evaluation of {agents} agents, all changed");
    let alerts = agents.div_ceil(ALERTED);
    let expected = [("S3", agents.div_ceil(BATCH)), ("S1", agents), ("S2", agents), ("S4", alerts)];
    let mut rows: Vec<Row> =
        expected.iter().map(|(call, count)| Row::exactly(format!("{name}: {call}"), *count, of(call), "")).collect();
    // The edits had their part of the budget; the evaluation has to make do with the rest.
    let own = |entry: &&&Entry| entry.call.starts_with('S');
    let begin = calls.iter().filter(own).map(|entry| entry.at_us).min().unwrap_or(0);
    let end = calls.iter().filter(own).map(|entry| entry.end_us()).max().unwrap_or(0);
    let within = calls.iter().filter(|entry| (begin..=end).contains(&entry.at_us)).count();
    let (took, bound) = ((end - begin) as f64 / 1e6, within as f64 * 60.0 / f64::from(RATE));
    rows.push(Row::new(
        format!("{name}: first call → last answer at {RATE}/min"),
        format!("≤ {:.1} s (1.1 × calls / rate)", 1.1 * bound),
        format!("{took:.1} s for {within} calls, {:.2} ×", took / bound),
        took <= 1.1 * bound,
    ));
    let refused = calls.iter().filter(|entry| entry.status == 429).count();
    rows.push(Row::exactly(format!("{name}: answers 429"), 0, refused, ""));
    let (median, worst) = spread(&seen.edits);
    rows.push(Row::new(
        format!("{name}: edit of a config in its midst → PUT, worst of {}", seen.edits.len()),
        "≤ 2 s",
        format!("{:.2} s, median {:.2} s", worst / 1e3, median / 1e3),
        worst <= 2_000.0 && !seen.edits.is_empty(),
    ));
    let memory = stage.operator().memory();
    rows.push(Row::info(format!("{name}: memory"), format!("{:.1} MiB, peak {:.1} MiB", memory.resident, memory.peak)));
    rows
}

fn sizes(stage: &Stage, seen: &Seen, agents: usize) -> Vec<Row> {
    let row = |when: &str, size: usize| {
        let (kib, ok) = (size as f64 / 1024.0, size > 0 && size <= MAX_SIZE);
        Row::new(format!("object with {agents} agents, {when}"), "≤ 256 KiB", format!("{kib:.1} KiB"), ok)
    };
    vec![row("during the writes", seen.size), row("after them", object(stage).to_string().len())]
}

/// One more evaluation, on request: nothing differs any more.
fn again(stage: &Stage, agents: usize) -> Vec<Row> {
    let (mut watch, written) = (stage.watch(), stage.kubernetes_writes().len());
    stage.kubectl(&["annotate", "--overwrite", "skpol", "policy", "assist-operator.dev/reconcile-requested-at=again"]);
    let handled = ["get", "skpol", "policy", "-o", "jsonpath={.status.lastHandledReconcileAt}"];
    stage.wait("the second evaluation", 300, |stage| {
        std::thread::sleep(Duration::from_secs(1));
        stage.kubectl(&handled) == "again"
    });
    watch.settle(Duration::from_secs(2));
    let calls = watch.calls();
    let counts = counts(&calls);
    let reads: usize = ["S1", "S3"].iter().filter_map(|call| counts.get(*call)).sum();
    let name = "an evaluation without a change";
    vec![
        Row::exactly(format!("{name}: reads"), agents + agents.div_ceil(BATCH), reads, ""),
        Row::exactly(format!("{name}: other calls"), 0, calls.len() - reads, ""),
        Row::info(format!("{name}: status patches"), patches(stage, written).to_string()),
    ]
}
