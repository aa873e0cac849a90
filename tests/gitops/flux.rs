//! Flux's kustomize-controller, and Helm 4, bring the examples to the cluster and wait for what the operator says.
//!
//! Commits come as ExternalArtifact, for source-controller cannot be built: what is tested is what is waited for, not how git is read.

use std::path::Path;
use std::process::{Command, Output};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::control_plane::process::{Server, free_ports, hermetic, poll};
use crate::control_plane::{ControlPlane, shared as shared_plane};
use crate::repository::Repository;
use crate::stage::{Stage, condition};
use crate::tools;

const NAMESPACE: &str = "flux-system";

/// A running kustomize-controller, and the folder whose files it can fetch.
struct Flux {
    plane: &'static ControlPlane,
    artifacts: std::path::PathBuf,
    port: u16,
    _controller: Server,
    _runtime: tokio::runtime::Runtime,
}

fn shared() -> &'static Flux {
    static SHARED: LazyLock<Flux> = LazyLock::new(|| Flux::start(shared_plane()));
    &SHARED
}

/// Serves the files of a folder by name.
fn serve(folder: std::path::PathBuf) -> (u16, tokio::runtime::Runtime) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
    let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0")).expect("a loopback port");
    let port = listener.local_addr().expect("an address").port();
    let file = move |axum::extract::Path(name): axum::extract::Path<String>| {
        let bytes = std::fs::read(folder.join(name));
        async move { bytes.map_err(|_| axum::http::StatusCode::NOT_FOUND) }
    };
    let router = axum::Router::new().route("/{name}", axum::routing::get(file));
    runtime.spawn(async move { axum::serve(listener, router).await });
    (port, runtime)
}

impl Flux {
    fn start(plane: &'static ControlPlane) -> Self {
        plane.kubectl_ok(&["create", "namespace", NAMESPACE]);
        plane.apply_crds(&std::fs::read_to_string(tools::path("flux-crds.yaml")).expect("Flux's CRDs"));
        plane.apply_crds(include_str!("sources.yaml"));
        let artifacts = plane.scratch().join("artifacts");
        std::fs::create_dir_all(&artifacts).expect("create the folder");
        let (port, runtime) = serve(artifacts.clone());
        let [health] = free_ports::<1>();
        let args = [
            format!("KUBECONFIG={}", plane.kubeconfig().display()),
            format!("RUNTIME_NAMESPACE={NAMESPACE}"),
            tools::path("kustomize-controller").display().to_string(),
            "--watch-all-namespaces=true".to_owned(),
            "--enable-leader-election=false".to_owned(),
            "--feature-gates=ExternalArtifact=true".to_owned(),
            "--requeue-dependency=1s".to_owned(),
            "--metrics-addr=0".to_owned(),
            format!("--health-addr=127.0.0.1:{health}"),
        ];
        let log = plane.scratch().join("kustomize-controller.log");
        let controller = Server::spawn(Path::new("/usr/bin/env"), &args, log);
        Self { plane, artifacts, port, _controller: controller, _runtime: runtime }
    }

    /// Makes what the repository holds now the latest revision, as source-controller would.
    fn publish(&self, name: &str, repository: &Repository, commit: &str) {
        let archive = self.artifacts.join(format!("{commit}.tar.gz"));
        let mut tar = Command::new("tar");
        tar.args(["--exclude=.git", "-czf"]).arg(&archive).arg("-C").arg(repository.path()).arg(".");
        assert!(tar.status().expect("run tar").success());
        let bytes = std::fs::read(&archive).expect("the archive");
        let digest: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let object = json!({"apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "ExternalArtifact", "metadata": {"name": name, "namespace": NAMESPACE}});
        self.plane.apply_ok(&object.to_string());
        let now = assist_operator::clock::now().to_string();
        let revision = format!("main@sha1:{commit}");
        let status = json!({"status": {
            "artifact": {
                "url": format!("http://127.0.0.1:{}/{commit}.tar.gz", self.port), "path": format!("{commit}.tar.gz"), "revision": revision,
                "digest": format!("sha256:{digest}"), "lastUpdateTime": now, "size": bytes.len(),
            },
            "conditions": [{"type": "Ready", "status": "True", "reason": "Succeeded", "message": revision, "lastTransitionTime": now}],
        }});
        let patch = status.to_string();
        let args =
            ["-n", NAMESPACE, "patch", "externalartifact", name, "--subresource=status", "--type=merge", "--patch", &patch];
        self.plane.kubectl_ok(&args);
    }

    fn get(&self, name: &str) -> Value {
        self.plane.get_json(&["-n", NAMESPACE, "get", "kustomizations.kustomize.toolkit.fluxcd.io", name])
    }

    /// Waits until a Kustomization fulfils a condition; shows it and Flux's log where it does not.
    fn wait(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let outcome = poll(Duration::from_secs(100), || {
            let object = self.get(name);
            if holds(&object) { Ok(object) } else { Err(object) }
        });
        outcome.unwrap_or_else(|object| {
            let log = std::fs::read_to_string(self.plane.scratch().join("kustomize-controller.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().rev().take(25).collect();
            let tail = lines.into_iter().rev().collect::<Vec<_>>().join("\n");
            panic!("not within 100 s: {name} {what}\n{:#}\n{tail}", object["status"])
        })
    }

    fn wait_ready(&self, name: &str, status: &str, commit: &str) -> Value {
        self.wait(name, &format!("is Ready={status} at {commit}"), |object| {
            let at = |field: &str| object["status"][field].as_str().is_some_and(|revision| revision.ends_with(commit));
            let applied = at("lastAttemptedRevision") && (status == "False" || at("lastAppliedRevision"));
            applied && condition(object, "Ready")["status"] == status
        })
    }
}

/// A team whose repository Flux brings to the cluster.
struct Team {
    stage: Stage,
    flux: &'static Flux,
    repository: Repository,
    commit: Mutex<String>,
}

const CONFIG: &str = "examples/team/assist/retail-assist.yaml";

impl Team {
    fn new(name: &str) -> Self {
        let stage = Stage::without_org(name);
        let repository = Repository::of_examples(&|text| text.replace("http://127.0.0.1:8181", stage.url()));
        let team = Self { flux: shared(), repository, commit: Mutex::default(), stage };
        team.publish(&team.repository.commit_anyway("As it is"));
        team
    }

    fn publish(&self, commit: &str) {
        self.flux.publish(&self.stage.namespace, &self.repository, commit);
        commit.clone_into(&mut self.commit.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn commit(&self) -> String {
        self.commit.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The Kustomizations of the examples, for this team.
    fn apply(&self, example: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/flux").join(example);
        let text = std::fs::read_to_string(path).expect("an example");
        let namespace = &self.stage.namespace;
        let text = text
            .replace("kind: GitRepository\n    name: genesys\n", &format!("kind: ExternalArtifact\n    name: {namespace}\n"))
            .replace("targetNamespace: genesys\n", &format!("targetNamespace: {namespace}\n"))
            .replace("name: genesys-", &format!("name: {namespace}-"));
        self.flux.plane.apply_ok(&text);
    }

    fn name(&self, part: &str) -> String {
        format!("{}-{part}", self.stage.namespace)
    }

    fn threshold(&self) -> Value {
        self.stage.world().config("retail-assist").expect("the config")["parameters"]["confidenceThreshold"].clone()
    }
}

#[test]
#[ignore = "needs Flux: ./test --gitops"]
fn a_kustomization_is_ready_only_after_convergence_and_after_what_it_depends_on() {
    let team = Team::new("flux");
    team.stage.kill_operator();
    team.apply("org.yaml");
    team.apply("assist.yaml");
    let (org, assist) = (team.name("org"), team.name("assist"));
    team.flux.wait(&org, "waits for the org", |object| {
        let reconciling = condition(object, "Reconciling");
        reconciling["message"].as_str().is_some_and(|message| message.contains("health check"))
    });
    team.flux
        .wait(&assist, "waits for what it depends on", |object| condition(object, "Ready")["reason"] == "DependencyNotReady");
    assert!(!team.stage.plane.kubectl(&["-n", &team.stage.namespace, "get", "aac", "retail-assist"]).success());
    assert_ne!(condition(&team.flux.get(&org), "Ready")["status"], "True", "nobody has looked at the org yet");
    team.stage.start_operator();
    team.flux.wait_ready(&org, "True", &team.commit());
    team.flux.wait_ready(&assist, "True", &team.commit());
    assert_eq!(team.threshold(), json!(0.8), "Ready means that Genesys has it");
    for (kind, name) in [("aac", "retail-assist"), ("pt", "loyalty-save")] {
        assert_eq!(condition(&team.stage.get(&format!("{kind}/{name}")), "Ready")["status"], "True");
    }
    team.stage.assert_invariants();
}

#[test]
#[ignore = "needs Flux: ./test --gitops"]
fn a_kustomization_fails_early_where_an_object_is_stalled_and_a_revert_heals() {
    let team = Team::new("flux-stalled");
    team.apply("org.yaml");
    team.apply("assist.yaml");
    let assist = team.name("assist");
    team.flux.wait_ready(&assist, "True", &team.commit());
    let began = Instant::now();
    team.publish(&team.repository.change(CONFIG, "configId: retail-assist\n", "configId: retail-assist\n  restoreVersion: 99\n"));
    let object = team.flux.wait_ready(&assist, "False", &team.commit());
    let ready = condition(&object, "Ready");
    assert_eq!(ready["reason"], "HealthCheckFailed", "{ready}");
    let message = ready["message"].as_str().unwrap_or_default();
    assert!(message.contains("stalled") && message.contains("AgentAssistConfig"), "{message}");
    assert!(began.elapsed() < Duration::from_secs(90), "the timeout is ten minutes, this took {:?}", began.elapsed());
    team.stage.wait_ready("retail-assist", "False", "NotFound");
    team.publish(&team.repository.revert());
    team.flux.wait_ready(&assist, "True", &team.commit());
    team.stage.wait_ready("retail-assist", "True", "Succeeded");
    team.stage.assert_invariants();
}

#[test]
#[ignore = "needs Flux: ./test --gitops"]
fn with_expressions_a_kustomization_waits_for_what_is_only_reported() {
    let team = Team::new("flux-in-sync");
    team.apply("org.yaml");
    team.publish(&team.repository.change(CONFIG, "  config:\n", "  policy: Observe\n  config:\n"));
    team.apply("assist-in-sync.yaml");
    team.stage.wait_until("the object is there", || {
        team.stage.plane.kubectl(&["-n", &team.stage.namespace, "get", "aac", "retail-assist"]).success()
    });
    team.stage.wait_ready("retail-assist", "True", "Observed");
    let assist = team.name("assist");
    let waits = |object: &Value| {
        let message = condition(object, "Reconciling")["message"].clone();
        message.as_str().is_some_and(|message| message.contains("health check"))
    };
    team.flux.wait(&assist, "waits", waits);
    // Somebody makes the change by hand in Genesys: now it is in sync.
    assert!(team.stage.world().edit_config("retail-assist", |live| live["parameters"]["confidenceThreshold"] = json!(0.8)));
    assert!(waits(&team.flux.get(&assist)), "it was Ready although Genesys differed");
    team.stage.request_check("retail-assist", "now");
    team.flux.wait_ready(&assist, "True", &team.commit());
}

/// `helm install --wait` of a chart that holds one object.
fn helm(stage: &Stage, name: &str, object: &Value, timeout: &str) -> (Output, Duration) {
    let chart = stage.plane.scratch().join(format!("{}-{name}", stage.namespace));
    std::fs::create_dir_all(chart.join("templates")).expect("create the chart");
    std::fs::write(chart.join("Chart.yaml"), format!("apiVersion: v2\nname: {name}\nversion: 0.1.0\n")).expect("write the chart");
    std::fs::write(chart.join("templates/object.yaml"), object.to_string()).expect("write the template");
    let mut helm = Command::new(tools::path("helm"));
    hermetic(&mut helm).env("HOME", &chart).env("KUBECONFIG", stage.plane.kubeconfig());
    helm.args(["install", name, "--namespace", &stage.namespace, "--wait", "--timeout", timeout]).arg(&chart);
    let began = Instant::now();
    (helm.output().expect("run helm"), began.elapsed())
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn helm_waits_for_convergence_fails_at_once_where_an_object_is_stalled_and_gives_up_at_its_timeout() {
    let stage = Stage::new("helm-wait");
    stage.world().put_config("c1", json!({"name": "old"}));
    stage.world().put_config("c2", json!({"name": "old"}));
    let config = |name: &str| stage.config(name, json!({"config": {"name": "new"}}));
    let text = |output: &Output| String::from_utf8_lossy(&output.stderr).into_owned();
    let (output, _) = helm(&stage, "converges", &config("c1"), "100s");
    assert!(output.status.success(), "{}", text(&output));
    assert_eq!(stage.world().config("c1").expect("the config")["name"], "new", "done means that Genesys has it");
    let (output, took) = helm(&stage, "stalls", &config("missing"), "300s");
    assert!(!output.status.success() && took < Duration::from_secs(100), "{took:?} {}", text(&output));
    assert_eq!(condition(&stage.get("missing"), "Stalled")["status"], "True");
    assert!(text(&output).contains("missing"), "{}", text(&output));
    stage.kill_operator();
    let (output, took) = helm(&stage, "waits", &config("c2"), "4s");
    assert!(!output.status.success() && took >= Duration::from_secs(4), "{took:?} {}", text(&output));
    assert!(text(&output).contains("c2"), "{}", text(&output));
}
