//! The one rule by which text from outside is quoted in an error, a log line or an answer.
//!
//! A registry, a client or a file chose the text. It may be megabytes long, move the cursor of a terminal, forge a line of
//! the journal with a line break, or reorder what stands around it with a bidirectional override. So:
//!
//! - **A character that is not visible is escaped as Rust escapes it** (`\n`, `\u{202e}`): control characters, format
//!   characters, unassigned and private code points, and spaces other than U+0020. So are marks that combine with the
//!   character before them, because a hundred of them on one letter cover the lines above it.
//! - **Visible characters of any script stay**: an administrator has to recognise the name that was written. Quotes and
//!   backslashes stay too, because the result is read by people and decoded by no program.
//! - **Bytes that are not UTF-8 are escaped one by one** (`\xff`), rather than replaced: two different texts should not
//!   look the same in a report.
//! - **An excerpt ends after [`EXCERPT_CHARACTERS`] of the result**, counted after escaping, with `…`. An escape is never
//!   cut in half.

use std::fmt::Write as _;

/// The longest excerpt: longer than any repository name (255 characters), tag (128) or SHA-512 digest (135).
const EXCERPT_CHARACTERS: usize = 256;

/// Returns the whole text with invisible characters escaped. For text whose length is bounded by other means.
pub(crate) fn printable(unverified_text: &str) -> String {
    let mut quoted = String::with_capacity(unverified_text.len());
    for character in unverified_text.chars() {
        push(&mut quoted, character);
    }
    quoted
}

/// Returns the beginning of a text with invisible characters escaped.
pub(crate) fn excerpt(unverified_text: &str) -> String {
    excerpt_bytes(unverified_text.as_bytes())
}

/// Returns the beginning of what should be UTF-8 text: a header, a body, a line of a program's output.
pub(crate) fn excerpt_bytes(unverified_bytes: &[u8]) -> String {
    let mut quoted = String::new();
    let mut room = EXCERPT_CHARACTERS;
    for chunk in unverified_bytes.utf8_chunks() {
        let visible = chunk.valid().chars().map(Piece::Character);
        let broken = chunk.invalid().iter().copied().map(Piece::Byte);
        for piece in visible.chain(broken) {
            let before = quoted.len();
            match piece {
                Piece::Character(character) => push(&mut quoted, character),
                Piece::Byte(byte) => {
                    // Writing to a string cannot fail.
                    let _written = write!(quoted, "\\x{byte:02x}");
                }
            }
            let added = quoted.get(before..).unwrap_or_default().chars().count();
            let Some(left) = room.checked_sub(added) else {
                quoted.truncate(before);
                quoted.push('…');
                return quoted;
            };
            room = left;
        }
    }
    quoted
}

/// Returns the character, or U+FFFD in its place where it would be escaped: for a line under which a caret points at a
/// column, which an escape would move.
pub(crate) fn printable_character(unverified_character: char) -> char {
    let mut escaped = unverified_character.escape_debug();
    match (escaped.next(), escaped.next()) {
        (Some(same), None) => same,
        _ if stays(unverified_character) => unverified_character,
        _ => char::REPLACEMENT_CHARACTER,
    }
}

enum Piece {
    Character(char),
    Byte(u8),
}

fn push(quoted: &mut String, character: char) {
    if stays(character) {
        quoted.push(character);
    } else {
        quoted.extend(character.escape_debug());
    }
}

/// Whether a character stays although `escape_debug` escapes it, for the sake of string literals.
fn stays(character: char) -> bool {
    matches!(character, '"' | '\'' | '\\')
}

#[cfg(test)]
mod tests {
    use super::{EXCERPT_CHARACTERS, excerpt, excerpt_bytes, printable, printable_character};

    #[test]
    fn visible_text_stays_as_it_is() {
        for text in [
            "docker.io/library/nginx",
            "denied: `x` \"y\" 'z' C:\\keys",
            "über 語 🦀",
            "  two spaces  ",
            "",
        ] {
            assert_eq!(printable(text), text);
            assert_eq!(excerpt(text), text);
            assert!(
                text.chars()
                    .all(|character| printable_character(character) == character)
            );
        }
    }

    /// The inputs on which earlier rules differed: bidirectional overrides and other format characters passed three of
    /// them, combining marks four, and tabs one.
    #[test]
    fn characters_that_are_not_visible_are_escaped() {
        for (text, expected) in [
            ("a\r\nb\tc\0", r"a\r\nb\tc\0"),
            ("\u{1b}[2J", r"\u{1b}[2J"),
            ("\u{7f}\u{85}\u{9b}", r"\u{7f}\u{85}\u{9b}"),
            (
                "\u{202e}\u{2066}\u{200b}\u{feff}",
                r"\u{202e}\u{2066}\u{200b}\u{feff}",
            ),
            ("\u{2028}\u{a0}\u{3000}", r"\u{2028}\u{a0}\u{3000}"),
            ("e\u{301}\u{302}", r"e\u{301}\u{302}"),
            ("\u{e000}\u{10ffff}\u{378}", r"\u{e000}\u{10ffff}\u{378}"),
        ] {
            assert_eq!(printable(text), expected);
            assert_eq!(excerpt(text), expected);
        }
        for character in ['\n', '\t', '\0', '\u{1b}', '\u{202e}', '\u{301}', '\u{e000}'] {
            assert_eq!(printable_character(character), '\u{fffd}');
        }
    }

    #[test]
    fn bytes_that_are_not_text_are_told_apart() {
        assert_eq!(excerpt_bytes(b"a\xffb\xfe"), r"a\xffb\xfe");
        assert_eq!(excerpt_bytes("ü\u{202e}".as_bytes()), r"ü\u{202e}");
        // A sequence that is cut off: not the character that it would have been.
        assert_eq!(excerpt_bytes(b"\xc3"), r"\xc3");
        assert_eq!(excerpt_bytes(b"\xe8\xaa"), r"\xe8\xaa");
    }

    #[test]
    fn an_excerpt_is_short_whatever_it_quotes() {
        for unit in ["x", "語", "\n", "\u{202e}", "\u{10ffff}"] {
            let quoted = excerpt(&unit.repeat(1 << 16));
            let characters = quoted.chars().count();
            assert!(characters <= EXCERPT_CHARACTERS + 1, "{unit:?}: {characters}");
            let whole = quoted.strip_suffix('…').unwrap();
            // No escape is cut in half.
            assert_eq!(whole.len() % printable(unit).len(), 0, "{quoted}");
        }
        let just = "x".repeat(EXCERPT_CHARACTERS);
        assert_eq!(excerpt(&just), just);
        assert_eq!(excerpt(&format!("{just}x")), format!("{just}…"));
    }
}
