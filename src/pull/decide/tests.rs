use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use rsa::pkcs8::DecodePrivateKey as _;
use sha2::Sha256;

use super::{Denial, Evaluation, Stage, Verdict, explain};
use crate::base::reason::Reason;
use crate::net::registry::RegistryError;
use crate::oci::{Blob, ChildKind, Digest, Document, ManifestError};
use crate::pull::derivations::Derivation;
use crate::pull::evidence::Evidence;
use crate::pull::find::{FindError, SourceFailure};
use crate::pull::policy::{
    DefaultAction, EffectiveRule, Generation, Mode, Pods, Policy, Requirement, Rule, Signed,
};
use crate::pull::request::{DoorName, Extent, PullContext, PullRequest, Purpose};
use crate::pull::resolve::{DescriptionMismatch, ResolveError, Subject};
use crate::pull::verify::{CheckedSignature, VerifyError, Wanted, verify};
use crate::signature::{Candidate, FORMATS, Locator, RequiredRepository, SignatureError, SourceName};
use crate::trust::{Authority, PublicKey, Salt, SigningAlgorithm, TrustedKey, Validity};

const MANIFEST: &str = r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"sha256:0000000000000000000000000000000000000000000000000000000000000000","size":2},"layers":[]}"#;

fn subject() -> Arc<Subject> {
    let manifest = Blob::from_bytes(MANIFEST.into());
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

const PUBLIC: &[u8] = include_bytes!("../../../tests/fixtures/keys/rsa-2048.public.pem");
const PRIVATE: &str = include_str!("../../../tests/fixtures/keys/rsa-2048.private.pem");
const OTHER: &[u8] = include_bytes!("../../../tests/fixtures/oracle/keys/other-2048.v1.public.pem");

fn key(name: &str, pem: &[u8]) -> Arc<Authority> {
    let schemes = SigningAlgorithm::every_scheme(Salt::Any);
    let key = TrustedKey::new(name, PublicKey::from_pem(pem).unwrap(), schemes);
    let validity = Validity {
        not_after: Some(at(2000)),
        ..Validity::default()
    };
    Arc::new(Authority::Key(TrustedKey { validity, ..key }))
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// A rule of two keys, and evidence with one good signature by the first of them.
fn signed(threshold: usize) -> (World, Signed) {
    let signed = Signed {
        authorities: vec![key("release", PUBLIC), key("other", OTHER)],
        threshold: threshold.try_into().unwrap(),
        formats: FORMATS.iter().map(|format| format.name()).collect(),
        signed_repository: None,
    };
    let world = World::with_rule(Requirement::Signed(signed.clone()), Mode::Enforce);
    (world, signed)
}

fn good_signature(signed: &Signed) -> CheckedSignature {
    let message = serde_json::json!({
        "description": "",
        "imageDigest": subject().digest().to_string(),
        "kmsKeyId": "key",
        "kmsKeyVersionId": "v1",
        "metadata": "",
        "region": "local",
        "repositoryName": "app",
        "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
    })
    .to_string();
    let private = rsa::PrivateKey::from_pkcs8_pem(PRIVATE).unwrap();
    let record = serde_json::json!({
        "kmsKeyId": "key",
        "kmsKeyVersionId": "v1",
        "signingAlgorithm": "SHA_256_RSA_PKCS_PSS",
        "message": STANDARD.encode(&message),
        "signature": STANDARD.encode(private.pss_sign::<Sha256>(message.as_bytes()).unwrap()),
    });
    let candidate = Candidate {
        format: FORMATS[0],
        source: SourceName("directory"),
        locator: Locator::File("record.json".into()),
        unverified_media_type: None,
        unverified: record.to_string().into(),
    };
    let wanted = Wanted {
        digest: *subject().digest(),
        pulled: subject().repository.clone(),
        required_repository: RequiredRepository::AsPulled,
        signed: signed.clone(),
    };
    let checked = verify(&candidate, &wanted, at(1000));
    assert!(checked.outcome.is_ok(), "{checked:?}");
    checked
}

fn bad_signature(locator: &str, error: SignatureError) -> CheckedSignature {
    CheckedSignature {
        source: SourceName("directory"),
        locator: Locator::File(locator.into()),
        format: FORMATS[0].name(),
        outcome: Err(VerifyError::Signature(error)),
    }
}

#[test]
fn a_signed_rule_is_satisfied_by_its_threshold_of_keys() {
    for (threshold, now, reason) in [
        (1, 1000, None),
        (1, 1999, None),
        (1, 2000, Some(Reason::KeyExpired)),
        (2, 1000, Some(Reason::ThresholdNotMet)),
    ] {
        let (world, signed) = signed(threshold);
        let mut evidence = Evidence::from_sources(vec![SourceName("directory")]);
        evidence.add(good_signature(&signed));
        let verdict = world.pull().decide(subject(), Some(&evidence), at(now));
        match reason {
            None => assert_eq!(allowed(verdict), None, "{threshold} at {now}"),
            Some(reason) => assert_eq!(denial(verdict).reason, reason, "{threshold} at {now}"),
        }
    }
}

#[test]
fn a_denial_counts_the_keys_that_signed() {
    let (world, signed) = signed(2);
    let mut evidence = Evidence::from_sources(vec![SourceName("directory")]);
    evidence.add(good_signature(&signed));
    let denial = denial(world.pull().decide(subject(), Some(&evidence), at(1000)));
    assert_eq!(denial.detail, "1 of the 2 required keys signed it");
}

#[test]
fn without_evidence_an_image_is_unsigned() {
    let (world, _) = signed(1);
    let evidence = Evidence::from_sources(vec![SourceName("referrers"), SourceName("directory")]);
    for evidence in [None, Some(&evidence)] {
        let denial = denial(world.pull().decide(subject(), evidence, at(1000)));
        assert_eq!(denial.reason, Reason::Unsigned);
    }
    let denial = denial(world.pull().decide(subject(), Some(&evidence), at(1000)));
    assert_eq!(
        denial.detail,
        "no signature found (looked in: referrers, directory)"
    );
}

#[test]
fn the_most_telling_failure_is_reported_whatever_the_order() {
    let (world, _) = signed(1);
    let untrusted = || {
        let key = "stranger".to_owned();
        bad_signature("a", SignatureError::UntrustedKey { key })
    };
    let altered = || {
        let key = "release".to_owned();
        bad_signature("b", SignatureError::BadSignature { key })
    };
    let reason = |checked: Vec<CheckedSignature>, is_late: bool| {
        let mut evidence = Evidence::from_sources(vec![SourceName("directory")]);
        for checked in checked {
            evidence.add(checked);
        }
        if is_late {
            evidence.fail(SourceFailure {
                source: SourceName("directory"),
                error: FindError::DeadlineExceeded,
            });
        }
        denial(world.pull().decide(subject(), Some(&evidence), at(1000))).reason
    };
    assert_eq!(reason(vec![untrusted()], false), Reason::UntrustedKey);
    assert_eq!(reason(vec![untrusted(), altered()], false), Reason::BadSignature);
    assert_eq!(reason(vec![altered(), untrusted()], false), Reason::BadSignature);
    assert_eq!(
        reason(vec![altered(), untrusted()], true),
        Reason::DeadlineExceeded
    );
    assert_eq!(reason(Vec::new(), true), Reason::DeadlineExceeded);
}

#[test]
fn of_two_failures_of_one_kind_the_first_is_reported() {
    let (world, _) = signed(1);
    let mut evidence = Evidence::from_sources(vec![SourceName("directory")]);
    for name in ["first", "second"] {
        let key = name.to_owned();
        evidence.add(bad_signature(name, SignatureError::UntrustedKey { key }));
    }
    let denial = denial(world.pull().decide(subject(), Some(&evidence), at(1000)));
    assert!(denial.detail.contains("`first`"), "{denial}");
}

fn texts(evaluation: &Evaluation, rule: &EffectiveRule) -> Vec<String> {
    let steps = explain(evaluation, rule).into_iter();
    steps.map(|step| step.text).collect()
}

#[test]
fn an_explanation_describes_the_rule() {
    let (signed, _) = signed(1);
    for (world, text) in [
        (
            World::new(DefaultAction::Reject, None, &[]),
            "no rule applies, and the default is to reject",
        ),
        (
            World::new(DefaultAction::InsecureAcceptAnything, None, &[]),
            "no rule applies, and the default is to accept anything",
        ),
        (
            World::with_rule(Requirement::Reject, Mode::Enforce),
            "the rule r.example/** rejects everything",
        ),
        (
            World::with_rule(Requirement::InsecureAcceptAnything, Mode::Warn),
            "the rule r.example/** accepts anything; failures are only recorded",
        ),
        (
            World::with_rule(digests(&[Digest::sha256(b"x")]), Mode::Enforce),
            "the rule r.example/** requires one of 1 digests",
        ),
        (
            signed,
            "the rule r.example/** requires signatures by 1 of the keys release, other (formats: oracle)",
        ),
    ] {
        let denial = Denial::new(world.pull(), Reason::NoRule, None, "x");
        let evaluation = Evaluation::denied(world.pull(), Stage::Policy, denial);
        assert_eq!(texts(&evaluation, &world.rule)[0], text);
    }
}

#[test]
fn an_explanation_lists_the_evidence() {
    let (world, signed) = signed(1);
    let mut evidence = Evidence::from_sources(vec![SourceName("directory")]);
    evidence.add(good_signature(&signed));
    let key = "stranger".to_owned();
    evidence.add(bad_signature("b.json", SignatureError::UntrustedKey { key }));
    evidence.fail(SourceFailure {
        source: SourceName("directory"),
        error: FindError::DeadlineExceeded,
    });
    let verdict = world.pull().decide(subject(), Some(&evidence), at(1000));
    let mut evaluation = Evaluation {
        evidence: Some(Arc::new(evidence)),
        ..Evaluation::new(world.pull(), Stage::Decide, verdict)
    };
    assert_eq!(evaluation.signatures().len(), 2);
    let found = texts(&evaluation, &world.rule);
    assert_eq!(found[1], format!("{}, a manifest", subject().digest()));
    assert_eq!(found[2], "2 records in directory");
    assert!(found[3].starts_with("directory: "), "{found:?}");
    assert_eq!(found[4], "directory record.json: signed by the key release");
    assert!(
        found[5].starts_with("directory b.json: untrusted-key: "),
        "{found:?}"
    );
    assert_eq!(found[6], "allow");
    evaluation.cached = true;
    assert_eq!(
        texts(&evaluation, &world.rule)[2],
        "2 records in directory, remembered from an earlier pull"
    );
}
