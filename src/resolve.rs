//! The one digest that is meant: resolved once, hashed here, and used for everything after.

use crate::oci::{Blob, Digest, Document, ManifestError, Reference, Repository, Tag};
use crate::registry::{Access, Client, RegistryError, Target};

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
    client: &Client,
    reference: &Reference,
    access: &Access,
) -> Result<Subject, ResolveError> {
    let target = match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Target::Digest(*digest),
        (None, Some(tag)) => Target::Tag(tag.clone()),
        (None, None) => Target::Tag(Tag::latest()),
    };
    let fetched = client.manifest(&reference.repository, &target, access).await?;
    let document = Document::parse(&fetched.blob, fetched.content_type.as_deref()).map_err(|source| {
        ResolveError::Manifest {
            digest: *fetched.blob.digest(),
            source,
        }
    })?;
    Ok(Subject {
        repository: reference.repository.clone(),
        manifest: fetched.blob,
        document,
    })
}
