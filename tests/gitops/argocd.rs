//! A real Argo CD brings the examples from a git repository to the cluster, and shows what the operator says.

use std::path::Path;

use serde_json::{Value, json};

use crate::argo::{self, Argo};
use crate::repository::Repository;
use crate::stage::{Stage, condition};

const CONFIG: &str = "examples/team/assist/retail-assist.yaml";
const THRESHOLD: &str = "confidenceThreshold: 0.8";

/// A team: a namespace with an operator, and a repository with the examples, whose Applications begin with the name of the namespace.
struct Team {
    stage: Stage,
    argo: &'static Argo,
    repository: Repository,
}

fn adapted(stage: &Stage, text: &str) -> String {
    text.replace("http://127.0.0.1:8181", stage.url())
        .replace("namespace: genesys\n", &format!("namespace: {}\n", stage.namespace))
        .replace("name: genesys\n  namespace: argocd", &format!("name: {}\n  namespace: argocd", stage.namespace))
        .replace("name: genesys-", &format!("name: {}-", stage.namespace))
}

impl Team {
    fn new(name: &str) -> Self {
        let stage = Stage::without_org(name);
        let repository = Repository::of_examples(&|text| adapted(&stage, text));
        let team = Self { stage, argo: argo::shared(), repository };
        // The Applications in the repository name the repository.
        for app in ["org", "assist"] {
            let name = format!("examples/argocd/apps/{app}.yaml");
            team.repository.change(&name, "https://git.example.com/contact-center/genesys.git", &team.repository.url());
        }
        team
    }

    /// An Application of the examples, for this team.
    fn apply(&self, example: &str, options: &[&str]) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/argocd").join(example);
        let text = std::fs::read_to_string(path).expect("an example");
        let text =
            adapted(&self.stage, &text).replace("https://git.example.com/contact-center/genesys.git", &self.repository.url());
        let mut app: Value = serde_saphyr::from_str(&text).expect("an Application");
        if let Some(list) = app["spec"]["syncPolicy"]["syncOptions"].as_array_mut() {
            list.extend(options.iter().map(|option| json!(option)));
        }
        if options.contains(&"ServerSideApply=true") {
            app["metadata"]["annotations"] = json!({"argocd.argoproj.io/compare-options": "ServerSideDiff=true"});
        }
        self.argo.apply(&app.to_string());
    }

    fn app(&self) -> &str {
        &self.stage.namespace
    }

    fn threshold(&self) -> Value {
        self.stage.world().config("retail-assist").expect("the config")["parameters"]["confidenceThreshold"].clone()
    }

    /// Health and message of an object, as Argo CD shows them to people.
    fn wait_object(&self, app: &str, kind: &str, health: &str) -> Value {
        let found = |app: &Value| {
            let mut resources = app["status"]["resources"].as_array().into_iter().flatten();
            resources.find(|resource| resource["kind"] == kind).cloned().unwrap_or_default()
        };
        let app = self.argo.wait(app, &format!("shows {kind} as {health}"), |app| found(app)["health"]["status"] == health);
        found(&app)
    }
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn a_commit_converges_a_bad_one_is_degraded_with_its_reason_and_a_revert_heals() {
    let team = Team::new("argo-commit");
    team.apply("application.yaml", &[]);
    team.argo.wait_status(team.app(), "Synced", "Healthy", None);
    assert_eq!(team.threshold(), json!(0.8), "Healthy means that Genesys has it");
    let commit = team.repository.change(CONFIG, THRESHOLD, "confidenceThreshold: 0.9");
    team.argo.refresh(team.app());
    team.argo.wait_status(team.app(), "Synced", "Healthy", Some(&commit));
    team.stage.wait_until("the new value is live", || team.threshold() == json!(0.9));
    // A rollback to a version that never was: the remote has it not, and only a person can help.
    let commit = team.repository.change(CONFIG, "configId: retail-assist\n", "configId: retail-assist\n  restoreVersion: 99\n");
    team.argo.refresh(team.app());
    let app = team.argo.wait_status(team.app(), "Synced", "Degraded", Some(&commit));
    let object = team.stage.wait_ready("retail-assist", "False", "NotFound");
    let message = condition(&object, "Stalled")["message"].clone();
    assert!(message.as_str().is_some_and(|message| message.contains("99")), "{message}");
    let shown = team.wait_object(team.app(), "AgentAssistConfig", "Degraded");
    assert_eq!(shown["health"]["message"], message, "{:#}", app["status"]);
    assert_eq!(team.threshold(), json!(0.9), "nothing was written");
    let commit = team.repository.revert();
    team.argo.refresh(team.app());
    team.argo.wait_status(team.app(), "Synced", "Healthy", Some(&commit));
    team.stage.wait_ready("retail-assist", "True", "Succeeded");
    team.stage.assert_invariants();
}

/// Whatever happens in Genesys and to the status, Argo CD sees no difference and syncs nothing.
fn stays_synced(name: &str, options: &[&str]) {
    let team = Team::new(name);
    team.apply("application.yaml", options);
    team.argo.wait_status(team.app(), "Synced", "Healthy", None);
    team.stage.wait_ready("pt/loyalty-save", "True", "Succeeded");
    let facts = |name: &str| {
        let object = team.stage.get(name);
        let mut metadata = object["metadata"].clone();
        if let Some(annotations) = metadata["annotations"].as_object_mut() {
            annotations.retain(|key, _| !key.starts_with("assist-operator.dev/"));
        }
        (metadata["generation"].clone(), metadata["annotations"].clone(), metadata["labels"].clone(), object["spec"].clone())
    };
    let before = ["retail-assist", "pt/loyalty-save", "gorg/contact-center"].map(facts);
    // Argo CD says so a moment after it says Synced.
    team.stage
        .wait_until("the sync has ended", || team.argo.get(team.app())["status"]["operationState"]["finishedAt"].is_string());
    let synced = team.argo.get(team.app())["status"]["operationState"]["finishedAt"].clone();
    let watch = team.argo.watch(team.app());
    team.stage.wait_until("the watch has begun", || !watch.seen().is_empty());
    for round in 0..4 {
        let edited =
            team.stage.world().edit_config("retail-assist", |live| live["parameters"]["confidenceThreshold"] = json!(0.1));
        assert!(edited, "a supervisor changes the config");
        let version = team.stage.get("retail-assist")["metadata"]["resourceVersion"].clone();
        team.stage.request_check("retail-assist", &format!("round-{round}"));
        team.stage.wait_until("the repair", || team.threshold() == json!(0.8));
        team.stage.wait_ready("retail-assist", "True", "Succeeded");
        assert_ne!(team.stage.get("retail-assist")["metadata"]["resourceVersion"], version, "the status was written");
        team.argo.refresh(team.app());
    }
    let seen = watch.seen();
    assert!(seen.len() > 2, "{seen:?}");
    assert!(seen.iter().all(|line| line.starts_with("Synced ")), "{seen:?}");
    assert!(!seen.iter().any(|line| line.contains("Degraded") || line.contains("Missing")), "{seen:?}");
    assert_eq!(["retail-assist", "pt/loyalty-save", "gorg/contact-center"].map(facts), before);
    assert_eq!(team.argo.get(team.app())["status"]["operationState"]["finishedAt"], synced, "nothing was synced again");
    // Of what the operator owns, nothing is outside status.
    let args = ["-n", &team.stage.namespace, "get", "genesys", "--show-managed-fields", "-o", "json"];
    let list: Value = serde_json::from_str(&team.stage.plane.kubectl_ok(&args)).expect("JSON");
    let entries = list["items"].as_array().into_iter().flatten().flat_map(|item| item["metadata"]["managedFields"].as_array());
    let ours: Vec<&Value> =
        entries.flatten().filter(|entry| entry["manager"].as_str().is_some_and(|m| m.starts_with("assist-operator"))).collect();
    assert!(ours.len() >= 3, "{list:#}");
    for entry in ours {
        let fields: Vec<&String> = entry["fieldsV1"].as_object().into_iter().flatten().map(|(name, _)| name).collect();
        assert_eq!(fields, ["f:status"], "{entry}");
    }
    team.stage.assert_invariants();
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn an_application_stays_synced_with_client_side_apply() {
    stays_synced("argo-client", &[]);
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn an_application_stays_synced_with_server_side_apply_and_diff() {
    stays_synced("argo-server", &["ServerSideApply=true"]);
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn objects_are_applied_only_when_the_org_of_the_first_wave_is_healthy() {
    let team = Team::new("argo-waves");
    team.stage.kill_operator();
    let [root, org, assist] = ["apps", "org", "assist"].map(|part| format!("{}-{part}", team.app()));
    team.apply("app-of-apps.yaml", &[]);
    let waits = |app: &Value| {
        let message = app["status"]["operationState"]["message"].as_str().unwrap_or_default();
        app["status"]["operationState"]["phase"] == "Running"
            && message.contains("healthy state")
            && message.contains("Application")
    };
    team.argo.wait(&root, "waits for the first wave", waits);
    team.argo.wait_status(&org, "Synced", "Progressing", None);
    assert!(!team.argo.exists(&assist), "the second wave came too early");
    team.stage.start_operator();
    team.argo.wait_status(&org, "Synced", "Healthy", None);
    team.argo.wait(&root, "is Healthy", |app| app["status"]["health"]["status"] == "Healthy");
    team.argo.wait_status(&assist, "Synced", "Healthy", None);
    let ready = condition(&team.stage.get("gorg/contact-center"), "Ready")["lastTransitionTime"].clone();
    let created = team.stage.get("retail-assist")["metadata"]["creationTimestamp"].clone();
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<jiff::Timestamp>().ok()).expect("a time");
    assert!(time(&ready) <= time(&created), "the org was ready at {ready}, its object created at {created}");
    assert_eq!(team.threshold(), json!(0.8));
    team.stage.assert_invariants();
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn a_degraded_org_fails_the_sync_before_its_objects_are_applied_and_the_next_commit_heals() {
    const ORG: &str = "examples/team/org/org.yaml";
    let team = Team::new("argo-degraded");
    team.repository.change(ORG, "clientSecret: demo-secret", "clientSecret: mistyped");
    team.apply("application.yaml", &[]);
    let shown = team.wait_object(team.app(), "GenesysOrg", "Degraded");
    let org = team.stage.get("gorg/contact-center");
    assert_eq!(condition(&org, "Ready")["reason"], "AuthenticationFailed");
    assert_eq!(shown["health"]["message"], condition(&org, "Stalled")["message"]);
    team.argo.wait(team.app(), "has a failed sync", |app| {
        let message = app["status"]["operationState"]["message"].as_str().unwrap_or_default();
        message.contains("completed unsuccessfully")
    });
    let objects = team.stage.kubectl(&["get", "aac,pt", "--output", "name"]);
    assert_eq!(objects.trim(), "", "the second wave was applied");
    let commit = team.repository.change(ORG, "clientSecret: mistyped", "clientSecret: demo-secret");
    team.argo.refresh(team.app());
    // The Secret is read again within a minute, or on request; the sync that fails meanwhile is tried again.
    let corrected = || team.stage.get("secret/genesys")["data"]["clientSecret"] == "ZGVtby1zZWNyZXQ=";
    team.stage.wait_until("the Secret is corrected", corrected);
    team.argo.act(team.app(), "GenesysOrg", "contact-center", "reconcile");
    team.argo.wait_status(team.app(), "Synced", "Healthy", Some(&commit));
    assert_eq!(team.threshold(), json!(0.8));
    team.stage.assert_invariants();
}

#[test]
#[ignore = "needs Argo CD: ./test --gitops"]
fn actions_of_argo_cd_approve_a_plan_ask_for_a_check_suspend_and_resume() {
    let team = Team::new("argo-actions");
    team.repository.change(CONFIG, "  config:\n", "  approval:\n    required: true\n  config:\n");
    team.apply("application.yaml", &[]);
    team.argo.wait_status(team.app(), "Synced", "Suspended", None);
    let object = team.stage.wait_ready("retail-assist", "False", "AwaitingApproval");
    let shown = team.wait_object(team.app(), "AgentAssistConfig", "Suspended");
    assert_eq!(shown["health"]["message"], condition(&object, "Ready")["message"]);
    // With the annotation the Application does not count it, although the plan waits.
    let annotated = "  name: retail-assist\n  annotations:\n    argocd.argoproj.io/ignore-healthcheck: \"true\"\n";
    let commit = team.repository.change(CONFIG, "  name: retail-assist\n", annotated);
    team.argo.refresh(team.app());
    team.argo.wait_status(team.app(), "Synced", "Healthy", Some(&commit));
    team.stage.wait_ready("retail-assist", "False", "AwaitingApproval");
    let commit = team.repository.revert();
    team.argo.refresh(team.app());
    team.argo.wait_status(team.app(), "Synced", "Suspended", Some(&commit));
    assert!(team.stage.writes().is_empty(), "nothing is written before the approval");
    let act = |action: &str| team.argo.act(team.app(), "AgentAssistConfig", "retail-assist", action);
    act("approve");
    team.stage.wait_ready("retail-assist", "True", "Succeeded");
    assert_eq!((team.threshold(), team.stage.writes().len()), (json!(0.8), 1));
    team.argo.wait_status(team.app(), "Synced", "Healthy", None);
    let mark = team.stage.mark();
    act("reconcile");
    team.stage.wait_check("retail-assist", mark);
    act("suspend");
    team.stage.wait_ready("retail-assist", "True", "Suspended");
    team.wait_object(team.app(), "AgentAssistConfig", "Suspended");
    act("resume");
    team.stage.wait_ready("retail-assist", "True", "Succeeded");
    team.argo.refresh(team.app());
    team.argo.wait_status(team.app(), "Synced", "Healthy", None);
    team.stage.assert_invariants();
}
