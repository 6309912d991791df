//! The fingerprint by which Oracle identifies an API key.

use std::fmt;
use std::str::FromStr;

use md5::{Digest as _, Md5};

/// The MD5 of the DER SubjectPublicKeyInfo (Oracle's documentation, "Required Keys and OCIDs"). It names a key and
/// proves nothing: Oracle looks the key up by it, and two keys with one fingerprint harm only the user that made them.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct KeyFingerprint([u8; 16]);

/// The text is not a fingerprint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a fingerprint is sixteen pairs of lower-case hex digits, separated by colons")]
pub struct KeyFingerprintError;

/// The key is not the configured one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key's fingerprint is {actual}, but {configured} is configured: \
     configure the key file that belongs to it, or the fingerprint of this key"
)]
pub struct FingerprintMismatch {
    /// The configured fingerprint.
    pub configured: KeyFingerprint,
    /// The key's fingerprint.
    pub actual: KeyFingerprint,
}

impl KeyFingerprint {
    pub(super) fn from_public_der(public_der: &[u8]) -> Self {
        Self(Md5::digest(public_der).into())
    }
}

impl FromStr for KeyFingerprint {
    type Err = KeyFingerprintError;

    /// Follows the SDK's `config.PATTERNS`: lower case only.
    fn from_str(text: &str) -> Result<Self, KeyFingerprintError> {
        let mut bytes = [0; 16];
        let mut pairs = text.split(':');
        for byte in &mut bytes {
            let pair = pairs.next().ok_or(KeyFingerprintError)?;
            let is_pair = pair.len() == 2
                && pair
                    .bytes()
                    .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
            *byte = match u8::from_str_radix(pair, 16) {
                Ok(value) if is_pair => value,
                Ok(_) | Err(_) => return Err(KeyFingerprintError),
            };
        }
        match pairs.next() {
            None => Ok(Self(bytes)),
            Some(_) => Err(KeyFingerprintError),
        }
    }
}

impl fmt::Display for KeyFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self.0.iter().map(|byte| format!("{byte:02x}")).collect();
        formatter.write_str(&pairs.join(":"))
    }
}

impl fmt::Debug for KeyFingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fingerprint_has_one_spelling() {
        let text = "3b:41:99:fb:f2:9e:d9:d6:50:eb:17:83:bb:da:8a:a2";
        let fingerprint: KeyFingerprint = text.parse().unwrap();
        assert_eq!(
            (fingerprint.to_string(), format!("{fingerprint:?}")),
            (text.to_owned(), text.to_owned())
        );
        for other in [
            "",
            "3b",
            &text[..44],
            &text[..46],
            &format!("{text}:00"),
            &format!("{text}:"),
            &format!(" {text}"),
            &text.to_uppercase(),
            &text.replace(':', ""),
            &text.replace(':', "-"),
            &text.replacen("3b", "+b", 1),
            &text.replacen("3b", "03b", 1),
        ] {
            assert_eq!(
                other.parse::<KeyFingerprint>(),
                Err(KeyFingerprintError),
                "{other}"
            );
        }
    }
}
