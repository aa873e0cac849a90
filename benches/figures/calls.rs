//! Remote calls, and writes to the API server, for each kind of change while nothing else goes on.

use std::time::Duration;

use assist_operator::sandbox::World;
use serde_json::json;

use crate::Options;
use crate::documents::{declared, full, id, object};
use crate::stage::Stage;
use crate::table::Row;
use crate::watch::is_api;

/// What one change cost.
struct Cost {
    calls: Vec<String>,
    kubernetes: Vec<String>,
}

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let rounds = if options.quick { 2 } else { 5 };
    let mut stage = Stage::without_org("calls", options);
    let mut whole = stage.watch();
    stage.plant(rounds);
    stage.apply_org(240);
    stage.start();
    let measured = (0..rounds).map(|n| Costs::of(&stage, n)).collect::<Vec<_>>();
    let tokens = whole.refresh().iter().filter(|entry| !is_api(entry)).count();
    let mut rows = vec![
        worst("first convergence: calls", Some(2), &measured, |costs| &costs.first),
        Row::exactly("first convergence: tokens, for all objects of the org", 1, tokens, ""),
        worst("change of spec: calls", Some(1), &measured, |costs| &costs.change),
        worst("restoreVersion: calls", Some(2), &measured, |costs| &costs.restore),
        worst("restoreVersion taken away: calls", None, &measured, |costs| &costs.resume),
        worst("drift check: calls", None, &measured, |costs| &costs.check),
        worst("drift check and repair: calls", None, &measured, |costs| &costs.repair),
    ];
    let kubernetes = |about: &str, cost: fn(&Costs) -> &Cost| {
        let worst = measured.iter().map(cost).max_by_key(|cost| cost.kubernetes.len()).expect("at least one round");
        Row::info(about, format!("{} ({})", worst.kubernetes.len(), worst.kubernetes.join(", ")))
    };
    rows.push(kubernetes("first convergence: Kubernetes writes, events included", |costs| &costs.first));
    rows.push(kubernetes("change of spec: Kubernetes writes, events included", |costs| &costs.change));
    rows.push(Row::exactly("calls: broken invariants in the journal", 0, stage.violations(), ""));
    rows
}

/// What every kind of change of one object cost.
struct Costs {
    first: Cost,
    change: Cost,
    restore: Cost,
    resume: Cost,
    check: Cost,
    repair: Cost,
}

impl Costs {
    fn of(stage: &Stage, n: usize) -> Self {
        let name = id(n);
        let restore = object(n, &json!({"config": declared(n, 2), "restoreVersion": 1}));
        let check = |token: &str| {
            stage.kubectl(&[
                "annotate",
                "--overwrite",
                "aac",
                &name,
                &format!("assist-operator.dev/reconcile-requested-at={token}"),
            ]);
            let handled = ["get", "aac", &name, "-o", "jsonpath={.status.lastHandledReconcileAt}"];
            stage.wait("the check", 60, |stage| stage.kubectl(&handled) == token);
        };
        let apply = |object| {
            move || {
                stage.apply(&object);
            }
        };
        Self {
            first: cost(stage, &name, apply(full(n, 1))),
            change: cost(stage, &name, apply(full(n, 2))),
            restore: cost(stage, &name, apply(restore)),
            resume: cost(stage, &name, apply(full(n, 2))),
            check: cost(stage, &name, || check("one")),
            repair: {
                edit(stage.world(), &name);
                cost(stage, &name, || check("two"))
            },
        }
    }
}

fn edit(world: &World, name: &str) {
    world.edit_config(name, |document| document["name"] = json!("theirs"));
}

fn cost(stage: &Stage, name: &str, act: impl FnOnce()) -> Cost {
    let mut watch = stage.watch();
    let before = stage.kubernetes_writes().len();
    act();
    stage.wait_ready(name);
    watch.settle(Duration::from_millis(800));
    let calls = watch.calls().iter().map(|entry| entry.call.clone()).collect();
    let writes = stage.kubernetes_writes().into_iter().skip(before);
    let kubernetes = writes.map(|write| write.split_once('/').map_or(write.clone(), |(kind, _)| kind.to_owned())).collect();
    Cost { calls, kubernetes }
}

fn worst(figure: &str, goal: Option<usize>, measured: &[Costs], cost: fn(&Costs) -> &Cost) -> Row {
    let worst = measured.iter().map(cost).max_by_key(|cost| cost.calls.len()).expect("at least one round");
    let names = worst.calls.join(" ");
    match goal {
        Some(goal) => Row::exactly(figure, goal, worst.calls.len(), &names),
        None => Row::info(figure, format!("{} ({names})", worst.calls.len())),
    }
}
