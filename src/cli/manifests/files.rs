//! Which files a path of the command line stands for.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};

use super::Finding;

/// Largest file that is read.
const LARGEST: u64 = 32 << 20;
/// Most bytes of all files together: they are held in memory, with what they mean.
pub const MOST: usize = 256 << 20;

/// One file to read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its path, as it is to be named.
    pub path: PathBuf,
    /// Whether the command line names it: then it must be a manifest. In a directory there may be others.
    pub named: bool,
}

/// The files of all paths, each once; `-` is one of them.
pub fn find(paths: &[String], findings: &mut Vec<Finding>) -> Vec<Found> {
    let mut finder = Finder { found: Vec::new(), seen: BTreeSet::new(), findings };
    for path in paths {
        finder.path(path);
    }
    finder.found
}

struct Finder<'a> {
    found: Vec<Found>,
    /// Files and directories that were visited, by their real path: links may lead back.
    seen: BTreeSet<PathBuf>,
    findings: &'a mut Vec<Finding>,
}

impl Finder<'_> {
    fn path(&mut self, text: &str) {
        let path = Path::new(text);
        if text == "-" || path.exists() {
            return self.existing(path, true);
        }
        if !text.contains(['*', '?', '[']) {
            return self.complain(path, "there is no such file or directory", "correct the path");
        }
        let options = glob::MatchOptions { require_literal_leading_dot: true, ..Default::default() };
        let matches = match glob::glob_with(text, options) {
            Ok(matches) => matches,
            Err(error) => return self.complain(path, &format!("it is no pattern: {error}"), "correct it"),
        };
        let mut matched = false;
        for path in matches.flatten() {
            if path.is_dir() || (path.is_file() && is_manifest_name(&path)) {
                matched = true;
                self.existing(&path, false);
            }
        }
        if !matched {
            self.complain(path, "no *.yaml, *.yml or *.json file matches it", "correct the pattern");
        }
    }

    fn existing(&mut self, path: &Path, named: bool) {
        // What has no real path (a pipe, `-`) stands for itself.
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if !self.seen.insert(real) {
            return;
        }
        if path.is_dir() {
            self.directory(path);
        } else {
            self.found.push(Found { path: path.to_owned(), named });
        }
    }

    fn directory(&mut self, path: &Path) {
        let entries = match fs::read_dir(path).and_then(Iterator::collect::<Result<Vec<_>, _>>) {
            Ok(entries) => entries,
            Err(error) => return self.complain(path, &format!("it cannot be read: {error}"), "correct its permissions"),
        };
        let mut paths: Vec<PathBuf> = entries.into_iter().map(|entry| entry.path()).filter(|path| !is_hidden(path)).collect();
        paths.sort();
        for path in paths {
            // A link that leads nowhere is neither; a pipe or device in a directory is left alone.
            if path.is_dir() || (path.is_file() && is_manifest_name(&path)) {
                self.existing(&path, false);
            }
        }
    }

    fn complain(&mut self, path: &Path, problem: &str, remedy: &str) {
        self.findings.push(Finding::of_file(&path.to_string_lossy(), problem, remedy));
    }
}

fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

fn is_manifest_name(path: &Path) -> bool {
    path.extension().is_some_and(|extension| ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known)))
}

/// The text of a file, or what is wrong with it.
pub fn text(path: &Path) -> Result<String, Box<Finding>> {
    let name = if path == Path::new("-") { "stdin".to_owned() } else { path.to_string_lossy().into_owned() };
    let failed = |error: std::io::Error| {
        Box::new(Finding::of_file(&name, format!("it cannot be read: {error}"), "correct the path or its permissions"))
    };
    let mut bytes = Vec::new();
    if name == "stdin" && path == Path::new("-") {
        std::io::stdin().lock().take(LARGEST + 1).read_to_end(&mut bytes)
    } else {
        File::open(path).and_then(|file| file.take(LARGEST + 1).read_to_end(&mut bytes))
    }
    .map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        let problem = format!("it is larger than {} MiB", LARGEST >> 20);
        return Err(Finding::of_file(&name, problem, "divide it into several files").into());
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let at = position(&String::from_utf8_lossy(valid));
        Box::new(Finding::at(&name, at, "it is not UTF-8", "save it as UTF-8; a binary file is no manifest"))
    })?;
    let text = match text.strip_prefix('\u{feff}') {
        Some(rest) => rest.to_owned(),
        None => text,
    };
    match text.find(is_forbidden) {
        Some(at) => {
            let c = text[at..].chars().next().unwrap_or_default().escape_unicode();
            let problem = format!("it holds the control character {c}, which YAML does not allow");
            Err(Finding::at(&name, position(&text[..at]), problem, "remove it, or write it as an escape in double quotes").into())
        }
        None => Ok(text),
    }
}

fn is_forbidden(c: char) -> bool {
    (c.is_control() && !matches!(c, '\t' | '\n' | '\r' | '\u{85}')) || matches!(c, '\u{feff}' | '\u{fffe}' | '\u{ffff}')
}

/// Line and column, from 1, of what follows `before`.
fn position(before: &str) -> (usize, usize) {
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}
