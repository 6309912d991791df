//! Replaces the text of a configuration file so that a reader, or a power cut, finds the old text or the new one.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// A file was not replaced.
#[derive(Debug, thiserror::Error)]
pub enum ReplaceError {
    /// The system refused a step.
    #[error("could not write `{}`", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The reason of the system.
        source: io::Error,
    },
    /// The file is not the one that was read.
    #[error("`{}` has changed since it was read", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
    },
}

/// Writes `after` to a new file with the owner and the mode of the old one, syncs it, and renames it over the old one,
/// unless that no longer holds `before`. A symbolic link stays: the file that it leads to is replaced.
pub(super) fn replace(path: &Path, before: &str, after: &str) -> Result<(), ReplaceError> {
    let failed = |source| ReplaceError::Io {
        path: path.to_owned(),
        source,
    };
    let target = fs::canonicalize(path).map_err(failed)?;
    let folder = target.parent().unwrap_or(Path::new("/"));
    let mut name = std::ffi::OsString::from(".");
    name.push(target.file_name().unwrap_or_default());
    // Hidden, and with another ending: no pattern of `include` matches it.
    name.push(format!(".{}.migrate", std::process::id()));
    let new = folder.join(name);
    let written = write_new(&new, &target, after)
        .and_then(|()| Ok(fs::read(&target)? == before.as_bytes()))
        .and_then(|is_unchanged| {
            if is_unchanged {
                fs::rename(&new, &target)?;
                // The name is on disk only when its folder is.
                File::open(folder)?.sync_all()?;
            }
            Ok(is_unchanged)
        });
    match written {
        Ok(true) => Ok(()),
        Ok(false) => {
            remove(&new);
            Err(ReplaceError::Changed {
                path: path.to_owned(),
            })
        }
        Err(source) => {
            remove(&new);
            Err(failed(source))
        }
    }
}

fn write_new(new: &Path, old: &Path, text: &str) -> io::Result<()> {
    let metadata = fs::metadata(old)?;
    // Private until it has its owner: a secret in the text must not be readable meanwhile.
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(new)?;
    let ours = file.metadata()?;
    if (ours.uid(), ours.gid()) != (metadata.uid(), metadata.gid()) {
        fchown(&file, Some(metadata.uid()), Some(metadata.gid()))?;
    }
    file.set_permissions(metadata.permissions())?;
    file.write_all(text.as_bytes())?;
    file.sync_all()
}

/// Removes the new file after a failure. It may not exist, and the failure itself is what is reported.
fn remove(new: &Path) {
    drop(fs::remove_file(new));
}
