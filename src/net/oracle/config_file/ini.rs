//! The file's syntax, as Python's `configparser` reads it without interpolation (SDK 2.189.0, `config.from_file`):
//! `[section]`, `key = value` or `key: value`, `#` and `;` at the begin of a line, keys in any case. A line that is
//! indented more than the key before it goes on with that key's value.

use std::collections::BTreeMap;

/// Why a line is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SyntaxError {
    /// One key twice in one section: which is meant would be chance.
    #[error("`{key}` stands in line {first} already")]
    DuplicateKey {
        /// The key.
        key: String,
        /// Where it stands first.
        first: usize,
    },
    /// One section twice.
    #[error("the profile begins in line {first} already")]
    DuplicateSection {
        /// Where it begins first.
        first: usize,
    },
    /// Neither a section, nor a key and its value, nor a comment.
    #[error("`key = value`, `[PROFILE]` or a comment is wanted")]
    NoDelimiter,
    /// A key before the first section.
    #[error("a profile must begin first: `[DEFAULT]`")]
    NoSection,
    /// A section's line with something wrong in it.
    #[error("`[PROFILE]` is wanted, and nothing after it")]
    Section,
}

/// The file, section by section.
#[derive(Debug, Default)]
pub(super) struct Ini<'a> {
    sections: BTreeMap<&'a str, Section<'a>>,
}

#[derive(Debug)]
struct Section<'a> {
    line: usize,
    entries: BTreeMap<String, IniEntry<'a>>,
}

/// A value and where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct IniEntry<'a> {
    pub(super) line: usize,
    pub(super) value: &'a str,
    /// The line that goes on with the value.
    pub(super) continued: Option<usize>,
}

impl std::fmt::Debug for IniEntry<'_> {
    /// The value may be a pass phrase.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}", self.line)
    }
}

impl<'a> Ini<'a> {
    /// Reads the text; a failure comes with its line.
    pub(super) fn parse(text: &'a str) -> Result<Self, (usize, SyntaxError)> {
        let mut ini = Self::default();
        let mut section: Option<&'a str> = None;
        // The key that a deeper line would go on with, and its depth.
        let mut last: Option<(String, usize)> = None;
        // An editor of Windows may have put a mark there.
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

    /// The names of its sections.
    pub(super) fn sections(&self) -> impl Iterator<Item = &'a str> {
        self.sections.keys().copied()
    }

    /// What stands in a section itself.
    pub(super) fn get(&self, section: &str, key: &str) -> Option<IniEntry<'a>> {
        self.sections.get(section)?.entries.get(key).copied()
    }

    fn begin(&mut self, name: &'a str, line: usize) -> Result<(), SyntaxError> {
        match self.sections.get(name) {
            // `configparser` takes its defaults in pieces.
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

/// `[name]`, and perhaps a comment. `configparser` passes over whatever follows.
fn section_name(content: &str) -> Option<&str> {
    let (name, rest) = content.strip_prefix('[')?.split_once(']')?;
    let rest = rest.trim_start();
    (!name.is_empty() && (rest.is_empty() || rest.starts_with(['#', ';']))).then_some(name)
}
