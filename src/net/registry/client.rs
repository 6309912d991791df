//! Which registry, which of its endpoints, and until when.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use super::auth::TokenCache;
use super::body::chain;
use super::endpoint::{Registry, RegistryEndpoint};
use super::referrers::WithoutReferrers;
use super::{Access, Credentials, RegistryClient, RegistryConfig, RegistryError};
use crate::net::registry::metrics::RegistryOperation;
use crate::net::registry::sender::{Attempts, Turn};
use crate::net::transport::guard::{Guard, proxies_of_environment};
use crate::net::transport::{Transport, TransportSetupError, system_roots};

/// Registries that no `[[registry]]` names and that are remembered. What a client names decides the key, so it is
/// bounded; one that was forgotten is only set up again.
const UNNAMED: usize = 256;

/// What all clones of a client share.
pub(super) struct Registries {
    guard: Arc<Guard>,
    named: HashMap<String, Arc<Registry>>,
    unnamed: quick_cache::sync::Cache<String, Arc<Registry>>,
    /// Trusts the system's certificates alone.
    transport: Arc<Transport>,
    tokens: TokenCache,
    pub(super) without_referrers: WithoutReferrers,
}

impl Registries {
    pub(super) fn new(registries: Vec<RegistryConfig>, own: Vec<SocketAddr>) -> Result<Self, RegistryError> {
        let guard = Arc::new(Guard::new(own, proxies_of_environment()));
        let system = system_roots();
        let transport = |host: &str, ca: Option<&[u8]>| {
            Transport::new(Arc::clone(&guard), &system, ca)
                .map(Arc::new)
                .map_err(|error| unusable(host, &error))
        };
        let plain = transport("-", None)?;
        let mut named = HashMap::new();
        for config in registries {
            let transport = match &config.ca {
                Some(ca) => transport(&config.host, Some(ca))?,
                None => Arc::clone(&plain),
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
            transport: plain,
            tokens: TokenCache::new(),
            without_referrers: WithoutReferrers::new(),
        })
    }

    /// The registry as it is configured, if it is.
    pub(super) fn named(&self, host: &str) -> Option<&Arc<Registry>> {
        self.named.get(host)
    }

    fn registry(&self, host: &str) -> Result<Arc<Registry>, RegistryError> {
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

/// One thing that is asked of a registry, at whichever endpoint.
pub(super) trait RegistryTask {
    /// What it counts as.
    const OPERATION: RegistryOperation;
    /// What it gives.
    type Given: Send;

    /// Asks one endpoint.
    fn at(&self, turn: &Turn<'_>) -> impl Future<Output = Result<Self::Given, RegistryError>> + Send;
}

impl RegistryClient {
    /// Asks the mirrors in order, then the endpoint, until one gives it. Whatever a mirror says but what was asked for
    /// moves on to the next; what the endpoint says is what is said.
    pub(super) async fn in_turn<T: RegistryTask + Sync>(
        &self,
        host: &str,
        access: &Access,
        task: T,
    ) -> Result<T::Given, RegistryError> {
        let registry = self.shared.registry(host)?;
        for mirror in registry.mirrors() {
            // A mirror that drips may take half of the time that is left, not all of it.
            let left = access.deadline.saturating_duration_since(Instant::now());
            let turn = self.turn(
                &registry,
                mirror,
                Attempts::Mirror,
                access,
                Instant::now() + left / 2,
            );
            match perform(&turn, &task).await {
                Ok(given) => return Ok(given),
                Err(error) => {
                    tracing::debug!(
                        mirror = mirror.host,
                        error = chain(&error),
                        "A mirror did not give it"
                    );
                    if is_silence(&error) {
                        mirror.rest();
                    }
                }
            }
        }
        perform(
            &self.turn(
                &registry,
                registry.endpoint(),
                Attempts::Endpoint,
                access,
                access.deadline,
            ),
            &task,
        )
        .await
    }

    /// Asks the endpoint alone: what is written, and what is the registry's own to say.
    pub(super) async fn at_own<T: RegistryTask + Sync>(
        &self,
        host: &str,
        access: &Access,
        task: T,
    ) -> Result<T::Given, RegistryError> {
        let registry = self.shared.registry(host)?;
        perform(
            &self.turn(
                &registry,
                registry.endpoint(),
                Attempts::Endpoint,
                access,
                access.deadline,
            ),
            &task,
        )
        .await
    }

    fn turn<'a>(
        &'a self,
        registry: &'a Registry,
        endpoint: &'a RegistryEndpoint,
        attempts: Attempts,
        access: &'a Access,
        deadline: Instant,
    ) -> Turn<'a> {
        Turn {
            registry,
            endpoint,
            access,
            deadline,
            attempts,
            guard: &self.shared.guard,
            tokens: &self.shared.tokens,
            observer: self.observer.as_ref(),
        }
    }
}

async fn perform<T: RegistryTask>(turn: &Turn<'_>, task: &T) -> Result<T::Given, RegistryError> {
    let late = || RegistryError::DeadlineExceeded {
        host: turn.endpoint.host.clone(),
    };
    let result = if Instant::now() >= turn.deadline {
        // A timeout polls its task once before it looks at the clock: that would send a request.
        Err(late())
    } else {
        match tokio::time::timeout_at(turn.deadline.into(), task.at(turn)).await {
            Ok(result) => result,
            Err(tokio::time::error::Elapsed { .. }) => Err(late()),
        }
    };
    turn.observe(T::OPERATION, &result);
    result.map_err(|error| answerable(&turn.registry.credentials, error))
}

/// A challenge is for the client whose own credentials pass through: another one's are not shown to the registry, so
/// asking for them would only lead them here.
fn answerable(credentials: &Credentials, error: RegistryError) -> RegistryError {
    if let RegistryError::Unauthorized { host, message, .. } = &error
        && *credentials != Credentials::Passthrough
    {
        let (host, message) = (host.clone(), message.clone());
        return RegistryError::Unauthorized {
            host,
            message,
            challenge: None,
        };
    }
    error
}

/// Whether nothing (useful) was heard, so that asking again soon is a waste.
fn is_silence(error: &RegistryError) -> bool {
    match error {
        RegistryError::DeadlineExceeded { .. } | RegistryError::Unreachable { .. } => true,
        RegistryError::Credentials { .. }
        | RegistryError::DigestMismatch { .. }
        | RegistryError::Malformed { .. }
        | RegistryError::NotFound { .. }
        | RegistryError::Refused { .. }
        | RegistryError::TooLarge { .. }
        | RegistryError::Unauthorized { .. } => false,
    }
}

fn unusable(host: &str, error: &TransportSetupError) -> RegistryError {
    RegistryError::Refused {
        host: host.to_owned(),
        why: chain(error),
    }
}
