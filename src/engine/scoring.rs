//! From metrics to a proficiency (contract section 5). All arithmetic is decimal: 0.125 is 0.13, on every machine.

use rust_decimal::{Decimal, RoundingStrategy};
use serde_json::Number;

use super::decimal;

/// The longest handle time that can be one, in seconds: a day.
const MAX_HANDLE_TIME: Decimal = Decimal::from_parts(86_400, 0, 0, false, 0);

/// What a long handle time does to a score.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Band {
    /// The handle time that must be exceeded, in seconds.
    pub above_seconds: Decimal,
    /// What the score is multiplied by.
    pub factor: Decimal,
}

/// How a score is computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scoring {
    /// The best satisfaction.
    pub csat_scale: Decimal,
    /// In any order; the highest band that is exceeded counts, and only that one.
    pub bands: Vec<Band>,
}

impl Default for Scoring {
    /// The contract's: scale 5, above 600 s 0.6, above 400 s 0.8.
    fn default() -> Self {
        let band =
            |above_seconds: i64, tenths: i64| Band { above_seconds: above_seconds.into(), factor: Decimal::new(tenths, 1) };
        Self { csat_scale: 5.into(), bands: vec![band(600, 6), band(400, 8)] }
    }
}

/// A metric that cannot be one, or a scoring that cannot be used. Nothing is written for it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadData {
    /// Below 0, or above the scale.
    #[error("satisfaction {csat} is not between 0 and {scale}")]
    Satisfaction {
        /// What it is, as text.
        csat: String,
        /// The best one.
        scale: Decimal,
    },
    /// Below 0, or longer than a day.
    #[error("handle time {aht} s is not between 0 and {MAX_HANDLE_TIME} s")]
    HandleTime {
        /// What it is, as text.
        aht: String,
    },
    /// The scale is not above 0, or a factor is out of all bounds.
    #[error("the scoring cannot be computed: the scale must be above 0, and scale and factors must be moderate numbers")]
    Scoring,
}

impl Scoring {
    /// The proficiency from 0 to 1, with two decimals.
    ///
    /// # Errors
    /// [`BadData`] where a metric is out of range.
    pub fn score(&self, csat: Decimal, aht: Decimal) -> Result<Decimal, BadData> {
        if self.csat_scale <= Decimal::ZERO {
            return Err(BadData::Scoring);
        }
        if csat < Decimal::ZERO || csat > self.csat_scale {
            return Err(BadData::Satisfaction { csat: csat.to_string(), scale: self.csat_scale });
        }
        if aht < Decimal::ZERO || aht > MAX_HANDLE_TIME {
            return Err(BadData::HandleTime { aht: aht.to_string() });
        }
        let factor = self.factor(aht);
        // The division comes last: before it everything is exact, and a tie has to stay one.
        let share = csat.checked_mul(factor).and_then(|product| product.checked_div(self.csat_scale)).ok_or(BadData::Scoring)?;
        Ok(two_decimals(share.clamp(Decimal::ZERO, Decimal::ONE)))
    }

    /// The same for metrics as they came.
    ///
    /// # Errors
    /// [`BadData`] where a metric is out of range, however far.
    pub fn score_of(&self, csat: &Number, aht: &Number) -> Result<Decimal, BadData> {
        let bad_csat = || BadData::Satisfaction { csat: csat.to_string(), scale: self.csat_scale };
        let bad_aht = || BadData::HandleTime { aht: aht.to_string() };
        self.score(decimal::of(csat).ok_or_else(bad_csat)?, decimal::of(aht).ok_or_else(bad_aht)?)
    }

    fn factor(&self, aht: Decimal) -> Decimal {
        let exceeded = self.bands.iter().filter(|band| aht > band.above_seconds);
        exceeded.max_by_key(|band| band.above_seconds).map_or(Decimal::ONE, |band| band.factor)
    }
}

/// Rounded half-up to two decimals, and printed with both of them.
pub fn two_decimals(value: Decimal) -> Decimal {
    let mut rounded = value.round_dp_with_strategy(2, RoundingStrategy::MidpointAwayFromZero);
    // Too large for two more digits: then it has none to show.
    rounded.rescale(2);
    rounded
}

/// The target after the largest change of one evaluation; unset: any change. Not rounded: rounding might exceed the step.
pub fn step(current: Decimal, target: Decimal, max_step: Option<Decimal>) -> Decimal {
    let Some(most) = max_step.map(|step| step.max(Decimal::ZERO)) else { return target };
    let (lowest, highest) = (current.saturating_sub(most), current.saturating_add(most));
    target.clamp(lowest, highest)
}

/// Whether a change is greater than the threshold: strictly, and of unrounded values.
pub fn exceeds(current: Decimal, target: Decimal, threshold: Decimal) -> bool {
    target.saturating_sub(current).abs() > threshold
}

/// Whether two proficiencies are equal, which counts at two decimals.
pub fn equal_at_two_decimals(one: Decimal, other: Decimal) -> bool {
    two_decimals(one) == two_decimals(other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn number(text: &str) -> Number {
        serde_json::from_str(text).unwrap()
    }

    fn dec(text: &str) -> Decimal {
        decimal::of(&number(text)).unwrap()
    }

    fn score(csat: &str, aht: &str) -> Result<String, BadData> {
        Scoring::default().score_of(&number(csat), &number(aht)).map(|score| score.to_string())
    }

    #[test]
    fn the_table_of_the_contract() {
        for (csat, aht, expected) in [
            ("4.5", "350", "0.90"),
            ("4.5", "450", "0.72"),
            ("4.5", "700", "0.54"),
            ("5", "400", "1.00"),
            ("4.5", "600", "0.72"),
            ("0", "500", "0.00"),
            ("4.5", "600.0001", "0.54"),
            ("4.5", "400.0000000000001", "0.72"),
            ("5.0", "86400", "0.60"),
            ("-0.0", "-0.0", "0.00"),
            ("1e-300", "1e-300", "0.00"),
        ] {
            assert_eq!(score(csat, aht).unwrap(), expected, "{csat} {aht}");
        }
    }

    #[test]
    fn ties_are_rounded_up() {
        // 0.125, 0.005, 0.045 × 0.8 … as binary floats some of them lie below.
        for (csat, aht, expected) in [
            ("0.625", "0", "0.13"),
            ("0.025", "0", "0.01"),
            ("0.0249999999", "0", "0.00"),
            ("5e-1", "0", "0.10"),
            ("0.71875", "500", "0.12"),
            ("2.65625", "500", "0.43"),
        ] {
            assert_eq!(score(csat, aht).unwrap(), expected, "{csat} {aht}");
        }
        assert_eq!(two_decimals(dec("0.125")).to_string(), "0.13");
        assert_eq!(two_decimals(dec("1.005")).to_string(), "1.01");
        assert_eq!(two_decimals(dec("0.5")).to_string(), "0.50");
        assert_eq!(two_decimals(Decimal::MAX), Decimal::MAX);
    }

    #[test]
    fn metrics_out_of_range_are_bad_data_and_said_so() {
        for (csat, shown) in
            [("-1", "-1"), ("5.0000001", "5.0000001"), ("-1e-300", "-0.0000"), ("1e300", "1e"), ("-1e300", "-1e")]
        {
            let error = score(csat, "0").unwrap_err().to_string();
            assert!(error.starts_with(&format!("satisfaction {shown}")), "{error}");
            assert!(error.ends_with("is not between 0 and 5"), "{error}");
        }
        for aht in ["-0.1", "86400.0001", "1e28", "-1e308"] {
            let error = score("4", aht).unwrap_err();
            assert!(matches!(error, BadData::HandleTime { .. }), "{error}");
            assert!(error.to_string().ends_with("s is not between 0 and 86400 s"), "{error}");
        }
        for scale in [Decimal::ZERO, dec("-5")] {
            assert_eq!(
                Scoring { csat_scale: scale, ..Scoring::default() }.score(Decimal::ZERO, Decimal::ZERO),
                Err(BadData::Scoring)
            );
        }
    }

    #[test]
    fn the_highest_band_that_is_exceeded_counts_in_any_order() {
        let band = |above: &str, factor: &str| Band { above_seconds: dec(above), factor: dec(factor) };
        let scoring = Scoring { csat_scale: dec("10"), bands: vec![band("100", "0.9"), band("300", "1.5"), band("200", "0.5")] };
        let scored = |aht: &str| scoring.score(dec("8"), dec(aht)).unwrap().to_string();
        assert_eq!([scored("100"), scored("101"), scored("201"), scored("301")], ["0.80", "0.72", "0.40", "1.00"]);
        let none = Scoring { bands: vec![], ..Scoring::default() };
        assert_eq!(none.score(dec("2.5"), dec("86400")).unwrap().to_string(), "0.50");
    }

    #[test]
    fn a_step_is_as_large_as_it_may_be() {
        let stepped = |current, target, most: Option<&str>| step(dec(current), dec(target), most.map(dec)).to_string();
        assert_eq!(stepped("0.1", "0.9", Some("0.2")), "0.3");
        assert_eq!(stepped("0.9", "0.1", Some("0.2")), "0.7");
        assert_eq!(stepped("0.1", "0.25", Some("0.2")), "0.25");
        assert_eq!(stepped("0.1", "0.9", None), "0.9");
        assert_eq!(stepped("0.1", "0.9", Some("0")), "0.1");
        assert_eq!(stepped("0.123", "0.9", Some("0.2")), "0.323");
    }

    #[test]
    fn a_threshold_is_exceeded_strictly_and_unrounded() {
        let exceeds = |current, target| exceeds(dec(current), dec(target), dec("0.3"));
        assert!(!exceeds("0.4", "0.7") && !exceeds("0.7", "0.4") && !exceeds("0.1", "0.4"));
        assert!(exceeds("0.399999999", "0.7") && exceeds("0.72", "0.1") && exceeds("0", "0.31"));
        assert!(!exceeds("0.4000001", "0.7"));
    }

    #[test]
    fn equality_counts_at_two_decimals() {
        assert!(equal_at_two_decimals(dec("0.72"), dec("0.7249")) && equal_at_two_decimals(dec("0.715"), dec("0.72")));
        assert!(!equal_at_two_decimals(dec("0.72"), dec("0.725")) && equal_at_two_decimals(dec("1"), dec("1.00")));
    }

    /// Any number that JSON can say.
    fn any_number() -> impl Strategy<Value = Number> {
        let special = [
            "1e300",
            "-0.0",
            "1e-300",
            "5e-324",
            "-1e-300",
            "1.7976931348623157e308",
            "18446744073709551615",
            "-9223372036854775808",
        ];
        prop_oneof![
            any::<f64>().prop_filter_map("finite", Number::from_f64),
            (0.0..6.0).prop_filter_map("finite", Number::from_f64),
            (0.0..90_000.0).prop_filter_map("finite", Number::from_f64),
            any::<u64>().prop_map(Number::from),
            any::<i64>().prop_map(Number::from),
            proptest::sample::select(special.map(number).to_vec()),
        ]
    }

    fn cents(range: std::ops::RangeInclusive<i64>, scale: u32) -> impl Strategy<Value = Decimal> {
        range.prop_map(move |mantissa| Decimal::new(mantissa, scale))
    }

    proptest! {
        #[test]
        fn every_score_is_from_0_to_1_with_two_decimals(csat in any_number(), aht in any_number()) {
            match Scoring::default().score_of(&csat, &aht) {
                Ok(score) => {
                    prop_assert!((Decimal::ZERO..=Decimal::ONE).contains(&score));
                    prop_assert_eq!(score.scale(), 2);
                    prop_assert!((0.0..=5.0).contains(&csat.as_f64().unwrap()) && (0.0..=86_400.0).contains(&aht.as_f64().unwrap()));
                }
                Err(error) => prop_assert!(!error.to_string().is_empty()),
            }
            if let (Some(one), Some(two)) = (decimal::of(&csat), decimal::of(&aht)) {
                let _ = (step(one, two, Some(two)), exceeds(one, two, one), equal_at_two_decimals(one, two));
            }
        }

        #[test]
        fn more_satisfaction_is_never_less(one in cents(0..=5_000_000, 6), two in cents(0..=5_000_000, 6), aht in cents(0..=86_400_000, 3)) {
            let scoring = Scoring::default();
            prop_assert!(scoring.score(one.min(two), aht).unwrap() <= scoring.score(one.max(two), aht).unwrap());
        }

        #[test]
        fn more_handle_time_is_never_more(csat in cents(0..=5_000_000, 6), one in cents(0..=86_400_000, 3), two in cents(0..=86_400_000, 3)) {
            let scoring = Scoring::default();
            prop_assert!(scoring.score(csat, one.min(two)).unwrap() >= scoring.score(csat, one.max(two)).unwrap());
        }

        #[test]
        fn a_score_is_the_nearest_and_the_upper_of_two(csat in cents(0..=50_000, 4), aht in 0_i64..1000) {
            let tenths = if aht > 600 { 6 } else if aht > 400 { 8 } else { 10 };
            // In units of 10^-7: csat / 5 × tenths / 10, rounded half-up to 10^-2.
            let exact = i64::try_from(csat.mantissa()).unwrap() * 20 * tenths;
            let expected = (exact + 50_000) / 100_000;
            prop_assert_eq!(Scoring::default().score(csat, aht.into()).unwrap(), Decimal::new(expected, 2));
        }

        #[test]
        fn a_step_ends_between_and_no_farther(current in cents(0..=1000, 3), target in cents(0..=100, 2), most in cents(0..=1000, 3)) {
            let stepped = step(current, target, Some(most));
            prop_assert!((current.min(target)..=current.max(target)).contains(&stepped));
            prop_assert!((stepped - current).abs() <= most && !exceeds(current, stepped, most));
            prop_assert!(stepped == target || (stepped - current).abs() == most);
        }
    }
}
