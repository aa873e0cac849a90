//! The Helm chart with the real Helm and a real API server: what it renders, what its roles allow, what is left when it goes.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use assist_operator::kinds;
use serde_json::{Value, json};

use crate::control_plane::process::{free_ports, hermetic};
use crate::control_plane::{ControlPlane, Out};
use crate::stage::{BINARY, Replica, Stage};
use crate::tools;

/// The folder of the chart.
pub const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/charts/assist-operator");

/// Everything that can be switched on together.
pub fn everything() -> Value {
    json!({
        "commonLabels": {"team": "contact-center"},
        "imagePullSecrets": [{"name": "registry"}],
        "allowedEndpoints": ["https://audit.internal.example:8443"],
        "rbac": {"aggregate": true},
        "approval": {"policy": {"enabled": true, "groups": ["release-managers"], "users": ["lead@example.com"]}},
        "extraEnv": [{"name": "RUST_BACKTRACE", "value": "1"}],
        "caBundle": {"configMap": "company-ca"},
        "podLabels": {"zone": "a"}, "podAnnotations": {"note": "b"}, "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms":
            [{"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64", "arm64"]}]}]}}},
        "priorityClassName": "system-cluster-critical",
        "metrics": {
            "serviceMonitor": {"enabled": true, "labels": {"release": "monitoring"}},
            "prometheusRule": {"enabled": true, "alertLabels": {"team": "contact-center"}},
            "dashboard": {"enabled": true, "annotations": {"grafana_folder": "Genesys"}},
        },
        "networkPolicy": {
            "metricsFrom": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}],
            "apiServer": {"ports": [6443], "cidrs": ["10.0.0.1/32"]},
            "extraEgress": [{"ports": [{"port": 8443, "protocol": "TCP"}]}],
        },
    })
}

/// The forms of the chart that a test goes through: a name and the values.
fn forms() -> Vec<(&'static str, Value)> {
    let monitored = json!({"metrics": {"podMonitor": {"enabled": true}}, "replicas": 1, "leaderElection": {"enabled": false}});
    let bare = json!({
        "rbac": {"create": false, "userRoles": false}, "crds": {"install": false}, "serviceAccount": {"create": false},
        "networkPolicy": {"enabled": false}, "metrics": {"service": false}, "podDisruptionBudget": {"enabled": false},
    });
    vec![
        ("default", json!({})),
        ("everything", everything()),
        ("namespaced", json!({"watchNamespace": "team"})),
        ("one-replica", monitored),
        ("bare", bare),
    ]
}

/// Runs Helm with values on its stdin.
fn helm(plane: Option<&ControlPlane>, args: &[&str], values: &Value) -> Out {
    static HOME: Mutex<Option<tempfile::TempDir>> = Mutex::new(None);
    let home: PathBuf = HOME.lock().unwrap().get_or_insert_with(|| tempfile::tempdir().unwrap()).path().to_owned();
    let mut command = Command::new(tools::path("helm"));
    hermetic(&mut command).args(args).env("HOME", &home).current_dir(&home);
    match plane {
        Some(plane) => command.env("KUBECONFIG", plane.kubeconfig()),
        None => command.env("KUBECONFIG", "/dev/null"),
    };
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), values.to_string()).unwrap();
    if !["uninstall"].contains(&args[0]) {
        command.arg("--values").arg(file.path());
    }
    let output = command.stdin(Stdio::null()).output().expect("run helm");
    Out {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

#[track_caller]
fn helm_ok(plane: Option<&ControlPlane>, args: &[&str], values: &Value) -> String {
    let out = helm(plane, args, values);
    assert!(out.success(), "helm {args:?} with {values}\n{}\n{}", out.stdout, out.stderr);
    out.stdout
}

/// What `helm template` prints.
fn rendered_text(namespace: &str, values: &Value) -> String {
    helm_ok(None, &["template", "prod", CHART, "--namespace", namespace], values)
}

/// The objects that the chart renders.
pub fn rendered(namespace: &str, values: &Value) -> Vec<Value> {
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered_text(namespace, values)).unwrap();
    objects.into_iter().filter(|object| !object.is_null()).collect()
}

fn kinds_of(objects: &[Value]) -> Vec<&str> {
    let mut kinds: Vec<&str> = objects.iter().map(|object| object["kind"].as_str().unwrap()).collect();
    kinds.sort_unstable();
    kinds
}

fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn every_form_passes_the_linter_and_renders_what_it_is_for() {
    for (name, values) in forms() {
        let lint = helm(None, &["lint", CHART, "--strict"], &values);
        assert!(lint.success(), "{name}: {}{}", lint.stdout, lint.stderr);
        let objects = rendered("ops", &values);
        for object in &objects {
            let labels = &object["metadata"]["labels"];
            for label in ["name", "instance", "version", "component", "part-of", "managed-by"] {
                assert!(labels[format!("app.kubernetes.io/{label}")].is_string(), "{name}: {label} of {}", object["metadata"]);
            }
        }
        let pod = &of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"];
        assert!(pod["terminationGracePeriodSeconds"].as_u64().unwrap() >= 30, "{name}");
        let elects = if name == "one-replica" { "--leader-elect=false" } else { "--leader-elect" };
        assert!(pod["containers"][0]["args"].as_array().unwrap().contains(&json!(elects)), "{name}");
        let crds = of_kind(&objects, "CustomResourceDefinition");
        assert_eq!(crds.len(), if name == "bare" { 0 } else { kinds::crds().unwrap().len() }, "{name}");
        for crd in crds {
            assert_eq!(crd["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
            assert_eq!(crd["metadata"]["annotations"]["argocd.argoproj.io/sync-options"], "ServerSideApply=true");
        }
    }
    let objects = rendered("ops", &json!({"crds": {"install": false}, "watchNamespace": "team"}));
    // The two for people are the only cluster-wide objects.
    assert_eq!(of_kind(&objects, "ClusterRoleBinding").len(), 0);
    for role in of_kind(&objects, "ClusterRole") {
        assert!(role["metadata"]["labels"].as_object().unwrap().keys().any(|k| k.contains("aggregate-to-")), "{role}");
    }
    let bare = rendered("ops", &forms().pop().unwrap().1);
    assert_eq!(kinds_of(&bare), ["Deployment"]);
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn values_that_cannot_be_meant_are_refused_with_their_name() {
    for (values, parts) in [
        (json!({"replica": 2}), &["replica"][..]),
        (json!({"replicas": "two"}), &["/replicas", "integer"]),
        (json!({"metrics": {"serviceMonitor": {"enable": true}}}), &["/metrics/serviceMonitor", "enable"]),
        (json!({"leaderElection": {"leaseDuration": "15"}}), &["/leaderElection/leaseDuration"]),
        (json!({"leaderElection": {"leaseDuration": "500ms"}}), &["/leaderElection/leaseDuration"]),
        (json!({"terminationGracePeriodSeconds": 10}), &["/terminationGracePeriodSeconds", "30"]),
        (json!({"allowedEndpoints": ["https://user@host/path"]}), &["/allowedEndpoints/0"]),
        (json!({"log": {"format": "xml"}}), &["/log/format", "json"]),
        (json!({"metrics": {"port": 80}}), &["/metrics/port", "1,024"]),
        (json!({"leaderElection": {"enabled": false}}), &["replicas", "leaderElection.enabled=true"]),
        (json!({"approval": {"policy": {"enabled": true}}}), &["approval.policy", "groups", "nobody"]),
        (
            json!({"metrics": {"serviceMonitor": {"enabled": true}, "podMonitor": {"enabled": true}}}),
            &["serviceMonitor", "podMonitor", "twice"],
        ),
    ] {
        let out = helm(None, &["template", "prod", CHART], &values);
        assert!(!out.success(), "{values} was accepted");
        for part in parts {
            assert!(out.stderr.contains(part), "{part} is not in the answer to {values}:\n{}", out.stderr);
        }
    }
}

/// Stand-ins for the kinds of the Prometheus operator: any spec is accepted.
fn monitoring_crds() -> String {
    let crd = |kind: &str| {
        let plural = format!("{}s", kind.to_lowercase());
        let schema =
            json!({"type": "object", "properties": {"spec": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}}});
        json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": {"name": format!("{plural}.monitoring.coreos.com")},
            "spec": {
                "group": "monitoring.coreos.com", "scope": "Namespaced", "names": {"kind": kind, "plural": plural},
                "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}}],
            },
        })
    };
    ["ServiceMonitor", "PodMonitor", "PrometheusRule"].map(|kind| crd(kind).to_string()).join("\n---\n")
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn the_api_server_accepts_every_object_of_every_form() {
    let stage = Stage::without_org("render");
    stage.kill_operator();
    stage.plane.apply_crds(&monitoring_crds());
    for (name, mut values) in forms() {
        if name == "namespaced" {
            values["watchNamespace"] = json!(stage.namespace);
        }
        let text = rendered_text(&stage.namespace, &values);
        let args =
            ["-n", &stage.namespace, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"];
        let out = stage.plane.kubectl_with_input(&[&args[..], &["-o", "name", "-f", "-"]].concat(), &text);
        assert!(out.success(), "{name}: {}", out.stderr);
        assert_eq!(out.stdout.lines().count(), rendered(&stage.namespace, &values).len(), "{name}");
    }
    // What Helm prints of a CRD means the same as the file it was made of.
    for crd in of_kind(&rendered("ops", &json!({})), "CustomResourceDefinition") {
        let file = format!("{}/crds/{}.yaml", env!("CARGO_MANIFEST_DIR"), crd["spec"]["names"]["plural"].as_str().unwrap());
        let kept: Value = serde_saphyr::from_str(&fs::read_to_string(file).unwrap()).unwrap();
        assert_eq!(crd["spec"], kept["spec"]);
    }
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn its_pods_are_admitted_where_only_restricted_ones_are() {
    let stage = Stage::without_org("restricted");
    stage.kill_operator();
    stage.plane.kubectl_ok(&["label", "namespace", &stage.namespace, "pod-security.kubernetes.io/enforce=restricted"]);
    let dry_run = |pod: &Value| {
        stage.plane.kubectl_with_input(&["-n", &stage.namespace, "create", "--dry-run=server", "-f", "-"], &pod.to_string())
    };
    for (name, mut values) in forms() {
        // A pod can only name a class that is there, and a taint or node need none.
        values["priorityClassName"] = json!("");
        let objects = rendered(&stage.namespace, &values);
        let template = &of_kind(&objects, "Deployment")[0]["spec"]["template"];
        let mut pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"], "spec": template["spec"]});
        pod["metadata"]["name"] = json!("operator");
        let out = dry_run(&pod);
        assert!(out.success() && !out.stderr.contains("would violate"), "{name}: {}", out.stderr);
        assert_eq!(pod["spec"]["containers"][0]["securityContext"]["readOnlyRootFilesystem"], true, "{name}");
        assert!(pod["spec"]["containers"][0]["resources"]["limits"]["memory"].is_string(), "{name}");
        pod["spec"]["containers"][0]["securityContext"]["capabilities"] = json!({});
        assert!(dry_run(&pod).stderr.contains("violates PodSecurity"), "{name}: the standard is not enforced here");
    }
}

/// The live objects that a release must not take with it.
const ORG: &str = "
apiVersion: assist-operator.dev/v1alpha1
kind: GenesysOrg
metadata: {name: production, namespace: team}
spec: {region: us-east-1, credentials: {secretRef: {name: genesys}}}
---
apiVersion: assist-operator.dev/v1alpha1
kind: AgentAssistConfig
metadata: {name: retail, namespace: team}
spec: {orgRef: {name: production}, configId: retail, config: {name: Retail}}
";

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn install_upgrade_and_uninstall_leave_crds_and_objects_where_they_are() {
    let plane = ControlPlane::start();
    let on = Some(&plane);
    let place = ["prod", CHART, "--namespace", "ops", "--create-namespace"];
    let notes = helm_ok(on, &[&["install"][..], &place].concat(), &json!({}));
    for part in ["rollout status deployment/prod-assist-operator", "kind: GenesysOrg", "condition=Ready"] {
        assert!(notes.contains(part), "{part} is not in\n{notes}");
    }
    for crd in kinds::crds().unwrap() {
        let name = format!("{}.{}", crd.spec.names.plural, crd.spec.group);
        plane.wait_until("the CRD is served", || plane.kubectl(&["get", &name, "-A"]).success());
    }
    plane.kubectl_ok(&["create", "namespace", "team"]);
    plane.apply_ok(ORG);
    let deployment = || plane.get_json(&["-n", "ops", "get", "deployment", "prod-assist-operator"]);
    assert_eq!(deployment()["spec"]["replicas"], 2);
    let uid = |name: &str| plane.get_json(&["-n", "team", "get", name])["metadata"]["uid"].clone();
    let before = (uid("gorg/production"), uid("aac/retail"));

    let changed = json!({"replicas": 3, "log": {"level": "debug"}, "podDisruptionBudget": {"enabled": false}});
    helm_ok(on, &[&["upgrade"][..], &place].concat(), &changed);
    let live = deployment();
    assert_eq!(live["spec"]["replicas"], 3);
    let env = &live["spec"]["template"]["spec"]["containers"][0]["env"];
    assert_eq!(env[0], json!({"name": "ASSIST_OPERATOR_LOG", "value": "debug"}));
    assert!(!plane.kubectl(&["-n", "ops", "get", "pdb", "prod-assist-operator"]).success());

    helm_ok(on, &["uninstall", "prod", "--namespace", "ops"], &json!({}));
    for gone in ["deployment", "role", "rolebinding", "serviceaccount", "service", "networkpolicy"] {
        let left = plane.kubectl_ok(&["-n", "ops", "get", gone, "-o", "name", "-l", "app.kubernetes.io/instance=prod"]);
        assert_eq!(left, "", "{gone}");
    }
    let cluster_wide = ["clusterroles", "clusterrolebindings"];
    for gone in cluster_wide {
        assert_eq!(plane.kubectl_ok(&["get", gone, "-o", "name", "-l", "app.kubernetes.io/instance=prod"]), "", "{gone}");
    }
    let crds = plane.kubectl_ok(&["get", "crds", "-o", "name"]);
    assert_eq!(crds.lines().filter(|line| line.ends_with(".assist-operator.dev")).count(), kinds::crds().unwrap().len());
    assert_eq!((uid("gorg/production"), uid("aac/retail")), before);

    // The next release takes over what was kept.
    helm_ok(on, &[&["install"][..], &place].concat(), &json!({}));
    assert_eq!((uid("gorg/production"), uid("aac/retail")), before);
}

/// A release of the chart whose two operators run as processes of the test, with the account and the arguments that it gives them.
struct Release<'a> {
    stage: &'a Stage,
    user: String,
    replicas: Vec<Replica>,
}

impl<'a> Release<'a> {
    /// Installs the chart into the stage's namespace.
    fn install(stage: &'a Stage, mut values: Value) -> Self {
        stage.kill_operator();
        values["crds"] = json!({"install": false});
        values["fullnameOverride"] = json!(stage.namespace);
        values["allowedEndpoints"] = json!([stage.url()]);
        values["metrics"] = json!({"port": stage.port()});
        helm_ok(Some(stage.plane), &["install", &stage.namespace, CHART, "--namespace", &stage.namespace], &values);
        let deployment = stage.get(&format!("deployment/{}", stage.namespace));
        assert_eq!(deployment["spec"]["replicas"], 2);
        let pod = &deployment["spec"]["template"]["spec"];
        let account = pod["serviceAccountName"].as_str().unwrap();
        let token = stage.kubectl(&["create", "token", account]);
        let kubeconfig = stage.plane.scratch().join(format!("{}.kubeconfig", stage.namespace));
        let mut config: Value = serde_json::from_str(&fs::read_to_string(stage.plane.operator_kubeconfig()).unwrap()).unwrap();
        config["users"][0]["user"] = json!({"token": token.trim()});
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let args = pod["containers"][0]["args"].as_array().unwrap();
        // A pod has an address of its own; here each has a port.
        let replica = |name: &str, port: u16| {
            let (rendered, own) = (format!("--listen=0.0.0.0:{}", stage.port()), format!("--listen=127.0.0.1:{port}"));
            let args: Vec<String> = args.iter().map(|arg| arg.as_str().unwrap().replace(&rendered, &own)).collect();
            assert!(args.contains(&own), "{args:?}");
            stage.replica_with(name, &kubeconfig, port, &args)
        };
        let [other] = free_ports::<1>();
        let replicas = vec![replica("first", stage.port()), replica("second", other)];
        let user = format!("system:serviceaccount:{}:{account}", stage.namespace);
        Self { stage, user, replicas }
    }

    /// Waits until one of the replicas works, and takes it out: the other one is ready all the same.
    fn leader(&mut self) -> Replica {
        let mut leads = None;
        self.stage.wait_until("one works", || {
            leads = self.replicas.iter().position(Replica::is_leader);
            leads.is_some()
        });
        let leader = self.replicas.remove(leads.unwrap());
        for follower in &self.replicas {
            assert!(!follower.is_leader() && follower.get("/readyz").starts_with("HTTP/1.1 200"), "{}", follower.log_text());
        }
        leader
    }

    /// The one that works is stopped, and the other one goes on.
    fn hand_over(&mut self) {
        let mut before = self.leader();
        before.signal("TERM");
        self.stage.wait_until("it ends", || !before.is_alive());
        let next = self.leader();
        self.stage.apply_config("c1", json!({"config": {"name": "next"}}));
        self.stage.wait_until("the next one writes", || self.stage.world().config("c1").unwrap()["name"] == "next");
        self.stage.wait_ready("aac/c1", "True", "Succeeded");
        self.replicas.push(next);
    }

    /// The Lease is named after the release, and held for as long as the values say.
    fn assert_lease(&self, seconds: u64) {
        let lease = self.stage.get(&format!("lease/{}", self.stage.namespace));
        assert_eq!(lease["spec"]["leaseDurationSeconds"], seconds);
        assert!(lease["spec"]["holderIdentity"].as_str().is_some_and(|holder| !holder.is_empty()), "{lease}");
        let can = |verb: &str, name: &str| {
            let args = ["auth", "can-i", verb, &format!("leases/{name}"), "-n", &self.stage.namespace, "--as", &self.user];
            self.stage.plane.kubectl(&args).success()
        };
        assert!(can("update", &self.stage.namespace) && !can("update", "another") && !can("delete", &self.stage.namespace));
    }

    /// Applies an object of each kind and waits until all of them are converged.
    fn converge(&mut self) {
        let stage = self.stage;
        stage.apply_org(json!({}));
        let world = stage.world();
        world.put_config("c1", json!({"name": "old"}));
        world.put_prompt("p1", &[]);
        for user in ["u1", "u2"] {
            world.put_user(user, json!({"version": 1, "name": user, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
            world.set_metrics(user, Some(json!(350.0)), Some(json!(4.5)));
        }
        let text = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: texts}\ndata: {p1: How can I help}";
        let out = stage.plane.kubectl_with_input(&["-n", &stage.namespace, "apply", "-f", "-"], text);
        assert!(out.success(), "{}", out.stderr);
        let objects = [
            ("AgentAssistConfig", "aac/c1", json!({"configId": "c1", "config": {"name": "new"}})),
            (
                "PromptTemplate",
                "pt/p1",
                json!({"templateId": "p1", "contentFrom": {"configMapKeyRef": {"name": "texts", "key": "p1"}}}),
            ),
            ("SkillProfile", "skp/s1", json!({"userId": "u1", "skills": [{"skillId": "returns", "proficiency": 0.5}]})),
            ("SkillPolicy", "skpol/billing", json!({"skillId": "billing", "userIds": ["u2"], "mode": "Enforce"})),
        ];
        let covered: Vec<&str> = objects.iter().map(|(kind, ..)| *kind).collect();
        assert_eq!(
            covered,
            kinds::KINDS.iter().map(|kind| kind.kind).collect::<Vec<_>>(),
            "each kind is tried under the chart's roles"
        );
        for (kind, name, spec) in &objects {
            stage.apply_ok(&stage.object(kind, name.split_once('/').unwrap().1, spec.clone()));
        }
        for (_, name, _) in &objects {
            stage.wait_ready(name, "True", "Succeeded");
        }
        for replica in &mut self.replicas {
            assert!(replica.is_alive(), "{}", replica.log_text());
        }
        assert_eq!(world.config("c1").unwrap()["name"], "new");
        assert_eq!(world.live_prompt("p1").unwrap()["content"], "How can I help");
        assert_eq!(world.skill("u1", "returns"), Some(json!(0.5)));
        assert_eq!(world.skill("u2", "billing"), Some(json!(0.9)));
        stage.wait_until("the events", || stage.events("aac/c1").contains(&"Updated".to_owned()));
        stage.assert_invariants();
    }

    /// No request of the account was refused for want of a permission.
    fn assert_nothing_denied(&self) {
        let requests = self.stage.plane.requests_of(&self.user);
        assert!(requests.len() > 10, "{} requests of {}", requests.len(), self.user);
        let denied = |event: &&Value| event["annotations"]["authorization.k8s.io/decision"] == "forbid";
        let denied: Vec<&Value> = requests.iter().filter(denied).map(|event| &event["requestURI"]).collect();
        assert!(denied.is_empty(), "{denied:?}");
    }
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn an_operator_of_one_namespace_needs_only_the_roles_of_its_release() {
    let stage = Stage::without_org("one-namespace");
    let values = json!({"watchNamespace": stage.namespace, "leaderElection": {"leaseDuration": "60s"}});
    let mut release = Release::install(&stage, values);
    release.converge();
    release.assert_lease(60);
    release.hand_over();
    release.assert_nothing_denied();
    // And it may not look anywhere else.
    for (verb, what) in [("get", "secrets"), ("list", "agentassistconfigs.assist-operator.dev")] {
        let can = |namespace: &str| {
            stage.plane.kubectl(&["auth", "can-i", verb, what, "-n", namespace, "--as", &release.user]).success()
        };
        assert!(can(&stage.namespace) && !can("default"), "{what}");
    }
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn an_operator_of_all_namespaces_needs_only_the_roles_of_its_release() {
    let plane: &'static ControlPlane = Box::leak(Box::new(ControlPlane::start()));
    let stage = Stage::on(plane, "everywhere");
    let mut release = Release::install(&stage, json!({}));
    release.converge();
    release.assert_lease(15);
    release.hand_over();
    // An org that others may use: the labels of their namespaces are read.
    let other = format!("{}-guest", stage.namespace);
    plane.kubectl_ok(&["create", "namespace", &other]);
    plane.kubectl_ok(&["label", "namespace", &other, "assist=yes"]);
    stage.apply_org(json!({"allowedNamespaces": {"from": "Selector", "selector": {"matchLabels": {"assist": "yes"}}}}));
    stage.world().put_config("guest", json!({"name": "old"}));
    let mut guest =
        stage.config("guest", json!({"config": {"name": "new"}, "orgRef": {"name": "org", "namespace": stage.namespace}}));
    guest["metadata"]["namespace"] = json!(other);
    plane.apply_ok(&guest.to_string());
    stage.wait_until("the guest converges", || stage.world().config("guest").unwrap()["name"] == "new");
    release.assert_nothing_denied();
    let can = |verb: &str, what: &str| plane.kubectl(&["auth", "can-i", verb, what, "-A", "--as", &release.user]).success();
    assert!(can("get", "secrets") && !can("list", "secrets") && !can("update", "agentassistconfigs.assist-operator.dev"));
}

/// Lets a user do in a namespace what a role of the chart allows.
fn bind(plane: &ControlPlane, namespace: &str, role: &str, user: &str) {
    plane.kubectl_ok(&[
        "-n",
        namespace,
        "create",
        "rolebinding",
        user,
        &format!("--clusterrole={role}"),
        &format!("--user={user}"),
    ]);
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn viewers_see_no_personal_data_and_editors_write_no_status() {
    let stage = Stage::new("people");
    stage.kill_operator();
    let (plane, namespace) = (stage.plane, stage.namespace.as_str());
    let values = json!({"crds": {"install": false}, "fullnameOverride": namespace, "watchNamespace": namespace});
    helm_ok(Some(plane), &["install", namespace, CHART, "--namespace", namespace], &values);
    for who in ["viewer", "editor"] {
        bind(plane, namespace, &format!("{namespace}-{namespace}-{who}"), who);
    }
    let act = |user: &str, args: &[&str]| plane.kubectl(&[&["-n", namespace, "--as", user], args].concat());
    let policy = stage.object("SkillPolicy", "billing", json!({"skillId": "billing", "userIds": ["u1"]})).to_string();
    let out = plane.kubectl_with_input(&["-n", namespace, "--as", "editor", "apply", "-f", "-"], &policy);
    assert!(out.success(), "{}", out.stderr);
    for (user, kind, may) in [
        ("viewer", "gorg", true),
        ("viewer", "aac", true),
        ("viewer", "skpol", false),
        ("viewer", "secrets", false),
        ("editor", "skpol", true),
        ("editor", "auditrecords", true),
        ("editor", "secrets", false),
    ] {
        let out = act(user, &["get", kind]);
        assert_eq!(out.success(), may, "{user} {kind}: {}", out.stderr);
        assert!(may || out.stderr.contains("Forbidden"), "{user} {kind}: {}", out.stderr);
    }
    let patch = ["patch", "skpol", "billing", "--type=merge", "-p"];
    let refused = act("viewer", &[&patch[..], &[r#"{"spec":{"suspend":true}}"#]].concat());
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);
    let done = act("editor", &[&patch[..], &[r#"{"spec":{"suspend":true}}"#]].concat());
    assert!(done.success(), "{}", done.stderr);
    let refused = act("editor", &[&patch[..], &[r#"{"status":{"observedGeneration":7}}"#, "--subresource=status"]].concat());
    assert!(refused.stderr.contains("Forbidden"), "{}", refused.stderr);
}

/// Who patches an object when somebody uses an action in Argo CD, and who applies manifests there.
const ARGO_SERVER: &str = "system:serviceaccount:argocd:argocd-server";
const ARGO_SYNC: &str = "system:serviceaccount:argocd:argocd-application-controller";

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn only_those_who_are_named_approve_plans() {
    let stage = Stage::new("approvers");
    stage.kill_operator();
    let (plane, namespace) = (stage.plane, stage.namespace.as_str());
    let approvers = json!({"policy": {"enabled": true, "groups": ["release-managers"], "users": [ARGO_SERVER]}});
    let values =
        json!({"crds": {"install": false}, "fullnameOverride": namespace, "watchNamespace": namespace, "approval": approvers});
    helm_ok(Some(plane), &["install", namespace, CHART, "--namespace", namespace], &values);
    for user in ["dev", "lead", ARGO_SERVER, ARGO_SYNC] {
        bind(plane, namespace, &format!("{namespace}-{namespace}-editor"), user);
    }
    stage.apply_config("c1", json!({"config": {"name": "new"}}));
    let annotate = |who: &[&str], value: &str| {
        let argument = if value.is_empty() {
            "assist-operator.dev/approve-plan-".to_owned()
        } else {
            format!("assist-operator.dev/approve-plan={value}")
        };
        plane.kubectl(&[&["-n", namespace], who, &["annotate", "--overwrite", "aac/c1", &argument]].concat())
    };
    let (dev, lead) = (&["--as", "dev"][..], &["--as", "lead", "--as-group", "release-managers"][..]);
    let (argo, sync) = (&["--as", ARGO_SERVER][..], &["--as", ARGO_SYNC][..]);
    // The API server takes a moment to enforce a new policy.
    let mut refusal = String::new();
    plane.wait_until("the policy is enforced", || {
        let out = annotate(dev, "sha256:one");
        refusal = out.stderr;
        !out.status.success() || !annotate(dev, "").success()
    });
    let approvers = format!("release-managers, {ARGO_SERVER}");
    for part in ["dev may not approve plans", "assist-operator.dev/approve-plan", &approvers] {
        assert!(refusal.contains(part), "{part} is not in {refusal}");
    }
    let mut created = stage.config("c2", json!({"config": {"name": "new"}}));
    created["metadata"]["annotations"] = json!({"assist-operator.dev/approve-plan": "sha256:one"});
    let create = |who: &[&str]| {
        plane.kubectl_with_input(&[&["-n", namespace], who, &["create", "-f", "-"]].concat(), &created.to_string())
    };
    assert!(create(dev).stderr.contains("may not approve plans"));
    for who in [lead, argo] {
        let out = annotate(who, if who == lead { "sha256:one" } else { "sha256:two" });
        assert!(out.success(), "{}", out.stderr);
    }
    assert!(!annotate(dev, "sha256:three").success());
    // An approval in git is none: what is synced is written by another account of Argo CD.
    let refused = annotate(sync, "sha256:three").stderr;
    assert!(refused.contains("argocd-application-controller may not approve plans"), "{refused}");
    // Another change of an object that is approved, and taking the approval back, are no approvals.
    let patch = ["patch", "aac", "c1", "--type=merge", "-p", r#"{"spec":{"suspend":true}}"#];
    let out = plane.kubectl(&[&["-n", namespace], dev, &patch].concat());
    assert!(out.success(), "{}", out.stderr);
    assert_eq!(stage.get("c1")["metadata"]["annotations"]["assist-operator.dev/approve-plan"], "sha256:two");
    let out = annotate(dev, "");
    assert!(out.success(), "{}", out.stderr);
    let out = create(lead);
    assert!(out.success(), "{}", out.stderr);
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn every_argument_that_the_chart_passes_is_one_of_the_binary() {
    let help = Command::new(BINARY).args(["run", "--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    let values = json!({"watchNamespace": "team", "allowedEndpoints": ["https://a.example"]});
    let objects = rendered("ops", &values);
    let args = of_kind(&objects, "Deployment")[0]["spec"]["template"]["spec"]["containers"][0]["args"].clone();
    let flags: Vec<&str> =
        args.as_array().unwrap().iter().skip(1).map(|arg| arg.as_str().unwrap().split('=').next().unwrap()).collect();
    assert_eq!(flags.len(), 8, "{flags:?}");
    for flag in flags {
        assert!(help.split_whitespace().any(|word| word.split('[').next() == Some(flag)), "{flag} is not in\n{help}");
    }
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn two_releases_in_two_namespaces_share_no_cluster_wide_name() {
    let names = |namespace: &str| {
        let values = json!({"crds": {"install": false}, "approval": {"policy": {"enabled": true, "groups": ["leads"]}}});
        let objects = rendered(namespace, &values);
        let cluster = ["ClusterRole", "ClusterRoleBinding", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding"];
        let wide = objects.iter().filter(|object| cluster.contains(&object["kind"].as_str().unwrap()));
        wide.map(|object| format!("{}/{}", object["kind"], object["metadata"]["name"])).collect::<Vec<_>>()
    };
    let (a, b) = (names("a"), names("b"));
    assert_eq!(a.len(), 6);
    assert!(a.iter().all(|name| !b.contains(name)), "{a:?} {b:?}");
}

/// The commands of a page, in order, without those for which this machine has nothing.
fn commands(page: &str, left_out: &[&str]) -> String {
    let text = fs::read_to_string(format!("{}/{page}", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let blocks = text.split("```sh\n").skip(1).map(|rest| rest.split("```").next().unwrap());
    let all: String = blocks.collect();
    let mut kept = String::new();
    for command in all.replace("\\\n", " ").lines() {
        if !left_out.iter().any(|start| command.starts_with(start)) {
            kept.push_str(&format!("{command}\n"));
        }
    }
    kept
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn the_page_about_installing_can_be_followed_from_top_to_bottom() {
    let plane = ControlPlane::start();
    // No pod runs here, no container engine, and nothing that writes down the addresses of API servers.
    let script = commands("docs/install.md", &["kubectl -n assist-operator rollout", "docker ", "kubectl get endpointslices"]);
    assert!(script.matches("helm ").count() >= 7, "{script}");
    let home = tempfile::tempdir().unwrap();
    let kubectl = plane.kubectl_command().get_program().to_owned();
    let tools = [Path::new(&kubectl).parent().unwrap().to_owned(), tools::path("helm").parent().unwrap().to_owned()];
    let path =
        std::env::join_paths(tools.iter().map(PathBuf::as_path).chain([Path::new("/usr/bin"), Path::new("/bin")])).unwrap();
    let mut command = Command::new("bash");
    hermetic(&mut command).env("PATH", path).env("HOME", home.path()).env("KUBECONFIG", plane.kubeconfig());
    let output = command.args(["-euxo", "pipefail", "-c", &script]).current_dir(env!("CARGO_MANIFEST_DIR")).output().unwrap();
    let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{told}");
    // It ends with everything gone but what lives in the namespace that has a release of its own.
    assert!(!plane.kubectl_ok(&["get", "crds", "-o", "name"]).contains("assist-operator.dev"), "{told}");
    let left = plane.kubectl_ok(&["get", "deployments", "-A", "-o", "jsonpath={.items[*].metadata.namespace}"]);
    assert_eq!(left, "contact-center", "{told}");
}
