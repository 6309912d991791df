//! Who may come in: nobody asked, Basic (RFC 7617), or Bearer tokens as `github.com/distribution/distribution`
//! describes them (docs/spec/auth/token.md), with the token endpoint beside the registry.

use std::collections::VecDeque;
use std::sync::Mutex;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, Method, header};

use super::lock;

/// Who may come in.
#[derive(Clone, PartialEq, Eq)]
pub enum AuthPolicy {
    /// Everybody.
    Open,
    /// One user, shown with every request.
    Basic {
        /// The user.
        user: String,
        /// The password.
        password: String,
    },
    /// One user, shown at `/token` for a token that opens one repository.
    Bearer {
        /// The user.
        user: String,
        /// The password.
        password: String,
        /// Whether a token for pulls is given without credentials, as Docker Hub does.
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

/// What a request must be allowed to do.
pub(super) struct RequiredAccess<'a> {
    /// Where; absent for `/v2/` itself.
    pub(super) repository: Option<&'a str>,
    pub(super) action: &'static str,
}

impl<'a> RequiredAccess<'a> {
    pub(super) fn of(method: &Method, repository: Option<&'a str>) -> Self {
        let action = match *method {
            Method::GET | Method::HEAD => "pull",
            Method::DELETE => "delete",
            _ => "push",
        };
        Self { repository, action }
    }
}

/// The tokens that were given out: the newest of them, so the list can not grow.
#[derive(Debug, Default)]
pub(super) struct GrantedTokens {
    given: Mutex<VecDeque<GrantedToken>>,
}

struct GrantedToken {
    secret: String,
    /// Repository and action.
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
        lock(&self.given)
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

    /// Gives a token for these scopes (`repository:<name>:<action>,<action>`), cut down to pulls where `pull_only`.
    pub(super) fn give<'a>(&self, scopes: impl Iterator<Item = &'a str>, pull_only: bool) -> String {
        let grants = scopes
            .take(SCOPES)
            .filter_map(|scope| scope.strip_prefix("repository:")?.rsplit_once(':'))
            .flat_map(|(repository, actions)| actions.split(',').map(move |action| (repository, action)))
            .filter(|(_, action)| !pull_only || *action == "pull")
            .take(SCOPES)
            .map(|(repository, action)| (repository.to_owned(), action.to_owned()))
            .collect();
        let secret = format!("{:032x}", rand::random::<u128>());
        let mut given = lock(&self.given);
        if given.len() >= TOKENS {
            given.pop_front();
        }
        given.push_back(GrantedToken {
            secret: secret.clone(),
            grants,
        });
        secret
    }
}

impl AuthPolicy {
    /// Lets a request in, or gives the challenge that it is answered with.
    pub(super) fn check(
        &self,
        headers: &HeaderMap,
        wanted: &RequiredAccess<'_>,
        tokens: &GrantedTokens,
        url: &str,
    ) -> Result<(), String> {
        match self {
            Self::Open => Ok(()),
            Self::Basic { user, password } if shows(headers, user, password) => Ok(()),
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

    /// What the token endpoint gives to someone with these headers.
    pub(super) fn token_grant(&self, headers: &HeaderMap) -> TokenGrant {
        match self {
            Self::Open | Self::Basic { .. } => TokenGrant::NoEndpoint,
            Self::Bearer { user, password, .. } if shows(headers, user, password) => TokenGrant::All,
            Self::Bearer {
                anonymous_pull: true, ..
            } if !headers.contains_key(header::AUTHORIZATION) => TokenGrant::PullOnly,
            Self::Bearer { .. } => TokenGrant::Refused,
        }
    }
}

/// What the token endpoint gives.
pub(super) enum TokenGrant {
    All,
    NoEndpoint,
    PullOnly,
    Refused,
}

/// Whether the request shows this user and password.
fn shows(headers: &HeaderMap, user: &str, password: &str) -> bool {
    let expected = BASE64_STANDARD.encode(format!("{user}:{password}"));
    credentials(headers, "basic").is_some_and(|shown| shown == expected)
}

/// What follows the scheme's name, which is compared without case (RFC 9110, 11.1).
fn credentials<'a>(headers: &'a HeaderMap, scheme: &str) -> Option<&'a str> {
    let (name, rest) = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then_some(rest.trim())
}

/// Tokens that are good at one time.
const TOKENS: usize = 1024;
/// Scopes, and grants, of one token.
const SCOPES: usize = 32;
