//! Remote text is untrusted: nothing of it reaches a log, an event or a terminal before it passed here.

/// Longest remote text that is kept, in characters.
pub(super) const MAX_CHARS: usize = 300;

/// Escapes control and bidirectional characters, takes the known `secrets` out, and cuts at [`MAX_CHARS`].
pub(super) fn clean(text: &str, secrets: &[&str]) -> String {
    let mut text = std::borrow::Cow::Borrowed(text);
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        if text.contains(secret) {
            text = text.replace(secret, "[redacted]").into();
        }
    }
    let mut out = String::new();
    let mut length = 0;
    for c in text.chars() {
        let piece = if is_unsafe(c) { format!("\\u{{{:x}}}", u32::from(c)) } else { c.to_string() };
        let width = piece.chars().count();
        // One place is kept for the ellipsis, so that a cut text is seen to be cut.
        if length + width > MAX_CHARS - 1 {
            out.push('…');
            break;
        }
        out.push_str(&piece);
        length += width;
    }
    out
}

/// Characters that change how the text around them is shown: controls, line separators, bidi marks, invisible ones.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_and_bidi_characters_are_escaped() {
        assert_eq!(clean("a\u{1b}[31m\nb\u{202e}c", &[]), "a\\u{1b}[31m\\u{a}b\\u{202e}c");
    }

    #[test]
    fn secrets_are_taken_out_before_the_cut() {
        let text = format!("{}s3cr3t", "x".repeat(297));
        assert!(!clean(&text, &["s3cr3t"]).contains("s3c"));
        assert_eq!(clean("token=s3cr3t.", &["s3cr3t", ""]), "token=[redacted].");
    }

    #[test]
    fn long_text_is_cut_with_a_mark() {
        let cut = clean(&"é".repeat(1000), &[]);
        assert_eq!(cut.chars().count(), MAX_CHARS);
        assert!(cut.ends_with('…'));
    }
}
