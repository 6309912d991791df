//! Files: read whole under a bound, and replaced whole or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::OFlag;
use zeroize::Zeroizing;

/// Why a file was not read, written or deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The system refused.
    #[error("could not {action} `{}`: {}", path.display(), self.why())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The action that failed.
        action: FileAction,
        /// The kind of error.
        kind: io::ErrorKind,
        /// The system's words.
        words: String,
    },
    /// A folder, a device or a pipe (which may never end, or never begin).
    #[error("`{}` {}", path.display(), self.why())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// Not UTF-8.
    #[error("`{}` {}", path.display(), self.why())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first line that is not UTF-8, from 1.
        line: usize,
    },
    /// Over its bound.
    #[error("`{}` {}", path.display(), self.why())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The bound in bytes.
        limit: usize,
    },
}

/// An action on a file or folder, as [`FileError`] names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileAction {
    /// Reads it.
    Read,
    /// Writes it, or creates it.
    Write,
    /// Deletes it.
    Delete,
}

impl std::fmt::Display for FileAction {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Delete => "delete",
        })
    }
}

impl FileError {
    /// Wraps an error of the system.
    pub(crate) fn from_io(path: &Path, action: FileAction, source: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            action,
            kind: source.kind(),
            words: source.to_string(),
        }
    }

    /// Says what is wrong, without the path.
    pub(crate) fn why(&self) -> String {
        match self {
            // Without the system's error number.
            Self::Io {
                kind: io::ErrorKind::NotFound,
                ..
            } => "there is no such file".to_owned(),
            Self::Io {
                kind: io::ErrorKind::PermissionDenied,
                ..
            } => "permission denied".to_owned(),
            Self::Io { words, .. } => words.clone(),
            Self::NotAFile { .. } => "is not a file".to_owned(),
            Self::NotUtf8 { line, .. } => format!("is not UTF-8: see line {line}"),
            Self::TooLarge { limit, .. } => format!("has more than {limit} bytes"),
        }
    }

    /// Says what to do about a file that the configuration names, where there is something to do.
    pub(crate) fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Io {
                kind: io::ErrorKind::NotFound,
                ..
            } => "relative paths start at the folder of the file that names them",
            Self::Io {
                kind: io::ErrorKind::PermissionDenied,
                ..
            } => "let the daemon's user read it",
            Self::Io { .. } => return None,
            Self::NotAFile { .. } => "name a file",
            Self::NotUtf8 { .. } => "save it as UTF-8",
            Self::TooLarge { .. } => "is it the file that was meant?",
        };
        Some(hint.to_owned())
    }
}

/// Reads a regular file of at most `limit` bytes. It may hold a secret: the bytes are overwritten when they are dropped.
///
/// # Errors
/// [`FileError`]: the file cannot be read, is not a regular file, or is larger.
pub(crate) fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unreadable = |error: io::Error| FileError::from_io(path, FileAction::Read, &error);
    // Before the file is opened: opening a pipe waits for its writer.
    let metadata = fs::metadata(path).map_err(unreadable)?;
    if !metadata.is_file() {
        return Err(FileError::NotAFile {
            path: path.to_owned(),
        });
    }
    let length = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    let mut room = length.max(limit.min(LEAST_ROOM));
    loop {
        if room > limit {
            return Err(FileError::TooLarge {
                path: path.to_owned(),
                limit,
            });
        }
        let file = File::open(path).map_err(unreadable)?;
        let bytes = read_at_most(file, room.saturating_add(1)).map_err(unreadable)?;
        if bytes.len() <= room {
            return Ok(bytes);
        }
        // The file has grown, or the system does not say how long it is (`/proc`). Reading on would make the buffer grow,
        // and a buffer that grows leaves a copy of a secret behind.
        room = match room {
            full if full == limit => usize::MAX,
            room => room.saturating_mul(2).clamp(bytes.len(), limit),
        };
    }
}

/// [`read`], for a task of the runtime: on a thread that may wait for a disk.
///
/// # Errors
/// As [`read`].
pub(crate) async fn read_async(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let owned = path.to_owned();
    match tokio::task::spawn_blocking(move || read(&owned, limit)).await {
        Ok(result) => result,
        // The runtime stops.
        Err(error) => Err(FileError::from_io(path, FileAction::Read, &error.into())),
    }
}

/// Reads a file of at most `limit` bytes as UTF-8.
///
/// # Errors
/// As [`read`], and [`FileError::NotUtf8`].
pub(crate) fn read_text(path: &Path, limit: usize) -> Result<String, FileError> {
    let bytes = read(path, limit)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) => {
            let valid = bytes.iter().take(error.valid_up_to());
            Err(FileError::NotUtf8 {
                path: path.to_owned(),
                line: valid.filter(|byte| **byte == b'\n').count().saturating_add(1),
            })
        }
    }
}

/// Reads a file of at most `limit` bytes that an operator named on a command line. It may be a pipe (`/dev/stdin`,
/// `<(command)`): the operator waits for its end, and can interrupt. A daemon cannot.
///
/// # Errors
/// [`FileError`]: the file cannot be read, or is larger.
pub(crate) fn read_argument(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let unreadable = |error: io::Error| FileError::from_io(path, FileAction::Read, &error);
    let file = File::open(path).map_err(unreadable)?;
    let bytes = read_at_most(file, limit.saturating_add(1)).map_err(unreadable)?;
    if bytes.len() > limit {
        return Err(FileError::TooLarge {
            path: path.to_owned(),
            limit,
        });
    }
    Ok(bytes)
}

/// Reads at most so many bytes, into a buffer that does not grow.
fn read_at_most(file: File, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::with_capacity(most));
    file.take(u64::try_from(most).unwrap_or(u64::MAX))
        .read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Writes a file that everybody may read, and the folders above it. A reader sees the old content or the new, and so does
/// a machine that lost its power: the bytes are on the disk before the name leads to them, and the name is on the disk
/// before this returns.
///
/// The caller's umask does not matter: records and public keys are not secret, and root writes them, while the
/// daemon, which reads them, is another user. Folders that exist keep their mode.
///
/// # Errors
/// [`FileError::Io`].
pub fn write(path: &Path, bytes: &[u8]) -> Result<(), FileError> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    };
    create_folders(folder)?;
    replace(folder, path, bytes).map_err(|error| FileError::from_io(path, FileAction::Write, &error))
}

fn create_folders(folder: &Path) -> Result<(), FileError> {
    let missing: Vec<&Path> = folder
        .ancestors()
        .take_while(|folder| is_missing(folder))
        .collect();
    for folder in missing.into_iter().rev() {
        create_folder(folder).map_err(|error| FileError::from_io(folder, FileAction::Write, &error))?;
    }
    Ok(())
}

fn is_missing(folder: &Path) -> bool {
    !folder.as_os_str().is_empty() && !folder.exists()
}

fn create_folder(folder: &Path) -> io::Result<()> {
    match fs::create_dir(folder) {
        Ok(()) => {}
        // Another process was faster, and sets the mode itself.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && folder.is_dir() => return Ok(()),
        Err(error) => return Err(error),
    }
    // Through a descriptor that follows no link: an attacker that can rename the new folder must not have root change the
    // mode of another file.
    let flags = OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let descriptor = fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(folder)?;
    descriptor.set_permissions(Permissions::from_mode(0o755))?;
    match folder.parent() {
        Some(above) if !above.as_os_str().is_empty() => sync_folder(above),
        Some(_) | None => sync_folder(Path::new(".")),
    }
}

fn replace(folder: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    // Hidden and without an extension: neither the daemon nor an `include` takes it for a file of theirs. It is deleted
    // where a later step fails.
    let mut unfinished = tempfile::Builder::new()
        .prefix(".unfinished-")
        .tempfile_in(folder)?;
    unfinished.write_all(bytes)?;
    unfinished
        .as_file()
        .set_permissions(Permissions::from_mode(0o644))?;
    unfinished.as_file().sync_all()?;
    unfinished.persist(path)?;
    sync_folder(folder)
}

/// Writes a folder's list of names to the disk.
fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// Deletes a file.
///
/// # Errors
/// [`FileError::Io`].
pub(crate) fn delete(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(|error| FileError::from_io(path, FileAction::Delete, &error))
}

/// The room for a file that is said to be shorter: one page.
const LEAST_ROOM: usize = 4096;

#[cfg(test)]
mod tests;
