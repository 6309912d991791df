//! Credentials: what the first request shows, and the answer to a challenge: Basic, or a token of the realm that the
//! challenge names (distribution-spec 1.1 refers to docker/distribution, `docs/spec/auth/token.md` and `oauth.md`).

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::access::{Login, Presented};
use super::body;
use super::challenge::{self, Challenge};
use super::config::Credentials;
use super::docker_credentials::{CredentialsKey, DockerCredentialsError, look_up, without_values};
use super::endpoint::Registry;
use super::error::RegistryError;
use super::metrics::RegistryOperation;
use super::sender::{RegistryRequest, RegistryResponse, Sender};
use super::tokens::{GrantedAuth, TokenCache, TokenKey, TokenScope};
use crate::base::secret::Secret;
use crate::net::transport::guard::host_of;
use crate::oci::json::{self, Object};

/// Largest body of a token endpoint's answer that is read.
const TOKEN_BYTES: usize = 256 * 1024;

/// The lifetime of a token whose issuer names none (token.md, `expires_in`).
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// The longest lifetime that is accepted: after a revocation, an old token is shown no longer than this.
const LONGEST_TOKEN_LIFETIME: Duration = Duration::from_secs(60 * 60);

/// The time for which a password is shown again without another challenge.
const BASIC_LIFETIME: Duration = Duration::from_secs(60);

/// `Authorization: Basic Og==`: an empty user name and an empty password. Podman sends it where it has no credentials
/// (containers/image), so that it does not count as a client's credentials.
const EMPTY_BASIC: &[u8] = b"Basic Og==";

/// Authenticates the requests to one endpoint.
pub(super) struct Authenticator<'a> {
    pub(super) sender: &'a Sender<'a>,
    pub(super) tokens: &'a TokenCache,
    pub(super) registry: &'a Registry,
    /// The credentials that the client presented, where this endpoint may be shown them.
    pub(super) presented: Option<&'a Presented>,
}

/// The credentials that the first request shows.
pub(super) enum InitialAuth {
    /// The accepted answer to an earlier challenge.
    Cached(HeaderValue, TokenKey),
    /// The client's own header, unchanged.
    OfClient(HeaderValue),
    /// No credentials; an answer to the challenge will be kept under this key.
    Nothing(TokenKey),
}

impl InitialAuth {
    pub(super) fn header(&self) -> Option<&HeaderValue> {
        match self {
            Self::Cached(header, _) | Self::OfClient(header) => Some(header),
            Self::Nothing(_) => None,
        }
    }
}

impl Authenticator<'_> {
    /// Returns the credentials to show before the registry has sent a challenge.
    pub(super) async fn initial(&self, scope: TokenScope<'_>) -> Result<InitialAuth, RegistryError> {
        let credentials = &self.registry.credentials;
        if *credentials == Credentials::Passthrough
            && let Some(Presented::Header(of_client)) = self.presented
            && of_client.as_bytes() != EMPTY_BASIC
        {
            let mut header = of_client.clone();
            header.set_sensitive(true);
            return Ok(InitialAuth::OfClient(header));
        }
        let credentials = CredentialsKey::new(credentials, self.presented)
            .await
            .map_err(|error| self.credentials_error(&error))?;
        let key = TokenKey {
            endpoint: self.sender.endpoint.root().clone(),
            repository: self.sender.endpoint.name_of(scope.repository),
            actions: scope.actions,
            credentials,
        };
        Ok(match self.tokens.get(&key) {
            Some(header) => InitialAuth::Cached(header, key),
            None => InitialAuth::Nothing(key),
        })
    }

    /// Answers the challenge of a 401 with the credentials that may be shown; `None` where no such credentials answer
    /// it.
    pub(super) async fn answer(
        &self,
        refused: &RegistryResponse,
        key: TokenKey,
        scope: TokenScope<'_>,
    ) -> Result<Option<GrantedAuth>, RegistryError> {
        let challenges =
            challenge::parse(refused.headers()).map_err(|error| refused.malformed(error.to_string()))?;
        let login = look_up(
            &self.registry.credentials,
            self.presented,
            self.server(),
            scope.repository,
        )
        .await
        .map_err(|error| self.credentials_error(&error))?;
        if let Some(bearer) = challenges.iter().find(|challenge| challenge.is_bearer()) {
            return self.token(bearer, refused, login, key).await.map(Some);
        }
        let accepts_basic = challenges.iter().any(Challenge::is_basic);
        match login {
            Some(Login::Basic { user, password }) if accepts_basic => Ok(Some(GrantedAuth {
                authorization: basic(&user, &password),
                key,
                lifetime: BASIC_LIFETIME,
            })),
            Some(_) | None => Ok(None),
        }
    }

    async fn token(
        &self,
        bearer: &Challenge,
        refused: &RegistryResponse,
        login: Option<Login>,
        key: TokenKey,
    ) -> Result<GrantedAuth, RegistryError> {
        let realm = bearer.parameter("realm").and_then(|realm| Url::parse(realm).ok());
        let realm = realm.ok_or_else(|| refused.malformed("the challenge names no realm".to_owned()))?;
        let host = host_of(&realm);
        if self.sender.endpoint.root().scheme() == "https" && realm.scheme() != "https" {
            let why = "an https registry names a token realm without https".to_owned();
            return Err(RegistryError::Refused { host, why });
        }
        let result = self.request_token(bearer, realm, login, &key).await;
        self.sender.observe(RegistryOperation::Token, &result);
        match result {
            Ok((authorization, lifetime)) => Ok(GrantedAuth {
                authorization,
                key,
                lifetime,
            }),
            // The client's own login may succeed where ours does not: it gets the registry's challenge, not the token
            // realm's.
            Err(RegistryError::Unauthorized { host, message, .. }) => Err(RegistryError::Unauthorized {
                host,
                message,
                challenge: challenge::presentable(refused.headers()),
            }),
            Err(other) => Err(other),
        }
    }

    async fn request_token(
        &self,
        bearer: &Challenge,
        realm: Url,
        login: Option<Login>,
        key: &TokenKey,
    ) -> Result<(HeaderValue, Duration), RegistryError> {
        let (request, authorization) = token_request(bearer, realm, login.as_ref(), key);
        let response = self.sender.send(&request, authorization.as_ref()).await?;
        if response.status() == StatusCode::NOT_FOUND {
            // A 404 of the token realm must never read as "the image does not exist".
            return Err(response.malformed("the token realm answered 404".to_owned()));
        }
        let response = response.expect(&[StatusCode::OK]).await?;
        body::refuse_compressed(&response.response, &response.host)?;
        let host = response.host;
        let unverified = body::read_bounded(response.response, &host, TOKEN_BYTES).await?;
        read_token(&unverified).map_err(|what| RegistryError::Malformed { host, what })
    }

    /// The server under which the credentials for this endpoint are stored: the registry, or a mirror elsewhere.
    fn server(&self) -> &str {
        if self.sender.endpoint.is_own {
            &self.registry.host
        } else {
            &self.sender.endpoint.host
        }
    }

    fn credentials_error(&self, error: &DockerCredentialsError) -> RegistryError {
        RegistryError::Credentials {
            host: self.registry.host.clone(),
            what: body::chain(error),
        }
    }
}

/// Builds the request for a token, and the credentials that it shows.
fn token_request(
    bearer: &Challenge,
    mut realm: Url,
    login: Option<&Login>,
    key: &TokenKey,
) -> (RegistryRequest, Option<HeaderValue>) {
    // The scope is ours, whatever the challenge's: a registry gets tokens for the request at hand and for no other.
    let scope = format!("repository:{}:{}", key.repository, key.actions.as_str());
    let mut fields = Vec::new();
    fields.extend(bearer.parameter("service").map(|service| ("service", service)));
    fields.push(("scope", scope.as_str()));
    match login {
        Some(Login::IdentityToken(token)) => {
            fields.push(("grant_type", "refresh_token"));
            fields.push(("client_id", "pullgate"));
            fields.push(("refresh_token", token.expose()));
            let form = url::form_urlencoded::Serializer::new(String::new())
                .extend_pairs(fields)
                .finish();
            let mut headers = HeaderMap::new();
            let form_type = HeaderValue::from_static("application/x-www-form-urlencoded");
            headers.insert(header::CONTENT_TYPE, form_type);
            let request = RegistryRequest {
                method: Method::POST,
                url: realm,
                headers,
                body: Some(Bytes::from(form)),
            };
            (request, None)
        }
        Some(Login::Basic { user, password }) => {
            realm
                .query_pairs_mut()
                .append_pair("account", user)
                .extend_pairs(fields);
            (RegistryRequest::get(realm), Some(basic(user, password)))
        }
        None => {
            realm.query_pairs_mut().extend_pairs(fields);
            (RegistryRequest::get(realm), None)
        }
    }
}

fn basic(user: &str, password: &Secret) -> HeaderValue {
    let encoded = STANDARD.encode(format!("{user}:{}", password.expose()));
    // Base64 always forms a header value; the registry would refuse the empty one.
    let mut header =
        HeaderValue::try_from(format!("Basic {encoded}")).unwrap_or_else(|_| HeaderValue::from_static(""));
    header.set_sensitive(true);
    header
}

/// The response of a token realm. Unknown keys are allowed (token.md).
#[derive(serde::Deserialize)]
struct TokenAnswer {
    #[serde(default)]
    token: String,
    #[serde(default)]
    access_token: String,
    expires_in: Option<u64>,
}

/// Reads the response of a token realm: the header to show, and its lifetime.
pub(super) fn read_token(unverified: &[u8]) -> Result<(HeaderValue, Duration), String> {
    let Object(answer): Object<TokenAnswer> = json::parse(unverified)
        .map_err(|error| format!("the response of the token realm: {}", without_values(&error)))?;
    let token = if answer.token.is_empty() {
        answer.access_token
    } else {
        answer.token
    };
    if token.is_empty() {
        return Err("the response of the token realm holds no token".to_owned());
    }
    let lifetime = answer
        .expires_in
        .map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs)
        .min(LONGEST_TOKEN_LIFETIME);
    let header = HeaderValue::try_from(format!("Bearer {token}")).ok();
    let mut header = header.ok_or("the token holds bytes that a header cannot hold")?;
    header.set_sensitive(true);
    Ok((header, lifetime))
}
