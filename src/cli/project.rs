//! What a command of the CLI works on: the manifests sorted by what they are, and what stands around them. Objects are found among
//! the manifests first, then in the cluster where one was given, then in the environment.

pub mod applied;
mod audit;
pub mod cluster;
pub mod connections;
pub mod exported;
pub mod object;
pub mod orgs;
mod proposal;
pub mod surroundings;

use std::collections::BTreeMap;
use std::fmt;
use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use k8s_openapi::api::core::v1::{ConfigMap, Namespace, Secret};
use kube::ResourceExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio_util::sync::CancellationToken;
use url::Url;

use self::cluster::Cluster;
use self::object::AnyObject;
use self::surroundings::Surroundings;
use super::kubernetes;
use super::manifests::{self, Finding, Level, Manifest, ManifestError};
use super::validate;
use crate::api::{GROUP, GenesysOrg};
use crate::controller::orgs::OrgName;
use crate::kinds;

pub use proposal::{Proposal, Stop};

/// What the commands that work on manifests have in common.
#[derive(Clone, Debug, Args)]
pub struct Sources {
    /// Files, directories or globs of manifests; - is standard input
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<String>,
    /// Which organisation, and which cluster
    #[command(flatten)]
    pub place: Place,
}

/// Which organisation, and which cluster.
#[derive(Clone, Debug, Args)]
pub struct Place {
    /// Namespace of manifests that name none; when unset that of the cluster's context, else `default`
    #[arg(short, long)]
    pub namespace: Option<String>,
    /// Only the objects of this GenesysOrg: NAME or NAMESPACE/NAME
    #[arg(long)]
    pub org: Option<String>,
    /// Read status, orgs and Secrets from the cluster that kubectl would use; nothing in it is changed
    #[arg(long)]
    pub cluster: bool,
    /// The same with the cluster of this file
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The same with this context
    #[arg(long, value_name = "NAME")]
    pub context: Option<String>,
    /// A custom endpoint that a GenesysOrg may name (repeatable)
    #[arg(long = "allow-endpoint", value_name = "URL")]
    pub allow_endpoints: Vec<Url>,
}

impl Place {
    /// Whether there is a cluster to ask.
    fn has_cluster(&self) -> bool {
        self.cluster || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The cluster, where one was named, and the namespace of manifests without one.
    ///
    /// # Errors
    /// A cluster that cannot be used.
    pub async fn connect(&self) -> anyhow::Result<(Option<Cluster>, String)> {
        let unset = || self.namespace.clone();
        if !self.has_cluster() {
            return Ok((None, unset().unwrap_or_else(|| "default".to_owned())));
        }
        let config = kubernetes::config(self.kubeconfig.as_deref(), self.context.as_deref()).await?;
        let namespace = unset().unwrap_or_else(|| config.default_namespace.clone());
        Ok((Some(Cluster::connect(config)?), namespace))
    }

    /// The chosen org, in `namespace` where it names none.
    pub fn chosen_org(&self, namespace: &str) -> Option<OrgName> {
        let text = self.org.as_deref()?;
        let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
        Some((namespace.to_owned(), name.to_owned()))
    }
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct ObjectName {
    /// Kind as in manifests.
    pub kind: &'static str,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}/{}", self.kind, self.namespace, self.name)
    }
}

/// The manifests, by what they are.
#[derive(Default)]
pub struct Project {
    /// The managed objects, in the order of the manifests.
    pub objects: Vec<AnyObject>,
    /// The orgs.
    pub orgs: BTreeMap<OrgName, GenesysOrg>,
    /// The Secrets.
    pub secrets: BTreeMap<OrgName, Secret>,
    /// The ConfigMaps.
    pub config_maps: BTreeMap<OrgName, ConfigMap>,
    /// Labels of namespaces.
    pub labels: BTreeMap<String, BTreeMap<String, String>>,
}

impl Project {
    /// Sorts manifests; those of other kinds are left out. `namespace` is that of manifests that name none.
    ///
    /// # Errors
    /// Every manifest that does not fit its kind.
    pub fn of(manifests: &[Manifest], namespace: &str) -> Result<Self, Vec<ManifestError>> {
        let (mut project, mut errors) = (Self::default(), Vec::new());
        for manifest in manifests {
            errors.extend(project.add(manifest, namespace).err());
        }
        if errors.is_empty() { Ok(project) } else { Err(errors) }
    }

    fn add(&mut self, manifest: &Manifest, namespace: &str) -> Result<(), ManifestError> {
        let core = manifest.api_version() == "v1";
        let ours = manifest.api_version().split('/').next() == Some(GROUP);
        match manifest.kind() {
            "GenesysOrg" if ours => put(&mut self.orgs, manifest, namespace),
            "Secret" if core => put(&mut self.secrets, manifest, namespace),
            "ConfigMap" if core => put(&mut self.config_maps, manifest, namespace),
            "Namespace" if core => {
                let found: Namespace = manifest.read()?;
                self.labels.insert(found.name_any(), found.labels().clone());
                Ok(())
            }
            kind if ours => {
                if let Some(entry) = kinds::KINDS.iter().find(|entry| entry.kind == kind) {
                    self.objects.push((entry.object)(manifest, namespace)?);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// The orgs that the objects refer to.
    pub fn orgs_in_use(&self) -> std::collections::BTreeSet<OrgName> {
        self.objects.iter().map(|object| object.org()).collect()
    }
}

fn put<K: DeserializeOwned + ResourceExt>(
    into: &mut BTreeMap<OrgName, K>,
    manifest: &Manifest,
    namespace: &str,
) -> Result<(), ManifestError> {
    let object: K = manifest.read()?;
    into.insert((object.namespace().unwrap_or_else(|| namespace.to_owned()), object.name_any()), object);
    Ok(())
}

/// What a command works on: the manifests that it was given, of the chosen org, and what stands around them; or everything that is wrong with
/// the manifests.
///
/// # Errors
/// A cluster or an environment that cannot be used, no manifests, or an org that is not among them.
pub async fn open(sources: &Sources, stop: CancellationToken) -> anyhow::Result<Result<Surroundings, Vec<Finding>>> {
    let (cluster, namespace) = sources.place.connect().await?;
    let loaded = manifests::load(&sources.paths);
    let mut findings = validate::check(&loaded, &namespace)?.findings;
    // What cannot be told offline is looked up here.
    findings.retain(|finding| finding.level == Level::Error);
    if !findings.is_empty() {
        return Ok(Err(findings));
    }
    anyhow::ensure!(!loaded.manifests.is_empty(), "there are no manifests in {}", sources.paths.join(", "));
    let mut project = match Project::of(&loaded.manifests, &namespace) {
        Ok(project) => project,
        Err(errors) => return Ok(Err(errors.into_iter().map(Finding::from).collect())),
    };
    if let Some(chosen) = sources.place.chosen_org(&namespace) {
        let orgs = project.orgs_in_use();
        if !orgs.is_empty() && !orgs.contains(&chosen) {
            let names: Vec<String> = orgs.iter().map(|(namespace, name)| format!("{namespace}/{name}")).collect();
            anyhow::bail!(
                "no object of these manifests uses GenesysOrg {}/{}; they use {}",
                chosen.0,
                chosen.1,
                names.join(", ")
            );
        }
        project.objects.retain(|object| object.org() == chosen);
    }
    Ok(Ok(Surroundings::new(project, cluster, &sources.place, stop)?))
}

/// Tells what is wrong with manifests. Whether nothing is.
///
/// # Errors
/// A standard error that cannot be written to.
pub fn tell(findings: &[Finding]) -> anyhow::Result<bool> {
    let mut err = anstream::stderr().lock();
    for finding in findings {
        writeln!(err, "{finding}")?;
    }
    Ok(findings.is_empty())
}
