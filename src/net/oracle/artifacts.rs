//! The image signatures of one registry, as Oracle's Artifacts API lists them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::client::{OracleClient, PAGE_LIMIT, SignatureList};
use super::wire::{LookUpImage, WireError};
use super::{Identity, Ocid, OracleObserver, ServiceEndpoint, SignatureFilter};
use crate::net::oracle::call_error::CallError;
use crate::net::oracle::error::{ApiError, ClientSetupError};
use crate::net::transport::guard::host_of;
use crate::net::transport::system_roots;
use crate::oci::{Digest, Repository};

/// Number of repositories whose compartment is cached. Clients choose the names, so it is bounded; a repository that is
/// evicted is looked up again.
const REPOSITORIES: usize = 1024;

/// How long a repository's compartment is cached.
const COMPARTMENT_LIFE: Duration = Duration::from_secs(600);

/// `[registry.oracle]`: the API that lists the signatures of one registry's images, and the identity that asks it.
#[derive(Clone, Debug)]
pub struct OracleRegistryConfig {
    /// The Artifacts API.
    pub artifacts: ServiceEndpoint,
    /// The compartment of the repositories; `None` to look it up, once a repository.
    pub compartment_id: Option<Ocid>,
    /// Whether the compartments below `compartment_id` are searched too.
    pub in_subtree: bool,
    /// The identity that requests are signed as.
    pub identity: Arc<Identity>,
    /// Content of a PEM file of certificates that are trusted beside the system's.
    pub ca: Option<Vec<u8>>,
}

/// Every registry whose signatures Oracle's API lists, by its host as image names spell it.
#[derive(Clone, Default)]
pub struct OracleRegistries {
    by_host: HashMap<String, Arc<OracleRegistry>>,
}

/// One registry whose signatures Oracle's API lists.
pub struct OracleRegistry {
    client: OracleClient,
    artifacts: ServiceEndpoint,
    compartment_id: Option<Ocid>,
    in_subtree: bool,
    /// The compartment of each repository, and when it was looked up.
    compartments: quick_cache::sync::Cache<String, (Ocid, Instant)>,
}

/// The signatures that are wanted of one compartment.
#[derive(Clone, Copy)]
struct CompartmentQuery<'a> {
    name: &'a str,
    digest: &'a Digest,
    records: usize,
    deadline: Instant,
}

/// Why the list of an image's signatures was not requested.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum OracleRegistryError {
    /// The API did not return the repository's compartment.
    #[error("could not look up the compartment of the repository")]
    Compartment(#[source] ApiError),
    /// The path lacks its first part, which Oracle's registry requires.
    #[error("`{path}` has no tenancy namespace before the name of the repository")]
    Namespace {
        /// The repository's path.
        path: String,
    },
}

impl OracleRegistries {
    /// Sets up a client for each registry. The clients never connect to `own_listeners`, the gate's own addresses.
    ///
    /// # Errors
    /// [`ClientSetupError`] when certificates are unusable.
    pub fn new(
        configs: &[(String, OracleRegistryConfig)],
        own_listeners: &[SocketAddr],
        observer: Option<&OracleObserver>,
    ) -> Result<Self, ClientSetupError> {
        let mut by_host = HashMap::new();
        if configs.is_empty() {
            return Ok(Self { by_host });
        }
        let system = system_roots();
        for (host, config) in configs {
            let identity = Arc::clone(&config.identity);
            let own_listeners = own_listeners.to_vec();
            let client = OracleClient::with_roots(identity, own_listeners, &system, config.ca.as_deref())?;
            let registry = OracleRegistry {
                client: match observer {
                    Some(observer) => client.observed(Arc::clone(observer)),
                    None => client,
                },
                artifacts: config.artifacts.clone(),
                compartment_id: config.compartment_id.clone(),
                in_subtree: config.in_subtree,
                compartments: quick_cache::sync::Cache::new(REPOSITORIES),
            };
            by_host.insert(host.clone(), Arc::new(registry));
        }
        Ok(Self { by_host })
    }

    /// Returns the registry of this host, if Oracle's API lists its signatures.
    #[must_use]
    pub fn get(&self, host: &str) -> Option<&OracleRegistry> {
        self.by_host.get(host).map(Arc::as_ref)
    }
}

impl OracleRegistry {
    /// Lists the records that the API has for a manifest, at most `records` of them. The list is not trusted: a record
    /// belongs to the manifest that its signed message names.
    ///
    /// # Errors
    /// As [`OracleRegistryError`] says.
    pub async fn signatures(
        &self,
        repository: &Repository,
        digest: &Digest,
        records: usize,
        deadline: Instant,
    ) -> Result<SignatureList, OracleRegistryError> {
        // In Oracle's registry, a path begins with the tenancy's namespace; the API's repository names lack it.
        let Some((_namespace, name)) = repository.path().split_once('/') else {
            return Err(OracleRegistryError::Namespace {
                path: repository.path().to_owned(),
            });
        };
        let query = CompartmentQuery {
            name,
            digest,
            records,
            deadline,
        };
        if let Some(compartment_id) = &self.compartment_id {
            return Ok(self.list(compartment_id, query).await);
        }
        let cached = self.compartments.get(repository.path());
        let cached = cached.filter(|(_, at)| at.elapsed() < COMPARTMENT_LIFE);
        if let Some((compartment_id, _)) = cached {
            let list = self.list(&compartment_id, query).await;
            if !list.signatures.is_empty() || list.incomplete.is_some() {
                return Ok(list);
            }
            // The list is empty: the repository may have moved to another compartment since.
        }
        let compartment_id = self.look_up(repository, name, digest, deadline).await;
        let compartment_id = compartment_id.map_err(OracleRegistryError::Compartment)?;
        Ok(self.list(&compartment_id, query).await)
    }

    async fn list(&self, compartment_id: &Ocid, query: CompartmentQuery<'_>) -> SignatureList {
        let filter = SignatureFilter {
            compartment_id,
            in_subtree: self.in_subtree,
            repository_name: query.name,
            image_digest: query.digest,
            limit: PAGE_LIMIT,
            page: None,
        };
        self.client
            .list_signatures(&self.artifacts, &filter, query.records, query.deadline)
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
        let differs = |field| {
            ApiError::Call(CallError::Malformed {
                host: host_of(self.artifacts.as_url()),
                source: WireError::Differs { field },
            })
        };
        if image.digest != *digest {
            return Err(differs("digest"));
        }
        if image.repository_name != name {
            return Err(differs("repositoryName"));
        }
        let found = (image.compartment_id.clone(), Instant::now());
        self.compartments.insert(repository.path().to_owned(), found);
        Ok(image.compartment_id)
    }
}

impl std::fmt::Debug for OracleRegistry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("OracleRegistry")
            .field("artifacts", &self.artifacts)
            .field("compartment_id", &self.compartment_id)
            .field("in_subtree", &self.in_subtree)
            .finish_non_exhaustive()
    }
}
