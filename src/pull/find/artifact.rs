//! Signature manifests: from the descriptors that a listing gave to the records in their layers.

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use futures_util::{FutureExt as _, StreamExt as _, stream};

use crate::base::reason::Reason;
use crate::net::registry::{RegistryClient, RegistryError, Target};
use crate::oci::{Blob, Descriptor, Digest, Document, ImageManifest};
use crate::pull::find::query::{FindError, Query, SourceError};
use crate::signature::{Candidate, Format, Layers, Location, Locator, SourceName};

/// How many manifests of one image, and how many of their layers, are read at the same time.
const PARALLEL: usize = 4;

/// Why the records of a signature manifest could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ArtifactError {
    /// The manifest does not refer to this image, or breaks its format.
    #[error("the referrer `{referrer}` {what}")]
    Malformed {
        /// The digest of the manifest.
        referrer: Digest,
        /// The fault of the artifact.
        what: String,
    },
    /// The registry did not give the manifest or a layer.
    #[error("could not read the signatures from the registry")]
    Registry(#[from] RegistryError),
}

impl SourceError for ArtifactError {
    fn reason(&self) -> Reason {
        match self {
            Self::Malformed { .. } => Reason::Malformed,
            Self::Registry(error) => reason_of_registry(error),
        }
    }
}

/// Returns the reason code for a registry that did not give a record, or did not list the records.
pub(super) const fn reason_of_registry(error: &RegistryError) -> Reason {
    match error {
        RegistryError::DeadlineExceeded { .. } => Reason::DeadlineExceeded,
        RegistryError::DigestMismatch { .. } => Reason::DigestMismatch,
        RegistryError::Malformed { .. } => Reason::Malformed,
        RegistryError::TooLarge { .. } => Reason::LimitExceeded,
        RegistryError::Credentials { .. } | RegistryError::Unauthorized { .. } => {
            Reason::RegistryUnauthorized
        }
        // The registry lists a manifest that it does not have: that manifest may have been the good one.
        RegistryError::NotFound { .. }
        | RegistryError::Refused { .. }
        | RegistryError::Unreachable { .. } => Reason::SourceUnreachable,
    }
}

/// A layer that is a record of a format of the rule.
struct RecordLayer {
    format: &'static dyn Format,
    manifest: Digest,
    index: usize,
    descriptor: Descriptor,
}

/// Reads the records of these signature manifests, for the source of this name.
pub(super) fn read_records<'a>(
    source: SourceName,
    client: &'a RegistryClient,
    query: Query<'a>,
    descriptors: Vec<Descriptor>,
) -> BoxStream<'a, Result<Candidate, FindError>> {
    let manifests = stream::iter(descriptors)
        .map(move |descriptor| async move { read_layers(client, query, descriptor).await }.boxed());
    let layers = first_alone(manifests.boxed()).flat_map(|read| match read {
        Ok(layers) => stream::iter(layers).map(Ok).left_stream(),
        Err(error) => stream::iter([Err(error)]).right_stream(),
    });
    let records = layers.map(move |layer| {
        async move {
            match layer {
                Ok(layer) => read_record(source, client, query, layer).await,
                Err(error) => Err(error),
            }
        }
        .boxed()
    });
    first_alone(records.boxed())
}

/// Runs the first task alone and the others a few at a time. One good record is what most images have and most rules
/// need, so no other request is sent before the first record was verified.
fn first_alone<'a, T: Send + 'a>(tasks: BoxStream<'a, BoxFuture<'a, T>>) -> BoxStream<'a, T> {
    let first_then_rest = async {
        let (first, rest) = tasks.into_future().await;
        let first = match first {
            Some(first) => Some(first.await),
            None => None,
        };
        stream::iter(first).chain(rest.buffered(PARALLEL))
    };
    stream::once(first_then_rest).flatten().boxed()
}

/// Reads one signature manifest and returns the layers that are records: none where the manifest is an artifact of
/// another kind.
async fn read_layers(
    client: &RegistryClient,
    query: Query<'_>,
    descriptor: Descriptor,
) -> Result<Vec<RecordLayer>, FindError> {
    let referrer = descriptor.digest;
    let (blob, content_type) = match descriptor.unverified_data {
        // Embedded in the list: hashed like any other manifest, and one request less.
        Some(data) => {
            let blob =
                Blob::check(&referrer, data).map_err(|error| malformed(referrer, error.to_string()))?;
            (blob, Some(descriptor.media_type))
        }
        None => {
            let fetched = client
                .manifest(query.repository, &Target::Digest(referrer), query.access)
                .await
                .map_err(ArtifactError::Registry)?;
            (fetched.blob, fetched.content_type)
        }
    };
    let document = Document::parse(&blob, content_type.as_deref())
        .map_err(|error| malformed(referrer, error.to_string()))?;
    let Document::Image(manifest) = document else {
        return Ok(Vec::new());
    };
    let mut records = Vec::new();
    for (format, layers) in claimed_by(query, &manifest.artifact_type) {
        check_subject(&manifest, query.subject, referrer)?;
        for (index, descriptor) in record_layers(&manifest, layers, referrer)? {
            records.push(RecordLayer {
                format,
                manifest: referrer,
                index,
                descriptor: descriptor.clone(),
            });
        }
    }
    Ok(records)
}

/// Returns the formats of the rule that keep records in manifests of this artifact type.
pub(super) fn claimed_by<'a>(
    query: Query<'a>,
    artifact_type: &'a str,
) -> impl Iterator<Item = (&'static dyn Format, Layers)> + 'a {
    query
        .locations()
        .filter_map(move |(format, location)| match location {
            Location::Artifact {
                artifact_type: claimed,
                layers,
            } if *claimed == artifact_type => Some((format, *layers)),
            Location::Artifact { .. } | Location::File { .. } | Location::Service { .. } => None,
        })
}

/// The registry chose what it lists; the subject stands in the hashed bytes. This stops a referrer of another image that
/// is listed under this one.
fn check_subject(manifest: &ImageManifest, subject: &Digest, referrer: Digest) -> Result<(), FindError> {
    if manifest
        .subject
        .as_ref()
        .is_none_or(|named| named.digest != *subject)
    {
        return Err(malformed(referrer, "refers to another image".to_owned()));
    }
    Ok(())
}

fn record_layers(
    manifest: &ImageManifest,
    layers: Layers,
    referrer: Digest,
) -> Result<Vec<(usize, &Descriptor)>, FindError> {
    match layers {
        Layers::Each(media_types) => Ok(manifest
            .layers
            .iter()
            .enumerate()
            .filter(|(_, layer)| media_types.contains(&layer.media_type.as_str()))
            .collect()),
        Layers::One(media_types) => {
            let [layer] = manifest.layers.as_slice() else {
                let what = format!("has {} layers, a signature has one", manifest.layers.len());
                return Err(malformed(referrer, what));
            };
            if !media_types.contains(&layer.media_type.as_str()) {
                let what = format!("has a layer of type `{}`", layer.media_type);
                return Err(malformed(referrer, what));
            }
            Ok(vec![(0, layer)])
        }
    }
}

async fn read_record(
    source: SourceName,
    client: &RegistryClient,
    query: Query<'_>,
    layer: RecordLayer,
) -> Result<Candidate, FindError> {
    let RecordLayer {
        format,
        manifest,
        index,
        descriptor,
    } = layer;
    let record = client
        .blob(query.repository, &descriptor, format.max_bytes(), query.access)
        .await
        .map_err(ArtifactError::Registry)?;
    Ok(Candidate {
        format,
        source,
        locator: Locator::Layer { manifest, index },
        unverified_media_type: Some(descriptor.media_type.into()),
        unverified: record.bytes().clone(),
    })
}

fn malformed(referrer: Digest, what: String) -> FindError {
    ArtifactError::Malformed { referrer, what }.into()
}
