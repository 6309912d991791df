//! Reads the method, path and query of a request into a [`Route`], or says why this door does not answer it. Pure.
//!
//! Path and query are a client's text. They are bounded, split and decoded once, and leave this module as [`Repository`],
//! [`Tag`] and [`Digest`] only: no other part of them reaches the URL of a registry.

use std::borrow::Cow;

use http::{HeaderValue, Method, StatusCode};

use crate::base::link_header::{LinkError, next_target};
use crate::base::percent;
use crate::oci::{Digest, DigestError, Reference, ReferenceError, Repository, Tag, is_registry_host};

/// Longest path and query of a request to the registry door. A name has at most 255 characters
/// (`github.com/distribution/reference`, `RepositoryNameTotalLengthMax`), a SHA-512 digest 135; the rest is room for
/// percent-encoding.
pub(crate) const REQUEST_TARGET_BYTES: usize = 4096;

/// The resource that a request names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`: whether this is a registry, and which credentials it wants.
    Base,
    /// A blob, always by digest.
    Blob(Reference),
    /// A manifest, by tag or by digest.
    Manifest(Reference),
    /// The manifests that refer to a manifest.
    Referrers {
        /// The manifest that they refer to.
        subject: Reference,
        /// `?artifactType=`.
        artifact_type: Option<String>,
    },
    /// One page of a repository's tags.
    Tags {
        /// The repository.
        name: Name,
        /// The page.
        page: Page,
    },
}

/// A repository, and its spelling by the client: the `Link` of a page must lead back to this door, not to the registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    pub(super) repository: Repository,
    spelled: String,
    ns: Option<String>,
}

/// The query of a tag list: `n` and `last` (distribution-spec 1.1, "Listing Tags"), and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Page {
    n: Option<String>,
    last: Option<String>,
}

/// Why this door does not answer a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum RouteError {
    #[error("a GET or HEAD request must not have a body")]
    Body,
    #[error("the path or query is not plain percent-encoded text")]
    Encoding,
    #[error("the digest is not valid")]
    Digest(#[from] DigestError),
    #[error("the request has `{0}` twice")]
    Duplicate(&'static str),
    #[error("the link to the next page is not valid")]
    Link(#[from] LinkError),
    #[error("this door serves pulls only")]
    Method { allow: &'static str },
    #[error("the image name is not valid")]
    Name(#[from] ReferenceError),
    #[error(
        "the request names no registry; name it as `?ns=registry.example` (containerd's hosts.toml does), or as the \
         first part of the image name (`<gate>/registry.example/app`), or set `default_registry` for this door"
    )]
    NoRegistry,
    #[error("no such endpoint: this is the pull side of the OCI distribution API, below `/v2/`")]
    NotFound,
    #[error("this door is a registry, not a proxy: point the runtime's mirror at it, not its HTTP_PROXY")]
    Proxy,
    #[error("`{0}` in the query is not what the distribution specification allows")]
    Query(&'static str),
    #[error("path and query are longer than {} bytes", REQUEST_TARGET_BYTES)]
    TooLong,
}

const READ: &str = "GET, HEAD";
const READ_WHOLE: &str = "GET";

impl Route {
    /// Reads a request. `default_registry` is the registry of a request that names none.
    pub(super) fn parse(
        method: &Method,
        path: &str,
        query: Option<&str>,
        default_registry: Option<&str>,
    ) -> Result<Self, RouteError> {
        if path.len() + query.map_or(0, str::len) > REQUEST_TARGET_BYTES {
            return Err(RouteError::TooLong);
        }
        let below = match path.strip_prefix("/v2") {
            Some("" | "/") => {
                only(method, READ, &[Method::GET, Method::HEAD])?;
                return Ok(Self::Base);
            }
            Some(rest) => rest.strip_prefix('/').ok_or(RouteError::NotFound)?,
            None => return Err(RouteError::NotFound),
        };
        // Checked before the name, so that a client that pushes learns that it cannot, whatever the name.
        only(method, READ, &[Method::GET, Method::HEAD])?;
        let parts = below
            .split('/')
            .map(decoded_part)
            .collect::<Result<Vec<_>, _>>()?;
        let parts: Vec<&str> = parts.iter().map(AsRef::as_ref).collect();
        let query = DoorQuery::parse(query)?;
        // Matched from the end: a part of a repository's own name may be `manifests`, `blobs` or `tags` too.
        match parts.as_slice() {
            [name @ .., "manifests", reference] => {
                let Name { repository, .. } = Name::parse(name, query, default_registry)?;
                Ok(Self::Manifest(if reference.contains(':') {
                    by_digest(repository, reference)?
                } else {
                    let tag: Tag = reference.parse()?;
                    Reference {
                        repository,
                        tag: Some(tag),
                        digest: None,
                    }
                }))
            }
            [name @ .., "blobs", digest] => {
                let Name { repository, .. } = Name::parse(name, query, default_registry)?;
                Ok(Self::Blob(by_digest(repository, digest)?))
            }
            [name @ .., "referrers", digest] => {
                only(method, READ_WHOLE, &[Method::GET])?;
                let Name { repository, .. } = Name::parse(name, query, default_registry)?;
                let artifact_type = query
                    .artifact_type
                    .map(decoded_query)
                    .transpose()?
                    .map(Cow::into_owned);
                Ok(Self::Referrers {
                    subject: by_digest(repository, digest)?,
                    artifact_type,
                })
            }
            [name @ .., "tags", "list"] => {
                only(method, READ_WHOLE, &[Method::GET])?;
                Ok(Self::Tags {
                    name: Name::parse(name, query, default_registry)?,
                    page: Page::parse(query)?,
                })
            }
            _ => Err(RouteError::NotFound),
        }
    }
}

impl Name {
    /// The registry is the one that `?ns=` names, else the first part if it looks like a host, else the default.
    fn parse(
        parts: &[&str],
        query: DoorQuery<'_>,
        default_registry: Option<&str>,
    ) -> Result<Self, RouteError> {
        if parts.is_empty() {
            return Err(RouteError::NotFound);
        }
        let spelled = parts.join("/");
        let ns = query.ns.map(decoded_query).transpose()?;
        let (registry, path) = match (&ns, parts) {
            (Some(ns), path) => (ns.as_ref(), path),
            (None, [host, path @ ..]) if is_registry_host(host) && !path.is_empty() => (*host, path),
            (None, path) => (default_registry.ok_or(RouteError::NoRegistry)?, path),
        };
        let repository = Repository::new(registry, &path.join("/"))?;
        Ok(Self {
            repository,
            spelled,
            ns: ns.map(Cow::into_owned),
        })
    }

    /// Returns the path and query of this page of the list at this door.
    pub(super) fn tags_at(&self, page: &Page) -> String {
        let ns = self.ns.as_deref().map(|ns| ("ns", ns));
        let query = query_of(page.pairs().chain(ns));
        let name = self
            .spelled
            .split('/')
            .map(percent::encode)
            .collect::<Vec<_>>()
            .join("/");
        format!(
            "/v2/{name}/tags/list{}{query}",
            if query.is_empty() { "" } else { "?" }
        )
    }
}

impl Page {
    fn parse(query: DoorQuery<'_>) -> Result<Self, RouteError> {
        let n = query.n.map(decoded_query).transpose()?;
        // Seven digits: more tags than any registry gives on a page.
        if n.as_deref()
            .is_some_and(|n| n.is_empty() || n.len() > 7 || !n.bytes().all(|byte| byte.is_ascii_digit()))
        {
            return Err(RouteError::Query("n"));
        }
        let last = query.last.map(decoded_query).transpose()?;
        Ok(Self {
            n: n.map(Cow::into_owned),
            last: last.map(Cow::into_owned),
        })
    }

    /// Returns the page that a registry's `Link: <…>; rel="next"` leads to, or `None` if this is the last page.
    ///
    /// # Errors
    /// [`RouteError::Link`] if the header is malformed. [`RouteError::Query`] if `n` and `last` do not describe the next page:
    /// a client that was sent there would read the first page for ever.
    pub(super) fn next(link: &HeaderValue) -> Result<Option<Self>, RouteError> {
        let Some(target) = next_target([link])? else {
            return Ok(None);
        };
        let query = target
            .split_once('?')
            .map(|(_, query)| query.split('#').next().unwrap_or_default());
        let page = Self::parse(DoorQuery::parse(query)?)?;
        if page.last.is_none() {
            return Err(RouteError::Query("last"));
        }
        Ok(Some(page))
    }

    /// Returns the query with which the registry is asked for this page.
    pub(super) fn query(&self) -> Option<String> {
        Some(query_of(self.pairs())).filter(|query| !query.is_empty())
    }

    fn pairs(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let n = self.n.as_deref().map(|n| ("n", n));
        n.into_iter()
            .chain(self.last.as_deref().map(|last| ("last", last)))
    }
}

impl RouteError {
    /// Returns the status and the code of the error body.
    pub(super) const fn answer(&self) -> (StatusCode, &'static str) {
        match self {
            Self::Digest(_) => (StatusCode::BAD_REQUEST, "DIGEST_INVALID"),
            Self::Body
            | Self::Duplicate(_)
            | Self::Encoding
            | Self::Link(_)
            | Self::Proxy
            | Self::Query(_) => (StatusCode::BAD_REQUEST, "UNSUPPORTED"),
            Self::Method { .. } => (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            Self::Name(_) | Self::NoRegistry => (StatusCode::BAD_REQUEST, "NAME_INVALID"),
            Self::NotFound => (StatusCode::NOT_FOUND, "UNSUPPORTED"),
            Self::TooLong => (StatusCode::URI_TOO_LONG, "NAME_INVALID"),
        }
    }
}

/// The keys of a query that this door reads, still encoded. Other keys are skipped: clients and their proxies add some.
#[derive(Clone, Copy, Default)]
struct DoorQuery<'a> {
    artifact_type: Option<&'a str>,
    last: Option<&'a str>,
    n: Option<&'a str>,
    ns: Option<&'a str>,
}

impl<'a> DoorQuery<'a> {
    /// Refuses a key that occurs twice: to choose one of two registries would be a guess, and a proxy in front of the door
    /// may have decided by the other.
    fn parse(query: Option<&'a str>) -> Result<Self, RouteError> {
        let mut read = Self::default();
        for pair in query.unwrap_or_default().split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let key = percent::decode(key).ok_or(RouteError::Encoding)?;
            let (slot, name) = match key.as_ref() {
                "artifactType" => (&mut read.artifact_type, "artifactType"),
                "last" => (&mut read.last, "last"),
                "n" => (&mut read.n, "n"),
                "ns" => (&mut read.ns, "ns"),
                _ => continue,
            };
            if slot.replace(value).is_some() {
                return Err(RouteError::Duplicate(name));
            }
        }
        Ok(read)
    }
}

fn only(method: &Method, allow: &'static str, allowed: &[Method]) -> Result<(), RouteError> {
    if allowed.contains(method) {
        Ok(())
    } else {
        Err(RouteError::Method { allow })
    }
}

fn by_digest(repository: Repository, digest: &str) -> Result<Reference, RouteError> {
    Ok(Reference {
        repository,
        tag: None,
        digest: Some(digest.parse::<Digest>()?),
    })
}

/// Decodes one part of a path. Refuses a part that another reader could take for a separator or for another directory: an
/// encoded slash, an empty part, `.` and `..`.
fn decoded_part(part: &str) -> Result<Cow<'_, str>, RouteError> {
    percent::decode(part)
        .filter(|part| !part.contains(['/', '\\']) && !matches!(part.as_ref(), "" | "." | ".."))
        .ok_or(RouteError::Encoding)
}

fn decoded_query(value: &str) -> Result<Cow<'_, str>, RouteError> {
    percent::decode(value)
        .filter(|value| !value.is_empty())
        .ok_or(RouteError::Encoding)
}

fn query_of<'a>(pairs: impl Iterator<Item = (&'static str, &'a str)>) -> String {
    pairs
        .map(|(key, value)| format!("{key}={}", percent::encode(value)))
        .collect::<Vec<_>>()
        .join("&")
}

#[cfg(test)]
mod tests;
