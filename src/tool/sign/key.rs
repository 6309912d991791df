//! A private key of this machine.

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

/// Why a file holds no key to sign with. None quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PrivateKeyError {
    /// A pass phrase protects it.
    #[error("the key is encrypted: decrypt it for the time of signing (`openssl pkey -in KEY -out PLAIN`)")]
    Encrypted,
    /// A PEM block with another label.
    #[error("a `{label}` block holds no RSA private key: `PRIVATE KEY` or `RSA PRIVATE KEY` is wanted")]
    Label {
        /// What it is called.
        label: String,
    },
    /// A private key, and not an RSA one.
    #[error("the key's algorithm is not RSA, and this release signs with RSA alone")]
    NotRsa,
    /// A PKCS#8 block that is damaged, or followed by something.
    #[error("the private key is damaged")]
    Pkcs8(#[source] pkcs8::Error),
    /// A PKCS#1 block that is damaged, or followed by something.
    #[error("the RSA private key is damaged")]
    Pkcs1(#[source] rsa::pkcs1::Error),
    /// The `rsa` crate makes no key of that size.
    #[error("no key could be made")]
    Generate(#[source] rsa::Error),
    /// The public half could not be written.
    #[error("the public half could not be written")]
    Spki(#[from] spki::Error),
    /// No PEM.
    #[error("no PEM block: a private key begins with a line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// Its public half would not be trusted by any gate.
    #[error("the key is not one that a gate would trust")]
    Public(#[from] KeyError),
}

impl PrivateKey {
    /// Reads a PEM file: PKCS#8 or PKCS#1.
    ///
    /// # Errors
    /// As [`PrivateKeyError`] says.
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
            // OpenSSL's old form says of its encryption inside the block (RFC 1421, `Proc-Type`).
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

    /// A fresh key of this many bits, for demonstrations and tests.
    ///
    /// # Errors
    /// [`PrivateKeyError::Generate`] when the `rsa` crate makes none of that size, [`PrivateKeyError::Public`] when a
    /// gate would not load it.
    pub fn generate(bits: usize) -> Result<Self, PrivateKeyError> {
        Self::new(rsa::PrivateKey::new(&mut rand::rng(), bits).map_err(PrivateKeyError::Generate)?)
    }

    fn new(inner: rsa::PrivateKey) -> Result<Self, PrivateKeyError> {
        // The same judge as at the gate: what is signed with a key that no gate loads is of no use.
        let public_pem = inner.to_public_key().to_public_key_pem(LineEnding::LF)?;
        Ok(Self {
            public: PublicKey::from_pem(public_pem.as_bytes())?,
            public_pem,
            inner,
        })
    }

    /// The public half, for the gate.
    #[must_use]
    pub const fn public(&self) -> &PublicKey {
        &self.public
    }

    /// The public half as PEM (SubjectPublicKeyInfo): what a `[[key]] public_key` file holds.
    #[must_use]
    pub fn public_pem(&self) -> &str {
        &self.public_pem
    }

    /// The fingerprint of the public half.
    #[must_use]
    pub const fn fingerprint(&self) -> Fingerprint {
        self.public.fingerprint()
    }

    /// RSASSA-PSS with the algorithm's hash, MGF1 with the same, salt as long as the hash. The crate blinds the private
    /// operation with fresh factors, and checks its result with the public half before it gives it away: a fault in the
    /// computation would else give the key away (RFC 8017, 5.2.1 and the Bellcore attack).
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
