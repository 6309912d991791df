//! One HTTP/1.1 connection, driven by the task that sends a request or reads a body on it.
//!
//! Hand-written on hyper's `http1` instead of hyper-util's pooled client, which gives each connection a task of its own. Here
//! the task that writes a blob to the client also reads it from the registry: on one thread, without a wake-up between two
//! tasks, only as fast as the client takes it, and the connection ends with the task. docs/performance.md has the
//! measurement.

use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;

use super::connect::{ConnectedSocket, Forwarded};
use super::error::cause;

/// Most header fields of one response. Registries send about twenty.
const HEADERS: usize = 100;

type Driver = http1::Connection<TokioIo<ConnectedSocket>, Full<Bytes>>;

/// A connection without a request under way.
pub(super) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: Pin<Box<Driver>>,
    /// Whether the other side has ended it.
    ended: bool,
    pub(super) forwarded: Option<Forwarded>,
    /// The end of the last response on it.
    pub(super) unused_since: Instant,
}

/// A request without a response.
pub(super) struct UnansweredRequest {
    pub(super) error: hyper::Error,
    /// Whether no byte of the request was sent.
    pub(super) is_unsent: bool,
}

impl UnansweredRequest {
    /// Whether the other side closed the connection before it sent a byte.
    pub(super) fn is_silence(&self) -> bool {
        let error = &self.error;
        let reset = cause::<io::Error>(error).is_some_and(|error| {
            matches!(
                error.kind(),
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset
            )
        });
        reset || error.is_incomplete_message() || error.is_closed() || error.is_canceled()
    }
}

impl Connection {
    pub(super) async fn new(
        socket: ConnectedSocket,
        forwarded: Option<Forwarded>,
    ) -> Result<Self, hyper::Error> {
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS);
        let (sender, driver) = builder.handshake(TokioIo::new(socket)).await?;
        Ok(Self {
            sender,
            driver: Box::pin(driver),
            ended: false,
            forwarded,
            unused_since: Instant::now(),
        })
    }

    /// Whether a request may be sent on it, as far as this side knows.
    pub(super) fn is_open(&mut self) -> bool {
        self.drive(&mut Context::from_waker(Waker::noop()));
        !self.ended && self.sender.is_ready()
    }

    /// Reads and writes as much as is possible now. The end of the connection, with its error, is reported to the caller
    /// that waits for a response or reads its body.
    fn drive(&mut self, context: &mut Context<'_>) {
        if !self.ended {
            self.ended = self.driver.as_mut().poll(context).is_ready();
        }
    }

    /// Sends a request and waits for the head of its response.
    pub(super) async fn send(
        mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<(Response<Incoming>, Self), UnansweredRequest> {
        let mut answer = pin!(self.sender.try_send_request(request));
        let answered = poll_fn(|context| {
            if let Poll::Ready(answered) = answer.as_mut().poll(context) {
                return Poll::Ready(answered);
            }
            self.drive(context);
            answer.as_mut().poll(context)
        })
        .await;
        match answered {
            Ok(response) => Ok((response, self)),
            Err(mut failed) => Err(UnansweredRequest {
                is_unsent: failed.take_message().is_some(),
                error: failed.into_error(),
            }),
        }
    }

    /// Polls for the next chunk of the response's body; `None` at its end.
    pub(super) fn poll_chunk(
        &mut self,
        body: &mut Incoming,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, hyper::Error>>> {
        loop {
            let mut next = Pin::new(&mut *body).poll_frame(context);
            if next.is_pending() {
                self.drive(context);
                next = Pin::new(&mut *body).poll_frame(context);
            }
            match ready!(next) {
                Some(Ok(frame)) => match frame.into_data() {
                    Ok(chunk) => return Poll::Ready(Some(Ok(chunk))),
                    // Trailers, which registries do not use.
                    Err(_trailers) => {}
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }
}
