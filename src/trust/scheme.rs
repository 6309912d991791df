//! Signature schemes. The configuration chooses the schemes of a key; a record never does.

use std::fmt;

/// A hash function of the SHA-2 family (FIPS 180-4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the name of its function")]
pub enum HashAlgorithm {
    Sha224,
    Sha256,
    Sha384,
    Sha512,
}

impl HashAlgorithm {
    /// Every hash function.
    pub const ALL: [Self; 4] = [Self::Sha224, Self::Sha256, Self::Sha384, Self::Sha512];
}

/// The salt lengths that an RSA-PSS signature may have. No source says which one OCI Vault uses, so any length is the
/// default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Salt {
    /// Any length: the verification recovers it from the encoded message.
    #[default]
    Any,
    /// The length of the hash alone, as NIST requires and most libraries use.
    Digest,
}

impl Salt {
    /// Both settings.
    pub const ALL: [Self; 2] = [Self::Any, Self::Digest];

    /// The word that the configuration uses.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Any => "any",
            Self::Digest => "digest",
        }
    }
}

/// An elliptic curve of NIST (SP 800-186).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "each variant is the name of its curve")]
pub enum Curve {
    P256,
    P384,
    P521,
}

impl Curve {
    /// Every curve.
    pub const ALL: [Self; 3] = [Self::P256, Self::P384, Self::P521];

    /// Size of the curve's field in bits.
    #[must_use]
    pub const fn bits(self) -> usize {
        match self {
            Self::P256 => 256,
            Self::P384 => 384,
            Self::P521 => 521,
        }
    }
}

impl fmt::Display for Curve {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "P-{}", self.bits())
    }
}

/// The method by which a signature is made. The curve belongs to the key alone, so that key and scheme cannot disagree
/// about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// RSASSA-PSS (RFC 8017, 8.1), with MGF1 over the same hash.
    RsaPss {
        /// The hash of the message and of the mask.
        hash: HashAlgorithm,
        /// The salt lengths that are accepted.
        salt: Salt,
    },
    /// RSASSA-PKCS1-v1_5 (RFC 8017, 8.2).
    RsaPkcs1(HashAlgorithm),
    /// ECDSA (FIPS 186-5), the signature encoded as the DER of `ECDSA-Sig-Value` (RFC 3279, 2.2.3).
    Ecdsa(HashAlgorithm),
    /// Ed25519 (RFC 8032), without prehashing.
    Ed25519,
}

impl Scheme {
    /// The name of the algorithm in OCI KMS, and `ED25519`, which it does not have. The name says nothing about a salt.
    #[must_use]
    pub const fn algorithm_name(self) -> &'static str {
        match self {
            Self::RsaPss { hash, .. } => match hash {
                HashAlgorithm::Sha224 => "SHA_224_RSA_PKCS_PSS",
                HashAlgorithm::Sha256 => "SHA_256_RSA_PKCS_PSS",
                HashAlgorithm::Sha384 => "SHA_384_RSA_PKCS_PSS",
                HashAlgorithm::Sha512 => "SHA_512_RSA_PKCS_PSS",
            },
            Self::RsaPkcs1(hash) => match hash {
                HashAlgorithm::Sha224 => "SHA_224_RSA_PKCS1_V1_5",
                HashAlgorithm::Sha256 => "SHA_256_RSA_PKCS1_V1_5",
                HashAlgorithm::Sha384 => "SHA_384_RSA_PKCS1_V1_5",
                HashAlgorithm::Sha512 => "SHA_512_RSA_PKCS1_V1_5",
            },
            Self::Ecdsa(hash) => match hash {
                HashAlgorithm::Sha224 => "ECDSA_SHA_224",
                HashAlgorithm::Sha256 => "ECDSA_SHA_256",
                HashAlgorithm::Sha384 => "ECDSA_SHA_384",
                HashAlgorithm::Sha512 => "ECDSA_SHA_512",
            },
            Self::Ed25519 => "ED25519",
        }
    }

    /// The salt lengths that are accepted. Only RSA-PSS has a salt.
    #[must_use]
    pub const fn salt(self) -> Option<Salt> {
        match self {
            Self::RsaPss { salt, .. } => Some(salt),
            Self::RsaPkcs1(_) | Self::Ecdsa(_) | Self::Ed25519 => None,
        }
    }
}
