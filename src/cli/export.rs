//! `export`: live objects as minimal manifests, which plan as empty.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Args as ClapArgs;
use tokio_util::sync::CancellationToken;

use super::manifests;
use super::project::exported::Exported;
use super::project::surroundings::Surroundings;
use super::project::{Place, Project};
use crate::controller::orgs::OrgName;
use crate::engine::display;
use crate::kinds::{self, KindEntry};

/// Arguments of `export`.
#[derive(Debug, ClapArgs)]
pub struct Args {
    /// Manifests of the GenesysOrg and its Secret; without them the cluster or the environment says where Genesys is
    #[arg(value_name = "PATH")]
    paths: Vec<String>,
    #[command(flatten)]
    place: Place,
    /// Ids of agent-assist configurations
    #[arg(long, num_args = 1.., value_name = "ID")]
    config: Vec<String>,
    /// Ids of prompt templates
    #[arg(long, num_args = 1.., value_name = "ID")]
    prompt: Vec<String>,
    /// Ids of agents, for their skill levels
    #[arg(long, num_args = 1.., value_name = "ID")]
    user: Vec<String>,
    /// A folder that takes a file for each object; else all of them are printed. Files that are there already stay
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
}

/// Exports. 0: all of them; 1: some could not be written as a manifest, and the others are there.
///
/// # Errors
/// Nothing to export, an org that is not named, or a folder that cannot be written to.
pub async fn main(args: Args) -> anyhow::Result<ExitCode> {
    let wanted: Vec<(&KindEntry, &String)> = [("config", &args.config), ("prompt", &args.prompt), ("user", &args.user)]
        .into_iter()
        .filter_map(|(flag, ids)| Some((kinds::KINDS.iter().find(|entry| entry.exported_as == Some(flag))?, ids)))
        .flat_map(|(entry, ids)| ids.iter().map(move |id| (entry, id)))
        .collect();
    anyhow::ensure!(
        !wanted.is_empty(),
        "name what is to be exported: --config ID, --prompt ID or --user ID, each with as many ids as you like"
    );
    let Some(project) = project(&args)? else { return Ok(ExitCode::FAILURE) };
    let org = org(&project, &args.place)?;
    let around = Surroundings::open(project, &args.place, CancellationToken::new()).await?;
    let mut failed = false;
    for (entry, id) in wanted {
        match (entry.export)(&around, &org, &args.place.namespace, id).await {
            Ok(exported) => write(entry.kind, &exported, args.output.as_deref())?,
            Err(stop) => {
                failed = true;
                anstream::eprintln!("error: {} {}: {}", entry.kind, stop.reason.as_str(), display::escape(&stop.message));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn project(args: &Args) -> anyhow::Result<Option<Project>> {
    let loaded = manifests::load(&args.paths);
    if !super::project::tell(&loaded.findings)? {
        return Ok(None);
    }
    match Project::of(&loaded.manifests, &args.place.namespace) {
        Ok(project) => Ok(Some(project)),
        Err(errors) => super::project::tell(&errors.into_iter().map(Into::into).collect::<Vec<_>>()).map(|_| None),
    }
}

/// The chosen org, or the only one.
fn org(project: &Project, place: &Place) -> anyhow::Result<OrgName> {
    match (place.chosen_org(), project.orgs.len()) {
        (Some(org), _) => Ok(org),
        (None, 1) => project.orgs.keys().next().cloned().context("there is one org"),
        (None, _) => anyhow::bail!("name the GenesysOrg that the manifests are to refer to: --org NAME or --org NAMESPACE/NAME"),
    }
}

fn write(kind: &str, exported: &Exported, folder: Option<&Path>) -> anyhow::Result<()> {
    let text = format!("---\n{}", manifests::print(&exported.manifest)?);
    let Some(folder) = folder else {
        return Ok(anstream::stdout().write_all(text.as_bytes())?);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let path = folder.join(format!("{}-{}.yaml", kind.to_ascii_lowercase(), exported.name));
    let mut file = std::fs::File::create_new(&path)
        .with_context(|| format!("{} is not written; remove it first where it is to be replaced", path.display()))?;
    file.write_all(text.as_bytes())?;
    anstream::eprintln!("{}", path.display());
    Ok(())
}
