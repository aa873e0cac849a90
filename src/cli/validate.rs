//! `validate`: everything that the API server and the operator would refuse, of all manifests at once, without either.
//!
//! The rules are those of the CRDs' schemas and of the engine, which a test holds equal to the CEL rules of the API server.

mod metadata;
mod orgs;
mod report;
mod schema;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufWriter, stdout};

use anyhow::bail;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;
use serde_json::Value;

use self::orgs::Orgs;
use self::report::{Format, count};
use self::schema::Schemas;
use super::manifests::{self, Finding, Level, Loaded, Manifest, field};
use crate::api::GenesysOrg;
use crate::engine::finding::Finding as Broken;
use crate::engine::kind::Source;
use crate::engine::offline::{Declared, Found, Said};
use crate::kinds::{self, KINDS};

/// Arguments of `validate`.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Files, directories (with all that is below them), patterns in quotes, or - for stdin
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
    /// Namespace of manifests that name none
    #[arg(short, long, default_value = "")]
    namespace: String,
    /// How findings are told
    #[arg(short, long, value_enum, default_value_t = Format::Text)]
    output: Format,
}

/// Checks the manifests and prints the findings.
///
/// # Errors
/// Where there are findings that are no notes.
pub fn main(args: &Args) -> anyhow::Result<()> {
    let verdict = check(&manifests::load(&args.paths), &args.namespace)?;
    report::write(&verdict, args.output, &mut BufWriter::new(stdout().lock()))?;
    match verdict.errors() {
        0 if verdict.manifests == 0 => {
            bail!("there are no manifests in {}: name the files or directories that hold them", args.paths.join(", "))
        }
        0 => Ok(()),
        errors => {
            bail!("{} in {}: correct them and run this again", count(errors, "finding"), count(verdict.manifests, "manifest"))
        }
    }
}

/// What was found.
#[derive(Debug)]
pub struct Verdict {
    /// How many objects there are.
    pub manifests: usize,
    /// Files of directories that hold none.
    pub skipped: usize,
    /// Findings, by file, line and column.
    pub findings: Vec<Finding>,
}

impl Verdict {
    /// How many findings are no notes.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|finding| finding.level == Level::Error).count()
    }
}

/// A manifest, as far as the checks need it.
struct Checked<'a> {
    manifest: &'a Manifest,
    /// Its namespace, or that of manifests without one.
    namespace: String,
    /// Whether it is of a managed kind.
    is_managed: bool,
    /// Its content without what the API server drops, where it is of one of our kinds.
    value: Option<Value>,
    /// Where it is an org.
    org: Option<GenesysOrg>,
    /// What is said of it, by pointer.
    said: BTreeMap<String, Vec<Broken>>,
}

impl Checked<'_> {
    /// Keeps a finding.
    fn push(&mut self, finding: Broken) {
        self.said.entry(finding.path.clone()).or_default().push(finding);
    }
}

/// Checks what was loaded.
///
/// # Errors
/// CRDs that cannot be made: a defect.
pub fn check(loaded: &Loaded, namespace: &str) -> anyhow::Result<Verdict> {
    let schemas = Schemas::new(kinds::crds()?);
    let checked: Vec<Checked<'_>> = loaded.manifests.iter().map(|manifest| alone(manifest, namespace, &schemas)).collect();
    let mut findings = loaded.findings.clone();
    findings.extend(twice(&checked));
    findings.extend(by_kind(&checked));
    let orgs = Orgs::of(&checked);
    findings.extend(orgs.references(&checked));
    for one in &checked {
        let said = one.said.values().flatten();
        findings.extend(said.map(|said| one.manifest.finding(&said.path, said.problem.clone(), said.remedy.clone())));
    }
    findings.sort();
    findings.dedup();
    Ok(Verdict { manifests: loaded.manifests.len(), skipped: loaded.skipped, findings })
}

/// What can be said of an object by itself, but for the rules of managed kinds.
fn alone<'a>(manifest: &'a Manifest, namespace: &str, schemas: &Schemas) -> Checked<'a> {
    let namespace = manifest.namespace().unwrap_or(namespace).to_owned();
    let mut one = Checked { manifest, namespace, is_managed: false, value: None, org: None, said: BTreeMap::new() };
    let schema = schemas.of(manifest.api_version(), manifest.kind());
    let mut said = metadata::check(manifest.value(), schema.is_some());
    match schema {
        Some(Ok(schema)) => said.extend(ours(&mut one, schema)),
        Some(Err(finding)) => said.push(finding),
        None => {}
    }
    said.into_iter().for_each(|finding| one.push(finding));
    one
}

/// What the schema says of an object of one of our kinds, and of an org its rules.
fn ours(one: &mut Checked<'_>, schema: &JSONSchemaProps) -> Vec<Broken> {
    let kind = one.manifest.kind();
    one.is_managed = KINDS.iter().any(|known| known.kind == kind);
    let mut value = schema::pruned(schema, one.manifest.value());
    let mut said = schema::check(schema, &value);
    // The API server drops them from what is applied; their rules are here already.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        object.insert("metadata".to_owned(), serde_json::json!({"name": one.manifest.name()}));
    }
    if kind == "GenesysOrg" {
        match orgs::rules(&value) {
            Ok(org) => {
                let known: BTreeSet<String> = said.iter().map(|finding| finding.path.clone()).collect();
                said.extend(orgs::findings(&org.spec).into_iter().filter(|finding| !known.contains(&finding.path)));
                one.org = Some(org);
            }
            Err((path, problem)) if said.is_empty() => said.push(Broken::new(field::pointer(&path), problem, "correct it")),
            Err(_) => {}
        }
    }
    one.value = Some(value);
    said
}

/// Objects that are declared more than once: of what is applied, only one would count.
fn twice(checked: &[Checked<'_>]) -> Vec<Finding> {
    let mut seen: BTreeMap<[&str; 4], &Manifest> = BTreeMap::new();
    let mut findings = Vec::new();
    for one in checked.iter().filter(|one| !one.manifest.name().is_empty()) {
        let group = one.manifest.api_version().rsplit_once('/').map_or("", |(group, _)| group);
        let key = [group, one.manifest.kind(), one.namespace.as_str(), one.manifest.name()];
        let first = *seen.entry(key).or_insert(one.manifest);
        if !std::ptr::eq(first, one.manifest) {
            let problem = format!("it is declared at {} already", first.place());
            findings.push(one.manifest.finding("/metadata/name", problem, "remove one of the two, or rename it"));
        }
    }
    findings
}

/// The rules of the managed kinds.
fn by_kind(checked: &[Checked<'_>]) -> Vec<Finding> {
    let maps = config_maps(checked);
    let mut findings = Vec::new();
    for kind in KINDS {
        let (own, declared): (Vec<&Checked<'_>>, Vec<Declared<'_>>) = checked
            .iter()
            .filter(|one| one.is_managed && one.manifest.kind() == kind.kind)
            .filter_map(|one| Some((one, Declared { value: one.value.as_ref()?, namespace: &one.namespace })))
            .unzip();
        for (index, said) in (kind.check)(&declared, &|namespace, source| text(&maps, namespace, source)) {
            findings.extend(own.get(index).and_then(|one| told(one, said, &own)));
        }
    }
    findings
}

/// What a rule says of an object, unless the schema says it already.
fn told(one: &Checked<'_>, said: Said, own: &[&Checked<'_>]) -> Option<Finding> {
    match said {
        Said::Broken(finding) => {
            let is_new = !one.said.contains_key(&finding.path);
            is_new.then(|| one.manifest.finding(&finding.path, finding.problem, finding.remedy))
        }
        // It does not fit the schema either.
        Said::Unreadable { .. } if !one.said.is_empty() => None,
        Said::Unreadable { path, problem } => Some(one.manifest.finding(&field::pointer(&path), problem, "correct it")),
        Said::Unknown(finding) => {
            let problem = format!("it was not checked: {}", finding.problem);
            Some(one.manifest.finding(&finding.path, problem, "check it together with what it refers to").noted())
        }
        Said::Claimed { by, what } => {
            let first = own.get(by)?.manifest;
            let who = format!("{}/{} at {}", first.kind(), first.name(), first.place());
            let problem = format!("{what} is already managed by {who}: the younger of the two would stall");
            Some(one.manifest.finding("/spec", problem, "remove one of the two"))
        }
    }
}

/// ConfigMaps among the manifests, by namespace and name.
type ConfigMaps<'a> = BTreeMap<(&'a str, &'a str), &'a Manifest>;

fn config_maps<'a>(checked: &'a [Checked<'_>]) -> ConfigMaps<'a> {
    let maps = checked.iter().filter(|one| one.manifest.kind() == "ConfigMap" && one.manifest.api_version() == "v1");
    maps.map(|one| ((one.namespace.as_str(), one.manifest.name()), one.manifest)).collect()
}

/// The text of a ConfigMap among the manifests.
fn text(maps: &ConfigMaps<'_>, namespace: &str, source: &Source) -> Found {
    let Some(map) = maps.get(&(namespace, source.name.as_str())) else { return Found::Unknown };
    let text = map.value().get("data").and_then(|data| data.get(&source.key)).and_then(Value::as_str);
    text.map_or(Found::Missing, |text| Found::Text(text.to_owned()))
}
