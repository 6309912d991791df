//! The vocabulary of the Open Container Initiative: parsed from bounded bytes, printed canonically, never fetched.
//!
//! The types are our own rather than those of `oci-spec` or `oci-client`, which read what a runtime would: they keep the
//! last of two equal keys, bound neither depth nor length, and take any text for a digest or a name. A gate has to refuse
//! every document that two readers could read in two ways, before it looks at the meaning; and it has to keep one spelling
//! of each name, because rules are looked up by it.
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
pub(crate) use reference::is_path_part;
pub use reference::{Reference, ReferenceError, Repository, Tag};
pub(crate) use registry_host::{NAME_LENGTH, is_registry_host};
pub use registry_host::{RegistryHostError, normalised_registry};
