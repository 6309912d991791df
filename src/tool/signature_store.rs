//! Signature records as the operator handles them: collected from all sources, attached to images in a registry, stored in
//! a directory, and deleted. Nothing here verifies a record. The daemon only reads records, and uses none of this.

mod files;
mod referrers;

pub use files::{delete, record_folder, store};
pub use referrers::{Referrer, attach, detach};

use crate::base::files::FileError;
use crate::base::limits;
use crate::net::registry::{Access, RegistryClient, RegistryError, Target};
use crate::oci::{Digest, ManifestError, Reference, Repository, Tag};
use crate::pull::find::{Query, SourceContext, SourceFailure, find_all, sources};
use crate::signature::{Candidate, FORMATS};

/// Largest file of records that is imported, in bytes: as many records as a pull reads.
pub const IMPORT_BYTES: usize = limits::CANDIDATES * limits::RECORD_BYTES;

/// Attempts to change an index that another client changes at the same time.
const ATTEMPTS: usize = 3;

/// Error of reading, storing or deleting a record.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SignatureStoreError {
    /// A file or directory could not be written or deleted.
    #[error(transparent)]
    File(#[from] FileError),
    /// The referrers tag names something other than an index, which must not be overwritten.
    #[error("the tag `{tag}` is not an index of referrers")]
    NotAnIndex {
        /// The referrers tag.
        tag: Tag,
    },
    /// The index under the referrers tag is invalid.
    #[error("the index under the tag `{tag}` is not valid")]
    Index {
        /// The referrers tag.
        tag: Tag,
        /// The problem with the index.
        #[source]
        source: ManifestError,
    },
    /// A request to the registry failed.
    #[error("the registry request failed")]
    Registry(#[from] RegistryError),
    /// Another client changed the referrers tag during each attempt.
    #[error("another client changed the tag `{tag}` during each of {ATTEMPTS} attempts")]
    Contended {
        /// The referrers tag.
        tag: Tag,
    },
}

/// Collects the records of an image from every source, of any signer. Also returns the sources that could not be
/// read.
pub async fn collect(
    context: &SourceContext,
    repository: &Repository,
    digest: &Digest,
    access: &Access,
) -> (Vec<Candidate>, Vec<SourceFailure>) {
    let query = Query {
        subject: digest,
        repository,
        formats: FORMATS,
        access,
        limit: limits::CANDIDATES,
    };
    let sources = sources(context.client.sources(repository.registry()), context);
    find_all(&sources, query).await
}

/// Returns the digest of an image. Asks the registry unless the reference has a digest.
///
/// # Errors
/// [`SignatureStoreError::Registry`].
pub async fn digest_of(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<Digest, SignatureStoreError> {
    match (&reference.digest, &reference.tag) {
        (Some(digest), _) => Ok(*digest),
        (None, tag) => {
            let tag = tag.clone().unwrap_or_else(Tag::latest);
            let fetched = client
                .manifest(&reference.repository, &Target::Tag(tag), access)
                .await?;
            Ok(*fetched.blob.digest())
        }
    }
}
