//! The file's syntax, as Python's `configparser` reads it without interpolation (SDK 2.189.0, `config.from_file`):
//! `[section]`, `key = value` or `key: value`, comments that begin with `#` or `;` at the start of a line, and keys in
//! upper or lower case. A line that is indented more than the key before it continues that key's value.
//!
//! It is not left to a crate, because a reader that differs from the SDK's in one line could sign with another key than
//! Oracle's tools do, or take a pass phrase for something that may be quoted.

use std::collections::BTreeMap;

/// Why a line is not valid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// A section has a key twice, and does not say which is meant.
    #[error("line {first} already has a `{key}`")]
    DuplicateKey {
        /// The key.
        key: String,
        /// The line of the first one.
        first: usize,
    },
    /// A section stands twice.
    #[error("line {first} already begins this profile")]
    DuplicateSection {
        /// The line of the first one.
        first: usize,
    },
    /// The line is neither a section, nor a key and its value, nor a comment.
    #[error("expected `key = value`, `[PROFILE]` or a comment")]
    NoDelimiter,
    /// A key stands before the first section.
    #[error("expected a profile before the first key: `[DEFAULT]`")]
    NoSection,
    /// The line of a section is malformed.
    #[error("expected `[PROFILE]`, and nothing after it")]
    Section,
}

/// The content of the file by section.
#[derive(Debug, Default)]
pub(super) struct Ini<'a> {
    sections: BTreeMap<&'a str, Section<'a>>,
}

#[derive(Debug)]
struct Section<'a> {
    line: usize,
    entries: BTreeMap<String, IniEntry<'a>>,
}

/// A value and its line.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct IniEntry<'a> {
    pub(super) line: usize,
    pub(super) value: &'a str,
    /// The first line that continues the value.
    pub(super) continued: Option<usize>,
}

impl std::fmt::Debug for IniEntry<'_> {
    /// Omits the value, which may be a pass phrase.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}", self.line)
    }
}

impl<'a> Ini<'a> {
    /// Parses the text; an error comes with its line.
    pub(super) fn parse(text: &'a str) -> Result<Self, (usize, SyntaxError)> {
        let mut ini = Self::default();
        let mut section: Option<&'a str> = None;
        // The key that a line of greater indentation continues, and its indentation.
        let mut last: Option<(String, usize)> = None;
        // Editors on Windows may write a byte order mark.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, whole) in text.split('\n').enumerate() {
            let line = index + 1;
            let content = whole.trim();
            if content.is_empty() || content.starts_with(['#', ';']) {
                continue;
            }
            let depth = whole.len() - whole.trim_start().len();
            if let (Some(name), Some((key, key_depth))) = (section, &last)
                && depth > *key_depth
            {
                if let Some(entry) = ini
                    .sections
                    .get_mut(name)
                    .and_then(|one| one.entries.get_mut(key))
                {
                    entry.continued.get_or_insert(line);
                }
                continue;
            }
            if content.starts_with('[') {
                let name = section_name(content).ok_or((line, SyntaxError::Section))?;
                ini.begin(name, line).map_err(|error| (line, error))?;
                section = Some(name);
                last = None;
                continue;
            }
            let Some(name) = section else {
                return Err((line, SyntaxError::NoSection));
            };
            let (key, value) = content
                .split_once(['=', ':'])
                .filter(|(key, _)| !key.trim().is_empty())
                .ok_or((line, SyntaxError::NoDelimiter))?;
            let key = key.trim().to_lowercase();
            let entry = IniEntry {
                line,
                value: value.trim(),
                continued: None,
            };
            ini.put(name, &key, entry).map_err(|error| (line, error))?;
            last = Some((key, depth));
        }
        Ok(ini)
    }

    /// Returns the names of the sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'a str> {
        self.sections.keys().copied()
    }

    /// Returns a section's own entry, without inheritance.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<IniEntry<'a>> {
        self.sections.get(section)?.entries.get(key).copied()
    }

    fn begin(&mut self, name: &'a str, line: usize) -> Result<(), SyntaxError> {
        match self.sections.get(name) {
            // `configparser` accepts several sections of defaults, and joins them.
            Some(_) if name == super::DEFAULT => Ok(()),
            Some(first) => Err(SyntaxError::DuplicateSection { first: first.line }),
            None => {
                let entries = BTreeMap::new();
                self.sections.insert(name, Section { line, entries });
                Ok(())
            }
        }
    }

    fn put(&mut self, section: &str, key: &str, entry: IniEntry<'a>) -> Result<(), SyntaxError> {
        let Some(section) = self.sections.get_mut(section) else {
            return Err(SyntaxError::NoSection);
        };
        if let Some(first) = section.entries.get(key) {
            return Err(SyntaxError::DuplicateKey {
                key: crate::base::printable::excerpt(key),
                first: first.line,
            });
        }
        section.entries.insert(key.to_owned(), entry);
        Ok(())
    }
}

/// Parses `[name]`, perhaps followed by a comment. (`configparser` ignores any text after it.)
fn section_name(content: &str) -> Option<&str> {
    let (name, rest) = content.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    (!name.is_empty() && (rest.is_empty() || rest.starts_with(['#', ';']))).then_some(name)
}
