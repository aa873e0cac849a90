//! A real Kubernetes control plane for tests: etcd and kube-apiserver on loopback ports, and kubectl as the hand that applies.
//!
//! RBAC is on. There are no controllers: nothing creates pods or service accounts, and nothing collects garbage. Everything ends with the
//! test process, also after a panic or `kill -9`.
#![allow(dead_code, reason = "every test binary that includes this module uses another part of it")]

#[path = "layout.rs"]
mod layout;
#[path = "process.rs"]
pub mod process;

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use layout::Layout;
pub use layout::OPERATOR_USER;
use process::{Scratch, Server, hermetic, poll};

/// Far above the usual 3 s: a machine that compiles something else at the same time is slow.
const START_DEADLINE: Duration = Duration::from_secs(120);

/// What a kubectl command answered.
#[derive(Debug, Clone)]
pub struct Out {
    /// How it ended; `success()` is exit code 0.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// Warnings, and the API server's reason for a refusal.
    pub stderr: String,
}

/// A running control plane of its own: nothing is shared with another one, nor with the user's kubectl.
#[derive(Debug)]
pub struct ControlPlane {
    // Dropped in this order: the servers before the folder they write to.
    api_server: Mutex<Option<Server>>,
    etcd: Mutex<Server>,
    layout: Layout,
    _scratch: Scratch,
}

/// The one control plane that the tests of a binary share; the first caller starts it. If that fails, every later call panics at once.
pub fn shared() -> &'static ControlPlane {
    static SHARED: LazyLock<ControlPlane> = LazyLock::new(ControlPlane::start);
    &SHARED
}

impl ControlPlane {
    /// Starts etcd and kube-apiserver and waits until the API server is ready. Where the binaries are not built yet, that is done first,
    /// which takes about four minutes, once for each user of the machine.
    ///
    /// Panics with the end of the log of the server that failed.
    pub fn start() -> Self {
        let binaries = layout::find_binaries();
        let mut refusals = Vec::new();
        // Another process can take a port between the moment it is found free and the moment the server binds it.
        for _ in 0..3 {
            let plane = Self::spawn(binaries.clone());
            match plane.wait_ready() {
                Ok(()) => return plane,
                Err(reason) if reason.contains("address already in use") => refusals.push(reason),
                Err(reason) => panic!("{reason}"),
            }
        }
        panic!("no free ports in three attempts:\n{}", refusals.join("\n"));
    }

    /// The kubeconfig of a cluster administrator (group `system:masters`).
    pub fn kubeconfig(&self) -> PathBuf {
        self.layout.admin_kubeconfig()
    }

    /// The kubeconfig of [`OPERATOR_USER`].
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.layout.operator_kubeconfig()
    }

    /// The base URL of the API server, the same after a restart.
    pub fn url(&self) -> String {
        self.layout.url()
    }

    /// A folder for files of a test, removed with the control plane.
    pub fn scratch(&self) -> PathBuf {
        self.layout.files()
    }

    /// kubectl as the administrator, not started yet; for what must run beside the test, such as a watch. `--as USER` makes it another user.
    /// It runs in the test's own folder: that of the package.
    pub fn kubectl_command(&self) -> Command {
        let mut command = Command::new(self.layout.kubectl());
        hermetic(&mut command).env("HOME", self.layout.home()).env("KUBECONFIG", self.kubeconfig()).env("KUBERC", "off");
        command
    }

    /// Runs kubectl to its end, as the administrator.
    pub fn kubectl(&self, args: &[&str]) -> Out {
        self.kubectl_with_input(args, "")
    }

    /// Runs kubectl to its end with `input` on its stdin.
    pub fn kubectl_with_input(&self, args: &[&str], input: &str) -> Out {
        let mut command = self.kubectl_command();
        command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("start kubectl");
        let mut stdin = child.stdin.take().expect("stdin is piped");
        let output = thread::scope(|scope| {
            // A command that fails early closes its stdin: its own message says why.
            scope.spawn(move || stdin.write_all(input.as_bytes()));
            child.wait_with_output().expect("wait for kubectl")
        });
        Out {
            status: output.status,
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// [`Self::kubectl`] that must succeed; gives its stdout, panics with both outputs.
    #[track_caller]
    pub fn kubectl_ok(&self, args: &[&str]) -> String {
        self.kubectl(args).expect_success(args)
    }

    /// `kubectl apply -f -` of YAML or JSON documents.
    pub fn apply(&self, yaml: &str) -> Out {
        self.kubectl_with_input(&["apply", "-f", "-"], yaml)
    }

    /// [`Self::apply`] that must succeed; gives its stdout, panics with both outputs.
    #[track_caller]
    pub fn apply_ok(&self, yaml: &str) -> String {
        self.apply(yaml).expect_success(&["apply", "-f", "-"])
    }

    /// Applies CustomResourceDefinitions server-side and waits until each of them is served. The API server holds the first creation of an
    /// object of a new kind back until 2 s after that.
    #[track_caller]
    pub fn apply_crds(&self, yaml: &str) {
        let args = ["apply", "--server-side", "--force-conflicts", "-o", "name", "-f", "-"];
        let applied = self.kubectl_with_input(&args, yaml).expect_success(&args);
        // A resource name such as `prompttemplates.assist-operator.dev` is also the CRD's own name.
        for name in applied.lines().filter_map(|line| line.strip_prefix("customresourcedefinition.apiextensions.k8s.io/")) {
            let get = ["get", name, "--all-namespaces", "-o", "name"];
            self.wait_until(&format!("{name} is served"), || self.kubectl(&get).success());
        }
    }

    /// `kubectl ARGS -o json`, parsed; for example `get_json(&["get", "prompttemplates", "-n", "team"])`.
    #[track_caller]
    pub fn get_json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        let text = self.kubectl_ok(&args);
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("kubectl {args:?} printed no JSON ({error}):\n{text}"))
    }

    /// Polls until `condition` holds; panics with `what` after 60 s.
    #[track_caller]
    pub fn wait_until(&self, what: &str, mut condition: impl FnMut() -> bool) {
        let outcome = poll(Duration::from_secs(60), || if condition() { Ok(()) } else { Err(()) });
        assert!(outcome.is_ok(), "not within 60 s: {what}");
    }

    /// Every audit event so far, oldest first, as `audit.k8s.io/v1` objects of level Metadata. A request's event is written when it has
    /// been answered, so it can appear a moment after the client has its answer; a watch has a second one when it begins.
    pub fn audit_log(&self) -> Vec<Value> {
        let text = fs::read_to_string(self.layout.audit_log()).unwrap_or_default();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().map(|line| serde_json::from_str(line).expect("the audit log is JSON lines")).collect()
    }

    /// The requests of one user in [`Self::audit_log`], each once, also a watch that is still open.
    pub fn requests_of(&self, user: &str) -> Vec<Value> {
        let mut seen = std::collections::HashSet::new();
        let mut events = self.audit_log();
        events.retain(|event| event["user"]["username"] == user && seen.insert(event["auditID"].to_string()));
        events
    }

    /// Ends the API server at once, as a crash would; clients get "connection refused". etcd and its content stay.
    pub fn stop_api_server(&self) {
        drop(lock(&self.api_server).take());
    }

    /// Starts the API server again, with the same address, certificates and content, and waits until it is ready.
    pub fn start_api_server(&self) {
        let mut running = lock(&self.api_server);
        if running.is_none() {
            *running = Some(self.layout.spawn_api_server());
        }
        drop(running);
        self.wait_ready().unwrap_or_else(|reason| panic!("{reason}"));
    }

    /// [`Self::stop_api_server`], then [`Self::start_api_server`].
    pub fn restart_api_server(&self) {
        self.stop_api_server();
        self.start_api_server();
    }

    fn spawn(binaries: PathBuf) -> Self {
        let scratch = Scratch::new();
        let layout = Layout::create(binaries, scratch.path()).expect("write the control plane's configuration");
        let etcd = Mutex::new(layout.spawn_etcd());
        let api_server = Mutex::new(Some(layout.spawn_api_server()));
        Self { api_server, etcd, layout, _scratch: scratch }
    }

    /// Waits until the API server says it is ready and has made the namespace `default`. The error carries the end of the logs.
    fn wait_ready(&self) -> Result<(), String> {
        let answer = poll(START_DEADLINE, || {
            if let Some(death) = self.find_death() {
                return Ok(Err(death));
            }
            for question in ["--raw=/readyz", "namespace/default"] {
                let out = self.kubectl(&["get", question]);
                if !out.success() {
                    return Err(out.stderr);
                }
            }
            Ok(Ok(()))
        });
        answer.unwrap_or_else(|last| {
            let log = lock(&self.api_server).as_ref().map(Server::log_tail).unwrap_or_default();
            Err(format!("kube-apiserver was not ready within {START_DEADLINE:?}. Last answer: {last}\nEnd of its log:\n{log}"))
        })
    }

    /// Which server has ended by itself, with the end of its log.
    fn find_death(&self) -> Option<String> {
        let describe = |name: &str, server: &mut Server| {
            (!server.is_alive()).then(|| format!("{name} ended by itself. End of its log:\n{}", server.log_tail()))
        };
        let etcd = describe("etcd", &mut lock(&self.etcd));
        etcd.or_else(|| lock(&self.api_server).as_mut().and_then(|server| describe("kube-apiserver", server)))
    }
}

impl Out {
    /// Whether the command succeeded.
    pub fn success(&self) -> bool {
        self.status.success()
    }

    #[track_caller]
    fn expect_success(self, args: &[&str]) -> String {
        assert!(self.success(), "kubectl {args:?} failed, {}\nstdout:\n{}\nstderr:\n{}", self.status, self.stdout, self.stderr);
        self.stdout
    }
}

/// A test that panicked while it held the lock must not fail the others.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
