//! What the figures declare and what is live: configs of 1 KiB declared and 4 KiB live, as the figure for memory names them.

use serde_json::{Value, json};

/// Bytes that are declared.
const DECLARED: usize = 1024;
/// Bytes that are live.
const LIVE: usize = 4096;

/// The remote id of the n-th config.
pub fn id(n: usize) -> String {
    format!("config-{n:04}")
}

/// What the n-th object declares, 1 KiB: `revision` tells one edit from another in the journal.
pub fn declared(n: usize, revision: u64) -> Value {
    let mut document = json!({
        "name": format!("Assistant {n}"),
        "enabled": true,
        "language": "en-US",
        "revision": revision,
        "assignedQueues": ["retail-voice", "retail-chat", "retail-email", format!("queue-{n}")],
        "parameters": {
            "confidenceThreshold": 0.72, "maxSuggestions": 3, "suggestionTimeoutSeconds": 8, "redactPersonalData": true,
            "fallback": {"enabled": true, "afterSeconds": 4.5, "message": "One moment please"}
        },
        "knowledge": {"baseId": format!("kb-{n}"), "search": {"mode": "hybrid", "minScore": 0.55, "maxResults": 5}},
        "summary": {"enabled": true, "style": "bullets", "maxWords": 120, "includeActionItems": true},
        "rules": [{"id": "loyalty", "conditions": {"intents": ["cancel"]}, "actions": [{"type": "NOTIFY_SUPERVISOR"}]}]
    });
    pad(&mut document, "description", DECLARED);
    document
}

/// What is live before the operator comes, 4 KiB: other values for what is declared, and much that is not.
pub fn live(n: usize) -> Value {
    let mut document = json!({
        "name": "Untitled",
        "enabled": false,
        "parameters": {"confidenceThreshold": 0.5, "maxSuggestions": 1, "tone": "neutral"},
        "knowledge": {"baseId": "none", "languages": ["en-US", "es-US"]},
        "transcription": {"engine": "extended", "vendor": "genesys", "lowLatency": true}
    });
    document["owner"] = json!(format!("team-{}", n % 7));
    let checklist =
        |item: usize| json!({"id": format!("item-{item}"), "text": "Confirm the caller's address", "mandatory": item < 9});
    document["checklists"] = (0..20).map(checklist).collect();
    // Room for what the first write adds.
    pad(&mut document, "notes", LIVE - DECLARED + 256);
    document
}

/// Brings a document to a size by a text member.
fn pad(document: &mut Value, member: &str, size: usize) {
    document[member] = json!("");
    let missing = size.saturating_sub(document.to_string().len());
    let words = "Answers in plain words, cites its source and asks before it transfers. ";
    document[member] = json!(words.chars().cycle().take(missing).collect::<String>());
}

/// An object of the n-th config.
pub fn object(n: usize, spec: &Value) -> Value {
    let mut full = json!({"orgRef": {"name": "org"}, "configId": id(n)});
    if let (Some(full), Some(spec)) = (full.as_object_mut(), spec.as_object()) {
        full.extend(spec.clone());
    }
    json!({"apiVersion": "assist-operator.dev/v1alpha1", "kind": "AgentAssistConfig", "metadata": {"name": id(n)}, "spec": full})
}

/// An object that declares 1 KiB.
pub fn full(n: usize, revision: u64) -> Value {
    object(n, &json!({"config": declared(n, revision)}))
}

/// Many objects as one list, for one `kubectl apply`.
pub fn list(items: impl IntoIterator<Item = Value>) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items.into_iter().collect::<Vec<_>>()})
}
