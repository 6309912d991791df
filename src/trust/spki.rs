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
use crate::base::pem_block::PemBlock;
use crate::base::printable::excerpt;

/// Reads the one public key of a PEM file. Text before the block is allowed (RFC 7468, section 2; `openssl x509 -text`
/// writes it), text after it is not.
pub(super) fn from_pem(pem: &[u8]) -> Result<SubjectPublicKeyInfoOwned, KeyError> {
    if pem.len() > KEY_BYTES {
        return Err(KeyError::TooLarge { limit: KEY_BYTES });
    }
    let block = only_block(pem)?;
    let parse = match block.label().as_ref() {
        "PUBLIC KEY" => from_der,
        "RSA PUBLIC KEY" => from_pkcs1,
        "CERTIFICATE" => from_certificate,
        label if names_symmetric(label.as_bytes()) => return Err(KeyError::Symmetric),
        label => {
            return Err(KeyError::Label {
                label: excerpt(label),
            });
        }
    };
    parse(&decode(block)?)
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
fn only_block(pem: &[u8]) -> Result<PemBlock<'_>, KeyError> {
    let mut blocks = PemBlock::scan(pem);
    // Before anything else: a private key beside a certificate is a private key on the node.
    if let Some(private) = blocks.iter().find(|block| block.label().contains("PRIVATE KEY")) {
        return Err(KeyError::PrivateKey {
            label: excerpt(&private.label()),
        });
    }
    match (blocks.len(), blocks.pop()) {
        (1, Some(block)) => Ok(block),
        (0, _) | (_, None) if is_symmetric(pem) => Err(KeyError::Symmetric),
        (0, _) | (_, None) => Err(KeyError::NotPem),
        (many, Some(_)) => Err(KeyError::ManyBlocks(many)),
    }
}

/// Decodes the content of the block, if nothing follows it.
fn decode(block: PemBlock<'_>) -> Result<Vec<u8>, KeyError> {
    let (whole, rest) = block.whole_and_rest();
    if !rest.trim_ascii().is_empty() {
        return Err(KeyError::TextAfter);
    }
    let mut der = Vec::new();
    let mut decoder = rfc7468::Decoder::new_detect_wrap(whole).map_err(KeyError::Pem)?;
    decoder.decode_to_end(&mut der).map_err(KeyError::Pem)?;
    Ok(der)
}

/// Whether a file without PEM is a symmetric key: its raw bytes, or the metadata that a key service prints about one.
fn is_symmetric(file: &[u8]) -> bool {
    // The three AES key sizes. Text of exactly that length is not a key file either.
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

#[cfg(test)]
mod tests;
