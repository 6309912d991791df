//! Small files, read whole under a bound.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a file gave nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system says no.
    #[error("could not read `{}`: {kind}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        kind: io::ErrorKind,
    },
    /// A folder, a device, a pipe (which would never end, or never begin).
    #[error("`{}` is not a file", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// Over its bound.
    #[error("`{}` has more than {limit} bytes: is it the file that was meant?", path.display())]
    TooLarge {
        /// Which file.
        path: PathBuf,
        /// The bound.
        limit: usize,
    },
}

/// Reads a file, which may hold a secret: its bytes are overwritten when they go.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unreadable = |error: io::Error| FileError::Io {
        path: path.to_owned(),
        kind: error.kind(),
    };
    let too_large = || FileError::TooLarge {
        path: path.to_owned(),
        limit,
    };
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let Some(most) = u64::try_from(limit).ok().filter(|most| metadata.len() <= *most) else {
        return Err(too_large());
    };
    // All the room at once: a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(limit.saturating_add(1)));
    // It may have grown since.
    File::open(path)
        .and_then(|file| file.take(most.saturating_add(1)).read_to_end(&mut bytes))
        .map_err(unreadable)?;
    if bytes.len() > limit {
        Err(too_large())
    } else {
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        fs::write(&path, [7; 10]).unwrap();
        assert_eq!(read(&path, 10).unwrap().as_slice(), [7; 10]);
        assert_eq!(read(&path, 9), Err(FileError::TooLarge { path, limit: 9 }));
        let path = folder.path().to_owned();
        assert_eq!(read(&path, 9), Err(FileError::NotAFile { path }));
        let path = folder.path().join("absent");
        assert_eq!(
            read(&path, 9),
            Err(FileError::Io {
                path: path.clone(),
                kind: io::ErrorKind::NotFound
            })
        );
    }
}
