//! A Unix socket that speaks HTTP/2, on which gRPC stands. The socket is created with the right owner and mode,
//! connections and streams are bounded, and each caller is known by the credentials that the kernel reports.

use std::convert::Infallible;
use std::error::Error;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, join};
use tokio::net::unix::OwnedReadHalf;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::accept::accept_until_stopped;
use super::callers::{Callers, Peer};
use super::connection_tasks::{ConnectionTasks, Spawner};
use super::socket_settings::{SocketSettings, group_id};
use crate::base::error_chain::chain;
use crate::base::limits;

/// The first bytes of each connection (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often a silent caller is asked whether it is still there, and the time that it has to answer.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(30);
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Why a socket could not be created.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process serves the socket.
    #[error("`{path}` is in use by another process")]
    InUse {
        /// The path of the socket.
        path: PathBuf,
    },
    /// Another kind of file stands at the path. It is left alone.
    #[error("`{path}` exists and is not a socket")]
    NotASocket {
        /// The path of the file.
        path: PathBuf,
    },
    /// This machine does not know the group.
    #[error("the group `{group}` of `{path}` does not exist")]
    NoGroup {
        /// The path of the socket.
        path: PathBuf,
        /// The name of the group.
        group: String,
    },
    /// The system's database of groups could not be read.
    #[error("could not look up the group `{group}` of `{path}`")]
    GroupLookup {
        /// The path of the socket.
        path: PathBuf,
        /// The name of the group.
        group: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The process may not give the file to the group.
    #[error("could not give `{path}` to the group `{group}`: the user of the daemon must be a member")]
    Group {
        /// The path of the socket.
        path: PathBuf,
        /// The name of the group.
        group: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The file could not be created, changed or listened on.
    #[error("could not listen on `{path}`")]
    Io {
        /// The path of the socket.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
}

/// The most that callers may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerBounds {
    /// Connections at one time; the next one waits.
    pub(crate) connections: usize,
    /// Calls at one time on one connection.
    pub(crate) streams: u32,
    /// Bytes that a caller may send on one connection before they are read; `None` is the default of HTTP/2.
    pub(crate) window: Option<u32>,
}

/// A bound socket, not yet served. Its file is removed when the socket is dropped.
#[derive(Debug)]
pub struct BoundSocket {
    listener: UnixListener,
    file: SocketFile,
}

#[derive(Debug)]
struct SocketFile {
    path: PathBuf,
    inode: u64,
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // A daemon that was started meanwhile may have put its own socket there, which must stay.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "The socket's file could not be removed");
        }
    }
}

impl BoundSocket {
    /// Creates the socket. It has a temporary name until its owner and mode are right, so that it cannot be opened before,
    /// and then replaces a socket that an earlier process left, in one step.
    ///
    /// # Errors
    /// See [`SocketError`].
    pub async fn bind(settings: &SocketSettings) -> Result<Self, SocketError> {
        let path = &settings.path;
        let failed = |source| SocketError::Io {
            path: path.clone(),
            source,
        };
        check_vacant(path).await?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let temporary = path.with_file_name(name);
        match std::fs::remove_file(&temporary) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let gid = match &settings.group {
            Some(group) => Some(existing_group(path, group)?),
            None => None,
        };
        let listener = UnixListener::bind(&temporary).map_err(failed)?;
        // From here on an error removes the file again.
        let mut file = SocketFile {
            inode: std::fs::symlink_metadata(&temporary).map_err(failed)?.ino(),
            path: temporary,
        };
        if let (Some(gid), Some(group)) = (gid, &settings.group) {
            std::os::unix::fs::chown(&file.path, None, Some(gid)).map_err(|source| SocketError::Group {
                path: path.clone(),
                group: group.clone(),
                source,
            })?;
        }
        let mode = std::fs::Permissions::from_mode(settings.mode);
        std::fs::set_permissions(&file.path, mode).map_err(failed)?;
        std::fs::rename(&file.path, path).map_err(failed)?;
        file.path.clone_from(path);
        Ok(Self { listener, file })
    }

    /// The path of the socket.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Serves until `stop` is cancelled, then lets the calls in progress finish for at most `grace`. `service` answers one
    /// request of one caller.
    pub(crate) async fn serve<S, F, B>(
        self,
        bounds: CallerBounds,
        stop: CancellationToken,
        grace: Duration,
        service: S,
    ) where
        S: Fn(Peer, Request<Incoming>) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        self.serve_each(bounds, stop, grace, move |_spawner| service.clone())
            .await;
    }

    /// As [`Self::serve`], with a service of its own for each connection. The service receives the spawner of the
    /// connection's tasks.
    pub(crate) async fn serve_each<S, F, B>(
        self,
        bounds: CallerBounds,
        stop: CancellationToken,
        grace: Duration,
        service: impl Fn(Spawner) -> S,
    ) where
        S: Fn(Peer, Request<Incoming>) -> F + Send + Sync + 'static,
        F: Future<Output = Response<B>> + Send + 'static,
        B: Body<Data = Bytes> + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>>,
    {
        let Self { listener, file } = self;
        let callers = Arc::new(Callers::new(bounds.connections));
        let stop_connections = stop.clone();
        let serve = move |stream, _unnamed| {
            let (spawner, tasks) = ConnectionTasks::new();
            let service = service(spawner.clone());
            let (callers, stop) = (Arc::clone(&callers), stop_connections.clone());
            tasks.run_beside(serve_connection(stream, bounds, callers, stop, service, spawner))
        };
        accept_until_stopped(listener, bounds.connections, stop, grace, serve).await;
        drop(file);
    }
}

async fn serve_connection<S, F, B>(
    stream: UnixStream,
    bounds: CallerBounds,
    callers: Arc<Callers>,
    stop: CancellationToken,
    service: S,
    spawner: Spawner,
) where
    S: Fn(Peer, Request<Incoming>) -> F + Send + Sync + 'static,
    F: Future<Output = Response<B>> + Send + 'static,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let peer = match stream.peer_cred() {
        Ok(credentials) => Peer {
            uid: credentials.uid(),
            gid: credentials.gid(),
            pid: credentials.pid(),
        },
        Err(error) => {
            tracing::warn!(%error, "The kernel does not report the credentials of a caller; it is not served");
            return;
        }
    };
    let Some(_slot) = callers.enter(peer) else {
        return tracing::warn!(%peer, "A caller has too many connections; this one is closed");
    };
    // A caller that connects and stays silent must not hold a connection.
    let (reading, writing) = stream.into_split();
    let reading = match timeout(limits::REQUEST_HEAD, read_preface(reading)).await {
        Ok(Ok(reading)) => reading,
        Ok(Err(error)) => return tracing::debug!(%error, %peer, "A connection did not begin"),
        Err(_elapsed) => return tracing::debug!(%peer, "A caller sent nothing"),
    };
    let answer = service_fn(move |request| {
        let response = service(peer, request);
        async { Ok::<_, Infallible>(response.await) }
    });
    let connection = http2::Builder::new(spawner)
        .timer(TokioTimer::new())
        // Answers of a runtime are passed on as they came.
        .auto_date_header(false)
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(limits::GRPC_HEAD_BYTES)
        .initial_connection_window_size(bounds.window)
        .initial_stream_window_size(bounds.window)
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
        .serve_connection(TokioIo::new(join(reading, writing)), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), %peer, "A connection ended");
    }
}

/// Waits for the preface of HTTP/2 and puts it back. Until it has come, the connection is not served and no timer of HTTP/2
/// runs.
async fn read_preface(mut reading: OwnedReadHalf) -> io::Result<impl AsyncRead + Unpin> {
    let mut first = [0; PREFACE.len()];
    reading.read_exact(&mut first).await?;
    if first != *PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not HTTP/2"));
    }
    Ok(PREFACE.chain(reading))
}

/// Checks that nothing stands at the path, or a socket that no process serves any more.
async fn check_vacant(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NotASocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_connected) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(failed(error)),
    }
}

fn existing_group(path: &Path, group: &str) -> Result<u32, SocketError> {
    let (path, group) = (path.to_owned(), group.to_owned());
    match group_id(&group) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(SocketError::NoGroup { path, group }),
        Err(source) => Err(SocketError::GroupLookup { path, group, source }),
    }
}
