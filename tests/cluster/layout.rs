//! What the control plane consists of on disk and on the network: binaries, files, ports, users, and the flags of the two servers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::process::{Server, free_ports, random};

/// The user of the operator's kubeconfig. It is in no group and may do nothing until a test binds a role to it.
pub const OPERATOR_USER: &str = "assist-operator";

const ADMIN_USER: &str = "admin";

/// Metadata of every request, once it is answered (and, for a watch, when it begins). The API server's requests to itself are left out.
const AUDIT_POLICY: &str = "
apiVersion: audit.k8s.io/v1
kind: Policy
omitStages: [RequestReceived]
rules:
- level: None
  users: ['system:apiserver']
- level: Metadata
";

/// Where everything of one control plane is. It is the same for its whole life, also over restarts of the API server.
#[derive(Debug)]
pub struct Layout {
    binaries: PathBuf,
    dir: PathBuf,
    audit_log: PathBuf,
    etcd_port: u16,
    peer_port: u16,
    api_port: u16,
}

impl Layout {
    /// Chooses ports and secrets and writes every file that the servers and their clients read into the empty folder `dir`.
    pub fn create(binaries: PathBuf, dir: &Path) -> io::Result<Self> {
        let [etcd_port, peer_port, api_port] = free_ports();
        // Kept where a later step reads it: tests/permissions.rs.
        let kept = std::env::var_os("ASSIST_OPERATOR_AUDIT_LOGS");
        let audit_log =
            kept.map_or_else(|| dir.join("audit.log"), |logs| Path::new(&logs).join(format!("{:016x}.log", random())));
        let layout = Self { binaries, dir: dir.to_owned(), audit_log, etcd_port, peer_port, api_port };
        fs::create_dir(layout.home())?;
        fs::create_dir(layout.files())?;
        fs::write(dir.join("audit-policy.yaml"), AUDIT_POLICY)?;
        let [admin, operator]: [String; 2] = std::array::from_fn(|_| format!("{:016x}{:016x}", random(), random()));
        let tokens = format!("{admin},{ADMIN_USER},{ADMIN_USER},system:masters\n{operator},{OPERATOR_USER},{OPERATOR_USER}\n");
        fs::write(dir.join("tokens.csv"), tokens)?;
        fs::write(layout.admin_kubeconfig(), layout.render_kubeconfig(ADMIN_USER, &admin))?;
        fs::write(layout.operator_kubeconfig(), layout.render_kubeconfig(OPERATOR_USER, &operator))?;
        Ok(layout)
    }

    /// The kubectl binary.
    pub fn kubectl(&self) -> PathBuf {
        self.binaries.join("kubectl")
    }

    /// The kubeconfig of a member of `system:masters`.
    pub fn admin_kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// The kubeconfig of [`OPERATOR_USER`].
    pub fn operator_kubeconfig(&self) -> PathBuf {
        self.dir.join("operator.kubeconfig")
    }

    /// kubectl's home, where it keeps its caches.
    pub fn home(&self) -> PathBuf {
        self.dir.join("home")
    }

    /// A folder that is left to the tests.
    pub fn files(&self) -> PathBuf {
        self.dir.join("files")
    }

    /// The file that the API server appends audit events to, one JSON object a line.
    pub fn audit_log(&self) -> PathBuf {
        self.audit_log.clone()
    }

    /// The API server's base URL.
    pub fn url(&self) -> String {
        format!("https://127.0.0.1:{}", self.api_port)
    }

    /// Starts etcd; what it holds needs to survive the API server, not the machine.
    pub fn spawn_etcd(&self) -> Server {
        let client = format!("http://127.0.0.1:{}", self.etcd_port);
        let peer = format!("http://127.0.0.1:{}", self.peer_port);
        let args = [
            format!("--data-dir={}/etcd", self.dir.display()),
            "--unsafe-no-fsync".to_owned(),
            "--log-level=warn".to_owned(),
            "--name=test".to_owned(),
            format!("--listen-client-urls={client}"),
            format!("--advertise-client-urls={client}"),
            format!("--listen-peer-urls={peer}"),
            format!("--initial-advertise-peer-urls={peer}"),
            format!("--initial-cluster=test={peer}"),
        ];
        Server::spawn(&self.binaries.join("etcd"), &args, self.dir.join("etcd.log"))
    }

    /// Starts kube-apiserver, for the first time or again.
    pub fn spawn_api_server(&self) -> Server {
        let dir = self.dir.display();
        let args = [
            format!("--etcd-servers=http://127.0.0.1:{}", self.etcd_port),
            format!("--secure-port={}", self.api_port),
            "--bind-address=127.0.0.1".to_owned(),
            // Without these two it looks for a default route, and fails on a machine that has none.
            "--advertise-address=127.0.0.1".to_owned(),
            "--endpoint-reconciler-type=none".to_owned(),
            "--service-cluster-ip-range=10.0.0.0/24".to_owned(),
            format!("--cert-dir={dir}/certs"),
            // The key of the certificate that it makes in --cert-dir, before it reads these.
            format!("--service-account-key-file={dir}/certs/apiserver.key"),
            format!("--service-account-signing-key-file={dir}/certs/apiserver.key"),
            "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
            "--authorization-mode=RBAC".to_owned(),
            "--disable-admission-plugins=ServiceAccount".to_owned(),
            format!("--token-auth-file={dir}/tokens.csv"),
            format!("--audit-policy-file={dir}/audit-policy.yaml"),
            format!("--audit-log-path={}", self.audit_log().display()),
            "--audit-log-maxsize=4096".to_owned(),
        ];
        Server::spawn(&self.binaries.join("kube-apiserver"), &args, self.dir.join("kube-apiserver.log"))
    }

    /// JSON is YAML, and needs no quoting rules. The API server makes its own certificate, which is also its authority.
    fn render_kubeconfig(&self, user: &str, token: &str) -> String {
        let authority = self.dir.join("certs/apiserver.crt");
        serde_json::json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "test", "cluster": {"server": self.url(), "certificate-authority": authority}}],
            "users": [{"name": user, "user": {"token": token}}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": user, "namespace": "default"}}],
            "current-context": "test",
        })
        .to_string()
    }
}

/// The folder that holds etcd, kube-apiserver and kubectl: `KUBEBUILDER_ASSETS`, or what the script beside this file has built or builds
/// now (its progress goes to stderr). Panics where neither works.
pub fn find_binaries() -> PathBuf {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cluster/build");
    let built = Command::new(&script).stdin(Stdio::null()).stderr(Stdio::inherit()).output();
    let built = built.unwrap_or_else(|error| panic!("cannot run {}: {error}", script.display()));
    assert!(built.status.success(), "{} failed, {}: see its message above", script.display(), built.status);
    let stdout = String::from_utf8(built.stdout).expect("the folder's name is UTF-8");
    let folder = stdout.lines().last().expect("the script prints the folder");
    fs::canonicalize(folder).unwrap_or_else(|error| panic!("{folder}: {error}"))
}
