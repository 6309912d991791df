//! The counters of outgoing requests.

use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

use super::label::Label;
use crate::net::oracle;
use crate::net::registry::RegistryObserver;

/// Counts requests to registries and to Oracle's services.
#[derive(Clone, Debug, Default)]
pub struct RequestMetrics {
    registries: Family<RequestLabels, Counter>,
    oracle: Family<RequestLabels, Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    operation: Label,
    outcome: Label,
}

impl RequestMetrics {
    /// Registers the counters in `registry`.
    pub fn new(registry: &mut Registry) -> Self {
        let requests = Self::default();
        registry.register(
            "registry_requests",
            "Requests to registries",
            requests.registries.clone(),
        );
        registry.register(
            "oracle_requests",
            "Requests to Oracle's services",
            requests.oracle.clone(),
        );
        requests
    }

    /// Returns the observer that counts the requests of a client of Oracle's services.
    #[must_use]
    pub fn oracle_observer(&self) -> oracle::OracleObserver {
        let counts = self.oracle.clone();
        Arc::new(move |call: oracle::Call, outcome: oracle::CallOutcome| {
            let labels = RequestLabels {
                operation: Label(call.as_str()),
                outcome: Label(outcome.as_str()),
            };
            counts.get_or_create(&labels).inc();
        })
    }

    /// Returns the observer that counts the requests of a registry client.
    #[must_use]
    pub fn observer(&self) -> RegistryObserver {
        let counts = self.registries.clone();
        Arc::new(move |operation, outcome| {
            let labels = RequestLabels {
                operation: Label(operation.as_str()),
                outcome: Label(outcome.as_str()),
            };
            counts.get_or_create(&labels).inc();
        })
    }
}
