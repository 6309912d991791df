//! The referrer that carries a record: an OCI image manifest whose subject is the signed image.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use jiff::Timestamp;
use serde_json::json;

use crate::oci::{Blob, MediaType};
use crate::signature::oracle::{ARTIFACT_TYPE, Record};
use crate::tool::signature_store::Referrer;

/// Media type and content of the empty descriptor (image-spec 1.1, manifest.md, "Guidance for an Empty Descriptor").
const EMPTY_MEDIA_TYPE: &str = "application/vnd.oci.empty.v1+json";
const EMPTY: &[u8] = b"{}";

/// Builds the referrer that attaches a record to `subject`.
///
/// The layer's descriptor embeds the record (`data`, image-spec 1.1, descriptor.md), so that a gate needs no request for
/// the layer.
///
/// The creation date is that of the record, or `now` if the record has none. The same record attached twice to one image
/// is therefore one referrer.
#[must_use]
pub fn artifact(record: &Record, subject: &Blob, media_type: MediaType, now: Timestamp) -> Referrer {
    let empty = Blob::from_bytes(Bytes::from_static(EMPTY));
    let layer = Blob::from_bytes(record.to_json().into());
    let created = record
        .time_created
        .as_ref()
        .and_then(|text| text.parse::<Timestamp>().ok());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OciManifest.as_str(),
        "artifactType": ARTIFACT_TYPE,
        "config": {
            "mediaType": EMPTY_MEDIA_TYPE,
            "digest": empty.digest(),
            "size": EMPTY.len(),
            "data": STANDARD.encode(EMPTY),
        },
        "layers": [{
            "mediaType": ARTIFACT_TYPE,
            "digest": layer.digest(),
            "size": layer.bytes().len(),
            "data": STANDARD.encode(layer.bytes()),
        }],
        "subject": {
            "mediaType": media_type.as_str(),
            "digest": subject.digest(),
            "size": subject.bytes().len(),
        },
        "annotations": { "org.opencontainers.image.created": created.unwrap_or(now).to_string() },
    });
    Referrer {
        manifest: Blob::from_bytes(manifest.to_string().into()),
        artifact_type: ARTIFACT_TYPE.to_owned(),
        blobs: vec![empty, layer],
    }
}
