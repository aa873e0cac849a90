//! What the API server says of `metadata`.

use serde_json::{Map, Value};

use super::super::manifests::field::shown;
use super::names::suggestion;
use crate::engine::display;
use crate::engine::finding::Finding;

/// What is known in `metadata`.
const KNOWN: &[&str] = &[
    "name",
    "generateName",
    "namespace",
    "labels",
    "annotations",
    "finalizers",
    "ownerReferences",
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
    "managedFields",
    "selfLink",
];
/// Most bytes of all annotations together.
const MOST_ANNOTATED: usize = 256 << 10;

/// Most bytes of an object as JSON: the API server reads no larger request.
const LARGEST: usize = 3 << 20;

/// What is said of the size of an object. No rule is told of one that is too large.
pub fn size(object: &Value) -> Option<Finding> {
    struct Counter(usize);
    impl std::io::Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    // Counting cannot fail.
    let _ = serde_json::to_writer(&mut counter, object);
    let problem = || format!("it has {} bytes as JSON, at most {LARGEST}: the API server reads no larger request", counter.0);
    (counter.0 > LARGEST).then(|| Finding::new("", problem(), "shorten it"))
}

/// Checks the metadata of an object. `ours`: of a kind whose names are DNS names, and whose fields are known.
pub fn check(object: &Value, ours: bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    let metadata = match object.get("metadata") {
        Some(Value::Object(metadata)) => metadata,
        None | Some(Value::Null) => {
            findings.push(Finding::new("/metadata/name", "it is required", "name the object"));
            return findings;
        }
        Some(_) => {
            findings.push(Finding::new("/metadata", "it must be a mapping", "write name: below it"));
            return findings;
        }
    };
    name(metadata, ours, &mut findings);
    let namespace = text(metadata, "namespace", &mut findings);
    if let Some(namespace) = namespace.filter(|name| !name.is_empty() && (!is_label(name) || name.len() > 63)) {
        let problem = format!("{} is no name of a namespace", shown(namespace));
        findings.push(Finding::new("/metadata/namespace", problem, "use at most 63 lower-case letters, digits and -"));
    }
    if ours {
        let known: Vec<String> = KNOWN.iter().map(|known| (*known).to_owned()).collect();
        for name in metadata.keys().filter(|name| !known.contains(name)) {
            let pointer = format!("/metadata/{}", name.replace('~', "~0").replace('/', "~1"));
            findings.push(Finding::new(pointer, "unknown field", suggestion(name, known.iter())));
        }
    }
    keys(metadata, "labels", &mut findings);
    keys(metadata, "annotations", &mut findings);
    findings
}

fn name(metadata: &Map<String, Value>, ours: bool, findings: &mut Vec<Finding>) {
    let path = "/metadata/name";
    match text(metadata, "name", findings).filter(|name| !name.is_empty()) {
        Some(name) if ours && !is_subdomain(name) => {
            let problem = format!("{} is no name of an object", shown(name));
            let remedy =
                "use lower-case letters, digits, - and ., each part beginning and ending with a letter or digit, at most 253";
            findings.push(Finding::new(path, problem, remedy));
        }
        Some(_) => {}
        None if metadata.get("name").is_some_and(|name| !name.is_null() && !name.is_string()) => {}
        None if metadata.contains_key("generateName") => {
            let remedy = "name the object: with a name of its own each time, it would be another one each time";
            findings.push(Finding::new(path, "generateName cannot be applied", remedy));
        }
        None => findings.push(Finding::new(path, "it is required", "name the object")),
    }
}

fn text<'a>(metadata: &'a Map<String, Value>, name: &str, findings: &mut Vec<Finding>) -> Option<&'a str> {
    match metadata.get(name)? {
        Value::String(text) => Some(text),
        Value::Null => None,
        other => {
            let problem = format!("it must be a text, and is {}", display::value(other));
            findings.push(Finding::new(format!("/metadata/{name}"), problem, "put it in quotes"));
            None
        }
    }
}

/// Labels or annotations.
fn keys(metadata: &Map<String, Value>, name: &str, findings: &mut Vec<Finding>) {
    let map = match metadata.get(name) {
        None | Some(Value::Null) => return,
        Some(Value::Object(map)) => map,
        Some(_) => {
            findings.push(Finding::new(format!("/metadata/{name}"), "it must be a mapping", "write key: value below it"));
            return;
        }
    };
    let mut size = 0;
    for (key, value) in map {
        let pointer = format!("/metadata/{name}/{}", key.replace('~', "~0").replace('/', "~1"));
        let is_key = if name == "labels" { is_qualified(key) } else { is_qualified(&key.to_lowercase()) };
        if !is_key {
            let remedy = "use at most 63 letters, digits, -, _ and ., after an optional DNS name and /";
            findings.push(Finding::new(pointer.clone(), format!("{} is no key", shown(key)), remedy));
        }
        match value {
            Value::String(text) if name == "labels" && !text.is_empty() && !is_qualified_name(text) => {
                let problem = format!("{} is no value of a label", shown(text));
                findings.push(Finding::new(pointer, problem, "use at most 63 letters, digits, -, _ and ."));
            }
            Value::String(text) => size += key.len() + text.len(),
            Value::Null => {}
            other => {
                let problem = format!("it must be a text, and is {}", display::value(other));
                findings.push(Finding::new(pointer, problem, "put it in quotes"));
            }
        }
    }
    if name == "annotations" && size > MOST_ANNOTATED {
        let problem = format!("they have {size} bytes, at most {MOST_ANNOTATED}");
        findings.push(Finding::new("/metadata/annotations", problem, "shorten them"));
    }
}

/// DNS-1123 label, of any length.
fn is_label(text: &str) -> bool {
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    text.bytes().all(|b| is_alphanumeric(&b) || b == b'-')
        && text.as_bytes().first().is_some_and(is_alphanumeric)
        && text.as_bytes().last().is_some_and(is_alphanumeric)
}

/// DNS-1123 subdomain.
fn is_subdomain(text: &str) -> bool {
    text.len() <= 253 && text.split('.').all(is_label)
}

fn is_qualified(key: &str) -> bool {
    match key.split_once('/') {
        Some((prefix, name)) => is_subdomain(prefix) && is_qualified_name(name),
        None => is_qualified_name(key),
    }
}

fn is_qualified_name(name: &str) -> bool {
    let edge = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= 63
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && edge(name.as_bytes().first())
        && edge(name.as_bytes().last())
}
