//! The pages are what they say: every manifest in them is accepted by the API server, and every command runs.
//!
//! A block of yaml is a manifest, unless it is marked as a `fragment`. A block of sh runs, unless it is marked `norun`, with the reason in
//! a comment above it. A block of text behind commands is what they print; `…` stands for anything. What a page takes for granted stands
//! in a comment that begins with `first:`. `docs/install.md` has a test of its own, beside the real Helm.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::control_plane::ControlPlane;
use crate::control_plane::process::{Scratch, free_ports, hermetic, poll};
use crate::stage::BINARY;

/// Why commands are not run here, and how many blocks there are. Whoever adds one says so here.
const NOT_RUN: &[(&str, usize)] = &[
    ("builds the program", 2),
    ("needs Argo CD", 5),
    ("needs Flux", 2),
    ("needs a Genesys Cloud account", 1),
    ("needs the Prometheus operator", 1),
];

/// Groups of manifests for other controllers, which this API server does not know. `tests/gitops` applies some of them.
const FOREIGN: &[&str] =
    &["argoproj.io", "kustomize.toolkit.fluxcd.io", "source.toolkit.fluxcd.io", "monitoring.coreos.com", "cilium.io"];

/// Before everything: what was started ends with the script, and the script with the test, whose end of the pipe the system closes.
/// grep that finds nothing is an answer, not a failure.
const PREAMBLE: &str = r#"
set -euo pipefail
exec 3<&0 </dev/null
{ read -r _ <&3; kill -9 -- -$$; } >/dev/null 2>&1 &
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
grep() { command grep "$@" || test $? -eq 1; }
"#;

/// What all pages but the first one take for granted: the sandbox, the operator, and the objects of examples/sandbox.
const PREPARED: &str = r#"
assist-operator sandbox > sandbox.log &
assist-operator run --leader-elect --lease-namespace assist-operator \
    --allow-endpoint http://127.0.0.1:8181 --listen 127.0.0.1:8080 > operator.log 2>&1 &
curl -s -o ready.json --retry 100 --retry-connrefused --retry-delay 1 http://127.0.0.1:8181/sandbox/journal
kubectl apply -f examples/sandbox/secret.yaml -f examples/sandbox/org.yaml
kubectl apply -f examples/sandbox
kubectl wait --for=condition=Ready gorg,aac,pt --all --timeout=2m
"#;

/// A fenced block of a page.
#[derive(Debug)]
struct Block {
    line: usize,
    /// What stands behind the fence.
    info: String,
    text: String,
    /// The comment right above it.
    comment: Option<String>,
}

#[derive(Debug)]
struct Page {
    name: String,
    blocks: Vec<Block>,
    /// What has to be there before its commands can run.
    first: String,
}

impl Page {
    fn read(name: &str) -> Self {
        let text = fs::read_to_string(root().join(name)).unwrap();
        let mut blocks = Vec::new();
        let mut first = String::new();
        let (mut open, mut comment): (Option<Block>, Option<String>) = (None, None);
        let mut lines = text.lines().enumerate();
        while let Some((index, line)) = lines.next() {
            match (&mut open, line.strip_prefix("```")) {
                (None, Some(info)) => {
                    open = Some(Block { line: index + 1, info: info.to_owned(), text: String::new(), comment: comment.take() });
                }
                (Some(_), Some("")) => blocks.extend(open.take()),
                (Some(block), _) => block.text.push_str(&format!("{line}\n")),
                (None, None) if line.starts_with("<!--") => {
                    let mut whole = line.to_owned();
                    while !whole.ends_with("-->") {
                        whole.push_str(&format!("\n{}", lines.next().expect("the comment ends").1));
                    }
                    let inner = whole.trim_start_matches("<!--").trim_end_matches("-->").trim().to_owned();
                    match inner.strip_prefix("first:") {
                        Some(commands) => first.push_str(&format!("{commands}\n")),
                        None => comment = Some(inner),
                    }
                }
                (None, None) if line.is_empty() => {}
                (None, None) => comment = None,
            }
        }
        assert!(open.is_none(), "{name}: a block is not closed");
        Self { name: name.to_owned(), blocks, first }
    }

    /// Its commands in order, each block behind a line with its number.
    fn script(&self) -> String {
        let runs = self.blocks.iter().filter(|block| block.info == "sh");
        runs.map(|block| format!("printf '\\n@%s\\n' {}\n{}", block.line, block.text)).collect()
    }

    /// Each block of text has what the commands above it printed.
    fn assert_printed(&self, output: &str) {
        for pair in self.blocks.windows(2).filter(|pair| pair[0].info == "sh" && pair[1].info == "text") {
            let (_, rest) = output.split_once(&format!("\n@{}\n", pair[0].line)).unwrap();
            let printed = rest.split_once("\n@").map_or(rest, |(printed, _)| printed);
            for line in pair[1].text.lines().filter(|line| !line.is_empty()) {
                let is_there = printed.lines().any(|other| {
                    let mut parts = line.split('…').map(str::trim);
                    parts.try_fold(other, |rest, part| Some(rest.split_once(part)?.1)).is_some()
                });
                assert!(is_there, "{}:{}: nobody printed {line:?}, but\n{printed}", self.name, pair[1].line);
            }
        }
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn pages() -> Vec<Page> {
    let mut names = vec!["README.md".to_owned()];
    let mut folders = vec![root().join("docs")];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
            match path.extension().is_some_and(|extension| extension == "md") {
                true => names.push(path.strip_prefix(root()).unwrap().to_string_lossy().into_owned()),
                false if path.is_dir() => folders.push(path),
                false => {}
            }
        }
    }
    names.sort();
    names.iter().map(|name| Page::read(name)).collect()
}

/// A folder with what the commands name, for one page: the sandbox and the operator listen on other ports.
struct Desk {
    scratch: Scratch,
    ports: [u16; 2],
}

impl Desk {
    fn new() -> Self {
        let desk = Self { scratch: Scratch::new(), ports: free_ports() };
        for folder in ["examples", "deploy", "crds"] {
            desk.copy(&root().join(folder), &desk.scratch.path().join(folder));
        }
        desk
    }

    fn copy(&self, from: &Path, to: &Path) {
        if from.is_dir() {
            fs::create_dir_all(to).unwrap();
            fs::read_dir(from)
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .for_each(|name| self.copy(&from.join(&name), &to.join(&name)));
        } else {
            fs::write(to, self.moved(&fs::read_to_string(from).unwrap())).unwrap();
        }
    }

    fn moved(&self, text: &str) -> String {
        let [sandbox, operator] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        // The sandbox listens where it is told to, which a page need not say.
        let text = text.replace("assist-operator sandbox >", "assist-operator sandbox --listen 127.0.0.1:8181 >");
        text.replace("127.0.0.1:8181", &sandbox).replace("127.0.0.1:8080", &operator)
    }

    /// Runs a script to its end; what it printed.
    fn run(&self, plane: &ControlPlane, page: &str, script: &str) -> String {
        let kubectl = PathBuf::from(plane.kubectl_command().get_program());
        let path = [Path::new(BINARY).parent().unwrap(), kubectl.parent().unwrap(), Path::new("/usr/bin"), Path::new("/bin")];
        let (log, script) = (self.scratch.path().join("printed"), format!("{PREAMBLE}{}", self.moved(script)));
        let out = File::create(&log).unwrap();
        let mut command = Command::new("bash");
        hermetic(&mut command).env("PATH", std::env::join_paths(path).unwrap()).env("HOME", self.scratch.path());
        command.env("KUBECONFIG", plane.kubeconfig()).env("KUBERC", "off").current_dir(self.scratch.path());
        command.args(["--noprofile", "--norc", "-c", &script]).process_group(0);
        command.stdin(Stdio::piped()).stdout(out.try_clone().unwrap()).stderr(out);
        let mut bash = command.spawn().unwrap();
        let ended = poll(Duration::from_secs(300), || bash.try_wait().unwrap().ok_or("it does not end"));
        let printed = fs::read_to_string(&log).unwrap();
        let operator = fs::read_to_string(self.scratch.path().join("operator.log")).unwrap_or_default();
        assert!(ended.is_ok_and(|status| status.success()), "{page}: {ended:?}\n{printed}\noperator.log:\n{operator}");
        printed
    }
}

#[test]
fn every_block_is_of_a_known_kind_and_what_is_not_run_has_a_known_reason() {
    let mut reasons: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for page in pages() {
        for block in &page.blocks {
            let place = format!("{}:{}", page.name, block.line);
            match block.info.as_str() {
                "sh" | "yaml" | "text" | "json" | "yaml fragment" | "" => {}
                "sh norun" => {
                    let reason = block.comment.as_deref().and_then(|comment| comment.strip_prefix("norun: "));
                    reasons
                        .entry(reason.unwrap_or_else(|| panic!("{place}: why is it not run?")).to_owned())
                        .or_default()
                        .push(place);
                }
                other => panic!("{place}: {other:?} is none of sh, sh norun, yaml, yaml fragment, text, json"),
            }
        }
    }
    let found: BTreeMap<&str, usize> = reasons.iter().map(|(reason, places)| (reason.as_str(), places.len())).collect();
    assert_eq!(found, NOT_RUN.iter().copied().collect(), "{reasons:#?}");
}

/// The name that a heading has in a link: what GitHub makes of it.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars().filter(|c| c.is_alphanumeric() || " -_".contains(*c)).map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn every_link_within_the_repository_leads_somewhere() {
    let mut seen = 0;
    for page in pages() {
        let text = fs::read_to_string(root().join(&page.name)).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')').map(|(target, _)| target)) {
            if target.starts_with("https://") {
                continue;
            }
            let (file, section) = target.split_once('#').unwrap_or((target, ""));
            let folder = root().join(&page.name).parent().unwrap().to_owned();
            let path = if file.is_empty() { root().join(&page.name) } else { folder.join(file) };
            assert!(path.exists(), "{}: {target} is not there", page.name);
            if !section.is_empty() {
                let linked = fs::read_to_string(&path).unwrap();
                let is_there = linked.lines().any(|line| line.starts_with('#') && anchor(line) == section);
                assert!(is_there, "{}: {target}: there is no such section", page.name);
            }
            seen += 1;
        }
    }
    assert!(seen >= 50, "{seen} links");
}

#[test]
fn every_manifest_in_a_page_is_accepted() {
    let plane = crate::control_plane::shared();
    // Installs the CRDs.
    let stage = crate::stage::Stage::without_org("docs");
    stage.kill_operator();
    let mut seen = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.info == "yaml") {
            let place = format!("{}:{}", page.name, block.line);
            let path = plane.scratch().join("block.yaml");
            fs::write(&path, &block.text).unwrap();
            let path = path.to_string_lossy();
            let said = Command::new(BINARY).args(["validate", &path]).output().unwrap();
            assert!(
                said.status.success(),
                "{place}: {}{}",
                String::from_utf8_lossy(&said.stdout),
                String::from_utf8_lossy(&said.stderr)
            );
            let documents = block.text.split("\n---\n").map(|document| serde_saphyr::from_str::<Value>(document).unwrap());
            let (foreign, ours): (Vec<Value>, Vec<Value>) = documents
                .partition(|document| FOREIGN.contains(&document["apiVersion"].as_str().unwrap().split('/').next().unwrap()));
            assert!(foreign.is_empty() || ours.is_empty(), "{place}: it mixes manifests for several controllers");
            if foreign.is_empty() {
                let namespaces: BTreeSet<&str> = ours.iter().filter_map(|one| one["metadata"]["namespace"].as_str()).collect();
                namespaces.iter().for_each(|namespace| drop(plane.kubectl(&["create", "namespace", namespace])));
                let out = plane.kubectl(&["apply", "--dry-run=server", "--validate=strict", "-f", &path]);
                assert!(out.success(), "{place}: {}", out.stderr);
            }
            seen += ours.len();
        }
    }
    assert!(seen >= 10, "{seen} manifests");
}

/// The names of members at any depth; what is below those of `closed` is described elsewhere.
fn members(value: &Value, closed: &[&str], out: &mut BTreeSet<String>) {
    for (name, inner) in value.as_object().into_iter().flatten() {
        out.insert(name.clone());
        if !closed.contains(&name.as_str()) {
            members(inner, closed, out);
        }
    }
    value.as_array().into_iter().flatten().for_each(|inner| members(inner, closed, out));
}

#[test]
fn the_page_about_the_commands_names_every_member_of_a_plan_as_json() {
    let stage = crate::stage::Stage::without_org("members");
    stage.kill_operator();
    let url = stage.url();
    let manifests = [
        json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": "demo-client", "clientSecret": "demo-secret"}}),
        json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec": {"endpoints": {"login": url, "api": url}, "credentials": {"secretRef": {"name": "genesys"}}}}),
        stage.config("retail-assist", json!({"config": {"enabled": false, "added": 1}})),
        stage.config("observed", json!({"configId": "retail-assist-2", "suspend": true, "config": {"enabled": false}})),
        stage.object("PromptTemplate", "prompt", json!({"templateId": "loyalty-save", "content": "Hello"})),
        stage.object("SkillPolicy", "policy", json!({"skillId": "retail-returns", "userIds": ["agent-ana"], "mode": "Enforce"})),
    ];
    let path = stage.plane.scratch().join("members.yaml");
    fs::write(&path, manifests.map(|manifest| manifest.to_string()).join("\n---\n")).unwrap();
    let mut command = Command::new(BINARY);
    let output = command.args(["plan", "-o", "json", "--allow-endpoint", url]).arg(&path).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let plan: Value = serde_json::from_slice(&output.stdout).unwrap();
    let mut names = BTreeSet::new();
    members(&plan, &["from", "to", "level", "evaluated"], &mut names);
    for name in ["steps", "etagAndVersion", "beforeHash", "tokens", "level", "stopped", "evaluated"] {
        assert!(names.contains(name), "{name} is not in {plan:#}");
    }
    let page = fs::read_to_string(root().join("docs/cli.md")).unwrap();
    let words: BTreeSet<&str> = page.split(|c: char| !c.is_alphanumeric()).collect();
    let missing: Vec<&String> = names.iter().filter(|name| !words.contains(name.as_str())).collect();
    assert!(missing.is_empty(), "docs/cli.md does not name {missing:?}");
}

#[test]
fn a_new_user_gets_started_word_for_word() {
    let plane = ControlPlane::start();
    let (desk, page) = (Desk::new(), Page::read("docs/getting-started.md"));
    let printed = desk.run(&plane, &page.name, &page.script());
    page.assert_printed(&printed);
    // It ends with everything gone but the definition for Argo CD, which the page removes last.
    assert!(!plane.kubectl_ok(&["get", "crds", "-o", "name"]).contains("assist-operator.dev"), "{printed}");
}

#[test]
fn the_commands_of_every_other_page_run() {
    let plane = ControlPlane::start();
    let crds = Command::new(BINARY).arg("crds").output().unwrap();
    plane.apply_crds(&String::from_utf8(crds.stdout).unwrap());
    for namespace in ["assist-operator", "genesys"] {
        plane.kubectl_ok(&["create", "namespace", namespace]);
    }
    let mut blocks = 0;
    for page in pages() {
        let has_commands = page.blocks.iter().any(|block| block.info == "sh");
        if !has_commands || ["docs/getting-started.md", "docs/install.md"].contains(&page.name.as_str()) {
            continue;
        }
        let script = format!("{PREPARED}{}{}", page.first, page.script());
        // What a reader puts in.
        let script =
            script.replace(" NAMESPACE", " default").replace("gorg NAME", "gorg demo").replace(" NAME", " retail-assist");
        let printed = Desk::new().run(&plane, &page.name, &script);
        page.assert_printed(&printed);
        blocks += page.blocks.iter().filter(|block| block.info == "sh").count();
        let left = "gorg,aac,pt,skp,skpol,auditrecords,secrets,configmaps,events";
        plane.kubectl_ok(&["delete", left, "--all", "--all-namespaces"]);
    }
    assert!(blocks >= 20, "{blocks} blocks");
}
