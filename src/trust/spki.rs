//! From a PEM file (RFC 7468) to a SubjectPublicKeyInfo (RFC 5280, 4.1.2.7), or to the sentence that says what the file
//! holds instead.
//!
//! The structure is checked, the key in it is not: [`super::public_key`] reads it by its algorithm identifier.

use pem_rfc7468 as rfc7468;
use rsa::pkcs8::der::asn1::BitString;
use rsa::pkcs8::der::{Any, Decode as _};
use rsa::pkcs8::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned};
use x509_cert::Certificate;

use super::key_error::KeyError;
use crate::base::limits::KEY_BYTES;

/// Reads the one public key of a PEM file. Text before the block is allowed (RFC 7468, section 2; `openssl x509 -text`
/// writes it), text after it is not.
pub(super) fn from_pem(pem: &[u8]) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
    if pem.len() > KEY_BYTES {
        return Err(KeyError::TooLarge { limit: KEY_BYTES });
    }
    let block = only_block(pem)?;
    let parse = match block.label.as_str() {
        "PUBLIC KEY" => from_der,
        "RSA PUBLIC KEY" => from_pkcs1,
        "CERTIFICATE" => from_certificate,
        label if names_symmetric(label.as_bytes()) => return Err(KeyError::Symmetric),
        _ => return Err(KeyError::Label { label: block.label }),
    };
    parse(&block.decode()?)
}

/// Reads the DER of a SubjectPublicKeyInfo, strictly and to its end: one key has one encoding.
pub(super) fn from_der(der: &[u8]) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
    SubjectPublicKeyInfoOwned::from_der(der).map_err(|source| KeyError::Der {
        what: "SubjectPublicKeyInfo",
        source,
    })
}

/// Wraps an `RSAPublicKey` (RFC 8017, A.1.1) in the SubjectPublicKeyInfo that names its algorithm.
fn from_pkcs1(der: &[u8]) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
    let subject_public_key = BitString::from_bytes(der).map_err(|source| KeyError::Der {
        what: "RSAPublicKey",
        source,
    })?;
    Ok(SubjectPublicKeyInfoOwned {
        algorithm: AlgorithmIdentifierOwned {
            oid: rsa::pkcs1::ALGORITHM_OID,
            parameters: Some(Any::null()),
        },
        subject_public_key,
    })
}

fn from_certificate(der: &[u8]) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
    let certificate = Certificate::from_der(der).map_err(|source| KeyError::Der {
        what: "certificate",
        source,
    })?;
    Ok(certificate.tbs_certificate().subject_public_key_info().clone())
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

/// The place at which a block begins.
struct Block<'a> {
    label: String,
    /// From `-----BEGIN` to the end of the file.
    text: &'a [u8],
}

impl<'a> Block<'a> {
    /// Lists every line that begins a block, whatever its label.
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

    /// Decodes the content of the block, if nothing follows it.
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

/// Whether a file without PEM is a symmetric key: its raw bytes, or the metadata that a key service prints about one.
fn is_symmetric(file: &[u8]) -> bool {
    // The three AES key sizes. Text of exactly that length is no key file either.
    matches!(file.len(), 16 | 24 | 32) || names_symmetric(file)
}

/// Whether a text contains the word `AES`, `AES_256`, `AES256` or `SYMMETRIC` (and not `ASYMMETRIC`).
fn names_symmetric(text: &[u8]) -> bool {
    text.split(|byte| !byte.is_ascii_alphanumeric()).any(|word| {
        let word = word.to_ascii_uppercase();
        word == b"SYMMETRIC"
            || word
                .strip_prefix(b"AES")
                .is_some_and(|size| size.iter().all(u8::is_ascii_digit))
    })
}

/// A label as an error may print it.
fn printable(label: &[u8]) -> String {
    String::from_utf8_lossy(label)
        .chars()
        .filter(|char| !char.is_control())
        .take(64)
        .collect()
}

const BEGIN: &[u8] = b"-----BEGIN ";

#[cfg(test)]
mod tests;
