//! The model of `PromptTemplate`: immutable versions, the newest one live, as contract section 4 has them.

use assist_operator::api::PromptTemplate;
use assist_operator::api::status::AppliedField;
use assist_operator::engine::kind::Seen;
use assist_operator::engine::prompt_template::PROMPT;
use assist_operator::engine::{Guard, Kind, State, Step, Target};
use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{ID, Lawful, Remembering, reversed_text};

/// The versions behind P1 and P2, newest first.
#[derive(Clone, Debug)]
pub struct Server {
    entities: Vec<Value>,
}

impl Server {
    fn state(&self) -> Seen {
        let version = self.entities.first().and_then(|v| v["version"].as_str()).map(str::to_owned);
        let document = json!({"entities": self.entities, "pageNumber": 1, "pageCount": 1, "total": self.entities.len()});
        Seen::Present(State { document, version, etag: None, lossy: false, guard: Ok(Guard::None) })
    }

    fn numbers(&self) -> Vec<&str> {
        self.entities.iter().filter_map(|v| v["version"].as_str()).collect()
    }
}

/// A text and the variables that occur in it.
fn texts() -> impl Strategy<Value = (String, Value)> {
    let default = prop_oneof![Just(Value::from("string")), Just(json!(2)), Just(json!(true)), Just(json!("x"))];
    (btree_set("[a-c]", 0..3), "[ -z\u{e9}\n]{0,12}", vec(default, 3)).prop_map(|(names, noise, defaults)| {
        let content: String = names.iter().map(|name| format!("{{{{{name}}}}} ")).chain([noise]).collect();
        let variables: serde_json::Map<String, Value> = names.into_iter().zip(defaults).collect();
        (content, variables.into())
    })
}

fn metadata() -> impl Strategy<Value = Value> {
    btree_map("[a-d~/]{1,2}", "[a-z]{0,3}", 0..3).prop_map(|map| json!(map))
}

/// The variables of a spec that are these on the wire.
fn declared(variables: &Value) -> Value {
    let variable = |value: &Value| match value {
        Value::String(text) if text == "string" => json!({"type": "String"}),
        Value::String(text) => json!({"type": "String", "default": text}),
        Value::Bool(value) => json!({"type": "Boolean", "default": value.to_string()}),
        other => json!({"type": "Number", "default": other.to_string()}),
    };
    variables
        .as_object()
        .unwrap()
        .iter()
        .map(|(name, value)| (name.clone(), variable(value)))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

fn test_of(entity: &Value) -> Option<Value> {
    let test = entity.get("abTestingTrigger").filter(|test| test["enabled"] == true)?;
    let percent = (test["trafficPercent"].as_f64().unwrap() * 100.0).round() as i64;
    Some(json!({"variantId": test["variantId"], "trafficPercent": percent}))
}

impl Lawful for PromptTemplate {
    type Server = Server;

    fn servers() -> BoxedStrategy<Server> {
        let test = prop_oneof![
            Just(None),
            Just(Some(Value::Null)),
            Just(Some(json!({"enabled": false}))),
            (0..=100_u8).prop_map(|p| Some(json!({"enabled": true, "variantId": "v", "trafficPercent": f64::from(p) / 100.0})))
        ];
        let version = (texts(), metadata(), test, 0..4_u8, prop::option::weighted(0.1, "\\PC{0,5}"));
        vec(version, 1..4)
            .prop_map(|versions| {
                let entities =
                    versions.into_iter().enumerate().map(|(index, ((content, variables), metadata, test, major, odd))| {
                        let number = odd.unwrap_or_else(|| format!("{major}.{index}.7"));
                        let mut entity =
                            json!({"version": number, "content": content, "variables": variables, "metadata": metadata});
                        if let Some(test) = test {
                            entity["abTestingTrigger"] = test;
                        }
                        entity
                    });
                Server { entities: entities.collect() }
            })
            .boxed()
    }

    fn specs() -> BoxedStrategy<Value> {
        let test = prop::option::weighted(0.3, (0..=100_u8).prop_map(|p| json!({"variantId": "w", "trafficPercent": p})));
        let version = prop::option::weighted(0.3, (0..6_u8, 0..3_u8).prop_map(|(major, minor)| format!("{major}.{minor}.7")));
        (texts(), prop::option::of(metadata()), test, version)
            .prop_map(|((content, variables), metadata, test, version)| {
                let mut spec =
                    json!({"orgRef": {"name": "o"}, "templateId": ID, "content": content, "variables": declared(&variables)});
                for (name, value) in [("metadata", metadata), ("abTest", test), ("version", version.map(Value::from))] {
                    if let Some(value) = value {
                        spec[name] = value;
                    }
                }
                spec
            })
            .boxed()
    }

    fn declaring(server: &Server) -> Value {
        let mut spec = Self::nothing(server);
        spec["metadata"] = server.entities[0]["metadata"].clone();
        spec
    }

    fn reordered(spec: &Value) -> Value {
        serde_json::from_str(&reversed_text(spec)).unwrap()
    }

    fn read(server: &Server, target: &Target) -> Seen {
        assert_eq!(*target, Target::new(PROMPT, ID));
        server.state()
    }

    fn write(server: &mut Server, step: &Step) {
        assert_eq!((&step.target, &step.guard), (&Target::new(PROMPT, ID), &Guard::None));
        let mut entity = step.body.clone();
        assert_eq!(entity["templateId"], ID);
        assert_eq!(entity["version"], step.version.as_str());
        assert_eq!(entity["rollbackDirective"], false);
        assert!(!server.numbers().contains(&step.version.as_str()), "{} is taken", step.version);
        if let Some(test) = entity["abTestingTrigger"].as_object() {
            assert_eq!(test["enabled"], true);
            assert!((0.0..=1.0).contains(&test["trafficPercent"].as_f64().unwrap()));
        }
        for name in ["templateId", "rollbackDirective"] {
            entity.as_object_mut().unwrap().remove(name);
        }
        // The wire is text.
        server.entities.insert(0, serde_json::from_str(&entity.to_string()).unwrap());
    }

    fn edit(server: &mut Server, other: &Server) {
        let mut foreign = other.entities[0].clone();
        foreign["version"] = format!("7.{}.0", server.entities.len()).into();
        server.entities.insert(0, foreign);
    }

    fn shown(server: &Server) -> Value {
        let Seen::Present(state) = server.state() else { unreachable!() };
        Self::content(&state)
    }

    fn spared(before: &Server, after: &Server, spec: &Value, memory: &[AppliedField]) -> bool {
        let members = |server: &Server| server.entities[0]["metadata"].as_object().cloned().unwrap_or_default();
        let (was, is) = (members(before), members(after));
        let declared = |name: &str| spec["metadata"].get(name).is_some();
        let ours = |name: &str| {
            let path = format!("/metadata/{}", name.replace('~', "~0").replace('/', "~1"));
            memory.iter().any(|field| field.path == path)
        };
        let past = after.entities.ends_with(&before.entities);
        past && was.keys().chain(is.keys()).all(|name| declared(name) || ours(name) || was.get(name) == is.get(name))
    }
}

impl Remembering for PromptTemplate {
    fn nothing(server: &Server) -> Value {
        let live = &server.entities[0];
        let mut spec = json!({
            "orgRef": {"name": "o"}, "templateId": ID, "content": live["content"], "variables": declared(&live["variables"]),
        });
        if let Some(test) = test_of(live) {
            spec["abTest"] = test;
        }
        spec
    }

    fn adding(server: &Server, spec: &Value) -> Value {
        let taken = server.entities[0]["metadata"].as_object().unwrap();
        let mut added = Self::nothing(server);
        added["metadata"] = spec.get("metadata").cloned().unwrap_or_else(|| json!({}));
        added["metadata"].as_object_mut().unwrap().retain(|name, _| !taken.contains_key(name));
        added
    }
}
