//! The resolver: manifests in memory, and one request at a time for each tag.

use std::sync::Arc;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::{DescriptionMismatch, ResolveError, Subject, fetch, parse, target};
use crate::base::single_flight::{Freshness, SingleFlight};
use crate::net::registry::{RegistryClient, RegistryError, Target};
use crate::oci::{Digest, Repository};
use crate::pull::policy::Generation;
use crate::pull::request::{CredentialsHash, DescribedManifest, PullContext, PullRequest, Purpose};

/// Bounds of the manifests that are kept between a runtime's HEAD and its GET: their number (roughly), bytes and age.
const SUBJECTS: usize = 1024;
const SUBJECT_BYTES: u64 = 8 * 1024 * 1024;
const SUBJECT_LIFE: Duration = Duration::from_secs(60);

/// The number of manifests for which the last reader is known.
const READERS: usize = 4096;

/// Resolves references to manifests.
pub(crate) struct Resolver {
    subjects: Cache<SubjectKey, Arc<ReadSubject>, ByBytes>,
    /// The credentials with which each manifest was read last.
    readers: Cache<(Repository, Digest), CredentialsHash>,
    requests: SingleFlight<ManifestRequestKey, Result<Arc<Subject>, ResolveError>>,
}

/// A manifest and the credentials with which it was read: content that one client may read is not served to a client
/// that presents other credentials.
type SubjectKey = (Repository, Digest, CredentialsHash);

/// Everything that has to be the same for two pulls to share one request to the registry.
#[derive(Clone, PartialEq, Eq, Hash)]
struct ManifestRequestKey {
    repository: Repository,
    target: Target,
    credentials: CredentialsHash,
    generation: Generation,
    epoch: u64,
}

struct ReadSubject {
    subject: Arc<Subject>,
    /// The `Content-Type` under which the bytes were parsed: under another one they may not be valid.
    content_type: Option<String>,
    read_at: Instant,
}

/// Bounds the cache by size. A parsed descriptor takes more room than its text; twice the text is a fair measure.
#[derive(Clone)]
struct ByBytes;

impl Weighter<SubjectKey, Arc<ReadSubject>> for ByBytes {
    fn weight(&self, _: &SubjectKey, read: &Arc<ReadSubject>) -> u64 {
        u64::try_from(512 + 3 * read.subject.manifest.bytes().len()).unwrap_or(u64::MAX)
    }
}

impl Resolver {
    pub(crate) fn new() -> Self {
        Self {
            subjects: Cache::with_weighter(SUBJECTS, SUBJECT_BYTES, ByBytes),
            readers: Cache::new(READERS),
            requests: SingleFlight::new(Freshness::AfterJoin),
        }
    }

    /// Resolves the manifest of a pull, and checks it against the description that the client supplied. A tag is
    /// resolved at the registry each time. A digest always stands for the same content, so it is read once for clients
    /// with the same credentials: a runtime sends HEAD with the tag, then GET with the digest.
    pub(crate) async fn resolve(
        &self,
        pull: PullContext<'_>,
        client: &RegistryClient,
    ) -> Result<Arc<Subject>, ResolveError> {
        let subject = match self.cached(pull.request) {
            Some(read) => Arc::clone(&read.subject),
            None => {
                let key = ManifestRequestKey {
                    repository: pull.repository().clone(),
                    target: target(&pull.request.reference),
                    credentials: pull.request.credentials_hash(),
                    generation: pull.policy.generation(),
                    epoch: pull.epoch,
                };
                // Boxed, so that a pull that memory answers does not carry the state of a request to a registry.
                let read = || Box::pin(self.read(pull.request, client));
                self.requests.ask(key, read, is_shareable).await?
            }
        };
        match &pull.request.purpose {
            Purpose::VerdictOnly(Some(described)) => check_description(&subject, described)?,
            Purpose::VerdictOnly(None) | Purpose::Serve => {}
        }
        Ok(subject)
    }

    /// Forgets all manifests.
    pub(crate) fn clear(&self) {
        self.subjects.clear();
    }

    fn cached(&self, request: &PullRequest) -> Option<Arc<ReadSubject>> {
        let repository = &request.reference.repository;
        let digest = request.reference.digest?;
        let credentials = request.credentials_hash();
        let read_with = |credentials| self.subjects.get(&(repository.clone(), digest, credentials));
        match request.purpose {
            Purpose::Serve => read_with(credentials).filter(|read| read.read_at.elapsed() < SUBJECT_LIFE),
            // The client receives no content, and the content of a digest cannot change: any earlier read will do.
            Purpose::VerdictOnly(_) => {
                read_with(credentials).or_else(|| read_with(self.readers.get(&(repository.clone(), digest))?))
            }
        }
    }

    async fn read(
        &self,
        request: &PullRequest,
        client: &RegistryClient,
    ) -> Result<Arc<Subject>, ResolveError> {
        let repository = &request.reference.repository;
        let credentials = request.credentials_hash();
        let fetched = fetch(client, &request.reference, &request.access()).await?;
        let key = (repository.clone(), *fetched.blob.digest(), credentials);
        let content_type = fetched.content_type.clone();
        let known = self.subjects.get(&key);
        let subject = match known.filter(|known| known.content_type == content_type) {
            // The tag has not moved: the same bytes were parsed before under the same type.
            Some(known) => Arc::clone(&known.subject),
            None => Arc::new(parse(repository, fetched)?),
        };
        let read = ReadSubject {
            subject: Arc::clone(&subject),
            content_type,
            read_at: Instant::now(),
        };
        let (repository, digest, _) = key.clone();
        self.readers.insert((repository, digest), credentials);
        self.subjects.insert(key, Arc::new(read));
        Ok(subject)
    }
}

/// Compares the manifest with the description that the client was given of it.
fn check_description(subject: &Subject, described: &DescribedManifest) -> Result<(), ResolveError> {
    let actual_type = subject.document.media_type().as_str();
    let actual_size = u64::try_from(subject.manifest.bytes().len()).unwrap_or(u64::MAX);
    let mismatch = if described.media_type != actual_type {
        DescriptionMismatch::MediaType {
            described: described.media_type.clone(),
            actual: actual_type.to_owned(),
        }
    } else if described.size != actual_size {
        DescriptionMismatch::Size {
            described: described.size,
            actual: actual_size,
        }
    } else {
        return Ok(());
    };
    Err(ResolveError::NotAsDescribed {
        digest: *subject.digest(),
        mismatch,
    })
}

/// Returns whether other callers may receive this result too. A deadline error applies to one caller only; others may
/// have more time left.
fn is_shareable(result: &Result<Arc<Subject>, ResolveError>) -> bool {
    !matches!(
        result,
        Err(ResolveError::Registry(RegistryError::DeadlineExceeded { .. }))
    )
}
