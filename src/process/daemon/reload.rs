//! The configuration that holds, and how another takes its place: whole, or not at all.

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

use super::{settings, tell_manager};
use crate::base::error_chain::chain;
use crate::process::config::Config;
use crate::pull::gate::{Gate, GateSettings};
use crate::pull::record::RequestMetrics;

/// What the daemon runs under.
pub(super) struct Running {
    /// What the process began with: what is read once, at start, stays as it is there.
    started: Config,
    own: Vec<SocketAddr>,
    gate: Arc<Gate>,
    counters: Counters,
    current: ArcSwap<Current>,
    /// Held by who reloads.
    reloading: Mutex<()>,
}

/// What the last load left behind.
#[derive(Clone, Debug)]
pub(super) struct Current {
    /// When the policy that holds was loaded.
    pub(super) loaded_at: Timestamp,
    /// What loads and will still surprise, such as a key that ends soon.
    pub(super) warnings: Vec<String>,
    /// Tables whose change waits for a restart.
    pub(super) needs_restart: Vec<&'static str>,
    /// Why the last reload changed nothing.
    pub(super) error: Option<String>,
}

impl Running {
    pub(super) fn new(started: Config, own: Vec<SocketAddr>, gate: Arc<Gate>, counters: Counters) -> Self {
        let current = ArcSwap::from_pointee(Current {
            loaded_at: Timestamp::now(),
            warnings: warnings(&started),
            needs_restart: Vec::new(),
            error: None,
        });
        Self {
            started,
            own,
            gate,
            counters,
            current,
            reloading: Mutex::new(()),
        }
    }

    /// The configuration that the process began with.
    pub(super) const fn started(&self) -> &Config {
        &self.started
    }

    pub(super) const fn gate(&self) -> &Arc<Gate> {
        &self.gate
    }

    /// What the last load that ended left behind: who looks waits for none that is under way.
    pub(super) fn current(&self) -> Arc<Current> {
        self.current.load_full()
    }

    /// Loads all, swaps once; on any error the old configuration stays whole. One at a time: whoever asks while another
    /// is at it waits, and loads what stands there then. It reads files: not for the threads that serve.
    pub(super) fn reload(&self) -> Arc<Current> {
        // Whoever panicked with the lock left what was there before.
        let _one_at_a_time = self.reloading.lock().unwrap_or_else(PoisonError::into_inner);
        tell_reloading();
        let current = match self.load() {
            Ok((config, needs_restart)) => {
                self.counters.count("success");
                log_warnings(&config);
                tracing::info!(policy.generation = %config.policy.generation(), "Reloaded");
                Current {
                    loaded_at: Timestamp::now(),
                    warnings: warnings(&config),
                    needs_restart,
                    error: None,
                }
            }
            Err(errors) => {
                self.counters.count("failure");
                tracing::error!("The configuration did not load; the old one stays\n{errors}");
                Current {
                    error: Some(errors),
                    ..(*self.current()).clone()
                }
            }
        };
        let current = Arc::new(current);
        self.current.store(Arc::clone(&current));
        tell_manager(&[NotifyState::Ready]);
        current
    }

    fn load(&self) -> Result<(Config, Vec<&'static str>), String> {
        let started = &self.started;
        let config = Config::load(&started.path).map_err(|errors| errors.to_string())?;
        let needs_restart = needs_restart(started, &config);
        for table in &needs_restart {
            tracing::warn!(
                table,
                "The table [{table}] changed; the change is taken at the next restart"
            );
        }
        let config = Config {
            daemon: started.daemon.clone(),
            ..config
        };
        let settings = settings(&config, self.own.clone(), &self.counters.requests);
        let settings = settings.map_err(|error| chain(&error))?;
        self.counters.keys_of(&settings);
        self.gate.replace_settings(settings);
        Ok((config, needs_restart))
    }
}

fn warnings(config: &Config) -> Vec<String> {
    config.warnings.iter().map(ToString::to_string).collect()
}

/// What loads and will still surprise, such as a key that ends soon.
pub(super) fn log_warnings(config: &Config) {
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
        tables.push("door.registry");
    }
    if old.cri_door != new.cri_door {
        tables.push("door.cri");
    }
    if old.limits != new.limits {
        tables.push("limits");
    }
    if (old.cache.verdicts, old.cache.permits) != (new.cache.verdicts, new.cache.permits) {
        tables.push("cache");
    }
    tables
}

/// systemd v253 and newer want the time with it, or take the reload for failed (sd_notify(3), `RELOADING=1`).
fn tell_reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => tell_manager(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!(%error, "The service manager could not be told of the reload"),
    }
}

/// The metrics of the process itself.
pub(super) struct Counters {
    count: Family<ReloadLabels, Counter>,
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
            count: Family::default(),
            keys: Gauge::default(),
            requests: RequestMetrics::new(metrics),
        };
        metrics.register(
            "policy_reloads",
            "Reloads of the configuration",
            counters.count.clone(),
        );
        for outcome in ["success", "failure"] {
            drop(counters.count.get_or_create(&ReloadLabels { outcome }));
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
        self.count.get_or_create(&ReloadLabels { outcome }).inc();
    }

    pub(super) fn keys_of(&self, settings: &GateSettings) {
        self.keys
            .set(i64::try_from(settings.policy.keys().len()).unwrap_or(i64::MAX));
    }
}
