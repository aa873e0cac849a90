//! A plan as a comment on a pull request: a line of counts, then each object folded. Texts of the remote stay inside of code blocks
//! whose fence they cannot close.

use std::fmt::Write;

use super::Summary;
use crate::cli::project::Proposal;
use crate::engine::display;

/// GitHub takes comments up to 65,536 characters; what is around them needs some.
const LONGEST: usize = 60_000;

/// The comment.
pub fn text(proposals: &[Proposal], summary: &Summary) -> String {
    let mut text = format!("### Assist Operator plan: {}\n", summary.line());
    let mut left_out = 0_usize;
    for section in proposals.iter().filter_map(section) {
        if text.len() + section.len() > LONGEST {
            left_out += 1;
        } else {
            text.push_str(&section);
        }
    }
    if left_out > 0 {
        let _ = write!(text, "\n**{left_out} further objects do not fit here:** run `assist-operator plan` to see them.\n");
    }
    for note in &summary.notes {
        let _ = write!(text, "\n> {}\n", note.replace('\n', " "));
    }
    text
}

fn section(proposal: &Proposal) -> Option<String> {
    let name = inline(&proposal.name.to_string());
    let place = inline(&proposal.place);
    Some(match &proposal.result {
        Ok(planned) if planned.plan.is_empty() && planned.plan.drift.is_empty() && planned.plan.released.is_empty() => {
            return None;
        }
        Ok(planned) => {
            let count = planned.plan.changes().count();
            let what = match count {
                0 => "differences are reported, not written".to_owned(),
                1 => "1 change".to_owned(),
                count => format!("{count} changes"),
            };
            let waits = if planned.approval && count > 0 { ", **waits for approval**" } else { "" };
            let digest = if count > 0 { format!("\n\nPlan `{}`, {place}\n", planned.digest) } else { String::new() };
            let diff = fenced(&planned.plan.to_string());
            format!("\n<details><summary>{name}: {what}{waits}</summary>\n\n{diff}{digest}\n</details>\n")
        }
        Err(stop) => {
            let sign = if stop.is_error() { "**failed**" } else { "left alone" };
            format!(
                "\n{name} {sign} ({place})\n\n{}",
                fenced(&format!("{}: {}", stop.reason.as_str(), display::escape(&stop.message)))
            )
        }
    })
}

/// A code block in the colours of a diff; its fence is longer than any run of backticks in the text.
fn fenced(text: &str) -> String {
    let runs = text.split(|c| c != '`').map(str::len);
    let fence = "`".repeat(runs.max().unwrap_or_default().max(2) + 1);
    let mut out = format!("{fence}diff\n");
    for line in text.lines() {
        let body = line.trim_start();
        // A diff is coloured by its first column.
        let _ = match body.split(' ').next() {
            Some(sign @ ("+" | "-")) => {
                writeln!(out, "{sign} {}{}", &line[..line.len() - body.len()], body.get(2..).unwrap_or_default())
            }
            Some("~") => writeln!(out, "! {}{}", &line[..line.len() - body.len()], body.get(2..).unwrap_or_default()),
            _ => writeln!(out, "  {line}"),
        };
    }
    out.push_str(&fence);
    out.push('\n');
    out
}

/// Text in a line of markup. Names and places hold nothing that needs more than this, unless somebody tries.
fn inline(text: &str) -> String {
    let text = display::escape(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('`', "'");
    format!("<code>{text}</code>")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_text_can_close_its_block() {
        let block = fenced("a ``` b\n````\n  + x: 1");
        assert!(block.starts_with("`````diff\n") && block.ends_with("\n`````\n"), "{block}");
        assert!(block.contains("\n+   x: 1\n"), "{block}");
    }

    #[test]
    fn names_are_no_markup() {
        assert_eq!(inline("a</summary>`b"), "<code>a&lt;/summary&gt;'b</code>");
    }
}
