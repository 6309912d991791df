//! The process: load, build, bind, say ready, serve, reload on SIGHUP, drain on SIGTERM.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sd_notify::NotifyState;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::causes::chain;
use crate::config::{Config, ConfigErrors};
use crate::door::registry::Door;
use crate::gate::{Gate, PermitsError, Settings, Storage};
use crate::oracle::{ApiError, Sources};
use crate::record::Requests;
use crate::registry::{Client, RegistryError};
use crate::telemetry::MetricsDoor;

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
    #[error("no door is configured: add a [door.registry] table")]
    NoDoor,
    /// The file of permits.
    #[error("the state directory can't be used")]
    Permits(#[from] PermitsError),
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
    Oracle(#[from] ApiError),
    /// The client for the registries.
    #[error("the client for the registries could not be set up")]
    Registries(#[from] RegistryError),
}

/// A daemon with all its doors bound, not yet serving.
pub struct Daemon {
    config: Config,
    own: Vec<SocketAddr>,
    gate: Arc<Gate>,
    door: Door,
    metrics_door: Option<MetricsDoor>,
    metrics: Arc<Registry>,
    counters: Counters,
}

impl Daemon {
    /// Loads the configuration and binds every door that it names: what can fail fails here, before READY.
    ///
    /// # Errors
    /// As [`StartError`] says.
    pub async fn start(path: &Path) -> Result<Self, StartError> {
        let config = Config::load(path)?;
        log_warnings(&config);
        let mut own = Vec::new();
        let door_config = config.registry_door.clone().ok_or(StartError::NoDoor)?;
        let address = door_config.listen;
        let door = Door::bind(door_config)
            .await
            .map_err(|source| StartError::Door { address, source })?;
        own.push(door.local_addr());
        let metrics_door = match config.daemon.metrics {
            Some(address) => {
                let at = |source| StartError::Door { address, source };
                let door = MetricsDoor::bind(address).await.map_err(at)?;
                own.push(door.local_addr().map_err(at)?);
                Some(door)
            }
            None => None,
        };

        let state = &config.daemon.state;
        let signatures = state.join("signatures");
        std::fs::create_dir_all(&signatures).map_err(|source| StartError::State {
            path: signatures.clone(),
            source,
        })?;
        let mut metrics = Registry::with_prefix("pullgate");
        let counters = Counters::new(&mut metrics);
        let settings = settings(&config, own.clone(), &counters.requests)?;
        counters.rules_of(&settings);
        let storage = Storage {
            permits: Some(state.join("permits.redb")),
            most_permits: config.cache.permits,
            most_verdicts: config.cache.verdicts,
        };
        let gate = Arc::new(Gate::new(settings, &storage, &mut metrics)?);
        Ok(Self {
            config,
            own,
            gate,
            door,
            metrics_door,
            metrics: Arc::new(metrics),
            counters,
        })
    }

    /// The address of the registry door.
    #[must_use]
    pub fn registry_addr(&self) -> SocketAddr {
        self.door.local_addr()
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
            config,
            own,
            gate,
            door,
            metrics_door,
            metrics,
            counters,
        } = self;
        tracing::info!(
            version = env!("CARGO_PKG_VERSION"),
            door.registry = %door.local_addr(),
            policy.generation = %config.policy.generation(),
            "Ready"
        );
        if let Some(metrics_door) = metrics_door {
            tokio::spawn(metrics_door.serve(metrics));
        }
        let (stop, stopped) = watch::channel(false);
        let grace = config.daemon.drain;
        let serving = tokio::spawn(door.serve(Arc::clone(&gate), stopped, grace));
        tell_manager(&[NotifyState::Ready]);

        while let Asked::Reload = next(&mut hangup, &mut terminate, &mut interrupt).await {
            reload(&config, &own, &gate, &counters);
        }
        tracing::info!(
            grace_s = grace.as_secs(),
            "Stopping: no new pulls, those under way may finish"
        );
        tell_manager(&[NotifyState::Stopping]);
        // Nobody is left to hear it when the door has ended already.
        let _no_receiver = stop.send(true);
        if let Err(error) = serving.await {
            tracing::error!(%error, "The registry door did not end by itself");
        }
        tracing::info!("Stopped");
        Ok(())
    }
}

enum Asked {
    Reload,
    Stop,
}

async fn next(hangup: &mut Signal, terminate: &mut Signal, interrupt: &mut Signal) -> Asked {
    tokio::select! {
        _ = hangup.recv() => Asked::Reload,
        _ = terminate.recv() => Asked::Stop,
        _ = interrupt.recv() => Asked::Stop,
    }
}

/// Loads all, swaps once; on any error the old configuration stays whole. `started` is what the process began with:
/// what is read once, at start, stays as it is there.
fn reload(started: &Config, own: &[SocketAddr], gate: &Gate, counters: &Counters) {
    tell_reloading();
    let loaded = Config::load(&started.path)
        .map_err(|errors| errors.to_string())
        .and_then(|config| {
            for table in needs_restart(started, &config) {
                tracing::warn!(
                    table,
                    "The table [{table}] changed; the change is taken at the next restart"
                );
            }
            let config = Config {
                daemon: started.daemon.clone(),
                ..config
            };
            let settings =
                settings(&config, own.to_vec(), &counters.requests).map_err(|error| chain(&error))?;
            Ok((config, settings))
        });
    match loaded {
        Ok((config, settings)) => {
            counters.rules_of(&settings);
            gate.replace(settings);
            counters.count("success");
            log_warnings(&config);
            tracing::info!(policy.generation = %config.policy.generation(), "Reloaded");
        }
        Err(errors) => {
            counters.count("failure");
            tracing::error!("The configuration did not load; the old one stays\n{errors}");
        }
    }
    tell_manager(&[NotifyState::Ready]);
}

/// What loads and will still surprise, such as a key that ends soon.
fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(%warning, "The configuration loads, with a warning");
    }
}

/// Tables that are read once, at start.
fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let mut tables = Vec::new();
    if old.daemon != new.daemon {
        tables.push("daemon");
    }
    if old.registry_door != new.registry_door {
        tables.push("door.registry] or [limits");
    }
    if (old.cache.verdicts, old.cache.permits) != (new.cache.verdicts, new.cache.permits) {
        tables.push("cache");
    }
    tables
}

/// What the gate takes from a configuration.
///
/// # Errors
/// As [`SettingsError`] says.
pub fn settings(
    config: &Config,
    own: Vec<SocketAddr>,
    requests: &Requests,
) -> Result<Settings, SettingsError> {
    let oracle = Sources::new(&config.oracle, &own, Some(&requests.oracle_observer()))?;
    Ok(Settings {
        oracle,
        policy: Arc::clone(&config.policy),
        client: Client::new(config.registries.clone(), own)?.observed(requests.observer()),
        signatures: config.daemon.state.join("signatures"),
        positive: config.cache.positive,
        negative: config.cache.negative,
    })
}

/// systemd v253 and newer want the time with it, or take the reload for failed (sd_notify(3), `RELOADING=1`).
fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_manager(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "The service manager could not be told of the reload"),
    }
}

/// Without a service manager there is nobody to tell, and nothing is sent.
fn tell_manager(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!(%error, "The service manager could not be told");
    }
}

struct Counters {
    count: Family<ReloadLabels, Counter>,
    keys: Gauge,
    requests: Requests,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

impl Counters {
    fn new(metrics: &mut Registry) -> Self {
        let counters = Self {
            count: Family::default(),
            keys: Gauge::default(),
            requests: Requests::new(metrics),
        };
        metrics.register(
            "policy_reloads",
            "Reloads of the configuration",
            counters.count.clone(),
        );
        metrics.register(
            "policy_keys",
            "Trusted keys that are loaded",
            counters.keys.clone(),
        );
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        metrics.register("build", "The version that runs", build);
        counters
    }

    fn count(&self, outcome: &'static str) {
        self.count.get_or_create(&ReloadLabels { outcome }).inc();
    }

    fn rules_of(&self, settings: &Settings) {
        self.keys
            .set(i64::try_from(settings.policy.keys().len()).unwrap_or(i64::MAX));
    }
}
