//! Durations in text: an integer and its unit.

use std::time::Duration;

/// Each unit and its milliseconds, largest first.
const UNITS: [(&str, u64); 5] = [
    ("d", 86_400_000),
    ("h", 3_600_000),
    ("m", 60_000),
    ("s", 1000),
    ("ms", 1),
];

/// The text is not a duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a duration")]
pub(crate) struct NotADuration(String);

/// Parses `500ms`, `30s`, `5m`, `1h` or `7d`.
///
/// # Errors
/// [`NotADuration`] for all other text, and for durations beyond 64 bits of milliseconds.
pub(crate) fn parse(text: &str) -> Result<Duration, NotADuration> {
    let refused = || NotADuration(text.escape_debug().to_string());
    let digits = text
        .find(|character: char| !character.is_ascii_digit())
        .ok_or_else(refused)?;
    let (number, unit) = text.split_at_checked(digits).ok_or_else(refused)?;
    let (_, factor) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refused)?;
    let Ok(number) = number.parse::<u64>() else {
        return Err(refused());
    };
    number
        .checked_mul(*factor)
        .map(Duration::from_millis)
        .ok_or_else(refused)
}

/// Writes the duration as [`parse`] reads it, in the largest unit that leaves no remainder.
pub(crate) fn to_text(duration: Duration) -> String {
    let millis = duration.as_millis();
    UNITS
        .iter()
        .find(|(_, factor)| millis != 0 && millis.is_multiple_of(u128::from(*factor)))
        .map_or_else(
            || "0s".to_owned(),
            |(unit, factor)| format!("{}{unit}", millis / u128::from(*factor)),
        )
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::{NotADuration, parse, to_text};

    #[test]
    fn an_integer_with_a_unit_is_a_duration() {
        for (text, millis) in [
            ("0s", 0),
            ("500ms", 500),
            ("30s", 30_000),
            ("5m", 300_000),
            ("1h", 3_600_000),
            ("7d", 604_800_000),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn other_text_is_not_a_duration() {
        for text in [
            "",
            "30",
            "s",
            "-1s",
            "+1s",
            "1.5h",
            " 1s",
            "1s ",
            "1 s",
            "1h30m",
            "1S",
            "1µs",
            "99999999999999999999s",
            "18446744073709551615d",
        ] {
            assert_eq!(parse(text), Err(NotADuration(text.to_owned())), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_written_duration_parses_to_itself(millis in any::<u32>()) {
            let duration = Duration::from_millis(u64::from(millis));
            prop_assert_eq!(parse(&to_text(duration)), Ok(duration));
        }

        #[test]
        fn parsing_never_panics(text in "\\PC*") {
            let _either = parse(&text);
        }
    }
}
