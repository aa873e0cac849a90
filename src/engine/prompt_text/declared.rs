//! Rules of what is declared beside the content: variables, A/B test, version, limits, metadata, the ConfigMap's key.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{Listed, is_name, shown, variable_path};
use crate::api::prompt_template::{GREATEST_MAX_CHARACTERS, GREATEST_MAX_TOKENS, MAX_VARIABLES};
use crate::api::{AbTest, ConfigMapKeyRef, Limits, Variable, VariableType};
use crate::engine::finding::Finding;

/// Most characters of a default, and of a metadata value: the bound of the schema.
const MAX_TEXT: usize = 4096;
/// Most characters of a description.
const MAX_DESCRIPTION: usize = 1024;
/// Most entries of metadata.
const MAX_METADATA: usize = 64;
/// Most characters of a variable's name: what the API server can check of 50 of them within its cost budget.
const MAX_NAME: usize = 64;
/// Most characters of a version.
const MAX_VERSION: usize = 64;
/// Digits that an `f64` holds exactly.
const EXACT_DIGITS: usize = 15;

/// Number, names, defaults and `maxLength` of the variables.
pub fn check_variables(variables: &BTreeMap<String, Variable>, findings: &mut Vec<Finding>) {
    if variables.len() > MAX_VARIABLES {
        let problem = format!("{} variables are declared, at most {MAX_VARIABLES}", variables.len());
        findings.push(Finding::new("/spec/variables", problem, "join some, or split the prompt"));
    }
    let mut names = Listed::new("/spec/variables", "names that are not valid");
    let mut values = Listed::new("/spec/variables", "variables that are not valid");
    for (name, variable) in variables {
        let path = variable_path(name);
        if !is_name(name) || name.len() > MAX_NAME {
            let problem = format!("\"{}\" is no name of a variable", shown(name));
            names
                .push(findings, || Finding::new(&path, problem, "use 1 to 64 letters, digits and _, not beginning with a digit"));
        }
        for finding in of_variable(&path, variable) {
            values.push(findings, || finding);
        }
    }
    names.close(findings);
    values.close(findings);
}

fn of_variable(path: &str, variable: &Variable) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(length) = variable.max_length.filter(|length| !(1..=32_768).contains(length)) {
        let problem = format!("maxLength is {length}");
        findings.push(Finding::new(format!("{path}/maxLength"), problem, "use 1 to 32768 characters"));
    }
    if let Some(description) = &variable.description {
        of_length(&format!("{path}/description"), description, MAX_DESCRIPTION, &mut findings);
    }
    let Some(default) = &variable.default else { return findings };
    let path = format!("{path}/default");
    of_length(&path, default, MAX_TEXT, &mut findings);
    if read_default(variable.type_, default).is_none() {
        let (what, remedy) = match variable.type_ {
            VariableType::Number => (
                "is no JSON number of at most 15 digits",
                "write it as 3 or -0.5, with at most 2 digits of exponent, or change type",
            ),
            VariableType::Boolean => ("is no Boolean", "write true or false, quoted as text, or change type"),
            VariableType::String => {
                ("means on the wire that there is no default", "choose another text than string, number or boolean, or remove it")
            }
        };
        findings.push(Finding::new(&path, format!("\"{}\" {what}", shown(default)), remedy));
    }
    let length = default.chars().count();
    if let Some(most) = variable.max_length.filter(|most| usize::try_from(*most).unwrap_or(0) < length) {
        let problem = format!("it has {length} characters, more than maxLength {most}");
        findings.push(Finding::new(path, problem, "shorten it, or raise maxLength"));
    }
    findings
}

fn of_length(path: &str, text: &str, most: usize, findings: &mut Vec<Finding>) {
    let length = text.chars().count();
    if length > most {
        findings.push(Finding::new(path, format!("it has {length} characters, at most {most}"), "shorten it"));
    }
}

/// The default as its type reads it; `None` where it cannot be read, or would mean "no default" on the wire.
fn read_default(type_: VariableType, text: &str) -> Option<Value> {
    let no_default = [VariableType::String, VariableType::Number, VariableType::Boolean].map(VariableType::wire);
    match type_ {
        VariableType::String => (!no_default.contains(&text)).then(|| Value::from(text)),
        VariableType::Boolean => text.parse::<bool>().ok().map(Value::from),
        VariableType::Number => is_exact_number(text).then(|| serde_json::from_str(text).ok()).flatten(),
    }
}

/// Whether a text is a JSON number that an `f64` holds exactly enough to print it again: few digits, and an exponent of two.
fn is_exact_number(text: &str) -> bool {
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent.strip_prefix(['+', '-']).unwrap_or(exponent))),
        None => (text, None),
    };
    let unsigned = mantissa.strip_prefix('-').unwrap_or(mantissa);
    let (whole, fraction) = match unsigned.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (unsigned, None),
    };
    digits(whole)
        && (whole == "0" || !whole.starts_with('0'))
        && fraction.is_none_or(digits)
        && exponent.is_none_or(|exponent| digits(exponent) && exponent.len() <= 2)
        && whole.len() + fraction.map_or(0, str::len) <= EXACT_DIGITS
}

/// The variables as P2 takes them: each name with its default, or with the name of its type in lower case where there is none. A
/// default that breaks a rule counts as none.
pub fn wire_variables(variables: &BTreeMap<String, Variable>) -> Map<String, Value> {
    let value = |variable: &Variable| {
        let default = variable.default.as_ref().and_then(|text| read_default(variable.type_, text));
        default.unwrap_or_else(|| Value::from(variable.type_.wire()))
    };
    variables.iter().map(|(name, variable)| (name.clone(), value(variable))).collect()
}

/// A variable as a manifest declares it, from what the wire says of it; `None` where it is neither a type nor a default.
pub fn of_wire(value: &Value) -> Option<Value> {
    let text = match value {
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        Value::Bool(flag) => flag.to_string(),
        Value::Null | Value::Array(_) | Value::Object(_) => return None,
    };
    let types = [VariableType::String, VariableType::Number, VariableType::Boolean];
    if let Some(type_) = types.into_iter().find(|type_| value.as_str() == Some(type_.wire())) {
        return Some(json!({"type": type_}));
    }
    let type_ = match value {
        Value::Number(_) => VariableType::Number,
        Value::Bool(_) => VariableType::Boolean,
        _ => VariableType::String,
    };
    Some(json!({"type": type_, "default": text}))
}

/// Name of the variant, and its share.
pub fn check_ab_test(test: &AbTest, findings: &mut Vec<Finding>) {
    let id = &test.variant_id;
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if id.is_empty() || id.len() > 64 || !id.bytes().all(allowed) {
        let problem = format!("\"{}\" is no name of a variant", shown(id));
        findings.push(Finding::new("/spec/abTest/variantId", problem, "use 1 to 64 letters, digits, ., _ or -"));
    }
    if !(0..=100).contains(&test.traffic_percent) {
        let problem = format!("{} is no share of the traffic", test.traffic_percent);
        findings.push(Finding::new("/spec/abTest/trafficPercent", problem, "use 0 to 100: whole percent"));
    }
}

/// The version is a semantic version 2.0.0.
pub fn check_version(version: &str, findings: &mut Vec<Finding>) {
    if version.len() > MAX_VERSION || !is_semantic(version) {
        let problem = format!("\"{}\" is no semantic version", shown(version));
        let remedy = "write it as 2.1.0 or 2.1.0-beta.1, with at most 64 characters";
        findings.push(Finding::new("/spec/version", problem, remedy));
    }
}

fn is_semantic(version: &str) -> bool {
    let number =
        |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let word = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    let (version, build) = version.split_once('+').map_or((version, None), |(version, build)| (version, Some(build)));
    let (core, pre) = version.split_once('-').map_or((version, None), |(core, pre)| (core, Some(pre)));
    core.split('.').count() == 3
        && core.split('.').all(number)
        && pre.is_none_or(|pre| pre.split('.').all(|id| word(id) && (number(id) || !id.bytes().all(|b| b.is_ascii_digit()))))
        && build.is_none_or(|build| build.split('.').all(word))
}

/// The limits are in the range that can be configured.
pub fn check_limits(limits: &Limits, findings: &mut Vec<Finding>) {
    let mut check = |name: &str, set: Option<i32>, greatest: usize| {
        if let Some(set) = set.filter(|set| usize::try_from(*set).map_or(true, |set| set < 1 || set > greatest)) {
            let path = format!("/spec/limits/{name}");
            findings.push(Finding::new(path, format!("{set} is out of range"), format!("use 1 to {greatest}")));
        }
    };
    check("maxCharacters", limits.max_characters, GREATEST_MAX_CHARACTERS);
    check("maxTokens", limits.max_tokens, GREATEST_MAX_TOKENS as usize);
}

/// Number and length of the metadata.
pub fn check_metadata(metadata: &BTreeMap<String, String>, findings: &mut Vec<Finding>) {
    if metadata.len() > MAX_METADATA {
        let problem = format!("it has {} entries, at most {MAX_METADATA}", metadata.len());
        findings.push(Finding::new("/spec/metadata", problem, "remove some"));
    }
    let mut values = Listed::new("/spec/metadata", "values that are too long");
    for (name, value) in metadata {
        let mut found = Vec::new();
        of_length(&format!("/spec/metadata/{}", shown(name)), value, MAX_TEXT, &mut found);
        for finding in found {
            values.push(findings, || finding);
        }
    }
    values.close(findings);
}

/// Name and key of a ConfigMap, as Kubernetes has them.
pub fn check_config_map_key(reference: &ConfigMapKeyRef, findings: &mut Vec<Finding>) {
    let ConfigMapKeyRef { name, key } = reference;
    let path = "/spec/contentFrom/configMapKeyRef";
    let label = |text: &str| {
        let edge = |b: Option<u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inside)
    };
    if name.len() > 253 || !name.split('.').all(label) {
        let problem = format!("\"{}\" is no name of a ConfigMap", shown(name));
        findings.push(Finding::new(format!("{path}/name"), problem, "use lower-case letters, digits, - and ., at most 253"));
    }
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._-".contains(&b);
    if key.is_empty() || key.len() > 253 || !key.bytes().all(allowed) {
        let problem = format!("\"{}\" is no key of a ConfigMap", shown(key));
        findings.push(Finding::new(format!("{path}/key"), problem, "use letters, digits, -, _ and ., at most 253"));
    }
}
