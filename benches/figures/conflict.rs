//! What a lost guard costs: a foreign writer edits the config just before our PUT arrives.

use std::collections::HashSet;
use std::time::Duration;

use assist_operator::sandbox::{ConflictStyle, Entry, Fault, FaultKind, Times};
use serde_json::json;

use crate::Options;
use crate::documents::{full, id};
use crate::stage::Stage;
use crate::table::Row;
use crate::watch::is_write;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let stage = Stage::new("conflict", options, 3_000);
    let styles = [ConflictStyle::Conflict, ConflictStyle::PreconditionFailed, ConflictStyle::BadRequest];
    stage.plant(styles.len() + 1);
    let (mut first, mut change, mut resent) = (0, 0, 0);
    for (n, style) in styles.into_iter().enumerate() {
        stage.world().set_conflict_style(style);
        let (calls, again) = conflict(&stage, n, 1, 1);
        (first, resent) = (first.max(calls.saturating_sub(2)), resent + again);
        let (calls, again) = conflict(&stage, n, 2, 1);
        (change, resent) = (change.max(calls.saturating_sub(1)), resent + again);
    }
    let last = styles.len();
    stage.apply(&full(last, 1));
    stage.wait_ready(&id(last));
    let (calls, again) = conflict(&stage, last, 2, 3);
    let row = Row::info("three conflicts in a row: extra calls", calls.saturating_sub(1).to_string());
    vec![
        Row::at_most("conflict in a first convergence: extra calls", 2, first, "worst of 409, 412, 400"),
        Row::at_most("conflict in a change of spec: extra calls", 2, change, "worst of 409, 412, 400"),
        Row::exactly("conflict: losing body sent again", 0, resent + again, ""),
        row,
        Row::exactly("conflict: broken invariants in the journal", 0, stage.violations(), "no update was lost"),
    ]
}

/// Applies a revision that meets so many foreign edits: calls that it took, and refused bodies that were sent again.
fn conflict(stage: &Stage, n: usize, revision: u64, edits: u32) -> (usize, usize) {
    let patch = Some(json!({"theirs": revision}));
    stage.world().faults().push(Fault::new(FaultKind::ForeignEditBefore { patch }).target(&id(n)).times(Times::Count(edits)));
    let mut watch = stage.watch();
    stage.apply(&full(n, revision));
    stage.wait_ready(&id(n));
    watch.settle(Duration::from_millis(500));
    let live = stage.world().config(&id(n)).expect("the config is there");
    assert_eq!((&live["theirs"], &live["revision"]), (&json!(revision), &json!(revision)), "both changes survive");
    let calls = watch.calls();
    (calls.len(), resent(&calls))
}

/// Writes with a body that was refused before; the body holds the version, so a new attempt on a new state differs.
fn resent(calls: &[&Entry]) -> usize {
    let mut refused = HashSet::new();
    let mut count = 0;
    for write in calls.iter().filter(|entry| is_write(entry)) {
        count += usize::from(refused.contains(&write.body_sha256));
        if !write.applied {
            refused.insert(&write.body_sha256);
        }
    }
    count
}
