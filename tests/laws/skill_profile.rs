//! The model of `SkillProfile`: one routing profile, counted versions, as contract section 5 has them.

use std::collections::BTreeMap;

use assist_operator::api::SkillProfile;
use assist_operator::api::status::AppliedField;
use assist_operator::engine::kind::Seen;
use assist_operator::engine::routing_profile::USER;
use assist_operator::engine::{Guard, State, Step, Target};
use proptest::collection::btree_map;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ID, Lawful, Remembering, reversed_text};

/// The profile behind S1 and S2.
#[derive(Clone, Debug)]
pub struct Server {
    version: i64,
    skills: BTreeMap<String, Value>,
}

impl Server {
    fn document(&self) -> Value {
        let list: Vec<Value> =
            self.skills.iter().map(|(id, level)| json!({"skillId": id, "proficiency": level, "since": "x"})).collect();
        json!({"id": ID, "version": self.version, "name": "Ana", "skills": list})
    }
}

fn levels() -> impl Strategy<Value = BTreeMap<String, Value>> {
    let level = prop_oneof![(0..=100_u8).prop_map(|n| json!(f64::from(n) / 100.0)), Just(json!(0)), Just(json!(1))];
    btree_map("[a-d][0-9_-]{0,1}", level, 0..4)
}

fn listed(skills: &BTreeMap<String, Value>) -> Value {
    skills.iter().map(|(id, level)| json!({"skillId": id, "proficiency": level})).collect()
}

impl Lawful for SkillProfile {
    type Server = Server;

    fn servers() -> BoxedStrategy<Server> {
        (levels(), 0..1000_i64).prop_map(|(skills, version)| Server { version, skills }).boxed()
    }

    fn specs() -> BoxedStrategy<Value> {
        (levels(), prop::option::of(prop_oneof![Just("Keep"), Just("Remove")]))
            .prop_map(|(skills, unlisted)| {
                let mut spec = json!({"orgRef": {"name": "o"}, "userId": ID, "skills": listed(&skills)});
                if let Some(unlisted) = unlisted {
                    spec["unlisted"] = unlisted.into();
                }
                spec
            })
            .boxed()
    }

    fn declaring(server: &Server) -> Value {
        json!({"orgRef": {"name": "o"}, "userId": ID, "skills": listed(&server.skills), "unlisted": "Remove"})
    }

    fn reordered(spec: &Value) -> Value {
        let mut spec = spec.clone();
        spec["skills"].as_array_mut().unwrap().reverse();
        serde_json::from_str(&reversed_text(&spec)).unwrap()
    }

    fn read(server: &Server, target: &Target) -> Seen {
        assert_eq!(*target, Target::new(USER, ID));
        let version = Some(server.version.to_string());
        let guard = Ok(Guard::Version(server.version));
        Seen::Present(State { document: server.document(), version, etag: None, lossy: false, guard })
    }

    fn write(server: &mut Server, step: &Step) {
        assert_eq!((&step.target, &step.guard), (&Target::new(USER, ID), &Guard::Version(server.version)));
        // The wire is text.
        let body: Value = serde_json::from_str(&step.body.to_string()).unwrap();
        assert_eq!((&body["id"], &body["version"], &body["name"]), (&json!(ID), &json!(server.version + 1), &json!("Ana")));
        let list = body["skills"].as_array().unwrap();
        let known = |skill: &&Value| server.skills.contains_key(skill["skillId"].as_str().unwrap());
        assert!(list.iter().filter(known).all(|skill| skill["since"] == "x"), "further members of a skill stay");
        let skills: BTreeMap<String, Value> =
            list.iter().map(|s| (s["skillId"].as_str().unwrap().to_owned(), s["proficiency"].clone())).collect();
        assert_eq!(skills.len(), list.len());
        (server.skills, server.version) = (skills, server.version + 1);
    }

    fn edit(server: &mut Server, other: &Server) {
        (server.skills, server.version) = (other.skills.clone(), server.version + 1);
    }

    fn shown(server: &Server) -> Value {
        json!({"skills": server.skills})
    }

    fn spared(before: &Server, after: &Server, spec: &Value, memory: &[AppliedField]) -> bool {
        let declared = |id: &str| spec["skills"].as_array().unwrap().iter().any(|skill| skill["skillId"] == id);
        let ours = |id: &str| memory.iter().any(|field| field.path == format!("/skills/{id}"));
        spec["unlisted"] == "Remove"
            || before
                .skills
                .keys()
                .chain(after.skills.keys())
                .all(|id| declared(id) || ours(id) || before.skills.get(id) == after.skills.get(id))
    }
}

impl Remembering for SkillProfile {
    fn nothing(_: &Server) -> Value {
        json!({"orgRef": {"name": "o"}, "userId": ID, "skills": []})
    }

    fn adding(server: &Server, spec: &Value) -> Value {
        let mut added = Self::nothing(server);
        let skills = spec["skills"].as_array().unwrap().iter();
        added["skills"] = skills.filter(|s| !server.skills.contains_key(s["skillId"].as_str().unwrap())).cloned().collect();
        added
    }
}
