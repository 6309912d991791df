//! The JSON of the requests to Oracle's services and of their responses.
//!
//! Responses are bounded before they are parsed, and parsed strictly: a duplicate key is refused, so that every reader
//! sees the same response. Unknown keys are ignored, because Oracle adds keys with its releases, and the signed message
//! decides. The fields that are used are checked: identifiers, digests and states have types, and texts are bounded.

mod error;
mod image;
mod kms;
mod signature;
mod x509;

pub use error::ServiceError;
pub use image::{ContainerImage, LookUpImage};
pub use kms::{KeyVersion, KeyVersionPage, KeyVersionState, SignAnswer, SignRequest, VaultKey};
use serde::de::DeserializeOwned;
pub use signature::{CreateSignature, ImageSignature, SignaturePage, UpdateTags};
pub use x509::{FederationRequest, read_token};

use super::{Ocid, OcidError, TokenError};
use crate::base::limits::MESSAGE_BYTES;
use crate::base::printable::excerpt;
use crate::oci::DigestError;
use crate::oci::json::{self, JsonError, Object};
use crate::signature::oracle::RecordError;
use crate::trust::{KeyError, UnknownAlgorithm};

/// Why a response, or an argument of a request, is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// Images cannot be signed with the algorithm.
    #[error("`signingAlgorithm` is unknown")]
    Algorithm(#[source] UnknownAlgorithm),
    /// The field is not base64.
    #[error("`{field}` is not base64")]
    Base64 {
        /// The field.
        field: &'static str,
        /// The fault in it.
        #[source]
        source: base64::DecodeError,
    },
    /// The response is about another resource than the request.
    #[error("`{field}` differs from the request")]
    Differs {
        /// The field.
        field: &'static str,
    },
    /// The field is not a digest.
    #[error("`{field}` is not a digest")]
    Digest {
        /// The field.
        field: &'static str,
        /// The fault in it.
        #[source]
        source: DigestError,
    },
    /// The response is not JSON, lacks a field, or has a duplicate key.
    #[error("the response is not as the service documents it")]
    Json(#[from] JsonError),
    /// The public key is malformed or unsupported.
    #[error("`publicKey` is not a supported key")]
    Key(#[source] KeyError),
    /// The message is longer than any that the vault signs.
    #[error("the message is longer than the {MESSAGE_BYTES} bytes that OCI Vault signs")]
    MessageTooLong,
    /// The field is not an OCID of the right kind.
    #[error("`{field}` is not a valid OCID")]
    Ocid {
        /// The field.
        field: &'static str,
        /// The fault in it.
        #[source]
        source: OcidError,
    },
    /// A signature record is malformed.
    #[error("a signature record is malformed")]
    Record(#[from] RecordError),
    /// The text is empty, too long, or holds control characters.
    #[error("`{field}` is empty, or longer than {limit} bytes, or holds control characters")]
    Text {
        /// The field.
        field: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The token is malformed.
    #[error("`token` is not a security token")]
    Token(#[source] TokenError),
    /// The response is longer than any.
    #[error("the response is longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// A page has more records than are read.
    #[error("the page has more than {limit} records")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// Whether an image or a signature exists (SDK, `LIFECYCLE_STATE_*` of `ContainerImage` and
/// `ContainerImageSignature`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    /// It exists.
    Available,
    /// It was deleted.
    Deleted,
    /// It is being deleted.
    Deleting,
    /// A state of unknown meaning, which is never treated as [`Self::Available`].
    Other(String),
}

impl LifecycleState {
    /// Parses the service's exact spelling: `available` is [`Self::Other`].
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match text {
            "AVAILABLE" => Self::Available,
            "DELETED" => Self::Deleted,
            "DELETING" => Self::Deleting,
            other => Self::Other(excerpt(other)),
        }
    }
}

/// Parses a response that is one JSON object.
fn read<T: DeserializeOwned>(unverified: &[u8], limit: usize) -> Result<T, WireError> {
    if unverified.len() > limit {
        return Err(WireError::TooLarge { limit });
    }
    let Object(answer) = json::parse(unverified)?;
    Ok(answer)
}

fn ocid(field: &'static str, kind: &'static str, text: &str) -> Result<Ocid, WireError> {
    text.parse()
        .and_then(|ocid: Ocid| ocid.expect_kind(kind))
        .map_err(|source| WireError::Ocid { field, source })
}

fn ocid_of_any_kind(field: &'static str, text: &str) -> Result<Ocid, WireError> {
    text.parse().map_err(|source| WireError::Ocid { field, source })
}

/// Checks a text that goes into logs and comparisons.
fn bounded(field: &'static str, text: String, limit: usize) -> Result<String, WireError> {
    if text.is_empty() || text.len() > limit || text.chars().any(char::is_control) {
        Err(WireError::Text { field, limit })
    } else {
        Ok(text)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(super) use tests::RECORDED;
