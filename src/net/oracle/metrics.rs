//! What is counted of requests to Oracle's services: closed enums, so that no label ever holds what a service sent.

use std::sync::Arc;

use crate::net::oracle::client::ApiError;

/// Called once for each thing that was asked for, however often it was asked.
pub type OracleObserver = Arc<dyn Fn(Call, CallOutcome) + Send + Sync>;

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// A new signature record.
    CreateSignature,
    /// The deletion of a signature record.
    DeleteSignature,
    /// A token for an instance.
    Federate,
    /// An image by its id.
    GetImage,
    /// A key of a vault.
    GetKey,
    /// A version of a key.
    GetKeyVersion,
    /// A signature record.
    GetSignature,
    /// The versions of a key.
    ListKeyVersions,
    /// Signature records: one page of them.
    ListSignatures,
    /// An image by its name.
    LookUpImage,
    /// What an instance is, of its metadata service.
    Metadata,
    /// A signature by a vault.
    Sign,
    /// Other tags of a signature record.
    UpdateSignature,
}

impl Call {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::CreateSignature,
        Self::DeleteSignature,
        Self::Federate,
        Self::GetImage,
        Self::GetKey,
        Self::GetKeyVersion,
        Self::GetSignature,
        Self::ListKeyVersions,
        Self::ListSignatures,
        Self::LookUpImage,
        Self::Metadata,
        Self::Sign,
        Self::UpdateSignature,
    ];

    /// As metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CreateSignature => "create-signature",
            Self::DeleteSignature => "delete-signature",
            Self::Federate => "federate",
            Self::GetImage => "get-image",
            Self::GetKey => "get-key",
            Self::GetKeyVersion => "get-key-version",
            Self::GetSignature => "get-signature",
            Self::ListKeyVersions => "list-key-versions",
            Self::ListSignatures => "list-signatures",
            Self::LookUpImage => "look-up-image",
            Self::Metadata => "metadata",
            Self::Sign => "sign",
            Self::UpdateSignature => "update-signature",
        }
    }
}

/// What came of it: success, or the kind of [`ApiError`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// [`ApiError::Clock`]
    Clock,
    /// [`ApiError::DeadlineExceeded`]
    DeadlineExceeded,
    /// [`ApiError::Identity`]
    Identity,
    /// [`ApiError::Malformed`], [`ApiError::PageLoop`] and [`ApiError::Protocol`]
    Malformed,
    /// [`ApiError::NotFound`]
    NotFound,
    /// It was given.
    Ok,
    /// [`ApiError::Operation`], [`ApiError::Refused`] and [`ApiError::Setup`]
    Refused,
    /// [`ApiError::Service`]
    Service,
    /// [`ApiError::TooLarge`]
    TooLarge,
    /// [`ApiError::Unauthorized`]
    Unauthorized,
    /// [`ApiError::Unreachable`]
    Unreachable,
}

impl CallOutcome {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Clock,
        Self::DeadlineExceeded,
        Self::Identity,
        Self::Malformed,
        Self::NotFound,
        Self::Ok,
        Self::Refused,
        Self::Service,
        Self::TooLarge,
        Self::Unauthorized,
        Self::Unreachable,
    ];

    /// As metrics spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Clock => "clock",
            Self::DeadlineExceeded => "deadline-exceeded",
            Self::Identity => "identity",
            Self::Malformed => "malformed",
            Self::NotFound => "not-found",
            Self::Ok => "ok",
            Self::Refused => "refused",
            Self::Service => "service",
            Self::TooLarge => "too-large",
            Self::Unauthorized => "unauthorized",
            Self::Unreachable => "unreachable",
        }
    }

    pub(in crate::net::oracle) const fn of<T>(result: &Result<T, ApiError>) -> Self {
        match result {
            Ok(_) => Self::Ok,
            Err(ApiError::Clock { .. }) => Self::Clock,
            Err(ApiError::DeadlineExceeded { .. }) => Self::DeadlineExceeded,
            Err(ApiError::Identity { .. }) => Self::Identity,
            Err(ApiError::Malformed { .. } | ApiError::PageLoop { .. } | ApiError::Protocol { .. }) => {
                Self::Malformed
            }
            Err(ApiError::NotFound { .. }) => Self::NotFound,
            Err(ApiError::Operation { .. } | ApiError::Refused { .. } | ApiError::Setup { .. }) => {
                Self::Refused
            }
            Err(ApiError::Service { .. }) => Self::Service,
            Err(ApiError::TooLarge { .. }) => Self::TooLarge,
            Err(ApiError::Unauthorized { .. }) => Self::Unauthorized,
            Err(ApiError::Unreachable { .. }) => Self::Unreachable,
        }
    }
}
