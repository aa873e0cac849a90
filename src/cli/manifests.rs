//! Manifests: YAML text in, typed objects out. Errors name file and line. The one place that reads YAML of users.
//!
//! Scalars mean what they mean to `kubectl`, which follows YAML 1.1: a plain `yes`, `on` or `y` is true. What is read here is
//! what a cluster would hold.

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One document of a file.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// The file, as it is to be named in errors.
    file: String,
    /// The text, after as many empty lines as there are before it in the file: lines count as in the file.
    text: String,
    /// Its content.
    value: Value,
}

/// A manifest that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {problem}")]
pub struct ManifestError {
    /// The file.
    file: String,
    /// The line, from 1.
    line: u64,
    /// What is wrong.
    problem: String,
}

/// The documents of a file; those that hold nothing are left out.
///
/// # Errors
/// The first document that is no YAML, or no object with `apiVersion` and `kind`.
pub fn parse(file: &str, text: &str) -> Result<Vec<Manifest>, ManifestError> {
    let mut manifests = Vec::new();
    for text in documents(text) {
        let failed = |line, problem| ManifestError { file: file.to_owned(), line, problem };
        let value: Value = serde_saphyr::from_str(&text).map_err(|error| failed(line_of(&error, &text), problem(&error)))?;
        if value.is_null() {
            continue;
        }
        if let Some(name) = ["apiVersion", "kind"].iter().find(|name| !value.get(**name).is_some_and(Value::is_string)) {
            return Err(failed(first_line(&text), format!("{name} is missing: a manifest names its apiVersion and kind")));
        }
        manifests.push(Manifest { file: file.to_owned(), text, value });
    }
    Ok(manifests)
}

impl Manifest {
    /// Its content as a typed object.
    ///
    /// # Errors
    /// The first field that does not fit, by its path.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ManifestError> {
        serde_path_to_error::deserialize(&self.value).map_err(|error| {
            // The text is read once more only to learn the line; where it would pass, the document's first line has to do.
            let line = serde_saphyr::from_str::<T>(&self.text)
                .map_or_else(|error| line_of(&error, &self.text), |_| first_line(&self.text));
            let problem = format!("{}: {}", error.path(), error.inner());
            ManifestError { file: self.file.clone(), line, problem }
        })
    }
}

/// The texts of the documents, each after as many empty lines as there are before it.
fn documents(text: &str) -> Vec<String> {
    let mut out = vec![String::new()];
    for (index, line) in text.lines().enumerate() {
        // `---` in the first column ends a document also inside a block scalar.
        let is_marker = line == "---" || line.starts_with("--- ") || line.starts_with("---\t");
        if is_marker {
            out.push("\n".repeat(index));
        }
        if let Some(last) = out.last_mut() {
            last.push_str(if is_marker { line.trim_start_matches("---") } else { line });
            last.push('\n');
        }
    }
    out.retain(|text| text.lines().any(|line| !matches!(line.trim_start().chars().next(), None | Some('#'))));
    out
}

/// The first line that is not empty, from 1.
fn first_line(text: &str) -> u64 {
    let empty = text.lines().take_while(|line| matches!(line.trim_start().chars().next(), None | Some('#'))).count();
    u64::try_from(empty).unwrap_or(u64::MAX).saturating_add(1)
}

fn line_of(error: &serde_saphyr::Error, text: &str) -> u64 {
    error.location().map(|location| location.line()).filter(|line| *line > 0).unwrap_or_else(|| first_line(text))
}

/// The first line of the error's own words: the place is named already.
fn problem(error: &serde_saphyr::Error) -> String {
    error.without_snippet().to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::AgentAssistConfig;

    const TWO: &str = "# a comment\n---\napiVersion: v1\nkind: One\n---\n# nothing\n---\napiVersion: v1\nkind: Two\nflag: yes\n";

    #[test]
    fn a_file_may_hold_several_documents_and_booleans_read_as_kubectl_reads_them() {
        let manifests = parse("a.yaml", TWO).unwrap();
        assert_eq!(manifests.iter().map(|manifest| &manifest.value["kind"]).collect::<Vec<_>>(), ["One", "Two"]);
        assert_eq!(manifests[1].value["flag"], true);
    }

    #[test]
    fn errors_name_file_and_line() {
        let text = |text: &str| parse("a.yaml", text).unwrap_err().to_string();
        let broken = text(&format!("{TWO}---\nkind: [\n"));
        assert!(broken.starts_with("a.yaml:1"), "{broken}");
        assert_eq!(text("\n# x\nkind: A\n"), "a.yaml:3: apiVersion is missing: a manifest names its apiVersion and kind");
        let twice = text("apiVersion: v1\nkind: A\nspec: 1\nspec: 2\n");
        assert!(twice.starts_with("a.yaml:4: duplicate"), "{twice}");
    }

    #[test]
    fn a_field_that_does_not_fit_is_named_with_its_line() {
        let text =
            "apiVersion: v1\nkind: A\nmetadata: {name: a}\nspec:\n  orgRef: {name: o}\n  configId: c\n  restoreVersion: many\n";
        let error = parse("a.yaml", text).unwrap()[0].read::<AgentAssistConfig>().unwrap_err().to_string();
        assert!(error.starts_with("a.yaml:7: spec.restoreVersion: "), "{error}");
    }
}
