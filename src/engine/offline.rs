//! What the rules say of manifests that are not in a cluster, a kind at a time: those of each object, and who claims what another
//! claims.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::finding::Finding;
use super::kind::{Kind, Source, Texts};

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
    let mut claimants: BTreeMap<(String, String, String), Claimants<K>> = BTreeMap::new();
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
        said.extend(others.claimed(&object).map(|one| (index, one)));
        others.push(index, object);
    }
    said
}

/// The objects that claim something of one remote object. What they claim is indexed: many policies may share a skill, and comparing
/// each with each would take too long.
struct Claimants<K> {
    all: Vec<(usize, K)>,
    /// The first that claims all of it, and the first that claims a part: places in `all`.
    whole: Option<usize>,
    parts: HashMap<String, usize>,
}

impl<K> Default for Claimants<K> {
    fn default() -> Self {
        Self { all: Vec::new(), whole: None, parts: HashMap::new() }
    }
}

impl<K: Kind> Claimants<K> {
    /// The first that claims what an object claims.
    fn claimed(&self, object: &K) -> Option<Said> {
        let first = match object.parts() {
            Some(parts) => parts.into_iter().filter_map(|part| self.parts.get(part).copied()).chain(self.whole).min()?,
            None => 0,
        };
        let (by, other) = self.all.get(first)?;
        Some(Said::Claimed { by: *by, what: object.overlap(other)? })
    }

    fn push(&mut self, index: usize, object: K) {
        let place = self.all.len();
        match object.parts() {
            Some(parts) => parts.into_iter().for_each(|part| {
                self.parts.entry(part.to_owned()).or_insert(place);
            }),
            None => drop(self.whole.get_or_insert(place)),
        }
        self.all.push((index, object));
    }
}

/// Line and column inside of a text that a finding begins with, and what it says of that place.
pub fn within(problem: &str) -> Option<((usize, usize), &str)> {
    let (line, rest) = problem.strip_prefix("line ")?.split_once(", column ")?;
    let (column, rest) = rest.split_once(": ")?;
    Some(((line.parse().ok()?, column.parse().ok()?), rest))
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::{Value, json};

    use super::*;
    use crate::api::{AgentAssistConfig, SkillPolicy, SkillProfile};
    use crate::engine::prompt_text;

    /// Who is told to claim what somebody else claims, by index; `overlap` of each pair is the judge.
    fn claims<K: Kind + DeserializeOwned>(specs: &[Value]) -> Vec<(usize, usize)> {
        let object = |spec: &Value| json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": K::KIND, "metadata": {"name": "a"}, "spec": spec});
        let values: Vec<Value> = specs.iter().map(object).collect();
        let manifests: Vec<_> = values.iter().map(|value| Declared { value, namespace: "a" }).collect();
        let said = check::<K>(&manifests, &|_, _| Found::Missing);
        let told: Vec<_> = said
            .into_iter()
            .filter_map(|(n, said)| if let Said::Claimed { by, .. } = said { Some((n, by)) } else { None })
            .collect();
        let objects: Vec<K> = values.iter().map(|value| serde_json::from_value(value.clone()).unwrap()).collect();
        let is_same = |n: usize, by: usize| objects[n].managed().org_ref.name == objects[by].managed().org_ref.name;
        let first = |n: usize| (0..n).find(|by| is_same(n, *by) && objects[n].overlap(&objects[*by]).is_some());
        let pairs: Vec<_> = (0..objects.len()).filter_map(|n| Some((n, first(n)?))).collect();
        assert_eq!(told, pairs);
        told
    }

    #[test]
    fn the_index_of_claims_says_what_comparing_each_pair_says() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut found = 0;
        for _ in 0..300 {
            let mut some =
                |most: usize| -> Vec<String> { (0..random.usize(..=most)).map(|_| format!("p{}", random.u8(..9))).collect() };
            let lists: Vec<Vec<String>> = (0..8).map(|_| some(3)).collect();
            let mut one_of = |names: &[&str]| names[random.usize(..names.len())].to_owned();
            let profiles = lists.iter().map(|skills| {
                let skills: Vec<Value> = skills.iter().map(|skill| json!({"skillId": skill, "proficiency": 1})).collect();
                json!({"orgRef": {"name": one_of(&["o", "p"])}, "userId": one_of(&["u", "v"]), "skills": skills, "unlisted": one_of(&["Keep", "Keep", "Keep", "Remove"])})
            });
            found += claims::<SkillProfile>(&profiles.collect::<Vec<_>>()).len();
            let policies = lists
                .iter()
                .map(|users| json!({"orgRef": {"name": one_of(&["o", "p"])}, "skillId": one_of(&["s", "t"]), "userIds": users}));
            found += claims::<SkillPolicy>(&policies.collect::<Vec<_>>()).len();
            let configs =
                lists.iter().map(|_| json!({"orgRef": {"name": "o"}, "configId": one_of(&["a", "b", "c", "d"]), "config": {}}));
            found += claims::<AgentAssistConfig>(&configs.collect::<Vec<_>>()).len();
        }
        assert!(found > 1000, "{found}");
    }

    #[test]
    fn the_place_within_a_text_is_found_in_what_the_rules_of_prompts_say() {
        let mut findings = Vec::new();
        prompt_text::check("ab\n c {{ d }} {{e}}", "/spec/content", &BTreeMap::new(), None, &mut findings);
        let places: Vec<_> = findings.iter().filter_map(|finding| within(&finding.problem)).collect();
        assert_eq!(places, [((2, 4), "{{ d }} has space in its braces"), ((2, 12), "{{e}} is not declared")]);
        for other in ["line up, column 2: a", "line 1, column 2", "it is required"] {
            assert_eq!(within(other), None, "{other}");
        }
    }
}
