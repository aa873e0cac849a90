//! The plan as a value: steps by target, each with the guard it was computed under. Printable, serialisable, consumed by
//! `remote::execute`.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Serialize, Serializer};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{display, json as json_util, routing_profile, words};
use crate::api::ManagedStatus;
use crate::api::status::{AgentResult, AppliedField, Evaluation, LevelChange};

/// A remote object that is read or written: `config/retail-assist`, `user/u1`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Target {
    /// Family of remote objects, for example `config`.
    pub family: &'static str,
    /// Id in that family.
    pub id: String,
}

impl Target {
    /// A target.
    pub fn new(family: &'static str, id: impl Into<String>) -> Self {
        Self { family, id: id.into() }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.family, self.id)
    }
}

impl Serialize for Target {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What protects a write from overwriting an unseen change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Guard {
    /// ETag and version of the state that the step was computed from; the write asks for version + 1.
    EtagAndVersion {
        /// ETag, as it is sent back.
        etag: String,
        /// Version that was read.
        version: i32,
    },
    /// Version of that state; the write asks for version + 1.
    Version(i64),
    /// None: the write follows a fresh read.
    None,
}

/// What a write does, as its audit record says it (contract section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum Action {
    /// C3 with declared settings.
    ConfigUpdate,
    /// C3 with a snapshot.
    ConfigRestore,
    /// P2.
    VersionPromotion,
    /// S2.
    SkillUpdate,
}

impl Action {
    /// The action with this text.
    pub fn of(text: &str) -> Option<Self> {
        [Self::ConfigUpdate, Self::ConfigRestore, Self::VersionPromotion, Self::SkillUpdate]
            .into_iter()
            .find(|a| a.as_str() == text)
    }

    /// The text of the audit record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ConfigUpdate => "CONFIG_UPDATE",
            Self::ConfigRestore => "CONFIG_RESTORE",
            Self::VersionPromotion => "VERSION_PROMOTION",
            Self::SkillUpdate => "SKILL_UPDATE",
        }
    }
}

/// Why a step is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
pub enum Why {
    /// The spec says something new.
    SpecChange,
    /// Somebody else changed a declared field.
    DriftRepair,
    /// A snapshot is brought back.
    Restore,
    /// An evaluation of metrics arrived at another level.
    Evaluation,
}

impl Why {
    /// The text in `status.history` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpecChange => "SpecChange",
            Self::DriftRepair => "DriftRepair",
            Self::Restore => "Restore",
            Self::Evaluation => "Evaluation",
        }
    }
}

/// One field that changes. Both sides unset cannot be.
#[derive(Clone, PartialEq, Serialize)]
pub struct Change {
    /// JSON pointer of the field in the remote object.
    pub path: String,
    /// Live value; unset where the field is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    /// New value; unset where the field is removed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
    /// Whether it is prose, such as the text of a prompt: outside of a plan it is shown as length and digest only.
    #[serde(skip)]
    pub prose: bool,
}

impl Change {
    /// The live and the new value for people, bounded and escaped.
    pub fn sides(&self) -> (Option<String>, Option<String>) {
        let shown = |side: &Value| if self.prose { display::digest(side) } else { display::value(side) };
        (self.from.as_ref().map(shown), self.to.as_ref().map(shown))
    }

    /// The words that change in prose; all of them are new where there was none.
    fn words(&self) -> Option<words::WordDiff> {
        let from = self.from.as_ref().map_or(Some(""), Value::as_str)?;
        let to = self.to.as_ref().and_then(Value::as_str)?;
        self.prose.then(|| words::diff(from, to))
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = display::path(&self.path);
        match self.sides() {
            (Some(from), Some(to)) => write!(f, "~ {path}: {from} -> {to}"),
            (None, Some(to)) => write!(f, "+ {path}: {to}"),
            (Some(from), None) => write!(f, "- {path}: {from}"),
            (None, None) => write!(f, "  {path}"),
        }
    }
}

impl fmt::Debug for Change {
    /// As people see it: prose is nothing for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (from, to) = self.sides();
        f.debug_struct("Change").field("path", &display::short_path(&self.path)).field("from", &from).field("to", &to).finish()
    }
}

/// One write.
#[derive(Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// What is written.
    pub target: Target,
    /// The guard of the exact state that the step was computed from.
    pub guard: Guard,
    /// What the write does.
    pub action: Action,
    /// Why it is needed.
    pub why: Why,
    /// The version that the write asks for.
    pub version: String,
    /// The fields that change.
    pub changes: Vec<Change>,
    /// Request body: the whole new content. Not printed: it holds what others declared.
    #[serde(skip)]
    pub body: Value,
    /// SHA-256 of the content before, as RFC 8785 JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before_hash: Option<String>,
    /// SHA-256 of the content after, as RFC 8785 JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after_hash: Option<String>,
    /// Estimated tokens of a prompt (contract section 4), for its audit record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<f64>,
    /// The level of a skill that follows an evaluation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub level: Option<LevelChange>,
}

impl fmt::Debug for Step {
    /// Without the body: it holds what others declared, and the text of a prompt.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Step")
            .field("target", &self.target)
            .field("guard", &self.guard)
            .field("why", &self.why)
            .field("version", &self.version)
            .field("changes", &self.changes)
            .finish_non_exhaustive()
    }
}

/// What is to be done, and what is only to be reported.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Plan {
    /// The writes, in order of target.
    pub steps: Vec<Step>,
    /// Differences that the policy leaves alone.
    pub drift: Vec<Change>,
    /// Paths that are no longer declared and are left as they are.
    pub released: Vec<String>,
    /// `status.applied` once the steps are done; what it is already where there are none.
    #[serde(skip)]
    pub applied: Vec<AppliedField>,
    /// What an evaluation of metrics made of each agent; the steps follow from it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub evaluated: Option<Evaluated>,
}

/// An evaluation, and what it made of each agent.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluated {
    /// The evaluation.
    pub evaluation: Evaluation,
    /// Every agent, in the order of the spec.
    pub agents: Vec<AgentResult>,
}

impl Evaluated {
    /// Puts it into a status.
    pub fn put_into(&self, status: &mut ManagedStatus) {
        status.evaluation = Some(self.evaluation.clone());
        status.agents.clone_from(&self.agents);
    }
}

impl Change {
    /// The change without any text: lengths and digests in its place. Numbers, true and false stay where they are not `personal`.
    fn redacted(&self, personal: bool) -> Self {
        let shown = |side: &Value| match side {
            Value::Null | Value::Bool(_) | Value::Number(_) if !personal => side.clone(),
            Value::Number(_) => Value::String("(a level)".to_owned()),
            other => Value::String(display::digest(other)),
        };
        Self { path: self.path.clone(), from: self.from.as_ref().map(shown), to: self.to.as_ref().map(shown), prose: false }
    }
}

impl Plan {
    /// The plan without any text and without what is said of agents, for where everybody can read it: lengths and digests in their place.
    #[must_use]
    pub fn redacted(&self) -> Self {
        let redacted = |changes: &[Change], personal| changes.iter().map(|change| change.redacted(personal)).collect();
        let step = |step: &Step| Step {
            changes: redacted(&step.changes, step.target.family == routing_profile::USER),
            before_hash: None,
            after_hash: None,
            level: None,
            ..step.clone()
        };
        let steps: Vec<Step> = self.steps.iter().map(step).collect();
        let personal = self.evaluated.is_some() || steps.iter().any(|step| step.target.family == routing_profile::USER);
        Self { steps, drift: redacted(&self.drift, personal), evaluated: None, ..self.clone() }
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Whether one of the writes has no guard: it follows a fresh read (P2, S4).
    pub fn is_unguarded(&self) -> bool {
        self.steps.iter().any(|step| step.guard == Guard::None)
    }

    /// Digest over the targets and the list of (path, from, to): a foreign edit elsewhere does not change it.
    pub fn digest(&self) -> String {
        let mut hash = Sha256::new();
        for step in &self.steps {
            hash.update(step.target.to_string());
            for change in &step.changes {
                let side = |v: &Option<Value>| v.as_ref().map(json_util::normal);
                hash.update(
                    json!([change.path, side(&change.from), side(&change.to), change.from.is_some(), change.to.is_some()])
                        .to_string(),
                );
            }
        }
        let mut digest = json_util::hex(&hash.finalize());
        digest.truncate(16);
        digest
    }

    /// All changes of all steps.
    pub fn changes(&self) -> impl Iterator<Item = &Change> {
        self.steps.iter().flat_map(|step| &step.changes)
    }

    /// What an evaluation made of each agent; empty for other kinds.
    pub fn agents(&self) -> &[AgentResult] {
        self.evaluated.as_ref().map_or(&[], |evaluated| &evaluated.agents)
    }

    /// A person has approved the plan: its steps are, also where they are left for a later run of the same evaluation.
    pub fn approve(&mut self) {
        let Some(evaluated) = &mut self.evaluated else { return };
        let targets: BTreeSet<&str> = self.steps.iter().map(|step| step.target.id.as_str()).collect();
        let agents = evaluated.agents.iter_mut().filter(|agent| targets.contains(agent.user_id.as_str()));
        agents.for_each(|agent| agent.approved = true);
    }

    /// Whether a step was approved in an earlier run of the same evaluation.
    pub fn is_approved(&self, step: &Step) -> bool {
        self.agents().iter().any(|agent| agent.approved && agent.user_id == step.target.id)
    }

    /// All changes as people read them, with the remote object where there are several.
    pub fn lines(&self) -> impl Iterator<Item = String> {
        let several = self.steps.len() > 1 || self.evaluated.is_some();
        let line = move |step: &Step, change: &Change| {
            if several { format!("{} {change}", step.target) } else { change.to_string() }
        };
        self.steps.iter().flat_map(move |step| step.changes.iter().map(move |change| line(step, change)))
    }

    /// Why the plan writes: a change of spec goes before a repair.
    pub fn why(&self) -> Option<Why> {
        let mut why = None;
        for step in &self.steps {
            match step.why {
                Why::DriftRepair => why = why.or(Some(Why::DriftRepair)),
                other => return Some(other),
            }
        }
        why
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() && self.drift.is_empty() && self.released.is_empty() {
            return writeln!(f, "No changes.");
        }
        for step in &self.steps {
            let guard = match &step.guard {
                Guard::EtagAndVersion { version, .. } => format!("version {version} -> {}", step.version),
                Guard::Version(version) => format!("version {version} -> {}", step.version),
                Guard::None => format!("new version {}", step.version),
            };
            writeln!(f, "{} ({}, {guard})", step.target, step.why.as_str())?;
            for change in &step.changes {
                match change.words() {
                    // In place of lengths and digests.
                    Some(words) => {
                        let sign = if change.from.is_some() { '~' } else { '+' };
                        writeln!(f, "  {sign} {}", display::escape(&change.path))?;
                        words.to_string().lines().try_for_each(|line| writeln!(f, "    {line}"))?;
                    }
                    None => writeln!(f, "  {change}")?,
                }
            }
        }
        for change in &self.drift {
            writeln!(f, "  {change}   (reported, not written)")?;
        }
        for path in &self.released {
            writeln!(f, "  = {}   (no longer declared, left as it is)", display::escape(path))?;
        }
        Ok(())
    }
}
