//! What goes over the wire to Oracle's services and comes back, as JSON.
//!
//! Answers are bounded before they are read, and read strictly: a key that stands twice is refused, so that two readers
//! see one answer. Keys that are not known are passed over: Oracle adds some with its releases, and what decides is the
//! signed message. What is kept is checked: identifiers, digests and states are their types, and texts are bounded.

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

/// Why an answer was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WireError {
    /// A signing algorithm that images are not signed with.
    #[error("`signingAlgorithm` is unknown")]
    Algorithm(#[source] UnknownAlgorithm),
    /// Not base64.
    #[error("`{field}` is not base64")]
    Base64 {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        #[source]
        source: base64::DecodeError,
    },
    /// An answer to another question.
    #[error("`{field}` is not what was asked for")]
    Differs {
        /// Which field.
        field: &'static str,
    },
    /// Not a digest.
    #[error("`{field}` is not a digest")]
    Digest {
        /// Which field.
        field: &'static str,
        /// Why.
        #[source]
        source: DigestError,
    },
    /// Not JSON of the form, or with a key twice.
    #[error("the answer is not what the service is documented to answer")]
    Json(#[from] JsonError),
    /// A public key that is none.
    #[error("`publicKey` is no key that is taken")]
    Key(#[source] KeyError),
    /// More than the vault signs.
    #[error("the message is longer than the {MESSAGE_BYTES} bytes that OCI Vault signs")]
    MessageTooLong,
    /// Not an OCID, or of another kind.
    #[error("`{field}` is not the OCID that belongs there")]
    Ocid {
        /// Which field.
        field: &'static str,
        /// Why.
        #[source]
        source: OcidError,
    },
    /// A signature record that is none.
    #[error("a signature record is malformed")]
    Record(#[from] RecordError),
    /// A text that is longer than any, or empty where none may be.
    #[error("`{field}` is empty, or longer than {limit} bytes, or holds control characters")]
    Text {
        /// Which field.
        field: &'static str,
        /// The bound.
        limit: usize,
    },
    /// A token that is none.
    #[error("`token` is no security token")]
    Token(#[source] TokenError),
    /// Longer than any answer.
    #[error("the answer is longer than {limit} bytes")]
    TooLarge {
        /// The bound.
        limit: usize,
    },
    /// More records than are looked at.
    #[error("more than {limit} records on one page")]
    TooMany {
        /// The bound.
        limit: usize,
    },
}

/// Whether an image or a signature is there (SDK, `LIFECYCLE_STATE_*` of `ContainerImage` and
/// `ContainerImageSignature`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LifecycleState {
    /// It is.
    Available,
    /// It was taken away.
    Deleted,
    /// It is being taken away.
    Deleting,
    /// Something else. What it means is not known here: it is not [`Self::Available`].
    Other(String),
}

impl LifecycleState {
    /// As the service spells it, and nothing but that: `available` is another.
    #[must_use]
    pub fn of(text: &str) -> Self {
        match text {
            "AVAILABLE" => Self::Available,
            "DELETED" => Self::Deleted,
            "DELETING" => Self::Deleting,
            other => Self::Other(excerpt(other)),
        }
    }
}

/// Reads one answer that is an object.
fn read<T: DeserializeOwned>(unverified: &[u8], limit: usize) -> Result<T, WireError> {
    if unverified.len() > limit {
        return Err(WireError::TooLarge { limit });
    }
    let Object(answer) = json::parse(unverified)?;
    Ok(answer)
}

fn ocid(field: &'static str, kind: &'static str, text: &str) -> Result<Ocid, WireError> {
    text.parse()
        .and_then(|ocid: Ocid| ocid.of_kind(kind))
        .map_err(|source| WireError::Ocid { field, source })
}

fn ocid_of_any_kind(field: &'static str, text: &str) -> Result<Ocid, WireError> {
    text.parse().map_err(|source| WireError::Ocid { field, source })
}

/// A text that goes into logs and comparisons.
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
