//! Signing: the message as Oracle's client builds it, the record as its API keeps it, and the referrer that carries it.
//! The signature is a key's of this machine, or a vault's, which is then checked before anything is made of it. The
//! operator's side: the daemon never signs an image and never reads a key that does.
//!
//! RUSTSEC-2023-0071 concerns the timing of private-key operations of the `rsa` crate that an attacker can observe over
//! a network. Here a person signs on a machine of theirs, with blinding, and nobody outside can ask for signatures.

mod artifact;
mod key;
mod spelling;

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

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignError {
    /// More than OCI Vault signs, and more than a gate reads.
    #[error(
        "the message is {bytes} bytes long, and OCI Vault signs {MESSAGE_BYTES} at most: shorten the description or metadata"
    )]
    MessageTooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Oracle's client takes JSON text alone.
    #[error("the metadata is not JSON")]
    Metadata(#[source] serde_json::Error),
    /// The vault signed something else, or with another key.
    #[error("the vault's signature is not one of the key version that was named")]
    NotOfKey(#[source] SignatureMismatch),
    /// The `rsa` crate could not sign.
    #[error("the key could not sign")]
    Rsa(#[source] rsa::Error),
}

/// The bytes of a message that are signed: as Oracle's client writes them, bounded, with metadata that is JSON.
///
/// # Errors
/// [`SignError::Metadata`] and [`SignError::MessageTooLong`].
pub fn spelled(message: &OracleMessage) -> Result<Vec<u8>, SignError> {
    if !message.metadata.is_empty() {
        serde_json::from_str::<serde::de::IgnoredAny>(&message.metadata).map_err(SignError::Metadata)?;
    }
    let bytes = spelling::spell(message).into_bytes();
    if bytes.len() > MESSAGE_BYTES {
        return Err(SignError::MessageTooLong { bytes: bytes.len() });
    }
    Ok(bytes)
}

/// Signs a message. The salt is as long as the hash, which every verifier takes.
///
/// # Errors
/// As [`SignError`] says.
pub fn sign(message: &OracleMessage, key: &PrivateKey, now: Timestamp) -> Result<Record, SignError> {
    let bytes = spelled(message)?;
    let signature = key
        .sign(message.signing_algorithm, &bytes)
        .map_err(SignError::Rsa)?;
    Ok(record(message, &bytes, &signature, now))
}

/// The record of a signature that a vault made over `bytes`, which are the message's own ([`spelled`]).
///
/// # Errors
/// [`SignError::NotOfKey`] when it is not the signature of `key`, the public half of the key version.
pub fn signed_elsewhere(
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
    Ok(record(message, bytes, signature, now))
}

fn record(message: &OracleMessage, bytes: &[u8], signature: &[u8], now: Timestamp) -> Record {
    let id = format!(
        "urn:pullgate:signature:sha256:{}",
        hex::encode(Sha256::digest(signature))
    );
    let last = |text: &str| {
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
        // As the service names records: the last ten characters of each id (`displayName` of SDK 2.189.0's
        // `ContainerImageSignature`).
        display_name: Some(format!(
            "{}::{}::{}::{}",
            last(&message.kms_key_id),
            last(&message.kms_key_version_id),
            message.signing_algorithm,
            last(&id)
        )),
        id: Some(id),
        lifecycle_state: Some("AVAILABLE".to_owned()),
        time_created: Some(now.to_string()),
        others: Map::new(),
    }
}

#[cfg(test)]
mod tests;
