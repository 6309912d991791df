//! One TOML table while its settings are read.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{ConfigSource, Report, Reported, SourceSpan};
use super::suggest::{nearest, quoted_list};

/// An optional setting: its value, `None` where the key is absent, or the proof that its problem was reported.
pub(crate) type Setting<T> = Result<Option<T>, Reported>;

/// A string and its place in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'d> {
    pub(crate) text: &'d str,
    pub(crate) span: SourceSpan,
}

/// One table, and the keys that have been asked for.
pub(crate) struct Table<'d> {
    report: &'d Report,
    source: &'d ConfigSource,
    file: usize,
    /// The name in problems and hints, with its backticks: `` `[daemon]` ``, `` `[[rule]]` ``.
    name: &'static str,
    span: SourceSpan,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
    /// Keys that this release knows only in order to refuse them.
    unsupported: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// Opens the root table of a file. `file` is the index of the file among the sources of the report.
    pub(crate) fn root(
        report: &'d Report,
        source: &'d ConfigSource,
        file: usize,
        entries: &'d DeTable<'d>,
    ) -> Self {
        Self {
            report,
            source,
            file,
            name: "the file",
            span: SourceSpan::start_of(file),
            entries,
            known: Vec::new(),
            unsupported: Vec::new(),
        }
    }

    /// Returns the report that problems are written to.
    pub(crate) const fn report(&self) -> &'d Report {
        self.report
    }

    /// Returns the place of the table's header.
    pub(crate) const fn span(&self) -> SourceSpan {
        self.span
    }

    /// Returns the place of the key (without its value), or of the table where the key is absent.
    pub(crate) fn key_span(&self, key: &str) -> SourceSpan {
        self.entries
            .get_key_value(key)
            .map_or(self.span, |(key, _)| self.span_of(key.span()))
    }

    /// Returns the place of the key's value, or of the table where the key is absent.
    pub(crate) fn value_span(&self, key: &str) -> SourceSpan {
        self.entries
            .get(key)
            .map_or(self.span, |value| self.span_of(value.span()))
    }

    /// Whether the key is present, with a valid value or not.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Resolves a path against the folder of this file.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        self.source.folder().join(text)
    }

    /// Reads a table below this one.
    pub(crate) fn table(&mut self, key: &'static str, name: &'static str) -> Setting<Self> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        if let DeValue::Table(entries) = value {
            return Ok(Some(self.child(name, span, entries)));
        }
        let hint = if name.starts_with("`[") {
            format!("write it once, as {name}")
        } else {
            format!("write it in braces: `{key} = {{ … }}`")
        };
        Err(self.wrong_type(span, key, "a table", value, hint))
    }

    /// Reads each of the tables `[[key]]`, in order. Items that are not tables are reported and left out.
    pub(crate) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Self> {
        let Some((span, value)) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value else {
            let hint = format!("write it as {name}, with two brackets");
            self.wrong_type(span, key, "a list of tables", value, hint);
            return Vec::new();
        };
        if items.is_empty() {
            let hint = Some(format!("remove `{key}`"));
            self.report
                .problem(span, format!("`{key}` is an empty list"), hint);
        }
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            let span = self.span_of(item.span());
            if let DeValue::Table(entries) = item.get_ref() {
                tables.push(self.child(name, span, entries));
            } else {
                let hint = format!("write each as {name}");
                self.wrong_type(span, key, "a list of tables", item.get_ref(), hint);
            }
        }
        tables
    }

    /// Refuses a key of a feature that this release does not have, rather than ignore a setting.
    pub(crate) fn refuse_unsupported(&mut self, key: &'static str, feature: &str) {
        self.unsupported.push(key);
        if self.has(key) {
            self.report.problem(
                self.key_span(key),
                format!("`{key}` is not supported by this release"),
                Some(format!("remove it: this release does not include {feature}")),
            );
        }
    }

    /// Refuses a key that has no meaning in this place. `why` follows the key's name.
    pub(crate) fn refuse(&mut self, key: &'static str, why: &str, hint: &str) {
        self.known.push(key);
        if self.has(key) {
            self.report.problem(
                self.key_span(key),
                format!("`{key}` {why}"),
                Some(hint.to_owned()),
            );
        }
    }

    /// Reports that a required key is absent. `example` is the value that the hint shows.
    pub(crate) fn missing(&self, key: &str, example: &str) -> Reported {
        self.report.problem(
            self.span,
            format!("`{key}` is missing in {}", self.name),
            Some(format!("add `{key} = {example}`")),
        )
    }

    /// Accepts these keys without reading their values.
    pub(crate) fn accept_unread(&mut self, keys: &[&'static str]) {
        self.known.extend_from_slice(keys);
    }

    /// Ends the reading of this table: reports every key that was not asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.unsupported.contains(&name) {
                continue;
            }
            let hint = nearest(name, &self.known).map_or_else(
                || format!("{} accepts {}", self.name, quoted_list(&self.known, "and")),
                |near| format!("did you mean `{near}`?"),
            );
            self.report.problem(
                self.span_of(key.span()),
                format!("unknown key `{}` in {}", name.escape_debug(), self.name),
                Some(hint),
            );
        }
    }

    /// Returns the value of a key, and from then on takes the key as known.
    pub(super) fn value(&mut self, key: &'static str) -> Option<(SourceSpan, &'d DeValue<'d>)> {
        self.known.push(key);
        let entry: &'d Spanned<DeValue<'d>> = self.entries.get(key)?;
        Some((self.span_of(entry.span()), entry.get_ref()))
    }

    /// Opens a table that is the value of a key of this one.
    pub(super) fn child(&self, name: &'static str, span: SourceSpan, entries: &'d DeTable<'d>) -> Self {
        Self {
            name,
            span,
            entries,
            known: Vec::new(),
            unsupported: Vec::new(),
            ..*self
        }
    }

    /// Returns the place of these bytes of the file.
    pub(super) const fn span_of(&self, bytes: Range<usize>) -> SourceSpan {
        SourceSpan {
            file: self.file,
            start: bytes.start,
            end: bytes.end,
        }
    }

    /// Reports a value of the wrong kind.
    pub(super) fn wrong_type(
        &self,
        span: SourceSpan,
        key: &str,
        expected: &str,
        value: &DeValue<'_>,
        hint: String,
    ) -> Reported {
        let found = match value {
            DeValue::String(_) => "a string",
            DeValue::Integer(_) => "an integer",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "a boolean",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        let message = format!("`{key}` must be {expected}, not {found}");
        self.report.problem(span, message, Some(hint))
    }
}
