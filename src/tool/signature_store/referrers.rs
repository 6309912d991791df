//! Records as referrers of their image in a registry: attached and detached, with and without the referrers API.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::{Value, json};

use super::{ATTEMPTS, SignatureStoreError};
use crate::net::registry::{Access, RegistryClient, RegistryError, Target};
use crate::oci::{Blob, Digest, Document, MediaType, Repository, Tag};
use crate::signature::oracle::ARTIFACT_TYPE;

/// A referrer to attach to an image.
#[derive(Clone, Debug)]
pub struct Referrer {
    /// Manifest whose `subject` is the image.
    pub manifest: Blob,
    /// Artifact type of the manifest.
    pub artifact_type: String,
    /// Blobs that the manifest names.
    pub blobs: Vec<Blob>,
}

/// Attaches a referrer to `subject`: pushes its blobs and its manifest and, in a registry without the referrers API, adds it
/// to the referrers tag (distribution-spec 1.1, "Pushing Manifests with Subject").
///
/// # Errors
/// [`SignatureStoreError`].
pub async fn attach(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    referrer: &Referrer,
    access: &Access,
) -> Result<(), SignatureStoreError> {
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
        // The manifest embeds its layer, so the list with the manifest in it is all that a gate must request (image-spec
        // 1.1, descriptor.md).
        "data": STANDARD.encode(referrer.manifest.bytes()),
    });
    let digest = *referrer.manifest.digest();
    update_tag(client, repository, subject, access, |manifests| {
        if !manifests.iter().any(|entry| has_digest(entry, &digest)) {
            manifests.push(entry.clone());
        }
    })
    .await
}

/// Detaches a referrer: deletes its manifest, if the registry allows that, and its entry in the referrers tag.
///
/// # Errors
/// [`SignatureStoreError`]; [`SignatureStoreError::Registry`] when neither was possible.
pub async fn detach(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    referrer: &Digest,
    access: &Access,
) -> Result<(), SignatureStoreError> {
    let deleted = client
        .delete_manifest(repository, &Target::Digest(*referrer), access)
        .await;
    let mut was_listed = false;
    update_tag(client, repository, subject, access, |manifests| {
        let before = manifests.len();
        manifests.retain(|entry| !has_digest(entry, referrer));
        was_listed |= manifests.len() != before;
    })
    .await?;
    match deleted {
        Ok(()) => Ok(()),
        // Many registries refuse to delete manifests. If the tag was the only list, the record cannot be found any more.
        Err(_) if was_listed && lists_no_referrers(client, repository, subject, access).await => Ok(()),
        Err(error) => Err(error.into()),
    }
}

async fn lists_no_referrers(
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

/// Reads the index under the referrers tag, applies `change`, and writes the index if it differs. The specification has no
/// compare-and-swap, so the index is read once more afterwards.
async fn update_tag(
    client: &RegistryClient,
    repository: &Repository,
    subject: &Digest,
    access: &Access,
    mut change: impl FnMut(&mut Vec<Value>),
) -> Result<(), SignatureStoreError> {
    let tag = Tag::from_subject(subject);
    for _ in 0..ATTEMPTS {
        let mut index = read_tag_index(client, repository, &tag, access).await?;
        let before = index.clone();
        if let Some(Value::Array(manifests)) = index.get_mut("manifests") {
            change(manifests);
        }
        if index == before {
            return Ok(());
        }
        let blob = Blob::from_bytes(Bytes::from(index.to_string()));
        let media_type = MediaType::OciIndex.as_str();
        client
            .push_manifest(repository, &Target::Tag(tag.clone()), media_type, &blob, access)
            .await?;
    }
    // Each attempt wrote the change, and the next one found the index without it.
    Err(SignatureStoreError::Contended { tag })
}

/// Reads the index under the referrers tag with all its members, because it may list artifacts of other tools.
async fn read_tag_index(
    client: &RegistryClient,
    repository: &Repository,
    tag: &Tag,
    access: &Access,
) -> Result<Value, SignatureStoreError> {
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
    match parsed.map_err(|source| SignatureStoreError::Index {
        tag: tag.clone(),
        source,
    })? {
        Document::Index(_) => serde_json::from_slice(fetched.blob.bytes())
            .map_err(|_parsed_before| SignatureStoreError::NotAnIndex { tag: tag.clone() }),
        Document::Image(_) => Err(SignatureStoreError::NotAnIndex { tag: tag.clone() }),
    }
}

fn has_digest(entry: &Value, digest: &Digest) -> bool {
    entry.get("digest").and_then(Value::as_str) == Some(digest.to_string().as_str())
}
