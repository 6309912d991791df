//! Scopes: the repositories to which a rule applies, matched by whole path parts.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::str::{FromStr, Split};

use crate::base::printable::excerpt;
use crate::oci::{NAME_LENGTH, Repository, is_path_part, is_registry_host, normalised_registry};

/// A pattern over normalised repository names: `phx.ocir.io/ansh81vru1zp/project01/**`.
///
/// `*` matches exactly one path part, a trailing `**` any number of parts (including none), and the `*` of
/// `*.example.com` exactly one label of a host. No pattern matches a part of a part, so `example.com` never matches
/// `example.com.attacker.net`.
///
/// Where several scopes match a name, only the most specific one applies. Scopes are compared from the left. A literal
/// host precedes one with `*.`. At the first path part where two scopes differ, a literal part precedes `*`, and `*`
/// precedes `**`. A scope that ends where the name ends precedes one that continues with `**`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    text: String,
    host: Host,
    path: Vec<Part>,
    /// A trailing `**`.
    rest: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Host {
    /// Host and port, as in [`Repository::registry`].
    Literal(String),
    /// `*.` before this host and port.
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Part {
    Any,
    Literal(String),
}

/// The reason why a text is not a scope.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ScopeError {
    /// The text contains a tag or digest, but rules apply to repositories.
    #[error("a scope names a repository, without tag or digest")]
    NotARepository,
    /// The text does not begin with a registry host: `acme/**` could mean any registry.
    #[error("a scope begins with a registry host, such as `docker.io/`")]
    NoHost,
    /// The text is a host without a path: it could mean the whole registry, or its path was lost.
    #[error("no path follows the host; all images of the registry are `{whole}`")]
    NoPath {
        /// The scope of the whole registry.
        whole: String,
    },
    /// The text is not the normalised name of the repository.
    #[error("images of this scope are named `{normalised}`")]
    NotNormalised {
        /// The normalised scope.
        normalised: String,
    },
    /// A `*` beside other characters, or a `**` before the end.
    #[error(
        "`*` stands for one whole part, `**` for the rest at the very end, and `*.` for the first label of a host"
    )]
    Wildcard,
    /// A part with characters that a repository name cannot have.
    #[error("`{0}` is not a part of a repository name")]
    Part(String),
    /// The text is longer than any repository's name.
    #[error("longer than {NAME_LENGTH} characters")]
    TooLong,
}

impl Scope {
    /// Returns the text of the scope.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.text)
    }
}

/// Accepts the normalised spelling only. A rule with any other spelling would match no image and block nothing, and its
/// author would not notice.
impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        if text.len() > NAME_LENGTH {
            return Err(ScopeError::TooLong);
        }
        if text.contains('@') {
            return Err(ScopeError::NotARepository);
        }
        let Some((host, path)) = text.split_once('/') else {
            return Err(without_path(text));
        };
        if !reads_as_host(host) {
            return Err(without_host(text));
        }
        let host = parse_host(host)?;
        let (mut path, rest) = parse_path(path)?;
        // Docker Hub has no repository of one part: `docker.io/nginx` and `docker.io/*` would match no image.
        if matches!(&host, Host::Literal(name) if name == "docker.io") && path.len() == 1 && !rest {
            path.insert(0, Part::Literal("library".to_owned()));
        }
        let normalised = normalised_text(&host, &path, rest);
        if normalised != text {
            return Err(ScopeError::NotNormalised { normalised });
        }
        Ok(Self {
            text: normalised,
            host,
            path,
            rest,
        })
    }
}

/// Returns why a text without a slash is not a scope.
fn without_path(text: &str) -> ScopeError {
    if !reads_as_host(text) {
        return without_host(text);
    }
    match parse_host(text) {
        Ok(host) => ScopeError::NoPath {
            whole: normalised_text(&host, &[], true),
        },
        // `nginx:latest`: a tag follows the colon, not a port.
        Err(ScopeError::Part(_)) if text.contains(':') => ScopeError::NotARepository,
        Err(error) => error,
    }
}

/// Returns why a text that does not begin with a host is not a scope.
fn without_host(text: &str) -> ScopeError {
    match text.parse::<Repository>() {
        Ok(repository) => ScopeError::NotNormalised {
            normalised: repository.to_string(),
        },
        Err(_) if text.contains(':') => ScopeError::NotARepository,
        Err(_) => ScopeError::NoHost,
    }
}

/// Returns whether the first part of a name is meant as a host: by Docker's rule, or because it contains `*`.
fn reads_as_host(first: &str) -> bool {
    is_registry_host(first) || first.contains('*')
}

fn parse_host(text: &str) -> Result<Host, ScopeError> {
    let refused = |_| ScopeError::Part(excerpt(text));
    let Some(below) = text.strip_prefix("*.") else {
        if text.contains('*') {
            return Err(ScopeError::Wildcard);
        }
        return normalised_registry(text).map(Host::Literal).map_err(refused);
    };
    if below.contains('*') {
        return Err(ScopeError::Wildcard);
    }
    // A label in the place of `*` makes it a host that the scope would match: `*.0.0.1` matches no host, `*.com` does.
    let example = normalised_registry(&format!("{LABEL}.{below}")).map_err(refused)?;
    match example
        .strip_prefix(LABEL)
        .and_then(|rest| rest.strip_prefix('.'))
    {
        Some(below) => Ok(Host::Below(below.to_owned())),
        None => Err(ScopeError::Part(excerpt(text))),
    }
}

/// Parses the parts, and whether `**` follows them.
fn parse_path(text: &str) -> Result<(Vec<Part>, bool), ScopeError> {
    let mut path = Vec::new();
    let mut rest = false;
    for part in text.split('/') {
        if rest {
            return Err(ScopeError::Wildcard);
        }
        match part {
            "*" => path.push(Part::Any),
            "**" => rest = true,
            _ if part.contains('*') => return Err(ScopeError::Wildcard),
            _ if part.contains(':') => return Err(ScopeError::NotARepository),
            _ if is_path_part(part) => path.push(Part::Literal(part.to_owned())),
            _ => return Err(ScopeError::Part(excerpt(part))),
        }
    }
    Ok((path, rest))
}

fn normalised_text(host: &Host, path: &[Part], rest: bool) -> String {
    let mut text = match host {
        Host::Literal(name) => name.clone(),
        Host::Below(name) => format!("*.{name}"),
    };
    for part in path {
        text.push('/');
        text.push_str(match part {
            Part::Any => "*",
            Part::Literal(name) => name,
        });
    }
    if rest {
        text.push_str("/**");
    }
    text
}

/// A valid label of a host, which stands in for `*` while a host is checked.
const LABEL: &str = "x";

impl Scope {
    /// Returns whether this scope precedes the other for a name that both match: the order of [`Scope`], part by part.
    pub(super) fn is_more_specific_than(&self, other: &Self) -> bool {
        let below = |scope: &Self| matches!(scope.host, Host::Below(_));
        if below(self) != below(other) {
            return below(other);
        }
        let any = |part: &Part| matches!(part, Part::Any);
        for (ours, theirs) in self.path.iter().zip(&other.path) {
            if any(ours) != any(theirs) {
                return any(theirs);
            }
        }
        match self.path.len().cmp(&other.path.len()) {
            Ordering::Greater => true,
            Ordering::Less => false,
            Ordering::Equal => other.rest && !self.rest,
        }
    }
}

/// Values by scope.
///
/// A look-up walks down a tree, one step for each part of the name, so its cost does not depend on the number of rules.
/// Where a part leads both to a literal and to a `*`, the `*` is tried when no scope below the literal matches. If rules
/// have both at `k` parts of the name, there are at most 2^k branches, each of which is a prefix of a rule that the name
/// matches. A name of `n` parts under rules without `*` costs at most `2 (n + 1)` steps: for the host and for `*.`.
#[derive(Debug)]
pub(super) struct ScopeIndex<V> {
    hosts: HashMap<String, Node<V>>,
    /// `*.example.com` under `example.com`.
    subdomains: HashMap<String, Node<V>>,
}

#[derive(Debug)]
struct Node<V> {
    exact: Option<V>,
    rest: Option<V>,
    literal: HashMap<String, Self>,
    any: Option<Box<Self>>,
}

impl<V> ScopeIndex<V> {
    /// Inserts the value of a scope, and returns the value that it replaces.
    pub(super) fn insert(&mut self, scope: &Scope, value: V) -> Option<V> {
        self.entry(scope).replace(value)
    }

    /// Returns the place for the value of exactly this scope.
    pub(super) fn entry(&mut self, scope: &Scope) -> &mut Option<V> {
        let mut node = match &scope.host {
            Host::Literal(name) => self.hosts.entry(name.clone()).or_default(),
            Host::Below(name) => self.subdomains.entry(name.clone()).or_default(),
        };
        for part in &scope.path {
            node = match part {
                Part::Any => node.any.get_or_insert_default(),
                Part::Literal(name) => node.literal.entry(name.clone()).or_default(),
            };
        }
        if scope.rest {
            &mut node.rest
        } else {
            &mut node.exact
        }
    }

    /// Returns the value of the most specific scope that matches, in the order of [`Scope`].
    pub(super) fn most_specific(&self, repository: &Repository) -> Option<&V> {
        self.most_specific_with(repository, &Some)
    }

    /// Returns what `pick` takes from the value of the most specific matching scope for which it takes something.
    pub(super) fn most_specific_with<'a, T>(
        &'a self,
        repository: &Repository,
        pick: &impl Fn(&'a V) -> Option<T>,
    ) -> Option<T> {
        let path = repository.path().split('/');
        let host = self.hosts.get(repository.registry());
        host.and_then(|node| node.most_specific_with(path.clone(), pick))
            .or_else(|| {
                let (_, below) = repository.registry().split_once('.')?;
                self.subdomains.get(below)?.most_specific_with(path, pick)
            })
    }
}

impl<V> Node<V> {
    /// Recurses as deep as the name has parts, which is at most half of [`NAME_LENGTH`].
    fn most_specific_with<'a, T>(
        &'a self,
        mut path: Split<'_, char>,
        pick: &impl Fn(&'a V) -> Option<T>,
    ) -> Option<T> {
        let here = match path.next() {
            None => self.exact.as_ref().and_then(pick),
            Some(part) => self
                .literal
                .get(part)
                .and_then(|node| node.most_specific_with(path.clone(), pick))
                .or_else(|| self.any.as_ref()?.most_specific_with(path, pick)),
        };
        here.or_else(|| self.rest.as_ref().and_then(pick))
    }
}

impl<V> Default for ScopeIndex<V> {
    fn default() -> Self {
        Self {
            hosts: HashMap::new(),
            subdomains: HashMap::new(),
        }
    }
}

impl<V> Default for Node<V> {
    fn default() -> Self {
        Self {
            exact: None,
            rest: None,
            literal: HashMap::new(),
            any: None,
        }
    }
}

#[cfg(test)]
mod tests;
