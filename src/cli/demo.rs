//! `demo`: the main story on the embedded sandbox, with the real engine, the real client and the controller's own conditions;
//! only Kubernetes is played, by an object in memory. It checks itself: what is not as told is an error.

mod calls;
mod configs;
mod org;
mod prompts;
mod skills;
mod stored;
mod story;
mod teller;
mod verdict;

use anyhow::Context;
use clap::Args as ClapArgs;
use k8s_openapi::api::core::v1::Secret;
use serde::de::DeserializeOwned;

use self::org::Org;
use self::stored::{NAMESPACE, Stored};
use self::story::Story;
use self::teller::Teller;
use super::manifests;
use crate::api::{AgentAssistConfig, GenesysOrg, Managed, PromptTemplate, SkillPolicy, SkillProfile};
use crate::sandbox::{Options, Sandbox};

/// The manifests of the story: in the binary, so that it can be told anywhere.
const EXAMPLES: [(&str, &str); 8] = [
    ("examples/sandbox/secret.yaml", include_str!("../../examples/sandbox/secret.yaml")),
    ("examples/sandbox/org.yaml", include_str!("../../examples/sandbox/org.yaml")),
    ("examples/sandbox/retail-assist.yaml", include_str!("../../examples/sandbox/retail-assist.yaml")),
    ("examples/sandbox/loyalty-save.yaml", include_str!("../../examples/sandbox/loyalty-save.yaml")),
    ("examples/features/prompt-refused.yaml", include_str!("../../examples/features/prompt-refused.yaml")),
    ("examples/features/refused.yaml", include_str!("../../examples/features/refused.yaml")),
    ("examples/features/skill-policy.yaml", include_str!("../../examples/features/skill-policy.yaml")),
    ("examples/features/skill-profile.yaml", include_str!("../../examples/features/skill-profile.yaml")),
];

/// The step that rolls back.
const ROLLBACK: usize = 6;

/// Arguments of `demo`.
#[derive(Debug, ClapArgs)]
pub struct Args {}

/// Tells the story.
pub async fn main(_args: Args) -> anyhow::Result<()> {
    let mut story = begin().await?;
    let told = tell(&mut story).await;
    let step = story.steps.last().map_or("the beginning", |step| step.title.as_str());
    told.with_context(|| format!("the demo is not as expected at \"{step}\""))?;
    story.sandbox.shutdown().await;
    Ok(())
}

/// The stage: the sandbox, the connection, and the objects as they are created.
async fn begin() -> anyhow::Result<Story> {
    let secret: Secret = example("examples/sandbox/secret.yaml")?;
    let org: GenesysOrg = example("examples/sandbox/org.yaml")?;
    let object: AgentAssistConfig = example("examples/sandbox/retail-assist.yaml")?;
    let prompt: PromptTemplate = example("examples/sandbox/loyalty-save.yaml")?;
    let policy: SkillPolicy = example("examples/features/skill-policy.yaml")?;
    let profile: SkillProfile = example("examples/features/skill-profile.yaml")?;
    let sandbox = Sandbox::start(Options::default()).await?;
    let org = Org::connect(org, &secret, NAMESPACE, sandbox.url())?;
    let id = object.remote_id().to_owned();
    let (stored, prompt) = (Stored::new(object), Stored::new(prompt));
    let (policy, profile) = (Stored::new(policy), Stored::new(profile));
    let declared = vec![stored.declared()];
    Ok(Story { tell: Teller::new(), sandbox, org, stored, id, prompt, policy, profile, steps: Vec::new(), declared })
}

async fn tell(story: &mut Story) -> anyhow::Result<()> {
    let version = story.live()?["version"].as_i64().context("the config of the sandbox has no version")?;
    prologue(story, version)?;
    story.first_apply().await?;
    story.same_again(example("examples/sandbox/retail-assist.yaml")?).await?;
    story.spec_change().await?;
    story.drift().await?;
    story.conflict().await?;
    story.roll_back(version).await?;
    story.refused_config(example("examples/features/refused.yaml")?)?;
    story.promotion().await?;
    story.lost_answer().await?;
    story.revert(example("examples/sandbox/loyalty-save.yaml")?).await?;
    story.refused_prompt(example("examples/features/prompt-refused.yaml")?)?;
    story.propose().await?;
    story.enforce().await?;
    story.profile_first().await?;
    story.verdict(ROLLBACK).context("the proof")?;
    epilogue(story)
}

/// One of [`EXAMPLES`], typed.
fn example<T: DeserializeOwned>(file: &str) -> anyhow::Result<T> {
    let (_, text) = EXAMPLES.iter().find(|(name, _)| *name == file).with_context(|| format!("{file} is not in the binary"))?;
    let manifests = manifests::parse(file, text)?;
    Ok(manifests.first().with_context(|| format!("{file} holds no manifest"))?.read()?)
}

fn prologue(story: &mut Story, version: i64) -> anyhow::Result<()> {
    let tell = &mut story.tell;
    tell.title("Assist Operator: GitOps for Genesys Cloud agent assist")?;
    tell.say(
        "This demo needs no cluster and no account. It starts the sandbox, a real HTTP server that behaves as Genesys Cloud does, and lets the operator's own engine, HTTP client and status logic work on it. Kubernetes is played by an object in memory. Every step checks its own result.",
    )?;
    tell.say_more(
        "Genesys numbers the versions of a configuration, and hands out an ETag with each. A write must carry both, and is refused where they are out of date: that is the guard.",
    )?;
    tell.block("On the stage, from examples/sandbox")?;
    tell.table(
        &[
            ["sandbox".to_owned(), format!("{}, instead of the endpoints in org.yaml", story.sandbox.url())],
            ["GenesysOrg".to_owned(), format!("{}, at most {} calls a minute", story.org.label, story.org.calls_per_minute)],
            ["Secret".to_owned(), "genesys-demo, the OAuth client of the sandbox".to_owned()],
            [
                "AgentAssistConfig".to_owned(),
                format!("{NAMESPACE}/{}, for configuration {}, live: version {version}", story.stored.name(), story.id),
            ],
            ["PromptTemplate".to_owned(), format!("{NAMESPACE}/{}, for the prompt of its loyalty rule", story.prompt.name())],
        ]
        .map(Vec::from),
    )?;
    Ok(())
}

fn epilogue(story: &mut Story) -> anyhow::Result<()> {
    let tell = &mut story.tell;
    tell.step("Next", "The same with a cluster, against the same sandbox (each in a terminal of its own):")?;
    tell.command("assist-operator sandbox")?;
    tell.command("assist-operator crds | kubectl apply --server-side -f -")?;
    tell.command("assist-operator run --allow-endpoint http://127.0.0.1:8181")?;
    tell.command("kubectl apply -f examples/sandbox && kubectl wait --for=condition=Ready aac,pt --all")?;
    tell.say_more("examples/features has one commented manifest for each feature.")?;
    Ok(())
}
