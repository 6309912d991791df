//! Images, as the Artifacts API describes them (SDK 2.189.0, `artifacts/models/container_image.py` and
//! `lookup_container_image_by_uri_details.py`).

use serde::Deserialize;
use serde_json::json;

use super::{LifecycleState, WireError, bounded, ocid, ocid_of_any_kind, read};
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::Ocid;
use crate::oci::{Digest, NAME_LENGTH, Reference, Repository, Tag};

/// One push of an image. Another push of the same image gets a new OCID, and the signatures stay with the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerImage {
    /// The image's OCID.
    pub id: Ocid,
    /// The compartment of the repository.
    pub compartment_id: Ocid,
    /// The digest of the manifest.
    pub digest: Digest,
    /// Whether the image exists.
    pub lifecycle_state: LifecycleState,
    /// The OCID of the repository.
    pub repository_id: Ocid,
    /// The repository, without region host and tenancy namespace: the name that Oracle's client signs.
    pub repository_name: String,
}

impl ContainerImage {
    /// Parses the response to [`crate::net::oracle::Operation::get_image`] and
    /// [`crate::net::oracle::Operation::look_up_image`].
    ///
    /// # Errors
    /// As [`WireError`] says.
    pub fn parse(unverified: &[u8]) -> Result<Self, WireError> {
        read::<ImageWire>(unverified, ORACLE_ANSWER_BYTES)?.try_into()
    }
}

impl TryFrom<ImageWire> for ContainerImage {
    type Error = WireError;

    fn try_from(wire: ImageWire) -> Result<Self, WireError> {
        Ok(Self {
            id: ocid("id", "containerimage", &wire.id)?,
            // The root compartment is the tenancy.
            compartment_id: ocid_of_any_kind("compartmentId", &wire.compartment_id)?,
            digest: wire.digest.parse().map_err(|source| WireError::Digest {
                field: "digest",
                source,
            })?,
            lifecycle_state: LifecycleState::from_text(&wire.lifecycle_state),
            repository_id: ocid("repositoryId", "containerrepo", &wire.repository_id)?,
            repository_name: bounded("repositoryName", wire.repository_name, NAME_LENGTH)?,
        })
    }
}

/// The fields that are read; names, tags, sizes and counts are ignored.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImageWire {
    compartment_id: String,
    digest: String,
    id: String,
    lifecycle_state: String,
    repository_id: String,
    repository_name: String,
}

/// The image to look up, by the name that a runtime pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUpImage {
    image_uri: String,
}

impl LookUpImage {
    /// An image by repository and digest. The service expects the tenancy's namespace before the repository's name, and
    /// in Oracle's registry the namespace is the first part of the repository's path.
    #[must_use]
    pub fn new(repository: &Repository, digest: &Digest) -> Self {
        Self {
            image_uri: format!("{}@{digest}", repository.path()),
        }
    }

    /// An image by reference: by its digest, or else by its tag.
    #[must_use]
    pub fn from_reference(reference: &Reference) -> Self {
        let repository = &reference.repository;
        match (&reference.digest, &reference.tag) {
            (Some(digest), _) => Self::new(repository, digest),
            (None, tag) => {
                let tag = tag.clone().unwrap_or_else(Tag::latest);
                Self {
                    image_uri: format!("{}:{}", repository.path(), tag.as_str()),
                }
            }
        }
    }

    pub(in crate::net::oracle) fn to_json(&self) -> Vec<u8> {
        json!({ "imageUri": self.image_uri }).to_string().into_bytes()
    }
}
