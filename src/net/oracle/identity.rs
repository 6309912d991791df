//! As whom requests are signed: a profile of the configuration file that Oracle's tools share, or the instance that this
//! runs on.

pub(crate) mod certificate;
pub(crate) mod profile_signer;
pub(crate) mod token;
mod instance;
mod profile;

use std::path::PathBuf;
use std::sync::Arc;

pub use instance::{InstancePrincipal, MetadataService};
use tokio::task::JoinError;

use self::instance::Instance;
use self::profile::Kept;
use super::client::ApiError;
use super::wire::WireError;
use super::{
    ConfigFileError, FederationError, Ocid, ProfileSignerError, Region, RegionEndpointsError, RegionError,
    RequestKeyError, RequestSigner, TokenError,
};
use crate::net::oracle::sender::Exchange;

/// Somebody who signs requests.
#[derive(Debug)]
pub struct Identity(IdentityKind);

#[derive(Debug)]
enum IdentityKind {
    Instance(Box<Instance>),
    Profile(Arc<Kept>),
}

/// A signer for one request, and from which token it is.
pub(super) struct Lent {
    pub(super) signer: RequestSigner,
    /// Of an instance: how many tokens there were before.
    generation: Option<u64>,
}

/// Why there is nobody to sign as. None quotes a key, a token or a pass phrase.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// The instance's certificate, or one that it leads to, cannot be used.
    #[error("the instance's certificate cannot be used")]
    Certificate(#[from] FederationError),
    /// The profile cannot be read.
    #[error("the profile cannot be read")]
    ConfigFile(#[from] ConfigFileError),
    /// The computation of a key or signature died.
    #[error("a computation broke off: {what}")]
    Crashed {
        /// How.
        what: String,
    },
    /// The profile's key or token cannot be used.
    #[error("the profile cannot be used")]
    Credentials(#[from] ProfileSignerError),
    /// The instance's key, or its session's.
    #[error("the instance's key cannot be used")]
    Key(#[from] RequestKeyError),
    /// The metadata service did not say what the instance is.
    #[error(
        "the metadata service of this instance did not say who it is: is this an instance of Oracle's cloud?"
    )]
    Metadata(#[source] Box<ApiError>),
    /// There is no service of tokens where the instance is.
    #[error("the token service of the instance's region is not known")]
    Place(#[from] RegionEndpointsError),
    /// The metadata service names no region.
    #[error("the metadata service names no region")]
    Region(#[from] RegionError),
    /// The request could not be signed.
    #[error("the request could not be signed: {what}")]
    Signing {
        /// Why.
        what: String,
    },
    /// The token does not say when it ends.
    #[error("the token for the instance cannot be used")]
    Token(#[from] TokenError),
    /// The token service's answer is none.
    #[error("the answer of the token service cannot be used")]
    TokenAnswer(#[from] WireError),
    /// The token service gave no token.
    #[error("the token service gave no token for this instance")]
    TokenService(#[source] Box<ApiError>),
}

impl IdentityError {
    /// Whether nothing is wrong but that there was no more time.
    fn is_deadline(&self) -> bool {
        match self {
            Self::Metadata(error) | Self::TokenService(error) => {
                matches!(**error, ApiError::DeadlineExceeded { .. })
            }
            Self::Certificate(_)
            | Self::ConfigFile(_)
            | Self::Crashed { .. }
            | Self::Credentials(_)
            | Self::Key(_)
            | Self::Place(_)
            | Self::Region(_)
            | Self::Signing { .. }
            | Self::Token(_)
            | Self::TokenAnswer(_) => false,
        }
    }

    pub(super) fn crashed(error: &JoinError) -> Self {
        // A panic's own words are not known to be harmless.
        let what = if error.is_panic() { "a panic" } else { "cancelled" };
        Self::Crashed {
            what: what.to_owned(),
        }
    }
}

impl Identity {
    /// A profile of a configuration file; `~` in it is `home`. File, key and token are read now, and again whenever they
    /// changed: `oci session refresh` writes the token anew, and whoever rotates an API key writes all of them.
    ///
    /// # Errors
    /// [`IdentityError::ConfigFile`] and [`IdentityError::Credentials`]. A session that is over is no error here: it may
    /// be refreshed.
    pub fn profile(path: PathBuf, name: &str, home: Option<PathBuf>) -> Result<Self, IdentityError> {
        Ok(Self(IdentityKind::Profile(Arc::new(Kept::new(
            path, name, home,
        )?))))
    }

    /// The instance that this runs on. Nothing is asked before somebody is needed.
    #[must_use]
    pub fn instance(principal: InstancePrincipal) -> Self {
        Self(IdentityKind::Instance(Box::new(Instance::new(principal))))
    }

    /// The tenancy and region that the profile names; an instance says them when it is asked.
    #[must_use]
    pub fn named(&self) -> Option<(Ocid, Option<Region>)> {
        match &self.0 {
            IdentityKind::Instance(_) => None,
            IdentityKind::Profile(kept) => Some(kept.named()),
        }
    }

    /// What an instance is asked for; none where a profile signs.
    #[must_use]
    pub fn principal(&self) -> Option<&InstancePrincipal> {
        match &self.0 {
            IdentityKind::Instance(instance) => Some(instance.principal()),
            IdentityKind::Profile(_) => None,
        }
    }

    /// Somebody to sign a request that is made now.
    pub(super) async fn signer(&self, exchange: Exchange<'_>) -> Result<Lent, IdentityError> {
        match &self.0 {
            IdentityKind::Instance(instance) => {
                // The way to a token is long: each request would carry its room along.
                let (signer, generation) = Box::pin(instance.signer(exchange)).await?;
                Ok(Lent {
                    signer,
                    generation: Some(generation),
                })
            }
            IdentityKind::Profile(kept) => {
                let kept = Arc::clone(kept);
                // Files, and the derivation of a key from a pass phrase.
                let signer = tokio::task::spawn_blocking(move || kept.signer()).await;
                Ok(Lent {
                    signer: signer.map_err(|error| IdentityError::crashed(&error))??,
                    generation: None,
                })
            }
        }
    }

    /// Says that a service does not take this signer. Whether another one can be had that may be taken.
    pub(super) async fn give_back(&self, lent: &Lent) -> bool {
        match (&self.0, lent.generation) {
            (IdentityKind::Instance(instance), Some(generation)) => {
                instance.forget(generation).await;
                true
            }
            (IdentityKind::Instance(_) | IdentityKind::Profile(_), _) => false,
        }
    }
}
