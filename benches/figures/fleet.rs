//! The first convergence of many configs at 600 calls a minute, with edits by a user in the midst of it.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use assist_operator::sandbox::{Entry, Expectations, World, check_with};
use serde_json::Value;

use crate::Options;
use crate::documents::{declared, full, id, list, live};
use crate::stage::Stage;
use crate::table::{Row, spread};
use crate::watch::{Watch, is_api, is_write};

/// Calls a minute: of the org, and of the sandbox, so that one too many would be answered with 429.
const RATE: u32 = 600;
/// How long each call takes (`reliability.md` 2.6).
const LATENCY: Duration = Duration::from_millis(80);
/// Where in the convergence edits are made: parts of its calls.
const MIDST: Range<f64> = 0.2..0.8;
/// Between one round of edits and the next.
const BETWEEN: Duration = Duration::from_millis(500);
/// The revision of edits begins here.
const EDITS: u64 = 1_000;

/// The edits, by what is edited, in milliseconds from the return of kubectl to the arrival of the PUT.
#[derive(Default)]
struct Edits {
    next: u64,
    fresh: usize,
    converged: Vec<f64>,
    waiting: Vec<f64>,
    new: Vec<f64>,
    /// What was declared beside the first revision, for the checker.
    declared: BTreeMap<String, Vec<Value>>,
}

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many();
    let stage = Stage::new("fleet", options, RATE);
    stage.plant(many);
    stage.world().set_rate_limit(Some(RATE));
    stage.world().set_latency(LATENCY);
    let mut watch = stage.watch();
    let mut edits = Edits { next: EDITS, fresh: many, ..Edits::default() };
    let all = list((0..many).map(|n| full(n, 1)));
    std::thread::scope(|scope| {
        let bulk = scope.spawn(|| stage.apply(&all));
        let calls = |part: f64| (2.0 * many as f64 * part) as usize;
        // An edit before its object is applied for the first time would be undone by that.
        stage.wait("the midst", 600, |_| bulk.is_finished() && watch.calls().len() >= calls(MIDST.start));
        // A round takes a second or more: the edits meet every part of the sliding minute.
        while watch.calls().len() < calls(MIDST.end) {
            edits.make(&stage, &mut watch, many);
            std::thread::sleep(BETWEEN);
        }
    });
    stage.wait_converged(edits.fresh);
    watch.settle(Duration::from_secs(3));
    rows(&stage, &mut watch, &edits)
}

impl Edits {
    /// Edits a config that is converged already, one that still waits, and a new one.
    fn make(&mut self, stage: &Stage, watch: &mut Watch, many: usize) {
        let is_edited = |edits: &Self, n: usize| edits.declared.contains_key(&id(n));
        let (written, begun) = progress(watch);
        if let Some(n) = (0..many).rev().find(|&n| written.contains(&id(n)) && !is_edited(self, n)) {
            let after = self.apply(stage, watch, n);
            self.converged.push(after);
        }
        let (_, begun) = if self.converged.is_empty() { (written, begun) } else { progress(watch) };
        // From the middle: neither the newest nor the oldest, which would be next anyhow.
        let waiting: Vec<usize> = (0..many).filter(|&n| !begun.contains(&id(n)) && !is_edited(self, n)).collect();
        if let Some(&n) = waiting.get(waiting.len() / 2) {
            let after = self.apply(stage, watch, n);
            self.waiting.push(after);
        }
        let n = self.fresh;
        self.fresh += 1;
        stage.world().put_config(&id(n), live(n));
        let after = self.apply(stage, watch, n);
        self.new.push(after);
    }

    fn apply(&mut self, stage: &Stage, watch: &mut Watch, n: usize) -> f64 {
        let revision = self.next;
        self.next += 1;
        self.declared.entry(id(n)).or_default().push(declared(n, revision));
        let returned = stage.apply(&full(n, revision));
        let mut put = None;
        stage.wait("the PUT of an edit", 300, |_| {
            put = watch.put(&id(n), revision);
            put.is_some()
        });
        put.map_or(f64::INFINITY, |put| watch.millis_after(returned, &put))
    }
}

/// Configs that were written, and those for which any call was made.
fn progress(watch: &mut Watch) -> (HashSet<String>, HashSet<String>) {
    let calls = watch.calls();
    let targets = |wanted: fn(&Entry) -> bool| {
        calls.iter().filter(|entry| wanted(entry)).filter_map(|entry| entry.target.clone()).collect()
    };
    (targets(|entry| is_write(entry) && entry.applied), targets(|_| true))
}

fn rows(stage: &Stage, watch: &mut Watch, edits: &Edits) -> Vec<Row> {
    let calls = watch.calls();
    let count = calls.len();
    let first = calls.iter().map(|entry| entry.at_us).min().unwrap_or(0);
    let last = calls.iter().filter(|entry| is_write(entry)).map(|entry| entry.at_us).max().unwrap_or(0);
    let needed = count as f64 * 60.0 / f64::from(RATE);
    let took = (last - first) as f64 / 1e6;
    let refused = watch.entries.iter().filter(|entry| entry.status == 429).count();
    let busiest = busiest_minute(&watch.entries);
    let expected = edits.fresh * 2 + edits.converged.len();
    let name = format!("{} configs at {RATE}/min", edits.fresh);
    let measured = format!("{took:.1} s for {count} calls, {:.2} ×", took / needed);
    let mut rows = vec![
        Row::new(
            format!("{name}: first call → last PUT"),
            format!("≤ {:.1} s (1.15 ×)", 1.15 * needed),
            measured,
            took <= 1.15 * needed,
        ),
        Row::at_most(format!("{name}: calls"), expected, count, ""),
        Row::at_most(format!("{name}: most calls in any 60 s"), RATE as usize, busiest, ""),
        Row::exactly(format!("{name}: answers 429"), 0, refused, ""),
        Row::info(format!("{name}: longest time without a call"), format!("{:.1} s", longest_pause(&watch.entries))),
        Row::exactly(format!("{name}: broken invariants in the journal"), 0, violations(stage.world(), edits), ""),
    ];
    let edited = [("a converged config", &edits.converged), ("a waiting config", &edits.waiting), ("a new config", &edits.new)];
    for (what, samples) in edited {
        let (median, worst) = spread(samples);
        let measured = format!("{:.2} s, median {:.2} s", worst / 1e3, median / 1e3);
        let ok = worst <= 2_000.0 && !samples.is_empty();
        rows.push(Row::new(format!("{name}: edit of {what} → PUT, worst of {}", samples.len()), "≤ 2 s", measured, ok));
    }
    let memory = stage.operator().memory();
    rows.push(Row::info(
        format!("{name}: memory at the end"),
        format!("{:.1} MiB, peak {:.1} MiB", memory.resident, memory.peak),
    ));
    rows
}

/// The most calls that arrived within any 60 s.
fn busiest_minute(entries: &[Entry]) -> usize {
    let mut arrivals: Vec<u64> = entries.iter().filter(|entry| is_api(entry)).map(|entry| entry.at_us).collect();
    arrivals.sort_unstable();
    let mut from = 0;
    let within = |(index, at): (usize, &u64)| {
        while arrivals[from] + 60_000_000 <= *at {
            from += 1;
        }
        index + 1 - from
    };
    arrivals.iter().enumerate().map(within).max().unwrap_or(0)
}

/// The longest time between two calls, in seconds.
fn longest_pause(entries: &[Entry]) -> f64 {
    let mut arrivals: Vec<u64> = entries.iter().filter(|entry| is_api(entry)).map(|entry| entry.at_us).collect();
    arrivals.sort_unstable();
    arrivals.windows(2).map(|pair| (pair[1] - pair[0]) as f64 / 1e6).fold(0.0, f64::max)
}

fn violations(world: &World, edits: &Edits) -> usize {
    let mut all: BTreeMap<String, Vec<Value>> = (0..edits.fresh).map(|n| (id(n), vec![declared(n, 1)])).collect();
    for (id, more) in &edits.declared {
        all.entry(id.clone()).or_default().extend(more.iter().cloned());
    }
    let expected = Expectations { calls_per_minute: Some(RATE as usize), declared: all, ..Expectations::default() };
    let found = check_with(&world.journal(), &expected);
    found.iter().take(5).for_each(|violation| anstream::eprintln!("  {violation:?}"));
    found.len()
}
