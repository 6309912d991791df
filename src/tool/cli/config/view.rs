//! The view of a configuration that `pullgate config show` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::printable::printable;
use crate::door::DOORS;
use crate::net::oracle::OracleRegistryConfig;
use crate::net::registry::{Credentials, RegistryConfig};
use crate::process::config::{self, show_duration};
use crate::pull::policy::{Requirement, Rule};
use crate::signature::oracle::{KMS_KEY_ID, KMS_KEY_VERSION_ID};
use crate::trust::{Authority, Salt, TrustedKey};

/// The document that `config show --json` prints: every setting, including defaults.
#[derive(Serialize)]
pub(super) struct ConfigView {
    pub(super) path: String,
    /// The included files, in the order in which they are read.
    pub(super) included: Vec<String>,
    pub(super) generation: String,
    pub(super) default: &'static str,
    pub(super) rules: Vec<RuleView>,
    pub(super) keys: Vec<KeyView>,
    pub(super) denied: Vec<String>,
    pub(super) registries: Vec<RegistryView>,
    /// By the key of each door; absent settings are a closed door.
    #[serde(flatten)]
    doors: BTreeMap<&'static str, Option<serde_json::Value>>,
    pub(super) state: String,
    pub(super) control: Option<String>,
    pub(super) metrics: Option<String>,
    cache: CacheView,
    limits: LimitsView,
}

#[derive(Serialize)]
pub(super) struct RuleView {
    scope: String,
    /// Absent for a rule of all namespaces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    namespaces: Vec<String>,
    /// Absent for a rule of all labels.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: BTreeMap<String, String>,
    /// The name in logs and in tables for people.
    #[serde(skip)]
    name: String,
    require: &'static str,
    /// Absent for a rule that accepts anything, which enforces nothing.
    mode: Option<&'static str>,
    #[serde(flatten)]
    signed: Option<SignedView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digests: Option<Vec<String>>,
}

#[derive(Serialize)]
struct SignedView {
    keys: Vec<NamedKey>,
    threshold: usize,
    formats: Vec<&'static str>,
    signed_repository: Option<String>,
}

#[derive(Serialize)]
struct NamedKey {
    name: String,
    /// One entry: the label of the identifying detail, and the detail.
    #[serde(flatten)]
    shown: BTreeMap<&'static str, String>,
}

#[derive(Serialize)]
pub(super) struct KeyView {
    name: String,
    fingerprint: String,
    bits: usize,
    algorithms: Vec<&'static str>,
    /// Absent for a key whose schemes have no salt.
    #[serde(skip_serializing_if = "Option::is_none")]
    salt: Option<&'static str>,
    kms_key_id: Option<String>,
    kms_key_version_id: Option<String>,
    not_before: Option<String>,
    not_after: Option<String>,
    revoked: bool,
}

#[derive(Serialize)]
pub(super) struct RegistryView {
    host: String,
    endpoints: Vec<String>,
    private_ca: bool,
    credentials: String,
    signatures: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<OracleView>,
}

#[derive(Serialize)]
struct OracleView {
    endpoint: String,
    compartment_id: Option<String>,
    compartment_id_in_subtree: bool,
    auth: &'static str,
}

#[derive(Serialize)]
struct CacheView {
    positive: String,
    negative: String,
    verdicts: usize,
    permits: usize,
}

#[derive(Serialize)]
struct LimitsView {
    pull: String,
    blob: String,
    connections: usize,
    drain: String,
}

impl ConfigView {
    pub(super) fn new(config: &config::Config) -> Self {
        let config::Config {
            path,
            included,
            daemon,
            doors,
            policy,
            registries,
            oracle,
            cache,
            limits,
            warnings: _,
        } = config;
        Self {
            path: path.display().to_string(),
            included: included.iter().map(|path| path.display().to_string()).collect(),
            generation: policy.generation().to_string(),
            default: policy.default_action().as_str(),
            rules: policy.rules().iter().map(|rule| RuleView::new(rule)).collect(),
            keys: policy.keys().map(KeyView::new).collect(),
            denied: policy.denied().iter().map(ToString::to_string).collect(),
            registries: registries
                .iter()
                .map(|registry| RegistryView::new(registry, oracle))
                .collect(),
            doors: DOORS
                .iter()
                .map(|kind| (kind.json_key, doors.view(kind).map(|view| view.json)))
                .collect(),
            state: daemon.state.display().to_string(),
            control: daemon
                .control
                .as_ref()
                .map(|socket| socket.path.display().to_string()),
            metrics: daemon.metrics.map(|address| address.to_string()),
            cache: CacheView {
                positive: show_duration(cache.positive),
                negative: show_duration(cache.negative),
                verdicts: cache.verdicts,
                permits: cache.permits,
            },
            limits: LimitsView {
                pull: show_duration(limits.pull),
                blob: show_duration(limits.blob),
                connections: limits.connections,
                drain: show_duration(daemon.drain),
            },
        }
    }
}

impl RuleView {
    pub(super) fn new(rule: &Rule) -> Self {
        let anything = matches!(rule.requirement, Requirement::InsecureAcceptAnything);
        let (signed, digests) = match &rule.requirement {
            Requirement::Digest(digests) => (None, Some(digests.iter().map(ToString::to_string).collect())),
            Requirement::InsecureAcceptAnything | Requirement::Reject => (None, None),
            Requirement::Signed(signed) => {
                let named = |authority: &Authority| NamedKey {
                    name: authority.facts().name().to_owned(),
                    shown: BTreeMap::from([authority.facts().shown()]),
                };
                let signed = SignedView {
                    keys: signed
                        .authorities
                        .iter()
                        .map(|authority| named(authority))
                        .collect(),
                    threshold: signed.threshold.get(),
                    formats: signed.formats.iter().map(|format| format.as_str()).collect(),
                    signed_repository: signed.signed_repository.as_ref().map(ToString::to_string),
                };
                (Some(signed), None)
            }
        };
        Self {
            scope: rule.scope.to_string(),
            namespaces: rule.pods.namespaces.iter().cloned().collect(),
            labels: rule.pods.labels.clone(),
            name: rule.name.clone(),
            require: rule.requirement.as_str(),
            mode: (!anything).then(|| rule.mode.as_str()),
            signed,
            digests,
        }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let (requires, keys, signed_as) = match (&self.signed, &self.digests) {
            (Some(signed), _) => {
                let names: Vec<&str> = signed.keys.iter().map(|key| key.name.as_str()).collect();
                let requires = if signed.threshold == 1 {
                    self.require.to_owned()
                } else {
                    format!("{} by {} keys", self.require, signed.threshold)
                };
                let signed_as = signed.signed_repository.clone().unwrap_or_else(|| "-".to_owned());
                (requires, names.join(", "), signed_as)
            }
            (None, Some(digests)) => (
                format!("{}: one of {}", self.require, digests.len()),
                "-".to_owned(),
                "-".to_owned(),
            ),
            (None, None) => (self.require.to_owned(), "-".to_owned(), "-".to_owned()),
        };
        vec![
            self.name.clone(),
            requires,
            keys,
            signed_as,
            self.mode.unwrap_or("-").to_owned(),
        ]
    }
}

impl KeyView {
    pub(super) fn new(key: &TrustedKey) -> Self {
        Self {
            name: key.name.to_string(),
            fingerprint: key.public_key.fingerprint().to_string(),
            bits: key.public_key.bits(),
            algorithms: key.schemes.iter().map(|scheme| scheme.algorithm_name()).collect(),
            salt: salt(key),
            kms_key_id: key.ids.get(KMS_KEY_ID).cloned(),
            kms_key_version_id: key.ids.get(KMS_KEY_VERSION_ID).cloned(),
            not_before: key.validity.not_before.map(|instant| instant.to_string()),
            not_after: key.validity.not_after.map(|instant| instant.to_string()),
            revoked: key.validity.revoked,
        }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        let open = |instant: &Option<String>| instant.clone().unwrap_or_else(|| "-".to_owned());
        let until = if self.revoked {
            "revoked".to_owned()
        } else {
            open(&self.not_after)
        };
        vec![
            self.name.clone(),
            self.fingerprint.clone(),
            self.bits.to_string(),
            open(&self.not_before),
            until,
        ]
    }
}

/// The setting of the salt, which all schemes of one key share.
fn salt(key: &TrustedKey) -> Option<&'static str> {
    key.schemes
        .iter()
        .find_map(|scheme| scheme.salt())
        .map(Salt::as_str)
}

impl RegistryView {
    pub(super) fn new(registry: &RegistryConfig, oracle: &[(String, OracleRegistryConfig)]) -> Self {
        let oracle = oracle.iter().find(|(host, _)| *host == registry.host);
        Self {
            host: registry.host.clone(),
            endpoints: registry.endpoints.iter().map(ToString::to_string).collect(),
            private_ca: registry.ca.is_some(),
            credentials: match &registry.credentials {
                Credentials::Anonymous => "anonymous".to_owned(),
                Credentials::File(path) => format!("file {}", path.display()),
                Credentials::Helper(name) => format!("helper {name}"),
                Credentials::Passthrough => "passthrough".to_owned(),
            },
            signatures: registry.signatures.iter().map(|source| source.as_str()).collect(),
            oracle: oracle.map(|(_, source)| OracleView {
                endpoint: source.artifacts.to_string(),
                compartment_id: source.compartment_id.as_ref().map(ToString::to_string),
                compartment_id_in_subtree: source.in_subtree,
                auth: match source.identity.instance_principal() {
                    None => "config-file",
                    Some(_) => "instance-principal",
                },
            }),
        }
    }

    pub(super) fn cells(&self) -> Vec<String> {
        vec![
            self.host.clone(),
            self.endpoints.join(", "),
            printable(&self.credentials),
            self.signatures.join(", "),
        ]
    }
}
