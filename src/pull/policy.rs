//! Which rule speaks for an image. Pure: names resolved, lists never empty, no IO.

mod pods;
mod scope;

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::sync::Arc;

pub use pods::{Pod, Pods};
use scope::ScopeIndex;
pub use scope::{Scope, ScopeError};

use crate::oci::{Digest, Repository};
use crate::signature::FormatName;
use crate::trust::TrustedKey;

/// All rules, as one value that is swapped whole.
#[derive(Debug)]
pub struct Policy {
    default: DefaultAction,
    denied: BTreeSet<Digest>,
    rules: ScopeIndex<Arc<Rule>>,
    /// Those that speak for one namespace alone.
    by_namespace: BTreeMap<String, ScopeIndex<Arc<Rule>>>,
    /// Those that speak for pods with some labels alone: which one speaks before the other of one scope.
    by_labels: ScopeIndex<Vec<Arc<Rule>>>,
    all: Vec<Arc<Rule>>,
    keys: Vec<Arc<TrustedKey>>,
    generation: Generation,
}

/// What happens to an image that no rule speaks for. There is no unnamed default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DefaultAction {
    /// `"insecure-accept-anything"`.
    InsecureAcceptAnything,
    /// `"reject"`.
    Reject,
}

impl DefaultAction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Reject, Self::InsecureAcceptAnything];

    /// As the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InsecureAcceptAnything => "insecure-accept-anything",
            Self::Reject => "reject",
        }
    }
}

/// SHA-256 over everything that a verdict depends on: rules, keys, deny list, registries. Two loads of one
/// configuration have one generation, so what was admitted survives a restart; any change makes another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Generation(pub [u8; 32]);

impl std::fmt::Display for Generation {
    /// The first 12 hexadecimal digits: enough to compare by eye.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(hex::encode(self.0).get(..12).unwrap_or_default())
    }
}

/// One `[[rule]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// What it speaks for.
    pub scope: Scope,
    /// What it wants.
    pub requirement: Requirement,
    /// Whether a failure blocks.
    pub mode: Mode,
    /// The Kubernetes pods whose pulls it speaks for.
    pub pods: Pods,
    /// As people and logs name it: the scope, and the pods.
    pub name: String,
}

impl Rule {
    /// A rule of these parts.
    #[must_use]
    pub fn new(scope: Scope, requirement: Requirement, mode: Mode, pods: Pods) -> Self {
        Self {
            name: format!("{scope}{pods}"),
            scope,
            requirement,
            mode,
            pods,
        }
    }

    /// The name that must have been signed for an image of `repository`: what the rule says for a mirror, else the name
    /// that Oracle's client signs ([`signed_name`]).
    #[must_use]
    pub fn signed_name(&self, repository: &Repository) -> String {
        match &self.requirement {
            Requirement::Signed(Signed {
                signed_repository: Some(name),
                ..
            }) => name.expected(&self.scope, repository),
            Requirement::Signed(_)
            | Requirement::Digest(_)
            | Requirement::InsecureAcceptAnything
            | Requirement::Reject => signed_name(repository).to_owned(),
        }
    }
}

/// The name that Oracle's client signs for a repository: without host, and on OCI Container Registry without the
/// tenancy's namespace, which is the first part of the path (`phx.ocir.io/<namespace>/project01/acme` is signed as
/// `project01/acme`; fnproject/cli `getRepositoryName`). Elsewhere the whole path.
#[must_use]
pub fn signed_name(repository: &Repository) -> &str {
    let host = repository
        .registry()
        .split_once(':')
        .map_or(repository.registry(), |(host, _)| host);
    let path = repository.path();
    if host.split('.').any(|label| label == "ocir") {
        path.split_once('/').map_or(path, |(_, name)| name)
    } else {
        path
    }
}

/// What a rule wants.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// One of these digests, and nothing else. Never empty.
    Digest(BTreeSet<Digest>),
    /// Anything goes.
    InsecureAcceptAnything,
    /// Nothing goes.
    Reject,
    /// Signed by enough distinct keys.
    Signed(Signed),
}

impl Requirement {
    /// As the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(&self) -> &'static str {
        match self {
            Self::Digest(_) => "digest",
            Self::InsecureAcceptAnything => "insecure-accept-anything",
            Self::Reject => "reject",
            Self::Signed(_) => "signed",
        }
    }
}

/// Signed by whom, how often, in which formats, under which name.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The keys. Never empty.
    pub keys: Vec<Arc<TrustedKey>>,
    /// How many distinct keys (by fingerprint) must have signed.
    pub threshold: NonZeroUsize,
    /// The formats that count. Never empty.
    pub formats: BTreeSet<FormatName>,
    /// The repository that must have been signed, where it differs from the one pulled.
    pub signed_repository: Option<SignedRepository>,
}

/// The repository that must have been signed: for images that were signed under one name and are pulled under another
/// (mirrors, and registries whose signed names leave out a part).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedRepository {
    /// This one, whatever is pulled.
    Exact(String),
    /// This, and below it whatever the `**` of the rule's scope matched. Empty where that alone is the name.
    Prefix(String),
}

impl SignedRepository {
    /// The repository that must have been signed for a pull of `repository` under a rule of this scope. Empty, which
    /// nobody signs, when the `**` of both stands for nothing.
    #[must_use]
    pub fn expected(&self, scope: &Scope, repository: &Repository) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Prefix(prefix) => {
                // A scope is a host, whole parts, and `**`: each part in the middle took exactly one of the path.
                let fixed = scope.as_str().split('/').count().saturating_sub(2);
                let matched = repository.path().split('/').skip(fixed);
                let parts: Vec<&str> = prefix
                    .split('/')
                    .chain(matched)
                    .filter(|part| !part.is_empty())
                    .collect();
                parts.join("/")
            }
        }
    }
}

impl std::fmt::Display for SignedRepository {
    /// As the configuration spells it.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Prefix(prefix) if prefix.is_empty() => formatter.write_str("**"),
            Self::Prefix(prefix) => write!(formatter, "{prefix}/**"),
        }
    }
}

/// Whether a failure blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// It blocks.
    Enforce,
    /// It is recorded, and the pull goes through.
    Warn,
}

impl Mode {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Warn];

    /// As the configuration and `--json` spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

/// The rule that speaks for an image.
#[derive(Clone, Debug)]
pub enum EffectiveRule {
    /// The most specific rule that matches.
    Rule(Arc<Rule>),
    /// None does: the default.
    Default(DefaultAction),
}

impl EffectiveRule {
    /// The scope of the rule, or `default`: how people and logs name it.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Rule(rule) => &rule.name,
            Self::Default(_) => "default",
        }
    }

    /// The name of the rule where it speaks for some pods alone: what was found under it says nothing of others.
    #[must_use]
    pub fn pod_rule_name(&self) -> Option<&str> {
        match self {
            Self::Rule(rule) if !rule.pods.is_unrestricted() => Some(&rule.name),
            Self::Rule(_) | Self::Default(_) => None,
        }
    }
}

/// Two rules have the same scope and pods: which one speaks would be chance.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the scope `{scope}` stands in two rules")]
pub struct DuplicateScope {
    /// The scope.
    pub scope: String,
    /// Index of the second rule in the list that was given.
    pub second: usize,
}

/// Of two rules the one with the more specific scope; of one scope the first.
fn more_specific<'a>(first: Option<&'a Arc<Rule>>, second: Option<&'a Arc<Rule>>) -> Option<&'a Arc<Rule>> {
    match (first, second) {
        (Some(first), Some(second)) if second.scope.is_more_specific_than(&first.scope) => Some(second),
        (first, second) => first.or(second),
    }
}

impl Policy {
    /// A policy of these rules.
    ///
    /// # Errors
    /// [`DuplicateScope`] when two rules have the same scope and pods.
    pub fn new(
        default: DefaultAction,
        rules: Vec<Rule>,
        denied: BTreeSet<Digest>,
        keys: Vec<Arc<TrustedKey>>,
        generation: Generation,
    ) -> Result<Self, DuplicateScope> {
        let mut index = ScopeIndex::default();
        let mut namespaced: BTreeMap<String, ScopeIndex<_>> = BTreeMap::new();
        let mut labelled: ScopeIndex<Vec<Arc<Rule>>> = ScopeIndex::default();
        let mut listed = Vec::with_capacity(rules.len());
        for (second, rule) in rules.into_iter().map(Arc::new).enumerate() {
            let is_second = if !rule.pods.labels.is_empty() {
                let here = labelled.entry(&rule.scope).get_or_insert_default();
                let is_second = here.iter().any(|other| other.pods.overlaps(&rule.pods));
                here.push(Arc::clone(&rule));
                here.sort_by(|one, other| one.pods.cmp_precedence(&other.pods));
                is_second
            } else if rule.pods.namespaces.is_empty() {
                index.insert(&rule.scope, Arc::clone(&rule)).is_some()
            } else {
                let mut replaced = None;
                for namespace in &rule.pods.namespaces {
                    let index = namespaced.entry(namespace.clone()).or_default();
                    replaced = replaced.or(index.insert(&rule.scope, Arc::clone(&rule)));
                }
                replaced.is_some()
            };
            if is_second {
                return Err(DuplicateScope {
                    scope: rule.scope.as_str().to_owned(),
                    second,
                });
            }
            listed.push(rule);
        }
        listed
            .sort_by(|one, other| (one.scope.as_str(), &one.name).cmp(&(other.scope.as_str(), &other.name)));
        Ok(Self {
            default,
            denied,
            rules: index,
            by_namespace: namespaced,
            by_labels: labelled,
            all: listed,
            keys,
            generation,
        })
    }

    /// The rule that speaks for this repository: the most specific one alone. `pod` is what an image is pulled for, where
    /// that is known: of the rules for one scope, one for its labels speaks before one for its namespace, and that before
    /// the one for all.
    #[must_use]
    pub fn effective_rule(&self, repository: &Repository, pod: Option<&Pod>) -> EffectiveRule {
        let general = self.rules.most_specific(repository);
        let of_namespace = pod
            .and_then(|pod| self.by_namespace.get(&pod.namespace))
            .and_then(|rules| rules.most_specific(repository));
        let of_labels = pod.and_then(|pod| {
            self.by_labels.most_specific_with(repository, &|rules| {
                rules.iter().find(|rule| rule.pods.include(pod))
            })
        });
        let rule = more_specific(of_labels, more_specific(of_namespace, general));
        rule.map_or(EffectiveRule::Default(self.default), |rule| {
            EffectiveRule::Rule(Arc::clone(rule))
        })
    }

    /// Whether the administrator denied this digest, whatever is signed.
    #[must_use]
    pub fn denies(&self, digest: &Digest) -> bool {
        self.denied.contains(digest)
    }

    /// The denied digest that these bytes have, under whichever algorithm they were asked for: a list of `sha256:…` would
    /// not stop the same manifest by its `sha512:…`.
    #[must_use]
    pub fn denied_digest_of(&self, bytes: &[u8]) -> Option<Digest> {
        if self.denied.is_empty() {
            return None;
        }
        Digest::all_of(bytes)
            .into_iter()
            .find(|digest| self.denies(digest))
    }

    /// What happens to an image that no rule speaks for.
    #[must_use]
    pub const fn default_action(&self) -> DefaultAction {
        self.default
    }

    /// Every rule, by scope.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.all
    }

    /// Every digest that is never let through.
    #[must_use]
    pub const fn denied(&self) -> &BTreeSet<Digest> {
        &self.denied
    }

    /// Every key that was loaded.
    #[must_use]
    pub fn keys(&self) -> &[Arc<TrustedKey>] {
        &self.keys
    }

    /// Which policy this is.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }
}
