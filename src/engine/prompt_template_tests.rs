//! Unit tests of the prompt plan; laws over many inputs are in `tests/laws`.

use serde_json::{Value, json};

use super::*;
use crate::api::ManagedStatus;
use crate::api::status::RemoteState;
use crate::engine::Observed;
use crate::engine::kind::Seen;

fn object(spec: Value) -> PromptTemplate {
    let mut spec = spec;
    for (name, value) in [("orgRef", json!({"name": "o"})), ("templateId", json!("t1"))] {
        spec[name] = value;
    }
    serde_json::from_value(json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "PromptTemplate",
        "metadata": {"name": "x", "namespace": "n"}, "spec": spec,
    }))
    .unwrap()
}

fn entity(version: &str, content: &str) -> Value {
    json!({"version": version, "content": content, "variables": {}, "metadata": {}})
}

/// Plans a spec against versions, newest first.
struct Case {
    spec: Value,
    entities: Vec<Value>,
    applied: Vec<crate::api::status::AppliedField>,
    numbers: Vec<String>,
    unconfirmed: Option<&'static str>,
    policy: Policy,
}

impl Case {
    fn new(spec: Value, entities: Vec<Value>) -> Self {
        Self { spec, entities, applied: Vec::new(), numbers: Vec::new(), unconfirmed: None, policy: Policy::Enforce }
    }

    fn plan(&self) -> Result<Plan, Blocked> {
        let desired = object(self.spec.clone()).validate(&Texts::new()).unwrap();
        let state = State {
            document: json!({"entities": self.entities}),
            version: self.entities.first().and_then(number_of).map(str::to_owned),
            etag: None,
            lossy: false,
            guard: Ok(Guard::None),
        };
        let observed = Observed::from([(Target::new(PROMPT, "t1"), Seen::Present(state))]);
        let remote = RemoteState { host: "h".into(), id: "t1".into(), ..Default::default() };
        let status = ManagedStatus { applied: self.applied.clone(), remote: Some(remote), ..Default::default() };
        let memory = Memory::of(Some(&status), "h", "t1");
        let input = PlanInput {
            unconfirmed: self.unconfirmed,
            numbers: &self.numbers,
            ..PlanInput::new(&observed, &memory, self.policy, jiff::Timestamp::UNIX_EPOCH)
        };
        PromptTemplate::plan(&desired, &input)
    }

    fn version(&self) -> String {
        self.plan().unwrap().steps[0].version.clone()
    }

    fn blocked(&self) -> Blocked {
        self.plan().unwrap_err()
    }
}

#[test]
fn the_first_number_is_1_0_0_and_the_next_a_patch_above_the_greatest_seen() {
    let spec = json!({"content": "new"});
    assert_eq!(Case::new(spec.clone(), vec![]).version(), "1.0.0");
    // The newest is not the greatest; what is no number does not count.
    let entities = vec![entity("1.4.0", "a"), entity("odd", "b"), entity("2.0.9", "c"), entity("2.0.10-rc.1", "d")];
    let mut case = Case::new(spec, entities);
    assert_eq!(case.version(), "2.0.11");
    case.numbers = vec!["2.1.0".into()];
    assert_eq!(case.version(), "2.1.1");
    case.numbers = vec![format!("3.4.{}", u64::MAX)];
    assert_eq!(case.version(), "3.5.0");
}

#[test]
fn an_unconfirmed_number_is_used_again_until_it_is_seen() {
    let mut case = Case::new(json!({"content": "new"}), vec![entity("1.0.5", "old")]);
    case.unconfirmed = Some("1.0.3");
    assert_eq!(case.version(), "1.0.3");
    case.unconfirmed = Some("1.0.5");
    assert_eq!(case.version(), "1.0.6");
}

#[test]
fn a_declared_number_is_that_one_or_a_person_decides() {
    let mut case = Case::new(json!({"content": "new", "version": "2.0.0"}), vec![entity("1.9.0", "old")]);
    assert_eq!(case.version(), "2.0.0");
    // Equal content under another number is not what is declared.
    case.spec["content"] = json!("old");
    let plan = case.plan().unwrap();
    assert_eq!((plan.steps[0].version.as_str(), plan.steps[0].changes[0].path.as_str()), ("2.0.0", "/version"));
    case.entities = vec![entity("2.0.0", "other")];
    let blocked = case.blocked();
    assert_eq!(blocked.reason, Reason::RemoteRejected);
    assert!(blocked.message.contains("set spec.version to 2.0.1"), "{}", blocked.message);
    for newer in ["2.0.1", "1.9.1"] {
        case.entities = vec![entity(newer, "old"), entity("2.0.0", "old")];
        let blocked = case.blocked();
        assert_eq!(blocked.reason, Reason::Superseded);
        assert!(blocked.message.contains(newer) && blocked.message.contains("set spec.version to 2.0."), "{}", blocked.message);
    }
    case.policy = Policy::Observe;
    assert_eq!(case.plan().unwrap().drift.len(), 1);
}

#[test]
fn drift_is_what_was_applied_before() {
    let spec = json!({"content": "mine"});
    let applied = Case::new(spec.clone(), vec![]).plan().unwrap().applied;
    let foreign = json!({"version": "1.0.1", "content": "theirs {{x}}", "variables": {"x": "string"}, "abTestingTrigger": {"enabled": true, "trafficPercent": 0.5, "variantId": "v"}});
    let mut case = Case { applied, ..Case::new(spec, vec![foreign]) };
    let plan = case.plan().unwrap();
    assert_eq!(plan.steps[0].why, Why::DriftRepair);
    let paths: Vec<&str> = plan.changes().map(|c| c.path.as_str()).collect();
    assert_eq!(paths, ["/abTestingTrigger", "/content", "/variables/x"]);
    case.policy = Policy::ReportDrift;
    let plan = case.plan().unwrap();
    assert!(plan.is_empty());
    assert_eq!(plan.drift.len(), 3);
    // A change of the spec is written whole.
    case.spec["content"] = json!("mine, better");
    let plan = case.plan().unwrap();
    assert_eq!((plan.drift.len(), plan.steps[0].changes.len(), plan.steps[0].why), (0, 3, Why::SpecChange));
}

#[test]
fn a_test_is_a_fraction_on_the_wire_and_percent_in_the_plan() {
    let spec = json!({"content": "a", "abTest": {"variantId": "v2_beta", "trafficPercent": 20}});
    let plan = Case::new(spec.clone(), vec![entity("1.0.0", "a")]).plan().unwrap();
    assert_eq!(plan.steps[0].body["abTestingTrigger"], json!({"enabled": true, "trafficPercent": 0.2, "variantId": "v2_beta"}));
    let mut live = entity("1.0.1", "a");
    for fraction in [0.2, 0.199_999_999, 0.204] {
        live["abTestingTrigger"] = json!({"enabled": true, "trafficPercent": fraction, "variantId": "v2_beta", "since": "x"});
        assert!(Case::new(spec.clone(), vec![live.clone()]).plan().unwrap().is_empty(), "{fraction}");
    }
    // Without the block the test ends; absent, null and off are equal.
    let off = json!({"content": "a"});
    assert_eq!(Case::new(off.clone(), vec![live.clone()]).plan().unwrap().changes().count(), 1);
    for none in [Value::Null, json!({"enabled": false, "variantId": "v"})] {
        live["abTestingTrigger"] = none;
        assert!(Case::new(off.clone(), vec![live.clone()]).plan().unwrap().is_empty());
    }
}

#[test]
fn the_text_of_a_prompt_is_in_the_plan_and_nowhere_else() {
    let plan = Case::new(json!({"content": "short secret"}), vec![entity("1.0.0", "short text")]).plan().unwrap();
    let change = plan.changes().next().unwrap();
    assert!(!change.to_string().contains("secret") && change.to_string().contains("12 characters"), "{change}");
    assert!(plan.to_string().contains("secret"), "{plan}");
}

#[test]
fn the_hash_after_is_that_of_the_version_as_it_will_be_read() {
    let spec = json!({
        "content": "a {{x}} {{n}}", "metadata": {"author": "me"}, "abTest": {"variantId": "v", "trafficPercent": 33},
        "variables": {"x": {"type": "String"}, "n": {"type": "Number", "default": "2"}},
    });
    let step = Case::new(spec, vec![]).plan().unwrap().steps.remove(0);
    let state = State {
        document: json!({"entities": [{"version": step.version, "dateCreated": "x", "content": step.body["content"], "variables": step.body["variables"], "metadata": step.body["metadata"], "abTestingTrigger": step.body["abTestingTrigger"]}]}),
        version: Some(step.version.clone()),
        etag: None,
        lossy: false,
        guard: Ok(Guard::None),
    };
    let Some(Standing::At(found)) = PromptTemplate::standing(&state, &step.version) else { panic!("it is there") };
    assert_eq!(json_util::canonical_hash(&PromptTemplate::content(&found)), step.after_hash);
    assert_eq!(PromptTemplate::standing(&state, "9.9.9"), Some(Standing::Before));
}

#[test]
fn a_template_that_does_not_exist_is_not_created() {
    let observed = Observed::from([(Target::new(PROMPT, "t1"), Seen::Absent)]);
    let desired = object(json!({"content": "a"})).validate(&Texts::new()).unwrap();
    let memory = Memory::default();
    let input = PlanInput::new(&observed, &memory, Policy::Enforce, jiff::Timestamp::UNIX_EPOCH);
    assert_eq!(PromptTemplate::plan(&desired, &input).unwrap_err().reason, Reason::NotFound);
}

#[test]
fn a_plan_shows_the_words_and_all_of_them_where_there_was_no_version() {
    let text = json!({"content": "Be kind.\nBe brief.\n"});
    let plan = |entities| Case::new(text.clone(), entities).plan().unwrap().to_string();
    assert_eq!(
        plan(vec![]),
        "prompt/t1 (SpecChange, new version 1.0.0)\n  + /content\n    +   1  {+Be kind.+}\n    +   2  {+Be brief.+}\n"
    );
    assert_eq!(
        plan(vec![entity("1.0.0", "Be kind.\nBe short.\n")]),
        "prompt/t1 (SpecChange, new version 1.0.1)\n  ~ /content\n        1  Be kind.\n    ~   2  Be [-short-]{+brief+}.\n"
    );
}
