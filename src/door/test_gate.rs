//! The gate of the doors' tests, before a registry that images call `registry.test`.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::net::oracle::OracleRegistries;
use crate::net::registry::{Credentials, RegistryClient, RegistryConfig};
use crate::pull::gate::{Gate, GateSettings, Storage};
use crate::pull::policy::{DefaultAction, Generation, Mode, Pods, Policy, Requirement, Rule};
use crate::signature::SourceName;

/// Settings with these rules, by scope, and `reject` as the default.
pub(super) fn settings(endpoint: &str, rules: Vec<(&str, Requirement)>) -> GateSettings {
    let rules = rules.into_iter().map(|(scope, requirement)| {
        Rule::new(
            scope.parse().unwrap(),
            requirement,
            Mode::Enforce,
            Pods::default(),
        )
    });
    let registry = RegistryConfig {
        host: "registry.test".to_owned(),
        endpoints: vec![endpoint.parse().unwrap()],
        ca: None,
        credentials: Credentials::Passthrough,
        signatures: SourceName::DEFAULT.to_vec(),
    };
    let policy = Policy::new(
        DefaultAction::Reject,
        rules.collect(),
        BTreeSet::new(),
        Vec::new(),
        Generation([0; 32]),
    );
    GateSettings {
        policy: Arc::new(policy.unwrap()),
        client: RegistryClient::new(vec![registry], Vec::new()).unwrap(),
        oracle: OracleRegistries::default(),
        signatures: "signatures".into(),
        positive_ttl: Duration::from_secs(60),
        negative_ttl: Duration::from_secs(60),
    }
}

/// A gate that keeps its state in memory.
pub(super) fn gate(settings: GateSettings) -> Arc<Gate> {
    let storage = Storage {
        derivations_file: None,
        max_derivations: 1000,
        max_records: 1000,
    };
    let mut metrics = prometheus_client::registry::Registry::default();
    Arc::new(Gate::new(settings, &storage, &mut metrics).unwrap())
}
