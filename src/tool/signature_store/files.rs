//! Records in a directory: written and deleted.

use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::SignatureStoreError;
use crate::base::files;
use crate::oci::Digest;

/// Returns the directory of an image's records: `<signatures>/<algorithm>/<hex>`.
#[must_use]
pub fn record_folder(signatures: &Path, digest: &Digest) -> PathBuf {
    signatures.join(digest.algorithm()).join(digest.encoded())
}

/// Writes a record of the image with this digest below `signatures`, and returns its path. The same record always has the
/// same path.
///
/// # Errors
/// [`SignatureStoreError::File`].
pub fn store(signatures: &Path, digest: &Digest, record: &[u8]) -> Result<PathBuf, SignatureStoreError> {
    let folder = record_folder(signatures, digest);
    let name = hex::encode(Sha256::digest(record));
    let name = name.get(..16).unwrap_or(&name);
    let path = folder.join(format!("{name}.json"));
    files::write(&path, record)?;
    Ok(path)
}

/// Deletes a record that [`store`] wrote.
///
/// # Errors
/// [`SignatureStoreError::File`].
pub fn delete(path: &Path) -> Result<(), SignatureStoreError> {
    Ok(files::delete(path)?)
}
