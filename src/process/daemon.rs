//! The daemon: starts, serves, reloads on SIGHUP, and drains on SIGTERM.

mod control;
mod doors;
mod reload;
mod start_hint;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use control::Control;
use doors::{BoundDoors, DaemonContext};
use prometheus_client::registry::Registry;
use reload::{Counters, Running, log_warnings};
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::door::{BindError, DOORS, ServeContext};
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
    /// A door, the control socket or the metrics address could not be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The configuration opens no door, so no pull could come in.
    #[error("no door is configured: add a [door.registry] or [door.cri] table, or `[daemon] admission`")]
    NoDoor,
    /// The file of permits could not be used.
    #[error("could not use the state directory")]
    Permits(#[from] DerivationsError),
    /// The clients for registries and Oracle's services could not be set up.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// The state directory could not be created.
    #[error("could not use the state directory `{path}`")]
    State {
        /// The path of the directory.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The signal handlers could not be set up.
    #[error("could not set up the signal handlers")]
    Signals(#[source] std::io::Error),
}

/// Why the clients of a configuration could not be set up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// The client for Oracle's services failed.
    #[error("could not set up the client for Oracle's services")]
    Oracle(#[from] ClientSetupError),
    /// The client for the registries failed.
    #[error("could not set up the client for the registries")]
    Registries(#[from] RegistryError),
}

/// A daemon with all its doors bound, not yet serving.
pub struct Daemon {
    doors: BoundDoors,
    running: Running,
    metrics: Arc<Registry>,
}

impl Daemon {
    /// Loads the configuration and binds every door that it opens. Everything that can fail fails here, before the daemon is
    /// ready.
    ///
    /// # Errors
    /// See [`StartError`].
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        let config = Config::load(path)?;
        log_warnings(&config);
        let doors = BoundDoors::bind(DOORS, &config).await?;
        let own_addresses = doors.own_addresses();
        let state = &config.daemon.state;
        let signatures = state.join("signatures");
        std::fs::create_dir_all(&signatures).map_err(|source| StartError::State {
            path: signatures.clone(),
            source,
        })?;
        let mut metrics = Registry::with_prefix("pullgate");
        let counters = Counters::new(&mut metrics);
        let settings = gate_settings(&config, own_addresses.clone(), &counters.requests)?;
        counters.count_keys(&settings);
        let storage = Storage {
            derivations_file: Some(state.join("permits.redb")),
            max_derivations: config.cache.permits,
            max_records: config.cache.verdicts,
        };
        let gate = Gate::new(settings, &storage, &mut metrics)?;
        for door in DOORS {
            gate.count_from_zero(door.name, door.serves_blobs);
        }
        Ok(Self {
            doors,
            running: Running::new(config, own_addresses, Arc::new(gate), counters),
            metrics: Arc::new(metrics),
        })
    }

    /// Serves until SIGTERM or SIGINT, then lets the pulls in progress finish.
    ///
    /// # Errors
    /// [`StartError::Signals`] alone: once the daemon is ready, a signal alone ends it.
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
        log_ready(&open, &running);
        let context = ServeContext {
            gate: Arc::clone(running.gate()),
            stop: CancellationToken::new(),
            grace: running.started().daemon.drain,
        };
        let mut serving = doors.serve(DaemonContext {
            doors: context.clone(),
            metrics,
            control: Control::new(Arc::clone(&running), open),
        });
        notify_manager(&[NotifyState::Ready]);

        while let DaemonSignal::Reload = next_signal(&mut hangup, &mut terminate, &mut interrupt).await {
            // On a thread of its own: it reads files, and calls that are served on this thread must not wait for a disk.
            let running = Arc::clone(&running);
            if let Err(error) = tokio::task::spawn_blocking(move || running.reload()).await {
                tracing::error!(%error, "A reload crashed; the old configuration stays");
            }
        }
        tracing::info!(
            grace_s = context.grace.as_secs(),
            "Stopping: no new pulls are accepted, the pulls in progress may finish"
        );
        notify_manager(&[NotifyState::Stopping]);
        context.stop.cancel();
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

/// Returns the settings of the gate that a configuration makes. `own_addresses` are those on which the daemon listens: the
/// gate sends no request there.
///
/// # Errors
/// See [`SettingsError`].
pub fn gate_settings(
    config: &Config,
    own_addresses: Vec<SocketAddr>,
    requests: &RequestMetrics,
) -> Result<GateSettings, SettingsError> {
    let oracle = OracleRegistries::new(&config.oracle, &own_addresses, Some(&requests.oracle_observer()))?;
    let client = RegistryClient::new(config.registries.clone(), own_addresses)?;
    Ok(GateSettings {
        oracle,
        policy: Arc::clone(&config.policy),
        client: client.observed(requests.observer()),
        signatures: config.daemon.state.join("signatures"),
        positive_ttl: config.cache.positive,
        negative_ttl: config.cache.negative,
    })
}

enum DaemonSignal {
    Reload,
    Stop,
}

async fn next_signal(hangup: &mut Signal, terminate: &mut Signal, interrupt: &mut Signal) -> DaemonSignal {
    tokio::select! {
        _ = hangup.recv() => DaemonSignal::Reload,
        _ = terminate.recv() => DaemonSignal::Stop,
        _ = interrupt.recv() => DaemonSignal::Stop,
    }
}

/// Logs what is open. The names of journal fields are fixed when the program is compiled, so the doors that have a field of
/// their own are listed here; `doors` lists every door.
fn log_ready(open: &[(&'static str, String)], running: &Running) {
    let at = |name| {
        open.iter()
            .find(|(door, _)| *door == name)
            .map(|(_, address)| address.as_str())
    };
    let doors: Vec<_> = open
        .iter()
        .map(|(name, address)| format!("{name} {address}"))
        .collect();
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        door.registry = at("registry"),
        door.admission = at("admission"),
        door.cri = at("cri"),
        door.control = at("control"),
        door.metrics = at("metrics"),
        doors = doors.join(", "),
        policy.generation = %running.started().policy.generation(),
        "Ready"
    );
}

/// Notifies the service manager. Without one, nothing is sent.
fn notify_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "The service manager could not be notified");
    }
}
