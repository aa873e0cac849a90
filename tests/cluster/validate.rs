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

/// The names that the API server accepts, and what it says of the others. `verb`: `create` sends manifests as they are, `apply` leaves nulls
/// out unless it is `--server-side`.
fn accepted(stage: &Stage, verb: &str, text: &str) -> (BTreeSet<String>, String) {
    let args = ["-n", &stage.namespace, verb, "--dry-run=server", "--validate=strict", "-o", "name", "-f", "-"];
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
        object(
            "GenesysOrg",
            json!({"endpoints": {"login": "https://login.example.com", "api": "http://localhost:8080/", "caBundle": "x"}, "credentials": {"secretRef": {"name": "s"}}, "suspend": true, "approval": {"required": false}}),
        ),
        object(
            "AgentAssistConfig",
            json!({"orgRef": {"name": "org", "namespace": "x"}, "configId": id, "restoreVersion": 4, "config": {}}),
        ),
        object(
            "PromptTemplate",
            json!({"orgRef": {"name": "org"}, "templateId": id, "contentFrom": {"configMapKeyRef": {"name": "m", "key": "k.txt"}}, "version": "1.2.3", "metadata": {"a": "b"}, "limits": {"maxCharacters": 20, "maxTokens": 9}, "propagation": {"timeout": "5m"}}),
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
        json!("http://10.0.0.1/x"),
        json!("36h"),
        json!("1h30m"),
        json!(1e300),
        json!({"matchLabels": null}),
        json!({"name": "s"}),
        json!("{{b}} {{c}}"),
        json!([{"skillId": "a", "proficiency": 2}]),
        json!("1.0.0"),
        json!(0),
        json!("é\u{202e}\u{1f600}"),
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
const ENGINE_ONLY: &[&str] = &[
    "is listed twice",
    "is already managed by",
    "it is not a URL",
    "it is more than a base URL",
    "plain http would send the token",
];

fn compare(stage: &Stage, text: &str, names: &[String]) -> [usize; 2] {
    let (findings, _) = validated(text);
    let (accepted, stderr) = accepted(stage, "create", text);
    let (mut counts, mut differences) = ([0, 0], Vec::new());
    for name in names {
        let said = findings.get(name).cloned().unwrap_or_default();
        let only_engine = !said.is_empty() && said.iter().all(|one| ENGINE_ONLY.iter().any(|words| one.contains(words)));
        let lines: Vec<&str> = stderr.lines().filter(|line| line.contains(&format!("\"{name}\""))).collect();
        if said.is_empty() != accepted.contains(name) && !only_engine {
            let manifest = text.lines().find(|line| line.contains(&format!("\"{name}\""))).unwrap_or_default();
            differences.push(format!("{name}\nvalidate: {said:#?}\nAPI server: {lines:#?}\n{manifest}"));
        }
        counts[usize::from(said.is_empty())] += 1;
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    counts
}

#[test]
fn validate_and_the_api_server_agree_about_any_change_of_a_good_manifest() {
    let stage = Stage::without_org("validate-any");
    stage.kill_operator();
    let mut random = fastrand::Rng::with_seed(20_266);
    let mut objects: Vec<Value> = (0..100)
        .flat_map(|n| {
            bases(n).into_iter().enumerate().map(move |(kind, mut object)| {
                object["metadata"]["name"] = json!(format!("v{n}-{kind}"));
                object
            })
        })
        .collect();
    for object in objects.iter_mut().skip(bases(0).len()) {
        mutate(object, &mut random);
        if random.u8(..4) == 0 {
            mutate(object, &mut random);
        }
    }
    let names: Vec<String> = objects.iter().map(|object| object["metadata"]["name"].as_str().unwrap().to_owned()).collect();
    let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
    let counts = compare(&stage, &text, &names);
    assert!(counts[0] > 300 && counts[1] > 90, "too few refused and accepted: {counts:?}");
}

#[test]
fn validate_and_the_api_server_agree_about_urls() {
    let stage = Stage::without_org("validate-urls");
    stage.kill_operator();
    let urls = [
        "https://a.example",
        "https://a.example/",
        "https://a.example:8443",
        "https://a.example:99999",
        "https://a.example:",
        "https://a.example/x",
        "https://a.example/x?y",
        "https://a.example?y",
        "https://a.example#y",
        "https://a.example/#y",
        "https://user@a.example",
        "https://user:pass@a.example/x",
        "https://@a.example",
        "HTTPS://a.example",
        "https://A.example",
        "https:a.example",
        "https:/a.example",
        "https:///a.example",
        "https://",
        "https:///",
        "https://a b",
        " https://a.example",
        "https://a.example ",
        "https://a.example\n",
        "https://a.exa\tmple",
        "https://a.example\\x",
        "https://a.example/%zz",
        "https://%zz",
        "https://bücher.example",
        "https://a_b.example",
        "https://a..example",
        "https://[::1]",
        "https://[::1]:443/x",
        "https://[::1",
        "https://[zz]",
        "https://127.1",
        "https://256.1.1.1",
        "https://1.2.3.4.5",
        "http://a.example",
        "http://a.example/x",
        "http://localhost",
        "http://localhost:80/",
        "http://127.0.0.1:8080",
        "http://127.9.9.9",
        "http://[::1]:8080",
        "http://localhost.example",
        "http://localhost:99999",
        "ftp://a.example",
        "a.example",
        "//a.example",
        "",
        "file:///etc/passwd",
        "javascript:x",
    ];
    let mut names = Vec::new();
    let mut text = String::new();
    for (n, url) in urls.iter().enumerate() {
        let good = "https://a.example";
        for (place, login, api, webhook) in
            [("login", *url, good, good), ("api", good, *url, good), ("webhook", good, good, *url)]
        {
            let name = format!("u{n}-{place}");
            let spec = json!({"endpoints": {"login": login, "api": api}, "credentials": {"secretRef": {"name": "s"}}, "audit": {"webhook": {"url": webhook}}});
            let object = json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": name}, "spec": spec});
            text.push_str(&format!("---\n{object}\n"));
            names.push(name);
        }
    }
    let counts = compare(&stage, &text, &names);
    assert!(counts[0] > 40 && counts[1] > 15, "{counts:?}");
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
    let mut differences = Vec::new();
    // What wins where a merge and a key say the same.
    let merges = [
        "<<: {policy: nope}\n  policy: Observe",
        "policy: Observe\n  <<: {policy: nope}",
        "policy: nope\n  <<: {policy: Observe}",
        "<<: [{policy: nope}, {policy: Observe}]",
        "<<: [{policy: Observe}, {policy: nope}]",
        "<<: {policy: Observe}\n  <<: {policy: nope}",
        "<<: {policy: nope}\n  <<: {policy: Observe}",
        "<<: {extra: 1}",
        "<<: {suspend: yes}",
        "\"<<\": {suspend: yes}",
        "<<: 5",
        "<<: []",
        "<<: [5]",
    ];
    for (n, merge) in merges.iter().enumerate() {
        let text = format!(
            "apiVersion: assist-operator.dev/v1alpha1\nkind: AgentAssistConfig\nmetadata: {{name: \"w{n}\"}}\nspec:\n  orgRef: {{name: org}}\n  configId: w{n}\n  config: {{}}\n  {merge}\n"
        );
        let (findings, said) = validated(&text);
        let (accepted, stderr) = accepted(&stage, "create", &text);
        differences.extend(
            (findings.is_empty() == accepted.is_empty()).then(|| format!("{merge}\nvalidate: {said}\nAPI server: {stderr}")),
        );
    }
    // Lists in lists, and items without a kind.
    let item = "apiVersion: assist-operator.dev/v1alpha1, kind: SkillProfile, metadata: {name: l}";
    let good = format!("{{{item}, spec: {{orgRef: {{name: org}}, userId: u, skills: []}}}}");
    let bad = format!("{{{item}, spec: {{orgRef: {{name: org}}, userId: u, skils: []}}}}");
    for items in [
        format!("[{good}]"),
        format!("[{bad}]"),
        format!("[{{apiVersion: v1, kind: List, items: [{good}]}}]"),
        format!("[{{apiVersion: v1, kind: List, items: [{bad}]}}]"),
        "[{a: b}]".to_owned(),
        "[5]".to_owned(),
    ] {
        let text = format!("apiVersion: v1\nkind: List\nitems: {items}\n");
        let (findings, said) = validated(&text);
        let (accepted, stderr) = accepted(&stage, "create", &text);
        differences.extend(
            (findings.is_empty() == accepted.is_empty()).then(|| format!("{items}\nvalidate: {said}\nAPI server: {stderr}")),
        );
    }
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
        let (accepted, stderr) = accepted(&stage, "apply", &text);
        differences.extend(
            (findings.is_empty() == accepted.is_empty()).then(|| format!("{metadata}\nvalidate: {said}\nAPI server: {stderr}")),
        );
    }
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
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
