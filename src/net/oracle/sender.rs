//! One thing asked of one service: signed, sent, sent again where that is safe and may help, and its answer read under a
//! bound. No redirect is followed: the signature is for one host and one path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::base::backoff::{backoff, retry_after};
use crate::base::error_chain::chain;
use crate::base::limits::{ERROR_BYTES, METADATA_BYTES};
use crate::base::printable::excerpt;
use crate::net::oracle::client::{ApiError, Call, CallOutcome, OracleObserver};
use crate::net::oracle::identity::IdentityError;
use crate::net::oracle::wire::ServiceError;
use crate::net::oracle::{Operation, RequestSigner};
use crate::net::transport::guard::{Guard, host_of};
use crate::net::transport::{self, OutgoingRequest, Response, Transport, Unread};

/// How often one request is sent in all (SDK 2.189.0, `retry/__init__.py`).
const ATTEMPTS: u32 = 8;

/// Longest wait before another attempt, where the service names no other (SDK, as [`ATTEMPTS`]).
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// How long one attempt may take (SDK, `base_client.py`: 60 s for a read).
const ATTEMPT: Duration = Duration::from_secs(60);

/// An instance's metadata service is on the same machine, or nearly: longer than this it is not there.
const METADATA_ATTEMPT: Duration = Duration::from_secs(5);

/// How often a metadata service is asked in all.
const METADATA_ATTEMPTS: u32 = 3;

/// By how much clocks may differ (Oracle's documentation, "Request Signatures").
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Longest name of a next page that is taken.
const PAGE_BYTES: usize = 4096;

/// What requests go through.
pub(in crate::net::oracle) struct ApiTransport {
    pub(in crate::net::oracle) guard: Arc<Guard>,
    pub(in crate::net::oracle) transport: Transport,
}

/// Where requests go through, who counts them, and until when.
#[derive(Clone, Copy)]
pub(in crate::net::oracle) struct Exchange<'a> {
    pub(in crate::net::oracle) wire: &'a ApiTransport,
    pub(in crate::net::oracle) observer: Option<&'a OracleObserver>,
    pub(in crate::net::oracle) deadline: Instant,
}

/// One thing that is asked for.
#[derive(Clone, Copy)]
pub(in crate::net::oracle) struct ApiRequest<'a> {
    pub(in crate::net::oracle) call: Call,
    pub(in crate::net::oracle) operation: &'a Operation,
    /// The largest answer.
    pub(in crate::net::oracle) limit: usize,
    /// Under which the service does the same thing once, however often it is asked.
    pub(in crate::net::oracle) retry_token: Option<&'a str>,
}

/// An answer of a service that gave what was asked.
pub(in crate::net::oracle) struct Given {
    pub(in crate::net::oracle) body: Bytes,
    /// `opc-next-page`.
    pub(in crate::net::oracle) next_page: Option<String>,
}

/// One attempt that came to nothing.
struct FailedAttempt {
    error: ApiError,
    /// The same request may meet a better moment.
    again: bool,
    /// When, as the service says.
    after: Option<Duration>,
}

impl ApiRequest<'_> {
    pub(in crate::net::oracle) fn host(&self) -> String {
        host_of(&self.operation.url)
    }
}

impl Exchange<'_> {
    /// Waits for an answer until the deadline and no longer, and counts it.
    pub(in crate::net::oracle) async fn in_time<T>(
        &self,
        call: Call,
        host: &str,
        work: impl Future<Output = Result<T, ApiError>> + Send,
    ) -> Result<T, ApiError> {
        let late = || ApiError::DeadlineExceeded {
            host: host.to_owned(),
        };
        let result = if Instant::now() >= self.deadline {
            // A timeout polls its task once before it looks at the clock: that would send a request.
            Err(late())
        } else {
            match tokio::time::timeout_at(self.deadline.into(), work).await {
                Ok(result) => result,
                Err(tokio::time::error::Elapsed { .. }) => Err(late()),
            }
        };
        if let Some(observer) = self.observer {
            observer(call, CallOutcome::of(&result));
        }
        result
    }

    /// Sends a request as often as it makes sense before the deadline, signed anew each time: a signature holds the
    /// time. Whatever is asked for here does no harm when it is done twice, or carries a token by which the service
    /// knows that it is the same.
    pub(in crate::net::oracle) async fn signed(
        &self,
        ask: ApiRequest<'_>,
        signer: &RequestSigner,
    ) -> Result<Given, ApiError> {
        let attempt = || async {
            let now = Timestamp::now();
            let headers = headers(ask, signer, now).await?;
            let lane = self.wire.guard.check(&ask.operation.url, true);
            let lane = lane.map_err(|why| refused(&ask.operation.url, &why))?;
            let Operation { method, url, body } = ask.operation;
            let has_body = matches!(*method, Method::POST | Method::PUT);
            let outgoing = OutgoingRequest {
                method,
                url,
                headers,
                body: has_body.then(|| Bytes::copy_from_slice(body)),
            };
            let sent = self.wire.transport.execute(outgoing, lane).await;
            let response = sent.map_err(|failure| FailedAttempt::of(&ask.host(), failure))?;
            read(response, &ask.host(), ask.limit, now).await
        };
        self.repeated(&ask.host(), ATTEMPTS, ATTEMPT, attempt).await
    }

    /// Asks this machine's metadata service, by the one way that leads there.
    pub(in crate::net::oracle) async fn metadata(&self, url: &Url, service: &Url) -> Result<Bytes, ApiError> {
        let host = host_of(url);
        let attempt = || async {
            let lane = self.wire.guard.to_metadata_service(url, service);
            let lane = lane.map_err(|why| refused(url, &why))?;
            let mut headers = HeaderMap::new();
            // What keeps out requests that were forged through something that forwards URLs alone.
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer Oracle"));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let outgoing = OutgoingRequest {
                method: &Method::GET,
                url,
                headers,
                body: None,
            };
            let sent = self.wire.transport.execute(outgoing, lane).await;
            let response = sent.map_err(|failure| FailedAttempt::of(&host, failure))?;
            read(response, &host, METADATA_BYTES, Timestamp::now()).await
        };
        let work = self.repeated(&host, METADATA_ATTEMPTS, METADATA_ATTEMPT, attempt);
        Ok(self.in_time(Call::Metadata, &host, work).await?.body)
    }

    async fn repeated<F>(
        &self,
        host: &str,
        attempts: u32,
        longest: Duration,
        once: impl Fn() -> F + Send,
    ) -> Result<Given, ApiError>
    where
        F: Future<Output = Result<Given, FailedAttempt>> + Send,
    {
        let mut attempt = 1;
        loop {
            let outcome = match tokio::time::timeout(longest, once()).await {
                Ok(outcome) => outcome,
                Err(tokio::time::error::Elapsed { .. }) => Err(FailedAttempt {
                    error: ApiError::Unreachable {
                        host: host.to_owned(),
                        what: format!("no whole answer in {} s", longest.as_secs()),
                    },
                    again: true,
                    after: None,
                }),
            };
            let failed = match outcome {
                Ok(given) => return Ok(given),
                Err(failed) => failed,
            };
            let wait = failed.after.unwrap_or_else(|| backoff(attempt, BACKOFF_MOST));
            let too_late = Instant::now()
                .checked_add(wait)
                .is_none_or(|then| then >= self.deadline);
            if !failed.again || attempt >= attempts || too_late {
                return Err(failed.error);
            }
            tracing::debug!(
                host,
                attempt,
                error = chain(&failed.error),
                "A service of Oracle's is asked again"
            );
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

/// Everything that goes out before the body. Signing takes some milliseconds of computing: not on a thread that others
/// wait for.
async fn headers(
    ask: ApiRequest<'_>,
    signer: &RequestSigner,
    now: Timestamp,
) -> Result<HeaderMap, FailedAttempt> {
    let (signer, operation) = (signer.clone(), ask.operation.clone());
    let signed = tokio::task::spawn_blocking(move || signer.sign(&operation, now)).await;
    let unsigned = |source| {
        FailedAttempt::for_good(ApiError::Identity {
            host: ask.host(),
            source: Box::new(source),
        })
    };
    let mut headers = match signed {
        Ok(Ok(headers)) => headers,
        Ok(Err(error)) => return Err(unsigned(IdentityError::Signing { what: chain(&error) })),
        Err(panicked) => return Err(unsigned(IdentityError::crashed(&panicked))),
    };
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // A bound on compressed bytes would bound nothing.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(token) = ask.retry_token {
        let token = HeaderValue::from_str(token)
            .map_err(|error| unsigned(IdentityError::Signing { what: chain(&error) }))?;
        headers.insert(HeaderName::from_static("opc-retry-token"), token);
    }
    Ok(headers)
}

async fn read(
    response: Response,
    host: &str,
    limit: usize,
    asked_at: Timestamp,
) -> Result<Given, FailedAttempt> {
    let status = response.status();
    if !status.is_success() {
        return Err(refusal(response, host, asked_at).await);
    }
    let against = |what: String| {
        FailedAttempt::for_good(ApiError::Protocol {
            host: host.to_owned(),
            what,
        })
    };
    if let Some(encoding) = response.compressed() {
        let encoding = excerpt(&String::from_utf8_lossy(encoding.as_bytes()));
        return Err(against(format!(
            "`Content-Encoding: {encoding}` was not asked for"
        )));
    }
    let next_page = match response.headers().get(NEXT_PAGE) {
        None => None,
        Some(page) => match page.to_str() {
            Ok("") => None,
            Ok(page) if page.len() <= PAGE_BYTES => Some(page.to_owned()),
            Ok(_) | Err(_) => return Err(against("`opc-next-page` cannot be the name of a page".to_owned())),
        },
    };
    match response.whole(limit).await {
        Ok(body) => Ok(Given { body, next_page }),
        Err(Unread::TooLarge) => Err(FailedAttempt::for_good(ApiError::TooLarge {
            host: host.to_owned(),
            limit,
            unit: "bytes",
        })),
        Err(Unread::BrokenOff(error)) => Err(FailedAttempt {
            error: ApiError::Unreachable {
                host: host.to_owned(),
                what: excerpt(&chain(&error)),
            },
            again: true,
            after: None,
        }),
    }
}

/// What a status says that is no success.
async fn refusal(response: Response, host: &str, asked_at: Timestamp) -> FailedAttempt {
    let status = response.status();
    let there = clock(response.headers());
    let after = retry_after(response.headers());
    let host = host.to_owned();
    // An error answer that is too long, breaks off or is of a proxy in between is still an error answer: its status has
    // been judged.
    let said = response.whole(ERROR_BYTES).await.ok();
    let said = said.and_then(|body| ServiceError::parse(&body).ok());
    let (code, message) = said.map_or_else(
        || {
            (
                String::new(),
                status.canonical_reason().unwrap_or_default().to_owned(),
            )
        },
        |said| (said.code, said.message),
    );
    let again = is_transient(status, &code);
    let error = match (status, there) {
        (StatusCode::UNAUTHORIZED, Some(there)) if there.duration_since(asked_at).abs() > SKEW => {
            ApiError::Clock {
                host,
                here: asked_at,
                there,
            }
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            ApiError::Unauthorized { host, code, message }
        }
        (StatusCode::NOT_FOUND, _) => ApiError::NotFound { host, code, message },
        (_, _) => ApiError::Service {
            host,
            status: status.as_u16(),
            code,
            message,
        },
    };
    FailedAttempt { error, again, after }
}

impl FailedAttempt {
    const fn for_good(error: ApiError) -> Self {
        Self {
            error,
            again: false,
            after: None,
        }
    }

    fn of(host: &str, failure: transport::TransportError) -> Self {
        let host = host.to_owned();
        match failure {
            transport::TransportError::Forbidden(why) => Self::for_good(ApiError::Refused {
                host,
                why: why.to_string(),
            }),
            transport::TransportError::Malformed(what) => Self::for_good(ApiError::Protocol {
                host,
                what: excerpt(&what),
            }),
            transport::TransportError::Unreachable { what, transient } => Self {
                error: ApiError::Unreachable {
                    host,
                    what: excerpt(&what),
                },
                again: transient,
                after: None,
            },
        }
    }
}

fn refused(url: &Url, why: &transport::guard::Forbidden) -> FailedAttempt {
    FailedAttempt::for_good(ApiError::Refused {
        host: host_of(url),
        why: why.to_string(),
    })
}

/// Statuses that say "later" (SDK 2.189.0, `retry/__init__.py`): 429, 5xx but "not implemented", and the conflicts with
/// something that is under way.
fn is_transient(status: StatusCode, code: &str) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::CONFLICT => matches!(code, "IncorrectState" | "LockConflict"),
        StatusCode::NOT_IMPLEMENTED => false,
        other => other.is_server_error(),
    }
}

/// The service's clock, as its answer says.
fn clock(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .ok()
}

const NEXT_PAGE: &str = "opc-next-page";
