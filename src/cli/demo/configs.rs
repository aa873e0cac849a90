//! The steps of the configuration. Each says what happens and why, lets it happen, shows it, and checks it.

use anyhow::ensure;
use serde_json::{Value, json};

use super::stored::Due;
use super::story::Story;
use crate::api::AgentAssistConfig;
use crate::engine::Plan;
use crate::sandbox::{Fault, FaultKind};

/// Declared by the manifest, and changed by somebody else in step 4.
const CONFIDENCE: &str = "/parameters/confidenceThreshold";
/// Declared by the manifest, and changed by it in step 3.
const SUGGESTIONS: &str = "/parameters/maxSuggestions";
/// Declared by the manifest, and changed by it in step 5.
const SCORE: &str = "/knowledge/search/minScore";
/// Declared by the manifest, and not there at first.
const RERANK: &str = "/knowledge/search/rerank";
/// Not declared; changed by somebody else in step 4.
const WORDS: &str = "/summary/maxWords";
/// Not declared; changed by somebody else in step 5.
const STYLE: &str = "/summary/style";

impl Story {
    /// Step 1.
    pub async fn first_apply(&mut self) -> anyhow::Result<()> {
        self.begin(
            "First apply: the plan, then the write",
            "The manifest declares a few settings of a configuration that has many. The operator reads the live configuration (C1), and plans the difference field by field; what already is so, or is not declared, is not in the plan. The write (C3) is one PUT that carries the ETag and the version of the state that it was computed from.",
        )?;
        self.tell.command("kubectl apply -f examples/sandbox/retail-assist.yaml")?;
        let plan = self.stored.plan(&self.org).await?;
        self.tell.block("Plan (field, live value -> declared value)")?;
        self.tell.value(&plan)?;
        let done = self.reconcile(Due::Change).await?;
        let ran = done.convergence.plan.as_ref().map(Plan::digest);
        ensure!(ran.as_deref() == Some(plan.digest().as_str()), "the plan that ran is not the one that was shown");
        self.calls(&[("T1", 200), ("C1", 200), ("C3", 200)])?;
        self.status(&done)?;
        for (path, wanted) in [(CONFIDENCE, json!(0.8)), (SCORE, json!(0.6)), (RERANK, json!(true)), (SUGGESTIONS, json!(3))] {
            self.expect_live(path, &wanted)?;
        }
        self.holds("What ran is the plan that was shown, and the live configuration holds every declared value.")
    }

    /// Step 2.
    pub async fn same_again(&mut self, manifest: AgentAssistConfig) -> anyhow::Result<()> {
        self.begin(
            "The same again: no write",
            "Applying the same manifest is no new generation, so Kubernetes does not even wake the operator. The drift check, which comes once in each interval, always reads; where nothing differs it writes nothing, neither to Genesys nor to the status.",
        )?;
        self.tell.command("kubectl apply -f examples/sandbox/retail-assist.yaml")?;
        ensure!(!self.stored.apply(manifest)?, "the same manifest was a new generation");
        let done = self.reconcile(Due::Check).await?;
        self.plan_of("Plan of the drift check", &done)?;
        self.calls(&[("C1", 200)])?;
        ensure!(!done.status_changed && done.event.is_none(), "a check without a difference changed the status or made an event");
        self.holds(&format!(
            "Generation {} as before, no write, no event, the status is the same to the letter.",
            self.stored.generation()
        ))
    }

    /// Step 3.
    pub async fn spec_change(&mut self) -> anyhow::Result<()> {
        self.begin(
            "A change of spec: one guarded call",
            "The operator remembers the state that Genesys sent last. Since the write is guarded by exactly that state, it need not be read again: if it were out of date, the guard would be lost and nothing written (step 5).",
        )?;
        self.edit("/config/parameters/maxSuggestions", json!(5))?;
        let done = self.reconcile(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("C3", 200)])?;
        self.status(&done)?;
        self.expect_live(SUGGESTIONS, &json!(5))?;
        self.holds("One call from the edit to the live value.")
    }

    /// Step 4.
    pub async fn drift(&mut self) -> anyhow::Result<()> {
        self.begin(
            "Somebody edits behind its back: drift is repaired, the rest stays",
            "In the web console of Genesys somebody changes two settings: the confidence threshold, which the manifest declares, and the length of summaries, which it does not. The next drift check finds the first and repairs it. The second is not its business, and stays.",
        )?;
        let paths = [CONFIDENCE, WORDS];
        let before = self.live_at(&paths)?;
        let edited = self.world().edit_config(&self.id, |live| {
            live["parameters"]["confidenceThreshold"] = json!(0.5);
            live["summary"]["maxWords"] = json!(80);
        });
        ensure!(edited, "the sandbox refused the edit");
        let meanwhile = self.live_at(&paths)?;
        let done = self.reconcile(Due::Check).await?;
        self.plan_of("Drift, found at the check", &done)?;
        self.calls(&[("C1", 200), ("C3", 200)])?;
        self.status(&done)?;
        let now = self.live_at(&paths)?;
        let notes = ["declared: repaired", "not declared: stays"];
        self.values(&paths, &["before", "edited", "now"], &[&before, &meanwhile, &now], &notes)?;
        ensure!(now == [json!(0.8), json!(80)], "after the repair the values are {now:?}");
        self.holds("The declared setting is back, the foreign edit of the other one is untouched.")
    }

    /// Step 5.
    pub async fn conflict(&mut self) -> anyhow::Result<()> {
        self.begin(
            "A conflicting writer: the guard is lost, both changes survive",
            "The manifest changes again, and at the worst moment somebody else writes too: after the operator planned, before its PUT arrives. Genesys answers 409, because the ETag is out of date. The operator never sends that body again: it reads the new state, plans anew, and writes under the new guard.",
        )?;
        self.edit("/config/knowledge/search/minScore", json!(0.65))?;
        let paths = [SCORE, STYLE];
        let before = self.live_at(&paths)?;
        let foreign = FaultKind::ForeignEditBefore { patch: Some(json!({"summary": {"style": "prose"}})) };
        self.world().faults().push(Fault::new(foreign).on(&["C3"]).target(&self.id));
        let done = self.reconcile(Due::Change).await?;
        self.plan_of("Plan, made anew after the lost guard", &done)?;
        let entries = self.calls(&[("C3", 409), ("C1", 200), ("C3", 200)])?;
        self.status(&done)?;
        let now = self.live_at(&paths)?;
        self.values(&paths, &["before", "now"], &[&before, &now], &["our change", "the other writer's change"])?;
        ensure!(now == [json!(0.65), json!("prose")], "after the conflict the values are {now:?}");
        ensure!(done.convergence.conflicts == 1, "{} conflicts were seen", done.convergence.conflicts);
        let bodies: Vec<_> = entries.iter().filter(|entry| entry.call == "C3").map(|entry| &entry.body_sha256).collect();
        ensure!(matches!(bodies[..], [lost, sent] if lost != sent), "the body that lost was sent again");
        self.holds("Two extra calls, another body, and nobody's change is lost.")
    }

    /// Step 6.
    pub async fn roll_back(&mut self, version: i64) -> anyhow::Result<()> {
        self.begin(
            "Roll back with restoreVersion",
            &format!("One added line brings back a version of the past, whole: also what the manifest does not declare. It overrides config for as long as it is there. Genesys has no way back, so the old content is read (C2) and written as the next version. Version {version} is how the story found the configuration."),
        )?;
        self.edit("/restoreVersion", json!(version))?;
        let paths = [SCORE, CONFIDENCE, SUGGESTIONS, STYLE, WORDS, "/version"];
        let before = self.live_at(&paths)?;
        let done = self.reconcile(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("C2", 200), ("C3", 200)])?;
        self.status(&done)?;
        let now = self.live_at(&paths)?;
        let past = self.past(version)?;
        let then = paths.map(|path| past.pointer(path).cloned().unwrap_or_default()).to_vec();
        self.values(&paths, &[&format!("version {version}"), "before", "now"], &[&then, &before, &now], &[""; 6])?;
        let (moved, from) = (now.last().and_then(Value::as_i64), before.last().and_then(Value::as_i64));
        ensure!(moved == from.map(|from| from + 1), "the version went from {from:?} to {moved:?}");
        ensure!(content(&self.live()?) == content(&past), "the live content is not that of version {version}");
        self.holds("The version moved forward, and the content is the old one in every setting.")
    }

    /// Step 7.
    pub fn refused_config(&mut self, object: AgentAssistConfig) -> anyhow::Result<()> {
        self.begin(
            "A refused field: every finding at once, and no call",
            "Some fields look plausible and do not exist in this contract. They are refused before any call, all findings together, each with what to do instead. With a cluster the API server says so at kubectl apply already; the operator holds the same rules for objects that are older than a rule.",
        )?;
        self.tell.command("kubectl apply -f examples/features/refused.yaml")?;
        let (status, event) =
            self.refused(object, &["/spec/interval", "/spec/config/versionRevert", "/spec/config/trafficShift"])?;
        self.conditions(&status, event.as_ref(), ("False", "InvalidSpec", "Unknown"))?;
        self.holds("Three findings in one answer; Genesys was not asked.")
    }
}

/// A configuration without what differs from version to version.
fn content(document: &Value) -> Value {
    let mut content = document.clone();
    if let Some(map) = content.as_object_mut() {
        ["version", "etag", "dateModified"].iter().for_each(|name| drop(map.remove(*name)));
    }
    content
}
