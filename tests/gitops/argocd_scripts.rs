//! Health checks and actions of `deploy/argocd`, run by Argo CD's own interpreter over what the real operator wrote.
//!
//! The scripts that are written by hand are `_/health.lua` and the actions of AgentAssistConfig and GenesysOrg; `UPDATE_GOLDEN=1 ./test
//! --gitops scripts` makes everything else from them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use assist_operator::kinds::KINDS;
use serde_json::{Value, json};

use crate::control_plane::process::{Scratch, hermetic};
use crate::recorded::{STATES, compare_or_write, customizations, file, read, yaml};
use crate::stage::condition;
use crate::tools;

const HOW: &str = "# Made from resource_customizations by UPDATE_GOLDEN=1 ./test --gitops scripts. Do not edit.\n";

/// Actions that every kind has, and the one of those whose plans wait for approval.
const ACTIONS: [&str; 4] = ["reconcile", "suspend", "resume", "approve"];

/// Argo CD's interpreter with the patch that a user applies.
struct Interpreter {
    scratch: Scratch,
}

impl Interpreter {
    fn new() -> Self {
        Self { scratch: Scratch::new() }
    }

    fn run(&self, command: &str, object: &Value, further: &[&str]) -> String {
        let path = self.scratch.path().join("object.yaml");
        std::fs::write(&path, object.to_string()).expect("write the object");
        let mut argocd = Command::new(tools::path("argocd"));
        hermetic(&mut argocd).env("HOME", self.scratch.path()).env("KUBECTL_EXTERNAL_DIFF", "sh -c 'cat \"$2\"' sh");
        argocd.args(["admin", "settings", "resource-overrides", command]).arg(&path).args(further);
        let output = argocd.arg("--argocd-cm-path").arg(deploy("argocd-cm.yaml")).output().expect("run argocd");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{command}: {}{}", text(&output.stdout), text(&output.stderr));
        text(&output.stdout)
    }

    /// Health and its message.
    fn health(&self, object: &Value) -> (String, String) {
        let answer = self.run("health", object, &[]);
        let (status, message) = answer.split_once("\nMESSAGE: ").unwrap_or((&answer, ""));
        (status.trim_start_matches("STATUS: ").to_owned(), message.trim_end().to_owned())
    }

    /// Names of the actions that are there, and of those whether they can be used.
    fn actions(&self, object: &Value) -> Vec<(String, bool)> {
        let answer = self.run("list-actions", object, &[]);
        let rows = answer.lines().skip(1).filter_map(|line| line.split_once(' '));
        rows.map(|(name, disabled)| (name.to_owned(), disabled.trim() == "false")).collect()
    }

    fn usable(&self, object: &Value) -> Vec<String> {
        self.actions(object).into_iter().filter(|(_, enabled)| *enabled).map(|(name, _)| name).collect()
    }

    /// The object after an action.
    fn act(&self, action: &str, object: &Value) -> Value {
        let answer = self.run("run-action", object, &[action]);
        let (_, changed) = answer.split_once("changed:\n\n").unwrap_or_else(|| panic!("{action} changed nothing: {answer}"));
        serde_saphyr::from_str(changed).unwrap_or_else(|error| panic!("{error}: {changed}"))
    }
}

fn deploy(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/argocd").join(name)
}

fn script(path: &str) -> String {
    let path = customizations().join(path);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|entry| entry.kind).chain(["GenesysOrg"]).collect()
}

fn actions_of(kind: &str) -> &'static [&'static str] {
    if kind == "GenesysOrg" { &ACTIONS[..3] } else { &ACTIONS }
}

/// A text as a block of YAML.
fn block(text: &str, indent: usize) -> String {
    let line = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("{:indent$}{line}\n", "") };
    text.lines().map(line).collect()
}

/// The patch that gives today's Argo CD all scripts.
fn config_map() -> String {
    let mut out = format!(
        "{HOW}# Apply it with: kubectl -n argocd patch configmap argocd-cm --patch-file deploy/argocd/argocd-cm.yaml\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-cm\n  labels:\n    app.kubernetes.io/part-of: argocd\ndata:\n"
    );
    let health = script("_/health.lua");
    for kind in kinds() {
        let _ = writeln!(out, "  resource.customizations.health.assist-operator.dev_{kind}: |\n{}", block(&health, 4).trim_end());
        let _ = writeln!(out, "  resource.customizations.actions.assist-operator.dev_{kind}: |");
        let _ = writeln!(out, "    discovery.lua: |\n{}", block(&script(&format!("{kind}/actions/discovery.lua")), 6).trim_end());
        out.push_str("    definitions:\n");
        for action in actions_of(kind) {
            let text = block(&script(&format!("{kind}/actions/{action}/action.lua")), 8);
            let _ = writeln!(out, "    - name: {action}\n      action.lua: |\n{}", text.trim_end());
        }
    }
    out
}

/// Roles for the actions: who may change how an object runs, and who may let a plan run.
fn roles() -> String {
    let mut out = format!(
        "{HOW}# Apply it with: kubectl -n argocd patch configmap argocd-rbac-cm --patch-file deploy/argocd/argocd-rbac-cm.yaml\n# and give the roles to groups there, for example: g, contact-center-leads, role:genesys-approver\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: argocd-rbac-cm\n  labels:\n    app.kubernetes.io/part-of: argocd\ndata:\n  policy.assist-operator.csv: |\n"
    );
    for kind in kinds() {
        for action in actions_of(kind) {
            let role = if *action == "approve" { "approver" } else { "operator" };
            let _ =
                writeln!(out, "    p, role:genesys-{role}, applications, action/assist-operator.dev/{kind}/{action}, */*, allow");
        }
    }
    out
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_of_all_kinds_and_what_a_user_applies_are_up_to_date() {
    for kind in kinds().into_iter().filter(|kind| !["AgentAssistConfig", "GenesysOrg"].contains(kind)) {
        let files = ACTIONS.iter().map(|action| format!("actions/{action}/action.lua"));
        for path in files.chain(["actions/discovery.lua".to_owned()]) {
            let text = script(&format!("AgentAssistConfig/{path}"));
            compare_or_write(&customizations().join(kind).join(path), &text);
        }
    }
    compare_or_write(&deploy("argocd-cm.yaml"), &config_map());
    compare_or_write(&deploy("argocd-rbac-cm.yaml"), &roles());
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_judge_the_health_of_every_recorded_state() {
    let interpreter = Interpreter::new();
    let mut cases = format!("{HOW}tests:\n");
    for state in &STATES {
        let object = read(state.name);
        let (health, message) = interpreter.health(&object);
        assert_eq!(health, state.health, "{}: {message}", state.name);
        let ready = condition(&object, "Ready")["message"].as_str().unwrap_or_default().to_owned();
        match state.name {
            "agentassistconfig_unseen" | "agentassistconfig_stale" => assert!(message.contains("not seen"), "{message}"),
            "genesysorg_suspended" => assert_eq!(message, format!("Suspended; {ready}")),
            "genesysorg_audit_undelivered" => assert!(message.starts_with(&ready) && message.contains("key"), "{message}"),
            _ => assert_eq!(message, ready, "{}", state.name),
        }
        let _ = writeln!(
            cases,
            "- healthStatus:\n    status: {health}\n    message: {}\n  inputPath: testdata/{}.yaml",
            json!(message),
            state.name
        );
    }
    compare_or_write(&customizations().join("_/health_test.yaml"), &cases);
    // What is missing breaks no script.
    for object in [
        json!({"status": {}}),
        json!({"status": {"observedGeneration": -1}}),
        json!({}),
        json!({"status": {"observedGeneration": 1, "conditions": []}}),
    ] {
        let mut whole = read("agentassistconfig_succeeded");
        whole["status"] = object["status"].clone();
        assert_eq!(interpreter.health(&whole).0, "Progressing", "{object}");
    }
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_of_actions_are_offered_where_they_make_sense_and_change_what_they_should() {
    let interpreter = Interpreter::new();
    for (name, usable) in [
        ("agentassistconfig_unseen", &["reconcile", "suspend"][..]),
        ("agentassistconfig_succeeded", &["reconcile", "suspend"]),
        ("agentassistconfig_awaiting_approval", &["approve", "reconcile", "suspend"]),
        ("agentassistconfig_suspended", &["resume"]),
        ("prompttemplate_succeeded", &["reconcile", "suspend"]),
        ("skillprofile_succeeded", &["reconcile", "suspend"]),
        ("skillpolicy_awaiting_approval", &["approve", "reconcile", "suspend"]),
        ("genesysorg_succeeded", &["reconcile", "suspend"]),
        ("genesysorg_suspended", &["reconcile", "resume"]),
    ] {
        assert_eq!(interpreter.usable(&read(name)), usable, "{name}");
    }
    for name in ["agentassistconfig_awaiting_approval", "skillpolicy_awaiting_approval"] {
        let object = read(name);
        let mut expected = object.clone();
        expected["metadata"]["annotations"] =
            json!({"assist-operator.dev/approve-plan": object["status"]["pendingPlan"]["digest"]});
        assert_eq!(interpreter.act("approve", &object), expected);
    }
    for name in ["agentassistconfig_succeeded", "prompttemplate_succeeded", "skillprofile_succeeded", "genesysorg_succeeded"] {
        let object = read(name);
        let mut expected = object.clone();
        expected["spec"]["suspend"] = json!(true);
        let suspended = interpreter.act("suspend", &object);
        assert_eq!(suspended, expected);
        expected["spec"]["suspend"] = json!(false);
        assert_eq!(interpreter.act("resume", &suspended), expected);
        let asked = interpreter.act("reconcile", &object);
        let token = &asked["metadata"]["annotations"]["assist-operator.dev/reconcile-requested-at"];
        assert!(token.as_str().is_some_and(|token| token.parse::<jiff::Timestamp>().is_ok()), "{token}");
    }
}

/// Title and icon of an action, as `discovery.lua` has them.
fn look(action: &str) -> (&'static str, &'static str) {
    match action {
        "reconcile" => ("Reconcile", "fa fa-fw fa-sync"),
        "suspend" => ("Suspend", "fa fa-fw fa-pause"),
        "resume" => ("Resume", "fa fa-fw fa-play"),
        _ => ("Approve plan", "fa fa-fw fa-check"),
    }
}

/// Test data of one kind's actions in the form of Argo CD's own repository: its cases, and its files by name.
fn action_cases(
    interpreter: &Interpreter,
    kind: &str,
    initial: &Value,
    waiting: Option<&Value>,
) -> (String, Vec<(String, Value)>) {
    let mut reconciled = interpreter.act("reconcile", initial);
    reconciled["metadata"]["annotations"]["assist-operator.dev/reconcile-requested-at"] = json!("0001-01-01T00:00:00Z");
    let suspended = interpreter.act("suspend", initial);
    let resumed = interpreter.act("resume", &suspended);
    let mut files =
        vec![("initial", initial.clone()), ("suspended", suspended), ("resumed", resumed), ("reconciled", reconciled)];
    let mut runs =
        vec![("reconcile", "initial", "reconciled"), ("suspend", "initial", "suspended"), ("resume", "suspended", "resumed")];
    if let Some(waiting) = waiting {
        files.extend([("waiting", waiting.clone()), ("approved", interpreter.act("approve", waiting))]);
        runs.push(("approve", "waiting", "approved"));
    }
    let mut cases = format!("{HOW}discoveryTests:\n");
    for (name, object) in files.iter().filter(|(name, _)| ["initial", "suspended", "waiting"].contains(name)) {
        let _ = writeln!(cases, "- inputPath: testdata/{name}.yaml\n  result:");
        let offered = interpreter.actions(object);
        assert_eq!(offered.len(), actions_of(kind).len(), "{kind}: {offered:?}");
        for (action, enabled) in offered {
            let (title, icon) = look(&action);
            let _ = writeln!(
                cases,
                "  - name: {action}\n    displayName: {title}\n    iconClass: {icon}\n    disabled: {}",
                !enabled
            );
        }
    }
    cases.push_str("actionTests:\n");
    for (action, from, to) in runs {
        let _ =
            writeln!(cases, "- action: {action}\n  inputPath: testdata/{from}.yaml\n  expectedOutputPath: testdata/{to}.yaml");
    }
    (cases, files.into_iter().map(|(name, object)| (format!("{name}.yaml"), object)).collect())
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_come_with_cases_for_the_actions_of_each_kind() {
    let interpreter = Interpreter::new();
    for kind in kinds() {
        let recorded = |state: &str| {
            let name = format!("{}_{state}", kind.to_lowercase());
            STATES.iter().any(|state| state.name == name).then(|| read(&name))
        };
        let initial = recorded("succeeded").or_else(|| recorded("proposed")).expect("a recording of each kind");
        let (cases, files) = action_cases(&interpreter, kind, &initial, recorded("awaiting_approval").as_ref());
        let folder = customizations().join(kind).join("actions");
        compare_or_write(&folder.join("action_test.yaml"), &cases);
        for (name, object) in files {
            compare_or_write(&folder.join("testdata").join(name), &yaml(&object));
        }
    }
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_can_be_allowed_to_some_and_not_to_others() {
    let scratch = Scratch::new();
    // The command wants to know a cluster, which it never asks.
    let kubeconfig = scratch.path().join("kubeconfig");
    let none = json!({
        "apiVersion": "v1", "kind": "Config", "current-context": "none",
        "clusters": [{"name": "none", "cluster": {"server": "http://127.0.0.1:1"}}],
        "users": [{"name": "none", "user": {}}],
        "contexts": [{"name": "none", "context": {"cluster": "none", "user": "none"}}],
    });
    std::fs::write(&kubeconfig, none.to_string()).expect("write a kubeconfig");
    let allowed = |role: &str, action: &str| {
        let mut argocd = Command::new(tools::path("argocd"));
        hermetic(&mut argocd).env("HOME", scratch.path()).env("KUBECONFIG", &kubeconfig);
        argocd.args(["admin", "settings", "rbac", "can", role, &format!("action/assist-operator.dev/{action}"), "applications"]);
        argocd.args(["default/genesys", "--policy-file"]).arg(deploy("argocd-rbac-cm.yaml"));
        let answer = String::from_utf8(argocd.output().expect("run argocd").stdout).expect("UTF-8");
        assert!(["Yes", "No"].contains(&answer.trim()), "{answer}");
        answer.trim() == "Yes"
    };
    assert!(allowed("role:genesys-approver", "AgentAssistConfig/approve"));
    assert!(!allowed("role:genesys-operator", "AgentAssistConfig/approve"));
    assert!(allowed("role:genesys-operator", "GenesysOrg/suspend"));
    assert!(!allowed("role:genesys-approver", "GenesysOrg/suspend"));
    assert!(!allowed("role:readonly", "AgentAssistConfig/approve"));
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn scripts_come_with_test_data_for_every_recorded_state() {
    for state in &STATES {
        assert!(file(state.name).is_file(), "{} has no recording: UPDATE_GOLDEN=1 ./test --gitops recorded", state.name);
    }
}
