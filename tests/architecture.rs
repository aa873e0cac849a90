//! The rules that no compiler checks: layers, sizes, documented CRD fields, generated files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

#[path = "architecture/reference.rs"]
mod reference;

use assist_operator::cli::rbac;
use assist_operator::kinds;
use serde_json::Value;

/// What each layer may use of the others. `cli` is above all of them.
const LAYERS: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("engine", &["api"]),
    ("genesys", &[]),
    ("remote", &["api", "engine", "genesys"]),
    ("controller", &["api", "engine", "remote", "genesys"]),
    ("sandbox", &["genesys"]),
    ("cli", &["api", "engine", "genesys", "remote", "controller", "sandbox", "kinds", "clock"]),
];

/// Modules that are no layer, and who may use them.
const EXCEPTIONS: &[(&str, &str, &str)] = &[
    ("controller", "clock", "the one place that reads the wall clock; decisions get the time as a value"),
    ("sandbox", "clock", "the embedded server has a wall clock of its own: Date headers and stamps"),
    ("controller", "kinds", "starts every kind of the registry"),
];

/// Words that have no place in a pure layer.
const IMPURE: &[&str] =
    &["async fn", "async move", ".await", "tokio::", "reqwest::", "kube::Client", "Instant::now", "Timestamp::now"];

const MAX_FILE: usize = 400;
const MAX_FUNCTION: usize = 60;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The Rust files below a folder, tests left out.
fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            if name == "tests" || name.ends_with("_tests") {
                continue;
            }
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root()).unwrap_or(path).display().to_string()
}

/// The code of a file, line by line: comments, the inside of texts and inline test modules are blank.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let blank = blanked(&text);
    let mut lines: Vec<String> = blank.lines().map(str::to_owned).collect();
    while let Some(at) = lines.iter().position(|line| line.trim() == "#[cfg(test)]") {
        let end = if lines.get(at + 1).is_some_and(|next| next.contains('{')) { end_of_block(&lines, at + 1) } else { at + 1 };
        lines.iter_mut().take(end + 1).skip(at).for_each(String::clear);
    }
    lines
}

/// The text with its comments, string and character literals made blank; lines stay where they are.
fn blanked(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let at = |index: usize| chars.get(index).copied().unwrap_or('\0');
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < chars.len() {
        let end = match at(i) {
            '/' if at(i + 1) == '/' => (i..).find(|&j| at(j) == '\n' || j >= chars.len()),
            'r' if matches!(at(i + 1), '"' | '#') && !out.ends_with(|c: char| c.is_alphanumeric() || c == '_') => {
                raw_end(&chars, i)
            }
            '"' => Some(quoted_end(&chars, i, '"')),
            // A character, not a lifetime.
            '\'' if at(i + 1) == '\\' || at(i + 2) == '\'' => Some(quoted_end(&chars, i, '\'')),
            _ => None,
        };
        let Some(end) = end else {
            out.push(at(i));
            i += 1;
            continue;
        };
        out.extend((i..end).map(|j| if at(j) == '\n' { '\n' } else { ' ' }));
        i = end;
    }
    out
}

fn quoted_end(chars: &[char], start: usize, quote: char) -> usize {
    let mut i = start + 1;
    while i < chars.len() && chars[i] != quote {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The end of `r"…"` or `r#"…"#`; none where it is a raw identifier.
fn raw_end(chars: &[char], start: usize) -> Option<usize> {
    let hashes = chars[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    (chars.get(open) == Some(&'"')).then_some(())?;
    let closes = |i: usize| chars[i] == '"' && chars[i + 1..].iter().take_while(|c| **c == '#').count() >= hashes;
    let end = (open + 1..chars.len()).find(|&i| closes(i))?;
    Some(end + 1 + hashes)
}

/// The line on which the block that begins on `start` ends.
fn end_of_block(lines: &[String], start: usize) -> usize {
    let mut depth = 0_usize;
    for (index, line) in lines.iter().enumerate().skip(start) {
        for c in line.chars() {
            match c {
                '{' => depth += 1,
                '}' => {
                    depth -= 1;
                    if depth == 0 {
                        return index;
                    }
                }
                // A declaration without a body.
                ';' if depth == 0 => return index,
                _ => {}
            }
        }
    }
    lines.len() - 1
}

/// The modules of this crate that the code names: `crate::x`, and each of `crate::{x, y::z}`.
fn used(lines: &[String]) -> BTreeSet<String> {
    let text = lines.join("\n");
    let mut used = BTreeSet::new();
    for (at, found) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
            continue;
        }
        let rest = &text[at + found.len()..];
        let name = |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
        match rest.strip_prefix('{') {
            None => drop(used.insert(name(rest))),
            Some(list) => {
                let mut depth = 0;
                let mut items = vec![String::new()];
                for c in list.chars().take_while(|c| {
                    depth += i32::from(*c == '{') - i32::from(*c == '}');
                    depth >= 0
                }) {
                    if c == ',' { items.push(String::new()) } else { items.last_mut().unwrap().push(c) }
                }
                used.extend(items.iter().map(|item| name(item)).filter(|item| !item.is_empty()));
            }
        }
    }
    used
}

#[test]
fn each_layer_uses_only_what_is_below_it() {
    let mut wrong = Vec::new();
    for (layer, below) in LAYERS {
        for file in sources(&root().join("src").join(layer)) {
            for module in used(&code(&file)) {
                let excepted = EXCEPTIONS.iter().any(|(who, what, _)| who == layer && *what == module);
                if module != *layer && !below.contains(&module.as_str()) && !excepted {
                    wrong.push(format!("{} uses crate::{module}", shown(&file)));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "a layer may use only what ARCHITECTURE.md allows:\n{}", wrong.join("\n"));
}

#[test]
fn every_folder_is_a_layer_and_every_exception_is_in_use() {
    let folders = fs::read_dir(root().join("src")).unwrap().map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let folders: BTreeSet<String> = folders.map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect();
    assert_eq!(folders, LAYERS.iter().map(|(layer, _)| (*layer).to_owned()).collect());
    for (layer, module, reason) in EXCEPTIONS {
        let files = sources(&root().join("src").join(layer));
        assert!(files.iter().any(|file| used(&code(file)).contains(*module)), "{layer} does not use {module} any more: {reason}");
    }
}

#[test]
fn the_pure_layers_have_no_clock_no_client_and_no_async() {
    let mut wrong = Vec::new();
    for layer in ["api", "engine"] {
        for file in sources(&root().join("src").join(layer)) {
            let text = code(&file).join("\n");
            wrong.extend(IMPURE.iter().filter(|word| text.contains(**word)).map(|word| format!("{}: {word}", shown(&file))));
        }
    }
    assert!(wrong.is_empty(), "time and IO come in as values:\n{}", wrong.join("\n"));
}

#[test]
fn files_and_functions_are_short() {
    let mut wrong = Vec::new();
    for file in sources(&root().join("src")) {
        let lines = code(&file);
        // What a test module takes is blank, and at the end.
        let length = lines.iter().rposition(|line| !line.trim().is_empty()).map_or(0, |last| last + 1);
        if length > MAX_FILE {
            wrong.push(format!("{}: {length} lines", shown(&file)));
        }
        for (start, line) in lines.iter().enumerate() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let Some(at) = words.iter().position(|word| *word == "fn") else { continue };
            let length = end_of_block(&lines, start) - start + 1;
            if length > MAX_FUNCTION {
                let name = words.get(at + 1).map_or("", |word| word.split('(').next().unwrap_or_default());
                wrong.push(format!("{}:{}: fn {name} has {length} lines", shown(&file), start + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "at most {MAX_FILE} lines a file and {MAX_FUNCTION} a function:\n{}", wrong.join("\n"));
}

#[test]
fn the_scanner_reads_code_and_not_texts() {
    let text = "use crate::{api::X, engine::{a, b}};\n// crate::cli\nfn f() { let _ = \"}{ crate::remote\"; let c = '{'; r#\"\"}\"#; }\nfn g<'a>(x: &'a str) {\n}\n";
    let lines: Vec<String> = blanked(text).lines().map(str::to_owned).collect();
    let names: BTreeSet<String> = ["api", "engine", "b"].map(str::to_owned).into();
    assert!(used(&lines).is_subset(&names) && used(&lines).contains("engine"), "{:?}", used(&lines));
    assert_eq!((end_of_block(&lines, 2), end_of_block(&lines, 3)), (2, 4));
    assert_eq!(lines.len(), text.lines().count());
}

/// The fields below a schema that have no description.
fn undescribed(schema: &Value, path: &str, out: &mut Vec<String>) {
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        let described = field["description"].as_str().is_some_and(|text| text.len() > 3);
        // What every object has is described by Kubernetes.
        if !described && !["apiVersion", "kind", "metadata"].iter().any(|known| path.ends_with(&format!("!.{known}"))) {
            out.push(path.clone());
        }
        undescribed(field, &path, out);
    }
    for inner in ["items", "additionalProperties"] {
        if schema[inner].is_object() {
            undescribed(&schema[inner], &format!("{path}[]"), out);
        }
    }
}

#[test]
fn every_field_of_every_crd_has_a_description() {
    let mut missing = Vec::new();
    let crds = kinds::crds().unwrap();
    // The org and the queue of audit records are of no kind.
    assert_eq!(crds.len(), kinds::KINDS.len() + 2);
    for crd in crds {
        let name = crd.spec.names.kind.clone();
        for version in serde_json::to_value(&crd.spec.versions).unwrap().as_array().unwrap() {
            let schema = &version["schema"]["openAPIV3Schema"];
            if schema["description"].as_str().is_none_or(str::is_empty) {
                missing.push(name.clone());
            }
            undescribed(schema, &format!("{name}!"), &mut missing);
        }
    }
    assert!(missing.is_empty(), "kubectl explain has nothing to say about:\n{}", missing.join("\n"));
}

/// Holds a generated file against what it must be; writes it where that is asked for.
fn assert_generated(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    assert!(kept == text, "{} is out of date: run UPDATE_GOLDEN=1 cargo test --test architecture", shown(path));
}

#[test]
fn the_crds_folder_and_the_chart_hold_what_the_binary_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_assist-operator")).arg("crds").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = String::from_utf8(output.stdout).unwrap();
    let documents: Vec<&str> = printed.split("---\n").filter(|document| !document.is_empty()).collect();
    let crds = kinds::crds().unwrap();
    assert_eq!(documents.len(), crds.len());
    // A chart cannot read files outside of itself.
    for folder in ["crds", "charts/assist-operator/files/crds"] {
        let folder = root().join(folder);
        let mut expected = BTreeSet::new();
        for (crd, document) in crds.iter().zip(&documents) {
            let name = format!("{}.yaml", crd.spec.names.plural);
            assert_generated(&folder.join(&name), &format!("---\n{document}"));
            expected.insert(name);
        }
        let files = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned());
        assert_eq!(files.collect::<BTreeSet<_>>(), expected, "a file in {} belongs to no CRD", shown(&folder));
    }
}

#[test]
fn the_reference_has_every_field_of_every_kind() {
    let page = reference::page();
    assert!(page.contains("| **`spec.configId`** | string |") && page.contains("`status.pendingPlan.digest`"), "{page}");
    assert_generated(&root().join("docs/reference.md"), &page);
}

#[test]
fn the_roles_of_the_chart_are_the_rules_of_the_registry() {
    let rules = rbac::rules().unwrap();
    let text =
        format!("# Generated: UPDATE_GOLDEN=1 cargo test --test architecture\n{}", serde_saphyr::to_string(&rules).unwrap());
    assert_generated(&root().join("charts/assist-operator/files/rules.yaml"), &text);
}

#[test]
fn the_viewer_reads_no_personal_data_and_nobody_but_the_operator_writes_a_status_or_an_audit_record() {
    let rules = rbac::rules().unwrap();
    let grants = |rules: &[Value], resource: &str, verb: &str| {
        let has = |list: &Value, what: &str| list.as_array().unwrap().iter().any(|item| item == what || item == "*");
        rules.iter().any(|rule| has(&rule["resources"], resource) && has(&rule["verbs"], verb))
    };
    assert_eq!(kinds::with_part("agents"), ["skillpolicies"]);
    for crd in kinds::crds().unwrap() {
        let plural = crd.spec.names.plural;
        let status = format!("{plural}/status");
        let (personal, record) = (plural == "skillpolicies", plural == "auditrecords");
        assert_eq!(grants(&rules.viewer, &plural, "get"), !personal && !record, "{plural}");
        assert!(grants(&rules.editor, &plural, "get"), "{plural}");
        assert_eq!(grants(&rules.editor, &plural, "update"), !record, "{plural}");
        for verb in ["update", "patch"] {
            assert!(!grants(&rules.viewer, &plural, verb), "{plural}");
            assert!(!grants(&rules.editor, &status, verb), "{plural}");
            assert!(!grants(&rules.controller, &plural, verb), "{plural}");
        }
    }
}

/// A table of all values: each leaf of `values.yaml` with its default and the comment above it.
fn values_table(yaml: &str) -> String {
    let lines: Vec<&str> = yaml.lines().collect();
    let indent = |line: &str| line.len() - line.trim_start().len();
    let is_key = |line: &str| !line.trim().is_empty() && !line.trim_start().starts_with('#');
    let (mut path, mut comment) = (Vec::<(usize, String)>::new(), Vec::new());
    let mut table = String::from("| value | unset | what it is |\n|---|---|---|\n");
    for (index, line) in lines.iter().enumerate() {
        if !is_key(line) {
            match line.trim_start().strip_prefix('#') {
                Some(text) => comment.push(text.trim()),
                None => comment.clear(),
            }
            continue;
        }
        let (key, value) = line.trim().split_once(':').unwrap_or_else(|| panic!("values.yaml:{}: no key", index + 1));
        path.retain(|(depth, _)| *depth < indent(line));
        path.push((indent(line), key.to_owned()));
        let text = std::mem::take(&mut comment).join(" ");
        let inner = lines[index + 1..].iter().find(|line| is_key(line)).is_some_and(|next| indent(next) > indent(line));
        let inherited = path.iter().any(|(_, key)| key == "requests" || key == "limits" || key == "labels");
        if value.is_empty() && inner && text.is_empty() {
            continue;
        }
        assert!(!text.is_empty() || inherited, "values.yaml:{}: {key} has no comment", index + 1);
        if !text.is_empty() {
            let name: Vec<&str> = path.iter().map(|(_, key)| key.as_str()).collect();
            let value = if value.is_empty() { "see `values.yaml`".to_owned() } else { format!("`{}`", value.trim()) };
            table.push_str(&format!("| `{}` | {value} | {} |\n", name.join("."), text.replace('|', "\\|")));
        }
    }
    table
}

#[test]
fn the_readme_of_the_chart_has_a_line_for_each_value() {
    let chart = root().join("charts/assist-operator");
    let table = values_table(&fs::read_to_string(chart.join("values.yaml")).unwrap());
    assert!(table.contains("| `metrics.serviceMonitor.interval` | `30s` |") && table.lines().count() > 50, "{table}");
    let readme = fs::read_to_string(chart.join("README.md")).unwrap();
    let (begin, end) = ("<!-- values -->\n", "<!-- end of values -->");
    let (before, rest) = readme.split_once(begin).unwrap();
    let (_, after) = rest.split_once(end).unwrap();
    assert_generated(&chart.join("README.md"), &format!("{before}{begin}{table}{end}{after}"));
}

/// The files that are tracked, or would be; all of them where this is no checkout.
fn tracked() -> Vec<PathBuf> {
    let git =
        Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root()).output();
    if let Some(output) = git.ok().filter(|output| output.status.success()) {
        let names = String::from_utf8(output.stdout).unwrap();
        return names
            .split('\0')
            .filter(|name| !name.is_empty())
            .map(|name| root().join(name))
            .filter(|path| path.is_file())
            .collect();
    }
    let mut files = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()) {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if !["target", ".git"].contains(&name.as_str()) => folders.push(path),
                true => {}
                false => files.push(path),
            }
        }
    }
    files
}

#[test]
fn no_file_names_a_path_of_the_machine_it_was_written_on() {
    // In two parts: this file is tracked too.
    let paths = [concat!("/wo", "rk/"), concat!("/ro", "ot/")];
    let mut wrong = Vec::new();
    let files = tracked();
    assert!(files.len() > 50);
    for file in files {
        let text = String::from_utf8_lossy(&fs::read(&file).unwrap()).into_owned();
        for (number, line) in text.lines().enumerate() {
            let absolute = |path: &&str| {
                let begins = |at: usize| !line[..at].ends_with(|c: char| c.is_alphanumeric() || "_-.}".contains(c));
                line.match_indices(*path).any(|(at, _)| begins(at))
            };
            wrong.extend(
                paths.iter().filter(|path| absolute(path)).map(|path| format!("{}:{}: {path}", shown(&file), number + 1)),
            );
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
