//! Rules and plan of `SkillProfile` (contract section 5).

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::agent_assist_config::{id_rule, interval_rule};
use super::declared::{self, Draft};
use super::display;
use super::finding::Finding;
use super::kind::{Blocked, Kind, PlanInput, State, Texts};
use super::memory::Memory;
use super::plan::{Plan, Target};
use super::pointer::{self, Ignore};
use super::routing_profile::{self, USER, normal};
use crate::api::SkillProfile;
use crate::api::common::MIN_INTERVAL;
use crate::api::conditions::Reason;
use crate::api::skill_profile::{MAX_SKILLS, SkillLevel, Unlisted};

/// The validated spec.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Id of the agent.
    pub id: String,
    /// The declared skills, as [`normal`] shows those of a profile.
    declared: Value,
    /// Whether skills that are not declared are removed.
    whole: bool,
}

impl Kind for SkillProfile {
    const KIND: &'static str = "SkillProfile";
    type Desired = Desired;

    fn validate(&self, _: &Texts) -> Result<Desired, Vec<Finding>> {
        let spec = &self.spec;
        let mut findings = Vec::new();
        id_rule("/spec/userId", &spec.user_id, &mut findings);
        interval_rule("/spec/interval", spec.enforcement.interval.as_ref(), Some(MIN_INTERVAL), &mut findings);
        skills_rule(&spec.skills, &mut findings);
        if !findings.is_empty() {
            return Err(findings);
        }
        let skills: Map<String, Value> = spec.skills.iter().map(|s| (s.skill_id.clone(), json!(s.proficiency))).collect();
        let whole = spec.unlisted == Some(Unlisted::Remove);
        // An empty object would declare the list itself, and what was added to it could not be taken away again.
        let declared = if skills.is_empty() { json!({}) } else { json!({"skills": skills}) };
        Ok(Desired { id: spec.user_id.clone(), declared, whole })
    }

    fn targets(desired: &Desired, _: &PlanInput<'_>) -> Vec<Target> {
        vec![Target::new(USER, &desired.id)]
    }

    fn plan(desired: &Desired, input: &PlanInput<'_>) -> Result<Plan, Blocked> {
        let target = Target::new(USER, &desired.id);
        let id = &desired.id;
        let state = input.state(&target, || format!("agent {id} does not exist in this organisation; create the user in Genesys Cloud or correct spec.userId in a new object"))?;
        let live = normal(&state.document).map_err(|why| {
            Blocked::new(Reason::RemoteRejected, format!("{target} is not written: {why}; correct it in Genesys Cloud"))
        })?;
        let mut wanted = desired.declared.clone();
        let foreign = live.get("skills").and_then(Value::as_object).into_iter().flat_map(Map::keys).filter(|_| desired.whole);
        for id in foreign.filter(|id| desired.declared.pointer(&pointer::join(&["skills".to_owned(), (*id).clone()])).is_none()) {
            pointer::set(&mut wanted, &["skills".to_owned(), id.clone()], Some(Value::Null));
        }
        let draft = declared::between(&desired.declared, &wanted, &live, &Ignore::default(), input);
        finish(draft, target, state, &live)
    }

    fn is_unapplied(desired: &Desired, memory: &Memory) -> bool {
        !memory.knows_all(&desired.declared, &Ignore::default())
    }

    fn content(state: &State) -> Value {
        normal(&state.document).unwrap_or_default()
    }

    const EXPORTED_AS: Option<&'static str> = Some("user");

    fn probe(id: &str) -> Value {
        json!({"userId": id, "skills": []})
    }

    fn export(id: &str, state: &State) -> Result<Value, String> {
        let live = normal(&state.document)?;
        let levels = live.get("skills").and_then(Value::as_object).into_iter().flatten();
        let skills: Vec<Value> = levels.map(|(skill, level)| json!({"skillId": skill, "proficiency": level})).collect();
        Ok(json!({"userId": id, "skills": skills}))
    }

    fn declares(&self, user: &str, skill: &str) -> bool {
        let listed = || self.spec.skills.iter().any(|s| s.skill_id == skill);
        self.spec.user_id == user && (self.spec.unlisted == Some(Unlisted::Remove) || listed())
    }

    fn parts(&self) -> Option<Vec<&str>> {
        let listed = || self.spec.skills.iter().map(|skill| skill.skill_id.as_str()).collect();
        (self.spec.unlisted != Some(Unlisted::Remove)).then(listed)
    }

    fn overlap(&self, other: &Self) -> Option<String> {
        let (a, b) = (&self.spec, &other.spec);
        if a.user_id != b.user_id {
            return None;
        }
        if [a.unlisted, b.unlisted].contains(&Some(Unlisted::Remove)) {
            return Some(format!("agent {}", a.user_id));
        }
        let ours: BTreeSet<&str> = a.skills.iter().map(|s| s.skill_id.as_str()).collect();
        let both = b.skills.iter().find(|s| ours.contains(s.skill_id.as_str()))?;
        Some(format!("skill {} of agent {}", both.skill_id, a.user_id))
    }
}

fn skills_rule(skills: &[SkillLevel], findings: &mut Vec<Finding>) {
    if skills.len() > MAX_SKILLS {
        let problem = format!("it lists {} skills, at most {MAX_SKILLS}", skills.len());
        findings.push(Finding::new("/spec/skills", problem, "list fewer, in one object"));
    }
    let mut seen = BTreeSet::new();
    for (index, skill) in skills.iter().enumerate() {
        id_rule(&format!("/spec/skills/{index}/skillId"), &skill.skill_id, findings);
        if !seen.insert(&skill.skill_id) {
            let problem = format!("skill {} is listed twice", display::escape(&skill.skill_id));
            findings.push(Finding::new(format!("/spec/skills/{index}"), problem, "keep one of the two"));
        }
        if !(0.0..=1.0).contains(&skill.proficiency) {
            let problem = format!("{} is out of range", skill.proficiency);
            findings.push(Finding::new(format!("/spec/skills/{index}/proficiency"), problem, "set 0 to 1, for example 0.72"));
        }
    }
}

/// The draft with its step.
fn finish(draft: Draft, target: Target, state: &State, live: &Value) -> Result<Plan, Blocked> {
    let mut plan = draft.plan;
    if !draft.write.is_empty() {
        plan.steps.push(routing_profile::step(target, state, (live, &draft.after), draft.write, draft.why)?);
    }
    Ok(plan)
}
