//! The routing profiles behind S1 and S2: versions, and the changes that do not come over the wire.

use percent_encoding::utf8_percent_encode;
use serde_json::{Map, Value, json};

use super::config_store::SEGMENT;
use super::journal::{Actor, Document, Entry, Shown, digest};
use super::reply::Effect;
use super::settings::Settings;
use super::world::{State, World};

/// Members that are never part of the content.
const SERVER_FIELDS: [&str; 3] = ["id", "version", "selfUri"];

/// A profile at one version.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// Without `id`, `version` and `selfUri`.
    pub(super) content: Document,
    pub(super) version: i64,
}

/// The routing profile of a user.
#[derive(Debug)]
pub(super) struct Profile {
    pub(super) live: Snapshot,
    /// What was live before; at the beginning the live one.
    pub(super) previous: Snapshot,
    /// Bytes that S1 answers instead of the profile.
    pub(super) raw: Option<Vec<u8>>,
}

impl Snapshot {
    /// The profile on the wire, in the shape of S1.
    pub(super) fn render(&self, id: &str) -> Value {
        let mut document = self.content.to_value();
        document["id"] = id.into();
        document["version"] = self.version.into();
        document
    }

    /// What an answer with this version tells its client.
    pub(super) fn shown(&self) -> Shown {
        Shown { version: Some(self.version), guard: Some(self.version.to_string()), content_sha256: digest(&self.content) }
    }
}

impl Profile {
    fn new(id: &str, document: Value) -> Self {
        let (mut content, version) = split(document);
        content.entry("name").or_insert_with(|| format!("Agent {id}").into());
        content.entry("skills").or_insert_with(|| json!([]));
        let live = Snapshot { content: Value::Object(content).into(), version: version.unwrap_or(1) };
        Self { previous: live.clone(), live, raw: None }
    }

    /// Writes new content at the next version; the name stays the server's. None where the version has no successor.
    pub(super) fn commit(&mut self, content: Map<String, Value>, settings: &Settings) -> Option<Effect> {
        let version = self.live.version.checked_add(1)?;
        let mut content = Value::Object(content);
        settings.normaliser.iter().for_each(|rule| rule.apply(&mut content));
        // A rule may aim at the document itself; what is no object any more counts as an empty one.
        let (mut content, _) = split(content);
        content.insert("name".to_owned(), self.live.content["name"].clone());
        content.entry("skills").or_insert_with(|| json!([]));
        let live = Snapshot { content: Value::Object(content).into(), version };
        self.previous = std::mem::replace(&mut self.live, live);
        Some(Effect {
            applied: true,
            version: Some(version),
            before: Some(self.previous.content.clone()),
            after: Some(self.live.content.clone()),
            ..Effect::default()
        })
    }
}

/// The content of a document, and the version that it names if that is a possible one.
fn split(document: Value) -> (Map<String, Value>, Option<i64>) {
    let Value::Object(mut content) = document else { return (Map::new(), None) };
    let version = content.get("version").and_then(Value::as_i64).filter(|version| *version >= 0);
    SERVER_FIELDS.iter().for_each(|name| drop(content.remove(*name)));
    (content, version)
}

/// The address of a user's profile, the id encoded as one path segment.
fn address(id: &str) -> String {
    format!("/api/v2/users/{}/routing/profile", utf8_percent_encode(id, SEGMENT))
}

/// Sets or removes a skill among skills.
fn set_skill(document: &mut Value, skill_id: &str, proficiency: Option<f64>) {
    let Some(skills) = document.get_mut("skills").and_then(Value::as_array_mut) else { return };
    match (skills.iter_mut().find(|skill| skill["skillId"] == skill_id), proficiency) {
        (Some(skill), Some(proficiency)) => skill["proficiency"] = proficiency.into(),
        (None, Some(proficiency)) => skills.push(json!({"skillId": skill_id, "proficiency": proficiency})),
        (_, None) => skills.retain(|skill| skill["skillId"] != skill_id),
    }
}

impl World {
    /// Creates or replaces the routing profile of a user as if it had always been so: in the shape of S1, and all of it may be left out. Its
    /// version is the document's `version`, else 1. Nothing of it is checked.
    pub fn put_user(&self, id: &str, document: Value) {
        let mut state = self.state();
        let profile = Profile::new(id, document);
        let (version, after) = (Some(profile.live.version), Some(profile.live.content.clone()));
        let before = state.users.insert(id.to_owned(), profile).map(|profile| profile.live.content);
        self.note_profile(&mut state, Actor::Admin, "PUT", id, Effect { version, before, after, ..Effect::default() });
    }

    /// A foreign edit: the editor gets the live profile with `id` and `version`; what it leaves becomes the next version, with an entry of
    /// actor `foreign`. Answers false, and changes nothing, where there is no such user, where the version has no successor, or where no
    /// object is left. The editor must not use the world: it is locked.
    pub fn edit_user(&self, id: &str, editor: impl FnOnce(&mut Value)) -> bool {
        let mut state = self.state();
        let State { settings, users, .. } = &mut *state;
        let Some(profile) = users.get_mut(id) else { return false };
        let mut document = profile.live.render(id);
        editor(&mut document);
        let Value::Object(content) = document else { return false };
        let Some(effect) = profile.commit(content, settings) else { return false };
        self.note_profile(&mut state, Actor::Foreign, "PUT", id, effect);
        true
    }

    /// Somebody else gives a user a skill, changes its proficiency, or takes it away (none). Answers as [`World::edit_user`].
    pub fn set_skill(&self, id: &str, skill_id: &str, proficiency: Option<f64>) -> bool {
        self.edit_user(id, |document| set_skill(document, skill_id, proficiency))
    }

    /// From now on S1 answers these bytes for the user, whatever they are; none: the profile again. The state and S2 do not change. Answers
    /// whether there is such a user.
    pub fn set_raw_profile(&self, id: &str, body: Option<Vec<u8>>) -> bool {
        self.state().users.get_mut(id).map(|profile| profile.raw = body).is_some()
    }

    /// Removes a user: S1 and S2 answer 404. The metrics stay.
    pub fn remove_user(&self, id: &str) -> bool {
        let mut state = self.state();
        let Some(profile) = state.users.remove(id) else { return false };
        let effect = Effect { before: Some(profile.live.content), ..Effect::default() };
        self.note_profile(&mut state, Actor::Admin, "DELETE", id, effect);
        true
    }

    /// The ids of all users that have a profile.
    pub fn user_ids(&self) -> Vec<String> {
        self.state().users.keys().cloned().collect()
    }

    /// The live profile with `id` and `version`.
    pub fn user(&self, id: &str) -> Option<Value> {
        self.state().users.get(id).map(|profile| profile.live.render(id))
    }

    /// The proficiency of a user's skill, as it stands; none where the user has no such skill.
    pub fn skill(&self, id: &str, skill_id: &str) -> Option<Value> {
        let profile = self.user(id)?;
        let mut skills = profile["skills"].as_array()?.iter();
        skills.find(|skill| skill["skillId"] == skill_id).map(|skill| skill["proficiency"].clone())
    }

    /// Journals a change that no client made.
    fn note_profile(&self, state: &mut State, actor: Actor, method: &str, id: &str, effect: Effect) {
        let now_us = self.now_us();
        let mut entry = Entry::new(actor, method, &address(id), "other", now_us);
        let keep = state.settings.journal_bodies;
        entry.target = Some(id.to_owned());
        entry.applied = true;
        entry.change = Some(state.next_change());
        entry.changed_us = Some(now_us);
        entry.result_version = effect.version;
        entry.before = effect.before.filter(|_| keep);
        entry.after = effect.after.filter(|_| keep);
        self.record(entry);
    }
}
