//! The commands from the outside. A file of `tests/cli` is a story: text in, text out.
//!
//! ```text
//! # Words for the reader.
//! === team/a.yaml        a file of the story's folder, up to the line that is only ===
//! kind: A
//! ===
//! % sandbox              from here on a Genesys serves at http://sandbox, with what is in it from the start
//! % foreign config retail-assist /parameters/maxSuggestions 5
//!                        somebody else changes a member of a configuration
//! % calls                the calls since the last time, but for those for tokens; `% calls in any order` sorts them
//! % NAME=VALUE           a variable of the environment of all further commands
//! $ assist-operator validate team < team/a.yaml
//!   | what it prints on stdout
//!   ! what it prints on stderr
//!   = 1                  its exit code, where that is not 0
//! ```
//!
//! `<DIGEST-1>` is the first digest of a plan that was printed, also in a command line.
//!
//! `UPDATE_GOLDEN=1` writes the answers anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use assist_operator::sandbox::{Actor, Options, Sandbox};

/// What stands for the address of the sandbox.
const PLACE: &str = "http://sandbox";

/// The words of a command line; single quotes keep blanks and patterns.
fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            '\'' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => words.last_mut().unwrap().push(c),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

/// What stands around the commands of a story.
#[derive(Default)]
struct Stage {
    environment: Vec<(String, String)>,
    /// The digests of plans so far. They hold the port of the sandbox, so that a story says `<DIGEST-1>` for the first of them.
    digests: Vec<String>,
    sandbox: Option<(tokio::runtime::Runtime, Sandbox)>,
    seen: u64,
}

impl Stage {
    /// A command line with the digests that its words stand for.
    fn with_digests(&self, line: &str) -> String {
        let names = self.digests.iter().enumerate();
        names.fold(line.to_owned(), |line, (n, digest)| line.replace(&format!("<DIGEST-{}>", n + 1), digest))
    }

    /// An answer with words for its digests; what the command line says itself is none.
    fn without_digests(&mut self, line: &str, answer: &str) -> String {
        let is_digest = |word: &&str| word.len() == 16 && word.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        for word in answer.split(|c: char| !c.is_ascii_alphanumeric()).filter(is_digest) {
            if !line.contains(word) && !self.digests.iter().any(|known| known == word) {
                self.digests.push(word.to_owned());
            }
        }
        let names = self.digests.iter().enumerate();
        names.fold(answer.to_owned(), |answer, (n, digest)| answer.replace(digest, &format!("<DIGEST-{}>", n + 1)))
    }

    fn url(&self) -> &str {
        self.sandbox.as_ref().map_or(PLACE, |(_, sandbox)| sandbox.url())
    }

    /// Carries out a line that begins with `%`; what it says.
    fn direct(&mut self, line: &str) -> String {
        if line == "sandbox" {
            let _ = rustls::crypto::ring::default_provider().install_default();
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
            let sandbox = runtime.block_on(Sandbox::start(Options::default())).unwrap();
            self.sandbox = Some((runtime, sandbox));
            return String::new();
        }
        if let Some((name, value)) = line.split_once('=').filter(|(name, _)| !name.contains(' ')) {
            self.environment.push((name.to_owned(), value.to_owned()));
            return String::new();
        }
        let (_, sandbox) = self.sandbox.as_ref().unwrap();
        let world = sandbox.world();
        if let Some(rest) = line.strip_prefix("foreign config ") {
            let parts: Vec<&str> = rest.splitn(3, ' ').collect();
            let value = serde_json::from_str(parts[2]).unwrap();
            assert!(world.edit_config(parts[0], |document| *document.pointer_mut(parts[1]).unwrap() = value));
            return String::new();
        }
        let is_sorted = line == "calls in any order";
        assert!(is_sorted || line == "calls", "% {line}");
        let calls = world.journal_since(self.seen);
        self.seen = calls.last().map_or(self.seen, |call| call.seq);
        let calls = calls.iter().filter(|call| call.actor == Actor::Client && call.call != "T1");
        let mut calls: Vec<String> =
            calls.map(|call| format!("  | {} {}\n", call.call, call.target.as_deref().unwrap_or_default())).collect();
        if is_sorted {
            calls.sort();
        }
        calls.concat()
    }
}

/// Runs a command line in a folder, with nothing of the caller's environment that could matter.
fn run(folder: &Path, line: &str) -> Output {
    run_on(&Stage::default(), folder, line)
}

fn run_on(stage: &Stage, folder: &Path, line: &str) -> Output {
    let line = stage.with_digests(&line.replace(PLACE, stage.url()));
    let line = line.as_str();
    let (line, input) = line.split_once(" < ").map_or((line, None), |(line, input)| (line, Some(input)));
    let words = words(line);
    assert_eq!(words.first().map(String::as_str), Some("assist-operator"), "{line}");
    let input = input.map_or_else(Stdio::null, |path| File::open(folder.join(path)).unwrap().into());
    Command::new(env!("CARGO_BIN_EXE_assist-operator"))
        .args(&words[1..])
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .envs(stage.environment.iter().map(|(name, value)| (name, value)))
        .stdin(input)
        .output()
        .unwrap()
}

fn answer(output: &Output) -> String {
    let mut out = String::new();
    for (mark, bytes) in [('|', &output.stdout), ('!', &output.stderr)] {
        for line in std::str::from_utf8(bytes).unwrap().lines() {
            out.push_str(format!("  {mark} {line}").trim_end());
            out.push('\n');
        }
    }
    if let Some(code) = output.status.code().filter(|code| *code != 0) {
        out.push_str(&format!("  = {code}\n"));
    }
    out
}

/// The story as it goes now: everything but the answers is kept.
fn told(story: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let mut stage = Stage::default();
    let mut out = String::new();
    let mut lines = story.lines();
    while let Some(line) = lines.next() {
        if ["  |", "  !", "  ="].iter().any(|mark| line.starts_with(mark)) {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if let Some(path) = line.strip_prefix("=== ") {
            let path = folder.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            let content: Vec<&str> = lines.by_ref().take_while(|line| *line != "===").collect();
            let content: String = content.iter().map(|line| format!("{line}\n")).collect();
            fs::write(path, content.replace(PLACE, stage.url())).unwrap();
            out.push_str(&content);
            out.push_str("===\n");
        } else if let Some(line) = line.strip_prefix("$ ") {
            let answer = answer(&run_on(&stage, folder.path(), line)).replace(stage.url(), PLACE);
            out.push_str(&stage.without_digests(line, &answer));
        } else if let Some(line) = line.strip_prefix("% ") {
            out.push_str(&stage.direct(line));
        }
    }
    out
}

#[test]
fn every_story_goes_as_it_is_told() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli");
    let mut paths: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(paths.len() > 2, "{paths:?}");
    let mut wrong = Vec::new();
    for path in paths {
        let story = fs::read_to_string(&path).unwrap();
        assert!(story.contains("\n$ "), "{} runs nothing", path.display());
        let now = told(&story);
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
            fs::write(&path, &now).unwrap();
        } else if let Some((was, is)) = story.lines().zip(now.lines()).find(|(was, is)| was != is) {
            wrong.push(format!("{}\n- {was}\n+ {is}", path.display()));
        } else if story != now {
            wrong.push(format!("{}: it is longer or shorter:\n{now}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "UPDATE_GOLDEN=1 writes these anew:\n{}", wrong.join("\n"));
}

/// `validate` of one file: its exit code, and what it says.
fn validated(content: &[u8]) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("a.yaml")).unwrap().write_all(content).unwrap();
    let output = run(folder.path(), "assist-operator validate a.yaml");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    (output.status.code().expect("it ends by itself"), text)
}

#[test]
fn hostile_files_are_refused_with_a_reason() {
    let config = |rest: &str| {
        format!(
            "apiVersion: assist-operator.dev/v1alpha1\nkind: AgentAssistConfig\nmetadata: {{name: a}}\nspec:\n  orgRef: {{name: o}}\n  configId: c\n  config:\n{rest}\n"
        )
    };
    let bomb: String = (1..30).map(|n| format!("    a{n}: &a{n} [{}]\n", format!("*a{},", n - 1).repeat(9))).collect();
    let deep = |open: &str, close: &str| config(&format!("    a: {}1{}", open.repeat(400), close.repeat(400)));
    let blocks: String = (0..400).map(|n| format!("{}a:\n", " ".repeat(4 + n))).collect();
    for (content, part) in [
        (config(&format!("    a0: &a0 [x]\n{bomb}")).into_bytes(), "aliases repeat more than 4 MiB"),
        (config("    a: &a [*a]").into_bytes(), "an alias stands inside of what it names"),
        (deep("[", "]").into_bytes(), "nested deeper than"),
        (config(&blocks).into_bytes(), "a.yaml:"),
        (b"\x00\x01\x02\xff\xfe".to_vec(), "is not UTF-8"),
        (b"\x7fELF\x00\x00".to_vec(), "control character"),
        (b"a: b\n\xe2\x28".to_vec(), "a.yaml:2:1: it is not UTF-8"),
        (b"apiVersion: v1\nkind: A\nmetadata:\n\tname: a\n".to_vec(), "tab"),
        (b"{{ .Values.x }}\n".to_vec(), "a.yaml:1:"),
        (b"\"\xe2\x80\xae\": 1\nkind: \"\xe2\x80\xaeA\"\n".to_vec(), "apiVersion is missing"),
        (config("    a: .inf").into_bytes(), "JSON cannot hold"),
        (b"just words\n".to_vec(), "this is no manifest"),
        (config("    a: 1\n  policy: \"\\u202e\\e[31m\"").into_bytes(), "is not supported"),
        (
            b"apiVersion: v1\nkind: \"\\u202eA\"\nmetadata: {name: \"\\e[31m\\u2066\", \"\\u202e\": 1, labels: {\"\\e\": \"\\u202e\"}}\n".to_vec(),
            "is no value of a label",
        ),
        (config("    <<: {a: 1}\n    <<: {a: 2}\n    b: 1\n    b: 2").into_bytes(), "duplicate key b"),
        (config("    <<: &a {b: *a}").into_bytes(), "an alias stands inside of what it names"),
        (config("    <<: 5").into_bytes(), "<< merges no mapping"),
        (format!("{}{{}}{}", "{apiVersion: v1, kind: List, items: [".repeat(200), "]}".repeat(200)).into_bytes(), "nested deeper than"),
        (b"apiVersion: v1\nkind: List\nitems: [{apiVersion: v1, kind: List, items: [5]}]\n".to_vec(), "a list stands inside of a list"),
        (config(&format!("    a: {}", "x".repeat(4 << 20))).into_bytes(), "the API server reads no larger request"),
    ] {
        let (code, text) = validated(&content);
        assert!(code == 1 && text.contains(part), "{part} in {code} {text}");
        assert!(!text.contains(['\u{202e}', '\u{1b}', '\0']) && text.len() < 4000, "{text:?}");
    }
}

#[test]
fn long_lines_are_read_and_too_large_files_are_not() {
    let line = format!(
        "apiVersion: assist-operator.dev/v1alpha1\nkind: AgentAssistConfig\nmetadata: {{name: a}}\nspec: {{orgRef: {{name: o}}, configId: c, config: {{a: \"{}\"}}}}\n",
        "x".repeat(1 << 20)
    );
    let (code, text) = validated(line.as_bytes());
    assert!(code == 0 && text.contains("1 manifest valid"), "{text}");
    let folder = tempfile::tempdir().unwrap();
    File::create(folder.path().join("a.yaml")).unwrap().set_len(100 << 20).unwrap();
    let output = run(folder.path(), "assist-operator validate .");
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text, "./a.yaml: it is larger than 32 MiB (divide it into several files)\n");
}

/// Very long names with very much in them, each of it wrong: what is kept of places and findings is bounded, and so is what is said.
#[test]
fn long_names_around_many_mistakes_take_neither_memory_nor_words() {
    let members: String = (0..40_000).map(|n| format!("x{n}: 1, ")).collect();
    let text = format!(
        "apiVersion: assist-operator.dev/v1alpha1\nkind: PromptTemplate\nmetadata: {{name: a}}\nspec: {{orgRef: {{name: o}}, templateId: t, content: a, variables: {{? {} : {{{members}}}}}}}\n",
        "n".repeat(1 << 20)
    );
    let (code, text) = validated(text.as_bytes());
    assert!(code == 1 && text.contains("more findings about it"), "{text:.2000}");
    assert!(text.len() < 4 << 20, "{} bytes are said", text.len());
}

#[test]
fn very_many_files_and_deep_folders_are_gone_through() {
    let folder = tempfile::tempdir().unwrap();
    let mut deep = folder.path().join("many");
    fs::create_dir(&deep).unwrap();
    for n in 0..20_000 {
        File::create(deep.join(format!("{n}.yaml"))).unwrap();
    }
    for _ in 0..300 {
        deep.push("d");
    }
    fs::create_dir_all(&deep).unwrap();
    fs::write(deep.join("a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").unwrap();
    let output = run(folder.path(), "assist-operator validate many");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 manifest valid, 20000 files that hold none skipped\n");
}

/// Files that never end, cannot be read, or are none.
#[cfg(target_os = "linux")]
#[test]
fn devices_and_files_that_cannot_be_read_are_told() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("team")).unwrap();
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("team/zero.yaml")).unwrap();
    std::os::unix::fs::symlink("/proc/self/mem", folder.path().join("team/mem.yaml")).unwrap();
    std::os::unix::fs::symlink("loop.yaml", folder.path().join("team/loop.yaml")).unwrap();
    for (path, parts) in [
        ("/dev/zero", "/dev/zero: it is larger than 32 MiB"),
        ("/dev/null", "there are no manifests in /dev/null"),
        ("/proc/self/mem", "/proc/self/mem: it cannot be read: "),
        // The device is left alone there; the file is read.
        ("team", "team/mem.yaml: it cannot be read: "),
        ("team/loop.yaml", "there is no such file or directory"),
    ] {
        let output = run(folder.path(), &format!("assist-operator validate {path}"));
        let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(output.status.code() == Some(1) && text.contains(parts), "{path}: {text}");
        assert!(!text.contains("zero.yaml"), "{text}");
    }
}

#[cfg(unix)]
#[test]
fn links_that_lead_back_and_pipes_do_not_hold_it_up() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("team");
    fs::create_dir(&inner).unwrap();
    fs::write(inner.join("a.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: {name: a}\n").unwrap();
    std::os::unix::fs::symlink("..", inner.join("up")).unwrap();
    std::os::unix::fs::symlink("a.yaml", inner.join("b.yaml")).unwrap();
    std::os::unix::fs::symlink("nowhere", inner.join("c.yaml")).unwrap();
    assert!(Command::new("mkfifo").arg(inner.join("d.yaml")).status().unwrap().success());
    let output = run(folder.path(), "assist-operator validate . team 'team/*.yaml'");
    assert_eq!(String::from_utf8(output.stdout).unwrap(), "1 manifest valid\n");
}
