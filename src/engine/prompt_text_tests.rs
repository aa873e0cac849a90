use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::api::{AbTest, ConfigMapKeyRef, VariableType};

fn variables(names: &[&str]) -> BTreeMap<String, Variable> {
    names.iter().map(|name| ((*name).to_owned(), Variable::default())).collect()
}

fn with(type_: VariableType, default: &str, max_length: Option<i32>) -> BTreeMap<String, Variable> {
    [("a".to_owned(), Variable { type_, default: Some(default.to_owned()), max_length, description: None })].into()
}

fn found(content: &str, variables: &BTreeMap<String, Variable>, limits: Option<&Limits>) -> Vec<String> {
    let mut findings = Vec::new();
    check(content, "/spec/content", variables, limits, &mut findings);
    findings.iter().map(ToString::to_string).collect()
}

fn of(check: impl FnOnce(&mut Vec<Finding>)) -> Vec<String> {
    let mut findings = Vec::new();
    check(&mut findings);
    findings.iter().map(ToString::to_string).collect()
}

#[test]
fn all_findings_come_at_once_with_place_figures_and_remedy() {
    let limits = Limits { max_characters: Some(40), max_tokens: Some(10) };
    let content = "Größe {{ customer }}\n→ {{custmer}} {{1a}}\n{{a.b}} {{custmer}} {{unclosed";
    let expected = [
        "/spec/content: it has 72 characters, at most 40; remove 32, or raise limits.maxCharacters (up to 32768)",
        "/spec/content: line 1, column 7: {{ customer }} has space in its braces; write {{customer}}",
        "/spec/content: line 2, column 15: {{1a}} is no placeholder; write {{name}} with letters, digits and _, not beginning with a digit, or single braces",
        "/spec/content: line 3, column 1: {{a.b}} is no placeholder; write {{name}} with letters, digits and _, not beginning with a digit, or single braces",
        "/spec/content: line 3, column 21: {{unclosed is not closed; close it with }}, or write a single brace",
        "/spec/content: line 2, column 3: {{custmer}} is not declared (and 1 times more); write {{customer}} if that is meant, or declare custmer in spec.variables",
        "/spec/variables/customer: it does not occur in the content; write {{customer}} where its value belongs, or remove it",
        "/spec/content: it is estimated at 18.00 tokens (characters / 4, variables at their maxLength), at most 10; shorten it, lower a maxLength, or raise limits.maxTokens (up to 8192)",
    ];
    assert_eq!(found(content, &variables(&["customer"]), Some(&limits)), expected);
}

#[test]
fn a_placeholder_reaches_to_the_next_closing_braces() {
    let scan = |content: &'static str| placeholders(content).map(|p| (p.raw, p.name.ok())).collect::<Vec<_>>();
    assert_eq!(scan("{{a}}{{b}} { } }} {x}"), [("{{a}}", Some("a")), ("{{b}}", Some("b"))]);
    assert_eq!(scan("{{{a}}}"), [("{{{a}}", None)]);
    assert_eq!(scan("{{a {{b}} c}}"), [("{{a {{b}}", None)]);
    assert_eq!(scan("{{\na}}{"), [("{{\na}}", None)]);
    assert_eq!(scan("{{}}"), [("{{}}", None)]);
    assert_eq!(scan("{{a} {{b}}"), [("{{a} {{b}}", None)]);
    assert_eq!(scan("x {{a}"), [("{{a}", None)]);
    assert_eq!(scan("{"), []);
    assert_eq!(scan("{{é}}"), [("{{é}}", None)]);
}

#[test]
fn limits_are_inclusive_and_characters_are_scalar_values() {
    let wide = |count: usize| "漢".repeat(count);
    assert!(found(&wide(4096), &variables(&[]), None).is_empty());
    assert!(found(&wide(4097), &variables(&[]), None)[0].contains("4097 characters, at most 4096"));
    let limits = Limits { max_characters: Some(32_768), max_tokens: None };
    assert!(found(&wide(15_200), &variables(&[]), Some(&limits)).is_empty());
    assert!(found(&wide(15_201), &variables(&[]), Some(&limits))[0].contains("3800.25 tokens"));
    let limits = Limits { max_characters: Some(32_768), max_tokens: Some(8192) };
    assert!(found(&wide(32_768), &variables(&[]), Some(&limits)).is_empty());
    let beyond = Limits { max_characters: Some(99_999), max_tokens: Some(-1) };
    assert_eq!((beyond.max_characters(), beyond.max_tokens()), (32_768, 1));
}

#[test]
fn tokens_count_each_placeholder_at_its_greatest_length() {
    let declared = with(VariableType::String, "x", Some(100));
    assert!((estimated_tokens("ab {{a}} {{a}} {{b}}", &declared) - (2.0 + 3.0 + 200.0 + 5.0) / 4.0).abs() < f64::EPSILON);
    assert!((estimated_tokens("ab {{a}}", &variables(&["a"])) - 2.0).abs() < f64::EPSILON);
}

#[test]
fn a_near_name_is_suggested_and_a_far_one_is_not() {
    let declared = variables(&["customer_issue", "id"]);
    assert_eq!(nearest("customer_isue", &declared), Some("customer_issue"));
    assert_eq!(nearest("Customer_Issue", &declared), Some("customer_issue"));
    assert_eq!(nearest("custmer_isue", &declared), Some("customer_issue"));
    assert_eq!(nearest("client_issue", &declared), None);
    assert_eq!(nearest("xy", &declared), None);
    assert_eq!(nearest("ia", &declared), Some("id"));
}

#[test]
fn of_many_findings_of_one_rule_the_rest_is_counted() {
    let content: String = (0..100).map(|n| format!("{{{{v{n}}}}} {{{{ {n} }}}} ")).collect();
    let unused: Vec<String> = (0..100).map(|n| format!("unused{n}")).collect();
    let unused: Vec<&str> = unused.iter().map(String::as_str).collect();
    let texts = found(&content, &variables(&unused), None);
    for more in ["and 80 more invalid placeholders", "and 80 more placeholders that", "and 80 more variables that"] {
        assert!(texts.iter().any(|text| text.contains(more)), "{more} in {texts:#?}");
    }
    assert_eq!(texts.len(), 63);
}

#[test]
fn defaults_are_read_by_type() {
    use VariableType::{Boolean, Number, String};
    let refused = |type_, default: &str| !of(|f| check_variables(&with(type_, default, None), f)).is_empty();
    for good in ["0", "-0.5", "3", "1e5", "1.25E-10", "123456789012345"] {
        assert!(!refused(Number, good), "{good}");
    }
    for bad in ["", " 1", "1 ", "01", "+1", ".5", "1.", "1e", "1e999", "0x1", "NaN", "1234567890123456", "1.234567890123456", "٣"]
    {
        assert!(refused(Number, bad), "{bad}");
    }
    assert!(!refused(Boolean, "true") && !refused(Boolean, "false") && refused(Boolean, "True") && refused(Boolean, ""));
    assert!(!refused(String, "") && !refused(String, "String") && !refused(String, "true"));
    assert!(refused(String, "string") && refused(String, "number") && refused(String, "boolean"));
    assert!(refused(String, &"x".repeat(4097)));
    let long = of(|f| check_variables(&with(String, "äöü", Some(2)), f));
    assert_eq!(long, ["/spec/variables/a/default: it has 3 characters, more than maxLength 2; shorten it, or raise maxLength"]);
    assert!(of(|f| check_variables(&with(String, "äöü", Some(3)), f)).is_empty());
    assert!(of(|f| check_variables(&with(String, "", Some(0)), f))[0].contains("maxLength is 0"));
}

#[test]
fn names_and_number_of_variables_are_checked() {
    let texts = of(|f| check_variables(&variables(&["a-b", "", "1a", "ok", "é", &"x".repeat(200), "a/b\u{202e}"]), f));
    assert_eq!(texts.len(), 6);
    assert!(of(|f| check_variables(&variables(&[&"x".repeat(64)]), f)).is_empty());
    assert!(texts.iter().any(|t| t.starts_with("/spec/variables/a~1b\\u{202e}: \"a/b\\u{202e}\" is no name")), "{texts:#?}");
    let many: Vec<String> = (0..51).map(|n| format!("v{n}")).collect();
    let texts = of(|f| check_variables(&variables(&many.iter().map(String::as_str).collect::<Vec<_>>()), f));
    assert_eq!(texts, ["/spec/variables: 51 variables are declared, at most 50; join some, or split the prompt"]);
}

#[test]
fn on_the_wire_a_variable_is_its_default_or_its_type() {
    use VariableType::{Boolean, Number, String};
    let of = |type_, default| wire_variables(&with(type_, default, None))["a"].clone();
    assert_eq!(
        [of(String, "x"), of(Number, "1.50"), of(Number, "3"), of(Boolean, "true")],
        [json!("x"), json!(1.5), json!(3), json!(true)]
    );
    let mut none = variables(&["a", "b"]);
    none.insert("b".into(), Variable { type_: Boolean, ..Variable::default() });
    assert_eq!(json!(wire_variables(&none)), json!({"a": "string", "b": "boolean"}));
}

#[test]
fn versions_tests_limits_and_keys_are_checked() {
    for good in ["0.0.0", "2.1.0", "1.0.0-beta.1", "1.0.0--", "1.0.0-0a.x-1+001.b", "1.0.0+-"] {
        assert!(of(|f| check_version(good, f)).is_empty(), "{good}");
    }
    let long = format!("1.0.0-{}", "a".repeat(59));
    for bad in
        ["", "1", "1.0", "v1.0.0", "01.0.0", "1.0.0-", "1.0.0-01", "1.0.0-a..b", "1.0.0+", "1.0.0+a+b", "1.0.0 ", "1.0.é", &long]
    {
        assert_eq!(of(|f| check_version(bad, f)).len(), 1, "{bad}");
    }
    let test = |id: &str, percent| of(|f| check_ab_test(&AbTest { variant_id: id.into(), traffic_percent: percent }, f)).len();
    assert_eq!((test("v2.1_0-b", 0), test("a", 100), test("", 101), test("a b", -1), test(&"x".repeat(65), 5)), (0, 0, 2, 2, 1));
    let limits = |characters, tokens| {
        of(|f| check_limits(&Limits { max_characters: Some(characters), max_tokens: Some(tokens) }, f)).len()
    };
    assert_eq!((limits(1, 8192), limits(32_768, 1), limits(0, 8193), limits(i32::MIN, i32::MAX)), (0, 0, 2, 2));
    let key =
        |name: &str, key: &str| of(|f| check_config_map_key(&ConfigMapKeyRef { name: name.into(), key: key.into() }, f)).len();
    assert_eq!((key("a-1.b", "prompt.txt"), key("", ""), key("A", "../x/y"), key("a..b", "a"), key("-a", "a")), (0, 2, 2, 1, 1));
}

#[test]
fn the_spec_needs_exactly_one_source() {
    let spec = |json: serde_json::Value| {
        let mut full = json!({"orgRef": {"name": "o"}, "templateId": "t"});
        full.as_object_mut().unwrap().extend(json.as_object().unwrap().clone());
        let spec: PromptTemplateSpec = serde_json::from_value(full).unwrap();
        of(|f| check_spec(&spec, f))
    };
    let from = json!({"configMapKeyRef": {"name": "a", "key": "b"}});
    assert!(spec(json!({"content": "x"})).is_empty());
    assert!(spec(json!({"contentFrom": from, "variables": {"a": {"type": "String"}}})).is_empty());
    assert!(spec(json!({}))[0].contains("there is no content"));
    assert!(spec(json!({"content": "x", "contentFrom": from}))[0].contains("both set"));
}

/// The rules again, by splitting at braces and nothing else.
fn reference(content: &str, declared: &BTreeMap<String, Variable>, limits: &Limits) -> bool {
    let mut rest = content;
    let mut names = HashSet::new();
    let mut length = content.chars().count() as i64;
    let mut well_formed = true;
    while let Some((_, after)) = rest.split_once("{{") {
        let Some((inner, next)) = after.split_once("}}") else {
            well_formed = false;
            break;
        };
        let letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_";
        well_formed &= inner.chars().all(|c| letters.contains(c) || "0123456789".contains(c));
        well_formed &= inner.chars().next().is_some_and(|c| letters.contains(c));
        length += declared.get(inner).and_then(|v| v.max_length).map_or(0, |most| i64::from(most) - inner.len() as i64 - 4);
        names.insert(inner.to_owned());
        rest = next;
    }
    well_formed
        && names == declared.keys().cloned().collect()
        && content.chars().count() <= limits.max_characters()
        && length <= i64::from(limits.max_tokens()) * 4
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn there_are_findings_where_the_reference_refuses(
        pieces in proptest::collection::vec(prop_oneof![
            Just("{{a}}"), Just("{{b}}"), Just("{{a"), Just("{{ a }}"), Just("{"), Just("}"), Just("}}"), Just("text "), Just("\n"), Just("漢"),
        ], 0..8),
        names in proptest::collection::btree_map("[ab]", proptest::option::of(1i32..40), 0..3),
        (characters, tokens) in (1i32..40, 1i32..20),
    ) {
        let content = pieces.concat();
        let declared = names.into_iter().map(|(n, max_length)| (n, Variable { max_length, ..Variable::default() })).collect();
        let limits = Limits { max_characters: Some(characters), max_tokens: Some(tokens) };
        let texts = found(&content, &declared, Some(&limits));
        prop_assert_eq!(texts.is_empty(), reference(&content, &declared, &limits), "{:?} {:#?}", content, texts);
    }
}

/// What is said about a text is bounded and escaped, and the placeholders are disjoint: the work for all of them is that for the text.
fn assert_bounded(content: &str) {
    let mut end = 0;
    for placeholder in placeholders(content) {
        assert!(placeholder.offset >= end);
        assert!(content[placeholder.offset..].starts_with(placeholder.raw));
        let before = &content[..placeholder.offset];
        assert_eq!(placeholder.line, before.matches('\n').count() + 1);
        assert_eq!(placeholder.column, before.rsplit('\n').next().unwrap().chars().count() + 1);
        end = placeholder.offset + placeholder.raw.len();
    }
    for text in found(content, &variables(&["a"]), None) {
        assert!(text.chars().count() < 600, "{text}");
        assert!(!text.chars().any(|c| c.is_control() || c == '\u{202e}'), "{text:?}");
    }
}

#[test]
fn a_hundred_thousand_hostile_texts_are_read_and_shown_escaped() {
    let pieces =
        ["{", "{{", "}", "}}", "a", " ", "\n", "\0", "\u{1b}[31m", "\u{202e}", "漢", "{{a}}", "\u{e0041}", "\r", "é", "_1"];
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..100_000 {
        let content: String = (0..random.usize(0..24)).filter_map(|_| random.choice(pieces)).collect();
        assert_bounded(&content);
    }
}

proptest! {
    #[test]
    fn any_text_is_read_and_shown_escaped(content in "\\PC{0,30}") {
        assert_bounded(&content);
    }
}

#[test]
fn a_mebibyte_of_braces_is_one_pass() {
    let size = 1 << 20;
    for unit in ["{", "{{", "{{ ", "{{}}", "{{a}}", "{{b}}", "{{a", "}}{{", "{{\n", "漢{{", "{{{a}}}"] {
        let content = unit.repeat(size / unit.len());
        let scanned: usize = placeholders(&content).map(|p| p.raw.len()).sum();
        assert!(scanned <= content.len(), "{unit}");
        let texts = found(&content, &variables(&["a"]), None);
        assert!(texts.len() <= 3 + 3 * (MOST_LISTED + 1) && texts.iter().all(|t| t.len() < 1000), "{unit}");
    }
    let names: String = (0..100_000).map(|n| format!("{{{{n{n}}}}}")).collect();
    assert!(found(&names, &variables(&["a"]), None).iter().any(|t| t.contains("and 99980 more placeholders")));
}
