//! From the return of `kubectl apply` to the arrival of the PUT, while nothing else goes on.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::Value;

use crate::Options;
use crate::control_plane::OPERATOR_USER;
use crate::documents::{full, id};
use crate::stage::Stage;
use crate::table::{Row, spread};

/// Objects that take turns.
const OBJECTS: usize = 5;

/// One apply: the config, how long after kubectl's return its PUT arrived in milliseconds, and when by the wall clock.
struct Sample {
    name: String,
    after: f64,
    arrived: Timestamp,
}

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let count = if options.quick { 20 } else { 50 };
    let stage = Stage::new("latency", options, 240);
    stage.converge(OBJECTS);
    let samples: Vec<Sample> = (0..count).map(|n| sample(&stage, n)).collect();
    // Before kubectl has returned is as good as at once.
    let counted: Vec<f64> = samples.iter().map(|sample| sample.after.max(0.0)).collect();
    let (median, worst) = spread(&counted);
    let earliest = samples.iter().map(|sample| sample.after).fold(f64::INFINITY, f64::min);
    let early = samples.iter().filter(|sample| sample.after < 0.0).count();
    let (answered, answered_worst) = spread(&since_answer(&stage, &samples));
    let name = "kubectl apply returned → PUT received";
    vec![
        Row::new(format!("{name}: median of {count}"), "≤ 150 ms", format!("{median:.0} ms"), median <= 150.0),
        Row::new(format!("{name}: worst of {count}"), "≤ 500 ms", format!("{worst:.0} ms"), worst <= 500.0),
        Row::info(
            format!("{name}: earliest"),
            format!("{earliest:.0} ms ({early} of {count} before kubectl returned, counted as 0)"),
        ),
        Row::info(
            "API server answered the apply → PUT received",
            format!("median {answered:.0} ms, worst {answered_worst:.0} ms"),
        ),
    ]
}

fn sample(stage: &Stage, n: usize) -> Sample {
    let (object, revision) = (n % OBJECTS, 100 + n as u64);
    let mut watch = stage.watch();
    let returned = stage.apply(&full(object, revision));
    let mut put = None;
    stage.wait("the PUT", 60, |_| {
        put = watch.put(&id(object), revision);
        put.is_some()
    });
    let put = put.expect("it was waited for");
    // Until the status is written and all is idle again.
    watch.settle(Duration::from_millis(300));
    Sample { name: id(object), after: watch.millis_after(returned, &put), arrived: put.time }
}

/// Milliseconds from the API server's answer to the arrival of the PUT, by the wall clock that both logs have; at least 0.
fn since_answer(stage: &Stage, samples: &[Sample]) -> Vec<f64> {
    let audit = stage.plane.audit_log();
    let at = |event: &Value, field: &str| event[field].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let applies: Vec<&Value> = audit
        .iter()
        .filter(|event| event["verb"] == "patch" && event["objectRef"]["namespace"] == stage.namespace.as_str())
        .filter(|event| event["user"]["username"] != OPERATOR_USER && event["stage"] == "ResponseComplete")
        .collect();
    let since = |sample: &Sample| {
        let before = |event: &&&Value| {
            let sent = at(event, "requestReceivedTimestamp").is_some_and(|sent| sent < sample.arrived);
            sent && event["objectRef"]["name"] == sample.name.as_str()
        };
        let answered = applies.iter().rev().find(before).and_then(|event| at(event, "stageTimestamp"))?;
        Some((sample.arrived.duration_since(answered).as_secs_f64() * 1e3).max(0.0))
    };
    samples.iter().filter_map(since).collect()
}
