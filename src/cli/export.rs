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
use super::validate;
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
    for (entry, id) in &wanted {
        // A path after a flag is taken for an id.
        anyhow::ensure!(
            !id.contains(['/', '.']),
            "{} is no id of a {}: name the manifests before the ids",
            display::escape(id),
            entry.kind
        );
    }
    let (cluster, namespace) = args.place.connect().await?;
    let Some(project) = project(&args, &namespace)? else { return Ok(ExitCode::FAILURE) };
    let org = org(&project, &args.place, &namespace)?;
    let around = Surroundings::new(project, cluster, &args.place, CancellationToken::new())?;
    let mut failed = false;
    for (entry, id) in wanted {
        match (entry.export)(&around, &org, &namespace, id).await {
            Ok(exported) => failed |= !write(entry.kind, &exported, args.output.as_deref())?,
            Err(stop) => {
                failed = true;
                anstream::eprintln!("error: {} {}: {}", entry.kind, stop.reason.as_str(), display::escape(&stop.message));
            }
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn project(args: &Args, namespace: &str) -> anyhow::Result<Option<Project>> {
    let loaded = manifests::load(&args.paths);
    let mut findings = validate::check(&loaded, namespace)?.findings;
    findings.retain(|finding| finding.level == manifests::Level::Error);
    if !super::project::tell(&findings)? {
        return Ok(None);
    }
    match Project::of(&loaded.manifests, namespace) {
        Ok(project) => Ok(Some(project)),
        Err(errors) => super::project::tell(&errors.into_iter().map(Into::into).collect::<Vec<_>>()).map(|_| None),
    }
}

/// The chosen org, or the only one.
fn org(project: &Project, place: &Place, namespace: &str) -> anyhow::Result<OrgName> {
    match (place.chosen_org(namespace), project.orgs.len()) {
        (Some(org), _) => Ok(org),
        (None, 1) => project.orgs.keys().next().cloned().context("there is one org"),
        (None, _) => anyhow::bail!("name the GenesysOrg that the manifests are to refer to: --org NAME or --org NAMESPACE/NAME"),
    }
}

/// Prints a manifest, or puts it into the folder. Whether it is there.
fn write(kind: &str, exported: &Exported, folder: Option<&Path>) -> anyhow::Result<bool> {
    let text = format!("---\n{}", manifests::print(&exported.manifest)?);
    let Some(folder) = folder else {
        anstream::stdout().write_all(text.as_bytes())?;
        return Ok(true);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("{} cannot be made", folder.display()))?;
    let path = folder.join(format!("{}-{}.yaml", kind.to_ascii_lowercase(), exported.name));
    let mut file = match std::fs::File::create_new(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            anstream::eprintln!("error: {} is there already and stays as it is; remove it first to replace it", path.display());
            return Ok(false);
        }
        Err(error) => return Err(error).with_context(|| format!("{} cannot be written", path.display())),
    };
    file.write_all(text.as_bytes())?;
    anstream::eprintln!("{}", path.display());
    Ok(true)
}
