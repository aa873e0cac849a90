//! The CEL rules of durations, which hold the verdict of the engine for any text.

use kube::core::{Message, Rule};

use super::GO_DURATION;

/// The durations that `duration()` can read without an overflow, within the 32 characters of the schema. It fails on what is longer,
/// and a rule that fails has no remedy; each part that has more digits is longer than 8760h by itself.
const MODERATE: &str = "^(0*([0-9]{1,5}h|[0-9]{1,7}m|[0-9]{1,9}s))+$";

fn rule(rule: &str, message: &str) -> Rule {
    Rule::new(rule).message(Message::Message(message.to_owned()))
}

/// A text is a duration as Go writes it.
pub fn form(message: &str) -> Rule {
    rule(&format!("self.matches('{GO_DURATION}')"), message)
}

/// A duration is at least `least`, and at most a year. A text that is none is what [`form`] answers.
pub fn range(least: &str, message: &str) -> Rule {
    let within = format!("duration(self) >= duration('{least}') && duration(self) <= duration('8760h')");
    rule(&format!("!self.matches('{GO_DURATION}') || (self.matches('{MODERATE}') && {within})"), message)
}

/// A duration is a number of whole days. One that is too long to be read is what [`range`] answers.
pub fn whole_days(message: &str) -> Rule {
    rule(&format!("!self.matches('{MODERATE}') || duration(self).getSeconds() % 86400 == 0"), message)
}
