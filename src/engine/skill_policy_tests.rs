//! The plan of a policy as a whole: metrics and profiles in, results and steps out.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::api::Managed;
use crate::engine::Guard;
use crate::engine::kind::Standing;

const SKILL: &str = "billing";

fn policy(extra: &Value) -> SkillPolicy {
    let mut spec = json!({"orgRef": {"name": "org"}, "skillId": SKILL, "userIds": ["u1"], "mode": "Enforce"});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "assist-operator.dev/v1alpha1", "kind": "SkillPolicy", "metadata": {"name": "x", "namespace": "team"}, "spec": spec,
    }))
    .unwrap()
}

/// One look at the world.
struct Scene {
    desired: Desired,
    observed: Observed,
    claimed: BTreeSet<String>,
    policy: Policy,
    before: Option<(Evaluation, Vec<AgentResult>)>,
    intended: Vec<IntentStep>,
    now: Timestamp,
}

impl Scene {
    fn of(extra: &Value) -> Self {
        let policy = policy(extra);
        Self {
            desired: policy.validate(&Texts::new()).unwrap(),
            observed: Observed::new(),
            claimed: BTreeSet::new(),
            policy: policy.policy(),
            before: None,
            intended: Vec::new(),
            now: "2026-03-01T00:30:00Z".parse().unwrap(),
        }
    }

    /// With the metrics of some agents: (satisfaction, handle time).
    fn metrics(mut self, agents: &[(&str, Value, Value)]) -> Self {
        let window = window(self.desired.days, self.now);
        for (target, users) in self.desired.batches() {
            let agents: serde_json::Map<String, Value> = agents
                .iter()
                .filter(|(id, ..)| users.iter().any(|user| user == id))
                .map(|(id, csat, aht)| ((*id).to_owned(), json!({"csat": csat, "aht": aht})))
                .collect();
            let document = json!({"dateFrom": window.from, "dateTo": window.to, "agents": agents});
            self.observed.insert(target, present(document, None));
        }
        self
    }

    /// With a profile that has these skills, at version 7.
    fn profile(mut self, id: &str, skills: Value) -> Self {
        let document = json!({"id": id, "version": 7, "name": "n", "skills": skills});
        self.observed.insert(Target::new(USER, id), present(document, Some(7)));
        self
    }

    fn seen(mut self, id: &str, seen: Seen) -> Self {
        self.observed.insert(Target::new(USER, id), seen);
        self
    }

    fn ask<T>(&self, ask: impl FnOnce(&PlanInput<'_>) -> T) -> T {
        let memory = Memory::default();
        let unfinished = self.before.as_ref().map(|(evaluation, agents)| Unfinished { evaluation, agents });
        ask(&PlanInput {
            claimed: &self.claimed,
            unfinished,
            intended: &self.intended,
            generation: 3,
            ..PlanInput::new(&self.observed, &memory, self.policy, self.now)
        })
    }

    fn targets(&self) -> Vec<String> {
        self.ask(|input| SkillPolicy::targets(&self.desired, input)).iter().map(ToString::to_string).collect()
    }

    fn plan(&self) -> Plan {
        self.ask(|input| SkillPolicy::plan(&self.desired, input)).unwrap()
    }

    fn agent(&self, id: &str) -> AgentResult {
        self.plan().evaluated.unwrap().agents.into_iter().find(|agent| agent.user_id == id).unwrap()
    }

    /// Action, reason, current and target of the one agent.
    fn verdict(&self) -> (AgentAction, String, Option<f64>, Option<f64>) {
        let agent = self.agent("u1");
        (agent.action, agent.reason, agent.current, agent.target)
    }
}

fn present(document: Value, version: Option<i64>) -> Seen {
    let guard = Ok(version.map_or(Guard::None, Guard::Version));
    Seen::Present(State { document, version: version.map(|v| v.to_string()), etag: None, lossy: false, guard })
}

fn level(skill: &str, level: impl Into<Value>) -> Value {
    json!({"skillId": skill, "proficiency": level.into()})
}

/// One agent with these metrics and this level.
fn one(extra: &Value, csat: impl Into<Value>, aht: impl Into<Value>, current: impl Into<Value>) -> Scene {
    Scene::of(extra).metrics(&[("u1", csat.into(), aht.into())]).profile("u1", json!([level(SKILL, current)]))
}

fn none() -> Value {
    json!({})
}

fn scored(action: AgentAction, current: f64, target: f64) -> (AgentAction, String, Option<f64>, Option<f64>) {
    (action, "Scored".into(), Some(current), Some(target))
}

#[test]
fn the_table_of_the_contract_is_what_is_written() {
    let table = [(4.5, 350, 0.9), (4.5, 450, 0.72), (4.5, 700, 0.54), (5.0, 400, 1.0), (4.5, 600, 0.72), (0.0, 500, 0.0)];
    for (csat, aht, target) in table {
        let scene = one(&none(), csat, aht, 0.11);
        assert_eq!(scene.verdict(), scored(AgentAction::Pending, 0.11, target), "{csat} {aht}");
        let plan = scene.plan();
        let [step] = plan.steps.as_slice() else { panic!("{plan}") };
        assert_eq!((&step.target, &step.guard, step.version.as_str()), (&Target::new(USER, "u1"), &Guard::Version(7), "8"));
        let written = &step.body["skills"];
        assert_eq!(
            (written[0]["proficiency"].as_f64(), &step.body["id"], &step.body["version"]),
            (Some(target), &json!("u1"), &json!(8))
        );
        assert_eq!((step.why, step.action.as_str()), (Why::Evaluation, "SKILL_UPDATE"));
        assert_eq!((plan.changes().count(), plan.changes().next().unwrap().path.as_str()), (1, "/skills/billing"));
    }
}

#[test]
fn what_is_there_already_at_two_decimals_is_not_written() {
    for current in [0.9, 0.895, 0.9049] {
        let scene = one(&none(), 4.5, 350, current);
        assert_eq!(scene.verdict().0, AgentAction::Unchanged, "{current}");
        assert!(scene.plan().is_empty());
    }
    for current in [0.8949, 0.905] {
        assert_eq!(one(&none(), 4.5, 350, current).verdict().0, AgentAction::Pending, "{current}");
    }
    assert_eq!(one(&none(), 5, 0, 1).verdict().0, AgentAction::Unchanged);
    assert_eq!(one(&none(), 0, 0, 0).verdict().0, AgentAction::Unchanged);
}

#[test]
fn an_agent_that_lacks_the_skill_gets_it_or_is_left_alone() {
    let lacks = |extra: &Value, csat: f64| {
        Scene::of(extra).metrics(&[("u1", csat.into(), 350.into())]).profile("u1", json!([level("other", 0.3)]))
    };
    for (csat, target) in [(4.5, 0.9), (0.0, 0.0)] {
        let scene = lacks(&none(), csat);
        assert_eq!(scene.verdict(), (AgentAction::Pending, "Scored".into(), None, Some(target)));
        let plan = scene.plan();
        let skills = plan.steps[0].body["skills"].as_array().unwrap().clone();
        assert_eq!((skills.len(), &skills[0]), (2, &level("other", 0.3)));
        assert_eq!((&skills[1]["skillId"], skills[1]["proficiency"].as_f64()), (&json!(SKILL), Some(target)));
        assert_eq!((&plan.steps[0].changes[0].from, plan.steps[0].level.as_ref().unwrap().from.as_str()), (&None, "0.00"));
    }
    // The step is from 0.00.
    let stepped = lacks(&json!({"maxStep": 0.25}), 4.5);
    assert_eq!(stepped.verdict(), (AgentAction::Pending, "StepLimited".into(), None, Some(0.25)));
    let skip = lacks(&json!({"missing": "Skip"}), 4.5);
    assert_eq!(skip.verdict(), (AgentAction::Skipped, "SkillMissing".into(), None, None));
    assert!(skip.plan().is_empty() && skip.agent("u1").csat == Some(4.5));
    // Whoever has it at 0 does not lack it.
    assert_eq!(one(&json!({"missing": "Skip"}), 4.5, 350, 0).verdict(), scored(AgentAction::Pending, 0.0, 0.9));
    // A profile without a list of skills has none.
    for skills in [Value::Null, json!([])] {
        let scene = Scene::of(&none()).metrics(&[("u1", 5.into(), 0.into())]).profile("u1", skills);
        assert_eq!(scene.plan().steps[0].body["skills"], json!([level(SKILL, 1)]));
    }
}

#[test]
fn a_step_is_bounded_and_not_rounded() {
    let limited = |current: f64, to: f64| (AgentAction::Pending, "StepLimited".to_owned(), Some(current), Some(to));
    assert_eq!(one(&json!({"maxStep": 0.2}), 4.5, 350, 0.123).verdict(), limited(0.123, 0.323));
    assert_eq!(one(&json!({"maxStep": 0.125}), 0, 350, 0.9).verdict(), limited(0.9, 0.775));
    assert_eq!(one(&json!({"maxStep": 0.01}), 4.5, 350, 0.715).verdict(), limited(0.715, 0.725));
    // A step that is long enough is no limit.
    assert_eq!(one(&json!({"maxStep": 0.2}), 4.5, 350, 0.7).verdict(), scored(AgentAction::Pending, 0.7, 0.9));
    // The digits in the alert are those of both levels.
    let plan = one(&json!({"maxStep": 0.4}), 4.5, 350, 0.123).plan();
    let level = plan.steps[0].level.clone().unwrap();
    assert_eq!((level.from.as_str(), level.to.as_str(), level.alert), ("0.12", "0.52", true));
}

#[test]
fn no_data_is_not_0() {
    for (csat, aht) in [(Value::Null, 350.into()), (4.5.into(), Value::Null), (Value::Null, Value::Null)] {
        let scene = one(&none(), csat.clone(), aht.clone(), 0.5);
        assert_eq!(scene.verdict(), (AgentAction::Skipped, "InsufficientData".into(), None, None), "{csat} {aht}");
        // What was measured is shown, and the profile is not read.
        let agent = scene.agent("u1");
        assert_eq!((agent.csat, agent.aht, agent.message), (csat.as_f64(), aht.as_f64(), None));
        assert_eq!(scene.targets(), ["analytics/1-1"]);
    }
    let absent = Scene::of(&none()).metrics(&[]).profile("u1", json!([]));
    assert_eq!(absent.verdict(), (AgentAction::Skipped, "InsufficientData".into(), None, None));
    assert_eq!(one(&none(), 0, 0, 0.5).verdict(), scored(AgentAction::Pending, 0.5, 0.0));
}

#[test]
fn bad_data_is_told_and_never_written() {
    for (csat, aht) in [
        (json!(-1), json!(350)),
        (json!(5.01), json!(350)),
        (json!(1e9), json!(350)),
        (json!("4.5"), json!(350)),
        (json!(true), json!(350)),
        (json!(4.5), json!(-0.1)),
        (json!(4.5), json!(1e9)),
        (json!(4.5), json!("350")),
        (json!(4.5), json!(1e300)),
        (json!("not a number"), Value::Null),
    ] {
        let scene = one(&none(), csat.clone(), aht.clone(), 0.5);
        let agent = scene.agent("u1");
        assert_eq!((agent.action, agent.reason.as_str()), (AgentAction::Failed, "BadData"), "{csat} {aht}");
        assert!(agent.message.is_some_and(|message| !message.is_empty()) && agent.target.is_none());
        assert!(scene.plan().is_empty() && !is_open(&scene.agent("u1")));
        assert_eq!(scene.targets(), ["analytics/1-1"], "nothing is read for it");
    }
    for current in [json!(7.5), json!(-0.01), json!("0.5"), Value::Null, json!(1e300)] {
        let scene = one(&none(), 4.5, 350, current.clone());
        let agent = scene.agent("u1");
        assert_eq!((agent.action, agent.reason.as_str()), (AgentAction::Failed, "BadData"), "{current}");
        assert!(agent.message.unwrap().contains("not between 0 and 1") && scene.plan().is_empty());
    }
}

#[test]
fn what_a_profile_declares_is_left_alone() {
    let mut scene = one(&none(), 4.5, 350, 0.1);
    scene.claimed.insert("u1".into());
    assert_eq!(scene.verdict(), (AgentAction::Skipped, "ManagedByProfile".into(), None, None));
    assert_eq!((scene.targets(), scene.plan().is_empty()), (vec!["analytics/1-1".to_owned()], true));
    // Also where its metrics are no good.
    let mut scene = one(&none(), -1, 350, 0.1);
    scene.claimed.insert("u1".into());
    assert_eq!(scene.verdict().1, "ManagedByProfile");
}

#[test]
fn a_profile_that_fails_fails_alone() {
    let users = ["gone", "unread", "twice", "list", "nameless", "unguarded", "last", "good"];
    let good = (Value::from(4.5), Value::from(350));
    let metrics: Vec<_> = users.iter().map(|id| (*id, good.0.clone(), good.1.clone())).collect();
    let unguarded = State {
        document: json!({"id": "unguarded", "skills": []}),
        version: None,
        etag: None,
        lossy: false,
        guard: Err("the answer holds no version".into()),
    };
    let last = json!({"id": "last", "version": i64::MAX, "skills": []});
    let scene = Scene::of(&json!({"userIds": users}))
        .metrics(&metrics)
        .seen("gone", Seen::Absent)
        .seen("unread", Seen::Unreadable { reason: Reason::OrgUnavailable, message: "reset".into() })
        .profile("twice", json!([level(SKILL, 0.1), level(SKILL, 0.2)]))
        .profile("list", json!({"a": 1}))
        .profile("nameless", json!([{"proficiency": 1}]))
        .seen("unguarded", Seen::Present(unguarded))
        .seen("last", present(last, Some(i64::MAX)))
        .profile("good", json!([level(SKILL, 0.1)]));
    let plan = scene.plan();
    let told: Vec<(String, String, bool)> = plan
        .evaluated
        .unwrap()
        .agents
        .iter()
        .filter(|agent| agent.action == AgentAction::Failed && agent.message.is_some() && agent.csat == Some(4.5))
        .map(|agent| (agent.user_id.clone(), agent.reason.clone(), is_open(agent)))
        .collect();
    let rejected = |id: &str| (id.to_owned(), "RemoteRejected".to_owned(), false);
    assert_eq!(
        told,
        [
            ("gone".to_owned(), "NotFound".to_owned(), false),
            ("unread".to_owned(), "OrgUnavailable".to_owned(), true),
            rejected("twice"),
            rejected("list"),
            rejected("nameless"),
            rejected("unguarded"),
            rejected("last"),
        ]
    );
    assert_eq!(plan.steps.iter().map(|step| step.target.id.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn propose_shows_what_enforce_would_write() {
    let mut scene = one(&json!({"mode": "Propose"}), 4.5, 350, 0.1);
    assert_eq!(scene.verdict(), scored(AgentAction::Proposed, 0.1, 0.9));
    let plan = scene.plan();
    assert!(plan.is_empty());
    assert_eq!(plan.drift.iter().map(ToString::to_string).collect::<Vec<_>>(), ["~ /u1/skills/billing: 0.1 -> 0.9"]);
    scene.policy = Policy::Enforce;
    assert_eq!(scene.plan().lines().collect::<Vec<_>>(), ["user/u1 ~ /skills/billing: 0.1 -> 0.9"]);
}

#[test]
fn an_alert_is_strictly_above_the_threshold() {
    let alerts = |extra: Value, current: f64| one(&extra, 4.5, 350, current).plan().steps[0].level.clone().unwrap().alert;
    assert!(!alerts(none(), 0.6) && alerts(none(), 0.599_999) && !alerts(none(), 0.600_001));
    assert!(!alerts(json!({"alertThreshold": 0.8}), 0.1) && alerts(json!({"alertThreshold": 0.799}), 0.1));
    assert!(alerts(json!({"alertThreshold": 0}), 0.89) && !alerts(json!({"alertThreshold": 1}), 0.0));
    // It is the change that is made that counts, not the one that was wished.
    assert!(!alerts(json!({"maxStep": 0.3}), 0.1) && alerts(json!({"maxStep": 0.31}), 0.1));
}

#[test]
fn the_window_is_whole_utc_days_and_today_is_not_in_it() {
    let window = |days, now: &str| {
        let Window { from, to, bucket } = window(days, now.parse().unwrap());
        format!("{from} {to} {bucket}")
    };
    assert_eq!(window(7, "2026-03-01T00:00:00Z"), "2026-02-22 2026-03-01 P7D");
    assert_eq!(window(7, "2026-03-01T23:59:59.999999999Z"), "2026-02-22 2026-03-01 P7D");
    assert_eq!(window(7, "2026-02-28T23:59:59.999999999Z"), "2026-02-21 2026-02-28 P7D");
    assert_eq!(window(1, "2024-03-01T00:30:00+01:00"), "2024-02-28 2024-02-29 P1D");
    assert_eq!(window(365, "2024-12-31T12:00:00Z"), "2024-01-01 2024-12-31 P365D");
    let scene = one(&json!({"lookback": "48h"}), 4.5, 350, 0.1);
    let evaluation = scene.plan().evaluated.unwrap().evaluation;
    assert_eq!((evaluation.date_from.as_str(), evaluation.date_to.as_str()), ("2026-02-27", "2026-03-01"));
    assert_eq!((evaluation.time.0, evaluation.generation), (scene.now, 3));
}

/// The scene of an evaluation that goes on.
fn going_on(extra: &Value, agents: Vec<AgentResult>) -> Scene {
    let mut scene = Scene::of(extra);
    let time = Time("2026-02-28T23:00:00Z".parse().unwrap());
    let (date_from, date_to) = ("2026-02-21".to_owned(), "2026-02-28".to_owned());
    scene.before = Some((Evaluation { time, generation: 3, digest: "d".into(), date_from, date_to }, agents));
    scene
}

fn result(id: &str, action: AgentAction, reason: &str) -> AgentResult {
    AgentResult {
        approved: false,
        user_id: id.into(),
        csat: Some(4.5),
        aht: Some(350.0),
        current: None,
        target: None,
        action,
        reason: reason.into(),
        message: None,
    }
}

#[test]
fn an_evaluation_that_goes_on_looks_only_at_what_is_left() {
    let agents = vec![
        result("a", AgentAction::Applied, "Scored"),
        result("b", AgentAction::Pending, "Scored"),
        result("c", AgentAction::Failed, "ConflictDetected"),
        result("d", AgentAction::Failed, "BadData"),
        result("e", AgentAction::Failed, "NotConverging"),
        result("f", AgentAction::Skipped, "InsufficientData"),
        result("g", AgentAction::Failed, "OrgUnavailable"),
        result("h", AgentAction::Unchanged, "Scored"),
        result("i", AgentAction::Failed, "PermissionDenied"),
    ];
    let users: Vec<String> = agents.iter().map(|agent| agent.user_id.clone()).collect();
    let mut scene = going_on(&json!({"userIds": users}), agents.clone());
    scene.claimed.insert("g".into());
    assert_eq!(scene.targets(), ["user/b", "user/c"]);
    let scene = scene.profile("b", json!([level(SKILL, 0.1)])).profile("c", json!([level(SKILL, 0.9)]));
    let plan = scene.plan();
    assert_eq!(plan.steps.iter().map(|step| step.target.id.as_str()).collect::<Vec<_>>(), ["b"]);
    let evaluated = plan.evaluated.unwrap();
    assert_eq!(Some(&evaluated.evaluation), scene.before.as_ref().map(|(evaluation, _)| evaluation));
    let told: Vec<(AgentAction, &str)> = evaluated.agents.iter().map(|agent| (agent.action, agent.reason.as_str())).collect();
    assert_eq!(told[1..3], [(AgentAction::Pending, "Scored"), (AgentAction::Unchanged, "Scored")]);
    assert_eq!(told[6], (AgentAction::Skipped, "ManagedByProfile"));
    for place in [0, 3, 4, 5, 7, 8] {
        assert_eq!(evaluated.agents[place], agents[place]);
    }
}

#[test]
fn the_writes_of_an_intent_are_read_too() {
    let mut scene = going_on(&json!({"userIds": ["a", "b"]}), vec![result("a", AgentAction::Applied, "Scored"); 1]);
    scene.intended = vec![IntentStep {
        attempted: false,
        audit_id: "1".into(),
        target: "user/elsewhere".into(),
        action: "SKILL_UPDATE".into(),
        version: "8".into(),
        before_hash: None,
        after_hash: None,
        estimated_tokens: None,
        level: Some(LevelChange { from: "0.10".into(), to: "0.90".into(), alert: true }),
    }];
    assert_eq!(scene.targets(), ["user/elsewhere"]);
}

#[test]
fn a_write_that_came_late_is_the_one_step_of_its_evaluation() {
    let aimed = |live: f64| {
        let mut agent = result("u1", AgentAction::Failed, "OrgUnavailable");
        (agent.current, agent.target) = (Some(0.1), Some(0.3));
        going_on(&json!({"maxStep": 0.2}), vec![agent]).profile("u1", json!([level(SKILL, live)])).verdict()
    };
    assert_eq!(aimed(0.3), (AgentAction::Unchanged, "StepLimited".into(), Some(0.3), Some(0.3)));
    assert_eq!(aimed(0.1), (AgentAction::Pending, "StepLimited".into(), Some(0.1), Some(0.3)));
    // Somebody else's level is another one to start from.
    assert_eq!(aimed(0.25), (AgentAction::Pending, "StepLimited".into(), Some(0.25), Some(0.45)));
}

#[test]
fn five_hundred_agents_are_five_questions_and_come_in_order() {
    let users: Vec<String> = (0..500).map(|n| format!("u{n}")).collect();
    let scene = Scene::of(&json!({"userIds": users}));
    let batches = ["analytics/1-100", "analytics/101-200", "analytics/201-300", "analytics/301-400", "analytics/401-500"];
    assert_eq!(scene.targets(), batches);
    let metrics: Vec<_> = users.iter().map(|id| (id.as_str(), Value::from(4.5), Value::from(350))).collect();
    let mut scene = scene.metrics(&metrics);
    assert_eq!(scene.targets().len(), 505);
    for id in &users {
        scene = scene.profile(id, json!([level(SKILL, 0.1)]));
    }
    let plan = scene.plan();
    assert_eq!(plan.steps.len(), 500);
    assert!(plan.steps.is_sorted_by_key(|step| step.target.clone()));
    let told: Vec<String> = plan.evaluated.unwrap().agents.into_iter().map(|agent| agent.user_id).collect();
    assert_eq!(told, users, "in the order of the spec");
}

#[test]
fn one_batch_that_is_missing_is_no_evaluation() {
    let users: Vec<String> = (0..101).map(|n| format!("u{n}")).collect();
    let mut scene = Scene::of(&json!({"userIds": users})).metrics(&[]);
    scene.observed.insert(Target::new(METRICS, "101-101"), Seen::Absent);
    let blocked = scene.ask(|input| SkillPolicy::plan(&scene.desired, input)).unwrap_err();
    assert_eq!(blocked.reason, Reason::NotFound);
}

#[test]
fn a_write_is_recognised_by_its_level() {
    let desired = Scene::of(&none()).desired;
    let step = |to: &str| IntentStep {
        attempted: false,
        audit_id: "1".into(),
        target: "user/u1".into(),
        action: "SKILL_UPDATE".into(),
        version: "8".into(),
        before_hash: None,
        after_hash: None,
        estimated_tokens: None,
        level: Some(LevelChange { from: "0.10".into(), to: to.into(), alert: false }),
    };
    let state = |skills: Value| {
        let Seen::Present(state) = present(json!({"version": 8, "skills": skills}), Some(8)) else { panic!() };
        state
    };
    let holds = |to: &str, skills: Value| SkillPolicy::holds(&desired, &step(to), &state(skills));
    assert_eq!(holds("0.32", json!([level(SKILL, 0.323), level("foreign", 1)])), Some(true));
    assert_eq!(holds("0.33", json!([level(SKILL, 0.325)])), Some(true));
    assert_eq!(holds("0.90", json!([level(SKILL, 0.1)])), Some(false));
    assert_eq!(holds("0.00", json!([level("other", 0)])), Some(false));
    assert_eq!(holds("0.90", json!([level(SKILL, "0.9")])), Some(false));
    assert_eq!(holds("0.90", json!({"not": "a list"})), None);
    assert_eq!(SkillPolicy::holds(&desired, &IntentStep { level: None, ..step("0.90") }, &state(json!([]))), None);
    assert!(matches!(SkillPolicy::standing(&state(json!([])), "8"), Some(Standing::At(_))));
}

#[test]
fn policies_overlap_where_they_share_a_skill_and_an_agent() {
    let of = |skill: &str, users: &[&str]| policy(&json!({"skillId": skill, "userIds": users}));
    let ours = of("s", &["a", "b", "c"]);
    assert_eq!(ours.overlap(&of("s", &["d"])), None);
    assert_eq!(ours.overlap(&of("t", &["a"])), None);
    assert_eq!(ours.overlap(&of("s", &["d", "c"])).as_deref(), Some("skill s of agent c"));
    assert_eq!(ours.overlap(&of("s", &["b", "a"])).as_deref(), Some("skill s of agent b and 1 more"));
}

#[test]
fn the_memory_knows_what_makes_another_evaluation() {
    let digest = |extra: &Value| Scene::of(extra).metrics(&[]).plan().applied;
    let same = digest(&none());
    for extra in
        [json!({"mode": "Propose"}), json!({"alertThreshold": 0.1}), json!({"evaluateEvery": "1h"}), json!({"lookback": "168h"})]
    {
        assert_eq!(digest(&extra), same, "{extra}");
    }
    for extra in [json!({"userIds": ["u2"]}), json!({"lookback": "24h"}), json!({"maxStep": 0.1}), json!({"missing": "Skip"})] {
        assert_ne!(digest(&extra), same, "{extra}");
    }
    let bands = |list: &Value| digest(&json!({"userIds": ["u1"], "scoring": {"handleTimeBands": list}}));
    let (low, high) = (json!({"aboveSeconds": 400, "factor": 0.8}), json!({"aboveSeconds": 600.0, "factor": 0.60}));
    assert_eq!(bands(&json!([low, high])), same);
    assert_eq!(bands(&json!([high, low])), same);
    assert_ne!(bands(&json!([low])), same);
    assert_eq!(digest(&json!({"userIds": ["u1", "u2"]})), digest(&json!({"userIds": ["u2", "u1"]})));
    let desired = Scene::of(&none()).desired;
    assert!(SkillPolicy::is_unapplied(&desired, &Memory::default()));
}

#[test]
fn a_foreign_change_elsewhere_does_not_void_an_approval() {
    let digest =
        |skills: Value| Scene::of(&none()).metrics(&[("u1", 4.5.into(), 350.into())]).profile("u1", skills).plan().digest();
    let known = digest(json!([level(SKILL, 0.1)]));
    assert_eq!(digest(json!([level("other", 0.4), level(SKILL, 0.1)])), known);
    assert_ne!(digest(json!([level(SKILL, 0.11)])), known);
    // With the metrics of status, too.
    let resumed = going_on(&none(), vec![result("u1", AgentAction::Pending, "Scored")]);
    assert_eq!(resumed.profile("u1", json!([level(SKILL, 0.1)])).plan().digest(), known);
}

#[test]
fn an_approval_covers_its_own_steps_of_the_same_evaluation_and_no_others() {
    let approved = |known: &AgentResult, live: f64| {
        let plan = going_on(&none(), vec![known.clone()]).profile("u1", json!([level(SKILL, live)])).plan();
        plan.is_approved(&plan.steps[0])
    };
    let mut first = going_on(&none(), vec![result("u1", AgentAction::Pending, "Scored")]);
    first = first.profile("u1", json!([level(SKILL, 0.1)]));
    let mut plan = first.plan();
    assert!(!plan.is_approved(&plan.steps[0]));
    plan.approve();
    assert!(plan.is_approved(&plan.steps[0]));
    let known = plan.evaluated.unwrap().agents.remove(0);
    assert!(approved(&known, 0.1));
    assert!(!approved(&known, 0.2), "somebody changed the level that it starts from");
    // What status says after that starts from the new level, and yet nobody approved it.
    assert!(!approved(&AgentResult { approved: false, current: Some(0.2), ..known }, 0.2));
}

proptest! {
    #[test]
    fn the_order_of_agents_changes_nothing_but_their_order(
        agents in proptest::collection::btree_map("[a-f][0-9]?", (0..=50_u8, 0..900_u16, proptest::option::of(0..=100_u8)), 1..12),
        turn in any::<prop::sample::Index>(),
    ) {
        let ids: Vec<&String> = agents.keys().collect();
        let mut turned = ids.clone();
        turned.rotate_left(turn.index(ids.len()));
        let plan = |users: &[&String]| {
            let metrics: Vec<_> = agents.iter().map(|(id, (csat, aht, _))| (id.as_str(), json!(f64::from(*csat) / 10.0), json!(aht))).collect();
            let mut scene = Scene::of(&json!({"userIds": users, "maxStep": 0.3})).metrics(&metrics);
            for (id, (_, _, current)) in &agents {
                let skills = current.map(|current| level(SKILL, f64::from(current) / 100.0));
                scene = scene.profile(id, skills.into_iter().collect());
            }
            scene.plan()
        };
        let (one, two) = (plan(&ids), plan(&turned));
        prop_assert_eq!(&one.steps, &two.steps);
        prop_assert_eq!(one.digest(), two.digest());
        for agent in &two.evaluated.unwrap().agents {
            prop_assert!(one.evaluated.as_ref().unwrap().agents.contains(agent));
        }
    }
}
