//! Resident memory of the operator with many skill profiles, and what their convergence and checks cost.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::Options;
use crate::operator::Memory;
use crate::stage::Stage;
use crate::table::Row;

/// What the operator may take, in MiB.
const GOAL: f64 = 96.0;
/// Skills of each profile.
const SKILLS: usize = 20;
/// Objects that are applied at once.
const BATCH: usize = 500;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many() * 5;
    let mut stage = Stage::new("skills", options, 3_000);
    let mut watch = stage.watch();
    (0..many)
        .for_each(|n| stage.world().put_user(&id(n), json!({"version": 1, "name": format!("Agent {n}"), "skills": levels(0.1)})));
    let began = Instant::now();
    let objects: Vec<Value> = (0..many).map(object).collect();
    for batch in objects.chunks(BATCH) {
        stage.apply(&json!({"apiVersion": "v1", "kind": "List", "items": batch}));
    }
    stage.wait("every profile is Ready", 1_200, |stage| {
        std::thread::sleep(Duration::from_secs(2));
        let statuses =
            ["get", "skp", "-o", "jsonpath={range .items[*]}{.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}"];
        let out = stage.kubectl(&statuses);
        out.lines().count() == many && out.lines().all(|status| status == "True")
    });
    let took = began.elapsed().as_secs_f64();
    let calls = watch.calls().len();
    let memory = at_rest(&stage);
    let violations = stage.violations();
    stage.terminate();
    stage.start();
    let restarted = at_rest(&stage);
    vec![
        Row::exactly(
            format!("first convergence of {many} profiles of {SKILLS} skills: calls"),
            2 * many,
            calls,
            &format!("in {took:.0} s at 3,000 a minute"),
        ),
        Row::new(
            format!("memory with {many} profiles of {SKILLS} skills"),
            format!("≤ {GOAL} MiB"),
            format!("{:.1} MiB resident, peak {:.1}", memory.resident, memory.peak),
            memory.resident <= GOAL,
        ),
        Row::info(
            format!("memory with {many} profiles, after a restart"),
            format!("{:.1} MiB resident, peak {:.1}", restarted.resident, restarted.peak),
        ),
        Row::exactly("skills: broken invariants in the journal", 0, violations, ""),
    ]
}

fn at_rest(stage: &Stage) -> Memory {
    stage.watch().settle(Duration::from_secs(2));
    std::thread::sleep(Duration::from_secs(10));
    stage.operator().memory()
}

fn id(n: usize) -> String {
    format!("agent-{n:05}-0123456789abcdef")
}

fn levels(level: f64) -> Value {
    (0..SKILLS).map(|n| json!({"skillId": format!("skill-{n:02}-0123456789abcdef"), "proficiency": level})).collect()
}

fn object(n: usize) -> Value {
    json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "SkillProfile", "metadata": {"name": id(n)},
        "spec": {"orgRef": {"name": "org"}, "userId": id(n), "skills": levels(0.72), "interval": "6h"},
    })
}
