//! Evidence of who signed an image.

mod store;

pub(crate) use store::{EvidenceKey, EvidenceStore, StoredEvidence};
