//! What many objects cost when nothing changes: applies without a change, and a round of drift checks.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Options;
use crate::documents::{declared, list, object};
use crate::stage::Stage;
use crate::table::Row;
use crate::watch::{Watch, is_write};

/// The interval of the checks that are measured.
const INTERVAL: Duration = Duration::from_secs(60);
/// Jitter shortens an interval by at most a tenth, so that an interval holds at most so many checks of an object.
const MOST: f64 = 1.0 / 0.9;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many();
    let stage = Stage::new("rounds", options, 3_000);
    stage.plant(many);
    stage.apply(&objects(many, "6h"));
    stage.wait_converged(many);
    let mut rows = no_ops(&stage, many);
    let mut watch = stage.watch();
    let frequent = objects(many, "60s");
    stage.apply(&frequent);
    stage.wait_converged(many);
    rows.push(Row::info(format!("{many} changes of interval only: calls"), watch.calls().len().to_string()));
    // One interval, so that every object has had its first check.
    std::thread::sleep(INTERVAL);
    rows.extend(checks(&stage, many));
    rows.push(Row::exactly("rounds: broken invariants in the journal", 0, stage.violations(), ""));
    rows
}

fn objects(many: usize, interval: &str) -> Value {
    list((0..many).map(|n| object(n, &serde_json::json!({"config": declared(n, 1), "interval": interval}))))
}

/// Applies everything again: as `kubectl apply` does, which sends nothing where nothing changed, and as Argo CD and Flux do.
fn no_ops(stage: &Stage, many: usize) -> Vec<Row> {
    let objects = objects(many, "6h");
    let server_side = |stage: &Stage| {
        let args = ["-n", &stage.namespace, "apply", "--server-side", "--force-conflicts", "-f", "-"];
        assert!(stage.plane.kubectl_with_input(&args, &objects.to_string()).success(), "kubectl apply --server-side");
    };
    // The first one changes the owner of the fields: every object gets a new version without a change of spec.
    type Act<'a> = &'a dyn Fn(&Stage);
    let client_side = |stage: &Stage| {
        stage.apply(&objects);
    };
    let acts: [(&str, Act<'_>); 2] = [("kubectl apply", &client_side), ("kubectl apply --server-side", &server_side)];
    let row = |(name, act): (&str, Act<'_>)| {
        let (mut watch, before, cpu) = (stage.watch(), stage.kubernetes_writes().len(), stage.operator().cpu());
        act(stage);
        std::thread::sleep(Duration::from_secs(5));
        let written = stage.kubernetes_writes().len() - before;
        let used = stage.operator().cpu().saturating_sub(cpu).as_secs_f64();
        let detail = format!("Kubernetes writes: {written}, processor time: {used:.2} s");
        Row::exactly(format!("{many} × {name} without a change: calls"), 0, watch.calls().len() + written, &detail)
    };
    acts.into_iter().map(row).collect()
}

/// One interval of drift checks.
fn checks(stage: &Stage, many: usize) -> Vec<Row> {
    let (mut watch, before, cpu) = (stage.watch(), stage.kubernetes_writes().len(), stage.operator().cpu());
    let began = Instant::now();
    std::thread::sleep(INTERVAL);
    let ended = Instant::now();
    let used = stage.operator().cpu().saturating_sub(cpu).as_secs_f64() * 1_000.0 / many as f64;
    let written = stage.kubernetes_writes().len() - before;
    let remote = watch.calls().into_iter().filter(|entry| is_write(entry)).count();
    let arrivals = arrivals(&mut watch, began, ended);
    let (each, busiest) = (arrivals.len() as f64 / many as f64, busiest(&arrivals));
    let checked: std::collections::HashSet<_> = watch.calls().into_iter().filter_map(|entry| entry.target.clone()).collect();
    let even = many as f64 * MOST * 5.0 / INTERVAL.as_secs_f64();
    vec![
        Row::new(
            "drift checks, one interval: calls for each object",
            format!("≤ {MOST:.2}"),
            format!("{each:.2}"),
            each <= MOST + 0.01,
        ),
        Row::exactly(format!("drift checks, one interval: objects of {many} that were checked"), many, checked.len(), ""),
        Row::exactly("drift checks without drift: writes, remote and Kubernetes", 0, remote + written, ""),
        Row::info("drift checks: busiest 5 s", format!("{busiest} calls, {:.1} × an even spread", busiest as f64 / even)),
        Row::info("processor time for 1,000 drift checks", format!("{used:.2} s")),
    ]
}

fn arrivals(watch: &mut Watch, began: Instant, ended: Instant) -> Vec<Instant> {
    watch.refresh();
    let all = watch.entries.iter().map(|entry| watch.arrival(entry));
    all.filter(|at| (began..ended).contains(at)).collect()
}

fn busiest(arrivals: &[Instant]) -> usize {
    let mut sorted = arrivals.to_vec();
    sorted.sort();
    let within =
        |first: &Instant| sorted.iter().filter(|at| **at >= *first && at.duration_since(*first) < Duration::from_secs(5)).count();
    sorted.iter().map(within).max().unwrap_or(0)
}
