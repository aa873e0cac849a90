//! What a command of the CLI works on: the manifests sorted by what they are, and what stands around them. Objects are found among
//! the manifests first, then in the cluster where one was given, then in the environment.

pub mod applied;
mod audit;
pub mod cluster;
pub mod connections;
pub mod exported;
pub mod object;
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
use url::Url;

use self::object::AnyObject;
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
    /// Namespace of manifests that name none
    #[arg(short, long, default_value = "default")]
    pub namespace: String,
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
    pub fn has_cluster(&self) -> bool {
        self.cluster || self.kubeconfig.is_some() || self.context.is_some()
    }

    /// The chosen org.
    pub fn chosen_org(&self) -> Option<OrgName> {
        let text = self.org.as_deref()?;
        let (namespace, name) = text.split_once('/').unwrap_or((&self.namespace, text));
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

/// Reads the manifests that a command was given, and keeps the objects of the chosen org. What cannot be read is told, all of it;
/// then there is nothing to work on.
///
/// # Errors
/// A standard error that cannot be written to.
pub fn load(sources: &Sources) -> anyhow::Result<Option<Project>> {
    let loaded = manifests::load(&sources.paths);
    let mut findings = validate::check(&loaded, &sources.place.namespace)?.findings;
    // What cannot be told offline is looked up here.
    findings.retain(|finding| finding.level == Level::Error);
    if !tell(&findings)? {
        return Ok(None);
    }
    let project = Project::of(&loaded.manifests, &sources.place.namespace);
    let mut project = match project {
        Ok(project) => project,
        Err(errors) => return tell(&errors.into_iter().map(Finding::from).collect::<Vec<_>>()).map(|_| None),
    };
    if let Some(chosen) = sources.place.chosen_org() {
        project.objects.retain(|object| object.org() == chosen);
    }
    anyhow::ensure!(!project.objects.is_empty(), "there is no object of {GROUP} to work on in these manifests");
    Ok(Some(project))
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
