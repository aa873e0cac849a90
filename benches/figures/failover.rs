//! Two replicas of which the leader is killed again and again, in the midst of writes to configs, prompts and skills: how long until the
//! other one writes, and whether anything is written twice.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use assist_operator::sandbox::{Entry, Rule, check};
use serde_json::json;

use crate::Options;
use crate::documents::{id, list, live, object};
use crate::operator::Operator;
use crate::stage::Stage;
use crate::table::{Row, spread};

/// Objects of each kind with a text of its own for each round.
const OBJECTS: usize = 6;
/// Agents of the policy.
const AGENTS: usize = 4;
/// How long each call takes, so that a kill falls among them.
const LATENCY: Duration = Duration::from_millis(80);

/// A lease: length, renew deadline and retry period in seconds, and how many kills.
struct Series {
    lease: [u64; 3],
    kills: usize,
}

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let short = Series { lease: [3, 2, 1], kills: if options.quick { 10 } else { 50 } };
    let usual = Series { lease: [15, 10, 2], kills: if options.quick { 2 } else { 5 } };
    [short, usual].iter().flat_map(|series| kill_leaders(options, series)).collect()
}

fn kill_leaders(options: &Options, series: &Series) -> Vec<Row> {
    let [length, deadline, retry] = series.lease;
    let stage = Stage::without_org(&format!("failover-{length}s"), options);
    stage.allow_lease();
    stage.apply_org(3_000);
    (0..OBJECTS).for_each(|n| plant(&stage, n));
    (0..AGENTS).for_each(|n| {
        stage
            .world()
            .put_user(&user(n), json!({"version": 1, "name": "Ana", "skills": [{"skillId": "billing", "proficiency": 0.1}]}))
    });
    stage.world().set_latency(LATENCY);
    let times = [
        format!("--lease-duration={length}s"),
        format!("--lease-renew-deadline={deadline}s"),
        format!("--lease-retry-period={retry}s"),
    ];
    let args: Vec<&str> = ["--leader-elect", "--lease-namespace", stage.namespace.as_str()]
        .into_iter()
        .chain(times.iter().map(String::as_str))
        .collect();
    let start = || Operator::with(options, &stage.namespace, &args);
    let mut replicas = vec![start(), start()];
    let mut takeovers = Vec::new();
    for round in 1..=series.kills {
        apply(&stage, round);
        let at = leader(&stage, &replicas);
        // Before, among and after the writes of the round.
        std::thread::sleep(Duration::from_millis(37 * (round as u64 % 40)));
        let mut watch = stage.watch();
        replicas.remove(at).kill();
        let killed = Instant::now();
        // Something is to be written in any case.
        stage.apply(&object(OBJECTS, &json!({"config": {"revision": round}})));
        let mut first = None;
        stage.wait("the other one writes", 60, |_| {
            first = watch.refresh().iter().find(|entry| is_write(entry)).cloned();
            first.is_some()
        });
        takeovers.extend(first.map(|first| watch.millis_after(killed, &first).max(0.0) / 1e3));
        replicas.push(start());
        stage.wait("the round is done", 120, |stage| is_done(stage, round));
    }
    drop(replicas);
    rows(&stage, series, &takeovers)
}

fn rows(stage: &Stage, series: &Series, takeovers: &[f64]) -> Vec<Row> {
    let (length, kills) = (series.lease[0], series.kills);
    let (median, worst) = spread(takeovers);
    let name = format!("lease of {length} s, {kills} kills");
    let found = check(&stage.world().journal());
    found.iter().take(5).for_each(|violation| anstream::eprintln!("  {violation:?}"));
    let alerts = found.iter().filter(|violation| violation.rule == Rule::DuplicateAlert).count();
    let journal = stage.world().journal();
    let applied = |call: &str| journal.iter().filter(|entry| entry.call == call && entry.applied).count();
    let (writes, sent) = (["C3", "P2", "S2"].map(applied).iter().sum::<usize>(), stage.world().alerts().len());
    let goal = length as f64 + 2.0;
    vec![
        Row::new(
            format!("{name}: leader killed → first write by the other"),
            format!("≤ {goal:.0} s"),
            format!("{worst:.2} s at most, {median:.2} s median"),
            takeovers.len() == kills && worst <= goal,
        ),
        Row::exactly(format!("{name}: content written twice"), 0, twice(stage), &format!("{writes} writes")),
        Row::exactly(format!("{name}: broken invariants in the journal"), 0, found.len() - alerts, "alerts apart"),
        // Each change of a level is told of, and at least once: a kill may fall between an alert and the next write.
        Row::info(format!("{name}: alerts sent a second time"), format!("{} of {sent}", sent.saturating_sub(applied("S2")))),
    ]
}

/// Accepted writes of a content that was written to the same object before: each round has its own.
fn twice(stage: &Stage) -> usize {
    let mut counts = BTreeMap::new();
    for entry in stage.world().journal().iter().filter(|entry| is_write(entry) && entry.applied) {
        // Of an agent, whose level goes up and down, it is the version that tells one write from another.
        let member = match entry.call.as_str() {
            "S2" => "version",
            "P2" => "content",
            _ => "revision",
        };
        let content = entry.body.as_ref().and_then(|body| body.get(member)).map(ToString::to_string);
        *counts.entry((entry.call.clone(), entry.target.clone(), content)).or_insert(0_usize) += 1;
    }
    counts.values().map(|count| count - 1).sum()
}

fn is_write(entry: &Entry) -> bool {
    matches!(entry.call.as_str(), "C3" | "P2" | "S2")
}

fn user(n: usize) -> String {
    format!("user-{n}")
}

fn template(n: usize) -> String {
    format!("template-{n}")
}

fn plant(stage: &Stage, n: usize) {
    stage.world().put_config(&id(n), live(n));
    stage.world().put_config(&id(OBJECTS), live(OBJECTS));
    stage.world().put_prompt(&template(n), &[]);
}

/// Every object has something new to write; of the policy in every other round the opposite of the one before.
fn apply(stage: &Stage, round: usize) {
    let csat = if round % 2 == 1 { 4.5 } else { 1.0 };
    (0..AGENTS).for_each(|n| stage.world().set_metrics(&user(n), Some(json!(350)), Some(json!(csat))));
    let configs = (0..OBJECTS).map(|n| object(n, &json!({"config": {"revision": round}})));
    let api = "assist-operator.dev/v1alpha1";
    let prompts = (0..OBJECTS).map(|n| {
        let spec = json!({"orgRef": {"name": "org"}, "templateId": template(n), "content": format!("Round {round}: ask the customer why.")});
        json!({"apiVersion": api, "kind": "PromptTemplate", "metadata": {"name": template(n)}, "spec": spec})
    });
    let users: Vec<String> = (0..AGENTS).map(user).collect();
    let spec = json!({"orgRef": {"name": "org"}, "skillId": "billing", "userIds": users, "mode": "Enforce"});
    let asked = json!({"assist-operator.dev/reconcile-requested-at": round.to_string()});
    let policy =
        json!({"apiVersion": api, "kind": "SkillPolicy", "metadata": {"name": "billing", "annotations": asked}, "spec": spec});
    stage.apply(&list(configs.chain(prompts).chain([policy])));
}

fn is_done(stage: &Stage, round: usize) -> bool {
    let configs = (0..=OBJECTS).all(|n| stage.world().config(&id(n)).is_some_and(|config| config["revision"] == round));
    let ready = |line: &str| {
        let mut fields = line.split(' ');
        fields.next() == fields.next() && fields.next() == Some("True") && fields.next() == Some("")
    };
    let columns = "jsonpath={range .items[*]}{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type==\"Ready\")].status} {.status.intent.digest}{\"\\n\"}{end}";
    let asked = "jsonpath={.status.lastHandledReconcileAt}";
    configs
        && stage.kubectl(&["get", "aac,pt,skpol", "-o", columns]).lines().all(ready)
        && stage.kubectl(&["get", "skpol", "billing", "-o", asked]) == round.to_string()
}

/// Which of the replicas leads.
fn leader(stage: &Stage, replicas: &[Operator]) -> usize {
    let mut at = None;
    stage.wait("one replica leads", 60, |_| {
        at = replicas.iter().position(Operator::is_leader);
        at.is_some()
    });
    at.expect("one leads")
}
