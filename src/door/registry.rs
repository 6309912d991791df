//! The registry door: the pull side of distribution-spec 1.1 over HTTP/1.1, with each manifest admitted before it is served.
//!
//! The way of a request: `serve` bounds the connection, `route` reads which resource is requested, `pull` asks the gate,
//! `answer` makes the response, and `body` and `listen::write_timeout` carry it to the client within bounds.

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

use futures_util::future::BoxFuture;
use pull::Pulls;
use serve::{ServeBounds, Server};
pub use settings::{RegistryDoorSettings, TlsFiles};
use tls::TlsError;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::door::{Door, DoorLimits, ListenAddress, ServeContext};

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
    /// The address that could not be bound, or the TLS file that could not be used, is named in the error.
    pub async fn bind(settings: RegistryDoorSettings, limits: DoorLimits) -> Result<Self, io::Error> {
        let tls = match &settings.tls {
            Some(files) => Some(tls::acceptor(files).await.map_err(RegistryBindError::from)?),
            // Anyone on the network path could read the clients' credentials, and answer in the gate's place.
            None if !settings.listen.ip().is_loopback() => {
                return Err(RegistryBindError::Plain(settings.listen).into());
            }
            None => None,
        };
        let failed = |source| RegistryBindError::Listen {
            address: settings.listen,
            source,
        };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Self {
            address,
            settings,
            limits,
            listener,
            tls,
        })
    }

    /// The address that was bound, with the port that the system chose if the settings have port 0.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Serves until it is told to stop, then lets the requests in progress finish for at most the grace period.
    pub async fn serve(self, context: ServeContext) {
        let ServeContext { gate, stop, grace } = context;
        let handler = Pulls {
            gate,
            default_registry: self.settings.default_registry,
            pull_deadline: self.limits.pull,
            blob_deadline: self.limits.blob,
        };
        let server = Server {
            handler,
            tls: self.tls,
            bounds: ServeBounds::new(self.limits.connections),
        };
        serve::serve(Arc::new(server), self.listener, stop, grace).await;
    }
}

impl Door for RegistryDoor {
    fn listens_at(&self) -> ListenAddress {
        ListenAddress::Tcp(self.address)
    }

    fn serve(self: Box<Self>, context: ServeContext) -> BoxFuture<'static, ()> {
        Box::pin((*self).serve(context))
    }
}

/// Why the door could not be bound.
#[derive(Debug, thiserror::Error)]
enum RegistryBindError {
    #[error("plain HTTP on `{0}` is open to the network: listen on a loopback address, or set `tls`")]
    Plain(SocketAddr),
    #[error("could not listen on `{address}`")]
    Listen {
        address: SocketAddr,
        #[source]
        source: io::Error,
    },
    #[error("could not use the TLS files")]
    Tls(#[from] TlsError),
}

impl From<RegistryBindError> for io::Error {
    fn from(error: RegistryBindError) -> Self {
        let kind = match &error {
            RegistryBindError::Plain(_) | RegistryBindError::Tls(_) => io::ErrorKind::InvalidInput,
            RegistryBindError::Listen { source, .. } => source.kind(),
        };
        Self::new(kind, error)
    }
}

#[cfg(test)]
mod tests;
