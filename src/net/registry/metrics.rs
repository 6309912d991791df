//! What is counted of requests to registries: closed enums, so that no label ever holds what a client sent.

use std::sync::Arc;

use super::RegistryError;

/// Called once for each endpoint that was asked, and once for each token that was asked for.
pub type RegistryObserver = Arc<dyn Fn(RegistryOperation, RequestOutcome) + Send + Sync>;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RegistryOperation {
    /// A blob, read whole or as a stream.
    Blob,
    /// The challenge at `/v2/`.
    Challenge,
    /// The deletion of a manifest or tag.
    Delete,
    /// A manifest or index.
    Manifest,
    /// The storing of a blob or manifest.
    Push,
    /// The referrers of a manifest.
    Referrers,
    /// A tag list.
    Tags,
    /// A token of a token realm.
    Token,
}

impl RegistryOperation {
    /// All of them.
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

    /// As metrics spell it.
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

/// What came of it: success, or the kind of [`RegistryError`].
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
    /// It was given.
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
    /// All of them.
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

    /// As metrics spell it.
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

    pub(super) const fn of<T>(result: &Result<T, RegistryError>) -> Self {
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
