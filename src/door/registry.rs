//! The registry door: distribution-spec 1.1's pull side over HTTP/1.1, each manifest admitted before it is served.
//!
//! A request's way: `serve` bounds the connection, `route` reads what is asked for, `pull` asks the gate,
//! `answer` puts the verdict into words or bytes, `body` and `socket` carry them to the client within bounds.

mod answer;
mod body;
mod pull;
mod route;
mod serve;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use pull::Pulls;
use serve::{ServeBounds, Server};
use tls::TlsError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::pull::gate::Gate;

/// `[door.registry]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryDoorSettings {
    /// Where to listen.
    pub listen: SocketAddr,
    /// Certificate chain and key, PEM files; absent: plain HTTP, on loopback only.
    pub tls: Option<TlsFiles>,
    /// The registry that is meant when a request names none: what Docker's `registry-mirrors` send (`docker.io`).
    pub default_registry: Option<String>,
    /// One pull's decision takes no longer.
    pub pull_deadline: Duration,
    /// A blob that has not gone through by then is cut, however slowly it moves.
    pub blob_deadline: Duration,
    /// Connections at one time; the next one waits.
    pub connections: usize,
}

/// Certificate chain and key, PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The chain, leaf first.
    pub certificate: PathBuf,
    /// PKCS#8, PKCS#1 or SEC1.
    pub key: PathBuf,
}

/// A bound listener, not yet served.
pub struct RegistryDoor {
    address: SocketAddr,
    config: RegistryDoorSettings,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl RegistryDoor {
    /// Binds the socket and reads the TLS files.
    ///
    /// # Errors
    /// When either can not be done, with the path or address named.
    pub async fn bind(config: RegistryDoorSettings) -> Result<Self, io::Error> {
        let tls = match &config.tls {
            Some(files) => Some(tls::acceptor(files).await.map_err(BindError::from)?),
            // On the wire anybody could read the clients' credentials, and answer in the gate's place.
            None if !config.listen.ip().is_loopback() => return Err(BindError::Plain(config.listen).into()),
            None => None,
        };
        let unbound = |source| BindError::Socket {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        Ok(Self {
            address,
            config,
            listener,
            tls,
        })
    }

    /// The address that was bound (the port, where the configuration said 0).
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` says true, then lets what is under way finish for at most `grace`.
    pub async fn serve(self, gate: Arc<Gate>, stop: watch::Receiver<bool>, grace: Duration) {
        let Self {
            config,
            listener,
            tls,
            ..
        } = self;
        let handler = Pulls {
            gate,
            default_registry: config.default_registry,
            pull_deadline: config.pull_deadline,
            blob_deadline: config.blob_deadline,
        };
        let server = Server {
            handler,
            tls,
            bounds: ServeBounds::of(config.connections),
        };
        serve::serve(Arc::new(server), listener, stop, grace).await;
    }
}

/// Why a door could not be opened.
#[derive(Debug, thiserror::Error)]
enum BindError {
    #[error("plain HTTP on `{0}` is open to the network: listen on a loopback address, or set `tls`")]
    Plain(SocketAddr),
    #[error("`{address}` can not be listened on")]
    Socket {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("the TLS files can not be used")]
    Tls(#[from] TlsError),
}

impl From<BindError> for io::Error {
    fn from(error: BindError) -> Self {
        let kind = match &error {
            BindError::Plain(_) | BindError::Tls(_) => io::ErrorKind::InvalidInput,
            BindError::Socket { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
