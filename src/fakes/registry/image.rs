//! Minimal images that a runtime can pull and unpack.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::oci::{Descriptor, Digest, MediaType, Platform};

/// Media type of the manifests.
pub(super) const MANIFEST: &str = MediaType::OciManifest.as_str();
/// Media type of the indexes.
pub(super) const INDEX: &str = MediaType::OciIndex.as_str();

/// Names and contents of a layer's files.
pub type Files<'a> = &'a [(&'a str, &'a [u8])];

/// Creates an uncompressed tar archive of plain files (POSIX.1-1988 ustar), a layer that every runtime can unpack. Names are
/// cut to 100 bytes, the size of the header's field.
#[must_use]
pub fn tar(files: Files<'_>) -> Vec<u8> {
    let mut archive = Vec::new();
    for (name, content) in files {
        archive.extend_from_slice(&tar_header(name, content.len()));
        archive.extend_from_slice(content);
        archive.resize(archive.len().next_multiple_of(TAR_BLOCK), 0);
    }
    archive.resize(archive.len() + 2 * TAR_BLOCK, 0);
    archive
}

/// An image: its manifest, and the blobs that the manifest names.
pub(super) struct FakeImage {
    pub(super) manifest: Vec<u8>,
    pub(super) blobs: Vec<Bytes>,
}

pub(super) fn build(platform: &Platform, layers: &[&[u8]]) -> FakeImage {
    let mut blobs: Vec<Bytes> = layers.iter().map(|layer| Bytes::copy_from_slice(layer)).collect();
    let named = |media_type: &str, bytes: &[u8]| json!({ "mediaType": media_type, "digest": Digest::sha256(bytes), "size": bytes.len() });
    let mut configuration = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "config": { "Cmd": ["/hello"] },
        "rootfs": { "type": "layers", "diff_ids": layers.iter().map(|each| Digest::sha256(each)).collect::<Vec<_>>() },
    });
    if let (Some(variant), Some(object)) = (&platform.variant, configuration.as_object_mut()) {
        object.insert("variant".to_owned(), variant.as_str().into());
    }
    let configuration = configuration.to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": named("application/vnd.oci.image.config.v1+json", configuration.as_bytes()),
        "layers": layers.iter().map(|each| named("application/vnd.oci.image.layer.v1.tar", each)).collect::<Vec<_>>(),
    });
    blobs.push(configuration.into());
    FakeImage {
        manifest: manifest.to_string().into_bytes(),
        blobs,
    }
}

pub(super) fn index(manifests: &[Descriptor]) -> Vec<u8> {
    let manifests: Vec<Value> = manifests.iter().map(descriptor_json).collect();
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests })
        .to_string()
        .into_bytes()
}

pub(super) fn descriptor(media_type: &str, digest: Digest, size: u64) -> Descriptor {
    Descriptor {
        media_type: media_type.to_owned(),
        digest,
        size,
        artifact_type: None,
        unverified_data: None,
        platform: None,
    }
}

pub(super) fn size(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn descriptor_json(descriptor: &Descriptor) -> Value {
    let mut value =
        json!({ "mediaType": descriptor.media_type, "digest": descriptor.digest, "size": descriptor.size });
    let platform = descriptor
        .platform
        .as_ref()
        .map(|platform| match &platform.variant {
            None => json!({ "architecture": platform.architecture, "os": platform.os }),
            Some(variant) => {
                json!({ "architecture": platform.architecture, "os": platform.os, "variant": variant })
            }
        });
    let artifact_type = descriptor.artifact_type.as_deref().map(Value::from);
    if let Some(object) = value.as_object_mut() {
        for (key, member) in [("platform", platform), ("artifactType", artifact_type)] {
            if let Some(member) = member {
                object.insert(key.to_owned(), member);
            }
        }
    }
    value
}

/// Writes each field at its offset, and then the checksum: the sum of all bytes, with the checksum field itself as spaces.
fn tar_header(name: &str, size: usize) -> [u8; TAR_BLOCK] {
    let mut header = [0; TAR_BLOCK];
    let mut write = |at: usize, field: &[u8]| {
        for (target, byte) in header.iter_mut().skip(at).zip(field) {
            *target = *byte;
        }
    };
    write(0, name.as_bytes().get(..100).unwrap_or(name.as_bytes()));
    write(100, b"0000755\0");
    write(108, b"0000000\0");
    write(116, b"0000000\0");
    write(124, format!("{size:011o}\0").as_bytes());
    write(136, b"00000000000\0");
    write(148, b"        ");
    write(156, b"0");
    write(257, b"ustar\x0000");
    let sum: u32 = header.iter().copied().map(u32::from).sum();
    for (target, byte) in header
        .iter_mut()
        .skip(148)
        .zip(format!("{sum:06o}\0 ").as_bytes())
    {
        *target = *byte;
    }
    header
}

const TAR_BLOCK: usize = 512;
