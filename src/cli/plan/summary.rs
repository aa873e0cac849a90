//! What all proposals come to: counts, the exit code, and what a reader has to know besides.

use std::process::ExitCode;

use serde::Serialize;

use crate::cli::project::Proposal;

/// The counts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Objects with something to write.
    pub changed: usize,
    /// Objects without.
    pub unchanged: usize,
    /// Of these, objects whose differences are only reported.
    pub reported: usize,
    /// Objects that are left alone because they are suspended.
    pub suspended: usize,
    /// Objects that could not be planned.
    pub failed: usize,
    /// Objects whose plan waits for approval.
    pub awaiting_approval: usize,
    /// Objects whose plan waits for something else, such as a limit.
    pub held: usize,
    /// What cannot be known, and other remarks.
    pub notes: Vec<String>,
}

impl Summary {
    /// Of all proposals.
    pub fn of(proposals: &[Proposal]) -> Self {
        let mut summary = Self::default();
        let mut forgetful = false;
        for proposal in proposals {
            match &proposal.result {
                Ok(planned) if planned.plan.is_empty() => {
                    summary.unchanged += 1;
                    summary.reported += usize::from(!planned.plan.drift.is_empty());
                }
                Ok(planned) => {
                    summary.changed += 1;
                    summary.awaiting_approval += usize::from(planned.awaits_approval());
                    summary.held += usize::from(planned.held.is_some() && !planned.awaits_approval());
                }
                Err(stop) if stop.is_error() => summary.failed += 1,
                Err(_) => summary.suspended += 1,
            }
            forgetful |= proposal.result.as_ref().is_ok_and(|planned| !planned.memory);
        }
        if forgetful {
            summary.notes.push(NO_MEMORY.to_owned());
        }
        summary
    }

    /// 0: nothing to write; 2: changes; 1: something could not be planned.
    pub fn exit(&self) -> ExitCode {
        match (self.failed, self.changed) {
            (0, 0) => ExitCode::SUCCESS,
            (0, _) => ExitCode::from(2),
            _ => ExitCode::FAILURE,
        }
    }

    /// The counts in words.
    pub fn line(&self) -> String {
        let mut parts = vec![format!("{} to change", self.changed), format!("{} unchanged", self.unchanged)];
        let further = [
            (self.reported, "only reported"),
            (self.suspended, "suspended"),
            (self.awaiting_approval, "waiting for approval"),
            (self.held, "held"),
            (self.failed, "failed"),
        ];
        parts.extend(further.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}")));
        parts.join(", ")
    }
}

/// Without the status of the objects it is not known what they declared before.
const NO_MEMORY: &str = "without a cluster (--cluster, --kubeconfig) it is not known what was declared before: a member that a manifest no longer declares is not in this plan, and under ReportDrift every difference counts as a change of the manifest";
