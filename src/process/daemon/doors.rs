//! Every way in that the configuration opens: bound together, served together, stopped together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::StartError;
use super::control::Control;
use crate::door::listen::unix_socket::BoundSocket;
use crate::door::{DoorLimits, admission, cri, registry};
use crate::process::config::Config;
use crate::process::telemetry::MetricsDoor;
use crate::pull::gate::Gate;

/// The doors, bound and not yet served.
pub(super) struct BoundDoors {
    pub(super) registry: Option<registry::RegistryDoor>,
    admission: Option<admission::AdmissionDoor>,
    cri: Option<cri::CriDoor>,
    control: Option<BoundSocket>,
    metrics: Option<(MetricsDoor, SocketAddr)>,
    connections: usize,
}

/// What is served with them.
pub(super) struct Served {
    pub(super) gate: Arc<Gate>,
    pub(super) metrics: Arc<Registry>,
    pub(super) control: Control,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) grace: Duration,
}

impl BoundDoors {
    /// Binds every door that the configuration names.
    pub(super) async fn bind(config: &Config) -> Result<Self, StartError> {
        let registry = match config.registry_door.clone() {
            Some(door) => Some(bind_registry(door, config.limits).await?),
            None => None,
        };
        let admission = match &config.daemon.admission {
            Some(door) => Some(admission::AdmissionDoor::bind(door, config.limits).await?),
            None => None,
        };
        let cri = match config.cri_door.clone() {
            Some(door) => Some(cri::CriDoor::bind(door, config.limits).await?),
            None => None,
        };
        if registry.is_none() && admission.is_none() && cri.is_none() {
            return Err(StartError::NoDoor);
        }
        let control = match &config.daemon.control {
            Some(socket) => Some(BoundSocket::bind(socket).await?),
            None => None,
        };
        let metrics = match config.daemon.metrics {
            Some(address) => {
                let at = |source| StartError::Door { address, source };
                let door = MetricsDoor::bind(address).await.map_err(at)?;
                let bound = door.local_addr().map_err(at)?;
                Some((door, bound))
            }
            None => None,
        };
        Ok(Self {
            registry,
            admission,
            cri,
            control,
            metrics,
            connections: config.limits.connections,
        })
    }

    /// The addresses at which the gate itself listens: it must not ask itself.
    pub(super) fn own(&self) -> Vec<SocketAddr> {
        let registry = self.registry.as_ref().map(registry::RegistryDoor::local_addr);
        let metrics = self.metrics.as_ref().map(|(_, address)| *address);
        registry.into_iter().chain(metrics).collect()
    }

    /// What is open, by name and place.
    pub(super) fn open(&self) -> Vec<(&'static str, String)> {
        let path = |socket: &BoundSocket| socket.path().display().to_string();
        let doors = [
            (
                "registry",
                self.registry.as_ref().map(|door| door.local_addr().to_string()),
            ),
            (
                "admission",
                self.admission.as_ref().map(|door| path(door.socket())),
            ),
            ("cri", self.cri.as_ref().map(|door| path(door.socket()))),
            ("control", self.control.as_ref().map(path)),
            (
                "metrics",
                self.metrics.as_ref().map(|(_, address)| address.to_string()),
            ),
        ];
        let open = doors.into_iter();
        open.filter_map(|(name, place)| Some((name, place?))).collect()
    }

    /// Serves each on its own, until told to stop; what is returned ends when all have ended. Metrics are answered to the
    /// last.
    pub(super) fn serve(self, served: Served) -> JoinSet<&'static str> {
        let Served {
            gate,
            metrics,
            control,
            stop,
            grace,
        } = served;
        let mut serving = JoinSet::new();
        if let Some((door, _)) = self.metrics {
            tokio::spawn(door.serve(metrics));
        }
        if let Some(door) = self.registry {
            let served = door.serve(Arc::clone(&gate), stop.clone(), grace);
            serving.spawn(named("registry", served));
        }
        if let Some(door) = self.admission {
            let served = door.serve(Arc::clone(&gate), stop.clone(), grace);
            serving.spawn(named("admission", served));
        }
        if let Some(door) = self.cri {
            let served = door.serve(gate, stop.clone(), grace);
            serving.spawn(named("cri", served));
        }
        if let Some(socket) = self.control {
            let served = control.serve(socket, self.connections, stop, grace);
            serving.spawn(named("control", served));
        }
        serving
    }
}

async fn named(name: &'static str, served: impl Future<Output = ()>) -> &'static str {
    served.await;
    name
}

async fn bind_registry(
    settings: registry::RegistryDoorSettings,
    limits: DoorLimits,
) -> Result<registry::RegistryDoor, StartError> {
    let address = settings.listen;
    let bound = registry::RegistryDoor::bind(settings, limits).await;
    bound.map_err(|source| StartError::Door { address, source })
}
