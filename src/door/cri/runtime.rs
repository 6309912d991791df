//! The runtime behind the door: one connection for each connection of a client, opened when it is needed and again when it
//! broke.
//!
//! A connection has one window for all its calls (RFC 9113, section 5.2). If it were shared, a client that does not read
//! would stop the others.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, Uri};
use http_body_util::{Either, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::base::error_chain::chain;
use crate::base::limits;
use crate::door::listen::connection_tasks::Spawner;

/// The body of a request: as it comes from the client, or a message that was read already.
pub(super) type RequestBody = Either<Incoming, Full<Bytes>>;

/// The time within which the runtime must accept a connection. The socket is local: it accepts at once or not at all.
const CONNECT: Duration = Duration::from_secs(5);

/// Bytes of one answer that may be in transit. A client that does not read the answer holds no more than that.
const STREAM_WINDOW: u32 = 256 * 1024;

/// Bytes of all answers on one connection that may be in transit.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Why a call did not reach the runtime, or brought no answer back.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    #[error("could not connect to the runtime's socket `{path}`")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("the server at `{path}` does not speak gRPC")]
    Protocol {
        path: PathBuf,
        #[source]
        source: hyper::Error,
    },
    #[error("the runtime did not answer")]
    Call(#[source] hyper::Error),
}

impl RuntimeError {
    /// Returns the next step, where one is known.
    pub(super) fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Connect { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => Some(
                "let the daemon's user open it: in containerd's configuration set `gid` of `[grpc]` to its group",
            ),
            Self::Connect { .. } => {
                Some("is the runtime up, and is this its socket? `[door.cri] runtime` names it")
            }
            Self::Protocol { .. } | Self::Call(_) => None,
        }
    }
}

/// The connection to the runtime for one connection of a client.
#[derive(Clone)]
pub(super) struct RuntimeConnection {
    path: Arc<Path>,
    connected: Arc<Mutex<Option<SendRequest<RequestBody>>>>,
    spawner: Spawner,
}

impl RuntimeConnection {
    pub(super) fn new(path: Arc<Path>, spawner: Spawner) -> Self {
        Self {
            path,
            connected: Arc::default(),
            spawner,
        }
    }

    /// Returns a connection of its own, which does not end with the connection of the client.
    pub(super) fn detached(&self) -> Self {
        Self::new(Arc::clone(&self.path), Spawner::Detached)
    }

    /// Checks whether the runtime can be reached now.
    ///
    /// # Errors
    /// [`RuntimeError::Connect`] and [`RuntimeError::Protocol`].
    pub(super) async fn check(&self) -> Result<(), RuntimeError> {
        self.sender().await.map(|_sender| ())
    }

    /// Sends a call, and returns the answer when its head has come. Dropping the future before that cancels the call.
    pub(super) async fn call(
        &self,
        mut request: Request<RequestBody>,
    ) -> Result<Response<Incoming>, RuntimeError> {
        *request.uri_mut() = local(request.uri());
        // The authority carries the host, and a server may refuse a request in which the two differ.
        request.headers_mut().remove(http::header::HOST);
        let mut sender = self.sender().await?;
        let mut refused = match sender.try_send_request(request).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        // No part of the request was sent: the connection had ended before, as when the runtime was restarted.
        let Some(request) = refused.take_message() else {
            return Err(RuntimeError::Call(refused.into_error()));
        };
        let mut sender = self.sender().await?;
        sender.send_request(request).await.map_err(RuntimeError::Call)
    }

    async fn sender(&self) -> Result<SendRequest<RequestBody>, RuntimeError> {
        let mut connected = self.connected.lock().await;
        if let Some(sender) = connected.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self.connect().await?;
        *connected = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<RequestBody>, RuntimeError> {
        let failed = |source| RuntimeError::Connect {
            path: self.path.to_path_buf(),
            source,
        };
        let stream = match timeout(CONNECT, UnixStream::connect(&self.path)).await {
            Ok(stream) => stream.map_err(failed)?,
            Err(_elapsed) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let (sender, connection) = http2::Builder::new(self.spawner.clone())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_header_list_size(limits::GRPC_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|source| RuntimeError::Protocol {
                path: self.path.to_path_buf(),
                source,
            })?;
        self.spawner.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "The connection to the runtime ended");
            }
        });
        Ok(sender)
    }
}

/// Returns the same path at the authority that runtimes accept: containerd 2.3.4 refuses others on a Unix socket.
fn local(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme("http")
        .authority("localhost")
        .path_and_query(path)
        .build()
        // A path that was valid in one URI is valid in another.
        .unwrap_or_else(|_| Uri::from_static("http://localhost/"))
}
