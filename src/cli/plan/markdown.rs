//! A plan as a comment on a pull request: a line of counts, then each object folded. Texts of the remote stay inside of code blocks
//! whose fence they cannot close.

use std::fmt::Write;

use super::Summary;
use crate::cli::project::{Proposal, Stop};
use crate::engine::display;

/// GitHub takes comments up to 65,536 characters; what is around them needs some.
const LONGEST: usize = 60_000;
/// Most objects without room that are named.
const MOST_NAMED: usize = 20;

/// The comment: what failed first, so that nothing pushes it out.
pub fn text(proposals: &[Proposal], summary: &Summary) -> String {
    let mut text = format!("### Assist Operator plan: {}\n", summary.line());
    let mut left_out = Vec::new();
    let (failed, others): (Vec<_>, Vec<_>) = proposals.iter().partition(|p| p.result.as_ref().is_err_and(Stop::is_error));
    for proposal in failed.into_iter().chain(others) {
        match section(proposal) {
            Some(section) if text.len() + section.len() > LONGEST => left_out.push(inline(&proposal.name.to_string())),
            Some(section) => text.push_str(&section),
            None => {}
        }
    }
    if !left_out.is_empty() {
        let more = left_out.len().saturating_sub(MOST_NAMED);
        left_out.truncate(MOST_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ =
            write!(text, "\n**There is no room for {}{more}:** run `assist-operator plan` to see them.\n", left_out.join(", "));
    }
    for note in &summary.notes {
        let _ = write!(text, "\n> {}\n", note.replace('\n', " "));
    }
    text
}

/// The comment where the manifests are not valid.
pub fn findings(lines: &[String]) -> String {
    let mut text = format!("### Assist Operator plan: the manifests are not valid ({})\n\n", lines.len());
    let mut shown = String::new();
    for line in lines {
        if shown.len() + line.len() > LONGEST {
            shown.push_str("and more\n");
            break;
        }
        shown.push_str(line);
        shown.push('\n');
    }
    text.push_str(&fenced(&shown));
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
            let waits = match &planned.held {
                Some(_) if planned.awaits_approval() => ", <b>waits for approval</b>".to_owned(),
                Some(held) => format!(", <b>waits: {}</b>", held.reason.as_str()),
                None => String::new(),
            };
            let digest = if count > 0 { format!("\n\nPlan `{}`, {place}\n", planned.digest) } else { String::new() };
            let diff = fenced(&planned.plan.to_string());
            format!("\n<details><summary>{name}: {what}{waits}</summary>\n\n{diff}{digest}\n</details>\n")
        }
        Err(stop) => {
            let sign = if stop.is_error() { "**failed**" } else { "left alone" };
            format!("\n{name} {sign} ({place})\n\n{}", fenced(&stop.to_string()))
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
        let indent = line.strip_suffix(body).unwrap_or_default();
        // A diff is coloured by its first column.
        let _ = match body.split(' ').next() {
            Some(sign @ ("+" | "-")) => writeln!(out, "{sign} {indent}{}", body.get(2..).unwrap_or_default()),
            Some("~") => writeln!(out, "! {indent}{}", body.get(2..).unwrap_or_default()),
            _ => writeln!(out, "  {line}"),
        };
    }
    out.push_str(&fence);
    out.push('\n');
    out
}

/// Text in a line of markup: whatever could be markup or a link is written as its number.
fn inline(text: &str) -> String {
    let mut out = String::from("<code>");
    for c in display::escape(text).chars() {
        let _ = match c {
            ' ' | '-' | '/' => write!(out, "{c}"),
            c if c.is_ascii_punctuation() => write!(out, "&#{};", u32::from(c)),
            c => write!(out, "{c}"),
        };
    }
    out.push_str("</code>");
    out
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
        assert_eq!(inline("a</b>`"), "<code>a&#60;/b&#62;&#96;</code>");
        assert_eq!(inline("[x](y) www.a @b"), "<code>&#91;x&#93;&#40;y&#41; www&#46;a &#64;b</code>");
    }
}
