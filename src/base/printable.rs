//! What an error may quote of a text from outside.

/// The first characters of a text, with everything that a terminal or a log line would act on escaped. A registry or a
/// client chose the text: it may be megabytes long, or hold line breaks that forge a line of the journal.
pub(crate) fn excerpt(unverified_text: &str) -> String {
    let mut characters = unverified_text.chars();
    let mut quoted = String::new();
    for character in characters.by_ref().take(CHARACTERS) {
        if character == '"' || character == '\'' || character == '\\' {
            quoted.push(character);
        } else {
            quoted.extend(character.escape_debug());
        }
    }
    if characters.next().is_some() {
        quoted.push('…');
    }
    quoted
}

/// Longer than any host, tag or digest that is one.
const CHARACTERS: usize = 192;

#[cfg(test)]
mod tests {
    use super::{CHARACTERS, excerpt};

    #[test]
    fn quotes_plain_text_as_it_is_and_escapes_the_rest() {
        assert_eq!(excerpt("docker.io/library/nginx"), "docker.io/library/nginx");
        assert_eq!(excerpt("a\n\u{1b}[31m\0\u{202e}"), "a\\n\\u{1b}[31m\\0\\u{202e}");
    }

    #[test]
    fn quotes_no_more_than_the_beginning() {
        let quoted = excerpt(&"x".repeat(1 << 20));
        assert_eq!(quoted.chars().count(), CHARACTERS + 1);
        assert!(quoted.ends_with('…'));
        assert_eq!(excerpt(&"x".repeat(CHARACTERS)), "x".repeat(CHARACTERS));
    }
}
