//! Signing algorithms by the names that Oracle's API gives them.

use std::fmt;
use std::str::FromStr;

/// RSA-PSS with one of four hashes, as OCI Vault names them (SDK `SignDataDetails.signingAlgorithm`); the four that
/// image signatures may use (`CreateContainerImageSignatureDetails`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the name that its text spells")]
pub enum SigningAlgorithm {
    Sha224RsaPkcsPss,
    Sha256RsaPkcsPss,
    Sha384RsaPkcsPss,
    Sha512RsaPkcsPss,
}

impl SigningAlgorithm {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::Sha224RsaPkcsPss,
        Self::Sha256RsaPkcsPss,
        Self::Sha384RsaPkcsPss,
        Self::Sha512RsaPkcsPss,
    ];

    /// As the API spells it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha224RsaPkcsPss => "SHA_224_RSA_PKCS_PSS",
            Self::Sha256RsaPkcsPss => "SHA_256_RSA_PKCS_PSS",
            Self::Sha384RsaPkcsPss => "SHA_384_RSA_PKCS_PSS",
            Self::Sha512RsaPkcsPss => "SHA_512_RSA_PKCS_PSS",
        }
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A name that is none of the four.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not one of SHA_224_RSA_PKCS_PSS, SHA_256_RSA_PKCS_PSS, SHA_384_RSA_PKCS_PSS, SHA_512_RSA_PKCS_PSS"
)]
pub struct UnknownAlgorithm(pub String);

impl FromStr for SigningAlgorithm {
    type Err = UnknownAlgorithm;

    fn from_str(text: &str) -> Result<Self, UnknownAlgorithm> {
        Self::ALL
            .into_iter()
            .find(|each| each.as_str() == text)
            .ok_or_else(|| UnknownAlgorithm(text.to_owned()))
    }
}
