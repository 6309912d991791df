use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::{Denial, Evaluation, Stage, Verdict, explain};
use crate::base::reason::Reason;
use crate::net::registry::RegistryError;
use crate::oci::{Blob, ChildKind, Digest, Document, ManifestError};
use crate::pull::derivations::Derivation;
use crate::pull::policy::{DefaultAction, EffectiveRule, Generation, Mode, Pods, Policy, Requirement, Rule};
use crate::pull::request::{DoorName, Extent, PullContext, PullRequest, Purpose};
use crate::pull::resolve::{DescriptionMismatch, ResolveError, Subject};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[]}"#;

fn subject() -> Arc<Subject> {
    let manifest = Blob::of(MANIFEST.into());
    Arc::new(Subject {
        repository: "r.example/app".parse().unwrap(),
        document: Document::parse(&manifest, None).unwrap(),
        manifest,
    })
}

fn request(reference: &str) -> PullRequest {
    PullRequest {
        door: DoorName::new("registry"),
        peer: "peer".to_owned(),
        reference: reference.parse().unwrap(),
        pod: None,
        presented: None,
        deadline: Instant::now() + Duration::from_secs(60),
        purpose: Purpose::Serve,
    }
}

/// A policy of at most one rule for `r.example/**`, and a deny list.
struct World {
    policy: Policy,
    request: PullRequest,
    rule: EffectiveRule,
}

impl World {
    fn new(default: DefaultAction, rule: Option<(Requirement, Mode)>, denied: &[Digest]) -> Self {
        let scope = || "r.example/**".parse().unwrap();
        let rules = rule
            .into_iter()
            .map(|(requirement, mode)| Rule::new(scope(), requirement, mode, Pods::default()));
        let denied: BTreeSet<Digest> = denied.iter().copied().collect();
        let generation = Generation([0; 32]);
        let policy = Policy::new(default, rules.collect(), denied, Vec::new(), generation).unwrap();
        let request = request("r.example/app:v1");
        let rule = request.effective_rule(&policy);
        Self {
            policy,
            request,
            rule,
        }
    }

    fn with_rule(requirement: Requirement, mode: Mode) -> Self {
        Self::new(DefaultAction::Reject, Some((requirement, mode)), &[])
    }

    fn by_digest(mut self, digest: &Digest) -> Self {
        self.request = request(&format!("r.example/app@{digest}"));
        self
    }

    fn pull(&self) -> PullContext<'_> {
        PullContext {
            request: &self.request,
            policy: &self.policy,
            rule: &self.rule,
            epoch: 0,
            extent: Extent::UntilSatisfied,
        }
    }

    fn decide(&self) -> Verdict {
        self.pull().decide(subject(), None, Timestamp::now())
    }
}

#[track_caller]
fn denial(verdict: Verdict) -> Box<Denial> {
    match verdict {
        Verdict::Deny(denial) => denial,
        Verdict::Allow(permit) => panic!("allowed: {permit:?}"),
    }
}

/// The reason of the warning, if there is one.
#[track_caller]
fn allowed(verdict: Verdict) -> Option<Reason> {
    match verdict {
        Verdict::Allow(permit) => permit.warning().map(|warning| warning.reason),
        Verdict::Deny(denial) => panic!("denied: {denial}"),
    }
}

fn digests(digests: &[Digest]) -> Requirement {
    Requirement::Digest(digests.iter().copied().collect())
}

#[test]
fn rules_that_decide_alone_deny_before_any_request() {
    for (world, denied) in [
        (World::new(DefaultAction::Reject, None, &[]), Some(Reason::NoRule)),
        (World::new(DefaultAction::InsecureAcceptAnything, None, &[]), None),
        (
            World::with_rule(Requirement::Reject, Mode::Enforce),
            Some(Reason::RejectedByRule),
        ),
        (
            World::with_rule(Requirement::InsecureAcceptAnything, Mode::Enforce),
            None,
        ),
        (
            World::with_rule(digests(&[Digest::sha256(b"other")]), Mode::Enforce),
            None,
        ),
        (World::with_rule(Requirement::Reject, Mode::Warn), None),
    ] {
        let checked = world.pull().check_rules();
        assert_eq!(
            checked.err().map(|denial| denial.reason),
            denied,
            "{:?}",
            world.rule
        );
    }
}

#[test]
fn a_denied_digest_is_denied_before_any_request_and_whatever_the_rule_says() {
    let digest = *subject().digest();
    for (requirement, mode) in [
        (Requirement::InsecureAcceptAnything, Mode::Enforce),
        (Requirement::Reject, Mode::Warn),
    ] {
        let world = World::new(DefaultAction::Reject, Some((requirement, mode)), &[digest]);
        assert!(
            world.pull().check_rules().is_ok(),
            "a tag says nothing of the digest"
        );
        let verdict = denial(world.decide());
        assert_eq!(
            (verdict.reason, verdict.digest),
            (Reason::DigestDenied, Some(digest))
        );
        let world = world.by_digest(&digest);
        assert_eq!(
            world.pull().check_rules().unwrap_err().reason,
            Reason::DigestDenied
        );
        let other = World::new(DefaultAction::Reject, None, &[digest]).by_digest(&Digest::sha256(b"other"));
        assert_eq!(other.pull().check_rules().unwrap_err().reason, Reason::NoRule);
    }
}

#[test]
fn a_deny_list_holds_under_each_algorithm() {
    let sha512 = Digest::all_of(MANIFEST.as_bytes())
        .into_iter()
        .find(|digest| digest != subject().digest())
        .unwrap();
    let rule = Some((Requirement::InsecureAcceptAnything, Mode::Enforce));
    let world = World::new(DefaultAction::Reject, rule, &[sha512]);
    assert_eq!(denial(world.decide()).reason, Reason::DigestDenied);
}

#[test]
fn a_requirement_decides() {
    let (digest, other) = (*subject().digest(), Digest::sha256(b"other"));
    for (requirement, reason) in [
        (Requirement::InsecureAcceptAnything, None),
        (Requirement::Reject, Some(Reason::RejectedByRule)),
        (digests(&[digest]), None),
        (digests(&[digest, other]), None),
        (digests(&[other]), Some(Reason::RejectedByRule)),
    ] {
        let enforced = World::with_rule(requirement.clone(), Mode::Enforce).decide();
        let warned = World::with_rule(requirement.clone(), Mode::Warn).decide();
        assert_eq!(allowed(warned), reason, "{requirement:?}");
        match reason {
            Some(reason) => assert_eq!(denial(enforced).reason, reason),
            None => assert_eq!(allowed(enforced), None),
        }
    }
    let default = World::new(DefaultAction::Reject, None, &[]);
    assert_eq!(denial(default.decide()).reason, Reason::NoRule);
    let default = World::new(DefaultAction::InsecureAcceptAnything, None, &[]);
    assert_eq!(allowed(default.decide()), None);
}

#[test]
fn a_derived_manifest_is_admitted_only_by_a_derivation_of_exactly_this_manifest() {
    let (digest, root) = (*subject().digest(), Digest::sha256(b"root"));
    let derive = |repository: &str, child: Digest, kind, denied: &[Digest]| {
        let generation = Generation([0; 32]);
        let derivation = Derivation::new(repository.parse().unwrap(), child, kind, root, generation);
        World::new(DefaultAction::Reject, None, denied)
            .pull()
            .decide_derived(subject(), &derivation)
    };
    let manifest = ChildKind::Manifest;
    assert_eq!(allowed(derive("r.example/app", digest, manifest, &[])), None);
    for verdict in [
        derive("r.example/other", digest, manifest, &[]),
        derive("r.example/app", root, manifest, &[]),
        derive("r.example/app", digest, ChildKind::Blob, &[]),
    ] {
        assert_eq!(denial(verdict).reason, Reason::NotDerived);
    }
    for denied in [digest, root] {
        let verdict = derive("r.example/app", digest, manifest, &[denied]);
        assert_eq!(denial(verdict).reason, Reason::DigestDenied);
    }
}

#[test]
fn a_permit_names_the_manifest_and_its_children() {
    let world = World::with_rule(Requirement::InsecureAcceptAnything, Mode::Enforce);
    let Verdict::Allow(permit) = world.decide() else {
        panic!("denied")
    };
    let root = Digest::sha256(b"root");
    let derivations: Vec<_> = permit
        .derivations(root, Generation([7; 32]))
        .map(|derivation| {
            assert_eq!(derivation.root(), &root);
            assert_eq!(derivation.generation(), Generation([7; 32]));
            assert_eq!(*derivation.repository(), subject().repository);
            (*derivation.child(), derivation.kind())
        })
        .collect();
    let config = permit.document().children().next().unwrap().0.digest;
    assert_eq!(
        derivations,
        [
            (*subject().digest(), ChildKind::Manifest),
            (config, ChildKind::Blob)
        ]
    );
}

#[test]
fn an_unresolved_manifest_is_denied_with_the_digest_that_is_known() {
    let world = World::with_rule(Requirement::Reject, Mode::Enforce);
    let digest = Digest::sha256(b"x");
    let mismatch = DescriptionMismatch::Size {
        described: 1,
        actual: 2,
    };
    for error in [
        ResolveError::Manifest {
            digest,
            source: ManifestError::Schema1,
        },
        ResolveError::NotAsDescribed { digest, mismatch },
    ] {
        let denial = world.pull().unresolved(&error);
        assert_eq!((denial.reason, denial.digest), (Reason::Malformed, Some(digest)));
    }
    let world = world.by_digest(&digest);
    let missing = ResolveError::Registry(RegistryError::NotFound {
        host: "r.example".to_owned(),
    });
    let denial = world.pull().unresolved(&missing);
    assert_eq!(
        (denial.reason, denial.digest),
        (Reason::ImageNotFound, Some(digest))
    );
    assert_eq!(denial.challenge, None);
}

#[test]
fn a_failure_of_the_registry_has_its_own_reason_and_passes_its_challenge_on() {
    let world = World::with_rule(Requirement::Reject, Mode::Enforce);
    let host = || "r.example".to_owned();
    let what = || "x".to_owned();
    let challenge: Option<http::HeaderValue> = Some("Basic realm=\"x\"".parse().unwrap());
    let unauthorized = RegistryError::Unauthorized {
        host: host(),
        message: what(),
        challenge: challenge.clone(),
    };
    for (error, reason, expected) in [
        (unauthorized, Reason::RegistryUnauthorized, challenge),
        (
            RegistryError::Credentials {
                host: host(),
                what: what(),
            },
            Reason::RegistryUnauthorized,
            None,
        ),
        (
            RegistryError::DeadlineExceeded { host: host() },
            Reason::DeadlineExceeded,
            None,
        ),
        (
            RegistryError::Malformed {
                host: host(),
                what: what(),
            },
            Reason::Malformed,
            None,
        ),
        (
            RegistryError::NotFound { host: host() },
            Reason::ImageNotFound,
            None,
        ),
        (
            RegistryError::Refused {
                host: host(),
                why: what(),
            },
            Reason::RegistryUnreachable,
            None,
        ),
        (
            RegistryError::Unreachable {
                host: host(),
                what: what(),
            },
            Reason::RegistryUnreachable,
            None,
        ),
        (
            RegistryError::TooLarge {
                host: host(),
                limit: 1,
                unit: "bytes",
            },
            Reason::LimitExceeded,
            None,
        ),
    ] {
        let denial = world.pull().unresolved(&ResolveError::Registry(error));
        assert_eq!((denial.reason, &denial.challenge), (reason, &expected));
        assert!(
            denial.detail.starts_with("could not read the manifest: "),
            "{denial}"
        );
    }
}

#[test]
fn a_request_for_credentials_goes_to_a_client_without_any_of_a_door_that_serves_content() {
    let challenge = Some("Basic realm=\"x\"".parse().unwrap());
    let world = World::with_rule(Requirement::Reject, Mode::Enforce);
    let mut denial = Denial::new(world.pull(), Reason::RegistryUnauthorized, None, "x");
    assert!(!denial.is_credentials_request(&world.request));
    denial.challenge = challenge;
    assert!(denial.is_credentials_request(&world.request));
    let mut other = world.request.clone();
    other.purpose = Purpose::VerdictOnly(None);
    assert!(!denial.is_credentials_request(&other));
    let mut other = world.request.clone();
    other.door = DoorName::TOOL;
    assert!(!denial.is_credentials_request(&other));
    let mut other = world.request;
    other.presented = Some(crate::net::registry::Presented::Header(
        "Basic eDp4".parse().unwrap(),
    ));
    assert!(!denial.is_credentials_request(&other));
}

#[test]
fn a_denial_names_the_digest_unless_the_reference_does() {
    let digest = Digest::sha256(b"x");
    let world = World::with_rule(Requirement::Reject, Mode::Enforce);
    let by_tag = Denial::new(world.pull(), Reason::Unsigned, Some(digest), "the detail").to_string();
    assert_eq!(
        by_tag,
        format!(
            "pullgate: unsigned: r.example/app:v1 ({digest}) blocked by rule r.example/**: the detail; {}",
            Reason::Unsigned.next_step()
        )
    );
    let world = world.by_digest(&digest);
    let by_digest = Denial::new(world.pull(), Reason::Unsigned, None, "the detail");
    assert_eq!(by_digest.digest, Some(digest));
    assert_eq!(
        by_digest.to_string().matches(&digest.to_string()).count(),
        1,
        "{by_digest}"
    );
}

/// The stages of the steps, and whether the pull went on after each.
fn steps(evaluation: &Evaluation, rule: &EffectiveRule) -> Vec<(&'static str, bool)> {
    let steps = explain(evaluation, rule).into_iter();
    steps.map(|step| (step.stage, step.passed)).collect()
}

#[test]
fn an_explanation_shows_the_stages_that_the_pull_reached() {
    let world = World::with_rule(digests(&[Digest::sha256(b"other")]), Mode::Enforce);
    let pull = world.pull();
    let at = |stage| {
        let denial = Denial::new(pull, Reason::RejectedByRule, Some(*subject().digest()), "x");
        steps(&Evaluation::denied(pull, stage, denial), pull.rule)
    };
    assert_eq!(at(Stage::Policy), [("policy", false), ("decide", false)]);
    assert_eq!(
        at(Stage::Resolve),
        [("policy", true), ("resolve", false), ("decide", false)]
    );
    assert_eq!(
        at(Stage::Decide),
        [("policy", true), ("resolve", true), ("decide", false)]
    );
    assert_eq!(at(Stage::Interrupted), [("policy", true), ("decide", false)]);
    let world = World::with_rule(Requirement::InsecureAcceptAnything, Mode::Enforce);
    let derived = Evaluation {
        root: Some(Digest::sha256(b"root")),
        ..Evaluation::new(world.pull(), Stage::Decide, world.decide())
    };
    assert_eq!(
        steps(&derived, &world.rule),
        [
            ("policy", true),
            ("resolve", true),
            ("verify", true),
            ("decide", true)
        ]
    );
}

#[test]
fn a_permit_with_a_warning_does_not_satisfy_the_rule() {
    for (requirement, mode, satisfied) in [
        (Requirement::InsecureAcceptAnything, Mode::Enforce, true),
        (Requirement::Reject, Mode::Warn, false),
        (Requirement::Reject, Mode::Enforce, false),
    ] {
        let world = World::with_rule(requirement, mode);
        let evaluation = Evaluation::new(world.pull(), Stage::Decide, world.decide());
        assert_eq!(evaluation.is_satisfied(), satisfied, "{:?}", world.rule);
    }
}
