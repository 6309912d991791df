//! Image names, normalised as Docker does (`github.com/distribution/reference`, `ParseDockerRef`).
//!
//! Rules are matched on these names, so one repository must have one name. Where Docker keeps two spellings of one
//! host apart, [`normalised_registry`] joins or refuses them and lists the cases.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::Digest;
use super::registry_host::{DOCKER_HUB, NAME_LENGTH, RegistryHostError, normalised_registry, split_host};
use crate::base::printable::excerpt;

/// A repository: registry host and path, normalised. `nginx` is `docker.io/library/nginx`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    // Shared, because the derivations of one manifest name its repository once for each of its blobs.
    registry: Arc<str>,
    path: Arc<str>,
}

impl Repository {
    /// Makes a repository of a registry and a path, as a `?ns=` and a path of the distribution API name them. The host is
    /// normalised by [`normalised_registry`]; on Docker Hub a path of one part is below `library/`.
    ///
    /// # Errors
    /// [`ReferenceError`] if the specification does not allow either.
    pub fn new(registry: &str, path: &str) -> Result<Self, ReferenceError> {
        let registry = normalised_registry(registry)?;
        let not_a_name = || ReferenceError::Repository(excerpt(path));
        if path.len() > NAME_LENGTH || !path.split('/').all(is_path_part) {
            return Err(not_a_name());
        }
        let path = if registry == DOCKER_HUB && !path.contains('/') {
            format!("{DOCKER_HUB_OFFICIAL}/{path}")
        } else {
            path.to_owned()
        };
        if registry.len() + "/".len() + path.len() > NAME_LENGTH {
            return Err(not_a_name());
        }
        Ok(Self {
            registry: registry.into(),
            path: path.into(),
        })
    }

    /// Returns the host, and the port if the name has one.
    #[must_use]
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Returns the path below the registry, without tag or digest.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.path)
    }
}

/// A name without tag or digest, in the familiar spelling (`nginx`) or the full one.
impl FromStr for Repository {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let (host, path) = split_host(text);
        Self::new(host, path)
    }
}

/// A tag: `[A-Za-z0-9_][A-Za-z0-9._-]{0,127}` (distribution-spec 1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(String);

impl Tag {
    /// Returns the text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the tag that is pulled if a name has neither tag nor digest.
    #[must_use]
    pub fn latest() -> Self {
        Self("latest".to_owned())
    }

    /// Returns the referrers tag of a digest, for registries without the referrers API (distribution-spec 1.1, "Referrers
    /// Tag Schema"): the algorithm cut to 32 characters, `-`, the encoded part cut to 64. Two SHA-512 digests can share
    /// a tag, so the `subject` of every listed artifact is checked.
    #[must_use]
    pub fn from_subject(digest: &Digest) -> Self {
        Self(format!("{:.32}-{:.64}", digest.algorithm(), digest.encoded()))
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for Tag {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        let follows = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
        let begins = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if text.len() <= TAG_LENGTH && text.bytes().next().is_some_and(begins) && text.bytes().all(follows) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ReferenceError::Tag(excerpt(text)))
        }
    }
}

/// The name of an image in a pull: a repository and a tag or a digest. With both, the digest is pulled and the tag is a
/// label, as in Docker.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The repository.
    pub repository: Repository,
    /// The tag; `latest` if the name has neither tag nor digest.
    pub tag: Option<Tag>,
    /// The digest.
    pub digest: Option<Digest>,
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.repository.fmt(formatter)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if is_identifier(text) {
            return Err(ReferenceError::Identifier);
        }
        let (named, digest) = match text.split_once('@') {
            Some((named, digest)) => (named, Some(digest.parse()?)),
            None => (text, None),
        };
        let (host, rest) = split_host(named);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag.parse()?)),
            None => (rest, None),
        };
        let repository = Repository::new(host, path)?;
        let tag = if tag.is_none() && digest.is_none() {
            Some(Tag::latest())
        } else {
            tag
        };
        Ok(Self {
            repository,
            tag,
            digest,
        })
    }
}

/// Why a text is not an image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReferenceError {
    /// The registry's host or port is malformed.
    #[error(transparent)]
    Registry(#[from] RegistryHostError),
    /// The path is malformed.
    #[error(
        "`{0}` is not a repository name: lower-case letters, digits and single separators, parts joined by `/`, \
         and with its host no longer than {NAME_LENGTH} characters"
    )]
    Repository(String),
    /// The tag is malformed.
    #[error("`{0}` is not a tag")]
    Tag(String),
    /// The digest is malformed.
    #[error("not a digest")]
    Digest(#[from] super::DigestError),
    /// 64 hexadecimal digits alone: Docker reads them as the identifier of a local image and never pulls them.
    #[error("64 hexadecimal digits are the identifier of a local image, not a name")]
    Identifier,
}

/// Whether the text is one part of a repository's path: `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (distribution-spec 1.1,
/// "Pulling manifests"). Refuses `..`, empty parts and any text that a URL would not read as one part.
pub(crate) fn is_path_part(text: &str) -> bool {
    let is_word = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let mut rest = text.as_bytes();
    loop {
        let word = rest.iter().take_while(|byte| is_word(byte)).count();
        let (_, after) = rest.split_at(word);
        let separator = after.iter().take_while(|byte| !is_word(byte)).count();
        let (separator, below) = after.split_at(separator);
        if word == 0 {
            return false;
        }
        match separator {
            [] => return true,
            b"." | b"_" | b"__" => {}
            dashes if dashes.iter().all(|byte| *byte == b'-') => {}
            _ => return false,
        }
        rest = below;
    }
}

/// Docker's `anchoredIdentifierRegexp`.
fn is_identifier(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The folder of one-part names on Docker Hub.
const DOCKER_HUB_OFFICIAL: &str = "library";

/// Longest tag (distribution-spec 1.1).
const TAG_LENGTH: usize = 128;

#[cfg(test)]
mod tests;
