//! The reasons for which a file does not yield a public key.

use pem_rfc7468 as rfc7468;
use rsa::pkcs8::{der, spki};

/// A file that holds no public key that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The size of the RSA modulus is out of bounds.
    #[error("the RSA key has {bits} bits: {min} to {max} are accepted")]
    Bits {
        /// The size in the file.
        bits: usize,
        /// The smallest size that is accepted.
        min: usize,
        /// The largest size that is accepted.
        max: usize,
    },
    /// An elliptic curve point in its compressed form. It would give one key a second fingerprint.
    #[error(
        "the key's point is compressed: convert the key with `openssl ec -pubin -conv_form uncompressed`"
    )]
    CompressedPoint,
    /// The key's parameters do not name a curve. A key that spells out the numbers of its own curve can choose a
    /// generator under which its holder knows the private key of another (CVE-2020-0601).
    #[error("the key does not name its curve")]
    CurveParameters,
    /// The content of the block is not the DER that its label promises.
    #[error("the {what} in the PEM block is malformed")]
    Der {
        /// The name of the structure.
        what: &'static str,
        /// The position and kind of the error.
        #[source]
        source: der::Error,
    },
    /// A DSA key.
    #[error("the key's algorithm is DSA, which FIPS 186-5 no longer approves")]
    Dsa,
    /// The RSA exponent is even: no such key can sign.
    #[error("the RSA exponent is {exponent}, which is even: the file is damaged")]
    EvenExponent {
        /// The exponent in the file.
        exponent: u64,
    },
    /// The RSA modulus is even: a product of two large primes is odd.
    #[error("the RSA modulus is even: the file is damaged")]
    EvenModulus,
    /// A key that agrees on secrets: X25519, X448 or Diffie-Hellman.
    #[error("the key's algorithm is {algorithm}, which agrees on secrets and cannot sign")]
    KeyAgreement {
        /// The common name of the algorithm.
        algorithm: &'static str,
    },
    /// A PEM block of another kind.
    #[error(
        "a `{label}` block does not hold a public key: \
         a `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE` block is required"
    )]
    Label {
        /// The label of the block.
        label: String,
    },
    /// The RSA exponent is large: each verification would take long.
    #[error("the RSA exponent is larger than {max}")]
    LargeExponent {
        /// The largest exponent that is accepted.
        max: u64,
    },
    /// More than one block. The choice between them would be arbitrary.
    #[error("the file holds {0} PEM blocks: give each key its own file")]
    ManyBlocks(usize),
    /// The file holds no PEM block.
    #[error("the file holds no PEM block: a public key begins with a line `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// The bytes of the key are not a point of its curve.
    #[error("the key is not a point of the curve {curve}: the file is damaged")]
    NotOnCurve {
        /// The name of the curve.
        curve: &'static str,
    },
    /// A key on P-224.
    #[error("the key's curve is P-224, which has less than 128 bits of security")]
    P224,
    /// The PEM block breaks RFC 7468.
    #[error("the PEM block is damaged")]
    Pem(#[source] rfc7468::Error),
    /// The private half of a key.
    #[error(
        "the file holds a private key (`{label}`), and a trust file never does: \
         give the public half (`openssl pkey -in KEY -pubout`) and keep the private one away from this node"
    )]
    PrivateKey {
        /// The label of the block.
        label: String,
    },
    /// An RSA key whose algorithm identifier is RSASSA-PSS.
    #[error(
        "the key is marked RSASSA-PSS (1.2.840.113549.1.1.10), whose own parameters this release does not read: \
         give it as an rsaEncryption key"
    )]
    PssOnly,
    /// The `rsa` crate refused the key.
    #[error("the RSA key is refused")]
    Rsa(#[from] rsa::Error),
    /// A key on secp256k1.
    #[error("the key's curve is secp256k1, which NIST approves for blockchains alone (SP 800-186)")]
    Secp256k1,
    /// The RSA exponent is small.
    #[error("the RSA exponent is {exponent}: {min} or more is required")]
    SmallExponent {
        /// The exponent in the file.
        exponent: u64,
        /// The smallest exponent that is accepted.
        min: u64,
    },
    /// An Ed25519 key of small order. A signature that verifies under such a key can be made without any private key.
    #[error("the Ed25519 key is a point of small order: anyone can sign for it")]
    SmallOrder,
    /// The key could not be encoded as a SubjectPublicKeyInfo, so it has no fingerprint.
    #[error("the key has no fingerprint")]
    Spki(#[from] spki::Error),
    /// Key material or metadata of a symmetric key.
    #[error(
        "this is a symmetric (AES) key: Vault AES keys cannot sign, and they never leave the vault; \
         sign with an RSA key of the vault and give its public half"
    )]
    Symmetric,
    /// Text after the block. Another reader could take a second key from it.
    #[error("text follows the PEM block")]
    TextAfter,
    /// The file is larger than any key file.
    #[error("the file is larger than {limit} bytes: no key file is")]
    TooLarge {
        /// The largest size that is read.
        limit: usize,
    },
    /// A public key of an algorithm that this release does not know.
    #[error("the key's algorithm is {algorithm}: RSA, ECDSA and Ed25519 are known")]
    UnknownAlgorithm {
        /// The common name of the algorithm, or its object identifier.
        algorithm: String,
    },
    /// A key on a curve that this release does not know.
    #[error("the key's curve is `{curve}`: P-256, P-384 and P-521 are known")]
    UnknownCurve {
        /// The object identifier of the curve.
        curve: String,
    },
}
