//! The rules of a policy of skill levels: all that are broken, each with its remedy.

use std::collections::BTreeSet;

use rust_decimal::Decimal;

use super::Desired;
use crate::api::SkillPolicySpec;
use crate::api::common::{GoDuration, MAX_DURATION, MIN_INTERVAL};
use crate::api::skill_policy::{HandleTimeBand, MAX_BANDS, MAX_USERS, ScoringSpec};
use crate::engine::agent_assist_config::{id_rule, interval_rule};
use crate::engine::finding::Finding;
use crate::engine::scoring::{Band, Scoring};
use crate::engine::{decimal, display};

/// Days of metrics where `spec.lookback` is unset.
const DEFAULT_DAYS: u32 = 7;
const SECONDS_A_DAY: u64 = 86_400;
/// `spec.alertThreshold` where it is unset: 0.3.
const DEFAULT_THRESHOLD: Decimal = Decimal::from_parts(3, 0, 0, false, 1);

/// The desired state that a spec declares.
///
/// # Errors
/// Every broken rule.
pub(super) fn desired(spec: &SkillPolicySpec) -> Result<Desired, Vec<Finding>> {
    // A value that breaks a rule is read as some other one: nobody sees it, for with a finding there is no desired state.
    let mut findings = Vec::new();
    id_rule("/spec/skillId", &spec.skill_id, &mut findings);
    users_rule(&spec.user_ids, &mut findings);
    let days = days(spec.lookback.as_ref(), &mut findings);
    interval_rule("/spec/evaluateEvery", spec.evaluate_every.as_ref(), Some(MIN_INTERVAL), &mut findings);
    let scoring = spec.scoring.as_ref().map(|scoring| scoring_of(scoring, &mut findings)).unwrap_or_default();
    let threshold = spec.alert_threshold.map(|value| {
        let fits = (0.0..=1.0).contains(&value);
        number("/spec/alertThreshold", value, fits, "set 0 to 1, for example 0.3", &mut findings)
    });
    let max_step = spec.max_step.map(|value| {
        let remedy =
            "set 0.01 to 1: levels are compared with two decimals, and with a smaller step one could stand still for ever";
        number("/spec/maxStep", value, (0.01..=1.0).contains(&value), remedy, &mut findings)
    });
    if !findings.is_empty() {
        return Err(findings);
    }
    Ok(Desired {
        skill: spec.skill_id.clone(),
        users: spec.user_ids.clone(),
        days,
        scoring,
        threshold: threshold.unwrap_or(DEFAULT_THRESHOLD),
        max_step,
        missing: spec.missing.unwrap_or_default(),
    })
}

fn users_rule(users: &[String], findings: &mut Vec<Finding>) {
    if users.is_empty() {
        findings.push(Finding::new("/spec/userIds", "it is empty", "list the agents whose levels follow the metrics"));
    }
    if users.len() > MAX_USERS {
        let problem = format!("it lists {} agents, at most {MAX_USERS}", users.len());
        findings.push(Finding::new("/spec/userIds", problem, "divide them among several objects"));
    }
    // That each is there once is checked here only: comparing all with all exceeds the budget of the API server.
    let mut seen = BTreeSet::new();
    for (index, user) in users.iter().enumerate() {
        let path = format!("/spec/userIds/{index}");
        id_rule(&path, user, findings);
        if !seen.insert(user) {
            let problem = format!("agent {} is listed twice", display::escape(user));
            findings.push(Finding::new(path, problem, "keep one of the two"));
        }
    }
}

fn days(lookback: Option<&GoDuration>, findings: &mut Vec<Finding>) -> u32 {
    let path = "/spec/lookback";
    interval_rule(path, lookback, None, findings);
    let Some((text, set)) = lookback.and_then(|text| Some((text, text.get()?))) else { return DEFAULT_DAYS };
    let seconds = set.as_secs();
    if set <= MAX_DURATION && (seconds == 0 || seconds % SECONDS_A_DAY != 0) {
        let problem = format!("{} is not one or more whole days, and metrics come by the day", display::escape(&text.0));
        findings.push(Finding::new(path, problem, "use a multiple of 24h, such as 168h"));
    }
    u32::try_from(seconds / SECONDS_A_DAY).unwrap_or(DEFAULT_DAYS)
}

fn scoring_of(spec: &ScoringSpec, findings: &mut Vec<Finding>) -> Scoring {
    let mut scoring = Scoring::default();
    if let Some(scale) = spec.csat_scale {
        let remedy = "set the best satisfaction that surveys can have, above 0 and at most 1000, for example 5";
        scoring.csat_scale = number("/spec/scoring/csatScale", scale, scale > 0.0 && scale <= 1000.0, remedy, findings);
    }
    if let Some(bands) = &spec.handle_time_bands {
        scoring.bands = bands_of(bands, findings);
    }
    scoring
}

fn bands_of(bands: &[HandleTimeBand], findings: &mut Vec<Finding>) -> Vec<Band> {
    let all = "/spec/scoring/handleTimeBands";
    if bands.len() > MAX_BANDS {
        let problem = format!("it lists {} bands, at most {MAX_BANDS}", bands.len());
        findings.push(Finding::new(all, problem, "join some"));
    }
    let mut read: Vec<Band> = Vec::new();
    for (index, band) in bands.iter().enumerate() {
        let path = format!("{all}/{index}/aboveSeconds");
        let fits = (0.0..=86_400.0).contains(&band.above_seconds);
        let above_seconds = number(&path, band.above_seconds, fits, "set seconds, 0 to 86400", findings);
        // The values themselves: none that is out of range is read as what it says.
        if bands.iter().take(index).any(|earlier| earlier.above_seconds == band.above_seconds) {
            let problem = format!("{} is there twice", band.above_seconds);
            findings.push(Finding::new(path, problem, "remove or change one of the two"));
        }
        let fits = (0.0..=10.0).contains(&band.factor);
        let factor = number(&format!("{all}/{index}/factor"), band.factor, fits, "set 0 to 10, for example 0.6", findings);
        read.push(Band { above_seconds, factor });
    }
    read
}

/// The number as it was written. One that does not fit is a finding; so is one that is not finite, which fits no range.
fn number(path: &str, value: f64, fits: bool, remedy: &str, findings: &mut Vec<Finding>) -> Decimal {
    let read = decimal::of_f64(value).filter(|_| fits);
    if read.is_none() {
        findings.push(Finding::new(path, format!("{value} is out of range"), remedy));
    }
    read.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::api::skill_policy::Missing;

    fn spec(extra: Value) -> SkillPolicySpec {
        let mut full = json!({"orgRef": {"name": "org"}, "skillId": "billing", "userIds": ["agent-ana", "agent-ben"]});
        full.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        serde_json::from_value(full).unwrap()
    }

    fn paths(spec: &SkillPolicySpec) -> Vec<String> {
        desired(spec).err().unwrap_or_default().into_iter().map(|finding| finding.path).collect()
    }

    fn dec(text: &str) -> Decimal {
        text.parse().unwrap()
    }

    #[test]
    fn what_is_unset_has_the_values_of_the_contract() {
        let expected = Desired {
            skill: "billing".into(),
            users: vec!["agent-ana".into(), "agent-ben".into()],
            days: 7,
            scoring: Scoring::default(),
            threshold: dec("0.3"),
            max_step: None,
            missing: Missing::Assign,
        };
        assert_eq!(desired(&spec(json!({}))), Ok(expected.clone()));
        assert_eq!(desired(&spec(json!({"scoring": {}}))), Ok(expected));
    }

    #[test]
    fn numbers_are_what_the_manifest_says() {
        let read = desired(&spec(json!({
            "lookback": "48h", "alertThreshold": 0.1, "maxStep": 0.07, "missing": "Skip",
            "scoring": {"csatScale": 10, "handleTimeBands": [{"aboveSeconds": 299.9, "factor": 0.7}, {"aboveSeconds": 0, "factor": 1}]},
        })))
        .unwrap();
        assert_eq!((read.days, read.missing), (2, Missing::Skip));
        assert_eq!((read.threshold, read.max_step), (dec("0.1"), Some(dec("0.07"))));
        let bands = [("299.9", "0.7"), ("0", "1")].map(|(above, factor)| Band { above_seconds: dec(above), factor: dec(factor) });
        assert_eq!(read.scoring, Scoring { csat_scale: dec("10"), bands: bands.to_vec() });
        let none = desired(&spec(json!({"scoring": {"handleTimeBands": []}}))).unwrap();
        assert_eq!(none.scoring, Scoring { bands: Vec::new(), ..Scoring::default() });
    }

    #[test]
    fn everything_that_is_wrong_is_found_at_once() {
        let found = paths(&spec(json!({
            "skillId": "../x", "userIds": ["a", "b c", "a"], "lookback": "36h", "evaluateEvery": "29s",
            "alertThreshold": 1.01, "maxStep": 0.009,
            "scoring": {"csatScale": 0, "handleTimeBands": [
                {"aboveSeconds": 400, "factor": 10.1}, {"aboveSeconds": -1, "factor": -0.1}, {"aboveSeconds": 400.0, "factor": 1},
            ]},
        })));
        let bands = "/spec/scoring/handleTimeBands";
        assert_eq!(
            found,
            [
                "/spec/skillId",
                "/spec/userIds/1",
                "/spec/userIds/2",
                "/spec/lookback",
                "/spec/evaluateEvery",
                "/spec/scoring/csatScale",
                &format!("{bands}/0/factor"),
                &format!("{bands}/1/aboveSeconds"),
                &format!("{bands}/1/factor"),
                &format!("{bands}/2/aboveSeconds"),
                "/spec/alertThreshold",
                "/spec/maxStep",
            ]
        );
    }

    #[test]
    fn lookbacks_are_whole_days() {
        for (text, days) in [("24h", 1), ("8760h", 365), ("1440m", 1), ("604800s", 7), ("23h60m", 1), ("000000000048h", 2)] {
            assert_eq!(desired(&spec(json!({"lookback": text}))).map(|read| read.days), Ok(days), "{text}");
        }
        for text in ["", "7d", "0h", "1h", "25h", "24h1s", "8784h", "8761h", "99999999999999999999h"] {
            assert_eq!(paths(&spec(json!({"lookback": text}))), ["/spec/lookback"], "{text}");
        }
    }

    #[test]
    fn there_are_1_to_500_agents() {
        let some = |count: usize| spec(json!({"userIds": (0..count).map(|n| format!("u{n}")).collect::<Vec<_>>()}));
        assert_eq!(desired(&some(500)).unwrap().users.len(), 500);
        assert_eq!((paths(&some(0)), paths(&some(501))), (vec!["/spec/userIds".to_owned()], vec!["/spec/userIds".to_owned()]));
    }

    #[test]
    fn a_number_that_is_none_is_found_too() {
        for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let mut bad = spec(json!({}));
            (bad.alert_threshold, bad.max_step) = (Some(value), Some(value));
            let band = HandleTimeBand { above_seconds: value, factor: value };
            bad.scoring = Some(ScoringSpec { csat_scale: Some(value), handle_time_bands: Some(vec![band]) });
            assert_eq!(paths(&bad).len(), 5, "{value}");
        }
    }
}
