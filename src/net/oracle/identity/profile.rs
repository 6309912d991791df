//! A profile with its key, read anew when its files changed.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use jiff::Timestamp;

use super::super::{Ocid, Profile, Region, RequestKey, RequestSigner};
use super::IdentityError;

/// A profile, and what was read of it last. Its functions read small files and block for as long.
#[derive(Debug)]
pub(super) struct Kept {
    path: PathBuf,
    name: String,
    home: Option<PathBuf>,
    read: Mutex<Arc<LoadedProfile>>,
}

#[derive(Debug)]
struct LoadedProfile {
    profile: Profile,
    key: Arc<RequestKey>,
    /// Of the files that were read, as they were before.
    stamps: [Stamp; 2],
}

/// What shows that a file was written anew: tools write in place, or put another file there.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    written: Option<SystemTime>,
    length: Option<u64>,
    inode: Option<u64>,
}

impl Kept {
    pub(super) fn new(path: PathBuf, name: &str, home: Option<PathBuf>) -> Result<Self, IdentityError> {
        let read = LoadedProfile::now(&path, name, home.as_deref())?;
        Ok(Self {
            path,
            name: name.to_owned(),
            home,
            read: Mutex::new(Arc::new(read)),
        })
    }

    pub(super) fn named(&self) -> (Ocid, Option<Region>) {
        let read = self.last();
        (read.profile.tenancy.clone(), read.profile.region.clone())
    }

    pub(super) fn signer(&self) -> Result<RequestSigner, IdentityError> {
        let mut read = self.last();
        if read.stamps != LoadedProfile::stamps(&self.path, &read.profile.key_file) {
            read = Arc::new(LoadedProfile::now(&self.path, &self.name, self.home.as_deref())?);
            *self.read.lock().unwrap_or_else(PoisonError::into_inner) = Arc::clone(&read);
        }
        // The token's file is read here, each time.
        Ok(read.profile.signer(Arc::clone(&read.key), Timestamp::now())?)
    }

    fn last(&self) -> Arc<LoadedProfile> {
        // It is replaced whole: a panic elsewhere leaves nothing half done.
        Arc::clone(&self.read.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl LoadedProfile {
    fn now(path: &Path, name: &str, home: Option<&Path>) -> Result<Self, IdentityError> {
        // Before it is read: what is written in between is read again, and not missed.
        let of_profile = Stamp::of(path);
        let profile = Profile::read(path, name, home)?;
        let of_key = Stamp::of(&profile.key_file);
        let key = Arc::new(profile.key()?);
        profile.check_token()?;
        Ok(Self {
            profile,
            key,
            stamps: [of_profile, of_key],
        })
    }

    fn stamps(path: &Path, key_file: &Path) -> [Stamp; 2] {
        [Stamp::of(path), Stamp::of(key_file)]
    }
}

impl Stamp {
    /// Of a file that is not there: one that no file has, so that it is read, and says itself what is wrong with it.
    fn of(path: &Path) -> Self {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = fs::metadata(path).ok();
        Self {
            written: metadata.as_ref().and_then(|metadata| metadata.modified().ok()),
            length: metadata.as_ref().map(fs::Metadata::len),
            inode: metadata.as_ref().map(|metadata| metadata.ino()),
        }
    }
}
