//! Rules of a prompt (contract section 4): all findings at once, in time that grows with the text and no faster.

mod declared;
mod scan;

use std::collections::{BTreeMap, HashMap, HashSet};

pub use declared::{
    check_ab_test, check_config_map_key, check_limits, check_metadata, check_variables, check_version, of_wire, wire_variables,
};
pub use scan::{Malformed, Placeholder, Placeholders, is_name, placeholders};

use super::display;
use super::finding::Finding;
use crate::api::{Limits, PromptTemplateSpec, Variable};

/// Most findings of one rule; what is more is counted.
const MOST_LISTED: usize = 20;
/// Longest text that is shown, in characters.
const LONGEST_SHOWN: usize = 40;
/// Variables and characters of a name that are looked at for a name that may have been meant.
const MOST_COMPARED: usize = 64;
/// Greatest edit distance of a name that may have been meant.
const NEAR: usize = 2;

/// Untrusted text for people: its beginning, escaped.
fn shown(text: &str) -> String {
    let mut out: String = text.chars().take(LONGEST_SHOWN).collect();
    out = display::escape(&out);
    if text.chars().nth(LONGEST_SHOWN).is_some() {
        out.push('…');
    }
    out
}

/// JSON pointer of a variable; a name that is too long for people is cut.
fn variable_path(name: &str) -> String {
    format!("/spec/variables/{}", shown(name).replace('~', "~0").replace('/', "~1"))
}

/// The findings of one rule: the first few, and how many there are besides.
struct Listed {
    path: String,
    what: &'static str,
    count: usize,
}

impl Listed {
    fn new(path: &str, what: &'static str) -> Self {
        Self { path: path.to_owned(), what, count: 0 }
    }

    fn push(&mut self, findings: &mut Vec<Finding>, finding: impl FnOnce() -> Finding) {
        self.count += 1;
        if self.count <= MOST_LISTED {
            findings.push(finding());
        }
    }

    fn close(self, findings: &mut Vec<Finding>) {
        if let Some(more @ 1..) = self.count.checked_sub(MOST_LISTED) {
            findings.push(Finding::new(self.path, format!("and {more} more {}", self.what), "correct the ones above first"));
        }
    }
}

/// All rules of a spec but those that every kind has (ids, interval). Text in a ConfigMap is not here: [`check`] it once it is
/// read.
pub fn check_spec(spec: &PromptTemplateSpec, findings: &mut Vec<Finding>) {
    if spec.content.is_some() == spec.content_from.is_some() {
        let problem = if spec.content.is_some() { "content and contentFrom are both set" } else { "there is no content" };
        let remedy = "set exactly one: content for a prompt in this manifest, contentFrom for one in a ConfigMap";
        findings.push(Finding::new("/spec/content", problem, remedy));
    }
    if let Some(content) = &spec.content {
        check(content, "/spec/content", &spec.variables, spec.limits.as_ref(), findings);
    }
    if let Some(from) = &spec.content_from {
        check_config_map_key(&from.config_map_key_ref, findings);
    }
    check_variables(&spec.variables, findings);
    spec.metadata.iter().for_each(|metadata| check_metadata(metadata, findings));
    spec.ab_test.iter().for_each(|test| check_ab_test(test, findings));
    spec.limits.iter().for_each(|limits| check_limits(limits, findings));
    spec.version.iter().for_each(|version| check_version(version, findings));
}

/// The four rules of the content (contract section 4), `path` being where it is declared. Lines and columns are those of the
/// text, from 1, columns in characters.
pub fn check(
    content: &str,
    path: &str,
    spec_variables: &BTreeMap<String, Variable>,
    limits: Option<&Limits>,
    findings: &mut Vec<Finding>,
) {
    let unset = Limits::default();
    let limits = limits.unwrap_or(&unset);
    let (characters, most) = (content.chars().count(), limits.max_characters());
    if characters > most {
        let problem = format!("it has {characters} characters, at most {most}");
        let remedy = format!("remove {}, or raise limits.maxCharacters (up to 32768)", characters - most);
        findings.push(Finding::new(path, problem, remedy));
    }
    let used = check_placeholders(content, path, spec_variables, findings);
    let mut unused = Listed::new("/spec/variables", "variables that do not occur");
    for name in spec_variables.keys().filter(|name| !used.contains(name.as_str())) {
        unused.push(findings, || {
            let remedy = format!("write {{{{{}}}}} where its value belongs, or remove it", shown(name));
            Finding::new(variable_path(name), "it does not occur in the content", remedy)
        });
    }
    unused.close(findings);
    let (tokens, most) = (estimated_tokens(content, spec_variables), limits.max_tokens());
    if tokens > f64::from(most) {
        let problem =
            format!("it is estimated at {tokens:.2} tokens (characters / 4, variables at their maxLength), at most {most}");
        let remedy = "shorten it, lower a maxLength, or raise limits.maxTokens (up to 8192)";
        findings.push(Finding::new(path, problem, remedy));
    }
}

/// Form of the placeholders, and that each is declared. The names that occur.
fn check_placeholders<'a>(
    content: &'a str,
    path: &str,
    variables: &BTreeMap<String, Variable>,
    findings: &mut Vec<Finding>,
) -> HashSet<&'a str> {
    let mut used = HashSet::new();
    let mut malformed = Listed::new(path, "invalid placeholders");
    // Each name once, where it first occurs, and how often.
    let mut undeclared: Vec<(Placeholder<'_>, &str, usize)> = Vec::new();
    let mut known = HashMap::new();
    for placeholder in placeholders(content) {
        match placeholder.name {
            Err(why) => malformed.push(findings, || malformed_finding(path, &placeholder, why)),
            Ok(name) if variables.contains_key(name) => drop(used.insert(name)),
            Ok(name) => {
                let index = *known.entry(name).or_insert(undeclared.len());
                match undeclared.get_mut(index) {
                    Some((_, _, count)) => *count += 1,
                    None => undeclared.push((placeholder, name, 1)),
                }
            }
        }
    }
    malformed.close(findings);
    let mut listed = Listed::new(path, "placeholders that are not declared");
    for (placeholder, name, count) in &undeclared {
        listed.push(findings, || undeclared_finding(path, placeholder, name, *count, variables));
    }
    listed.close(findings);
    used
}

fn malformed_finding(path: &str, placeholder: &Placeholder<'_>, why: Malformed) -> Finding {
    let Placeholder { line, column, raw, .. } = placeholder;
    let (what, remedy) = match why {
        Malformed::Unclosed => ("is not closed", "close it with }}, or write a single brace".to_owned()),
        Malformed::Spaced => {
            let inner = raw.trim_start_matches("{{").trim_end_matches("}}").trim();
            ("has space in its braces", format!("write {{{{{}}}}}", shown(inner)))
        }
        Malformed::NoName => {
            let remedy = "write {{name}} with letters, digits and _, not beginning with a digit, or single braces";
            ("is no placeholder", remedy.to_owned())
        }
    };
    Finding::new(path, format!("line {line}, column {column}: {} {what}", shown(raw)), remedy)
}

fn undeclared_finding(
    path: &str,
    placeholder: &Placeholder<'_>,
    name: &str,
    count: usize,
    variables: &BTreeMap<String, Variable>,
) -> Finding {
    let Placeholder { line, column, raw, .. } = placeholder;
    let more = if count > 1 { format!(" (and {} times more)", count - 1) } else { String::new() };
    let remedy = match nearest(name, variables) {
        Some(near) => format!("write {{{{{}}}}} if that is meant, or declare {} in spec.variables", shown(near), shown(name)),
        None => format!("declare {} in spec.variables, or correct its name", shown(name)),
    };
    Finding::new(path, format!("line {line}, column {column}: {} is not declared{more}", shown(raw)), remedy)
}

/// The declared name that may have been meant: at most two edits away, letters in upper and lower case being equal.
fn nearest<'a>(name: &str, variables: &'a BTreeMap<String, Variable>) -> Option<&'a str> {
    let candidates = variables.keys().take(MOST_COMPARED).filter(|key| is_name(key));
    let near = candidates.filter_map(|key| Some((distance(name, key)?, key.as_str())));
    near.min().map(|(_, key)| key)
}

/// Edit distance of two names, where it is small for their length.
fn distance(a: &str, b: &str) -> Option<usize> {
    if a.len().max(b.len()) > MOST_COMPARED || a.len().abs_diff(b.len()) > NEAR {
        return None;
    }
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.bytes().enumerate() {
        let mut diagonal = i;
        let mut left = i + 1;
        for (cell, y) in row.iter_mut().skip(1).zip(b.bytes()) {
            let kept = diagonal + usize::from(!x.eq_ignore_ascii_case(&y));
            diagonal = *cell;
            left = kept.min(left + 1).min(*cell + 1);
            *cell = left;
        }
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
    }
    let distance = *row.last()?;
    (distance <= NEAR && 2 * distance <= a.len().max(b.len())).then_some(distance)
}

/// Estimated tokens: a quarter of the characters of the content with every placeholder at its variable's `maxLength` (where
/// declared, else at its own length). Not rounded: quarters are exact in an `f64`.
pub fn estimated_tokens(content: &str, variables: &BTreeMap<String, Variable>) -> f64 {
    let longer = |placeholder: Placeholder<'_>| {
        let length = variables.get(placeholder.name.ok()?)?.max_length?;
        // A name is ASCII: its bytes are its characters.
        Some(f64::from(length) - placeholder.raw.len() as f64)
    };
    let characters = content.chars().count() as f64 + placeholders(content).filter_map(longer).sum::<f64>();
    characters / 4.0
}

#[cfg(test)]
#[path = "prompt_text_tests.rs"]
mod tests;
