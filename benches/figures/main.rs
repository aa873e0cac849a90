//! Measures the figures that the project promises: the operator as a process of its own against a real kube-apiserver and etcd, `kubectl`
//! as the hand that applies, and the sandbox as Genesys. Every number is read from the sandbox's journal, the API server's audit log and
//! `/proc`, never from the operator's claims. A figure is one function in one file; a goal that is missed is printed as missed.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement that cannot be made ends with where and why"
)]

mod audit;
mod binary;
mod calls;
mod conflict;
#[path = "../../tests/cluster/control_plane.rs"]
mod control_plane;
mod deletion;
mod documents;
mod failover;
mod fleet;
mod latency;
mod memory;
mod operator;
mod plan;
mod policy;
mod prompts;
mod rounds;
mod silence;
mod skills;
mod stage;
mod table;
mod validate;
mod watch;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use clap::Parser;

use crate::table::{Row, print};

/// How to measure.
#[derive(Clone, Debug, Parser)]
#[command(name = "bench", about = "Measures the figures that the project promises")]
pub struct Options {
    /// Figures to measure; all when none is given
    names: Vec<String>,
    /// Fewer objects and samples: 100 configs in place of 1,000
    #[arg(long)]
    quick: bool,
    /// Print the names of the figures
    #[arg(long)]
    list: bool,
    /// Another operator binary
    #[arg(long, default_value = env!("CARGO_BIN_EXE_assist-operator"))]
    operator: PathBuf,
    /// A variable for the operator's environment, for example MALLOC_ARENA_MAX=1 (repeatable)
    #[arg(long = "env", value_name = "NAME=VALUE")]
    env: Vec<String>,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

impl Options {
    /// Objects of the figures that are about many.
    pub fn many(&self) -> usize {
        if self.quick { 100 } else { 1_000 }
    }
}

type Figure = (&'static str, &'static str, fn(&Options) -> Vec<Row>);

/// All figures: name, what it is about, and how it is measured.
const FIGURES: &[Figure] = &[
    ("binary", "size of the binary, and from its start until it is ready", binary::measure),
    ("calls", "remote calls and Kubernetes writes for each kind of change", calls::measure),
    ("silence", "the same YAML again, restarts, an upgrade: nothing is written", silence::measure),
    ("conflict", "what a lost guard costs", conflict::measure),
    ("latency", "from the return of kubectl apply to the arrival of the PUT", latency::measure),
    ("deletion", "kubectl delete with the remote down, the Secret gone, the org gone", deletion::measure),
    ("memory", "resident memory of the operator, without objects and with many", memory::measure),
    ("rounds", "a thousand applies without a change, and a round of drift checks", rounds::measure),
    ("prompts", "the rules of a prompt, of 4,096 and of 32,768 characters", prompts::measure),
    ("skills", "memory with five times as many skill profiles, of 20 skills each", skills::measure),
    ("policy", "an evaluation of 500 agents, edits in the midst of it, and one without a change", policy::measure),
    ("audit", "a webhook that is down for ten minutes while 500 writes happen", audit::measure),
    ("failover", "two replicas, the leader killed again and again in the midst of writes", failover::measure),
    ("plan", "a plan of many objects without a cluster", plan::measure),
    ("fleet", "first convergence of many at 600 calls a minute, and edits in the midst of it", fleet::measure),
    ("validate", "time and memory of validate, of 5,000 manifests", validate::measure),
];

fn main() -> ExitCode {
    let options = Options::parse();
    if options.list {
        FIGURES.iter().for_each(|(name, about, _)| anstream::println!("{name:10} {about}"));
        return ExitCode::SUCCESS;
    }
    if let Some(unknown) = options.names.iter().find(|name| FIGURES.iter().all(|(known, ..)| known != name)) {
        anstream::eprintln!("error: there is no figure {unknown}; ./bench --list names them");
        return ExitCode::FAILURE;
    }
    let mut rows = Vec::new();
    let mut failed = Vec::new();
    for (name, about, measure) in
        FIGURES.iter().filter(|(name, ..)| options.names.is_empty() || options.names.iter().any(|n| n == name))
    {
        anstream::eprintln!("bench {name}: {about}");
        let began = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| measure(&options))) {
            Ok(measured) => {
                print(&measured);
                rows.extend(measured);
            }
            Err(_) => failed.push(*name),
        }
        anstream::eprintln!("bench {name}: {:.0} s", began.elapsed().as_secs_f64());
    }
    anstream::println!("\nAll figures{}:\n", if options.quick { ", quick" } else { "" });
    print(&rows);
    if failed.is_empty() {
        return ExitCode::SUCCESS;
    }
    anstream::eprintln!("error: could not be measured: {}", failed.join(", "));
    ExitCode::FAILURE
}
