//! Rules and plan of `AgentAssistConfig` (contract section 3).

use std::time::Duration;

use serde_json::{Value, json};

use super::declared::Draft;
use super::finding::Finding;
use super::kind::{Blocked, Kind, PlanInput, State, Texts};
use super::memory::Memory;
use super::plan::{Action, Guard, Plan, Step, Target, Why};
use super::pointer::{self, Ignore};
use super::propagation::Watch;
use super::{declared, diff, json as json_util};
use crate::api::agent_assist_config::REFUSED;
use crate::api::common::{GoDuration, MAX_DURATION, MIN_INTERVAL};
use crate::api::conditions::Reason;
use crate::api::status::AppliedField;
use crate::api::{AgentAssistConfig, Policy};

/// Family of live configs.
pub const CONFIG: &str = "config";
/// Family of historical snapshots; the id is `<configId>@<version>`.
pub const SNAPSHOT: &str = "snapshot";
/// Members that take no part in any comparison.
const IDENTITY: &[&str] = &["id", "etag", "version", "selfUri"];
/// Members that the server sets itself: a snapshot's are never brought back.
const SERVER_OWNED: &[&str] = &["/dateModified", "/dateCreated", "/modifiedBy", "/createdBy"];
/// Most declared leaves: `status.applied` holds one entry for each.
const MAX_LEAVES: usize = 2000;

/// The validated spec.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Id of the config.
    pub id: String,
    /// What is declared.
    pub content: Content,
    /// What is left out.
    pub ignore: Ignore,
    propagation: Option<Watch>,
}

/// What is declared.
#[derive(Clone, Debug)]
pub enum Content {
    /// Settings.
    Settings(Value),
    /// A snapshot, whole.
    Snapshot(i32),
}

impl Kind for AgentAssistConfig {
    const KIND: &'static str = "AgentAssistConfig";
    type Desired = Desired;

    fn validate(&self, _: &Texts) -> Result<Desired, Vec<Finding>> {
        let spec = &self.spec;
        let config = spec.config.as_ref().map(|text| text.parse());
        let ignore = Ignore::new(&spec.ignore);
        let mut findings = Vec::new();
        id_rule("/spec/configId", &spec.config_id, &mut findings);
        interval_rule("/spec/interval", spec.enforcement.interval.as_ref(), Some(MIN_INTERVAL), &mut findings);
        let timeout = spec.propagation.as_ref().and_then(|p| p.timeout.as_ref());
        interval_rule("/spec/propagation/timeout", timeout, None, &mut findings);
        ignore_rule(&spec.ignore, &mut findings);
        if let Some(config) = &config {
            config_rule(config, &ignore, &mut findings);
        }
        let content = match (spec.restore_version, config) {
            (Some(version), _) if version < 1 => {
                findings.push(Finding::new(
                    "/spec/restoreVersion",
                    format!("{version} is no version"),
                    "set the number of a version that exists in Genesys, at least 1",
                ));
                None
            }
            (Some(version), _) => Some(Content::Snapshot(version)),
            (None, Some(config)) => Some(Content::Settings(config)),
            (None, None) => {
                findings.push(Finding::new(
                    "/spec",
                    "neither config nor restoreVersion is set",
                    "declare the settings to enforce, or the version to restore",
                ));
                None
            }
        };
        let propagation =
            spec.propagation.as_ref().filter(|p| p.is_on()).map(|p| Watch { gate: p.gates(), timeout: p.effective_timeout() });
        match content {
            Some(content) if findings.is_empty() => Ok(Desired { id: spec.config_id.clone(), content, ignore, propagation }),
            _ => Err(findings),
        }
    }

    fn targets(desired: &Desired, _: &PlanInput<'_>) -> Vec<Target> {
        let config = Target::new(CONFIG, &desired.id);
        match desired.content {
            Content::Settings(_) => vec![config],
            Content::Snapshot(version) => vec![config, snapshot(&desired.id, version)],
        }
    }

    fn plan(desired: &Desired, input: &PlanInput<'_>) -> Result<Plan, Blocked> {
        let target = Target::new(CONFIG, &desired.id);
        let id = &desired.id;
        let state = input.state(&target, || format!("config {id} does not exist in this organisation; create it in Genesys Cloud or correct spec.configId in a new object"))?;
        let (action, draft) = match &desired.content {
            Content::Settings(settings) => {
                (Action::ConfigUpdate, declared::draft(settings, &Self::content(state), &desired.ignore, input))
            }
            Content::Snapshot(version) => {
                let absent = || format!("config {id} has no version {version}; set spec.restoreVersion to a version that exists");
                let snapshot = input.state(&snapshot(id, *version), absent)?;
                (Action::ConfigRestore, snapshot_draft((*version, snapshot), &desired.ignore, state, input)?)
            }
        };
        finish(draft, action, target, state)
    }

    fn is_unapplied(desired: &Desired, memory: &Memory) -> bool {
        match &desired.content {
            Content::Settings(settings) => !memory.knows_all(settings, &desired.ignore),
            Content::Snapshot(version) => !memory
                .entries()
                .iter()
                .any(|a| a.path.is_empty() && String::from(a.digest.clone()).starts_with(&format!("v{version}-"))),
        }
    }

    fn content(state: &State) -> Value {
        json_util::without(&state.document, IDENTITY)
    }

    const EXPORTED_AS: Option<&'static str> = Some("config");

    fn probe(id: &str) -> Value {
        json!({"configId": id, "config": {}})
    }

    fn export(id: &str, state: &State) -> Result<Value, String> {
        if state.lossy {
            return Err("it holds numbers or names that would change on the way back".to_owned());
        }
        let refused: Vec<&str> = REFUSED.iter().map(|(name, _)| *name).collect();
        let mut content = json_util::without(&Self::content(state), &refused);
        content = Ignore::new(SERVER_OWNED).strip(&content, &mut Vec::new());
        without_nulls(&mut content);
        if let Some(path) = unfaithful(&content) {
            let path = super::display::path(&path);
            return Err(format!(
                "{path} does not reach Kubernetes as it is: it rounds whole numbers of more than 63 bits, and kubectl drops null members"
            ));
        }
        Ok(json!({"configId": id, "config": content}))
    }

    fn propagation(desired: &Desired) -> Option<Watch> {
        desired.propagation.clone()
    }
}

/// The first value that a manifest cannot carry: a whole number that Kubernetes rounds, or a null member in an object of a list.
fn unfaithful(value: &Value) -> Option<String> {
    match value {
        Value::Number(number) => (number.is_u64() && number.as_i64().is_none()).then(String::new),
        Value::Array(items) => items.iter().enumerate().find_map(|(index, item)| Some(format!("/{index}{}", unfaithful(item)?))),
        Value::Object(map) => map.iter().find_map(|(name, item)| {
            let below = if item.is_null() { Some(String::new()) } else { unfaithful(item) };
            Some(format!("{}{}", pointer::join(std::slice::from_ref(name)), below?))
        }),
        _ => None,
    }
}

/// Takes the members away that are null: declared, they would have to be absent. Inside of arrays null is a value.
fn without_nulls(value: &mut Value) {
    if let Some(map) = value.as_object_mut() {
        map.retain(|_, member| !member.is_null());
        map.values_mut().for_each(without_nulls);
    }
}

fn snapshot(id: &str, version: i32) -> Target {
    Target::new(SNAPSHOT, format!("{id}@{version}"))
}

fn snapshot_draft(
    (version, snapshot): (i32, &State),
    ignore: &Ignore,
    state: &State,
    input: &PlanInput<'_>,
) -> Result<Draft, Blocked> {
    if snapshot.lossy {
        let message =
            format!("version {version} holds numbers or names that would change on the way back; it cannot be restored");
        return Err(Blocked::new(Reason::RemoteRejected, message));
    }
    let live = AgentAssistConfig::content(state);
    let server_owned = Ignore::new(SERVER_OWNED);
    let wanted = server_owned.strip(&ignore.strip(&AgentAssistConfig::content(snapshot), &mut Vec::new()), &mut Vec::new());
    let compared = server_owned.strip(&ignore.strip(&live, &mut Vec::new()), &mut Vec::new());
    let differing = diff::whole(&wanted, &compared, &Ignore::default());
    let digest = format!("v{version}-{}", json_util::short_digest(&wanted)).into();
    let entry = AppliedField { path: String::new(), digest, created: false };
    let known = input.memory.entries().contains(&entry);
    let writes = match input.policy {
        Policy::Enforce => true,
        Policy::ReportDrift => !known,
        Policy::Observe => false,
    };
    let (write, drift) = if writes { (differing, Vec::new()) } else { (Vec::new(), differing) };
    // The memory of declared settings stays: they come back when restoreVersion goes.
    let mut applied: Vec<AppliedField> = input.memory.entries().into_iter().filter(|a| !a.path.is_empty()).collect();
    if writes || (known && input.policy != Policy::Observe) {
        applied.insert(0, entry);
    }
    let after = diff::apply(&write, &live, ignore);
    let why = if known { Why::DriftRepair } else { Why::Restore };
    Ok(Draft { write, after, why, plan: Plan { drift, applied, ..Plan::default() } })
}

/// A step from a draft, under the guard of the state it was computed from.
fn finish(draft: Draft, action: Action, target: Target, state: &State) -> Result<Plan, Blocked> {
    let mut plan = draft.plan;
    if draft.write.is_empty() {
        return Ok(plan);
    }
    let (etag, version) = match &state.guard {
        Ok(Guard::EtagAndVersion { etag, version }) => (etag.clone(), *version),
        Ok(_) => {
            return Err(Blocked::new(
                Reason::InternalError,
                format!("{target} was read without its guard; this is a defect of the operator"),
            ));
        }
        Err(why) => return Err(Blocked::new(Reason::RemoteRejected, format!("{target} is not written: {why}"))),
    };
    let Some(next) = version.checked_add(1) else {
        return Err(Blocked::new(
            Reason::RemoteRejected,
            format!("{target} is not written: its version {version} has no successor; re-create the config in Genesys Cloud"),
        ));
    };
    let before = AgentAssistConfig::content(state);
    let mut body = draft.after.clone();
    if let Some(map) = body.as_object_mut() {
        map.insert("version".into(), json!(next));
    }
    plan.steps.push(Step {
        target,
        guard: Guard::EtagAndVersion { etag, version },
        action,
        why: draft.why,
        version: next.to_string(),
        changes: draft.write,
        body,
        before_hash: json_util::canonical_hash(&before),
        after_hash: json_util::canonical_hash(&draft.after),
        tokens: None,
        level: None,
    });
    Ok(plan)
}

/// Ids of remote objects are one URL path segment.
pub(super) fn id_rule(path: &str, id: &str, findings: &mut Vec<Finding>) {
    let mut bytes = id.bytes();
    let first = bytes.next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    if !first || !rest || id.len() > 64 {
        let shown = super::display::escape(id);
        findings.push(Finding::new(
            path,
            format!("{shown:?} is not an id"),
            "use 1 to 64 letters, digits, _ or -, beginning with a letter or digit",
        ));
    }
}

/// Durations are of Go's form and not below `least`.
pub(super) fn interval_rule(path: &str, text: Option<&GoDuration>, least: Option<Duration>, findings: &mut Vec<Finding>) {
    let Some(text) = text else { return };
    match (text.get(), least) {
        (None, _) => {
            let shown = super::display::escape(&text.0);
            findings.push(Finding::new(path, format!("{shown:?} is not a duration"), "write it as 90s, 10m or 1h30m"));
        }
        (Some(value), _) if value > MAX_DURATION => {
            findings.push(Finding::new(
                path,
                format!("{} is longer than a year", super::display::escape(&text.0)),
                "use at most 8760h",
            ));
        }
        (Some(value), Some(least)) if value < least => {
            findings.push(Finding::new(
                path,
                format!("{} is below {}s", text.0, least.as_secs()),
                "use a longer one: the API allows few calls a minute",
            ));
        }
        _ => {}
    }
}

fn ignore_rule(pointers: &[String], findings: &mut Vec<Finding>) {
    for (index, text) in pointers.iter().enumerate() {
        if text.is_empty() || pointer::split(text).is_none() {
            let shown = super::display::escape(text);
            findings.push(Finding::new(
                format!("/spec/ignore/{index}"),
                format!("{shown:?} is not a JSON pointer to a part of config"),
                "write it as /rules/*/id, with ~0 for ~ and ~1 for / inside a name",
            ));
        }
    }
}

fn config_rule(config: &Value, ignore: &Ignore, findings: &mut Vec<Finding>) {
    let Some(map) = config.as_object() else {
        findings.push(Finding::new("/spec/config", "it is not an object", "declare the settings as a JSON object"));
        return;
    };
    for (name, remedy) in REFUSED.iter().filter(|(name, _)| map.contains_key(*name)) {
        findings.push(Finding::new(format!("/spec/config/{name}"), "it is refused", *remedy));
    }
    let leaves = diff::leaves(config, ignore).len();
    if leaves > MAX_LEAVES {
        findings.push(Finding::new(
            "/spec/config",
            format!("it declares {leaves} fields, at most {MAX_LEAVES}"),
            "declare fewer fields, or group them in arrays",
        ));
    }
}

#[cfg(test)]
#[path = "agent_assist_config_tests.rs"]
mod tests;
