//! What a plain scalar of YAML means to `kubectl`, which reads YAML 1.1 and sends JSON: `yes` is true, `010` is eight, `1e3` is the
//! integer 1000, and a date is text.

use serde_json::{Number, Value};

/// The value of a plain scalar. `None`: a number that JSON cannot hold.
pub fn resolve(text: &str) -> Option<Value> {
    let Some(first) = text.chars().next() else { return Some(Value::Null) };
    match text {
        "~" | "null" | "Null" | "NULL" => return Some(Value::Null),
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => return Some(Value::Bool(true)),
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => return Some(Value::Bool(false)),
        ".nan" | ".NaN" | ".NAN" => return None,
        _ if matches!(text.trim_start_matches(['+', '-']), ".inf" | ".Inf" | ".INF") => return None,
        _ => {}
    }
    match first {
        '0'..='9' | '+' | '-' => number(text),
        '.' if is_float(text) => float(text),
        _ => Some(text.into()),
    }
}

/// A scalar that begins like a number; text where it is none. A date such as `2026-03-01` is none.
fn number(text: &str) -> Option<Value> {
    let plain = text.replace('_', "");
    if let Some(integer) = integer(&plain) {
        return Some(Value::Number(integer));
    }
    if is_float(&plain) { float(&plain) } else { Some(text.into()) }
}

/// An integer in base 10, 16 (`0x`), 8 (`0o`, `0`) or 2 (`0b`).
fn integer(plain: &str) -> Option<Number> {
    let (negative, digits) = match plain.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, plain.strip_prefix('+').unwrap_or(plain)),
    };
    let prefixes = [("0x", 16), ("0X", 16), ("0o", 8), ("0O", 8), ("0b", 2), ("0B", 2)];
    let based = prefixes.iter().find_map(|(prefix, base)| Some((digits.strip_prefix(prefix)?, *base)));
    let (digits, base) = based.unwrap_or_else(|| match digits.strip_prefix('0') {
        Some(rest) if !rest.is_empty() => (rest, 8),
        _ => (digits, 10),
    });
    if digits.starts_with(['+', '-']) {
        return None;
    }
    if negative {
        // Beyond the smallest integer it is a float.
        return i64::from_str_radix(&format!("-{digits}"), base).ok().map(Number::from);
    }
    u64::from_str_radix(digits, base).ok().map(Number::from)
}

/// `[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`
fn is_float(plain: &str) -> bool {
    let unsigned = plain.strip_prefix(['+', '-']).unwrap_or(plain);
    let (mantissa, exponent) = unsigned.split_once(['e', 'E']).map_or((unsigned, None), |(m, e)| (m, Some(e)));
    let all_digits = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let mantissa = match mantissa.split_once('.') {
        None => all_digits(mantissa),
        Some(("", decimals)) => all_digits(decimals),
        Some((whole, decimals)) => all_digits(whole) && (decimals.is_empty() || all_digits(decimals)),
    };
    mantissa && exponent.is_none_or(|e| all_digits(e.strip_prefix(['+', '-']).unwrap_or(e)))
}

fn float(plain: &str) -> Option<Value> {
    /// 2 to the 63rd: whole numbers below it are sent without a point, so they are integers to the API server.
    const WHOLE: f64 = 9_223_372_036_854_775_808.0;
    let value: f64 = plain.parse().ok()?;
    if !value.is_finite() {
        // Go reads no number here, and so a text.
        return Some(plain.into());
    }
    if value.fract() == 0.0 && (-WHOLE..WHOLE).contains(&value) {
        return Some(Value::Number(Number::from(value as i64)));
    }
    Number::from_f64(value).map(Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn scalars_mean_what_they_mean_to_kubectl() {
        for (text, value) in [
            ("", json!(null)),
            ("~", json!(null)),
            ("yes", json!(true)),
            ("Off", json!(false)),
            ("y", json!(true)),
            ("yEs", json!("yEs")),
            ("12", json!(12)),
            ("-3", json!(-3)),
            ("+3", json!(3)),
            ("010", json!(8)),
            ("0o10", json!(8)),
            ("0x1F", json!(31)),
            ("0b101", json!(5)),
            ("1_000", json!(1000)),
            ("089", json!(89)),
            ("1.50", json!(1.5)),
            (".5", json!(0.5)),
            ("1.0", json!(1)),
            ("1e3", json!(1000)),
            ("1.", json!(1)),
            ("18446744073709551615", json!(18_446_744_073_709_551_615_u64)),
            ("2026-03-01", json!("2026-03-01")),
            ("1:30", json!("1:30")),
            ("2.1.0", json!("2.1.0")),
            ("30s", json!("30s")),
            ("-", json!("-")),
            ("--1", json!("--1")),
            ("0x-1", json!("0x-1")),
            ("1e999", json!("1e999")),
            ("...", json!("...")),
            ("a.b", json!("a.b")),
            ("-0.0", json!(0)),
        ] {
            assert_eq!(resolve(text), Some(value), "{text}");
        }
        for text in [".inf", "-.Inf", ".NaN"] {
            assert_eq!(resolve(text), None, "{text}");
        }
    }
}
