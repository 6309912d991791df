//! The runtime behind the door: one connection for each of a client's, made when it is needed and again when it broke.
//!
//! A connection has one window for all its calls (RFC 9113, section 5.2). Were it shared, a client that does not read would
//! stop the others.

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

/// What is sent: as it comes from the client, or read already.
pub(super) type Sent = Either<Incoming, Full<Bytes>>;

/// A runtime answers a connection at once or is not there: the socket is local.
const CONNECT: Duration = Duration::from_secs(5);

/// How much of one call's answer may be under way. A client that does not read its call's stream holds no more.
const STREAM_WINDOW: u32 = 256 * 1024;

/// As much of all answers on one connection.
const CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Why a call did not get to the runtime, or no answer back.
#[derive(Debug, thiserror::Error)]
pub(super) enum RuntimeError {
    #[error("the runtime's socket `{path}` can't be opened")]
    Connect {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("what answers at `{path}` does not speak gRPC")]
    Protocol {
        path: PathBuf,
        #[source]
        source: hyper::Error,
    },
    #[error("the runtime did not answer")]
    Call(#[source] hyper::Error),
}

impl RuntimeError {
    /// What to do next, where that is known.
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

/// The way to the runtime for one client's connection.
#[derive(Clone)]
pub(super) struct RuntimeConnection {
    path: Arc<Path>,
    connected: Arc<Mutex<Option<SendRequest<Sent>>>>,
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

    /// A connection of its own, which does not end with the client's.
    pub(super) fn apart(&self) -> Self {
        Self::new(Arc::clone(&self.path), Spawner::Apart)
    }

    /// Whether the runtime can be reached now.
    ///
    /// # Errors
    /// As [`RuntimeError::Connect`] and [`RuntimeError::Protocol`].
    pub(super) async fn reach(&self) -> Result<(), RuntimeError> {
        self.sender().await.map(|_sender| ())
    }

    /// Sends a call, and gives the answer's head when it is there. Dropped before, the call is cancelled.
    pub(super) async fn call(&self, mut request: Request<Sent>) -> Result<Response<Incoming>, RuntimeError> {
        *request.uri_mut() = local(request.uri());
        // The authority says it, and a server may refuse two that differ.
        request.headers_mut().remove(http::header::HOST);
        let mut sender = self.sender().await?;
        let mut refused = match sender.try_send_request(request).await {
            Ok(answer) => return Ok(answer),
            Err(refused) => refused,
        };
        // Nothing of it was sent: the connection had ended before, as when the runtime was started anew.
        let Some(request) = refused.take_message() else {
            return Err(RuntimeError::Call(refused.into_error()));
        };
        let mut sender = self.sender().await?;
        sender.send_request(request).await.map_err(RuntimeError::Call)
    }

    async fn sender(&self) -> Result<SendRequest<Sent>, RuntimeError> {
        let mut connected = self.connected.lock().await;
        if let Some(sender) = connected.as_ref().filter(|sender| !sender.is_closed()) {
            return Ok(sender.clone());
        }
        let sender = self.connect().await?;
        *connected = Some(sender.clone());
        Ok(sender)
    }

    async fn connect(&self) -> Result<SendRequest<Sent>, RuntimeError> {
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

/// The same path at the authority that a runtime takes: containerd 2.3.4 refuses others on a Unix socket.
fn local(uri: &Uri) -> Uri {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder()
        .scheme("http")
        .authority("localhost")
        .path_and_query(path)
        .build()
        // What was a path before is one now.
        .unwrap_or_else(|_| Uri::from_static("http://localhost/"))
}
