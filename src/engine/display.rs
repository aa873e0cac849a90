//! Untrusted text for people: escaped and bounded.

use serde_json::Value;

use super::json;

/// Longest value that is shown as it is, in characters; a longer one is shown as length and digest.
pub const LONGEST_SHOWN: usize = 120;

/// Longest path that is shown or kept as it is, in characters: its names may come from the remote.
pub const LONGEST_PATH: usize = 256;

/// A path as it is kept in status: cut, with its length and digest, where it is long.
pub fn short_path(path: &str) -> String {
    if path.chars().nth(LONGEST_PATH).is_none() {
        return path.to_owned();
    }
    let start: String = path.chars().take(LONGEST_PATH / 4).collect();
    format!("{start}… {}", digest(&Value::String(path.to_owned())))
}

/// A path for people: bounded, then escaped.
pub fn path(path: &str) -> String {
    escape(&short_path(path))
}

/// `text` with control and bidirectional characters escaped, so that it cannot steer a terminal or hide in a log.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{61c}' | '\u{e0000}'..='\u{e007f}')
}

/// A JSON value for people: compact JSON, or its length and digest where it is long.
pub fn value(value: &Value) -> String {
    let text = escape(&value.to_string());
    if text.chars().count() <= LONGEST_SHOWN { text } else { digest(value) }
}

/// The length and digest of a value in place of the value: of a text its characters, of anything else those of its JSON.
pub fn digest(value: &Value) -> String {
    let length = value.as_str().map_or_else(|| value.to_string().chars().count(), |text| text.chars().count());
    format!("({length} characters, sha256 {})", json::short_digest(value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_do_not_pass() {
        assert_eq!(escape("a\u{1b}[31m\u{202e}b\n"), "a\\u{1b}[31m\\u{202e}b\\u{a}");
        assert_eq!(escape("Größe 漢字 👋"), "Größe 漢字 👋");
    }

    #[test]
    fn a_long_path_is_cut_and_still_told_apart() {
        let long = |end: char| path(&format!("/{}{end}", "\u{202e}".repeat(300_000)));
        assert!(long('a').chars().count() < 1000 && long('a') != long('b'), "{}", long('a'));
        assert_eq!(path(&format!("/{}", "a".repeat(255))), format!("/{}", "a".repeat(255)));
    }

    #[test]
    fn a_long_value_is_shown_as_a_digest() {
        let shown = value(&Value::String("x".repeat(500)));
        assert!(shown.starts_with("(500 characters, sha256 "), "{shown}");
    }
}
