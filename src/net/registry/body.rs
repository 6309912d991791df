//! Bodies of responses: read whole under a bound, quoted in an error, or passed on as they arrive.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http::header;
use tokio::time::{Instant, Sleep};

use super::error::RegistryError;
use crate::base::printable::{excerpt, excerpt_bytes};
use crate::base::{error_chain, limits};
use crate::net::transport::{BrokenOff, IncomingBody, TransportResponse, Unread};

/// Most entries of an error document (distribution-spec 1.1, "Error Codes") that are quoted.
const QUOTED_ERRORS: usize = 3;

/// The size from which a blob is large, in bytes.
const LARGE: usize = 1024 * 1024;

/// A chunk of this size is worth a wake-up. hyper reads about 400 KiB at most.
const FULL: usize = 64 * 1024;

/// The time for which bytes may accumulate. The runtime's timers tick once a millisecond.
const REST: Duration = Duration::from_micros(500);

/// Reads a body whole, under a bound.
pub(super) async fn read_bounded(
    response: TransportResponse,
    host: &str,
    limit: usize,
) -> Result<Bytes, RegistryError> {
    response.whole(limit).await.map_err(|error| match error {
        Unread::BrokenOff(error) => broke_off(host, &error),
        Unread::TooLarge => RegistryError::TooLarge {
            host: host.to_owned(),
            limit,
            unit: "bytes",
        },
    })
}

/// Reads a body to its end and drops it, so that its connection can be reused. The connection of a long body is closed
/// instead.
pub(super) async fn drain(mut response: TransportResponse) {
    let mut seen = 0_usize;
    while seen <= limits::ERROR_BYTES {
        match response.chunk().await {
            Some(Ok(chunk)) => seen = seen.saturating_add(chunk.len()),
            // The response itself was already judged; only the connection is lost.
            None | Some(Err(_)) => return,
        }
    }
}

/// Returns the messages of a registry's error document, bounded and printable; an empty text where the body has no such
/// message (an HTML page).
pub(super) async fn error_message(response: TransportResponse) -> String {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"text/plain"));
    // The status has been judged already: an error response counts even if its body is too long or breaks off.
    let Ok(body) = read_bounded(response, "", limits::ERROR_BYTES).await else {
        return String::new();
    };
    match serde_json::from_slice::<ErrorDocument>(&body) {
        Ok(document) => {
            let messages = document
                .errors
                .iter()
                .take(QUOTED_ERRORS)
                .map(RegistryErrorEntry::text);
            excerpt(messages.collect::<Vec<_>>().join("; ").trim())
        }
        Err(_) if is_text => excerpt_bytes(body.trim_ascii()),
        Err(_) => String::new(),
    }
}

/// Refuses a compressed body, which was not requested.
pub(super) fn refuse_compressed(response: &TransportResponse, host: &str) -> Result<(), RegistryError> {
    response.compressed().map_or(Ok(()), |encoding| {
        Err(RegistryError::Malformed {
            host: host.to_owned(),
            what: format!(
                "`Content-Encoding: {}` was not requested",
                excerpt_bytes(encoding.as_bytes())
            ),
        })
    })
}

/// Returns the bytes of a body as they arrive. The stream ends with an error when no byte arrives for `idle`, or when the
/// body breaks off. It reads only when it is polled.
pub(super) fn stream(
    response: TransportResponse,
    host: String,
    idle: Duration,
) -> BoxStream<'static, Result<Bytes, RegistryError>> {
    IdleReader {
        body: response.into_body(),
        host,
        idle,
        sleep: Box::pin(tokio::time::sleep(idle)),
        waiting: false,
        seen: 0,
        resting: false,
        ended: false,
    }
    .boxed()
}

struct IdleReader {
    body: IncomingBody,
    host: String,
    idle: Duration,
    /// One timer for the whole stream, armed only while the stream waits for the origin.
    sleep: Pin<Box<Sleep>>,
    waiting: bool,
    /// The number of bytes that have arrived.
    seen: usize,
    /// Whether the next bytes accumulate until `sleep` ends.
    resting: bool,
    ended: bool,
}

impl IdleReader {
    /// Pauses after a small chunk of a large blob. Small chunks mean that this side is faster than the sender, so that
    /// each one costs a wake-up here and at the client; a moment later there is more to read at once (network cards
    /// moderate interrupts in the same way).
    fn rest_after(&mut self, chunk: &Bytes) {
        self.seen = self.seen.saturating_add(chunk.len());
        if self.seen > LARGE && chunk.len() < FULL {
            self.resting = true;
            self.sleep.as_mut().reset(Instant::now() + REST);
        }
    }
}

impl Stream for IdleReader {
    type Item = Result<Bytes, RegistryError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.ended {
            return Poll::Ready(None);
        }
        if self.resting {
            ready!(self.sleep.as_mut().poll(context));
            self.resting = false;
        }
        if let Poll::Ready(next) = self.body.poll_chunk(context) {
            self.waiting = false;
            match &next {
                Some(Ok(chunk)) => self.rest_after(chunk),
                Some(Err(_)) | None => self.ended = true,
            }
            return Poll::Ready(next.map(|chunk| chunk.map_err(|error| broke_off(&self.host, &error))));
        }
        if !self.waiting {
            self.waiting = true;
            let until = Instant::now() + self.idle;
            self.sleep.as_mut().reset(until);
        }
        if self.sleep.as_mut().poll(context).is_ready() {
            self.ended = true;
            let what = format!("the response stalled for {} s", self.idle.as_secs());
            return Poll::Ready(Some(Err(RegistryError::Unreachable {
                host: self.host.clone(),
                what,
            })));
        }
        Poll::Pending
    }
}

fn broke_off(host: &str, error: &BrokenOff) -> RegistryError {
    RegistryError::Unreachable {
        host: host.to_owned(),
        what: chain(error),
    }
}

/// Returns an error and its causes in one printable line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    excerpt(&error_chain::chain(error))
}

/// The error document of distribution-spec 1.1, as far as it is quoted. Unknown and missing keys are accepted, because no
/// decision depends on it.
#[derive(serde::Deserialize)]
struct ErrorDocument {
    errors: Vec<RegistryErrorEntry>,
}

#[derive(serde::Deserialize)]
struct RegistryErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl RegistryErrorEntry {
    fn text(&self) -> String {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => format!("{}: {}", self.code, self.message),
            (true, _) => self.message.clone(),
            (false, true) => self.code.clone(),
        }
    }
}
