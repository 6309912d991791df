//! Files that a configuration is made of or names: bounded reads, whose failures name the file.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Why a file that a configuration names could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FileError {
    /// The system reported an error.
    #[error("could not read `{}`: {}", path.display(), self.why())]
    Io { path: PathBuf, source: io::Error },
    /// A directory, a device, or a pipe (which might never begin, or never end).
    #[error("`{}` {}", path.display(), self.why())]
    NotAFile { path: PathBuf },
    /// The file is not UTF-8 text.
    #[error("`{}` {}", path.display(), self.why())]
    NotUtf8 { path: PathBuf, line: usize },
    /// The file is larger than its bound.
    #[error("`{}` {}", path.display(), self.why())]
    TooLarge { path: PathBuf, limit: usize },
}

impl FileError {
    /// Returns the cause without the path, for messages that name the file already.
    pub(crate) fn why(&self) -> String {
        match self {
            // The system's words, without the number of the error.
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "there is no such file".to_owned()
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "permission denied".to_owned()
            }
            Self::Io { source, .. } => source.to_string(),
            Self::NotAFile { .. } => "is not a file".to_owned(),
            Self::NotUtf8 { line, .. } => format!("is not UTF-8: see line {line}"),
            Self::TooLarge { limit, .. } => format!("has more than {limit} bytes"),
        }
    }

    /// Returns the next step, where one is known.
    pub(crate) fn hint(&self) -> Option<String> {
        match self {
            Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("relative paths start at the folder of the file that names them".to_owned())
            }
            Self::Io { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("let the daemon's user read it".to_owned())
            }
            Self::Io { .. } => None,
            Self::NotAFile { .. } => Some("name a file".to_owned()),
            Self::NotUtf8 { .. } => Some("save it as UTF-8".to_owned()),
            Self::TooLarge { .. } => Some("is it the file that was meant?".to_owned()),
        }
    }
}

/// Reads a file of at most `limit` bytes.
///
/// # Errors
/// See [`FileError`].
pub(crate) fn read(path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
    let failed = |source| FileError::Io {
        path: path.to_owned(),
        source,
    };
    // Checked before the file is opened: opening a pipe would wait for a writer.
    if !std::fs::metadata(path).map_err(failed)?.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    // One byte more than the limit, which tells a file that is too large from one that just fits.
    let bound = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    file.take(bound).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}
