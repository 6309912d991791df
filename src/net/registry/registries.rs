//! All registries of one client: those that the configuration names, and those that images name.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use super::body::chain;
use super::config::RegistryConfig;
use super::endpoint::{NoReferrersApi, Registry};
use super::error::RegistryError;
use super::tokens::TokenCache;
use crate::net::transport::guard::{Guard, proxies_of_environment};
use crate::net::transport::{Transport, TransportSetupError, system_roots};

/// Registries without a `[[registry]]` that are kept. A client's request decides which ones, so the number is bounded;
/// one that was dropped is set up again at the next request.
const UNNAMED: usize = 256;

/// The state that all clones of a client share.
pub(super) struct Registries {
    pub(super) guard: Arc<Guard>,
    named: HashMap<String, Arc<Registry>>,
    unnamed: quick_cache::sync::Cache<String, Arc<Registry>>,
    /// Trusts the system's certificates only.
    transport: Arc<Transport>,
    pub(super) tokens: TokenCache,
    pub(super) no_referrers_api: NoReferrersApi,
}

impl Registries {
    pub(super) fn new(
        registries: Vec<RegistryConfig>,
        own_listeners: Vec<SocketAddr>,
    ) -> Result<Self, RegistryError> {
        let guard = Arc::new(Guard::new(own_listeners, proxies_of_environment()));
        let system = system_roots();
        let transport = |host: &str, ca: Option<&[u8]>| {
            Transport::new(Arc::clone(&guard), &system, ca)
                .map(Arc::new)
                .map_err(|error| unusable(host, &error))
        };
        let default_transport = transport("-", None)?;
        let mut named = HashMap::new();
        for config in registries {
            let transport = match &config.ca {
                Some(ca) => transport(&config.host, Some(ca))?,
                None => Arc::clone(&default_transport),
            };
            let registry = Registry::new(config, transport, &guard)?;
            let host = registry.host.clone();
            if named.insert(host.clone(), Arc::new(registry)).is_some() {
                let why = "it is configured twice".to_owned();
                return Err(RegistryError::Refused { host, why });
            }
        }
        Ok(Self {
            guard,
            named,
            unnamed: quick_cache::sync::Cache::new(UNNAMED),
            transport: default_transport,
            tokens: TokenCache::new(),
            no_referrers_api: NoReferrersApi::new(),
        })
    }

    /// Returns the registry that a `[[registry]]` describes, if there is one.
    pub(super) fn named(&self, host: &str) -> Option<&Arc<Registry>> {
        self.named.get(host)
    }

    /// Returns the registry that images call `host`, with the default settings where the configuration has none.
    pub(super) fn registry(&self, host: &str) -> Result<Arc<Registry>, RegistryError> {
        if let Some(registry) = self.named(host) {
            return Ok(Arc::clone(registry));
        }
        if let Some(registry) = self.unnamed.get(host) {
            return Ok(registry);
        }
        let config = RegistryConfig::default_for(host)?;
        let registry = Arc::new(Registry::new(config, Arc::clone(&self.transport), &self.guard)?);
        self.unnamed.insert(host.to_owned(), Arc::clone(&registry));
        Ok(registry)
    }
}

fn unusable(host: &str, error: &TransportSetupError) -> RegistryError {
    RegistryError::Refused {
        host: host.to_owned(),
        why: chain(error),
    }
}
