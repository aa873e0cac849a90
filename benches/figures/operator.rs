//! The operator as a process of its own, and what the kernel says about it.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::Options;
use crate::control_plane::process::{Server, free_ports};
use crate::control_plane::{ControlPlane, shared};

/// Writes its process id to "$1" and becomes the rest.
const INTRODUCE: &str = r#"echo $$ > "$0"; exec env "$@""#;

/// A running operator. It ends with this value, as a crash would end it.
pub struct Operator {
    server: Server,
    pid: u32,
    port: u16,
}

/// Memory by `/proc/PID/status`, in MiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: f64,
    /// Of it: not backed by a file, that is heap and stacks.
    pub anonymous: f64,
    /// The most that was ever resident.
    pub peak: f64,
    /// Threads.
    pub threads: u32,
}

impl Operator {
    /// Starts it for one namespace, and waits until its watch stores are filled.
    pub fn start(options: &Options, namespace: &str) -> Self {
        Self::with(options, namespace, &[])
    }

    /// The same with further arguments.
    pub fn with(options: &Options, namespace: &str, extra: &[&str]) -> Self {
        let plane = shared();
        let [port] = free_ports::<1>();
        let pid_file = plane.scratch().join(format!("{namespace}.{port}.pid"));
        let mut args = vec!["-c".to_owned(), INTRODUCE.to_owned(), pid_file.display().to_string()];
        args.push(format!("KUBECONFIG={}", plane.operator_kubeconfig().display()));
        args.extend(options.env.iter().cloned());
        args.push(options.operator.display().to_string());
        let run = ["run", "--namespace", namespace, "--allow-custom-endpoints", "--listen"];
        args.extend(run.iter().map(|arg| (*arg).to_owned()));
        args.push(format!("127.0.0.1:{port}"));
        args.extend(extra.iter().map(|arg| (*arg).to_owned()));
        let server = Server::spawn(Path::new("/bin/sh"), &args, log_of(plane, namespace));
        let mut operator = Self { server, pid: 0, port };
        plane.wait_until("the operator is ready", || {
            assert!(operator.server.is_alive(), "the operator ended:\n{}", operator.server.log_tail());
            get(port, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        operator.pid = std::fs::read_to_string(&pid_file).ok().and_then(|pid| pid.trim().parse().ok()).expect("its process id");
        operator
    }

    /// Ends it with SIGTERM; how long that took.
    pub fn terminate(mut self) -> Duration {
        let began = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.pid.to_string()]).status().expect("run kill");
        assert!(sent.success(), "the operator was gone already:\n{}", self.server.log_tail());
        while self.server.is_alive() {
            assert!(began.elapsed() < Duration::from_secs(60), "SIGTERM was not obeyed:\n{}", self.server.log_tail());
            std::thread::sleep(Duration::from_millis(10));
        }
        began.elapsed()
    }

    /// Ends it with `kill -9`.
    pub fn kill(self) {
        drop(self);
    }

    /// Whether it says that it leads.
    pub fn is_leader(&self) -> bool {
        get(self.port, "/metrics").is_some_and(|answer| answer.lines().any(|line| line == "assist_operator_is_leader 1"))
    }

    /// Its memory now.
    pub fn memory(&self) -> Memory {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).expect("its status in /proc");
        let number = |name: &str| -> u32 {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
            line.split_whitespace().next().and_then(|n| n.parse().ok()).unwrap_or(0)
        };
        let mib = |name: &str| f64::from(number(name)) / 1024.0;
        Memory { resident: mib("VmRSS:"), anonymous: mib("RssAnon:"), peak: mib("VmHWM:"), threads: number("Threads:") }
    }

    /// Processor time that it has used.
    pub fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid)).expect("its stat in /proc");
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        let ticks: u64 = after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum();
        // Linux counts in hundredths of a second for every program.
        Duration::from_millis(ticks * 10)
    }
}

/// Where the operator of a namespace logs.
pub fn log_of(plane: &ControlPlane, namespace: &str) -> PathBuf {
    plane.scratch().join(format!("{namespace}.log"))
}

fn get(port: u16, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    Some(answer)
}
