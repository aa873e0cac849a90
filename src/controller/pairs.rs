//! Skills of users that objects declare: an evaluation of metrics never touches them, whoever is older.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use kube::ResourceExt;
use kube::runtime::reflector::Store;

use super::orgs::{OrgName, Orgs};
use super::reconcile::Reconcilable;
use super::stream::Guarded;

/// Who declares a pair.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Declarer {
    /// The org of the object.
    org: OrgName,
    /// Its namespace.
    namespace: String,
    /// Its kind.
    kind: &'static str,
}

/// The users among those given whose skill an object of one kind declares.
pub type Declared = Box<dyn Fn(&str, &[String]) -> Vec<(Declarer, String)> + Send + Sync>;

/// The declared pairs of all kinds.
#[derive(Default)]
pub struct Pairs(Mutex<Vec<Declared>>);

impl Pairs {
    /// Adds a kind.
    pub fn add(&self, declared: Declared) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(declared);
    }

    /// The users whose skill somebody declares for the organisation with this key.
    ///
    /// # Errors
    /// It is not known yet which organisation an object belongs to: that is a matter of moments after a start.
    pub async fn claimed(&self, orgs: &Orgs, key: &str, skill: &str, users: &[String]) -> Result<BTreeSet<String>, String> {
        let found: Vec<(Declarer, String)> = {
            let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            kinds.iter().flat_map(|declared| declared(skill, users)).collect()
        };
        let (mut known, mut claimed) = (BTreeMap::new(), BTreeSet::new());
        for (by, user) in found {
            if !known.contains_key(&by) {
                let unknown = || "it is not known yet which skills other objects declare".to_owned();
                let shares = orgs.shares(&by.org, by.kind, &by.namespace, key).await.ok_or_else(unknown)?;
                known.insert(by.clone(), shares);
            }
            if known.get(&by) == Some(&true) {
                claimed.insert(user);
            }
        }
        Ok(claimed)
    }
}

/// The declared pairs of one kind.
pub fn of_kind<K: Reconcilable>(store: Store<Guarded<K>>) -> Declared {
    Box::new(move |skill, users| {
        let mut found = Vec::new();
        for guarded in store.state() {
            let Ok(object) = guarded.0.as_ref() else { continue };
            if object.meta().deletion_timestamp.is_some() {
                continue;
            }
            for user in users.iter().filter(|user| object.declares(user, skill)) {
                let namespace = object.namespace().unwrap_or_default();
                let org = Orgs::name_of(&object.managed().org_ref, &namespace);
                found.push((Declarer { org, namespace, kind: K::KIND }, user.clone()));
            }
        }
        found
    })
}
