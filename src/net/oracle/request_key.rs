//! The private keys that sign requests: API keys, session keys, and the keys of instances' certificates.
//!
//! RUSTSEC-2023-0071 says that the `rsa` crate's private-key operations take a time that depends on the key, and that
//! an attacker who can ask for many of them and measure each may learn it. Here the daemon itself decides when and what
//! is signed, and its peer is Oracle's service: nobody else gets a signature, and who pulls an image sees at most that
//! some request was made. Each operation is blinded all the same: the number that is raised to the secret exponent is
//! one that nobody chose, so its time says nothing of the message.

mod fingerprint;
mod old_encryption;
mod pem;

use std::fmt;

pub use fingerprint::{FingerprintMismatch, KeyFingerprint, KeyFingerprintError};
use pkcs8::der::asn1::OctetStringRef;
use pkcs8::der::{ErrorKind, Reader as _, SliceReader};
use pkcs8::pkcs5::pbes2::PBES2_OID;
use pkcs8::spki::AlgorithmIdentifierRef;
use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding, spki};
use sha2::Sha256;

use super::Secret;
use crate::trust::{KeyError, PublicKey};

/// An RSA private key of 2048 to 8192 bits. The `rsa` crate overwrites it when it goes.
pub struct RequestKey {
    inner: rsa::PrivateKey,
    public_der: Vec<u8>,
    fingerprint: KeyFingerprint,
}

/// Why a file holds no key to sign requests with. None quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestKeyError {
    /// The content of the block is not base64.
    #[error("the PEM block is not base64: the file is damaged")]
    Base64,
    /// Encrypted in a way that is not read.
    #[error(
        "the key is encrypted with {0}, which is not read: convert it (`openssl pkey -in KEY -aes256 -out NEW`)"
    )]
    Cipher(String),
    /// A key derivation that would take minutes or gigabytes.
    #[error(
        "the key derivation of the encrypted key asks for too much work: \
         convert it (`openssl pkey -in KEY -aes256 -out NEW`)"
    )]
    Cost,
    /// `Proc-Type` or `DEK-Info` are not as OpenSSL writes them.
    #[error("the header lines of the encrypted key are damaged")]
    EncryptionHeader,
    /// The `rsa` crate makes no key of that size.
    #[error("no key could be made")]
    Generate(#[source] rsa::Error),
    /// A PEM block with another label.
    #[error("a `{label}` block holds no RSA private key: `PRIVATE KEY` or `RSA PRIVATE KEY` is wanted")]
    Label {
        /// What it is called.
        label: String,
    },
    /// More than one block: which one is meant would be chance.
    #[error("{0} PEM blocks in one file: give the key its own file")]
    ManyBlocks(usize),
    /// Encrypted, and no pass phrase was given.
    #[error(
        "the key is encrypted and no pass phrase is given: set `pass_phrase` in the profile, \
         or decrypt the key (`openssl pkey -in KEY -out PLAIN`)"
    )]
    NoPassPhrase,
    /// No PEM.
    #[error("no PEM block: a private key begins with a line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A private key, and not an RSA one.
    #[error("the key's algorithm is not RSA, and Oracle takes no other for requests")]
    NotRsa,
    /// The pass phrase is another one. A damaged file looks the same.
    #[error("the pass phrase does not open the key (or the file is damaged)")]
    PassPhrase,
    /// A PKCS#1 block that is damaged, or followed by something.
    #[error("the RSA private key is damaged")]
    Pkcs1(#[source] rsa::pkcs1::Error),
    /// A PKCS#8 block that is damaged, or followed by something.
    #[error("the private key is damaged")]
    Pkcs8(#[source] pkcs8::Error),
    /// The public half was given.
    #[error("the file holds a public key: the private half is wanted")]
    PublicKey,
    /// The public half could not be written.
    #[error("the public half could not be written")]
    Spki(#[from] spki::Error),
    /// Something after the block, and not Oracle's own mark.
    #[error("text follows the PEM block: give the key its own file")]
    TextAfter,
    /// Larger than any key file.
    #[error("the file is larger than {limit} bytes: no key file is")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The block has no end.
    #[error("the PEM block has no `-----END {label}-----`: the file is cut off")]
    Unfinished {
        /// Its label.
        label: String,
    },
    /// The key is too small, too large or otherwise none that is to be used.
    #[error("the key is not one to sign with")]
    Weak(#[source] KeyError),
}

impl RequestKey {
    /// Reads a PEM file: PKCS#8 or PKCS#1, either of them encrypted or not. A pass phrase for a key that is not
    /// encrypted is not used: in the SDK's file it may come from the `DEFAULT` profile (SDK, `signer.load_private_key`).
    ///
    /// # Errors
    /// As [`RequestKeyError`] says.
    pub fn from_pem(pem: &[u8], pass_phrase: Option<&Secret>) -> Result<Self, RequestKeyError> {
        let block = pem::only_block(pem)?;
        let inner = match block.label {
            "PRIVATE KEY" => from_pkcs8(&block.decode()?)?,
            "RSA PRIVATE KEY" if block.headers.is_empty() => {
                rsa::PrivateKey::from_pkcs1_der(&block.decode()?).map_err(RequestKeyError::Pkcs1)?
            }
            "RSA PRIVATE KEY" => {
                let opened = old_encryption::open(&block, pass_phrase)?;
                // With one wrong pass phrase in 256 the padding happens to be right.
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

    /// A fresh key: the session key of an instance principal (SDK, `auth/session_key_supplier.py`, makes 2048 bits).
    ///
    /// # Errors
    /// [`RequestKeyError::Generate`], and [`RequestKeyError::Weak`] when the size is out of bounds.
    pub fn generate(bits: usize) -> Result<Self, RequestKeyError> {
        Self::new(rsa::PrivateKey::new(&mut rand::rng(), bits).map_err(RequestKeyError::Generate)?)
    }

    fn new(inner: rsa::PrivateKey) -> Result<Self, RequestKeyError> {
        // One judge of sizes and exponents for all keys.
        let public_pem = inner.as_public_key().to_public_key_pem(LineEnding::LF)?;
        PublicKey::from_pem(public_pem.as_bytes()).map_err(RequestKeyError::Weak)?;
        Self::of_any_size(inner)
    }

    fn of_any_size(inner: rsa::PrivateKey) -> Result<Self, RequestKeyError> {
        let public_der = inner.as_public_key().to_public_key_der()?.into_vec();
        Ok(Self {
            fingerprint: KeyFingerprint::of(&public_der),
            public_der,
            inner,
        })
    }

    /// What Oracle calls the key by.
    #[must_use]
    pub const fn fingerprint(&self) -> KeyFingerprint {
        self.fingerprint
    }

    /// Whether this is the key that is named. One that is not would get `401 NotAuthenticated` for each request, which
    /// says nothing of why.
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

    /// The public half: the DER of its SubjectPublicKeyInfo.
    #[must_use]
    pub fn public_der(&self) -> &[u8] {
        &self.public_der
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256 (what Oracle calls `rsa-sha256`), blinded: see the head of this file. The crate
    /// checks the result with the public half before it gives it away.
    pub(super) fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rsa::Error> {
        self.inner
            .pkcs1v15_sign_with_rng::<Sha256, _>(&mut rand::rng(), message)
    }

    /// A key of a size that is not taken: Oracle's published example has 1024 bits.
    #[cfg(test)]
    pub(super) fn of_published_example(pem: &str) -> Self {
        let der = pem::only_block(pem.as_bytes()).unwrap().decode().unwrap();
        Self::of_any_size(rsa::PrivateKey::from_pkcs1_der(&der).unwrap()).unwrap()
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
        Err(pkcs8::Error::Asn1(error)) => return Err(unreadable(error, der)),
        Err(other) => return Err(RequestKeyError::Pkcs8(other)),
    };
    let pass_phrase = pass_phrase.ok_or(RequestKeyError::NoPassPhrase)?;
    let scheme = &encrypted.encryption_algorithm;
    let Some(parameters) = scheme.pbes2() else {
        return Err(RequestKeyError::Cipher(format!("`{}`", scheme.oid())));
    };
    bounded(&parameters.kdf)?;
    match encrypted.decrypt(pass_phrase.expose()) {
        // With one wrong pass phrase in 256 the padding happens to be right; then this is no DER.
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

/// What the crate does not know fails while it is parsed: a cipher of PBES2, or a scheme other than PBES2.
fn unreadable(error: pkcs8::der::Error, der: &[u8]) -> RequestKeyError {
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

/// The file is the administrator's own, but a daemon that hangs or is killed for its memory at start says nothing.
fn bounded(kdf: &pkcs8::pkcs5::pbes2::Kdf) -> Result<(), RequestKeyError> {
    let is_bounded = match (kdf.pbkdf2(), kdf.scrypt()) {
        (Some(pbkdf2), _) => pbkdf2.iteration_count <= PBKDF2_ITERATIONS,
        (None, Some(scrypt)) => {
            let bytes = u64::from(scrypt.block_size)
                .saturating_mul(scrypt.cost_parameter)
                .saturating_mul(128);
            // RFC 7914, 2: more than 1. The `pkcs5` crate of today panics at 0.
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

/// OpenSSL 3 writes 2048; OWASP recommends 600 000 for stored passwords (2023). This takes some seconds.
const PBKDF2_ITERATIONS: u32 = 10_000_000;

/// RFC 7914 recommends 16 MiB for files; this is the scratch memory of `N` = 2^20, `r` = 2.
const SCRYPT_BYTES: u64 = 256 * 1024 * 1024;

/// Passes over that memory, one after the other.
const SCRYPT_PARALLELISM: u16 = 16;

#[cfg(test)]
mod tests;
