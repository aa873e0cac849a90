//! Whether numbers keep their value through parse and print: the literals compared as decimals.

use serde_json::Number;

/// Whether every number of `json`, which must be valid JSON, prints as the same value that was read.
pub(super) fn numbers_survive(json: &[u8]) -> bool {
    let mut rest = json;
    while let Some((first, tail)) = rest.split_first() {
        match first {
            b'"' => rest = after_string(tail),
            b'-' | b'0'..=b'9' => {
                let length = rest.iter().take_while(|b| is_of_number(**b)).count();
                let (literal, tail) = rest.split_at(length);
                if !survives(literal) {
                    return false;
                }
                rest = tail;
            }
            _ => rest = tail,
        }
    }
    true
}

fn is_of_number(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')
}

/// What follows a string whose opening quote is passed.
fn after_string(mut rest: &[u8]) -> &[u8] {
    while let Some((first, tail)) = rest.split_first() {
        rest = match first {
            b'"' => return tail,
            // Whatever is escaped, a quote too, is part of the string.
            b'\\' => tail.get(1..).unwrap_or_default(),
            _ => tail,
        };
    }
    rest
}

fn survives(literal: &[u8]) -> bool {
    let Ok(literal) = std::str::from_utf8(literal) else {
        return false;
    };
    // The short integers are most numbers, and always survive.
    if literal.len() <= 18 && literal.bytes().all(|b| b.is_ascii_digit()) {
        return true;
    }
    let Ok(number) = serde_json::from_str::<Number>(literal) else {
        return false;
    };
    match (Decimal::parse(literal), Decimal::parse(&number.to_string())) {
        (Some(read), Some(printed)) => read == printed,
        _ => false,
    }
}

/// A decimal in its one normal form: digits without zeros at either end, times a power of ten. Zero has no digits and no sign.
#[derive(PartialEq, Eq)]
struct Decimal {
    negative: bool,
    digits: String,
    exponent: i64,
}

impl Decimal {
    /// None for an exponent beyond 64 bits, unless the value is zero.
    fn parse(literal: &str) -> Option<Decimal> {
        let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
        let (negative, mantissa) = match mantissa.strip_prefix('-') {
            Some(mantissa) => (true, mantissa),
            None => (false, mantissa),
        };
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = format!("{whole}{fraction}");
        let significant = digits.trim_end_matches('0');
        let zeros = digits.len() - significant.len();
        let significant = significant.trim_start_matches('0');
        if significant.is_empty() {
            return Some(Decimal { negative: false, digits: String::new(), exponent: 0 });
        }
        let shift = i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
        Some(Decimal { negative, digits: significant.to_owned(), exponent: exponent.parse::<i64>().ok()?.checked_add(shift)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn values_that_survive() {
        for literal in [
            "0",
            "-0",
            "-0.0",
            "0e99999999999999999999",
            "1",
            "1.0",
            "1.50",
            "1e5",
            "1E+5",
            "100e-2",
            "0.1",
            "-12.75e3",
            "9223372036854775807",
            "-9223372036854775808",
            "18446744073709551615",
            "1e22",
            "1e300",
            "5e-324",
            "1.7976931348623157e308",
            "3.141592653589793",
            "0.000001",
        ] {
            assert!(numbers_survive(literal.as_bytes()), "{literal}");
        }
    }

    #[test]
    fn values_that_do_not() {
        for literal in [
            "18446744073709551616",
            "-9223372036854775809",
            "123456789012345678901234567890",
            "0.1000000000000000055511151231257827",
            "3.14159265358979323846",
            "1e-400",
            "9007199254740993.0",
            "1e999",
            "1e99999999999999999999",
        ] {
            assert!(!numbers_survive(literal.as_bytes()), "{literal}");
        }
    }

    #[test]
    fn digits_inside_strings_are_no_numbers() {
        assert!(numbers_survive(br#"{"a\"9":"0.1000000000000000055 \\", "b":"\\\"1e999","c":[1,2.5]}"#));
        assert!(!numbers_survive(br#"{"a":"\\", "b":1e-400}"#));
    }

    proptest! {
        #[test]
        fn every_printed_f64_survives(x in any::<f64>().prop_filter("finite", |x| x.is_finite())) {
            let text = serde_json::to_string(&x).unwrap();
            prop_assert!(numbers_survive(text.as_bytes()), "{}", text);
        }

        #[test]
        fn every_integer_of_64_bits_survives(x in any::<i64>(), y in any::<u64>()) {
            let text = format!("[{x},{y}]");
            prop_assert!(numbers_survive(text.as_bytes()));
        }

        #[test]
        fn any_bytes_are_no_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = numbers_survive(&bytes);
        }
    }
}
