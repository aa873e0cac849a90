//! What a prompt version may be: the schema of P2 and rules 1 to 3 of contract 4. The estimate of rule 4 is the client's own.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::error_body::{invalid_property, invalid_value};
use super::reply::Reply;

/// Most characters that any limit allows (contract 4, rule 1).
const MAX_CHARACTERS: usize = 32_768;

/// The keys of P2.
const KEYS: [&str; 7] = ["templateId", "version", "content", "variables", "rollbackDirective", "abTestingTrigger", "metadata"];

/// The keys of a test.
const TEST_KEYS: [&str; 3] = ["enabled", "trafficPercent", "variantId"];

/// The test that a request starts.
#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub(super) variant_id: String,
    /// A whole number of percent.
    pub(super) percent: f64,
}

impl Test {
    /// The header that goes with it.
    pub(super) fn header(&self) -> String {
        format!("variant={},traffic={}", self.variant_id, self.percent)
    }
}

/// Checks the shape of a request for the template, and answers the test that it starts.
pub(super) fn schema(id: &str, body: &Map<String, Value>) -> Result<Option<Test>, Reply> {
    if let Some(key) = body.keys().find(|key| !KEYS.contains(&key.as_str())) {
        return Err(invalid_property(key));
    }
    let text = |key: &str| body.get(key).and_then(Value::as_str);
    if text("templateId") != Some(id) {
        return Err(invalid_value("templateId", "must be the template of the path"));
    }
    if !text("version").is_some_and(is_semver) {
        return Err(invalid_value("version", "must be a semantic version"));
    }
    if text("content").is_none() {
        return Err(invalid_value("content", "must be text"));
    }
    let Some(variables) = body.get("variables").and_then(Value::as_object) else {
        return Err(invalid_value("variables", "must be an object"));
    };
    if !variables.values().all(is_scalar) {
        return Err(invalid_value("variables", "must each be text, a number or a truth value"));
    }
    if body.get("rollbackDirective") != Some(&Value::Bool(false)) {
        return Err(invalid_value("rollbackDirective", "must be false"));
    }
    if body.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        return Err(invalid_value("metadata", "must be an object"));
    }
    body.get("abTestingTrigger").map(test).transpose()
}

/// Checks a test. One that is off is not sent at all.
fn test(test: &Value) -> Result<Test, Reply> {
    let Some(members) = test.as_object() else { return Err(invalid_value("abTestingTrigger", "must be an object")) };
    if let Some(key) = members.keys().find(|key| !TEST_KEYS.contains(&key.as_str())) {
        return Err(invalid_property(&format!("abTestingTrigger.{key}")));
    }
    if test["enabled"] != true {
        return Err(invalid_value("abTestingTrigger.enabled", "must be true"));
    }
    let Some(fraction) = test["trafficPercent"].as_f64().filter(|fraction| (0.0..=1.0).contains(fraction)) else {
        return Err(invalid_value("abTestingTrigger.trafficPercent", "must be a fraction from 0 to 1"));
    };
    let variant = test["variantId"].as_str().filter(|id| (1..=64).contains(&id.len()));
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let Some(variant) = variant.filter(|id| id.chars().all(allowed)) else {
        return Err(invalid_value("abTestingTrigger.variantId", "must be 1 to 64 letters, digits, dots, dashes or underscores"));
    };
    Ok(Test { variant_id: variant.to_owned(), percent: (fraction * 100.0).round() })
}

/// Rules 1 to 3 of contract 4.
pub(super) fn content(body: &Map<String, Value>) -> Result<(), Reply> {
    let content = body.get("content").and_then(Value::as_str).unwrap_or_default();
    let length = content.chars().count();
    if length > MAX_CHARACTERS {
        return Err(invalid_value("content", &format!("has {length} characters, {MAX_CHARACTERS} are allowed")));
    }
    let used = placeholders(content).map_err(|why| invalid_value("content", why))?;
    let declared: BTreeSet<&str> =
        body.get("variables").and_then(Value::as_object).into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    if let Some(name) = used.difference(&declared).next() {
        return Err(invalid_value("content", &format!("uses the variable {name:?}, which is not declared")));
    }
    match declared.difference(&used).next() {
        Some(name) => Err(invalid_value("variables", &format!("declare {name:?}, which the content does not use"))),
        None => Ok(()),
    }
}

/// The names between double braces; each reaches from `{{` to the next `}}`.
fn placeholders(content: &str) -> Result<BTreeSet<&str>, &'static str> {
    let mut names = BTreeSet::new();
    let mut rest = content;
    while let Some((_, after)) = rest.split_once("{{") {
        let (name, after) = after.split_once("}}").ok_or("has a placeholder that does not end")?;
        let begins = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        if !begins || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err("has an invalid placeholder");
        }
        names.insert(name);
        rest = after;
    }
    Ok(names)
}

/// Checks a version of a seed, its number aside: the members that it may have and their types.
pub(super) fn stored(version: &Value) -> Result<(), String> {
    const MEMBERS: [&str; 6] = ["version", "content", "variables", "metadata", "abTestingTrigger", "dateCreated"];
    let unknown = |name: &&String| !MEMBERS.contains(&name.as_str());
    if let Some(name) = version.as_object().into_iter().flat_map(Map::keys).find(unknown) {
        return Err(format!("has no member {name:?}"));
    }
    if !version["content"].is_string() {
        return Err("needs a text \"content\"".to_owned());
    }
    let scalars = |value: &Value| value.as_object().is_some_and(|members| members.values().all(is_scalar));
    if version.get("variables").is_some_and(|variables| !scalars(variables)) {
        return Err("variables must be an object of texts, numbers and truth values".to_owned());
    }
    if version.get("metadata").is_some_and(|metadata| !metadata.is_object()) {
        return Err("metadata must be an object".to_owned());
    }
    Ok(())
}

fn is_scalar(value: &Value) -> bool {
    value.is_string() || value.is_number() || value.is_boolean()
}

/// Whether a text is a version of semver 2.0.0.
pub(super) fn is_semver(text: &str) -> bool {
    let (text, build) = text.split_once('+').map_or((text, None), |(text, build)| (text, Some(build)));
    let (core, pre) = text.split_once('-').map_or((text, None), |(core, pre)| (core, Some(pre)));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let number = |part: &str| digits(part) && (part == "0" || !part.starts_with('0'));
    let word = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    let parts: Vec<&str> = core.split('.').collect();
    parts.len() == 3
        && parts.into_iter().all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|part| word(part) && (!digits(part) || number(part))))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// The next patch number.
pub(super) fn next_patch(version: &str) -> String {
    let core = version.split(['-', '+']).next().unwrap_or_default();
    let mut parts = core.split('.').map(|part| part.parse::<u64>().unwrap_or(0));
    let mut next = || parts.next().unwrap_or(0);
    format!("{}.{}.{}", next(), next(), next().saturating_add(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_semantic() {
        for version in ["0.0.0", "2.1.0", "1.0.0-beta.1", "1.0.0-0a.x-y", "1.0.0+001", "10.20.30-rc+b.1"] {
            assert!(is_semver(version), "{version}");
        }
        for version in
            ["", "1", "1.0", "1.0.0.0", "v1.0.0", "01.0.0", "1.0.x", "1.0.0-", "1.0.0-01", "1.0.0+", "1.0.0-a..b", " 1.0.0"]
        {
            assert!(!is_semver(version), "{version}");
        }
        assert_eq!((next_patch("2.1.9"), next_patch("1.0.0-beta+x")), ("2.1.10".to_owned(), "1.0.1".to_owned()));
    }

    #[test]
    fn a_placeholder_is_a_name_in_double_braces() {
        let names = |content| placeholders(content).map(|names| names.into_iter().collect::<Vec<_>>());
        assert_eq!(names("{{a}} {b} {{_c1}}{{a}} }}"), Ok(vec!["_c1", "a"]));
        for content in ["{{ a }}", "{{1a}}", "{{a.b}}", "{{}}", "{{{a}}}", "{{é}}"] {
            assert_eq!(names(content), Err("has an invalid placeholder"), "{content}");
        }
        assert_eq!(names("{{a}} {{b}"), Err("has a placeholder that does not end"));
    }
}
