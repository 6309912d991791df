//! The arguments and results of the client's calls: with whose credentials, until when, for what, and what was read.

use std::fmt;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::stream::BoxStream;
use http::{HeaderMap, HeaderValue, StatusCode};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use super::error::RegistryError;
use crate::base::secret::Secret;
use crate::oci::{Blob, Digest, Tag};

/// The credentials that one client presented, and the deadline of its pull.
#[derive(Clone, Debug)]
pub struct Access {
    /// The client's credentials, if it presented any. Used with [`Credentials::Passthrough`] only.
    ///
    /// [`Credentials::Passthrough`]: super::Credentials::Passthrough
    pub presented: Option<Presented>,
    /// After this instant no request starts and no response is awaited.
    pub deadline: Instant,
}

/// A client's own credentials. They are never shown on behalf of another client.
#[derive(Clone, PartialEq, Eq)]
pub enum Presented {
    /// An `Authorization` header, which is passed on unchanged: the client answers challenges itself.
    Header(HeaderValue),
    /// A login, with which pullgate answers the challenges.
    Login(Login),
}

impl Presented {
    /// Returns a hash that tells credentials apart where they must not be stored.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut hash = Sha256::new();
        let mut part = |text: &[u8]| {
            // Each part is preceded by its length, so that different lists of parts never form the same bytes.
            hash.update(u64::try_from(text.len()).unwrap_or(u64::MAX).to_be_bytes());
            hash.update(text);
        };
        match self {
            Self::Header(header) => part(header.as_bytes()),
            Self::Login(Login::Basic { user, password }) => {
                part(b"basic");
                part(user.as_bytes());
                part(password.expose().as_bytes());
            }
            Self::Login(Login::IdentityToken(token)) => {
                part(b"identity");
                part(token.expose().as_bytes());
            }
        }
        hash.finalize().into()
    }
}

impl fmt::Debug for Presented {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(not shown)")
    }
}

/// A login that answers a registry's challenges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Login {
    /// A user name and a password.
    Basic {
        /// The user name.
        user: String,
        /// The password.
        password: Secret,
    },
    /// A token that a token endpoint exchanges for another one (OAuth 2 `refresh_token`).
    IdentityToken(Secret),
}

impl Login {
    /// Decodes Docker's `auth`: base64 of `user:password`. NUL bytes around the password are dropped, as Docker,
    /// containerd (`ParseAuth`) and containers/image do: old Docker versions padded the password with them.
    ///
    /// # Errors
    /// [`DockerAuthError`] when the text has another form.
    pub fn from_docker_auth(auth: &str) -> Result<Self, DockerAuthError> {
        let decoded = STANDARD
            .decode(auth)
            .map_err(|_input_is_secret| DockerAuthError)?;
        let decoded = Zeroizing::new(decoded);
        let text = str::from_utf8(&decoded).map_err(|_input_is_secret| DockerAuthError)?;
        let (user, password) = text.split_once(':').ok_or(DockerAuthError)?;
        Ok(Self::Basic {
            user: user.to_owned(),
            password: Secret::new(password.trim_matches('\0').to_owned()),
        })
    }
}

/// Docker's `auth` has another form. The text is a secret, so that nothing of it is quoted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`auth` is not base64 of `user:password`")]
pub struct DockerAuthError;

/// A manifest, by tag or by digest.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// By digest: the content must have it.
    Digest(Digest),
    /// By tag: the SHA-256 of the content becomes its digest.
    Tag(Tag),
}

impl fmt::Display for Target {
    /// Writes the tag or digest as a URL's path spells it.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Digest(digest) => digest.fmt(formatter),
            Self::Tag(tag) => tag.fmt(formatter),
        }
    }
}

/// A manifest that was read whole and hashed.
#[derive(Clone, Debug)]
pub struct FetchedManifest {
    /// The content and its digest.
    pub blob: Blob,
    /// `Content-Type`, if the registry sent one.
    pub content_type: Option<String>,
}

/// The response to a request for a blob: its head, and its bytes as they arrive. The bytes are not hashed here: the
/// runtime hashes them (it requested a digest), and a door streams only blobs that an admitted manifest names.
pub struct BlobStream {
    /// 200 or 206, and 416 where a range was requested.
    pub status: StatusCode,
    /// `Content-Length`, `Content-Range`, `Content-Type`, `Accept-Ranges`, `ETag`. No other field is passed on.
    pub headers: HeaderMap,
    /// The bytes. The stream ends with an error when the origin sends nothing for [`crate::base::limits::BLOB_IDLE`] or
    /// breaks off.
    pub body: BoxStream<'static, Result<Bytes, RegistryError>>,
}

#[cfg(test)]
mod tests {
    use super::{DockerAuthError, Login};
    use crate::base::secret::Secret;

    #[test]
    fn dockers_auth_is_decoded_without_the_nuls_around_the_password() {
        for (auth, user, password) in [
            ("dXNlcjpwYXNz", "user", "pass"),
            ("dXNlcjpwYTpzcw==", "user", "pa:ss"),
            ("dXNlcjpwAAA=", "user", "p"),
            ("dXNlcjoAcAA=", "user", "p"),
            ("dXNlcjo=", "user", ""),
        ] {
            let login = Login::Basic {
                user: user.to_owned(),
                password: Secret::new(password.to_owned()),
            };
            assert_eq!(Login::from_docker_auth(auth), Ok(login), "{auth}");
        }
        for auth in ["hunter2!", "aHVudGVyMg==", "/zpw", "dXNlcjpwYXNz=="] {
            assert_eq!(Login::from_docker_auth(auth), Err(DockerAuthError), "{auth}");
        }
    }
}
