//! The placeholders of a prompt text, in one pass: every byte is looked at a bounded number of times, whatever the text.

/// What stands between `{{` and the next `}}`, both included, or the end of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placeholder<'a> {
    /// Byte offset of its `{{`.
    pub offset: usize,
    /// Line of its `{{`, from 1.
    pub line: usize,
    /// Column of its `{{` in characters, from 1.
    pub column: usize,
    /// Its text with the braces.
    pub raw: &'a str,
    /// The name inside, or why it is no placeholder.
    pub name: Result<&'a str, Malformed>,
}

/// Why a text in double braces is no placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// No `}}` follows.
    Unclosed,
    /// A name with white space around it.
    Spaced,
    /// Nothing that could be a name.
    NoName,
}

/// The placeholders of `content` in order. Each reaches from `{{` to the next `}}`, also across lines; an unclosed one is the
/// last.
pub fn placeholders(content: &str) -> Placeholders<'_> {
    Placeholders { content, at: 0, line: 1, column: 1 }
}

/// Iterator of [`placeholders`].
#[derive(Clone, Debug)]
pub struct Placeholders<'a> {
    content: &'a str,
    /// Where the next one is looked for, and its line and column.
    at: usize,
    line: usize,
    column: usize,
}

impl<'a> Placeholders<'a> {
    /// Goes on to `to`, counting lines and columns.
    fn advance(&mut self, to: usize) {
        let passed = self.content.get(self.at..to).unwrap_or_default();
        let breaks = passed.bytes().filter(|b| *b == b'\n').count();
        let last = passed.rsplit('\n').next().unwrap_or_default().chars().count();
        self.line += breaks;
        self.column = if breaks == 0 { self.column + last } else { 1 + last };
        self.at = to;
    }
}

impl<'a> Iterator for Placeholders<'a> {
    type Item = Placeholder<'a>;

    fn next(&mut self) -> Option<Placeholder<'a>> {
        let rest = self.content.get(self.at..)?;
        let Some(found) = rest.find("{{") else {
            self.at = self.content.len();
            return None;
        };
        self.advance(self.at + found);
        let rest = self.content.get(self.at..)?;
        let close = rest.get(2..)?.find("}}");
        let (raw, name) = match close {
            None => (rest, Err(Malformed::Unclosed)),
            Some(inner) => (rest.get(..inner + 4)?, named(rest.get(2..inner + 2)?)),
        };
        let placeholder = Placeholder { offset: self.at, line: self.line, column: self.column, raw, name };
        self.advance(self.at + raw.len());
        Some(placeholder)
    }
}

fn named(inner: &str) -> Result<&str, Malformed> {
    match () {
        () if is_name(inner) => Ok(inner),
        () if is_name(inner.trim()) => Err(Malformed::Spaced),
        () => Err(Malformed::NoName),
    }
}

/// Whether a text can be a variable's name: `[a-zA-Z_][a-zA-Z0-9_]*`.
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    bytes.next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_') && bytes.all(|b| b.is_ascii_alphanumeric() || b == b'_')
}
