//! `validate`: everything that the API server and the operator would refuse, of all manifests at once, without either.
//!
//! The rules are those of the CRDs' schemas and of the engine, which a test holds equal to the CEL rules of the API server.

mod metadata;
mod names;
mod orgs;
mod report;
mod schema;
mod standin;

use std::collections::BTreeMap;
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
use crate::engine::offline::{Declared, Found, Said, within};
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
    /// Its content without what the API server drops, where it is of one of our kinds and can be read.
    value: Option<Value>,
    /// Where it cannot: what stands in for it.
    stand_ins: Option<[Value; 2]>,
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

    /// Whether something is said already of what a pointer names.
    fn is_known(&self, pointer: &str) -> bool {
        let mut around = pointer;
        while self.stand_ins.is_some() && !self.said.contains_key(around) {
            // What is inside of a stand-in is nobody's.
            let Some(at) = around.rfind('/') else { return false };
            around = &around[..at];
        }
        self.said.contains_key(around)
    }
}

/// Checks what was loaded.
///
/// # Errors
/// CRDs that cannot be made: a defect.
pub fn check(loaded: &Loaded, namespace: &str) -> anyhow::Result<Verdict> {
    let schemas = Schemas::new(kinds::crds()?);
    let checked: Vec<Checked<'_>> =
        loaded.manifests.iter().enumerate().map(|(index, manifest)| alone(index, manifest, namespace, &schemas)).collect();
    let mut findings = loaded.findings.clone();
    findings.extend(twice(&checked));
    findings.extend(by_kind(&checked));
    let orgs = Orgs::of(&checked);
    findings.extend(Orgs::notes(&checked));
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
fn alone<'a>(index: usize, manifest: &'a Manifest, namespace: &str, schemas: &Schemas) -> Checked<'a> {
    let namespace = manifest.namespace().unwrap_or(namespace).to_owned();
    let mut one =
        Checked { manifest, namespace, is_managed: false, value: None, stand_ins: None, org: None, said: BTreeMap::new() };
    if let Some(finding) = metadata::size(manifest.value()) {
        one.push(finding);
        return one;
    }
    let schema = schemas.of(manifest.api_version(), manifest.kind());
    metadata::check(manifest.value(), schema.is_some()).into_iter().for_each(|finding| one.push(finding));
    match schema {
        Some(Ok(schema)) => ours(&mut one, schema, &format!("unfit-{index}")),
        Some(Err(finding)) => one.push(finding),
        None => {}
    }
    one
}

/// What the schema says of an object of one of our kinds, and of an org its rules. `text` stands in for texts that are none.
fn ours(one: &mut Checked<'_>, schema: &JSONSchemaProps, text: &str) {
    let kind = one.manifest.kind();
    one.is_managed = KINDS.iter().any(|known| known.kind == kind);
    let mut value = schema::pruned(schema, one.manifest.value());
    schema::check(schema, &value).into_iter().for_each(|finding| one.push(finding));
    // The API server drops them from what is applied; their rules are here already.
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
        object.insert("metadata".to_owned(), serde_json::json!({"name": one.manifest.name()}));
    }
    one.stand_ins = standin::both(schema, &value, text);
    if kind == "GenesysOrg" {
        org(one, &value);
    }
    if one.stand_ins.is_none() {
        one.value = Some(value);
    }
}

/// The rules of an org.
fn org(one: &mut Checked<'_>, value: &Value) {
    let findings = match &one.stand_ins {
        Some(stand_ins) => {
            let [left_out, replaced] = stand_ins.each_ref().map(|value| orgs::read(value).map(|(_, findings)| findings));
            let (left_out, replaced) = (left_out.unwrap_or_default(), replaced.unwrap_or_default());
            left_out.into_iter().filter(|finding| replaced.contains(finding)).collect()
        }
        None => match orgs::read(value) {
            Ok((org, findings)) => {
                one.org = Some(org);
                findings
            }
            Err((path, problem)) if one.said.is_empty() => vec![Broken::new(field::pointer(&path), problem, "correct it")],
            Err(_) => Vec::new(),
        },
    };
    let new: Vec<Broken> = findings.into_iter().filter(|finding| !one.is_known(&finding.path)).collect();
    new.into_iter().for_each(|finding| one.push(finding));
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
        let texts = |namespace: &str, source: &Source| text(&maps, namespace, source);
        for (index, said) in (kind.check)(&declared, &texts) {
            findings.extend(own.get(index).and_then(|one| told(one, said, &own)));
        }
        for one in checked.iter().filter(|one| one.is_managed && one.manifest.kind() == kind.kind) {
            let Some(stand_ins) = &one.stand_ins else { continue };
            let [left_out, replaced] =
                stand_ins.each_ref().map(|value| (kind.check)(&[Declared { value, namespace: &one.namespace }], &texts));
            let said = left_out.into_iter().filter(|said| replaced.contains(said));
            findings.extend(said.filter_map(|(_, said)| told(one, said, &[])));
        }
    }
    findings
}

/// A broken rule, at the place within a text where that is known.
fn broken(manifest: &Manifest, Broken { path, problem, remedy }: Broken) -> Finding {
    let within = within(&problem).and_then(|(place, rest)| Some((manifest.locate_within(&path, place)?, rest)));
    match within {
        Some(((line, column), rest)) => {
            let mut finding = manifest.finding(&path, rest, remedy);
            (finding.place.line, finding.place.column) = (line, column);
            finding
        }
        None => manifest.finding(&path, problem, remedy),
    }
}

/// What a rule says of an object, unless the schema says it already.
fn told(one: &Checked<'_>, said: Said, own: &[&Checked<'_>]) -> Option<Finding> {
    match said {
        Said::Broken(finding) => (!one.is_known(&finding.path)).then(|| broken(one.manifest, finding)),
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
