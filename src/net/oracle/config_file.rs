//! The configuration file that Oracle's SDKs and command line share (`~/.oci/config`; Oracle's documentation, "SDK and
//! CLI Configuration File"; SDK 2.189.0, `config.py`).

mod ini;

use std::path::{Path, PathBuf};

pub use ini::SyntaxError;

use self::ini::{Ini, IniEntry};
use super::{KeyFingerprint, Ocid, Region, Secret};
use crate::base::files::{self, FileError};
use crate::base::printable::excerpt;

/// Largest OCI configuration file that is read. A profile takes some 500 bytes.
pub(crate) const ORACLE_CONFIG_BYTES: usize = 256 * 1024;

/// The profile that the others inherit from, and the default one.
pub(super) const DEFAULT: &str = "DEFAULT";

/// One profile, with its inherited values. Unknown keys are ignored: other tools share the file, and have keys of their
/// own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// The name of the profile.
    pub name: String,
    /// The tenancy.
    pub tenancy: Ocid,
    /// The path of the private key.
    pub key_file: PathBuf,
    /// The pass phrase of the private key.
    pub pass_phrase: Option<Secret>,
    /// The region, if the file names one.
    pub region: Option<Region>,
    /// The identity that requests are signed as.
    pub authentication: Authentication,
}

/// The identity that requests are signed as.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authentication {
    /// A user, with an API key.
    ApiKey {
        /// The user.
        user: Ocid,
        /// The fingerprint by which Oracle identifies the key.
        fingerprint: KeyFingerprint,
    },
    /// The user that ran `oci session authenticate`.
    SessionToken {
        /// The path of the token. `oci session refresh` rewrites it, so it is read for each use.
        token_file: PathBuf,
        /// The fingerprint of the session's key, if the file has one.
        fingerprint: Option<KeyFingerprint>,
    },
}

/// Why a profile could not be read. No variant quotes a value: it may be a pass phrase in the wrong line.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigFileError {
    /// A line is indented, so it continues the value of a key that has one line only.
    #[error(
        "{}, line {line}: the line is indented, so it continues the value of `{key}` of profile `{profile}`: \
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
    /// The file is unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The value is not valid for the key.
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
        /// The expected kind of value.
        wanted: &'static str,
    },
    /// A required key is missing.
    #[error(
        "{}: neither profile `{profile}` nor `[DEFAULT]` has a `{key}`: add a line `{key} = …` below `[{profile}]`",
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
    /// The path begins with `~`, and the home directory is unknown.
    #[error(
        "{}, line {line}: `{key}` of profile `{profile}` begins with `~`, and the home directory is unknown: \
         write the absolute path", path.display()
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
    /// The file has no such profile.
    #[error("{}: the file has no profile `{profile}`: it has {known}", path.display())]
    NoProfile {
        /// The file.
        path: PathBuf,
        /// The missing profile.
        profile: String,
        /// The profiles of the file.
        known: String,
    },
    /// The file is not UTF-8.
    #[error("{}, line {line}: the file is not UTF-8", path.display())]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// A line violates the file's syntax.
    #[error("{}, line {line}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
        /// The fault in it.
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

    /// Parses a profile of a file's content. In its paths, `~` is `home`, and a relative path begins at the folder of
    /// `path`. (The SDK begins it at the working directory, which is meaningless for a daemon.)
    ///
    /// # Errors
    /// As [`ConfigFileError`] says.
    pub fn parse(
        content: &[u8],
        path: &Path,
        profile: &str,
        home: Option<&Path>,
    ) -> Result<Self, ConfigFileError> {
        let owned_path = || path.to_owned();
        if content.len() > ORACLE_CONFIG_BYTES {
            return Err(ConfigFileError::File(FileError::TooLarge {
                path: owned_path(),
                limit: ORACLE_CONFIG_BYTES,
            }));
        }
        let text = std::str::from_utf8(content).map_err(|error| ConfigFileError::NotUtf8 {
            path: owned_path(),
            line: content
                .iter()
                .take(error.valid_up_to())
                .filter(|byte| **byte == b'\n')
                .count()
                + 1,
        })?;
        let ini = Ini::parse(text).map_err(|(line, source)| ConfigFileError::Syntax {
            path: owned_path(),
            line,
            source,
        })?;
        // As in Python's reader, `DEFAULT` exists even if the file has no such section.
        if profile != DEFAULT && !ini.sections().any(|section| section == profile) {
            let known: Vec<String> = ini
                .sections()
                .map(|name| format!("`{}`", excerpt(name)))
                .collect();
            return Err(ConfigFileError::NoProfile {
                path: owned_path(),
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
        // First, because a key on an indented line would otherwise be reported as missing.
        for key in KEYS {
            self.value(key)?;
        }
        Ok(Profile {
            name: self.profile.to_owned(),
            tenancy: self.required("tenancy", |text| ocid(text, "tenancy"), "the OCID of a tenancy")?,
            authentication: self.authentication()?,
            key_file: self.path("key_file")?.ok_or_else(|| self.missing("key_file"))?,
            // `pass_phrase =` is an empty pass phrase, as in the SDK, and decrypts nothing.
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

    /// Chooses between API key and token. The SDK leaves that to its caller; here the file decides: the profile's own
    /// keys win over inherited ones, and a token wins over a user in the same section, because tools write it and not
    /// people.
    fn authentication(&self) -> Result<Authentication, ConfigFileError> {
        let own = |key| self.profile != DEFAULT && self.ini.get(self.profile, key).is_some();
        let inherits_token = own("user") && !own("security_token_file");
        let token_file = self.path("security_token_file")?.filter(|_| !inherits_token);
        let fingerprint = |text: &str| text.parse::<KeyFingerprint>().ok();
        let wanted = "sixteen pairs of lower-case hex digits, separated by colons";
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

    /// Returns the profile's own value, or else the inherited one.
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

    /// Reads a path as Python's `os.path.expanduser` does, except for `~USER`: other users' homes are not looked up.
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
                "a supported path: write an absolute path in place of `~USER`",
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
    text.parse::<Ocid>().ok()?.expect_kind(kind).ok()
}

/// The keys that have a meaning here.
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
