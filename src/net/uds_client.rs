//! Calls to a gRPC service behind a Unix socket of this host: one connection, for a program that sends a few calls and
//! ends.

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

/// A connection that calls share. It ends with its last copy.
#[derive(Clone, Debug)]
pub struct Channel {
    sender: SendRequest<Body>,
}

/// Why a connection could not be opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UdsConnectError {
    /// The socket could not be opened.
    #[error("could not open `{path}`")]
    Socket {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The server there does not speak HTTP/2.
    #[error("the server at `{path}` does not speak gRPC")]
    Protocol {
        /// The path of the socket.
        path: PathBuf,
        /// The error of the handshake.
        #[source]
        source: hyper::Error,
    },
}

impl UdsConnectError {
    /// Returns the next step for the user.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Socket { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                "run it as root, for example with `sudo`"
            }
            Self::Socket { .. } => "check that pullgated runs: `systemctl status pullgated`",
            Self::Protocol { .. } => "name the path of a socket of pullgated",
        }
    }

    /// Whether no server listens there: the daemon does not run, or this socket is closed.
    #[must_use]
    pub fn has_no_server(&self) -> bool {
        matches!(self, Self::Socket { source, .. }
            if matches!(source.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused))
    }
}

impl Channel {
    /// Connects. The call must be made within a tokio runtime, which also drives the connection.
    ///
    /// # Errors
    /// [`UdsConnectError`].
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
            // The calls on the connection end with it, and report the cause themselves.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "The connection to the daemon ended");
            }
        });
        Ok(Self { sender })
    }
}

/// Returns the server's authority in requests: the name that gRPC clients commonly use for Unix sockets.
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
