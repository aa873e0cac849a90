//! The CEL rules of a prompt that are longer than a line (contract section 4), written for the API server's cost budget.
//!
//! What its estimator refuses decides their form: `join` of a list and `format` of an unbounded text cost too much, so a message
//! names one placeholder or variable and the operator's condition names all; a comprehension over a map with `replace` is
//! cheap, over a list of variables it is not. `has(self.content)` first: text from a ConfigMap is not here.

use kube::core::{Message, Rule};

/// From `{{` to the next `}}` with a name inside, as a CEL string literal without its quotes.
const PLACEHOLDER: &str = r"\\{\\{[a-zA-Z_][a-zA-Z0-9_]*\\}\\}";
/// From `{{` to the next `}}`, or to the end of the text.
const ANY: &str = r"(?s)\\{\\{.*?(?:\\}\\}|$)";
/// A text in which every `{{` begins a placeholder: what is no brace, one brace alone, placeholders, and perhaps a brace at the
/// end. One automaton in place of a list of all placeholders.
const ONLY_PLACEHOLDERS: &str = r"^([^{]|\\{[^{]|\\{\\{[a-zA-Z_][a-zA-Z0-9_]*\\}\\})*\\{?$";
/// The first `{{` that begins no placeholder, and some of what follows.
const NO_PLACEHOLDER: &str = r"\\{\\{(?:[^a-zA-Z_]|[a-zA-Z_][a-zA-Z0-9_]*(?:[^a-zA-Z0-9_}]|\\}(?:[^}]|$)|$)|$)[^\\r\\n]{0,40}";
/// The beginning of that up to `}}`. Line breaks would void the message and control characters steer a terminal: they end it.
const SHOWN: &str = r"^\\{\\{[\\p{L}\\p{N}\\p{P}\\p{S} ]{0,40}?\\}\\}|^\\{\\{[\\p{L}\\p{N}\\p{P}\\p{S} ]{0,40}";
/// The effective limits.
const MAX_CHARACTERS: &str = "(has(self.limits) && has(self.limits.maxCharacters) ? self.limits.maxCharacters : 4096)";
const MAX_TOKENS: &str = "(has(self.limits) && has(self.limits.maxTokens) ? self.limits.maxTokens : 3800)";
/// Where the budget of one evaluation would not suffice, since every variable is looked for in the whole content: then another
/// rule is broken too. 50 variables in 32,768 characters are just checked.
const TOO_MUCH: &str =
    "(has(self.variables) && (self.content.size() * self.variables.size() > 1638400 || self.variables.exists(n, n.size() > 64)))";
/// The placeholders that are not declared, as a list.
const UNDECLARED: &str = "!(has(self.variables) && p.substring(2, p.size() - 2) in self.variables)";
/// Characters with every placeholder at its variable's `maxLength`: the length, and for each such variable its occurrences
/// times the difference.
const ESTIMATED_CHARACTERS: &str = "(self.content.size() + (has(self.variables) ? self.variables.map(n, has(self.variables[n].maxLength), (self.content.size() - self.content.replace('{{' + n + '}}', '').size()) / (n.size() + 4) * (self.variables[n].maxLength - n.size() - 4)).sum() : 0))";
/// A variable's name.
const NAME: &str = "^[a-zA-Z_][a-zA-Z0-9_]{0,63}$";
/// What of a name is shown.
const SHOWN_NAME: &str = r"^[\\p{L}\\p{N}\\p{P}\\p{S} ]{0,40}";

fn rule(rule: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule::new(rule).message(Message::Expression(message.into()))
}

/// At most so many Unicode scalar values, which is what CEL's `size` counts.
pub fn content_length() -> Rule {
    rule(
        format!("!has(self.content) || self.content.size() <= {MAX_CHARACTERS}"),
        format!(
            "'content has %d characters, at most %d: shorten it, or raise limits.maxCharacters (up to 32768)'.format([self.content.size(), {MAX_CHARACTERS}])"
        ),
    )
    .field_path(".content")
}

/// Every `{{` begins a placeholder.
pub fn placeholder_form() -> Rule {
    rule(
        format!("!has(self.content) || self.content.matches('{ONLY_PLACEHOLDERS}')"),
        format!(
            "'content has %d invalid placeholders, the first is %s : write {{{{name}}}} with letters, digits and _ only, no spaces, and close it'.format([self.content.findAll('{ANY}').filter(p, !p.matches('^{PLACEHOLDER}$')).size(), self.content.find('{NO_PLACEHOLDER}').find('{SHOWN}')])"
        ),
    )
    .field_path(".content")
}

/// Every placeholder is a declared variable.
pub fn placeholders_are_declared() -> Rule {
    let undeclared = format!("self.content.findAll('{PLACEHOLDER}').filter(p, {UNDECLARED})");
    rule(
        format!("!has(self.content) || !self.content.findAll('{PLACEHOLDER}').exists(p, {UNDECLARED})"),
        format!(
            "'content has %d placeholders that are not declared, such as %s: declare each in spec.variables, or correct its name'.format([{undeclared}.size(), {undeclared}[0]])"
        ),
    )
    .field_path(".content")
}

/// Every declared variable occurs.
pub fn variables_occur() -> Rule {
    // `contains` costs the product of both lengths, `indexOf` the length of the content.
    let unused = "self.variables.filter(n, self.content.indexOf('{{' + n + '}}') < 0)";
    rule(
        format!(
            "!has(self.content) || !has(self.variables) || {TOO_MUCH} || self.variables.all(n, self.content.indexOf('{{{{' + n + '}}}}') >= 0)"
        ),
        format!(
            "'%d variables do not occur in content, such as %s: use each as {{{{name}}}}, or remove it'.format([{unused}.size(), {unused}[0].find('{SHOWN_NAME}')])"
        ),
    )
    .field_path(".variables")
}

/// A quarter of the characters is the estimate; both sides times four, so that nothing is rounded. `%.2f` would print 8,192.25.
pub fn estimated_tokens() -> Rule {
    rule(
        format!("!has(self.content) || {TOO_MUCH} || {ESTIMATED_CHARACTERS} <= 4 * {MAX_TOKENS}"),
        format!(
            "'content is estimated at %d.%s tokens with every variable at its maxLength, at most %d: shorten it, lower a maxLength, or raise limits.maxTokens (up to 8192)'.format([{ESTIMATED_CHARACTERS} / 4, ['00', '25', '50', '75'][{ESTIMATED_CHARACTERS} % 4], {MAX_TOKENS}])"
        ),
    )
    .field_path(".content")
}

/// Names are what a placeholder can hold.
pub fn variable_names() -> Rule {
    rule(
        format!("self.all(n, n.matches('{NAME}'))"),
        format!(
            "'variables must be named with 1 to 64 letters, digits and _, not beginning with a digit: rename ' + self.filter(n, !n.matches('{NAME}'))[0].find('{SHOWN_NAME}')"
        ),
    )
}

/// A default that is read as a number, and survives that: an `f64` holds 15 digits exactly.
pub fn number_default() -> Rule {
    Rule::from((
        "!has(self.default) || self.type != 'Number' || (self.default.matches('^-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][+-]?[0-9]{1,2})?$') && !self.default.matches('[0-9]([.]?[0-9]){15}'))",
        "the default of a Number must be a JSON number of at most 15 digits, such as 3 or -0.5: correct it, or change type",
    ))
}

/// A default is not longer than a value may be.
pub fn default_length() -> Rule {
    rule(
        "!has(self.default) || !has(self.maxLength) || self.default.size() <= self.maxLength",
        "'default has %d characters, more than maxLength %d: shorten it, or raise maxLength'.format([self.default.size(), self.maxLength])",
    )
}

/// Semantic version 2.0.0, as its authors' expression has it.
pub fn version() -> Rule {
    Rule::from((
        r"self.size() <= 64 && self.matches('^(0|[1-9][0-9]*)[.](0|[1-9][0-9]*)[.](0|[1-9][0-9]*)(-(0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*)([.](0|[1-9][0-9]*|[0-9]*[a-zA-Z-][0-9a-zA-Z-]*))*)?([+][0-9a-zA-Z-]+([.][0-9a-zA-Z-]+)*)?$')",
        "version must be a semantic version such as 2.1.0 or 2.1.0-beta.1, at most 64 characters",
    ))
}
