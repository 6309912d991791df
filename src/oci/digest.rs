//! Digests, and bytes that have been hashed.
//!
//! Our own type: its two variants hold exactly as many bytes as their algorithm has, so that no text from outside (`../`)
//! can become part of a path or a URL, and two spellings of one digest are one value.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use sha2::{Digest as _, Sha256, Sha512};

/// A content digest: one of the two registered algorithms, and exactly as many bytes as it has
/// (image-spec 1.1, descriptor.md, "Registered algorithms").
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Digest {
    /// `sha256:` and 64 lower-case hexadecimal digits.
    Sha256([u8; 32]),
    /// `sha512:` and 128 lower-case hexadecimal digits.
    Sha512([u8; 64]),
}

impl Digest {
    /// Returns the SHA-256 digest of the bytes: the name that registries give to content that was requested by tag.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        Self::Sha256(Sha256::digest(bytes).into())
    }

    /// Returns the digests of the bytes under every algorithm: all names that the content has.
    #[must_use]
    pub fn all_of(bytes: &[u8]) -> [Self; 2] {
        [Self::sha256(bytes), Self::Sha512(Sha512::digest(bytes).into())]
    }

    /// Returns the digest of the bytes under the algorithm of `self`.
    fn same_algorithm(&self, bytes: &[u8]) -> Self {
        match self {
            Self::Sha256(_) => Self::sha256(bytes),
            Self::Sha512(_) => Self::Sha512(Sha512::digest(bytes).into()),
        }
    }

    /// Returns the algorithm's registered name.
    #[must_use]
    pub const fn algorithm(&self) -> &'static str {
        match self {
            Self::Sha256(_) => "sha256",
            Self::Sha512(_) => "sha512",
        }
    }

    /// Returns the encoded part: lower-case hexadecimal digits.
    #[must_use]
    pub fn encoded(&self) -> String {
        hex::encode(self.as_bytes())
    }

    /// Returns the raw hash.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Sha256(bytes) => bytes,
            Self::Sha512(bytes) => bytes,
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // In one piece: written piece by piece, the text would grow and be moved three times on each request.
        formatter.write_str(&[self.algorithm(), ":", &self.encoded()].concat())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Why a text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DigestError {
    /// The text begins with neither `sha256:` nor `sha512:`.
    #[error("a digest begins with `sha256:` or `sha512:`")]
    Algorithm,
    /// The encoded part has another length, upper-case letters, or other characters. This check stops `../`
    /// before a digest becomes part of a URL or path (CVE-2024-3727).
    #[error("after `{algorithm}:` a digest has exactly {digits} lower-case hexadecimal digits")]
    Encoded {
        /// The algorithm that the text names.
        algorithm: &'static str,
        /// The number of digits that the algorithm has.
        digits: usize,
    },
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        if let Some(encoded) = text.strip_prefix("sha256:") {
            decode(encoded).map(Self::Sha256).ok_or(DigestError::Encoded {
                algorithm: "sha256",
                digits: 64,
            })
        } else if let Some(encoded) = text.strip_prefix("sha512:") {
            decode(encoded).map(Self::Sha512).ok_or(DigestError::Encoded {
                algorithm: "sha512",
                digits: 128,
            })
        } else {
            Err(DigestError::Algorithm)
        }
    }
}

impl serde::Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Decodes lower-case digits only: two spellings of one digest would be two keys in every cache and rule.
fn decode<const N: usize>(encoded: &str) -> Option<[u8; N]> {
    if encoded.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return None;
    }
    let mut bytes = [0; N];
    hex::decode_to_slice(encoded, &mut bytes).ok()?;
    Some(bytes)
}

/// Bytes together with their digest, which was computed from them. A blob cannot be made otherwise.
///
/// A caller can pass a blob on, but cannot construct one: its fields are private.
///
/// ```
/// use pullgate::oci::Blob;
/// fn pass_on(blob: Blob) -> Blob {
///     blob
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::oci::Blob;
/// fn forge(blob: Blob) -> Blob {
///     Blob { ..blob }
/// }
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Blob {
    digest: Digest,
    bytes: Bytes,
}

impl Blob {
    /// Hashes content that was requested by tag, or that we made. Its SHA-256 digest becomes its name.
    #[must_use]
    pub fn from_bytes(bytes: Bytes) -> Self {
        Self {
            digest: Digest::sha256(&bytes),
            bytes,
        }
    }

    /// Hashes content that was requested by digest, and refuses other content.
    ///
    /// # Errors
    /// [`DigestMismatch`] when the bytes have another digest.
    pub fn check(expected: &Digest, bytes: Bytes) -> Result<Self, DigestMismatch> {
        let actual = expected.same_algorithm(&bytes);
        if actual == *expected {
            Ok(Self {
                digest: actual,
                bytes,
            })
        } else {
            Err(DigestMismatch {
                expected: *expected,
                actual,
            })
        }
    }

    /// Returns the digest of the bytes.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        &self.digest
    }

    /// Returns the bytes.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Blob({}, {} bytes)", self.digest, self.bytes.len())
    }
}

/// Bytes that were requested by one digest have another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the digest `{expected}` was requested, but the bytes have `{actual}`")]
pub struct DigestMismatch {
    /// The digest that was requested.
    pub expected: Digest,
    /// The digest of the bytes that came.
    pub actual: Digest,
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{Blob, Digest, DigestError};

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn prints_what_it_parsed() {
        assert_eq!(EMPTY.parse::<Digest>().unwrap().to_string(), EMPTY);
        let sha512 = format!("sha512:{}", "0f".repeat(64));
        assert_eq!(sha512.parse::<Digest>().unwrap().to_string(), sha512);
    }

    #[test]
    fn refuses_every_other_spelling() {
        let upper = EMPTY.to_uppercase().replace("SHA256", "sha256");
        let long = format!("{EMPTY}0");
        for hostile in [
            &upper,
            &long,
            &EMPTY[..70],
            "sha256:",
            "sha256:../../../../etc/passwd",
            &format!("sha256:{}", "..".repeat(32)),
            &format!("sha512:{}", "a".repeat(64)),
            &format!("sha256:{}\n", &EMPTY[7..]),
        ] {
            assert!(
                matches!(hostile.parse::<Digest>(), Err(DigestError::Encoded { .. })),
                "{hostile}"
            );
        }
        for hostile in [
            "",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "e3b0",
            " sha256:00",
            "SHA256:00",
        ] {
            assert_eq!(
                hostile.parse::<Digest>(),
                Err(DigestError::Algorithm),
                "{hostile}"
            );
        }
    }

    #[test]
    fn bytes_with_another_digest_do_not_become_a_blob() {
        let empty: Digest = EMPTY.parse().unwrap();
        assert_eq!(
            Blob::check(&empty, Bytes::new()).unwrap(),
            Blob::from_bytes(Bytes::new())
        );
        let mismatch = Blob::check(&empty, Bytes::from_static(b"x")).unwrap_err();
        assert_eq!(
            (mismatch.expected, mismatch.actual),
            (empty, Digest::sha256(b"x"))
        );
        let sha512 = Digest::Sha512([0; 64]);
        assert_eq!(
            Blob::check(&sha512, Bytes::new()).unwrap_err().actual.algorithm(),
            "sha512"
        );
    }
}
