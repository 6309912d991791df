//! The bytes of a message, as Oracle's client writes them: Python's `json.dumps(message, separators=(',', ':'))`
//! (oci-cli 3.95.1, `artifacts_cli_extended.py`, lines 617-628). Whoever verifies takes any spelling; who compares the
//! two tools' messages by eye or in a script wants the same one.

use crate::signature::oracle::OracleMessage;

/// Eight fields in alphabetical order, no white space, everything but ASCII escaped.
pub(super) fn spell(message: &OracleMessage) -> String {
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

/// A string as Python's encoder writes it with `ensure_ascii`: `\uXXXX` in lower case, astral characters as a surrogate
/// pair, DEL and `/` as they are.
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
    fn strings_are_escaped_as_python_does() {
        assert_eq!(quoted("a\"\\/<&>\u{7f}"), "\"a\\\"\\\\/<&>\u{7f}\"");
        assert_eq!(
            quoted("\n\r\t\u{8}\u{c}\u{0}\u{1f}"),
            r#""\n\r\t\b\f\u0000\u001f""#
        );
        assert_eq!(quoted("é€😀\u{2028}"), r#""\u00e9\u20ac\ud83d\ude00\u2028""#);
    }

    proptest! {
        #[test]
        fn any_text_is_read_back_and_is_ascii(text in any::<String>()) {
            let spelled = quoted(&text);
            prop_assert!(spelled.is_ascii());
            prop_assert_eq!(serde_json::from_str::<String>(&spelled).unwrap(), text);
        }
    }
}
