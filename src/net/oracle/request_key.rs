//! The private keys that sign requests: API keys, session keys, and the keys of instances' certificates.
//!
//! RUSTSEC-2023-0071: the duration of the `rsa` crate's private-key operations depends on the key, and an attacker that
//! can trigger and time many of them may recover it. Here the daemon alone decides when it signs and what; signatures
//! go to Oracle's services only, and a client that pulls an image can observe at most that some request was made. Each
//! operation is blinded as well: the number that is raised to the secret exponent is random, so the duration says
//! nothing about the message.

mod error;
mod fingerprint;
mod old_encryption;
mod pem;

use std::fmt;

pub use error::RequestKeyError;
pub use fingerprint::{FingerprintMismatch, KeyFingerprint, KeyFingerprintError};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{ErrorKind, Reader as _, SliceReader};
use pkcs8::pkcs5::pbes2::PBES2_OID;
use pkcs8::spki::AlgorithmIdentifierRef;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding, spki};
use sha2::Sha256;

use super::Secret;
use crate::trust::PublicKey;

/// An RSA private key of 2048 to 8192 bits. The `rsa` crate overwrites it when it is dropped.
pub struct RequestKey {
    inner: rsa::PrivateKey,
    public_der: Vec<u8>,
    fingerprint: KeyFingerprint,
}

impl RequestKey {
    /// Parses a PEM file: PKCS#8 or PKCS#1, encrypted or not. A pass phrase is ignored if the key is not encrypted: in
    /// the SDK's file it may be inherited from the `DEFAULT` profile (SDK, `signer.load_private_key`).
    ///
    /// # Errors
    /// As [`RequestKeyError`] says.
    pub fn from_pem(pem: &[u8], pass_phrase: Option<&Secret>) -> Result<Self, RequestKeyError> {
        let block = pem::only_block(pem)?;
        let inner = match block.label.as_ref() {
            "PRIVATE KEY" => from_pkcs8(&block.decode()?)?,
            "RSA PRIVATE KEY" if block.headers.is_empty() => {
                rsa::PrivateKey::from_pkcs1_der(&block.decode()?).map_err(RequestKeyError::Pkcs1)?
            }
            "RSA PRIVATE KEY" => {
                let opened = old_encryption::open(&block, pass_phrase)?;
                // For one wrong pass phrase in 256, the padding happens to be right.
                match rsa::PrivateKey::from_pkcs1_der(&opened) {
                    Ok(key) => key,
                    Err(_of_any_kind) => return Err(RequestKeyError::PassPhrase),
                }
            }
            "ENCRYPTED PRIVATE KEY" => from_encrypted_pkcs8(&block.decode()?, pass_phrase)?,
            "EC PRIVATE KEY" | "DSA PRIVATE KEY" => return Err(RequestKeyError::NotRsa),
            "PUBLIC KEY" | "RSA PUBLIC KEY" => return Err(RequestKeyError::PublicKey),
            label => {
                return Err(RequestKeyError::Label {
                    label: crate::base::printable::excerpt(label),
                });
            }
        };
        Self::new(inner)
    }

    /// Generates a key: the session key of an instance principal (SDK, `auth/session_key_supplier.py`: 2048 bits).
    ///
    /// # Errors
    /// [`RequestKeyError::Generate`], and [`RequestKeyError::Weak`] when the size is out of bounds.
    pub fn generate(bits: usize) -> Result<Self, RequestKeyError> {
        Self::new(rsa::PrivateKey::new(&mut rand::rng(), bits).map_err(RequestKeyError::Generate)?)
    }

    fn new(inner: rsa::PrivateKey) -> Result<Self, RequestKeyError> {
        // `PublicKey` checks size and exponent, for these keys as for those that verify images.
        let public_pem = inner.as_public_key().to_public_key_pem(LineEnding::LF)?;
        PublicKey::from_pem(public_pem.as_bytes()).map_err(RequestKeyError::Weak)?;
        Self::from_any_size(inner)
    }

    fn from_any_size(inner: rsa::PrivateKey) -> Result<Self, RequestKeyError> {
        let public_der = inner.as_public_key().to_public_key_der()?.into_vec();
        Ok(Self {
            fingerprint: KeyFingerprint::from_public_der(&public_der),
            public_der,
            inner,
        })
    }

    /// Returns the fingerprint by which Oracle identifies the key.
    #[must_use]
    pub const fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// Checks the fingerprint against the configured one. With another key, the service would answer each request with
    /// `401 NotAuthenticated`, which does not say why.
    ///
    /// # Errors
    /// [`FingerprintMismatch`].
    pub fn check(&self, configured: KeyFingerprint) -> Result<(), FingerprintMismatch> {
        if self.fingerprint == configured {
            Ok(())
        } else {
            Err(FingerprintMismatch {
                configured,
                actual: self.fingerprint,
            })
        }
    }

    /// Returns the public key: the DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_der(&self) -> &[u8] {
        &self.public_der
    }

    /// Signs with RSASSA-PKCS1-v1_5 and SHA-256 (Oracle's `rsa-sha256`), blinded: see the head of this file. The crate
    /// verifies the result with the public key before it returns it.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rsa::Error> {
        self.inner
            .pkcs1v15_sign_with_rng::<Sha256, _>(&mut rand::rng(), message)
    }

    /// Parses Oracle's published example, whose 1024 bits [`Self::from_pem`] refuses.
    #[cfg(test)]
    pub(super) fn from_published_example(pem: &str) -> Self {
        let der = pem::only_block(pem.as_bytes()).unwrap().decode().unwrap();
        Self::from_any_size(rsa::PrivateKey::from_pkcs1_der(&der).unwrap()).unwrap()
    }
}

impl fmt::Debug for RequestKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("RequestKey")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

fn from_pkcs8(der: &[u8]) -> Result<rsa::PrivateKey, RequestKeyError> {
    match rsa::PrivateKey::from_pkcs8_der(der) {
        Err(pkcs8::Error::PublicKey(spki::Error::OidUnknown { .. })) => Err(RequestKeyError::NotRsa),
        other => other.map_err(RequestKeyError::Pkcs8),
    }
}

fn from_encrypted_pkcs8(
    der: &[u8],
    pass_phrase: Option<&Secret>,
) -> Result<rsa::PrivateKey, RequestKeyError> {
    let encrypted = match pkcs8::EncryptedPrivateKeyInfoRef::try_from(der) {
        Ok(encrypted) => encrypted,
        Err(pkcs8::Error::Asn1(error)) => return Err(parse_error(error, der)),
        Err(other) => return Err(RequestKeyError::Pkcs8(other)),
    };
    let pass_phrase = pass_phrase.ok_or(RequestKeyError::NoPassPhrase)?;
    let scheme = &encrypted.encryption_algorithm;
    let Some(parameters) = scheme.pbes2() else {
        return Err(RequestKeyError::Cipher(format!("`{}`", scheme.oid())));
    };
    check_cost(&parameters.kdf)?;
    match encrypted.decrypt(pass_phrase.expose()) {
        // For one wrong pass phrase in 256, the padding happens to be right; the content is then not DER.
        Ok(opened) => match from_pkcs8(opened.as_bytes()) {
            Err(RequestKeyError::Pkcs8(_)) => Err(RequestKeyError::PassPhrase),
            other => other,
        },
        Err(pkcs8::Error::EncryptedPrivateKey(pkcs8::pkcs5::Error::UnsupportedAlgorithm { oid })) => {
            Err(RequestKeyError::Cipher(format!("`{oid}`")))
        }
        Err(_of_any_kind) => Err(RequestKeyError::PassPhrase),
    }
}

/// Explains why an encrypted key could not be parsed: the crate's parser already refuses unknown PBES2 ciphers and
/// schemes other than PBES2.
fn parse_error(error: pkcs8::der::Error, der: &[u8]) -> RequestKeyError {
    let scheme = SliceReader::new(der).and_then(|mut reader| {
        reader.sequence(|reader| {
            let scheme: AlgorithmIdentifierRef<'_> = reader.decode()?;
            let _content: &OctetStringRef = reader.decode()?;
            Ok::<_, pkcs8::der::Error>(scheme.oid)
        })
    });
    match (error.kind(), scheme) {
        (ErrorKind::OidUnknown { oid }, _) => RequestKeyError::Cipher(format!("`{oid}`")),
        (_, Ok(oid)) if oid != PBES2_OID => RequestKeyError::Cipher(format!("`{oid}`")),
        _ => RequestKeyError::Pkcs8(pkcs8::Error::Asn1(error)),
    }
}

/// Bounds the cost of a key derivation. The file is the administrator's own, but a daemon that hangs at start, or is
/// killed for its memory, does not say why.
fn check_cost(kdf: &pkcs8::pkcs5::pbes2::Kdf) -> Result<(), RequestKeyError> {
    let is_bounded = match (kdf.pbkdf2(), kdf.scrypt()) {
        (Some(pbkdf2), _) => pbkdf2.iteration_count <= PBKDF2_ITERATIONS,
        (None, Some(scrypt)) => {
            let bytes = u64::from(scrypt.block_size)
                .saturating_mul(scrypt.cost_parameter)
                .saturating_mul(128);
            // RFC 7914, section 2: more than 1. The current `pkcs5` crate panics at 0.
            scrypt.cost_parameter > 1 && bytes <= SCRYPT_BYTES && scrypt.parallelization <= SCRYPT_PARALLELISM
        }
        (None, None) => return Err(RequestKeyError::Cipher(format!("`{}`", kdf.oid()))),
    };
    if is_bounded {
        Ok(())
    } else {
        Err(RequestKeyError::Cost)
    }
}

/// Largest number of iterations, which takes some seconds. OpenSSL 3 writes 2048; OWASP recommends 600 000 for stored
/// passwords (2023).
const PBKDF2_ITERATIONS: u32 = 10_000_000;

/// Largest scratch memory, that of `N` = 2^20 and `r` = 2. RFC 7914 recommends 16 MiB for files.
const SCRYPT_BYTES: u64 = 256 * 1024 * 1024;

/// Largest number of passes over that memory, one after the other.
const SCRYPT_PARALLELISM: u16 = 16;

#[cfg(test)]
mod tests;
