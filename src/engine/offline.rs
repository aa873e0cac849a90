//! What the rules say of manifests that are not in a cluster, a kind at a time: those of each object, and who claims what another
//! claims.

use std::collections::{BTreeMap, BTreeSet};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::finding::Finding;
use super::kind::{Kind, Source, Texts};

/// Most pairs of objects that are compared: claims of very many objects of one remote id are left to the cluster.
const MOST_COMPARED: usize = 2_000_000;

/// One manifest.
#[derive(Clone, Copy, Debug)]
pub struct Declared<'a> {
    /// Its content, without what the API server drops.
    pub value: &'a Value,
    /// Its namespace.
    pub namespace: &'a str,
}

/// What is known of a text that a manifest refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// The text.
    Text(String),
    /// Where it should be, it is not.
    Missing,
    /// It may be in the cluster.
    Unknown,
}

/// The text of a source, for an object of a namespace.
pub type Lookup<'a> = dyn Fn(&str, &Source) -> Found + 'a;

/// What is said of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// A rule is broken.
    Broken(Finding),
    /// It cannot be checked here.
    Unknown(Finding),
    /// It does not read as its kind.
    Unreadable {
        /// The field, as serde names it.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
    /// An earlier manifest claims the same.
    Claimed {
        /// Index of that manifest.
        by: usize,
        /// What both claim.
        what: String,
    },
}

/// What is said of manifests, each with its index.
pub type SaidOf = Vec<(usize, Said)>;

/// Checks all manifests of a kind. What is said of one stands with its index, in their order.
pub fn check<K: Kind + DeserializeOwned>(manifests: &[Declared<'_>], texts: &Lookup<'_>) -> SaidOf {
    let mut said = Vec::new();
    let mut claimants: BTreeMap<(String, String, String), Vec<(usize, K)>> = BTreeMap::new();
    let mut compared = 0;
    for (index, manifest) in manifests.iter().enumerate() {
        let object: K = match serde_path_to_error::deserialize(manifest.value) {
            Ok(object) => object,
            Err(error) => {
                let (path, problem) = (error.path().to_string(), error.inner().to_string());
                said.push((index, Said::Unreadable { path, problem }));
                continue;
            }
        };
        said.extend(rules(&object, manifest.namespace, texts).into_iter().map(|one| (index, one)));
        let org = &object.managed().org_ref;
        let home = org.namespace.clone().unwrap_or_else(|| manifest.namespace.to_owned());
        let others = claimants.entry((home, org.name.clone(), object.remote_id().to_owned())).or_default();
        compared += others.len();
        if compared <= MOST_COMPARED {
            let claimed = others.iter().find_map(|(by, other)| Some(Said::Claimed { by: *by, what: object.overlap(other)? }));
            said.extend(claimed.map(|one| (index, one)));
        }
        others.push((index, object));
    }
    said
}

/// The broken rules of an object. What is broken only because a text is not here may be well in the cluster.
fn rules<K: Kind>(object: &K, namespace: &str, lookup: &Lookup<'_>) -> Vec<Said> {
    let (mut texts, mut unknown) = (Texts::new(), Vec::new());
    for source in object.sources() {
        match lookup(namespace, &source) {
            Found::Text(text) => {
                texts.insert(source, text);
            }
            Found::Missing => {}
            Found::Unknown => unknown.push(source),
        }
    }
    let Err(findings) = object.validate(&texts) else { return Vec::new() };
    if unknown.is_empty() {
        return findings.into_iter().map(Said::Broken).collect();
    }
    texts.extend(unknown.into_iter().map(|source| (source, String::new())));
    let with_any_text: BTreeSet<Finding> = object.validate(&texts).err().into_iter().flatten().collect();
    let one = |finding: Finding| if with_any_text.contains(&finding) { Said::Broken(finding) } else { Said::Unknown(finding) };
    findings.into_iter().map(one).collect()
}
