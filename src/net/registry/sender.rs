//! One endpoint's turn: a request, its redirects, its one round of authentication, and its second attempts.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::auth::{InitialAuth, Need, TokenCache};
use super::endpoint::{Registry, RegistryEndpoint};
use super::{Access, RegistryError, body, challenge};
use crate::base::backoff::{Attempt, RetryLimits, retry, retry_after};
use crate::base::limits;
use crate::base::printable::excerpt;
use crate::net::registry::metrics::{RegistryObserver, RegistryOperation, RequestOutcome};
use crate::net::transport::guard::{Guard, host_of, same_origin};
use crate::net::transport::{self, OutgoingRequest, Response};

/// How often one request is sent in all. Only GET and HEAD, and only where the answer may be better a moment later.
const ATTEMPTS: u32 = 3;

/// Longest wait before another attempt, where the registry names no other.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// One endpoint that is asked for one thing.
pub(super) struct Turn<'a> {
    pub(super) registry: &'a Registry,
    pub(super) endpoint: &'a RegistryEndpoint,
    pub(super) access: &'a Access,
    pub(super) deadline: Instant,
    pub(super) attempts: Attempts,
    pub(super) guard: &'a Guard,
    pub(super) tokens: &'a TokenCache,
    pub(super) observer: Option<&'a RegistryObserver>,
}

/// How often a request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    /// Once: the next endpoint is the second attempt.
    Mirror,
    Endpoint,
}

/// A request that may be sent more than once.
pub(super) struct RegistryRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
}

impl RegistryRequest {
    pub(super) fn get(url: Url) -> Self {
        Self {
            method: Method::GET,
            url,
            headers: HeaderMap::new(),
            body: None,
        }
    }

    fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }
}

/// The head of an answer, and its body unread.
pub(super) struct RegistryResponse {
    pub(super) response: Response,
    /// Where it came from, after redirects.
    pub(super) url: Url,
    pub(super) host: String,
    /// Of the endpoint itself: another's challenge is never answered, nor handed to a client.
    from_endpoint: bool,
}

impl RegistryResponse {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    pub(super) fn malformed(&self, what: String) -> RegistryError {
        RegistryError::Malformed {
            host: self.host.clone(),
            what,
        }
    }

    /// Hands on an answer with one of these statuses; says what any other means.
    pub(super) async fn expect(self, statuses: &[StatusCode]) -> Result<Self, RegistryError> {
        if statuses.contains(&self.status()) {
            Ok(self)
        } else {
            Err(Box::pin(self.refusal()).await)
        }
    }

    /// What a 401 of the endpoint itself asks for, fit to be handed to a client.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        let may_challenge = self.status() == StatusCode::UNAUTHORIZED && self.from_endpoint;
        challenge::presentable(self.headers()).filter(|_| may_challenge)
    }

    async fn refusal(self) -> RegistryError {
        let (status, challenge) = (self.status(), self.challenge());
        let host = self.host;
        if status == StatusCode::NOT_FOUND {
            body::drain(self.response).await;
            return RegistryError::NotFound { host };
        }
        let words = body::words(self.response).await;
        let what = if words.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {words}")
        };
        if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
            RegistryError::Unauthorized {
                host,
                message: what,
                challenge,
            }
        } else if status.is_server_error()
            || status == StatusCode::TOO_MANY_REQUESTS
            || status == StatusCode::REQUEST_TIMEOUT
        {
            RegistryError::Unreachable { host, what }
        } else {
            RegistryError::Malformed {
                host,
                what: format!("unexpected status {what}"),
            }
        }
    }
}

impl Turn<'_> {
    /// Sends a request, with credentials where it must be: what is known to be wanted is shown at once, else what the
    /// registry's challenge asks for, once.
    pub(super) async fn ask(
        &self,
        ask: &RegistryRequest,
        need: &Need<'_>,
    ) -> Result<RegistryResponse, RegistryError> {
        let shown = self.first(need).await?;
        let answer = self.send(ask, shown.header()).await?;
        // A challenge from where a redirect led is not the registry's.
        if answer.status() != StatusCode::UNAUTHORIZED || !answer.from_endpoint {
            return Ok(answer);
        }
        let key = match shown {
            // The client must answer its registry's challenge itself: we hold no secret of its.
            InitialAuth::OfClient(_) => return Ok(answer),
            InitialAuth::Kept(_, key) => {
                self.tokens().forget(&key);
                key
            }
            InitialAuth::Nothing(key) => key,
        };
        let Some(granted) = Box::pin(self.answer(&answer, key, need)).await? else {
            return Ok(answer);
        };
        body::drain(answer.response).await;
        let answer = self.send(ask, Some(&granted.authorization)).await?;
        if answer.status() != StatusCode::UNAUTHORIZED {
            self.tokens().keep(granted);
        }
        Ok(answer)
    }

    /// Sends a request as often as it makes sense before the deadline.
    pub(super) async fn send(
        &self,
        ask: &RegistryRequest,
        authorization: Option<&HeaderValue>,
    ) -> Result<RegistryResponse, RegistryError> {
        let most = match self.attempts {
            Attempts::Endpoint if ask.is_repeatable() => ATTEMPTS,
            Attempts::Endpoint | Attempts::Mirror => 1,
        };
        let limits = RetryLimits {
            attempts: most,
            longest_wait: LONGEST_WAIT,
            deadline: self.deadline,
        };
        let result = retry(limits, async |replaced| {
            if let Some(Ok(answer)) = replaced {
                let answer: RegistryResponse = answer;
                body::drain(answer.response).await;
            }
            match self.follow(ask, authorization).await {
                Ok(answer) if is_transient(answer.status()) => Attempt::Transient {
                    retry_after: retry_after(answer.headers()),
                    result: Ok(answer),
                },
                Err(failure) if failure.transient => Attempt::Transient {
                    result: Err(failure.error),
                    retry_after: None,
                },
                Ok(answer) => Attempt::Final(Ok(answer)),
                Err(failure) => Attempt::Final(Err(failure.error)),
            }
        });
        result.await
    }

    pub(super) fn tokens(&self) -> &TokenCache {
        self.tokens
    }

    pub(super) fn observe<T>(&self, operation: RegistryOperation, result: &Result<T, RegistryError>) {
        if let Some(observer) = self.observer {
            observer(operation, RequestOutcome::of(result));
        }
    }

    /// Whether this is where the endpoint is, rather than where it sends us.
    pub(super) fn is_endpoint(&self, url: &Url) -> bool {
        same_origin(url, self.endpoint.root())
    }

    /// Sends a request and follows its redirects, each of them judged.
    async fn follow(
        &self,
        ask: &RegistryRequest,
        authorization: Option<&HeaderValue>,
    ) -> Result<RegistryResponse, SendFailure> {
        let mut url = ask.url.clone();
        let mut authorization = authorization;
        for _ in 0..=limits::REDIRECTS {
            let host = host_of(&url);
            let response = self.hop(ask, &url, authorization).await?;
            let from_endpoint = self.is_endpoint(&url);
            let answer = RegistryResponse {
                response,
                url,
                host,
                from_endpoint,
            };
            if !is_redirect(answer.status()) {
                return Ok(answer);
            }
            let next = next_hop(&answer, ask)?;
            if !same_origin(&next, &answer.url) {
                // What was shown to the registry is not for whom it names (CVE-2020-15157).
                authorization = None;
            }
            body::drain(answer.response).await;
            url = next;
        }
        let host = self.endpoint.host.clone();
        Err(RegistryError::TooLarge {
            host,
            limit: limits::REDIRECTS,
            unit: "redirects",
        }
        .into())
    }

    async fn hop(
        &self,
        ask: &RegistryRequest,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, SendFailure> {
        let private = self.is_endpoint(url) || self.endpoint.is_private().await;
        let lane = self
            .guard
            .check(url, private)
            .map_err(|why| RegistryError::Refused {
                host: host_of(url),
                why: why.to_string(),
            })?;
        let mut headers = ask.headers.clone();
        // A bound on compressed bytes would bound nothing.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let outgoing = OutgoingRequest {
            method: &ask.method,
            url,
            headers,
            body: ask.body.clone(),
        };
        let answered = self.registry.transport.execute(outgoing, lane).await;
        answered.map_err(|failure| SendFailure::of(url, failure))
    }
}

/// A request that got no answer.
struct SendFailure {
    error: RegistryError,
    /// The same request may meet a better moment. Not so where a certificate is wrong or we ourselves refused.
    transient: bool,
}

impl SendFailure {
    fn of(url: &Url, failure: transport::TransportError) -> Self {
        let host = host_of(url);
        match failure {
            transport::TransportError::Forbidden(why) => RegistryError::Refused {
                host,
                why: why.to_string(),
            }
            .into(),
            transport::TransportError::Malformed(what) => RegistryError::Malformed {
                host,
                what: excerpt(&what),
            }
            .into(),
            transport::TransportError::Unreachable { what, transient } => Self {
                error: RegistryError::Unreachable {
                    host,
                    what: excerpt(&what),
                },
                transient,
            },
        }
    }
}

impl From<RegistryError> for SendFailure {
    fn from(error: RegistryError) -> Self {
        Self {
            error,
            transient: false,
        }
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    )
}

/// Where a redirect leads. The guard judges the place; that it does not leave TLS is judged here.
fn next_hop(answer: &RegistryResponse, ask: &RegistryRequest) -> Result<Url, RegistryError> {
    if !ask.is_repeatable() {
        return Err(answer.malformed(format!(
            "a redirect ({}) of a {} request",
            answer.status(),
            ask.method
        )));
    }
    let location = answer
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    let next = location.and_then(|location| answer.url.join(location).ok());
    let mut next =
        next.ok_or_else(|| answer.malformed("a redirect without a usable `Location`".to_owned()))?;
    next.set_fragment(None);
    if answer.url.scheme() == "https" && next.scheme() != "https" {
        let why = transport::guard::Forbidden::Downgrade.to_string();
        return Err(RegistryError::Refused {
            host: host_of(&next),
            why,
        });
    }
    Ok(next)
}

/// Statuses that say "later". Not 500: what fails inside the registry fails again.
fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
