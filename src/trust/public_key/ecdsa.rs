//! ECDSA public keys on the curves of NIST, verified by aws-lc-rs.
//!
//! A signature is the DER of `ECDSA-Sig-Value` (RFC 3279, 2.2.3) and nothing else: aws-lc-rs parses it strictly, and the
//! plain concatenation of both numbers (IEEE P1363) is refused. Both `s` and `n - s` verify, so one signature has a
//! twin; a threshold counts signers, so the twin adds nothing.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, EcdsaVerificationAlgorithm, ParsedPublicKey,
};
use rsa::pkcs8::ObjectIdentifier;
use rsa::pkcs8::spki::SubjectPublicKeyInfoOwned;

use super::{SignatureMismatch, key_bytes};
use crate::trust::key_error::KeyError;
use crate::trust::scheme::{Curve, HashAlgorithm};

/// An ECDSA public key, checked to be a point of its curve.
#[derive(Clone)]
pub(super) struct EcdsaKey {
    curve: Curve,
    /// One for each hash that the curve is used with: aws-lc-rs ties the hash to the parsed key.
    verifiers: Vec<(HashAlgorithm, ParsedPublicKey)>,
}

impl EcdsaKey {
    pub(super) fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let curve = named_curve(spki)?;
        let point = key_bytes(spki)?;
        // SEC 1, 2.3.3: 4 begins an uncompressed point, 2 and 3 begin a compressed one.
        match point.first() {
            Some(4) if point.len() == 1 + 2 * curve.bits().div_ceil(8) => {}
            Some(2 | 3) => return Err(KeyError::CompressedPoint),
            Some(_) | None => return Err(not_on(curve)),
        }
        let verifiers = HashAlgorithm::ALL
            .into_iter()
            .filter_map(|hash| algorithm(curve, hash).map(|algorithm| (hash, algorithm)))
            .map(|(hash, algorithm)| match ParsedPublicKey::new(algorithm, point) {
                Ok(key) => Ok((hash, key)),
                // The length is right, so the point itself is wrong: aws-lc-rs checks that it is on the curve.
                Err(_rejected) => Err(not_on(curve)),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { curve, verifiers })
    }

    pub(super) const fn curve(&self) -> Curve {
        self.curve
    }

    pub(super) const fn accepts(&self, hash: HashAlgorithm) -> bool {
        algorithm(self.curve, hash).is_some()
    }

    pub(super) fn verify(
        &self,
        hash: HashAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        let verifier = self.verifiers.iter().find(|(own, _)| *own == hash);
        let (_, verifier) = verifier.ok_or(SignatureMismatch)?;
        verifier.verify_sig(message, signature).or(Err(SignatureMismatch))
    }
}

/// The hash of the curve's own strength, and SHA-256, with which cosign signs on every curve up to its version 2.5.
const fn algorithm(curve: Curve, hash: HashAlgorithm) -> Option<&'static EcdsaVerificationAlgorithm> {
    match (curve, hash) {
        (Curve::P256, HashAlgorithm::Sha256) => Some(&ECDSA_P256_SHA256_ASN1),
        (Curve::P384, HashAlgorithm::Sha256) => Some(&ECDSA_P384_SHA256_ASN1),
        (Curve::P384, HashAlgorithm::Sha384) => Some(&ECDSA_P384_SHA384_ASN1),
        (Curve::P521, HashAlgorithm::Sha256) => Some(&ECDSA_P521_SHA256_ASN1),
        (Curve::P521, HashAlgorithm::Sha512) => Some(&ECDSA_P521_SHA512_ASN1),
        (Curve::P256, HashAlgorithm::Sha224 | HashAlgorithm::Sha384 | HashAlgorithm::Sha512)
        | (Curve::P384, HashAlgorithm::Sha224 | HashAlgorithm::Sha512)
        | (Curve::P521, HashAlgorithm::Sha224 | HashAlgorithm::Sha384) => None,
    }
}

/// The curve that the key names. RFC 5480, 2.1.1: the name is the one form that is allowed.
fn named_curve(spki: &SubjectPublicKeyInfoOwned) -> Result<Curve, KeyError> {
    let parameters = spki.algorithm.parameters.as_ref();
    let name = parameters
        .and_then(|parameters| parameters.decode_as::<ObjectIdentifier>().ok())
        .ok_or(KeyError::CurveParameters)?;
    match name {
        SECP256R1 => Ok(Curve::P256),
        SECP384R1 => Ok(Curve::P384),
        SECP521R1 => Ok(Curve::P521),
        SECP224R1 => Err(KeyError::P224),
        SECP256K1 => Err(KeyError::Secp256k1),
        other => Err(KeyError::UnknownCurve {
            curve: other.to_string(),
        }),
    }
}

const fn not_on(curve: Curve) -> KeyError {
    KeyError::NotOnCurve {
        curve: match curve {
            Curve::P256 => "P-256",
            Curve::P384 => "P-384",
            Curve::P521 => "P-521",
        },
    }
}

// RFC 5480, 2.1.1.1; secp256k1: SEC 2, A.2.1.
const SECP224R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.33");
const SECP256K1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.10");
const SECP256R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const SECP384R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const SECP521R1: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");

#[cfg(test)]
mod tests;
