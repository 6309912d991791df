//! A Unix socket that speaks HTTP/2, which gRPC is: made with the right owner and mode, connections and streams within
//! bounds, each caller known by what the kernel says of it.

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
use tokio::sync::watch;
use tokio::time::timeout;

use super::accept::{accept_until_stopped, stopped};
use super::callers::{Callers, Peer};
use super::connection_tasks::{self, Spawner};
use super::socket_settings::{SocketSettings, group_id};
use crate::base::error_chain::chain;
use crate::base::limits;

/// Why a socket could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// Another process serves it.
    #[error("`{path}` is in use by another process")]
    InUse {
        /// Which.
        path: PathBuf,
    },
    /// A file that is no socket stands there. It is left alone.
    #[error("`{path}` exists and is no socket")]
    NoSocket {
        /// Which.
        path: PathBuf,
    },
    /// The group is not known.
    #[error("the group `{group}` of `{path}` does not exist")]
    NoGroup {
        /// Which socket.
        path: PathBuf,
        /// Which group.
        group: String,
    },
    /// The system's database of groups could not be read.
    #[error("could not look up the group `{group}` of `{path}`")]
    GroupLookup {
        /// The path of the socket.
        path: PathBuf,
        /// The group's name.
        group: String,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The process may not give the file to that group.
    #[error("`{path}` can't be given to the group `{group}`: the user of the daemon must be a member")]
    Group {
        /// Which socket.
        path: PathBuf,
        /// Which group.
        group: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Anything else.
    #[error("`{path}` can't be listened on")]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// What callers may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CallerBounds {
    /// Connections at one time; the next one waits.
    pub(crate) connections: usize,
    /// Calls at one time on one connection.
    pub(crate) streams: u32,
    /// Bytes that a caller may send on one connection before they are read; none: as HTTP/2 servers do.
    pub(crate) window: Option<u32>,
}

/// What begins each connection (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How often it is asked whether a caller who says nothing is still there, and how long he has to answer.
const ALIVE: Duration = Duration::from_secs(30);
const ALIVE_ANSWER: Duration = Duration::from_secs(20);

/// A bound socket, not yet served. Its file goes when it is dropped.
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
        // Not if a daemon that was started since has put its own there.
        let ours = std::fs::symlink_metadata(&self.path).is_ok_and(|found| found.ino() == self.inode);
        if ours && let Err(error) = std::fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "The socket's file could not be removed");
        }
    }
}

impl BoundSocket {
    /// Makes the socket: under another name first, so that nobody can open it before its owner and mode are right, and
    /// so that one which an earlier process left is replaced at once.
    ///
    /// # Errors
    /// As [`SocketError`] says.
    pub async fn bind(config: &SocketSettings) -> Result<Self, SocketError> {
        let path = &config.path;
        let failed = |source| SocketError::Io {
            path: path.clone(),
            source,
        };
        vacant(path).await?;
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder).map_err(failed)?;
        }
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        match std::fs::remove_file(&new) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
        }
        let gid = match &config.group {
            Some(group) => Some(found_group(path, group)?),
            None => None,
        };
        let listener = UnixListener::bind(&new).map_err(failed)?;
        // From here on it goes again, unless all is well.
        let mut file = SocketFile {
            inode: std::fs::symlink_metadata(&new).map_err(failed)?.ino(),
            path: new,
        };
        if let (Some(gid), Some(group)) = (gid, &config.group) {
            std::os::unix::fs::chown(&file.path, None, Some(gid)).map_err(|source| SocketError::Group {
                path: path.clone(),
                group: group.clone(),
                source,
            })?;
        }
        let mode = std::fs::Permissions::from_mode(config.mode);
        std::fs::set_permissions(&file.path, mode).map_err(failed)?;
        std::fs::rename(&file.path, path).map_err(failed)?;
        file.path.clone_from(path);
        Ok(Self { listener, file })
    }

    /// Where it stands.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Serves until `stop` says true, then lets what is under way finish for at most `grace`. `service` answers one
    /// request of one caller.
    pub(crate) async fn serve<S, F, B>(
        self,
        bounds: CallerBounds,
        stop: watch::Receiver<bool>,
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

    /// As [`Self::serve`], with a service of its own for each connection, which is told where the connection's tasks run.
    pub(crate) async fn serve_each<S, F, B>(
        self,
        bounds: CallerBounds,
        stop: watch::Receiver<bool>,
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
        let serve = move |stream, _unnamed, stop| {
            let (spawner, tasks) = connection_tasks::new();
            let service = service(spawner.clone());
            let connection = connection(stream, bounds, Arc::clone(&callers), stop, service, spawner);
            tasks.run_beside(connection)
        };
        accept_until_stopped(listener, bounds.connections, stop, grace, serve).await;
        drop(file);
    }
}

async fn connection<S, F, B>(
    stream: UnixStream,
    bounds: CallerBounds,
    callers: Arc<Callers>,
    mut stop: watch::Receiver<bool>,
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
            tracing::warn!(%error, "The kernel does not say who a caller is; it is not served");
            return;
        }
    };
    let Some(_place) = callers.enter(peer) else {
        return tracing::warn!(%peer, "A caller has too many connections; this one is closed");
    };
    // Who connects and says nothing must not hold a place.
    let (reading, writing) = stream.into_split();
    let reading = match timeout(limits::REQUEST_HEAD, begun(reading)).await {
        Ok(Ok(reading)) => reading,
        Ok(Err(error)) => return tracing::debug!(%error, %peer, "A connection did not begin"),
        Err(_elapsed) => return tracing::debug!(%peer, "A caller said nothing"),
    };
    let answer = service_fn(move |request| {
        let answered = service(peer, request);
        async { Ok::<_, Infallible>(answered.await) }
    });
    let connection = http2::Builder::new(spawner)
        .timer(TokioTimer::new())
        // What is passed through is passed as it came.
        .auto_date_header(false)
        .max_concurrent_streams(bounds.streams)
        .max_header_list_size(limits::GRPC_HEAD_BYTES)
        .initial_connection_window_size(bounds.window)
        .initial_stream_window_size(bounds.window)
        .keep_alive_interval(ALIVE)
        .keep_alive_timeout(ALIVE_ANSWER)
        .serve_connection(TokioIo::new(join(reading, writing)), answer);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = stopped(&mut stop) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(error = chain(&error), %peer, "A connection ended");
    }
}

/// What is read of a connection that begins as HTTP/2 does. Until then nothing of it is served, and no time of HTTP/2's runs.
async fn begun(mut reading: OwnedReadHalf) -> io::Result<impl AsyncRead + Unpin> {
    let mut first = [0; PREFACE.len()];
    reading.read_exact(&mut first).await?;
    if first != *PREFACE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "it is not HTTP/2"));
    }
    Ok(PREFACE.chain(reading))
}

fn found_group(path: &Path, group: &str) -> Result<u32, SocketError> {
    let (path, group) = (path.to_owned(), group.to_owned());
    match group_id(&group) {
        Ok(Some(number)) => Ok(number),
        Ok(None) => Err(SocketError::NoGroup { path, group }),
        Err(source) => Err(SocketError::GroupLookup { path, group, source }),
    }
}

/// Whether nothing stands there, or a socket that nobody serves any more.
async fn vacant(path: &Path) -> Result<(), SocketError> {
    let failed = |source| SocketError::Io {
        path: path.to_owned(),
        source,
    };
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
        Ok(found) if !found.file_type().is_socket() => {
            return Err(SocketError::NoSocket {
                path: path.to_owned(),
            });
        }
        Ok(_) => {}
    }
    match UnixStream::connect(path).await {
        Ok(_answered) => Err(SocketError::InUse {
            path: path.to_owned(),
        }),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Ok(()),
        Err(error) => Err(failed(error)),
    }
}
