//! How the tool answers: exit codes, errors with their causes and hints, colours, columns.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::Color;
use crate::process::config::ConfigErrors;

/// The answer, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Yes: it is allowed, valid, done.
    Yes,
    /// No: it is denied, invalid, absent.
    No,
    /// The arguments or the configuration are wrong.
    Usage,
    /// Something that had to be asked did not answer.
    CouldNotTell,
}

impl Exit {
    /// The code of the process.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Yes => 0,
            Self::No => 1,
            Self::Usage => 2,
            Self::CouldNotTell => 3,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// Why a verb gave no answer: what a person reads, and what a script sees.
#[derive(Debug)]
pub struct CliError {
    /// What went wrong: lower case, no full stop.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// The answer for scripts.
    pub exit: Exit,
    /// What was wrong in detail, before the message: several lines.
    pub details: Vec<String>,
    /// Why.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// An error without cause or hint.
    #[must_use]
    pub fn new(message: impl Into<String>, exit: Exit) -> Self {
        Self {
            message: message.into(),
            hint: None,
            exit,
            details: Vec::new(),
            source: None,
        }
    }

    /// With its cause.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// With what to do.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Prints it on standard error: details, message, causes, hint.
    pub(super) fn print(&self, paint: &Paint) {
        if self.broken_pipe() {
            // Whoever read us has had enough.
            return;
        }
        let mut text = String::new();
        for detail in &self.details {
            text.push_str(&format!("{} {}\n\n", paint.red("error:"), paint.hints(detail)));
        }
        text.push_str(&format!("{} {}\n", paint.red("error:"), self.message));
        let mut cause = self
            .source
            .as_ref()
            .map(|source| -> &(dyn Error + 'static) { source.as_ref() });
        while let Some(error) = cause {
            text.push_str(&format!("  caused by: {error}\n"));
            cause = error.source();
        }
        if let Some(hint) = &self.hint {
            text.push_str(&format!("{} {hint}\n", paint.cyan("hint:")));
        }
        to_stderr(&text);
    }

    fn broken_pipe(&self) -> bool {
        let source = self
            .source
            .as_ref()
            .and_then(|source| source.downcast_ref::<io::Error>());
        source.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    }
}

/// Writing the answer failed. Other errors of the system are given a message of their own where they happen.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::new("could not write the answer", Exit::CouldNotTell).because(error)
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        // A full or closed output comes through serde as well.
        if error.is_io() {
            io::Error::from(error).into()
        } else {
            Self::new("could not write the answer", Exit::CouldNotTell).because(error)
        }
    }
}

impl From<ConfigErrors> for CliError {
    fn from(errors: ConfigErrors) -> Self {
        let count = counted(errors.problems.len(), "problem");
        let details = errors.problems.iter().map(ToString::to_string).collect();
        Self {
            details,
            ..Self::new(format!("the configuration does not load: {count}"), Exit::Usage)
        }
    }
}

/// Whether to colour.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    pub(super) fn of(color: Color, stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !set("NO_COLOR") && !dumb,
        })
    }

    /// Red: what went wrong, what is denied.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.with("1;31", text)
    }

    /// Green: what is allowed.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.with("1;32", text)
    }

    /// Yellow: what to look at.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.with("1;33", text)
    }

    /// Cyan: what to do.
    #[must_use]
    pub fn cyan(self, text: &str) -> String {
        self.with("1;36", text)
    }

    /// Bold: heads of columns.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    /// The text with the `hint:` of its lines in their colour.
    pub(super) fn hints(self, text: &str) -> String {
        text.replace("\nhint: ", &format!("\n{} ", self.cyan("hint:")))
    }

    /// ECMA-48, "Select Graphic Rendition".
    fn with(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Writes rows in columns, as wide as their widest cell.
///
/// # Errors
/// When writing fails.
pub fn columns(out: &mut dyn Write, paint: Paint, heads: &[&str], rows: &[Vec<String>]) -> io::Result<()> {
    let widths: Vec<usize> = heads
        .iter()
        .enumerate()
        .map(|(index, head)| {
            let cells = rows
                .iter()
                .filter_map(|row| row.get(index))
                .map(|cell| cell.chars().count());
            cells.chain([head.chars().count()]).max().unwrap_or_default()
        })
        .collect();
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    writeln!(out, "{}", paint.bold(&line(&heads, &widths)))?;
    for row in rows {
        writeln!(out, "{}", line(row, &widths))?;
    }
    Ok(())
}

fn line(cells: &[String], widths: &[usize]) -> String {
    let padded: Vec<String> = cells
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:width$}"))
        .collect();
    padded.join("  ").trim_end().to_owned()
}

/// A number and what it counts: `1 rule`, `2 rules`.
#[must_use]
pub fn counted(count: usize, what: &str) -> String {
    match (count, what.strip_suffix('y')) {
        (1, _) => format!("{count} {what}"),
        // `registry`; `key` keeps its y.
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{count} {stem}ies"),
        (_, Some(_) | None) => format!("{count} {what}s"),
    }
}

/// Writes to standard error. That it is closed is not worth failing for: the exit code still answers.
pub(super) fn to_stderr(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
