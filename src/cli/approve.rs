//! `approve`: lets exactly one waiting plan run. The annotation is bound to the digest and to the object as it was shown.

use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

use anstyle::Style;
use anyhow::{Context, bail};
use clap::Args as ClapArgs;
use kube::api::{Patch, PatchParams};
use serde_json::json;
use tokio::time::Instant;

use super::fleet::{self, Member};
use super::kubernetes::Access;
use super::project::cluster::Cluster;
use crate::api::{APPROVE_PLAN, GROUP};
use crate::engine::display;

const NAME: Style = Style::new().bold();
/// Field manager of the annotation.
const MANAGER: &str = "assist-operator-cli";
/// Between two looks at what became of it.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Arguments of `approve`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// The object, as in `aac/retail-assist`; without it every plan that waits is listed
    #[arg(value_name = "KIND/NAME")]
    object: Option<String>,
    /// The digest of the plan that may run; without it the waiting plan is shown
    #[arg(requires = "object")]
    digest: Option<String>,
    /// Namespace of the object; `default` when unset, all of them for the list
    #[arg(short, long)]
    namespace: Option<String>,
    /// Wait until the plan has run, at most so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, require_equals = true, default_missing_value = "2m", value_parser = super::duration)]
    wait: Option<Duration>,
    #[command(flatten)]
    access: Access,
}

/// Approves, or shows what waits. 0: approved (and, with `--wait`, ready), or nothing waits; 2: something waits; 1: it failed.
///
/// # Errors
/// An object or a plan that is not there, a digest that is another plan's, or a cluster that refuses.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let cluster = args.access.connect().await?;
    let Some(object) = &args.object else { return all(&cluster, args.namespace.as_deref()).await };
    let namespace = args.namespace.as_deref().unwrap_or("default");
    let (kind, name) = object.split_once('/').context("name the object as KIND/NAME, for example aac/retail-assist")?;
    let entry = fleet::kind(kind)?;
    let api = fleet::api(&cluster, entry, Some(namespace));
    let found = api.get_opt(name).await?.with_context(|| format!("{} {namespace}/{name} was not found", entry.kind))?;
    let member = fleet::member(entry.kind, found);
    let Some(pending) = &member.pending_plan else {
        bail!("no plan of {} {namespace}/{name} waits for approval ({}: {})", entry.kind, member.reason, member.message);
    };
    let Some(digest) = &args.digest else {
        show(&member)?;
        return Ok(ExitCode::from(2));
    };
    if pending.digest != *digest {
        show(&member)?;
        bail!("plan {} does not wait any more; the plan above does", display::escape(digest));
    }
    // Bound to what was just read: whoever changed the object meanwhile makes this a conflict.
    let patch = json!({"metadata": {"annotations": {APPROVE_PLAN: digest}, "resourceVersion": member.meta.resource_version}});
    let params = PatchParams { field_manager: Some(MANAGER.to_owned()), ..Default::default() };
    match api.patch(name, &params, &Patch::Merge(&patch)).await {
        Ok(_) => {}
        Err(kube::Error::Api(status)) if status.code == 409 => {
            bail!("{} {namespace}/{name} changed a moment ago; look at its plan again", entry.kind)
        }
        Err(kube::Error::Api(status)) if status.code == 403 => bail!("not approved: {}", display::escape(&status.message)),
        Err(error) => return Err(error.into()),
    }
    writeln!(anstream::stdout(), "{} {namespace}/{name}: plan {digest} is approved", entry.kind)?;
    match args.wait {
        None => Ok(ExitCode::SUCCESS),
        Some(longest) => wait(&api, entry.kind, name, digest, longest).await,
    }
}

async fn all(cluster: &Cluster, namespace: Option<&str>) -> anyhow::Result<ExitCode> {
    let mut members = fleet::members(cluster, namespace).await?;
    members.retain(|member| member.pending_plan.is_some());
    members.iter().try_for_each(show)?;
    if members.is_empty() {
        writeln!(anstream::stdout(), "No plan waits for approval.")?;
    }
    Ok(if members.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

fn show(member: &Member) -> anyhow::Result<()> {
    let Some(plan) = &member.pending_plan else { return Ok(()) };
    let (kind, namespace, name) = (member.kind, &member.namespace, &member.name);
    let mut out = anstream::stdout().lock();
    writeln!(out, "{NAME}{kind} {namespace}/{name}{NAME:#}")?;
    plan.changes.iter().try_for_each(|line| writeln!(out, "  {}", display::escape(line)))?;
    writeln!(out, "  To let it run: assist-operator approve {kind}/{name} {} -n {namespace}\n", plan.digest)?;
    Ok(())
}

/// Waits until the plan has run: it waits no more, and the operator has looked at the object since.
async fn wait(
    api: &kube::Api<kube::api::DynamicObject>,
    kind: &'static str,
    name: &str,
    digest: &str,
    longest: Duration,
) -> anyhow::Result<ExitCode> {
    let deadline = Instant::now() + longest;
    loop {
        let member = fleet::member(kind, api.get(name).await?);
        let waits = member.pending_plan.as_ref().is_some_and(|plan| plan.digest == digest);
        if !waits && !member.reconciling && member.ready != "Unknown" {
            let message = display::escape(&member.message);
            writeln!(anstream::stdout(), "Ready {}, {}: {message}", member.ready, member.reason)?;
            return Ok(if member.ready == "True" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if Instant::now() > deadline {
            bail!("plan {digest} has not run yet; does the operator of {GROUP} run? kubectl describe {kind}/{name} says more");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
