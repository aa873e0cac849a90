//! Resident memory of the operator: without objects, with many at rest, and after each of them was checked again.

use std::time::Duration;

use crate::Options;
use crate::operator::Memory;
use crate::stage::Stage;
use crate::table::Row;

/// What the operator may take, in MiB.
const GOAL: f64 = 64.0;
/// The time after which everything that is only passing has passed.
const REST: Duration = Duration::from_secs(10);

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many();
    let mut stage = Stage::new("memory", options, 3_000);
    let idle = at_rest(&stage);
    stage.converge(many);
    let converged = at_rest(&stage);
    let checked = [1, 2].map(|round| {
        let cpu = stage.operator().cpu();
        check_all(&stage, round);
        (at_rest(&stage), stage.operator().cpu().saturating_sub(cpu))
    });
    stage.terminate();
    stage.start();
    let restarted = at_rest(&stage);
    check_all(&stage, 3);
    let again = at_rest(&stage);
    let (last, cpu) = checked[1];
    let used = cpu.as_secs_f64() * 1_000.0 / many as f64;
    vec![
        Row::info("memory without objects", text(idle)),
        goal(format!("memory with {many} configs, converged"), converged),
        goal(format!("memory with {many} configs, all checked once more"), checked[0].0),
        goal(format!("memory with {many} configs, all checked twice more"), last),
        Row::info(format!("memory with {many} configs, after a restart"), text(restarted)),
        goal(format!("memory with {many} configs, after a restart and a check of all"), again),
        Row::info("processor time for 1,000 requested checks", format!("{used:.2} s")),
    ]
}

fn at_rest(stage: &Stage) -> Memory {
    stage.watch().settle(Duration::from_secs(2));
    std::thread::sleep(REST);
    stage.operator().memory()
}

fn text(memory: Memory) -> String {
    let Memory { resident, anonymous, peak, threads } = memory;
    format!("{resident:.1} MiB resident, {anonymous:.1} of it anonymous, peak {peak:.1}, {threads} threads")
}

fn goal(figure: String, memory: Memory) -> Row {
    Row::new(figure, format!("≤ {GOAL} MiB"), text(memory), memory.resident <= GOAL)
}

/// Has every object checked, and waits until that is recorded.
fn check_all(stage: &Stage, round: u32) {
    let token = format!("round-{round}");
    stage.kubectl(&["annotate", "--overwrite", "aac", "--all", &format!("assist-operator.dev/reconcile-requested-at={token}")]);
    let handled = ["get", "aac", "-o", "jsonpath={range .items[*]}{.status.lastHandledReconcileAt}{\"\\n\"}{end}"];
    stage.wait("every object was checked", 600, |stage| {
        std::thread::sleep(Duration::from_millis(500));
        stage.kubectl(&handled).lines().all(|line| line == token)
    });
}
