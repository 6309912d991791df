//! All that pullgate asks of registries: the pull side of distribution-spec 1.1, over one HTTP client.
//!
//! Every body is bounded before it is read, every manifest is hashed against what was asked, 404 alone means absent,
//! and nothing is sent to a place that the configuration (or the registry it names) did not name.

mod auth;
mod body;
mod challenge;
mod client;
mod read;
mod docker_credentials;
mod endpoint;
mod sender;
mod metrics;
mod write;
mod referrers;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use sha2::{Digest as _, Sha256};
use url::Url;

use self::client::Registries;
use self::referrers::ReferrersTask;
use crate::base::printable::excerpt;
pub use crate::net::registry::docker_credentials::{Login, Secret};
pub use crate::net::registry::metrics::{RegistryObserver, RegistryOperation, RequestOutcome};
use crate::net::registry::read::{BlobStreamTask, BlobTask, ChallengeTask, ManifestTask, TagsTask};
use crate::net::registry::write::{DeleteManifestTask, PushBlobTask, PushManifestTask};
use crate::oci::{Blob, Descriptor, Digest, Repository, Tag, normalised_registry};

/// Where the registry that images call `docker.io` is reached.
const HUB: &str = "registry-1.docker.io";

/// One `[[registry]]`: where a registry named in images is reached, and how.
#[derive(Clone, Debug)]
pub struct RegistryConfig {
    /// As it stands in image names: host, and port where one is named.
    pub host: String,
    /// Tried in order: mirrors first, the endpoint last. Never empty.
    pub endpoints: Vec<Url>,
    /// PEM certificates trusted beside the system's, already read.
    pub ca: Option<Vec<u8>>,
    /// Whose credentials are shown.
    pub credentials: Credentials,
    /// Where signatures are looked for, in this order. Never empty.
    pub signatures: Vec<SourceName>,
}

impl RegistryConfig {
    /// How a registry is reached that no `[[registry]]` names: `https://<host>` (Docker Hub at its own endpoint), the
    /// client's own credentials, signatures in the registry itself and in the state directory.
    ///
    /// # Errors
    /// [`RegistryError::Refused`] when the host makes no URL.
    pub fn default_for(host: &str) -> Result<Self, RegistryError> {
        let refused = |why: &str| RegistryError::Refused {
            host: excerpt(host),
            why: why.to_owned(),
        };
        let server = if host == "docker.io" { HUB } else { host };
        let endpoint = Url::parse(&format!("https://{server}"));
        let endpoint = endpoint.map_err(|error| refused(&format!("it is no host name: {error}")))?;
        // What a client sends as host must not bring a path, a query or a password with it.
        if endpoint.path() != "/"
            || endpoint.query().is_some()
            || endpoint.fragment().is_some()
            || host.contains('@')
        {
            return Err(refused("it is no host name"));
        }
        Ok(Self {
            host: host.to_owned(),
            endpoints: vec![endpoint],
            ca: None,
            credentials: Credentials::Passthrough,
            signatures: SourceName::DEFAULT.to_vec(),
        })
    }
}

/// Whose credentials a registry is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Credentials {
    /// None.
    Anonymous,
    /// From a file in Docker's format (`auth.json`, `config.json`), read at each use so that a login takes effect.
    File(PathBuf),
    /// From a `docker-credential-*` program on `PATH` or by absolute path.
    Helper(String),
    /// The client's own `Authorization`, as it came; the origin's challenge goes back to it.
    Passthrough,
}

/// A place where signatures are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum SourceName {
    /// `<state>/signatures/<algorithm>/<hex>/*.json` on this host.
    Directory,
    /// Oracle's Artifacts API: [`crate::net::oracle::Source`].
    OracleApi,
    /// The referrers API.
    Referrers,
    /// The referrers tag `sha256-<hex>`.
    Tag,
}

impl SourceName {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Referrers, Self::Tag, Self::OracleApi, Self::Directory];

    /// Where signatures are looked for when the configuration does not say: what needs no setting.
    pub const DEFAULT: [Self; 3] = [Self::Referrers, Self::Tag, Self::Directory];

    /// As the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Directory => "directory",
            Self::OracleApi => "oracle-api",
            Self::Referrers => "referrers",
            Self::Tag => "tag",
        }
    }
}

/// What one client showed, and until when its pull may take.
#[derive(Clone, Debug)]
pub struct Access {
    /// What the client presented, if anything. Used with [`Credentials::Passthrough`] only.
    pub presented: Option<Presented>,
    /// No request begins, and no answer is waited for, after this instant.
    pub deadline: Instant,
}

/// A client's own credentials. Those of one client are never shown for another.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// An `Authorization` header, which is shown as it came: the client answers challenges itself.
    Header(HeaderValue),
    /// A login, with which we answer the challenges.
    Login(Login),
}

impl Presented {
    /// Stands for the credentials wherever they must be told apart and not be kept.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &[u8]| {
            // The length first, so that no two lists of parts run together to one.
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        match self {
            Self::Header(header) => part(header.as_bytes()),
            Self::Login(Login::Basic { user, password }) => {
                part(b"basic");
                part(user.as_bytes());
                part(password.expose().as_bytes());
            }
            Self::Login(Login::IdentityToken(token)) => {
                part(b"identity");
                part(token.expose().as_bytes());
            }
        }
        hash.finalize().into()
    }
}

impl std::fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("(not shown)")
    }
}

/// A manifest by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// By digest: the bytes must have it.
    Digest(Digest),
    /// By tag: the bytes' SHA-256 becomes the digest.
    Tag(Tag),
}

/// A manifest that was read whole and hashed.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// The bytes and their digest.
    pub blob: Blob,
    /// `Content-Type`, if the registry sent one.
    pub content_type: Option<String>,
}

/// The answer to a request for a blob: its head, and its bytes as they come. Nothing has hashed them: the runtime does
/// (it asked by digest), and a door must only stream blobs that an admitted manifest names.
pub struct BlobStream {
    /// 200 or 206 (and 416 passes through).
    pub status: StatusCode,
    /// `Content-Length`, `Content-Range`, `Content-Type`, `Accept-Ranges`, `ETag`: nothing else is passed on.
    pub headers: HeaderMap,
    /// The bytes. Ends with an error when the origin stalls for [`crate::base::limits::BLOB_IDLE`] or breaks off.
    pub body: futures_util::stream::BoxStream<'static, Result<Bytes, RegistryError>>,
}

/// Why a registry did not give what was asked. Absent, unauthorized and unreachable are never confused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// The node's own credentials for this registry could not be had: then it is not asked at all.
    #[error("the credentials for `{host}` cannot be had: {what}")]
    Credentials {
        /// The registry as it stands in image names.
        host: String,
        /// Which file or program, and what happened.
        what: String,
    },
    /// The pull's deadline passed.
    #[error("no answer from `{host}` before the pull's deadline")]
    DeadlineExceeded {
        /// Whom we asked.
        host: String,
    },
    /// The bytes are not what was asked for.
    #[error("`{host}` sent other bytes than asked for")]
    DigestMismatch {
        /// Whom we asked.
        host: String,
        /// What was asked and what came.
        #[source]
        mismatch: crate::oci::DigestMismatch,
    },
    /// The answer breaks the specification.
    #[error("`{host}` answered against the specification: {what}")]
    Malformed {
        /// Whom we asked.
        host: String,
        /// What is wrong.
        what: String,
    },
    /// 404: it is not there.
    #[error("not found at `{host}`")]
    NotFound {
        /// Whom we asked.
        host: String,
    },
    /// The request would have gone to a place that it must not go to (link-local, metadata, the gate itself, another
    /// scheme).
    #[error("refused to ask `{host}`: {why}")]
    Refused {
        /// Where it would have gone.
        host: String,
        /// Why not.
        why: String,
    },
    /// The answer is larger, or goes on longer, than its bound.
    #[error("`{host}` sent more than {limit} {unit}")]
    TooLarge {
        /// Whom we asked.
        host: String,
        /// The bound.
        limit: usize,
        /// Of what: `bytes`, `pages`, `redirects`.
        unit: &'static str,
    },
    /// 401 or 403 after everything we may show was shown.
    #[error("`{host}` refused the credentials: {message}")]
    Unauthorized {
        /// Whom we asked.
        host: String,
        /// The registry's own words, made printable and bounded.
        message: String,
        /// The origin's `WWW-Authenticate`, for the client whose own credentials pass through.
        challenge: Option<HeaderValue>,
    },
    /// No connection, TLS failure, 429, 5xx, or an answer that broke off.
    #[error("`{host}` is not reachable: {what}")]
    Unreachable {
        /// Whom we asked.
        host: String,
        /// What happened, with its causes.
        what: String,
    },
}

/// The one client for all registries. Cheap to clone.
#[derive(Clone)]
pub struct RegistryClient {
    shared: Arc<Registries>,
    observer: Option<RegistryObserver>,
}

impl RegistryClient {
    /// A client for these registries; every other host gets [`RegistryConfig::default_for`]. `own` are the gate's own
    /// listeners, which it must never ask.
    ///
    /// # Errors
    /// [`RegistryError`] when TLS cannot be set up or a `ca` holds no certificate.
    pub fn new(
        registries: Vec<RegistryConfig>,
        own: Vec<std::net::SocketAddr>,
    ) -> Result<Self, RegistryError> {
        Ok(Self {
            shared: Arc::new(Registries::new(registries, own)?),
            observer: None,
        })
    }

    /// The same client, telling `observer` of each endpoint that is asked and of each token.
    #[must_use]
    pub fn observed(self, observer: RegistryObserver) -> Self {
        Self {
            observer: Some(observer),
            ..self
        }
    }

    /// Where signatures of images of this registry are looked for.
    #[must_use]
    pub fn sources(&self, registry: &str) -> &[SourceName] {
        self.shared
            .named(registry)
            .map_or(&SourceName::DEFAULT, |registry| &registry.signatures)
    }

    /// Reads a manifest or index, whole: at most [`crate::base::limits::MANIFEST_BYTES`].
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn manifest(
        &self,
        repository: &Repository,
        target: &Target,
        access: &Access,
    ) -> Result<FetchedManifest, RegistryError> {
        self.in_turn(
            repository.registry(),
            access,
            ManifestTask {
                repository: repository.path(),
                target,
            },
        )
        .await
    }

    /// The descriptors of manifests that refer to `digest` with this artifact type (the server's filter is not
    /// trusted: it is applied here again), all pages, at most [`crate::base::limits::REFERRER_PAGES`].
    /// [`RegistryError::NotFound`] where the registry has no referrers API.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: &str,
        access: &Access,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        self.all_referrers(repository, digest, Some(artifact_type), access)
            .await
    }

    /// As [`Self::referrers`], of every type where `artifact_type` names none.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn all_referrers(
        &self,
        repository: &Repository,
        digest: &Digest,
        artifact_type: Option<&str>,
        access: &Access,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let without = &self.shared.without_referrers;
        self.in_turn(
            repository.registry(),
            access,
            ReferrersTask {
                repository: repository.path(),
                digest,
                artifact_type,
                without,
            },
        )
        .await
    }

    /// Reads a small blob whole and hashes it. The descriptor's size, and `limit`, bound the read.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn blob(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        limit: usize,
        access: &Access,
    ) -> Result<Blob, RegistryError> {
        let too_large = |limit| RegistryError::TooLarge {
            host: repository.registry().to_owned(),
            limit,
            unit: "bytes",
        };
        let size = usize::try_from(descriptor.size)
            .ok()
            .filter(|size| *size <= limit);
        let size = size.ok_or_else(|| too_large(limit))?;
        if let Some(embedded) = read::embedded(descriptor, repository.registry()) {
            return embedded;
        }
        self.in_turn(
            repository.registry(),
            access,
            BlobTask {
                repository: repository.path(),
                descriptor,
                limit: size,
            },
        )
        .await
    }

    /// Asks for a blob and hands on its bytes as they come. `method` is GET or HEAD.
    /// `access.deadline` bounds the wait for the answer's head, [`crate::base::limits::BLOB_IDLE`] each wait after it.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn blob_stream(
        &self,
        repository: &Repository,
        digest: &Digest,
        method: Method,
        range: Option<HeaderValue>,
        access: &Access,
    ) -> Result<BlobStream, RegistryError> {
        self.in_turn(
            repository.registry(),
            access,
            BlobStreamTask {
                repository: repository.path(),
                digest,
                method,
                range,
            },
        )
        .await
    }

    /// One page of the tag list: the body as it came (at most [`crate::base::limits::TAGS_BYTES`]) and the `Link` header.
    /// `query` holds `n` and `last` alone.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn tags(
        &self,
        repository: &Repository,
        query: Option<&str>,
        access: &Access,
    ) -> Result<(Bytes, Option<HeaderValue>), RegistryError> {
        self.in_turn(
            repository.registry(),
            access,
            TagsTask {
                repository: repository.path(),
                query,
            },
        )
        .await
    }

    /// What the registry answers on `/v2/` to someone without credentials: `None` for 200, its challenge for 401. `None`
    /// as well where the client's own credentials are not the ones that are shown: then nobody need log in.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn challenge(
        &self,
        registry: &str,
        access: &Access,
    ) -> Result<Option<HeaderValue>, RegistryError> {
        let host = normalised_registry(registry).map_err(|error| RegistryError::Refused {
            host: excerpt(registry),
            why: error.to_string(),
        })?;
        self.at_own(&host, access, ChallengeTask).await
    }

    /// Stores a blob (monolithic: POST, then PUT). For `pullgate sign` and `signature import`; the daemon never calls it.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn push_blob(
        &self,
        repository: &Repository,
        blob: &Blob,
        access: &Access,
    ) -> Result<(), RegistryError> {
        self.at_own(
            repository.registry(),
            access,
            PushBlobTask {
                repository: repository.path(),
                blob,
            },
        )
        .await
    }

    /// Stores a manifest under its digest or a tag. True where the registry took note of its `subject`
    /// (`OCI-Subject`): then it keeps the referrers itself.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn push_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        media_type: &str,
        blob: &Blob,
        access: &Access,
    ) -> Result<bool, RegistryError> {
        self.at_own(
            repository.registry(),
            access,
            PushManifestTask {
                repository: repository.path(),
                target,
                media_type,
                blob,
            },
        )
        .await
    }

    /// Deletes a manifest by digest, or a tag where the registry can.
    ///
    /// # Errors
    /// As [`RegistryError`] says.
    pub async fn delete_manifest(
        &self,
        repository: &Repository,
        target: &Target,
        access: &Access,
    ) -> Result<(), RegistryError> {
        self.at_own(
            repository.registry(),
            access,
            DeleteManifestTask {
                repository: repository.path(),
                target,
            },
        )
        .await
    }
}
