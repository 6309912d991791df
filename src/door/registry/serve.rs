//! The listener: connections within bounds, one request after the other, until told to stop.

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

use super::answer::{crashed, refused};
use super::body::ResponseBody;
use super::route::RouteError;
use crate::base::error_chain::chain;
use crate::base::limits;
use crate::door::listen::accept::{accept_until_stopped, stopped};
use crate::door::listen::write_timeout::StallTimeout;

/// Answers one request, whose body is never read.
pub(super) trait Handler: Send + Sync + 'static {
    /// The answer, and until when it must be through.
    fn handle(&self, request: Request<()>, peer: &str) -> impl Future<Output = DoorAnswer> + Send;
}

/// An answer, and until when it must be through: what is left then is cut.
pub(super) struct DoorAnswer {
    pub(super) response: Response<ResponseBody>,
    pub(super) due: Instant,
}

/// What clients may hold, and for how long.
#[derive(Clone, Copy, Debug)]
pub(super) struct ServeBounds {
    /// Connections at one time.
    pub(super) connections: usize,
    /// For a request's head, from the connection's begin or the last answer's end.
    pub(super) head: Duration,
    /// For the TLS handshake.
    pub(super) handshake: Duration,
    /// Without a byte of progress while an answer is written.
    pub(super) stall: Duration,
}

impl ServeBounds {
    pub(super) const fn of(connections: usize) -> Self {
        Self {
            connections,
            head: limits::REQUEST_HEAD,
            handshake: limits::TLS_HANDSHAKE,
            stall: limits::BLOB_IDLE,
        }
    }
}

/// All that a connection needs.
pub(super) struct Server<H> {
    pub(super) handler: H,
    pub(super) tls: Option<TlsAcceptor>,
    pub(super) bounds: ServeBounds,
}

/// Serves until `stop` says so (or whoever could say it is gone), then lets what is under way finish for at most
/// `grace`.
pub(super) async fn serve<H: Handler>(
    server: Arc<Server<H>>,
    listener: TcpListener,
    stop: watch::Receiver<bool>,
    grace: Duration,
) {
    let bounds = server.bounds;
    let serve = move |stream, peer, stop| {
        let server = Arc::clone(&server);
        async move { connection(&server, stream, peer, stop).await }
    };
    accept_until_stopped(listener, bounds.connections, stop, grace, serve).await;
}

async fn connection<H: Handler>(
    server: &Server<H>,
    stream: TcpStream,
    peer: SocketAddr,
    stop: watch::Receiver<bool>,
) {
    // Answers are written whole: waiting for more to fill a packet would only delay them.
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, %peer, "TCP_NODELAY could not be set");
    }
    let (due, watched) = watch::channel(None);
    let socket = StallTimeout::new(stream, server.bounds.stall, watched);
    match &server.tls {
        None => requests(server, socket, peer, &due, stop).await,
        Some(tls) => match timeout(server.bounds.handshake, tls.accept(socket)).await {
            Ok(Ok(stream)) => requests(server, stream, peer, &due, stop).await,
            Ok(Err(error)) => tracing::debug!(%error, %peer, "The TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(%peer, "The TLS handshake took too long"),
        },
    }
}

async fn requests<H: Handler>(
    server: &Server<H>,
    stream: impl AsyncRead + AsyncWrite + Unpin,
    peer: SocketAddr,
    due: &watch::Sender<Option<Instant>>,
    mut stop: watch::Receiver<bool>,
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
        .max_header_size(limits::REQUEST_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    match ended {
        Ok(()) => {}
        // A body of ours that broke off.
        Err(error) if error.is_user() => tracing::warn!(error = chain(&error), %peer, "An answer was cut"),
        Err(error) => tracing::debug!(error = chain(&error), %peer, "A connection ended"),
    }
}

/// Answers one request, a panic of the handler too.
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
        // What stands in the body would be read as the next request's head.
        answer
            .response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("close"));
    }
    answer
}

#[cfg(test)]
mod tests;
