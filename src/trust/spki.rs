//! PEM (RFC 7468) in, an RSA public key out, and for everything else the sentence that says what was handed in.

use pem_rfc7468 as rfc7468;
use rsa::pkcs1::RsaPublicKeyRef;
use rsa::pkcs8::spki::{self, SubjectPublicKeyInfoRef};
use rsa::pkcs8::{ObjectIdentifier, der};
use x509_cert::Certificate;
use x509_cert::der::{Decode as _, Encode as _};

use crate::base::limits::KEY_BYTES;
use crate::trust::public_key::RsaPublicKey;

/// Why a file holds no key that can be trusted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// The modulus is outside the bounds.
    #[error("the RSA key has {bits} bits: {min} to {max} are taken")]
    Bits {
        /// What it has.
        bits: usize,
        /// The least.
        min: usize,
        /// The most.
        max: usize,
    },
    /// The block's content is not the DER that its label promises.
    #[error("the {what} in the PEM block is malformed")]
    Der {
        /// Which structure.
        what: &'static str,
        /// Where it broke.
        #[source]
        source: der::Error,
    },
    /// The RSA exponent is even: no such key can sign.
    #[error("the RSA exponent is {exponent}, which is even: the file is damaged")]
    EvenExponent {
        /// What it is.
        exponent: u64,
    },
    /// The RSA modulus is even: no product of two large primes is.
    #[error("the RSA modulus is even: the file is damaged")]
    EvenModulus,
    /// A PEM block of another kind.
    #[error(
        "a `{label}` block holds no public key: `PUBLIC KEY`, `RSA PUBLIC KEY` or `CERTIFICATE` is wanted"
    )]
    Label {
        /// The block's label.
        label: String,
    },
    /// The RSA exponent is large: each verification would take long.
    #[error("the RSA exponent is larger than {max}")]
    LargeExponent {
        /// The largest that is taken.
        max: u64,
    },
    /// More than one block: which one is meant would be chance.
    #[error("{0} PEM blocks in one file: give each key its own file")]
    ManyBlocks(usize),
    /// No PEM block at all.
    #[error("no PEM block: a public key begins with a line `-----BEGIN PUBLIC KEY-----`")]
    NotPem,
    /// A public key, and not an RSA one.
    #[error("the key's algorithm is {algorithm}: this release verifies RSA alone")]
    NotRsa {
        /// Its common name, or its object identifier.
        algorithm: String,
    },
    /// The PEM block breaks RFC 7468.
    #[error("the PEM block is damaged")]
    Pem(#[source] rfc7468::Error),
    /// The private half.
    #[error(
        "the file holds a private key (`{label}`), and a trust file never does: \
         give the public half (`openssl pkey -in KEY -pubout`) and keep the private one away from this node"
    )]
    PrivateKey {
        /// The block's label.
        label: String,
    },
    /// An RSA key whose algorithm identifier is RSASSA-PSS.
    #[error(
        "the key is marked RSASSA-PSS (1.2.840.113549.1.1.10), whose own parameters this release does not read: \
         give it as an rsaEncryption key"
    )]
    PssOnly,
    /// The `rsa` crate's own checks.
    #[error("the RSA key is refused")]
    Rsa(#[from] rsa::Error),
    /// The RSA exponent is small.
    #[error("the RSA exponent is {exponent}: {min} or more is wanted")]
    SmallExponent {
        /// What it is.
        exponent: u64,
        /// The least.
        min: u64,
    },
    /// The RSA key could not be written as a SubjectPublicKeyInfo, so it has no fingerprint.
    #[error("the RSA key has no fingerprint")]
    Spki(#[from] spki::Error),
    /// Key material or metadata of a symmetric key.
    #[error(
        "this is a symmetric (AES) key: Vault AES keys cannot sign, and they never leave the vault; \
         sign with an RSA key of the vault and give its public half"
    )]
    Symmetric,
    /// Something after the block. A reader that went on would see another key.
    #[error("text follows the PEM block")]
    TextAfter,
    /// Larger than any key file.
    #[error("the file is larger than {limit} bytes: no key file is")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
}

/// Reads the one public key of a PEM file. Text before the block is allowed (RFC 7468, section 2; `openssl x509 -text`
/// writes it), anything after it is not.
pub(super) fn read(pem: &[u8]) -> Result<RsaPublicKey, KeyError> {
    if pem.len() > KEY_BYTES {
        return Err(KeyError::TooLarge { limit: KEY_BYTES });
    }
    let block = only_block(pem)?;
    let parse = match block.label.as_str() {
        "PUBLIC KEY" => from_spki,
        "RSA PUBLIC KEY" => from_pkcs1,
        "CERTIFICATE" => from_certificate,
        label if names_symmetric(label.as_bytes()) => return Err(KeyError::Symmetric),
        _ => return Err(KeyError::Label { label: block.label }),
    };
    parse(&block.decode()?)
}

/// The one block of the file.
fn only_block(pem: &[u8]) -> Result<Block<'_>, KeyError> {
    let mut blocks = Block::all(pem);
    // Before anything else: a private key beside a certificate is a private key on the node.
    if let Some(private) = blocks.iter().find(|block| block.label.contains("PRIVATE KEY")) {
        return Err(KeyError::PrivateKey {
            label: private.label.clone(),
        });
    }
    match (blocks.len(), blocks.pop()) {
        (1, Some(block)) => Ok(block),
        (0, _) | (_, None) if is_symmetric(pem) => Err(KeyError::Symmetric),
        (0, _) | (_, None) => Err(KeyError::NotPem),
        (many, Some(_)) => Err(KeyError::ManyBlocks(many)),
    }
}

/// A place where a block begins.
struct Block<'a> {
    label: String,
    /// From `-----BEGIN` to the end of the file.
    text: &'a [u8],
}

impl<'a> Block<'a> {
    /// Every line that begins a block, whatever its label.
    fn all(pem: &'a [u8]) -> Vec<Self> {
        let mut blocks = Vec::new();
        let mut rest = pem;
        while !rest.is_empty() {
            if let Some(line) = rest.strip_prefix(BEGIN) {
                let label = line
                    .split(|byte| matches!(byte, b'-' | b'\r' | b'\n'))
                    .next()
                    .unwrap_or_default();
                blocks.push(Self {
                    label: printable(label),
                    text: rest,
                });
            }
            let line = rest
                .iter()
                .position(|byte| matches!(byte, b'\r' | b'\n'))
                .map_or(rest.len(), |end| end + 1);
            rest = rest.get(line..).unwrap_or_default();
        }
        blocks
    }

    /// What the block holds, if nothing follows it.
    fn decode(&self) -> Result<Vec<u8>, KeyError> {
        let end = format!("-----END {}-----", self.label);
        let length = self
            .text
            .windows(end.len())
            .position(|window| window == end.as_bytes())
            .map_or(self.text.len(), |start| start + end.len());
        let (block, after) = self.text.split_at_checked(length).unwrap_or((self.text, &[]));
        if !after.trim_ascii().is_empty() {
            return Err(KeyError::TextAfter);
        }
        let mut der = Vec::new();
        let mut decoder = rfc7468::Decoder::new_detect_wrap(block).map_err(KeyError::Pem)?;
        decoder.decode_to_end(&mut der).map_err(KeyError::Pem)?;
        Ok(der)
    }
}

fn from_spki(der: &[u8]) -> Result<RsaPublicKey, KeyError> {
    let malformed = |source| KeyError::Der {
        what: "SubjectPublicKeyInfo",
        source,
    };
    let spki = SubjectPublicKeyInfoRef::from_der(der).map_err(malformed)?;
    match spki.algorithm.oid {
        // RFC 3279, 2.3.1: the parameters MUST be NULL.
        rsa::pkcs1::ALGORITHM_OID if spki.algorithm == rsa::pkcs1::ALGORITHM_ID => {}
        rsa::pkcs1::ALGORITHM_OID => return Err(malformed(der::Tag::Null.value_error().into())),
        RSASSA_PSS => return Err(KeyError::PssOnly),
        other => {
            return Err(KeyError::NotRsa {
                algorithm: common_name(other),
            });
        }
    }
    let key = spki
        .subject_public_key
        .as_bytes()
        .ok_or_else(|| malformed(der::Tag::BitString.value_error().into()))?;
    from_pkcs1(key)
}

fn from_pkcs1(der: &[u8]) -> Result<RsaPublicKey, KeyError> {
    let key = RsaPublicKeyRef::from_der(der).map_err(|source| KeyError::Der {
        what: "RSAPublicKey",
        source,
    })?;
    RsaPublicKey::new(&key)
}

fn from_certificate(der: &[u8]) -> Result<RsaPublicKey, KeyError> {
    let malformed = |source| KeyError::Der {
        what: "certificate",
        source,
    };
    let certificate = Certificate::from_der(der).map_err(malformed)?;
    let spki = certificate
        .tbs_certificate()
        .subject_public_key_info()
        .to_der()
        .map_err(malformed)?;
    from_spki(&spki)
}

fn common_name(oid: ObjectIdentifier) -> String {
    let known = ALGORITHMS.iter().find(|(known, _)| *known == oid);
    known.map_or_else(|| format!("`{oid}`"), |(_, name)| (*name).to_owned())
}

/// Whether a file without PEM is a symmetric key: its raw bytes, or what a key service prints about one.
fn is_symmetric(file: &[u8]) -> bool {
    // The three AES key sizes. Text of exactly that length is no key file either.
    matches!(file.len(), 16 | 24 | 32) || names_symmetric(file)
}

/// Whether `AES`, `AES_256`, `AES256` or `SYMMETRIC` (and not `ASYMMETRIC`) stands in a text as a word.
fn names_symmetric(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_alphanumeric()).any(|word| {
        let word = word.to_ascii_uppercase();
        word == b"SYMMETRIC"
            || word
                .strip_prefix(b"AES")
                .is_some_and(|size| size.iter().all(u8::is_ascii_digit))
    })
}

/// A label as an error may show it.
fn printable(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .chars()
        .filter(|char| !char.is_control())
        .take(64)
        .collect()
}

const BEGIN: &[u8] = b"-----BEGIN ";

/// `id-RSASSA-PSS` (RFC 8017, appendix C).
const RSASSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");

/// Algorithms that people have keys of, by the name that they know (RFC 3279, RFC 5480, RFC 8410).
const ALGORITHMS: [(ObjectIdentifier, &str); 7] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.2.1"),
        "elliptic curve (ECDSA)",
    ),
    (ObjectIdentifier::new_unwrap("1.2.840.10040.4.1"), "DSA"),
    (
        ObjectIdentifier::new_unwrap("1.2.840.113549.1.3.1"),
        "Diffie-Hellman",
    ),
    (ObjectIdentifier::new_unwrap("1.3.101.110"), "X25519"),
    (ObjectIdentifier::new_unwrap("1.3.101.111"), "X448"),
    (ObjectIdentifier::new_unwrap("1.3.101.112"), "Ed25519"),
    (ObjectIdentifier::new_unwrap("1.3.101.113"), "Ed448"),
];

#[cfg(test)]
mod tests;
