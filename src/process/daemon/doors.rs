//! Everything that the configuration opens: bound together, served together, stopped together.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus_client::registry::Registry;
use tokio::task::JoinSet;

use super::StartError;
use super::control::Control;
use crate::door::listen::unix_socket::BoundSocket;
use crate::door::{BindError, Door, DoorKind, ServeContext};
use crate::process::config::Config;
use crate::process::telemetry::MetricsDoor;
use crate::pull::request::DoorName;

/// The doors, the control socket and the metrics address, bound and not yet served.
pub(super) struct BoundDoors {
    doors: Vec<(DoorName, Box<dyn Door>)>,
    control: Option<BoundSocket>,
    metrics: Option<(MetricsDoor, SocketAddr)>,
    connections: usize,
}

/// The parts that the doors, the control socket and the metrics address need to serve.
pub(super) struct DaemonContext {
    pub(super) doors: ServeContext,
    pub(super) metrics: Arc<Registry>,
    pub(super) control: Control,
}

impl BoundDoors {
    /// Binds every door of `kinds` that the configuration opens, the control socket and the metrics address.
    pub(super) async fn bind(kinds: &[DoorKind], config: &Config) -> Result<Self, StartError> {
        if config.doors.is_empty() {
            return Err(StartError::NoDoor);
        }
        let doors = config.doors.bind(kinds, config.limits).await?;
        let control = match &config.daemon.control {
            Some(socket) => Some(BoundSocket::bind(socket).await.map_err(BindError::Socket)?),
            None => None,
        };
        let metrics = match config.daemon.metrics {
            Some(address) => {
                let failed = |source| BindError::Address { address, source };
                let door = MetricsDoor::bind(address).await.map_err(failed)?;
                let bound = door.local_addr().map_err(failed)?;
                Some((door, bound))
            }
            None => None,
        };
        Ok(Self {
            doors,
            control,
            metrics,
            connections: config.limits.connections,
        })
    }

    /// The TCP addresses on which the daemon listens: the gate sends no request there.
    pub(super) fn own_addresses(&self) -> Vec<SocketAddr> {
        let doors = self.doors.iter().filter_map(|(_, door)| door.listens_at().tcp());
        let metrics = self.metrics.as_ref().map(|(_, address)| *address);
        doors.chain(metrics).collect()
    }

    /// The name and the address of each door, of the control socket and of the metrics address.
    pub(super) fn open(&self) -> Vec<(&'static str, String)> {
        let doors = self.doors.iter();
        let doors = doors.map(|(name, door)| (name.as_str(), door.listens_at().to_string()));
        let control = self.control.as_ref();
        let control = control.map(|socket| ("control", socket.path().display().to_string()));
        let metrics = self.metrics.as_ref();
        let metrics = metrics.map(|(_, address)| ("metrics", address.to_string()));
        doors.chain(control).chain(metrics).collect()
    }

    /// Serves everything until it is told to stop, each in a task of its own that returns its name. The metrics are served
    /// to the end of the process, so that the last scrape sees the last pulls.
    pub(super) fn serve(self, context: DaemonContext) -> JoinSet<&'static str> {
        let DaemonContext {
            doors,
            metrics,
            control,
        } = context;
        let mut serving = JoinSet::new();
        if let Some((door, _)) = self.metrics {
            tokio::spawn(door.serve(metrics));
        }
        for (name, door) in self.doors {
            let served = door.serve(doors.clone());
            serving.spawn(async move {
                served.await;
                name.as_str()
            });
        }
        if let Some(socket) = self.control {
            let served = control.serve(socket, self.connections, doors.stop, doors.grace);
            serving.spawn(async move {
                served.await;
                "control"
            });
        }
        serving
    }
}
