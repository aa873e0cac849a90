//! The prompt templates behind P1 and P2: versions, the rollback flag, and the changes that do not come over the wire.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::config_store::{SEGMENT, merge_patch};
use super::journal::{Actor, Document, Entry};
use super::prompt_rules::{self, is_semver};
use super::reply::Effect;
use super::settings::Settings;
use super::world::{State, World, wall_clock};

/// A prompt template. Its live version is the last one.
#[derive(Debug, Default)]
pub(super) struct Template {
    /// In the shape of P1's entities, newest last.
    versions: Vec<Document>,
    /// While it is on, P2 answers 409; P1 shows no trace of it.
    pub(super) rollback_flag: bool,
    /// Bytes that P1 answers instead of a page.
    pub(super) raw: Option<Vec<u8>>,
}

impl Template {
    /// The versions, newest first.
    pub(super) fn newest_first(&self) -> impl Iterator<Item = &Document> {
        self.versions.iter().rev()
    }

    /// The live version.
    pub(super) fn live(&self) -> Option<&Document> {
        self.versions.last()
    }

    /// Whether there is such a version.
    pub(super) fn has(&self, version: &str) -> bool {
        self.versions.iter().any(|document| document["version"] == version)
    }

    /// Makes a version the live one, as the server keeps it. `fields` has passed the checks.
    pub(super) fn commit(&mut self, fields: Map<String, Value>, settings: &Settings) -> Effect {
        let version = fields.get("version").cloned().unwrap_or_default();
        let mut kept = Value::Object(fields);
        settings.normaliser.iter().for_each(|rule| rule.apply(&mut kept));
        // The number is what P2 is about: no deployment hands out another one.
        let mut document = entity(kept);
        document["version"] = version.clone();
        document["dateCreated"] = wall_clock(settings).to_string().into();
        let before = self.live().cloned();
        let after = Document::from(document);
        self.versions.push(after.clone());
        let promoted = version.as_str().map(str::to_owned);
        Effect { applied: true, promoted, before, after: Some(after), ..Effect::default() }
    }
}

/// A version in the shape of P1's entities: what it lacks is empty.
fn entity(mut fields: Value) -> Value {
    let mut take = |name: &str, unset: Value| fields.get_mut(name).map_or(unset, Value::take);
    json!({
        "version": take("version", Value::Null),
        "content": take("content", Value::Null),
        "variables": take("variables", json!({})),
        "metadata": take("metadata", json!({})),
        "abTestingTrigger": take("abTestingTrigger", Value::Null),
        "dateCreated": take("dateCreated", Value::Null),
    })
}

/// The address of a template's versions, its id encoded as one path segment.
fn address(id: &str) -> String {
    format!("/api/v2/ai/prompt-templates/{}/versions", utf8_percent_encode(id, SEGMENT))
}

/// Everything that is wrong with the versions of a seed.
pub(super) fn findings(id: &str, versions: &[Value]) -> Vec<String> {
    let mut findings = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for (index, version) in versions.iter().enumerate() {
        let found = match version.get("version").and_then(Value::as_str).filter(|version| is_semver(version)) {
            None => Some("needs a text \"version\" like 1.0.0".to_owned()),
            Some(number) if !seen.insert(number) => Some(format!("version {number} occurs twice")),
            Some(_) => prompt_rules::stored(version).err(),
        };
        findings.extend(found.map(|found| format!("prompt {id:?}, versions[{index}]: {found}")));
    }
    findings
}

impl World {
    /// Creates or replaces a template as if it had always been so, with these versions, newest last; none is a template without a version.
    /// Each is in the shape of P1's entities, and may leave out all but `version` and `content`. Nothing of it is checked or rewritten.
    pub fn put_prompt(&self, id: &str, versions: &[Value]) {
        let mut state = self.state();
        let now = wall_clock(&state.settings).to_string();
        let versions = versions.iter().map(|version| {
            let mut document = entity(version.clone());
            if document["dateCreated"].is_null() {
                document["dateCreated"] = now.clone().into();
            }
            Document::from(document)
        });
        let template = Template { versions: versions.collect(), ..Template::default() };
        let after = template.live().cloned();
        let promoted = after.as_ref().and_then(|live| live["version"].as_str()).map(str::to_owned);
        let before = state.prompts.insert(id.to_owned(), template).and_then(|template| template.live().cloned());
        self.note_prompt(&mut state, Actor::Admin, "PUT", id, Effect { promoted, before, after, ..Effect::default() });
    }

    /// Somebody else promotes: the version becomes the live one, with an entry of actor `foreign`. It is in the shape of P1's entities; the
    /// server rewrites it as it does what clients write, and checks nothing of it but its number. Answers false, and changes nothing, where
    /// there is no such template, or the number is missing or taken.
    pub fn promote(&self, id: &str, version: Value) -> bool {
        let mut state = self.state();
        let State { settings, prompts, .. } = &mut *state;
        let (Some(template), Value::Object(fields)) = (prompts.get_mut(id), version) else { return false };
        let number = fields.get("version").and_then(Value::as_str);
        if number.is_none_or(|number| template.has(number)) {
            return false;
        }
        let effect = template.commit(fields, settings);
        self.note_prompt(&mut state, Actor::Foreign, "POST", id, effect);
        true
    }

    /// Somebody else promotes the live version with this merge patch; without a number in it, under the next patch number.
    pub(super) fn promote_patched(&self, id: &str, patch: &Value) -> bool {
        let live = self.live_prompt(id);
        let mut version = live.clone().unwrap_or_else(|| json!({"version": "0.0.0", "content": "", "variables": {}}));
        merge_patch(&mut version, patch);
        if let Some(taken) = version["version"].as_str().filter(|_| patch.get("version").is_none()) {
            version["version"] = prompt_rules::next_patch(taken).into();
        }
        self.promote(id, version)
    }

    /// Somebody else deletes a version: the one before it may become the live one. Answers whether it was there.
    pub fn delete_version(&self, id: &str, version: &str) -> bool {
        let mut state = self.state();
        let Some(template) = state.prompts.get_mut(id).filter(|template| template.has(version)) else { return false };
        let before = template.live().cloned();
        template.versions.retain(|document| document["version"] != version);
        let after = template.live().cloned();
        self.note_prompt(&mut state, Actor::Foreign, "DELETE", id, Effect { before, after, ..Effect::default() });
        true
    }

    /// Sets the rollback flag: while it is on, P2 answers 409 and P1 shows no trace of it. It is not journaled. Answers whether there is
    /// such a template.
    pub fn set_rollback_flag(&self, id: &str, on: bool) -> bool {
        self.state().prompts.get_mut(id).map(|template| template.rollback_flag = on).is_some()
    }

    /// From now on P1 answers these bytes for the template, whatever they are; none: its pages again. P2 does not change. Answers whether
    /// there is such a template.
    pub fn set_raw_versions(&self, id: &str, body: Option<Vec<u8>>) -> bool {
        self.state().prompts.get_mut(id).map(|template| template.raw = body).is_some()
    }

    /// Removes a template with its versions: P1 and P2 answer 404.
    pub fn remove_prompt(&self, id: &str) -> bool {
        let mut state = self.state();
        let Some(template) = state.prompts.remove(id) else { return false };
        let effect = Effect { before: template.live().cloned(), ..Effect::default() };
        self.note_prompt(&mut state, Actor::Admin, "DELETE", id, effect);
        true
    }

    /// The ids of all templates.
    pub fn prompt_ids(&self) -> Vec<String> {
        self.state().prompts.keys().cloned().collect()
    }

    /// The versions of a template in the shape of P1's entities, newest first; none where there is no such template.
    pub fn prompt_versions(&self, id: &str) -> Option<Vec<Value>> {
        self.state().prompts.get(id).map(|template| template.newest_first().map(Document::to_value).collect())
    }

    /// The live version, where there is one.
    pub fn live_prompt(&self, id: &str) -> Option<Value> {
        self.state().prompts.get(id)?.live().map(Document::to_value)
    }

    /// The whole template for the steering surface.
    pub(super) fn prompt(&self, id: &str) -> Option<Value> {
        let rollback_flag = self.state().prompts.get(id)?.rollback_flag;
        Some(json!({"templateId": id, "rollbackFlag": rollback_flag, "versions": self.prompt_versions(id)}))
    }

    /// Journals a change that no client made.
    fn note_prompt(&self, state: &mut State, actor: Actor, method: &str, id: &str, effect: Effect) {
        let now_us = self.now_us();
        let mut entry = Entry::new(actor, method, &address(id), "other", now_us);
        let keep = state.settings.journal_bodies;
        entry.target = Some(id.to_owned());
        entry.applied = true;
        entry.change = Some(state.next_change());
        entry.changed_us = Some(now_us);
        entry.promoted = effect.promoted;
        entry.before = effect.before.filter(|_| keep);
        entry.after = effect.after.filter(|_| keep);
        self.record(entry);
    }
}
