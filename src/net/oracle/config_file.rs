//! The configuration file that Oracle's SDKs and command line share (`~/.oci/config`; Oracle's documentation, "SDK and
//! CLI Configuration File"; SDK 2.189.0, `config.py`).

mod ini;

use std::path::{Path, PathBuf};

pub use ini::SyntaxError;

use self::ini::{Ini, IniEntry};
use super::{KeyFingerprint, Ocid, Region, Secret};
use crate::base::files::{self, FileError};
use crate::base::limits::ORACLE_CONFIG_BYTES;
use crate::base::printable::excerpt;

/// The profile that the others inherit from, and that is taken when none is named.
pub(super) const DEFAULT: &str = "DEFAULT";

/// One profile, with what it inherits. Keys that are not known are passed over: the file belongs to other tools as
/// well, and each has keys of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// Its name.
    pub name: String,
    /// The tenancy.
    pub tenancy: Ocid,
    /// Where the private key is.
    pub key_file: PathBuf,
    /// What opens the private key.
    pub pass_phrase: Option<Secret>,
    /// The region, where the file names one.
    pub region: Option<Region>,
    /// As whom requests are signed.
    pub authentication: Authentication,
}

/// As whom requests are signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// As a user, with an API key.
    ApiKey {
        /// The user.
        user: Ocid,
        /// What Oracle calls the key by.
        fingerprint: KeyFingerprint,
    },
    /// As whoever ran `oci session authenticate`.
    SessionToken {
        /// Where the token is. `oci session refresh` writes it anew: it is read for each use.
        token_file: PathBuf,
        /// What the session's key is called by, where the file says.
        fingerprint: Option<KeyFingerprint>,
    },
}

/// Why a profile was not read. None quotes a value: it may be a pass phrase in the wrong line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// An indented line where none can be meant.
    #[error(
        "{}, line {line}: the line is indented, so it goes on with the value of `{key}` of profile `{profile}`: \
         begin it at the left edge", path.display()
    )]
    Continued {
        /// The file.
        path: PathBuf,
        /// The indented line.
        line: usize,
        /// The profile.
        profile: String,
        /// The key before it.
        key: &'static str,
    },
    /// The file itself.
    #[error(transparent)]
    File(#[from] FileError),
    /// A value that is not what the key wants.
    #[error("{}, line {line}: `{key}` of profile `{profile}` is not {wanted}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
        /// What is wanted.
        wanted: &'static str,
    },
    /// A key that must be there.
    #[error(
        "{}: profile `{profile}` has no `{key}`, nor has `[DEFAULT]`: add a line `{key} = …` below `[{profile}]`",
        path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
    },
    /// `~` without a home.
    #[error(
        "{}, line {line}: `{key}` of profile `{profile}` begins with `~`, and there is no home directory to take it \
         from: write the whole path", path.display()
    )]
    NoHome {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The profile.
        profile: String,
        /// The key.
        key: &'static str,
    },
    /// No such profile.
    #[error("{}: there is no profile `{profile}`: the file has {known}", path.display())]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// The profile that is wanted.
        profile: String,
        /// Those that are there.
        known: String,
    },
    /// Not UTF-8.
    #[error("{}, line {line}: not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A line that is not of the file's syntax.
    #[error("{}, line {line}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// What is wrong with it.
        #[source]
        source: SyntaxError,
    },
}

impl Profile {
    /// Reads a profile of a file.
    ///
    /// # Errors
    /// As [`ConfigFileError`] says.
    pub fn read(path: &Path, profile: &str, home: Option<&Path>) -> Result<Self, ConfigFileError> {
        Self::parse(&files::read(path, ORACLE_CONFIG_BYTES)?, path, profile, home)
    }

    /// Reads a profile of a file's content. Paths in it: `~` is `home`, and a relative path begins at the folder of
    /// `path`. The SDK begins it at the working directory, which for a daemon is nobody's choice.
    ///
    /// # Errors
    /// As [`ConfigFileError`] says.
    pub fn parse(
        content: &[u8],
        path: &Path,
        profile: &str,
        home: Option<&Path>,
    ) -> Result<Self, ConfigFileError> {
        let path_of_it = || path.to_owned();
        if content.len() > ORACLE_CONFIG_BYTES {
            return Err(ConfigFileError::File(FileError::TooLarge {
                path: path_of_it(),
                limit: ORACLE_CONFIG_BYTES,
            }));
        }
        let text = std::str::from_utf8(content).map_err(|error| ConfigFileError::NotUtf8 {
            path: path_of_it(),
            line: content
                .iter()
                .take(error.valid_up_to())
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
        })?;
        let ini = Ini::parse(text).map_err(|(line, source)| ConfigFileError::Syntax {
            path: path_of_it(),
            line,
            source,
        })?;
        // As in Python's reader, the defaults are there also when the file has no such section.
        if profile != DEFAULT && !ini.sections().any(|section| section == profile) {
            let known: Vec<String> = ini
                .sections()
                .map(|name| format!("`{}`", excerpt(name)))
                .collect();
            return Err(ConfigFileError::NoProfile {
                path: path_of_it(),
                profile: excerpt(profile),
                known: if known.is_empty() {
                    "none".to_owned()
                } else {
                    known.join(", ")
                },
            });
        }
        Reader {
            ini,
            path,
            profile,
            home,
        }
        .profile()
    }
}

/// One profile of one file.
struct Reader<'a> {
    ini: Ini<'a>,
    path: &'a Path,
    profile: &'a str,
    home: Option<&'a Path>,
}

impl<'a> Reader<'a> {
    fn profile(&self) -> Result<Profile, ConfigFileError> {
        // First of all: what an indented line has swallowed would else be told to be missing.
        for key in KEYS {
            self.value(key)?;
        }
        Ok(Profile {
            name: self.profile.to_owned(),
            tenancy: self.required("tenancy", |text| ocid(text, "tenancy"), "the OCID of a tenancy")?,
            authentication: self.authentication()?,
            key_file: self.path("key_file")?.ok_or_else(|| self.missing("key_file"))?,
            // `pass_phrase =` is an empty one, as in the SDK; an empty one opens nothing.
            pass_phrase: self
                .value("pass_phrase")?
                .map(|entry| Secret::new(entry.value.to_owned())),
            region: self.optional(
                "region",
                |text| text.parse::<Region>().ok(),
                "a region's id (`us-phoenix-1`) or a known short code (`phx`)",
            )?,
        })
    }

    /// The SDK leaves the choice to its caller. Here it is the file's: what stands in the profile itself before what it
    /// inherits, and of two in one place the token, which nobody writes by hand.
    fn authentication(&self) -> Result<Authentication, ConfigFileError> {
        let own = |key| self.profile != DEFAULT && self.ini.get(self.profile, key).is_some();
        let inherits_token = own("user") && !own("security_token_file");
        let token_file = self.path("security_token_file")?.filter(|_| !inherits_token);
        let fingerprint = |text: &str| text.parse::<KeyFingerprint>().ok();
        let wanted = "sixteen pairs of lower-case hex digits with colons between them";
        match token_file {
            Some(token_file) => Ok(Authentication::SessionToken {
                token_file,
                fingerprint: self.optional("fingerprint", fingerprint, wanted)?,
            }),
            None => Ok(Authentication::ApiKey {
                user: self.required("user", |text| ocid(text, "user"), "the OCID of a user")?,
                fingerprint: self.required("fingerprint", fingerprint, wanted)?,
            }),
        }
    }

    /// What stands in the profile, else what it inherits.
    fn value(&self, key: &'static str) -> Result<Option<IniEntry<'a>>, ConfigFileError> {
        let entry = self
            .ini
            .get(self.profile, key)
            .or_else(|| self.ini.get(DEFAULT, key));
        match entry {
            Some(IniEntry {
                continued: Some(line),
                ..
            }) => Err(ConfigFileError::Continued {
                path: self.path.to_owned(),
                line,
                profile: excerpt(self.profile),
                key,
            }),
            other => Ok(other),
        }
    }

    fn optional<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
        wanted: &'static str,
    ) -> Result<Option<T>, ConfigFileError> {
        let Some(entry) = self.value(key)? else {
            return Ok(None);
        };
        match read(entry.value) {
            Some(value) => Ok(Some(value)),
            None => Err(self.malformed(key, entry, wanted)),
        }
    }

    fn required<T>(
        &self,
        key: &'static str,
        read: impl FnOnce(&str) -> Option<T>,
        wanted: &'static str,
    ) -> Result<T, ConfigFileError> {
        self.optional(key, read, wanted)?.ok_or_else(|| self.missing(key))
    }

    /// A path, as Python's `os.path.expanduser` reads it, but for another user's home: whose that is, is not looked up.
    fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigFileError> {
        let Some(entry) = self.value(key)? else {
            return Ok(None);
        };
        let text = entry.value;
        if text.is_empty() || text.chars().any(char::is_control) {
            return Err(self.malformed(key, entry, "a path"));
        }
        let folder = self.path.parent().unwrap_or_else(|| Path::new(""));
        let Some(below_home) = text.strip_prefix('~') else {
            return Ok(Some(folder.join(text)));
        };
        if !below_home.is_empty() && !below_home.starts_with('/') {
            return Err(self.malformed(
                key,
                entry,
                "a path that is read here: `~USER` is not, write the whole path",
            ));
        }
        match self.home {
            Some(home) => Ok(Some(home.join(below_home.trim_start_matches('/')))),
            None => Err(ConfigFileError::NoHome {
                path: self.path.to_owned(),
                line: entry.line,
                profile: excerpt(self.profile),
                key,
            }),
        }
    }

    fn malformed(&self, key: &'static str, entry: IniEntry<'_>, wanted: &'static str) -> ConfigFileError {
        ConfigFileError::Malformed {
            path: self.path.to_owned(),
            line: entry.line,
            profile: excerpt(self.profile),
            key,
            wanted,
        }
    }

    fn missing(&self, key: &'static str) -> ConfigFileError {
        ConfigFileError::Missing {
            path: self.path.to_owned(),
            profile: excerpt(self.profile),
            key,
        }
    }
}

fn ocid(text: &str, kind: &'static str) -> Option<Ocid> {
    text.parse::<Ocid>().ok()?.of_kind(kind).ok()
}

/// The keys that are read.
const KEYS: [&str; 7] = [
    "fingerprint",
    "key_file",
    "pass_phrase",
    "region",
    "security_token_file",
    "tenancy",
    "user",
];

#[cfg(test)]
mod tests;
