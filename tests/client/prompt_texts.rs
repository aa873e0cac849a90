//! The text of a prompt is nobody's business outside of the prompt, and hostile text harms nobody.

use std::collections::BTreeMap;

use assist_operator::api::prompt_template::{Variable, VariableType};
use assist_operator::api::{ManagedStatus, Policy, PromptTemplate};
use assist_operator::engine::kind::{Seen, Texts};
use assist_operator::engine::memory::Memory;
use assist_operator::engine::prompt_template::PROMPT;
use assist_operator::engine::{Guard, Kind, Observed, PlanInput, State, Target};
use assist_operator::remote::converge::End;
use assist_operator::sandbox::{FaultKind, Normaliser};
use fastrand::Rng;
use serde_json::{Value, json};

use super::prompt_stage::{Pt, crashed, foreign, of, pt, stage};
use super::stage::leaks;

/// A prompt that [`leaks`] knows: [`super::held::Held::conclude`] looks for it in the convergence, the status, the event and the records.
const TEXT: &str = "You are c4n4ry, short";
const THEIRS: &str = "Theirs c4n4ry";

/// The status and the records, as they are stored.
fn assert_silent(pt: &Pt) {
    let records: Vec<String> = pt.book.records().iter().map(|record| serde_json::to_string(record).unwrap()).collect();
    let intents: Vec<String> = pt.book.intents().iter().map(|intent| serde_json::to_string(intent).unwrap()).collect();
    for text in records.iter().chain(&intents).chain([&serde_json::to_string(&pt.status).unwrap()]) {
        assert!(!leaks(text), "{text}");
    }
}

#[tokio::test]
async fn the_text_of_a_prompt_is_in_no_status_event_record_or_debug_print() {
    // Promoted; repaired; not needed.
    let stage = stage().await;
    let mut held = pt(TEXT);
    assert_eq!(stage.converge(&mut held).await.end, End::Done);
    foreign(&stage, "2.0.0", THEIRS);
    stage.converge(&mut held).await;
    stage.converge(&mut held).await;
    assert_silent(&held);
    // Reported, waiting for approval, under conflict, after a crash, lost.
    foreign(&stage, "3.0.0", THEIRS);
    let mut watched = of(json!({"content": TEXT, "policy": "Observe"}));
    stage.converge(&mut watched).await;
    assert_eq!(watched.status.drift.len(), 1);
    assert!(watched.status.drift[0].actual.as_ref().unwrap().contains("characters, sha256"));
    assert_silent(&watched);
    watched.edit(|spec| spec["policy"] = json!("Enforce"));
    watched.approval_required = true;
    stage.converge(&mut watched).await;
    assert_eq!(watched.status.pending_plan.as_ref().unwrap().changes.len(), 1);
    assert_silent(&watched);
    watched.approval_required = false;
    stage.fault("P2", 2, FaultKind::ForeignEditBefore { patch: None });
    assert!(matches!(stage.converge(&mut watched).await.end, End::LostGuard(_)));
    stage.fault("P2", 1, FaultKind::ResetBefore);
    assert!(matches!(stage.converge(&mut watched).await.end, End::Failed(_)));
    assert_silent(&watched);
    crashed(&stage, &mut watched).await;
    stage.converge(&mut watched).await;
    assert_silent(&watched);
    // Refused by number, and not kept.
    let mut fixed = of(json!({"content": "Other c4n4ry", "version": "1.0.1"}));
    assert!(matches!(stage.converge(&mut fixed).await.end, End::Blocked(_)));
    let rule = json!({"rule": "upperCase", "path": "/content"});
    stage.world.set_normaliser([serde_json::from_value::<Normaliser>(rule).unwrap()]);
    fixed.edit(|spec| spec["version"] = json!("9.0.0"));
    assert!(matches!(stage.converge(&mut fixed).await.end, End::NotKept(_)));
    stage.converge(&mut fixed).await;
    assert_silent(&fixed);
}

/// Pieces of hostile and of common text.
const PIECES: [&str; 40] = [
    "{{",
    "}}",
    "{",
    "}",
    "name",
    "{{name}}",
    "{{ name }}",
    "{{1a}}",
    "{{a.b}}",
    "{{é}}",
    " ",
    "\n",
    "\r\n",
    "\t",
    "\u{0}",
    "\u{7}",
    "\u{1b}[2J",
    "\u{1b}]0;x\u{7}",
    "\u{7f}",
    "\u{85}",
    "\u{9b}",
    "\u{202e}",
    "\u{2066}",
    "\u{200b}",
    "\u{feff}",
    "\u{61c}",
    "\u{2028}",
    "\u{e0041}",
    "\u{fffd}",
    "👋",
    "👩‍👩‍👧",
    "é",
    "e\u{301}",
    "漢字",
    "\"",
    "\\",
    "/",
    "~1",
    "word ",
    "another, word. ",
];

fn text(random: &mut Rng, most: usize) -> String {
    (0..random.usize(0..most)).map(|_| PIECES[random.usize(0..PIECES.len())]).collect()
}

fn is_clean(text: &str) -> bool {
    !text.chars().any(|c| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
    })
}

/// Every line that people may see is harmless, and there is not too much of it.
fn assert_clean(shown: &str, most: usize) {
    assert!(shown.len() <= most, "{} bytes", shown.len());
    for line in shown.lines() {
        assert!(is_clean(line), "{line:?}");
    }
}

fn any(random: &mut Rng) -> Value {
    match random.u8(0..9) {
        0 => Value::Null,
        1 => json!(random.bool()),
        2 => json!(random.u64(..)),
        3 => json!((random.f64() - 0.5) * 1e300),
        4 => json!([text(random, 3), 1]),
        5 => json!({text(random, 3): text(random, 3)}),
        6 => json!({"enabled": true, "trafficPercent": random.f64() * 3.0 - 1.0, "variantId": text(random, 3)}),
        _ => json!(text(random, 8)),
    }
}

fn number(random: &mut Rng) -> Value {
    let part = |random: &mut Rng| if random.u8(0..8) == 0 { u64::MAX } else { random.u64(0..3) };
    match random.u8(0..6) {
        0 => any(random),
        1 => json!(format!("1.0.0-{}", text(random, 2))),
        _ => json!(format!("{}.{}.{}", part(random), part(random), part(random))),
    }
}

/// What a hostile P1 may answer.
fn versions(random: &mut Rng) -> Value {
    let entities = (0..random.usize(0..4)).map(|_| {
        let mut entity = json!({});
        for name in ["content", "variables", "metadata", "abTestingTrigger", "dateCreated"] {
            if random.u8(0..4) > 0 {
                entity[name] = any(random);
            }
        }
        entity["version"] = number(random);
        entity
    });
    json!({"entities": entities.collect::<Vec<_>>(), "pageCount": any(random)})
}

fn state(document: Value) -> State {
    let version = document["entities"][0]["version"].as_str().map(str::to_owned);
    State { document, version, etag: None, lossy: false, guard: Ok(Guard::None) }
}

fn object(content: &str) -> PromptTemplate {
    serde_json::from_value(json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "PromptTemplate", "metadata": {"name": "x", "namespace": "n"},
        "spec": {"orgRef": {"name": "o"}, "templateId": "t1", "content": content},
    }))
    .unwrap()
}

/// Validates and plans; answers everything that people would see.
fn shown(object: &PromptTemplate, document: Value, policy: Policy) -> (bool, String) {
    let desired = match object.validate(&Texts::new()) {
        Ok(desired) => desired,
        Err(findings) => return (false, findings.iter().map(|finding| format!("{finding}\n")).collect()),
    };
    let state = state(document);
    let numbers = state.version.clone().map_or_else(Vec::new, |version| vec![version]);
    PromptTemplate::standing(&state, "1.0.0");
    PromptTemplate::content(&state);
    let observed = Observed::from([(Target::new(PROMPT, "t1"), Seen::Present(state))]);
    let memory = Memory::of(Some(&ManagedStatus::default()), "h", "t1");
    let now = jiff::Timestamp::UNIX_EPOCH;
    let input = PlanInput { numbers: &numbers, ..PlanInput::new(&observed, &memory, policy, now) };
    let shown = match PromptTemplate::plan(&desired, &input) {
        Ok(plan) => {
            let lines = plan.changes().chain(&plan.drift).map(|change| format!("{change}\n"));
            format!("{plan}{}{}", lines.collect::<String>(), plan.digest())
        }
        Err(blocked) => blocked.message,
    };
    (true, shown)
}

#[test]
fn a_hundred_thousand_hostile_prompts_and_answers_are_shown_escaped() {
    let mut random = Rng::with_seed(0x7e57);
    let (mut object, mut planned, mut refused) = (object(""), 0_u32, 0_u32);
    for _ in 0..100_000 {
        object.spec.content = Some(text(&mut random, 12));
        object.spec.version = (random.u8(0..5) == 0).then(|| number(&mut random).as_str().unwrap_or("1.0.0").to_owned());
        object.spec.variables = BTreeMap::new();
        if random.bool() {
            let variable = Variable {
                type_: [VariableType::String, VariableType::Number, VariableType::Boolean][random.usize(0..3)],
                default: random.bool().then(|| text(&mut random, 3)),
                max_length: random.bool().then(|| random.i32(..)),
                description: None,
            };
            let name = if random.u8(0..4) == 0 { text(&mut random, 3) } else { "name".to_owned() };
            object.spec.variables.insert(name, variable);
        }
        let policy = [Policy::Enforce, Policy::ReportDrift, Policy::Observe][random.usize(0..3)];
        let (valid, shown) = shown(&object, versions(&mut random), policy);
        *(if valid { &mut planned } else { &mut refused }) += 1;
        assert_clean(&shown, 64 * 1024);
    }
    assert!(planned > 5_000 && refused > 5_000, "{planned} {refused}");
}

#[test]
fn what_is_shown_of_huge_texts_is_bounded() {
    const MIB: usize = 1 << 20;
    let mut random = Rng::with_seed(7);
    let huge = |random: &mut Rng, alphabet: &[&str]| {
        let mut text = String::with_capacity(MIB + 16);
        while text.len() < MIB {
            text.push_str(alphabet[random.usize(0..alphabet.len())]);
        }
        text
    };
    let own: String = (0..6000).map(|index| format!("w{index} ")).take(5000).collect();
    for alphabet in [&PIECES[..], &["a ", "b "], &["a\n", "b\n"], &["{{ y }}"]] {
        let theirs = huge(&mut random, alphabet);
        // As what is live, against a prompt as long as it may be.
        let mut object = object(&own.chars().take(15_000).collect::<String>());
        object.spec.limits = serde_json::from_value(json!({"maxCharacters": 32_768, "maxTokens": 8192})).unwrap();
        let entity = json!({"version": "1.0.0", "content": theirs, "variables": {&theirs: &theirs}});
        let (valid, text) = shown(&object, json!({"entities": [entity]}), Policy::Enforce);
        assert!(valid, "{text}");
        assert_clean(&text, 64 * 1024);
        // As what is declared.
        object.spec.content = Some(theirs);
        let (valid, text) = shown(&object, json!({"entities": []}), Policy::Enforce);
        assert!(!valid);
        assert_clean(&text, 64 * 1024);
    }
}

#[tokio::test]
async fn names_of_the_remote_do_not_fill_the_status() {
    let stage = stage().await;
    let long = "x".repeat(200_000);
    let variables = json!({format!("{long}1"): "string", format!("{long}2"): long});
    let theirs = |number: &str| json!({"version": number, "content": THEIRS, "variables": variables});
    assert!(stage.world.promote(super::prompt_stage::TEMPLATE, theirs("2.0.0")));
    let mut pt = of(json!({"content": TEXT, "policy": "Observe"}));
    stage.converge(&mut pt).await;
    assert_eq!(pt.status.drift.len(), 3);
    assert!(serde_json::to_string(&pt.status).unwrap().len() < 8192);
    pt.edit(|spec| spec["policy"] = json!("Enforce"));
    pt.approval_required = true;
    stage.converge(&mut pt).await;
    assert!(serde_json::to_string(&pt.status).unwrap().len() < 8192);
    pt.approval_required = false;
    assert_eq!(stage.converge(&mut pt).await.end, End::Done);
    assert!(serde_json::to_string(&(&pt.status, pt.book.intents())).unwrap().len() < 16_384);
    stage.calls().await;
}
