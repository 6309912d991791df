//! The labels under which requests to registries are counted. The enums are closed, so that a label never holds text that
//! a client sent.

use std::sync::Arc;

use super::error::RegistryError;

/// The function that is called once for each operation at an endpoint, and once for each token request.
pub type RegistryObserver = Arc<dyn Fn(RegistryOperation, RequestOutcome) + Send + Sync>;

/// The kind of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegistryOperation {
    /// The read of a blob, whole or as a stream.
    Blob,
    /// The read of the challenge at `/v2/`.
    Challenge,
    /// The deletion of a manifest or tag.
    Delete,
    /// The read of a manifest or index.
    Manifest,
    /// The storing of a blob or manifest.
    Push,
    /// The list of a manifest's referrers.
    Referrers,
    /// The read of a page of the tag list.
    Tags,
    /// The request for a token of a token realm.
    Token,
}

impl RegistryOperation {
    /// All operations.
    pub const ALL: [Self; 8] = [
        Self::Blob,
        Self::Challenge,
        Self::Delete,
        Self::Manifest,
        Self::Push,
        Self::Referrers,
        Self::Tags,
        Self::Token,
    ];

    /// Returns the value of the metrics' label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Blob => "blob",
            Self::Challenge => "challenge",
            Self::Delete => "delete",
            Self::Manifest => "manifest",
            Self::Push => "push",
            Self::Referrers => "referrers",
            Self::Tags => "tags",
            Self::Token => "token",
        }
    }
}

/// The outcome of an operation: success, or the kind of [`RegistryError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RequestOutcome {
    /// [`RegistryError::Credentials`]
    Credentials,
    /// [`RegistryError::DeadlineExceeded`]
    DeadlineExceeded,
    /// [`RegistryError::DigestMismatch`]
    DigestMismatch,
    /// [`RegistryError::Malformed`]
    Malformed,
    /// [`RegistryError::NotFound`]
    NotFound,
    /// The operation succeeded.
    Ok,
    /// [`RegistryError::Refused`]
    Refused,
    /// [`RegistryError::TooLarge`]
    TooLarge,
    /// [`RegistryError::Unauthorized`]
    Unauthorized,
    /// [`RegistryError::Unreachable`]
    Unreachable,
}

impl RequestOutcome {
    /// All outcomes.
    pub const ALL: [Self; 10] = [
        Self::Credentials,
        Self::DeadlineExceeded,
        Self::DigestMismatch,
        Self::Malformed,
        Self::NotFound,
        Self::Ok,
        Self::Refused,
        Self::TooLarge,
        Self::Unauthorized,
        Self::Unreachable,
    ];

    /// Returns the value of the metrics' label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Credentials => "credentials",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::DigestMismatch => "digest-mismatch",
            Self::Malformed => "malformed",
            Self::NotFound => "not-found",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::TooLarge => "too-large",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable => "unreachable",
        }
    }

    pub(super) const fn new<T>(result: &Result<T, RegistryError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(RegistryError::Credentials { .. }) => Self::Credentials,
            Err(RegistryError::DeadlineExceeded { .. }) => Self::DeadlineExceeded,
            Err(RegistryError::DigestMismatch { .. }) => Self::DigestMismatch,
            Err(RegistryError::Malformed { .. }) => Self::Malformed,
            Err(RegistryError::NotFound { .. }) => Self::NotFound,
            Err(RegistryError::Refused { .. }) => Self::Refused,
            Err(RegistryError::TooLarge { .. }) => Self::TooLarge,
            Err(RegistryError::Unauthorized { .. }) => Self::Unauthorized,
            Err(RegistryError::Unreachable { .. }) => Self::Unreachable,
        }
    }
}
