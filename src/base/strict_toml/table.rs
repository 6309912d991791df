//! A strict reader of TOML tables: it goes on after a problem, and a key that nobody asked for is a problem.

use std::ops::Range;
use std::path::PathBuf;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problem::{At, ConfigSource, Report, Reported};
use super::value::Text;
use crate::base::strict_toml::suggest::{list, nearest};

/// What a getter answers: the value, `None` where the key is absent, or the proof that its problem was reported.
pub(crate) type Read<T> = Result<Option<T>, Reported>;

/// One table, and which of its keys have been asked for.
pub(crate) struct Table<'d> {
    report: &'d Report,
    source: &'d ConfigSource,
    file: usize,
    /// As people name it: `[daemon]`, `[[rule]]`.
    name: &'static str,
    at: At,
    entries: &'d DeTable<'d>,
    known: Vec<&'static str>,
    /// Keys that were asked for only to be refused.
    later: Vec<&'static str>,
}

impl<'d> Table<'d> {
    /// The root of a file.
    pub(crate) fn root(
        report: &'d Report,
        source: &'d ConfigSource,
        file: usize,
        entries: &'d DeTable<'d>,
    ) -> Self {
        let at = At {
            file,
            start: 0,
            end: 0,
        };
        Self {
            report,
            source,
            file,
            name: "the file",
            at,
            entries,
            known: Vec::new(),
            later: Vec::new(),
        }
    }

    /// Where problems go.
    pub(crate) const fn report(&self) -> &'d Report {
        self.report
    }

    /// Where the table begins.
    pub(crate) const fn at(&self) -> At {
        self.at
    }

    /// Where the key (not its value) stands, or the table where it does not.
    pub(crate) fn at_key(&self, key: &str) -> At {
        self.entries
            .get_key_value(key)
            .map_or(self.at, |(key, _)| self.place(key.span()))
    }

    /// Where the key's value stands, or the table where it does not.
    pub(crate) fn at_value(&self, key: &str) -> At {
        self.entries
            .get(key)
            .map_or(self.at, |value| self.place(value.span()))
    }

    /// Whether the key stands here, whatever its value.
    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// A path as this file means it: relative to the file.
    pub(crate) fn path(&self, text: &str) -> PathBuf {
        self.source.folder().join(text)
    }

    /// A table below this one.
    pub(crate) fn table(&mut self, key: &'static str, name: &'static str) -> Read<Self> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        if let DeValue::Table(entries) = value {
            return Ok(Some(self.below(name, at, entries)));
        }
        let hint = format!("it stands once, as {name}");
        Err(self.mistyped(at, key, "one table", value, hint))
    }

    /// A value that is either a text or a table.
    pub(crate) fn text_or_table(&mut self, key: &'static str, name: &'static str) -> Read<TextOrTable<'d>> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        if let DeValue::Table(entries) = value {
            return Ok(Some(TextOrTable::Table(self.below(name, at, entries))));
        }
        let DeValue::String(text) = value else {
            return Err(self.mistyped(
                at,
                key,
                "a text or a table",
                value,
                "put a text in quotation marks".to_owned(),
            ));
        };
        Ok(Some(TextOrTable::Text(Text { text, at })))
    }

    /// Each of the tables `[[key]]`, in order. What is not a table is reported, and left out.
    pub(crate) fn tables(&mut self, key: &'static str, name: &'static str) -> Vec<Self> {
        let Some((at, value)) = self.value(key) else {
            return Vec::new();
        };
        let DeValue::Array(items) = value else {
            let hint = format!("write it as {name}, with two brackets");
            self.mistyped(at, key, "a list of tables", value, hint);
            return Vec::new();
        };
        if items.is_empty() {
            self.report.problem(
                at,
                format!("`{key}` is an empty list"),
                Some(format!("take `{key}` out")),
            );
        }
        let mut tables = Vec::with_capacity(items.len());
        for item in items.iter() {
            let at = self.place(item.span());
            if let DeValue::Table(entries) = item.get_ref() {
                tables.push(self.below(name, at, entries));
            } else {
                let hint = format!("write each as {name}");
                self.mistyped(at, key, "a list of tables", item.get_ref(), hint);
            }
        }
        tables
    }

    /// A key that a later release will know: a setting that does nothing is not taken.
    pub(crate) fn later(&mut self, key: &'static str, what: &str) {
        self.later.push(key);
        if self.has(key) {
            self.report.problem(
                self.at_key(key),
                format!("`{key}` is not known to this release"),
                Some(format!("this release does not have {what}; take the setting out")),
            );
        }
    }

    /// A key that must be there and is not.
    pub(crate) fn missing(&self, key: &str, example: &str) -> Reported {
        self.report.problem(
            self.at,
            format!("`{key}` is missing in {}", self.name),
            Some(format!("add `{key} = {example}`")),
        )
    }

    /// Refuses a key that has no meaning here.
    pub(crate) fn refuse(&mut self, key: &'static str, why: &str, hint: &str) {
        self.known.push(key);
        if self.has(key) {
            self.report
                .problem(self.at_key(key), format!("`{key}` {why}"), Some(hint.to_owned()));
        }
    }

    /// Takes these keys as known, whatever their values.
    pub(crate) fn allow(&mut self, keys: &[&'static str]) {
        self.known.extend_from_slice(keys);
    }

    /// Reports every key that nobody asked for.
    pub(crate) fn finish(self) {
        for (key, _) in self.entries {
            let name: &str = key.get_ref();
            if self.known.contains(&name) || self.later.contains(&name) {
                continue;
            }
            let hint = nearest(name, &self.known).map_or_else(
                || format!("{} may hold {}", self.name, list(&self.known)),
                |near| format!("did you mean `{near}`?"),
            );
            self.report.problem(
                self.place(key.span()),
                format!("unknown key `{}` in {}", name.escape_debug(), self.name),
                Some(hint),
            );
        }
    }

    pub(crate) fn value(&mut self, key: &'static str) -> Option<(At, &'d DeValue<'d>)> {
        self.known.push(key);
        let entry: &'d Spanned<DeValue<'d>> = self.entries.get(key)?;
        Some((self.place(entry.span()), entry.get_ref()))
    }

    fn below(&self, name: &'static str, at: At, entries: &'d DeTable<'d>) -> Self {
        Self {
            name,
            at,
            entries,
            known: Vec::new(),
            later: Vec::new(),
            ..*self
        }
    }

    pub(crate) fn place(&self, span: Range<usize>) -> At {
        At {
            file: self.file,
            start: span.start,
            end: span.end,
        }
    }

    pub(crate) fn mistyped(
        &self,
        at: At,
        key: &str,
        wanted: &str,
        value: &DeValue<'_>,
        hint: String,
    ) -> Reported {
        let found = match value {
            DeValue::String(_) => "a text",
            DeValue::Integer(_) => "a whole number",
            DeValue::Float(_) => "a number with a fraction",
            DeValue::Boolean(_) => "`true` or `false`",
            DeValue::Datetime(_) => "a date",
            DeValue::Array(_) => "a list",
            DeValue::Table(_) => "a table",
        };
        self.report
            .problem(at, format!("`{key}` is {wanted}, not {found}"), Some(hint))
    }
}

/// What [`Table::text_or_table`] found.
pub(crate) enum TextOrTable<'d> {
    /// A text.
    Text(Text<'d>),
    /// A table.
    Table(Table<'d>),
}
