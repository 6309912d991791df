//! One file of the configuration, parsed as far as it could be.

use toml::Spanned;
use toml::de::DeTable;

use crate::base::strict_toml::problem::{ConfigSource, Report, SourceSpan};
use crate::base::strict_toml::table::Table;

pub(super) struct ConfigDocument<'d> {
    pub(super) source: &'d ConfigSource,
    /// The index of the file, in the order in which the files are read.
    file: usize,
    tree: Spanned<DeTable<'d>>,
    errors: Vec<toml::de::Error>,
}

impl<'d> ConfigDocument<'d> {
    /// Parses a file. Errors are kept for [`ConfigDocument::report_syntax`].
    pub(super) fn parse(source: &'d ConfigSource, file: usize) -> Self {
        let (tree, errors) = DeTable::parse_recoverable(&source.text);
        Self {
            source,
            file,
            tree,
            errors,
        }
    }

    /// Whether the file is TOML.
    pub(super) const fn is_valid(&self) -> bool {
        self.errors.is_empty()
    }

    /// Opens the root table.
    pub(super) fn root<'t>(&'t self, report: &'t Report) -> Table<'t> {
        Table::root(report, self.source, self.file, self.tree.get_ref())
    }

    /// Returns the root table as the parser left it.
    pub(super) fn tree(&self) -> &DeTable<'d> {
        self.tree.get_ref()
    }

    /// Reports what is not TOML: one error for each line, because the parser continues within a line that it could not
    /// read.
    pub(super) fn report_syntax(&self, report: &Report) {
        let text = &self.source.text;
        let mut errors: Vec<_> = self.errors.iter().collect();
        errors.sort_by_key(|error| error.span().map(|span| span.start));
        // Lines are counted from error to error: a file that is something else altogether has very many.
        let (mut counted, mut line, mut last_line) = (0, 0_usize, None);
        for error in errors {
            let span = error.span().unwrap_or_default();
            let between = text.get(counted..span.start).unwrap_or_default();
            line = line.saturating_add(between.matches('\n').count());
            counted = counted.max(span.start);
            if last_line.replace(line) != Some(line) {
                let span = SourceSpan {
                    file: self.file,
                    start: span.start,
                    end: span.end,
                };
                report.problem(
                    span,
                    error.message(),
                    Some(syntax_hint(error.message()).to_owned()),
                );
            }
        }
    }
}

fn syntax_hint(message: &str) -> &'static str {
    if message.starts_with("string values must be quoted") {
        "put the string in quotation marks"
    } else if message.starts_with("duplicate key") {
        "remove one of them"
    } else {
        "see https://toml.io for the syntax of tables and values"
    }
}
