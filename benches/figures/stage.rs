//! The stage of one figure: a namespace, a sandbox, an org with its Secret, and an operator that watches this namespace only.

use std::process::Command;
use std::sync::Once;
use std::time::{Duration, Instant};

use assist_operator::sandbox::{Options as SandboxOptions, Sandbox, World, check};
use serde_json::{Value, json};

use crate::Options;
use crate::control_plane::{ControlPlane, OPERATOR_USER, shared};
use crate::documents::{full, id, list, live};
use crate::operator::{Operator, log_of};
use crate::watch::Watch;

/// One figure's world.
pub struct Stage {
    /// The control plane, shared by all figures.
    pub plane: &'static ControlPlane,
    /// The figure's namespace.
    pub namespace: String,
    operator: Option<Operator>,
    options: Options,
    sandbox: Sandbox,
    // Last: the sandbox lives on it.
    _runtime: tokio::runtime::Runtime,
}

/// Installs CRDs and role, once for all figures.
fn install(plane: &ControlPlane, options: &Options) {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        plane.apply_crds(&output_of(options, "crds"));
        plane.apply_ok(&output_of(options, "rbac"));
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding", "metadata": {"name": "assist-operator"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "assist-operator"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
        });
        plane.apply_ok(&binding.to_string());
    });
}

fn output_of(options: &Options, command: &str) -> String {
    let output = Command::new(&options.operator).args(command.split(' ')).output().expect("the operator's binary runs");
    assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

impl Stage {
    /// A stage with a running operator and an org of so many calls a minute.
    pub fn new(name: &str, options: &Options, requests_per_minute: u32) -> Self {
        let mut stage = Self::without_org(name, options);
        stage.apply_org(requests_per_minute);
        stage.start();
        stage.wait("the org is ready", 60, |stage| stage.ready("gorg", "org").is_some_and(|(status, _)| status == "True"));
        stage
    }

    /// A stage without an org and an operator.
    pub fn without_org(name: &str, options: &Options) -> Self {
        let plane = shared();
        install(plane, options);
        plane.kubectl_ok(&["create", "namespace", name]);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        // The sandbox of an earlier figure has done this already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let sandbox = runtime.block_on(Sandbox::start(SandboxOptions::default())).expect("a sandbox");
        Self { plane, namespace: name.to_owned(), operator: None, options: options.clone(), sandbox, _runtime: runtime }
    }

    /// State and journal of the sandbox.
    pub fn world(&self) -> &World {
        self.sandbox.world()
    }

    /// Where the sandbox listens.
    pub fn url(&self) -> &str {
        self.sandbox.url()
    }

    /// The journal from now on.
    pub fn watch(&self) -> Watch {
        Watch::new(self.world())
    }

    /// The running operator.
    pub fn operator(&self) -> &Operator {
        self.operator.as_ref().expect("the operator runs")
    }

    /// Starts the operator.
    pub fn start(&mut self) {
        self.operator = Some(Operator::start(&self.options, &self.namespace));
    }

    /// Ends the operator with `kill -9`.
    pub fn kill(&mut self) {
        self.operator = None;
    }

    /// Ends the operator with SIGTERM; how long that took.
    pub fn terminate(&mut self) -> Duration {
        self.operator.take().expect("the operator runs").terminate()
    }

    /// Applies the CRDs as this binary prints them.
    pub fn apply_crds(&self) {
        self.plane.apply_crds(&output_of(&self.options, "crds"));
    }

    /// Applies the org and its Secret.
    pub fn apply_org(&self, requests_per_minute: u32) {
        let (url, api) = (self.sandbox.url(), "assist-operator.dev/v1alpha1");
        let spec = json!({"endpoints": {"login": url, "api": url}, "credentials": {"secretRef": {"name": "genesys"}}, "requestsPerMinute": requests_per_minute});
        let data = json!({"clientId": "demo-client", "clientSecret": "demo-secret"});
        self.apply(&list([
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "genesys"}, "stringData": data}),
            json!({"apiVersion": api, "kind": "GenesysOrg", "metadata": {"name": "org"}, "spec": spec}),
        ]));
    }

    /// Lets the operator take part in the election of a leader.
    pub fn allow_lease(&self) {
        self.plane.apply_ok(&output_of(&self.options, &format!("rbac --lease-namespace {}", self.namespace)));
        self.apply(&json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": {"name": "assist-operator-lease"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "assist-operator-lease"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": OPERATOR_USER}],
        }));
    }

    /// `kubectl apply`: the moment at which it returned.
    pub fn apply(&self, object: &Value) -> Instant {
        let args = ["-n", &self.namespace, "apply", "-f", "-"];
        let out = self.plane.kubectl_with_input(&args, &object.to_string());
        let returned = Instant::now();
        assert!(out.success(), "kubectl apply: {}{}", out.stdout, out.stderr);
        returned
    }

    /// kubectl in the namespace.
    pub fn kubectl(&self, args: &[&str]) -> String {
        let all: Vec<&str> = ["-n", self.namespace.as_str()].into_iter().chain(args.iter().copied()).collect();
        self.plane.kubectl_ok(&all)
    }

    /// Puts the first `count` live documents into the sandbox.
    pub fn plant(&self, count: usize) {
        (0..count).for_each(|n| self.world().put_config(&id(n), live(n)));
    }

    /// Applies so many configs and waits until each is converged.
    pub fn converge(&self, count: usize) {
        self.plant(count);
        self.apply(&list((0..count).map(|n| full(n, 1))));
        self.wait_converged(count);
    }

    /// Waits until so many objects are Ready for their generation.
    pub fn wait_converged(&self, count: usize) {
        self.wait("all configs are converged", 600, |stage| {
            std::thread::sleep(Duration::from_millis(500));
            stage.count_ready() == count
        });
    }

    fn count_ready(&self) -> usize {
        let columns = "jsonpath={range .items[*]}{.metadata.generation} {.status.observedGeneration} {.status.conditions[?(@.type==\"Ready\")].status}{\"\\n\"}{end}";
        let text = self.kubectl(&["get", "aac", "-o", columns]);
        let ready = |line: &&str| {
            let mut fields = line.split(' ');
            let current = fields.next() == fields.next();
            current && fields.next() == Some("True")
        };
        text.lines().filter(ready).count()
    }

    /// Status and reason of an object's Ready for its generation.
    pub fn ready(&self, kind: &str, name: &str) -> Option<(String, String)> {
        let object = self.plane.get_json(&["-n", &self.namespace, "get", kind, name]);
        let ready = object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == "Ready")?;
        let current = object["status"]["observedGeneration"] == object["metadata"]["generation"];
        let text = |field: &str| ready[field].as_str().unwrap_or_default().to_owned();
        current.then(|| (text("status"), text("reason")))
    }

    /// Waits until an object is Ready for its generation.
    pub fn wait_ready(&self, name: &str) {
        self.wait(&format!("{name} is Ready"), 60, |stage| stage.ready("aac", name).is_some_and(|(status, _)| status == "True"));
    }

    /// Polls until `check` holds; panics with the end of the operator's log after `seconds`.
    pub fn wait(&self, what: &str, seconds: u64, mut check: impl FnMut(&Self) -> bool) {
        let began = Instant::now();
        while !check(self) {
            if began.elapsed() > Duration::from_secs(seconds) {
                let log = std::fs::read_to_string(log_of(self.plane, &self.namespace)).unwrap_or_default();
                let tail: Vec<&str> = log.lines().rev().take(20).collect();
                panic!("not within {seconds} s: {what}\n{}", tail.into_iter().rev().collect::<Vec<_>>().join("\n"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Writes of the operator to the API server so far in this namespace, leases left out: verb and resource.
    pub fn kubernetes_writes(&self) -> Vec<String> {
        let text = |event: &Value, field: &str| event["objectRef"][field].as_str().unwrap_or_default().to_owned();
        let is_write = |event: &&Value| !matches!(event["verb"].as_str(), Some("get" | "list" | "watch"));
        let mine = |event: &&Value| {
            event["objectRef"]["namespace"] == self.namespace.as_str() && event["objectRef"]["resource"] != "leases"
        };
        let name = |event: &Value| {
            let parts = [text(event, "resource"), text(event, "subresource"), text(event, "name")];
            format!("{} {}", event["verb"].as_str().unwrap_or_default(), parts.join("/"))
        };
        self.plane.requests_of(OPERATOR_USER).iter().filter(is_write).filter(mine).map(name).collect()
    }

    /// What the checker of the journal finds.
    pub fn violations(&self) -> usize {
        let found = check(&self.world().journal());
        found.iter().take(5).for_each(|violation| anstream::eprintln!("  {violation:?}"));
        found.len()
    }
}
