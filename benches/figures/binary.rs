//! The binary itself: its size, and how long it takes from its start until `/readyz` says yes. The promise is about the `dist` profile:
//! `./bench --operator target/dist/assist-operator binary`.

use std::fs;
use std::time::Instant;

use crate::Options;
use crate::operator::Operator;
use crate::stage::Stage;
use crate::table::{Row, spread};

/// Starts.
const RUNS: usize = 3;
/// The largest that it may be, in MiB.
const LARGEST: f64 = 18.0;
/// The longest that it may take until it is ready, in seconds.
const LONGEST: f64 = 2.0;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let stage = Stage::without_org("binary", options);
    let bytes = fs::metadata(&options.operator).expect("the operator's binary").len();
    let size = f64::from(u32::try_from(bytes).expect("less than 4 GiB")) / f64::from(1 << 20);
    let start = |_| {
        let began = Instant::now();
        let operator = Operator::start(options, &stage.namespace);
        let took = began.elapsed().as_secs_f64();
        operator.kill();
        took
    };
    let times: Vec<f64> = (0..RUNS).map(start).collect();
    let (median, longest) = spread(&times);
    let shown = format!("{size:.1} MiB");
    let of_dist = options.operator.parent().is_some_and(|folder| folder.ends_with("dist"));
    let size = if of_dist {
        Row::new("binary, dist profile", format!("≤ {LARGEST} MiB"), shown, size <= LARGEST)
    } else {
        Row::info("binary, another profile than dist", shown)
    };
    let measured = format!("{longest:.2} s at most, {median:.2} s median of {RUNS}");
    vec![size, Row::new("start → /readyz", format!("≤ {LONGEST} s"), measured, longest <= LONGEST)]
}
