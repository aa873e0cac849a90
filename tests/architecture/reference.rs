//! `docs/reference.md`: every field of every kind, from the schemas of the CRDs.

use std::fmt::Write;

use assist_operator::kinds;
use serde_json::Value;

const HEAD: &str = "<!-- Generated: UPDATE_GOLDEN=1 cargo test --test architecture -->\n# Reference\n\nEvery field of every kind, as `kubectl explain` \
has them. **Bold** fields are required. `[]` is an element of a list, `{}` a value of a map. A rule is told in the words of the API server's \
refusal. What the kinds are for, with examples: [index](README.md#kinds).\n";

/// The page.
pub fn page() -> String {
    let mut page = HEAD.to_owned();
    for crd in kinds::crds().unwrap() {
        let names = &crd.spec.names;
        let short = names.short_names.clone().unwrap_or_default();
        let also: String = short.iter().map(|name| format!(", `{name}`")).collect();
        for version in serde_json::to_value(&crd.spec.versions).unwrap().as_array().unwrap() {
            let schema = &version["schema"]["openAPIV3Schema"];
            let name = version["name"].as_str().unwrap();
            write!(page, "\n## {}\n\n`{}/{name}`, `{}`{also}. {}\n", names.kind, crd.spec.group, names.plural, cell(schema))
                .unwrap();
            for part in ["spec", "status"] {
                let field = &schema["properties"][part];
                if field["properties"].is_object() {
                    page.push_str("\n| field | type | what it is |\n|---|---|---|\n");
                    row(&mut page, part, field, required(schema, part));
                }
            }
        }
    }
    page
}

fn required(schema: &Value, name: &str) -> bool {
    schema["required"].as_array().into_iter().flatten().any(|known| known == name)
}

/// The row of a field, and those of what is in it.
fn row(page: &mut String, path: &str, field: &Value, is_required: bool) {
    let bold = if is_required { "**" } else { "" };
    writeln!(page, "| {bold}`{path}`{bold} | {} | {} |", kind(field), cell(field)).unwrap();
    for (name, inner) in field["properties"].as_object().into_iter().flatten() {
        row(page, &format!("{path}.{name}"), inner, required(field, name));
    }
    for (inner, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        // An element says more than its type where it has fields, a description or rules.
        let inner = &field[inner];
        if ["properties", "description", "x-kubernetes-validations"].iter().any(|part| !inner[part].is_null()) {
            row(page, &format!("{path}{mark}"), inner, false);
        }
    }
}

fn kind(field: &Value) -> String {
    let name = match (field["type"].as_str(), field["format"].as_str()) {
        (Some("string"), Some(format @ ("date-time" | "byte"))) => format,
        (Some(kind), _) => kind,
        (None, _) => "any",
    };
    match (&field["items"], &field["additionalProperties"]) {
        (items, _) if items.is_object() => format!("list of {}", kind(items)),
        (_, values) if values.is_object() => format!("map of {}", kind(values)),
        _ => name.to_owned(),
    }
}

/// What a field is, what it may be, and its rules.
fn cell(field: &Value) -> String {
    let mut parts = Vec::new();
    parts.extend(field["description"].as_str().map(str::to_owned));
    if let Some(values) = field["enum"].as_array() {
        let values: Vec<String> = values.iter().map(|value| format!("`{}`", text(value))).collect();
        parts.push(format!("One of {}.", values.join(", ")));
    }
    if !field["default"].is_null() {
        parts.push(format!("Default: `{}`.", text(&field["default"])));
    }
    let limits = [
        ("minimum", "at least"),
        ("maximum", "at most"),
        ("minLength", "characters, at least"),
        ("maxLength", "characters, at most"),
        ("minItems", "elements, at least"),
        ("maxItems", "elements, at most"),
        ("maxProperties", "entries, at most"),
        ("pattern", "must match"),
    ];
    let said = limits.iter().filter(|(name, _)| !field[*name].is_null());
    let said: Vec<String> = said.map(|(name, words)| format!("{words} `{}`", text(&field[*name]))).collect();
    if !said.is_empty() {
        parts.push(format!("Limits: {}.", said.join("; ")));
    }
    for rule in field["x-kubernetes-validations"].as_array().into_iter().flatten() {
        // A rule without words of its own makes them from what it finds.
        parts.extend(rule["message"].as_str().map(|message| format!("Rule: {message}.")));
    }
    parts.join(" ").replace('|', "\\|").replace('<', "&lt;").replace('\n', " ")
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}
