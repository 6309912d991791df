//! The connections of the door: bounded, each with one request after the other, until the door is told to stop.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use http::header::CONNECTION;
use http::{HeaderValue, Method, Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::answer::{crashed, refused};
use super::body::ResponseBody;
use super::route::RouteError;
use crate::base::error_chain::chain;
use crate::base::limits;
use crate::door::listen::accept::accept_until_stopped;
use crate::door::listen::write_timeout::StallTimeout;

/// A client of the registry door has so long for the TLS handshake.
const TLS_HANDSHAKE: Duration = Duration::from_secs(10);

/// Largest request head that the registry door reads: a Bearer token of the large clouds has up to 8 KiB.
pub(crate) const REQUEST_HEAD_BYTES: usize = 32 * 1024;

/// Answers requests, whose bodies are never read.
pub(super) trait Handler: Send + Sync + 'static {
    /// Answers one request of the client `peer`.
    fn handle(&self, request: Request<()>, peer: &str) -> impl Future<Output = DoorAnswer> + Send;
}

/// An answer, and the time at which it must have been written: the rest is cut then.
pub(super) struct DoorAnswer {
    pub(super) response: Response<ResponseBody>,
    pub(super) due: Instant,
}

/// The most that clients may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServeBounds {
    /// Connections at one time.
    pub(super) connections: usize,
    /// The time for the head of a request, from the start of the connection or the end of the last answer.
    pub(super) head: Duration,
    /// The time for the TLS handshake.
    pub(super) handshake: Duration,
    /// The time for which the client may accept no byte of an answer.
    pub(super) stall: Duration,
}

impl ServeBounds {
    pub(super) const fn new(connections: usize) -> Self {
        Self {
            connections,
            head: limits::REQUEST_HEAD,
            handshake: TLS_HANDSHAKE,
            stall: limits::BLOB_IDLE,
        }
    }
}

/// The parts that every connection needs.
pub(super) struct Server<H> {
    pub(super) handler: H,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) bounds: ServeBounds,
}

/// Serves until `stop` is cancelled, then lets the requests in progress finish for at most `grace`.
pub(super) async fn serve<H: Handler>(
    server: Arc<Server<H>>,
    listener: TcpListener,
    stop: CancellationToken,
    grace: Duration,
) {
    let bounds = server.bounds;
    let stop_connections = stop.clone();
    let serve = move |stream, peer| {
        let (server, stop) = (Arc::clone(&server), stop_connections.clone());
        async move { serve_connection(&server, stream, peer, stop).await }
    };
    accept_until_stopped(listener, bounds.connections, stop, grace, serve).await;
}

async fn serve_connection<H: Handler>(
    server: &Server<H>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: CancellationToken,
) {
    // Answers are written whole: waiting for more bytes to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY could not be set");
    }
    let (due, watched) = watch::channel(None);
    let socket = StallTimeout::new(stream, server.bounds.stall, watched);
    match &server.tls {
        None => serve_requests(server, socket, peer, &due, stop).await,
        Some(tls) => match timeout(server.bounds.handshake, tls.accept(socket)).await {
            Ok(Ok(stream)) => serve_requests(server, stream, peer, &due, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, %peer, "The TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(%peer, "The TLS handshake took too long"),
        },
    }
}

async fn serve_requests<H: Handler>(
    server: &Server<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    due: &watch::Sender<Option<Instant>>,
    stop: CancellationToken,
) {
    let name = peer.to_string();
    let service = service_fn(|request| async {
        let answer = answer(&server.handler, request, &name).await;
        due.send_replace(Some(answer.due));
        Ok::<_, Infallible>(answer.response)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(server.bounds.head)
        .max_header_size(REQUEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => {}
        // A body of ours failed.
        Err(error) if error.is_user() => tracing::warn!(error = chain(&error), %peer, "An answer was cut"),
        Err(error) => tracing::debug!(error = chain(&error), %peer, "A connection ended"),
    }
}

/// Answers one request, also when the handler panics.
async fn answer<H: Handler>(handler: &H, request: Request<Incoming>, peer: &str) -> DoorAnswer {
    let (head, unread) = request.into_parts();
    let has_body = !unread.is_end_stream();
    let reads = matches!(head.method, Method::GET | Method::HEAD);
    let mut answer = if has_body && reads {
        DoorAnswer {
            response: refused(&RouteError::Body),
            due: Instant::now() + limits::BLOB_IDLE,
        }
    } else {
        let handled = AssertUnwindSafe(handler.handle(Request::from_parts(head, ()), peer));
        handled.catch_unwind().await.unwrap_or_else(|_panic| {
            tracing::error!(peer, "A request crashed; it is blocked");
            DoorAnswer {
                response: crashed(),
                due: Instant::now() + limits::BLOB_IDLE,
            }
        })
    };
    if has_body {
        // Otherwise the body would be read as the head of the next request.
        answer
            .response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests;
