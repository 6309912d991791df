//! RSA public keys and RSASSA-PSS verification (RFC 8017, 8.1.2) on the `rsa` crate.

use std::fmt;

use rsa::BoxedUint;
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs8::{EncodePublicKey as _, LineEnding};
use rsa::traits::PublicKeyParts as _;
use sha2::digest::FixedOutputReset;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::SigningAlgorithm;
use crate::trust::spki::{self as pem, KeyError};

/// SHA-256 over the DER of the SubjectPublicKeyInfo: two names for one key have one fingerprint.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint(pub [u8; 32]);

impl fmt::Display for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "sha256:{}", hex::encode(self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Which PSS salt lengths a key's signatures may have. No source says what OCI Vault uses, so any is the default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SaltLength {
    /// Any: recovered from the encoding.
    #[default]
    Any,
    /// The length of the hash alone (what NIST and most libraries use).
    Digest,
}

/// An RSA public key of 2048 to 8192 bits. `PublicKey` is an enum from the first day: other kinds will come.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum PublicKey {
    /// RSA, with the fingerprint computed once at load.
    Rsa(RsaPublicKey),
}

/// The signature is not this key's signature over these bytes. It says no more: a reason would be an oracle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureMismatch;

impl PublicKey {
    /// Reads a PEM file: SubjectPublicKeyInfo, PKCS#1 or an X.509 certificate, and nothing after it.
    ///
    /// Of a certificate the key is taken and nothing else: its validity, issuer, extensions and signature are not
    /// looked at. When a key may be used is the configuration's word (`not_before`, `not_after`, `revoked`).
    ///
    /// # Errors
    /// As [`KeyError`] says.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        pem::read(pem).map(Self::Rsa)
    }

    /// The fingerprint of the key.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        match self {
            Self::Rsa(key) => key.fingerprint,
        }
    }

    /// Modulus size in bits.
    #[must_use]
    pub const fn bits(&self) -> usize {
        match self {
            Self::Rsa(key) => key.bits,
        }
    }

    /// The key as PEM (SubjectPublicKeyInfo): what a `[[key]] public_key` file holds. One key has one text, whatever
    /// text it was read from.
    ///
    /// # Errors
    /// [`KeyError::Spki`]: cannot happen with a key whose fingerprint was taken.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        match self {
            Self::Rsa(key) => Ok(key.inner.to_public_key_pem(LineEnding::LF)?),
        }
    }

    /// What kind of key it is, for people and `--json`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Rsa(_) => "RSA",
        }
    }

    /// Checks a raw signature over `message`.
    ///
    /// # Errors
    /// [`SignatureMismatch`], whatever is wrong with it.
    pub fn verify(
        &self,
        algorithm: SigningAlgorithm,
        salt: SaltLength,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        match self {
            Self::Rsa(key) => match algorithm {
                SigningAlgorithm::Sha224RsaPkcsPss => key.verify::<Sha224>(salt, message, signature),
                SigningAlgorithm::Sha256RsaPkcsPss => key.verify::<Sha256>(salt, message, signature),
                SigningAlgorithm::Sha384RsaPkcsPss => key.verify::<Sha384>(salt, message, signature),
                SigningAlgorithm::Sha512RsaPkcsPss => key.verify::<Sha512>(salt, message, signature),
            },
        }
    }
}

/// An RSA public key, parsed and measured.
#[derive(Clone)]
pub struct RsaPublicKey {
    inner: rsa::PublicKey,
    bits: usize,
    fingerprint: Fingerprint,
}

impl RsaPublicKey {
    /// Smallest modulus in bits. NIST SP 800-131A has disallowed less since 2014, and OCI Vault makes none.
    pub const MIN_BITS: usize = 2048;
    /// Largest modulus in bits: the cost of one verification grows with its square.
    pub const MAX_BITS: usize = 8192;
    /// Smallest public exponent (NIST SP 800-56B, 6.2). Smaller ones have made forgeries easy where a verifier's
    /// padding check was lax (CVE-2006-4339); nothing of today makes them.
    pub const MIN_EXPONENT: u64 = 65_537;
    /// Largest public exponent: a key with a long one makes each verification take long.
    pub const MAX_EXPONENT: u64 = (1 << 33) - 1;

    /// Takes what an `RSAPublicKey` (RFC 8017, A.1.1) holds, if it is within the bounds.
    pub(super) fn new(key: &RsaPublicKeyRef<'_>) -> Result<Self, KeyError> {
        let modulus = key.modulus.as_bytes();
        let bits = bit_length(modulus);
        if !(Self::MIN_BITS..=Self::MAX_BITS).contains(&bits) {
            return Err(KeyError::Bits {
                bits,
                min: Self::MIN_BITS,
                max: Self::MAX_BITS,
            });
        }
        if modulus.last().is_none_or(|byte| byte % 2 == 0) {
            return Err(KeyError::EvenModulus);
        }
        let exponent = key.public_exponent.as_bytes();
        if bit_length(exponent) > 33 {
            return Err(KeyError::LargeExponent {
                max: Self::MAX_EXPONENT,
            });
        }
        let exponent = exponent
            .iter()
            .fold(0_u64, |value, byte| (value << 8) | u64::from(*byte));
        if exponent < Self::MIN_EXPONENT {
            return Err(KeyError::SmallExponent {
                exponent,
                min: Self::MIN_EXPONENT,
            });
        }
        if exponent % 2 == 0 {
            return Err(KeyError::EvenExponent { exponent });
        }
        let n = BoxedUint::from_be_slice_vartime(modulus);
        let inner =
            rsa::PublicKey::new_with_size_limits(n, exponent.into(), Self::MIN_BITS..=Self::MAX_BITS)?;
        let der = inner.to_public_key_der()?;
        Ok(Self {
            inner,
            bits,
            fingerprint: Fingerprint(Sha256::digest(der.as_bytes()).into()),
        })
    }

    fn verify<D: Digest + FixedOutputReset>(
        &self,
        salt: SaltLength,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        // RFC 8017, 8.1.2, step 1. A signature with zero bytes before or after it would be a second spelling of one
        // signature, and one that is longer would cost more to read as a number.
        if signature.len() != self.inner.size() {
            return Err(SignatureMismatch);
        }
        let salt_len = match salt {
            SaltLength::Any => None,
            SaltLength::Digest => Some(<D as Digest>::output_size()),
        };
        // `blinded` concerns the private operation alone.
        let scheme = rsa::Pss {
            blinded: false,
            digest: D::new(),
            salt_len,
        };
        // Every failure is the same failure to the outside: which step failed would help who probes.
        self.inner
            .verify(scheme, &D::digest(message), signature)
            .or(Err(SignatureMismatch))
    }
}

impl fmt::Debug for RsaPublicKey {
    /// The size and the fingerprint: they name the key, and a log line of eight thousand bits names nothing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "RsaPublicKey({} bits, {})",
            self.bits, self.fingerprint
        )
    }
}

/// Bits of a big-endian number.
fn bit_length(bytes: &[u8]) -> usize {
    let mut significant = bytes.iter().skip_while(|byte| **byte == 0);
    match significant.next() {
        None => 0,
        Some(first) => {
            let first_bits = (0..8).take_while(|shift| first >> shift != 0).count();
            first_bits + 8 * significant.count()
        }
    }
}

#[cfg(test)]
mod tests;
