//! The verdict. Only this module makes a [`Permit`].

mod explain;

use std::sync::Arc;
use std::time::Duration;

pub use explain::{ExplainStep, explain};
use http::HeaderValue;
use jiff::Timestamp;

use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::net::registry::RegistryError;
use crate::oci::{Blob, ChildKind, Digest, Document, Reference, Repository};
use crate::pull::policy::{DefaultAction, EffectiveRule, Generation, Mode, Policy, Requirement};
use crate::pull::resolve::{ResolveError, Subject};
use crate::pull::verify::{CheckedSignature, Evidence};

/// Leave to serve one manifest: the one that was judged, by its digest. Only this module makes one.
///
/// A caller can pass a permit on, and cannot make one: its fields are private.
///
/// ```
/// use pullgate::pull::decide::{Permit, Verdict};
/// fn serve(permit: Permit) -> Verdict {
///     Verdict::Allow(permit)
/// }
/// ```
///
/// ```compile_fail
/// use pullgate::pull::decide::{Permit, Verdict};
/// fn forge(permit: Permit) -> Verdict {
///     Verdict::Allow(Permit { ..permit })
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Permit {
    subject: Arc<Subject>,
    warning: Option<Box<Denial>>,
}

impl Permit {
    /// What was judged.
    #[must_use]
    pub fn subject(&self) -> &Subject {
        &self.subject
    }

    /// The bytes to serve.
    #[must_use]
    pub fn manifest(&self) -> &Blob {
        &self.subject.manifest
    }

    /// The manifest, parsed.
    #[must_use]
    pub fn document(&self) -> &Document {
        &self.subject.document
    }

    /// What would have blocked the pull, had its rule not said `mode = "warn"`.
    #[must_use]
    pub fn warning(&self) -> Option<&Denial> {
        self.warning.as_deref()
    }

    /// What this permit covers: the manifest itself, and through its checked hashes, of an index its manifests, of a
    /// manifest its configuration and layers. `root` is the manifest that was judged by itself.
    pub fn derivations(&self, root: Digest, generation: Generation) -> impl Iterator<Item = Derivation> {
        let subject = &self.subject;
        let children = subject.document.children();
        let children = children.map(|(child, kind)| (child.digest, kind));
        let all = std::iter::once((*subject.digest(), ChildKind::Manifest)).chain(children);
        all.map(move |(child, kind)| Derivation {
            repository: subject.repository.clone(),
            child,
            kind,
            root,
            generation,
        })
    }
}

/// That an admitted manifest names a child by its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Derivation {
    repository: Repository,
    child: Digest,
    kind: ChildKind,
    root: Digest,
    generation: Generation,
}

impl Derivation {
    /// One that was kept by an earlier process. Whoever writes the state directory is trusted as the process is.
    #[must_use]
    pub const fn new(
        repository: Repository,
        child: Digest,
        kind: ChildKind,
        root: Digest,
        generation: Generation,
    ) -> Self {
        Self {
            repository,
            child,
            kind,
            root,
            generation,
        }
    }

    /// Where.
    #[must_use]
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// What is covered.
    #[must_use]
    pub const fn child(&self) -> &Digest {
        &self.child
    }

    /// How it is asked for.
    #[must_use]
    pub const fn kind(&self) -> ChildKind {
        self.kind
    }

    /// The manifest that was judged by itself.
    #[must_use]
    pub const fn root(&self) -> &Digest {
        &self.root
    }

    /// The policy that it was judged under.
    #[must_use]
    pub const fn generation(&self) -> Generation {
        self.generation
    }
}

/// A pull that was blocked: everything that the person who pulled is told.
#[derive(Clone, Debug)]
pub struct Denial {
    /// The image as it was asked for.
    pub reference: Reference,
    /// The digest that was judged, if it came so far.
    pub digest: Option<Digest>,
    /// The rule that spoke: its scope, or `default`.
    pub rule: String,
    /// The code.
    pub reason: Reason,
    /// What exactly, in a clause.
    pub detail: String,
    /// The origin's `WWW-Authenticate`, when the client should show its own credentials and try again.
    pub challenge: Option<HeaderValue>,
}

impl std::fmt::Display for Denial {
    /// Reason, image, digest, rule, detail, next step: one line, readable in every runtime's own error.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "pullgate: {}: {}", self.reason, self.reference)?;
        if let Some(digest) = self
            .digest
            .filter(|digest| self.reference.digest != Some(*digest))
        {
            write!(formatter, " ({digest})")?;
        }
        let next = self.reason.next_step();
        write!(
            formatter,
            " blocked by rule {}: {}; {next}",
            self.rule, self.detail
        )
    }
}

/// What the gate answers.
#[derive(Clone, Debug)]
pub enum Verdict {
    /// The pull goes through.
    Allow(Permit),
    /// It does not.
    Deny(Box<Denial>),
}

/// A verdict and all that led to it.
#[derive(Clone, Debug)]
pub struct Evaluation {
    /// The verdict.
    pub verdict: Verdict,
    /// The rule that spoke: its scope, or `default`.
    pub rule: String,
    /// What is known of who signed it, where the rule wants to know and it came so far.
    pub evidence: Option<Arc<Evidence>>,
    /// Whether who signed was remembered from an earlier pull.
    pub cached: bool,
    /// How long who signed is remembered from now on, where it is `cached`.
    pub evidence_ttl: Option<Duration>,
    /// The manifest that was judged by itself, where this one is covered by it.
    pub root: Option<Digest>,
}

impl Evaluation {
    /// Every record that was looked at (at most [`crate::base::limits::CANDIDATES`]).
    #[must_use]
    pub fn signatures(&self) -> &[CheckedSignature] {
        self.evidence.as_deref().map_or(&[], |evidence| &evidence.judged)
    }

    /// The digest that was judged, if it came so far.
    #[must_use]
    pub fn digest(&self) -> Option<&Digest> {
        match &self.verdict {
            Verdict::Allow(permit) => Some(permit.subject.digest()),
            Verdict::Deny(denial) => denial.digest.as_ref(),
        }
    }
}

/// What speaks in one pull: the request, the policy, and the rule that covers the image.
#[derive(Clone, Copy, Debug)]
pub struct PullContext<'a> {
    /// The image as it was asked for.
    pub reference: &'a Reference,
    /// All rules.
    pub policy: &'a Policy,
    /// The one that speaks.
    pub ruling: &'a EffectiveRule,
}

impl PullContext<'_> {
    /// What can be said before anything is asked: denied digests, rejecting rules, no rule. Costs no request, so an
    /// unlisted host is never contacted.
    ///
    /// # Errors
    /// The denial.
    pub fn check_rules(self) -> Result<(), Box<Denial>> {
        if let Some(digest) = self.reference.digest {
            self.not_denied(&digest)?;
        }
        match self.ruling {
            EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => Ok(()),
            EffectiveRule::Default(DefaultAction::Reject) => Err(self.denial(
                Reason::NoRule,
                None,
                "no rule covers this image and the default is reject".to_owned(),
            )),
            EffectiveRule::Rule(rule) => match rule.requirement {
                Requirement::Reject => Err(self.denial(
                    Reason::RejectedByRule,
                    None,
                    "the rule rejects every image it covers".to_owned(),
                )),
                Requirement::Digest(_) | Requirement::InsecureAcceptAnything | Requirement::Signed(_) => {
                    Ok(())
                }
            },
        }
    }

    /// Whether the administrator denied this digest. No `mode = "warn"` softens it.
    ///
    /// # Errors
    /// The denial.
    pub fn not_denied(self, digest: &Digest) -> Result<(), Box<Denial>> {
        if self.policy.denies(digest) {
            return Err(self.denied(*digest));
        }
        Ok(())
    }

    /// As [`Self::not_denied`], of content that is at hand, by each digest that it has.
    fn content_not_denied(self, manifest: &Blob) -> Result<(), Box<Denial>> {
        self.policy
            .denied_digest_of(manifest.bytes())
            .map_or(Ok(()), |digest| Err(self.denied(digest)))
    }

    fn denied(self, digest: Digest) -> Box<Denial> {
        let detail = "the digest is on this node's deny list".to_owned();
        self.denial(Reason::DigestDenied, Some(digest), detail)
    }

    /// The verdict on a subject that must speak for itself. `evidence` is wanted where the rule wants signatures.
    #[must_use]
    pub fn decide(self, subject: Arc<Subject>, evidence: Option<&Evidence>, now: Timestamp) -> Verdict {
        if let Err(denial) = self.content_not_denied(&subject.manifest) {
            return Verdict::Deny(denial);
        }
        match self.check_requirement(&subject, evidence, now) {
            Ok(()) => Verdict::Allow(Permit {
                subject,
                warning: None,
            }),
            Err(denial) if self.warns() => Verdict::Allow(Permit {
                subject,
                warning: Some(denial),
            }),
            Err(denial) => Verdict::Deny(denial),
        }
    }

    /// The verdict on a subject that an admitted manifest names by its digest: the signature over that one covers it.
    #[must_use]
    pub fn derived(self, subject: Arc<Subject>, cover: &Derivation) -> Verdict {
        let digest = *subject.digest();
        let covered = cover.child == digest
            && cover.kind == ChildKind::Manifest
            && cover.repository == subject.repository;
        match self
            .content_not_denied(&subject.manifest)
            .and_then(|()| self.not_denied(&cover.root))
        {
            Ok(()) if covered => Verdict::Allow(Permit {
                subject,
                warning: None,
            }),
            Ok(()) => Verdict::Deny(self.not_derived(&digest)),
            Err(denial) => Verdict::Deny(denial),
        }
    }

    /// Whether failures of this rule are only recorded.
    #[must_use]
    pub fn warns(self) -> bool {
        matches!(self.ruling, EffectiveRule::Rule(rule) if rule.mode == Mode::Warn)
    }

    fn check_requirement(
        self,
        subject: &Subject,
        evidence: Option<&Evidence>,
        now: Timestamp,
    ) -> Result<(), Box<Denial>> {
        let digest = subject.digest();
        let rule = match self.ruling {
            EffectiveRule::Default(DefaultAction::InsecureAcceptAnything) => return Ok(()),
            EffectiveRule::Default(DefaultAction::Reject) => return self.check_rules(),
            EffectiveRule::Rule(rule) => rule,
        };
        match &rule.requirement {
            Requirement::InsecureAcceptAnything => Ok(()),
            Requirement::Reject => self.check_rules(),
            Requirement::Digest(digests) if digests.contains(digest) => Ok(()),
            Requirement::Digest(digests) => {
                let detail = format!(
                    "the digest is not one of the {} that the rule lists",
                    digests.len()
                );
                Err(self.denial(Reason::RejectedByRule, Some(*digest), detail))
            }
            Requirement::Signed(signed) => {
                let nothing = Evidence::default();
                let evidence = evidence.unwrap_or(&nothing);
                let signers = evidence.signers(now).len();
                if signers >= signed.threshold.get() {
                    return Ok(());
                }
                let (reason, detail) = primary_failure(evidence, signers, signed.threshold.get(), now);
                Err(self.denial(reason, Some(*digest), detail))
            }
        }
    }

    /// The denial of a subject that could not be read.
    #[must_use]
    pub fn unresolved(self, error: &ResolveError) -> Box<Denial> {
        let (reason, digest, challenge) = match error {
            ResolveError::Manifest { digest, .. } => (Reason::Malformed, Some(*digest), None),
            ResolveError::Registry(error) => {
                let (reason, challenge) = registry_failure(error);
                (reason, None, challenge)
            }
        };
        let mut denial = self.denial(reason, digest, chain(error));
        denial.challenge = challenge;
        denial
    }

    /// The denial of something that no admitted manifest names.
    #[must_use]
    pub fn not_derived(self, digest: &Digest) -> Box<Denial> {
        let detail = "no admitted manifest of this repository names it".to_owned();
        self.denial(Reason::NotDerived, Some(*digest), detail)
    }

    /// A denial of this case.
    #[must_use]
    pub fn denial(self, reason: Reason, digest: Option<Digest>, detail: String) -> Box<Denial> {
        Box::new(Denial {
            reference: self.reference.clone(),
            digest: digest.or(self.reference.digest),
            rule: self.ruling.name().to_owned(),
            reason,
            detail,
            challenge: None,
        })
    }
}

/// What a registry's failure is answered as when the image itself was asked for.
#[must_use]
pub fn registry_failure(error: &RegistryError) -> (Reason, Option<HeaderValue>) {
    match error {
        RegistryError::Credentials { .. } => (Reason::RegistryUnauthorized, None),
        RegistryError::DeadlineExceeded { .. } => (Reason::DeadlineExceeded, None),
        RegistryError::DigestMismatch { .. } => (Reason::DigestMismatch, None),
        RegistryError::Malformed { .. } => (Reason::Malformed, None),
        RegistryError::NotFound { .. } => (Reason::ImageNotFound, None),
        RegistryError::Refused { .. } | RegistryError::Unreachable { .. } => {
            (Reason::RegistryUnreachable, None)
        }
        RegistryError::TooLarge { .. } => (Reason::LimitExceeded, None),
        RegistryError::Unauthorized { challenge, .. } => (Reason::RegistryUnauthorized, challenge.clone()),
    }
}

/// Of everything that went wrong, what says most (the order of [`Reason`]), in words.
fn primary_failure(
    evidence: &Evidence,
    signers: usize,
    threshold: usize,
    now: Timestamp,
) -> (Reason, String) {
    let places: Vec<_> = evidence.asked.iter().map(|source| source.as_str()).collect();
    let mut worst = (
        Reason::Unsigned,
        format!("no signature found (looked in: {})", places.join(", ")),
    );
    let mut consider = |reason: Reason, detail: &dyn Fn() -> String| {
        if reason > worst.0 {
            worst = (reason, detail());
        }
    };
    for judged in evidence.judged.iter() {
        match &judged.outcome {
            Err(error) => consider(error.reason(), &|| chain(error)),
            // It was good when it was looked at; its key's window has ended since.
            Ok(verified) => {
                if let Err(why) = verified.claim().signed_by.usable(now) {
                    let key = verified.claim().signed_by.name.clone();
                    let error = crate::signature::SignatureError::KeyUnusable { key, why };
                    consider(error.reason(), &|| chain(&error));
                }
            }
        }
    }
    if signers > 0 {
        consider(Reason::ThresholdNotMet, &|| {
            format!("signed by {signers} of the {threshold} keys wanted")
        });
    }
    for trouble in evidence.troubles.iter() {
        consider(trouble.error.reason(), &|| {
            format!("{}: {}", trouble.source.as_str(), chain(&trouble.error))
        });
    }
    worst
}
