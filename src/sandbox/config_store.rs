//! The agent-assist configs behind C1 to C3: versions, tags, history, and the changes that do not come over the wire.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Map, Value, json};

use super::journal::{Actor, Document, Entry, Shown, digest};
use super::reply::Effect;
use super::settings::{EtagStyle, Settings};
use super::world::{State, World, wall_clock};

/// The greatest version: an int32 (contract 3).
pub(super) const MAX_VERSION: i64 = i32::MAX as i64;

/// Members that are never part of the content.
const SERVER_FIELDS: [&str; 4] = ["id", "version", "etag", "selfUri"];

/// Members that the server keeps itself: what a client sends for them is ignored. They exist only in configs that were seeded with them.
const READ_ONLY: [&str; 4] = ["dateCreated", "dateModified", "createdBy", "modifiedBy"];

/// What is encoded in a path segment: all but the unreserved characters of RFC 3986.
pub(super) const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One version of a config.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// Without `id`, `version`, `etag` and `selfUri`.
    pub(super) content: Document,
    pub(super) version: i64,
    /// Strong and quoted.
    pub(super) tag: String,
    /// [`digest`] of the content.
    sha256: String,
    /// When it came to be, by the server's wall clock.
    pub(super) written: Timestamp,
}

/// A config with its past.
#[derive(Debug)]
pub(super) struct Config {
    pub(super) live: Arc<Snapshot>,
    /// By version, the live one included.
    history: BTreeMap<i64, Arc<Snapshot>>,
    /// Bytes that C1 answers instead of the document.
    pub(super) raw: Option<Vec<u8>>,
    /// Top-level keys that a PUT may have besides `version`; none: any.
    pub(super) allowed: Option<BTreeSet<String>>,
}

impl Snapshot {
    fn new(id: &str, version: i64, content: Value, written: Timestamp) -> Self {
        // Read-only members take no part in the tag: it shall be the same in every run of the same story.
        let mut hashed = content.clone();
        if let Value::Object(members) = &mut hashed {
            READ_ONLY.iter().for_each(|name| drop(members.remove(*name)));
        }
        let hash = digest(&json!([id, version, hashed]));
        let tag = format!("\"{version}-{}\"", hash.get(..4).unwrap_or_default());
        Self { sha256: digest(&content), content: content.into(), version, tag, written }
    }

    /// The document on the wire, in the shape of C1.
    pub(super) fn render(&self, id: &str, style: EtagStyle) -> Value {
        let mut document = self.content.to_value();
        document["id"] = id.into();
        document["version"] = self.version.into();
        document["selfUri"] = self_uri(id).into();
        if let Some(tag) = style.body(&self.tag) {
            document["etag"] = tag.into();
        }
        document
    }

    /// What an answer with this version tells its client.
    pub(super) fn shown(&self, style: EtagStyle) -> Shown {
        Shown { version: Some(self.version), guard: style.guard(&self.tag), content_sha256: self.sha256.clone() }
    }
}

impl Config {
    /// A version of the past or the live one.
    pub(super) fn snapshot(&self, version: i64) -> Option<&Arc<Snapshot>> {
        self.history.get(&version)
    }

    /// The version before the live one; the live one where there is none.
    pub(super) fn previous(&self) -> &Arc<Snapshot> {
        self.history.range(..self.live.version).next_back().map_or(&self.live, |(_, snapshot)| snapshot)
    }

    /// All versions, oldest first.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Arc<Snapshot>> {
        self.history.values()
    }

    /// Writes new content at the next version. None where the version has no successor.
    pub(super) fn commit(&mut self, id: &str, mut content: Map<String, Value>, settings: &Settings) -> Option<Effect> {
        if self.live.version >= MAX_VERSION {
            return None;
        }
        let written = wall_clock(settings);
        SERVER_FIELDS.iter().chain(&READ_ONLY).for_each(|name| drop(content.remove(*name)));
        for name in READ_ONLY {
            if let Some(kept) = self.live.content.get(name) {
                content.insert(name.to_owned(), if name == "dateModified" { written.to_string().into() } else { kept.clone() });
            }
        }
        let before = Arc::clone(&self.live);
        self.live = Arc::new(Snapshot::new(id, before.version + 1, Value::Object(content), written));
        self.history.insert(self.live.version, Arc::clone(&self.live));
        Some(Effect {
            applied: true,
            version: Some(self.live.version),
            etag: Some(self.live.tag.clone()),
            before: Some(before.content.clone()),
            after: Some(self.live.content.clone()),
            ..Effect::default()
        })
    }
}

/// The config's own address, its id encoded as one path segment.
pub(super) fn self_uri(id: &str) -> String {
    format!("/api/v2/agentassist/configs/{}", utf8_percent_encode(id, SEGMENT))
}

/// The content of a document, and the version that it names if that is a possible one.
fn split(document: Value) -> (Map<String, Value>, Option<i64>) {
    let Value::Object(mut content) = document else { return (Map::new(), None) };
    let version = content.get("version").and_then(Value::as_i64).filter(|version| (0..=MAX_VERSION).contains(version));
    SERVER_FIELDS.iter().for_each(|name| drop(content.remove(*name)));
    (content, version)
}

/// RFC 7396: members of the patch replace, `null` removes, everything else replaces the whole.
pub(super) fn merge_patch(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    let Value::Object(target) = target else { return };
    for (name, value) in patch {
        if value.is_null() {
            target.remove(name);
        } else {
            merge_patch(target.entry(name.clone()).or_insert(Value::Null), value);
        }
    }
}

impl World {
    /// Creates or replaces a config as if it had always been so: its version is the document's `version`, else 1, and its history begins
    /// there. `id`, `etag` and `selfUri` of the document are ignored; a document that is no object is an empty one.
    pub fn put_config(&self, id: &str, document: Value) {
        let mut state = self.state();
        let (content, version) = split(document);
        let live = Snapshot::new(id, version.unwrap_or(1), Value::Object(content), wall_clock(&state.settings));
        let live = Arc::new(live);
        let history = BTreeMap::from([(live.version, Arc::clone(&live))]);
        let effect = Effect {
            version: Some(live.version),
            etag: Some(live.tag.clone()),
            before: state.configs.get(id).map(|config| config.live.content.clone()),
            after: Some(live.content.clone()),
            ..Effect::default()
        };
        let allowed = state.configs.remove(id).and_then(|config| config.allowed);
        state.configs.insert(id.to_owned(), Config { live, history, raw: None, allowed });
        self.note(&mut state, Actor::Admin, "PUT", id, effect);
    }

    /// Adds a version to a config's past; it is not journaled. Answers false where there is no such config, or where the document names no
    /// version below the live one.
    pub fn put_snapshot(&self, id: &str, document: Value) -> bool {
        let mut state = self.state();
        let written = wall_clock(&state.settings);
        let (content, version) = split(document);
        let (Some(config), Some(version)) = (state.configs.get_mut(id), version) else { return false };
        if version >= config.live.version {
            return false;
        }
        config.history.insert(version, Arc::new(Snapshot::new(id, version, Value::Object(content), written)));
        true
    }

    /// The live document with `id`, `version`, `etag` (strong and quoted, whatever the style on the wire) and `selfUri`.
    pub fn config(&self, id: &str) -> Option<Value> {
        self.state().configs.get(id).map(|config| config.live.render(id, EtagStyle::Header))
    }

    /// The ids of all configs.
    pub fn config_ids(&self) -> Vec<String> {
        self.state().configs.keys().cloned().collect()
    }

    /// The exact bytes of C1's body as they would go out now.
    pub fn config_raw(&self, id: &str) -> Option<Vec<u8>> {
        let state = self.state();
        let config = state.configs.get(id)?;
        let rendered = || config.live.render(id, state.settings.etag_style).to_string().into_bytes();
        Some(config.raw.clone().unwrap_or_else(rendered))
    }

    /// From now on C1 answers these bytes for the config, whatever they are; none: its document again. The headers, the state and C3 do not
    /// change. Answers whether there is such a config.
    pub fn set_raw_body(&self, id: &str, body: Option<Vec<u8>>) -> bool {
        self.state().configs.get_mut(id).map(|config| config.raw = body).is_some()
    }

    /// The top-level keys that a PUT of this config may have, besides `version`; none: any. Answers whether there is such a config.
    pub fn set_allowed_keys(&self, id: &str, keys: Option<&[&str]>) -> bool {
        let keys = keys.map(|keys| keys.iter().map(|&key| key.to_owned()).collect());
        self.state().configs.get_mut(id).map(|config| config.allowed = keys).is_some()
    }

    /// A foreign edit: the editor gets the live document with `id` and `version`; what it leaves becomes the next version, with a new tag and
    /// an entry of actor `foreign`. Answers false, and changes nothing, where there is no such config, where the version has no successor, or
    /// where no object is left. The editor must not use the world: it is locked.
    pub fn edit_config(&self, id: &str, editor: impl FnOnce(&mut Value)) -> bool {
        let mut state = self.state();
        let State { settings, configs, .. } = &mut *state;
        let Some(config) = configs.get_mut(id) else { return false };
        let mut document = config.live.render(id, EtagStyle::Absent);
        editor(&mut document);
        let Value::Object(content) = document else { return false };
        let Some(effect) = config.commit(id, content, settings) else { return false };
        self.note(&mut state, Actor::Foreign, "PUT", id, effect);
        true
    }

    /// Removes a config with its past: C1 answers 404.
    pub fn remove_config(&self, id: &str) -> bool {
        let mut state = self.state();
        let Some(config) = state.configs.remove(id) else { return false };
        let effect = Effect { before: Some(config.live.content.clone()), ..Effect::default() };
        self.note(&mut state, Actor::Admin, "DELETE", id, effect);
        true
    }

    /// All versions of a config with their documents, oldest first; empty where there is no such config.
    pub fn history(&self, id: &str) -> Vec<(i64, Value)> {
        let state = self.state();
        let versions = state.configs.get(id).into_iter().flat_map(Config::versions);
        versions.map(|snapshot| (snapshot.version, snapshot.render(id, EtagStyle::Header))).collect()
    }

    /// Journals a change that no client made.
    fn note(&self, state: &mut State, actor: Actor, method: &str, id: &str, effect: Effect) {
        let now_us = self.now_us();
        let mut entry = Entry::new(actor, method, &self_uri(id), "other", now_us);
        let keep = state.settings.journal_bodies;
        entry.target = Some(id.to_owned());
        entry.applied = true;
        entry.change = Some(state.next_change());
        entry.changed_us = Some(now_us);
        entry.result_version = effect.version;
        entry.result_etag = effect.etag;
        entry.before = effect.before.filter(|_| keep);
        entry.after = effect.after.filter(|_| keep);
        self.record(entry);
    }
}
