//! Calls to a gRPC service behind a Unix socket of this host: one connection, for a program that asks once and ends.

use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response, Uri};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::UnixStream;
use tonic::body::Body;
use tower_service::Service;

/// A connection. Calls go over it at one time; it ends with its last copy.
#[derive(Clone, Debug)]
pub struct Channel {
    sender: SendRequest<Body>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdsConnectError {
    /// The socket could not be opened.
    #[error("`{path}` could not be opened")]
    Socket {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What answers there does not speak HTTP/2.
    #[error("what answers at `{path}` does not speak gRPC")]
    Protocol {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: hyper::Error,
    },
}

impl UdsConnectError {
    /// What the caller can do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "ask as root, or as a member of the socket's group"
            }
            Self::Socket { .. } => "is pullgated running? `systemctl status pullgated` says",
            Self::Protocol { .. } => "the path must be that of a socket of pullgated",
        }
    }

    /// Whether nobody serves there: the daemon does not run, or this socket is closed.
    #[must_use]
    pub fn nobody_serves(&self) -> bool {
        matches!(self, Self::Socket { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

impl Channel {
    /// Connects. It must be called within a tokio runtime, which also drives the connection.
    ///
    /// # Errors
    /// As [`ConnectError`] says.
    pub async fn connect(path: &Path) -> Result<Self, UdsConnectError> {
        let stream = UnixStream::connect(path)
            .await
            .map_err(|source| UdsConnectError::Socket {
                path: path.to_owned(),
                source,
            })?;
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .map_err(|source| UdsConnectError::Protocol {
                path: path.to_owned(),
                source,
            })?;
        tokio::spawn(async move {
            // Whatever ends the connection ends the calls on it as well, which tell it better.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "A connection to the daemon ended");
            }
        });
        Ok(Self { sender })
    }
}

/// What clients name as the server's authority: the name that gRPC clients commonly use for Unix sockets.
#[must_use]
pub fn origin() -> Uri {
    Uri::from_static("http://localhost")
}

impl Service<Request<Body>> for Channel {
    type Response = Response<Incoming>;
    type Error = hyper::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Self::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.sender.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        Box::pin(self.sender.send_request(request))
    }
}
