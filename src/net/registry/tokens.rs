//! The tokens that registries granted, kept for the next request of the same kind.

use std::time::Duration;

use http::HeaderValue;
use tokio::time::Instant;
use url::Url;

use super::docker_credentials::CredentialsKey;

/// Tokens that are kept. One takes a few KiB.
const TOKENS: usize = 1024;

/// The actions that a token of one kind of request must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Actions {
    Pull,
    PullDelete,
    PullPush,
}

impl Actions {
    /// The actions as the scope of a token spells them (token.md, `scope`).
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::PullDelete => "delete,pull",
            Self::PullPush => "pull,push",
        }
    }
}

/// The scope of a token: a repository and the actions there.
#[derive(Clone, Copy, Debug)]
pub(super) struct TokenScope<'a> {
    pub(super) repository: &'a str,
    pub(super) actions: Actions,
}

impl<'a> TokenScope<'a> {
    /// The scope of all reads.
    pub(super) const fn pull(repository: &'a str) -> Self {
        Self {
            repository,
            actions: Actions::Pull,
        }
    }
}

/// The endpoint, scope and credentials for which a token was granted. The key holds nothing that a client sent but the
/// name of a repository and a hash of the login that answers challenges for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    pub(super) endpoint: Url,
    pub(super) repository: String,
    pub(super) actions: Actions,
    pub(super) credentials: CredentialsKey,
}

/// The answer to a challenge, which the registry has not accepted yet.
pub(super) struct GrantedAuth {
    pub(super) authorization: HeaderValue,
    pub(super) key: TokenKey,
    /// The time for which it may be shown again.
    pub(super) lifetime: Duration,
}

#[derive(Clone)]
struct CachedAuth {
    authorization: HeaderValue,
    until: Instant,
}

/// The answers to challenges that registries accepted, bounded in number.
pub(super) struct TokenCache {
    accepted: quick_cache::sync::Cache<TokenKey, CachedAuth>,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self {
            accepted: quick_cache::sync::Cache::new(TOKENS),
        }
    }

    pub(super) fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let cached = self.accepted.get(key)?;
        if Instant::now() < cached.until {
            return Some(cached.authorization);
        }
        self.accepted.remove(key);
        None
    }

    /// Removes a token that the registry no longer accepts.
    pub(super) fn remove(&self, key: &TokenKey) {
        self.accepted.remove(key);
    }

    /// Keeps a token that the registry accepted.
    pub(super) fn insert(&self, granted: GrantedAuth) {
        let until = Instant::now() + granted.lifetime;
        self.accepted.insert(
            granted.key,
            CachedAuth {
                authorization: granted.authorization,
                until,
            },
        );
    }
}
