//! Signature records on the move: attached to images in a registry, kept in a directory, listed and taken away again.
//! The operator's side; the daemon only reads.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::base::files::{self, FileError};
use crate::base::limits;
use crate::net::registry::{Access, RegistryClient, RegistryError, Target};
use crate::oci::{Blob, Digest, Document, ManifestError, MediaType, Reference, Repository, Tag};
use crate::pull::find::{Query, SourceContext, SourceFailure, find_all, sources};
use crate::signature::oracle::ARTIFACT_TYPE;
use crate::signature::{Candidate, FORMATS};

/// How often an index that somebody else changed meanwhile is read and written again.
const ATTEMPTS: usize = 3;

/// Why a record could not be carried.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CarryError {
    /// A file or folder was not written or deleted.
    #[error(transparent)]
    File(#[from] FileError),
    /// The referrers tag holds something else than an index: not ours to overwrite.
    #[error("the tag `{tag}` holds no index of referrers")]
    NotAnIndex {
        /// The referrers tag.
        tag: Tag,
    },
    /// The referrers tag holds an index that can't be read.
    #[error("the index under the tag `{tag}` is refused")]
    Index {
        /// The referrers tag.
        tag: Tag,
        /// Why.
        #[source]
        source: ManifestError,
    },
    /// The registry did not do it.
    #[error("the registry did not take part")]
    Registry(#[from] RegistryError),
    /// Somebody else writes the same referrers tag again and again.
    #[error("the tag `{tag}` was changed by somebody else {ATTEMPTS} times")]
    Contended {
        /// The referrers tag.
        tag: Tag,
    },
}

/// Every record of an image that can be found, whoever signed it, and what could not be looked at.
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

/// A referrer that is to be attached to an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Its manifest, whose `subject` is the image.
    pub manifest: Blob,
    /// Its artifact type.
    pub artifact_type: String,
    /// What its manifest names.
    pub blobs: Vec<Blob>,
}

/// Attaches a referrer to `subject`: blobs, manifest, and on a registry without the referrers API the tag
/// (distribution-spec 1.1, "Pushing Manifests with Subject").
///
/// # Errors
/// As [`CarryError`] says.
pub async fn attach(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    referrer: &Referrer,
    access: &Access,
) -> Result<(), CarryError> {
    for blob in &referrer.blobs {
        client.push_blob(repository, blob, access).await?;
    }
    let media_type = MediaType::OciManifest.as_str();
    let target = Target::Digest(*referrer.manifest.digest());
    let listed_by_registry = client
        .push_manifest(repository, &target, media_type, &referrer.manifest, access)
        .await?;
    if listed_by_registry {
        return Ok(());
    }
    let entry = json!({
        "mediaType": media_type,
        "digest": referrer.manifest.digest(),
        "size": referrer.manifest.bytes().len(),
        "artifactType": referrer.artifact_type,
        // With its layer's bytes in it, the list alone is all that a gate must ask for (image-spec 1.1, descriptor.md).
        "data": STANDARD.encode(referrer.manifest.bytes()),
    });
    let digest = *referrer.manifest.digest();
    rewrite_tag(client, repository, subject, access, |manifests| {
        if !names(manifests, &digest) {
            manifests.push(entry.clone());
        }
    })
    .await
}

/// Takes a referrer away: its manifest where the registry deletes, and its line in the referrers tag.
///
/// # Errors
/// As [`CarryError`] says; [`CarryError::Registry`] when neither could be done.
pub async fn detach(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    referrer: &Digest,
    access: &Access,
) -> Result<(), CarryError> {
    let deleted = client
        .delete_manifest(repository, &Target::Digest(*referrer), access)
        .await;
    let mut was_listed = false;
    rewrite_tag(client, repository, subject, access, |manifests| {
        let before = manifests.len();
        manifests.retain(|entry| !is(entry, referrer));
        was_listed |= manifests.len() != before;
    })
    .await?;
    match deleted {
        Ok(()) => Ok(()),
        // Many registries delete nothing. Where the tag was the only way to the record, it can't be found any more.
        Err(_) if was_listed && client_has_no_list(client, repository, subject, access).await => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn client_has_no_list(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    access: &Access,
) -> bool {
    let listed = client
        .referrers(repository, subject, &[ARTIFACT_TYPE], access)
        .await;
    matches!(listed, Err(RegistryError::NotFound { .. }))
}

/// Reads the index under the referrers tag, changes it, and writes it where the change made a difference. There is no
/// compare-and-swap in the specification, so it is read once more after.
async fn rewrite_tag(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    access: &Access,
    mut change: impl FnMut(&mut Vec<Value>),
) -> Result<(), CarryError> {
    let tag = Tag::of_referrers(subject);
    for _ in 0..ATTEMPTS {
        let mut index = read_index(client, repository, &tag, access).await?;
        let before = index.clone();
        if let Some(Value::Array(manifests)) = index.get_mut("manifests") {
            change(manifests);
        }
        if index == before {
            return Ok(());
        }
        let blob = Blob::of(Bytes::from(index.to_string()));
        let media_type = MediaType::OciIndex.as_str();
        client
            .push_manifest(repository, &Target::Tag(tag.clone()), media_type, &blob, access)
            .await?;
    }
    // The change was written and does not stand: the last read of the loop saw a difference again.
    Err(CarryError::Contended { tag })
}

/// The index as it is, members that we do not know included: it may list other people's artifacts.
async fn read_index(
    client: &RegistryClient,
    repository: &Repository,
    tag: &Tag,
    access: &Access,
) -> Result<Value, CarryError> {
    let fetched = match client
        .manifest(repository, &Target::Tag(tag.clone()), access)
        .await
    {
        Ok(fetched) => fetched,
        Err(RegistryError::NotFound { .. }) => {
            return Ok(json!({
                "schemaVersion": 2,
                "mediaType": MediaType::OciIndex.as_str(),
                "manifests": [],
            }));
        }
        Err(error) => return Err(error.into()),
    };
    let parsed = Document::parse(&fetched.blob, fetched.content_type.as_deref());
    match parsed.map_err(|source| CarryError::Index {
        tag: tag.clone(),
        source,
    })? {
        Document::Index(_) => serde_json::from_slice(fetched.blob.bytes())
            .map_err(|_parsed_before| CarryError::NotAnIndex { tag: tag.clone() }),
        Document::Image(_) => Err(CarryError::NotAnIndex { tag: tag.clone() }),
    }
}

fn names(manifests: &[Value], digest: &Digest) -> bool {
    manifests.iter().any(|entry| is(entry, digest))
}

fn is(entry: &Value, digest: &Digest) -> bool {
    entry.get("digest").and_then(Value::as_str) == Some(digest.to_string().as_str())
}

/// Where the records of an image are kept below a folder: `<folder>/<algorithm>/<hex>`.
#[must_use]
pub fn folder_of(signatures: &Path, digest: &Digest) -> PathBuf {
    signatures.join(digest.algorithm()).join(digest.encoded())
}

/// Writes a record for an image of this digest below `signatures`, and says where. The same record twice is one file.
///
/// # Errors
/// [`CarryError::File`].
pub fn store(signatures: &Path, digest: &Digest, record: &[u8]) -> Result<PathBuf, CarryError> {
    let folder = folder_of(signatures, digest);
    let name = hex::encode(Sha256::digest(record));
    let name = name.get(..16).unwrap_or(&name);
    let path = folder.join(format!("{name}.json"));
    files::write(&path, record)?;
    Ok(path)
}

/// Deletes a record that [`store`] wrote.
///
/// # Errors
/// [`CarryError::File`].
pub fn remove(path: &Path) -> Result<(), CarryError> {
    Ok(files::delete(path)?)
}

/// The image that is meant, by digest: asked for at the registry unless the reference names one.
///
/// # Errors
/// [`CarryError::Registry`].
pub async fn digest_of(
    client: &RegistryClient,
    reference: &Reference,
    access: &Access,
) -> Result<Digest, CarryError> {
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

/// The largest file of records that is imported: as many as a pull looks at.
pub const IMPORT_BYTES: usize = limits::CANDIDATES * limits::RECORD_BYTES;
