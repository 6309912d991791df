//! Values of a table, each read as what it is meant to be.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::RangeInclusive;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use toml::Spanned;
use toml::de::DeValue;

use super::duration;
use super::problem::{At, Report, Reported};
use super::table::{Read, Table};
use crate::base::strict_toml::suggest::{list, nearest};

/// A text and where it stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Text<'d> {
    pub(crate) text: &'d str,
    pub(crate) at: At,
}

impl<'d> Table<'d> {
    /// A text that is not empty.
    pub(crate) fn text(&mut self, key: &'static str) -> Read<Text<'d>> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value else {
            return Err(self.mistyped(at, key, "a text", value, "put it in quotation marks".to_owned()));
        };
        if text.trim().is_empty() {
            let hint = Some(format!("set it, or take `{key}` out"));
            return Err(self.report().problem(at, format!("`{key}` is empty"), hint));
        }
        Ok(Some(Text { text, at }))
    }

    /// A text that must be there. `example` shows how it is written.
    pub(crate) fn required_text(&mut self, key: &'static str, example: &str) -> Result<Text<'d>, Reported> {
        self.text(key)?.ok_or_else(|| self.missing(key, example))
    }

    /// A list of texts: not empty, none twice.
    pub(crate) fn texts(&mut self, key: &'static str) -> Read<Vec<Text<'d>>> {
        self.each(key, Ok)
    }

    /// A list of texts, not empty and none twice, that are each read by `read`. All of them are, so that all that is
    /// wrong is said.
    pub(crate) fn each<T>(
        &mut self,
        key: &'static str,
        read: impl Fn(Text<'d>) -> Result<T, Reported>,
    ) -> Read<Vec<T>> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Array(items) = value else {
            let item = value.as_str().unwrap_or("…").escape_debug();
            let hint = format!("write `{key} = [\"{item}\"]`");
            return Err(self.mistyped(at, key, "a list of texts", value, hint));
        };
        if items.is_empty() {
            let hint = Some(format!("list at least one, or take `{key}` out"));
            return Err(self
                .report()
                .problem(at, format!("`{key}` is an empty list"), hint));
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
        let at = self.place(item.span());
        let DeValue::String(text) = item.get_ref() else {
            let hint = "put each in quotation marks".to_owned();
            return Err(self.mistyped(at, key, "a list of texts", item.get_ref(), hint));
        };
        let twice = !seen.insert(text);
        if !twice && !text.trim().is_empty() {
            return Ok(Text { text, at });
        }
        let message = if twice {
            format!("`{}` stands twice in `{key}`", text.escape_debug())
        } else {
            format!("an empty text in `{key}`")
        };
        Err(self.report().problem(at, message, Some("take it out".to_owned())))
    }

    /// `true` or `false`.
    pub(crate) fn boolean(&mut self, key: &'static str) -> Read<bool> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let hint = || format!("write `{key} = true`, without quotation marks");
        value
            .as_bool()
            .ok_or_else(|| self.mistyped(at, key, "`true` or `false`", value, hint()))
            .map(Some)
    }

    /// A whole number within these bounds.
    pub(crate) fn count(&mut self, key: &'static str, bounds: RangeInclusive<usize>) -> Read<(usize, At)> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Integer(integer) = value else {
            let hint = format!("write `{key} = {}`", bounds.start());
            return Err(self.mistyped(at, key, "a whole number", value, hint));
        };
        match usize::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(count) if bounds.contains(&count) => Ok(Some((count, at))),
            Ok(_) | Err(_) => Err(self.report().problem(
                at,
                format!("`{key}` is out of bounds"),
                Some(format!("it may be from {} to {}", bounds.start(), bounds.end())),
            )),
        }
    }

    /// A duration such as `"30s"` within these bounds.
    pub(crate) fn duration(&mut self, key: &'static str, bounds: RangeInclusive<Duration>) -> Read<Duration> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::String(text) = value else {
            let hint = format!("write it with its unit: `{key} = \"30s\"`");
            return Err(self.mistyped(at, key, "a duration as a text", value, hint));
        };
        match duration::parse(text) {
            Ok(duration) if bounds.contains(&duration) => Ok(Some(duration)),
            Ok(_) => Err(self.report().problem(
                at,
                format!("`{key}` is out of bounds"),
                Some(format!(
                    "it may be from {} to {}",
                    duration::show(*bounds.start()),
                    duration::show(*bounds.end())
                )),
            )),
            Err(error) => Err(self.report().problem(
                at,
                error.to_string(),
                Some("write it as `30s`, `5m` or `1h`".to_owned()),
            )),
        }
    }

    /// An instant with its offset from UTC.
    pub(crate) fn instant(&mut self, key: &'static str) -> Read<(Timestamp, At)> {
        let Some((at, value)) = self.value(key) else {
            return Ok(None);
        };
        let DeValue::Datetime(datetime) = value else {
            let hint = format!("write it without quotation marks: `{key} = 2026-01-01T00:00:00Z`");
            return Err(self.mistyped(at, key, "a date with a time", value, hint));
        };
        if datetime.date.is_none() || datetime.time.is_none() || datetime.offset.is_none() {
            let hint = Some("write date, time and offset: `2026-01-01T00:00:00Z`".to_owned());
            return Err(self
                .report()
                .problem(at, format!("`{key}` does not name one instant"), hint));
        }
        // The parser of TOML has checked its form: what is left to fail is a year beyond 9999 in UTC.
        let Ok(instant) = datetime.to_string().parse::<Timestamp>() else {
            let hint = Some("leave an open end out".to_owned());
            let message = format!("`{key}` is beyond the instants that can be counted");
            return Err(self.report().problem(at, message, hint));
        };
        Ok(Some((instant, at)))
    }
}

impl Text<'_> {
    /// The text as a `T`; else its error is the problem.
    pub(crate) fn parse<T: FromStr<Err: Display>>(&self, hint: &str, report: &Report) -> Result<T, Reported> {
        let parsed = self.text.parse::<T>();
        parsed.map_err(|error| report.problem(self.at, error.to_string(), Some(hint.to_owned())))
    }

    /// One of a few words.
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
                    || format!("it may be {}", list(&names)),
                    |near| format!("did you mean `{near}`?"),
                );
                report.problem(
                    self.at,
                    format!("`{}` is not a value of `{key}`", self.text.escape_debug()),
                    Some(hint),
                )
            })
    }
}
