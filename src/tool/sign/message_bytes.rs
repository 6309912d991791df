//! The encoding of a message as Oracle's client writes it: Python's `json.dumps(message, separators=(',', ':'))`
//! (oci-cli 3.95.1, `artifacts_cli_extended.py`, lines 617-628). Verifiers accept any JSON encoding; with the same encoding
//! the messages of both tools can be compared byte by byte.

use crate::signature::oracle::OracleMessage;

/// Encodes the eight fields in alphabetical order, without white space, and with all non-ASCII characters escaped.
pub(super) fn encode(message: &OracleMessage) -> String {
    let digest = message.image_digest.to_string();
    let fields = [
        ("description", message.description.as_str()),
        ("imageDigest", &digest),
        ("kmsKeyId", &message.kms_key_id),
        ("kmsKeyVersionId", &message.kms_key_version_id),
        ("metadata", &message.metadata),
        ("region", &message.region),
        ("repositoryName", &message.repository_name),
        ("signingAlgorithm", message.signing_algorithm.as_str()),
    ];
    let members: Vec<String> = fields
        .iter()
        .map(|(key, text)| format!("{}:{}", quoted(key), quoted(text)))
        .collect();
    format!("{{{}}}", members.join(","))
}

/// Quotes a string as Python's encoder does with `ensure_ascii`: `\uXXXX` in lower case, astral characters as a surrogate
/// pair, DEL and `/` unescaped.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\u{8}' => quoted.push_str("\\b"),
            '\u{c}' => quoted.push_str("\\f"),
            ' '..='\u{7f}' => quoted.push(character),
            _ => {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    quoted.push_str(&format!("\\u{unit:04x}"));
                }
            }
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::quoted;

    #[test]
    fn strings_are_escaped_as_in_python() {
        assert_eq!(quoted("a\"\\/<&>\u{7f}"), "\"a\\\"\\\\/<&>\u{7f}\"");
        assert_eq!(
            quoted("\n\r\t\u{8}\u{c}\u{0}\u{1f}"),
            r#""\n\r\t\b\f\u0000\u001f""#
        );
        assert_eq!(quoted("é€😀\u{2028}"), r#""\u00e9\u20ac\ud83d\ude00\u2028""#);
    }

    proptest! {
        #[test]
        fn any_string_is_encoded_in_ascii_and_decodes_to_itself(text in any::<String>()) {
            let encoded = quoted(&text);
            prop_assert!(encoded.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&encoded).unwrap(), text);
        }
    }
}
