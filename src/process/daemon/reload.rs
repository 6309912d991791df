//! The configuration in effect, and how a reload replaces it: whole, or not at all.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use sd_notify::NotifyState;

use super::{gate_settings, notify_manager};
use crate::base::error_chain::chain;
use crate::door::{DOORS, DoorKind};
use crate::process::config::Config;
use crate::pull::gate::{Gate, GateSettings};
use crate::pull::record::RequestMetrics;

/// The state that the running daemon works with.
pub(super) struct Running {
    /// The configuration of the start: settings that are read once stay as they are there.
    started: Config,
    own_addresses: Vec<SocketAddr>,
    gate: Arc<Gate>,
    counters: Counters,
    last_load: ArcSwap<LastLoad>,
    /// Held by the reload in progress.
    reloading: Mutex<()>,
}

/// The outcome of the last load.
#[derive(Clone, Debug)]
pub(super) struct LastLoad {
    /// When the policy in effect was loaded.
    pub(super) loaded_at: Timestamp,
    /// The warnings of the configuration in effect, such as a key that expires soon.
    pub(super) warnings: Vec<String>,
    /// The tables whose change waits for a restart.
    pub(super) needs_restart: Vec<String>,
    /// Why the last reload changed nothing.
    pub(super) error: Option<String>,
}

impl Running {
    pub(super) fn new(
        started: Config,
        own_addresses: Vec<SocketAddr>,
        gate: Arc<Gate>,
        counters: Counters,
    ) -> Self {
        let last_load = ArcSwap::from_pointee(LastLoad {
            loaded_at: Timestamp::now(),
            warnings: warnings(&started),
            needs_restart: Vec::new(),
            error: None,
        });
        Self {
            started,
            own_addresses,
            gate,
            counters,
            last_load,
            reloading: Mutex::new(()),
        }
    }

    /// The configuration with which the process started.
    pub(super) const fn started(&self) -> &Config {
        &self.started
    }

    pub(super) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// The outcome of the last load that has ended. Does not wait for a load in progress.
    pub(super) fn last_load(&self) -> Arc<LastLoad> {
        self.last_load.load_full()
    }

    /// Loads the whole configuration and swaps it in one step; on any error the old one stays whole. Reloads run one at a
    /// time: a second one waits, and loads the files as they are then. Reads files, so it must not run on a thread that
    /// serves.
    pub(super) fn reload(&self) -> Arc<LastLoad> {
        // A reload that panicked left the old configuration in effect.
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        notify_reloading();
        let last_load = match self.load() {
            Ok((config, needs_restart)) => {
                self.counters.count("success");
                log_warnings(&config);
                tracing::info!(policy.generation = %config.policy.generation(), "Reloaded");
                LastLoad {
                    loaded_at: Timestamp::now(),
                    warnings: warnings(&config),
                    needs_restart,
                    error: None,
                }
            }
            Err(errors) => {
                self.counters.count("failure");
                tracing::error!("The configuration did not load; the old one stays\n{errors}");
                LastLoad {
                    error: Some(errors),
                    ..(*self.last_load()).clone()
                }
            }
        };
        let last_load = Arc::new(last_load);
        self.last_load.store(Arc::clone(&last_load));
        notify_manager(&[NotifyState::Ready]);
        last_load
    }

    fn load(&self) -> Result<(Config, Vec<String>), String> {
        let started = &self.started;
        let config = Config::load(&started.path).map_err(|errors| errors.to_string())?;
        let needs_restart = needs_restart(DOORS, started, &config);
        for table in &needs_restart {
            tracing::warn!(
                table,
                "The table [{table}] changed; the change takes effect at the next restart"
            );
        }
        let config = Config {
            daemon: started.daemon.clone(),
            ..config
        };
        let settings = gate_settings(&config, self.own_addresses.clone(), &self.counters.requests);
        let settings = settings.map_err(|error| chain(&error))?;
        self.counters.count_keys(&settings);
        self.gate.replace_settings(settings);
        Ok((config, needs_restart))
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

/// Logs the warnings of a configuration that loads, such as a key that expires soon.
pub(super) fn log_warnings(config: &Config) {
    for warning in &config.warnings {
        tracing::warn!(%warning, "The configuration loads, with a warning");
    }
}

/// Returns the tables that differ and are read once, at the start.
fn needs_restart(doors: &[DoorKind], old: &Config, new: &Config) -> Vec<String> {
    let changed_doors = old.doors.changed(&new.doors, doors);
    let mut tables: Vec<_> = changed_doors.into_iter().map(DoorKind::table).collect();
    // The setting of a door may stand in `[daemon]`, which is named once and first.
    let is_daemon_changed = old.daemon != new.daemon || tables.iter().any(|table| table == DAEMON);
    if is_daemon_changed {
        tables.retain(|table| table != DAEMON);
        tables.insert(0, DAEMON.to_owned());
    }
    if old.limits != new.limits {
        tables.push("limits".to_owned());
    }
    if (old.cache.verdicts, old.cache.permits) != (new.cache.verdicts, new.cache.permits) {
        tables.push("cache".to_owned());
    }
    tables
}

const DAEMON: &str = "daemon";

/// Notifies the service manager of a reload. systemd v253 and newer want the time with it, or count the reload as failed
/// (sd_notify(3), `RELOADING=1`).
fn notify_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify_manager(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "The service manager could not be notified of the reload"),
    }
}

/// The metrics of the process itself.
pub(super) struct Counters {
    reloads: Family<ReloadLabels, Counter>,
    keys: Gauge,
    pub(super) requests: RequestMetrics,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReloadLabels {
    outcome: &'static str,
}

impl Counters {
    pub(super) fn new(metrics: &mut Registry) -> Self {
        let counters = Self {
            reloads: Family::default(),
            keys: Gauge::default(),
            requests: RequestMetrics::new(metrics),
        };
        metrics.register(
            "policy_reloads",
            "Reloads of the configuration",
            counters.reloads.clone(),
        );
        for outcome in ["success", "failure"] {
            drop(counters.reloads.get_or_create(&ReloadLabels { outcome }));
        }
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
        self.reloads.get_or_create(&ReloadLabels { outcome }).inc();
    }

    pub(super) fn count_keys(&self, settings: &GateSettings) {
        self.keys
            .set(i64::try_from(settings.policy.keys().len()).unwrap_or(i64::MAX));
    }
}
