//! The Kubernetes pods to which a rule applies.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// The pod for which an image is pulled, as the kubelet describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// The labels. The author of a pod chooses them.
    pub labels: HashMap<String, String>,
}

/// The pods to which a rule applies. The default applies to all pods, and to pulls without a known pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// The namespaces of the pods; an empty set stands for all namespaces.
    pub namespaces: BTreeSet<String>,
    /// Labels that the pods all have; an empty map does not restrict them.
    pub labels: BTreeMap<String, String>,
}

impl Pods {
    /// Returns whether every pull is included.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.namespaces.is_empty() && self.labels.is_empty()
    }

    /// Returns whether this pod is included.
    pub(super) fn include(&self, pod: &Pod) -> bool {
        let mut labels = self.labels.iter();
        (self.namespaces.is_empty() || self.namespaces.contains(&pod.namespace))
            && labels.all(|(name, value)| pod.labels.get(name) == Some(value))
    }

    /// Returns whether both have the same labels and share a namespace, or both name none: then neither would precede the
    /// other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let shared = if self.namespaces.is_empty() || other.namespaces.is_empty() {
            self.namespaces.is_empty() && other.namespaces.is_empty()
        } else {
            !self.namespaces.is_disjoint(&other.namespaces)
        };
        self.labels == other.labels && shared
    }

    /// Orders the pods of two rules with the same scope that both include a pod. `Less` means that `self` precedes: more
    /// labels first, then a named namespace, then labels in alphabetical order.
    pub(super) fn cmp_precedence(&self, other: &Self) -> Ordering {
        let order = |pods: &Self| (Reverse(pods.labels.len()), pods.namespaces.is_empty());
        order(self)
            .cmp(&order(other))
            .then_with(|| self.labels.cmp(&other.labels))
    }
}

impl fmt::Display for Pods {
    /// Writes the suffix of a rule's name: ` in prod, test with tier=web`, or nothing if every pull is included.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.namespaces.is_empty() {
            let namespaces: Vec<&str> = self.namespaces.iter().map(String::as_str).collect();
            write!(formatter, " in {}", namespaces.join(", "))?;
        }
        if !self.labels.is_empty() {
            let labels = self.labels.iter().map(|(name, value)| format!("{name}={value}"));
            write!(formatter, " with {}", labels.collect::<Vec<_>>().join(", "))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
