//! JSON values: equality by value, normal form, digests.

use serde_json::{Map, Number, Value};
use sha2::{Digest, Sha256};

/// Whether two values are equal, numbers by value: 1 equals 1.0 (contract section 3).
pub fn equal(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => numbers_equal(a, b),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| equal(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().all(|(key, value)| b.get(key).is_some_and(|other| equal(value, other)))
        }
        _ => a == b,
    }
}

fn numbers_equal(a: &Number, b: &Number) -> bool {
    a == b || normal_number(a) == normal_number(b)
}

/// Whole floats as integers, so that equal numbers print equally. A whole float within the range of an integer type is exactly
/// that integer.
fn normal_number(number: &Number) -> Number {
    const I64: f64 = 9_223_372_036_854_775_808.0;
    match number.as_f64() {
        Some(float) if number.is_f64() && float.fract() == 0.0 && (-I64..I64).contains(&float) => Number::from(float as i64),
        Some(float) if number.is_f64() && float.fract() == 0.0 && (I64..2.0 * I64).contains(&float) => Number::from(float as u64),
        _ => number.clone(),
    }
}

/// `value` with numbers in normal form. Object members are sorted by the map itself.
pub fn normal(value: &Value) -> Value {
    match value {
        Value::Number(number) => Value::Number(normal_number(number)),
        Value::Array(items) => Value::Array(items.iter().map(normal).collect()),
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), normal(v))).collect()),
        other => other.clone(),
    }
}

/// First 32 hex digits of the SHA-256 of the value's normal form. Equal values have equal digests.
pub fn short_digest(value: &Value) -> String {
    let mut digest = hex(&Sha256::digest(normal(value).to_string()));
    digest.truncate(32);
    digest
}

/// SHA-256 of the value as RFC 8785 JSON, in hex: the hash of audit records (contract section 7).
pub fn canonical_hash(value: &Value) -> Option<String> {
    serde_json_canonicalizer::to_vec(value).ok().map(|bytes| hex(&Sha256::digest(bytes)))
}

/// Lower-case hex.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]).map(char::from).collect()
}

/// The object's members without those named.
pub fn without(value: &Value, names: &[&str]) -> Value {
    match value {
        Value::Object(map) => Value::Object(
            map.iter().filter(|(k, _)| !names.contains(&k.as_str())).map(|(k, v)| (k.clone(), v.clone())).collect::<Map<_, _>>(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn numbers_compare_by_value() {
        assert!(equal(&json!({"a": [1, 2.5]}), &json!({"a": [1.0, 2.5]})));
        assert!(!equal(&json!(1), &json!(1.000_000_1)));
        assert!(!equal(&json!("1"), &json!(1)));
        assert!(!equal(&json!(9_007_199_254_740_993_u64), &json!(9_007_199_254_740_992_u64)));
        assert!(equal(&json!(1e18), &json!(1_000_000_000_000_000_000_u64)));
        assert!(equal(&json!(1e19), &json!(10_000_000_000_000_000_000_u64)));
        assert!(!equal(&json!(1e300), &json!(u64::MAX)));
        assert_eq!(short_digest(&json!(1.0)), short_digest(&json!(1)));
        assert_eq!(short_digest(&json!({"b": 1, "a": 0.0})), short_digest(&json!({"a": 0, "b": 1.0})));
    }

    #[test]
    fn the_audit_hash_is_that_of_rfc_8785() {
        // printf '{"a":1,"b":"é"}' | sha256sum
        assert_eq!(canonical_hash(&json!({"b": "é", "a": 1.0})), Some(hex(&Sha256::digest(r#"{"a":1,"b":"é"}"#))));
    }

    proptest! {
        #[test]
        fn every_decimal_survives_parse_and_print(mantissa in any::<i64>(), exponent in -30i32..30) {
            let text = format!("{mantissa}e{exponent}");
            if let Ok(value) = serde_json::from_str::<Value>(&text) {
                let again: Value = serde_json::from_str(&value.to_string()).unwrap();
                prop_assert!(equal(&value, &again));
                prop_assert_eq!(short_digest(&value), short_digest(&again));
            }
        }
    }
}
