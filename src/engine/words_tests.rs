use super::*;
use proptest::prelude::*;

fn shown(from: &str, to: &str) -> String {
    diff(from, to).to_string()
}

#[test]
fn a_changed_word_is_shown_in_its_line() {
    let from = "Hello\nYou are a helpful assistant.\nBe brief.\nBe kind.\nAnswer {{question}}.\n";
    let to = "Hello\nYou are a patient assistant.\nBe brief.\nBe kind.\nAnswer {{customer_question}} now.\n";
    assert_eq!(
        shown(from, to),
        "    1  Hello\n~   2  You are a [-helpful-]{+patient+} assistant.\n    3  Be brief.\n    4  Be kind.\n\
         ~   5  Answer [-{{question}}-]{+{{customer_question}} now+}."
    );
}

#[test]
fn unchanged_lines_are_counted() {
    let from: String = (1..=20).map(|n| format!("line {n}\n")).collect();
    let to = from.replace("line 10\n", "line ten\n");
    assert_eq!(
        shown(&from, &to),
        "… 8 unchanged lines\n    9  line 9\n~  10  line [-10-]{+ten+}\n   11  line 11\n… 9 unchanged lines"
    );
}

#[test]
fn a_line_that_ends_like_the_one_before_it_comes_and_goes_whole() {
    let (from, to) = ("Hello.\nIn two sentences.\n", "Hello.\nIn two short sentences.\nNever promise a refund.\n");
    assert_eq!(shown(from, to), "    1  Hello.\n~   2  In two {+short +}sentences.\n+   3  {+Never promise a refund.+}");
    assert_eq!(shown(to, from), "    1  Hello.\n~   2  In two [-short -]sentences.\n-   3  [-Never promise a refund.-]");
}

#[test]
fn whole_lines_come_and_go_with_the_numbers_of_their_text() {
    assert_eq!(shown("a\nb\nc\n", "a\nc\n"), "    1  a\n-   2  [-b-]\n    2  c");
    assert_eq!(shown("a\nc\n", "a\nb b\n\nc\n"), "    1  a\n+   2  {+b b+}\n+   3\n    4  c");
    assert_eq!(shown("", "a\n"), "+   1  {+a+}");
    assert_eq!(shown("a\n", ""), "-   1  [-a-]");
}

#[test]
fn a_line_break_that_goes_or_comes_is_a_change() {
    assert_eq!(shown("a\nb\n", "a b\n"), "~   1  a[-\\n-]\n~   1  {+ +}b");
    assert_eq!(shown("a", "a\n"), "~   1  a{+\\n+}");
    assert_eq!(shown("a\n", "a"), "~   1  a[-\\n-]");
}

#[test]
fn changes_with_a_space_between_them_are_one() {
    assert_eq!(shown("one two three", "eins zwei three"), "~   1  [-one two-]{+eins zwei+} three");
    assert_eq!(shown("one two", "eins two"), "~   1  [-one-]{+eins+} two");
}

#[test]
fn hostile_characters_are_escaped_and_long_lines_cut() {
    assert_eq!(shown("a\u{1b}[31m", "b\u{202e}"), "~   1  [-a\\u{1b}[31m-]{+b\\u{202e}+}");
    let long = "x ".repeat(1000);
    let text = shown(&format!("{long}a"), &format!("{long}b"));
    assert!(text.len() < 300 && text.contains("… 1880 characters …") && text.ends_with("[-a-]{+b+}"), "{text}");
}

#[test]
fn what_is_too_much_is_shown_as_digests() {
    let (from, to) = ("x".repeat(70_000), "y".repeat(70_001));
    let text = shown(&from, &to);
    assert!(text.starts_with("70000 -> 70001 characters, sha256 ") && text.len() < 100, "{text}");
    let (odd, even): (String, String) = (0..12_000).map(|n| (format!("{} ", n % 7), format!("{} ", n % 5))).unzip();
    assert!(matches!(diff(&odd, &even), WordDiff::Replaced { .. }));
    let lines = "\n".repeat(60_000);
    assert!(matches!(diff(&lines, ""), WordDiff::Replaced { .. }));
    assert_eq!(diff(&from, &from), WordDiff::Equal);
}

/// The text that the rows leave over when one side is taken away; only without elision.
fn side(diff: &WordDiff, without: Fate) -> String {
    let WordDiff::Rows(rows) = diff else { return String::new() };
    let lines = rows.iter().filter_map(|row| match row {
        Row::Line(line) => Some(line),
        Row::Unchanged(_) => None,
    });
    lines.flat_map(|line| &line.segments).filter(|s| s.fate != without && s.text != "\\n").map(|s| s.text.as_str()).collect()
}

proptest! {
    #[test]
    fn both_texts_are_in_the_diff(from in "[ab{} ]{0,30}", to in "[ab{} ]{0,30}") {
        let diff = diff(&from, &to);
        if from != to {
            prop_assert_eq!(side(&diff, Fate::Added), from);
            prop_assert_eq!(side(&diff, Fate::Removed), to);
        }
    }

    #[test]
    fn any_two_texts_are_compared(from in "(\\PC|[\\n{} a\u{202e}\u{7}]){0,60}", to in "(\\PC|[\\n{} a\u{202e}\u{7}]){0,60}") {
        let text = shown(&from, &to);
        prop_assert_eq!(text.is_empty(), from == to);
        prop_assert!(text.chars().all(|c| c == '\n' || !c.is_control()) && !text.contains('\u{202e}'), "{}", text);
        prop_assert_eq!(words(&from).concat(), from);
    }

    #[test]
    fn line_numbers_count_the_lines_of_each_text(from in "([ab]{0,2}\\n){0,12}", to in "([ab]{0,2}\\n){0,12}") {
        if let Some(lines) = compared(&from, &to) {
            let numbers = |of: fn(&Line) -> Option<usize>| lines.iter().filter_map(of).collect::<Vec<_>>();
            for (numbers, text) in [(numbers(|l| l.old), &from), (numbers(|l| l.new), &to)] {
                prop_assert!(numbers.windows(2).all(|w| w[1] == w[0] || w[1] == w[0] + 1), "{:?}", numbers);
                prop_assert!(text.is_empty() || numbers.last() == Some(&text.lines().count()), "{:?}", numbers);
            }
        }
    }
}
