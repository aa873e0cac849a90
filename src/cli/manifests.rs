//! Manifests: paths in, objects out, with the place of every field. The one place that reads YAML of users.
//!
//! Text means what it means to `kubectl`, which follows YAML 1.1 and divides documents at lines that begin with `---`: what is read
//! here is what a cluster would hold.

mod files;
mod finding;
mod print;
mod scalars;
mod yaml;

use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, OnceLock};

use serde::de::DeserializeOwned;
use serde_json::Value;

pub use finding::{Finding, Level, field};
pub use print::print;
use yaml::{Positions, Problem};

/// What the paths of a command line hold.
#[derive(Debug, Default)]
pub struct Loaded {
    /// The objects, in the order of paths, files and documents.
    pub manifests: Vec<Manifest>,
    /// What could not be read. Where there are some, the manifests are not all.
    pub findings: Vec<Finding>,
    /// Files of directories that hold no manifests, such as values of a chart.
    pub skipped: usize,
}

/// One object.
#[derive(Clone, Debug)]
pub struct Manifest {
    document: Arc<Document>,
    /// Its place in a List, as a pointer.
    item: String,
    value: Value,
}

/// One document of a file.
#[derive(Debug)]
struct Document {
    file: Arc<str>,
    /// The whole file.
    text: Arc<str>,
    /// This document of it.
    range: Range<usize>,
    /// Lines of the file before this document.
    before: usize,
    /// Filled only where somebody asks.
    positions: OnceLock<Positions>,
}

/// A manifest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ManifestError(Box<Finding>);

impl From<Finding> for ManifestError {
    fn from(finding: Finding) -> Self {
        Self(Box::new(finding))
    }
}

impl From<ManifestError> for Finding {
    fn from(error: ManifestError) -> Self {
        *error.0
    }
}

/// The objects that paths stand for: files, directories with all that is below them, patterns, and `-` for stdin. A file that
/// is named must be a manifest; in a directory others are skipped and counted.
pub fn load(paths: &[String]) -> Loaded {
    load_at_most(paths, files::MOST)
}

/// The same, up to a number of bytes of all files together.
fn load_at_most(paths: &[String], most: usize) -> Loaded {
    let mut loaded = Loaded::default();
    let mut size = 0;
    for found in files::find(paths, &mut loaded.findings) {
        let text = match files::text(&found.path) {
            Ok(text) => text,
            Err(finding) => {
                loaded.findings.push(*finding);
                continue;
            }
        };
        size += text.len();
        if size > most {
            let problem =
                format!("with this file, the files have more than {} MiB together: it and what follows was not read", most >> 20);
            loaded.findings.push(Finding::of_file(&found.path.to_string_lossy(), problem, "name fewer at a time"));
            break;
        }
        let name = if found.path == Path::new("-") { "stdin".into() } else { found.path.to_string_lossy() };
        let contents = Contents::read(&name, &text);
        if !found.named && contents.is_foreign() {
            loaded.skipped += 1;
            continue;
        }
        contents.into_loaded(&mut loaded);
    }
    loaded
}

/// The documents of a file; those that hold nothing are left out.
///
/// # Errors
/// The first document that is no YAML, or no object with `apiVersion` and `kind`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let mut loaded = Loaded::default();
    Contents::read(file, text).into_loaded(&mut loaded);
    match loaded.findings.into_iter().next() {
        Some(finding) => Err(finding.into()),
        None => Ok(loaded.manifests),
    }
}

/// What a file holds.
struct Contents {
    manifests: Vec<Manifest>,
    /// Documents that are no objects of a cluster, and why.
    others: Vec<Finding>,
    findings: Vec<Finding>,
}

impl Contents {
    fn read(file: &str, text: &str) -> Self {
        let mut contents = Self { manifests: Vec::new(), others: Vec::new(), findings: Vec::new() };
        let (file, text): (Arc<str>, Arc<str>) = (file.into(), text.into());
        let divided = divide(&text, |line, rest| {
            let problem = format!("--- is followed by {}, which kubectl refuses", field::shown(rest));
            contents.findings.push(Finding::at(&file, (line, 1), problem, "begin the document on the next line"));
        });
        for (range, before) in divided {
            let document = Document { file: file.clone(), text: text.clone(), range, before, positions: OnceLock::new() };
            contents.document(document);
        }
        contents
    }

    /// Whether this is some other kind of file.
    fn is_foreign(&self) -> bool {
        self.findings.is_empty() && self.manifests.is_empty()
    }

    fn into_loaded(self, loaded: &mut Loaded) {
        loaded.manifests.extend(self.manifests);
        loaded.findings.extend(self.findings);
        loaded.findings.extend(self.others);
    }

    fn document(&mut self, document: Document) {
        let reading = yaml::read(document.text());
        let document = Arc::new(document);
        match reading {
            Ok(reading) => {
                self.findings.extend(reading.problems.into_iter().map(|problem| document.finding(problem)));
                self.value(&document, String::new(), reading.value);
            }
            Err(problem) => match json_objects(document.text()) {
                Some(values) => values.into_iter().for_each(|value| self.value(&document, String::new(), value)),
                None => self.findings.push(document.finding(problem)),
            },
        }
    }

    fn value(&mut self, document: &Arc<Document>, item: String, value: Value) {
        if value.is_null() && item.is_empty() {
            return;
        }
        let mut manifest = Manifest { document: document.clone(), item, value };
        let text = |name: &str| manifest.value.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        match (text("apiVersion"), text("kind")) {
            (Some(api_version), Some(_)) if api_version.starts_with("kustomize.config.k8s.io/") => {
                let remedy = "build it: kubectl kustomize DIRECTORY | assist-operator validate -";
                self.others.push(manifest.finding("", "this is the recipe of kustomize, not a manifest", remedy));
            }
            (Some(_), Some(kind)) if kind.ends_with("List") && manifest.value.get("items").is_some_and(Value::is_array) => {
                if !manifest.item.is_empty() {
                    let problem = "a list stands inside of a list, which kubectl does not read";
                    self.findings.push(manifest.finding("", problem, "put its items into the outer one"));
                }
                let Some(Value::Array(items)) = manifest.value.get_mut("items").map(Value::take) else { return };
                for (index, value) in items.into_iter().enumerate() {
                    self.value(document, format!("{}/items/{index}", manifest.item), value);
                }
            }
            (Some(_), Some(_)) => self.manifests.push(manifest),
            (None, None) => {
                let problem = "apiVersion and kind are missing: this is no manifest";
                self.others.push(manifest.finding("", problem, "add them, or leave this file out"));
            }
            (api_version, _) => {
                let name = if api_version.is_none() { "apiVersion" } else { "kind" };
                let problem = format!("{name} is missing: a manifest names its apiVersion and kind");
                self.findings.push(manifest.finding("", problem, "add it"));
            }
        }
    }
}

impl Document {
    fn text(&self) -> &str {
        self.text.get(self.range.clone()).unwrap_or_default()
    }

    fn positions(&self) -> &Positions {
        self.positions.get_or_init(|| yaml::positions(self.text()))
    }

    /// Line and column of what a pointer names, or of the nearest that is there.
    fn locate(&self, mut pointer: &str) -> (usize, usize) {
        let positions = self.positions();
        loop {
            if let Some((line, column)) = positions.fields.get(pointer) {
                return (self.before + line, *column);
            }
            match pointer.rfind('/') {
                Some(at) => pointer = &pointer[..at],
                None => return (self.before + first_line(self.text()), 1),
            }
        }
    }

    /// The same of a place within a text, where that stands in the file as it is: in a literal block scalar.
    fn locate_within(&self, pointer: &str, content: &str, (line, column): (usize, usize)) -> Option<(usize, usize)> {
        let blank = content.lines().take_while(|line| line.is_empty()).count();
        let at = (self.positions().literals.get(pointer)? + line).checked_sub(blank + 1)?;
        let start = *self.positions().lines.get(at.checked_sub(1)?)?;
        let (raw, own) = (self.text().get(start..)?.lines().next()?, content.lines().nth(line.checked_sub(1)?)?);
        let indentation = raw.strip_suffix(own)?;
        indentation.bytes().all(|b| b == b' ').then(|| (self.before + at, indentation.len() + column))
    }

    fn finding(&self, problem: Problem) -> Finding {
        let at = (self.before + problem.line, problem.column);
        Finding::at(&self.file, at, problem.problem, problem.remedy)
    }
}

impl Manifest {
    /// Its `apiVersion`.
    pub fn api_version(&self) -> &str {
        self.text("/apiVersion").unwrap_or_default()
    }

    /// Its `kind`.
    pub fn kind(&self) -> &str {
        self.text("/kind").unwrap_or_default()
    }

    /// Its name; empty where it has none.
    pub fn name(&self) -> &str {
        self.text("/metadata/name").unwrap_or_default()
    }

    /// Its namespace, where it says one.
    pub fn namespace(&self) -> Option<&str> {
        self.text("/metadata/namespace").filter(|name| !name.is_empty())
    }

    /// Its content.
    pub fn value(&self) -> &Value {
        &self.value
    }

    fn text(&self, pointer: &str) -> Option<&str> {
        self.value.pointer(pointer).and_then(Value::as_str)
    }

    /// Its content as a typed object.
    ///
    /// # Errors
    /// The first field that does not fit, by its path.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            let path = field::pointer(&error.path().to_string());
            self.finding(&path, error.inner().to_string(), "correct it").into()
        })
    }

    /// Where it begins, as `file:line`.
    pub fn place(&self) -> String {
        format!("{}:{}", crate::engine::display::escape(&self.document.file), self.locate("").0)
    }

    /// Line and column, from 1, of a field such as `spec.skills[2].proficiency`, also as a JSON pointer: of the name of a member, of the
    /// beginning of an item. Where it is not there, of the nearest around it.
    pub fn locate(&self, path: &str) -> (usize, usize) {
        let pointer = if path.is_empty() || path.starts_with('/') { path.to_owned() } else { field::pointer(path) };
        self.document.locate(&(self.item.clone() + &pointer))
    }

    /// Line and column in the file of a place within a text, where each line of the text is a line of the file.
    pub fn locate_within(&self, pointer: &str, place: (usize, usize)) -> Option<(usize, usize)> {
        self.document.locate_within(&(self.item.clone() + pointer), self.text(pointer)?, place)
    }

    /// A finding about a field of it, by JSON pointer.
    pub fn finding(&self, pointer: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Finding {
        let mut finding = Finding::at(&self.document.file, self.locate(pointer), problem, remedy);
        let name = self.text("/metadata/name").or_else(|| self.text("/metadata/generateName")).unwrap_or("?");
        finding.object = Some(if self.kind().is_empty() { "?".to_owned() } else { format!("{}/{name}", self.kind()) });
        finding.field = field::path(pointer);
        finding
    }
}

/// The documents of a text, each with the lines before it; those that hold nothing are left out. `odd` gets what follows `---`.
fn divide(text: &str, mut odd: impl FnMut(usize, &str)) -> Vec<(Range<usize>, usize)> {
    let mut documents = Vec::new();
    let (mut start, mut before, mut at) = (0, 0, 0);
    let mut close = |range: Range<usize>, before| {
        if text.get(range.clone()).is_some_and(|text| !is_empty(text)) {
            documents.push((range, before));
        }
    };
    for (index, line) in text.split_inclusive('\n').enumerate() {
        // In the first column it ends a document also inside a block scalar.
        if let Some(rest) = line.strip_prefix("---") {
            let rest = rest.trim();
            if !rest.is_empty() && !rest.starts_with('#') {
                odd(index + 1, rest);
            }
            close(start..at, before);
            (start, before) = (at + line.len(), index + 1);
        }
        at += line.len();
    }
    close(start..text.len(), before);
    documents
}

fn is_empty(text: &str) -> bool {
    text.lines().all(|line| matches!(line.trim_start().chars().next(), None | Some('#')))
}

/// The first line that is not empty, from 1.
fn first_line(text: &str) -> usize {
    text.lines().take_while(|line| matches!(line.trim_start().chars().next(), None | Some('#'))).count() + 1
}

/// The objects of a JSON text that YAML does not read: several of them, or escapes that only JSON has.
fn json_objects(text: &str) -> Option<Vec<Value>> {
    text.trim_start()
        .starts_with('{')
        .then(|| serde_json::Deserializer::from_str(text).into_iter().collect::<Result<_, _>>().ok())?
}

#[cfg(test)]
mod tests;
