//! The error of a call to one of Oracle's services.

use crate::net::oracle::call_error::CallError;
use crate::net::oracle::identity::error::IdentityError;
use crate::net::oracle::metrics::{CallOutcome, CountedError};

/// Why a service was not asked, or did not give what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ApiError {
    /// The call failed.
    #[error(transparent)]
    Call(#[from] CallError),
    /// The identity has no usable key or token, so nothing was sent to the service.
    #[error("could not sign the request to `{host}`")]
    Identity {
        /// The service that would have been asked.
        host: String,
        /// Why the identity cannot sign.
        #[source]
        source: IdentityError,
    },
}

impl ApiError {
    /// Whether the caller's deadline is the cause: another caller, with more time, may succeed.
    #[must_use]
    pub const fn is_deadline(&self) -> bool {
        match self {
            Self::Call(error) => error.is_deadline(),
            Self::Identity { source, .. } => source.is_deadline(),
        }
    }
}

/// The client has no TLS or no usable trusted certificates, so it cannot connect to any service.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("could not set up connections: {what}")]
pub struct ClientSetupError {
    /// The cause, with its own causes.
    pub what: String,
}

impl CountedError for ApiError {
    fn outcome(&self) -> CallOutcome {
        match self {
            Self::Call(error) => error.outcome(),
            Self::Identity { .. } => CallOutcome::Identity,
        }
    }
}
