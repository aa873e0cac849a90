//! What the API server itself says about a prompt: every broken rule in one answer, with figures and remedies, and the same
//! verdict as the engine's.

use std::collections::{BTreeMap, BTreeSet};

use assist_operator::api::PromptTemplateSpec;
use assist_operator::engine::prompt_text::check_spec;
use serde_json::{Value, json};

use crate::stage::Stage;

fn prompt(name: &str, spec: &Value) -> Value {
    let mut full = json!({"orgRef": {"name": "org"}, "templateId": "t1"});
    full.as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
    json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "PromptTemplate", "metadata": {"name": name}, "spec": full})
}

/// Nobody but the API server has a part in these tests.
fn stage(name: &str) -> Stage {
    let stage = Stage::without_org(name);
    stage.kill_operator();
    stage
}

fn refused(stage: &Stage, spec: &Value, parts: &[&str]) {
    let answer = stage.apply(&prompt("bad", spec));
    assert!(!answer.success(), "{spec}");
    for part in parts {
        assert!(answer.stderr.contains(part), "{part} in {}", answer.stderr);
    }
}

#[test]
fn five_mistakes_in_a_prompt_come_in_one_answer_with_figures_and_remedies() {
    let stage = stage("prompt-mistakes");
    let spec = json!({
        "content": format!("{} {{{{ spaced }}}} {{{{undeclared}}}}", "x".repeat(60)),
        "variables": {"unused": {"type": "String"}},
        "limits": {"maxCharacters": 50, "maxTokens": 20},
    });
    let parts = [
        "content has 88 characters, at most 50: shorten it, or raise limits.maxCharacters (up to 32768)",
        "content has 1 invalid placeholders, the first is {{ spaced }} : write {{name}} with letters, digits and _ only",
        "content has 1 placeholders that are not declared, such as {{undeclared}}: declare each in spec.variables",
        "1 variables do not occur in content, such as unused: use each as {{name}}, or remove it",
        "content is estimated at 22.00 tokens with every variable at its maxLength, at most 20: shorten it, lower a maxLength",
    ];
    refused(&stage, &spec, &parts);
}

#[test]
fn what_is_declared_beside_the_content_is_checked_too() {
    let stage = stage("prompt-declared");
    let spec = json!({
        "templateId": "../x", "version": "v1", "interval": "1s", "content": "{{n}}{{b}}{{s}}{{l}}",
        "variables": {
            "1a": {"type": "String"}, "n": {"type": "Number", "default": "1e999"}, "b": {"type": "Boolean", "default": "yes"},
            "s": {"type": "String", "default": "number"}, "l": {"type": "String", "default": "abc", "maxLength": 2},
        },
        "abTest": {"variantId": "a b", "trafficPercent": 101}, "limits": {"maxCharacters": 0, "maxTokens": 8193},
    });
    let parts = [
        "templateId must be 1 to 64 letters",
        "version must be a semantic version such as 2.1.0",
        "interval must be at least 30s",
        "not beginning with a digit: rename 1a",
        "the default of a Number must be a JSON number of at most 15 digits",
        "the default of a Boolean must be true or false",
        "the default of a String must not be string, number or boolean",
        "default has 3 characters, more than maxLength 2",
        "abTest.variantId must be 1 to 64",
        "abTest.trafficPercent must be 0 to 100",
        "limits.maxCharacters must be 1 to 32768",
        "limits.maxTokens must be 1 to 8192",
    ];
    refused(&stage, &spec, &parts);
    let many: BTreeMap<String, Value> = (0..51).map(|n| (format!("v{n}"), json!({"type": "String"}))).collect();
    let from = json!({"configMapKeyRef": {"name": "prompts", "key": "a.txt"}});
    refused(&stage, &json!({"contentFrom": from, "variables": many}), &["variables must have at most 50 entries: join some"]);
}

#[test]
fn the_largest_prompt_is_accepted_within_the_cost_budget() {
    let stage = stage("prompt-largest");
    let variables: BTreeMap<String, Value> =
        (0..50).map(|n| (format!("variable_{n:02}"), json!({"type": "String", "default": "x", "maxLength": 20}))).collect();
    let mut content: String = variables.keys().map(|name| format!("{{{{{name}}}}}")).collect::<String>().repeat(10);
    let rest = 32_000 - content.chars().count();
    content.extend(std::iter::repeat_n('漢', rest));
    let limits = json!({"maxCharacters": 32_768, "maxTokens": 8_192});
    // Each of 500 placeholders of 15 characters counts as 20: 34,500 characters, 8,625 tokens.
    let over = json!({"content": content, "variables": variables, "limits": limits});
    refused(&stage, &over, &["content is estimated at 8625.00 tokens with every variable at its maxLength, at most 8192"]);
    let exact: BTreeMap<String, Value> = variables.keys().map(|name| (name.clone(), json!({"type": "String"}))).collect();
    content.extend(std::iter::repeat_n('x', 768));
    stage.apply_ok(&prompt("largest", &json!({"content": content, "variables": exact, "limits": limits})));
    let empty =
        json!({"content": "{{v}}".repeat(6_553), "variables": {"v": {"type": "String", "maxLength": 5}}, "limits": limits});
    stage.apply_ok(&prompt("most-placeholders", &empty));
    // The longest names, and none of them used: the dearest rule with its message.
    let named: BTreeMap<String, Value> =
        (0..50).map(|n| (format!("{n:_>64}"), json!({"type": "String", "maxLength": 9}))).collect();
    let unused = json!({"content": "漢".repeat(32_768), "variables": named, "limits": limits});
    refused(&stage, &unused, &["50 variables do not occur in content, such as ____"]);
}

#[test]
fn one_source_of_the_content_and_ids_that_stay() {
    let stage = stage("prompt-source");
    let from = json!({"configMapKeyRef": {"name": "prompts", "key": "billing.txt"}});
    let exactly = "exactly one of content and contentFrom is required";
    refused(&stage, &json!({}), &[exactly]);
    refused(&stage, &json!({"content": "x", "contentFrom": from}), &[exactly]);
    let bad = json!({"configMapKeyRef": {"name": "../prompts", "key": "a/b"}});
    let parts = ["configMapKeyRef.name must be the name of a ConfigMap", "configMapKeyRef.key must be a key of its data"];
    refused(&stage, &json!({"contentFrom": bad}), &parts);
    // The text is not here: its rules are the operator's.
    stage.apply_ok(&prompt("p", &json!({"contentFrom": from, "variables": {"a": {"type": "String"}}})));
    let moved = json!({"contentFrom": from, "templateId": "t2", "orgRef": {"name": "other"}});
    let answer = stage.apply(&prompt("p", &moved)).stderr;
    assert!(answer.contains("templateId is immutable") && answer.contains("orgRef is immutable"), "{answer}");
}

#[test]
fn explain_and_columns_know_prompts() {
    let stage = stage("prompt-explain");
    stage.wait_until("kubectl explain knows the kind", || stage.plane.kubectl(&["explain", "pt.spec.variables"]).success());
    let explained = stage.kubectl(&["explain", "pt.spec.limits.maxTokens"]).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(explained.contains("3800 when unset. The estimate is a quarter of the characters"), "{explained}");
    stage.apply_ok(&prompt("p", &json!({"content": "Hello"})));
    let table = stage.kubectl(&["get", "pt", "--field-selector", "spec.templateId=t1"]);
    for part in ["READY", "REASON", "INSYNC", "TEMPLATE", "VERSION", "SUSPENDED", "AGE", "t1"] {
        assert!(table.contains(part), "{part} in {table}");
    }
}

/// A spec made of parts that are often right and often wrong.
fn generated(random: &mut fastrand::Rng) -> Value {
    let pieces =
        ["{{a}}", "{{b}}", "{{c1}}", "{{ a }}", "{{a", "{", "}", "}}", "{{}}", "text ", "\n", "漢", "{{a}}}", "{{{a}}", "{ {a}"];
    let good = ["{{a}}", "{{b}}", "{{c1}}", "text ", "\n", "漢", "} {"];
    let valid = random.bool();
    let content: String =
        (0..random.usize(1..8)).filter_map(|_| if valid { random.choice(good) } else { random.choice(pieces) }).collect();
    let mut variables = BTreeMap::new();
    for name in ["a", "b", "c1", "1d", "e-f"] {
        let wanted = content.contains(&format!("{{{{{name}}}}}"));
        if wanted != (random.u8(..12) == 0) {
            variables.insert(name, variable(random));
        }
    }
    let mut spec = json!({"content": content, "variables": variables});
    let mut sometimes = |member: &str, values: &[Value]| {
        if let Some(value) = random.choice(values).filter(|_| random.u8(..4) == 0) {
            spec[member] = value.clone();
        }
    };
    let versions =
        ["1.0.0", "1.0.0-rc.1+b", "1.0", "01.0.0", "1.0.0-01", "1.0.0-a..b", "1.0.0+-", "1.0.0\n", "1.0.0-", "2.1.0--x"];
    sometimes("version", &versions.map(Value::from));
    let shares = [("v1", 0), ("v_1.0-b", 100), ("", 5), ("a b", 5), ("v", 101), ("v", -1), ("v\n", 1)];
    sometimes("abTest", &shares.map(|(id, percent)| json!({"variantId": id, "trafficPercent": percent})));
    let limits = [(1, 1), (10, 8192), (20, 5), (32_768, 4), (0, 5), (32_769, 5), (5, 0), (5, 8193), (30, 6), (30, 7)];
    sometimes("limits", &limits.map(|(characters, tokens)| json!({"maxCharacters": characters, "maxTokens": tokens})));
    let sources = [("p", "k"), ("P", "k"), ("a.b-c", "_k.txt"), ("a..b", "k"), ("a", "k/l"), ("-", "k")];
    sometimes("contentFrom", &sources.map(|(name, key)| json!({"configMapKeyRef": {"name": name, "key": key}})));
    if spec.get("contentFrom").is_some() && random.u8(..4) > 0 {
        spec.as_object_mut().unwrap().remove("content");
    }
    spec
}

fn variable(random: &mut fastrand::Rng) -> Value {
    let defaults = [
        "",
        "1",
        "-0.5",
        "1e5",
        "1e999",
        "01",
        "1.",
        "true",
        "True",
        "string",
        "number",
        "x",
        "1234567890123456",
        "漢字",
        "1 ",
        "1\n",
    ];
    let mut variable = json!({"type": "String"});
    match random.u8(..10) {
        0 => variable["type"] = json!("Number"),
        1 => variable["type"] = json!("Boolean"),
        _ => {}
    }
    if random.u8(..4) == 0 {
        variable["default"] = json!(random.choice(defaults));
    }
    if random.u8(..4) == 0 {
        variable["maxLength"] = json!(random.choice([0, 1, 2, 5, 16, 40, 32_768, 32_769, -5]));
    }
    variable
}

#[test]
fn the_engine_and_the_api_server_agree_about_any_prompt() {
    let stage = stage("prompt-verdicts");
    let mut random = fastrand::Rng::with_seed(20_250);
    let specs: Vec<Value> = (0..600).map(|_| generated(&mut random)).collect();
    let items: Vec<Value> = specs.iter().enumerate().map(|(n, spec)| prompt(&format!("p{n}"), spec)).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string();
    let out =
        stage.plane.kubectl_with_input(&["-n", &stage.namespace, "create", "--dry-run=server", "-o", "name", "-f", "-"], &list);
    let accepted: BTreeSet<&str> = out.stdout.lines().filter_map(|line| line.rsplit('/').next()).collect();
    let mut counts = [0, 0];
    for (n, item) in items.iter().enumerate() {
        let spec: PromptTemplateSpec = serde_json::from_value(item["spec"].clone()).unwrap();
        let mut findings = Vec::new();
        check_spec(&spec, &mut findings);
        let name = format!("p{n}");
        let said = out.stderr.lines().find(|line| line.contains(&format!("\"{name}\" is invalid"))).unwrap_or_default();
        assert_eq!(findings.is_empty(), accepted.contains(name.as_str()), "{item}\nengine: {findings:#?}\nAPI server: {said}");
        counts[usize::from(findings.is_empty())] += 1;
    }
    assert!(counts[0] > 100 && counts[1] > 100, "too few refused and accepted: {counts:?}");
}
