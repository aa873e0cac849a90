//! The digest of a declared field, as memory keeps it.

use serde::{Deserialize, Serialize};

/// The digest of a declared field: text that takes 16 bytes where it is 32 hex digits, for a store holds one of every field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub enum FieldDigest {
    /// 32 lower-case hex digits.
    Hex([u8; 16]),
    /// Anything else: a restored snapshot, or what a hand wrote.
    Text(Box<str>),
}

impl From<String> for FieldDigest {
    fn from(text: String) -> Self {
        let is_hex = text.len() == 32 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        match u128::from_str_radix(&text, 16) {
            Ok(number) if is_hex => Self::Hex(number.to_be_bytes()),
            _ => Self::Text(text.into()),
        }
    }
}

impl From<FieldDigest> for String {
    fn from(digest: FieldDigest) -> Self {
        match digest {
            FieldDigest::Hex(bytes) => format!("{:032x}", u128::from_be_bytes(bytes)),
            FieldDigest::Text(text) => text.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_keeps_its_text() {
        for text in [
            "0123456789abcdef0123456789abcdef",
            "0123456789ABCDEF0123456789abcdef",
            "+123456789abcdef0123456789abcdef",
            "",
            "v7-0",
        ] {
            assert_eq!(String::from(FieldDigest::from(text.to_owned())), text);
        }
    }
}
