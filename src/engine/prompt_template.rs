//! Rules and plan of `PromptTemplate` (contract section 4).

use semver::Version;
use serde_json::{Map, Value, json};

use super::agent_assist_config::{id_rule, interval_rule};
use super::declared::{self, Draft};
use super::finding::Finding;
use super::kind::{Blocked, Kind, PlanInput, Source, Standing, State, Texts, Versions};
use super::memory::Memory;
use super::plan::{Action, Guard, Plan, Step, Target, Why};
use super::pointer::Ignore;
use super::{json as json_util, prompt_text};
use crate::api::common::MIN_INTERVAL;
use crate::api::conditions::Reason;
use crate::api::prompt_template::DEFAULT_MAX_CHARACTERS;
use crate::api::{Policy, PromptTemplate};

/// Family of prompt templates.
pub const PROMPT: &str = "prompt";
/// The member that holds the text of a prompt.
const CONTENT: &str = "/content";
/// The number of a template's first version.
const FIRST: Version = Version::new(1, 0, 0);

/// The validated spec.
#[derive(Clone, Debug)]
pub struct Desired {
    /// Id of the template.
    pub id: String,
    /// The number of the version, where the spec says it.
    pub version: Option<String>,
    /// The declared members, as [`normal`] shows a live version.
    declared: Value,
    /// Estimated tokens.
    tokens: f64,
}

impl Kind for PromptTemplate {
    const KIND: &'static str = "PromptTemplate";
    const VERSIONS: Versions = Versions::Created;
    type Desired = Desired;

    fn sources(&self) -> Vec<Source> {
        self.spec
            .content_from
            .iter()
            .map(|from| from.config_map_key_ref.clone())
            .map(|r| Source { name: r.name, key: r.key })
            .collect()
    }

    fn validate(&self, texts: &Texts) -> Result<Desired, Vec<Finding>> {
        let spec = &self.spec;
        let mut findings = Vec::new();
        id_rule("/spec/templateId", &spec.template_id, &mut findings);
        interval_rule("/spec/interval", spec.enforcement.interval.as_ref(), Some(MIN_INTERVAL), &mut findings);
        prompt_text::check_spec(spec, &mut findings);
        match self.text(texts, &mut findings) {
            Some(content) if findings.is_empty() => Ok(Desired {
                id: spec.template_id.clone(),
                version: spec.version.clone(),
                declared: self.declared(&content),
                tokens: prompt_text::estimated_tokens(&content, &spec.variables),
            }),
            _ => Err(findings),
        }
    }

    fn targets(desired: &Desired, _: &PlanInput<'_>) -> Vec<Target> {
        vec![Target::new(PROMPT, &desired.id)]
    }

    fn plan(desired: &Desired, input: &PlanInput<'_>) -> Result<Plan, Blocked> {
        let target = Target::new(PROMPT, &desired.id);
        let id = &desired.id;
        let state = input.state(&target, || format!("prompt template {id} does not exist in this organisation; create it in Genesys Cloud or correct spec.templateId in a new object"))?;
        let live = live(state);
        let mut draft = desired.draft(live.as_ref(), input);
        if input.policy == Policy::ReportDrift && !draft.write.is_empty() {
            // A version is written whole, or not at all.
            draft = desired.draft(live.as_ref(), &PlanInput { policy: Policy::Enforce, ..*input });
            draft.why = Why::SpecChange;
        }
        for change in draft.write.iter_mut().chain(&mut draft.plan.drift) {
            change.prose = change.path == CONTENT;
        }
        if draft.write.is_empty() {
            return Ok(draft.plan);
        }
        let version = desired.number(state, input)?;
        Ok(promotion(desired, target, version, live.as_ref(), draft))
    }

    fn is_unapplied(desired: &Desired, memory: &Memory) -> bool {
        !memory.knows_all(&desired.declared, &Ignore::default())
    }

    fn content(state: &State) -> Value {
        entities(state).next().map(normal).unwrap_or_default()
    }

    const EXPORTED_AS: Option<&'static str> = Some("prompt");

    fn probe(id: &str) -> Value {
        json!({"templateId": id, "content": "."})
    }

    fn export(id: &str, state: &State) -> Result<Value, String> {
        let live = live(state).ok_or("it has no version yet")?;
        let content = live.get("content").and_then(Value::as_str).ok_or("its content is no text")?;
        let variables = live.get("variables").and_then(Value::as_object).into_iter().flatten();
        let variables: Map<String, Value> = variables
            .map(|(name, default)| Some((name.clone(), prompt_text::of_wire(default)?)))
            .collect::<Option<_>>()
            .ok_or("the default of one of its variables is neither text, number, true nor false")?;
        let mut spec = json!({"templateId": id, "content": content});
        if !variables.is_empty() {
            spec["variables"] = variables.into();
        }
        if let Some(metadata) = live.get("metadata").filter(|metadata| **metadata != json!({})) {
            spec["metadata"] = metadata.clone();
        }
        if let Some(test) = live.get("abTestingTrigger") {
            spec["abTest"] = test.clone();
        }
        let characters = content.chars().count();
        if characters > DEFAULT_MAX_CHARACTERS {
            spec["limits"] = json!({"maxCharacters": characters});
        }
        Ok(spec)
    }

    fn standing(state: &State, version: &str) -> Option<Standing> {
        let found = entities(state).find(|entity| number_of(entity) == Some(version));
        Some(found.map_or(Standing::Before, |entity| {
            let document = json!({"entities": [entity]});
            Standing::At(Box::new(State { document, version: Some(version.to_owned()), ..state.clone() }))
        }))
    }
}

impl PromptTemplate {
    /// The text of the prompt. The rules of one in a ConfigMap are checked here.
    fn text(&self, texts: &Texts, findings: &mut Vec<Finding>) -> Option<String> {
        let spec = &self.spec;
        let Some(source) = self.sources().pop() else { return spec.content.clone() };
        let path = "/spec/contentFrom";
        let Some(text) = texts.get(&source) else {
            let (name, key) = (&source.name, &source.key);
            let problem = format!("ConfigMap {name} with key {key} is not here");
            findings.push(Finding::new(path, problem, "add it, or correct the reference"));
            return None;
        };
        prompt_text::check(text, path, &spec.variables, spec.limits.as_ref(), findings);
        Some(text.clone())
    }

    fn declared(&self, content: &str) -> Value {
        let spec = &self.spec;
        let test = spec.ab_test.as_ref();
        let test = test.map(|test| json!({"variantId": test.variant_id, "trafficPercent": test.traffic_percent}));
        let mut declared = Map::new();
        declared.insert("content".into(), content.into());
        declared.insert("variables".into(), prompt_text::wire_variables(&spec.variables).into());
        if let Some(metadata) = spec.metadata.as_ref().filter(|metadata| !metadata.is_empty()) {
            declared.insert("metadata".into(), json!(metadata));
        }
        // Without the block there must be no test.
        declared.insert("abTestingTrigger".into(), test.unwrap_or_default());
        declared.extend(spec.version.iter().map(|version| ("version".to_owned(), version.as_str().into())));
        declared.into()
    }
}

impl Desired {
    /// Variables that only the live version has must be absent.
    fn draft(&self, live: Option<&Value>, input: &PlanInput<'_>) -> Draft {
        let mut wanted = self.declared.clone();
        let foreign = live.and_then(|live| live.get("variables")?.as_object()).into_iter().flat_map(Map::keys);
        if let Some(variables) = wanted.get_mut("variables").and_then(Value::as_object_mut) {
            for name in foreign {
                variables.entry(name.as_str()).or_insert(Value::Null);
            }
        }
        declared::between(&self.declared, &wanted, &self.shown(live), &Ignore::default(), input)
    }

    /// The live version, with its number where the spec declares one.
    fn shown(&self, live: Option<&Value>) -> Value {
        let mut shown = live.cloned().unwrap_or_else(|| json!({"variables": {}, "metadata": {}}));
        if let (None, Some(map)) = (&self.version, shown.as_object_mut()) {
            map.remove("version");
        }
        shown
    }

    /// The number of the version to create.
    fn number(&self, state: &State, input: &PlanInput<'_>) -> Result<String, Blocked> {
        let next = next_number(state, input);
        match &self.version {
            Some(fixed) => self.fixed(fixed, next, state, input),
            None => next.ok_or_else(|| {
                let message =
                    format!("prompt template {} has a version whose number has no successor; set spec.version", self.id);
                Blocked::new(Reason::RemoteRejected, message)
            }),
        }
    }

    fn fixed(&self, fixed: &str, next: Option<String>, state: &State, input: &PlanInput<'_>) -> Result<String, Blocked> {
        let remedy = next.map_or_else(
            || "set spec.version to a number that is not taken".to_owned(),
            |next| format!("set spec.version to {next}"),
        );
        let live = state.version.as_deref().unwrap_or_default();
        if live == fixed {
            let message = format!(
                "version {fixed} of prompt template {} exists with other content, and versions never change: {remedy}",
                self.id
            );
            return Err(Blocked::new(Reason::RemoteRejected, message));
        }
        let newer = parsed(live).zip(parsed(fixed)).is_some_and(|(live, fixed)| live.cmp_precedence(&fixed).is_ge());
        if newer || is_taken(fixed, state) || input.taken == Some(fixed) {
            let message = format!(
                "version {} of prompt template {} is live, and version {fixed} cannot be promoted after it: {remedy}, or leave it unset",
                super::display::escape(live),
                self.id
            );
            return Err(Blocked::new(Reason::Superseded, message));
        }
        Ok(fixed.to_owned())
    }
}

fn is_taken(number: &str, state: &State) -> bool {
    entities(state).any(|entity| number_of(entity) == Some(number))
}

/// The number whose creation was never confirmed; else the next patch above the greatest number seen, on the page that was read
/// and in status.
fn next_number(state: &State, input: &PlanInput<'_>) -> Option<String> {
    if let Some(number) = input.unconfirmed.filter(|number| !is_taken(number, state)) {
        return Some(number.to_owned());
    }
    let remembered = input.numbers.iter().map(String::as_str).chain(input.taken);
    let greatest = entities(state).filter_map(number_of).chain(remembered).filter_map(parsed).max_by(Version::cmp_precedence);
    let Some(Version { major, minor, patch, .. }) = greatest else { return Some(FIRST.to_string()) };
    let next = match (patch.checked_add(1), minor.checked_add(1)) {
        (Some(patch), _) => Version::new(major, minor, patch),
        (None, Some(minor)) => Version::new(major, minor, 0),
        (None, None) => Version::new(major.checked_add(1)?, 0, 0),
    };
    Some(next.to_string())
}

fn parsed(number: &str) -> Option<Version> {
    Version::parse(number).ok()
}

/// The step that creates a version, whole.
fn promotion(desired: &Desired, target: Target, version: String, live: Option<&Value>, draft: Draft) -> Plan {
    let mut after = draft.after;
    if let Some(map) = after.as_object_mut() {
        map.remove("version");
    }
    let mut body = after.clone();
    body["templateId"] = desired.id.as_str().into();
    body["version"] = version.as_str().into();
    body["rollbackDirective"] = false.into();
    if let Some(test) = body.get_mut("abTestingTrigger").and_then(Value::as_object_mut) {
        let percent = test.get("trafficPercent").and_then(Value::as_f64).unwrap_or_default();
        test.insert("enabled".into(), true.into());
        test.insert("trafficPercent".into(), json!(percent / 100.0));
    }
    let without_number = |live: &Value| json_util::without(live, &["version"]);
    let step = Step {
        target,
        guard: Guard::None,
        action: Action::VersionPromotion,
        why: draft.why,
        version,
        changes: draft.write,
        body,
        before_hash: live.map(without_number).as_ref().and_then(json_util::canonical_hash),
        after_hash: json_util::canonical_hash(&after),
        tokens: Some(desired.tokens),
        level: None,
    };
    Plan { steps: vec![step], ..draft.plan }
}

/// The versions that a read showed, newest first.
fn entities(state: &State) -> impl Iterator<Item = &Value> {
    state.document.get("entities").and_then(Value::as_array).into_iter().flatten()
}

fn number_of(entity: &Value) -> Option<&str> {
    entity.get("version").and_then(Value::as_str)
}

/// The live version: the first one.
fn live(state: &State) -> Option<Value> {
    let entity = entities(state).next()?;
    let mut live = normal(entity);
    live["version"] = entity.get("version").cloned().unwrap_or_default();
    Some(live)
}

/// What a version holds, in the one form in which versions are compared: an A/B test that is absent, `null` or not enabled is none,
/// and its traffic is whole percent.
fn normal(entity: &Value) -> Value {
    let object = |name: &str| entity.get(name).filter(|v| v.is_object()).cloned().unwrap_or_else(|| json!({}));
    let mut out = json!({
        "content": entity.get("content").cloned().unwrap_or_default(),
        "variables": object("variables"),
        "metadata": object("metadata"),
    });
    let test = entity.get("abTestingTrigger").filter(|test| test.get("enabled") == Some(&Value::Bool(true)));
    if let Some(test) = test {
        let percent = test.get("trafficPercent").and_then(Value::as_f64).map(|fraction| (fraction * 100.0).round());
        // Whole, and within what an integer holds exactly; anything else is shown as it came, and differs.
        let percent = percent.filter(|p| (0.0..=100.0).contains(p)).map(|p| json!(p as i64));
        let percent = percent.or_else(|| test.get("trafficPercent").cloned()).unwrap_or_default();
        out["abTestingTrigger"] = json!({"variantId": test.get("variantId"), "trafficPercent": percent});
    }
    out
}

#[cfg(test)]
#[path = "prompt_template_tests.rs"]
mod tests;
