//! A prompt template in the sandbox and the object that promotes its versions.

use std::time::Duration;

use assist_operator::api::PromptTemplate;
use assist_operator::genesys::Timing;
use assist_operator::remote::converge::{Convergence, End};
use serde_json::{Value, json};

use super::held::{Book, Held};
use super::stage::{Stage, quick};

/// The template of every test.
pub const TEMPLATE: &str = "greet-1";

/// A PromptTemplate under test.
pub type Pt = Held<PromptTemplate>;

/// That declares this content.
pub fn pt(content: &str) -> Pt {
    of(json!({"content": content}))
}

/// With this spec beside the org and the template.
pub fn of(mut spec: Value) -> Pt {
    (spec["orgRef"], spec["templateId"]) = (json!({"name": "o"}), json!(TEMPLATE));
    Held::of(spec)
}

/// A version in the shape of P1's entities.
pub fn version(number: &str, content: &str) -> Value {
    json!({"version": number, "content": content})
}

/// A template with version 1.0.0.
pub async fn stage() -> Stage {
    stage_with(quick()).await
}

/// The same with other limits.
pub async fn stage_with(timing: Timing) -> Stage {
    let stage = Stage::with_timing(timing).await;
    versions(&stage, &[version("1.0.0", "Zero")]);
    stage
}

/// The template has always had these versions, newest last.
pub fn versions(stage: &Stage, versions: &[Value]) {
    stage.world.put_prompt(TEMPLATE, versions);
    stage.world.clear_journal();
}

/// Somebody else promotes.
pub fn foreign(stage: &Stage, number: &str, content: &str) {
    assert!(stage.world.promote(TEMPLATE, version(number, content)), "{number}");
}

/// The numbers that exist, newest first.
pub fn numbers(stage: &Stage) -> Vec<String> {
    let versions = stage.world.prompt_versions(TEMPLATE).unwrap();
    versions.iter().map(|version| version["version"].as_str().unwrap().to_owned()).collect()
}

/// Number and content of the live version.
pub fn live(stage: &Stage) -> (String, String) {
    let live = stage.world.live_prompt(TEMPLATE).unwrap();
    let text = |name: &str| live[name].as_str().unwrap().to_owned();
    (text("version"), text("content"))
}

/// As [`live`] shows it.
pub fn shows(number: &str, content: &str) -> (String, String) {
    (number.to_owned(), content.to_owned())
}

/// Waits until there are so many versions.
pub async fn landed(stage: &Stage, count: usize) {
    let wait = async {
        while numbers(stage).len() < count {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), wait).await.unwrap();
}

/// The operator ended while it converged: what is left is the status with the last intent that was recorded. The records that the
/// audit store took are safe; `book` begins anew otherwise.
pub fn killed(pt: &mut Pt, intents_before: usize) {
    let intents = pt.book.intents();
    if intents.len() > intents_before {
        pt.status.intent = intents.last().cloned();
    }
    pt.restart();
}

/// A converge whose process ends right behind its last call: nothing of what it learnt reaches the status or a record.
pub async fn crashed(stage: &Stage, pt: &mut Pt) {
    let status = pt.status.clone();
    stage.converge(pt).await;
    pt.status = status;
    killed(pt, 0);
    pt.book = Book::default();
}

/// The message of a failed call.
pub fn failed(convergence: &Convergence) -> &str {
    let End::Failed(failure) = &convergence.end else { panic!("{:?}", convergence.end) };
    &failure.message
}
