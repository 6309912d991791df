//! Answers to challenges: Basic, and the token dance of Docker (distribution-spec 1.1 refers to
//! docker/distribution, `docs/spec/auth/token.md` and `oauth.md`).

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::body::chain;
use super::challenge::{self, Challenge};
use super::endpoint::RegistryEndpoint;
use super::{Credentials, Presented, RegistryError, body};
use crate::base::limits;
use crate::net::registry::docker_credentials::{
    CredentialsKey, DockerCredentialsError, Login, Secret, look_up, without_values,
};
use crate::net::registry::metrics::RegistryOperation;
use crate::net::registry::sender::{RegistryRequest, RegistryResponse, Turn};
use crate::net::transport::guard::host_of;
use crate::oci::json::{self, Object};

/// How long a token lives whose issuer does not say (token.md, `expires_in`).
const TOKEN_LIFE: Duration = Duration::from_secs(60);

/// Longest life that we believe: after a revocation, an old token is shown no longer than this.
const TOKEN_LIFE_MOST: Duration = Duration::from_secs(60 * 60);

/// How long we go on showing a password without being asked for it again.
const BASIC_LIFE: Duration = Duration::from_secs(60);

/// Tokens that are kept. One is a few KiB.
const TOKENS: usize = 1024;

/// `Authorization: Basic Og==`: no name and no password. Podman sends it where it knows no credentials
/// (containers/image); it is no credentials of a client.
const BASIC_NOTHING: &[u8] = b"Basic Og==";

/// What one kind of request needs a token for: the actions of its scope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Actions {
    Pull,
    PullDelete,
    PullPush,
}

impl Actions {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Pull => "pull",
            Self::PullDelete => "delete,pull",
            Self::PullPush => "pull,push",
        }
    }
}

/// A repository and what is done there.
#[derive(Clone, Copy, Debug)]
pub(super) struct Need<'a> {
    pub(super) repository: &'a str,
    pub(super) actions: Actions,
}

/// What a token was got for, and under whose credentials. Nothing that a client sends is in it but the name of
/// a repository, and a hash of the login with which we answer challenges for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct TokenKey {
    endpoint: Url,
    repository: String,
    actions: Actions,
    identity: CredentialsKey,
}

#[derive(Clone)]
struct BearerToken {
    authorization: HeaderValue,
    until: Instant,
}

/// The tokens that are kept, bounded.
pub(super) struct TokenCache {
    kept: quick_cache::sync::Cache<TokenKey, BearerToken>,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self {
            kept: quick_cache::sync::Cache::new(TOKENS),
        }
    }

    fn get(&self, key: &TokenKey) -> Option<HeaderValue> {
        let token = self.kept.get(key)?;
        if Instant::now() < token.until {
            return Some(token.authorization);
        }
        self.kept.remove(key);
        None
    }

    /// The registry would not take it (any more).
    pub(super) fn forget(&self, key: &TokenKey) {
        self.kept.remove(key);
    }

    /// The registry took it.
    pub(super) fn keep(&self, granted: Granted) {
        let until = Instant::now() + granted.life;
        self.kept.insert(
            granted.key,
            BearerToken {
                authorization: granted.authorization,
                until,
            },
        );
    }
}

/// What the first request shows.
pub(super) enum InitialAuth {
    /// What an earlier challenge was answered with.
    Kept(HeaderValue, TokenKey),
    /// The client's own header, as it came.
    OfClient(HeaderValue),
    Nothing(TokenKey),
}

impl InitialAuth {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Kept(header, _) | Self::OfClient(header) => Some(header),
            Self::Nothing(_) => None,
        }
    }
}

/// An answer to a challenge that the registry has yet to take.
pub(super) struct Granted {
    pub(super) authorization: HeaderValue,
    key: TokenKey,
    life: Duration,
}

impl Turn<'_> {
    /// What to show before anything was asked for.
    pub(super) async fn first(&self, need: &Need<'_>) -> Result<InitialAuth, RegistryError> {
        let credentials = &self.registry.credentials;
        if *credentials == Credentials::Passthrough
            && let Some(Presented::Header(of_client)) = self.presented()
            && of_client.as_bytes() != BASIC_NOTHING
        {
            let mut header = of_client.clone();
            header.set_sensitive(true);
            return Ok(InitialAuth::OfClient(header));
        }
        let identity = CredentialsKey::of(credentials, self.presented())
            .await
            .map_err(|error| self.credentials_error(&error))?;
        let key = TokenKey {
            endpoint: self.endpoint.root().clone(),
            repository: self.endpoint.name_of(need.repository),
            actions: need.actions,
            identity,
        };
        Ok(match self.tokens().get(&key) {
            Some(header) => InitialAuth::Kept(header, key),
            None => InitialAuth::Nothing(key),
        })
    }

    /// Answers the challenge of a 401 with what we may show. None where nothing we have answers it.
    pub(super) async fn answer(
        &self,
        refused: &RegistryResponse,
        key: TokenKey,
        need: &Need<'_>,
    ) -> Result<Option<Granted>, RegistryError> {
        let challenges =
            challenge::parse(refused.headers()).map_err(|error| refused.malformed(error.to_string()))?;
        let server = server_of(self.registry.host.as_str(), self.endpoint);
        let login = look_up(
            &self.registry.credentials,
            self.presented(),
            server,
            need.repository,
        )
        .await
        .map_err(|error| self.credentials_error(&error))?;
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.is_bearer()) {
            return self.token(bearer, refused, login, key).await.map(Some);
        }
        let asks_basic = challenges.iter().any(Challenge::is_basic);
        match login {
            Some(Login::Basic { user, password }) if asks_basic => {
                let authorization = basic(&user, &password);
                Ok(Some(Granted {
                    authorization,
                    key,
                    life: BASIC_LIFE,
                }))
            }
            Some(_) | None => Ok(None),
        }
    }

    /// What the client presented, for the registry that it means: no mirror is shown it.
    fn presented(&self) -> Option<&Presented> {
        self.access.presented.as_ref().filter(|_| self.endpoint.own)
    }

    async fn token(
        &self,
        bearer: &Challenge,
        refused: &RegistryResponse,
        login: Option<Login>,
        key: TokenKey,
    ) -> Result<Granted, RegistryError> {
        let realm = bearer.parameter("realm").and_then(|realm| Url::parse(realm).ok());
        let realm = realm.ok_or_else(|| refused.malformed("the challenge names no realm".to_owned()))?;
        let host = host_of(&realm);
        if self.endpoint.root().scheme() == "https" && realm.scheme() != "https" {
            let why = "an https registry sent us to a token realm without https".to_owned();
            return Err(RegistryError::Refused { host, why });
        }
        let result = self.ask_token(bearer, realm, login, &key).await;
        self.observe(RegistryOperation::Token, &result);
        match result {
            Ok((authorization, life)) => Ok(Granted {
                authorization,
                key,
                life,
            }),
            // The client's own login may do what ours cannot: it gets the registry's challenge, not the token realm's.
            Err(RegistryError::Unauthorized { host, message, .. }) => Err(RegistryError::Unauthorized {
                host,
                message,
                challenge: challenge::presentable(refused.headers()),
            }),
            Err(other) => Err(other),
        }
    }

    async fn ask_token(
        &self,
        bearer: &Challenge,
        mut realm: Url,
        login: Option<Login>,
        key: &TokenKey,
    ) -> Result<(HeaderValue, Duration), RegistryError> {
        // Our own scope, whatever the challenge's: a registry gets tokens for what it was asked, and no others.
        let scope = format!("repository:{}:{}", key.repository, key.actions.as_str());
        let mut fields = Vec::new();
        fields.extend(bearer.parameter("service").map(|service| ("service", service)));
        fields.push(("scope", scope.as_str()));
        let mut headers = HeaderMap::new();
        let (ask, authorization) = match &login {
            Some(Login::IdentityToken(token)) => {
                fields.push(("grant_type", "refresh_token"));
                fields.push(("client_id", "pullgate"));
                fields.push(("refresh_token", token.expose()));
                let form = url::form_urlencoded::Serializer::new(String::new())
                    .extend_pairs(fields)
                    .finish();
                let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
                headers.insert(header::CONTENT_TYPE, form_type);
                (
                    RegistryRequest {
                        method: Method::POST,
                        url: realm,
                        headers,
                        body: Some(Bytes::from(form)),
                    },
                    None,
                )
            }
            Some(Login::Basic { user, password }) => {
                realm
                    .query_pairs_mut()
                    .append_pair("account", user)
                    .extend_pairs(fields);
                (
                    RegistryRequest {
                        method: Method::GET,
                        url: realm,
                        headers,
                        body: None,
                    },
                    Some(basic(user, password)),
                )
            }
            None => {
                realm.query_pairs_mut().extend_pairs(fields);
                (
                    RegistryRequest {
                        method: Method::GET,
                        url: realm,
                        headers,
                        body: None,
                    },
                    None,
                )
            }
        };
        let answer = self.send(&ask, authorization.as_ref()).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            // A 404 of the token realm must never read as "the image is not there".
            return Err(answer.malformed("the token realm answered 404".to_owned()));
        }
        let answer = answer.expect(&[StatusCode::OK]).await?;
        body::refuse_compressed(&answer.response, &answer.host)?;
        let host = answer.host;
        let unverified = body::read_bounded(answer.response, &host, limits::TOKEN_BYTES).await?;
        read_token(&unverified).map_err(|what| RegistryError::Malformed { host, what })
    }

    fn credentials_error(&self, error: &DockerCredentialsError) -> RegistryError {
        RegistryError::Credentials {
            host: self.registry.host.clone(),
            what: chain(error),
        }
    }
}

/// Under which name credentials for an endpoint are known: the registry's own, or the mirror's.
fn server_of<'a>(registry: &'a str, endpoint: &'a RegistryEndpoint) -> &'a str {
    if endpoint.own { registry } else { &endpoint.host }
}

fn basic(user: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{}", password.expose()));
    // Base64 is always a header value; the empty one would be refused by the registry.
    let mut header =
        HeaderValue::try_from(format!("Basic {encoded}")).unwrap_or_else(|_| HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

/// The answer of a token realm. Unknown keys are allowed (token.md).
#[derive(serde::Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

pub(super) fn read_token(unverified: &[u8]) -> Result<(HeaderValue, Duration), String> {
    let Object(answer): Object<TokenAnswer> = json::parse(unverified)
        .map_err(|error| format!("the answer of the token realm: {}", without_values(&error)))?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        return Err("the answer of the token realm holds no token".to_owned());
    }
    let life = answer
        .expires_in
        .map_or(TOKEN_LIFE, Duration::from_secs)
        .min(TOKEN_LIFE_MOST);
    let header = HeaderValue::try_from(format!("Bearer {token}")).ok();
    let mut header = header.ok_or("the token holds bytes that no header can")?;
    header.set_sensitive(true);
    Ok((header, life))
}
