//! Bodies: read whole under a bound, quoted in an error, or handed on as they come.

use std::error::Error;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, Stream, StreamExt};
use http::header;
use tokio::time::{Instant, Sleep};

use super::RegistryError;
use crate::base::printable::{excerpt, excerpt_bytes};
use crate::base::{error_chain, limits};
use crate::net::transport::{self, BrokenOff, Response, Unread};

/// Most entries of an error document (distribution-spec 1.1, "Error Codes") that are quoted.
const QUOTED_ERRORS: usize = 3;

/// A blob of which so much has come is large.
const LARGE: usize = 1024 * 1024;

/// A chunk of so many bytes is worth a wake-up. hyper reads some 400 KiB at the most.
const FULL: usize = 64 * 1024;

/// How long bytes may gather. The runtime's timers tick once a millisecond.
const REST: Duration = Duration::from_micros(500);

/// Reads a body whole, under a bound.
pub(super) async fn read_bounded(
    response: Response,
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

/// Reads a body to its end and forgets it, so that its connection can be used again. A longer one costs its connection.
pub(super) async fn drain(mut response: Response) {
    let mut seen = 0_usize;
    while seen <= limits::ERROR_BYTES {
        match response.chunk().await {
            Some(Ok(chunk)) => seen = seen.saturating_add(chunk.len()),
            // The answer itself was already judged; only the connection is lost.
            None | Some(Err(_)) => return,
        }
    }
}

/// What the registry says in an error answer: the messages of its error document, bounded and printable. Empty where
/// it says nothing that is worth quoting (an HTML page).
pub(super) async fn words(response: Response) -> String {
    let is_text = response
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|content_type| content_type.as_bytes().starts_with(b"text/plain"));
    // An error answer that is too long or breaks off is still an error answer: its status has been judged.
    let Ok(body) = read_bounded(response, "", limits::ERROR_BYTES).await else {
        return String::new();
    };
    match serde_json::from_slice::<ErrorDocument>(&body) {
        Ok(document) => {
            let messages = document.errors.iter().take(QUOTED_ERRORS).map(ErrorEntry::text);
            excerpt(messages.collect::<Vec<_>>().join("; ").trim())
        }
        Err(_) if is_text => excerpt_bytes(body.trim_ascii()),
        Err(_) => String::new(),
    }
}

/// Refuses a compressed body: we asked for none.
pub(super) fn refuse_compressed(response: &Response, host: &str) -> Result<(), RegistryError> {
    response.compressed().map_or(Ok(()), |encoding| {
        Err(RegistryError::Malformed {
            host: host.to_owned(),
            what: format!(
                "`Content-Encoding: {}` was not asked for",
                excerpt_bytes(encoding.as_bytes())
            ),
        })
    })
}

/// The bytes of a body as they come. Ends with an error when nothing comes for `idle`, or when the body breaks off;
/// nothing is read ahead of whoever polls it.
pub(super) fn stream(
    response: Response,
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
    body: transport::IncomingBody,
    host: String,
    idle: Duration,
    /// One timer for the whole stream, armed only while the origin keeps us waiting.
    sleep: Pin<Box<Sleep>>,
    waiting: bool,
    /// How many bytes have come.
    seen: usize,
    /// Until `sleep` the next bytes may gather.
    resting: bool,
    ended: bool,
}

impl IdleReader {
    /// Of a large blob, small chunks are a sign that we are faster than who sends it: then each piece costs a wake-up
    /// here and at the client. A moment later there is more to read at once (as network cards moderate interrupts).
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
            let what = format!("the answer stood still for {} s", self.idle.as_secs());
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

/// An error and its causes in one printable line.
pub(super) fn chain(error: &(dyn Error + 'static)) -> String {
    excerpt(&error_chain::chain(error))
}

/// The error document of distribution-spec 1.1, as far as it is quoted. Unknown and missing keys are of no interest:
/// nothing is decided by it.
#[derive(serde::Deserialize)]
struct ErrorDocument {
    errors: Vec<ErrorEntry>,
}

#[derive(serde::Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

impl ErrorEntry {
    fn text(&self) -> String {
        match (self.code.is_empty(), self.message.is_empty()) {
            (false, false) => format!("{}: {}", self.code, self.message),
            (true, _) => self.message.clone(),
            (false, true) => self.code.clone(),
        }
    }
}
