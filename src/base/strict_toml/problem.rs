//! What is wrong with a configuration, and where: all of it at once, with the line shown.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::printable::printable_character;

/// Characters of a line that are shown: a line may be as long as its file.
const SHOWN: usize = 120;

/// Problems that are shown. Nobody reads more, and a megabyte of something else must not become minutes of text.
const PROBLEMS: usize = 1000;

/// One thing that is wrong, or worth a warning.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1. 0 when the file as a whole is meant.
    pub line: usize,
    /// The column in characters, from 1. 0 when the file as a whole is meant.
    pub column: usize,
    /// How many characters of the line are meant; at least 1.
    pub width: usize,
    /// The line, made printable; of a long one the part around the column.
    pub line_text: String,
    /// How many characters of `line_text` come before the column.
    pub indent: usize,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            write!(formatter, "{}: {}", self.file.display(), self.message)?;
        } else {
            writeln!(
                formatter,
                "{}:{}:{}: {}",
                self.file.display(),
                self.line,
                self.column,
                self.message
            )?;
            let number = self.line.to_string();
            writeln!(formatter, "  {number} | {}", self.line_text)?;
            let gutter = " ".repeat(number.len());
            // A tab stays a tab, so that the caret stands under its column whatever the width of a tab.
            let indent: String = self
                .line_text
                .chars()
                .take(self.indent)
                .map(|character| if character == '\t' { '\t' } else { ' ' })
                .collect();
            write!(
                formatter,
                "  {gutter} | {indent}{}",
                "^".repeat(self.width.max(1))
            )?;
        }
        if let Some(hint) = &self.hint {
            write!(formatter, "\nhint: {hint}")?;
        }
        Ok(())
    }
}

/// Everything that is wrong with a configuration, in the order the files are read, and by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// Never empty.
    pub problems: Vec<Problem>,
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                formatter.write_str("\n\n")?;
            }
            problem.fmt(formatter)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// A file of the configuration, read whole.
#[derive(Debug)]
pub(crate) struct ConfigSource {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl ConfigSource {
    /// The folder that relative paths in this file start from.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// A place in one of the files: bytes `start..end` of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct At {
    /// Index of the file, in the order they are read.
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

/// Proof that a problem has been reported: whoever holds one need not say anything more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported(());

/// Problems as they are found. One reader of tables hands it to the next, so it is written through a shared reference.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Note>>,
    warnings: RefCell<Vec<Note>>,
}

#[derive(Debug)]
struct Note {
    at: At,
    message: String,
    /// A second place that the message speaks of.
    also: Option<At>,
    hint: Option<String>,
}

impl Report {
    /// Something that refuses the configuration.
    pub(crate) fn problem(&self, at: At, message: impl Into<String>, hint: Option<String>) -> Reported {
        self.problems.borrow_mut().push(Note {
            at,
            message: message.into(),
            also: None,
            hint,
        });
        Reported(())
    }

    /// What hangs on something that has been reported already.
    pub(crate) fn again(&self) -> Reported {
        debug_assert!(!self.problems.borrow().is_empty(), "nothing has been reported");
        Reported(())
    }

    /// The same thing stands in two places.
    pub(crate) fn twice(
        &self,
        at: At,
        first: At,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Reported {
        self.problems.borrow_mut().push(Note {
            at,
            message: message.into(),
            also: Some(first),
            hint,
        });
        Reported(())
    }

    /// Something that the administrator should know.
    pub(crate) fn warning(&self, at: At, message: impl Into<String>, hint: Option<String>) {
        self.warnings.borrow_mut().push(Note {
            at,
            message: message.into(),
            also: None,
            hint,
        });
    }

    /// Whether nothing is wrong so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// The outcome and the warnings where nothing is wrong; else the problems.
    pub(crate) fn finish<T>(
        self,
        outcome: Result<T, Reported>,
        sources: &[&ConfigSource],
    ) -> Result<(T, Vec<Problem>), ConfigErrors> {
        let problems = rendered(self.problems.into_inner(), sources);
        match outcome {
            Ok(value) if problems.is_empty() => Ok((value, rendered(self.warnings.into_inner(), sources))),
            // Not empty: there is no `Reported` without a problem.
            Ok(_) | Err(Reported(())) => Err(ConfigErrors { problems }),
        }
    }
}

fn rendered(mut notes: Vec<Note>, sources: &[&ConfigSource]) -> Vec<Problem> {
    notes.sort_by_key(|note| (note.at.file, note.at.start));
    let more = notes.len().saturating_sub(PROBLEMS);
    let last = notes
        .get(PROBLEMS)
        .map(|note| source(note.at, sources).0.to_owned());
    notes.truncate(PROBLEMS);
    let shown = notes.into_iter().map(|note| render(note, sources));
    shown
        .chain(last.map(|file| whole_file(&file, format!("and {more} more from here on"), None)))
        .collect()
}

fn render(note: Note, sources: &[&ConfigSource]) -> Problem {
    let (file, text) = source(note.at, sources);
    let place = locate(text, note.at.start);
    let meant = text
        .get(note.at.start..note.at.end.min(place.line_end))
        .unwrap_or_default()
        .chars()
        .count();
    let before = place.column.saturating_sub(1);
    // A long line is shown from a little before what is meant.
    let skipped = if place.line_text.chars().count() > SHOWN {
        before.saturating_sub(SHOWN / 3)
    } else {
        0
    };
    let shown = without_passwords(place.line_text);
    let line_text = shown
        .chars()
        .skip(skipped)
        .take(SHOWN)
        .map(shown_character)
        .collect();
    let indent = before.saturating_sub(skipped);
    let mut message = note.message;
    if let Some(also) = note.also {
        let (file, text) = source(also, sources);
        message = format!(
            "{message}; it stands at `{}:{}` as well",
            file.display(),
            locate(text, also.start).line
        );
    }
    Problem {
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        width: meant.clamp(1, SHOWN.saturating_sub(indent).max(1)),
        line_text,
        indent,
        message,
        hint: note.hint,
    }
}

fn source<'s>(at: At, sources: &[&'s ConfigSource]) -> (&'s Path, &'s str) {
    sources.get(at.file).map_or((Path::new(""), ""), |source| {
        (source.path.as_path(), source.text.as_str())
    })
}

struct SourcePosition<'t> {
    line: usize,
    column: usize,
    line_text: &'t str,
    /// Byte offset at which the line ends.
    line_end: usize,
}

fn locate(text: &str, offset: usize) -> SourcePosition<'_> {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline.saturating_add(1));
    let rest = text.get(line_start..).unwrap_or_default();
    let line_text = rest.split('\n').next().unwrap_or_default();
    SourcePosition {
        line: before.matches('\n').count().saturating_add(1),
        column: before
            .get(line_start..)
            .unwrap_or_default()
            .chars()
            .count()
            .saturating_add(1),
        line_text: line_text.trim_end_matches('\r'),
        line_end: line_start.saturating_add(line_text.len()),
    }
}

/// The line with everything between `://` and `@` starred out, one for one: errors end up in journals and build logs.
fn without_passwords(line: &str) -> String {
    let mut pieces = line.split("://");
    let mut shown = pieces.next().unwrap_or_default().to_owned();
    for piece in pieces {
        let end = piece.find(['"', '\'', ' ']).unwrap_or(piece.len());
        let secret = piece
            .get(..end)
            .and_then(|authority| authority.rfind('@'))
            .unwrap_or(0);
        let (secret, rest) = piece.split_at_checked(secret).unwrap_or_default();
        shown.push_str("://");
        shown.extend(secret.chars().map(|_| '*'));
        shown.push_str(rest);
    }
    shown
}

/// A tab stays a tab: the caret stands below the right column for any width of a tab.
fn shown_character(character: char) -> char {
    if character == '\t' {
        character
    } else {
        printable_character(character)
    }
}

/// A problem of a file that could not be read at all.
pub(crate) fn whole_file(path: &Path, message: String, hint: Option<String>) -> Problem {
    Problem {
        file: path.to_owned(),
        line: 0,
        column: 0,
        width: 1,
        line_text: String::new(),
        indent: 0,
        message,
        hint,
    }
}
