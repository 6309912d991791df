//! Images as the registry's API knows them (SDK 2.189.0, `artifacts/models/container_image.py` and
//! `lookup_container_image_by_uri_details.py`).

use serde::Deserialize;
use serde_json::json;

use super::{LifecycleState, WireError, bounded, ocid, ocid_of_any_kind, read};
use crate::base::limits::ORACLE_ANSWER_BYTES;
use crate::net::oracle::Ocid;
use crate::oci::{Digest, NAME_LENGTH, Reference, Repository, Tag};

/// One push of an image: pushed again it has another id, and the signatures stay with the old one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerImage {
    /// Its id.
    pub id: Ocid,
    /// The compartment of its repository.
    pub compartment_id: Ocid,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Whether it is there.
    pub lifecycle_state: LifecycleState,
    /// The id of its repository.
    pub repository_id: Ocid,
    /// Its repository, without region host and tenancy namespace: what Oracle's client signs.
    pub repository_name: String,
}

impl ContainerImage {
    /// Reads the answer to [`crate::net::oracle::Operation::get_image`] and
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
            lifecycle_state: LifecycleState::of(&wire.lifecycle_state),
            repository_id: ocid("repositoryId", "containerrepo", &wire.repository_id)?,
            repository_name: bounded("repositoryName", wire.repository_name, NAME_LENGTH)?,
        })
    }
}

/// What is read; names, tags, sizes and counts are passed over.
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

/// Which image is looked up: by what a runtime pulls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookUpImage {
    image_uri: String,
}

impl LookUpImage {
    /// An image of a repository. Oracle's registry has the tenancy's namespace as the first part of a repository's
    /// path, and that is what the service wants before the name.
    #[must_use]
    pub fn new(repository: &Repository, digest: &Digest) -> Self {
        Self {
            image_uri: format!("{}@{digest}", repository.path()),
        }
    }

    /// What a reference names: by digest where it has one, else by tag.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
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
