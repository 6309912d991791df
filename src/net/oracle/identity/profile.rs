//! A profile with its key, reread when its files change.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;

use super::super::{Ocid, Profile, Region, RequestKey, RequestSigner};
use super::error::IdentityError;

/// A profile and the last state that was read of it. Its functions read small files and block meanwhile.
#[derive(Debug)]
pub(super) struct WatchedProfile {
    path: PathBuf,
    name: String,
    home: Option<PathBuf>,
    loaded: Mutex<Arc<LoadedProfile>>,
}

#[derive(Debug)]
struct LoadedProfile {
    profile: Profile,
    key: Arc<RequestKey>,
    /// The configuration file and the key file, as they were before they were read.
    stamps: [FileStamp; 2],
}

/// Metadata by which a rewritten file is recognised: tools write in place, or rename another file over it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FileStamp {
    written: Option<SystemTime>,
    length: Option<u64>,
    inode: Option<u64>,
}

impl WatchedProfile {
    pub(super) fn new(path: PathBuf, name: &str, home: Option<PathBuf>) -> Result<Self, IdentityError> {
        let loaded = LoadedProfile::read(&path, name, home.as_deref())?;
        Ok(Self {
            path,
            name: name.to_owned(),
            home,
            loaded: Mutex::new(Arc::new(loaded)),
        })
    }

    pub(super) fn tenancy_and_region(&self) -> (Ocid, Option<Region>) {
        let loaded = self.last();
        (loaded.profile.tenancy.clone(), loaded.profile.region.clone())
    }

    pub(super) fn signer(&self) -> Result<RequestSigner, IdentityError> {
        let mut loaded = self.last();
        if loaded.stamps != LoadedProfile::stamps(&self.path, &loaded.profile.key_file) {
            loaded = Arc::new(LoadedProfile::read(&self.path, &self.name, self.home.as_deref())?);
            *self.loaded.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&loaded);
        }
        // This reads the token's file each time.
        Ok(loaded.profile.signer(Arc::clone(&loaded.key), Timestamp::now())?)
    }

    fn last(&self) -> Arc<LoadedProfile> {
        // The value is replaced as a whole, so a panic elsewhere does not leave it half written.
        Arc::clone(&self.loaded.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LoadedProfile {
    fn read(path: &Path, name: &str, home: Option<&Path>) -> Result<Self, IdentityError> {
        // The stamps are taken before the files are read: a file that is rewritten in between is read again.
        let profile_stamp = FileStamp::from_path(path);
        let profile = Profile::read(path, name, home)?;
        let key_stamp = FileStamp::from_path(&profile.key_file);
        let key = Arc::new(profile.key()?);
        profile.check_token()?;
        Ok(Self {
            profile,
            key,
            stamps: [profile_stamp, key_stamp],
        })
    }

    fn stamps(path: &Path, key_file: &Path) -> [FileStamp; 2] {
        [FileStamp::from_path(path), FileStamp::from_path(key_file)]
    }
}

impl FileStamp {
    /// The stamp of an absent or unreadable file equals that of no readable file: the file is then read, and the read
    /// reports the error.
    fn from_path(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok();
        Self {
            written: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
            length: metadata.as_ref().map(fs::Metadata::len),
            inode: metadata.as_ref().map(|metadata| metadata.ino()),
        }
    }
}
