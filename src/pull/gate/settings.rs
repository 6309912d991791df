//! The gate's part of the configuration.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::net::oracle::OracleRegistries;
use crate::net::registry::RegistryClient;
use crate::pull::policy::Policy;

/// The part of the configuration that a reload swaps whole.
#[derive(Clone)]
pub struct GateSettings {
    /// Rules, keys and deny list.
    pub policy: Arc<Policy>,
    /// The client for all registries.
    pub client: RegistryClient,
    /// The registries whose signatures are in Oracle's API, for the source `oracle-api`.
    pub oracle: OracleRegistries,
    /// The directory `<state>/signatures`, for the source `directory`.
    pub signatures: PathBuf,
    /// How long an allowed pull is remembered. Zero turns it off.
    pub positive_ttl: Duration,
    /// How long a denial is remembered. Zero turns it off.
    pub negative_ttl: Duration,
}

/// The part of the configuration that is fixed for the life of the process.
#[derive(Clone, Debug)]
pub struct Storage {
    /// The file that keeps derivations across a restart; `None` keeps them in memory alone.
    pub derivations_file: Option<PathBuf>,
    /// The number of derivations that the file may hold.
    pub max_derivations: usize,
    /// The number of signature records that the remembered evidence may hold.
    pub max_records: usize,
}
