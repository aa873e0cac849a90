//! Rules and plan of `SkillPolicy`: metrics → scores → levels (contract section 5).
//!
//! Phase 3 reads the metrics first, a hundred agents at a time, and then the profiles of those whose metrics make a score. An evaluation
//! that was not done goes on with the metrics in status: it reads only the profiles of the agents that are left.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use jiff::ToSpan;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use rust_decimal::Decimal;
use serde_json::{Number, Value, json};

use super::finding::Finding;
use super::kind::{Blocked, Kind, Observed, PlanInput, Seen, State, Texts, Unfinished};
use super::memory::Memory;
use super::plan::{Change, Evaluated, Plan, Step, Target, Why};
use super::routing_profile::{self, USER, normal};
use super::scoring::{Scoring, equal_at_two_decimals, exceeds, step, two_decimals};
use super::{decimal, json as json_util, pointer};
use crate::api::conditions::Reason;
use crate::api::skill_policy::{Missing, USERS_A_REQUEST};
use crate::api::status::{AgentAction, AgentResult, AppliedField, Evaluation, IntentStep, LevelChange};
use crate::api::{Policy, SkillPolicy};

mod rules;

/// Family of metrics: `analytics/1-100` are those of the first hundred agents.
pub const METRICS: &str = "analytics";
/// Where the memory keeps which spec was evaluated.
const EVALUATED: &str = "/policy";

/// The validated spec.
#[derive(Clone, Debug, PartialEq)]
pub struct Desired {
    /// Id of the skill.
    pub skill: String,
    /// Ids of the agents.
    pub users: Vec<String>,
    /// How many days the metrics look back.
    pub days: u32,
    /// How a score is computed.
    pub scoring: Scoring,
    /// A greater change raises an alert.
    pub threshold: Decimal,
    /// Largest change of one evaluation.
    pub max_step: Option<Decimal>,
    /// What happens to agents that lack the skill.
    pub missing: Missing,
}

impl Desired {
    /// The agents by target of their metrics.
    pub fn batches(&self) -> impl Iterator<Item = (Target, &[String])> {
        self.users.chunks(USERS_A_REQUEST).enumerate().map(|(index, users)| {
            let first = index * USERS_A_REQUEST + 1;
            (Target::new(METRICS, format!("{first}-{}", first + users.len() - 1)), users)
        })
    }

    /// What makes an evaluation another one.
    fn digest(&self) -> Value {
        let plain = |value: Decimal| value.normalize().to_string();
        let bands: BTreeSet<[String; 2]> =
            self.scoring.bands.iter().map(|band| [plain(band.above_seconds), plain(band.factor)]).collect();
        let users: BTreeSet<&String> = self.users.iter().collect();
        json!({
            "skill": self.skill, "users": users, "days": self.days, "csatScale": plain(self.scoring.csat_scale),
            "bands": bands, "maxStep": self.max_step.map(plain), "skips": self.missing == Missing::Skip,
        })
    }
}

/// The days that metrics are read of, UTC: whole ones that are over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// First day, `YYYY-MM-DD`.
    pub from: String,
    /// The day after the last one.
    pub to: String,
    /// Its length as the one bucket: `P7D`.
    pub bucket: String,
}

/// The window of `days` that ends before the day of `now`.
pub fn window(days: u32, now: Timestamp) -> Window {
    let to = now.to_zoned(TimeZone::UTC).date();
    let from = to.checked_sub(i64::from(days).days()).unwrap_or(to);
    Window { from: from.to_string(), to: to.to_string(), bucket: format!("P{days}D") }
}

impl Kind for SkillPolicy {
    const KIND: &'static str = "SkillPolicy";
    type Desired = Desired;

    fn validate(&self, _: &Texts) -> Result<Desired, Vec<Finding>> {
        rules::desired(&self.spec)
    }

    fn targets(desired: &Desired, input: &PlanInput<'_>) -> Vec<Target> {
        let mut targets: Vec<Target> = match input.unfinished {
            Some(_) => Vec::new(),
            None => desired.batches().map(|(target, _)| target).collect(),
        };
        if !targets.iter().all(|target| input.observed.contains_key(target)) {
            return targets;
        }
        let metrics = measured(desired, input.observed);
        let wanted: BTreeSet<&str> = match input.unfinished {
            Some(unfinished) => {
                unfinished.agents.iter().filter(|a| is_left(a, input.policy)).map(|a| a.user_id.as_str()).collect()
            }
            None => metrics.iter().filter(|(_, m)| score(m, &desired.scoring).is_ok()).map(|(id, _)| *id).collect(),
        };
        let is_wanted = |id: &&String| wanted.contains(id.as_str()) && !input.claimed.contains(*id);
        let intended = input.intended.iter().filter_map(|step| step.target.strip_prefix("user/"));
        let users: BTreeSet<&str> = desired.users.iter().filter(is_wanted).map(String::as_str).chain(intended).collect();
        targets.extend(users.into_iter().map(|id| Target::new(USER, id)));
        targets
    }

    fn fails_alone(target: &Target) -> bool {
        target.family == USER
    }

    fn pairs(desired: &Desired) -> Option<(&str, &[String])> {
        Some((&desired.skill, &desired.users))
    }

    fn plan(desired: &Desired, input: &PlanInput<'_>) -> Result<Plan, Blocked> {
        let evaluation = evaluation(desired, input)?;
        let fresh = measured(desired, input.observed);
        let before: BTreeMap<&str, &AgentResult> =
            input.unfinished.iter().flat_map(|u| u.agents).map(|agent| (agent.user_id.as_str(), agent)).collect();
        let (mut plan, mut agents) = (Plan::default(), Vec::with_capacity(desired.users.len()));
        for id in &desired.users {
            let known = before.get(id.as_str());
            let metrics = match (input.unfinished, known) {
                (None, _) => fresh.get(id.as_str()).cloned().unwrap_or_default(),
                (Some(_), Some(agent)) if is_left(agent, input.policy) => Metrics::of(agent),
                (Some(_), Some(agent)) => {
                    agents.push((*agent).clone());
                    continue;
                }
                (Some(_), None) => Metrics::default(),
            };
            let (agent, step) = Judge { desired, input, id, metrics, known: known.copied() }.verdict();
            if let Some(step) = step {
                if input.policy == Policy::Enforce { plan.steps.push(step) } else { plan.drift.extend(proposed(step)) }
            }
            agents.push(agent);
        }
        plan.steps.sort_by(|a, b| a.target.cmp(&b.target));
        plan.drift.sort_by(|a, b| a.path.cmp(&b.path));
        let digest = evaluation.digest.clone();
        plan.applied = vec![AppliedField { path: EVALUATED.to_owned(), digest: digest.into(), created: false }];
        plan.evaluated = Some(Evaluated { evaluation, agents });
        Ok(plan)
    }

    fn is_unapplied(desired: &Desired, memory: &Memory) -> bool {
        !memory.knows(EVALUATED, &desired.digest())
    }

    fn content(state: &State) -> Value {
        normal(&state.document).unwrap_or_default()
    }

    fn evaluates(desired: &Desired) -> Option<String> {
        Some(json_util::short_digest(&desired.digest()))
    }

    fn holds(desired: &Desired, step: &IntentStep, state: &State) -> Option<bool> {
        let written: Decimal = step.level.as_ref()?.to.parse().ok()?;
        let live = normal(&state.document).ok()?;
        let level = live.pointer(&path_of(&desired.skill)).and_then(Value::as_number).and_then(decimal::of);
        Some(level.is_some_and(|level| equal_at_two_decimals(level, written)))
    }

    fn parts(&self) -> Option<Vec<&str>> {
        Some(self.spec.user_ids.iter().map(String::as_str).collect())
    }

    fn overlap(&self, other: &Self) -> Option<String> {
        let (ours, theirs) = (&self.spec, &other.spec);
        if ours.skill_id != theirs.skill_id {
            return None;
        }
        let users: BTreeSet<&String> = ours.user_ids.iter().collect();
        let both: Vec<&String> = theirs.user_ids.iter().filter(|id| users.contains(id)).collect();
        let first = both.first()?;
        let more = if both.len() > 1 { format!(" and {} more", both.len() - 1) } else { String::new() };
        Some(format!("skill {} of agent {first}{more}", ours.skill_id))
    }
}

/// Whether an agent is to be tried again before the next evaluation.
pub fn is_open(agent: &AgentResult) -> bool {
    let passing = [Reason::ConflictDetected, Reason::OrgUnavailable, Reason::RateLimited, Reason::Progressing];
    match agent.action {
        AgentAction::Pending => true,
        AgentAction::Failed => passing.iter().any(|reason| reason.as_str() == agent.reason),
        AgentAction::Applied | AgentAction::Proposed | AgentAction::Unchanged | AgentAction::Skipped => false,
    }
}

/// Whether an agent is left of an evaluation: what was proposed is written once it may be.
fn is_left(agent: &AgentResult, policy: Policy) -> bool {
    is_open(agent) || (policy == Policy::Enforce && agent.action == AgentAction::Proposed)
}

/// The evaluation that the plan is of: a new one has the window that its metrics were read for.
fn evaluation(desired: &Desired, input: &PlanInput<'_>) -> Result<Evaluation, Blocked> {
    if let Some(Unfinished { evaluation, .. }) = input.unfinished {
        return Ok(evaluation.clone());
    }
    let mut window = None;
    for (target, _) in desired.batches() {
        let absent = || "Genesys Cloud knows no analytics of users; check the region of the GenesysOrg".to_owned();
        let state = input.state(&target, absent)?;
        window = window.or(Some(&state.document));
    }
    let day = |name: &str| window.and_then(|w| w.get(name)).and_then(Value::as_str).unwrap_or_default().to_owned();
    let (date_from, date_to) = (day("dateFrom"), day("dateTo"));
    Ok(Evaluation {
        time: Time(input.now),
        generation: input.generation,
        digest: json_util::short_digest(&desired.digest()),
        date_from,
        date_to,
    })
}

/// The metrics of an agent: a value that is no number is none that can be used.
#[derive(Clone, Debug, Default, PartialEq)]
struct Metrics {
    csat: Option<Value>,
    aht: Option<Value>,
}

impl Metrics {
    fn of(agent: &AgentResult) -> Self {
        Self { csat: agent.csat.map(Value::from), aht: agent.aht.map(Value::from) }
    }
}

/// Why there is no score.
enum Unscored {
    NoData,
    Bad(String),
}

fn score(metrics: &Metrics, scoring: &Scoring) -> Result<Decimal, Unscored> {
    let number = |metric: &Option<Value>, name: &str| -> Result<Option<Number>, Unscored> {
        match metric {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(number.clone())),
            Some(_) => Err(Unscored::Bad(format!("the {name} is no number"))),
        }
    };
    let (csat, aht) = (number(&metrics.csat, "satisfaction")?, number(&metrics.aht, "handle time")?);
    let (csat, aht) = csat.zip(aht).ok_or(Unscored::NoData)?;
    scoring.score_of(&csat, &aht).map_err(|bad| Unscored::Bad(bad.to_string()))
}

/// The metrics that were read, by agent.
fn measured<'a>(desired: &Desired, observed: &'a Observed) -> BTreeMap<&'a str, Metrics> {
    let mut all = BTreeMap::new();
    for (target, _) in desired.batches() {
        let Some(Seen::Present(state)) = observed.get(&target) else { continue };
        for (id, agent) in state.document.get("agents").and_then(Value::as_object).into_iter().flatten() {
            let metric = |name: &str| agent.get(name).filter(|value| !value.is_null()).cloned();
            all.insert(id.as_str(), Metrics { csat: metric("csat"), aht: metric("aht") });
        }
    }
    all
}

fn path_of(skill: &str) -> String {
    pointer::join(&["skills".to_owned(), skill.to_owned()])
}

/// A step that is only shown: the path says whose it is.
fn proposed(step: Step) -> impl Iterator<Item = Change> {
    let id = step.target.id;
    step.changes.into_iter().map(move |change| Change { path: format!("/{id}{}", change.path), ..change })
}

/// One agent of an evaluation.
struct Judge<'a> {
    desired: &'a Desired,
    input: &'a PlanInput<'a>,
    id: &'a str,
    metrics: Metrics,
    /// What this evaluation has arrived at before, where it goes on.
    known: Option<&'a AgentResult>,
}

impl Judge<'_> {
    /// What becomes of the agent, and the step where there is one.
    fn verdict(&self) -> (AgentResult, Option<Step>) {
        if self.input.claimed.contains(self.id) {
            return (self.result(AgentAction::Skipped, "ManagedByProfile"), None);
        }
        match score(&self.metrics, &self.desired.scoring) {
            Err(Unscored::NoData) => (self.result(AgentAction::Skipped, "InsufficientData"), None),
            Err(Unscored::Bad(message)) => (self.failed("BadData", message), None),
            Ok(score) => self.scored(score).unwrap_or_else(|(reason, message)| (self.failed(reason, message), None)),
        }
    }

    fn scored(&self, score: Decimal) -> Result<(AgentResult, Option<Step>), (&'static str, String)> {
        let (id, skill) = (self.id, &self.desired.skill);
        let target = Target::new(USER, id);
        let blocked = |blocked: Blocked| (blocked.reason.as_str(), blocked.message);
        let absent = || format!("agent {id} does not exist in this organisation; take the id out of spec.userIds");
        let state = self.input.state(&target, absent).map_err(blocked)?;
        let rejected = |why: &str| (Reason::RemoteRejected.as_str(), format!("{target}: {why}; correct it in Genesys Cloud"));
        let live = normal(&state.document).map_err(rejected)?;
        let path = path_of(skill);
        let current = match live.pointer(&path) {
            None if self.desired.missing == Missing::Skip => {
                return Ok((self.result(AgentAction::Skipped, "SkillMissing"), None));
            }
            None => None,
            Some(level) => Some(level.as_number().and_then(decimal::of).filter(is_level).ok_or_else(|| {
                ("BadData", format!("the level of skill {skill} is not between 0 and 1; correct it in Genesys Cloud"))
            })?),
        };
        let from = current.unwrap_or_default();
        // A write that came late was this evaluation's one step.
        let aimed = self.known.and_then(|agent| agent.target).and_then(decimal::of_f64);
        let arrived = aimed.filter(|aimed| current.is_some_and(|current| equal_at_two_decimals(current, *aimed)));
        let to = arrived.unwrap_or_else(|| step(from, score, self.desired.max_step));
        let reason = if to == score { "Scored" } else { "StepLimited" };
        let levels = (current.and_then(as_f64), as_f64(to));
        // Of a level that somebody changed since nobody approved anything.
        let approved = self.known.is_some_and(|agent| agent.approved && (agent.current, agent.target) == levels);
        let result = |action| AgentResult { current: levels.0, target: levels.1, approved, ..self.result(action, reason) };
        if current.is_some_and(|current| equal_at_two_decimals(current, to)) {
            return Ok((result(AgentAction::Unchanged), None));
        }
        if let Some(message) = self.not_kept(levels.1) {
            let kept = result(AgentAction::Failed);
            return Ok((AgentResult { reason: Reason::NotConverging.as_str().to_owned(), message, ..kept }, None));
        }
        let change = Change { path: path.clone(), from: current.map(json_number), to: Some(json_number(to)), prose: false };
        let mut after = live.clone();
        pointer::set(&mut after, &["skills".to_owned(), skill.clone()], change.to.clone());
        let step = routing_profile::step(target, state, (&live, &after), vec![change], Why::Evaluation).map_err(blocked)?;
        let alert = exceeds(from, to, self.desired.threshold);
        let level = LevelChange { from: two_decimals(from).to_string(), to: two_decimals(to).to_string(), alert };
        let is_proposed = self.input.policy != Policy::Enforce;
        let action = if is_proposed { AgentAction::Proposed } else { AgentAction::Pending };
        Ok((result(action), Some(Step { level: Some(level), ..step })))
    }

    /// The loop breaker: this very level was written by the last evaluation, and Genesys Cloud did not keep it.
    fn not_kept(&self, target: Option<f64>) -> Option<Option<String>> {
        let previous = self.input.previous.iter().find(|agent| agent.user_id == self.id)?;
        let same = previous.reason == Reason::NotConverging.as_str() && previous.target == target;
        same.then(|| previous.message.clone())
    }

    fn result(&self, action: AgentAction, reason: &str) -> AgentResult {
        let shown = |metric: &Option<Value>| metric.as_ref().and_then(Value::as_f64);
        AgentResult {
            user_id: self.id.to_owned(),
            csat: shown(&self.metrics.csat),
            aht: shown(&self.metrics.aht),
            current: None,
            target: None,
            action,
            reason: reason.to_owned(),
            message: None,
            approved: false,
        }
    }

    fn failed(&self, reason: &str, message: String) -> AgentResult {
        AgentResult { message: Some(message), ..self.result(AgentAction::Failed, reason) }
    }
}

fn is_level(level: &Decimal) -> bool {
    (Decimal::ZERO..=Decimal::ONE).contains(level)
}

fn json_number(value: Decimal) -> Value {
    Value::Number(decimal::number(value))
}

fn as_f64(value: Decimal) -> Option<f64> {
    decimal::number(value).as_f64()
}

#[cfg(test)]
#[path = "skill_policy_tests.rs"]
mod tests;
