//! Content of the registry: repositories with manifests, tags, blobs and uploads, with bounds for bytes and entries.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::oci::{Blob, Digest};

/// Error of changing the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The bytes do not have the digest under which they were sent.
    #[error("the content has another digest")]
    Digest,
    /// The bound for bytes is reached.
    #[error("the registry is full")]
    Full,
    /// The bound for the total of repositories, manifests, blobs, tags and uploads is reached.
    #[error("the registry has too many entries")]
    TooMany,
    /// The content does not exist.
    #[error("the content does not exist")]
    Unknown,
}

/// Bytes, and their share of the bound for bytes until they are dropped.
#[derive(Debug)]
pub(super) struct Content {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// A manifest as it was pushed.
#[derive(Debug)]
pub(super) struct StoredManifest {
    content: Content,
    media_type: String,
    /// Digest of its `subject`, and its descriptor in the referrers API.
    referrer: Option<(Digest, Value)>,
}

impl StoredManifest {
    pub(super) fn bytes(&self) -> Bytes {
        self.content.bytes.clone()
    }

    pub(super) fn media_type(&self) -> &str {
        &self.media_type
    }

    /// Returns the digest of its `subject`.
    pub(super) fn subject(&self) -> Option<&Digest> {
        self.referrer.as_ref().map(|(subject, _)| subject)
    }
}

#[derive(Debug, Default)]
struct StoredRepository {
    manifests: BTreeMap<Digest, StoredManifest>,
    tags: BTreeMap<String, Digest>,
    blobs: BTreeMap<Digest, Content>,
    uploads: BTreeMap<String, UploadState>,
}

impl StoredRepository {
    fn entries(&self) -> usize {
        self.manifests.len() + self.tags.len() + self.blobs.len() + self.uploads.len()
    }
}

#[derive(Debug, Default)]
struct UploadState {
    bytes: BytesMut,
    room: Option<OwnedSemaphorePermit>,
}

/// All content. One lock protects it, which is never held across an await.
#[derive(Debug)]
pub(super) struct RegistryStore {
    room: Arc<Semaphore>,
    repositories: BTreeMap<String, StoredRepository>,
}

impl RegistryStore {
    pub(super) fn new(capacity: u32) -> Self {
        let permits = usize::try_from(capacity)
            .unwrap_or(usize::MAX)
            .min(Semaphore::MAX_PERMITS);
        Self {
            room: Arc::new(Semaphore::new(permits)),
            repositories: BTreeMap::new(),
        }
    }

    /// Reserves space for bytes before they are read.
    pub(super) fn reserve(&self, bytes: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let bytes = u32::try_from(bytes).map_err(|_too_many| StoreError::Full)?;
        Arc::clone(&self.room)
            .try_acquire_many_owned(bytes)
            .map_err(|_no_permits| StoreError::Full)
    }

    pub(super) fn put_blob(
        &mut self,
        repository: &str,
        digest: Digest,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let content = Content {
            _room: self.reserve(bytes.len())?,
            bytes,
        };
        self.entry(repository)?.blobs.insert(digest, content);
        Ok(())
    }

    pub(super) fn put_manifest(
        &mut self,
        repository: &str,
        tag: Option<&str>,
        digest: Digest,
        media_type: &str,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let referrer = referrer(&digest, media_type, &bytes);
        let content = Content {
            _room: self.reserve(bytes.len())?,
            bytes,
        };
        let entry = self.entry(repository)?;
        entry.manifests.insert(
            digest,
            StoredManifest {
                content,
                media_type: media_type.to_owned(),
                referrer,
            },
        );
        if let Some(tag) = tag {
            entry.tags.insert(tag.to_owned(), digest);
        }
        Ok(())
    }

    pub(super) fn tag(&mut self, repository: &str, tag: &str, digest: &Digest) -> Result<(), StoreError> {
        let entry = self.entry(repository)?;
        if !entry.manifests.contains_key(digest) {
            return Err(StoreError::Unknown);
        }
        entry.tags.insert(tag.to_owned(), *digest);
        Ok(())
    }

    pub(super) fn tamper(
        &mut self,
        repository: &str,
        digest: &Digest,
        bytes: Bytes,
    ) -> Result<(), StoreError> {
        let content = Content {
            _room: self.reserve(bytes.len())?,
            bytes,
        };
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        let content_in_place = match entry.manifests.get_mut(digest) {
            Some(manifest) => &mut manifest.content,
            None => entry.blobs.get_mut(digest).ok_or(StoreError::Unknown)?,
        };
        *content_in_place = content;
        Ok(())
    }

    /// Returns a manifest by tag or digest, with the digest under which it was pushed.
    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(Digest, &StoredManifest)> {
        let entry = self.repositories.get(repository)?;
        let digest = match reference.parse() {
            Ok(digest) => digest,
            Err(_it_is_a_tag) => *entry.tags.get(reference)?,
        };
        Some((digest, entry.manifests.get(&digest)?))
    }

    /// Removes a tag, or a manifest with all tags that point at it.
    pub(super) fn delete_manifest(&mut self, repository: &str, reference: &str) -> Result<(), StoreError> {
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        match reference.parse::<Digest>() {
            Ok(digest) => {
                entry.manifests.remove(&digest).ok_or(StoreError::Unknown)?;
                entry.tags.retain(|_, tagged| *tagged != digest);
            }
            Err(_it_is_a_tag) => {
                entry.tags.remove(reference).ok_or(StoreError::Unknown)?;
            }
        }
        Ok(())
    }

    pub(super) fn blob(&self, repository: &str, digest: &Digest) -> Option<Bytes> {
        Some(
            self.repositories
                .get(repository)?
                .blobs
                .get(digest)?
                .bytes
                .clone(),
        )
    }

    pub(super) fn delete_blob(&mut self, repository: &str, digest: &Digest) -> Result<(), StoreError> {
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        entry.blobs.remove(digest).map(drop).ok_or(StoreError::Unknown)
    }

    /// Returns the first blob that a manifest names and the repository lacks. Layers that are stored elsewhere (`urls`) may
    /// be absent.
    pub(super) fn missing_blob(&self, repository: &str, manifest: &Value) -> Option<String> {
        let layers = manifest
            .get("layers")
            .and_then(Value::as_array)
            .map_or(&[][..], Vec::as_slice);
        let named = manifest.get("config").into_iter().chain(layers);
        named
            .filter(|descriptor| descriptor.get("urls").is_none())
            .map(|descriptor| {
                descriptor
                    .get("digest")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
            })
            .find(|digest| {
                digest
                    .parse()
                    .map_or(true, |digest| self.blob(repository, &digest).is_none())
            })
            .map(str::to_owned)
    }

    /// Lists all tags in lexical order.
    pub(super) fn tags(&self, repository: &str) -> Option<Vec<&str>> {
        Some(
            self.repositories
                .get(repository)?
                .tags
                .keys()
                .map(String::as_str)
                .collect(),
        )
    }

    /// Lists the descriptors of the manifests with this subject, in the order of their digests.
    pub(super) fn referrers(&self, repository: &str, subject: &Digest) -> Vec<(Digest, &Value)> {
        let manifests = self
            .repositories
            .get(repository)
            .into_iter()
            .flat_map(|entry| &entry.manifests);
        manifests
            .filter_map(|(digest, manifest)| {
                manifest.referrer.as_ref().map(|(of, shown)| (digest, of, shown))
            })
            .filter(|(_, of, _)| *of == subject)
            .map(|(digest, _, shown)| (*digest, shown))
            .collect()
    }

    pub(super) fn start_upload(&mut self, repository: &str, id: &str) -> Result<(), StoreError> {
        self.entry(repository)?
            .uploads
            .insert(id.to_owned(), UploadState::default());
        Ok(())
    }

    /// Returns the number of received bytes of an upload.
    pub(super) fn upload_size(&self, repository: &str, id: &str) -> Option<usize> {
        Some(self.repositories.get(repository)?.uploads.get(id)?.bytes.len())
    }

    /// Adds bytes to an upload. Their space was reserved before they were read.
    pub(super) fn append(
        &mut self,
        repository: &str,
        id: &str,
        bytes: &[u8],
        room: Option<OwnedSemaphorePermit>,
    ) -> Result<usize, StoreError> {
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        let upload = entry.uploads.get_mut(id).ok_or(StoreError::Unknown)?;
        upload.bytes.extend_from_slice(bytes);
        match (&mut upload.room, room) {
            (Some(held), Some(more)) => held.merge(more),
            (held @ None, more) => *held = more,
            (Some(_), None) => {}
        }
        Ok(upload.bytes.len())
    }

    /// Finishes an upload: the bytes become a blob if they have this digest, and are dropped otherwise.
    pub(super) fn finish_upload(
        &mut self,
        repository: &str,
        id: &str,
        digest: &Digest,
    ) -> Result<(), StoreError> {
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        let upload = entry.uploads.remove(id).ok_or(StoreError::Unknown)?;
        let checked = Blob::check(digest, upload.bytes.freeze()).map_err(|_other| StoreError::Digest)?;
        // The upload's reservation is released before the blob makes one of the same size.
        drop(upload.room);
        self.put_blob(repository, *digest, checked.bytes().clone())
    }

    pub(super) fn cancel_upload(&mut self, repository: &str, id: &str) -> Result<(), StoreError> {
        let entry = self.repositories.get_mut(repository).ok_or(StoreError::Unknown)?;
        entry.uploads.remove(id).map(drop).ok_or(StoreError::Unknown)
    }

    /// Returns the repository, which is created if needed, and checks that one more entry is allowed.
    fn entry(&mut self, repository: &str) -> Result<&mut StoredRepository, StoreError> {
        let entries: usize = self.repositories.values().map(|each| each.entries() + 1).sum();
        if entries >= ENTRIES {
            return Err(StoreError::TooMany);
        }
        Ok(self.repositories.entry(repository.to_owned()).or_default())
    }
}

/// Returns the subject and the descriptor that the referrers API lists for a manifest with a `subject` (distribution-spec 1.1,
/// "Listing Referrers"). Nothing is checked: the registry passes on the pushed content, and its client must check it.
fn referrer(digest: &Digest, media_type: &str, bytes: &[u8]) -> Option<(Digest, Value)> {
    let manifest: Value = serde_json::from_slice(bytes).ok()?;
    let subject = manifest.pointer("/subject/digest")?.as_str()?.parse().ok()?;
    let mut shown = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
    let object = shown.as_object_mut()?;
    let artifact_type = manifest
        .get("artifactType")
        .or_else(|| manifest.pointer("/config/mediaType"));
    for (key, value) in [
        ("artifactType", artifact_type),
        ("annotations", manifest.get("annotations")),
    ] {
        if let Some(value) = value {
            object.insert(key.to_owned(), value.clone());
        }
    }
    Some((subject, shown))
}

/// Maximum for the total of repositories, manifests, blobs, tags and uploads.
const ENTRIES: usize = 65_536;
