//! The generation of a policy: SHA-256 over everything that a verdict depends on, independent of the order in the files.

use std::collections::BTreeSet;

use super::rules::Rules;
use crate::base::canonical_hash::CanonicalHash;
use crate::net::oracle::{Ocid, OracleRegistryConfig};
use crate::net::registry::{Credentials, RegistryConfig};
use crate::oci::Digest;
use crate::pull::policy::{DefaultAction, Generation, Pods, Requirement, Rule, Signed, SignedRepository};

/// The first text in the hash. Its number is increased when a release of pullgate decides differently under the same
/// configuration, so that stored derivations of the earlier release are not used.
const DOMAIN: &str = "pullgate generation 2";

/// Computes the generation of these settings. Paths, comments and the order of tables are not part of it, so that files of
/// the same meaning have the same generation.
pub(super) fn generation(
    default: DefaultAction,
    rules: &Rules,
    denied: &BTreeSet<Digest>,
    registries: &[RegistryConfig],
    oracle: &[(String, OracleRegistryConfig)],
) -> Generation {
    Generation(CanonicalHash::digest(|hash| {
        hash.text(DOMAIN);
        hash.text(default.as_str());
        hash.set(
            rules
                .iter()
                .map(|(rule, _)| CanonicalHash::digest(|hash| hash_rule(hash, rule))),
        );
        hash.set(
            denied
                .iter()
                .map(|digest| CanonicalHash::digest(|hash| hash.text(&digest.to_string()))),
        );
        hash.set(
            registries
                .iter()
                .map(|registry| CanonicalHash::digest(|hash| hash_registry(hash, registry))),
        );
        hash.set(oracle.iter().map(|(host, source)| {
            CanonicalHash::digest(|hash| {
                hash.text(host);
                hash_oracle(hash, source);
            })
        }));
    }))
}

fn hash_rule(hash: &mut CanonicalHash, rule: &Rule) {
    let Rule {
        scope,
        requirement,
        mode,
        pods: Pods { namespaces, labels },
        name: _,
    } = rule;
    hash.set(
        namespaces
            .iter()
            .map(|namespace| CanonicalHash::digest(|hash| hash.text(namespace))),
    );
    hash.set(labels.iter().map(|(name, value)| {
        CanonicalHash::digest(|hash| {
            hash.text(name);
            hash.text(value);
        })
    }));
    hash.text(scope.as_str());
    hash.text(mode.as_str());
    hash.text(requirement.as_str());
    match requirement {
        Requirement::Digest(digests) => {
            hash.set(
                digests
                    .iter()
                    .map(|digest| CanonicalHash::digest(|hash| hash.text(&digest.to_string()))),
            );
        }
        Requirement::InsecureAcceptAnything | Requirement::Reject => {}
        Requirement::Signed(signed) => hash_signed(hash, signed),
    }
}

fn hash_signed(hash: &mut CanonicalHash, signed: &Signed) {
    let Signed {
        authorities,
        threshold,
        formats,
        signed_repository,
    } = signed;
    hash.number(threshold.get());
    hash.set(authorities.iter().map(|authority| {
        let facts = authority.facts();
        CanonicalHash::digest(|hash| {
            hash.text(facts.kind());
            facts.hash_into(hash);
        })
    }));
    hash.set(
        formats
            .iter()
            .map(|format| CanonicalHash::digest(|hash| hash.text(format.as_str()))),
    );
    match signed_repository {
        None => hash.number(0),
        Some(SignedRepository::Exact(name)) => {
            hash.number(1);
            hash.text(name);
        }
        Some(SignedRepository::Prefix(prefix)) => {
            hash.number(2);
            hash.text(prefix);
        }
    }
}

fn hash_registry(hash: &mut CanonicalHash, registry: &RegistryConfig) {
    let RegistryConfig {
        host,
        endpoints,
        ca,
        credentials,
        signatures,
    } = registry;
    hash.text(host);
    hash.number(endpoints.len());
    for endpoint in endpoints {
        hash.text(endpoint.as_str());
    }
    hash.bytes(ca.as_deref().unwrap_or_default());
    // The content of a credentials file may change at any time, and its path says nothing about it.
    match credentials {
        Credentials::Anonymous => hash.text("anonymous"),
        Credentials::File(_) => hash.text("file"),
        Credentials::Helper(name) => {
            hash.text("helper");
            hash.text(name);
        }
        Credentials::Passthrough => hash.text("passthrough"),
    }
    hash.number(signatures.len());
    for source in signatures {
        hash.text(source.as_str());
    }
}

fn hash_oracle(hash: &mut CanonicalHash, source: &OracleRegistryConfig) {
    let OracleRegistryConfig {
        artifacts,
        compartment_id,
        in_subtree,
        identity,
        // The registry's own, which is hashed there.
        ca: _,
    } = source;
    hash.text(artifacts.as_url().as_str());
    hash.optional(compartment_id.as_ref().map(Ocid::as_str));
    hash.number(usize::from(*in_subtree));
    // As with credentials: what is in the file may change at any time.
    match identity.instance_principal() {
        None => hash.text("config-file"),
        Some(principal) => {
            hash.text("instance-principal");
            let metadata = principal
                .metadata
                .as_ref()
                .map(|service| service.as_url().as_str());
            hash.optional(metadata);
            let federation = principal.federation.as_ref();
            hash.optional(federation.map(|endpoint| endpoint.as_url().as_str()));
        }
    }
}

#[cfg(test)]
mod tests;
