//! The state that a sandbox begins with: in code, or as a YAML or JSON file.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::Error;
use super::config_store::MAX_VERSION;
use super::faults::Fault;
use super::settings::Settings;
use super::world::World;
use super::{profiles, prompt_store, user_details};

/// An OAuth client of a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ClientSeed {
    /// The client id.
    pub id: String,
    /// The client secret.
    pub secret: String,
    /// What it may do; unset: everything.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

/// A conversation of a seed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConversationSeed {
    /// The config that handles it.
    pub config_id: String,
    /// The version of that config.
    pub version: i64,
    /// When it began.
    pub start_time: Timestamp,
}

/// The beginning. In a file every field may be left out, unknown fields are refused, and `yes` is text, not a truth value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Seed {
    /// OAuth clients.
    #[serde(default)]
    pub clients: Vec<ClientSeed>,
    /// Live documents of agent-assist configs, in the shape of C1: each with `id`, and `version` where it is not 1.
    #[serde(default)]
    pub configs: Vec<Value>,
    /// By config id: documents of the past, each with a `version` below the live one.
    #[serde(default)]
    pub history: BTreeMap<String, Vec<Value>>,
    /// By config id: the top-level keys that a PUT may have besides `version`; a config that is not named takes any.
    #[serde(default)]
    pub allowed_keys: BTreeMap<String, BTreeSet<String>>,
    /// By template id: the versions of a prompt template in the shape of P1's entities, newest last; each may leave out all but `version`
    /// and `content`. An empty list is a template without a version.
    #[serde(default)]
    pub prompts: BTreeMap<String, Vec<Value>>,
    /// Templates whose rollback flag is on.
    #[serde(default)]
    pub rollback_flags: BTreeSet<String>,
    /// By user id: routing profiles in the shape of S1, each without `id`; every member may be left out, `version` is then 1.
    #[serde(default)]
    pub users: BTreeMap<String, Value>,
    /// By user id: the metrics `handleTime` and `satisfaction`, each a number, `null`, anything else (a server gone wrong), or left out.
    #[serde(default)]
    pub analytics: BTreeMap<String, Value>,
    /// Conversations for C4.
    #[serde(default)]
    pub conversations: Vec<ConversationSeed>,
    /// The key that the signatures of audit records are checked with; unset: they are not checked.
    #[serde(default)]
    pub audit_key: Option<String>,
    /// How the server behaves.
    #[serde(default)]
    pub settings: Settings,
    /// What goes wrong, in this order.
    #[serde(default)]
    pub faults: Vec<Fault>,
}

impl Default for Seed {
    /// Client `demo-client` with secret `demo-secret` and all scopes; the config `retail-assist` at version 7, with version 6 as its past; the
    /// prompt template `loyalty-save` at version 1.0.0; the agents `agent-ana` and `agent-ben` with their skills and metrics.
    fn default() -> Self {
        let client = ClientSeed { id: "demo-client".to_owned(), secret: "demo-secret".to_owned(), scopes: None };
        let live = retail_assist();
        let mut past = live.clone();
        past["version"] = 6.into();
        past["parameters"]["confidenceThreshold"] = 0.6.into();
        past["dateModified"] = "2026-05-18T08:12:00Z".into();
        Self {
            clients: vec![client],
            configs: vec![live],
            history: BTreeMap::from([("retail-assist".to_owned(), vec![past])]),
            prompts: BTreeMap::from([("loyalty-save".to_owned(), vec![loyalty_save()])]),
            users: agents(),
            analytics: BTreeMap::from([
                ("agent-ana".to_owned(), json!({"handleTime": 350, "satisfaction": 4.5})),
                ("agent-ben".to_owned(), json!({"handleTime": 700, "satisfaction": 4.5})),
            ]),
            ..Self::empty()
        }
    }
}

impl Seed {
    /// A world without clients and objects.
    pub fn empty() -> Self {
        Self {
            clients: Vec::new(),
            configs: Vec::new(),
            history: BTreeMap::new(),
            allowed_keys: BTreeMap::new(),
            prompts: BTreeMap::new(),
            rollback_flags: BTreeSet::new(),
            users: BTreeMap::new(),
            analytics: BTreeMap::new(),
            audit_key: None,
            conversations: Vec::new(),
            settings: Settings::default(),
            faults: Vec::new(),
        }
    }

    /// Reads a YAML or JSON document.
    ///
    /// # Errors
    /// [`Error::Seed`] with the place of a syntax error, or with every rule that the content breaks.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let failed = |cause: String| Error::Seed(vec![cause]);
        // JSON has escapes that YAML reads otherwise.
        let seed: Self = if text.trim_start().starts_with('{') {
            let mut json = serde_json::Deserializer::from_str(text);
            let seed = serde_path_to_error::deserialize(&mut json).map_err(|cause| failed(cause.to_string()))?;
            json.end().map_err(|cause| failed(cause.to_string()))?;
            seed
        } else {
            let options = serde_saphyr::options! { strict_booleans: true };
            serde_saphyr::from_str_with_options(text, options).map_err(|cause| failed(cause.to_string()))?
        };
        let findings = seed.findings();
        if findings.is_empty() { Ok(seed) } else { Err(Error::Seed(findings)) }
    }

    /// Makes the world so.
    pub(super) fn plant(self, world: &World) -> Result<(), Error> {
        let findings = self.findings();
        if !findings.is_empty() {
            return Err(Error::Seed(findings));
        }
        world.set(|current| *current = self.settings.clone());
        self.plant_objects(world);
        for ClientSeed { id, secret, scopes } in self.clients {
            let scopes = scopes.unwrap_or_else(|| World::all_scopes().into_iter().map(str::to_owned).collect());
            world.add_client(&id, &secret, &scopes.iter().map(String::as_str).collect::<Vec<_>>());
        }
        world.set_audit_key(self.audit_key.as_deref());
        for ConversationSeed { config_id, version, start_time } in self.conversations {
            world.add_conversation(&config_id, version, start_time);
        }
        for fault in self.faults {
            world.faults().push(fault);
        }
        world.begin();
        Ok(())
    }

    fn plant_objects(&self, world: &World) {
        for document in &self.configs {
            world.put_config(id_of(document).unwrap_or_default(), document.clone());
        }
        for (id, documents) in &self.history {
            for document in documents {
                world.put_snapshot(id, document.clone());
            }
        }
        for (id, keys) in &self.allowed_keys {
            world.set_allowed_keys(id, Some(&keys.iter().map(String::as_str).collect::<Vec<_>>()));
        }
        self.prompts.iter().for_each(|(id, versions)| world.put_prompt(id, versions));
        for id in &self.rollback_flags {
            world.set_rollback_flag(id, true);
        }
        self.users.iter().for_each(|(id, profile)| world.put_user(id, profile.clone()));
        for (id, metrics) in &self.analytics {
            world.set_metrics(id, metrics.get("handleTime").cloned(), metrics.get("satisfaction").cloned());
        }
    }

    /// Everything that is wrong, in the order of the file.
    fn findings(&self) -> Vec<String> {
        let mut findings = Vec::new();
        let mut seen = BTreeSet::new();
        for client in &self.clients {
            if client.id.is_empty() || client.secret.is_empty() {
                findings.push(format!("client {:?}: id and secret must not be empty", client.id));
            }
            if !seen.insert(client.id.as_str()) {
                findings.push(format!("client {:?} occurs twice", client.id));
            }
        }
        let mut live = BTreeMap::new();
        for (index, document) in self.configs.iter().enumerate() {
            match (id_of(document), version_of(document, 1)) {
                (None, _) => findings.push(format!("configs[{index}]: must be an object with a text \"id\"")),
                (Some(id), None) => findings.push(format!("config {id:?}: version must be a whole number up to {MAX_VERSION}")),
                (Some(id), Some(version)) => {
                    if live.insert(id, version).is_some() {
                        findings.push(format!("config {id:?} occurs twice"));
                    }
                }
            }
        }
        for (id, documents) in &self.history {
            let Some(&live) = live.get(id.as_str()) else {
                findings.push(format!("history of {id:?}: there is no such config"));
                continue;
            };
            for document in documents {
                if version_of(document, MAX_VERSION).is_none_or(|version| version >= live) {
                    findings.push(format!("history of {id:?}: every document needs a version below the live {live}"));
                }
            }
        }
        for id in self.allowed_keys.keys().filter(|id| !live.contains_key(id.as_str())) {
            findings.push(format!("allowedKeys of {id:?}: there is no such config"));
        }
        findings.extend(self.prompts.iter().flat_map(|(id, versions)| prompt_store::findings(id, versions)));
        for id in self.rollback_flags.iter().filter(|id| !self.prompts.contains_key(*id)) {
            findings.push(format!("rollbackFlags: there is no prompt {id:?}"));
        }
        findings.extend(self.users.iter().flat_map(|(id, profile)| profiles::findings(id, profile)));
        findings.extend(self.analytics.iter().flat_map(|(id, metrics)| user_details::findings(id, metrics)));
        if self.audit_key.as_deref() == Some("") {
            findings.push("auditKey must not be empty".to_owned());
        }
        findings
    }
}

fn id_of(document: &Value) -> Option<&str> {
    document.get("id").and_then(Value::as_str).filter(|id| !id.is_empty())
}

/// The version of a document, or `unset` where it has none; nothing where it cannot be one.
fn version_of(document: &Value, unset: i64) -> Option<i64> {
    match document.get("version") {
        None => Some(unset),
        Some(version) => version.as_i64().filter(|version| (0..=MAX_VERSION).contains(version)),
    }
}

/// The prompt of the default seed, to which the config's loyalty rule points.
fn loyalty_save() -> Value {
    json!({
        "version": "1.0.0",
        "content": "The customer {{customer_name}} wants to cancel.\nSuggest one reply that offers {{offer}}, in at most three sentences.\n",
        "variables": {"customer_name": "string", "offer": "a free month"},
        "metadata": {"author": "retail", "purpose": "retention"},
        "dateCreated": "2026-05-02T07:45:00Z"
    })
}

/// The agents of the default seed.
fn agents() -> BTreeMap<String, Value> {
    let agent = |name: &str, version: i64, returns: f64| {
        json!({
            "version": version,
            "name": name,
            "skills": [
                {"skillId": "retail-returns", "proficiency": returns},
                {"skillId": "spanish", "proficiency": 1.0}
            ]
        })
    };
    BTreeMap::from([("agent-ana".to_owned(), agent("Ana Ruiz", 12, 0.1)), ("agent-ben".to_owned(), agent("Ben Okafor", 4, 0.6))])
}

/// The config of the default seed.
fn retail_assist() -> Value {
    json!({
        "id": "retail-assist",
        "version": 7,
        "name": "Retail assist",
        "description": "Knowledge, next best action and summaries for the retail contact centre",
        "enabled": true,
        "language": "en-US",
        "assignedQueues": ["retail-voice", "retail-chat"],
        "rules": [
            {
                "id": "returns-policy",
                "name": "Offer the returns policy",
                "enabled": true,
                "priority": 10,
                "conditions": {"intents": ["return_item", "refund_status"], "sentiment": {"below": -0.2}},
                "actions": [{"type": "SHOW_KNOWLEDGE", "articleId": "kb-returns-2026"}]
            },
            {
                "id": "loyalty-offer",
                "name": "Suggest a loyalty offer",
                "enabled": true,
                "priority": 20,
                "conditions": {"intents": ["cancel_membership"], "customerTier": ["gold", "platinum"]},
                "actions": [
                    {"type": "SUGGEST_REPLY", "templateId": "loyalty-save"},
                    {"type": "NOTIFY_SUPERVISOR", "severity": "info"}
                ]
            }
        ],
        "parameters": {
            "confidenceThreshold": 0.72,
            "maxSuggestions": 3,
            "suggestionTimeoutSeconds": 8,
            "redactPersonalData": true
        },
        "knowledge": {
            "baseId": "kb-retail",
            "languages": ["en-US", "es-US"],
            "search": {"mode": "hybrid", "minScore": 0.55, "maxResults": 5}
        },
        "summary": {"enabled": true, "style": "bullets", "maxWords": 120, "includeActionItems": true},
        "transcription": {"engine": "extended", "vendor": "genesys", "lowLatency": true},
        "dateModified": "2026-06-02T09:30:00Z"
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_yaml_seed_is_read_whole() {
        let seed = Seed::parse(
            "
clients: [{id: a, secret: s, scopes: ['agentassist:config:read']}]
configs:
- {id: cfg-1, version: 3, name: One, flag: yes}
history: {cfg-1: [{version: 2, name: Older}]}
allowedKeys: {cfg-1: [name]}
prompts:
  greeting:
  - {version: 1.0.0, content: 'Hi {{name}}', variables: {name: string}}
  - {version: 1.0.1-rc.1, content: Hi}
  empty: []
rollbackFlags: [empty]
users:
  u1: {version: 12, name: Ana, skills: [{skillId: s, proficiency: 0.72, note: kept}]}
  u2: {}
analytics: {u1: {handleTime: 350, satisfaction: null}, u3: {handleTime: NaN}}
auditKey: k
conversations: [{configId: cfg-1, version: 3, startTime: 2026-01-02T03:04:05Z}]
settings: {rateLimit: 60, etagStyle: weak, normaliser: [{rule: upperCase, path: /name}]}
faults:
- {calls: [C3], times: {count: 2}, kind: {type: status, status: 503, retryAfter: '2'}}
- {times: always, kind: {type: resetAfter}}
- {times: {probability: {p: 0.5, seed: 1}}, kind: {type: delay, beforeMs: 5}}
",
        )
        .unwrap();
        assert_eq!(seed.configs[0]["flag"], "yes");
        assert_eq!(seed.settings.rate_limit, Some(60));
        assert_eq!(seed.faults.len(), 3);
        assert_eq!((seed.prompts["greeting"].len(), seed.prompts["greeting"][0]["version"].as_str()), (2, Some("1.0.0")));
        assert_eq!((&seed.analytics["u1"]["satisfaction"], &seed.users["u2"]), (&Value::Null, &json!({})));
        let text = serde_json::to_string(&seed).unwrap();
        assert_eq!(Seed::parse(&text).unwrap(), seed);
    }

    #[test]
    fn everything_that_is_wrong_is_named_at_once() {
        let error =
            Seed::parse("configs: [{id: a}, {id: a, version: 0.5}, {name: b}]\nhistory: {c: []}").unwrap_err().to_string();
        assert_eq!(error.lines().count(), 4, "{error}");
        let prompts = "
prompts:
  a: [{version: 1.0, content: x}, {version: 1.0.0}, {version: 1.0.1, content: x}, {version: 1.0.1, content: x}]
  b: [{version: 1.0.0, content: x, variables: {v: {}}}, {version: 1.0.1, content: x, live: true}, 3]
rollbackFlags: [c]
auditKey: ''";
        let error = Seed::parse(prompts).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 9, "{error}");
        let users = "
users:
  a: {skills: [{skillId: s, proficiency: 1.1}, {skillId: t, proficiency: 1}, {skillId: t, proficiency: 0}, {proficiency: 1}, 3]}
  b: {version: -1, name: 3, id: c, skills: {}}
  c: []
analytics: {a: {handletime: 3}, b: 3}";
        let error = Seed::parse(users).unwrap_err().to_string();
        assert_eq!(error.lines().count(), 12, "{error}");
        assert!(Seed::parse("settings: {ratelimit: 3}").unwrap_err().to_string().contains("ratelimit"));
        assert!(Seed::parse("{\"clients\": 3}").unwrap_err().to_string().contains("clients"));
    }

    #[test]
    fn the_default_seed_is_valid() {
        assert_eq!(Seed::default().findings(), Vec::<String>::new());
    }
}
