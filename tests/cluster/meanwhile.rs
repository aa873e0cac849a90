//! Somebody else changes an object between the operator's look at it and its status.

use assist_operator::kinds::KINDS;
use assist_operator::sandbox::{Fault, FaultKind};
use serde_json::{Value, json};

use crate::control_plane::OPERATOR_USER;
use crate::link::Link;
use crate::stage::Stage;

/// An object, the call whose answer its status waits for, and whether that call has arrived.
struct Case<'a> {
    name: &'a str,
    call: &'a str,
    apply: Box<dyn Fn() + 'a>,
    arrived: Box<dyn Fn() -> bool + 'a>,
}

fn cases(stage: &Stage) -> Vec<Case<'_>> {
    let object = |kind: &'static str, name: &'static str, spec: Value| {
        Box::new(move || drop(stage.apply_ok(&stage.object(kind, name, spec.clone())))) as Box<dyn Fn()>
    };
    let skill = |user: &'static str, skill: &'static str, level: f64| {
        Box::new(move || stage.world().skill(user, skill) == Some(json!(level))) as Box<dyn Fn() -> bool>
    };
    let profile = json!({"userId": "u1", "skills": [{"skillId": "returns", "proficiency": 0.5}]});
    // Before an alert the object is looked at, which would be held up in place of the status.
    let policy = json!({"skillId": "billing", "userIds": ["u2"], "mode": "Enforce", "alertThreshold": 1});
    vec![
        Case {
            name: "gorg/org",
            call: "T1",
            apply: Box::new(|| stage.apply_org(json!({}))),
            arrived: Box::new(|| stage.world().in_flight() == 1),
        },
        Case {
            name: "aac/c1",
            call: "C3",
            apply: object("AgentAssistConfig", "c1", json!({"configId": "c1", "config": {"name": "new"}})),
            arrived: Box::new(|| stage.world().config("c1").unwrap()["name"] == "new"),
        },
        Case {
            name: "pt/p1",
            call: "P2",
            apply: object("PromptTemplate", "p1", json!({"templateId": "p1", "content": "How can I help?"})),
            arrived: Box::new(|| stage.world().live_prompt("p1").is_some()),
        },
        Case { name: "skp/s1", call: "S2", apply: object("SkillProfile", "s1", profile), arrived: skill("u1", "returns", 0.5) },
        Case {
            name: "skpol/billing",
            call: "S2",
            apply: object("SkillPolicy", "billing", policy),
            arrived: skill("u2", "billing", 0.9),
        },
    ]
}

/// Verb and answer of each request of the operator about an object and its status, in their order, from its first conflict on.
fn since_conflict(stage: &Stage, name: &str) -> Vec<(String, u64)> {
    let name = name.split_once('/').unwrap().1;
    let requests = stage.plane.requests_of(OPERATOR_USER);
    let about = requests.iter().filter(|event| {
        let of = &event["objectRef"];
        of["namespace"] == stage.namespace.as_str() && of["name"] == name && of["apiGroup"] == "assist-operator.dev"
    });
    let answered = about
        .map(|event| (event["verb"].as_str().unwrap().to_owned(), event["responseStatus"]["code"].as_u64().unwrap_or_default()));
    answered.skip_while(|(_, code)| *code != 409).collect()
}

#[test]
fn a_status_that_meets_a_change_of_somebody_else_is_put_on_top_of_it() {
    let stage = Stage::without_org("meanwhile");
    stage.kill_operator();
    let link = Link::to(&stage.plane.url());
    stage.start_operator_through(&link.kubeconfig(&stage));
    let world = stage.world();
    world.put_config("c1", json!({"name": "old"}));
    world.put_prompt("p1", &[]);
    for user in ["u1", "u2"] {
        world.put_user(user, json!({"version": 1, "name": user, "skills": [{"skillId": "billing", "proficiency": 0.1}]}));
        world.set_metrics(user, Some(json!(350)), Some(json!(4.5)));
    }
    let cases = cases(&stage);
    assert_eq!(cases.len(), KINDS.len() + 1, "each kind, and the org");
    for Case { name, call, apply, arrived } in &cases {
        stage.fault(Fault::new(FaultKind::Delay { before_ms: 0, after_ms: 2_000 }).on(&[call]));
        apply();
        stage.wait_until("the call arrived", arrived);
        link.freeze(true);
        assert_eq!(since_conflict(&stage, name), [], "{name}");
        // The answer comes, and the status that follows from it gets no farther than here.
        stage.wait_until("the status is on its way", || world.in_flight() == 0 && link.holds());
        stage.kubectl(&["annotate", name, "example.com/note=mine"]);
        link.freeze(false);
        let object = stage.wait_ready(name, "True", "Succeeded");
        assert_eq!(object["metadata"]["annotations"]["example.com/note"], "mine", "{name}");
        let expected = [("patch", 409), ("get", 200), ("patch", 200)].map(|(verb, code)| (verb.to_owned(), code));
        stage.wait_until("the log of the API server", || since_conflict(&stage, name).len() >= expected.len());
        assert_eq!(since_conflict(&stage, name)[..expected.len()], expected, "{name}");
    }
    stage.assert_invariants();
}
