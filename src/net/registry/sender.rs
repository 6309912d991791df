//! One request to one endpoint: its redirects, and its further attempts. The sender shows the credentials that it is
//! handed and knows none itself.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use url::Url;

use super::endpoint::RegistryEndpoint;
use super::error::RegistryError;
use super::metrics::{RegistryObserver, RegistryOperation, RequestOutcome};
use super::{body, challenge};
use crate::base::backoff::{Attempt, RetryLimits, retry, retry_after};
use crate::base::printable::{excerpt, excerpt_bytes};
use crate::net::transport::guard::{Forbidden, Guard, host_of, same_origin};
use crate::net::transport::{OutgoingRequest, Transport, TransportError, TransportResponse};

/// Redirects that are followed for one request (curl and Go stop at 10; registries use one).
pub(crate) const REDIRECTS: usize = 5;

/// The attempts at one request, the first included. Only GET and HEAD are repeated, and only where a later response
/// may differ.
const ATTEMPTS: u32 = 3;

/// The longest wait before another attempt, unless the registry names one.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Longest `Content-Type` that is passed on.
const CONTENT_TYPE_BYTES: usize = 256;

/// Sends requests to one endpoint.
pub(super) struct Sender<'a> {
    pub(super) transport: &'a Transport,
    pub(super) guard: &'a Guard,
    pub(super) endpoint: &'a RegistryEndpoint,
    pub(super) attempts: Attempts,
    pub(super) deadline: Instant,
    pub(super) observer: Option<&'a RegistryObserver>,
}

/// The attempts that an endpoint is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attempts {
    /// One: the next endpoint is the second attempt.
    Mirror,
    /// [`ATTEMPTS`].
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

/// The head of a response, and its unread body.
pub(super) struct RegistryResponse {
    pub(super) response: TransportResponse,
    /// The URL that answered, after redirects.
    pub(super) url: Url,
    pub(super) host: String,
    /// Whether the endpoint itself answered: another host's challenge is neither answered nor passed to a client.
    pub(super) is_from_endpoint: bool,
}

impl RegistryResponse {
    pub(super) fn status(&self) -> StatusCode {
        self.response.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// Returns `Content-Type`, if it was sent.
    pub(super) fn content_type(&self) -> Result<Option<String>, RegistryError> {
        let Some(value) = self.headers().get(header::CONTENT_TYPE) else {
            return Ok(None);
        };
        match value.to_str() {
            Ok(text) if text.len() <= CONTENT_TYPE_BYTES => Ok(Some(text.to_owned())),
            Ok(_) | Err(_) => {
                Err(self.malformed(format!("`Content-Type` is `{}`", excerpt_bytes(value.as_bytes()))))
            }
        }
    }

    pub(super) fn malformed(&self, what: String) -> RegistryError {
        RegistryError::Malformed {
            host: self.host.clone(),
            what,
        }
    }

    /// Returns a response with one of these statuses, and the error that any other status means.
    pub(super) async fn expect(self, statuses: &[StatusCode]) -> Result<Self, RegistryError> {
        if statuses.contains(&self.status()) {
            Ok(self)
        } else {
            Err(Box::pin(self.into_error()).await)
        }
    }

    /// Returns the challenge of a 401 of the endpoint itself, if a client may be handed it.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        let may_challenge = self.status() == StatusCode::UNAUTHORIZED && self.is_from_endpoint;
        challenge::presentable(self.headers()).filter(|_| may_challenge)
    }

    async fn into_error(self) -> RegistryError {
        let (status, challenge) = (self.status(), self.challenge());
        let host = self.host;
        if status == StatusCode::NOT_FOUND {
            body::drain(self.response).await;
            return RegistryError::NotFound { host };
        }
        let message = body::error_message(self.response).await;
        let what = if message.is_empty() {
            status.to_string()
        } else {
            format!("{status}: {message}")
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

impl Sender<'_> {
    /// Sends a request, again where the response is transient, until the deadline.
    pub(super) async fn send(
        &self,
        request: &RegistryRequest,
        authorization: Option<&HeaderValue>,
    ) -> Result<RegistryResponse, RegistryError> {
        let attempts = match self.attempts {
            Attempts::Endpoint if request.is_repeatable() => ATTEMPTS,
            Attempts::Endpoint | Attempts::Mirror => 1,
        };
        let limits = RetryLimits {
            attempts,
            longest_wait: LONGEST_WAIT,
            deadline: self.deadline,
        };
        let result = retry(limits, async |replaced| {
            if let Some(Ok(response)) = replaced {
                let response: RegistryResponse = response;
                body::drain(response.response).await;
            }
            match self.follow(request, authorization).await {
                Ok(response) if is_transient(response.status()) => Attempt::Transient {
                    retry_after: retry_after(response.headers()),
                    result: Ok(response),
                },
                Err(failure) if failure.is_transient => Attempt::Transient {
                    result: Err(failure.error),
                    retry_after: None,
                },
                Ok(response) => Attempt::Final(Ok(response)),
                Err(failure) => Attempt::Final(Err(failure.error)),
            }
        });
        result.await
    }

    /// Reports the outcome of an operation to the observer, if there is one.
    pub(super) fn observe<T>(&self, operation: RegistryOperation, result: &Result<T, RegistryError>) {
        if let Some(observer) = self.observer {
            observer(operation, RequestOutcome::new(result));
        }
    }

    /// Whether a URL is at the endpoint itself, rather than at a place that it named.
    pub(super) fn is_endpoint(&self, url: &Url) -> bool {
        same_origin(url, self.endpoint.root())
    }

    /// Sends a request once and follows its redirects, each of which the guard judges.
    async fn follow(
        &self,
        request: &RegistryRequest,
        authorization: Option<&HeaderValue>,
    ) -> Result<RegistryResponse, SendFailure> {
        let mut url = request.url.clone();
        let mut authorization = authorization;
        for _ in 0..=REDIRECTS {
            let host = host_of(&url);
            let response = self.hop(request, &url, authorization).await?;
            let is_from_endpoint = self.is_endpoint(&url);
            let response = RegistryResponse {
                response,
                url,
                host,
                is_from_endpoint,
            };
            if !is_redirect(response.status()) {
                return Ok(response);
            }
            let next = next_hop(&response, request)?;
            if !same_origin(&next, &response.url) {
                // The registry's credentials are not for the host that it names (CVE-2020-15157).
                authorization = None;
            }
            body::drain(response.response).await;
            url = next;
        }
        let host = self.endpoint.host.clone();
        Err(RegistryError::TooLarge {
            host,
            limit: REDIRECTS,
            unit: "redirects",
        }
        .into())
    }

    async fn hop(
        &self,
        request: &RegistryRequest,
        url: &Url,
        authorization: Option<&HeaderValue>,
    ) -> Result<TransportResponse, SendFailure> {
        let may_be_private = self.is_endpoint(url) || self.endpoint.is_private().await;
        let policy = self
            .guard
            .check(url, may_be_private)
            .map_err(|why| RegistryError::Refused {
                host: host_of(url),
                why: why.to_string(),
            })?;
        let mut headers = request.headers.clone();
        // A bound on compressed bytes would not bound the content.
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        if let Some(authorization) = authorization {
            headers.insert(header::AUTHORIZATION, authorization.clone());
        }
        let outgoing = OutgoingRequest {
            method: &request.method,
            url,
            headers,
            body: request.body.clone(),
        };
        let sent = self.transport.execute(outgoing, policy).await;
        sent.map_err(|error| SendFailure::from_transport(url, error))
    }
}

/// A request without a response.
struct SendFailure {
    error: RegistryError,
    /// Whether the same request may succeed later. A wrong certificate or a refusal of ours stays.
    is_transient: bool,
}

impl SendFailure {
    fn from_transport(url: &Url, error: TransportError) -> Self {
        let host = host_of(url);
        match error {
            TransportError::Forbidden(why) => RegistryError::Refused {
                host,
                why: why.to_string(),
            }
            .into(),
            TransportError::Malformed(what) => RegistryError::Malformed {
                host,
                what: excerpt(&what),
            }
            .into(),
            TransportError::Unreachable { what, transient } => Self {
                error: RegistryError::Unreachable {
                    host,
                    what: excerpt(&what),
                },
                is_transient: transient,
            },
        }
    }
}

impl From<RegistryError> for SendFailure {
    fn from(error: RegistryError) -> Self {
        Self {
            error,
            is_transient: false,
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

/// Returns the target of a redirect. The guard judges the place; this function refuses to leave TLS.
fn next_hop(response: &RegistryResponse, request: &RegistryRequest) -> Result<Url, RegistryError> {
    if !request.is_repeatable() {
        return Err(response.malformed(format!(
            "a redirect ({}) of a {} request",
            response.status(),
            request.method
        )));
    }
    let mut next = location(response)?
        .ok_or_else(|| response.malformed("a redirect without a usable `Location`".to_owned()))?;
    next.set_fragment(None);
    Ok(next)
}

/// Returns the target of `Location`, relative or absolute; `None` where it is missing or not a URL.
///
/// # Errors
/// [`RegistryError::Refused`] when it leads from https to http.
pub(super) fn location(response: &RegistryResponse) -> Result<Option<Url>, RegistryError> {
    let location = response
        .headers()
        .get(header::LOCATION)
        .and_then(|location| location.to_str().ok());
    let Some(target) = location.and_then(|location| response.url.join(location).ok()) else {
        return Ok(None);
    };
    if response.url.scheme() == "https" && target.scheme() != "https" {
        return Err(RegistryError::Refused {
            host: host_of(&target),
            why: Forbidden::Downgrade.to_string(),
        });
    }
    Ok(Some(target))
}

/// Whether a status means "later". 500 does not: an internal error of the registry repeats.
fn is_transient(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}
