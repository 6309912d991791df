//! Access control: none, Basic (RFC 7617), or Bearer tokens as specified by `github.com/distribution/distribution`
//! (docs/spec/auth/token.md), with the token endpoint on the registry itself.

use std::collections::VecDeque;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Method, header};

use super::lock;

/// Access control of the registry.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthPolicy {
    /// No authentication.
    Open,
    /// One user, whose credentials come with every request.
    Basic {
        /// User name.
        user: String,
        /// The password.
        password: String,
    },
    /// One user, whose credentials are exchanged at `/token` for a token for one repository.
    Bearer {
        /// User name.
        user: String,
        /// The password.
        password: String,
        /// Whether `/token` grants pulls without credentials, as Docker Hub does.
        anonymous_pull: bool,
    },
}

impl std::fmt::Debug for AuthPolicy {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Open => "Open",
            Self::Basic { .. } => "Basic",
            Self::Bearer { .. } => "Bearer",
        })
    }
}

/// Permission that a request needs.
pub(super) struct RequiredAccess<'a> {
    /// Repository; `None` for `/v2/` itself.
    pub(super) repository: Option<&'a str>,
    pub(super) action: &'static str,
}

impl<'a> RequiredAccess<'a> {
    pub(super) fn new(method: &Method, repository: Option<&'a str>) -> Self {
        let action = match *method {
            Method::GET | Method::HEAD => "pull",
            Method::DELETE => "delete",
            _ => "push",
        };
        Self { repository, action }
    }
}

/// Granted tokens. Only the newest are kept, so that the list is bounded.
#[derive(Debug, Default)]
pub(super) struct GrantedTokens {
    granted: Mutex<VecDeque<GrantedToken>>,
}

struct GrantedToken {
    secret: String,
    /// Pairs of repository and action.
    grants: Vec<(String, String)>,
}

impl std::fmt::Debug for GrantedToken {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Token")
            .field("grants", &self.grants)
            .finish_non_exhaustive()
    }
}

impl GrantedTokens {
    fn covers(&self, secret: &str, wanted: &RequiredAccess<'_>) -> bool {
        lock(&self.granted)
            .iter()
            .filter(|token| token.secret == secret)
            .any(|token| {
                wanted.repository.is_none_or(|repository| {
                    token
                        .grants
                        .iter()
                        .any(|(of, action)| of == repository && action == wanted.action)
                })
            })
    }

    /// Grants a token for these scopes (`repository:<name>:<action>,<action>`), limited to pulls if `pull_only`.
    pub(super) fn grant<'a>(&self, scopes: impl Iterator<Item = &'a str>, pull_only: bool) -> String {
        let grants = scopes
            .take(SCOPES)
            .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
            .flat_map(|(repository, actions)| actions.split(',').map(move |action| (repository, action)))
            .filter(|(_, action)| !pull_only || *action == "pull")
            .take(SCOPES)
            .map(|(repository, action)| (repository.to_owned(), action.to_owned()))
            .collect();
        let secret = format!("{:032x}", rand::random::<u128>());
        let mut granted = lock(&self.granted);
        if granted.len() >= TOKENS {
            granted.pop_front();
        }
        granted.push_back(GrantedToken {
            secret: secret.clone(),
            grants,
        });
        secret
    }
}

impl AuthPolicy {
    /// Checks a request. The error is the challenge for the response.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        wanted: &RequiredAccess<'_>,
        tokens: &GrantedTokens,
        url: &str,
    ) -> Result<(), String> {
        match self {
            Self::Open => Ok(()),
            Self::Basic { user, password } if has_credentials(headers, user, password) => Ok(()),
            Self::Basic { .. } => Err("Basic realm=\"pullgate demo\"".to_owned()),
            Self::Bearer { .. } => {
                let secret = credentials(headers, "bearer");
                if secret.is_some_and(|secret| tokens.covers(secret, wanted)) {
                    return Ok(());
                }
                let host = url.rsplit('/').next().unwrap_or_default();
                let mut challenge = format!("Bearer realm=\"{url}/token\",service=\"{host}\"");
                if let Some(repository) = wanted.repository {
                    let actions = if wanted.action == "push" {
                        "pull,push"
                    } else {
                        wanted.action
                    };
                    challenge.push_str(&format!(",scope=\"repository:{repository}:{actions}\""));
                }
                if secret.is_some() {
                    challenge.push_str(",error=\"insufficient_scope\"");
                }
                Err(challenge)
            }
        }
    }

    /// Returns the grant of the token endpoint for a request with these headers.
    pub(super) fn token_grant(&self, headers: &HeaderMap) -> TokenGrant {
        match self {
            Self::Open | Self::Basic { .. } => TokenGrant::NoEndpoint,
            Self::Bearer { user, password, .. } if has_credentials(headers, user, password) => {
                TokenGrant::All
            }
            Self::Bearer {
                anonymous_pull: true, ..
            } if !headers.contains_key(header::AUTHORIZATION) => TokenGrant::PullOnly,
            Self::Bearer { .. } => TokenGrant::Refused,
        }
    }
}

/// Grant of the token endpoint.
pub(super) enum TokenGrant {
    All,
    NoEndpoint,
    PullOnly,
    Refused,
}

/// Returns whether the request has this user and password.
fn has_credentials(headers: &HeaderMap, user: &str, password: &str) -> bool {
    let expected = BASE64_STANDARD.encode(format!("{user}:{password}"));
    credentials(headers, "basic").is_some_and(|shown| shown == expected)
}

/// Returns the credentials after the scheme's name, which is compared without case (RFC 9110, 11.1).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (name, rest) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

/// Maximum of valid tokens.
const TOKENS: usize = 1024;
/// Maximum of scopes, and of grants, of one token.
const SCOPES: usize = 32;
