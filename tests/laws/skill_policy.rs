//! The model of `SkillPolicy`: the routing profiles of several agents with counted versions, and their metrics, as contract section 5 has
//! them.

use std::collections::{BTreeMap, BTreeSet};

use assist_operator::api::status::{AgentAction, AppliedField};
use assist_operator::api::{Policy, SkillPolicy};
use assist_operator::engine::kind::Seen;
use assist_operator::engine::routing_profile::USER;
use assist_operator::engine::skill_policy::METRICS;
use assist_operator::engine::{Guard, State, Step, Target};
use proptest::collection::{btree_map, btree_set};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ID, Lawful, execute, holds, plan, reversed_text};

/// Who there is. Nobody measures the last one, so that there is always somebody who is left alone.
const AGENTS: [&str; 5] = ["a", "b", "c-1", "d_2", "idle"];

/// What S1, S2 and S3 answer from.
#[derive(Clone, Debug)]
pub struct Server {
    profiles: BTreeMap<String, Profile>,
    /// Satisfaction and handle time, where there is any.
    metrics: BTreeMap<String, (Option<u8>, Option<u16>)>,
}

#[derive(Clone, Debug)]
struct Profile {
    version: i64,
    skills: BTreeMap<String, Value>,
}

impl Profile {
    fn document(&self, id: &str) -> Value {
        let list: Vec<Value> =
            self.skills.iter().map(|(id, level)| json!({"skillId": id, "proficiency": level, "since": "x"})).collect();
        json!({"id": id, "version": self.version, "name": "Ana", "skills": list})
    }
}

impl Server {
    /// The contract's score in hundredths, in whole numbers.
    fn score(&self, id: &str) -> Option<u32> {
        let (csat, aht) = self.metrics.get(id)?;
        let (csat, aht) = (u32::from((*csat)?), u32::from((*aht)?));
        let tenths = if aht > 600 {
            6
        } else if aht > 400 {
            8
        } else {
            10
        };
        // csat is in tenths of 5: hundredths are csat / 50 × tenths / 10 × 100, half-up.
        Some((csat * tenths * 2 + 5) / 10)
    }

    /// The level of the skill in hundredths.
    fn level(&self, id: &str) -> Option<u32> {
        let level = self.profiles.get(id)?.skills.get(ID)?.as_f64()?;
        Some((level * 100.0).round() as u32)
    }
}

fn profiles() -> impl Strategy<Value = Profile> {
    let level = prop_oneof![(0..=100_u8).prop_map(|n| json!(f64::from(n) / 100.0)), Just(json!(0)), Just(json!(1))];
    let ids = prop_oneof![2 => Just(ID.to_owned()), 1 => "[a-c]".prop_map(|id| id)];
    (0..1000_i64, btree_map(ids, level, 0..4)).prop_map(|(version, skills)| Profile { version, skills })
}

impl Lawful for SkillPolicy {
    /// Also what is only proposed was evaluated.
    const LOOKS_COUNT: bool = true;
    type Server = Server;

    fn servers() -> BoxedStrategy<Server> {
        let metric = (prop::option::weighted(0.9, 0..=50_u8), prop::option::weighted(0.9, 0..1000_u16));
        let metrics = btree_map(prop::sample::select(&AGENTS[..4]).prop_map(str::to_owned), metric, 0..=4);
        (prop::collection::vec(profiles(), AGENTS.len()), metrics)
            .prop_map(|(profiles, metrics)| Server {
                profiles: AGENTS.iter().map(|id| (*id).to_owned()).zip(profiles).collect(),
                metrics,
            })
            .boxed()
    }

    fn specs() -> BoxedStrategy<Value> {
        (btree_set(prop::sample::select(&AGENTS[..]), 1..=5), any::<bool>())
            .prop_map(|(users, skips)| {
                let mut spec = json!({"orgRef": {"name": "o"}, "skillId": ID, "userIds": users});
                if skips {
                    spec["missing"] = "Skip".into();
                }
                spec
            })
            .boxed()
    }

    fn declaring(server: &Server) -> Value {
        let at_rest = |id: &&str| server.score(id).is_none_or(|score| server.level(id) == Some(score));
        let users: Vec<&str> = AGENTS.into_iter().filter(at_rest).collect();
        json!({"orgRef": {"name": "o"}, "skillId": ID, "userIds": users})
    }

    fn reordered(spec: &Value) -> Value {
        // The agents come in the order of the spec.
        serde_json::from_str(&reversed_text(spec)).unwrap()
    }

    fn read(server: &Server, target: &Target) -> Seen {
        if target.family == METRICS {
            let shown = |(csat, aht): &(Option<u8>, Option<u16>)| json!({"csat": csat.map(|n| f64::from(n) / 10.0), "aht": aht});
            let agents: serde_json::Map<String, Value> = server.metrics.iter().map(|(id, m)| (id.clone(), shown(m))).collect();
            let document = json!({"dateFrom": "2026-01-01", "dateTo": "2026-01-08", "agents": agents});
            return Seen::Present(State { document, version: None, etag: None, lossy: false, guard: Ok(Guard::None) });
        }
        assert_eq!(target.family, USER);
        let profile = &server.profiles[&target.id];
        let version = Some(profile.version.to_string());
        let guard = Ok(Guard::Version(profile.version));
        Seen::Present(State { document: profile.document(&target.id), version, etag: None, lossy: false, guard })
    }

    fn write(server: &mut Server, step: &Step) {
        let profile = server.profiles.get_mut(&step.target.id).unwrap();
        assert_eq!((step.target.family, &step.guard), (USER, &Guard::Version(profile.version)));
        // The wire is text.
        let body: Value = serde_json::from_str(&step.body.to_string()).unwrap();
        assert_eq!((&body["id"], &body["version"]), (&json!(step.target.id), &json!(profile.version + 1)));
        let list = body["skills"].as_array().unwrap();
        let known = |skill: &&Value| profile.skills.contains_key(skill["skillId"].as_str().unwrap());
        assert!(list.iter().filter(known).all(|skill| skill["since"] == "x"), "further members of a skill stay");
        let skills: BTreeMap<String, Value> =
            list.iter().map(|s| (s["skillId"].as_str().unwrap().to_owned(), s["proficiency"].clone())).collect();
        assert_eq!(skills.len(), list.len());
        (profile.skills, profile.version) = (skills, profile.version + 1);
    }

    fn edit(server: &mut Server, other: &Server) {
        for (id, profile) in &mut server.profiles {
            (profile.skills, profile.version) = (other.profiles[id].skills.clone(), profile.version + 1);
        }
        server.metrics.clone_from(&other.metrics);
    }

    fn shown(server: &Server) -> Value {
        server.profiles.iter().map(|(id, profile)| json!([id, profile.skills])).collect()
    }

    fn shown_of(server: &Server, target: &Target) -> Value {
        // Metrics are no profile: they have no skills.
        json!({"skills": server.profiles.get(&target.id).map(|profile| &profile.skills).cloned().unwrap_or_default()})
    }

    fn spared(before: &Server, after: &Server, spec: &Value, _: &[AppliedField]) -> bool {
        let listed: BTreeSet<&str> = spec["userIds"].as_array().unwrap().iter().map(|id| id.as_str().unwrap()).collect();
        before.profiles.iter().all(|(id, old)| {
            let new = &after.profiles[id];
            let others = |profile: &Profile| {
                let mut skills = profile.skills.clone();
                skills.remove(ID);
                skills
            };
            let untouched = !listed.contains(id.as_str()) || before.score(id).is_none();
            others(old) == others(new) && (!untouched || old.version == new.version)
        })
    }
}

#[test]
fn an_evaluation_gives_everybody_the_score() {
    holds(400, &(SkillPolicy::servers(), SkillPolicy::specs()), |(mut server, spec)| {
        let first = plan::<SkillPolicy>(&server, &spec, &[], Policy::Enforce).unwrap();
        let lacked: BTreeSet<&str> = AGENTS.into_iter().filter(|id| server.level(id).is_none()).collect();
        execute::<SkillPolicy>(&mut server, &first);
        for agent in first.evaluated.unwrap().agents {
            let id = agent.user_id.as_str();
            match server.score(id) {
                None => prop_assert_eq!(agent.action, AgentAction::Skipped),
                Some(_) if lacked.contains(id) && spec["missing"] == "Skip" => prop_assert_eq!(server.level(id), None),
                score => prop_assert_eq!(server.level(id), score),
            }
        }
        Ok(())
    });
}

#[test]
fn with_small_steps_evaluations_come_to_an_end_and_no_step_is_too_large() {
    let most = 1..=100_u32;
    holds(200, &(SkillPolicy::servers(), SkillPolicy::specs(), most), |(mut server, mut spec, most)| {
        spec["maxStep"] = json!(f64::from(most) / 100.0);
        // Between two levels there are 100 hundredths.
        for _ in 0..=100_u32.div_ceil(most) {
            let before = server.clone();
            let next = plan::<SkillPolicy>(&server, &spec, &[], Policy::Enforce).unwrap();
            if next.is_empty() {
                let unlimited = AGENTS
                    .into_iter()
                    .filter(|id| next.evaluated.as_ref().unwrap().agents.iter().any(|a| a.user_id == *id && a.target.is_some()));
                for id in unlimited {
                    prop_assert_eq!(server.level(id), server.score(id));
                }
                return Ok(());
            }
            execute::<SkillPolicy>(&mut server, &next);
            for id in AGENTS {
                let moved = server.level(id).unwrap_or_default().abs_diff(before.level(id).unwrap_or_default());
                prop_assert!(moved <= most, "{id} moved by {moved}");
            }
        }
        Err(TestCaseError::fail("it goes on for ever"))
    });
}
