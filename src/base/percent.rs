//! The one percent encoder and decoder (RFC 3986, 2.1) of paths, query values and status messages.
//!
//! Forms (`application/x-www-form-urlencoded`, with `+` for a space) are another format: `url::form_urlencoded` reads and
//! writes those that the distribution specification and OAuth 2.0 name.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Encodes everything but the unreserved characters of RFC 3986, 2.3. The result can stand in any part of a URL, and in a
/// header.
pub(crate) fn encode(text: &str) -> String {
    utf8_percent_encode(text, RESERVED).to_string()
}

/// Encodes a gRPC status message: everything but visible ASCII and spaces, and `%` itself (`PROTOCOL-HTTP2.md`,
/// "Responses").
pub(crate) fn encode_grpc_message(text: &str) -> String {
    utf8_percent_encode(text, NOT_IN_GRPC_MESSAGES).to_string()
}

/// Decodes once. Returns `None` unless the result is visible ASCII without `%`: a second decoder further on then finds
/// nothing to decode. A `%` that begins no escape is refused by the same check.
pub(crate) fn decode(untrusted_text: &str) -> Option<Cow<'_, str>> {
    let decoded = percent_decode_str(untrusted_text).decode_utf8().ok()?;
    let is_plain = decoded
        .bytes()
        .all(|byte| byte.is_ascii_graphic() && byte != b'%');
    is_plain.then_some(decoded)
}

const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// Bytes above ASCII are always encoded.
const NOT_IN_GRPC_MESSAGES: &AsciiSet = &CONTROLS.add(b'%');

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use proptest::prelude::*;

    use super::{decode, encode, encode_grpc_message};

    #[test]
    fn only_unreserved_characters_stay() {
        assert_eq!(encode("azAZ09-._~"), "azAZ09-._~");
        assert_eq!(
            encode("a/b:c d+e%f=g&h?i#é\n\u{7f}"),
            "a%2Fb%3Ac%20d%2Be%25f%3Dg%26h%3Fi%23%C3%A9%0A%7F"
        );
    }

    #[test]
    fn a_grpc_message_is_visible_ascii() {
        assert_eq!(
            encode_grpc_message("a b~%\n\u{7f}\u{e9}…"),
            "a b~%25%0A%7F%C3%A9%E2%80%A6"
        );
    }

    #[test]
    fn text_is_decoded_once_or_refused() {
        for (text, expected) in [
            ("", Some("")),
            ("a+b", Some("a+b")),
            ("sha256%3a00%3A", Some("sha256:00:")),
            ("a%2Fb", Some("a/b")),
            // Would decode again.
            ("a%252Fb", None),
            ("%25", None),
            // Begins no escape.
            ("%", None),
            ("a%2", None),
            ("a%zz", None),
            ("a%+1", None),
            // Not visible, or not ASCII.
            ("a b", None),
            ("a%20", None),
            ("a%0d%0a", None),
            ("a%00", None),
            ("%7f", None),
            ("é", None),
            ("%C3%A9", None),
            ("%ff%fe", None),
        ] {
            assert_eq!(decode(text).as_deref(), expected, "{text}");
        }
        assert!(matches!(decode("plain"), Some(Cow::Borrowed(_))));
    }

    proptest! {
        #[test]
        fn visible_text_is_decoded_as_it_was_encoded(text in "[!-$&-~]{0,40}") {
            let encoded = encode(&text);
            prop_assert_eq!(decode(&encoded), Some(Cow::Borrowed(text.as_str())));
        }
    }
}
