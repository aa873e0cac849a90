//! The CEL rules of a skill policy that are longer than a line, written for the API server's cost budget: a message counts the ids
//! that are wrong and names the first, for `join` of all of them costs too much; the operator's condition names all.

use kube::core::{Message, Rule};

use crate::api::REMOTE_ID;

/// What of an id is shown. Line breaks would void the message and control characters steer a terminal: they end it.
const SHOWN: &str = r"^[\\p{L}\\p{N}\\p{P}\\p{S} ]{0,40}";
fn rule(rule: String, message: Message) -> Rule {
    Rule::new(rule).message(message)
}

/// Every agent's id is one URL path segment.
pub fn user_ids() -> Rule {
    let wrong = format!("self.filter(id, !id.matches('{REMOTE_ID}'))");
    let message = format!(
        "'userIds has %d entries that are no ids, such as \"%s\": use 1 to 64 letters, digits, _ or -, beginning with a letter or digit'.format([{wrong}.size(), {wrong}[0].find('{SHOWN}')])"
    );
    rule(format!("self.all(id, id.matches('{REMOTE_ID}'))"), Message::Expression(message))
}
