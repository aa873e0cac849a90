//! A real Argo CD as processes on loopback: redis, repo-server, application-controller and API server, on the shared control plane.
//!
//! The application-controller serves its metrics on all addresses and cannot be told not to; `./test --gitops` therefore runs in a network
//! namespace of its own where the machine allows it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use serde_json::{Value, json};

use crate::control_plane::process::{Server, free_ports, hermetic};
use crate::control_plane::{ControlPlane, shared as shared_plane};
use crate::tools;

const NAMESPACE: &str = "argocd";

/// A running Argo CD.
pub struct Argo {
    plane: &'static ControlPlane,
    api: u16,
    home: PathBuf,
    _servers: Vec<Server>,
}

/// The one Argo CD that the tests share; the first caller starts it.
pub fn shared() -> &'static Argo {
    static SHARED: LazyLock<Argo> = LazyLock::new(|| Argo::start(shared_plane()));
    &SHARED
}

fn deploy(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy/argocd").join(name);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What Argo CD needs in its namespace before it starts: an empty installation, patched as a user patches it.
fn configure(plane: &ControlPlane) {
    plane.kubectl_ok(&["create", "namespace", NAMESPACE]);
    let crds = std::fs::read_to_string(tools::path("argocd-crds.yaml")).expect("Argo CD's CRDs");
    plane.apply_crds(&crds);
    let labels = json!({"app.kubernetes.io/part-of": "argocd"});
    for (kind, name) in [("ConfigMap", "argocd-cm"), ("ConfigMap", "argocd-rbac-cm"), ("Secret", "argocd-secret")] {
        let mut object =
            json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels}});
        if kind == "Secret" {
            object["stringData"] = json!({"server.secretkey": "only-for-a-test", "admin.password": "", "admin.passwordMtime": "2026-01-01T00:00:00Z"});
        }
        plane.apply_ok(&object.to_string());
    }
    for (name, file) in
        [("argocd-cm", "argocd-cm.yaml"), ("argocd-cm", "application-health.yaml"), ("argocd-rbac-cm", "argocd-rbac-cm.yaml")]
    {
        let patch = deploy(file).to_string();
        plane.kubectl_ok(&["-n", NAMESPACE, "patch", "configmap", name, "--patch", &patch]);
    }
    let all = json!([{"group": "*", "kind": "*"}]);
    let spec =
        json!({"sourceRepos": ["*"], "destinations": [{"server": "*", "namespace": "*"}], "clusterResourceWhitelist": all});
    let project = json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "AppProject", "metadata": {"name": "default", "namespace": NAMESPACE}, "spec": spec});
    plane.apply_ok(&project.to_string());
}

impl Argo {
    fn start(plane: &'static ControlPlane) -> Self {
        configure(plane);
        let home = plane.scratch().join("argocd");
        for folder in ["tls", "ssh", "gpg", "plugins", "tmp"] {
            std::fs::create_dir_all(home.join(folder)).expect("create Argo CD's folders");
        }
        let [redis, repo, repo_metrics, api, api_metrics, metrics] = free_ports::<6>();
        let at = |port: u16| format!("127.0.0.1:{port}");
        let log = |name: &str| plane.scratch().join(format!("{name}.log"));
        let mut servers = vec![Server::spawn(&tools::path("argocd-redis"), &[at(redis)], log("argocd-redis"))];
        let mut component = |name: &str, args: &[String]| {
            let mut all = environment(plane, &home, name);
            all.push(tools::path("argocd").display().to_string());
            all.extend(["--loglevel", "info", "--redis"].map(str::to_owned));
            all.push(at(redis));
            all.extend(args.iter().cloned());
            servers.push(Server::spawn(Path::new("/usr/bin/env"), &all, log(name)));
        };
        let flags = |text: String| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let listen = |port: u16, metrics: u16| {
            format!("--address 127.0.0.1 --port {port} --metrics-address 127.0.0.1 --metrics-port {metrics}")
        };
        component("argocd-repo-server", &flags(format!("{} --disable-tls --client-ca-path=", listen(repo, repo_metrics))));
        let common = format!("--namespace {NAMESPACE} --repo-server {} --repo-server-plaintext", at(repo));
        component(
            "argocd-application-controller",
            &flags(format!("{common} --metrics-port {metrics} --app-resync 3600 --persist-resource-health")),
        );
        let server = format!("{common} {} --disable-auth --insecure", listen(api, api_metrics));
        component("argocd-server", &flags(server));
        Self { plane, api, home, _servers: servers }
    }

    /// Applies an Application.
    pub fn apply(&self, application: &str) {
        self.plane.apply_ok(application);
    }

    /// An Application as the API server has it.
    pub fn get(&self, name: &str) -> Value {
        self.plane.get_json(&["-n", NAMESPACE, "get", "applications.argoproj.io", name])
    }

    /// Whether there is such an Application.
    pub fn exists(&self, name: &str) -> bool {
        self.plane.kubectl(&["-n", NAMESPACE, "get", "applications.argoproj.io", name]).success()
    }

    /// Asks for a look at the repository and the cluster, as the button in the UI does, and waits until it was made.
    pub fn refresh(&self, name: &str) {
        let reference = format!("applications.argoproj.io/{name}");
        self.plane.kubectl_ok(&["-n", NAMESPACE, "annotate", "--overwrite", &reference, "argocd.argoproj.io/refresh=normal"]);
        self.wait(name, "was refreshed", |app| app["metadata"]["annotations"]["argocd.argoproj.io/refresh"].is_null());
    }

    /// Waits until an Application has this sync status and health, at this commit where one is given.
    pub fn wait_status(&self, name: &str, sync: &str, health: &str, revision: Option<&str>) -> Value {
        self.wait(name, &format!("is {sync} and {health} at {revision:?}"), |app| {
            let at = revision.is_none_or(|revision| app["status"]["sync"]["revision"] == revision);
            at && app["status"]["sync"]["status"] == sync && app["status"]["health"]["status"] == health
        })
    }

    /// Waits until an Application fulfils a condition; shows it, and what Argo CD logged, where it does not.
    pub fn wait(&self, name: &str, what: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let outcome = crate::control_plane::process::poll(std::time::Duration::from_secs(120), || {
            let app = self.get(name);
            if holds(&app) { Ok(app) } else { Err(app) }
        });
        outcome.unwrap_or_else(|app| {
            let tail = |name: &str| {
                let log = std::fs::read_to_string(self.plane.scratch().join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().rev().take(25).collect();
                lines.into_iter().rev().collect::<Vec<_>>().join("\n")
            };
            panic!(
                "not within 120 s: {name} {what}\n{:#}\n{}\n{}",
                app["status"],
                tail("argocd-application-controller"),
                tail("argocd-repo-server")
            )
        })
    }

    /// Runs an action on an object of an Application through Argo CD's API server, as its UI and CLI do.
    pub fn act(&self, application: &str, kind: &str, name: &str, action: &str) {
        let run = || {
            let mut argocd = Command::new(tools::path("argocd"));
            hermetic(&mut argocd).env("HOME", &self.home);
            argocd.args(["app", "actions", "run", application, action, "--kind", kind, "--resource-name", name]);
            argocd.args(["--plaintext", "--server", &format!("127.0.0.1:{}", self.api)]);
            let output = argocd.output().expect("run argocd");
            if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
        };
        // The API server may still be starting, and its view of the object may be a moment old.
        let outcome = crate::control_plane::process::poll(std::time::Duration::from_secs(60), run);
        outcome.unwrap_or_else(|error| panic!("argocd app actions run {application} {action}: {error}"));
    }

    /// Starts a record of every sync status and health that an Application shows from now on.
    pub fn watch(&self, name: &str) -> Watch {
        let mut kubectl = self.plane.kubectl_command();
        kubectl.args(["-n", NAMESPACE, "get", "applications.argoproj.io", name, "--watch", "-o"]);
        kubectl.arg(r#"jsonpath={.status.sync.status} {.status.health.status}{"\n"}"#);
        let log = self.plane.scratch().join(format!("{name}-watch-{}.log", crate::control_plane::process::random()));
        kubectl.stdout(std::fs::File::create(&log).expect("create the log"));
        Watch { kubectl: kubectl.spawn().expect("start kubectl"), log }
    }
}

/// What an Application showed.
pub struct Watch {
    kubectl: std::process::Child,
    log: PathBuf,
}

impl Watch {
    /// Each sync status and health so far.
    pub fn seen(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.kubectl.kill();
        let _ = self.kubectl.wait();
    }
}

/// Arguments of `env` that make Argo CD's one binary the component `name`.
fn environment(plane: &ControlPlane, home: &Path, name: &str) -> Vec<String> {
    let helpers = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/gitops/tools/argocd");
    let tools = tools::path("kustomize").parent().expect("a folder").display().to_string();
    let path = std::env::var_os("PATH").unwrap_or_default().into_string().unwrap_or_default();
    let dir = home.display();
    [
        format!("PATH={}:{tools}:{path}", helpers.display()),
        format!("KUBECONFIG={}", plane.kubeconfig().display()),
        format!("HOME={dir}"),
        format!("TMPDIR={dir}/tmp"),
        format!("ARGOCD_BINARY_NAME={name}"),
        "ARGOCD_FAKE_IN_CLUSTER=true".to_owned(),
        "ARGOCD_GPG_ENABLED=false".to_owned(),
        "ARGOCD_CONTROLLER_REPLICAS=1".to_owned(),
        format!("HOSTNAME={name}-0"),
        format!("ARGOCD_TLS_DATA_PATH={dir}/tls"),
        format!("ARGOCD_SSH_DATA_PATH={dir}/ssh"),
        format!("ARGOCD_GNUPGHOME={dir}/gpg"),
        format!("ARGOCD_GPG_DATA_PATH={dir}/gpg"),
        format!("ARGOCD_PLUGINSOCKFILEPATH={dir}/plugins"),
        format!("XDG_CACHE_HOME={dir}/tmp"),
        "GIT_CONFIG_GLOBAL=/dev/null".to_owned(),
    ]
    .into()
}
