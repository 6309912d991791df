//! Manifests and indexes. OCI and Docker schema 2 are read, schema 1 is refused.
//!
//! Our own types: one document must be one kind under every reader, so a document that is both, or whose type the registry
//! and the document state differently, is refused (CVE-2021-41190).

use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};

use super::descriptor::{self, DescriptorError, is_media_type};
use super::json::{JsonError, Object, Strict};
use super::{Blob, Descriptor};
use crate::base::limits::{CHILDREN, MANIFEST_BYTES};
use crate::base::printable::excerpt;

/// The media types of documents that a runtime pulls by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MediaType {
    /// `application/vnd.docker.distribution.manifest.v2+json`
    DockerManifest,
    /// `application/vnd.docker.distribution.manifest.list.v2+json`
    DockerManifestList,
    /// `application/vnd.oci.image.index.v1+json`
    OciIndex,
    /// `application/vnd.oci.image.manifest.v1+json`
    OciManifest,
}

impl MediaType {
    /// All media types, for `Accept`.
    pub const ALL: [Self; 4] = [
        Self::OciIndex,
        Self::OciManifest,
        Self::DockerManifestList,
        Self::DockerManifest,
    ];

    /// Returns the text that `Content-Type` and `mediaType` have.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DockerManifest => "application/vnd.docker.distribution.manifest.v2+json",
            Self::DockerManifestList => "application/vnd.docker.distribution.manifest.list.v2+json",
            Self::OciIndex => "application/vnd.oci.image.index.v1+json",
            Self::OciManifest => "application/vnd.oci.image.manifest.v1+json",
        }
    }

    /// Returns the media type that a `Content-Type` names, parameters and case aside, if it is one of these.
    #[must_use]
    pub fn from_content_type(content_type: &str) -> Option<Self> {
        let essence = essence(content_type);
        Self::ALL
            .into_iter()
            .find(|media_type| media_type.as_str() == essence)
    }

    /// Returns the media type that a `mediaType` spells exactly.
    fn from_field(text: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|media_type| media_type.as_str() == text)
    }

    /// Whether a document may leave its `mediaType` out: it SHOULD be there in OCI documents (image-spec 1.1) and is
    /// required in Docker's.
    const fn is_optional(self) -> bool {
        match self {
            Self::DockerManifest | Self::DockerManifestList => false,
            Self::OciIndex | Self::OciManifest => true,
        }
    }
}

/// A parsed manifest or index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Document {
    /// One image, or an artifact such as a signature.
    Image(ImageManifest),
    /// A list of manifests.
    Index(Index),
}

/// An image manifest (image-spec 1.1, manifest.md; Docker schema 2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// The media type of the document.
    pub media_type: MediaType,
    /// The type of the artifact: `artifactType`, or the configuration's media type where that is absent.
    pub artifact_type: String,
    /// The configuration.
    pub config: Descriptor,
    /// The layers, lowest first.
    pub layers: Vec<Descriptor>,
    /// The manifest that this manifest refers to.
    pub subject: Option<Descriptor>,
}

/// An index or manifest list (image-spec 1.1, image-index.md).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The media type of the document.
    pub media_type: MediaType,
    /// The manifests.
    pub manifests: Vec<Descriptor>,
}

/// Why a document was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ManifestError {
    /// The document is not strict JSON.
    #[error("not strict JSON")]
    Json(#[from] JsonError),
    /// The document has both `layers` (or `config`) and `manifests`: two readers would see two images (CVE-2021-41190).
    #[error("the document is both a manifest and an index")]
    Ambiguous,
    /// `Content-Type` and `mediaType` disagree (CVE-2021-41190), or neither names a type we read.
    #[error("the media type is not clear: Content-Type `{content_type}`, mediaType `{media_type}`")]
    MediaType {
        /// The `Content-Type`, or `-`.
        content_type: String,
        /// The `mediaType`, or `-`.
        media_type: String,
    },
    /// Docker schema 1, whose digest does not cover the layers that are pulled.
    #[error("schema 1 manifests are not supported; push the image again with a current client")]
    Schema1,
    /// A required field is absent, or breaks the specification.
    #[error("{0}")]
    Field(String),
    /// Longer than [`crate::base::limits::MANIFEST_BYTES`].
    #[error("longer than {limit} bytes")]
    TooLong {
        /// The bound.
        limit: usize,
    },
    /// More children than [`crate::base::limits::CHILDREN`].
    #[error("names more than {limit} children")]
    TooManyChildren {
        /// The bound.
        limit: usize,
    },
}

impl Document {
    /// Reads a document whose bytes have been hashed. `content_type` is the registry's header, if it sent one; a general
    /// type such as `application/json` counts as absent. Unknown keys are allowed: the specification asks readers
    /// to ignore them (image-spec 1.1, considerations.md, "Extensibility").
    ///
    /// # Errors
    /// As [`ManifestError`] says.
    pub fn parse(blob: &Blob, content_type: Option<&str>) -> Result<Self, ManifestError> {
        if blob.bytes().len() > MANIFEST_BYTES {
            return Err(ManifestError::TooLong {
                limit: MANIFEST_BYTES,
            });
        }
        if content_type.is_some_and(|said| SCHEMA_1.contains(&essence(said).as_str())) {
            return Err(ManifestError::Schema1);
        }
        let document = Strict::check(blob.bytes(), &keys())?;
        let has_any = |keys: &[&str]| keys.iter().any(|key| document.has_in_any_case(key));
        let (is_image, is_index) = (has_any(&["config", "layers"]), has_any(&["manifests"]));
        if has_any(&["fsLayers", "history"]) {
            return Err(ManifestError::Schema1);
        }
        if is_image && is_index {
            return Err(ManifestError::Ambiguous);
        }
        let Object(wire) = document.read::<Object<WireDocument>>()?;
        let version = wire.schema_version.as_ref().and_then(serde_json::Number::as_u64);
        if version == Some(1)
            || wire
                .media_type
                .as_deref()
                .is_some_and(|said| SCHEMA_1.contains(&said))
        {
            return Err(ManifestError::Schema1);
        }
        let media_type = media_type(content_type, wire.media_type.as_deref())?;
        if version != Some(2) {
            return Err(ManifestError::Field("`schemaVersion` is not 2".to_owned()));
        }
        match media_type {
            MediaType::DockerManifest | MediaType::OciManifest if is_index => Err(ManifestError::Ambiguous),
            MediaType::DockerManifestList | MediaType::OciIndex if is_image => Err(ManifestError::Ambiguous),
            MediaType::DockerManifest | MediaType::OciManifest => image(media_type, wire).map(Self::Image),
            MediaType::DockerManifestList | MediaType::OciIndex => index(media_type, wire).map(Self::Index),
        }
    }

    /// The media type of the document.
    #[must_use]
    pub const fn media_type(&self) -> MediaType {
        match self {
            Self::Image(manifest) => manifest.media_type,
            Self::Index(index) => index.media_type,
        }
    }

    /// Returns the content that the document's digest covers: the manifests of an index, or the configuration and layers
    /// of a manifest. A `subject` is not covered: a signed artifact vouches for nothing that it points at.
    pub fn children(&self) -> impl Iterator<Item = (&Descriptor, ChildKind)> {
        let (manifests, config, layers): (&[Descriptor], _, &[Descriptor]) = match self {
            Self::Image(manifest) => (&[], Some(&manifest.config), &manifest.layers),
            Self::Index(index) => (&index.manifests, None, &[]),
        };
        manifests.iter().map(|child| (child, ChildKind::Manifest)).chain(
            config
                .into_iter()
                .chain(layers)
                .map(|child| (child, ChildKind::Blob)),
        )
    }
}

/// How a child is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ChildKind {
    /// At `/blobs/`.
    Blob,
    /// At `/manifests/`.
    Manifest,
}

/// A document as it is sent: the fields of both kinds, which the media type tells apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireDocument {
    schema_version: Option<serde_json::Number>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<Object<descriptor::WireDescriptor>>,
    layers: Option<Children>,
    manifests: Option<Children>,
    subject: Option<Object<descriptor::WireDescriptor>>,
}

/// Lists the keys of manifests, indexes and descriptors, which no document may spell in another case.
fn keys() -> Vec<&'static str> {
    let mut keys = vec![
        "config",
        "fsLayers",
        "history",
        "layers",
        "manifests",
        "schemaVersion",
        "subject",
    ];
    keys.extend(descriptor::KEYS);
    keys
}

/// Decides the media type. If both the registry and the document state it, they must agree: a client that believes one and
/// a client that believes the other would pull two images by one digest (CVE-2021-41190).
fn media_type(content_type: Option<&str>, field: Option<&str>) -> Result<MediaType, ManifestError> {
    let unclear = || ManifestError::MediaType {
        content_type: content_type.map_or_else(|| "-".to_owned(), excerpt),
        media_type: field.map_or_else(|| "-".to_owned(), excerpt),
    };
    let said = match content_type {
        Some(text) if !GENERAL_TYPES.contains(&essence(text).as_str()) => {
            Some(MediaType::from_content_type(text).ok_or_else(unclear)?)
        }
        Some(_) | None => None,
    };
    let written = match field {
        Some(text) => Some(MediaType::from_field(text).ok_or_else(unclear)?),
        None => None,
    };
    match (said, written) {
        (Some(said), Some(written)) if said == written => Ok(said),
        (None, Some(written)) => Ok(written),
        (Some(said), None) if said.is_optional() => Ok(said),
        (Some(_), Some(_) | None) | (None, None) => Err(unclear()),
    }
}

fn image(media_type: MediaType, wire: WireDocument) -> Result<ImageManifest, ManifestError> {
    let config = wire.config.ok_or_else(|| absent("config"))?;
    let layers = wire.layers.ok_or_else(|| absent("layers"))?;
    // The configuration is a child too.
    if layers.0.len() >= CHILDREN {
        return Err(ManifestError::TooManyChildren { limit: CHILDREN });
    }
    let config = descriptor("config", config)?;
    let artifact_type = wire.artifact_type.unwrap_or_else(|| config.media_type.clone());
    if !is_media_type(&artifact_type) {
        return Err(ManifestError::Field(
            "`artifactType` is not a media type".to_owned(),
        ));
    }
    let subject = match wire.subject {
        Some(subject) => Some(descriptor("subject", subject)?),
        None => None,
    };
    Ok(ImageManifest {
        media_type,
        artifact_type,
        config,
        layers: layers.descriptors("layers")?,
        subject,
    })
}

fn index(media_type: MediaType, wire: WireDocument) -> Result<Index, ManifestError> {
    let manifests = wire.manifests.ok_or_else(|| absent("manifests"))?;
    if manifests.0.len() > CHILDREN {
        return Err(ManifestError::TooManyChildren { limit: CHILDREN });
    }
    Ok(Index {
        media_type,
        manifests: manifests.descriptors("manifests")?,
    })
}

fn descriptor(
    at: &str,
    Object(wire): Object<descriptor::WireDescriptor>,
) -> Result<Descriptor, ManifestError> {
    wire.try_into()
        .map_err(|error: DescriptorError| ManifestError::Field(format!("`{at}`: {error}")))
}

fn absent(key: &str) -> ManifestError {
    ManifestError::Field(format!("`{key}` is absent"))
}

/// The descriptors of an array. At most one more than the bound is held, and the rest is skipped.
struct Children(Vec<Object<descriptor::WireDescriptor>>);

impl Children {
    fn descriptors(self, key: &str) -> Result<Vec<Descriptor>, ManifestError> {
        let numbered = self.0.into_iter().enumerate();
        numbered
            .map(|(number, wire)| descriptor(&format!("{key}[{number}]"), wire))
            .collect()
    }
}

impl<'de> Deserialize<'de> for Children {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundedList;

        impl<'de> Visitor<'de> for BoundedList {
            type Value = Children;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an array of descriptors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut array: A) -> Result<Children, A::Error> {
                let mut children = Vec::new();
                while children.len() <= CHILDREN {
                    match array.next_element()? {
                        Some(child) => children.push(child),
                        None => return Ok(Children(children)),
                    }
                }
                while array.next_element::<IgnoredAny>()?.is_some() {}
                Ok(Children(children))
            }
        }

        deserializer.deserialize_seq(BoundedList)
    }
}

/// Returns a `Content-Type` without its parameters, in lower case.
fn essence(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// The media types of Docker schema 1, unsigned and signed.
const SCHEMA_1: [&str; 2] = [
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
];

/// The types that plain file servers give to every document.
const GENERAL_TYPES: [&str; 4] = ["", "application/json", "application/octet-stream", "text/plain"];

#[cfg(test)]
mod tests;
