//! The policy: which rule applies to an image. Pure: names are resolved, lists are never empty, and no I/O happens.

mod default_action;
mod generation;
mod pods;
mod rule;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use default_action::DefaultAction;
pub use generation::Generation;
pub use pods::{Pod, Pods};
pub use rule::{EffectiveRule, Mode, Requirement, Rule, Signed, SignedRepository};
use scope::ScopeIndex;
pub use scope::{Scope, ScopeError};

use crate::oci::{Digest, Repository};
use crate::trust::{Authority, TrustedKey};

/// All rules, as one value that a reload swaps whole.
#[derive(Debug)]
pub struct Policy {
    default: DefaultAction,
    denied: BTreeSet<Digest>,
    /// Rules that apply to all pods.
    rules: ScopeIndex<Arc<Rule>>,
    /// Rules that apply to a namespace, by namespace.
    by_namespace: BTreeMap<String, ScopeIndex<Arc<Rule>>>,
    /// Rules that apply to pods with some labels: for each scope, in the order of their precedence.
    by_labels: ScopeIndex<Vec<Arc<Rule>>>,
    all: Vec<Arc<Rule>>,
    authorities: Vec<Arc<Authority>>,
    generation: Generation,
}

/// Two rules have the same scope and pods, so it would be chance which of them applies.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two rules have the scope `{scope}`")]
pub struct DuplicateScope {
    /// The scope of both.
    pub scope: String,
    /// The index of the second rule in the list of rules.
    pub second: usize,
}

/// Returns the rule with the more specific scope, or `first` if the scopes are the same.
fn more_specific<'a>(first: Option<&'a Arc<Rule>>, second: Option<&'a Arc<Rule>>) -> Option<&'a Arc<Rule>> {
    match (first, second) {
        (Some(first), Some(second)) if second.scope.is_more_specific_than(&first.scope) => Some(second),
        (first, second) => first.or(second),
    }
}

impl Policy {
    /// Makes a policy of these rules.
    ///
    /// # Errors
    /// Returns [`DuplicateScope`] when two rules have the same scope and pods.
    pub fn new(
        default: DefaultAction,
        rules: Vec<Rule>,
        denied: BTreeSet<Digest>,
        authorities: Vec<Arc<Authority>>,
        generation: Generation,
    ) -> Result<Self, DuplicateScope> {
        let mut index = ScopeIndex::default();
        let mut by_namespace: BTreeMap<String, ScopeIndex<_>> = BTreeMap::new();
        let mut by_labels: ScopeIndex<Vec<Arc<Rule>>> = ScopeIndex::default();
        let mut all = Vec::with_capacity(rules.len());
        for (position, rule) in rules.into_iter().map(Arc::new).enumerate() {
            let is_duplicate = if !rule.pods.labels.is_empty() {
                let same_scope = by_labels.entry(&rule.scope).get_or_insert_default();
                let is_duplicate = same_scope.iter().any(|other| other.pods.overlaps(&rule.pods));
                same_scope.push(Arc::clone(&rule));
                same_scope.sort_by(|one, other| one.pods.cmp_precedence(&other.pods));
                is_duplicate
            } else if rule.pods.namespaces.is_empty() {
                index.insert(&rule.scope, Arc::clone(&rule)).is_some()
            } else {
                let mut replaced = None;
                for namespace in &rule.pods.namespaces {
                    let index = by_namespace.entry(namespace.clone()).or_default();
                    replaced = replaced.or(index.insert(&rule.scope, Arc::clone(&rule)));
                }
                replaced.is_some()
            };
            if is_duplicate {
                return Err(DuplicateScope {
                    scope: rule.scope.as_str().to_owned(),
                    second: position,
                });
            }
            all.push(rule);
        }
        all.sort_by(|one, other| (one.scope.as_str(), &one.name).cmp(&(other.scope.as_str(), &other.name)));
        Ok(Self {
            default,
            denied,
            rules: index,
            by_namespace,
            by_labels,
            all,
            authorities,
            generation,
        })
    }

    /// Returns the rule that applies to this repository: only the most specific one. `pod` is the pod for which the image
    /// is pulled, where that is known. Among rules with the same scope, a rule for the pod's labels precedes a rule for its
    /// namespace, and that precedes the rule for all pods.
    #[must_use]
    pub fn effective_rule(&self, repository: &Repository, pod: Option<&Pod>) -> EffectiveRule {
        let general = self.rules.most_specific(repository);
        let for_namespace = pod
            .and_then(|pod| self.by_namespace.get(&pod.namespace))
            .and_then(|rules| rules.most_specific(repository));
        let for_labels = pod.and_then(|pod| {
            self.by_labels.most_specific_with(repository, &|rules| {
                rules.iter().find(|rule| rule.pods.include(pod))
            })
        });
        let rule = more_specific(for_labels, more_specific(for_namespace, general));
        rule.map_or(EffectiveRule::Default(self.default), |rule| {
            EffectiveRule::Rule(Arc::clone(rule))
        })
    }

    /// Returns whether this digest is on the deny list, which no signature overrides.
    #[must_use]
    pub fn denies(&self, digest: &Digest) -> bool {
        self.denied.contains(digest)
    }

    /// Returns the denied digest of these bytes, under any algorithm: a deny list of `sha256:…` must also stop a pull of the
    /// same manifest by its `sha512:…`.
    #[must_use]
    pub fn denied_digest_of(&self, bytes: &[u8]) -> Option<Digest> {
        if self.denied.is_empty() {
            return None;
        }
        Digest::all_of(bytes)
            .into_iter()
            .find(|digest| self.denies(digest))
    }

    /// Returns what happens to an image to which no rule applies.
    #[must_use]
    pub const fn default_action(&self) -> DefaultAction {
        self.default
    }

    /// Returns all rules, sorted by scope.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// Returns the deny list.
    #[must_use]
    pub const fn denied(&self) -> &BTreeSet<Digest> {
        &self.denied
    }

    /// Returns all keys of the configuration, whether a rule names them or not.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &TrustedKey> {
        self.authorities.iter().map(|authority| {
            let Authority::Key(key) = authority.as_ref();
            key
        })
    }

    /// Returns the identity of this policy.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }
}

#[cfg(test)]
mod tests;
