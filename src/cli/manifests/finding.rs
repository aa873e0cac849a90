//! What is wrong with a manifest, and where.

use std::fmt;

use serde::Serialize;

use crate::engine::display;

/// How much a finding matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// The API server would refuse it, or the operator.
    Error,
    /// It could not be checked here, or does not what it seems to.
    Note,
}

/// Line and column from 1; 0 where the finding is about the whole file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Place {
    /// The file, as it was named.
    pub file: String,
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
}

/// What is wrong with a manifest. Shown on one line, with control characters escaped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Finding {
    /// Where.
    #[serde(flatten)]
    pub place: Place,
    /// How much it matters.
    pub level: Level,
    /// The object, as `Kind/name`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    /// The field, as `spec.skills[2].proficiency`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is wrong, with the figures that matter.
    pub problem: String,
    /// What to do.
    pub remedy: String,
}

impl Finding {
    /// An error at a place of a file.
    pub fn at(file: &str, (line, column): (usize, usize), problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        let place = Place { file: file.into(), line, column };
        Self { place, level: Level::Error, object: None, field: None, problem: problem.into(), remedy: remedy.into() }
    }

    /// An error about a whole file.
    pub fn of_file(file: &str, problem: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::at(file, (0, 0), problem, remedy)
    }

    /// The same as a note.
    #[must_use]
    pub fn noted(self) -> Self {
        Self { level: Level::Note, ..self }
    }

    /// The place, object and field alone.
    pub fn place(&self) -> String {
        let parts = self.object.iter().chain(&self.field).map(|part| display::escape(part));
        let parts = parts.collect::<Vec<_>>().join(": ");
        format!("{}:{}:{}: {parts}", display::escape(&self.place.file), self.place.line, self.place.column)
    }

    /// What it says, without the place.
    pub fn message(&self) -> String {
        let parts = self.object.iter().chain(&self.field).chain([&self.problem]);
        let parts: Vec<String> = parts.map(|part| display::escape(part)).collect();
        format!("{} ({})", parts.join(": "), display::escape(&self.remedy))
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&display::escape(&self.place.file))?;
        if self.place.line > 0 {
            write!(f, ":{}:{}", self.place.line, self.place.column)?;
        }
        let note = if self.level == Level::Note { "note: " } else { "" };
        write!(f, ": {note}{}", self.message())
    }
}

/// Fields by their names for people, and as JSON pointers.
pub mod field {
    use crate::engine::display;

    /// Names that need no quotes.
    fn is_plain(name: &str) -> bool {
        !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || "_-".contains(c))
    }

    /// A name for people: escaped and bounded.
    pub fn shown(name: &str) -> String {
        format!("\"{}\"", display::path(name))
    }

    /// A JSON pointer as people write it, `spec.skills[2].proficiency`; nothing for the whole object.
    pub fn path(pointer: &str) -> Option<String> {
        let mut out = String::new();
        for name in pointer.strip_prefix('/')?.split('/') {
            let name = name.replace("~1", "/").replace("~0", "~");
            if !out.is_empty() && name.bytes().all(|b| b.is_ascii_digit()) {
                out.push_str(&format!("[{name}]"));
            } else if is_plain(&name) {
                out.push_str(if out.is_empty() { "" } else { "." });
                out.push_str(&name);
            } else {
                out.push_str(&format!("[{}]", shown(&name)));
            }
        }
        Some(out)
    }

    /// The JSON pointer of a path such as `spec.skills[2].proficiency`.
    pub fn pointer(path: &str) -> String {
        let mut out = String::new();
        for part in
            path.split(['.', '[']).map(|part| part.trim_end_matches(']').trim_matches('"')).filter(|part| !part.is_empty())
        {
            out.push('/');
            out.push_str(&part.replace('~', "~0").replace('/', "~1"));
        }
        out
    }
}
