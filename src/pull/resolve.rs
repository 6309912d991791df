//! Resolving: from a reference to one digest, which is hashed here once and used by every later stage.

mod resolver;

pub(crate) use resolver::Resolver;

use crate::net::registry::{Access, FetchedManifest, RegistryClient, RegistryError, Target};
use crate::oci::{Blob, Digest, Document, ManifestError, Reference, Repository, Tag};

/// The manifest that a pull is about, read whole and hashed. OCI calls the manifest that a signature refers to its
/// subject.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The repository from which the manifest was read.
    pub repository: Repository,
    /// The manifest's bytes and digest.
    pub manifest: Blob,
    /// The manifest, parsed.
    pub document: Document,
}

impl Subject {
    /// Returns the digest that every later stage is about.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        self.manifest.digest()
    }
}

/// The reason why a reference leads to no usable manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The registry returned no manifest.
    #[error("could not read the manifest")]
    Registry(#[from] RegistryError),
    /// The registry returned bytes that are not a valid manifest.
    #[error("the manifest is not valid")]
    Manifest {
        /// The digest of the bytes.
        digest: Digest,
        /// The fault in them.
        #[source]
        source: ManifestError,
    },
    /// The manifest differs from the description that the client was given. The digest alone does not determine how a
    /// client reads the bytes.
    #[error("{mismatch}")]
    NotAsDescribed {
        /// The digest of the manifest.
        digest: Digest,
        /// The difference.
        mismatch: DescriptionMismatch,
    },
}

/// The difference between a manifest and its description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DescriptionMismatch {
    /// Another media type was described.
    #[error("the client expects a manifest of type `{}`, but its type is `{actual}`", described.escape_debug())]
    MediaType {
        /// The media type of the description.
        described: String,
        /// The media type of the manifest.
        actual: String,
    },
    /// Another size was described.
    #[error("the client expects a manifest of {described} bytes, but it has {actual}")]
    Size {
        /// The size of the description, in bytes.
        described: u64,
        /// The size of the manifest, in bytes.
        actual: u64,
    },
}

/// Asks the registry once for the manifest of `reference`: by digest where the reference has one, else by tag.
///
/// # Errors
/// Returns [`ResolveError::Registry`] or [`ResolveError::Manifest`].
pub async fn resolve(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<Subject, ResolveError> {
    let fetched = fetch(client, reference, access).await?;
    parse(&reference.repository, fetched)
}

/// Fetches the bytes of the manifest and hashes them.
async fn fetch(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<FetchedManifest, RegistryError> {
    client
        .manifest(&reference.repository, &target(reference), access)
        .await
}

/// Returns the digest or tag by which the registry is asked for a reference.
fn target(reference: &Reference) -> Target {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Target::Digest(*digest),
        (None, Some(tag)) => Target::Tag(tag.clone()),
        (None, None) => Target::Tag(Tag::latest()),
    }
}

/// Parses the bytes as the media type with which the registry sent them.
fn parse(repository: &Repository, fetched: FetchedManifest) -> Result<Subject, ResolveError> {
    let document = Document::parse(&fetched.blob, fetched.content_type.as_deref()).map_err(|source| {
        ResolveError::Manifest {
            digest: *fetched.blob.digest(),
            source,
        }
    })?;
    Ok(Subject {
        repository: repository.clone(),
        manifest: fetched.blob,
        document,
    })
}
