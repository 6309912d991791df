//! Why requests cannot be signed as the configured identity.

use tokio::task::JoinError;

use crate::net::oracle::call_error::CallError;
use crate::net::oracle::wire::WireError;
use crate::net::oracle::{
    ConfigFileError, EndpointError, LeafCertificateError, ProfileSignerError, RegionError, RequestKeyError,
    TokenError,
};

/// Why the identity cannot sign. No variant quotes a key, a token or a pass phrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The instance's certificate, or an intermediate one, is unusable.
    #[error("could not use the instance's certificate")]
    Certificate(#[from] LeafCertificateError),
    /// The profile is unreadable.
    #[error("could not read the profile")]
    ConfigFile(#[from] ConfigFileError),
    /// A computation in the background panicked or was cancelled.
    #[error("a background computation {what}")]
    Crashed {
        /// `panicked` or `was cancelled`.
        what: &'static str,
    },
    /// The instance's region has no known token service.
    #[error("could not determine the token service of the instance's region")]
    Endpoint(#[from] EndpointError),
    /// The instance's key, or the key of its session, is unusable.
    #[error("could not use the instance's key")]
    Key(#[from] RequestKeyError),
    /// The metadata service did not return the instance's certificate, key or region.
    #[error(
        "could not get this instance's identity from its metadata service (is this an Oracle Cloud instance?)"
    )]
    Metadata(#[source] CallError),
    /// The profile's key or token is unusable.
    #[error("could not use the profile")]
    Profile(#[from] ProfileSignerError),
    /// The metadata service returned something else than a region.
    #[error("the metadata service did not return a region")]
    Region(#[from] RegionError),
    /// The token does not say when it expires.
    #[error("could not use the instance's token")]
    Token(#[from] TokenError),
    /// The token service's response is malformed.
    #[error("could not read the response of the token service")]
    TokenAnswer(#[from] WireError),
    /// The token service did not issue a token.
    #[error("could not get a token for this instance from the token service")]
    TokenService(#[source] CallError),
}

impl IdentityError {
    /// Whether the only cause is the caller's deadline: another caller, with more time, may succeed.
    pub(crate) const fn is_deadline(&self) -> bool {
        match self {
            Self::Metadata(error) | Self::TokenService(error) => error.is_deadline(),
            Self::Certificate(_)
            | Self::ConfigFile(_)
            | Self::Crashed { .. }
            | Self::Endpoint(_)
            | Self::Key(_)
            | Self::Profile(_)
            | Self::Region(_)
            | Self::Token(_)
            | Self::TokenAnswer(_) => false,
        }
    }

    /// Describes a background computation that did not finish. A panic's own text may hold anything, a secret included,
    /// so it is not quoted.
    pub(super) fn from_join(error: &JoinError) -> Self {
        let what = if error.is_panic() {
            "panicked"
        } else {
            "was cancelled"
        };
        Self::Crashed { what }
    }
}
