//! A server that rewrites what is written: the reason why a client may find something else than it sent (design, loop breaker).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One rewriting rule. `path` is a JSON pointer into the config, into the prompt version as P1
/// shows it, or into the routing profile; a segment `*` stands for every item of an array and every member of an
/// object. Where the path leads nowhere, the rule does nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "rule", deny_unknown_fields)]
pub enum Normaliser {
    /// Text becomes upper case.
    UpperCase {
        /// Where.
        path: String,
    },
    /// Text loses white space at both ends.
    Trim {
        /// Where.
        path: String,
    },
    /// Text is cut to so many characters.
    Truncate {
        /// Where.
        path: String,
        /// Characters that stay.
        characters: usize,
    },
    /// An object gets the members that it lacks. With a path like `/rules/*` this adds defaults inside an array.
    Defaults {
        /// Where.
        path: String,
        /// The members and their values.
        members: Map<String, Value>,
    },
    /// An array is sorted by the JSON text of its items.
    Sort {
        /// Where.
        path: String,
    },
    /// A member disappears.
    Remove {
        /// Where; the last segment names the member.
        path: String,
    },
    /// A whole number becomes a float: 1 is answered as 1.0, which is equal by value.
    Float {
        /// Where.
        path: String,
    },
}

impl Normaliser {
    /// Rewrites the document in place.
    pub(super) fn apply(&self, document: &mut Value) {
        match self {
            Self::UpperCase { path } => edit_text(document, path, |text| text.to_uppercase()),
            Self::Trim { path } => edit_text(document, path, |text| text.trim().to_owned()),
            Self::Truncate { path, characters } => {
                edit_text(document, path, |text| text.chars().take(*characters).collect());
            }
            Self::Defaults { path, members } => visit(document, path, &mut |value| {
                if let Value::Object(object) = value {
                    for (name, default) in members {
                        object.entry(name.clone()).or_insert_with(|| default.clone());
                    }
                }
            }),
            Self::Sort { path } => visit(document, path, &mut |value| {
                if let Value::Array(items) = value {
                    items.sort_by_cached_key(Value::to_string);
                }
            }),
            Self::Remove { path } => {
                let Some((parent, name)) = path.rsplit_once('/') else { return };
                visit(document, parent, &mut |value| {
                    if let Value::Object(object) = value {
                        object.remove(name);
                    }
                });
            }
            Self::Float { path } => visit(document, path, &mut |value| {
                if let Some(number) = value.as_f64() {
                    *value = Value::from(number);
                }
            }),
        }
    }
}

/// Rewrites the text at `path`.
fn edit_text(document: &mut Value, path: &str, edit: impl Fn(&str) -> String) {
    visit(document, path, &mut |value| {
        if let Value::String(text) = value {
            *text = edit(text);
        }
    });
}

/// Calls `edit` on every value that `path` leads to.
fn visit(value: &mut Value, path: &str, edit: &mut dyn FnMut(&mut Value)) {
    let Some(rest) = path.strip_prefix('/') else {
        // The empty pointer is the document itself; anything else without a slash is no pointer.
        if path.is_empty() {
            edit(value);
        }
        return;
    };
    let (segment, rest) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
    let name = segment.replace("~1", "/").replace("~0", "~");
    match value {
        Value::Object(object) if segment == "*" => object.values_mut().for_each(|child| visit(child, rest, edit)),
        Value::Array(items) if segment == "*" => items.iter_mut().for_each(|child| visit(child, rest, edit)),
        Value::Object(object) => {
            if let Some(child) = object.get_mut(&name) {
                visit(child, rest, edit);
            }
        }
        Value::Array(items) => {
            if let Some(child) = name.parse::<usize>().ok().and_then(|index| items.get_mut(index)) {
                visit(child, rest, edit);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn rules_reach_into_arrays_and_ignore_what_is_not_there() {
        let mut document = json!({"language": "en-us", "rules": [{"id": 1}, {"id": 2, "on": true}], "n": 1});
        let rules: Vec<Normaliser> = serde_json::from_value(json!([
            {"rule": "upperCase", "path": "/language"},
            {"rule": "defaults", "path": "/rules/*", "members": {"on": false}},
            {"rule": "float", "path": "/n"},
            {"rule": "trim", "path": "/nothing/here"},
        ]))
        .unwrap();
        rules.iter().for_each(|rule| rule.apply(&mut document));
        assert_eq!(document, json!({"language": "EN-US", "rules": [{"id": 1, "on": false}, {"id": 2, "on": true}], "n": 1.0}));
    }
}
