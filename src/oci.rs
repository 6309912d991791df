//! The vocabulary of the Open Container Initiative: parsed from bounded bytes, printed canonically, never fetched.
//!
//! Sources: image-spec 1.1 (descriptor.md, manifest.md, image-index.md), distribution-spec 1.1,
//! `github.com/distribution/reference` for image names.

mod descriptor;
mod digest;
pub mod json;
mod manifest;
mod reference;
mod registry_host;

pub use descriptor::{Descriptor, Platform};
pub use digest::{Blob, Digest, DigestError, DigestMismatch};
pub use manifest::{ChildKind, Document, ImageManifest, Index, ManifestError, MediaType};
pub(crate) use reference::{NAME_LENGTH, is_path_part};
pub use reference::{Reference, ReferenceError, Repository, Tag};
pub(crate) use registry_host::is_registry_host;
pub use registry_host::normalised_registry;
