//! `validate` and the API server say the same of any manifest, apart from rules that only the engine has.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::stage::{BINARY, Stage};

/// What `validate` says of manifests: findings by object, and all of them.
fn validated(text: &str) -> (BTreeMap<String, Vec<String>>, Value) {
    let mut child = Command::new(BINARY)
        .args(["validate", "-o", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said: Value = serde_json::from_slice(&child.wait_with_output().unwrap().stdout).unwrap();
    let mut objects: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for finding in said["findings"].as_array().unwrap().iter().filter(|finding| finding["level"] == "error") {
        let name = finding["object"].as_str().unwrap_or_default().rsplit('/').next().unwrap().to_owned();
        objects.entry(name).or_default().push(format!("{}: {}", finding["field"], finding["problem"]));
    }
    (objects, said)
}

/// The names that the API server accepts, and what it says of the others.
fn accepted(stage: &Stage, text: &str) -> (BTreeSet<String>, String) {
    let args = ["-n", &stage.namespace, "apply", "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-"];
    let out = stage.plane.kubectl_with_input(&args, text);
    (out.stdout.lines().filter_map(|line| Some(line.rsplit_once('/')?.1.to_owned())).collect(), out.stderr)
}

/// A good object of each kind, each with a remote id of its own.
fn bases(n: usize) -> Vec<Value> {
    let object = |kind: &str, spec: Value| json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": format!("v{n}")}, "spec": spec});
    let id = format!("id-{n}");
    vec![
        object(
            "AgentAssistConfig",
            json!({"orgRef": {"name": "org"}, "configId": id, "interval": "5m", "policy": "Observe", "config": {"a": {"b": [1, null]}}, "ignore": ["/x"], "approval": {"required": true}}),
        ),
        object(
            "PromptTemplate",
            json!({"orgRef": {"name": "org"}, "templateId": id, "content": "a {{b}}", "variables": {"b": {"type": "String", "maxLength": 5}}, "abTest": {"variantId": "x", "trafficPercent": 5}}),
        ),
        object(
            "SkillProfile",
            json!({"orgRef": {"name": "org"}, "userId": id, "unlisted": "Keep", "skills": [{"skillId": "a", "proficiency": 0.5}, {"skillId": "b", "proficiency": 1}]}),
        ),
        object(
            "SkillPolicy",
            json!({"orgRef": {"name": "org"}, "skillId": id, "userIds": ["a", "b"], "lookback": "48h", "maxStep": 0.5, "scoring": {"csatScale": 5, "handleTimeBands": [{"aboveSeconds": 5, "factor": 1}]}}),
        ),
        object(
            "GenesysOrg",
            json!({"region": "eu-central-1", "credentials": {"secretRef": {"name": "s"}}, "requestsPerMinute": 20, "changeLimit": {"perHour": 5}, "audit": {"webhook": {"url": "https://a.example/x", "signingKeyRef": {"name": "s", "key": "k"}}}, "allowedNamespaces": {"from": "Selector", "kinds": ["SkillPolicy"], "selector": {"matchLabels": {"a": "b"}}}}),
        ),
    ]
}

/// The pointers of everything inside of a value.
fn pointers(value: &Value, pointer: &str, out: &mut Vec<String>) {
    let names: Vec<String> = match value {
        Value::Object(map) => map.keys().cloned().collect(),
        Value::Array(list) => (0..list.len()).map(|n| n.to_string()).collect(),
        _ => Vec::new(),
    };
    for name in names {
        let pointer = format!("{pointer}/{name}");
        pointers(value.pointer(&format!("/{name}")).unwrap(), &pointer, out);
        out.push(pointer);
    }
}

/// Changes one thing at random.
fn mutate(object: &mut Value, random: &mut fastrand::Rng) {
    let mut all = Vec::new();
    pointers(&object["spec"], "/spec", &mut all);
    let pointer = random.choice(&all).unwrap().clone();
    let (parent, name) = pointer.rsplit_once('/').unwrap();
    let junk = [
        json!(null),
        json!(true),
        json!(5),
        json!(5.5),
        json!(-1),
        json!("text"),
        json!(""),
        json!([]),
        json!({}),
        json!([null]),
        json!({"a": null}),
        json!("5m"),
        json!(3_000_000_000_u64),
        json!("https://b.example"),
        json!("x".repeat(300)),
        json!("a b"),
    ];
    let value = random.choice(&junk).unwrap().clone();
    match (random.u8(..4), object.pointer_mut(parent)) {
        (0, Some(Value::Object(map))) => drop(map.remove(name)),
        (1, Some(Value::Object(map))) => drop(map.insert("extra".into(), value)),
        (0, Some(Value::Array(list))) => list.push(list[0].clone()),
        _ => *object.pointer_mut(&pointer).unwrap() = value,
    }
}

/// Rules that the API server leaves to the engine, each with words of its finding.
const ENGINE_ONLY: &[&str] = &["is listed twice"];

fn compare(stage: &Stage, text: &str, names: &[String]) -> [usize; 2] {
    let (findings, _) = validated(text);
    let (accepted, stderr) = accepted(stage, text);
    let mut counts = [0, 0];
    for name in names {
        let said = findings.get(name).cloned().unwrap_or_default();
        let only_engine = !said.is_empty() && said.iter().all(|one| ENGINE_ONLY.iter().any(|words| one.contains(words)));
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(&format!("\"{name}\""))).collect();
        assert!(
            said.is_empty() == accepted.contains(name) || only_engine,
            "{name}\nvalidate: {said:#?}\nAPI server: {lines:#?}\n{}",
            text.lines().find(|line| line.contains(&format!("\"{name}\""))).unwrap_or_default()
        );
        counts[usize::from(said.is_empty())] += 1;
    }
    counts
}

#[test]
fn validate_and_the_api_server_agree_about_any_change_of_a_good_manifest() {
    let stage = Stage::without_org("validate-any");
    stage.kill_operator();
    let mut random = fastrand::Rng::with_seed(20_266);
    let mut objects: Vec<Value> = (0..120)
        .flat_map(|n| {
            bases(n).into_iter().enumerate().map(move |(kind, mut object)| {
                object["metadata"]["name"] = json!(format!("v{n}-{kind}"));
                object
            })
        })
        .collect();
    for object in objects.iter_mut().skip(5) {
        mutate(object, &mut random);
    }
    let names: Vec<String> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    let counts = compare(&stage, &text, &names);
    assert!(counts[0] > 150 && counts[1] > 100, "too few refused and accepted: {counts:?}");
}

#[test]
fn yaml_means_to_validate_what_it_means_to_kubectl() {
    let stage = Stage::without_org("validate-yaml");
    stage.kill_operator();
    let specs = [
        "suspend: yes",
        "suspend: \"yes\"",
        "suspend: y",
        "suspend: ~",
        "suspend: 1",
        "policy: Observe",
        "policy: observe",
        "policy:",
        "restoreVersion: 010",
        "restoreVersion: 1.0",
        "restoreVersion: 1e3",
        "restoreVersion: 0x1F",
        "restoreVersion: 1_0",
        "restoreVersion: 1.5",
        "restoreVersion: \"1\"",
        "interval: 90s",
        "interval: 90",
        "interval: 1:30",
        "ignore: [/a, /b]",
        "ignore: /a",
        "ignore: [1]",
        "ignore: []",
        "approval: {required: on}",
        "approval: {required: true, by: me}",
        "approval: []",
        "intervall: 90s",
        "propagation: {timeout: 5m}",
        "status: {}",
    ];
    let names: Vec<String> = (0..specs.len()).map(|n| format!("y{n}")).collect();
    let text: String = specs.iter().enumerate().map(|(n, spec)| {
        format!("---\napiVersion: assist-operator.dev/v1alpha1\nkind: AgentAssistConfig\nmetadata: {{name: \"y{n}\"}}\nspec:\n  orgRef: {{name: org}}\n  configId: id-{n}\n  config: {{a: yes}}\n  {spec}\n")
    }).collect();
    let counts = compare(&stage, &text, &names);
    assert!(counts[0] > 8 && counts[1] > 8, "{counts:?}");
    for metadata in [
        "{name: m}",
        "{name: M}",
        "{name: m_n}",
        "{name: m.n}",
        "{name: 1}",
        "{name: m, labels: {a: b}}",
        "{name: m, labels: {a: yes}}",
        "{name: m, labels: {a b: c}}",
        "{name: m, labels: {a: \"b c\"}}",
        "{name: m, annotations: {A/b: c d}}",
        "{name: m, lables: {a: b}}",
        "{name: m, labels: {a: null}}",
        "{generateName: m-}",
        "{name: \"\"}",
        "{}",
    ] {
        let text = format!(
            "apiVersion: assist-operator.dev/v1alpha1\nkind: SkillProfile\nmetadata: {metadata}\nspec: {{orgRef: {{name: org}}, userId: u, skills: []}}\n"
        );
        let (findings, said) = validated(&text);
        let (accepted, stderr) = accepted(&stage, &text);
        assert_eq!(findings.is_empty(), !accepted.is_empty(), "{metadata}\nvalidate: {said}\nAPI server: {stderr}");
    }
}

#[test]
fn validate_says_of_every_example_what_the_api_server_says() {
    let stage = Stage::without_org("validate-examples");
    stage.kill_operator();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let mut seen = 0;
    for folder in ["sandbox", "features"] {
        for entry in std::fs::read_dir(root.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let text = if path.is_dir() {
                stage.kubectl(&["kustomize", &path.to_string_lossy()])
            } else {
                std::fs::read_to_string(&path).unwrap()
            };
            let (findings, said) = validated(&text);
            let args = ["-n", &stage.namespace, "apply", "--dry-run=server", "--validate=strict", "-f", "-"];
            let out = stage.plane.kubectl_with_input(&args, &text);
            assert_eq!(findings.is_empty(), out.success(), "{}\nvalidate: {said}\nAPI server: {}", path.display(), out.stderr);
            seen += 1;
        }
    }
    assert!(seen >= 16, "{seen} examples");
}
