//! What the steps are made of: the objects on the stage, and how a step lets something happen, shows it and checks it.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use serde::Serialize;
use serde_json::Value;

use super::calls;
use super::org::Org;
use super::stored::{Due, Reconciled, Stored};
use super::teller::Teller;
use crate::api::conditions::{self, IN_SYNC, READY, RECONCILING, STALLED};
use crate::api::{AgentAssistConfig, ManagedStatus, PromptTemplate, SkillPolicy, SkillProfile};
use crate::controller::outcome::EventDraft;
use crate::controller::reconcile::Reconcilable;
use crate::engine::kind::Texts;
use crate::engine::{Change, display};
use crate::remote::converge::End;
use crate::sandbox::{Entry, Sandbox, World};

/// A step that was told.
pub struct Step {
    /// Its heading.
    pub title: String,
    /// What the sandbox journaled meanwhile.
    pub entries: Vec<Entry>,
}

/// Everything that the story needs.
pub struct Story {
    /// Where it is written.
    pub tell: Teller,
    /// The embedded Genesys.
    pub sandbox: Sandbox,
    /// The connection.
    pub org: Org,
    /// The object of the configuration.
    pub stored: Stored<AgentAssistConfig>,
    /// Id of the configuration.
    pub id: String,
    /// The object of the prompt.
    pub prompt: Stored<PromptTemplate>,
    /// The object of the skill levels that follow metrics.
    pub policy: Stored<SkillPolicy>,
    /// The object of the skill levels of one agent.
    pub profile: Stored<SkillProfile>,
    /// The steps so far.
    pub steps: Vec<Step>,
    /// The manifests that declared something, for the check of what nobody declared.
    pub declared: Vec<Value>,
}

impl Story {
    /// Begins a step.
    pub fn begin(&mut self, title: &str, why: &str) -> anyhow::Result<()> {
        let title = format!("{}. {title}", self.steps.len() + 1);
        self.tell.step(&title, why)?;
        self.steps.push(Step { title, entries: Vec::new() });
        Ok(())
    }

    /// A reconcile of the configuration, which must end well.
    pub async fn reconcile(&mut self, due: Due) -> anyhow::Result<Reconciled> {
        well(self.stored.reconcile(&self.org, due).await?)
    }

    /// The same with the prompt.
    pub async fn reconcile_prompt(&mut self, due: Due) -> anyhow::Result<Reconciled> {
        well(self.prompt.reconcile(&self.org, due).await?)
    }

    /// The same with the levels that follow metrics.
    pub async fn evaluate(&mut self, due: Due) -> anyhow::Result<Reconciled> {
        well(self.policy.reconcile(&self.org, due).await?)
    }

    /// The same with the levels of one agent.
    pub async fn reconcile_profile(&mut self, due: Due) -> anyhow::Result<Reconciled> {
        well(self.profile.reconcile(&self.org, due).await?)
    }

    /// Changes the spec of the configuration, as an edited manifest would.
    pub fn edit(&mut self, path: &str, value: Value) -> anyhow::Result<()> {
        let from = self.stored.spec()?.pointer(path).cloned();
        self.tell.block("Edited in retail-assist.yaml")?;
        self.tell.value(&Change { path: format!("/spec{path}"), from, to: Some(value.clone()), prose: false })?;
        let object = self.stored.with(path, value)?;
        ensure!(self.stored.apply(object)?, "the edit of {path} is no new generation");
        self.declared.push(self.stored.declared());
        Ok(())
    }

    /// Shows the plan that ran, or would have.
    pub fn plan_of(&mut self, label: &str, done: &Reconciled) -> anyhow::Result<()> {
        let plan = done.convergence.plan.as_ref().context("the convergence had no plan")?;
        self.tell.block(label)?;
        Ok(self.tell.value(plan)?)
    }

    /// Shows and checks the calls since the last ones that were shown.
    pub fn calls(&mut self, expected: &[(&str, u16)]) -> anyhow::Result<Vec<Entry>> {
        let before: usize = self.steps.iter().map(|step| step.entries.len()).sum();
        let entries: Vec<Entry> = self.world().journal().into_iter().skip(before).collect();
        self.tell.block("Calls")?;
        if entries.is_empty() {
            self.tell.line("none")?;
        }
        self.tell.table(&calls::rows(&entries))?;
        calls::expect(&entries, expected)?;
        if let Some(step) = self.steps.last_mut() {
            step.entries.extend(entries.iter().cloned());
        }
        Ok(entries)
    }

    /// Shows the status of an object that is in order, and checks that it is.
    pub fn status(&mut self, done: &Reconciled) -> anyhow::Result<()> {
        ensure!(done.status.intent.is_none(), "an intent is left in the status");
        self.conditions(&done.status, done.event.as_ref(), ("True", "Succeeded", "True"))
    }

    /// Shows conditions and event; checks Ready, its reason, and InSync.
    pub fn conditions(
        &mut self,
        status: &ManagedStatus,
        event: Option<&EventDraft>,
        (ready, reason, in_sync): (&str, &str, &str),
    ) -> anyhow::Result<()> {
        self.tell.block("Status conditions and event, as the controller writes them")?;
        let row = |c: &Condition| vec![format!("{}={}", c.type_, c.status), c.reason.clone(), shortened(&c.message)];
        let mut rows: Vec<_> = status.conditions.iter().map(row).collect();
        if let Some(event) = event {
            let kind = if event.warning { "Warning" } else { "Normal" };
            rows.push(vec![format!("{kind} event"), event.reason.to_owned(), shortened(&event.note)]);
        }
        let mut said = BTreeSet::new();
        for text in rows.iter_mut().filter_map(|row| row.last_mut()) {
            if !said.insert(text.clone()) {
                "(the same)".clone_into(text);
            }
        }
        self.tell.table(&rows)?;
        let of = |kind| conditions::find(&status.conditions, kind);
        let seen = of(READY).map(|c| (c.status.as_str(), c.reason.as_str()));
        ensure!(seen == Some((ready, reason)), "Ready was to be {ready} ({reason}), and is {seen:?}");
        let seen = of(IN_SYNC).map(|c| c.status.as_str());
        ensure!(seen == Some(in_sync), "InSync was to be {in_sync}, and is {seen:?}");
        ensure!(of(RECONCILING).is_none(), "Reconciling is set");
        ensure!(of(STALLED).is_some() == (ready == "False"), "Stalled does not fit Ready={ready}");
        Ok(())
    }

    /// Shows an object whose spec breaks rules at these paths: all findings, and no call. Answers its status and event.
    pub fn refused<K: Reconcilable + Serialize>(
        &mut self,
        object: K,
        paths: &[&str],
    ) -> anyhow::Result<(ManagedStatus, Option<EventDraft>)> {
        let Err(findings) = object.validate(&Texts::new()) else { anyhow::bail!("{} is not refused", object.remote_id()) };
        self.tell.block("Findings")?;
        for finding in &findings {
            self.tell.line(&finding.to_string())?;
        }
        let mut refused = Stored::new(object);
        let event = refused.refuse(&findings);
        self.calls(&[])?;
        let found: Vec<&str> = findings.iter().map(|finding| finding.path.as_str()).collect();
        ensure!(found == paths, "the findings were to be at {paths:?}, and are at {found:?}");
        Ok((refused.status(), event))
    }

    /// Values of the live configuration over time.
    pub fn values(&mut self, paths: &[&str], heads: &[&str], columns: &[&[Value]], notes: &[&str]) -> anyhow::Result<()> {
        self.tell.block("Live values")?;
        let mut rows = vec![std::iter::once("").chain(heads.iter().copied()).chain([""]).map(str::to_owned).collect::<Vec<_>>()];
        for (index, (path, note)) in paths.iter().zip(notes).enumerate() {
            let cells = columns.iter().map(|column| column.get(index).map(display::value).unwrap_or_default());
            rows.push(std::iter::once((*path).to_owned()).chain(cells).chain([(*note).to_owned()]).collect());
        }
        Ok(self.tell.table(&rows)?)
    }

    /// Something that was checked, and holds.
    pub fn holds(&mut self, text: &str) -> anyhow::Result<()> {
        Ok(self.tell.holds(text)?)
    }

    /// What the sandbox holds.
    pub fn world(&self) -> &World {
        self.sandbox.world()
    }

    /// The live configuration.
    pub fn live(&self) -> anyhow::Result<Value> {
        self.world().config(&self.id).with_context(|| format!("the sandbox has no config {}", self.id))
    }

    /// A version of it.
    pub fn past(&self, version: i64) -> anyhow::Result<Value> {
        let found = self.world().history(&self.id).into_iter().find(|(of, _)| *of == version);
        found.map(|(_, document)| document).with_context(|| format!("the sandbox has no version {version} of {}", self.id))
    }

    /// Live values at these paths.
    pub fn live_at(&self, paths: &[&str]) -> anyhow::Result<Vec<Value>> {
        let live = self.live()?;
        Ok(paths.iter().map(|path| live.pointer(path).cloned().unwrap_or_default()).collect())
    }

    /// The live value at a path is this.
    pub fn expect_live(&self, path: &str, wanted: &Value) -> anyhow::Result<()> {
        let live = self.live()?;
        let seen = live.pointer(path);
        ensure!(seen == Some(wanted), "{path} was to be {wanted}, and is {seen:?}");
        Ok(())
    }
}

fn well(done: Reconciled) -> anyhow::Result<Reconciled> {
    ensure!(done.convergence.end == End::Done, "the convergence was to end well, and ended as {:?}", done.convergence.end);
    Ok(done)
}

/// A message without the changes or findings that stand just above.
fn shortened(message: &str) -> String {
    let message = display::escape(message);
    let end =
        [": ~ ", " findings: "].iter().find_map(|mark| Some(message.find(mark)? + mark.trim_end_matches("~ ").trim_end().len()));
    end.and_then(|end| message.get(..end)).map_or_else(|| message.clone(), |head| format!("{head} …"))
}
