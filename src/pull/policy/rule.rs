//! One rule: the images to which it applies, and its requirement.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::{DefaultAction, Pods, Scope};
use crate::oci::{Digest, Repository};
use crate::signature::{FormatName, RequiredRepository};
use crate::trust::Authority;

/// One `[[rule]]`.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The repositories to which the rule applies.
    pub scope: Scope,
    /// The requirement that an image has to meet.
    pub requirement: Requirement,
    /// Whether a failure blocks the pull.
    pub mode: Mode,
    /// The Kubernetes pods to whose pulls the rule applies.
    pub pods: Pods,
    /// The name in logs and messages: the scope, followed by the pods.
    pub name: String,
}

impl Rule {
    /// Makes a rule, and its name from scope and pods.
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

    /// Returns the repository that must have been signed for an image of `repository`.
    #[must_use]
    pub fn required_repository(&self, repository: &Repository) -> RequiredRepository {
        match &self.requirement {
            Requirement::Signed(Signed {
                signed_repository: Some(name),
                ..
            }) => RequiredRepository::Named(name.expected(&self.scope, repository)),
            Requirement::Signed(_)
            | Requirement::Digest(_)
            | Requirement::InsecureAcceptAnything
            | Requirement::Reject => RequiredRepository::AsPulled,
        }
    }
}

/// The requirement of a rule.
#[derive(Clone, Debug)]
pub enum Requirement {
    /// The image has one of these digests. The set is never empty.
    Digest(BTreeSet<Digest>),
    /// Every image is accepted.
    InsecureAcceptAnything,
    /// Every image is rejected.
    Reject,
    /// The image is signed by enough distinct keys.
    Signed(Signed),
}

impl Requirement {
    /// Returns the spelling of the configuration and of `--json`.
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

/// The signatures that a rule requires.
#[derive(Clone, Debug)]
pub struct Signed {
    /// The authorities whose signatures count. Never empty.
    pub authorities: Vec<Arc<Authority>>,
    /// The number of distinct signers that must have signed.
    pub threshold: NonZeroUsize,
    /// The formats that count. Never empty.
    pub formats: BTreeSet<FormatName>,
    /// The repository that must have been signed, where it differs from the one that is pulled.
    pub signed_repository: Option<SignedRepository>,
}

/// The repository that must have been signed, for images that are signed under one name and pulled under another (from
/// mirrors, and from registries whose signed names leave out a part).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignedRepository {
    /// This repository, whichever one is pulled.
    Exact(String),
    /// This prefix, followed by the parts that the `**` of the rule's scope matched. An empty prefix stands for those
    /// parts alone.
    Prefix(String),
}

impl SignedRepository {
    /// Returns the repository that must have been signed for a pull of `repository` under a rule of this scope. The name
    /// is empty, and so matches no signature, when the prefix is empty and the `**` of the scope matched no part.
    #[must_use]
    pub fn expected(&self, scope: &Scope, repository: &Repository) -> String {
        match self {
            Self::Exact(name) => name.clone(),
            Self::Prefix(prefix) => {
                // A scope is a host, whole parts, and `**`: each part in the middle matched exactly one part of the path.
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
    /// Writes the spelling of the configuration.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => formatter.write_str(name),
            Self::Prefix(prefix) if prefix.is_empty() => formatter.write_str("**"),
            Self::Prefix(prefix) => write!(formatter, "{prefix}/**"),
        }
    }
}

/// Whether a failure blocks the pull.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mode {
    /// A failure blocks the pull.
    Enforce,
    /// A failure is recorded, and the pull goes through.
    Warn,
}

impl Mode {
    /// Both modes, the safe one first.
    pub const ALL: [Self; 2] = [Self::Enforce, Self::Warn];

    /// Returns the spelling of the configuration and of `--json`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

/// The rule that applies to an image, or the default action.
#[derive(Clone, Debug)]
pub enum EffectiveRule {
    /// The most specific rule that matches.
    Rule(Arc<Rule>),
    /// The default action, because no rule matches.
    Default(DefaultAction),
}

impl EffectiveRule {
    /// Returns the name in logs and messages: that of the rule, or `default`.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Rule(rule) => &rule.name,
            Self::Default(_) => "default",
        }
    }

    /// Returns the name of a rule that applies to some pods only, and `None` for any other rule. A verdict under such a
    /// rule does not hold for other pods.
    #[must_use]
    pub fn pod_rule_name(&self) -> Option<&str> {
        match self {
            Self::Rule(rule) if !rule.pods.is_unrestricted() => Some(&rule.name),
            Self::Rule(_) | Self::Default(_) => None,
        }
    }

    /// Returns the rule and its signatures, where it requires signatures.
    #[must_use]
    pub fn signed(&self) -> Option<(&Arc<Rule>, &Signed)> {
        match self {
            Self::Rule(rule) => match &rule.requirement {
                Requirement::Signed(signed) => Some((rule, signed)),
                Requirement::Digest(_) | Requirement::InsecureAcceptAnything | Requirement::Reject => None,
            },
            Self::Default(_) => None,
        }
    }

    /// Returns whether every image is accepted.
    #[must_use]
    pub fn accepts_anything(&self) -> bool {
        match self {
            Self::Rule(rule) => matches!(rule.requirement, Requirement::InsecureAcceptAnything),
            Self::Default(default) => *default == DefaultAction::InsecureAcceptAnything,
        }
    }

    /// Returns whether failures are only recorded.
    #[must_use]
    pub fn only_warns(&self) -> bool {
        match self {
            Self::Rule(rule) => rule.mode == Mode::Warn,
            Self::Default(_) => false,
        }
    }
}
