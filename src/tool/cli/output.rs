//! Output of the tool: exit codes, errors with their causes and hints, colours, columns.

use std::error::Error;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use super::Color;
use crate::process::config::ConfigErrors;

/// Exit code, the answer for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Yes: the image is allowed, the signature is valid, the work is done.
    Yes,
    /// No: the image is denied, the signature is invalid, the record is absent.
    No,
    /// The arguments or the configuration are invalid.
    Usage,
    /// A service that the answer depends on did not answer.
    CouldNotTell,
}

impl Exit {
    /// Returns the exit code of the process.
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

/// Error of a verb: a message for people and an exit code for scripts.
#[derive(Debug)]
pub struct CliError {
    /// The message, in lower case and without a full stop.
    pub message: String,
    /// Next step for the user.
    pub hint: Option<String>,
    /// Exit code of the process.
    pub exit: Exit,
    /// Detailed problems that are printed before the message; each may have several lines.
    pub details: Vec<String>,
    /// Cause of the error.
    pub source: Option<Box<dyn Error + Send + Sync>>,
}

impl CliError {
    /// Creates an error without cause or hint.
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

    /// Adds the cause.
    #[must_use]
    pub fn because(self, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            source: Some(source.into()),
            ..self
        }
    }

    /// Adds the next step for the user.
    #[must_use]
    pub fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// Prints details, message, causes and hint on standard error.
    pub(super) fn print(&self, paint: &Paint) {
        if self.broken_pipe() {
            // The reader of our output closed it on purpose, for example `head`.
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

/// Treats an I/O error as a failure to write the output. Other I/O errors get their own message where they occur.
impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        Self::new("could not write the output", Exit::CouldNotTell).because(error)
    }
}

impl From<serde_json::Error> for CliError {
    fn from(error: serde_json::Error) -> Self {
        // serde wraps the error of a full or closed output.
        if error.is_io() {
            io::Error::from(error).into()
        } else {
            Self::new("could not write the output", Exit::CouldNotTell).because(error)
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

/// Whether to colour a stream.
#[derive(Clone, Copy, Debug)]
pub struct Paint(bool);

impl Paint {
    pub(super) fn new(color: Color, stream: &impl IsTerminal) -> Self {
        let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self(match color {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => stream.is_terminal() && !set("NO_COLOR") && !dumb,
        })
    }

    /// Paints errors and denials red.
    #[must_use]
    pub fn red(self, text: &str) -> String {
        self.styled("1;31", text)
    }

    /// Paints success green.
    #[must_use]
    pub fn green(self, text: &str) -> String {
        self.styled("1;32", text)
    }

    /// Paints warnings yellow.
    #[must_use]
    pub fn yellow(self, text: &str) -> String {
        self.styled("1;33", text)
    }

    /// Paints hints cyan.
    #[must_use]
    pub fn cyan(self, text: &str) -> String {
        self.styled("1;36", text)
    }

    /// Prints headings in bold.
    #[must_use]
    pub fn bold(self, text: &str) -> String {
        self.styled("1", text)
    }

    /// Colours the word `hint:` at the beginning of each line of the text.
    pub(super) fn hints(self, text: &str) -> String {
        text.replace("\nhint: ", &format!("\n{} ", self.cyan("hint:")))
    }

    /// Wraps the text in the codes of ECMA-48, "Select Graphic Rendition".
    fn styled(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// Writes rows as columns. Each column is as wide as its widest cell.
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

/// Formats a count and its noun: `1 rule`, `2 rules`.
#[must_use]
pub fn counted(count: usize, noun: &str) -> String {
    match (count, noun.strip_suffix('y')) {
        (1, _) => format!("{count} {noun}"),
        // `registry` becomes `registries`, and `key` becomes `keys`.
        (_, Some(stem)) if !stem.ends_with(['a', 'e', 'i', 'o', 'u']) => format!("{count} {stem}ies"),
        (_, Some(_) | None) => format!("{count} {noun}s"),
    }
}

/// Writes to standard error. A closed standard error is ignored, because the exit code still carries the answer.
pub(super) fn to_stderr(text: &str) {
    drop(io::stderr().lock().write_all(text.as_bytes()));
}
