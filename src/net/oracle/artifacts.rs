//! Where the signatures of images of one registry are, in Oracle's Artifacts API.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::PAGE_LIMIT;
use super::wire::{LookUpImage, WireError};
use super::{
    ApiError, Identity, Ocid, OracleClient, OracleObserver, ServiceEndpoint, SignatureFilter, SignatureList,
};
use crate::net::transport::guard::host_of;
use crate::net::transport::system_roots;
use crate::oci::{Digest, Repository};

/// `[registry.oracle]`: where the API is asked about the images of one registry, and as whom.
#[derive(Clone, Debug)]
pub struct OracleRegistryConfig {
    /// The Artifacts API.
    pub artifacts: ServiceEndpoint,
    /// Where the repositories are; none: looked up, once a repository.
    pub compartment_id: Option<Ocid>,
    /// And the compartments in it.
    pub in_subtree: bool,
    /// As whom.
    pub identity: Arc<Identity>,
    /// PEM certificates trusted beside the system's, already read.
    pub ca: Option<Vec<u8>>,
}

/// Every registry that has its signatures there, by the host as it stands in image names.
#[derive(Clone, Default)]
pub struct OracleRegistries {
    by_host: HashMap<String, Arc<OracleRegistry>>,
}

/// One registry's signatures.
pub struct OracleRegistry {
    client: OracleClient,
    artifacts: ServiceEndpoint,
    compartment_id: Option<Ocid>,
    in_subtree: bool,
    /// By repository.
    looked_up: quick_cache::sync::Cache<String, (Ocid, Instant)>,
}

/// What is asked for in one compartment.
#[derive(Clone, Copy)]
struct CompartmentQuery<'a> {
    name: &'a str,
    digest: &'a Digest,
    records: usize,
    deadline: Instant,
}

/// Why a registry's signatures were not asked for, or not given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OracleRegistryError {
    /// The API did not say where the repository is.
    #[error("the compartment of the repository is not known")]
    Compartment(#[source] ApiError),
    /// A name without the part that Oracle's registry has first.
    #[error("`{path}` has no tenancy namespace before the name of the repository")]
    Namespace {
        /// The repository's path.
        path: String,
    },
}

impl OracleRegistries {
    /// These registries. `own` are the gate's own listeners, which it must never ask.
    ///
    /// # Errors
    /// [`ApiError::Setup`].
    pub fn new(
        configs: &[(String, OracleRegistryConfig)],
        own: &[SocketAddr],
        observer: Option<&OracleObserver>,
    ) -> Result<Self, ApiError> {
        let mut by_host = HashMap::new();
        if configs.is_empty() {
            return Ok(Self { by_host });
        }
        let system = system_roots();
        for (host, config) in configs {
            let identity = Arc::clone(&config.identity);
            let client = OracleClient::trusting(identity, own.to_vec(), &system, config.ca.as_deref())?;
            let source = OracleRegistry {
                client: match observer {
                    Some(observer) => client.observed(Arc::clone(observer)),
                    None => client,
                },
                artifacts: config.artifacts.clone(),
                compartment_id: config.compartment_id.clone(),
                in_subtree: config.in_subtree,
                looked_up: quick_cache::sync::Cache::new(REPOSITORIES),
            };
            by_host.insert(host.clone(), Arc::new(source));
        }
        Ok(Self { by_host })
    }

    /// The signatures of this registry's images, if they are there.
    #[must_use]
    pub fn of(&self, registry: &str) -> Option<&OracleRegistry> {
        self.by_host.get(registry).map(Arc::as_ref)
    }
}

impl OracleRegistry {
    /// The records that the API has of a manifest, as far as `records` go. Which manifest a record is of is what its
    /// signed message says: the answer is believed in nothing.
    ///
    /// # Errors
    /// As [`SourceError`] says.
    pub async fn signatures(
        &self,
        repository: &Repository,
        digest: &Digest,
        records: usize,
        deadline: Instant,
    ) -> Result<SignatureList, OracleRegistryError> {
        // Oracle's registry has the tenancy's namespace as the first part of a path; signatures know the rest.
        let Some((_namespace, name)) = repository.path().split_once('/') else {
            return Err(OracleRegistryError::Namespace {
                path: repository.path().to_owned(),
            });
        };
        let sought = CompartmentQuery {
            name,
            digest,
            records,
            deadline,
        };
        if let Some(compartment_id) = &self.compartment_id {
            return Ok(self.list(compartment_id, sought).await);
        }
        let known = self.looked_up.get(repository.path());
        let known = known.filter(|(_, at)| at.elapsed() < LOOKED_UP);
        if let Some((compartment_id, _)) = known {
            let found = self.list(&compartment_id, sought).await;
            if !found.signatures.is_empty() || found.incomplete.is_some() {
                return Ok(found);
            }
            // Nothing there: the repository may have been moved to another compartment.
        }
        let compartment_id = self.look_up(repository, name, digest, deadline).await;
        let compartment_id = compartment_id.map_err(OracleRegistryError::Compartment)?;
        Ok(self.list(&compartment_id, sought).await)
    }

    async fn list(&self, compartment_id: &Ocid, sought: CompartmentQuery<'_>) -> SignatureList {
        let filter = SignatureFilter {
            compartment_id,
            in_subtree: self.in_subtree,
            repository_name: sought.name,
            image_digest: sought.digest,
            limit: PAGE_LIMIT,
            page: None,
        };
        self.client
            .list_signatures(&self.artifacts, &filter, sought.records, sought.deadline)
            .await
    }

    async fn look_up(
        &self,
        repository: &Repository,
        name: &str,
        digest: &Digest,
        deadline: Instant,
    ) -> Result<Ocid, ApiError> {
        let image = LookUpImage::new(repository, digest);
        let image = self
            .client
            .look_up_image(&self.artifacts, &image, deadline)
            .await?;
        let differs = |field| ApiError::Malformed {
            host: host_of(self.artifacts.as_url()),
            source: WireError::Differs { field },
        };
        if image.digest != *digest {
            return Err(differs("digest"));
        }
        if image.repository_name != name {
            return Err(differs("repositoryName"));
        }
        let found = (image.compartment_id.clone(), Instant::now());
        self.looked_up.insert(repository.path().to_owned(), found);
        Ok(image.compartment_id)
    }
}

impl std::fmt::Debug for OracleRegistry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Source")
            .field("artifacts", &self.artifacts)
            .field("compartment_id", &self.compartment_id)
            .field("in_subtree", &self.in_subtree)
            .finish_non_exhaustive()
    }
}

/// Repositories of which the compartment is remembered. Who pulls decides the names, so it is bounded; one that was
/// forgotten is only looked up again.
const REPOSITORIES: usize = 1024;

/// How long a compartment is remembered.
const LOOKED_UP: Duration = Duration::from_secs(600);
