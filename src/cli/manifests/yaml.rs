//! YAML text → JSON, read as `kubectl` reads it, in bounded memory; and where each field stands.
//!
//! The events of the parser are read here and not through serde: that keeps YAML 1.1, finds every duplicate key instead of the first,
//! bounds what aliases repeat, and gives the position of a field at no further cost.

use std::collections::HashMap;
use std::fmt::Write as _;

use granit_parser::{Event, Options, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};
use serde_json::{Map, Value};

use super::scalars;

/// Deepest nesting: what is deeper cannot be read by the operator.
const DEEPEST: usize = 100;
/// Most bytes that aliases of one document may repeat.
const MOST_REPEATED: usize = 4 << 20;
/// Most bytes that pointers of positions may take. Names may be long and nested: what is beyond is placed at what is around it.
const MOST_POINTED: usize = 64 << 20;

/// What is wrong, and where: line and column from 1.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Line.
    pub line: usize,
    /// Column, in characters.
    pub column: usize,
    /// What is wrong.
    pub problem: String,
    /// What to do.
    pub remedy: &'static str,
}

/// Where the fields of a document stand, by JSON pointer.
#[derive(Debug, Default)]
pub struct Positions {
    /// Line and column: of a member where its name stands, of an item where it begins.
    pub fields: HashMap<String, (usize, usize)>,
    /// Literal block scalars (`|`): the first line of their text that is not blank.
    pub literals: HashMap<String, usize>,
    /// Where each line begins, where there are such scalars.
    pub lines: Vec<usize>,
    /// About how many bytes the pointers take.
    size: usize,
}

/// A document that could be read.
#[derive(Debug)]
pub struct Reading {
    /// Its content.
    pub value: Value,
    /// What is wrong with it all the same: duplicate keys.
    pub problems: Vec<Problem>,
}

/// Reads one document.
pub fn read(text: &str) -> Result<Reading, Problem> {
    let mut reader = Reader::new(text, None);
    let value = reader.document()?;
    Ok(Reading { value, problems: reader.problems })
}

/// Where the fields of a document stand; as far as it can be read.
pub fn positions(text: &str) -> Positions {
    let mut reader = Reader::new(text, Some(Positions::default()));
    // What cannot be read was told when the document was read.
    let _ = reader.document();
    let mut positions = reader.positions.unwrap_or_default();
    if !positions.literals.is_empty() {
        positions.lines = std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect();
    }
    positions
}

/// A node that an alias can repeat.
struct Anchored {
    value: Value,
    size: usize,
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    anchors: HashMap<usize, Anchored>,
    repeated: usize,
    problems: Vec<Problem>,
    positions: Option<Positions>,
    /// Pointer of the node that is being read.
    path: String,
    depth: usize,
}

type Read<'a> = (Event<'a>, Span);

fn problem(at: &Span, problem: impl Into<String>, remedy: &'static str) -> Problem {
    Problem { line: at.start.line(), column: at.start.col() + 1, problem: problem.into(), remedy }
}

fn unreadable(error: &ScanError) -> Problem {
    let (line, column) = (error.marker().line(), error.marker().col() + 1);
    let tabs = "indent with spaces; YAML allows no tabs there";
    let info = error.info();
    if info.contains("recursion limit") {
        let problem = format!("it is nested deeper than {DEEPEST} levels");
        return Problem { line, column, problem, remedy: "flatten it" };
    }
    let remedy = if info.contains("tab") { tabs } else { "correct the YAML; templates must be rendered first" };
    Problem { line, column, problem: format!("this is no YAML: {info}"), remedy }
}

impl<'a> Reader<'a> {
    fn new(text: &'a str, positions: Option<Positions>) -> Self {
        let mut options = Options::default();
        options.set_emit_comments(false);
        let parser = Parser::new_from_str_with_options(text, options);
        let anchors = HashMap::new();
        Self { parser, anchors, repeated: 0, problems: Vec::new(), positions, path: String::new(), depth: 0 }
    }

    fn next(&mut self) -> Result<Read<'a>, Problem> {
        match self.parser.next_event() {
            Some(Ok(read)) => Ok(read),
            Some(Err(error)) => Err(unreadable(&error)),
            None => Ok((Event::StreamEnd, Span::default())),
        }
    }

    fn document(&mut self) -> Result<Value, Problem> {
        let mut value = None;
        loop {
            let (event, span) = self.next()?;
            match event {
                Event::StreamEnd => return Ok(value.unwrap_or_default()),
                Event::StreamStart | Event::DocumentEnd => {}
                Event::DocumentStart(..) if value.is_some() => {
                    return Err(problem(
                        &span,
                        "a second document begins here, which kubectl ignores",
                        "begin it with --- on a line",
                    ));
                }
                Event::DocumentStart(..) => {}
                event => value = Some(self.node(event, span)?),
            }
        }
    }

    fn node(&mut self, event: Event<'a>, span: Span) -> Result<Value, Problem> {
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                if let (ScalarStyle::Literal, Some(positions)) = (style, &mut self.positions) {
                    positions.literals.insert(self.path.clone(), span.start.line());
                }
                (scalar(&text, style, tag.as_deref(), &span)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "map", &span)?;
                (self.nested(&span, Self::mapping)?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                collection_tag(tag.as_deref(), "seq", &span)?;
                (self.nested(&span, Self::sequence)?, anchor)
            }
            Event::Alias(id) => return self.alias(id, &span),
            _ => return Err(problem(&span, "this is no YAML: a value is missing", "write one")),
        };
        if anchor != 0 {
            let size = size(&value);
            self.anchors.insert(anchor, Anchored { value: value.clone(), size });
        }
        Ok(value)
    }

    fn nested(&mut self, span: &Span, read: fn(&mut Self) -> Result<Value, Problem>) -> Result<Value, Problem> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(problem(span, format!("it is nested deeper than {DEEPEST} levels"), "flatten it"));
        }
        let value = read(self)?;
        self.depth -= 1;
        Ok(value)
    }

    fn alias(&mut self, id: usize, span: &Span) -> Result<Value, Problem> {
        let Some(anchored) = self.anchors.get(&id) else {
            return Err(problem(span, "an alias stands inside of what it names", "name something else"));
        };
        self.repeated = self.repeated.saturating_add(anchored.size);
        if self.repeated > MOST_REPEATED {
            let text = format!("aliases repeat more than {} MiB", MOST_REPEATED >> 20);
            return Err(problem(span, text, "write the values out, or divide the manifest"));
        }
        Ok(anchored.value.clone())
    }

    fn mapping(&mut self) -> Result<Value, Problem> {
        let mut map = Map::new();
        // A merge may be overridden and overrides, as `kubectl` has it; only two written keys are a mistake.
        let mut written = std::collections::HashSet::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::MappingEnd) {
                return Ok(Value::Object(map));
            }
            if matches!(&event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<") {
                let (event, span) = self.next()?;
                let before = self.path.len();
                // What is merged stands elsewhere.
                let positions = self.positions.take();
                let merged = self.node(event, span)?;
                self.positions = positions;
                self.path.truncate(before);
                merge(&mut map, merged, &span)?;
                continue;
            }
            let key = match self.node(event, span)? {
                Value::String(key) => key,
                Value::Bool(key) => key.to_string(),
                Value::Number(key) => key.to_string(),
                _ => return Err(problem(&span, "a name is no text", "write a text before the colon")),
            };
            let before = self.path.len();
            self.enter(&key, &span);
            let (event, at) = self.next()?;
            let value = self.node(event, at)?;
            self.path.truncate(before);
            if !written.insert(key.clone()) {
                let shown = crate::engine::display::path(&key);
                self.problems.push(problem(&span, format!("duplicate key {shown}: only one of them would count"), "remove one"));
            }
            map.insert(key, value);
        }
    }

    fn sequence(&mut self) -> Result<Value, Problem> {
        let mut list = Vec::new();
        loop {
            let (event, span) = self.next()?;
            if matches!(event, Event::SequenceEnd) {
                return Ok(Value::Array(list));
            }
            let before = self.path.len();
            if self.positions.is_some() {
                self.enter(&list.len().to_string(), &span);
            }
            list.push(self.node(event, span)?);
            self.path.truncate(before);
        }
    }

    fn enter(&mut self, key: &str, span: &Span) {
        let Some(positions) = &mut self.positions else { return };
        // Writing into a text cannot fail.
        let _ = write!(self.path, "/{}", key.replace('~', "~0").replace('/', "~1"));
        positions.size = positions.size.saturating_add(self.path.len() + 64);
        if positions.size > MOST_POINTED {
            return;
        }
        positions.fields.insert(self.path.clone(), (span.start.line(), span.start.col() + 1));
    }
}

fn merge(map: &mut Map<String, Value>, merged: Value, span: &Span) -> Result<(), Problem> {
    match merged {
        Value::Object(members) => map.extend(members),
        // The first of a list wins, so it comes last.
        Value::Array(list) if list.iter().all(Value::is_object) => {
            list.into_iter()
                .rev()
                .filter_map(|item| if let Value::Object(members) = item { Some(members) } else { None })
                .for_each(|members| map.extend(members));
        }
        _ => return Err(problem(span, "<< merges no mapping", "name one, or a list of them")),
    }
    Ok(())
}

/// About how many bytes a value takes.
fn size(value: &Value) -> usize {
    32 + match value {
        Value::String(text) => text.len(),
        Value::Array(list) => list.iter().map(size).sum(),
        Value::Object(map) => map.iter().map(|(key, value)| key.len() + size(value)).sum(),
        _ => 0,
    }
}

/// The name of a tag of YAML itself; empty for a tag of somebody else.
fn core(tag: &Tag) -> String {
    tag.to_string().strip_prefix("tag:yaml.org,2002:").map(str::to_owned).unwrap_or_default()
}

fn collection_tag(tag: Option<&Tag>, own: &str, span: &Span) -> Result<(), Problem> {
    match tag {
        Some(tag) if core(tag) != own => Err(problem(span, "its tag is not known", "remove the word that begins with !")),
        _ => Ok(()),
    }
}

fn scalar(text: &str, style: ScalarStyle, tag: Option<&Tag>, span: &Span) -> Result<Value, Problem> {
    let no_number = || problem(span, "it is a number that JSON cannot hold", "write a finite number, or quote it");
    let Some(tag) = tag else {
        if style != ScalarStyle::Plain {
            return Ok(text.into());
        }
        return scalars::resolve(text).ok_or_else(no_number);
    };
    let name = core(tag);
    let value = if name == "str" { text.into() } else { scalars::resolve(text).ok_or_else(no_number)? };
    let fits = match name.as_str() {
        "str" => true,
        "int" => value.is_i64() || value.is_u64(),
        "float" => value.is_number(),
        "bool" => value.is_boolean(),
        "null" => value.is_null(),
        _ => false,
    };
    if fits {
        Ok(value)
    } else {
        Err(problem(span, "its tag is not known, or its value is not of it", "remove the word that begins with !"))
    }
}
