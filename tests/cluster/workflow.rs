//! The commands around the controller, with a cluster and without: plan, apply, export, approve, get. What was written is read from the
//! journal of the sandbox.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use assist_operator::sandbox::{Fault, FaultKind, Times};

use crate::control_plane::process::random;
use crate::stage::{BINARY, Stage};

const WRITES: [&str; 3] = ["C3", "P2", "S2"];

/// Manifests of a test in a folder of their own.
struct Files {
    folder: tempfile::TempDir,
}

impl Files {
    fn new(objects: &[Value]) -> Self {
        let files = Self { folder: tempfile::tempdir().unwrap() };
        files.write(objects);
        files
    }

    fn write(&self, objects: &[Value]) {
        let text: String = objects.iter().map(|object| format!("---\n{object}\n")).collect();
        std::fs::write(self.path(), text).unwrap();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("objects.yaml")
    }
}

fn command(stage: &Stage, args: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(args).env_clear().env("HOME", stage.plane.scratch()).stdin(Stdio::null());
    command
}

/// Runs a command with the cluster of the stage.
fn on_cluster(stage: &Stage, args: &[&str]) -> (i32, String) {
    let kubeconfig = stage.plane.kubeconfig();
    told(&command(stage, args).args(["-n", &stage.namespace, "--kubeconfig", kubeconfig.to_str().unwrap()]).output().unwrap())
}

fn told(output: &Output) -> (i32, String) {
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output.status.code().unwrap_or(-1), text)
}

/// `plan` of files with the cluster.
fn plan(stage: &Stage, files: &Files, extra: &[&str]) -> (i32, String) {
    let path = files.path();
    on_cluster(stage, &[&["plan", path.to_str().unwrap(), "--allow-endpoint", stage.url()], extra].concat())
}

fn writes(stage: &Stage, mark: u64) -> Vec<(String, String, Option<i64>)> {
    let calls = stage.calls_since(mark).into_iter().filter(|call| WRITES.contains(&call.call.as_str()));
    calls.map(|call| (call.call, call.target.unwrap_or_default(), call.version)).collect()
}

fn seeded(stage: &Stage) -> [Value; 3] {
    stage.world().put_config("c1", json!({"name": "old", "limits": {"max": 3, "min": 1}}));
    stage.world().put_prompt("p1", &[json!({"version": "1.0.0", "content": "Ask why.", "variables": {}, "metadata": {}})]);
    stage.world().put_user("u1", json!({"version": 4, "name": "u1", "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
    [
        stage.config("c1", json!({"config": {"name": "old", "limits": {"max": 3}}})),
        stage.object("PromptTemplate", "p1", json!({"templateId": "p1", "content": "Ask why."})),
        stage.object("SkillProfile", "u1", json!({"userId": "u1", "skills": [{"skillId": "billing", "proficiency": 0.1}]})),
    ]
}

#[test]
fn the_plan_is_exactly_what_the_controller_then_writes() {
    let stage = Stage::new("plan");
    let objects = seeded(&stage);
    objects.iter().for_each(|object| drop(stage.apply_ok(object)));
    ["aac/c1", "pt/p1", "skp/u1"].iter().for_each(|name| drop(stage.wait_ready(name, "True", "Succeeded")));
    let files = Files::new(&objects);
    assert_eq!(plan(&stage, &files, &[]).0, 0, "nothing differs yet");

    let changed = [
        stage.config("c1", json!({"config": {"name": "new", "limits": {"max": 5}}})),
        stage.object("PromptTemplate", "p1", json!({"templateId": "p1", "content": "Ask why, kindly."})),
        stage.object("SkillProfile", "u1", json!({"userId": "u1", "skills": [{"skillId": "billing", "proficiency": 0.8}]})),
    ];
    files.write(&changed);
    let mark = stage.mark();
    let (code, text) = plan(&stage, &files, &[]);
    assert_eq!(code, 2, "{text}");
    let (code, report) = plan(&stage, &files, &["-o", "json"]);
    let report: Value = serde_json::from_str(&report).unwrap();
    assert_eq!((code, &report["summary"]["changed"]), (2, &json!(3)));
    assert_eq!(writes(&stage, mark), [], "a plan writes nothing");

    let steps: Vec<&Value> =
        report["objects"].as_array().unwrap().iter().flat_map(|o| o["plan"]["steps"].as_array().unwrap()).collect();
    let mut planned: Vec<(String, String, Option<i64>)> = steps
        .iter()
        .map(|step| {
            let call = match step["action"].as_str().unwrap() {
                "CONFIG_UPDATE" => "C3",
                "VERSION_PROMOTION" => "P2",
                "SKILL_UPDATE" => "S2",
                other => panic!("{other}"),
            };
            let target = step["target"].as_str().unwrap().split_once('/').unwrap().1;
            (call.to_owned(), target.to_owned(), step["version"].as_str().unwrap().parse().ok())
        })
        .collect();
    for step in &steps {
        // The same in words: the change and the version that is asked for.
        assert!(text.contains(step["version"].as_str().unwrap()), "{text}");
        for change in step["changes"].as_array().unwrap() {
            assert!(text.contains(change["path"].as_str().unwrap()), "{text}");
        }
    }
    let mark = stage.mark();
    changed.iter().for_each(|object| drop(stage.apply_ok(object)));
    ["aac/c1", "pt/p1", "skp/u1"].iter().for_each(|name| drop(stage.wait_ready(name, "True", "Succeeded")));
    let mut written = writes(&stage, mark);
    written.sort();
    planned.sort();
    assert_eq!(written, planned);
    let guard = steps.iter().find_map(|step| step["guard"]["etagAndVersion"]["etag"].as_str()).unwrap();
    let sent = stage.calls_since(mark).into_iter().find(|call| call.call == "C3").unwrap();
    assert_eq!(sent.if_match.as_deref(), Some(guard), "under the guard that the plan names");
    assert_eq!(plan(&stage, &files, &[]).0, 0);
    stage.assert_invariants();
}

#[test]
fn what_is_no_longer_declared_is_planned_where_the_cluster_remembers_it() {
    let stage = Stage::new("plan-memory");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "old", "extra": {"added": true}}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let files = Files::new(&[stage.config("c1", json!({"config": {"name": "old"}}))]);
    let (code, text) = plan(&stage, &files, &[]);
    assert!(code == 2 && text.contains("- /extra: {\"added\":true}") && !text.contains("Note:"), "{text}");
    // Without the cluster nobody knows, and it says so.
    let mut org = stage.get("gorg/org");
    org.as_object_mut().unwrap().remove("status");
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": "demo-client", "clientSecret": "demo-secret"}});
    let org = json!({"apiVersion": org["apiVersion"], "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec": org["spec"]});
    files.write(&[org, secret, stage.config("c1", json!({"config": {"name": "old"}}))]);
    let path = files.path();
    let (code, text) =
        told(&command(&stage, &["plan", path.to_str().unwrap(), "--allow-endpoint", stage.url()]).output().unwrap());
    assert!(code == 0 && text.contains("Note: without a cluster"), "{code} {text}");
}

#[test]
fn an_export_plans_as_empty_and_changes_nothing_when_it_is_applied() {
    let stage = Stage::new("export");
    seeded(&stage);
    let long: String = "Say {{name}}: \"yes\", 'no' # never\n\ttab\n".repeat(150);
    let hard = json!({"version": "2.0.0-b.1", "content": long, "metadata": {"on": "yes", "n": "010"},
        "variables": {"name": "string", "count": 3, "flag": false, "note": "a: b"},
        "abTestingTrigger": {"enabled": true, "trafficPercent": 0.25, "variantId": "b_1"}});
    let content = format!("{}{{{{count}}}} {{{{flag}}}} {{{{note}}}}", hard["content"].as_str().unwrap());
    let mut hard = hard;
    hard["content"] = content.into();
    stage.world().put_prompt("Hard_Prompt", &[hard]);
    stage.world().put_config(
        "hard",
        json!({"name": "null", "n": null, "yes": "on", "list": [null, 1.0, "1e3", {"deep": [null]}], "empty": {}, "none": [], "date": "2026-01-01", "big": 9007199254740993_i64}),
    );
    stage.world().put_config("vast", json!({"name": "a", "sums": [{"big": 12345678901234567890_u64}]}));
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("live");
    let args = ["export", "--org", "org", "--allow-endpoint", stage.url(), "-o", out.to_str().unwrap()];
    let ids = ["--config", "c1", "hard", "--prompt", "p1", "Hard_Prompt", "--user", "u1"];
    let (code, text) = on_cluster(&stage, &[&args[..], &ids].concat());
    assert_eq!((code, text.lines().count()), (0, 5), "{text}");
    let (code, text) = on_cluster(&stage, &[&args[..], &["--config", "vast"]].concat());
    assert!(code == 1 && text.contains("/sums/0/big does not reach Kubernetes as it is"), "{text}");
    let (code, text) = on_cluster(&stage, &["plan", out.to_str().unwrap(), "--allow-endpoint", stage.url()]);
    assert!(code == 0 && text.contains("0 to change, 5 unchanged"), "{text}");
    let mark = stage.mark();
    stage.kubectl(&["apply", "-f", out.to_str().unwrap()]);
    let names = stage.kubectl(&["get", "aac,pt,skp", "-o", "name"]);
    for name in names.lines() {
        stage.wait_ready(name, "True", "Succeeded");
    }
    assert_eq!((names.lines().count(), writes(&stage, mark)), (5, vec![]));
}

#[test]
fn approve_lets_the_plan_run_that_was_shown_and_no_other() {
    let stage = Stage::new("approve");
    stage.world().put_config("c1", json!({"name": "old", "other": 1}));
    assert_eq!(on_cluster(&stage, &["approve"]), (0, "No plan waits for approval.\n".to_owned()));
    stage.apply_config("c1", json!({"approval": {"required": true}, "config": {"name": "new"}}));
    let first =
        stage.wait_ready("c1", "False", "AwaitingApproval")["status"]["pendingPlan"]["digest"].as_str().unwrap().to_owned();
    let (code, text) = on_cluster(&stage, &["approve"]);
    assert!(code == 2 && text.contains("~ /name: \"old\" -> \"new\"") && text.contains(&first), "{text}");

    // The live state changes: the plan that was shown is not the one that waits.
    assert!(stage.world().edit_config("c1", |document| document["name"] = "foreign".into()));
    stage.request_check("c1", "look");
    let (code, text) = on_cluster(&stage, &["approve", "aac/c1", &first, "--wait=5s"]);
    assert!(code == 1 && text.contains("does not wait any more") && text.contains("\"foreign\" -> \"new\""), "{text}");
    // By hand the old digest does not help either.
    stage.kubectl(&["annotate", "--overwrite", "aac/c1", &format!("assist-operator.dev/approve-plan={first}")]);
    stage.request_check("c1", "look again");
    let second =
        stage.wait_ready("c1", "False", "AwaitingApproval")["status"]["pendingPlan"]["digest"].as_str().unwrap().to_owned();
    assert!(second != first && writes(&stage, 0).is_empty());

    let (code, text) = on_cluster(&stage, &["approve", "AgentAssistConfig/c1", &second, "--wait"]);
    assert!(code == 0 && text.contains("is approved") && text.contains("Ready True, Succeeded"), "{text}");
    assert_eq!(writes(&stage, 0).len(), 1);
    let (code, text) = on_cluster(&stage, &["approve", "aac/c1", &second]);
    assert!(code == 1 && text.contains("no plan of AgentAssistConfig"), "{text}");
}

#[test]
fn apply_leaves_alone_what_the_cluster_says_is_not_its_own() {
    let stage = Stage::new("apply-cluster");
    for id in ["mine", "taken", "paused", "other"] {
        stage.world().put_config(id, json!({"name": "old"}));
    }
    stage.apply_config("taken", json!({"config": {"name": "old"}}));
    stage.apply_config("other", json!({"config": {"name": "old"}}));
    stage.apply_config("paused", json!({"suspend": true, "config": {"name": "new"}}));
    stage.wait_ready("taken", "True", "Succeeded");
    stage.wait_ready("other", "True", "Succeeded");
    let younger = {
        let mut object = stage.config("younger", json!({"config": {"name": "new"}}));
        object["spec"]["configId"] = "taken".into();
        object
    };
    let files = Files::new(&[
        stage.config("mine", json!({"config": {"name": "new"}})),
        younger,
        stage.config("paused", json!({"config": {"name": "new"}})),
        stage.config("other", json!({"config": {"name": "new"}})),
    ]);
    let mark = stage.mark();
    let path = files.path();
    let (code, text) = on_cluster(&stage, &["apply", path.to_str().unwrap(), "--allow-endpoint", stage.url()]);
    assert_eq!(code, 1, "{text}");
    for part in [
        "1 written, 0 unchanged, 1 suspended, 2 failed",
        "DuplicateOwner: taken is already managed by taken of this namespace",
        "suspended by spec.suspend in the cluster",
        "the cluster has this object with another spec",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert_eq!(writes(&stage, mark), [("C3".to_owned(), "mine".to_owned(), Some(2))]);
}

/// A GenesysOrg as a manifest.
fn org(stage: &Stage, name: &str, secret: &str, extra: &Value) -> Value {
    let mut spec = json!({"endpoints": {"login": stage.url(), "api": stage.url()}, "credentials": {"secretRef": {"name": secret}}, "requestsPerMinute": 3000});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn what_holds_in_the_cluster_is_not_taken_off_by_a_manifest() {
    let stage = Stage::without_org("apply-guards");
    for id in ["c1", "c2"] {
        stage.world().put_config(id, json!({"name": "old"}));
    }
    let allow = ["--allow-endpoint", stage.url()];
    let apply = |files: &Files| on_cluster(&stage, &[&["apply", files.path().to_str().unwrap()], &allow[..]].concat());
    let change = stage.config("c2", json!({"config": {"name": "new"}}));
    let plain = org(&stage, "org", "genesys", &json!({}));
    let files = Files::new(&[plain.clone(), change.clone()]);

    stage.apply_org(json!({"approval": {"required": true}}));
    let (code, text) = apply(&files);
    assert!(code == 2 && text.contains("AwaitingApproval"), "{text}");
    stage.apply_org(json!({"approval": {"required": false}, "suspend": true}));
    let (code, text) = apply(&files);
    assert!(code == 0 && text.contains("suspended by spec.suspend of its GenesysOrg"), "{text}");

    // One write an hour, and the controller has made it.
    stage.apply_org(json!({"suspend": false, "changeLimit": {"perHour": 1}}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    let mark = stage.mark();
    let (code, text) = apply(&files);
    assert!(code == 2 && text.contains("ChangeBudgetExceeded"), "{text}");

    // A Secret of the cluster goes nowhere but where the org of the cluster says.
    let mut own = change.clone();
    own["spec"]["orgRef"]["name"] = "mine".into();
    files.write(&[org(&stage, "mine", "genesys", &json!({})), own]);
    let (code, text) = apply(&files);
    assert!(code == 1 && text.contains("used only as the GenesysOrg of the cluster says"), "{text}");

    // The same organisation under another name: what is owned there is owned here.
    stage.apply_ok(&org(&stage, "second", "genesys", &json!({})));
    let mut other = stage.config("other", json!({"configId": "c1", "config": {"name": "newer"}}));
    other["spec"]["orgRef"]["name"] = "second".into();
    files.write(&[other]);
    let (code, text) = apply(&files);
    assert!(code == 1 && text.contains("DuplicateOwner: c1 is already managed by c1 of this namespace"), "{text}");

    // A name is no part of a URL.
    let mut crooked = change;
    crooked["spec"]["orgRef"]["name"] = "org?x=y".into();
    files.write(&[crooked]);
    let (code, text) = apply(&files);
    assert!(code == 1 && text.contains("is no name of a GenesysOrg"), "{text}");
    assert_eq!(writes(&stage, mark), []);
}

#[test]
fn a_lost_answer_and_a_dead_webhook_are_told_by_apply() {
    let stage = Stage::without_org("apply-audit");
    stage.kill_operator();
    for id in ["c1", "c2"] {
        stage.world().put_config(id, json!({"name": "old"}));
    }
    let hook = json!({"audit": {"webhook": {"url": format!("{}/nowhere", stage.url())}}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": "demo-client", "clientSecret": "demo-secret"}});
    let configs = ["c1", "c2"].map(|id| stage.config(id, json!({"config": {"name": "new"}})));
    let files = Files::new(&[org(&stage, "org", "genesys", &hook), secret.clone(), configs[0].clone(), configs[1].clone()]);
    let path = files.path();
    let args = ["apply", path.to_str().unwrap(), "--allow-endpoint", stage.url(), "--timeout", "3s"];
    let (code, text) = told(&command(&stage, &args).output().unwrap());
    assert_eq!(code, 1, "{text}");
    for part in [
        "its audit records were not delivered",
        "undelivered audit record: {",
        "AuditBacklog",
        "1 written",
        "1 without their audit record",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    assert_eq!(writes(&stage, 0).len(), 1, "nothing more is written for that org");

    // The write takes effect, its answer is lost, and nothing can be read any more.
    files.write(&[org(&stage, "org", "genesys", &json!({})), secret, configs[1].clone()]);
    stage.fault(Fault::new(FaultKind::ResetAfter).on(&["C3"]));
    stage.fault(Fault::new(FaultKind::status(503)).on(&["C1"]).after(1).times(Times::Count(1000)));
    let (code, text) = told(&command(&stage, &args).output().unwrap());
    assert!(code == 1 && text.contains("was sent, and its outcome is not known (audit id "), "{text}");
}

#[test]
fn get_shows_the_fleet() {
    let stage = Stage::new("get");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    stage.wait_ready("c1", "True", "Succeeded");
    assert_eq!(on_cluster(&stage, &["get"]).0, 0);
    stage.apply_config("gone", json!({"config": {"name": "new"}}));
    stage.wait_ready("gone", "False", "NotFound");
    let (code, text) = on_cluster(&stage, &["get", "-o", "wide"]);
    assert!(code == 1 && text.contains("config gone does not exist"), "{text}");
    let row = text.lines().find(|line| line.contains("/c1 ")).unwrap();
    let cells: Vec<&str> = row.split_whitespace().collect();
    let object = format!("{}/c1", stage.namespace);
    assert_eq!(&cells[..6], ["AgentAssistConfig", &object, &format!("{}/org", stage.namespace), "True", "Succeeded", "True"]);
    let (code, text) = on_cluster(&stage, &["get", "--attention", "-o", "json"]);
    let fleet: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, fleet["objects"].as_array().unwrap().len(), &fleet["objects"][0]["name"]), (1, 1, &json!("gone")));
    assert_eq!(fleet["orgs"][0]["callsPerMinute"], 3000);
}

/// Fifteen objects without a cluster, each to be written once.
fn fifteen(stage: &Stage) -> Files {
    let org = json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec":
        {"endpoints": {"login": stage.url(), "api": stage.url()}, "credentials": {"secretRef": {"name": "genesys"}}, "requestsPerMinute": 3000}});
    let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": "demo-client", "clientSecret": "demo-secret"}});
    let mut objects = vec![org, secret];
    for n in 0..5 {
        stage.world().put_config(&format!("c{n}"), json!({"name": "old"}));
        stage
            .world()
            .put_prompt(&format!("p{n}"), &[json!({"version": "1.0.0", "content": "old", "variables": {}, "metadata": {}})]);
        stage.world().put_user(&format!("u{n}"), json!({"version": 1, "name": "u", "skills": []}));
        objects.push(stage.config(&format!("c{n}"), json!({"config": {"name": "new"}})));
        objects.push(stage.object("PromptTemplate", &format!("p{n}"), json!({"templateId": format!("p{n}"), "content": "new"})));
        let skills = json!([{"skillId": "billing", "proficiency": 0.5}]);
        objects.push(stage.object("SkillProfile", &format!("u{n}"), json!({"userId": format!("u{n}"), "skills": skills})));
    }
    Files::new(&objects)
}

#[test]
fn an_apply_that_is_killed_or_interrupted_at_any_point_harms_nothing() {
    let stage = Stage::without_org("apply-killed");
    stage.kill_operator();
    let files = fifteen(&stage);
    stage.world().set_latency(Duration::from_millis(15));
    let path = files.path();
    let args = ["apply", path.to_str().unwrap(), "--allow-endpoint", stage.url()];
    for round in 0..20 {
        let mut child = command(&stage, &args).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        // Each round gets a little further, and ends anywhere: that is what is tried here.
        std::thread::sleep(Duration::from_millis(40 + round * 10 + random() % 40));
        if round % 4 == 3 {
            let signal = if round % 8 == 3 { "-INT" } else { "-TERM" };
            Command::new("kill").args([signal, &child.id().to_string()]).status().unwrap();
            let output = child.wait_with_output().unwrap();
            let told = output.status.code() == Some(1) && String::from_utf8_lossy(&output.stderr).contains("interrupted");
            // It may have come before anything had begun, or after everything was done.
            assert!(told || output.status.success() || output.status.code().is_none(), "{output:?}");
        } else {
            child.kill().unwrap();
            child.wait().unwrap();
        }
        // Whatever was on its way has arrived; a write that arrives later could not be told from none.
        stage.wait_until("nothing is under way", || stage.world().in_flight() == 0);
    }
    let (code, text) = told(&command(&stage, &args).output().unwrap());
    assert_eq!(code, 0, "{text}");
    let mut applied: Vec<(String, Option<String>)> = stage
        .calls_since(0)
        .into_iter()
        .filter(|call| WRITES.contains(&call.call.as_str()) && call.applied)
        .map(|call| (call.call, call.target))
        .collect();
    applied.sort();
    assert_eq!(applied.len(), 15, "each object is written once: {applied:?}");
    applied.dedup();
    assert_eq!(applied.len(), 15, "{applied:?}");
    stage.assert_invariants();
}
