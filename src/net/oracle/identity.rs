//! The identity that requests are signed as: a profile of the configuration file that Oracle's tools share, or the
//! instance that the process runs on.

pub(crate) mod error;
pub(crate) mod profile_signer;
mod instance;
mod profile;

use std::path::PathBuf;
use std::sync::Arc;

pub use error::IdentityError;
pub use instance::{InstancePrincipal, MetadataService};

use self::instance::Instance;
use self::profile::WatchedProfile;
use super::{Ocid, Region, RequestSigner};
use crate::net::oracle::sender::ApiSender;

/// An identity that signs requests.
#[derive(Debug)]
pub struct Identity(IdentityKind);

#[derive(Debug)]
enum IdentityKind {
    Instance(Box<Instance>),
    Profile(Arc<WatchedProfile>),
}

/// A signer for one request.
pub(super) struct LeasedSigner {
    pub(super) signer: RequestSigner,
    /// The generation of the instance's token; `None` for a profile.
    generation: Option<u64>,
}

impl Identity {
    /// A profile of a configuration file. `home` replaces `~` in it. The file, the key and the token are read now, and
    /// again whenever they have changed: `oci session refresh` rewrites the token, and a rotated API key comes with a
    /// new file and fingerprint.
    ///
    /// # Errors
    /// [`IdentityError::ConfigFile`] and [`IdentityError::Profile`]. An expired session is not an error here, since it
    /// may be refreshed.
    pub fn profile(path: PathBuf, name: &str, home: Option<PathBuf>) -> Result<Self, IdentityError> {
        let profile = WatchedProfile::new(path, name, home)?;
        Ok(Self(IdentityKind::Profile(Arc::new(profile))))
    }

    /// The instance that the process runs on. The first request that needs a signer asks the metadata service.
    #[must_use]
    pub fn instance(principal: InstancePrincipal) -> Self {
        Self(IdentityKind::Instance(Box::new(Instance::new(principal))))
    }

    /// Returns the tenancy and region of a profile. An instance learns them from its metadata service only.
    #[must_use]
    pub fn profile_tenancy_and_region(&self) -> Option<(Ocid, Option<Region>)> {
        match &self.0 {
            IdentityKind::Instance(_) => None,
            IdentityKind::Profile(profile) => Some(profile.tenancy_and_region()),
        }
    }

    /// Returns the services that an instance asks; `None` for a profile.
    #[must_use]
    pub fn instance_principal(&self) -> Option<&InstancePrincipal> {
        match &self.0 {
            IdentityKind::Instance(instance) => Some(instance.principal()),
            IdentityKind::Profile(_) => None,
        }
    }

    /// Returns a signer for a request that is made now.
    pub(super) async fn signer(&self, sender: ApiSender<'_>) -> Result<LeasedSigner, IdentityError> {
        match &self.0 {
            IdentityKind::Instance(instance) => {
                // Boxed: getting a token is rare and its future large, and every request's future would contain it.
                let (signer, generation) = Box::pin(instance.signer(sender)).await?;
                Ok(LeasedSigner {
                    signer,
                    generation: Some(generation),
                })
            }
            IdentityKind::Profile(profile) => {
                let profile = Arc::clone(profile);
                // Reads files, and derives a key from a pass phrase.
                let signer = tokio::task::spawn_blocking(move || profile.signer()).await;
                Ok(LeasedSigner {
                    signer: signer.map_err(|error| IdentityError::from_join(&error))??,
                    generation: None,
                })
            }
        }
    }

    /// Drops a signer that a service refused. Returns whether [`Self::signer`] may now return one that is accepted.
    pub(super) async fn drop_refused(&self, leased: &LeasedSigner) -> bool {
        match (&self.0, leased.generation) {
            (IdentityKind::Instance(instance), Some(generation)) => {
                instance.forget(generation).await;
                true
            }
            (IdentityKind::Instance(_) | IdentityKind::Profile(_), _) => false,
        }
    }
}
