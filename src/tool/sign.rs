//! Signing: the message as Oracle's client builds it, the record as Oracle's API stores it, and the referrer that carries
//! the record. The signature comes from a private key file or from a vault; a vault's signature is verified before it is
//! used. The daemon never signs an image and never reads a private key for images.
//!
//! RUSTSEC-2023-0071 concerns the timing of private-key operations of the `rsa` crate, if an attacker can observe it over
//! a network. Here a person signs on their own machine, with blinding, and no remote party can request signatures.

mod artifact;
mod key;
mod message_bytes;

pub use artifact::artifact;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
pub use key::{PrivateKey, PrivateKeyError};
use serde_json::Map;
use sha2::{Digest as _, Sha256};

use crate::base::limits::MESSAGE_BYTES;
use crate::signature::oracle::{OracleMessage, Record};
use crate::trust::{PublicKey, Salt, SignatureMismatch, SignedBytes, TrustedKey};

/// Error of signing an image.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// The message is longer than OCI Vault signs, and longer than a gate reads.
    #[error(
        "the message has {bytes} bytes, and OCI Vault signs at most {MESSAGE_BYTES}: shorten the description or metadata"
    )]
    MessageTooLong {
        /// Length of the message in bytes.
        bytes: usize,
    },
    /// The metadata is not JSON text, which Oracle's client requires.
    #[error("the metadata is not JSON")]
    Metadata(#[source] serde_json::Error),
    /// The vault signed another message, or signed with another key.
    #[error("the vault's signature does not verify with the public key of the key version")]
    NotOfKey(#[source] SignatureMismatch),
    /// The `rsa` crate could not sign.
    #[error("the key could not sign")]
    Rsa(#[source] rsa::Error),
}

/// Encodes a message as the bytes to sign, which are those that Oracle's client writes. Checks the length and that the
/// metadata is JSON.
///
/// # Errors
/// [`SignError::Metadata`] and [`SignError::MessageTooLong`].
pub fn signed_bytes(message: &OracleMessage) -> Result<Vec<u8>, SignError> {
    if !message.metadata.is_empty() {
        serde_json::from_str::<serde::de::IgnoredAny>(&message.metadata).map_err(SignError::Metadata)?;
    }
    let bytes = message_bytes::encode(message).into_bytes();
    if bytes.len() > MESSAGE_BYTES {
        return Err(SignError::MessageTooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Signs a message. The salt is as long as the hash, which every verifier accepts.
///
/// # Errors
/// [`SignError`].
pub fn sign(message: &OracleMessage, key: &PrivateKey, now: Timestamp) -> Result<Record, SignError> {
    let bytes = signed_bytes(message)?;
    let signature = key
        .sign(message.signing_algorithm, &bytes)
        .map_err(SignError::Rsa)?;
    Ok(build_record(message, &bytes, &signature, now))
}

/// Builds the record of a signature that a vault made over `bytes`, the encoded message ([`signed_bytes`]).
///
/// # Errors
/// [`SignError::NotOfKey`] when the signature does not verify with `key`, the public key of the key version.
pub fn record_from_vault(
    message: &OracleMessage,
    bytes: &[u8],
    signature: &[u8],
    key: &PublicKey,
    now: Timestamp,
) -> Result<Record, SignError> {
    let scheme = message.signing_algorithm.scheme(Salt::Any);
    let signed = SignedBytes {
        scheme,
        message: bytes,
        signature,
    };
    TrustedKey::new("signing key", key.clone(), [scheme].into())
        .verify(signed)
        .map_err(SignError::NotOfKey)?;
    Ok(build_record(message, bytes, signature, now))
}

fn build_record(message: &OracleMessage, bytes: &[u8], signature: &[u8], now: Timestamp) -> Record {
    let id = format!(
        "urn:pullgate:signature:sha256:{}",
        hex::encode(Sha256::digest(signature))
    );
    let last_ten = |text: &str| {
        text.get(text.len().saturating_sub(10)..)
            .unwrap_or(text)
            .to_owned()
    };
    Record {
        kms_key_id: message.kms_key_id.clone(),
        kms_key_version_id: message.kms_key_version_id.clone(),
        signing_algorithm: message.signing_algorithm.to_string(),
        message: STANDARD.encode(bytes),
        signature: STANDARD.encode(signature),
        // The service's own naming: the last ten characters of each id (`displayName` of SDK 2.189.0's
        // `ContainerImageSignature`).
        display_name: Some(format!(
            "{}::{}::{}::{}",
            last_ten(&message.kms_key_id),
            last_ten(&message.kms_key_version_id),
            message.signing_algorithm,
            last_ten(&id)
        )),
        id: Some(id),
        lifecycle_state: Some("AVAILABLE".to_owned()),
        time_created: Some(now.to_string()),
        others: Map::new(),
    }
}

#[cfg(test)]
mod tests;
