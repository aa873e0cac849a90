//! JSON numbers as decimals: what a number says, not what a binary float makes of it.

use rust_decimal::Decimal;
use serde_json::Number;

/// Digits of which every combination fits, and most of them behind the point.
const DIGITS: usize = 28;

/// The value of a number as it is written; None where it is 10^28 or more, in either direction. What has more than 28 digits, or
/// digits behind the 28th decimal, is rounded away from zero: a small number keeps its sign, and is never taken for zero.
pub fn of(number: &Number) -> Option<Decimal> {
    parse(&number.to_string())
}

/// The value of a binary float as it is printed, shortest form: 0.1 is 0.1. None as in [`of`], and where it is not finite.
pub fn of_f64(float: f64) -> Option<Decimal> {
    Number::from_f64(float).and_then(|number| of(&number))
}

/// The JSON number of a decimal, without zeros at its end. Up to 15 digits it says exactly the same.
pub fn number(value: Decimal) -> Number {
    // The text of a decimal is a JSON number of moderate size: there is no way to fail.
    serde_json::from_str(&value.normalize().to_string()).unwrap_or_else(|_| 0.into())
}

/// Reads a JSON number.
fn parse(literal: &str) -> Option<Decimal> {
    let (mantissa, exponent) = literal.split_once(['e', 'E']).unwrap_or((literal, "0"));
    let unsigned = mantissa.strip_prefix('-');
    let negative = unsigned.is_some();
    let (whole, fraction) = unsigned.unwrap_or(mantissa).split_once('.').unwrap_or((unsigned.unwrap_or(mantissa), ""));
    let digits = format!("{whole}{fraction}");
    let digits = digits.trim_start_matches('0');
    let significant = digits.trim_end_matches('0');
    if significant.is_empty() {
        // Also -0.0, and zero with any exponent.
        return Some(Decimal::ZERO);
    }
    // The value is `significant` × 10^power.
    let zeros = i64::try_from(digits.len() - significant.len()).ok()?;
    let power = exponent_of(exponent).saturating_sub(i64::try_from(fraction.len()).ok()?).saturating_add(zeros);
    let (mantissa, power) = rounded(significant, power)?;
    let mantissa = if negative { -mantissa } else { mantissa };
    if power <= 0 {
        return Decimal::try_from_i128_with_scale(mantissa, u32::try_from(-power).ok()?).ok();
    }
    let shifted = mantissa.checked_mul(10_i128.checked_pow(u32::try_from(power).ok()?)?)?;
    Decimal::try_from_i128_with_scale(shifted, 0).ok().filter(|_| shifted.unsigned_abs() < 10_u128.pow(28))
}

/// An exponent that no integer holds is as good as endless.
fn exponent_of(text: &str) -> i64 {
    text.parse().unwrap_or(if text.starts_with('-') { i64::MIN / 2 } else { i64::MAX / 2 })
}

/// At most [`DIGITS`] digits and decimals, rounded away from zero, with the power of ten that belongs to them.
fn rounded(digits: &str, power: i64) -> Option<(i128, i64)> {
    let most = i64::try_from(DIGITS).ok()?;
    let surplus = i64::try_from(digits.len()).ok()?.saturating_sub(most).max(power.saturating_neg().saturating_sub(most)).max(0);
    let kept = digits.len().saturating_sub(usize::try_from(surplus).unwrap_or(usize::MAX));
    let mantissa: i128 = if kept == 0 { 0 } else { digits.get(..kept)?.parse().ok()? };
    Some((if surplus > 0 { mantissa + 1 } else { mantissa }, power.saturating_add(surplus)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(literal: &str) -> Option<String> {
        parse(literal).map(|decimal| decimal.normalize().to_string())
    }

    #[test]
    fn a_number_is_what_it_says() {
        for (literal, expected) in [
            ("0.1", "0.1"),
            ("4.50", "4.5"),
            ("350", "350"),
            ("-12.75e3", "-12750"),
            ("1E+5", "100000"),
            ("100e-2", "1"),
            ("18446744073709551615", "18446744073709551615"),
            ("-0", "0"),
            ("-0.0", "0"),
            ("0e999999999999999999999", "0"),
            ("1e27", "1000000000000000000000000000"),
            ("9007199254740993", "9007199254740993"),
            ("0.0000000000000000000000000001", "0.0000000000000000000000000001"),
        ] {
            assert_eq!(text(literal).as_deref(), Some(expected), "{literal}");
        }
    }

    #[test]
    fn what_does_not_fit_is_rounded_away_from_zero_or_refused() {
        let least = "0.0000000000000000000000000001";
        for literal in ["1e-300", "5e-324", "1e-29", "1e-99999999999999999999"] {
            assert_eq!(text(literal).as_deref(), Some(least), "{literal}");
            assert_eq!(text(&format!("-{literal}")), Some(format!("-{least}")), "{literal}");
        }
        assert_eq!(text("0.12345678901234567890123456789").as_deref(), Some("0.1234567890123456789012345679"));
        for literal in ["1e28", "-1e28", "1e300", "1.7976931348623157e308", "1e99999999999999999999", "79e27"] {
            assert_eq!(text(literal), None, "{literal}");
        }
    }

    #[test]
    fn floats_and_decimals_go_both_ways() {
        for (float, expected) in [(0.1, "0.1"), (0.72, "0.72"), (1.0, "1"), (-0.0, "0"), (600.0, "600")] {
            let decimal = of_f64(float).unwrap();
            assert_eq!(
                (decimal.normalize().to_string(), number(decimal).to_string()),
                (expected.to_owned(), expected.to_owned())
            );
        }
        assert_eq!([f64::NAN, f64::INFINITY, 1e300].map(of_f64), [None; 3]);
        assert_eq!(number(Decimal::new(90, 2)).to_string(), "0.9");
        assert_eq!(number(Decimal::MAX).as_f64(), Some(7.922_816_251_426_434e28));
    }

    proptest! {
        #[test]
        fn what_is_printed_is_read_again(mantissa in -999_999_999_999_999_i64..999_999_999_999_999, scale in 0_u32..=15) {
            let decimal = Decimal::new(mantissa, scale);
            prop_assert_eq!(of(&number(decimal)), Some(decimal));
        }

        #[test]
        fn every_decimal_of_17_digits_is_exact(mantissa in -99_999_999_999_999_999_i64..99_999_999_999_999_999, scale in 0_u32..=17) {
            let decimal = Decimal::new(mantissa, scale);
            prop_assert_eq!(parse(&decimal.to_string()), Some(decimal));
        }

        #[test]
        fn any_number_keeps_its_sign(float in any::<f64>()) {
            if let Some(number) = Number::from_f64(float)
                && let Some(decimal) = of(&number) {
                prop_assert_eq!(decimal.is_zero(), float == 0.0);
                prop_assert_eq!(decimal > Decimal::ZERO, float > 0.0);
            }
        }
    }
}
