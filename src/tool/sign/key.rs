//! Private keys in files.

use std::fmt;

use rsa::pkcs1::DecodeRsaPrivateKey as _;
use rsa::pkcs8::{DecodePrivateKey as _, EncodePublicKey as _, LineEnding, spki};
use sha2::{Sha224, Sha256, Sha384, Sha512};

use crate::base::pem_block::PemBlock;
use crate::trust::{Fingerprint, KeyError, PublicKey, SigningAlgorithm};

/// An RSA private key of 2048 to 8192 bits.
pub struct PrivateKey {
    inner: rsa::PrivateKey,
    public: PublicKey,
    public_pem: String,
}

impl fmt::Debug for PrivateKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PrivateKey")
            .field("public", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// Error of reading a private key. The messages never quote the file, which holds a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// A pass phrase encrypts the key.
    #[error("the key is encrypted: decrypt it to a temporary file (`openssl pkey -in KEY -out PLAIN`)")]
    Encrypted,
    /// The PEM block has another label.
    #[error("a `{label}` block is not an RSA private key: expected `PRIVATE KEY` or `RSA PRIVATE KEY`")]
    Label {
        /// Label of the block, shortened.
        label: String,
    },
    /// The private key is not an RSA key.
    #[error("the key is not an RSA key; this release signs with RSA only")]
    NotRsa,
    /// The PKCS#8 block is damaged, or other data follows it.
    #[error("the private key is damaged")]
    Pkcs8(#[source] pkcs8::Error),
    /// The PKCS#1 block is damaged, or other data follows it.
    #[error("the RSA private key is damaged")]
    Pkcs1(#[source] rsa::pkcs1::Error),
    /// The `rsa` crate cannot generate a key of that size.
    #[error("could not generate a key")]
    Generate(#[source] rsa::Error),
    /// The public key could not be encoded.
    #[error("could not encode the public key")]
    Spki(#[from] spki::Error),
    /// The file has no PEM block.
    #[error("the file has no PEM block: a private key begins with the line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// A gate would refuse to load the public key.
    #[error("a gate would not trust the key")]
    Public(#[from] KeyError),
}

impl PrivateKey {
    /// Parses a PEM file with PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// [`PrivateKeyError`].
    pub fn from_pem(pem: &str) -> Result<Self, PrivateKeyError> {
        let blocks = PemBlock::scan(pem.as_bytes());
        let label = blocks.first().map(PemBlock::label);
        let inner = match label.as_deref() {
            None => return Err(PrivateKeyError::NotPem),
            Some("PRIVATE KEY") => match rsa::PrivateKey::from_pkcs8_pem(pem.trim_start()) {
                Err(pkcs8::Error::PublicKey(spki::Error::OidUnknown { .. })) => {
                    return Err(PrivateKeyError::NotRsa);
                }
                other => other.map_err(PrivateKeyError::Pkcs8)?,
            },
            // OpenSSL's old format states the encryption inside the block (RFC 1421, `Proc-Type`).
            Some("RSA PRIVATE KEY") if pem.contains("ENCRYPTED") => return Err(PrivateKeyError::Encrypted),
            Some("RSA PRIVATE KEY") => {
                rsa::PrivateKey::from_pkcs1_pem(pem.trim_start()).map_err(PrivateKeyError::Pkcs1)?
            }
            Some("ENCRYPTED PRIVATE KEY") => return Err(PrivateKeyError::Encrypted),
            Some("EC PRIVATE KEY" | "DSA PRIVATE KEY") => return Err(PrivateKeyError::NotRsa),
            Some(label) => {
                return Err(PrivateKeyError::Label {
                    label: crate::base::printable::excerpt(label),
                });
            }
        };
        Self::new(inner)
    }

    /// Generates a key of this many bits, for demonstrations and tests.
    ///
    /// # Errors
    /// [`PrivateKeyError::Generate`] when the `rsa` crate cannot generate that size, [`PrivateKeyError::Public`] when a gate
    /// would not load the key.
    pub fn generate(bits: usize) -> Result<Self, PrivateKeyError> {
        Self::new(rsa::PrivateKey::new(&mut rand::rng(), bits).map_err(PrivateKeyError::Generate)?)
    }

    fn new(inner: rsa::PrivateKey) -> Result<Self, PrivateKeyError> {
        // The gate's own parser: a signature is useless if no gate loads its key.
        let public_pem = inner.to_public_key().to_public_key_pem(LineEnding::LF)?;
        Ok(Self {
            public: PublicKey::from_pem(public_pem.as_bytes())?,
            public_pem,
            inner,
        })
    }

    /// Returns the public key.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Returns the public key as PEM (SubjectPublicKeyInfo), the content of a `[[key]] public_key` file.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// Returns the fingerprint of the public key.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// Signs with RSASSA-PSS: the algorithm's hash, MGF1 with the same hash, and a salt as long as the hash. The crate blinds
    /// the private operation with fresh factors, and verifies the result with the public key before it returns it, because
    /// a faulty result would reveal the private key (RFC 8017, 5.2.1 and the Bellcore attack).
    pub(super) fn sign(&self, algorithm: SigningAlgorithm, message: &[u8]) -> Result<Vec<u8>, rsa::Error> {
        let rng = &mut rand::rng();
        match algorithm {
            SigningAlgorithm::Sha224RsaPkcsPss => self.inner.pss_sign_with_rng::<Sha224, _>(rng, message),
            SigningAlgorithm::Sha256RsaPkcsPss => self.inner.pss_sign_with_rng::<Sha256, _>(rng, message),
            SigningAlgorithm::Sha384RsaPkcsPss => self.inner.pss_sign_with_rng::<Sha384, _>(rng, message),
            SigningAlgorithm::Sha512RsaPkcsPss => self.inner.pss_sign_with_rng::<Sha512, _>(rng, message),
        }
    }
}
