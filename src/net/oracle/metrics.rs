//! The labels under which calls to Oracle's services are counted: closed enums, so that no label ever holds text that a
//! service sent.

use std::sync::Arc;

/// Called once for each call, however many attempts it took.
pub type OracleObserver = Arc<dyn Fn(Call, CallOutcome) + Send + Sync>;

/// The operation that is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Call {
    /// Creates a signature record.
    CreateSignature,
    /// Deletes a signature record.
    DeleteSignature,
    /// Exchanges an instance's certificate for a token.
    Federate,
    /// Reads an image by its OCID.
    GetImage,
    /// Reads a key of a vault.
    GetKey,
    /// Reads a version of a key.
    GetKeyVersion,
    /// Reads a signature record.
    GetSignature,
    /// Reads one page of the versions of a key.
    ListKeyVersions,
    /// Reads one page of signature records.
    ListSignatures,
    /// Looks an image up by its name.
    LookUpImage,
    /// Reads from an instance's metadata service.
    Metadata,
    /// Has a vault sign a message.
    Sign,
    /// Replaces the tags of a signature record.
    UpdateSignature,
}

impl Call {
    /// Every call.
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

    /// Returns the label's value in the metrics.
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

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// The service's clock and this machine's differ too much.
    Clock,
    /// The deadline passed.
    DeadlineExceeded,
    /// The request could not be signed.
    Identity,
    /// The response was malformed: not HTTP, not as documented, or a list that loops.
    Malformed,
    /// The service answered 404.
    NotFound,
    /// The call succeeded.
    Ok,
    /// The request was refused on this side and never sent.
    Refused,
    /// The service answered with any other error status.
    Service,
    /// The response was over its bound.
    TooLarge,
    /// The service answered 401 or 403.
    Unauthorized,
    /// No connection, or the response broke off.
    Unreachable,
}

/// An error that is counted under an outcome.
pub(in crate::net::oracle) trait CountedError {
    fn outcome(&self) -> CallOutcome;
}

impl CallOutcome {
    /// Every outcome.
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

    /// Returns the label's value in the metrics.
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
}
