//! The one registry: a new kind is a line here and a file in each layer. Controller, CRDs, RBAC and tests iterate it.

use std::sync::Arc;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionNames,
};
use kube::CustomResourceExt;
use serde::Serialize;

use crate::api::{AgentAssistConfig, AuditRecord, GenesysOrg, PromptTemplate, SkillPolicy, SkillProfile, schema};
use crate::cli::manifests::{Manifest, ManifestError};
use crate::cli::project::cluster::Cluster;
use crate::cli::project::exported::{Export, export};
use crate::cli::project::object::{self, AnyObject, Found};
use crate::cli::project::surroundings::Surroundings;
use crate::controller::kind::{Started, start};
use crate::controller::orgs::OrgName;
use crate::controller::reconcile::{Reconcilable, Shared};
use crate::controller::stream::Watching;
use crate::engine::offline::{self, Declared, Lookup, SaidOf};

/// A managed kind.
pub struct KindEntry {
    /// Kind as in manifests.
    pub kind: &'static str,
    /// Its CRD, as derived.
    crd: fn() -> CustomResourceDefinition,
    /// The optional parts of its status.
    parts: &'static [&'static str],
    /// Starts its controller.
    pub start: fn(&Arc<Shared>, &Watching) -> Started,
    /// Reads a manifest; the second argument is the namespace where it names none.
    pub object: fn(&Manifest, &str) -> Result<AnyObject, ManifestError>,
    /// All its objects in a cluster, for the CLI.
    pub live: for<'a> fn(&'a Cluster, &'a str) -> Found<'a>,
    /// What `export` calls its remote objects, where it can export them.
    pub exported_as: Option<&'static str>,
    /// Checks manifests of it, without a cluster.
    pub check: fn(&[Declared<'_>], &Lookup<'_>) -> SaidOf,
    /// Exports the remote object of an id.
    pub export: for<'a> fn(&'a Surroundings, &'a OrgName, &'a str, &'a str) -> Export<'a>,
}

impl KindEntry {
    /// What people call it: kind, plural, short names.
    pub fn names(&self) -> CustomResourceDefinitionNames {
        (self.crd)().spec.names
    }

    const fn of<K: Reconcilable + CustomResourceExt + Serialize>() -> Self {
        Self {
            kind: K::KIND,
            crd: K::crd,
            parts: K::PARTS,
            start: start::<K>,
            object: object::read::<K>,
            live: object::live::<K>,
            check: offline::check::<K>,
            exported_as: K::EXPORTED_AS,
            export: export::<K>,
        }
    }
}

/// All managed kinds.
pub const KINDS: &[KindEntry] = &[
    KindEntry::of::<AgentAssistConfig>(),
    KindEntry::of::<PromptTemplate>(),
    KindEntry::of::<SkillProfile>(),
    KindEntry::of::<SkillPolicy>(),
];

/// The CRDs of all kinds, of the org and of the queue of audit records, as they are installed.
///
/// # Errors
/// A CRD that does not survive its finish: a defect.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    let of_kinds = KINDS.iter().map(|kind| ((kind.crd)(), kind.parts));
    let others: [(_, &[&str]); 2] = [(GenesysOrg::crd(), &[]), (AuditRecord::crd(), &[])];
    others.into_iter().chain(of_kinds).map(|(crd, parts)| schema::finish(crd, parts)).collect()
}

/// The plurals of the kinds whose status has an optional part. `agents`: results of single agents, which is personal data. `alerts`: they
/// send alerts, and look at the live object before each.
pub fn with_part(part: &str) -> Vec<String> {
    KINDS.iter().filter(|kind| kind.parts.contains(&part)).map(|kind| (kind.crd)().spec.names.plural).collect()
}
