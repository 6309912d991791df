//! The registry door: the requests of each runtime, the images that are admitted, and their blobs.

mod blobs;
mod credentials;
mod manifests;
mod rules;
mod signatures;

use pullgate::fakes::pull_client::{ClientPullError, WireRefusal};
use pullgate::fakes::registry::{EmbeddedRegistry, ServedRequest};
use pullgate::oci::{Descriptor, Digest, Platform, Reference};

use crate::support::{REPOSITORY, image};

/// Returns the reference of an image by digest.
fn by_digest(digest: &Digest) -> Reference {
    image(&format!("acme/app@{digest}"))
}

/// Returns the registry's requests whose target contains `part`.
fn requests_for(registry: &EmbeddedRegistry, part: &str) -> Vec<ServedRequest> {
    registry
        .log()
        .into_iter()
        .filter(|access| access.target.contains(part))
        .collect()
}

/// Returns the refusal that a pull must have ended with.
async fn expect_refusal(result: Result<impl std::fmt::Debug, ClientPullError>) -> WireRefusal {
    match result {
        Err(ClientPullError::Refused(refusal)) => *refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// Stores an unsigned index of two unsigned images. Returns the index, the image for this machine and the other one.
fn put_index(registry: &EmbeddedRegistry, tag: &str) -> (Descriptor, Descriptor, Descriptor) {
    let other = Platform {
        os: "plan9".into(),
        architecture: "mips".into(),
        variant: None,
    };
    let other = registry
        .put_image_for(REPOSITORY, "", other, &[b"for another machine"])
        .unwrap();
    let ours = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, tag, &[other.clone(), ours.clone()])
        .unwrap();
    (index, ours, other)
}
