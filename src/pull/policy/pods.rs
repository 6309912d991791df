//! For which Kubernetes pods a rule speaks.

use std::cmp::{Ordering, Reverse};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

/// A pod that an image is pulled for, as the kubelet says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pod {
    /// The namespace.
    pub namespace: String,
    /// The labels; who makes a pod chooses them.
    pub labels: HashMap<String, String>,
}

/// The pods that a rule speaks for. With nothing in it: all, and pulls of which no pod is known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pods {
    /// Those in one of these namespaces; empty: in any.
    pub namespaces: BTreeSet<String>,
    /// Those that have all of these labels; empty: with whatever labels.
    pub labels: BTreeMap<String, String>,
}

impl Pods {
    /// Whether it is every pull.
    #[must_use]
    pub fn is_unrestricted(&self) -> bool {
        self.namespaces.is_empty() && self.labels.is_empty()
    }

    /// Whether this pod is among them.
    pub(super) fn include(&self, pod: &Pod) -> bool {
        let mut labels = self.labels.iter();
        (self.namespaces.is_empty() || self.namespaces.contains(&pod.namespace))
            && labels.all(|(name, value)| pod.labels.get(name) == Some(value))
    }

    /// Whether both name a namespace, or all of them, with the same labels: then neither would speak before the other.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        let shared = if self.namespaces.is_empty() || other.namespaces.is_empty() {
            self.namespaces.is_empty() && other.namespaces.is_empty()
        } else {
            !self.namespaces.is_disjoint(&other.namespaces)
        };
        self.labels == other.labels && shared
    }

    /// Which of two for one scope speaks, where a pod is among both: that with more labels, that which names the
    /// namespace, that whose labels are first in the alphabet.
    pub(super) fn cmp_precedence(&self, other: &Self) -> Ordering {
        let order = |pods: &Self| (Reverse(pods.labels.len()), pods.namespaces.is_empty());
        order(self)
            .cmp(&order(other))
            .then_with(|| self.labels.cmp(&other.labels))
    }
}

/// As it follows a scope: ` in prod, test with tier=web`; nothing where it is every pull.
impl fmt::Display for Pods {
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
