//! `assist-operator demo` from the outside: it succeeds, and its output is the golden one. `UPDATE_GOLDEN=1` writes it anew.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use assist_operator::api::{AgentAssistConfig, GenesysOrg, PromptTemplate, SkillPolicy, SkillProfile};
use assist_operator::engine::Kind;
use assist_operator::engine::genesys_org::{AllowedEndpoints, validate};
use assist_operator::engine::kind::Texts;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn demo() -> Output {
    // Anywhere: the manifests are in the binary.
    Command::new(env!("CARGO_BIN_EXE_assist-operator")).arg("demo").current_dir(std::env::temp_dir()).output().unwrap()
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Without what differs from run to run, or may: the port, and the part of an ETag that is a hash.
fn normalise(text: &str) -> String {
    let mut ports = text.split("http://127.0.0.1:");
    let mut out = ports.next().unwrap().to_owned();
    for piece in ports {
        let rest = piece.trim_start_matches(|c: char| c.is_ascii_digit());
        // The sandbox's usual port, in what a person would type.
        let port = if piece.starts_with("8181") { "8181" } else { "PORT" };
        out.extend(["http://127.0.0.1:", port, rest]);
    }
    let mut tags = out.split("If-Match \"");
    let mut out = tags.next().unwrap().to_owned();
    for piece in tags {
        let (tag, rest) = piece.split_once('"').unwrap();
        let (version, _) = tag.split_once('-').unwrap();
        out.push_str(&format!("If-Match \"{version}-ETAG\"{rest}"));
    }
    out
}

#[test]
fn the_demo_succeeds_and_tells_the_golden_story() {
    let output = demo();
    let (stdout, stderr) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert!(output.status.success(), "{stderr}\n{stdout}");
    assert_eq!(stderr, "");
    let seen = normalise(&stdout);
    let path = root().join("tests/golden/demo.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &seen).unwrap();
    }
    let golden = std::fs::read_to_string(&path).unwrap();
    let first = seen.lines().zip(golden.lines()).position(|(seen, golden)| seen != golden);
    assert!(seen == golden, "line {:?} differs; UPDATE_GOLDEN=1 writes it anew:\n{seen}", first.map(|n| n + 1));
}

#[test]
fn the_demo_is_narrow_and_without_colour_where_it_is_no_terminal() {
    let stdout = String::from_utf8(demo().stdout).unwrap();
    let wide: Vec<&str> = stdout.lines().filter(|line| line.chars().count() > 100 || line.ends_with(' ')).collect();
    assert!(wide.is_empty(), "{wide:#?}");
    assert!(!stdout.contains('\u{1b}'));
}

/// All manifests in a folder of `examples`, by file. Folders in it are for kustomize.
fn examples(folder: &str) -> Vec<(PathBuf, Value)> {
    let files = std::fs::read_dir(root().join("examples").join(folder)).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).filter(|path| path.is_file()).collect();
    paths.sort();
    let documents = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let values: Vec<Value> = serde_saphyr::from_multiple(&text).unwrap();
        values.into_iter().map(move |value| (path.clone(), value))
    };
    paths.into_iter().flat_map(documents).collect()
}

/// The fields of an object are all in its manifest, and no others.
fn assert_known(path: &Path, object: &impl Serialize, value: &Value) {
    let spec = |value: &Value| by_value(value["spec"].clone());
    assert_eq!(spec(&serde_json::to_value(object).unwrap()), spec(value), "{}: unknown fields", path.display());
}

/// Numbers by their value: where a type has a float, a manifest may well say 600.
fn by_value(value: Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().into(),
        Value::Array(list) => list.into_iter().map(by_value).collect(),
        Value::Object(map) => map.into_iter().map(|(name, value)| (name, by_value(value))).collect(),
        other => other,
    }
}

/// Reads an object of a managed kind: its fields are known, and its rules hold unless the file is a refused one. Its remote id.
fn checked<K: Kind + Serialize + DeserializeOwned>(path: &Path, value: &Value) -> String {
    let object: K = serde_json::from_value(value.clone()).unwrap();
    let refused = path.file_stem().unwrap().to_string_lossy().ends_with("refused");
    let findings = object.validate(&Texts::new()).err();
    assert_eq!(findings.is_some(), refused, "{}: {findings:?}", path.display());
    assert_known(path, &object, value);
    format!("{}/{}", K::KIND, object.remote_id())
}

#[test]
fn the_examples_hold_known_fields_only_and_are_valid_but_for_the_refused_ones() {
    let all = AllowedEndpoints { all: true, urls: Vec::new() };
    let mut ids = Vec::new();
    for (path, value) in examples("sandbox").into_iter().chain(examples("features")) {
        match value["kind"].as_str().unwrap() {
            "Secret" => {}
            "GenesysOrg" => {
                let org: GenesysOrg = serde_json::from_value(value.clone()).unwrap();
                validate(&org.spec, &all).unwrap();
                assert_eq!(serde_json::to_value(&org.spec).unwrap(), value["spec"], "{}: unknown fields", path.display());
            }
            "AgentAssistConfig" => ids.push(checked::<AgentAssistConfig>(&path, &value)),
            "PromptTemplate" => ids.push(checked::<PromptTemplate>(&path, &value)),
            "SkillProfile" => ids.push(checked::<SkillProfile>(&path, &value)),
            "SkillPolicy" => ids.push(checked::<SkillPolicy>(&path, &value)),
            kind => panic!("{}: {kind} is not known to this test", path.display()),
        }
    }
    let count = ids.len();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), count, "two examples claim the same remote object: {ids:?}");
}
