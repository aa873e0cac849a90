//! What the API server says of an object by the schema of its CRD. A walker of our own and not a JSON Schema library: a structural schema
//! has few keywords (a test holds that ours have no others), libraries know neither pruning nor list maps, and their weight is many
//! times this file's.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, JSONSchemaPropsOrArray, JSONSchemaPropsOrBool,
};
use serde_json::{Map, Value};

use super::super::manifests::field::shown;
use super::names::{is_near, nearest, suggestion};
use crate::engine::display;
use crate::engine::finding::Finding;

/// The schemas of all kinds of a group.
#[derive(Debug)]
pub struct Schemas {
    kinds: BTreeMap<String, BTreeMap<String, JSONSchemaProps>>,
    /// The API group.
    pub group: String,
}

impl Schemas {
    /// The schemas of CRDs of one group.
    pub fn new(crds: Vec<CustomResourceDefinition>) -> Self {
        let mut schemas = Self { kinds: BTreeMap::new(), group: String::new() };
        for crd in crds {
            schemas.group = crd.spec.group;
            let versions = crd.spec.versions.into_iter().filter(|version| version.served);
            let schema = versions.filter_map(|version| Some((version.name, version.schema?.open_api_v3_schema?)));
            schemas.kinds.insert(crd.spec.names.kind, schema.collect());
        }
        schemas
    }

    /// The schema of a kind, or what is wrong with `apiVersion` or `kind`. Nothing for a kind of another group.
    pub fn of(&self, api_version: &str, kind: &str) -> Option<Result<&JSONSchemaProps, Finding>> {
        let version = match api_version.split_once('/') {
            Some((group, version)) if group == self.group => version,
            Some((group, _)) if !self.kinds.contains_key(kind) || !is_near(group, &self.group) => return None,
            None if !self.kinds.contains_key(kind) => return None,
            _ => {
                let problem = format!("{} has no kind {kind}", shown(api_version));
                return Some(Err(Finding::new("/apiVersion", problem, format!("write {}/v1alpha1", self.group))));
            }
        };
        let Some(versions) = self.kinds.get(kind) else {
            let problem = format!("{} has no kind {}", self.group, shown(kind));
            return Some(Err(Finding::new("/kind", problem, suggestion(kind, self.kinds.keys()))));
        };
        Some(versions.get(version).ok_or_else(|| {
            let problem = format!("{kind} has no version {}", shown(version));
            let known: Vec<String> = versions.keys().map(|version| format!("{}/{version}", self.group)).collect();
            Finding::new("/apiVersion", problem, format!("write {}", known.join(" or ")))
        }))
    }
}

/// `value` without what the API server drops before it looks: nulls of fields that cannot be null.
pub fn pruned(schema: &JSONSchemaProps, value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let member = |name: &String, value: &Value| {
                let schema = member_schema(schema, name);
                let dropped = value.is_null() && schema.is_some_and(|schema| !schema.nullable.unwrap_or(false));
                (!dropped).then(|| (name.clone(), schema.map_or_else(|| value.clone(), |schema| pruned(schema, value))))
            };
            Value::Object(map.iter().filter_map(|(name, value)| member(name, value)).collect())
        }
        Value::Array(list) => match items(schema) {
            Some(schema) => Value::Array(list.iter().map(|value| pruned(schema, value)).collect()),
            None => value.clone(),
        },
        other => other.clone(),
    }
}

/// The schema of a member of an object, where it is known.
pub fn member_schema<'a>(schema: &'a JSONSchemaProps, name: &str) -> Option<&'a JSONSchemaProps> {
    if let Some(schema) = schema.properties.as_ref().and_then(|properties| properties.get(name)) {
        return Some(schema);
    }
    match &schema.additional_properties {
        Some(JSONSchemaPropsOrBool::Schema(schema)) => Some(schema),
        _ => None,
    }
}

/// The schema of the items of a list.
pub fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match &schema.items {
        Some(JSONSchemaPropsOrArray::Schema(schema)) => Some(schema),
        _ => None,
    }
}

/// Checks an object that was [`pruned`].
pub fn check(schema: &JSONSchemaProps, value: &Value) -> Vec<Finding> {
    let mut walk = Walk { findings: Vec::new(), count: 0, pointer: String::new() };
    let Some(map) = value.as_object() else { return walk.findings };
    // `metadata` has rules of its own.
    let own: Map<String, Value> =
        map.iter().filter(|(name, _)| !ROOT.contains(&name.as_str())).map(|(n, v)| (n.clone(), v.clone())).collect();
    walk.object(schema, &own);
    if let Some(more @ 1..) = walk.count.checked_sub(MOST_LISTED) {
        walk.findings.push(Finding::new("", format!("and {more} more findings about it"), "correct the others first"));
    }
    // Values of a status are dropped; that it has unknown fields is still refused.
    walk.findings.retain(|finding| !finding.path.starts_with("/status/") || finding.problem.starts_with(UNKNOWN));
    walk.findings
}

const UNKNOWN: &str = "unknown field";
/// What every object has.
const ROOT: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// Most findings that are told of one object; what is more is counted.
const MOST_LISTED: usize = 1000;
/// Longest pointer of a finding: a longer one is that of what is around it.
const LONGEST: usize = 1024;

fn around(pointer: &str) -> &str {
    let mut pointer = pointer;
    while pointer.len() > LONGEST {
        pointer = pointer.rfind('/').map_or("", |at| &pointer[..at]);
    }
    pointer
}

struct Walk {
    findings: Vec<Finding>,
    /// How many there are.
    count: usize,
    pointer: String,
}

impl Walk {
    fn complain(&mut self, problem: impl Into<String>, remedy: impl Into<String>) {
        self.count += 1;
        if self.count <= MOST_LISTED {
            self.findings.push(Finding::new(around(&self.pointer), problem, remedy));
        }
    }

    fn inside(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        let before = self.pointer.len();
        self.pointer.push('/');
        self.pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
        check(self);
        self.pointer.truncate(before);
    }

    fn value(&mut self, schema: &JSONSchemaProps, value: &Value) {
        if !self.has_type(schema, value) {
            return;
        }
        if let Some(known) = &schema.enum_
            && !known.iter().any(|known| known.0 == *value)
        {
            let known: Vec<String> =
                known.iter().map(|known| known.0.as_str().map_or_else(|| known.0.to_string(), str::to_owned)).collect();
            let near = value.as_str().map_or_else(String::new, |text| nearest(text, known.iter()));
            let remedy = if near.is_empty() {
                format!("set one of {}", known.join(", "))
            } else {
                format!("did you mean {near}? One of {}", known.join(", "))
            };
            self.complain(format!("{} is not supported", display::value(value)), remedy);
        }
        match value {
            Value::String(text) => self.string(schema, text),
            Value::Number(number) => self.number(schema, number.as_f64().unwrap_or_default()),
            Value::Array(list) => self.list(schema, list),
            Value::Object(map) => self.object(schema, map),
            _ => {}
        }
    }

    fn has_type(&mut self, schema: &JSONSchemaProps, value: &Value) -> bool {
        let (fits, wanted) = type_of(schema, value);
        if !fits {
            let remedy = match (wanted, value) {
                ("a text", Value::Bool(_)) => {
                    "put it in quotes: without them YAML reads yes, no, on, off, y and n as true or false"
                }
                ("a text", Value::Number(_)) => "put it in quotes: without them YAML reads a number",
                ("a number" | "an integer" | "true or false", Value::String(_)) => "write it without quotes",
                _ => "correct it",
            };
            self.complain(format!("it must be {wanted}, and is {}", kind_of(value)), remedy);
        }
        fits
    }

    fn string(&mut self, schema: &JSONSchemaProps, text: &str) {
        let length = i64::try_from(text.chars().count()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_length.filter(|least| length < *least) {
            self.complain(format!("it has {length} characters, at least {least}"), "write more");
        }
        if let Some(most) = schema.max_length.filter(|most| length > *most) {
            self.complain(format!("it has {length} characters, at most {most}"), "shorten it");
        }
        if schema.format.as_deref() == Some("date-time") && text.parse::<jiff::Timestamp>().is_err() {
            self.complain(format!("{} is no time", shown(text)), "write it as 2026-01-31T12:00:00Z");
        }
    }

    fn number(&mut self, schema: &JSONSchemaProps, number: f64) {
        let (least, most) = range(schema);
        if let Some(least) = least.filter(|least| number < *least) {
            self.complain(format!("{number} is too small, at least {least}"), "set a greater number");
        }
        if let Some(most) = most.filter(|most| number > *most) {
            self.complain(format!("{number} is too great, at most {most}"), "set a smaller number");
        }
    }

    fn list(&mut self, schema: &JSONSchemaProps, list: &[Value]) {
        let length = i64::try_from(list.len()).unwrap_or(i64::MAX);
        if let Some(least) = schema.min_items.filter(|least| length < *least) {
            self.complain(format!("it has {length} entries, at least {least}"), "add some");
        }
        if let Some(most) = schema.max_items.filter(|most| length > *most) {
            self.complain(format!("it has {length} entries, at most {most}"), "remove some");
            // A list of any length is not gone through.
            return;
        }
        if schema.x_kubernetes_list_type.as_deref() == Some("map") {
            self.keys(schema.x_kubernetes_list_map_keys.as_deref().unwrap_or_default(), list);
        }
        if let Some(schema) = items(schema) {
            for (index, value) in list.iter().enumerate() {
                self.inside(&index.to_string(), |walk| walk.value(schema, value));
            }
        }
    }

    fn keys(&mut self, keys: &[String], list: &[Value]) {
        let mut seen = BTreeSet::new();
        for (index, item) in list.iter().enumerate() {
            let own: Vec<String> = keys.iter().map(|key| item.get(key).map(ToString::to_string).unwrap_or_default()).collect();
            let problem = format!("{} {} is listed twice", keys.join(", "), display::escape(&own.join(", ")));
            if !seen.insert(own) {
                self.inside(&index.to_string(), |walk| walk.complain(problem, "keep one of the two"));
            }
        }
    }

    fn object(&mut self, schema: &JSONSchemaProps, map: &Map<String, Value>) {
        let size = i64::try_from(map.len()).unwrap_or(i64::MAX);
        if let Some(most) = schema.max_properties.filter(|most| size > *most) {
            self.complain(format!("it has {size} members, at most {most}"), "remove some");
            return;
        }
        if let Some(least) = schema.min_properties.filter(|least| size < *least) {
            self.complain(format!("it has {size} members, at least {least}"), "add some");
        }
        self.required(schema, map);
        self.unknown(schema, map);
        for (name, value) in map {
            if let Some(schema) = member_schema(schema, name) {
                self.inside(name, |walk| walk.value(schema, value));
            }
        }
    }

    fn required(&mut self, schema: &JSONSchemaProps, map: &Map<String, Value>) {
        for name in schema.required.iter().flatten().filter(|name| !map.contains_key(*name)) {
            self.inside(name, |walk| walk.complain("it is required", "add it"));
        }
    }

    fn unknown(&mut self, schema: &JSONSchemaProps, map: &Map<String, Value>) {
        if schema.x_kubernetes_preserve_unknown_fields == Some(true) {
            return;
        }
        let known = schema.properties.iter().flat_map(BTreeMap::keys);
        for name in map.keys().filter(|name| member_schema(schema, name).is_none()) {
            self.inside(name, |walk| walk.complain(UNKNOWN, suggestion(name, known.clone())));
        }
    }
}

/// Whether a value has the type of its schema, and what that is.
fn type_of(schema: &JSONSchemaProps, value: &Value) -> (bool, &'static str) {
    let is_integer = value.as_f64().is_some_and(|number| number.fract() == 0.0);
    if schema.x_kubernetes_int_or_string == Some(true) {
        return (is_integer || value.is_string(), "an integer or a text");
    }
    match schema.type_.as_deref() {
        Some("object") => (value.is_object(), "a mapping"),
        Some("array") => (value.is_array(), "a list"),
        Some("string") => (value.is_string(), "a text"),
        Some("boolean") => (value.is_boolean(), "true or false"),
        Some("integer") => (is_integer, "an integer"),
        Some("number") => (value.is_number(), "a number"),
        _ => (true, ""),
    }
}

/// The least and the greatest number.
fn range(schema: &JSONSchemaProps) -> (Option<f64>, Option<f64>) {
    let (least, most) = match schema.format.as_deref() {
        Some("int32") => (Some(f64::from(i32::MIN)), Some(f64::from(i32::MAX))),
        _ => (None, None),
    };
    (schema.minimum.or(least), schema.maximum.or(most))
}

/// Whether a value, but for what is inside of it, can be read as what its schema says.
pub fn fits(schema: &JSONSchemaProps, value: &Value) -> bool {
    let (least, most) = range(schema);
    let in_range = |number: f64| least.is_none_or(|least| number >= least) && most.is_none_or(|most| number <= most);
    type_of(schema, value).0
        && value.as_f64().is_none_or(in_range)
        && schema.enum_.as_ref().is_none_or(|known| known.iter().any(|known| known.0 == *value))
}

fn kind_of(value: &Value) -> String {
    match value {
        Value::Null => "empty".to_owned(),
        Value::Object(_) => "a mapping".to_owned(),
        Value::Array(_) => "a list".to_owned(),
        Value::String(text) if text.chars().count() <= 40 => format!("the text {}", display::value(value)),
        Value::String(_) => "a text".to_owned(),
        other => display::value(other),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::Value;

    /// The keywords of a schema, at any depth.
    fn keywords(schema: &Value, out: &mut BTreeSet<String>) {
        for (name, value) in schema.as_object().into_iter().flatten() {
            out.insert(name.clone());
            match name.as_str() {
                "properties" => value.as_object().into_iter().flatten().for_each(|(_, schema)| keywords(schema, out)),
                "items" | "additionalProperties" => keywords(value, out),
                _ => {}
            }
        }
    }

    #[test]
    fn the_crds_use_no_keyword_that_is_not_checked() {
        let checked = [
            "type",
            "properties",
            "items",
            "additionalProperties",
            "required",
            "enum",
            "format",
            "minLength",
            "maxLength",
            "minimum",
            "maximum",
            "minItems",
            "maxItems",
            "minProperties",
            "maxProperties",
            "x-kubernetes-int-or-string",
            "x-kubernetes-list-map-keys",
            "x-kubernetes-list-type",
            "x-kubernetes-preserve-unknown-fields",
        ];
        // The engine has the rules of CEL; the others refuse nothing.
        let others = ["x-kubernetes-validations", "title", "description", "default"];
        let mut used = BTreeSet::new();
        for crd in crate::kinds::crds().unwrap() {
            for version in crd.spec.versions {
                keywords(&serde_json::to_value(version.schema.unwrap().open_api_v3_schema).unwrap(), &mut used);
            }
        }
        let unknown: Vec<_> =
            used.iter().filter(|name| !checked.contains(&name.as_str()) && !others.contains(&name.as_str())).collect();
        assert!(unknown.is_empty() && used.len() > 10, "{unknown:?} of {used:?}");
    }
}
