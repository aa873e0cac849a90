//! Agents with metrics in the sandbox, and the object that makes levels of them.

use assist_operator::api::SkillPolicy;
use assist_operator::api::status::{AgentAction, AgentResult};
use assist_operator::sandbox::{self, Actor, Fault, FaultKind, Rule, Times};
use serde_json::{Value, json};

use super::held::Held;
use super::stage::Stage;

/// The skill of every policy.
pub const SKILL: &str = "billing";

/// A SkillPolicy under test.
pub type Skpol = Held<SkillPolicy>;

/// The id of an agent.
pub fn id(number: usize) -> String {
    format!("u{number:03}")
}

/// A world with so many agents, all at this level, whose metrics make 0.90.
pub async fn stage(agents: usize, level: f64) -> Stage {
    let stage = Stage::new().await;
    (0..agents).for_each(|number| agent(&stage, &id(number), level));
    stage.world.clear_journal();
    stage
}

/// An agent at this level, whose metrics make 0.90.
pub fn agent(stage: &Stage, id: &str, level: f64) {
    let skills = json!([{"skillId": "kept", "proficiency": 0.3}, {"skillId": SKILL, "proficiency": level}]);
    stage.world.put_user(id, json!({"version": 3, "name": "Ana", "skills": skills}));
    measure(stage, id, 4.5, 350);
}

/// Sets the metrics of an agent.
pub fn measure(stage: &Stage, id: &str, csat: impl Into<Value>, aht: impl Into<Value>) {
    stage.world.set_metrics(id, Some(aht.into()), Some(csat.into()));
}

/// A policy that writes, about so many agents.
pub fn policy(agents: usize, extra: &Value) -> Skpol {
    let users: Vec<String> = (0..agents).map(id).collect();
    let mut spec = json!({"orgRef": {"name": "o"}, "skillId": SKILL, "userIds": users, "mode": "Enforce"});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    Held::of(spec)
}

/// The level of an agent.
pub fn level(stage: &Stage, number: usize) -> f64 {
    stage.world.skill(&id(number), SKILL).unwrap().as_f64().unwrap()
}

/// What status says of an agent.
pub fn told(held: &Skpol, number: usize) -> &AgentResult {
    held.status.agents.iter().find(|agent| agent.user_id == id(number)).unwrap()
}

/// Action and reason of every agent, in order.
pub fn verdicts(held: &Skpol) -> Vec<(AgentAction, &str)> {
    held.status.agents.iter().map(|agent| (agent.action, agent.reason.as_str())).collect()
}

/// How many agents status has of an action.
pub fn count(held: &Skpol, action: AgentAction) -> usize {
    held.status.agents.iter().filter(|agent| agent.action == action).count()
}

/// A fault with the calls about one agent.
pub fn fault(stage: &Stage, call: &str, number: usize, times: Times, kind: FaultKind) {
    stage.world.faults().push(Fault::new(kind).on(&[call]).target(&id(number)).times(times));
}

/// How often each call was made since the last time, after the invariants were checked: `S1 3, S3 1`. The journal begins anew.
pub async fn spent(stage: &Stage) -> String {
    let journal = stage.journal().await;
    assert_eq!(sandbox::check(&journal), []);
    let mut counted = std::collections::BTreeMap::<String, usize>::new();
    journal
        .iter()
        .filter(|e| e.actor == Actor::Client && e.call != "T1")
        .for_each(|e| *counted.entry(e.call.clone()).or_default() += 1);
    stage.world.clear_journal();
    counted.iter().map(|(call, count)| format!("{call} {count}")).collect::<Vec<_>>().join(", ")
}

/// Checks every invariant but the one that an alert comes once, which a crash may break.
pub async fn check_but_alerts(stage: &Stage) {
    let violations = sandbox::check(&stage.journal().await);
    let others: Vec<_> = violations.iter().filter(|violation| violation.rule != Rule::DuplicateAlert).collect();
    assert!(others.is_empty(), "{others:?}");
}

/// The agents that alerts were taken for, sorted.
pub fn alerted(stage: &Stage) -> Vec<String> {
    let user = |alert: Value| alert["links"][0]["id"].as_str().unwrap().to_owned();
    let mut users: Vec<String> = stage.world.alerts().into_iter().map(|record| user(record.alert)).collect();
    users.sort();
    users
}

/// The ids of so many agents.
pub fn ids(agents: usize) -> Vec<String> {
    (0..agents).map(id).collect()
}
