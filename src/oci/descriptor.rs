//! Descriptors: how one piece of content names another (image-spec 1.1, descriptor.md).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::Deserialize;

use super::json::Object;
use super::{Digest, DigestError};

/// A reference to content by media type, digest and size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Descriptor {
    /// The media type of the content.
    pub media_type: String,
    /// The digest of the content.
    pub digest: Digest,
    /// The size of the content in bytes.
    pub size: u64,
    /// The type of the artifact, when the content is one.
    pub artifact_type: Option<String>,
    /// The content itself, embedded and decoded. It has not been hashed: hash it before use.
    pub unverified_data: Option<Bytes>,
    /// The platform that a child of an index is for.
    pub platform: Option<Platform>,
}

/// The kind of machine that a child of an index is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Platform {
    /// `GOOS`.
    pub os: String,
    /// `GOARCH`.
    pub architecture: String,
    /// CPU variant, such as `v7`.
    pub variant: Option<String>,
}

impl Platform {
    /// Returns the platform of this machine in Go's words, by which runtimes pick a child of an index.
    #[must_use]
    pub fn from_this_machine() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            other => other,
        };
        Self {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
    }
}

/// A descriptor as it stands in a document. Unknown keys are allowed: the specification asks readers to ignore them
/// (image-spec 1.1, considerations.md, "Extensibility"). `urls` is among the keys that are not read: content comes
/// from the registry of the image, never from a place that a manifest names.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WireDescriptor {
    media_type: Option<String>,
    digest: Option<String>,
    size: Option<serde_json::Number>,
    artifact_type: Option<String>,
    data: Option<String>,
    platform: Option<Object<WirePlatform>>,
}

#[derive(Deserialize)]
struct WirePlatform {
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
}

/// The keys of a descriptor and its platform, for [`super::json::Strict::check`].
pub(super) const KEYS: [&str; 13] = [
    "annotations",
    "architecture",
    "artifactType",
    "data",
    "digest",
    "mediaType",
    "os",
    "os.features",
    "os.version",
    "platform",
    "size",
    "urls",
    "variant",
];

/// Why a value is not a descriptor. Becomes the text of a [`super::ManifestError::Field`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DescriptorError {
    /// A required key is absent or `null`.
    #[error("`{0}` is absent")]
    Absent(&'static str),
    /// `data` is not base64, or not as long as `size` says.
    #[error("`data` is not base64 of `size` bytes")]
    Data,
    /// The digest is malformed.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// A media type that RFC 6838 does not allow.
    #[error("`{0}` is not a media type")]
    MediaType(&'static str),
    /// Not an integer from 0 to 2^63 - 1 (descriptor.md: `int64`, and no content has a negative size).
    #[error("`size` is not an integer from 0 to 2^63 - 1")]
    Size,
}

impl TryFrom<WireDescriptor> for Descriptor {
    type Error = DescriptorError;

    fn try_from(wire: WireDescriptor) -> Result<Self, DescriptorError> {
        let media_type = wire.media_type.ok_or(DescriptorError::Absent("mediaType"))?;
        if !is_media_type(&media_type) {
            return Err(DescriptorError::MediaType("mediaType"));
        }
        if !wire.artifact_type.as_deref().is_none_or(is_media_type) {
            return Err(DescriptorError::MediaType("artifactType"));
        }
        let digest = wire.digest.ok_or(DescriptorError::Absent("digest"))?.parse()?;
        let size = wire.size.ok_or(DescriptorError::Absent("size"))?;
        let size = size
            .as_u64()
            .filter(|size| i64::try_from(*size).is_ok())
            .ok_or(DescriptorError::Size)?;
        let unverified_data = match wire.data {
            Some(data) => Some(decode(&data, size).ok_or(DescriptorError::Data)?),
            None => None,
        };
        let platform = match wire.platform {
            Some(Object(platform)) => Some(platform.try_into()?),
            None => None,
        };
        Ok(Self {
            media_type,
            digest,
            size,
            artifact_type: wire.artifact_type,
            unverified_data,
            platform,
        })
    }
}

impl TryFrom<WirePlatform> for Platform {
    type Error = DescriptorError;

    fn try_from(wire: WirePlatform) -> Result<Self, DescriptorError> {
        Ok(Self {
            os: wire.os.ok_or(DescriptorError::Absent("platform.os"))?,
            architecture: wire
                .architecture
                .ok_or(DescriptorError::Absent("platform.architecture"))?,
            variant: wire.variant,
        })
    }
}

/// Whether the text is a media type (RFC 6838, 4.2), with or without parameters.
pub(super) fn is_media_type(text: &str) -> bool {
    let is_name = |name: &str| {
        name.len() <= 127
            && name.starts_with(|first: char| first.is_ascii_alphanumeric())
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
    };
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    essence
        .split_once('/')
        .is_some_and(|(kind, subtype)| is_name(kind) && is_name(subtype))
        && parameters.len() <= 255
        && parameters
            .bytes()
            .all(|byte| byte == b' ' || byte.is_ascii_graphic())
}

/// Decodes standard base64 with padding (descriptor.md: RFC 4648, section 4) in its one spelling. The length is checked
/// first, so that text that does not fit `size` is not decoded.
fn decode(data: &str, size: u64) -> Option<Bytes> {
    let encoded_length = size.div_ceil(3).checked_mul(4)?;
    if u64::try_from(data.len()) != Ok(encoded_length) {
        return None;
    }
    let decoded = STANDARD.decode(data).ok()?;
    (u64::try_from(decoded.len()) == Ok(size)).then(|| decoded.into())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Descriptor, DescriptorError, Platform, WireDescriptor, is_media_type};
    use crate::oci::{Digest, DigestError};

    fn read(document: &serde_json::Value) -> Result<Descriptor, DescriptorError> {
        serde_json::from_value::<WireDescriptor>(document.clone())
            .unwrap()
            .try_into()
    }

    fn plain() -> serde_json::Value {
        json!({ "mediaType": "application/x", "digest": Digest::sha256(b"hello"), "size": 5 })
    }

    fn with(key: &str, value: serde_json::Value) -> serde_json::Value {
        let mut document = plain();
        document[key] = value;
        document
    }

    #[test]
    fn every_field_is_read_and_unknown_ones_are_ignored() {
        let document = json!({
            "mediaType": "application/x", "digest": Digest::sha256(b"hello"), "size": 5,
            "artifactType": "application/y+json", "data": "aGVsbG8=", "urls": ["https://attacker.example/"],
            "platform": { "os": "linux", "architecture": "arm", "variant": "v7", "os.version": "1", "features": ["x"] },
            "annotations": { "a": "b" }, "org.example.extension": [1, 2],
        });
        let expected = Descriptor {
            media_type: "application/x".to_owned(),
            digest: Digest::sha256(b"hello"),
            size: 5,
            artifact_type: Some("application/y+json".to_owned()),
            unverified_data: Some(b"hello".as_slice().into()),
            platform: Some(Platform {
                os: "linux".to_owned(),
                architecture: "arm".to_owned(),
                variant: Some("v7".to_owned()),
            }),
        };
        assert_eq!(read(&document), Ok(expected));
    }

    #[test]
    fn a_required_field_is_required() {
        for key in ["mediaType", "digest", "size"] {
            assert_eq!(read(&with(key, json!(null))), Err(DescriptorError::Absent(key)));
        }
        let platform = with("platform", json!({ "os": "linux" }));
        assert_eq!(
            read(&platform),
            Err(DescriptorError::Absent("platform.architecture"))
        );
        let platform = with("platform", json!({ "architecture": "arm" }));
        assert_eq!(read(&platform), Err(DescriptorError::Absent("platform.os")));
    }

    #[test]
    fn a_size_is_an_int64_that_is_not_negative() {
        assert_eq!(read(&with("size", json!(i64::MAX))).unwrap().size, u64::MAX / 2);
        assert_eq!(read(&with("size", json!(0))).unwrap().size, 0);
        for size in [
            json!(-1),
            json!(9_223_372_036_854_775_808_u64),
            json!(u64::MAX),
            json!(5.0),
            json!(1e30),
        ] {
            assert_eq!(
                read(&with("size", size.clone())),
                Err(DescriptorError::Size),
                "{size}"
            );
        }
    }

    #[test]
    fn embedded_data_is_canonical_base64_of_the_named_size() {
        assert_eq!(
            read(&with("data", json!("aGVsbG8="))).unwrap().unverified_data,
            Some(b"hello".as_slice().into())
        );
        let mut empty = with("data", json!(""));
        empty["size"] = json!(0);
        assert_eq!(read(&empty).unwrap().unverified_data, Some(b"".as_slice().into()));
        for data in [
            "",
            "aGVsbG8",
            "aGVsbG9=",
            "aGVsbG8h",
            "aGVsbA==",
            "aGVs\nbG8=",
            "aGV-bG8=",
            "aGVsbG8=aGVsbG8=",
        ] {
            assert_eq!(
                read(&with("data", json!(data))),
                Err(DescriptorError::Data),
                "{data:?}"
            );
        }
        let mut largest = with("data", json!("aGVsbG8="));
        largest["size"] = json!(i64::MAX);
        assert_eq!(read(&largest), Err(DescriptorError::Data));
    }

    #[test]
    fn a_malformed_digest_is_refused() {
        let error = DescriptorError::Digest(DigestError::Encoded {
            algorithm: "sha256",
            digits: 64,
        });
        assert_eq!(read(&with("digest", json!("sha256:../../etc"))), Err(error));
        assert_eq!(
            read(&with("digest", json!("md5:00"))),
            Err(DescriptorError::Digest(DigestError::Algorithm))
        );
    }

    #[test]
    fn a_malformed_media_type_is_refused() {
        for text in [
            "application/vnd.oci.image.layer.v1.tar+gzip",
            "text/plain; charset=utf-8",
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
        ] {
            assert!(is_media_type(text), "{text}");
        }
        let long = format!("application/{}", "a".repeat(128));
        for text in [
            "",
            "/",
            "application",
            "application/",
            "/x",
            "a/b/c",
            "a b/c",
            "a/b\n",
            "a/b;\0",
            "é/x",
            &long,
        ] {
            assert!(!is_media_type(text), "{text:?}");
            assert_eq!(
                read(&with("mediaType", json!(text))),
                Err(DescriptorError::MediaType("mediaType"))
            );
            assert_eq!(
                read(&with("artifactType", json!(text))),
                Err(DescriptorError::MediaType("artifactType"))
            );
        }
    }
}
