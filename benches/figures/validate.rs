//! `validate` of many manifests, as a pipeline runs it: how long it takes, and its memory by `/proc`. No cluster takes part.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Options;
use crate::table::{Row, spread};

/// Most seconds that 5,000 manifests may take.
const SECONDS: f64 = 2.0;
/// Most memory for them, in MiB.
const MEMORY: f64 = 150.0;
/// Every how many manifests one is bad, where some are.
const BAD_EVERY: usize = 5;
/// Runs of which the median counts.
const RUNS: usize = 5;

/// Measures.
pub fn measure(options: &Options) -> Vec<Row> {
    let many = options.many() * 5;
    let folder = tempfile::tempdir().expect("a folder for the manifests");
    let good: Vec<String> = (0..many).map(|n| manifest(n, false)).collect();
    let mixed: Vec<String> = (0..many).map(|n| manifest(n, n % BAD_EVERY == 0)).collect();
    write_file(&folder.path().join("one.yaml"), &good.join("---\n"));
    write_file(&folder.path().join("single.yaml"), &good[0]);
    for (name, manifests) in [("good", &good), ("mixed", &mixed)] {
        for (n, text) in manifests.iter().enumerate() {
            write_file(&folder.path().join(format!("{name}/team-{}/n{n}.yaml", n % 20)), text);
        }
    }
    let bad = many.div_ceil(BAD_EVERY);
    let validate = |path: &str, bad: usize| Validated::median(options, folder.path(), path, bad);
    vec![
        Row::info("validate: 1 manifest", validate("single.yaml", 0).text()),
        validate("one.yaml", 0).goal(format!("validate: {many} manifests in 1 file")),
        validate("good", 0).goal(format!("validate: {many} manifests in {many} files")),
        validate("mixed", bad).goal(format!("validate: the same, {bad} of them bad")),
    ]
}

fn write_file(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().expect("a folder")).expect("make a folder");
    fs::write(path, text).expect("write a manifest");
}

/// What a run took.
struct Validated {
    seconds: f64,
    slowest: f64,
    /// The most that was resident, in MiB.
    peak: f64,
}

impl Validated {
    fn median(options: &Options, folder: &Path, path: &str, bad: usize) -> Self {
        let runs: Vec<(f64, f64)> = (0..RUNS).map(|_| run(options, folder, path, bad)).collect();
        let (seconds, slowest) = spread(&runs.iter().map(|run| run.0).collect::<Vec<_>>());
        let (_, peak) = spread(&runs.iter().map(|run| run.1).collect::<Vec<_>>());
        Self { seconds, slowest, peak }
    }

    fn text(&self) -> String {
        format!("{:.2} s (slowest of {RUNS}: {:.2}), peak {:.1} MiB", self.seconds, self.slowest, self.peak)
    }

    fn goal(&self, figure: String) -> Row {
        let holds = self.seconds <= SECONDS && self.peak <= MEMORY;
        Row::new(figure, format!("≤ {SECONDS} s, ≤ {MEMORY} MiB"), self.text(), holds)
    }
}

/// Seconds and MiB of one run. That it says what it must is asserted: a fast wrong answer is none.
fn run(options: &Options, folder: &Path, path: &str, bad: usize) -> (f64, f64) {
    let output = folder.join("output.txt");
    let began = Instant::now();
    let mut child = Command::new(&options.operator)
        .args(["validate", path])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(fs::File::create(&output).expect("a file for what it says"))
        .stderr(Stdio::null())
        .spawn()
        .expect("start validate");
    let mut peak = 0.0;
    let status = loop {
        // The kernel keeps the most that ever was, so what is missed is what the last moment added.
        peak = resident(child.id()).unwrap_or(peak);
        if let Some(status) = child.try_wait().expect("its exit code") {
            break status;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let seconds = began.elapsed().as_secs_f64();
    let said = fs::read_to_string(&output).expect("what it said");
    let mut broken: Vec<&str> = said.lines().filter(|line| !line.contains(": note: ")).filter_map(object).collect();
    broken.sort_unstable();
    broken.dedup();
    assert_eq!((status.code(), broken.len()), (Some(i32::from(bad > 0)), bad), "{said:.2000}");
    (seconds, peak)
}

/// The most of a process that was ever resident, in MiB.
fn resident(pid: u32) -> Option<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
}

/// The object that a line of findings is about.
fn object(line: &str) -> Option<&str> {
    line.split(": ").nth(1).filter(|name| name.contains('/'))
}

/// The n-th manifest, of all managed kinds in turn.
fn manifest(n: usize, bad: bool) -> String {
    let (kind, spec) = match n % 4 {
        0 => ("AgentAssistConfig", config(n, bad)),
        1 => ("PromptTemplate", prompt(n, bad)),
        2 => ("SkillProfile", profile(n, bad)),
        _ => ("SkillPolicy", policy(n, bad)),
    };
    format!(
        "apiVersion: assist-operator.dev/v1alpha1\nkind: {kind}\nmetadata:\n  name: n{n}\n  namespace: team-{}\n  labels: {{team: retail}}\nspec:\n  orgRef: {{name: production}}\n{spec}",
        n % 20
    )
}

fn config(n: usize, bad: bool) -> String {
    let (interval, refused) = if bad { ("5s", "    versionRevert: true\n") } else { ("5m", "") };
    format!(
        "  configId: c{n}\n  interval: {interval}\n  config:\n    tone: kind\n    suggestions:\n      enabled: true\n      max: 5\n      sources: [kb, faq, crm]\n    deep:\n      a: {{b: {{c: [1, 2, 3]}}}}\n{refused}"
    )
}

fn prompt(n: usize, bad: bool) -> String {
    let line = |n| format!("    Line {n} of a prompt about {{{{topic}}}} with some words to make it long enough.\n");
    let lines: String = (0..12).map(line).collect();
    let undeclared = if bad { "    {{undeclared}}\n" } else { "" };
    format!("  templateId: t{n}\n  content: |\n{lines}{undeclared}  variables:\n    topic: {{type: String, maxLength: 20}}\n")
}

fn profile(n: usize, bad: bool) -> String {
    let unlisted = if bad { "unlistd" } else { "unlisted" };
    let level = |skill| if bad && skill == 3 { "1.5" } else { "0.5" };
    let skill = |n: usize| format!("    - skillId: s{n}\n      proficiency: {}\n", level(n));
    let skills: String = (0..10).map(skill).collect();
    format!("  userId: u{n}\n  {unlisted}: Keep\n  skills:\n{skills}")
}

/// Half of them share one skill, each with agents of its own: claims are looked for among many.
fn policy(n: usize, bad: bool) -> String {
    let skill = if n % 8 == 3 { "shared".to_owned() } else { format!("k{n}") };
    let users: String = (0..20).map(|user| format!("    - agent-{n}-{user}\n")).collect();
    format!("  skillId: {skill}\n  lookback: {}\n  userIds:\n{users}", if bad { "36h" } else { "48h" })
}
