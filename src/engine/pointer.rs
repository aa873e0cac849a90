//! JSON pointers (RFC 6901), and patterns of them in which `*` stands for any array index.

use serde_json::{Map, Value};

/// A pointer's text from its reference tokens.
pub fn join(tokens: &[String]) -> String {
    tokens.iter().map(|t| format!("/{}", t.replace('~', "~0").replace('/', "~1"))).collect()
}

/// The reference tokens of a pointer, or `None` where the text is no pointer. The empty pointer is the whole document.
pub fn split(text: &str) -> Option<Vec<String>> {
    if text.is_empty() {
        return Some(Vec::new());
    }
    text.strip_prefix('/')?.split('/').map(unescape).collect()
}

fn unescape(token: &str) -> Option<String> {
    let mut out = String::with_capacity(token.len());
    let mut chars = token.chars();
    while let Some(c) = chars.next() {
        match c {
            '~' => match chars.next() {
                Some('0') => out.push('~'),
                Some('1') => out.push('/'),
                _ => return None,
            },
            c => out.push(c),
        }
    }
    Some(out)
}

/// Whether pointer `a` is `b` or an ancestor of it.
pub fn covers(a: &str, b: &str) -> bool {
    b.strip_prefix(a).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Parts of a document that are left out of comparing and writing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore(Vec<Vec<String>>);

impl Ignore {
    /// From pointers; one that is no pointer is left out (the rules report it).
    pub fn new<S: AsRef<str>>(pointers: &[S]) -> Self {
        Self(pointers.iter().filter_map(|p| split(p.as_ref())).filter(|p| !p.is_empty()).collect())
    }

    /// Whether the part at `path`, or one around it, is left out.
    pub fn covers(&self, path: &[String]) -> bool {
        self.0.iter().any(|pattern| pattern.len() <= path.len() && pattern.iter().zip(path).all(|(p, t)| matches(p, t)))
    }

    /// Whether something inside `path` is left out.
    pub fn reaches_into(&self, path: &[String]) -> bool {
        self.0.iter().any(|pattern| pattern.len() > path.len() && pattern.iter().zip(path).all(|(p, t)| matches(p, t)))
    }

    /// `value` without its left-out parts; `path` is where it stands.
    pub fn strip(&self, value: &Value, path: &mut Vec<String>) -> Value {
        if !self.reaches_into(path) {
            return value.clone();
        }
        match value {
            Value::Object(map) => {
                let mut out = Map::new();
                for (key, member) in map {
                    self.keep(key.clone(), member, path, |kept| {
                        out.insert(key.clone(), kept);
                    });
                }
                Value::Object(out)
            }
            Value::Array(items) => {
                let mut out = Vec::new();
                for (index, item) in items.iter().enumerate() {
                    self.keep(index.to_string(), item, path, |kept| out.push(kept));
                }
                Value::Array(out)
            }
            other => other.clone(),
        }
    }

    fn keep(&self, token: String, value: &Value, path: &mut Vec<String>, mut put: impl FnMut(Value)) {
        path.push(token);
        if !self.covers(path) {
            put(self.strip(value, path));
        }
        path.pop();
    }
}

fn matches(pattern: &str, token: &str) -> bool {
    pattern == token || (pattern == "*" && !token.is_empty() && token.bytes().all(|b| b.is_ascii_digit()))
}

/// Puts `value` at the path, making objects on the way; `None` removes the member. A scalar on the way is replaced.
pub fn set(document: &mut Value, tokens: &[String], value: Option<Value>) {
    let Some((last, parents)) = tokens.split_last() else {
        if let Some(value) = value {
            *document = value;
        }
        return;
    };
    let mut node = document;
    for token in parents {
        if value.is_none() && node.get(token).is_none() {
            return;
        }
        node = enter(node, token);
    }
    match value {
        Some(value) => *enter(node, last) = value,
        None => {
            if let Some(map) = node.as_object_mut() {
                map.remove(last);
            }
        }
    }
}

fn enter<'a>(node: &'a mut Value, token: &str) -> &'a mut Value {
    if !node.is_object() {
        *node = Value::Object(Map::new());
    }
    match node {
        Value::Object(map) => map.entry(token).or_insert(Value::Null),
        other => other,
    }
}

/// The value at the path.
pub fn get<'a>(document: &'a Value, path: &str) -> Option<&'a Value> {
    document.pointer(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn names_with_slash_and_tilde_are_escaped() {
        let tokens = vec!["a/b".to_owned(), "~".to_owned(), String::new()];
        assert_eq!(join(&tokens), "/a~1b/~0/");
        assert_eq!(split("/a~1b/~0/"), Some(tokens));
        assert_eq!(split("a"), None);
        assert_eq!(split("/a~2"), None);
    }

    #[test]
    fn a_pattern_star_is_any_index_and_no_name() {
        let ignore = Ignore::new(&["/rules/*/id"]);
        let path = |text: &str| split(text).unwrap();
        assert!(ignore.covers(&path("/rules/0/id")) && ignore.covers(&path("/rules/12/id/x")));
        assert!(!ignore.covers(&path("/rules/x/id")) && !ignore.covers(&path("/rules/0")));
        let stripped = ignore.strip(&json!({"rules": [{"id": 1, "a": 2}], "id": 3}), &mut Vec::new());
        assert_eq!(stripped, json!({"rules": [{"a": 2}], "id": 3}));
    }

    #[test]
    fn set_makes_objects_on_the_way_and_removal_makes_none() {
        let mut document = json!({"a": 1});
        set(&mut document, &split("/b/c").unwrap(), Some(json!(2)));
        set(&mut document, &split("/x/y").unwrap(), None);
        set(&mut document, &split("/a").unwrap(), None);
        assert_eq!(document, json!({"b": {"c": 2}}));
    }

    proptest! {
        #[test]
        fn split_and_join_are_inverse(tokens in proptest::collection::vec(".{0,8}", 0..5)) {
            prop_assert_eq!(split(&join(&tokens)), Some(tokens));
        }
        #[test]
        fn any_text_is_split_or_refused(text in ".{0,40}") {
            let _ = split(&text);
            let _ = Ignore::new(&[text]);
        }
    }
}
