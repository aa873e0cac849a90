//! Alerts, their runbook and the dashboard: valid for Prometheus, and about metrics that there are.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::process::Command;
use std::time::Duration;

use assist_operator::api::conditions::{self, Phase, Reason};
use assist_operator::controller::metrics::{ByCondition, ByDelivery, ByKind, ByOrg, ByOutcome, ByState, Metrics};
use assist_operator::genesys::lane::Lane;
use serde_json::{Value, json};

use crate::chart::{CHART, everything, rendered};
use crate::tools;

/// `/metrics` with a series of everything: a metric without one is not shown.
fn everything_counted() -> String {
    let metrics = Metrics::new();
    let (kind, org) = (ByKind { kind: "AgentAssistConfig" }, ByOrg { org: "team/production".to_owned() });
    metrics.reconciled(kind.kind, Some("Succeeded"));
    metrics.queued(kind.kind, "change", Duration::from_secs(1));
    metrics.observer().call("C1", "200", Duration::from_secs(1));
    for counter in [&metrics.plans, &metrics.drift, &metrics.conflicts, &metrics.panics, &metrics.status_patches] {
        counter.get_or_create(&kind).inc();
    }
    let state = ByState { kind: kind.kind, ready: "True", reason: "Succeeded" };
    metrics.objects.set(|_| true, HashMap::from([(state, 1)]));
    let condition = ByCondition { org: org.org.clone(), r#type: conditions::CREDENTIALS_VALID.to_owned() };
    metrics.org_condition.set(|_| true, HashMap::from([(condition, 1)]));
    for gauge in [&metrics.suspended, &metrics.waiting] {
        gauge.get_or_create(&kind).set(1);
    }
    for gauge in [&metrics.budget_used, &metrics.budget_limit, &metrics.audit_records] {
        gauge.get_or_create(&org).set(1);
    }
    metrics.since_observed.get_or_create(&kind).set(1.0);
    metrics.audit_oldest.get_or_create(&org).set(1.0);
    metrics.writes.get_or_create(&ByOutcome { action: "CONFIG_UPDATE".to_owned(), status: "APPLIED" }).inc();
    metrics.audit_deliveries.get_or_create(&ByDelivery { org: org.org, result: "delivered" }).inc();
    let text = metrics.render();
    let registered = include_str!("../../src/controller/metrics.rs").matches("registry.register").count();
    let shown = text.lines().filter(|line| line.starts_with("# TYPE ")).count();
    assert_eq!(shown, registered, "a metric is registered and has no series here: add it above\n{text}");
    text
}

/// All series that `/metrics` can show, with their labels.
fn exported() -> BTreeMap<String, BTreeSet<String>> {
    let text = everything_counted();
    let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
        let Some((name, labels)) = line.split_once('{') else {
            return (line.split(' ').next().unwrap().to_owned(), BTreeSet::new());
        };
        let labels = labels.split_once('}').unwrap().0.split(',').map(|label| label.split_once('=').unwrap().0.to_owned());
        (name.to_owned(), labels.collect())
    });
    series.collect()
}

/// A metric without what a histogram adds to its name.
fn family(name: &str) -> String {
    ["_bucket", "_count", "_sum"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name).to_owned()
}

/// What a query asks for: metrics, and the labels of matchers and groups.
#[derive(Default, PartialEq, Eq, Debug)]
struct Asked {
    metrics: BTreeSet<String>,
    labels: BTreeSet<String>,
}

/// The words of a query outside of texts and ranges, and each other character.
fn tokens(query: &str) -> Vec<String> {
    let chars: Vec<char> = query.chars().collect();
    let (mut tokens, mut i) = (Vec::new(), 0);
    while i < chars.len() {
        let end_of = |close: char| (i + 1..chars.len()).find(|&j| chars[j] == close).expect("closed");
        let word = chars[i..].iter().take_while(|c| c.is_ascii_alphanumeric() || "_:.$".contains(**c)).count();
        match chars[i] {
            '[' => i = end_of(']') + 1,
            '"' => i = end_of('"') + 1,
            c if c.is_whitespace() => i += 1,
            _ => {
                let length = word.max(1);
                tokens.push(chars[i..i + length].iter().collect());
                i += length;
            }
        }
    }
    tokens
}

/// Reads a query as far as names go.
fn asked(query: &str) -> Asked {
    const GROUPS: [&str; 4] = ["by", "without", "on", "ignoring"];
    const OPERATORS: [&str; 5] = ["and", "or", "unless", "offset", "bool"];
    let tokens = tokens(query);
    let (mut asked, mut i) = (Asked::default(), 0);
    while i < tokens.len() {
        let (token, next) = (tokens[i].as_str(), tokens.get(i + 1).map_or("", String::as_str));
        let is_name = |token: &str| token.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
        let close = if token == "{" { "}" } else { ")" };
        if token == "{" || GROUPS.contains(&token) {
            let end = (i..tokens.len()).find(|&j| tokens[j] == close).expect("closed");
            asked.labels.extend(tokens[i + 1..end].iter().filter(|token| is_name(token)).cloned());
            i = end;
        } else if is_name(token) && next != "(" && !OPERATORS.contains(&token) && !GROUPS.contains(&next) {
            asked.metrics.insert(token.to_owned());
        }
        i += 1;
    }
    asked
}

fn alerts() -> Vec<Value> {
    let rules: Value = serde_saphyr::from_str(&fs::read_to_string(format!("{CHART}/files/alerts.yaml")).unwrap()).unwrap();
    let groups = rules["groups"].as_array().unwrap().clone();
    groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect()
}

/// Title and query of everything that the dashboard asks for.
fn dashboard_queries() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(format!("{CHART}/files/dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "an id is there twice");
    let mut queries = Vec::new();
    for panel in panels.iter().filter(|panel| panel["type"] != "row") {
        let title = panel["title"].as_str().unwrap();
        assert!(panel["description"].as_str().is_some_and(|text| !text.is_empty()), "{title} is not described");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title} shows nothing");
        queries.extend(targets.iter().map(|target| (title.to_owned(), target["expr"].as_str().unwrap().to_owned())));
    }
    queries
}

#[test]
fn a_query_is_read_as_metrics_and_labels() {
    let query = r#"sum by (kind) (increase(a_total{x="b{}c",y=~"d"}[1h] offset 30m)) / on (z) max(e) > 48 * 3600 unless f"#;
    let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(asked(query), Asked { metrics: set(&["a_total", "e", "f"]), labels: set(&["kind", "x", "y", "z"]) });
}

#[test]
fn every_query_is_about_metrics_and_labels_that_the_operator_exports() {
    let exported = exported();
    let alerts = alerts().into_iter().map(|alert| (alert["alert"].to_string(), alert["expr"].as_str().unwrap().to_owned()));
    let queries: Vec<(String, String)> = alerts.chain(dashboard_queries()).collect();
    let mut used = BTreeSet::new();
    for (title, query) in &queries {
        let asked = asked(query);
        assert!(!asked.metrics.is_empty(), "{title} asks for nothing: {query}");
        // Prometheus adds the namespace of what it scrapes.
        let mut labels = BTreeSet::from(["namespace".to_owned()]);
        for name in &asked.metrics {
            let of_metric = exported.get(name);
            labels
                .extend(of_metric.unwrap_or_else(|| panic!("{title}: {name} is not exported; there are {exported:#?}")).clone());
        }
        assert!(asked.labels.is_subset(&labels), "{title}: {:?} are not all of {labels:?}", asked.labels);
        used.extend(asked.metrics);
    }
    // What nobody looks at need not be exported.
    let shown: BTreeSet<String> = used.iter().map(|name| family(name)).collect();
    let unused: Vec<&String> = exported.keys().filter(|name| !shown.contains(&family(name))).collect();
    assert!(unused.is_empty(), "in no alert and on no panel: {unused:?}");
}

#[test]
fn the_operations_guide_has_a_line_for_each_metric() {
    let guide = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md")).unwrap();
    let section = guide.split("\n## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    let first_column = section.lines().filter(|line| line.starts_with("| `")).filter_map(|line| line.split('|').nth(1));
    let named: BTreeSet<String> = first_column
        .flat_map(|cell| cell.split(','))
        .map(|name| format!("assist_operator_{}", name.trim().trim_matches('`')))
        .collect();
    assert_eq!(named, exported().keys().map(|name| family(name)).collect());
}

#[test]
fn every_reason_and_lane_in_a_query_is_one_that_there_is() {
    let reasons: BTreeSet<&str> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
    let lanes: BTreeSet<&str> = Lane::ALL.iter().map(|lane| lane.as_str()).collect();
    let mut seen = 0;
    for alert in alerts() {
        let query = alert["expr"].as_str().unwrap();
        for (label, known) in [("reason", &reasons), ("lane", &lanes)] {
            for (at, found) in query.match_indices(label) {
                let Some(rest) = query[at + found.len()..].trim_start_matches('~').strip_prefix('=') else { continue };
                let values = rest.trim_start_matches('~').split('"').nth(1).unwrap();
                for value in values.split('|') {
                    assert!(known.contains(value), "{label} {value} of {} is none of {known:?}", alert["alert"]);
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 10, "{seen}");
}

#[test]
fn every_reason_to_be_not_ready_is_in_exactly_one_alert() {
    let objects: Vec<String> = alerts()
        .iter()
        .map(|alert| alert["expr"].as_str().unwrap().to_owned())
        .filter(|query| query.contains("assist_operator_objects{"))
        .collect();
    let values = |query: &str| -> Vec<String> {
        let (_, rest) = query.split_once("reason=").unwrap();
        rest.split('"').nth(1).unwrap().split('|').map(str::to_owned).collect()
    };
    let mut named: Vec<String> = objects.iter().flat_map(|query| values(query)).collect();
    named.sort();
    let not_ready = |reason: &&Reason| matches!(reason.phase(), Phase::Waiting | Phase::Stalled);
    let mut expected: Vec<String> = Reason::ALL.iter().filter(not_ready).map(|reason| reason.as_str().to_owned()).collect();
    expected.sort();
    assert_eq!(named, expected);
    let stalled = alerts().into_iter().find(|alert| alert["alert"] == "AssistOperatorObjectsStalled").unwrap();
    for reason in values(stalled["expr"].as_str().unwrap()) {
        assert_eq!(Reason::of(&reason).unwrap().phase(), Phase::Stalled, "{reason}");
    }
}

#[test]
fn every_alert_has_a_section_of_the_runbook_and_every_section_an_alert() {
    let runbook = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/runbook.md")).unwrap();
    let sections: BTreeSet<&str> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    let alerts = alerts();
    let named: BTreeSet<&str> = alerts.iter().map(|alert| alert["alert"].as_str().unwrap()).collect();
    assert_eq!(sections, named);
    for section in runbook.split("\n## ").skip(1) {
        let name = section.lines().next().unwrap();
        for part in ["**Meaning.**", "**Impact.**", "**Look.**", "**Do.**", "```sh\n"] {
            assert!(section.contains(part), "{name} has no {part}");
        }
    }
    for alert in &alerts {
        let severity = alert["labels"]["severity"].as_str().unwrap();
        assert!(["info", "warning", "critical"].contains(&severity), "{severity}");
        assert!(alert["annotations"]["summary"].is_string() && alert["annotations"]["description"].is_string());
    }
}

/// The rules as the chart renders them, as a file of Prometheus.
fn rules_file() -> (tempfile::TempDir, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let objects = rendered("ops", &everything());
    let rule = objects.iter().find(|object| object["kind"] == "PrometheusRule").unwrap();
    fs::write(folder.path().join("rules.yaml"), rule["spec"].to_string()).unwrap();
    // Unit tests compare annotations too; they say nothing about when an alert fires.
    let mut bare = rule["spec"].clone();
    for group in bare["groups"].as_array_mut().unwrap() {
        for rule in group["rules"].as_array_mut().unwrap() {
            rule.as_object_mut().unwrap().remove("annotations");
        }
    }
    fs::write(folder.path().join("conditions.yaml"), bare.to_string()).unwrap();
    let groups = rule["spec"]["groups"].as_array().unwrap();
    let rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap().clone()).collect();
    (folder, rules)
}

fn promtool(folder: &tempfile::TempDir, args: &[&str]) -> String {
    let output = Command::new(tools::path("promtool")).args(args).current_dir(folder.path()).output().expect("run promtool");
    let text = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "promtool {args:?}\n{text}");
    text
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn the_rules_are_valid_and_fire_when_they_should() {
    let (folder, rules) = rules_file();
    assert_eq!(rules.len(), alerts().len());
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        let url = rule["annotations"]["runbook_url"].as_str().unwrap();
        assert!(url.ends_with(&format!("runbook.md#{}", name.to_lowercase())), "{url}");
        assert_eq!(rule["labels"]["team"], "contact-center");
        assert!(rule["labels"]["severity"].is_string());
    }
    let checked = promtool(&folder, &["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]);
    assert!(checked.contains(&format!("{} rules found", rules.len())), "{checked}");
    let tests = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/gitops/alerts.test.yaml");
    fs::copy(tests, folder.path().join("test.yaml")).unwrap();
    let tested = fs::read_to_string(tests).unwrap();
    for rule in &rules {
        let name = rule["alert"].as_str().unwrap();
        assert!(tested.contains(&format!("alertname: {name}\n")), "{name} is tried by no unit test");
    }
    assert!(promtool(&folder, &["test", "rules", "test.yaml"]).contains("SUCCESS"));
}

#[test]
#[ignore = "needs Helm: ./test --gitops"]
fn the_dashboard_arrives_whole_and_its_queries_are_valid() {
    let objects = rendered("ops", &everything());
    let maps: Vec<&Value> = objects.iter().filter(|object| object["kind"] == "ConfigMap").collect();
    assert_eq!(maps.len(), 1);
    assert_eq!(maps[0]["metadata"]["labels"]["grafana_dashboard"], "1");
    let arrived: Value = serde_json::from_str(maps[0]["data"]["assist-operator.json"].as_str().unwrap()).unwrap();
    let kept: Value = serde_json::from_str(&fs::read_to_string(format!("{CHART}/files/dashboard.json")).unwrap()).unwrap();
    assert_eq!(arrived, kept);
    // As recording rules, with what Grafana puts in.
    let queries = dashboard_queries().into_iter().enumerate().map(|(index, (_, query))| {
        let query = query.replace("$__rate_interval", "5m").replace("$namespace", "ops");
        json!({"record": format!("panel:query{index}"), "expr": query})
    });
    let folder = tempfile::tempdir().unwrap();
    let file = json!({"groups": [{"name": "dashboard", "rules": queries.collect::<Vec<_>>()}]});
    fs::write(folder.path().join("rules.yaml"), file.to_string()).unwrap();
    promtool(&folder, &["check", "rules", "--lint=none", "rules.yaml"]);
}
