//! Why a file does not hold a key that can sign requests.

use rsa::pkcs8::spki;

use crate::trust::KeyError;

/// Why a file does not hold a key that can sign requests. No variant quotes the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestKeyError {
    /// The content of the PEM block is not base64.
    #[error("the PEM block is not base64: the file is damaged")]
    Base64,
    /// The encryption is not supported.
    #[error(
        "the key is encrypted with {0}, which is not supported: convert it (`openssl pkey -in KEY -aes256 -out NEW`)"
    )]
    Cipher(String),
    /// The key derivation would take minutes or gigabytes.
    #[error(
        "the key derivation of the encrypted key takes too much time or memory: \
         convert it (`openssl pkey -in KEY -aes256 -out NEW`)"
    )]
    Cost,
    /// `Proc-Type` or `DEK-Info` differ from those that OpenSSL writes.
    #[error("the header lines of the encrypted key are damaged")]
    EncryptionHeader,
    /// The `rsa` crate cannot generate a key of that size.
    #[error("could not generate a key")]
    Generate(#[source] rsa::Error),
    /// The PEM block has another label than private keys have.
    #[error("a `{label}` block is not an RSA private key: expected `PRIVATE KEY` or `RSA PRIVATE KEY`")]
    Label {
        /// The label.
        label: String,
    },
    /// The file has more than one PEM block, and does not say which is meant.
    #[error("the file has {0} PEM blocks: put the key into a file of its own")]
    ManyBlocks(usize),
    /// The key is encrypted, and the pass phrase is missing.
    #[error(
        "the key is encrypted, and the pass phrase is missing: set `pass_phrase` in the profile, \
         or decrypt the key (`openssl pkey -in KEY -out PLAIN`)"
    )]
    NoPassPhrase,
    /// The file has no PEM block.
    #[error("the file has no PEM block: a private key begins with a line `-----BEGIN PRIVATE KEY-----`")]
    NotPem,
    /// The private key is not an RSA key.
    #[error("the key's algorithm is not RSA, the only one that Oracle accepts for requests")]
    NotRsa,
    /// The pass phrase is wrong. A damaged file looks the same.
    #[error("could not decrypt the key: the pass phrase is wrong, or the file is damaged")]
    PassPhrase,
    /// The PKCS#1 structure is damaged, or bytes follow it.
    #[error("the RSA private key is damaged")]
    Pkcs1(#[source] rsa::pkcs1::Error),
    /// The PKCS#8 structure is damaged, or bytes follow it.
    #[error("the private key is damaged")]
    Pkcs8(#[source] pkcs8::Error),
    /// The file holds the public key.
    #[error("the file holds a public key: expected the private key")]
    PublicKey,
    /// The public key could not be encoded.
    #[error("could not encode the public key")]
    Spki(#[from] spki::Error),
    /// Text other than Oracle's own mark follows the PEM block.
    #[error("text follows the PEM block: put the key into a file of its own")]
    TextAfter,
    /// The file is larger than any key file.
    #[error("the file is larger than {limit} bytes, so it is not a key file")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// The PEM block has no end.
    #[error("the PEM block has no `-----END {label}-----`: the file is truncated")]
    Unfinished {
        /// The label.
        label: String,
    },
    /// The key is too small, too large, or otherwise unfit for use.
    #[error("the key is not fit to sign with")]
    Weak(#[source] KeyError),
}
