//! A remote object as a manifest: read, turned into a spec, and planned against what was read. Only a plan without changes is given away.

use std::collections::BTreeMap;

use futures::FutureExt;
use futures::future::BoxFuture;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::Stop;
use super::surroundings::Surroundings;
use crate::api::Policy;
use crate::api::conditions::Reason;
use crate::clock;
use crate::controller::orgs::OrgName;
use crate::controller::reconcile::Reconcilable;
use crate::engine::kind::{Observed, PlanInput, Seen, State, Texts};
use crate::engine::memory::Memory;
use crate::engine::{Target, finding, json as json_util};
use crate::genesys::Lane;
use crate::remote::Look;
use crate::remote::failure::Failure;

/// A manifest that an export made.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Name of the object.
    pub name: String,
    /// The whole object.
    pub manifest: Value,
}

/// The manifest, or why there is none.
pub type Export<'a> = BoxFuture<'a, Result<Exported, Stop>>;

/// Exports the remote object `id` of an org, for a manifest in `namespace`.
pub fn export<'a, K: Reconcilable + Serialize>(
    around: &'a Surroundings,
    org: &'a OrgName,
    namespace: &'a str,
    id: &'a str,
) -> Export<'a> {
    async move {
        let probe: K = object(K::probe(id), org, namespace, id)?;
        let desired = probe.validate(&Texts::new()).map_err(|findings| invalid(id, &finding::summary(&findings)))?;
        let (memory, nothing, now) = (Memory::default(), Observed::new(), clock::now());
        let input = PlanInput::new(&nothing, &memory, Policy::Enforce, now);
        let target = K::targets(&desired, &input).into_iter().next().ok_or_else(|| invalid(id, "nothing of it can be read"))?;
        let state = read::<K>(around, org, &desired, &target, now).await?;
        let spec = K::export(id, &state).map_err(|why| invalid(id, &why))?;
        let exported: K = object(spec.clone(), org, namespace, id)?;
        check(&exported, target, state, now).map_err(|why| invalid(id, &why))?;
        let name = object_name(id);
        Ok(Exported { manifest: manifest::<K>(spec, org, namespace, &name), name })
    }
    .boxed()
}

async fn read<K: Reconcilable>(
    around: &Surroundings,
    org: &OrgName,
    desired: &K::Desired,
    target: &Target,
    now: Timestamp,
) -> Result<State, Stop> {
    let link = around.link(org).await?;
    let client = &link.connection.client;
    let mut session = client.session(client.account().budget().ticket(Lane::Change).await);
    match K::read(&mut session, desired, target, Look { sought: None, began: now }).await {
        Ok(Some(sent)) => Ok(sent.state()),
        Ok(None) => Err(Stop::new(Reason::NotFound, format!("{target} does not exist in this organisation"))),
        Err(error) => {
            let failure = Failure::of(&error, &target.to_string(), true);
            Err(Stop::new(failure.reason, failure.message))
        }
    }
}

/// What is exported follows all rules, and differs in nothing from what was read.
fn check<K: Reconcilable>(exported: &K, target: Target, state: State, now: Timestamp) -> Result<(), String> {
    let desired = exported.validate(&Texts::new()).map_err(|findings| finding::summary(&findings))?;
    let observed = BTreeMap::from([(target, Seen::Present(state))]);
    let memory = Memory::default();
    let plan = K::plan(&desired, &PlanInput::new(&observed, &memory, Policy::Enforce, now)).map_err(|blocked| blocked.message)?;
    match plan.changes().next() {
        None => Ok(()),
        Some(change) => Err(format!("what a manifest can say of it would change {}", crate::engine::display::path(&change.path))),
    }
}

fn invalid(id: &str, why: &str) -> Stop {
    Stop::new(Reason::InvalidSpec, format!("{id} cannot be written as a manifest: {why}"))
}

fn manifest<K: Reconcilable>(mut spec: Value, org: &OrgName, namespace: &str, name: &str) -> Value {
    let mut reference = json!({"name": org.1});
    if org.0 != namespace {
        reference["namespace"] = org.0.as_str().into();
    }
    spec["orgRef"] = reference;
    json!({
        "apiVersion": K::api_version(&()),
        "kind": K::KIND,
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    })
}

fn object<K: Reconcilable>(spec: Value, org: &OrgName, namespace: &str, id: &str) -> Result<K, Stop> {
    serde_json::from_value(manifest::<K>(spec, org, namespace, &object_name(id))).map_err(|error| invalid(id, &error.to_string()))
}

/// The name of an object for a remote id: the id, where a name may be so; else with a digest, so that two ids stay two.
fn object_name(id: &str) -> String {
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    let name: String = id.to_ascii_lowercase().chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let name = name.trim_matches('-');
    if name == id {
        return name.to_owned();
    }
    let digest = json_util::hex(&Sha256::digest(id)).chars().take(6).collect::<String>();
    format!("{name}-{digest}").trim_start_matches('-').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_name_of_its_own_for_every_id() {
        assert_eq!(object_name("retail-assist"), "retail-assist");
        assert_eq!(object_name("3f2c"), "3f2c");
        let (a, b, c) = (object_name("Retail_Assist"), object_name("retail-Assist"), object_name("x-"));
        assert!(a.starts_with("retail-assist-") && b.starts_with("retail-assist-") && a != b, "{a} {b}");
        assert!(c.starts_with("x-") && c.len() == 8, "{c}");
    }
}
