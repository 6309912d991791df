//! The registry door: distribution-spec 1.1's pull side over HTTP/1.1, each manifest admitted before it is served.
//!
//! A request's way: `serve` bounds the connection, `route` reads what is asked for, `pull` asks the gate,
//! `answer` puts the verdict into words or bytes, `body` and `socket` carry them to the client within bounds.

mod answer;
mod body;
mod pull;
mod route;
mod serve;
pub(crate) mod settings;
mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use pull::Pulls;
use serve::{ServeBounds, Server};
pub use settings::{RegistryDoorSettings, TlsFiles};
use tls::TlsError;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;

use crate::door::DoorLimits;
use crate::pull::gate::Gate;

/// A bound listener, not yet served.
pub struct RegistryDoor {
    address: SocketAddr,
    settings: RegistryDoorSettings,
    limits: DoorLimits,
    listener: TcpListener,
    tls: Option<TlsAcceptor>,
}

impl RegistryDoor {
    /// Binds the socket and reads the TLS files.
    ///
    /// # Errors
    /// When either can not be done, with the path or address named.
    pub async fn bind(settings: RegistryDoorSettings, limits: DoorLimits) -> Result<Self, io::Error> {
        let tls = match &settings.tls {
            Some(files) => Some(tls::acceptor(files).await.map_err(BindError::from)?),
            // On the wire anybody could read the clients' credentials, and answer in the gate's place.
            None if !settings.listen.ip().is_loopback() => {
                return Err(BindError::Plain(settings.listen).into());
            }
            None => None,
        };
        let unbound = |source| BindError::Socket {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(unbound)?;
        let address = listener.local_addr().map_err(unbound)?;
        Ok(Self {
            address,
            settings,
            limits,
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
            settings,
            limits,
            listener,
            tls,
            ..
        } = self;
        let handler = Pulls {
            gate,
            default_registry: settings.default_registry,
            pull_deadline: limits.pull,
            blob_deadline: limits.blob,
        };
        let server = Server {
            handler,
            tls,
            bounds: ServeBounds::of(limits.connections),
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
