//! The model of `AgentAssistConfig`: guards, versions and history as contract section 3 has them.

use std::collections::BTreeMap;

use assist_operator::api::AgentAssistConfig;
use assist_operator::api::status::AppliedField;
use assist_operator::engine::agent_assist_config::{CONFIG, SNAPSHOT};
use assist_operator::engine::kind::Seen;
use assist_operator::engine::{Guard, State, Step, Target};
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ID, Lawful, Remembering, object, reversed_text, without_nulls};

/// The agent-assist config behind C1 to C3.
#[derive(Clone, Debug)]
pub struct Server {
    content: Value,
    version: i32,
    past: BTreeMap<i32, Value>,
}

impl Server {
    fn etag(&self) -> String {
        format!("\"{}\"", self.version)
    }

    fn state(&self, content: &Value, version: i32) -> Seen {
        let mut document = content.clone();
        let etag = format!("\"{version}\"");
        for (name, value) in [("id", json!(ID)), ("version", json!(version)), ("etag", json!(etag)), ("selfUri", json!("/x"))] {
            document[name] = value;
        }
        let guard = Ok(Guard::EtagAndVersion { etag: etag.clone(), version });
        Seen::Present(State { document, version: Some(version.to_string()), etag: Some(etag), lossy: false, guard })
    }
}

impl Lawful for AgentAssistConfig {
    type Server = Server;

    fn servers() -> BoxedStrategy<Server> {
        let past = btree_map(1..9_i32, object(), 0..3);
        (object(), 10..1000_i32, past).prop_map(|(content, version, past)| Server { content, version, past }).boxed()
    }

    fn specs() -> BoxedStrategy<Value> {
        let ignore = vec("(/(a|b|c|[0-9]|\\*|~0|~1)){1,3}", 0..3);
        (object(), ignore, prop::option::weighted(0.2, 1..9_i32))
            .prop_map(|(config, ignore, restore)| {
                let mut spec = json!({"orgRef": {"name": "o"}, "configId": ID, "config": config, "ignore": ignore});
                if let Some(version) = restore {
                    spec["restoreVersion"] = json!(version);
                }
                spec
            })
            .boxed()
    }

    fn declaring(server: &Server) -> Value {
        json!({"orgRef": {"name": "o"}, "configId": ID, "config": without_nulls(&server.content)})
    }

    fn reordered(spec: &Value) -> Value {
        let mut spec = spec.clone();
        if let Some(ignore) = spec["ignore"].as_array_mut() {
            ignore.reverse();
        }
        serde_json::from_str(&reversed_text(&spec)).unwrap()
    }

    fn read(server: &Server, target: &Target) -> Seen {
        match target.id.split_once('@').filter(|_| target.family == SNAPSHOT) {
            None => {
                assert_eq!((target.family, target.id.as_str()), (CONFIG, ID));
                server.state(&server.content, server.version)
            }
            Some((_, version)) => {
                let version = version.parse().unwrap();
                server.past.get(&version).map_or(Seen::Absent, |content| server.state(content, version))
            }
        }
    }

    fn write(server: &mut Server, step: &Step) {
        assert_eq!(step.target, Target::new(CONFIG, ID));
        assert_eq!(step.guard, Guard::EtagAndVersion { etag: server.etag(), version: server.version });
        let mut body = step.body.as_object().unwrap().clone();
        assert_eq!(body.remove("version"), Some(json!(server.version + 1)));
        assert!(["id", "etag", "selfUri"].iter().all(|name| !body.contains_key(*name)));
        // The wire is text.
        server.content = serde_json::from_str(&Value::Object(body).to_string()).unwrap();
        server.version += 1;
    }

    fn edit(server: &mut Server, other: &Server) {
        server.content = other.content.clone();
        server.version += 1;
    }

    fn shown(server: &Server) -> Value {
        server.content.clone()
    }

    fn spared(before: &Server, after: &Server, spec: &Value, memory: &[AppliedField]) -> bool {
        let (was, is) = (before.content.as_object().unwrap(), after.content.as_object().unwrap());
        let declared = |name: &str| spec["config"].get(name).is_some();
        let ours = |name: &str| {
            let path = format!("/{}", name.replace('~', "~0").replace('/', "~1"));
            memory.iter().any(|field| field.path == path || field.path.starts_with(&format!("{path}/")))
        };
        spec.get("restoreVersion").is_some()
            || was.keys().chain(is.keys()).all(|name| declared(name) || ours(name) || was.get(name) == is.get(name))
    }
}

impl Remembering for AgentAssistConfig {
    fn nothing(_: &Server) -> Value {
        json!({"orgRef": {"name": "o"}, "configId": ID, "config": {}})
    }

    fn adding(server: &Server, spec: &Value) -> Value {
        let taken = server.content.as_object().unwrap();
        let mut spec = json!({"orgRef": {"name": "o"}, "configId": ID, "config": without_nulls(&spec["config"])});
        spec["config"].as_object_mut().unwrap().retain(|name, _| !taken.contains_key(name));
        spec
    }
}
