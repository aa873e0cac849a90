//! Entity tags by contract section 3: kept, compared and sent back as strings.

/// The guard of a read: what `If-Match` of a write carries.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Etag(String);

impl Etag {
    /// Reads one tag: `"x"` and `W/"x"` stay exactly as they are, a bare `x` gets its quotes back.
    ///
    /// None where it is no tag: empty, an unquoted `W/…`, unbalanced quotes, or control characters, which no header can carry.
    #[must_use]
    pub fn parse(raw: &str) -> Option<Etag> {
        let tag = raw.trim_matches([' ', '\t']);
        if tag.is_empty() || tag.chars().any(char::is_control) {
            return None;
        }
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        let weak = opaque.len() < tag.len();
        if is_quoted(opaque) {
            return Some(Etag(tag.to_owned()));
        }
        if weak || tag.contains('"') {
            return None;
        }
        Some(Etag(format!("\"{tag}\"")))
    }

    /// The guard of an answer: the header where it holds a tag, else the body's field `etag`, else none (then nothing may be
    /// written).
    #[must_use]
    pub fn of(header: Option<&[u8]>, body: Option<&str>) -> Option<Etag> {
        let header = header.and_then(|raw| std::str::from_utf8(raw).ok());
        header.and_then(Etag::parse).or_else(|| body.and_then(Etag::parse))
    }

    /// The tag as it goes on the wire, quotes included.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Display for Etag {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// `"…"` without a quote inside.
fn is_quoted(text: &str) -> bool {
    text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).is_some_and(|inner| !inner.contains('"'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(raw: &str) -> Option<String> {
        Etag::parse(raw).map(|tag| tag.as_str().to_owned())
    }

    #[test]
    fn tags_are_read_as_the_contract_says() {
        for (raw, expected) in [
            (r#""7-9f2c""#, Some(r#""7-9f2c""#)),
            ("7-9f2c", Some(r#""7-9f2c""#)),
            (r#"W/"7""#, Some(r#"W/"7""#)),
            (r#""""#, Some(r#""""#)),
            (r#"  "7" "#, Some(r#""7""#)),
            ("w7", Some(r#""w7""#)),
            ("W/7", None),
            ("W/", None),
            (r#"w/"7""#, None),
            (r#""7"#, None),
            (r#"7""#, None),
            (r#"""#, None),
            (r#""a"b""#, None),
            (r#""a", "b""#, None),
            ("", None),
            ("   ", None),
            ("7\r\nX-Evil: 1", None),
            ("\"7\n\"", None),
            ("\"7\u{7f}\"", None),
            ("\"é\"", Some("\"é\"")),
        ] {
            assert_eq!(parsed(raw).as_deref(), expected, "{raw:?}");
        }
    }

    #[test]
    fn the_header_wins_and_an_unusable_one_falls_back_to_the_body() {
        let of = |header: Option<&[u8]>, body| Etag::of(header, body).map(|tag| tag.0);
        assert_eq!(of(Some(b"\"h\""), Some("b")).as_deref(), Some("\"h\""));
        assert_eq!(of(None, Some("\"b\"")).as_deref(), Some("\"b\""));
        assert_eq!(of(Some(b"W/h"), Some("b")).as_deref(), Some("\"b\""));
        assert_eq!(of(Some(b"\"\xff\""), Some("b")).as_deref(), Some("\"b\""));
        assert_eq!(of(Some(b"W/h"), Some("W/b")), None);
    }

    #[test]
    fn tags_are_compared_as_strings() {
        assert_ne!(Etag::parse("W/\"7\""), Etag::parse("\"7\""));
        assert_eq!(Etag::parse("7"), Etag::parse("\"7\""));
    }
}
