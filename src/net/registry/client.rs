//! The client's calls, and the order of endpoints in each: the mirrors in turn, then the registry's own endpoint.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method};

use super::access::{Access, BlobStream, FetchedManifest, Target};
use super::body::chain;
use super::config::RegistryConfig;
use super::endpoint::{Registry, RegistryEndpoint};
use super::error::RegistryError;
use super::metrics::RegistryObserver;
use super::operation::{RegistryTask, RequestContext};
use super::read::{self, BlobStreamTask, BlobTask, ChallengeTask, ManifestTask, TagsTask};
use super::referrers::{ReferrersTag, ReferrersTask};
use super::registries::Registries;
use super::sender::{Attempts, Sender};
use super::write::{DeleteManifestTask, PushBlobTask, PushManifestTask};
use crate::base::printable::excerpt;
use crate::oci::{Blob, Descriptor, Digest, Repository, Tag, normalised_registry};
use crate::signature::SourceName;

/// The one client for all registries. Cheap to clone.
#[derive(Clone)]
pub struct RegistryClient {
    pub(super) registries: Arc<Registries>,
    observer: Option<RegistryObserver>,
}

impl RegistryClient {
    /// Creates a client for these registries; every other host gets [`RegistryConfig::default_for`]. The client refuses
    /// to contact `own_listeners`, which are pullgate's.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when an endpoint is forbidden, a registry is configured twice, TLS cannot be set up,
    /// or a `ca` holds no certificate.
    pub fn new(
        registries: Vec<RegistryConfig>,
        own_listeners: Vec<SocketAddr>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            registries: Arc::new(Registries::new(registries, own_listeners)?),
            observer: None,
        })
    }

    /// Returns the same client, which reports each operation at an endpoint and each token request to `observer`.
    #[must_use]
    pub fn observed(self, observer: RegistryObserver) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Returns the sources of signatures for images of this registry.
    #[must_use]
    pub fn sources(&self, registry: &str) -> &[SourceName] {
        self.registries
            .named(registry)
            .map_or(&SourceName::DEFAULT, |registry| &registry.signatures)
    }

    /// Reads a manifest or index whole: at most [`crate::base::limits::MANIFEST_BYTES`].
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn manifest(
        &self,
        repository: &Repository,
        target: &Target,
        access: &Access,
    ) -> Result<FetchedManifest, RegistryError> {
        let task = ManifestTask {
            repository: repository.path(),
            target,
        };
        self.perform(repository.registry(), access, task).await
    }

    /// Lists the manifests of these artifact types that refer to `digest`, on at most
    /// [`crate::base::limits::REFERRER_PAGES`] pages of the referrers API.
    ///
    /// # Errors
    /// [`RegistryError::NotFound`] where the registry has no referrers API, otherwise as [`RegistryError`] says.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_types: &[&str],
        access: &Access,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        self.list_referrers(repository, digest, Some(artifact_types), access)
            .await
    }

    /// Reads the referrers tag of `digest`, in which clients keep the list where the registry has no referrers API.
    ///
    /// # Errors
    /// [`RegistryError::Malformed`] when the tag's manifest cannot be read, otherwise as [`RegistryError`] says.
    pub async fn referrers_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
        access: &Access,
    ) -> Result<ReferrersTag, RegistryError> {
        let target = Target::Tag(Tag::from_subject(digest));
        match self.manifest(repository, &target, access).await {
            Ok(fetched) => ReferrersTag::from_manifest(fetched).map_err(|error| RegistryError::Malformed {
                host: repository.registry().to_owned(),
                what: format!("the referrers tag: {}", chain(&error)),
            }),
            Err(RegistryError::NotFound { .. }) => Ok(ReferrersTag::Absent),
            Err(error) => Err(error),
        }
    }

    /// Lists the manifests that refer to `digest`, of one artifact type or of all: from the referrers API, or from the referrers tag where the registry
    /// has no such API (distribution-spec 1.1, "Unavailable Referrers API").
    ///
    /// # Errors
    /// [`RegistryError::Malformed`] when the tag holds something else than a list of referrers, otherwise as
    /// [`RegistryError`] says.
    pub async fn referrers_or_tag(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
        access: &Access,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let artifact_types = artifact_type.as_ref().map(std::slice::from_ref);
        match self
            .list_referrers(repository, digest, artifact_types, access)
            .await
        {
            Err(RegistryError::NotFound { .. }) => {}
            listed => return listed,
        }
        match self.referrers_tag(repository, digest, access).await? {
            ReferrersTag::Absent => Ok(Vec::new()),
            ReferrersTag::Image => Err(RegistryError::Malformed {
                host: repository.registry().to_owned(),
                what: "the referrers tag holds an image, not a list of referrers".to_owned(),
            }),
            ReferrersTag::Index { mut index, .. } => {
                index.manifests.retain(|one| {
                    artifact_type.is_none_or(|wanted| one.artifact_type.as_deref() == Some(wanted))
                });
                Ok(index.manifests)
            }
        }
    }

    /// Reads a small blob whole and hashes it. The read is bounded by the descriptor's size and by `limit`, in bytes.
    ///
    /// # Errors
    /// [`RegistryError::TooLarge`] when the descriptor's size exceeds `limit`, otherwise as [`RegistryError`] says.
    pub async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: usize,
        access: &Access,
    ) -> Result<Blob, RegistryError> {
        let size = usize::try_from(descriptor.size)
            .ok()
            .filter(|size| *size <= limit);
        let size = size.ok_or_else(|| RegistryError::TooLarge {
            host: repository.registry().to_owned(),
            limit,
            unit: "bytes",
        })?;
        if let Some(embedded) = read::embedded(descriptor, repository.registry()) {
            return embedded;
        }
        let task = BlobTask {
            repository: repository.path(),
            descriptor,
            limit: size,
        };
        self.perform(repository.registry(), access, task).await
    }

    /// Requests a blob and passes its bytes on as they arrive. `method` is GET or HEAD. `access.deadline` bounds the wait
    /// for the response's head, [`crate::base::limits::BLOB_IDLE`] each wait after it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
        method: Method,
        range: Option<HeaderValue>,
        access: &Access,
    ) -> Result<BlobStream, RegistryError> {
        let task = BlobStreamTask {
            repository: repository.path(),
            digest,
            method,
            range,
        };
        self.perform(repository.registry(), access, task).await
    }

    /// Reads one page of the tag list: the body unchanged (at most [`crate::base::limits::TAGS_BYTES`]), and the `Link`
    /// header. Of `query`, only `n` and `last` reach the registry.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn tags(
        &self,
        repository: &Repository,
        query: Option<&str>,
        access: &Access,
    ) -> Result<(Bytes, Option<HeaderValue>), RegistryError> {
        let task = TagsTask {
            repository: repository.path(),
            query,
        };
        self.perform(repository.registry(), access, task).await
    }

    /// Returns the registry's response on `/v2/` to a client without credentials: `None` for 200, the challenge for 401.
    /// Also `None` where the client's own credentials do not pass through, so that it need not log in.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn challenge(
        &self,
        registry: &str,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let host = normalised_registry(registry).map_err(|error| RegistryError::Refused {
            host: excerpt(registry),
            why: error.to_string(),
        })?;
        self.perform_at_endpoint(&host, access, ChallengeTask).await
    }

    /// Stores a blob (monolithic: POST, then PUT). For the tool's `sign` and `signature import`; the daemon never calls
    /// it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Blob,
        access: &Access,
    ) -> Result<(), RegistryError> {
        let task = PushBlobTask {
            repository: repository.path(),
            blob,
        };
        self.perform_at_endpoint(repository.registry(), access, task)
            .await
    }

    /// Stores a manifest under its digest or a tag. Returns whether the registry recorded its `subject`
    /// (`OCI-Subject`); then the registry keeps the list of referrers itself.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        media_type: &str,
        blob: &Blob,
        access: &Access,
    ) -> Result<bool, RegistryError> {
        let task = PushManifestTask {
            repository: repository.path(),
            target,
            media_type,
            blob,
        };
        self.perform_at_endpoint(repository.registry(), access, task)
            .await
    }

    /// Deletes a manifest by digest, or a tag where the registry supports it.
    ///
    /// # Errors
    /// [`RegistryError`].
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        access: &Access,
    ) -> Result<(), RegistryError> {
        let task = DeleteManifestTask {
            repository: repository.path(),
            target,
        };
        self.perform_at_endpoint(repository.registry(), access, task)
            .await
    }

    async fn list_referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_types: Option<&[&str]>,
        access: &Access,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let task = ReferrersTask {
            repository: repository.path(),
            digest,
            artifact_types,
        };
        self.perform(repository.registry(), access, task).await
    }

    /// Performs a read at the mirrors in order and then at the endpoint, until one succeeds. A mirror's failure, of
    /// whatever kind, leads to the next; the endpoint's failure is the result.
    async fn perform<T: RegistryTask + Sync>(
        &self,
        host: &str,
        access: &Access,
        task: T,
    ) -> Result<T::Output, RegistryError> {
        let registry = self.registries.registry(host)?;
        for mirror in registry.mirrors() {
            // A slow mirror may use half of the remaining time, not all of it.
            let now = Instant::now();
            let deadline = now + access.deadline.saturating_duration_since(now) / 2;
            let context = self.context(&registry, mirror, Attempts::Mirror, access, deadline);
            match context.perform(&task).await {
                Ok(output) => return Ok(output),
                Err(error) => {
                    tracing::debug!(mirror = mirror.host, error = chain(&error), "A mirror failed");
                    if is_silence(&error) {
                        mirror.rest();
                    }
                }
            }
        }
        self.at_endpoint(&registry, access).perform(&task).await
    }

    /// Performs an operation at the endpoint only: a write, or a read that only the registry itself can answer.
    async fn perform_at_endpoint<T: RegistryTask + Sync>(
        &self,
        host: &str,
        access: &Access,
        task: T,
    ) -> Result<T::Output, RegistryError> {
        let registry = self.registries.registry(host)?;
        self.at_endpoint(&registry, access).perform(&task).await
    }

    fn at_endpoint<'a>(&'a self, registry: &'a Registry, access: &'a Access) -> RequestContext<'a> {
        self.context(
            registry,
            registry.endpoint(),
            Attempts::Endpoint,
            access,
            access.deadline,
        )
    }

    fn context<'a>(
        &'a self,
        registry: &'a Registry,
        endpoint: &'a RegistryEndpoint,
        attempts: Attempts,
        access: &'a Access,
        deadline: Instant,
    ) -> RequestContext<'a> {
        RequestContext {
            sender: Sender {
                transport: &registry.transport,
                guard: &self.registries.guard,
                endpoint,
                attempts,
                deadline,
                observer: self.observer.as_ref(),
            },
            registry,
            tokens: &self.registries.tokens,
            no_referrers_api: &self.registries.no_referrers_api,
            presented: access.presented.as_ref(),
        }
    }
}

/// Whether an error means that the mirror said nothing useful, so that another request soon would be wasted.
fn is_silence(error: &RegistryError) -> bool {
    match error {
        RegistryError::DeadlineExceeded { .. } | RegistryError::Unreachable { .. } => true,
        RegistryError::Credentials { .. }
        | RegistryError::DigestMismatch { .. }
        | RegistryError::Malformed { .. }
        | RegistryError::NotFound { .. }
        | RegistryError::Refused { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Unauthorized { .. } => false,
    }
}
