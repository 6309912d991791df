//! Makes a signer of a profile: reads its key and, if it has one, its token. These functions read small local files and
//! block meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;

use crate::base::files::{self, FileError};
use crate::base::limits::{KEY_BYTES, SECURITY_TOKEN_BYTES};
use crate::net::oracle::{
    Authentication, FingerprintMismatch, Profile, RequestKey, RequestKeyError, RequestSigner, SecurityToken,
    TokenError,
};

/// Why a profile cannot sign.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProfileSignerError {
    /// The session has expired.
    #[error(
        "the session token in `{}` expired at {at}: run `oci session refresh` or `oci session authenticate`",
        path.display()
    )]
    Expired {
        /// The file.
        path: PathBuf,
        /// The expiry.
        at: Timestamp,
    },
    /// The key or token file is unreadable.
    #[error(transparent)]
    File(#[from] FileError),
    /// The key's fingerprint is not the profile's.
    #[error("`{}` is not the key of profile `{profile}`", path.display())]
    Fingerprint {
        /// The key file.
        path: PathBuf,
        /// The profile.
        profile: String,
        /// Both fingerprints.
        #[source]
        source: FingerprintMismatch,
    },
    /// The content of the key file is unusable.
    #[error("`{}` is not a usable private key", path.display())]
    Key {
        /// The key file.
        path: PathBuf,
        /// The fault in it.
        #[source]
        source: RequestKeyError,
    },
    /// The content of the token file is not a token.
    #[error("`{}` is not a session token", path.display())]
    Token {
        /// The token file.
        path: PathBuf,
        /// The fault in it.
        #[source]
        source: TokenError,
    },
}

impl Profile {
    /// Reads the private key, and checks it against the profile's fingerprint.
    ///
    /// # Errors
    /// As [`ProfileSignerError`] says.
    pub fn key(&self) -> Result<RequestKey, ProfileSignerError> {
        let path = || self.key_file.clone();
        let key = RequestKey::from_pem(
            &files::read(&self.key_file, KEY_BYTES)?,
            self.pass_phrase.as_ref(),
        )
        .map_err(|source| ProfileSignerError::Key { path: path(), source })?;
        let fingerprint = match &self.authentication {
            Authentication::ApiKey { fingerprint, .. } => Some(*fingerprint),
            Authentication::SessionToken { fingerprint, .. } => *fingerprint,
        };
        if let Some(fingerprint) = fingerprint {
            key.check(fingerprint)
                .map_err(|source| ProfileSignerError::Fingerprint {
                    path: path(),
                    profile: self.name.clone(),
                    source,
                })?;
        }
        Ok(key)
    }

    /// Returns a signer for requests that are made now. With a session token it reads the token's file, so make one for
    /// each request, or for few: `oci session refresh` rewrites that file (and, with a new session, the key's too).
    ///
    /// # Errors
    /// As [`ProfileSignerError`] says.
    pub fn signer(&self, key: Arc<RequestKey>, now: Timestamp) -> Result<RequestSigner, ProfileSignerError> {
        match &self.authentication {
            Authentication::ApiKey { user, .. } => Ok(RequestSigner::api_key(&self.tenancy, user, key)),
            Authentication::SessionToken { token_file, .. } => {
                let (token, at) = read_token(token_file)?;
                if at <= now {
                    return Err(ProfileSignerError::Expired {
                        path: token_file.clone(),
                        at,
                    });
                }
                Ok(RequestSigner::security_token(&token, key))
            }
        }
    }

    /// Checks that the token's file, if the profile has one, holds a token. An expired one passes, since a session can
    /// be refreshed.
    ///
    /// # Errors
    /// As [`ProfileSignerError`] says.
    pub fn check_token(&self) -> Result<(), ProfileSignerError> {
        match &self.authentication {
            Authentication::ApiKey { .. } => Ok(()),
            Authentication::SessionToken { token_file, .. } => read_token(token_file).map(drop),
        }
    }
}

fn read_token(path: &Path) -> Result<(SecurityToken, Timestamp), ProfileSignerError> {
    let no_token = |source| ProfileSignerError::Token {
        path: path.to_owned(),
        source,
    };
    let token =
        SecurityToken::parse(&files::read(path, SECURITY_TOKEN_BYTES + WHITE_SPACE)?).map_err(no_token)?;
    let at = token.expires_at().map_err(no_token)?;
    Ok((token, at))
}

/// Room for line ends around the token.
const WHITE_SPACE: usize = 64;

#[cfg(test)]
mod tests;
