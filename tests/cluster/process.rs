//! Processes, files and ports that end with the test, however the test ends.
//!
//! A static is never dropped and a killed process runs no `Drop`. So everything that must go away hangs on a pipe whose other end only this
//! process holds: the kernel closes it when the process ends for whatever reason, and a small bash on the far side then does the work.

use std::collections::hash_map::RandomState;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::hash::BuildHasher;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

/// Runs "$@" until it ends by itself or stdin closes, whichever is first, and ends with it.
const WATCHDOG: &str = r#"
exec 3<&0 </dev/null
"$@" 3<&- &
server=$!
{ read -r _ <&3; kill -9 "$server"; } 2>/dev/null &
reader=$!
wait "$server"
echo "$1 ended with status $?"
kill -9 "$reader" 2>/dev/null
"#;

/// Removes "$1" when stdin closes; whoever still writes into it is about to be killed.
const JANITOR: &str = r#"
read -r _
for _ in {1..50}; do rm -rf -- "$1" 2>/dev/null && break; sleep 0.1; done
"#;

/// A bash script that notices when this process, or this value, goes away.
#[derive(Debug)]
struct Watcher {
    bash: Child,
    pipe: Option<ChildStdin>,
}

impl Watcher {
    fn spawn<S: AsRef<OsStr>>(script: &str, args: impl IntoIterator<Item = S>, log: Option<File>) -> Self {
        let mut command = Command::new("bash");
        command.args(["--noprofile", "--norc", "-c", script, "watcher"]).args(args);
        // A process group of its own: Ctrl-C must reach the test first, the closed pipe then reaches everything else.
        hermetic(&mut command).process_group(0).stdin(Stdio::piped());
        match log {
            Some(log) => command.stdout(log.try_clone().expect("duplicate the log file")).stderr(log),
            None => command.stdout(Stdio::null()).stderr(Stdio::null()),
        };
        let mut bash = command.spawn().expect("start bash");
        let pipe = bash.stdin.take();
        Self { bash, pipe }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        drop(self.pipe.take());
        let _ = self.bash.wait();
    }
}

/// A server process. It is killed, and reaped, when this value is dropped, and killed when this process ends in any way.
#[derive(Debug)]
pub struct Server {
    watcher: Watcher,
    log: PathBuf,
}

impl Server {
    /// Starts `binary` with `args`; its output is appended to `log`.
    pub fn spawn(binary: &Path, args: &[String], log: PathBuf) -> Self {
        let file = File::options().create(true).append(true).open(&log).expect("open the server's log");
        let argv = std::iter::once(binary.as_os_str()).chain(args.iter().map(OsStr::new));
        Self { watcher: Watcher::spawn(WATCHDOG, argv, Some(file)), log }
    }

    /// Whether it still runs.
    pub fn is_alive(&mut self) -> bool {
        matches!(self.watcher.bash.try_wait(), Ok(None))
    }

    /// The last 30 lines of its log.
    pub fn log_tail(&self) -> String {
        let bytes = fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// A temporary folder that is removed when this value is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    _janitor: Watcher,
}

impl Scratch {
    /// A new, empty folder.
    pub fn new() -> Self {
        let path = tempfile::Builder::new().prefix("assist-operator-").tempdir().expect("create a temporary folder").keep();
        let janitor = Watcher::spawn(JANITOR, [&path], None);
        Self { path, _janitor: janitor }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Takes this process's environment away from a command, all but `PATH` and `TMPDIR`: variables such as `ETCD_*` and `KUBECTL_*` would
/// change what the servers and kubectl do.
pub fn hermetic(command: &mut Command) -> &mut Command {
    command.env_clear();
    for name in ["PATH", "TMPDIR"] {
        if let Some(value) = std::env::var_os(name) {
            command.env(name, value);
        }
    }
    command
}

/// A number that nobody can guess and no two calls share.
pub fn random() -> u64 {
    RandomState::new().hash_one(Instant::now())
}

/// `N` different loopback ports that are free now. They lie below the range from which the system serves outgoing connections, so that one
/// stays free while its server restarts.
pub fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = std::array::from_fn::<_, N, _>(|_| {
        std::iter::repeat_with(|| 20_000 + u16::try_from(random() % 12_000).expect("below 12,000"))
            .take(1_000)
            .find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok())
            .expect("a free loopback port")
    });
    listeners.map(|listener| listener.local_addr().expect("a bound listener has an address").port())
}

/// Polls `check` until it gives a value; after `deadline` without one, gives what it last said was missing.
pub fn poll<T, E>(deadline: Duration, mut check: impl FnMut() -> Result<T, E>) -> Result<T, E> {
    let start = Instant::now();
    loop {
        match check() {
            Ok(value) => return Ok(value),
            Err(missing) if start.elapsed() > deadline => return Err(missing),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
    }
}
