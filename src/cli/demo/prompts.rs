//! The steps of the prompt: promoted, promoted once although the answer was lost, taken back, refused.

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use super::stored::Due;
use super::story::Story;
use crate::api::{Managed, PromptTemplate};
use crate::remote::audit::AuditStatus;
use crate::sandbox::{Fault, FaultKind};

/// What the manifest says at first, and what takes its place in the second step.
const EDIT: (&str, &str) = ("at most two sentences.\n", "at most two short sentences.\nNever promise a refund.\n");

impl Story {
    /// Step 8.
    pub async fn promotion(&mut self) -> anyhow::Result<()> {
        self.begin(
            "A prompt is promoted: a new version, numbered by the operator",
            "Versions of a prompt template never change: a difference is promoted (P2) as a new one, under the next patch number. P2 has no guard, so it always follows a fresh look (P1). The plan shows the words, [-gone-] and {+new+}; in status, events and logs the text is a length and a digest.",
        )?;
        self.tell.command("kubectl apply -f examples/sandbox/loyalty-save.yaml")?;
        let done = self.reconcile_prompt(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("P1", 200), ("P2", 201)])?;
        self.status(&done)?;
        self.record()?;
        let versions = self.expect_versions(&["1.0.0", "1.0.1"])?;
        ensure!(versions.iter().all(|version| version["metadata"]["author"] == "retail"), "the author is gone: {versions:?}");
        self.holds("One look and one post. The author, live and not declared, is in the new version too.")
    }

    /// Step 9.
    pub async fn lost_answer(&mut self) -> anyhow::Result<()> {
        self.begin(
            "The answer to a promotion is lost: looked up, not posted twice",
            "The text changes, and the connection breaks after Genesys promoted and before it answered. A second post could make a second version, so the operator looks first: the number is there, with the very content that it sent.",
        )?;
        let content = self.prompt.spec()?["content"].as_str().unwrap_or_default().replace(EDIT.0, EDIT.1);
        let object = self.prompt.with("/content", content.into())?;
        ensure!(self.prompt.apply(object)?, "the edit of the prompt is no new generation");
        self.world().faults().push(Fault::new(FaultKind::ResetAfter).on(&["P2"]));
        let done = self.reconcile_prompt(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("P1", 200), ("P2", 0), ("P1", 200)])?;
        self.status(&done)?;
        self.expect_versions(&["1.0.0", "1.0.1", "1.0.2"])?;
        let ends: Vec<AuditStatus> = self.prompt.audited().iter().map(|record| record.status).collect();
        ensure!(ends == [AuditStatus::Promoted; 2], "the audit records say {ends:?}");
        self.holds("Promoted once, found again, and audited as PROMOTED.")
    }

    /// Step 10.
    pub async fn revert(&mut self, manifest: PromptTemplate) -> anyhow::Result<()> {
        self.begin(
            "git revert: the old text under a new number",
            "Nothing brings version 1.0.1 back, and nothing needs to: the manifest holds the old text again, and it is promoted once more.",
        )?;
        self.tell.command("git revert HEAD && kubectl apply -f examples/sandbox/loyalty-save.yaml")?;
        ensure!(self.prompt.apply(manifest)?, "the old manifest is no new generation");
        let done = self.reconcile_prompt(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("P1", 200), ("P2", 201)])?;
        let versions = self.expect_versions(&["1.0.0", "1.0.1", "1.0.2", "1.0.3"])?;
        ensure!(done.status.history.len() == 3, "the history of the prompt is {:?}", done.status.history);
        let [_, first, _, last] = versions.as_slice() else { anyhow::bail!("the versions are {versions:?}") };
        let substance = |version: &Value| json!([version["content"], version["variables"], version["metadata"]]);
        ensure!(substance(first) == substance(last), "version 1.0.3 is not what version 1.0.1 was");
        self.holds("Version 1.0.3 holds what 1.0.1 held, and 1.0.2 stays in the history of the template.")
    }

    /// Step 11.
    pub fn refused_prompt(&mut self, object: PromptTemplate) -> anyhow::Result<()> {
        self.begin(
            "A prompt with five mistakes: each with its place and figures",
            "All rules of a prompt are checked before any call, and by the API server too.",
        )?;
        self.tell.command("kubectl apply -f examples/features/prompt-refused.yaml")?;
        let content = "/spec/content";
        self.refused(object, &[content, content, content, "/spec/variables/offer", content])?;
        self.holds("Five findings in one answer; Genesys was not asked.")
    }

    /// Shows the last audit record, and checks what it says.
    fn record(&mut self) -> anyhow::Result<()> {
        let record = self.prompt.audited().pop().context("there is no audit record")?;
        ensure!(record.status == AuditStatus::Promoted, "the audit record says {:?}", record.status);
        let text = serde_json::to_value(&record)?;
        self.tell.block("Audit record, in the log and at the org's webhook: hashes, no text (in part)")?;
        let names = ["action", "status", "templateId", "version", "estimatedContextTokens", "afterHash"];
        // Of a hash the beginning.
        let shown = |name: &&str| match text[*name].as_str() {
            Some(value) if value.len() > 40 => format!("\"{name}\": \"{}…\"", value.chars().take(12).collect::<String>()),
            _ => format!("\"{name}\": {}", text[*name]),
        };
        Ok(self.tell.line(&format!("{{{}, …}}", names.iter().map(shown).collect::<Vec<_>>().join(", ")))?)
    }

    /// The versions of the template, oldest first, have these numbers.
    fn expect_versions(&self, numbers: &[&str]) -> anyhow::Result<Vec<Value>> {
        let mut versions = self.world().prompt_versions(self.prompt.object().remote_id()).context("there is no such template")?;
        versions.reverse();
        let seen: Vec<&str> = versions.iter().filter_map(|version| version["version"].as_str()).collect();
        ensure!(seen == numbers, "the versions were to be {numbers:?}, and are {seen:?}");
        Ok(versions)
    }
}
