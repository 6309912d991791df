//! The one digest that is meant: resolved once, hashed here, and used for everything after.

use crate::net::registry::{Access, FetchedManifest, RegistryClient, RegistryError, Target};
use crate::oci::{Blob, Digest, Document, ManifestError, Reference, Repository, Tag};

/// The signed thing, in OCI's word: the manifest that a pull means, read whole and hashed.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Where it was read.
    pub repository: Repository,
    /// The manifest's bytes and digest.
    pub manifest: Blob,
    /// The manifest, parsed.
    pub document: Document,
}

impl Subject {
    /// The digest that everything after is about.
    #[must_use]
    pub const fn digest(&self) -> &Digest {
        self.manifest.digest()
    }
}

/// Why no subject could be named.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// The registry did not give a manifest.
    #[error("the manifest could not be read")]
    Registry(#[from] RegistryError),
    /// It gave one that is refused. The digest is known all the same.
    #[error("the manifest was refused")]
    Manifest {
        /// What it hashed to.
        digest: Digest,
        /// What is wrong with it.
        #[source]
        source: ManifestError,
    },
}

/// Asks the registry once for what `reference` means: by digest where it names one, else by tag.
///
/// # Errors
/// As [`ResolveError`] says.
pub async fn resolve(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<Subject, ResolveError> {
    let fetched = fetch(client, reference, access).await?;
    read(&reference.repository, fetched)
}

/// The first half of [`resolve`]: the bytes, hashed and not yet read.
///
/// # Errors
/// As [`RegistryError`] says.
pub async fn fetch(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<FetchedManifest, RegistryError> {
    client
        .manifest(&reference.repository, &target(reference), access)
        .await
}

/// What a reference is asked for by: its digest where it names one, else its tag.
#[must_use]
pub fn target(reference: &Reference) -> Target {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Target::Digest(*digest),
        (None, Some(tag)) => Target::Tag(tag.clone()),
        (None, None) => Target::Tag(Tag::latest()),
    }
}

/// The second half of [`resolve`]: what the bytes are, under the type that they were sent with.
///
/// # Errors
/// [`ResolveError::Manifest`].
pub fn read(repository: &Repository, fetched: FetchedManifest) -> Result<Subject, ResolveError> {
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
