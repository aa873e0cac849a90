//! Laws that hold for every kind: what is live needs no plan, a plan that ran leaves nothing to do, the order of the input does not matter,
//! and no input makes the engine panic. The server is a pure model: guards, versions, history.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failed expectation is a failed test")]

#[path = "laws/agent_assist_config.rs"]
mod agent_assist_config;
#[path = "laws/prompt_template.rs"]
mod prompt_template;
#[path = "laws/skill_policy.rs"]
mod skill_policy;
#[path = "laws/skill_profile.rs"]
mod skill_profile;

use std::collections::BTreeSet;
use std::fmt::Debug;

use assist_operator::api::status::{AppliedField, ManagedStatus, RemoteState};
use assist_operator::api::{AgentAssistConfig, Policy, PromptTemplate, SkillPolicy, SkillProfile};
use assist_operator::engine::genesys_org::{self, AllowedEndpoints};
use assist_operator::engine::kind::{Blocked, Seen, Texts};
use assist_operator::engine::memory::Memory;
use assist_operator::engine::{Guard, Kind, Observed, Plan, PlanInput, State, Step, Target};
use assist_operator::genesys::{Document, Etag};
use assist_operator::kinds::KINDS;
use jiff::Timestamp;
use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};

const HOST: &str = "api.example.com";
const ID: &str = "x1";

/// What the laws need to know of a kind.
trait Lawful: Kind + DeserializeOwned {
    /// Whether a look alone is remembered as applied, also where the policy writes nothing.
    const LOOKS_COUNT: bool = false;
    /// A model of the remote: one object that is live, and its past.
    type Server: Clone + Debug + 'static;

    /// Any remote.
    fn servers() -> BoxedStrategy<Self::Server>;
    /// Any valid spec, without policy.
    fn specs() -> BoxedStrategy<Value>;
    /// The spec that declares exactly what is live.
    fn declaring(server: &Self::Server) -> Value;
    /// The same spec, with everything in another order whose order has no meaning.
    fn reordered(spec: &Value) -> Value;
    /// What a read of a target shows.
    fn read(server: &Self::Server, target: &Target) -> Seen;
    /// Runs a step as the remote does: it panics where the guard is not the live one.
    fn write(server: &mut Self::Server, step: &Step);
    /// Somebody else replaces the content.
    fn edit(server: &mut Self::Server, other: &Self::Server);
    /// The content as people see it.
    fn shown(server: &Self::Server) -> Value;
    /// The same of one target, where there are several.
    fn shown_of(server: &Self::Server, _: &Target) -> Value {
        Self::shown(server)
    }
    /// Whether a write left alone what the spec does not declare and the object did not create.
    fn spared(before: &Self::Server, after: &Self::Server, spec: &Value, memory: &[AppliedField]) -> bool;
}

/// A kind that remembers the fields that it created, and removes what is no longer declared.
trait Remembering: Lawful {
    /// The spec that declares as little as a spec of this kind can, and nothing that is not live.
    fn nothing(server: &Self::Server) -> Value;
    /// A spec that declares only what `server` does not have.
    fn adding(server: &Self::Server, spec: &Value) -> Value;
}

/// JSON text with the members of every object in descending order.
fn reversed_text(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let members =
                map.iter().rev().map(|(name, value)| format!("{}:{}", Value::from(name.as_str()), reversed_text(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(reversed_text).collect::<Vec<_>>().join(",")),
        other => other.to_string(),
    }
}

/// `null` members mean "must be absent", so a manifest cannot declare them.
fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, value)| !value.is_null()).map(|(name, value)| (name.clone(), without_nulls(value))).collect()
        }
        other => other.clone(),
    }
}

fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-2..3_i64).prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        (-2..3_i8).prop_map(|n| Value::from(f64::from(n))),
        "\\PC{0,4}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| prop_oneof![vec(inner.clone(), 0..4).prop_map(Value::from), members(inner)])
}

/// Few names, so that specs and remotes meet.
fn members(of: impl Strategy<Value = Value> + 'static) -> impl Strategy<Value = Value> {
    btree_map("[a-c~/]{0,2}|[0-2]", of, 0..4).prop_map(|map| Value::Object(map.into_iter().collect::<Map<_, _>>()))
}

fn object() -> impl Strategy<Value = Value> {
    members(tree())
}

/// A custom resource.
fn resource<K: Kind>(spec: &Value) -> Value {
    json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": K::KIND,
        "metadata": {"name": "x", "namespace": "team"}, "spec": spec,
    })
}

fn desired<K: Lawful>(spec: &Value) -> K::Desired {
    serde_json::from_value::<K>(resource::<K>(spec))
        .unwrap()
        .validate(&Texts::new())
        .unwrap_or_else(|findings| panic!("{spec}: {findings:?}"))
}

/// Phase 3.
fn observe<K: Lawful>(desired: &K::Desired, mut read: impl FnMut(&Target) -> Option<Seen>) -> Observed {
    let (mut observed, memory) = (Observed::new(), Memory::default());
    let mut asked = BTreeSet::new();
    loop {
        let targets = K::targets(desired, &PlanInput::new(&observed, &memory, Policy::Enforce, Timestamp::UNIX_EPOCH));
        let targets: Vec<Target> = targets.into_iter().filter(|target| asked.insert(target.clone())).collect();
        if targets.is_empty() {
            return observed;
        }
        for target in targets {
            observed.extend(read(&target).map(|seen| (target, seen)));
        }
    }
}

/// Phases 3 and 4.
fn plan<K: Lawful>(server: &K::Server, spec: &Value, applied: &[AppliedField], policy: Policy) -> Result<Plan, Blocked> {
    let desired = desired::<K>(spec);
    let remote = RemoteState { host: HOST.into(), id: ID.into(), ..Default::default() };
    let status = ManagedStatus { applied: applied.to_vec(), remote: Some(remote), ..Default::default() };
    let memory = Memory::of(Some(&status), HOST, ID);
    let observed = observe::<K>(&desired, |target| Some(K::read(server, target)));
    K::plan(&desired, &PlanInput::new(&observed, &memory, policy, Timestamp::UNIX_EPOCH))
}

fn execute<K: Lawful>(server: &mut K::Server, plan: &Plan) {
    plan.steps.iter().for_each(|step| K::write(server, step));
}

fn policies() -> impl Strategy<Value = Policy> {
    prop_oneof![Just(Policy::Enforce), Just(Policy::ReportDrift), Just(Policy::Observe)]
}

/// Runs one law.
fn holds<S: Strategy>(cases: u32, inputs: &S, law: impl Fn(S::Value) -> Result<(), TestCaseError>)
where
    S::Value: Debug,
{
    // The same inputs in every run, and no file that remembers failures.
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let rng = proptest::test_runner::TestRng::deterministic_rng(proptest::test_runner::RngAlgorithm::ChaCha);
    if let Err(error) = TestRunner::new_with_rng(config, rng).run(inputs, law) {
        panic!("{error}");
    }
}

fn what_is_live_needs_no_plan<K: Lawful>() {
    holds(400, &(K::servers(), policies()), |(server, policy)| {
        let spec = K::declaring(&server);
        let plan = plan::<K>(&server, &spec, &[], policy).unwrap();
        prop_assert!(plan.is_empty() && plan.drift.is_empty() && plan.released.is_empty(), "{plan}");
        let observed = observe::<K>(&desired::<K>(&spec), |target| Some(K::read(&server, target)));
        for (target, seen) in observed {
            let Seen::Present(state) = seen else { panic!("{target}") };
            prop_assert_eq!(K::content(&state), K::shown_of(&server, &target));
        }
        Ok(())
    });
}

fn a_plan_that_ran_leaves_nothing_to_do<K: Lawful>() {
    // Specs come and go, and between them somebody else edits now and then.
    let story = vec((K::specs(), policies(), prop::option::weighted(0.3, K::servers())), 1..5);
    holds(600, &(K::servers(), story), |(mut server, story)| {
        let mut applied = Vec::new();
        for (spec, policy, foreign) in story {
            if let Some(foreign) = foreign {
                K::edit(&mut server, &foreign);
            }
            let Ok(first) = plan::<K>(&server, &spec, &applied, policy) else { continue };
            prop_assert!(policy != Policy::Observe || first.is_empty());
            let changes = first.steps.iter().flat_map(|step| step.changes.iter().map(move |change| (&step.target, &change.path)));
            let paths: BTreeSet<(&Target, &String)> = changes.collect();
            prop_assert_eq!(paths.len(), first.changes().count(), "a field is planned twice: {}", first);
            let before = server.clone();
            execute::<K>(&mut server, &first);
            prop_assert!(K::spared(&before, &server, &spec, &applied), "{spec} wrote {first} over {before:?}");
            if policy != Policy::Observe || K::LOOKS_COUNT {
                applied.clone_from(&first.applied);
            }
            let next = plan::<K>(&server, &spec, &applied, policy).unwrap();
            prop_assert!(next.is_empty(), "after {first}there is {next}for {spec}");
            prop_assert_eq!(&next.drift, &first.drift);
            prop_assert_eq!(&next.applied, &applied);
            // Another policy would not say otherwise of what was written.
            if policy == Policy::Enforce {
                for other in [Policy::ReportDrift, Policy::Observe] {
                    let other = plan::<K>(&server, &spec, &applied, other).unwrap();
                    prop_assert!(other.is_empty() && other.drift.is_empty(), "{other}");
                }
            }
        }
        Ok(())
    });
}

fn what_was_added_goes_without_a_trace<K: Remembering>() {
    holds(400, &(K::servers(), K::specs()), |(mut server, spec)| {
        let (before, nothing) = (K::shown(&server), K::nothing(&server));
        let least = plan::<K>(&server, &nothing, &[], Policy::Enforce).unwrap();
        let spec = K::adding(&server, &spec);
        let added = plan::<K>(&server, &spec, &[], Policy::Enforce).unwrap();
        execute::<K>(&mut server, &added);
        let removed = plan::<K>(&server, &nothing, &added.applied, Policy::Enforce).unwrap();
        execute::<K>(&mut server, &removed);
        prop_assert_eq!(K::shown(&server), before);
        prop_assert_eq!(removed.applied, least.applied);
        prop_assert!(removed.released.is_empty());
        Ok(())
    });
}

fn the_order_of_the_input_does_not_matter<K: Lawful>() {
    holds(400, &(K::servers(), K::specs(), K::specs(), policies()), |(server, earlier, spec, policy)| {
        let mut applied = plan::<K>(&server, &earlier, &[], Policy::Enforce).map(|plan| plan.applied).unwrap_or_default();
        let one = plan::<K>(&server, &spec, &applied, policy);
        applied.reverse();
        let two = plan::<K>(&server, &K::reordered(&spec), &applied, policy);
        prop_assert_eq!(&one, &two);
        if let (Ok(one), Ok(two)) = (one, two) {
            prop_assert_eq!((one.digest(), one.to_string()), (two.digest(), two.to_string()));
        }
        Ok(())
    });
}

/// Any JSON and any guard, for a target that may as well be missing.
fn hostile_states() -> impl Strategy<Value = Option<Seen>> {
    let guard = prop_oneof![
        ("\\PC{0,6}", any::<i32>()).prop_map(|(etag, version)| Ok(Guard::EtagAndVersion { etag, version })),
        any::<i64>().prop_map(|version| Ok(Guard::Version(version))),
        Just(Ok(Guard::None)),
        "\\PC{0,6}".prop_map(Err),
    ];
    let state = (tree(), prop::option::of("\\PC{0,6}"), guard).prop_map(|(document, version, guard)| {
        Seen::Present(State { document, etag: version.clone(), version, lossy: false, guard })
    });
    prop_oneof![6 => state.prop_map(Some), 1 => Just(Some(Seen::Absent)), 1 => Just(None)]
}

fn applied() -> impl Strategy<Value = Vec<AppliedField>> {
    let field = ("(/[a-c~/0-2]{0,2}){0,3}|\\PC{0,5}", "[0-9a-f]{0,4}", any::<bool>());
    vec(field.prop_map(|(path, digest, created)| AppliedField { path, digest: digest.into(), created }), 0..5)
}

fn hostile_input_never_panics<K: Lawful>() {
    let noise = btree_map(
        "policy|interval|ignore|configId|config|restoreVersion|propagation|suspend|orgRef|templateId|content|contentFrom|variables|metadata|abTest|limits|version|userId|skills|unlisted|skillId|userIds|lookback|evaluateEvery|alertThreshold|maxStep|scoring|missing|mode|[a-z]{3}",
        tree(),
        0..3,
    );
    let inputs = (K::specs(), noise, vec(hostile_states(), 3), applied(), policies(), "\\PC{0,12}");
    holds(2000, &inputs, |(mut spec, noise, states, applied, policy, id)| {
        for (name, value) in noise {
            spec[name] = value;
        }
        if id.len() % 4 == 0 {
            let member = ["configId", "templateId", "userId", "skillId"]
                .into_iter()
                .find(|name| spec.get(*name).is_some())
                .unwrap_or("userId");
            spec[member] = Value::from(id.as_str());
        }
        let Ok(object) = serde_json::from_value::<K>(resource::<K>(&spec)) else { return Ok(()) };
        let desired = match object.validate(&Texts::new()) {
            Ok(desired) => desired,
            Err(findings) => {
                prop_assert!(findings.iter().all(|f| !f.remedy.is_empty() && !f.path.is_empty()));
                return Ok(());
            }
        };
        let _ = (object.interval(), object.policy(), object.remote_id(), K::propagation(&desired));
        let mut states = states.into_iter();
        let observed = observe::<K>(&desired, |_| states.next().flatten());
        let status = ManagedStatus {
            applied,
            remote: Some(RemoteState { host: HOST.into(), id: object.remote_id().into(), ..Default::default() }),
            ..Default::default()
        };
        let memory = Memory::of(Some(&status), HOST, object.remote_id());
        let _ = K::is_unapplied(&desired, &memory);
        let input = PlanInput::new(&observed, &memory, policy, Timestamp::UNIX_EPOCH);
        match K::plan(&desired, &input) {
            Ok(plan) => {
                let text = plan.to_string();
                prop_assert!(text.lines().all(|line| !line.chars().any(char::is_control)), "{text:?}");
                let _ = (plan.digest(), plan.why(), serde_json::to_string(&plan).unwrap());
            }
            Err(blocked) => prop_assert!(!blocked.message.is_empty()),
        }
        Ok(())
    });
}

/// The laws of one kind.
struct Laws {
    kind: &'static str,
    live: fn(),
    settles: fn(),
    /// Only of kinds that remember what they created.
    traceless: Option<fn()>,
    unordered: fn(),
    total: fn(),
}

const fn laws<K: Lawful>() -> Laws {
    Laws {
        kind: K::KIND,
        live: what_is_live_needs_no_plan::<K>,
        settles: a_plan_that_ran_leaves_nothing_to_do::<K>,
        traceless: None,
        unordered: the_order_of_the_input_does_not_matter::<K>,
        total: hostile_input_never_panics::<K>,
    }
}

const fn remembering<K: Remembering>() -> Laws {
    Laws { traceless: Some(what_was_added_goes_without_a_trace::<K>), ..laws::<K>() }
}

/// A new kind is a line here, too.
const LAWS: &[Laws] =
    &[remembering::<AgentAssistConfig>(), remembering::<PromptTemplate>(), remembering::<SkillProfile>(), laws::<SkillPolicy>()];

#[test]
fn every_kind_of_the_registry_has_its_laws() {
    let registered: Vec<&str> = KINDS.iter().map(|entry| entry.kind).collect();
    assert_eq!(LAWS.iter().map(|laws| laws.kind).collect::<Vec<_>>(), registered);
}

#[test]
fn for_every_kind_what_is_live_needs_no_plan() {
    LAWS.iter().for_each(|laws| (laws.live)());
}

#[test]
fn for_every_kind_a_plan_that_ran_leaves_nothing_to_do() {
    LAWS.iter().for_each(|laws| (laws.settles)());
}

#[test]
fn for_every_kind_that_remembers_what_was_added_goes_without_a_trace() {
    LAWS.iter().filter_map(|laws| laws.traceless).for_each(|law| law());
}

#[test]
fn for_every_kind_the_order_of_the_input_does_not_matter() {
    LAWS.iter().for_each(|laws| (laws.unordered)());
}

#[test]
fn for_every_kind_hostile_input_never_panics() {
    LAWS.iter().for_each(|laws| (laws.total)());
}

#[test]
fn a_hostile_org_never_panics() {
    let names = "region|endpoints|credentials|allowedNamespaces|requestsPerMinute|suspend|changeLimit|audit|approval";
    let endpoints = ("\\PC{0,12}|https?://[a-z.@:/?#\\[\\]0-9]{0,12}", "\\PC{0,12}")
        .prop_map(|(login, api)| json!({"login": login, "api": api}));
    holds(2000, &(btree_map(names, tree(), 0..4), prop::option::of(endpoints)), |(noise, endpoints)| {
        let mut spec = json!({"credentials": {"secretRef": {"name": "s"}}});
        spec.as_object_mut().unwrap().extend(noise);
        if let Some(endpoints) = endpoints {
            spec["endpoints"] = endpoints;
        }
        if let Ok(spec) = serde_json::from_value(spec) {
            let _ = genesys_org::validate(&spec, &AllowedEndpoints { all: true, urls: Vec::new() });
        }
        Ok(())
    });
}

#[test]
fn hostile_bytes_are_a_document_or_an_error() {
    let text = tree().prop_map(|value| value.to_string().into_bytes());
    let cut = (text, any::<prop::sample::Index>(), any::<u8>()).prop_map(|(mut bytes, at, byte)| {
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes
    });
    holds(3000, &prop_oneof![vec(any::<u8>(), 0..40), cut], |bytes| {
        if let Ok(document) = Document::new(bytes.clone()) {
            prop_assert!(document.parse().is_object());
            // Whoever is told that it survives may rely on it.
            if document.survives() {
                let again = Document::of(&document.parse()).unwrap();
                prop_assert_eq!(again.parse(), document.parse());
                prop_assert!(again.survives());
            }
        }
        if let Some(tag) = Etag::parse(&String::from_utf8_lossy(&bytes)) {
            let again = Etag::parse(tag.as_str());
            prop_assert_eq!(again.as_ref(), Some(&tag));
        }
        Ok(())
    });
}
