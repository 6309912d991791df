//! One request to one service: signed, sent, repeated where that is safe and may help, and its response read under a
//! bound. No redirect is followed, because the signature is for one host and one path.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, DATE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use jiff::{SignedDuration, Timestamp};
use url::Url;

use crate::base::backoff::{backoff, retry_after};
use crate::base::error_chain::chain;
use crate::base::limits::ERROR_BYTES;
use crate::base::printable::excerpt;
use crate::net::oracle::call_error::CallError;
use crate::net::oracle::metrics::{Call, CallOutcome, CountedError, OracleObserver};
use crate::net::oracle::wire::ServiceError;
use crate::net::oracle::{Operation, RequestSigner};
use crate::net::transport::guard::{Forbidden, Guard, host_of};
use crate::net::transport::{OutgoingRequest, Transport, TransportError, TransportResponse, Unread};

/// Largest answer of an instance's metadata service that is read: a certificate, a key or a region's name.
const METADATA_BYTES: usize = 64 * 1024;

/// How often one request is sent in all (SDK 2.189.0, `retry/__init__.py`).
const ATTEMPTS: u32 = 8;

/// Longest wait before another attempt, where the service names no time itself (SDK, as [`ATTEMPTS`]).
const BACKOFF_MOST: Duration = Duration::from_secs(30);

/// How long one attempt may take (SDK, `base_client.py`: 60 s for a read).
const ATTEMPT: Duration = Duration::from_secs(60);

/// How long an instance's metadata service may take: it is on the same machine, or nearly, so a slower one is absent.
const METADATA_ATTEMPT: Duration = Duration::from_secs(5);

/// How often a request to a metadata service is sent in all.
const METADATA_ATTEMPTS: u32 = 3;

/// Largest difference between the two clocks (Oracle's documentation, "Request Signatures").
const SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Longest accepted `opc-next-page`.
const PAGE_BYTES: usize = 4096;

const NEXT_PAGE: &str = "opc-next-page";

/// The connections that requests go over, and the rules about where they may go.
pub(super) struct ApiTransport {
    pub(super) guard: Arc<Guard>,
    pub(super) transport: Transport,
}

/// Sends requests until a deadline and counts them.
#[derive(Clone, Copy)]
pub(super) struct ApiSender<'a> {
    pub(super) transport: &'a ApiTransport,
    pub(super) observer: Option<&'a OracleObserver>,
    pub(super) deadline: Instant,
}

/// A request with the bound of its response.
#[derive(Clone, Copy)]
pub(super) struct ApiRequest<'a> {
    pub(super) call: Call,
    pub(super) operation: &'a Operation,
    /// Largest accepted response, in bytes.
    pub(super) limit: usize,
    /// `opc-retry-token`: the service performs requests with the same token once, however often they arrive.
    pub(super) retry_token: Option<&'a str>,
}

/// A response with a success status.
pub(super) struct ApiResponse {
    pub(super) body: Bytes,
    /// `opc-next-page`.
    pub(super) next_page: Option<String>,
}

/// How a request is repeated.
struct RetryPlan {
    /// How often it is sent in all.
    attempts: u32,
    longest_attempt: Duration,
    /// Whether an attempt may create something whose creation the caller must know of.
    creates: bool,
}

/// A failed attempt, and whether another one may succeed.
struct FailedAttempt {
    error: CallError,
    is_transient: bool,
    /// The wait that the service names.
    retry_after: Option<Duration>,
}

impl ApiRequest<'_> {
    pub(super) fn host(&self) -> String {
        host_of(&self.operation.url)
    }
}

impl ApiSender<'_> {
    /// Awaits `work` until the deadline, and counts how it ended.
    pub(super) async fn within_deadline<T, E: CountedError + From<CallError>>(
        &self,
        call: Call,
        host: &str,
        work: impl Future<Output = Result<T, E>> + Send,
    ) -> Result<T, E> {
        let late = || E::from(deadline_exceeded(host));
        let result = if Instant::now() >= self.deadline {
            // A timeout polls its future once before it looks at the clock: that would send a request.
            Err(late())
        } else {
            match tokio::time::timeout_at(self.deadline.into(), work).await {
                Ok(result) => result,
                Err(tokio::time::error::Elapsed { .. }) => Err(late()),
            }
        };
        if let Some(observer) = self.observer {
            let outcome = result
                .as_ref()
                .map_or_else(CountedError::outcome, |_| CallOutcome::Ok);
            observer(call, outcome);
        }
        result
    }

    /// Sends a signed request, repeatedly if need be. Each attempt is signed anew, because a signature holds the time.
    /// Every operation here is harmless when performed twice, or carries a retry token.
    pub(super) async fn send_signed(
        &self,
        request: ApiRequest<'_>,
        signer: &RequestSigner,
    ) -> Result<ApiResponse, CallError> {
        let attempt = || async {
            let now = Timestamp::now();
            let headers = signed_headers(request, signer, now).await?;
            let lane = self.transport.guard.check(&request.operation.url, true);
            let lane = lane.map_err(|why| refused(&request.operation.url, &why))?;
            let Operation { method, url, body } = request.operation;
            let has_body = matches!(*method, Method::POST | Method::PUT);
            let outgoing = OutgoingRequest {
                method,
                url,
                headers,
                body: has_body.then(|| Bytes::copy_from_slice(body)),
            };
            let sent = self.transport.transport.execute(outgoing, lane).await;
            let response = sent.map_err(|error| FailedAttempt::from_transport(&request.host(), error))?;
            read(response, &request.host(), request.limit, now).await
        };
        let plan = RetryPlan {
            attempts: ATTEMPTS,
            longest_attempt: ATTEMPT,
            creates: request.retry_token.is_some(),
        };
        self.repeat(&request.host(), &plan, attempt).await
    }

    /// Reads from this machine's metadata service, by the only path through the guard that leads there.
    pub(super) async fn read_metadata(&self, url: &Url, service: &Url) -> Result<Bytes, CallError> {
        let host = host_of(url);
        let attempt = || async {
            let lane = self.transport.guard.to_metadata_service(url, service);
            let lane = lane.map_err(|why| refused(url, &why))?;
            let mut headers = HeaderMap::new();
            // The service requires it against forged requests: software that fetches a URL for an attacker does not
            // send the attacker's headers.
            headers.insert(AUTHORIZATION, HeaderValue::from_static("Bearer Oracle"));
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
            let outgoing = OutgoingRequest {
                method: &Method::GET,
                url,
                headers,
                body: None,
            };
            let sent = self.transport.transport.execute(outgoing, lane).await;
            let response = sent.map_err(|error| FailedAttempt::from_transport(&host, error))?;
            read(response, &host, METADATA_BYTES, Timestamp::now()).await
        };
        let plan = RetryPlan {
            attempts: METADATA_ATTEMPTS,
            longest_attempt: METADATA_ATTEMPT,
            creates: false,
        };
        let work = self.repeat(&host, &plan, attempt);
        Ok(self.within_deadline(Call::Metadata, &host, work).await?.body)
    }

    /// Makes attempts until one succeeds, fails for good, or no further one fits before the deadline.
    ///
    /// An attempt that the deadline cuts off says less than the one that failed before it, so the earlier error is
    /// returned. Where an attempt may create something, the deadline is the error: the one that was cut off may have
    /// created it.
    async fn repeat<F>(
        &self,
        host: &str,
        plan: &RetryPlan,
        once: impl Fn() -> F + Send,
    ) -> Result<ApiResponse, CallError>
    where
        F: Future<Output = Result<ApiResponse, FailedAttempt>> + Send,
    {
        let mut earlier_error = None;
        let mut attempt = 1;
        loop {
            let started = Instant::now();
            let until = started.checked_add(plan.longest_attempt).unwrap_or(self.deadline);
            let outcome = match tokio::time::timeout_at(until.min(self.deadline).into(), once()).await {
                Ok(outcome) => outcome,
                Err(tokio::time::error::Elapsed { .. }) if until >= self.deadline => {
                    return Err(match earlier_error {
                        Some(earlier) => CallError::CutOff {
                            host: host.to_owned(),
                            earlier: Box::new(earlier),
                        },
                        None => deadline_exceeded(host),
                    });
                }
                Err(tokio::time::error::Elapsed { .. }) => Err(FailedAttempt {
                    error: CallError::Unreachable {
                        host: host.to_owned(),
                        what: format!("no complete response within {} s", plan.longest_attempt.as_secs()),
                    },
                    is_transient: true,
                    retry_after: None,
                }),
            };
            let failed = match outcome {
                Ok(response) => return Ok(response),
                Err(failed) => failed,
            };
            let wait = failed
                .retry_after
                .unwrap_or_else(|| backoff(attempt, BACKOFF_MOST));
            let is_too_late = Instant::now()
                .checked_add(wait)
                .is_none_or(|then| then >= self.deadline);
            if !failed.is_transient || attempt >= plan.attempts || is_too_late {
                return Err(failed.error);
            }
            tracing::debug!(
                host,
                attempt,
                error = chain(&failed.error),
                "Repeating a request to one of Oracle's services"
            );
            if !plan.creates {
                earlier_error = Some(failed.error);
            }
            tokio::time::sleep(wait).await;
            attempt += 1;
        }
    }
}

/// Returns all headers of a signed request. Signing takes some milliseconds of computing, so it runs on a thread of its
/// own rather than on one that other tasks wait for.
async fn signed_headers(
    request: ApiRequest<'_>,
    signer: &RequestSigner,
    now: Timestamp,
) -> Result<HeaderMap, FailedAttempt> {
    let (signer, operation) = (signer.clone(), request.operation.clone());
    let signed = tokio::task::spawn_blocking(move || signer.sign(&operation, now)).await;
    let unsigned = |what| {
        FailedAttempt::permanent(CallError::Signing {
            host: request.host(),
            what,
        })
    };
    let mut headers = match signed {
        Ok(Ok(headers)) => headers,
        Ok(Err(error)) => return Err(unsigned(chain(&error))),
        // A panic's own text may hold anything, a secret included.
        Err(error) if error.is_panic() => return Err(unsigned("the computation panicked".to_owned())),
        Err(_cancelled) => return Err(unsigned("the computation was cancelled".to_owned())),
    };
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    // A bound on compressed bytes would not bound the bytes that they expand to.
    headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
    if let Some(token) = request.retry_token {
        let token = HeaderValue::from_str(token).map_err(|error| unsigned(chain(&error)))?;
        headers.insert(HeaderName::from_static("opc-retry-token"), token);
    }
    Ok(headers)
}

/// Reads a response: its status, its next page and, up to `limit` bytes, its body.
async fn read(
    response: TransportResponse,
    host: &str,
    limit: usize,
    signed_at: Timestamp,
) -> Result<ApiResponse, FailedAttempt> {
    let status = response.status();
    if !status.is_success() {
        return Err(read_refusal(response, host, signed_at).await);
    }
    let invalid = |what: String| {
        FailedAttempt::permanent(CallError::Protocol {
            host: host.to_owned(),
            what,
        })
    };
    if let Some(encoding) = response.compressed() {
        let encoding = excerpt(&String::from_utf8_lossy(encoding.as_bytes()));
        return Err(invalid(format!(
            "`Content-Encoding: {encoding}` was not requested"
        )));
    }
    let next_page = match response.headers().get(NEXT_PAGE) {
        None => None,
        Some(page) => match page.to_str() {
            Ok("") => None,
            Ok(page) if page.len() <= PAGE_BYTES => Some(page.to_owned()),
            Ok(_) | Err(_) => return Err(invalid("`opc-next-page` is not the name of a page".to_owned())),
        },
    };
    match response.whole(limit).await {
        Ok(body) => Ok(ApiResponse { body, next_page }),
        Err(Unread::TooLarge) => Err(FailedAttempt::permanent(CallError::TooLarge {
            host: host.to_owned(),
            limit,
            unit: "bytes",
        })),
        Err(Unread::BrokenOff(error)) => Err(FailedAttempt {
            error: CallError::Unreachable {
                host: host.to_owned(),
                what: excerpt(&chain(&error)),
            },
            is_transient: true,
            retry_after: None,
        }),
    }
}

/// Reads a response whose status is an error.
async fn read_refusal(response: TransportResponse, host: &str, signed_at: Timestamp) -> FailedAttempt {
    let status = response.status();
    let there = service_clock(response.headers());
    let retry_after = retry_after(response.headers());
    let host = host.to_owned();
    // The status alone decides that this is an error. Its body may be too long, break off, or come from a proxy on the
    // way: the error then quotes no text.
    let body = response.whole(ERROR_BYTES).await.ok();
    let said = body.and_then(|body| ServiceError::parse(&body).ok());
    let (code, message) = said.map_or_else(
        || {
            (
                String::new(),
                status.canonical_reason().unwrap_or_default().to_owned(),
            )
        },
        |said| (said.code, said.message),
    );
    let is_transient = is_transient(status, &code);
    let error = match (status, there) {
        (StatusCode::UNAUTHORIZED, Some(there)) if there.duration_since(signed_at).abs() > SKEW => {
            CallError::Clock {
                host,
                here: signed_at,
                there,
            }
        }
        (StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, _) => {
            CallError::Unauthorized { host, code, message }
        }
        (StatusCode::NOT_FOUND, _) => CallError::NotFound { host, code, message },
        (_, _) => CallError::Service {
            host,
            status: status.as_u16(),
            code,
            message,
        },
    };
    FailedAttempt {
        error,
        is_transient,
        retry_after,
    }
}

impl FailedAttempt {
    const fn permanent(error: CallError) -> Self {
        Self {
            error,
            is_transient: false,
            retry_after: None,
        }
    }

    fn from_transport(host: &str, error: TransportError) -> Self {
        let host = host.to_owned();
        match error {
            TransportError::Forbidden(why) => Self::permanent(CallError::Refused {
                host,
                why: why.to_string(),
            }),
            TransportError::Malformed(what) => Self::permanent(CallError::Protocol {
                host,
                what: excerpt(&what),
            }),
            TransportError::Unreachable { what, transient } => Self {
                error: CallError::Unreachable {
                    host,
                    what: excerpt(&what),
                },
                is_transient: transient,
                retry_after: None,
            },
        }
    }
}

fn refused(url: &Url, why: &Forbidden) -> FailedAttempt {
    FailedAttempt::permanent(CallError::Refused {
        host: host_of(url),
        why: why.to_string(),
    })
}

fn deadline_exceeded(host: &str) -> CallError {
    CallError::DeadlineExceeded {
        host: host.to_owned(),
    }
}

/// Whether a later attempt may succeed (SDK 2.189.0, `retry/__init__.py`): 429, 5xx but "not implemented", and the
/// conflicts with an operation that is under way.
fn is_transient(status: StatusCode, code: &str) -> bool {
    match status {
        StatusCode::TOO_MANY_REQUESTS => true,
        StatusCode::CONFLICT => matches!(code, "IncorrectState" | "LockConflict"),
        StatusCode::NOT_IMPLEMENTED => false,
        other => other.is_server_error(),
    }
}

/// Returns the service's clock, as the response says it.
fn service_clock(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(date)
        .ok()
}
