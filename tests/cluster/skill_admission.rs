//! What the API server itself says about a policy of skill levels: every broken rule in one answer, within its cost budget, and the
//! same verdict as the engine's.

use std::collections::BTreeSet;

use assist_operator::api::SkillPolicy;
use assist_operator::engine::Kind;
use assist_operator::engine::kind::Texts;
use serde_json::{Value, json};

use crate::stage::Stage;

fn policy(name: &str, spec: &Value) -> Value {
    let mut full = json!({"orgRef": {"name": "org"}, "skillId": "billing", "userIds": ["agent-ana", "agent-ben"]});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "SkillPolicy", "metadata": {"name": name}, "spec": full})
}

/// Nobody but the API server has a part in these tests.
fn stage(name: &str) -> Stage {
    let stage = Stage::without_org(name);
    stage.kill_operator();
    stage
}

fn refused(stage: &Stage, spec: &Value, parts: &[&str]) {
    let answer = stage.apply(&policy("bad", spec));
    assert!(!answer.success(), "{spec}");
    for part in parts {
        assert!(answer.stderr.contains(part), "{part} in {}", answer.stderr);
    }
}

/// What the API server says about each spec: nothing where it accepts it.
fn verdicts(stage: &Stage, specs: &[Value]) -> Vec<Option<String>> {
    let items: Vec<Value> = specs.iter().enumerate().map(|(n, spec)| policy(&format!("p{n}"), spec)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let args = ["-n", &stage.namespace, "create", "--dry-run=server", "-o", "name", "-f", "-"];
    let out = stage.plane.kubectl_with_input(&args, &list);
    let accepted: BTreeSet<&str> = out.stdout.lines().filter_map(|line| line.rsplit('/').next()).collect();
    let said = |name: &str| {
        let about = |line: &&str| line.contains(&format!("\"{name}\" is invalid"));
        let start = out.stderr.lines().position(|line| about(&line))?;
        // Several messages stand on lines of their own.
        let rest = out.stderr.lines().skip(start + 1).take_while(|line| line.starts_with('*'));
        Some(out.stderr.lines().skip(start).take(1).chain(rest).collect::<Vec<_>>().join("\n"))
    };
    let verdict = |name: String| (!accepted.contains(name.as_str())).then(|| said(&name).unwrap_or_else(|| out.stderr.clone()));
    (0..specs.len()).map(|n| verdict(format!("p{n}"))).collect()
}

#[test]
fn all_mistakes_in_a_policy_come_in_one_answer_with_their_remedies() {
    let stage = stage("policy-mistakes");
    let five = json!({
        "skillId": "../billing", "userIds": ["agent-ana", "a b"], "lookback": "36h", "evaluateEvery": "5s", "alertThreshold": 30,
    });
    let parts = [
        "skillId must be 1 to 64 letters, digits, _ or -, beginning with a letter or digit",
        "userIds has 1 entries that are no ids, such as \"a b\": use 1 to 64 letters, digits, _ or -",
        "lookback must be whole days, since metrics come by the day: use a multiple of 24h, such as 168h",
        "evaluateEvery must be at least 30s, since the API allows few calls a minute, and at most 8760h",
        "alertThreshold must be 0 to 1, for example 0.3",
    ];
    refused(&stage, &five, &parts);
    let others = json!({
        "userIds": [], "lookback": "7d", "evaluateEvery": "daily", "maxStep": 0.001,
        "scoring": {"csatScale": 0, "handleTimeBands": [
            {"aboveSeconds": 400, "factor": 0.8}, {"aboveSeconds": 400.0, "factor": 11}, {"aboveSeconds": -1, "factor": 1},
        ]},
    });
    let parts = [
        "userIds must have 1 to 500 entries: divide more agents among several objects",
        "lookback must be a duration of whole days such as 24h, 168h or 720h",
        "evaluateEvery must be a duration such as 90m, 12h or 24h",
        "maxStep must be 0.01 to 1: levels are compared with two decimals, and with a smaller step one could stand still for ever",
        "scoring.csatScale must be above 0 and at most 1000: set the best satisfaction",
        "scoring.handleTimeBands must have each aboveSeconds once: remove or change one of two that are equal",
        "aboveSeconds must be 0 to 86400: seconds of a handle time, at most a day",
        "factor must be 0 to 10, for example 0.6",
    ];
    refused(&stage, &others, &parts);
    // The same words for both limits; bands beyond the twentieth are counted.
    let bands: Vec<Value> = (0..21).map(|n| json!({"aboveSeconds": n, "factor": 1})).collect();
    refused(&stage, &json!({"scoring": {"handleTimeBands": bands}}), &["must have at most 20 entries: join some"]);
    refused(&stage, &json!({"lookback": "23h"}), &["lookback must be at least 24h and at most 8760h, which is a year"]);
    refused(&stage, &json!({"mode": "Sometimes"}), &["Unsupported value: \"Sometimes\"", "\"Propose\", \"Enforce\""]);
    // It has `evaluateEvery` and `mode` in their place.
    refused(&stage, &json!({"interval": "1h"}), &["unknown field \"spec.interval\""]);
    refused(&stage, &json!({"policy": "Observe"}), &["unknown field \"spec.policy\""]);
}

#[test]
fn the_skill_and_the_org_of_a_policy_stay() {
    let stage = stage("policy-immutable");
    stage.apply_ok(&policy("p", &json!({})));
    let moved = json!({"skillId": "returns", "orgRef": {"name": "other"}, "mode": "Enforce"});
    let answer = stage.apply(&policy("p", &moved)).stderr;
    assert!(answer.contains("skillId is immutable") && answer.contains("orgRef is immutable"), "{answer}");
    stage.apply_ok(&policy("p", &json!({"userIds": ["agent-cem"], "mode": "Enforce", "lookback": "24h"})));
    let list = stage.get("skpol/p")["spec"]["userIds"].clone();
    assert_eq!(list, json!(["agent-cem"]));
}

#[test]
fn the_largest_policy_is_accepted_within_the_cost_budget_and_a_larger_one_is_told() {
    let stage = stage("policy-largest");
    let users = |count: usize, length: usize| -> Vec<String> { (0..count).map(|n| format!("{n:x>length$}")).collect() };
    let bands = |count: i32| -> Vec<Value> { (0..count).map(|n| json!({"aboveSeconds": n, "factor": 0.5})).collect() };
    let largest = json!({
        "skillId": "s".repeat(64), "userIds": users(500, 64), "lookback": "8760h", "evaluateEvery": "31536000s",
        "scoring": {"csatScale": 1000, "handleTimeBands": bands(20)}, "alertThreshold": 1, "maxStep": 1, "missing": "Skip",
    });
    stage.apply_ok(&policy("largest", &largest));
    let specs = [
        json!({"userIds": users(501, 64)}),
        // The dearest that the schema lets through: the rules still answer, and not the budget.
        json!({"userIds": users(1000, 256), "scoring": {"handleTimeBands": bands(100)}}),
    ];
    let told = verdicts(&stage, &specs).into_iter().map(Option::unwrap).collect::<Vec<_>>();
    assert!(told[0].contains("userIds must have 1 to 500 entries"), "{}", told[0]);
    for part in ["userIds must have 1 to 500 entries", "userIds has 1000 entries that are no ids", "at most 20 entries"] {
        assert!(told[1].contains(part), "{part} in {}", told[1]);
    }
}

/// Values of each member, those that are valid and those that are not. Numbers are whole and not, as manifests have them.
fn samples() -> Vec<(&'static str, Vec<Value>, Vec<Value>)> {
    let band = |above: Value, factor: Value| json!({"aboveSeconds": above, "factor": factor});
    let bands = |list: Vec<Value>| json!({"handleTimeBands": list});
    let numbered = |count: i32| bands((0..count).map(|n| band(n.into(), json!(1))).collect());
    let users = |count: i32| Value::from((0..count).map(|n| format!("u{n}")).collect::<Vec<_>>());
    let ids = ["a", "0", "A-_9", &"x".repeat(64)].map(Value::from).to_vec();
    let no_ids = ["", "-a", "_a", "a b", "../x", "a/b", "a.b", "a\n", "\na", "漢", "a\u{202e}", &"x".repeat(65)].map(Value::from);
    vec![
        ("userIds", ids.iter().map(|id| json!(["first", id])).chain([users(1), users(500)]).collect(), {
            no_ids.iter().map(|id| json!(["first", id])).chain([json!([]), users(501)]).collect()
        }),
        ("skillId", ids, no_ids.to_vec()),
        (
            "lookback",
            ["24h", "168h", "8760h", "1440m", "525600m", "86400s", "31536000s", "23h60m", "12h12h", "0h24h", "000000000024h"]
                .map(Value::from)
                .to_vec(),
            [
                "", "0h", "1h", "23h", "25h", "36h", "24h1s", "8761h", "8784h", "9999h", "7d", "1w", "24", "h", "-24h", " 24h",
                "24h\n",
            ]
            .into_iter()
            .chain(["1.5h", "24h 0m", "100000h", "527040m", "31622400s", "999999h999999h999999h", "99999999999999999999999h"])
            .map(Value::from)
            .collect(),
        ),
        (
            "evaluateEvery",
            ["30s", "1m", "24h", "8760h", "0h30s", "10s10s10s", "10s10s5s5s", "00000030s", "31536000s"].map(Value::from).to_vec(),
            ["", "29s", "0s", "0m29s", "8760h1s", "1d", "30", "9999999999s", "9223372037s", "1H"].map(Value::from).to_vec(),
        ),
        (
            "alertThreshold",
            vec![json!(0), json!(1), json!(0.0), json!(-0.0), json!(0.3), json!(1.0), json!(1e-300)],
            vec![json!(-0.0001), json!(1.000_000_000_000_000_2), json!(2), json!(-1), json!(1e300), json!(-5e-324)],
        ),
        (
            "maxStep",
            vec![json!(0.01), json!(0.1), json!(1), json!(0.010_000_000_000_000_002)],
            vec![json!(0), json!(0.009_999_999_999_999_998), json!(0.005), json!(1.01), json!(-0.1), json!(100)],
        ),
        (
            "scoring",
            vec![
                json!({}),
                json!({"csatScale": 5}),
                json!({"csatScale": 1e-300}),
                json!({"csatScale": 1000.0, "handleTimeBands": []}),
                bands(vec![band(json!(0), json!(0)), band(json!(86_400), json!(10)), band(json!(0.5), json!(0.6))]),
                numbered(20),
            ],
            vec![
                json!({"csatScale": 0}),
                json!({"csatScale": -0.0}),
                json!({"csatScale": -5}),
                json!({"csatScale": 1000.0001}),
                json!({"csatScale": 1e300}),
                bands(vec![band(json!(600), json!(0.6)), band(json!(600.0), json!(0.8))]),
                bands(vec![band(json!(0), json!(1)), band(json!(1), json!(1)), band(json!(-0.0), json!(1))]),
                bands(vec![band(json!(-1), json!(1))]),
                bands(vec![band(json!(86_400.5), json!(1))]),
                bands(vec![band(json!(1), json!(-0.1))]),
                bands(vec![band(json!(1), json!(10.1))]),
                numbered(21),
            ],
        ),
        ("missing", vec![json!("Assign"), json!("Skip")], Vec::new()),
        ("mode", vec![json!("Propose"), json!("Enforce")], Vec::new()),
    ]
}

/// Specs with one such value each, and specs of several of them.
fn generated() -> Vec<Value> {
    let samples = samples();
    let alone = samples.iter().flat_map(|(member, good, bad)| good.iter().chain(bad).map(move |value| json!({*member: value})));
    let mut specs: Vec<Value> = alone.collect();
    let mut random = fastrand::Rng::with_seed(20_261);
    for _ in 0..400 {
        let mut spec = json!({});
        for (member, good, bad) in &samples {
            let values = if random.u8(..12) == 0 { bad } else { good };
            if let Some(value) = random.choice(values).filter(|_| random.bool()) {
                spec[*member] = value.clone();
            }
        }
        specs.push(spec);
    }
    specs
}

#[test]
fn every_bound_is_where_it_is_said_to_be() {
    let stage = stage("policy-bounds");
    for (member, good, bad) in samples() {
        let specs: Vec<Value> = good.iter().chain(&bad).map(|value| json!({member: value})).collect();
        for (n, said) in verdicts(&stage, &specs).into_iter().enumerate() {
            assert_eq!(said.is_none(), n < good.len(), "{}: {said:?}", specs[n]);
            if let Some(said) = said {
                // A rule that cannot be evaluated refuses too, but without a remedy.
                assert!(said.contains(" must ") || said.contains(" are no ids"), "{}: {said}", specs[n]);
                assert!(!said.contains("rule evaluation") && !said.contains("failed rule"), "{}: {said}", specs[n]);
            }
        }
    }
}

#[test]
fn the_engine_and_the_api_server_agree_about_any_policy() {
    let stage = stage("policy-verdicts");
    let specs = generated();
    let mut counts = [0, 0];
    for (spec, said) in specs.iter().zip(verdicts(&stage, &specs)) {
        let read: SkillPolicy = serde_json::from_value(policy("p", spec)).unwrap();
        let findings = read.validate(&Texts::new()).err().unwrap_or_default();
        assert_eq!(findings.is_empty(), said.is_none(), "{spec}\nengine: {findings:#?}\nAPI server: {said:?}");
        counts[usize::from(findings.is_empty())] += 1;
    }
    assert!(counts[0] > 100 && counts[1] > 100, "too few refused and accepted: {counts:?}");
    // The one rule that only the engine has: it would cost the API server too much.
    let twice = json!({"userIds": ["agent-ana", "agent-ben", "agent-ana"]});
    assert_eq!(verdicts(&stage, std::slice::from_ref(&twice)), [None]);
    let read: SkillPolicy = serde_json::from_value(policy("p", &twice)).unwrap();
    let findings = read.validate(&Texts::new()).unwrap_err();
    assert_eq!(findings[0].to_string(), "/spec/userIds/2: agent agent-ana is listed twice; keep one of the two");
}

#[test]
fn explain_and_columns_know_policies() {
    let stage = stage("policy-explain");
    stage.wait_until("kubectl explain knows the kind", || stage.plane.kubectl(&["explain", "skpol.spec.lookback"]).success());
    for (field, text) in [
        ("maxStep", "0.01 to 1, for example `0.1`; any change when unset"),
        ("missing", "`Assign` (when unset) gives it to them"),
        ("mode", "`Propose` (when unset) only shows in status what would change"),
        ("scoring.handleTimeBands.aboveSeconds", "0 to 86400 (a day), each once"),
    ] {
        let explained = stage.kubectl(&["explain", &format!("skpol.spec.{field}")]);
        let explained = explained.split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(explained.contains(text), "{explained}");
    }
    stage.apply_ok(&policy("p", &json!({"mode": "Enforce"})));
    let table = stage.kubectl(&["get", "skpol", "--field-selector", "spec.skillId=billing"]);
    for part in ["READY", "REASON", "INSYNC", "SKILL", "MODE", "EVALUATED", "SUSPENDED", "AGE", "billing", "Enforce"] {
        assert!(table.contains(part), "{part} in {table}");
    }
}
