//! How the story looks: headings, paragraphs, blocks and tables, at most [`WIDTH`] columns wide, in colour on a terminal only.

use std::fmt::Display;
use std::io::{self, Stdout, Write};

use anstream::AutoStream;
use anstyle::{AnsiColor, Style};

/// Columns.
pub const WIDTH: usize = 100;
const MARGIN: &str = "   ";
const INDENT: &str = "     ";

const HEADING: Style = Style::new().bold();
const LABEL: Style = AnsiColor::Cyan.on_default();
const GOOD: Style = AnsiColor::Green.on_default();
const BAD: Style = AnsiColor::Red.on_default();
const CHANGED: Style = AnsiColor::Yellow.on_default();
const COMMAND: Style = Style::new().dimmed();

/// Writes the story to standard output.
pub struct Teller {
    out: AutoStream<Stdout>,
}

impl Teller {
    /// A teller.
    pub fn new() -> Self {
        Self { out: anstream::stdout() }
    }

    /// The title of it all.
    pub fn title(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out, "{HEADING}{text}{HEADING:#}\n{}", "=".repeat(text.chars().count()))
    }

    /// The heading of a step, and what happens in it and why.
    pub fn step(&mut self, title: &str, why: &str) -> io::Result<()> {
        writeln!(self.out, "\n{HEADING}{title}{HEADING:#}")?;
        self.say(why)
    }

    /// A paragraph.
    pub fn say(&mut self, text: &str) -> io::Result<()> {
        self.lines(&wrap(text, MARGIN, MARGIN), Style::new())
    }

    /// A further paragraph.
    pub fn say_more(&mut self, text: &str) -> io::Result<()> {
        writeln!(self.out)?;
        self.say(text)
    }

    /// What a person would type.
    pub fn command(&mut self, text: &str) -> io::Result<()> {
        self.lines(&wrap(text, &format!("{MARGIN}$ "), INDENT), COMMAND)
    }

    /// The head of a block.
    pub fn block(&mut self, label: &str) -> io::Result<()> {
        writeln!(self.out, "\n{MARGIN}{LABEL}{label}{LABEL:#}")
    }

    /// A line of a block. What is longer goes on further in.
    pub fn line(&mut self, text: &str) -> io::Result<()> {
        self.lines(&wrap(text, INDENT, &format!("{INDENT}    ")), Style::new())
    }

    /// A value that is printed as it prints itself, such as a plan: changed fields stand out.
    pub fn value(&mut self, value: &impl Display) -> io::Result<()> {
        for line in value.to_string().lines() {
            let body = line.trim_start();
            let first = format!("{INDENT}{}", " ".repeat(line.len() - body.len()));
            let style = match body.split(' ').next() {
                Some("~") => CHANGED,
                Some("+") => GOOD,
                Some("-") => BAD,
                _ => Style::new(),
            };
            self.lines(&wrap(body, &first, &format!("{first}    ")), style)?;
        }
        Ok(())
    }

    /// A table; columns stand two spaces apart, and the last column takes what is left of the line and goes on below itself.
    pub fn table(&mut self, rows: &[Vec<String>]) -> io::Result<()> {
        let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
        let widths: Vec<usize> = (0..columns.saturating_sub(1)).map(|column| width(column).unwrap_or_default()).collect();
        // A column without any text takes no room.
        let gap = |width: usize| if width == 0 { 0 } else { width + 2 };
        let offset = widths.iter().map(|width| gap(*width)).sum::<usize>();
        for row in rows {
            let padded = widths.iter().zip(row).map(|(width, cell)| format!("{cell:<0$}", gap(*width))).collect::<String>();
            let last = row.get(widths.len()).map_or("", String::as_str);
            let further = format!("{INDENT}{}", " ".repeat(offset));
            self.lines(&wrap(last, &format!("{INDENT}{padded}"), &further), Style::new())?;
        }
        Ok(())
    }

    /// Something that was checked, and holds.
    pub fn holds(&mut self, text: &str) -> io::Result<()> {
        self.lines(&wrap(text, &format!("{MARGIN}✓ "), INDENT), GOOD)
    }

    fn lines(&mut self, lines: &[String], style: Style) -> io::Result<()> {
        for line in lines {
            writeln!(self.out, "{style}{}{style:#}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Breaks a text at its spaces. A word that is longer than the line is cut.
fn wrap(text: &str, first: &str, further: &str) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut is_begun) = (first.to_owned(), false);
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let used = line.chars().count() + usize::from(is_begun);
        if is_begun && used + word.len() > WIDTH {
            lines.push(std::mem::replace(&mut line, further.to_owned()));
        } else if is_begun {
            line.push(' ');
        }
        while line.chars().count() + word.len() > WIDTH {
            let rest = word.split_off(WIDTH.saturating_sub(line.chars().count()).clamp(1, word.len()));
            line.extend(word);
            lines.push(std::mem::replace(&mut line, further.to_owned()));
            word = rest;
        }
        line.extend(word);
        is_begun = true;
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_wider_than_the_width_and_nothing_is_lost() {
        let text = format!("{} {} {}", "word ".repeat(40), "x".repeat(350), "é".repeat(99));
        let lines = wrap(&text, "- ", "    ");
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:#?}");
        let squeezed = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
        assert_eq!(squeezed(&lines.concat()), squeezed(&format!("- {text}")));
    }

    #[test]
    fn spaces_inside_a_line_stay() {
        assert_eq!(wrap("a  b", "", ""), ["a  b"]);
    }
}
