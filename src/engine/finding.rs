//! Findings: what is wrong with a spec, where, and what to do. All of them at once, never the first only.

use std::fmt;

/// One broken rule.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Finding {
    /// JSON pointer from the object's root, for example `/spec/config/versionRevert`.
    pub path: String,
    /// What is wrong, with the figures that matter.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// A finding at `path`.
    pub fn new(path: impl Into<String>, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}; {}", super::display::escape(&self.path), self.problem, self.remedy)
    }
}

/// All findings as one text, for a condition's message.
pub fn summary(findings: &[Finding]) -> String {
    let texts: Vec<String> = findings.iter().map(ToString::to_string).collect();
    match texts.len() {
        1 => texts.concat(),
        n => format!("{n} findings: {}", texts.join(" | ")),
    }
}
