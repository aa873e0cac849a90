//! The steps of the skills: levels that follow metrics are proposed, enforced, and left alone where a profile declares them.

use anyhow::ensure;
use serde_json::{Value, json};

use super::stored::Due;
use super::story::Story;
use crate::api::Managed;
use crate::api::status::{AgentAction, AgentResult};
use crate::engine::Change;

/// The agents of the manifest.
const AGENTS: [&str; 2] = ["agent-ana", "agent-ben"];

impl Story {
    /// Step 12.
    pub async fn propose(&mut self) -> anyhow::Result<()> {
        self.begin(
            "Skill levels that follow performance: proposed first",
            "Satisfaction (csat) and handle time in seconds (aht) of each agent come from analytics (S3) and make a score: csat / 5, times 0.6 above 600 s. It is compared with the level of the skill in the agent's routing profile (S1). With mode Propose nothing is written: status.agents says what would change, and why.",
        )?;
        self.tell.command("kubectl apply -f examples/features/skill-policy.yaml")?;
        let done = self.evaluate(Due::Change).await?;
        self.calls(&[("S3", 200), ("S1", 200), ("S1", 200)])?;
        self.agents(&done.status.agents, [AgentAction::Proposed, AgentAction::Proposed])?;
        self.conditions(&done.status, done.event.as_ref(), ("True", "Observed", "False"))?;
        self.expect_levels([json!(0.1), json!(0.6)])?;
        self.holds("Three reads, no write: the levels are as they were.")
    }

    /// Step 13.
    pub async fn enforce(&mut self) -> anyhow::Result<()> {
        self.begin(
            "Enforce: what was proposed, and one alert for supervisors",
            "Each write (S2) is the whole profile under the next version, with this one level changed; other skills go back as they were read. A change by more than alertThreshold, which is 0.3, raises an alert (S4) right after its write.",
        )?;
        let proposed = levels(&self.policy.status().agents);
        let (from, to) = (Some(json!("Propose")), Some(json!("Enforce")));
        self.tell.block("Edited in skill-policy.yaml")?;
        self.tell.value(&Change { path: "/spec/mode".to_owned(), from, to, prose: false })?;
        let object = self.policy.with("/mode", json!("Enforce"))?;
        ensure!(self.policy.apply(object)?, "the edit of the mode is no new generation");
        let done = self.evaluate(Due::Change).await?;
        self.plan_of("Plan", &done)?;
        self.calls(&[("S3", 200), ("S2", 200), ("S4", 201), ("S2", 200)])?;
        self.agents(&done.status.agents, [AgentAction::Applied, AgentAction::Applied])?;
        self.status(&done)?;
        ensure!(levels(&done.status.agents) == proposed, "what was written is not what was proposed");
        self.expect_levels([json!(0.9), json!(0.54)])?;
        self.alert()?;
        self.tell.say_more("The next evaluation, with the same metrics:")?;
        let again = self.evaluate(Due::Check).await?;
        self.calls(&[("S3", 200), ("S1", 200), ("S1", 200)])?;
        self.agents(&again.status.agents, [AgentAction::Unchanged, AgentAction::Unchanged])?;
        self.holds("Exactly the proposed changes, one alert for the one above 0.3, and reads only from then on.")
    }

    /// Step 14.
    pub async fn profile_first(&mut self) -> anyhow::Result<()> {
        self.begin(
            "Declared in git: a SkillProfile counts, and the evaluation leaves it alone",
            "A SkillProfile declares levels of one agent, here of the very skill that the policy is about. The profile counts, whatever the metrics say, and whichever object is older.",
        )?;
        self.tell.command("kubectl apply -f examples/features/skill-profile.yaml")?;
        self.policy.yield_to(self.profile.object().clone());
        let done = self.reconcile_profile(Due::Change).await?;
        self.plan_of("Plan of the SkillProfile", &done)?;
        self.calls(&[("S1", 200), ("S2", 200)])?;
        self.tell.say_more("The next evaluation of the SkillPolicy:")?;
        let done = self.evaluate(Due::Check).await?;
        self.calls(&[("S3", 200), ("S1", 200)])?;
        self.agents(&done.status.agents, [AgentAction::Skipped, AgentAction::Unchanged])?;
        self.status(&done)?;
        self.expect_levels([json!(0.72), json!(0.54)])?;
        self.holds("agent-ana has the level that git declares, and the evaluation does not even read her profile.")
    }

    /// Shows `status.agents`, and checks what was done about each.
    fn agents(&mut self, agents: &[AgentResult], expected: [AgentAction; 2]) -> anyhow::Result<()> {
        self.tell.block("status.agents")?;
        let head = ["agent", "csat", "aht", "current", "target", "action", "reason"].map(str::to_owned).to_vec();
        let number = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
        let level = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let row = |agent: &AgentResult| {
            let measured = [agent.user_id.clone(), number(agent.csat), number(agent.aht)];
            let levels = [level(agent.current), level(agent.target)];
            let done = [format!("{:?}", agent.action), agent.reason.clone()];
            measured.into_iter().chain(levels).chain(done).collect()
        };
        let rows: Vec<Vec<String>> = std::iter::once(head).chain(agents.iter().map(row)).collect();
        self.tell.table(&rows)?;
        let seen: Vec<(&str, AgentAction)> = agents.iter().map(|agent| (agent.user_id.as_str(), agent.action)).collect();
        let expected: Vec<(&str, AgentAction)> = AGENTS.into_iter().zip(expected).collect();
        ensure!(seen == expected, "the agents were to be {expected:?}, and are {seen:?}");
        Ok(())
    }

    /// Shows the one alert, and checks that it is the one.
    fn alert(&mut self) -> anyhow::Result<()> {
        let alerts = self.world().alerts();
        let [record] = alerts.as_slice() else { anyhow::bail!("the alerts are {alerts:?}") };
        let text = |name: &str| record.alert[name].as_str().unwrap_or_default().to_owned();
        ensure!(text("title").ends_with(AGENTS[0]), "the alert is {:?}", record.alert);
        self.tell.block("The alert")?;
        self.tell.line(&format!("{} / {}", text("title"), text("body")))?;
        Ok(())
    }

    /// The live levels of the agents are these.
    fn expect_levels(&self, wanted: [Value; 2]) -> anyhow::Result<()> {
        let skill = self.policy.object().remote_id();
        let seen = AGENTS.map(|agent| self.world().skill(agent, skill).unwrap_or_default());
        ensure!(seen == wanted, "the levels were to be {wanted:?}, and are {seen:?}");
        Ok(())
    }
}

/// What an evaluation arrived at, by agent.
fn levels(agents: &[AgentResult]) -> Vec<(String, Option<f64>)> {
    agents.iter().map(|agent| (agent.user_id.clone(), agent.target)).collect()
}
