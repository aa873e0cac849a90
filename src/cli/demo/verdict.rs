//! The end of the story: the calls of each step, and what the sandbox's own journal proves.

use std::collections::BTreeMap;

use anyhow::{Context, ensure};

use super::calls::{self, CALLS};
use super::story::{Step, Story};
use crate::api::Managed;
use crate::remote::audit::AuditStatus;
use crate::sandbox::{Entry, Expectations, Violation, check_with};

/// What is promised, in the order of the checker's rules. It answers every rule that was broken; here none may be.
const PROMISES: [&str; 8] = [
    "no unguarded write: each PUT carried the version after the one it was read with, and of a configuration its ETag",
    "no lost update: each accepted PUT was computed from the very state that it replaced",
    "no setting that the manifest leaves out was touched (but by the rollback, which is whole)",
    "the PUT that lost its guard was never sent again",
    "the call budget of the GenesysOrg was kept",
    "one token was enough for all calls",
    "no promotion unseen or twice: a look before each, and after the lost answer one more before anything else",
    "no alert twice",
];

impl Story {
    /// Shows and checks everything at once. `rollback` is the number of the step that replaces the whole configuration.
    ///
    /// # Errors
    /// A promise that was not kept.
    pub fn verdict(&mut self, rollback: usize) -> anyhow::Result<()> {
        self.tell.step("The calls", "What all of it cost, as the sandbox counted it.")?;
        self.tell.say_more(&CALLS.map(|(call, what)| format!("{call} {what}")).join(" · "))?;
        self.tell.table(&table(&self.steps))?;
        let journal = self.sandbox.world().journal();
        self.tell.step(
            "The proof",
            &format!("The sandbox keeps a journal of every request and every foreign edit: {} entries. A checker that knows nothing of the operator goes through it.", journal.len()),
        )?;
        let violations = self.violations(&journal, rollback);
        ensure!(violations.is_empty(), "the journal breaks rules: {violations:#?}");
        let tokens = journal.iter().filter(|entry| entry.call == "T1").count();
        ensure!(tokens == 1, "{tokens} tokens were requested");
        for promise in PROMISES {
            self.tell.holds(promise)?;
        }
        self.numbers(&journal)?;
        self.audit(&journal)
    }

    /// Each number was promoted once, and is a version of its own.
    fn numbers(&mut self, journal: &[Entry]) -> anyhow::Result<()> {
        let promoted: Vec<&str> =
            journal.iter().filter(|entry| entry.call == "P2").filter_map(|e| e.promoted.as_deref()).collect();
        let id = self.prompt.object().remote_id().to_owned();
        let versions = self.sandbox.world().prompt_versions(&id).with_context(|| format!("the sandbox has no prompt {id}"))?;
        let mut live: Vec<&str> = versions.iter().filter_map(|version| version["version"].as_str()).collect();
        live.reverse();
        ensure!(live.get(1..) == Some(promoted.as_slice()), "promoted were {promoted:?}, and there is {live:?}");
        let text = format!("{} promotions, {} numbers: {}", promoted.len(), promoted.len(), promoted.join(", "));
        Ok(self.tell.holds(&text)?)
    }

    fn violations(&self, journal: &[Entry], rollback: usize) -> Vec<Violation> {
        let limit = usize::try_from(self.org.calls_per_minute).ok();
        let all = Expectations { calls_per_minute: limit, ..Expectations::default() };
        let mut violations = check_with(journal, &all);
        let until: usize = self.steps.iter().take(rollback.saturating_sub(1)).map(|step| step.entries.len()).sum();
        let declared = BTreeMap::from([(self.id.clone(), self.declared.clone())]);
        let before = Expectations { declared, ..Expectations::default() };
        violations.extend(check_with(journal.get(..until).unwrap_or_default(), &before));
        violations
    }

    /// Every attempted write has its audit record.
    fn audit(&mut self, journal: &[Entry]) -> anyhow::Result<()> {
        let audited: Vec<AuditStatus> =
            [self.stored.audited(), self.prompt.audited(), self.policy.audited(), self.profile.audited()]
                .iter()
                .flatten()
                .map(|record| record.status)
                .collect();
        let writes = journal.iter().filter(|entry| ["C3", "P2", "S2"].contains(&entry.call.as_str())).count();
        ensure!(audited.len() == writes, "{writes} writes, and {} audit records", audited.len());
        let kinds = [AuditStatus::Applied, AuditStatus::Promoted, AuditStatus::Conflict];
        let counts = kinds.map(|status| (audited.iter().filter(|seen| **seen == status).count(), status.as_str()));
        ensure!(counts.iter().map(|(count, _)| count).sum::<usize>() == writes, "the audit records say {audited:?}");
        let ends = counts.map(|(count, status)| format!("{count} {status}")).join(", ");
        let text = format!("{writes} audit records for {writes} attempted writes: {ends}");
        Ok(self.tell.holds(&text)?)
    }
}

fn table(steps: &[Step]) -> Vec<Vec<String>> {
    let head = ["step"].into_iter().chain(CALLS.map(|(call, _)| call)).chain(["not 2xx"]);
    let mut rows = vec![head.map(str::to_owned).collect::<Vec<_>>()];
    let row = |title: &str, entries: &[&Entry], codes: String| {
        let count = |call: &str| match entries.iter().filter(|entry| entry.call == call).count() {
            0 => "-".to_owned(),
            n => n.to_string(),
        };
        let counts = CALLS.map(|(call, _)| count(call));
        std::iter::once(title.to_owned()).chain(counts).chain([codes]).collect::<Vec<_>>()
    };
    let code = |status| if status == 0 { "lost".to_owned() } else { calls::status(status) };
    for step in steps {
        let entries: Vec<&Entry> = step.entries.iter().collect();
        let answers = calls::answers(&step.entries).into_iter().map(|(_, status)| status);
        let codes: Vec<String> = answers.filter(|status| !(200..300).contains(status)).map(code).collect();
        let title = step.title.split(':').next().unwrap_or_default();
        rows.push(row(title, &entries, codes.join(" ")));
    }
    let all: Vec<&Entry> = steps.iter().flat_map(|step| &step.entries).collect();
    rows.push(row("in all", &all, String::new()));
    rows
}
