//! The process: load, build, bind, say ready, serve, reload on SIGHUP, drain on SIGTERM.

mod control;
mod doors;
mod hint;
mod reload;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::Control;
use doors::{BoundDoors, Served};
use prometheus_client::registry::Registry;
use reload::{Counters, Running, log_warnings};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::door::listen::unix_socket::SocketError;
use crate::door::registry;
use crate::net::oracle::{ClientSetupError, OracleRegistries};
use crate::net::registry::{RegistryClient, RegistryError};
use crate::process::config::{Config, ConfigErrors};
use crate::pull::gate::{DerivationsError, Gate, GateSettings, Storage};
use crate::pull::record::RequestMetrics;

/// Why the daemon could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration did not load.
    #[error(transparent)]
    Config(#[from] ConfigErrors),
    /// An address could not be bound, or its TLS files not be read.
    #[error("the door at {address} could not be opened")]
    Door {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Nothing could come in: no door is configured.
    #[error("no door is configured: add a [door.registry] or [door.cri] table, or `[daemon] admission`")]
    NoDoor,
    /// The file of permits.
    #[error("the state directory can't be used")]
    Permits(#[from] DerivationsError),
    /// A Unix socket could not be made.
    #[error("a socket could not be made")]
    Socket(#[from] SocketError),
    /// The clients for registries and Oracle's services.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory.
    #[error("the state directory `{path}` can't be used")]
    State {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// Signals.
    #[error("the signal handlers could not be set up")]
    Signals(#[source] std::io::Error),
}

/// Why nothing outside can be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The client for Oracle's services.
    #[error("the client for Oracle's services could not be set up")]
    Oracle(#[from] ClientSetupError),
    /// The client for the registries.
    #[error("the client for the registries could not be set up")]
    Registries(#[from] RegistryError),
}

/// A daemon with all its doors bound, not yet serving.
pub struct Daemon {
    doors: BoundDoors,
    running: Running,
    metrics: Arc<Registry>,
}

impl Daemon {
    /// Loads the configuration and binds every door that it names: what can fail fails here, before READY.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        let config = Config::load(path)?;
        log_warnings(&config);
        let doors = BoundDoors::bind(&config).await?;
        let own = doors.own();
        let state = &config.daemon.state;
        let signatures = state.join("signatures");
        std::fs::create_dir_all(&signatures).map_err(|source| StartError::State {
            path: signatures.clone(),
            source,
        })?;
        let mut metrics = Registry::with_prefix("pullgate");
        let counters = Counters::new(&mut metrics);
        let settings = settings(&config, own.clone(), &counters.requests)?;
        counters.keys_of(&settings);
        let storage = Storage {
            derivations_file: Some(state.join("permits.redb")),
            max_derivations: config.cache.permits,
            max_records: config.cache.verdicts,
        };
        let gate = Arc::new(Gate::new(settings, &storage, &mut metrics)?);
        Ok(Self {
            doors,
            running: Running::new(config, own, gate, counters),
            metrics: Arc::new(metrics),
        })
    }

    /// The address of the registry door, where there is one.
    #[must_use]
    pub fn registry_addr(&self) -> Option<SocketAddr> {
        self.doors
            .registry
            .as_ref()
            .map(registry::RegistryDoor::local_addr)
    }

    /// Serves until SIGTERM or SIGINT, then lets what is under way finish.
    ///
    /// # Errors
    /// [`StartError::Signals`] alone: from READY on nothing ends the daemon but a signal.
    pub async fn run(self) -> Result<(), StartError> {
        let listen = |kind| signal(kind).map_err(StartError::Signals);
        let (mut hangup, mut terminate, mut interrupt) = (
            listen(SignalKind::hangup())?,
            listen(SignalKind::terminate())?,
            listen(SignalKind::interrupt())?,
        );
        let Self {
            doors,
            running,
            metrics,
        } = self;
        let running = Arc::new(running);
        let open = doors.open();
        let generation = running.started().policy.generation();
        let at = |name| {
            open.iter()
                .find(|(door, _)| *door == name)
                .map(|(_, place)| place.as_str())
        };
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            door.registry = at("registry"),
            door.admission = at("admission"),
            door.cri = at("cri"),
            door.control = at("control"),
            door.metrics = at("metrics"),
            policy.generation = %generation,
            "Ready"
        );
        let (stop, stopped) = watch::channel(false);
        let grace = running.started().daemon.drain;
        let mut serving = doors.serve(Served {
            gate: Arc::clone(running.gate()),
            metrics,
            control: Control::new(Arc::clone(&running), open),
            stop: stopped,
            grace,
        });
        tell_manager(&[NotifyState::Ready]);

        while let DaemonSignal::Reload = next(&mut hangup, &mut terminate, &mut interrupt).await {
            // Apart: it reads files, and what serves on this thread must not wait for a disk.
            let running = Arc::clone(&running);
            if let Err(error) = tokio::task::spawn_blocking(move || running.reload()).await {
                tracing::error!(%error, "A reload crashed; the old configuration stays");
            }
        }
        tracing::info!(
            grace_s = grace.as_secs(),
            "Stopping: no new pulls, those under way may finish"
        );
        tell_manager(&[NotifyState::Stopping]);
        // Nobody is left to hear it when all doors have ended already.
        let _no_receiver = stop.send(true);
        while let Some(ended) = serving.join_next().await {
            match ended {
                Ok(door) => tracing::debug!(door, "A door is closed"),
                Err(error) => tracing::error!(%error, "A door did not end by itself"),
            }
        }
        tracing::info!("Stopped");
        Ok(())
    }
}

enum DaemonSignal {
    Reload,
    Stop,
}

async fn next(hangup: &mut Signal, terminate: &mut Signal, interrupt: &mut Signal) -> DaemonSignal {
    tokio::select! {
        _ = hangup.recv() => DaemonSignal::Reload,
        _ = terminate.recv() => DaemonSignal::Stop,
        _ = interrupt.recv() => DaemonSignal::Stop,
    }
}

/// What the gate takes from a configuration.
///
/// # Errors
/// As [`SettingsError`] says.
pub fn settings(
    config: &Config,
    own: Vec<SocketAddr>,
    requests: &RequestMetrics,
) -> Result<GateSettings, SettingsError> {
    let oracle = OracleRegistries::new(&config.oracle, &own, Some(&requests.oracle_observer()))?;
    Ok(GateSettings {
        oracle,
        policy: Arc::clone(&config.policy),
        client: RegistryClient::new(config.registries.clone(), own)?.observed(requests.observer()),
        signatures: config.daemon.state.join("signatures"),
        positive_ttl: config.cache.positive,
        negative_ttl: config.cache.negative,
    })
}

/// Without a service manager there is nobody to tell, and nothing is sent.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "The service manager could not be told");
    }
}
