//! Where the tools are. `tests/gitops/build` makes them, once for each user of the machine.

use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The binary of a tool, built where it is not there yet.
///
/// Panics with what the build printed last.
pub fn path(name: &str) -> PathBuf {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gitops/build");
    let output = Command::new(script).arg(name).stderr(Stdio::inherit()).output().expect("run tests/gitops/build");
    assert!(output.status.success(), "{script} {name} failed: its reason is above");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    PathBuf::from(stdout.lines().last().expect("the directory is the last line")).join(name)
}
