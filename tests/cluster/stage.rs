//! A stage for one test: a namespace, a sandbox, and an operator process that watches this namespace under its own role.
#![allow(dead_code, reason = "every test binary that includes this module uses another part of it")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use assist_operator::sandbox::{Actor, Entry, Fault, Options, Sandbox, Seed, World, check};
use serde_json::{Value, json};

use crate::control_plane::process::{Server, free_ports};
use crate::control_plane::{ControlPlane, OPERATOR_USER, Out, shared};

/// The binary under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_assist-operator");

/// One test's world.
pub struct Stage {
    /// The control plane, shared by all tests of this binary.
    pub plane: &'static ControlPlane,
    /// The test's namespace.
    pub namespace: String,
    sandbox: Sandbox,
    operator: Mutex<Option<Server>>,
    port: u16,
    // Last: the sandbox lives on it.
    _runtime: tokio::runtime::Runtime,
}

fn output_of(args: &[&str]) -> String {
    let output = Command::new(BINARY).args(args).output().expect("the binary runs");
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// Installs CRDs and role, once for each control plane.
fn install(plane: &ControlPlane) {
    static INSTALLED: Mutex<Vec<String>> = Mutex::new(Vec::new());
    let mut installed = INSTALLED.lock().unwrap_or_else(PoisonError::into_inner);
    if installed.contains(&plane.url()) {
        return;
    }
    plane.apply_crds(&output_of(&["crds"]));
    plane.apply_ok(&output_of(&["rbac"]));
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "assist-operator"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "assist-operator"},
        "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
    });
    plane.apply_ok(&binding.to_string());
    installed.push(plane.url());
}

impl Stage {
    /// A stage with an org named `org`, its Secret, and a running operator.
    pub fn new(name: &str) -> Self {
        let stage = Self::without_org(name);
        stage.apply_org(json!({}));
        stage
    }

    /// A stage with a running operator and nothing else.
    pub fn without_org(name: &str) -> Self {
        let stage = Self::prepared(shared(), name);
        stage.start_operator();
        stage
    }

    /// A stage with an org on a control plane of its own.
    pub fn on(plane: &'static ControlPlane, name: &str) -> Self {
        let stage = Self::prepared(plane, name);
        stage.start_operator();
        stage.apply_org(json!({}));
        stage
    }

    /// A stage whose operator watches all namespaces.
    pub fn cluster_wide(plane: &'static ControlPlane, name: &str) -> Self {
        let stage = Self::prepared(plane, name);
        stage.spawn_operator(&["run", "--allow-custom-endpoints"]);
        stage.apply_org(json!({}));
        stage
    }

    /// A stage with an org and the role for a lease in its namespace, and no operator yet: see [`Stage::replica`].
    pub fn replicated(name: &str) -> Self {
        let stage = Self::prepared(shared(), name);
        stage.plane.apply_ok(&output_of(&["rbac", "--lease-namespace", &stage.namespace]));
        stage.allow_lease();
        stage.apply_org(json!({}));
        stage
    }

    /// Binds the role for the lease to the operator.
    pub fn allow_lease(&self) {
        self.apply_ok(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "assist-operator-lease"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "assist-operator-lease"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
        }));
    }

    /// Starts one of several operators, and waits until its caches are warm.
    pub fn replica(&self, name: &str, kubeconfig: &Path, extra: &[&str]) -> Replica {
        let replica = self.cold_replica(name, kubeconfig, extra);
        self.wait_until("the replica is ready", || replica.get("/readyz").starts_with("HTTP/1.1 200"));
        replica
    }

    /// Starts one of several operators.
    pub fn cold_replica(&self, name: &str, kubeconfig: &Path, extra: &[&str]) -> Replica {
        let [port] = free_ports::<1>();
        let listen = format!("--listen=127.0.0.1:{port}");
        let args = ["run", "--namespace", &self.namespace, "--allow-custom-endpoints", &listen];
        let elect = ["--leader-elect", "--lease-namespace", &self.namespace];
        let all: Vec<String> = args.iter().chain(&elect).chain(extra).map(|arg| (*arg).to_owned()).collect();
        self.cold_replica_with(name, kubeconfig, port, &all)
    }

    /// The same with these arguments, among which `--listen=127.0.0.1:PORT` must be, and waits until it is ready.
    pub fn replica_with(&self, name: &str, kubeconfig: &Path, port: u16, args: &[String]) -> Replica {
        let mut replica = self.cold_replica_with(name, kubeconfig, port, args);
        self.wait_until("the replica is ready", || {
            assert!(replica.is_alive(), "the replica ended: {}", replica.log_text());
            replica.get("/readyz").starts_with("HTTP/1.1 200")
        });
        replica
    }

    fn cold_replica_with(&self, name: &str, kubeconfig: &Path, port: u16, args: &[String]) -> Replica {
        let log = self.plane.scratch().join(format!("{}-{name}.log", self.namespace));
        let mut all = vec![format!("KUBECONFIG={}", kubeconfig.display()), BINARY.to_owned()];
        all.extend_from_slice(args);
        let server = Server::spawn(Path::new("/usr/bin/env"), &all, log.clone());
        Replica { server, port, listen: format!("--listen=127.0.0.1:{port}"), log }
    }

    /// Port of the operator's metrics and probes.
    pub fn port(&self) -> u16 {
        self.port
    }

    fn prepared(plane: &'static ControlPlane, name: &str) -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        install(plane);
        let namespace = format!("{name}-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        plane.kubectl_ok(&["create", "namespace", &namespace]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("runtime");
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = runtime.block_on(Sandbox::start(Options { seed: Seed::default(), ..Options::default() })).expect("sandbox");
        let [port] = free_ports::<1>();
        Self { plane, namespace, sandbox, operator: Mutex::new(None), port, _runtime: runtime }
    }

    /// State and journal of the sandbox.
    pub fn world(&self) -> &World {
        self.sandbox.world()
    }

    /// Base URL of the sandbox.
    pub fn url(&self) -> &str {
        self.sandbox.url()
    }

    /// Starts the operator.
    pub fn start_operator(&self) {
        self.start_operator_with(&["--allow-custom-endpoints"]);
    }

    /// Starts the operator with other arguments.
    pub fn start_operator_with(&self, extra: &[&str]) {
        let mut args = vec!["run", "--namespace", self.namespace.as_str()];
        args.extend(extra);
        self.spawn_operator(&args);
    }

    /// Starts the operator with another way to the API server.
    pub fn start_operator_through(&self, kubeconfig: &Path) {
        self.spawn_with(kubeconfig, &["run", "--namespace", &self.namespace, "--allow-custom-endpoints"]);
    }

    fn spawn_operator(&self, args: &[&str]) {
        self.spawn_with(&self.plane.operator_kubeconfig(), args);
    }

    fn spawn_with(&self, kubeconfig: &Path, args: &[&str]) {
        let kubeconfig = format!("KUBECONFIG={}", kubeconfig.display());
        let listen = format!("127.0.0.1:{}", self.port);
        let all = [&[kubeconfig.as_str(), BINARY], args, &["--listen", &listen]].concat();
        let all: Vec<String> = all.into_iter().map(str::to_owned).collect();
        let server = Server::spawn(Path::new("/usr/bin/env"), &all, self.log());
        *self.operator.lock().unwrap() = Some(server);
    }

    /// Kills the operator, as a crash would.
    pub fn kill_operator(&self) {
        *self.operator.lock().unwrap() = None;
    }

    /// Ends the operator with SIGTERM; how long that took.
    pub fn terminate_operator(&self) -> std::time::Duration {
        let pid = self.operator_pid().expect("the operator runs");
        let began = std::time::Instant::now();
        let sent = Command::new("kill").args(["-TERM", &pid]).status().expect("run kill");
        assert!(sent.success(), "the operator was gone already");
        self.wait_until("the operator ends", || !self.operator.lock().unwrap().as_mut().is_some_and(Server::is_alive));
        self.kill_operator();
        began.elapsed()
    }

    fn operator_pid(&self) -> Option<String> {
        pid_with(&self.namespace)
    }

    /// Where the operator logs.
    pub fn log(&self) -> std::path::PathBuf {
        self.plane.scratch().join(format!("{}.log", self.namespace))
    }

    /// What the operator has logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// Applies the org with further spec fields, and its Secret.
    pub fn apply_org(&self, extra: Value) {
        self.apply_secret("demo-client", "demo-secret");
        let mut spec = json!({"endpoints": {"login": self.url(), "api": self.url()}, "credentials": {"secretRef": {"name": "genesys"}}, "requestsPerMinute": 3000});
        merge(&mut spec, extra);
        self.apply_ok(&json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec": spec}));
    }

    /// Applies the Secret of the org.
    pub fn apply_secret(&self, id: &str, secret: &str) {
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": {"clientId": id, "clientSecret": secret}});
        self.apply_ok(&secret);
    }

    /// A config object.
    pub fn config(&self, name: &str, spec: Value) -> Value {
        let mut full = json!({"orgRef": {"name": "org"}, "configId": name});
        merge(&mut full, spec);
        json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "AgentAssistConfig", "metadata": {"name": name}, "spec": full})
    }

    /// Applies a config object.
    pub fn apply_config(&self, name: &str, spec: Value) {
        self.apply_ok(&self.config(name, spec));
    }

    /// `kubectl apply` into the namespace.
    pub fn apply(&self, object: &Value) -> Out {
        self.plane.kubectl_with_input(&["-n", &self.namespace, "apply", "-f", "-"], &object.to_string())
    }

    /// `kubectl apply` that must succeed.
    pub fn apply_ok(&self, object: &Value) -> String {
        let out = self.apply(object);
        assert!(out.success(), "apply: {}{}", out.stdout, out.stderr);
        out.stdout
    }

    /// kubectl in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let mut all = vec!["-n", self.namespace.as_str()];
        all.extend(args);
        self.plane.kubectl_ok(&all)
    }

    /// An object as the API server has it: `c1` is a config, any other kind is named, as in `pt/p1`.
    pub fn get(&self, name: &str) -> Value {
        self.plane.get_json(&["-n", &self.namespace, "get", &reference(name)])
    }

    /// An object of a kind.
    pub fn object(&self, kind: &str, name: &str, spec: Value) -> Value {
        let mut full = json!({"orgRef": {"name": "org"}});
        merge(&mut full, spec);
        json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": full})
    }

    /// Applies a prompt for the template of the same name.
    pub fn apply_prompt(&self, name: &str, spec: Value) {
        let mut full = json!({"templateId": name});
        merge(&mut full, spec);
        self.apply_ok(&self.object("PromptTemplate", name, full));
    }

    /// Polls until `check` holds; on failure the object and the operator's log are shown.
    pub fn wait_until(&self, what: &str, mut check: impl FnMut() -> bool) {
        let began = std::time::Instant::now();
        while !check() {
            if began.elapsed() > std::time::Duration::from_secs(60) {
                let objects = self.plane.kubectl(&["-n", &self.namespace, "get", "genesys", "-o", "yaml"]);
                let log = self.log_text();
                let tail: Vec<&str> = log.lines().rev().take(40).collect();
                panic!("not within 60 s: {what}\n{}\n{}", objects.stdout, tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    /// Waits until Ready has this status and reason for the current generation.
    pub fn wait_ready(&self, name: &str, status: &str, reason: &str) -> Value {
        let mut object = Value::Null;
        self.wait_until(&format!("{name} Ready={status} {reason}"), || {
            object = self.get(name);
            let ready = condition(&object, "Ready");
            let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
            current && ready["status"] == status && ready["reason"] == reason
        });
        object
    }

    /// Asks for a check at once, and waits until it was made.
    pub fn request_check(&self, name: &str, token: &str) {
        self.kubectl(&[
            "annotate",
            "--overwrite",
            &reference(name),
            &format!("assist-operator.dev/reconcile-requested-at={token}"),
        ]);
        self.wait_until("the request was handled", || self.get(name)["status"]["lastHandledReconcileAt"] == token);
    }

    /// A place in the journal, for [`Stage::calls_since`].
    pub fn mark(&self) -> u64 {
        self.world().journal().last().map_or(0, |e| e.seq)
    }

    /// Calls of the operator since a mark, without those for a token.
    pub fn calls_since(&self, mark: u64) -> Vec<Entry> {
        let calls = self.world().journal_since(mark);
        calls.into_iter().filter(|e| e.actor == Actor::Client && !["T1", "A1"].contains(&e.call.as_str())).collect()
    }

    /// Their short names.
    pub fn names_since(&self, mark: u64) -> Vec<String> {
        self.calls_since(mark).into_iter().map(|e| e.call).collect()
    }

    /// Writes of the operator so far.
    pub fn writes(&self) -> Vec<Entry> {
        self.calls_since(0).into_iter().filter(|e| e.call == "C3").collect()
    }

    /// Waits until something was read of a config since a mark: a check was made.
    pub fn wait_check(&self, config: &str, mark: u64) {
        self.wait_until("a drift check", || {
            self.calls_since(mark).iter().any(|e| e.call == "C1" && e.target.as_deref() == Some(config))
        });
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.world().faults().push(fault);
    }

    /// Reasons of the events about an object, oldest first.
    pub fn events(&self, name: &str) -> Vec<String> {
        let list = self.plane.get_json(&["-n", &self.namespace, "get", "events.events.k8s.io"]);
        let mut events: Vec<(String, String)> = list["items"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|e| e["regarding"]["name"] == name.split_once('/').map_or(name, |(_, name)| name))
            .map(|e| {
                (e["eventTime"].as_str().unwrap_or_default().to_owned(), e["reason"].as_str().unwrap_or_default().to_owned())
            })
            .collect();
        events.sort();
        events.into_iter().map(|(_, reason)| reason).collect()
    }

    /// No invariant is broken in the journal.
    pub fn assert_invariants(&self) {
        let violations = check(&self.world().journal());
        assert!(violations.is_empty(), "{violations:#?}");
    }
}

/// One of several operators of a stage. It ends with this value, as a crash would end it.
pub struct Replica {
    server: Server,
    port: u16,
    listen: String,
    log: PathBuf,
}

impl Replica {
    /// Sends a signal, for example `STOP`.
    pub fn signal(&self, signal: &str) {
        let pid = pid_with(&self.listen).expect("the replica runs");
        let sent = Command::new("kill").args([&format!("-{signal}"), &pid]).status().expect("run kill");
        assert!(sent.success(), "the replica was gone already: {}", self.log_text());
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        self.server.is_alive()
    }

    /// Whether it says that it leads.
    pub fn is_leader(&self) -> bool {
        self.get("/metrics").lines().any(|line| line == "assist_operator_is_leader 1")
    }

    /// What it has logged.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it answers; empty where it does not.
    pub fn get(&self, path: &str) -> String {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
            stream.set_read_timeout(Some(Duration::from_secs(5)))?;
            write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().unwrap_or_default()
    }
}

/// The process of the binary under test that has this argument.
fn pid_with(arg: &str) -> Option<String> {
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    let ours = |path: &Path| {
        let line = std::fs::read(path.join("cmdline")).unwrap_or_default();
        let mut args = line.split(|byte| *byte == 0);
        args.next() == Some(BINARY.as_bytes()) && args.any(|other| other == arg.as_bytes())
    };
    let process = processes.map(|entry| entry.path()).find(|path| ours(path))?;
    process.file_name()?.to_str().map(str::to_owned)
}

fn reference(name: &str) -> String {
    if name.contains('/') { name.to_owned() } else { format!("aac/{name}") }
}

/// A condition of an object.
pub fn condition(object: &Value, kind: &str) -> Value {
    object["status"]["conditions"].as_array().into_iter().flatten().find(|c| c["type"] == kind).cloned().unwrap_or(Value::Null)
}

/// The message of Ready.
pub fn message(object: &Value) -> String {
    condition(object, "Ready")["message"].as_str().unwrap_or_default().to_owned()
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}
