//! RSA public keys: RSASSA-PSS on the `rsa` crate, because it alone recovers a salt of any length (RFC 8017, 8.1.2), and
//! RSASSA-PKCS1-v1_5 on aws-lc-rs, which is several times faster.

use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512, RsaParameters,
    UnparsedPublicKey,
};
use rsa::BoxedUint;
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs8::der::{self, Decode as _};
use rsa::pkcs8::spki::SubjectPublicKeyInfoOwned;
use rsa::traits::PublicKeyParts as _;
use sha2::digest::FixedOutputReset;
use sha2::{Digest, Sha224, Sha256, Sha384, Sha512};

use super::{SignatureMismatch, key_bytes, malformed};
use crate::trust::key_error::KeyError;
use crate::trust::scheme::{HashAlgorithm, Salt};

/// An RSA public key, parsed and measured.
#[derive(Clone, Debug)]
pub(super) struct RsaKey {
    inner: rsa::PublicKey,
    bits: usize,
}

impl RsaKey {
    /// Smallest modulus in bits. NIST SP 800-131A has disallowed less since 2014, and OCI Vault makes none.
    const MIN_BITS: usize = 2048;
    /// Largest modulus in bits: the cost of one verification grows with its square.
    const MAX_BITS: usize = 8192;
    /// Smallest public exponent (NIST SP 800-56B, 6.2). Smaller ones have made forgeries easy where a verifier's
    /// padding check was lax (CVE-2006-4339), and current tools do not make them.
    const MIN_EXPONENT: u64 = 65_537;
    /// Largest public exponent: a key with a long one makes each verification take long.
    const MAX_EXPONENT: u64 = (1 << 33) - 1;

    pub(super) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        // RFC 3279, 2.3.1: the parameters MUST be NULL.
        if !spki.algorithm.parameters.as_ref().is_some_and(der::Any::is_null) {
            return Err(malformed(der::Tag::Null.value_error()));
        }
        let key = RsaPublicKeyRef::from_der(key_bytes(spki)?).map_err(|source| KeyError::Der {
            what: "RSAPublicKey",
            source,
        })?;
        Self::from_pkcs1(&key)
    }

    /// Takes the numbers of an `RSAPublicKey` (RFC 8017, A.1.1), if they are within the bounds.
    fn from_pkcs1(key: &RsaPublicKeyRef<'_>) -> Result<Self, KeyError> {
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
        Ok(Self { inner, bits })
    }

    pub(super) const fn bits(&self) -> usize {
        self.bits
    }

    /// Whether aws-lc-rs verifies RSASSA-PKCS1-v1_5 with this hash. It does not with SHA-224, which no format here uses.
    pub(super) const fn accepts_pkcs1(hash: HashAlgorithm) -> bool {
        pkcs1_parameters(hash).is_some()
    }

    pub(super) fn verify_pss(
        &self,
        hash: HashAlgorithm,
        salt: Salt,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        match hash {
            HashAlgorithm::Sha224 => self.verify_pss_with::<Sha224>(salt, message, signature),
            HashAlgorithm::Sha256 => self.verify_pss_with::<Sha256>(salt, message, signature),
            HashAlgorithm::Sha384 => self.verify_pss_with::<Sha384>(salt, message, signature),
            HashAlgorithm::Sha512 => self.verify_pss_with::<Sha512>(salt, message, signature),
        }
    }

    fn verify_pss_with<D: Digest + FixedOutputReset>(
        &self,
        salt: Salt,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        // RFC 8017, 8.1.2, step 1. A signature with zero bytes before or after it would be a second spelling of one
        // signature, and a longer one would cost more to read as a number.
        if signature.len() != self.inner.size() {
            return Err(SignatureMismatch);
        }
        let salt_len = match salt {
            Salt::Any => None,
            Salt::Digest => Some(<D as Digest>::output_size()),
        };
        // `blinded` concerns the private operation alone.
        let scheme = rsa::Pss {
            blinded: false,
            digest: D::new(),
            salt_len,
        };
        // Every failure looks the same from outside: the step that failed would help an attacker that probes.
        self.inner
            .verify(scheme, &D::digest(message), signature)
            .or(Err(SignatureMismatch))
    }
}

/// Checks an RSASSA-PKCS1-v1_5 signature under the RSA key of this SubjectPublicKeyInfo.
pub(super) fn verify_pkcs1(
    spki: &[u8],
    hash: HashAlgorithm,
    message: &[u8],
    signature: &[u8],
) -> Result<(), SignatureMismatch> {
    let parameters = pkcs1_parameters(hash).ok_or(SignatureMismatch)?;
    UnparsedPublicKey::new(parameters, spki)
        .verify(message, signature)
        .or(Err(SignatureMismatch))
}

const fn pkcs1_parameters(hash: HashAlgorithm) -> Option<&'static RsaParameters> {
    match hash {
        HashAlgorithm::Sha224 => None,
        HashAlgorithm::Sha256 => Some(&RSA_PKCS1_2048_8192_SHA256),
        HashAlgorithm::Sha384 => Some(&RSA_PKCS1_2048_8192_SHA384),
        HashAlgorithm::Sha512 => Some(&RSA_PKCS1_2048_8192_SHA512),
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
