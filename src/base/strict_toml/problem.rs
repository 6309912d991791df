//! The problems of a configuration: all of them at once, each with its file, line, column and an excerpt.
//!
//! The excerpt is drawn here rather than by `annotate-snippets` (tried with version 0.12.18). The first line of a problem,
//! `file:line:column: message`, is what journals are searched for and what editors follow, and `config check --json` gives
//! the same numbers; the library prints a headline of its own and the position on the second line. It draws from the whole
//! source text, so the secrets would have to be starred in a copy of the file and every span moved to that copy. And it
//! panics when a span ends within a character, which a reload must not risk for the sake of an excerpt.

use std::cell::RefCell;
use std::fmt;
use std::path::{Path, PathBuf};

use crate::base::printable::printable_character;

/// The longest part of a line that an excerpt shows, in characters. A line may be as long as its file.
const EXCERPT_CHARACTERS: usize = 120;

/// The most problems that are shown. More would not be read, and a megabyte of something that is not a configuration must
/// not become minutes of text.
const MAX_PROBLEMS: usize = 1000;

/// One problem of a configuration, or one warning about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file.
    pub file: PathBuf,
    /// The line, counted from 1; 0 when the problem concerns the file as a whole.
    pub line: usize,
    /// The column in characters, counted from 1; 0 when the problem concerns the file as a whole.
    pub column: usize,
    /// The number of characters of the line that the problem concerns; at least 1.
    pub width: usize,
    /// The line, made printable; of a long line the part around the column.
    pub line_text: String,
    /// The number of characters of `line_text` before the column.
    pub indent: usize,
    /// The problem.
    pub message: String,
    /// The next step for the administrator.
    pub hint: Option<String>,
    /// Whether it was right in an earlier release, and `pullgate config migrate` rewrites it.
    pub is_outdated: bool,
}

impl Problem {
    /// Returns a problem that concerns a file as a whole, such as a file that could not be read.
    pub(crate) fn whole_file(path: &Path, message: String, hint: Option<String>) -> Self {
        Self {
            file: path.to_owned(),
            line: 0,
            column: 0,
            width: 1,
            line_text: String::new(),
            indent: 0,
            message,
            hint,
            is_outdated: false,
        }
    }
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
            // A tab stays a tab, so that the caret is below its column for any width of a tab.
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

/// All problems of a configuration, in the order in which its files are read, and by line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The problems; never empty.
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

/// The path and the text of one file of the configuration.
#[derive(Debug)]
pub(crate) struct ConfigSource {
    pub(crate) path: PathBuf,
    pub(crate) text: String,
}

impl ConfigSource {
    /// Returns the folder that relative paths in this file start from.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

/// A place in one of the files: the bytes `start..end` of its text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SourceSpan {
    /// The index of the file, in the order in which the files are read.
    pub(crate) file: usize,
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl SourceSpan {
    /// Returns the first byte of a file, for problems that concern the file as a whole.
    pub(crate) const fn start_of(file: usize) -> Self {
        Self {
            file,
            start: 0,
            end: 0,
        }
    }
}

/// Proof that a problem has been reported. A function that fails with it has nothing more to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reported(());

/// Collects problems and warnings while the files are read. Many readers of tables hold it at one time, so it is written
/// through a shared reference.
#[derive(Debug, Default)]
pub(crate) struct Report {
    problems: RefCell<Vec<Note>>,
    warnings: RefCell<Vec<Note>>,
}

#[derive(Debug)]
struct Note {
    span: SourceSpan,
    message: String,
    /// The place of the first of two duplicates.
    first: Option<SourceSpan>,
    hint: Option<String>,
    is_outdated: bool,
}

impl Note {
    fn new(span: SourceSpan, message: impl Into<String>, hint: Option<String>) -> Self {
        Self {
            span,
            message: message.into(),
            first: None,
            hint,
            is_outdated: false,
        }
    }
}

impl Report {
    /// Reports a problem: the configuration will not load.
    pub(crate) fn problem(
        &self,
        span: SourceSpan,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Reported {
        self.problems.borrow_mut().push(Note::new(span, message, hint));
        Reported(())
    }

    /// Reports a spelling of an earlier release, which `pullgate config migrate` rewrites. The hint names that command after
    /// `alternative`, the change that the administrator can make by hand.
    pub(crate) fn outdated(
        &self,
        span: SourceSpan,
        message: impl Into<String>,
        alternative: &str,
    ) -> Reported {
        let hint = format!("{alternative}, or run `pullgate config migrate --write` for all files");
        self.problems.borrow_mut().push(Note {
            is_outdated: true,
            ..Note::new(span, message, Some(hint))
        });
        Reported(())
    }

    /// Returns the proof for a consequence of a problem that has been reported already.
    pub(crate) fn already_reported(&self) -> Reported {
        debug_assert!(!self.problems.borrow().is_empty(), "no problem has been reported");
        Reported(())
    }

    /// Reports a duplicate, and names the place of the first one.
    pub(crate) fn duplicate(
        &self,
        span: SourceSpan,
        first: SourceSpan,
        message: impl Into<String>,
        hint: Option<String>,
    ) -> Reported {
        self.problems.borrow_mut().push(Note {
            first: Some(first),
            ..Note::new(span, message, hint)
        });
        Reported(())
    }

    /// Reports something that loads and that the administrator should know.
    pub(crate) fn warning(&self, span: SourceSpan, message: impl Into<String>, hint: Option<String>) {
        self.warnings.borrow_mut().push(Note::new(span, message, hint));
    }

    /// Whether no problem has been reported so far.
    pub(crate) fn is_empty(&self) -> bool {
        self.problems.borrow().is_empty()
    }

    /// Succeeds when a migration solves all problems that have been reported; otherwise returns the others.
    pub(crate) fn without_outdated(self, sources: &[&ConfigSource]) -> Result<(), ConfigErrors> {
        let mut notes = self.problems.into_inner();
        notes.retain(|note| !note.is_outdated);
        if notes.is_empty() {
            return Ok(());
        }
        Err(ConfigErrors {
            problems: render_all(notes, sources),
        })
    }

    /// Returns the outcome with the warnings, or all problems.
    pub(crate) fn finish<T>(
        self,
        outcome: Result<T, Reported>,
        sources: &[&ConfigSource],
    ) -> Result<(T, Vec<Problem>), ConfigErrors> {
        let problems = render_all(self.problems.into_inner(), sources);
        match outcome {
            Ok(value) if problems.is_empty() => Ok((value, render_all(self.warnings.into_inner(), sources))),
            // Not empty: a `Reported` exists only after a problem.
            Ok(_) | Err(Reported(())) => Err(ConfigErrors { problems }),
        }
    }
}

fn render_all(mut notes: Vec<Note>, sources: &[&ConfigSource]) -> Vec<Problem> {
    notes.sort_by_key(|note| (note.span.file, note.span.start));
    let more = notes.len().saturating_sub(MAX_PROBLEMS);
    let last = notes
        .get(MAX_PROBLEMS)
        .map(|note| source(note.span, sources).0.to_owned());
    notes.truncate(MAX_PROBLEMS);
    let shown = notes.into_iter().map(|note| render(note, sources));
    shown
        .chain(last.map(|file| Problem::whole_file(&file, format!("{more} more problems follow"), None)))
        .collect()
}

fn render(note: Note, sources: &[&ConfigSource]) -> Problem {
    let (file, text) = source(note.span, sources);
    let position = locate(text, note.span.start);
    let width = text
        .get(note.span.start..note.span.end.min(position.line_end))
        .unwrap_or_default()
        .chars()
        .count();
    let before = position.column.saturating_sub(1);
    // The excerpt of a long line starts a little before the column.
    let skipped = if position.line_text.chars().count() > EXCERPT_CHARACTERS {
        before.saturating_sub(EXCERPT_CHARACTERS / 3)
    } else {
        0
    };
    let shown = star_secrets(position.line_text);
    let line_text = shown
        .chars()
        .skip(skipped)
        .take(EXCERPT_CHARACTERS)
        .map(excerpt_character)
        .collect();
    let indent = before.saturating_sub(skipped);
    let mut message = note.message;
    if let Some(first) = note.first {
        let (file, text) = source(first, sources);
        message = format!(
            "{message}; the first is at `{}:{}`",
            file.display(),
            locate(text, first.start).line
        );
    }
    Problem {
        file: file.to_owned(),
        line: position.line,
        column: position.column,
        width: width.clamp(1, EXCERPT_CHARACTERS.saturating_sub(indent).max(1)),
        line_text,
        indent,
        message,
        hint: note.hint,
        is_outdated: note.is_outdated,
    }
}

fn source<'s>(span: SourceSpan, sources: &[&'s ConfigSource]) -> (&'s Path, &'s str) {
    sources.get(span.file).map_or((Path::new(""), ""), |source| {
        (source.path.as_path(), source.text.as_str())
    })
}

struct SourcePosition<'t> {
    line: usize,
    column: usize,
    line_text: &'t str,
    /// The byte offset of the line's end.
    line_end: usize,
}

/// Finds the line and the column of a byte offset.
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

/// Replaces each character between `://` and `@` by a star: problems end up in journals and build logs, and the user part
/// of a URL may be a password. The number of characters stays, so that the caret does too.
fn star_secrets(line: &str) -> String {
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

/// Makes a character printable, one for one. A tab stays: the caret is below its column for any width of a tab.
fn excerpt_character(character: char) -> char {
    if character == '\t' {
        character
    } else {
        printable_character(character)
    }
}
