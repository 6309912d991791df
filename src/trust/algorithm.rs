//! Signing algorithms by the names of OCI KMS.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use super::scheme::{HashAlgorithm, Salt, Scheme};

/// RSA-PSS with one of four hashes, as OCI Vault names them (SDK `SignDataDetails.signingAlgorithm`): the four that
/// an image signature may use (`CreateContainerImageSignatureDetails`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the name that its text spells")]
pub enum SigningAlgorithm {
    Sha224RsaPkcsPss,
    Sha256RsaPkcsPss,
    Sha384RsaPkcsPss,
    Sha512RsaPkcsPss,
}

impl SigningAlgorithm {
    /// Every algorithm.
    pub const ALL: [Self; 4] = [
        Self::Sha224RsaPkcsPss,
        Self::Sha256RsaPkcsPss,
        Self::Sha384RsaPkcsPss,
        Self::Sha512RsaPkcsPss,
    ];

    /// The name in Oracle's API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.scheme(Salt::Any).algorithm_name()
    }

    /// The hash that the name contains.
    #[must_use]
    pub const fn hash(self) -> HashAlgorithm {
        match self {
            Self::Sha224RsaPkcsPss => HashAlgorithm::Sha224,
            Self::Sha256RsaPkcsPss => HashAlgorithm::Sha256,
            Self::Sha384RsaPkcsPss => HashAlgorithm::Sha384,
            Self::Sha512RsaPkcsPss => HashAlgorithm::Sha512,
        }
    }

    /// The scheme of this name. The name says nothing about the salt; the settings of the key do.
    #[must_use]
    pub const fn scheme(self, salt: Salt) -> Scheme {
        Scheme::RsaPss {
            hash: self.hash(),
            salt,
        }
    }

    /// The schemes of all four names, with one setting of the salt.
    #[must_use]
    pub fn every_scheme(salt: Salt) -> BTreeSet<Scheme> {
        Self::ALL
            .into_iter()
            .map(|algorithm| algorithm.scheme(salt))
            .collect()
    }
}

impl fmt::Display for SigningAlgorithm {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

/// A name of another algorithm, or of no algorithm.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_algorithm_has_one_spelling() {
        for algorithm in SigningAlgorithm::ALL {
            assert_eq!(algorithm.as_str().parse(), Ok(algorithm));
            algorithm
                .as_str()
                .to_lowercase()
                .parse::<SigningAlgorithm>()
                .unwrap_err();
        }
        for other in [
            "",
            "SHA_256_RSA_PKCS1_V1_5",
            "ECDSA_SHA_256",
            "SHA_256_RSA_PKCS_PSS ",
            "SHA_1_RSA_PKCS_PSS",
        ] {
            other.parse::<SigningAlgorithm>().unwrap_err();
        }
    }
}
