//! The one field diff over JSON: what must change so that the live document holds what is declared.

use serde_json::{Map, Value};

use super::json;
use super::plan::Change;
use super::pointer::{self, Ignore};

/// The changes that make `live` hold everything that `declared` declares. What `declared` leaves out is not compared;
/// arrays are compared whole; a `null` member must be absent; ignored parts are skipped. Sorted by path.
pub fn declared(declared: &Value, live: &Value, ignore: &Ignore) -> Vec<Change> {
    let mut walk = Walk { ignore, path: Vec::new(), changes: Vec::new(), whole: false };
    walk.member(declared, Some(live));
    walk.changes
}

/// The changes that turn `live` into `target`, members that `target` lacks included.
pub fn whole(target: &Value, live: &Value, ignore: &Ignore) -> Vec<Change> {
    let mut walk = Walk { ignore, path: Vec::new(), changes: Vec::new(), whole: true };
    walk.member(target, Some(live));
    walk.changes
}

/// `live` after the changes. Ignored parts of a replaced array keep the live value of the same index.
pub fn apply(changes: &[Change], live: &Value, ignore: &Ignore) -> Value {
    let mut document = live.clone();
    for change in changes {
        let Some(tokens) = pointer::split(&change.path) else { continue };
        let value = change.to.as_ref().map(|to| carry_ignored(to, live.pointer(&change.path), ignore, &mut tokens.clone()));
        pointer::set(&mut document, &tokens, value);
    }
    document
}

/// The declared leaves: scalars, arrays, empty objects and `null`s, by path, without the ignored ones.
pub fn leaves(declared: &Value, ignore: &Ignore) -> Vec<(String, Value)> {
    fn walk(value: &Value, ignore: &Ignore, path: &mut Vec<String>, out: &mut Vec<(String, Value)>) {
        if ignore.covers(path) {
            return;
        }
        match value {
            Value::Object(map) if !map.is_empty() => {
                for (key, member) in map {
                    path.push(key.clone());
                    walk(member, ignore, path, out);
                    path.pop();
                }
            }
            // The document itself is no leaf: `{}` declares nothing.
            _ if path.is_empty() => {}
            leaf => out.push((pointer::join(path), ignore.strip(leaf, path))),
        }
    }
    let mut out = Vec::new();
    walk(declared, ignore, &mut Vec::new(), &mut out);
    out
}

struct Walk<'a> {
    ignore: &'a Ignore,
    path: Vec<String>,
    changes: Vec<Change>,
    whole: bool,
}

impl Walk<'_> {
    fn member(&mut self, want: &Value, have: Option<&Value>) {
        if self.ignore.covers(&self.path) {
            return;
        }
        match (want, have) {
            (Value::Null, None) if !self.whole && !self.path.is_empty() => {}
            (Value::Null, Some(have)) if !self.whole && !self.path.is_empty() => self.push(Some(have), None),
            (Value::Object(want), Some(Value::Object(have))) => self.object(want, have),
            (Value::Object(map), None) if !self.whole && !map.is_empty() => {
                for (key, member) in map {
                    self.enter(key, |walk| walk.member(member, None));
                }
            }
            (want, Some(have)) if self.same(want, have) => {}
            (want, have) => {
                let want = if self.whole { want.clone() } else { self.without_nulls(want) };
                self.push(have, Some(want));
            }
        }
    }

    fn object(&mut self, want: &Map<String, Value>, have: &Map<String, Value>) {
        for (key, member) in want {
            self.enter(key, |walk| walk.member(member, have.get(key)));
        }
        if self.whole {
            for (key, member) in have.iter().filter(|(key, _)| !want.contains_key(*key)) {
                self.enter(key, |walk| {
                    if !walk.ignore.covers(&walk.path) {
                        walk.push(Some(member), None);
                    }
                });
            }
        }
    }

    fn enter(&mut self, key: &str, then: impl FnOnce(&mut Self)) {
        self.path.push(key.to_owned());
        then(self);
        self.path.pop();
    }

    fn same(&mut self, want: &Value, have: &Value) -> bool {
        let ignore = self.ignore;
        json::equal(&ignore.strip(want, &mut self.path), &ignore.strip(have, &mut self.path))
    }

    /// A declared object that takes the place of something else: its `null`s mean "absent".
    fn without_nulls(&self, want: &Value) -> Value {
        match want {
            Value::Object(map) => {
                Value::Object(map.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), self.without_nulls(v))).collect())
            }
            other => other.clone(),
        }
    }

    fn push(&mut self, from: Option<&Value>, to: Option<Value>) {
        self.changes.push(Change { path: pointer::join(&self.path), from: from.cloned(), to, prose: false });
    }
}

/// `want` with its ignored parts taken from `have`, index by index and name by name.
fn carry_ignored(want: &Value, have: Option<&Value>, ignore: &Ignore, path: &mut Vec<String>) -> Value {
    if !ignore.reaches_into(path) {
        return want.clone();
    }
    match (want, have) {
        (Value::Array(want), Some(Value::Array(have))) => {
            let item = |(index, item): (usize, &Value)| {
                path.push(index.to_string());
                let carried = carry_ignored(item, have.get(index), ignore, path);
                path.pop();
                carried
            };
            Value::Array(want.iter().enumerate().map(item).collect())
        }
        (Value::Object(want), Some(Value::Object(have))) => {
            let mut out = Map::new();
            for key in want.keys().chain(have.keys().filter(|key| !want.contains_key(*key))) {
                path.push(key.clone());
                let value = if ignore.covers(path) {
                    have.get(key).cloned()
                } else {
                    want.get(key).map(|member| carry_ignored(member, have.get(key), ignore, path))
                };
                path.pop();
                if let Some(value) = value {
                    out.insert(key.clone(), value);
                }
            }
            Value::Object(out)
        }
        _ => want.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    fn changes(want: Value, have: Value) -> Vec<(String, Option<Value>, Option<Value>)> {
        declared(&want, &have, &Ignore::default()).into_iter().map(|c| (c.path, c.from, c.to)).collect()
    }

    #[test]
    fn what_is_left_out_is_not_compared() {
        assert!(changes(json!({"a": {"b": 1}}), json!({"a": {"b": 1.0, "c": 2}, "d": 3})).is_empty());
    }

    #[test]
    fn each_differing_leaf_is_a_change() {
        let got = changes(json!({"a": {"b": 2, "n": null}, "list": [1]}), json!({"a": {"b": 1, "n": 0}, "list": [1, 2]}));
        let want = vec![
            ("/a/b".into(), Some(json!(1)), Some(json!(2))),
            ("/a/n".into(), Some(json!(0)), None),
            ("/list".into(), Some(json!([1, 2])), Some(json!([1]))),
        ];
        assert_eq!(got, want);
    }

    #[test]
    fn an_absent_object_is_made_leaf_by_leaf_and_an_empty_one_owns_only_that_it_is_there() {
        assert_eq!(changes(json!({"a": {"b": 1, "n": null}}), json!({})), vec![("/a/b".into(), None, Some(json!(1)))]);
        assert!(changes(json!({"a": {}}), json!({"a": {"x": 1}})).is_empty());
        assert_eq!(changes(json!({"a": {}}), json!({})), vec![("/a".into(), None, Some(json!({})))]);
        assert_eq!(changes(json!({"a": {"b": null}}), json!({"a": 1})), vec![("/a".into(), Some(json!(1)), Some(json!({})))]);
    }

    #[test]
    fn ignored_members_of_array_items_are_carried_over() {
        let ignore = Ignore::new(&["/rules/*/id"]);
        let live = json!({"rules": [{"id": 7, "on": true}]});
        assert!(declared(&json!({"rules": [{"on": true}]}), &live, &ignore).is_empty());
        let changes = declared(&json!({"rules": [{"on": false}, {"on": true}]}), &live, &ignore);
        assert_eq!(apply(&changes, &live, &ignore), json!({"rules": [{"id": 7, "on": false}, {"on": true}]}));
    }

    #[test]
    fn a_whole_diff_removes_what_the_target_lacks_and_keeps_literal_nulls() {
        let target = json!({"a": null, "b": {"c": 1}});
        let live = json!({"a": 1, "b": {"c": 1, "d": 2}, "e": 3});
        let changes = whole(&target, &live, &Ignore::default());
        assert_eq!(apply(&changes, &live, &Ignore::default()), target);
    }

    fn tree() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,4}".prop_map(Value::from)
        ];
        leaf.prop_recursive(4, 24, 4, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                proptest::collection::btree_map("[a-c~/]{0,2}", inner, 0..4).prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    fn object() -> impl Strategy<Value = Value> {
        proptest::collection::btree_map("[a-c~/]{0,2}", tree(), 0..4).prop_map(|m| Value::Object(m.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn after_applying_the_changes_nothing_differs(want in object(), have in object()) {
            let changes = declared(&want, &have, &Ignore::default());
            let after = apply(&changes, &have, &Ignore::default());
            prop_assert!(declared(&want, &after, &Ignore::default()).is_empty());
        }
        #[test]
        fn a_whole_diff_ends_at_its_target(want in object(), have in object()) {
            let after = apply(&whole(&want, &have, &Ignore::default()), &have, &Ignore::default());
            prop_assert!(json::equal(&want, &after));
        }
        #[test]
        fn a_document_does_not_differ_from_itself(have in object()) {
            prop_assert!(whole(&have, &have, &Ignore::default()).is_empty());
        }
    }
}
