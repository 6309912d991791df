//! The typed values of a table: strings, lists, numbers, durations, instants and words of a fixed set.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::DeValue;

use super::duration;
use super::problem::{Report, Reported, SourceSpan};
use super::suggest::{nearest, quoted_list};
use super::table::{Setting, Table, Text};

/// A value that may be written in short as a string, or in full as a table.
pub(crate) enum TextOrTable<'d> {
    Text(Text<'d>),
    Table(Table<'d>),
}

impl<'d> Table<'d> {
    /// Reads a string that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Setting<Text<'d>> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value else {
            let hint = "put it in quotation marks".to_owned();
            return Err(self.wrong_type(span, key, "a string", value, hint));
        };
        if text.trim().is_empty() {
            let hint = Some(format!("set it, or remove `{key}`"));
            return Err(self.report().problem(span, format!("`{key}` is empty"), hint));
        }
        Ok(Some(Text { text, span }))
    }

    /// Reads a string that must be present. `example` is the value that the hint shows.
    pub(crate) fn required_text(&mut self, key: &'static str, example: &str) -> Result<Text<'d>, Reported> {
        self.text(key)?.ok_or_else(|| self.missing(key, example))
    }

    /// Reads a value that is either a string or a table. `name` is that of the table.
    pub(crate) fn text_or_table(
        &mut self,
        key: &'static str,
        name: &'static str,
    ) -> Setting<TextOrTable<'d>> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        if let DeValue::Table(entries) = value {
            return Ok(Some(TextOrTable::Table(self.child(name, span, entries))));
        }
        let DeValue::String(text) = value else {
            let hint = "put a string in quotation marks".to_owned();
            return Err(self.wrong_type(span, key, "a string or a table", value, hint));
        };
        Ok(Some(TextOrTable::Text(Text { text, span })))
    }

    /// Reads a list of strings that is not empty and in which each string appears once.
    pub(crate) fn texts(&mut self, key: &'static str) -> Setting<Vec<Text<'d>>> {
        self.each(key, Ok)
    }

    /// Reads a list of strings as [`Table::texts`] does, and each item with `read`. Every item is read, so that every
    /// problem is reported.
    pub(crate) fn each<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(Text<'d>) -> Result<T, Reported>,
    ) -> Setting<Vec<T>> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Array(items) = value else {
            let item = value.as_str().unwrap_or("…").escape_debug();
            let hint = format!("write `{key} = [\"{item}\"]`");
            return Err(self.wrong_type(span, key, "a list of strings", value, hint));
        };
        if items.is_empty() {
            let hint = Some(format!("name at least one, or remove `{key}`"));
            return Err(self
                .report()
                .problem(span, format!("`{key}` is an empty list"), hint));
        }
        let mut seen = BTreeSet::new();
        let each: Vec<_> = items
            .iter()
            .map(|item| read(self.item(key, item, &mut seen)?))
            .collect();
        each.into_iter().collect::<Result<_, _>>().map(Some)
    }

    fn item(
        &self,
        key: &str,
        item: &'d Spanned<DeValue<'d>>,
        seen: &mut BTreeSet<&'d str>,
    ) -> Result<Text<'d>, Reported> {
        let span = self.span_of(item.span());
        let DeValue::String(text) = item.get_ref() else {
            let hint = "put each in quotation marks".to_owned();
            return Err(self.wrong_type(span, key, "a list of strings", item.get_ref(), hint));
        };
        if text.trim().is_empty() {
            let message = format!("`{key}` contains an empty string");
            return Err(self.report().problem(span, message, Some("remove it".to_owned())));
        }
        if !seen.insert(text) {
            let message = format!("`{}` appears twice in `{key}`", text.escape_debug());
            return Err(self
                .report()
                .problem(span, message, Some("remove one of them".to_owned())));
        }
        Ok(Text { text, span })
    }

    /// Reads `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Setting<bool> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let hint = || format!("write `{key} = true` or `{key} = false`, without quotation marks");
        value
            .as_bool()
            .ok_or_else(|| self.wrong_type(span, key, "`true` or `false`", value, hint()))
            .map(Some)
    }

    /// Reads an integer within these bounds.
    pub(crate) fn count(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<usize>,
    ) -> Setting<(usize, SourceSpan)> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Integer(integer) = value else {
            let hint = format!("write `{key} = {}`", bounds.start());
            return Err(self.wrong_type(span, key, "an integer", value, hint));
        };
        match usize::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(count) if bounds.contains(&count) => Ok(Some((count, span))),
            // Out of bounds, negative, or too large for a `usize`.
            Ok(_) | Err(_) => Err(self.out_of_bounds(span, key, bounds.start(), bounds.end())),
        }
    }

    /// Reads a duration such as `"30s"` within these bounds.
    pub(crate) fn duration(
        &mut self,
        key: &'static str,
        bounds: RangeInclusive<Duration>,
    ) -> Setting<Duration> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value else {
            let hint = format!("write it with its unit: `{key} = \"30s\"`");
            return Err(self.wrong_type(span, key, "a duration in quotation marks", value, hint));
        };
        match duration::parse(text) {
            Ok(duration) if bounds.contains(&duration) => Ok(Some(duration)),
            Ok(_) => {
                let (least, most) = (
                    duration::to_text(*bounds.start()),
                    duration::to_text(*bounds.end()),
                );
                Err(self.out_of_bounds(span, key, least, most))
            }
            Err(error) => Err(self.report().problem(
                span,
                error.to_string(),
                Some("write it as `30s`, `5m` or `1h`".to_owned()),
            )),
        }
    }

    fn out_of_bounds(
        &self,
        span: SourceSpan,
        key: &str,
        least: impl Display,
        most: impl Display,
    ) -> Reported {
        let hint = Some(format!("choose a value from {least} to {most}"));
        self.report()
            .problem(span, format!("`{key}` is out of bounds"), hint)
    }

    /// Reads an instant: date, time and offset from UTC.
    pub(crate) fn instant(&mut self, key: &'static str) -> Setting<(Timestamp, SourceSpan)> {
        let Some((span, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Datetime(datetime) = value else {
            let hint = format!("write it without quotation marks: `{key} = 2026-01-01T00:00:00Z`");
            return Err(self.wrong_type(span, key, "a date with a time", value, hint));
        };
        if datetime.date.is_none() || datetime.time.is_none() || datetime.offset.is_none() {
            let hint = Some("write date, time and offset: `2026-01-01T00:00:00Z`".to_owned());
            let message = format!("`{key}` does not name one instant");
            return Err(self.report().problem(span, message, hint));
        }
        // The TOML parser has checked the form, so the only failure left is a year outside the range of a timestamp.
        let Ok(instant) = datetime.to_string().parse::<Timestamp>() else {
            let hint = Some(format!("remove `{key}` if there is no such limit"));
            let message = format!("`{key}` is outside the years that can be represented");
            return Err(self.report().problem(span, message, hint));
        };
        Ok(Some((instant, span)))
    }
}

impl Text<'_> {
    /// Parses the string as a `T`. A parse error is reported as the problem.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, hint: &str, report: &Report) -> Result<T, Reported> {
        let parsed = self.text.parse::<T>();
        parsed.map_err(|error| report.problem(self.span, error.to_string(), Some(hint.to_owned())))
    }

    /// Reads the string as one of a fixed set of words.
    pub(crate) fn choice<T: Copy>(
        &self,
        key: &str,
        choices: &[T],
        name: impl Fn(T) -> &'static str,
        report: &Report,
    ) -> Result<T, Reported> {
        choices
            .iter()
            .copied()
            .find(|choice| name(*choice) == self.text)
            .ok_or_else(|| {
                let names: Vec<&'static str> = choices.iter().map(|choice| name(*choice)).collect();
                let hint = nearest(self.text, &names).map_or_else(
                    || format!("write {}", quoted_list(&names, "or")),
                    |near| format!("did you mean `{near}`?"),
                );
                let message = format!("`{}` is not a value of `{key}`", self.text.escape_debug());
                report.problem(self.span, message, Some(hint))
            })
    }
}
