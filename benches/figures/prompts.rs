//! How long the rules of a prompt take: in the operator, at each reconcile of a prompt, and in `validate`.

use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Instant;

use assist_operator::api::{Limits, PromptTemplateSpec, Variable};
use assist_operator::engine::prompt_text;
use serde_json::json;

use crate::Options;
use crate::table::{Row, spread};

/// Characters of the prompt, and the microseconds that are promised for it.
const PROMPTS: &[(usize, f64)] = &[(4_096, 200.0), (32_768, 2_000.0)];
/// Variables, each of which occurs.
const VARIABLES: usize = 50;

/// Measures every size.
pub fn measure(options: &Options) -> Vec<Row> {
    let samples = if options.quick { 200 } else { 2_000 };
    PROMPTS.iter().map(|(characters, goal)| row(*characters, *goal, samples)).collect()
}

fn row(characters: usize, goal: f64, samples: usize) -> Row {
    let spec = spec(characters);
    let check = || {
        let mut findings = Vec::new();
        prompt_text::check_spec(black_box(&spec), &mut findings);
        findings
    };
    assert!(check().is_empty(), "the prompt is valid: {:?}", check());
    let times = (0..samples).map(|_| {
        let began = Instant::now();
        black_box(check());
        began.elapsed().as_secs_f64() * 1e6
    });
    let (median, most) = spread(&times.collect::<Vec<_>>());
    let measured = format!("{median:.0} µs (greatest of {samples}: {most:.0} µs)");
    Row::new(
        format!("rules of a prompt of {characters} characters with {VARIABLES} variables"),
        format!("≤ {goal:.0} µs"),
        measured,
        median <= goal,
    )
}

/// A valid prompt of so many characters, half of it placeholders as far as they go.
fn spec(characters: usize) -> PromptTemplateSpec {
    let name = |n: usize| format!("customer_variable_{:02}", n % VARIABLES);
    let placeholders = (characters / 2 / "{{customer_variable_00}}".len()).max(VARIABLES);
    let mut content: String = (0..placeholders).map(|n| format!("{{{{{}}}}} ", name(n))).collect();
    let words = "Answers in plain words, cites its source.\n";
    let missing = characters.checked_sub(content.chars().count()).expect("room for every variable");
    content.extend(words.chars().cycle().take(missing));
    let variable = Variable { default: Some("none".into()), max_length: Some(20), ..Variable::default() };
    let variables: BTreeMap<String, Variable> = (0..VARIABLES).map(|n| (name(n), variable.clone())).collect();
    let base = json!({"orgRef": {"name": "org"}, "templateId": "t"});
    let base: PromptTemplateSpec = serde_json::from_value(base).expect("a spec");
    let limits = Limits { max_characters: Some(32_768), max_tokens: Some(8_192) };
    PromptTemplateSpec { content: Some(content), variables, limits: Some(limits), ..base }
}
