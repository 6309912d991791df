//! Which policy this is: SHA-256 over everything that a verdict depends on, in one order, whatever the files' order.

use std::collections::BTreeSet;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use super::rules::Rules;
use crate::net::oracle::{Ocid, OracleRegistryConfig};
use crate::net::registry::{Credentials, RegistryConfig};
use crate::oci::Digest;
use crate::pull::policy::{DefaultAction, Generation, Pods, Requirement, Rule, Signed, SignedRepository};
use crate::trust::{Salt, TrustedKey};

/// Begins the hash. Counted up when pullgate judges the same configuration in another way, so that nothing admitted
/// before is taken over.
const DOMAIN: &str = "pullgate generation 1";

/// The generation of these settings. Paths, comments and the order of tables are not in it: same meaning, same
/// generation.
pub(super) fn generation(
    default: DefaultAction,
    rules: &Rules,
    denied: &BTreeSet<Digest>,
    registries: &[RegistryConfig],
    oracle: &[(String, OracleRegistryConfig)],
) -> Generation {
    let mut encoder = Encoder(Sha256::new());
    encoder.text(DOMAIN);
    encoder.text(default.as_str());
    encoder.set(
        rules
            .iter()
            .map(|(rule, _)| encoded(|encoder| encoder.rule(rule))),
    );
    encoder.set(
        denied
            .iter()
            .map(|digest| encoded(|encoder| encoder.text(&digest.to_string()))),
    );
    encoder.set(
        registries
            .iter()
            .map(|registry| encoded(|encoder| encoder.registry(registry))),
    );
    encoder.set(oracle.iter().map(|(host, source)| {
        encoded(|encoder| {
            encoder.text(host);
            encoder.oracle(source);
        })
    }));
    Generation(encoder.0.finalize().into())
}

fn encoded(encode: impl FnOnce(&mut Encoder)) -> [u8; 32] {
    let mut encoder = Encoder(Sha256::new());
    encode(&mut encoder);
    encoder.0.finalize().into()
}

/// Each value is written with its length first, so that two different sequences never make the same bytes.
struct Encoder(Sha256);

impl Encoder {
    fn number(&mut self, number: usize) {
        // A `usize` has at most 64 bits on every platform Rust knows.
        self.0
            .update(u64::try_from(number).unwrap_or(u64::MAX).to_be_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len());
        self.0.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.number(1);
                self.text(text);
            }
            None => self.number(0),
        }
    }

    fn instant(&mut self, instant: Option<Timestamp>) {
        self.optional(
            instant
                .map(|instant| instant.as_nanosecond().to_string())
                .as_deref(),
        );
    }

    /// Values whose order says nothing.
    fn set(&mut self, hashes: impl Iterator<Item = [u8; 32]>) {
        let mut hashes: Vec<_> = hashes.collect();
        hashes.sort_unstable();
        self.number(hashes.len());
        for hash in hashes {
            self.bytes(&hash);
        }
    }

    fn rule(&mut self, rule: &Rule) {
        let Rule {
            scope,
            requirement,
            mode,
            pods: Pods { namespaces, labels },
            name: _,
        } = rule;
        self.set(
            namespaces
                .iter()
                .map(|namespace| encoded(|encoder| encoder.text(namespace))),
        );
        self.set(labels.iter().map(|(name, value)| {
            encoded(|encoder| {
                encoder.text(name);
                encoder.text(value);
            })
        }));
        self.text(scope.as_str());
        self.text(mode.as_str());
        self.text(requirement.as_str());
        match requirement {
            Requirement::Digest(digests) => {
                self.set(
                    digests
                        .iter()
                        .map(|digest| encoded(|encoder| encoder.text(&digest.to_string()))),
                );
            }
            Requirement::InsecureAcceptAnything | Requirement::Reject => {}
            Requirement::Signed(signed) => self.signed(signed),
        }
    }

    fn signed(&mut self, signed: &Signed) {
        let Signed {
            keys,
            threshold,
            formats,
            signed_repository,
        } = signed;
        self.number(threshold.get());
        self.set(keys.iter().map(|key| encoded(|encoder| encoder.key(key))));
        self.set(
            formats
                .iter()
                .map(|format| encoded(|encoder| encoder.text(format.as_str()))),
        );
        match signed_repository {
            None => self.number(0),
            Some(SignedRepository::Exact(name)) => {
                self.number(1);
                self.text(name);
            }
            Some(SignedRepository::Prefix(prefix)) => {
                self.number(2);
                self.text(prefix);
            }
        }
    }

    fn key(&mut self, key: &TrustedKey) {
        let TrustedKey {
            name,
            public_key,
            algorithms,
            salt,
            kms_key_id,
            kms_key_version_id,
            not_before,
            not_after,
            revoked,
        } = key;
        // A verdict names the key that signed.
        self.text(name);
        self.bytes(&public_key.fingerprint().0);
        self.set(
            algorithms
                .iter()
                .map(|algorithm| encoded(|encoder| encoder.text(algorithm.as_str()))),
        );
        self.text(match salt {
            Salt::Any => "any",
            Salt::Digest => "digest",
        });
        self.optional(kms_key_id.as_deref());
        self.optional(kms_key_version_id.as_deref());
        self.instant(*not_before);
        self.instant(*not_after);
        self.number(usize::from(*revoked));
    }

    fn registry(&mut self, registry: &RegistryConfig) {
        let RegistryConfig {
            host,
            endpoints,
            ca,
            credentials,
            signatures,
        } = registry;
        self.text(host);
        self.number(endpoints.len());
        for endpoint in endpoints {
            self.text(endpoint.as_str());
        }
        self.bytes(ca.as_deref().unwrap_or_default());
        // What is in a file of credentials may change at any time; where it lies says nothing.
        match credentials {
            Credentials::Anonymous => self.text("anonymous"),
            Credentials::File(_) => self.text("file"),
            Credentials::Helper(name) => {
                self.text("helper");
                self.text(name);
            }
            Credentials::Passthrough => self.text("passthrough"),
        }
        self.number(signatures.len());
        for source in signatures {
            self.text(source.as_str());
        }
    }

    fn oracle(&mut self, source: &OracleRegistryConfig) {
        let OracleRegistryConfig {
            artifacts,
            compartment_id,
            in_subtree,
            identity,
            // The registry's own, which is hashed there.
            ca: _,
        } = source;
        self.text(artifacts.as_url().as_str());
        self.optional(compartment_id.as_ref().map(Ocid::as_str));
        self.number(usize::from(*in_subtree));
        // As with credentials: what is in the file may change at any time.
        match identity.instance_principal() {
            None => self.text("config-file"),
            Some(principal) => {
                self.text("instance-principal");
                let metadata = principal
                    .metadata
                    .as_ref()
                    .map(|service| service.as_url().as_str());
                self.optional(metadata);
                let federation = principal.federation.as_ref();
                self.optional(federation.map(|endpoint| endpoint.as_url().as_str()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
