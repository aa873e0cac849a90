//! Manifests as YAML text that reads as the same object: here, and by `kubectl`, which follows YAML 1.1.

use serde_json::Value;

use crate::engine::json;

/// The YAML of an object. Texts of several lines are blocks.
///
/// # Errors
/// A value that cannot be printed: a defect.
pub fn print(value: &Value) -> anyhow::Result<String> {
    let plain = serde_saphyr::to_string(value)?;
    if reads_as(&plain, value) {
        return Ok(plain);
    }
    // Some text looks like something else: all of them in quotes.
    let quoted = serde_saphyr::to_string_with_options(value, serde_saphyr::ser_options! { quote_all: true })?;
    if reads_as(&quoted, value) {
        return Ok(quoted);
    }
    // JSON is YAML.
    Ok(format!("{}\n", serde_json::to_string_pretty(value)?))
}

fn reads_as(text: &str, value: &Value) -> bool {
    super::parse("", text)
        .is_ok_and(|manifests| manifests.len() == 1 && manifests.iter().all(|manifest| json::equal(manifest.value(), value)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn whatever_is_printed_reads_as_the_same() {
        let texts = [
            "yes",
            "on",
            "Null",
            "~",
            "1",
            "1.0",
            "0x10",
            "010",
            "1_000",
            "12:30",
            "1e3",
            "- a",
            "a: b",
            "# c",
            " lead",
            "trail ",
            "two\nlines",
            "two\nlines\n",
            "two\nlines\n\n",
            "\n",
            "",
            "---",
            "a\n---\nb",
            "tab\there",
            "{{x}}",
            "'",
            "\"",
            "\u{7f}",
            "\u{85}",
            "\u{2028}",
            "\u{1b}[31m",
            "=",
            "<<",
            "2020-01-01",
            "NaN",
            ".inf",
            "%",
            "@a",
            "`b",
            "a #b",
            "é漢👋",
            "\r\n",
            "a\rb",
        ];
        for text in texts {
            let value = json!({"apiVersion": "v1", "kind": "A", "spec": {"text": text, "list": [text, {"deep": text}], text: 1}});
            let printed = print(&value).unwrap();
            assert!(reads_as(&printed, &value), "{text:?}:\n{printed}");
        }
        let prompt = print(&json!({"apiVersion": "v1", "kind": "A", "spec": {"content": "Hello {{name}}.\nBye.\n"}})).unwrap();
        assert!(prompt.contains("content: |\n"), "{prompt}");
    }
}
