//! Public keys, read by the algorithm identifier of their SubjectPublicKeyInfo.

mod ecdsa;
mod ed25519;
mod rsa;

use std::fmt;

use ::rsa::pkcs8::spki::SubjectPublicKeyInfoOwned;
use ::rsa::pkcs8::{LineEnding, ObjectIdentifier, der};
use der::Encode as _;
use der::pem::PemLabel as _;

use self::ecdsa::EcdsaKey;
use self::ed25519::Ed25519Key;
use self::rsa::RsaKey;
use super::fingerprint::Fingerprint;
use super::key_error::KeyError;
use super::scheme::{Curve, Scheme};
use super::spki;

/// A public key that can verify signatures: RSA of 2048 to 8192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.
#[derive(Clone)]
pub struct PublicKey {
    material: Material,
    /// DER of the SubjectPublicKeyInfo. One key has one encoding, whatever encoding it was read from.
    spki: Vec<u8>,
    /// Computed once, when the key is loaded.
    fingerprint: Fingerprint,
}

#[derive(Clone)]
enum Material {
    Ecdsa(EcdsaKey),
    Ed25519(Ed25519Key),
    Rsa(RsaKey),
}

/// The kind of a public key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// An ECDSA key, with its curve.
    Ecdsa(Curve),
    /// An Ed25519 key.
    Ed25519,
    /// An RSA key of any accepted size.
    Rsa,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ecdsa(curve) => write!(formatter, "ECDSA {curve}"),
            Self::Ed25519 => formatter.write_str("Ed25519"),
            Self::Rsa => formatter.write_str("RSA"),
        }
    }
}

/// The signature was not made by this key over these bytes. The error gives no reason: a reason would help a forger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct SignatureMismatch;

impl PublicKey {
    /// Reads a PEM file: SubjectPublicKeyInfo, PKCS#1 or an X.509 certificate, with nothing after it.
    ///
    /// Only the key of a certificate is used: its validity, issuer, extensions and signature are ignored. The
    /// configuration decides when a key may be used (`not_before`, `not_after`, `revoked`).
    ///
    /// # Errors
    /// [`KeyError`] describes what the file holds instead.
    pub fn from_pem(pem: &[u8]) -> Result<Self, KeyError> {
        Self::from_spki(&spki::from_pem(pem)?)
    }

    fn from_spki(spki: &SubjectPublicKeyInfoOwned) -> Result<Self, KeyError> {
        let material = match spki.algorithm.oid {
            ::rsa::pkcs1::ALGORITHM_OID => Material::Rsa(RsaKey::from_spki(spki)?),
            EC_PUBLIC_KEY => Material::Ecdsa(EcdsaKey::from_spki(spki)?),
            ED25519 => Material::Ed25519(Ed25519Key::from_spki(spki)?),
            RSASSA_PSS => return Err(KeyError::PssOnly),
            other => return Err(refusal(other)),
        };
        let spki = spki.to_der().map_err(malformed)?;
        Ok(Self {
            fingerprint: Fingerprint::from_spki(&spki),
            material,
            spki,
        })
    }

    /// The fingerprint of the key.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.fingerprint
    }

    /// The DER of the SubjectPublicKeyInfo.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The size of the RSA modulus or of the curve's field, in bits.
    #[must_use]
    pub const fn bits(&self) -> usize {
        match &self.material {
            Material::Ecdsa(key) => key.curve().bits(),
            Material::Ed25519(_) => Ed25519Key::BITS,
            Material::Rsa(key) => key.bits(),
        }
    }

    /// The kind of the key.
    #[must_use]
    pub const fn kind(&self) -> KeyKind {
        match &self.material {
            Material::Ecdsa(key) => KeyKind::Ecdsa(key.curve()),
            Material::Ed25519(_) => KeyKind::Ed25519,
            Material::Rsa(_) => KeyKind::Rsa,
        }
    }

    /// Writes the key as PEM (SubjectPublicKeyInfo), as a `[[key]] public_key` file holds it. One key has one text,
    /// whatever text it was read from.
    ///
    /// # Errors
    /// [`KeyError::Pem`], which cannot happen with a key that was read.
    pub fn to_pem(&self) -> Result<String, KeyError> {
        pem_rfc7468::encode_string(SubjectPublicKeyInfoOwned::PEM_LABEL, LineEnding::LF, &self.spki)
            .map_err(KeyError::Pem)
    }

    /// Whether signatures of this scheme can be verified under the key.
    #[must_use]
    pub const fn accepts(&self, scheme: Scheme) -> bool {
        match (&self.material, scheme) {
            (Material::Ecdsa(key), Scheme::Ecdsa(hash)) => key.accepts(hash),
            (Material::Ed25519(_), Scheme::Ed25519) | (Material::Rsa(_), Scheme::RsaPss { .. }) => true,
            (Material::Rsa(_), Scheme::RsaPkcs1(hash)) => RsaKey::accepts_pkcs1(hash),
            (Material::Ecdsa(_), Scheme::RsaPss { .. } | Scheme::RsaPkcs1(_) | Scheme::Ed25519)
            | (Material::Ed25519(_), Scheme::RsaPss { .. } | Scheme::RsaPkcs1(_) | Scheme::Ecdsa(_))
            | (Material::Rsa(_), Scheme::Ecdsa(_) | Scheme::Ed25519) => false,
        }
    }

    /// Checks a raw signature over `message`. Everything outside of this layer goes through
    /// [`TrustedKey::verify`](super::TrustedKey::verify), which knows the schemes that the key may be used with.
    ///
    /// # Errors
    /// [`SignatureMismatch`], whatever is wrong with the signature.
    pub(super) fn verify(
        &self,
        scheme: Scheme,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureMismatch> {
        match (&self.material, scheme) {
            (Material::Ecdsa(key), Scheme::Ecdsa(hash)) => key.verify(hash, message, signature),
            (Material::Ed25519(key), Scheme::Ed25519) => key.verify(message, signature),
            (Material::Rsa(key), Scheme::RsaPss { hash, salt }) => {
                key.verify_pss(hash, salt, message, signature)
            }
            (Material::Rsa(_), Scheme::RsaPkcs1(hash)) => {
                rsa::verify_pkcs1(&self.spki, hash, message, signature)
            }
            (Material::Ecdsa(_), Scheme::RsaPss { .. } | Scheme::RsaPkcs1(_) | Scheme::Ed25519)
            | (Material::Ed25519(_), Scheme::RsaPss { .. } | Scheme::RsaPkcs1(_) | Scheme::Ecdsa(_))
            | (Material::Rsa(_), Scheme::Ecdsa(_) | Scheme::Ed25519) => Err(SignatureMismatch),
        }
    }
}

impl fmt::Debug for PublicKey {
    /// Prints kind, size and fingerprint: they name the key, and a log line of eight thousand bits names nothing.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            formatter,
            "PublicKey({}, {} bits, {})",
            self.kind(),
            self.bits(),
            self.fingerprint
        )
    }
}

/// A SubjectPublicKeyInfo whose parts do not fit its algorithm.
fn malformed(source: impl Into<der::Error>) -> KeyError {
    KeyError::Der {
        what: "SubjectPublicKeyInfo",
        source: source.into(),
    }
}

/// The bytes of the key. No algorithm here has a key that ends inside a byte.
fn key_bytes(spki: &SubjectPublicKeyInfoOwned) -> Result<&[u8], KeyError> {
    spki.subject_public_key
        .as_bytes()
        .ok_or_else(|| malformed(der::Tag::BitString.value_error()))
}

fn refusal(algorithm: ObjectIdentifier) -> KeyError {
    let agreement = KEY_AGREEMENTS.iter().find(|(oid, _)| *oid == algorithm);
    match (algorithm, agreement) {
        (_, Some((_, algorithm))) => KeyError::KeyAgreement { algorithm },
        (DSA, None) => KeyError::Dsa,
        (ED448, None) => KeyError::UnknownAlgorithm {
            algorithm: "Ed448".to_owned(),
        },
        (other, None) => KeyError::UnknownAlgorithm {
            algorithm: format!("`{other}`"),
        },
    }
}

/// `id-ecPublicKey` (RFC 5480, 2.1.1).
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");

/// `id-Ed25519` (RFC 8410, 3).
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// `id-Ed448` (RFC 8410, 3).
const ED448: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.113");

/// `id-RSASSA-PSS` (RFC 8017, appendix C).
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// `id-dsa` (RFC 3279, 2.3.2).
const DSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10040.4.1");

/// Algorithms whose keys agree on secrets, by the name that their users know (RFC 3279, RFC 5480, RFC 8410).
const KEY_AGREEMENTS: [(ObjectIdentifier, &str); 6] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10046.2.1"),
        "Diffie-Hellman",
    ),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1"),
        "Diffie-Hellman",
    ),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "X25519"),
    (ObjectIdentifier::new_unwrap("1.3.101.111"), "X448"),
    (ObjectIdentifier::new_unwrap("1.3.132.1.12"), "ECDH"),
    (ObjectIdentifier::new_unwrap("1.3.132.1.13"), "ECMQV"),
];

#[cfg(test)]
mod tests;
