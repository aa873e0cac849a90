//! What is said of orgs: their own rules, and whether the objects that refer to them may.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::Checked;
use crate::api::GenesysOrg;
use crate::api::genesys_org::{From, GenesysOrgSpec};
use crate::cli::manifests::{Finding, Manifest};
use crate::engine::finding::Finding as Broken;
use crate::engine::genesys_org::{self, AllowedEndpoints, Request};

/// Namespace and name of an org.
type Key = (String, String);

/// All that is known of orgs and namespaces.
#[derive(Default)]
pub struct Orgs<'a> {
    orgs: BTreeMap<Key, GenesysOrg>,
    /// Those that cannot be read: nothing is said of who refers to them.
    unread: BTreeSet<Key>,
    labels: BTreeMap<&'a str, BTreeMap<String, String>>,
}

/// An org, and what its rules say of it.
pub fn read(object: &Value) -> Result<(GenesysOrg, Vec<Broken>), (String, String)> {
    let org: GenesysOrg =
        serde_path_to_error::deserialize(object).map_err(|error| (error.path().to_string(), error.inner().to_string()))?;
    let findings = findings(&org.spec);
    Ok((org, findings))
}

/// What the operator must be started for, as notes: path and problem.
fn endpoints(spec: &GenesysOrgSpec) -> Vec<(&'static str, String)> {
    let only = "is honoured only by an operator that was started with --allow-endpoint for it";
    let mut notes = Vec::new();
    if spec.endpoints.is_some() {
        notes.push(("/spec/endpoints", format!("a custom endpoint {only}")));
    }
    let url = spec.audit.as_ref().and_then(|audit| audit.webhook.as_ref()).map(|webhook| webhook.url.as_str());
    if url.is_some_and(|url| !url.starts_with("https:")) {
        notes.push(("/spec/audit/webhook/url", format!("plain http {only}")));
    }
    notes
}

/// The findings about an org, without those about what the operator was started for.
fn findings(spec: &GenesysOrgSpec) -> Vec<Broken> {
    let all = AllowedEndpoints { all: true, urls: Vec::new() };
    let mut findings = genesys_org::validate(spec, &all).err().unwrap_or_default();
    let allowed = spec.allowed_namespaces.as_ref();
    let is_selector = |from: Option<From>| from == Some(From::Selector);
    if let Some(allowed) = allowed.filter(|allowed| allowed.selector.is_some() != is_selector(allowed.from)) {
        let (path, problem) = match allowed.selector {
            Some(_) => ("/spec/allowedNamespaces/selector", "it needs from: Selector"),
            None => ("/spec/allowedNamespaces/from", "Selector needs a selector"),
        };
        findings.push(Broken::new(path, problem, "set both, or neither"));
    }
    findings
}

impl<'a> Orgs<'a> {
    /// The orgs and namespaces among manifests.
    pub fn of(checked: &[Checked<'a>]) -> Self {
        let mut orgs = Self::default();
        for one in checked {
            let manifest = one.manifest;
            if let Some(org) = &one.org {
                orgs.orgs.insert((one.namespace.clone(), manifest.name().to_owned()), org.clone());
            }
            if one.stand_ins.is_some() && manifest.kind() == "GenesysOrg" {
                orgs.unread.insert((one.namespace.clone(), manifest.name().to_owned()));
            }
            if manifest.kind() == "Namespace" && manifest.api_version() == "v1" {
                let labels = manifest.value().pointer("/metadata/labels").and_then(Value::as_object);
                let text = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
                let mut labels: BTreeMap<String, String> = labels.into_iter().flatten().filter_map(text).collect();
                // The API server adds it.
                labels.insert("kubernetes.io/metadata.name".to_owned(), manifest.name().to_owned());
                orgs.labels.insert(manifest.name(), labels);
            }
        }
        orgs
    }

    /// What cannot be known of the orgs without the operator that they are for.
    pub fn notes(checked: &[Checked<'a>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        for one in checked {
            let notes = one.org.iter().flat_map(|org| endpoints(&org.spec));
            let note =
                |(path, problem)| one.manifest.finding(path, problem, "see that it is, in the arguments of the operator").noted();
            findings.extend(notes.map(note));
        }
        findings
    }

    /// What is said of the references of objects to orgs: one note for each org that is not here.
    pub fn references(&self, checked: &[Checked<'a>]) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut absent: BTreeMap<Key, (&Manifest, usize)> = BTreeMap::new();
        for one in checked {
            let Some(name) = one.manifest.value().pointer("/spec/orgRef/name").and_then(Value::as_str).filter(|_| one.is_managed)
            else {
                continue;
            };
            let home = one.manifest.value().pointer("/spec/orgRef/namespace").and_then(Value::as_str).unwrap_or(&one.namespace);
            let key = (home.to_owned(), name.to_owned());
            match self.orgs.get(&key) {
                Some(org) => findings.extend(self.refused(one, home, org)),
                None if self.unread.contains(&key) => {}
                None => absent.entry(key).or_insert((one.manifest, 0)).1 += 1,
            }
        }
        for ((home, name), (manifest, count)) in absent {
            let place = if home.is_empty() { name } else { format!("{home}/{name}") };
            let who = if count == 1 { "1 object refers".to_owned() } else { format!("{count} objects refer") };
            let problem = format!(
                "GenesysOrg {place} is not among the manifests, so it was not checked that it exists and may be used: {who} to it"
            );
            findings.push(
                manifest.finding("/spec/orgRef", problem, "check them together with it, or plan against the cluster").noted(),
            );
        }
        findings
    }

    fn refused(&self, one: &Checked<'_>, home: &str, org: &GenesysOrg) -> Option<Finding> {
        let labels = self.labels.get(one.namespace.as_str());
        let allowed = org.spec.allowed_namespaces.as_ref();
        let request = Request { kind: one.manifest.kind(), namespace: &one.namespace, labels };
        if genesys_org::grants(home, allowed, &request) {
            return None;
        }
        let path = "/spec/orgRef";
        let is_unknown = labels.is_none() && allowed.is_some_and(|allowed| allowed.from == Some(From::Selector));
        Some(if is_unknown {
            let problem = format!(
                "whether the labels of namespace {} are granted was not checked: it is not among the manifests",
                one.namespace
            );
            one.manifest.finding(path, problem, "check them together").noted()
        } else {
            let problem = format!(
                "GenesysOrg {home}/{} lets no {} of namespace {} use it",
                one.manifest.value().pointer("/spec/orgRef/name").and_then(Value::as_str).unwrap_or_default(),
                one.manifest.kind(),
                one.namespace
            );
            one.manifest.finding(path, problem, "grant it there with spec.allowedNamespaces, or refer to another org")
        })
    }
}
