//! What `status` remembers of the past: which fields this object declared, and whether it created them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::plan::Change;
use super::pointer::{self, Ignore};
use super::{diff, json as json_util};
use crate::api::status::{AppliedField, ManagedStatus};

/// Memory of one object, valid only for the remote object that it was made for.
#[derive(Clone, Debug, Default)]
pub struct Memory {
    applied: BTreeMap<String, AppliedField>,
    /// Fields that a write created whose answer was never recorded.
    created: BTreeSet<String>,
}

/// What the memory says about fields that are no longer declared.
#[derive(Clone, Debug, Default)]
pub struct Undeclared {
    /// Fields that this object created and that still hold what it wrote: to be removed.
    pub remove: Vec<Change>,
    /// Fields that stay as they are.
    pub released: Vec<String>,
}

impl Memory {
    /// From a status. Empty where the status is about another remote object.
    pub fn of(status: Option<&ManagedStatus>, host: &str, id: &str) -> Self {
        let remembered = status.filter(|s| s.remote.as_ref().is_some_and(|r| r.host == host && r.id == id));
        Self {
            created: BTreeSet::new(),
            applied: remembered.into_iter().flat_map(|s| &s.applied).map(|a| (a.path.clone(), a.clone())).collect(),
        }
    }

    /// With other entries: those of a write that was found to have taken effect.
    #[must_use]
    pub fn with(mut self, applied: Option<&[AppliedField]>) -> Self {
        if let Some(applied) = applied {
            self.applied = applied.iter().map(|a| (a.path.clone(), a.clone())).collect();
        }
        self
    }

    /// Takes over what an interrupted write created, once a read showed that it took effect.
    #[must_use]
    pub fn having_created(mut self, fields: impl IntoIterator<Item = AppliedField>) -> Self {
        for field in fields {
            self.created.insert(field.path.clone());
            // Should it be declared no longer, it is known for ours.
            self.applied.entry(field.path.clone()).or_insert(field);
        }
        self
    }

    /// The entries, by path.
    pub fn entries(&self) -> Vec<AppliedField> {
        self.applied.values().cloned().collect()
    }

    /// Whether this value was already written, or found, at this path.
    pub fn knows(&self, path: &str, value: &Value) -> bool {
        self.applied.get(path).is_some_and(|a| a.digest == json_util::short_digest(value).into())
    }

    /// Whether every declared field was already written, or found.
    pub fn knows_all(&self, declared: &Value, ignore: &Ignore) -> bool {
        diff::leaves(declared, ignore).iter().all(|(path, value)| self.knows(path, value))
    }

    /// What becomes of the fields that are remembered and no longer declared.
    pub fn undeclared(&self, leaves: &[(String, Value)], live: &Value, ignore: &Ignore) -> Undeclared {
        let mut out = Undeclared::default();
        let mut document = live.clone();
        let gone = self.applied.values().filter(|a| !a.path.is_empty() && !leaves.iter().any(|(path, _)| related(path, &a.path)));
        let mut gone: Vec<&AppliedField> = gone.collect();
        // Children before the objects around them, so that an object which this one created goes when it is empty.
        gone.sort_by_key(|a| std::cmp::Reverse(a.path.matches('/').count()));
        for field in gone {
            let Some(mut tokens) = pointer::split(&field.path) else { continue };
            let Some(value) = document.pointer(&field.path) else { continue };
            if ignore.covers(&tokens) {
                continue;
            }
            let held = ignore.strip(value, &mut tokens);
            if field.created && field.digest == json_util::short_digest(&held).into() {
                pointer::set(&mut document, &tokens, None);
            } else if !is_container(field) {
                out.released.push(field.path.clone());
            }
        }
        out.remove = diff::whole(&document, live, &Ignore::default());
        out.released.sort();
        out
    }

    /// The memory after `leaves` were written or found, except for those below `left_alone`.
    pub fn after(&self, leaves: &[(String, Value)], live: &Value, left_alone: &[Change]) -> Vec<AppliedField> {
        let mut applied = BTreeMap::new();
        for (path, value) in leaves {
            let previous = self.applied.get(path);
            if left_alone.iter().any(|change| pointer::covers(&change.path, path)) {
                applied.extend(previous.map(|p| (path.clone(), p.clone())));
                continue;
            }
            let absent = !value.is_null() && live.pointer(path).is_none();
            let created = absent || previous.is_some_and(|p| p.created) || self.created.contains(path);
            applied.insert(
                path.clone(),
                AppliedField { path: path.clone(), digest: json_util::short_digest(value).into(), created },
            );
            self.containers(path, live, &mut applied);
        }
        applied.into_values().collect()
    }

    /// Remembers the objects around `path` that did not exist before.
    fn containers(&self, path: &str, live: &Value, applied: &mut BTreeMap<String, AppliedField>) {
        let mut around = path;
        while let Some((parent, _)) = around.rsplit_once('/').filter(|(parent, _)| !parent.is_empty()) {
            if live.pointer(parent).is_none()
                || self.created.contains(parent)
                || self.applied.get(parent).is_some_and(is_container)
            {
                let digest = json_util::short_digest(&json!({})).into();
                applied.entry(parent.to_owned()).or_insert_with(|| AppliedField {
                    path: parent.to_owned(),
                    digest,
                    created: true,
                });
            }
            around = parent;
        }
    }
}

fn is_container(field: &AppliedField) -> bool {
    field.created && field.digest == json_util::short_digest(&json!({})).into()
}

fn related(a: &str, b: &str) -> bool {
    pointer::covers(a, b) || pointer::covers(b, a)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(applied: Vec<AppliedField>) -> Memory {
        Memory { created: BTreeSet::new(), applied: applied.into_iter().map(|a| (a.path.clone(), a)).collect() }
    }

    fn leaves(value: &Value) -> Vec<(String, Value)> {
        diff::leaves(value, &Ignore::default())
    }

    #[test]
    fn a_created_field_goes_with_the_object_around_it_and_a_found_one_stays() {
        let live = json!({"kept": 1});
        let declared = json!({"kept": 1, "new": {"deep": {"x": 1}}});
        let memory = memory(Memory::default().after(&leaves(&declared), &live, &[]));
        let gone = memory.undeclared(&[], &declared, &Ignore::default());
        assert_eq!(gone.released, vec!["/kept"]);
        assert_eq!(diff::apply(&gone.remove, &declared, &Ignore::default()), live);
    }

    #[test]
    fn a_created_field_that_somebody_changed_since_is_released() {
        let memory = memory(Memory::default().after(&leaves(&json!({"a": {"x": 1}})), &json!({}), &[]));
        let gone = memory.undeclared(&[], &json!({"a": {"x": 2}}), &Ignore::default());
        assert_eq!(gone.released, vec!["/a/x"]);
        assert!(gone.remove.is_empty());
    }

    #[test]
    fn memory_of_another_remote_object_is_not_used() {
        let mut status = ManagedStatus {
            applied: vec![AppliedField { path: "/a".into(), digest: "d".to_owned().into(), created: true }],
            ..Default::default()
        };
        status.remote = Some(crate::api::status::RemoteState { host: "h".into(), id: "c1".into(), ..Default::default() });
        assert_eq!(Memory::of(Some(&status), "h", "c1").entries().len(), 1);
        assert!(Memory::of(Some(&status), "h", "c2").entries().is_empty());
        assert!(Memory::of(Some(&status), "other", "c1").entries().is_empty());
    }
}
