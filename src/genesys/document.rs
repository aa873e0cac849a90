//! A remote object as the bytes in which it came. A parsed tree of the same object takes about ten times the memory.

mod decimal;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// Deepest nesting that the parser takes.
const MAX_DEPTH: usize = 127;

/// Largest document in bytes (contract section 6).
const MAX_BYTES: usize = 10 * 1024 * 1024;

/// A JSON object, checked to be one, at most 10 MiB and 127 levels deep.
#[derive(Clone, PartialEq, Eq)]
pub struct Document {
    bytes: Arc<[u8]>,
}

/// Why bytes are no [`Document`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DocumentError {
    /// Not JSON, or nested deeper than anything real. The text is a position and a cause, never content.
    #[error("not readable as JSON: {0}")]
    Unreadable(String),
    /// JSON that no tree of ours holds: a number outside of f64, half a surrogate pair.
    #[error("JSON that cannot be kept: {0}")]
    Unsupported(String),
    /// JSON, but no object.
    #[error("not a JSON object")]
    NotAnObject,
    /// Above 10 MiB.
    #[error("larger than 10 MiB")]
    TooLarge,
}

impl Document {
    /// Checks and keeps bytes.
    ///
    /// # Errors
    /// [`DocumentError`].
    pub fn new(bytes: impl Into<Arc<[u8]>>) -> Result<Document, DocumentError> {
        let bytes = bytes.into();
        if bytes.len() > MAX_BYTES {
            return Err(DocumentError::TooLarge);
        }
        match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(_)) => Ok(Document { bytes }),
            Ok(_) => Err(DocumentError::NotAnObject),
            Err(error) if is_json(&bytes) && !is_too_deep(&bytes) => Err(DocumentError::Unsupported(cause(&error))),
            Err(error) => Err(DocumentError::Unreadable(cause(&error))),
        }
    }

    /// The document of a value.
    ///
    /// # Errors
    /// [`DocumentError`], where it is no object, or too large.
    pub fn of(value: &Value) -> Result<Document, DocumentError> {
        Document::new(value.to_string().into_bytes())
    }

    /// The bytes as they came.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The object as a tree.
    #[must_use]
    pub fn parse(&self) -> Value {
        // The same bytes were parsed when they came in; there is no way left to fail.
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// Whether parse and print keep it: every number has its value as i64, u64 or f64 (compared as decimals, so 1.0 is 1), and no
    /// object has a key twice. A document that does not survive must not be written back (contract section 3).
    #[must_use]
    pub fn survives(&self) -> bool {
        decimal::numbers_survive(&self.bytes) && self.has_unique_keys()
    }

    fn has_unique_keys(&self) -> bool {
        let mut parser = serde_json::Deserializer::from_slice(&self.bytes);
        UniqueKeys.deserialize(&mut parser).is_ok()
    }
}

impl fmt::Debug for Document {
    /// Without the content: it is configuration, which is not for logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Document").field("bytes", &self.bytes.len()).finish()
    }
}

/// Whether JSON is nested deeper than a tree of it may be: found without recursion.
pub(super) fn is_too_deep(json: &[u8]) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
    }
    false
}

/// Whether the bytes are one JSON value, whatever its depth and numbers.
pub(super) fn is_json(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok() && serde_json::from_slice::<IgnoredAny>(bytes).is_ok()
}

/// Category and position of a JSON error, without the content that its text may quote.
fn cause(error: &serde_json::Error) -> String {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Eof => "it ends early",
        Category::Syntax | Category::Data | Category::Io => "syntax, depth or a number out of range",
    };
    format!("{what}, at line {} column {}", error.line(), error.column())
}

/// Walks a JSON value and fails at the first key that an object has twice.
#[derive(Clone, Copy)]
struct UniqueKeys;

impl<'de> DeserializeSeed<'de> for UniqueKeys {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeys {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        while items.next_element_seed(self)?.is_some() {}
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<(), A::Error> {
        let mut keys = HashSet::new();
        while let Some(key) = entries.next_key::<String>()? {
            entries.next_value_seed(self)?;
            if !keys.insert(key) {
                return Err(A::Error::custom("a key occurs twice"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document {
        Document::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn only_objects_are_documents() {
        let error = |text: &str| Document::new(text.as_bytes()).unwrap_err();
        assert_eq!(error("[1]"), DocumentError::NotAnObject);
        assert_eq!(error("null"), DocumentError::NotAnObject);
        for text in ["{\"a\":1e999}", "{\"a\":\"\\ud800\"}"] {
            assert!(matches!(error(text), DocumentError::Unsupported(_)), "{text}");
        }
        for text in ["", "{", "<html>", "{\"a\":1}x"] {
            assert!(matches!(error(text), DocumentError::Unreadable(_)), "{text}");
        }
        assert!(matches!(Document::new(&b"{\"a\":\"\xff\"}"[..]), Err(DocumentError::Unreadable(_))));
        let large = format!("{{\"a\":\"{}\"}}", "x".repeat(MAX_BYTES));
        assert_eq!(error(&large), DocumentError::TooLarge);
    }

    #[test]
    fn depth_is_an_error_and_no_overflow() {
        let nested = |n: usize| format!("{}1{}", "{\"a\":".repeat(n), "}".repeat(n));
        assert!(document(&nested(127)).survives());
        assert!(!is_too_deep(nested(127).as_bytes()) && !is_too_deep(format!("[{:?}]", "[".repeat(500)).as_bytes()));
        for n in [128, 1_000_000] {
            let error = Document::new(nested(n).into_bytes());
            assert!(matches!(error, Err(DocumentError::Unreadable(_))), "{n}");
            assert!(is_too_deep(nested(n).as_bytes()));
        }
    }

    #[test]
    fn parse_gives_the_object_and_the_bytes_stay() {
        let text = "{ \"b\": 1.50,\n \"a\": [true, null] }";
        let kept = document(text);
        assert_eq!(kept.bytes(), text.as_bytes());
        assert_eq!(kept.parse(), serde_json::json!({"b": 1.5, "a": [true, null]}));
        assert_eq!(Document::of(&kept.parse()).unwrap().parse(), kept.parse());
        assert!(!format!("{kept:?}").contains("1.5"));
    }

    #[test]
    fn a_key_twice_does_not_survive() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"x":[{"a":1,"b":2,"a":3}]}"#, r#"{"a":1,"\u0061":2}"#] {
            assert!(!document(text).survives(), "{text}");
        }
        assert!(document(r#"{"a":{"a":1},"b":[{"a":1},{"a":2}]}"#).survives());
    }

    #[test]
    fn errors_never_quote_content() {
        let error = Document::new(&b"{\"pass\": secretword}"[..]).unwrap_err();
        assert!(!error.to_string().contains("secretword"));
    }
}
