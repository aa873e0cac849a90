//! A thousand promotions whose answers are lost in every way, a third of them by an operator that is killed meanwhile. The journal of
//! the sandbox says what became of each: made once, never twice, never lost, and recorded as it was.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use assist_operator::genesys::Timing;
use assist_operator::remote::audit::AuditRecord;
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{self, Entry, Fault, FaultKind, Rule, Violation};
use fastrand::Rng;
use semver::Version;
use serde_json::json;

use super::held::Held;
use super::prompt_stage::{Pt, killed, version};
use super::stage::{Stage, quick};

const TEMPLATES: u64 = 20;
const PROMOTIONS: usize = 50;

/// What a template went through.
#[derive(Default)]
struct Tally {
    losses: BTreeMap<&'static str, u32>,
    kills: u32,
    converges: u32,
    /// Of each promotion, its records.
    records: Vec<Vec<AuditRecord>>,
    /// Of each promotion, the audit ids that were announced.
    announced: Vec<BTreeSet<String>>,
}

fn loss(random: &mut Rng) -> (&'static str, FaultKind) {
    let answer = |status, applied| FaultKind::Status { status, retry_after: None, body: None, applied };
    match random.u8(0..24) {
        0..=3 => ("reset before", FaultKind::ResetBefore),
        4..=6 => ("reset after", FaultKind::ResetAfter),
        7..=12 => ("late commit", FaultKind::CommitLate { after_ms: random.u64(0..40) }),
        13 => ("truncated", FaultKind::TruncatedBody),
        14 => ("html", FaultKind::Html { status: 200 }),
        15 => ("empty", FaultKind::EmptyBody),
        16 => ("500 before", answer(500, false)),
        17 => ("503 before", answer(503, false)),
        18 => ("500 after", answer(500, true)),
        19 => ("503 after", answer(503, true)),
        20 => ("another document", FaultKind::WrongDocument),
        21 => ("slow before", FaultKind::Delay { before_ms: random.u64(1..30), after_ms: 0 }),
        22 => ("slow after", FaultKind::Delay { before_ms: 0, after_ms: random.u64(1..30) }),
        _ => ("timeout", FaultKind::Delay { before_ms: 0, after_ms: 400 }),
    }
}

/// Converges, and may be killed at an await: after some time, or so long after the fault came.
async fn once(stage: &Stage, pt: &mut Pt, kill: Option<(bool, Duration)>, fault: u64) -> Option<End> {
    let converge = stage.converge(pt);
    let Some((at_fault, after)) = kill else { return Some(converge.await.end) };
    let death = async {
        while at_fault && stage.world.faults().list().iter().any(|(id, _)| *id == fault) {
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        tokio::time::sleep(after).await;
    };
    tokio::select! {
        biased;
        () = death => None,
        convergence = converge => Some(convergence.end),
    }
}

/// All promotions of one template, one after the other.
async fn template(stage: Arc<Stage>, number: u64) -> Tally {
    let mut random = Rng::with_seed(0x5eed + number);
    let id = format!("t{number}");
    let mut pt: Pt = Held::of(json!({"orgRef": {"name": "o"}, "templateId": id, "content": "-"}));
    let mut tally = Tally::default();
    for round in 0..PROMOTIONS {
        pt.edit(|spec| spec["content"] = json!(format!("{id} round {round}")));
        let (name, kind) = loss(&mut random);
        *tally.losses.entry(name).or_default() += 1;
        let fault = stage.world.faults().push(Fault::new(kind).on(&["P2"]).target(&id));
        // Sometimes the look is lost, too.
        let blind = Fault::new(FaultKind::status(503)).on(&["P1"]).target(&id).after(1).times(sandbox::Times::Count(3));
        let blind = (random.u8(0..10) == 0).then(|| stage.world.faults().push(blind));
        let (records, intents) = (pt.book.records().len(), pt.book.intents().len());
        let mut kills = if random.u8(0..10) < 3 { random.u8(1..3) } else { 0 };
        for tries in 0.. {
            assert!(tries < 40, "{id} round {round} ({name}) does not end");
            let most = if random.bool() { 3_000 } else { 20_000 };
            let after = Duration::from_micros(random.u64(0..most));
            let kill = (kills > 0).then(|| (tries == 0 && random.bool(), after));
            let before = pt.book.intents().len();
            tally.converges += 1;
            match once(&stage, &mut pt, kill, fault).await {
                Some(End::Done) => break,
                Some(End::Failed(_) | End::LostGuard(_)) => {}
                Some(end) => panic!("{id} round {round} ({name}): {end:?}"),
                None => {
                    (kills, tally.kills) = (kills - 1, tally.kills + 1);
                    killed(&mut pt, before);
                    // No process is there again sooner; what was on its way has arrived by then, and the server knows who is gone.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            }
        }
        for fault in [Some(fault), blind].into_iter().flatten() {
            stage.world.faults().remove(fault);
        }
        assert!(pt.status.intent.is_none() && pt.status.unconfirmed.is_none(), "{id} round {round}: {:?}", pt.status);
        tally.records.push(pt.book.records().split_off(records));
        let announced = pt.book.intents().split_off(intents);
        tally.announced.push(announced.into_iter().map(|intent| intent.steps[0].audit_id.clone()).collect());
    }
    tally
}

#[allow(clippy::print_stdout, reason = "the figures are for people")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_lost_answers_lose_nothing_and_make_nothing_twice() {
    let began = Instant::now();
    let stage = Stage::with_timing(Timing { total: Duration::from_millis(300), ..quick() }).await;
    for number in 0..TEMPLATES {
        stage.world.put_prompt(&format!("t{number}"), &[version("1.0.0", "Zero")]);
    }
    stage.world.clear_journal();
    let stage = Arc::new(stage);
    let mut tallies = BTreeMap::new();
    let tasks: Vec<_> = (0..TEMPLATES).map(|number| (number, tokio::spawn(template(stage.clone(), number)))).collect();
    for (number, task) in tasks {
        tallies.insert(number, task.await.unwrap());
    }
    let journal = stage.journal().await;
    let found: Vec<Violation> = sandbox::check(&journal).into_iter().filter(|found| !is_late_notice(&journal, found)).collect();
    assert_eq!(found, []);
    let mut figures = Figures::default();
    for (number, tally) in &tallies {
        figures.count(&stage, &journal, &format!("t{number}"), tally);
    }
    println!("{figures:?}, {} requests, {:?}", journal.iter().filter(|e| e.call != "T1").count(), began.elapsed());
}

/// Under load the server notices a little late that a killed client has hung up, behind the look of the one that follows. That look
/// came after the post, and was answered before the next one.
fn is_late_notice(journal: &[Entry], found: &Violation) -> bool {
    let entry = |seq: u64| journal.iter().find(|entry| entry.seq == seq).unwrap();
    let (Rule::BlindRepost, [earlier, later]) = (found.rule, &found.entries[..]) else { return false };
    let (earlier, later) = (entry(*earlier), entry(*later));
    let between = |look: &Entry| look.at_us > earlier.at_us && look.end_us() <= later.at_us && look.delivered;
    let mut looks = journal.iter().filter(|look| look.call == "P1" && look.target == later.target && look.status == 200);
    !earlier.delivered && looks.any(between)
}

#[derive(Debug, Default)]
#[allow(dead_code, reason = "printed")]
struct Figures {
    promotions: usize,
    attempts: usize,
    converges: u32,
    kills: u32,
    losses: BTreeMap<&'static str, u32>,
    looks: usize,
    posts: usize,
    outcomes: BTreeMap<&'static str, usize>,
    /// Committed behind the look that showed them absent: recorded as that look showed it.
    late: usize,
}

impl Figures {
    fn count(&mut self, stage: &Stage, journal: &[Entry], id: &str, tally: &Tally) {
        let calls = |call: &str| journal.iter().filter(|e| e.call == call && e.target.as_deref() == Some(id)).collect::<Vec<_>>();
        let posts = calls("P2");
        let mut applied: HashMap<String, Vec<&Entry>> = HashMap::new();
        for entry in posts.iter().filter(|entry| entry.applied) {
            let content = entry.after.as_ref().unwrap()["content"].as_str().unwrap().to_owned();
            applied.entry(content).or_default().push(entry);
        }
        let mut before = 0;
        for round in 0..PROMOTIONS {
            let what = format!("{id} round {round}");
            let made = applied.get(&what).map_or(&[][..], Vec::as_slice);
            assert_eq!(made.len(), 1, "{what} was promoted {} times", made.len());
            let looks: Vec<&Entry> = calls("P1").into_iter().filter(|look| look.at_us > before).collect();
            self.records(&what, made[0], &looks, &tally.records[round], &tally.announced[round]);
            before = made[0].changed_us.unwrap();
        }
        let versions = stage.world.prompt_versions(id).unwrap();
        let numbers: Vec<Version> = versions.iter().map(|v| v["version"].as_str().unwrap().parse().unwrap()).collect();
        assert!(numbers.is_sorted_by(|newer, older| newer > older), "{id}: {numbers:?}");
        assert_eq!(numbers.len(), PROMOTIONS + 1);
        self.promotions += PROMOTIONS;
        (self.kills, self.converges) = (self.kills + tally.kills, self.converges + tally.converges);
        (self.looks, self.posts) = (self.looks + calls("P1").len(), self.posts + posts.len());
        for (name, count) in &tally.losses {
            *self.losses.entry(name).or_default() += count;
        }
    }

    /// Each announced attempt has its record, one of them says that it was promoted, and none says that nobody can tell.
    fn records(&mut self, what: &str, made: &Entry, looks: &[&Entry], records: &[AuditRecord], announced: &BTreeSet<String>) {
        let mut by_id: BTreeMap<&str, &str> = BTreeMap::new();
        for record in records {
            // A record may be made again after a kill, and then says the same.
            let known = by_id.insert(&record.audit_id, record.status.as_str());
            assert!(known.is_none_or(|status| status == record.status.as_str()), "{what}: {records:?}");
        }
        let recorded: BTreeSet<String> = by_id.keys().map(|id| (*id).to_owned()).collect();
        assert_eq!(&recorded, announced, "{what}: one record for each attempt");
        self.attempts += announced.len();
        let promoted = by_id.values().filter(|status| **status == "PROMOTED").count();
        for status in by_id.values() {
            *self.outcomes.entry(if *status == "PROMOTED" { "PROMOTED" } else { *status_name(status) }).or_default() += 1;
        }
        assert!(by_id.values().all(|status| matches!(*status, "PROMOTED" | "FAILED")), "{what}: {by_id:?}");
        if promoted == 0 {
            // Only where a look after the post showed that it was not there. Under load the post of a killed client may arrive behind
            // the look of the one that follows: then two looks came before the commit, that of the plan and this one.
            let changed = made.changed_us.unwrap();
            assert!(looks.iter().filter(|look| look.at_us < changed).count() >= 2, "{what}: {made:?}");
            self.late += 1;
        } else {
            assert_eq!(promoted, 1, "{what}: {by_id:?}");
        }
    }
}

fn status_name(status: &str) -> &'static &'static str {
    ["FAILED", "CONFLICT", "UNKNOWN", "APPLIED"].iter().find(|name| **name == status).unwrap()
}
