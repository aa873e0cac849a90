//! `kubectl delete` when what the operator needs is gone. It waits until the object is really gone, which is what is measured.

use std::time::{Duration, Instant};

use assist_operator::sandbox::{Fault, FaultKind, Times};

use crate::Options;
use crate::documents::{full, id};
use crate::stage::Stage;
use crate::table::Row;
use crate::watch::{Watch, is_write};

/// Configs that are deleted in each situation.
const EACH: usize = 3;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let stage = Stage::new("deletion", options, 3_000);
    stage.converge(5 * EACH);
    let mut next = 0;
    let mut watch = stage.watch();
    let mut rows = Vec::new();
    let mut situation = |stage: &Stage, watch: &mut Watch, name: &str| {
        rows.push(delete(stage, watch, name, next));
        next += EACH;
    };
    situation(&stage, &mut watch, "all well");
    stage.world().faults().push(Fault::new(FaultKind::ResetBefore).times(Times::Always));
    situation(&stage, &mut watch, "the remote down, a change under way");
    stage.world().faults().clear();
    stage.world().faults().push(Fault::new(FaultKind::Delay { before_ms: 60_000, after_ms: 0 }).times(Times::Always));
    situation(&stage, &mut watch, "the remote hanging, a change under way");
    stage.kubectl(&["delete", "secret", "genesys"]);
    situation(&stage, &mut watch, "the Secret gone");
    stage.kubectl(&["delete", "gorg", "org"]);
    situation(&stage, &mut watch, "the org gone");
    rows.push(Row::exactly("deletion: configs changed by it", 0, changed(&stage), ""));
    rows
}

/// Changes the specs, so that calls are under way or wait, and deletes the objects one by one.
fn delete(stage: &Stage, watch: &mut Watch, situation: &str, first: usize) -> Row {
    let mut worst = Duration::ZERO;
    for n in first..first + EACH {
        if situation != "all well" {
            stage.apply(&full(n, 666));
            std::thread::sleep(Duration::from_millis(300));
        }
        let before = watch.refresh().len();
        let began = Instant::now();
        stage.kubectl(&["delete", "aac", &id(n), "--timeout=60s"]);
        worst = worst.max(began.elapsed());
        std::thread::sleep(Duration::from_millis(300));
        let written = watch.refresh().iter().skip(before).filter(|entry| is_write(entry) && entry.applied).count();
        assert_eq!(written, 0, "a deletion wrote to the remote");
    }
    let seconds = worst.as_secs_f64();
    Row::new(format!("deletion, {situation}: worst of {EACH}"), "< 2 s", format!("{seconds:.2} s"), seconds < 2.0)
}

/// Configs that no longer hold what was there before the deletion.
fn changed(stage: &Stage) -> usize {
    let kept = |n: usize| stage.world().config(&id(n)).is_some_and(|live| live["revision"] == 1);
    (0..5 * EACH).filter(|&n| !kept(n)).count()
}
