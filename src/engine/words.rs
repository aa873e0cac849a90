//! What changed in a prompt text, word by word, for people: the changed lines with a line around them. Bounded in time and
//! size: a text that is too long, or differs in too much, is shown as lengths and digests.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;

use sha2::{Digest, Sha256};
use similar::{Algorithm, DiffTag, capture_diff_slices};

use super::display::escape;
use super::json::hex;
use super::prompt_text::is_name;

/// Longest text that is compared, in bytes.
const LONGEST: usize = 64 * 1024;
/// Most lines and most words that may differ: the comparison takes up to the square of them.
const MOST_LINES: usize = 4_000;
const MOST_WORDS: usize = 8_000;
/// Longest unchanged part of a line that is shown, and how much of each end is where it is longer, in characters.
const LONGEST_KEPT: usize = 160;
const KEPT_END: usize = 60;

/// What became of a piece of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is in both texts.
    Kept,
    /// It is in the first text only.
    Removed,
    /// It is in the second text only.
    Added,
}

/// A piece of a line, not escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What became of it.
    pub fate: Fate,
    /// Its text, without line breaks.
    pub text: String,
}

/// A line of one text or of both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Its number in the first text, from 1, where it has a part in it.
    pub old: Option<usize>,
    /// Its number in the second text, likewise.
    pub new: Option<usize>,
    /// Its pieces.
    pub segments: Vec<Segment>,
    changed: bool,
}

/// A row of the comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Row {
    /// A line that changed, or is next to one.
    Line(Line),
    /// So many unchanged lines.
    Unchanged(usize),
}

/// Two texts compared. `Display` is in the form of git's word diff, escaped, without colour.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WordDiff {
    /// They are equal.
    Equal,
    /// What changed.
    Rows(Vec<Row>),
    /// Too much for people: characters and digest of both.
    Replaced {
        /// Characters and digest of the first text.
        from: (usize, String),
        /// Those of the second text.
        to: (usize, String),
    },
}

/// Compares two texts.
pub fn diff(from: &str, to: &str) -> WordDiff {
    if from == to {
        return WordDiff::Equal;
    }
    compared(from, to)
        .map_or_else(|| WordDiff::Replaced { from: summary(from), to: summary(to) }, |lines| WordDiff::Rows(elided(lines)))
}

fn summary(text: &str) -> (usize, String) {
    let mut digest = hex(&Sha256::digest(text));
    digest.truncate(16);
    (text.chars().count(), digest)
}

/// All lines of both texts, or `None` where it is too much.
fn compared(from: &str, to: &str) -> Option<Vec<Line>> {
    if from.len().max(to.len()) > LONGEST {
        return None;
    }
    let (old, new): (Vec<&str>, Vec<&str>) = (from.split_inclusive('\n').collect(), to.split_inclusive('\n').collect());
    let mut left = MOST_WORDS;
    let mut page = Page::default();
    let (mut removed, mut added) = (Vec::new(), Vec::new());
    for (tag, before, after) in operations(&old, &new, &mut MOST_LINES.clone())? {
        if tag == DiffTag::Equal {
            page.hunk(&std::mem::take(&mut removed), &std::mem::take(&mut added), &mut left)?;
            for line in before {
                page.put(Fate::Kept, line.trim_end_matches('\n'));
                if line.ends_with('\n') {
                    page.put(Fate::Kept, "\n");
                }
            }
        } else {
            removed.extend(before.iter().flat_map(|line| words(line)));
            added.extend(after.iter().flat_map(|line| words(line)));
        }
    }
    page.hunk(&removed, &added, &mut left)?;
    page.end_line();
    Some(page.lines)
}

type Operation<'s, 't> = (DiffTag, &'s [&'t str], &'s [&'t str]);

/// What to keep, remove and add. `None` where more pieces differ than are `left`, those being taken off it.
fn operations<'s, 't>(old: &'s [&'t str], new: &'s [&'t str], left: &mut usize) -> Option<Vec<Operation<'s, 't>>> {
    let head = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (old.get(head..)?, new.get(head..)?);
    let tail = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let (old_end, new_end) = (old.len() - tail, new.len() - tail);
    *left = left.checked_sub((old_end - head) + (new_end - head))?;
    let (a, b) = (old.get(head..old_end)?, new.get(head..new_end)?);
    // Numbers in place of texts: a comparison of two takes the same time, however long they are.
    let mut ids = HashMap::new();
    let mut number = |text: &&'t str| {
        let next = ids.len();
        *ids.entry(*text).or_insert(next)
    };
    let (x, y): (Vec<usize>, Vec<usize>) = (a.iter().map(&mut number).collect(), b.iter().map(&mut number).collect());
    let mut ranges = vec![(DiffTag::Equal, 0..head, 0..head)];
    for operation in capture_diff_slices(Algorithm::Myers, &x, &y) {
        let (tag, before, after) = operation.as_tag_tuple();
        ranges.push((tag, head + before.start..head + before.end, head + after.start..head + after.end));
    }
    ranges.push((DiffTag::Equal, old_end..old.len(), new_end..new.len()));
    align(&mut ranges, old, new);
    ranges.into_iter().map(|(tag, before, after)| Some((tag, old.get(before)?, new.get(after)?))).collect()
}

/// A run of pieces that only one text has can often be moved on without changing what it says: `a.⏎{+b.⏎+}` is also `a{+.⏎b+}.⏎`.
/// It is moved so that it ends with a line where it can, and whole lines come and go.
fn align(ranges: &mut [(DiffTag, Range<usize>, Range<usize>)], old: &[&str], new: &[&str]) {
    for index in 1..ranges.len().saturating_sub(1) {
        let Some([(DiffTag::Equal, old_kept, new_kept), (tag, before, after), (DiffTag::Equal, old_next, new_next)]) =
            ranges.get_mut(index - 1..index + 2)
        else {
            continue;
        };
        let (texts, run) = match tag {
            DiffTag::Insert => (new, &*after),
            DiffTag::Delete => (old, &*before),
            DiffTag::Equal | DiffTag::Replace => continue,
        };
        let same = |by: &usize| by.checked_sub(1).is_none_or(|last| texts.get(run.start + last) == texts.get(run.end + last));
        let ends_a_line = |by: &usize| texts.get(run.end + by - 1).is_some_and(|text| text.ends_with('\n'));
        let Some(by) = (0..=new_next.len()).take_while(same).find(ends_a_line) else { continue };
        for range in [&mut *before, &mut *after] {
            *range = range.start + by..range.end + by;
        }
        (old_kept.end, new_kept.end) = (old_kept.end + by, new_kept.end + by);
        (old_next.start, new_next.start) = (old_next.start + by, new_next.start + by);
    }
}

/// A text in pieces that are kept or changed whole: names and numbers, placeholders, white space, line breaks, other characters.
fn words(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = placeholder(rest).unwrap_or_else(|| {
            let run = |like: fn(char) -> bool| rest.find(|c| !like(c)).unwrap_or(rest.len());
            match first {
                '\n' => 1,
                c if is_word(c) => run(is_word),
                c if c.is_whitespace() => run(|c| c.is_whitespace() && c != '\n'),
                c => c.len_utf8(),
            }
        });
        let (word, after) = rest.split_at(length);
        out.push(word);
        rest = after;
    }
    out
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Length of the placeholder at the beginning. Looks no further than the name goes.
fn placeholder(text: &str) -> Option<usize> {
    let inner = text.strip_prefix("{{")?;
    let name = inner.get(..inner.find(|c: char| !is_word(c))?)?;
    (is_name(name) && inner.get(name.len()..)?.starts_with("}}")).then_some(name.len() + 4)
}

/// The lines written so far, and the one that is being written.
#[derive(Default)]
struct Page {
    lines: Vec<Line>,
    segments: Vec<Segment>,
    /// Line breaks passed in each text.
    old: usize,
    new: usize,
}

impl Page {
    /// Words that were removed, and those that took their place. `None` where they are too many.
    fn hunk(&mut self, removed: &[&str], added: &[&str], left: &mut usize) -> Option<()> {
        let (mut before, mut after) = (Vec::new(), Vec::new());
        for (tag, old, new) in operations(removed, added, left)? {
            // A space between two changes is part of them: few long changes are read more easily than many short ones.
            let space = tag == DiffTag::Equal && matches!(old, [one] if *one != "\n" && one.trim().is_empty());
            let inside = space && !(before.is_empty() && after.is_empty());
            if tag != DiffTag::Equal || inside {
                before.extend_from_slice(old);
                after.extend_from_slice(new);
            } else if !old.is_empty() {
                self.change(&mut before, &mut after);
                old.iter().for_each(|word| self.put(Fate::Kept, word));
            }
        }
        self.change(&mut before, &mut after);
        Some(())
    }

    fn change(&mut self, removed: &mut Vec<&str>, added: &mut Vec<&str>) {
        // The space may stand at the end, with no change after it.
        let common = removed.iter().rev().zip(added.iter().rev()).take_while(|(a, b)| a == b).count();
        let kept = removed.split_off(removed.len() - common);
        added.truncate(added.len() - common);
        removed.drain(..).for_each(|word| self.put(Fate::Removed, word));
        added.drain(..).for_each(|word| self.put(Fate::Added, word));
        kept.iter().for_each(|word| self.put(Fate::Kept, word));
    }

    fn put(&mut self, fate: Fate, text: &str) {
        if text != "\n" {
            return self.append(fate, text);
        }
        // A line that goes or comes whole needs no word about its end.
        if fate != Fate::Kept && self.segments.iter().any(|segment| segment.fate != fate) {
            self.append(fate, "\\n");
        }
        self.append_end(fate);
        self.end_line();
        self.old += usize::from(fate != Fate::Added);
        self.new += usize::from(fate != Fate::Removed);
    }

    /// A line's end belongs to it like a word without letters, so that a line has a part in each text that has its end.
    fn append_end(&mut self, fate: Fate) {
        if self.segments.iter().all(|segment| segment.fate != fate) {
            self.segments.push(Segment { fate, text: String::new() });
        }
    }

    fn append(&mut self, fate: Fate, text: &str) {
        match self.segments.last_mut() {
            Some(last) if last.fate == fate => last.text.push_str(text),
            _ if text.is_empty() => {}
            _ => self.segments.push(Segment { fate, text: text.to_owned() }),
        }
    }

    fn end_line(&mut self) {
        let segments = std::mem::take(&mut self.segments);
        if segments.is_empty() {
            return;
        }
        let part = |not: Fate| segments.iter().any(|segment| segment.fate != not);
        let (old, new) = (part(Fate::Added), part(Fate::Removed));
        let changed = segments.iter().any(|segment| segment.fate != Fate::Kept);
        self.lines.push(Line { old: old.then_some(self.old + 1), new: new.then_some(self.new + 1), segments, changed });
    }
}

/// The changed lines and one around each; what is between them is counted.
fn elided(lines: Vec<Line>) -> Vec<Row> {
    let changed: Vec<bool> = lines.iter().map(|line| line.changed).collect();
    let near =
        |index: usize| changed.get(index.saturating_sub(1)..changed.len().min(index + 2)).is_some_and(|w| w.contains(&true));
    let mut rows = Vec::new();
    for (index, line) in lines.into_iter().enumerate() {
        if near(index) {
            rows.push(Row::Line(line));
        } else if let Some(Row::Unchanged(count)) = rows.last_mut() {
            *count += 1;
        } else {
            rows.push(Row::Unchanged(1));
        }
    }
    rows
}

impl fmt::Display for WordDiff {
    /// A row a line, without a line break at the end: sign, line number, text. The number is that of the second text; with the
    /// sign `-`, of the first.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = match self {
            Self::Equal => return Ok(()),
            Self::Replaced { from: (before, a), to: (after, b) } => {
                return write!(f, "{before} -> {after} characters, sha256 {a} -> {b}");
            }
            Self::Rows(rows) => rows,
        };
        for (index, row) in rows.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            match row {
                Row::Unchanged(1) => f.write_str("… 1 unchanged line")?,
                Row::Unchanged(count) => write!(f, "… {count} unchanged lines")?,
                Row::Line(line) => line.fmt(f)?,
            }
        }
        Ok(())
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, number) = match (self.old, self.new) {
            (Some(old), None) => ('-', old),
            (None, new) => ('+', new.unwrap_or_default()),
            (Some(_), Some(new)) => (if self.changed { '~' } else { ' ' }, new),
        };
        write!(f, "{sign}{number:>4}")?;
        let shown = self.segments.iter().filter(|segment| !segment.text.is_empty());
        for (index, segment) in shown.enumerate() {
            let space = if index == 0 { "  " } else { "" };
            match segment.fate {
                Fate::Kept => write!(f, "{space}{}", escape(&kept(&segment.text)))?,
                Fate::Removed => write!(f, "{space}[-{}-]", escape(&segment.text))?,
                Fate::Added => write!(f, "{space}{{+{}+}}", escape(&segment.text))?,
            }
        }
        Ok(())
    }
}

/// Unchanged text, without its middle where it is long.
fn kept(text: &str) -> String {
    let length = text.chars().count();
    if length <= LONGEST_KEPT {
        return text.to_owned();
    }
    let head: String = text.chars().take(KEPT_END).collect();
    let tail: String = text.chars().skip(length - KEPT_END).collect();
    format!("{head}… {} characters …{tail}", length - 2 * KEPT_END)
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
