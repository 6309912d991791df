//! An error in one line: its message and those of its causes.

use std::error::Error;

/// Returns the messages of an error and of its causes, joined by `: `. A message that the text already ends with is left
/// out: some libraries repeat their cause in their own message.
#[must_use]
pub fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let message = cause.to_string();
        if !text.ends_with(&message) {
            text.push_str(": ");
            text.push_str(&message);
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::chain;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct Link {
        message: &'static str,
        #[source]
        source: Option<Box<Self>>,
    }

    #[test]
    fn each_message_is_said_once() {
        let mut error = None;
        for message in ["refused", "could not connect: refused", "could not ask"] {
            let source = error.map(Box::new);
            error = Some(Link { message, source });
        }
        assert_eq!(
            chain(&error.unwrap()),
            "could not ask: could not connect: refused"
        );
    }
}
