//! What is let through, and how: each runtime's own requests, indexes, restarts, mirrors, credentials, modes.

use http::{HeaderValue, Method, StatusCode};
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect, WireRefusal};
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions, ServedRequest};
use pullgate::oci::{Descriptor, Digest, Platform, Reference};
use pullgate::trust::SigningAlgorithm;

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach, list};
use crate::support::{
    HOST, Node, REPOSITORY, SIGNED, config, configured, image, put, put_into_directory, put_signed, registry,
};

fn by_digest(digest: &Digest) -> Reference {
    image(&format!("acme/app@{digest}"))
}

fn asked(registry: &EmbeddedRegistry, part: &str) -> Vec<ServedRequest> {
    registry
        .log()
        .into_iter()
        .filter(|access| access.target.contains(part))
        .collect()
}

async fn refusal(result: Result<impl std::fmt::Debug, ClientPullError>) -> WireRefusal {
    match result {
        Err(ClientPullError::Refused(refusal)) => *refusal,
        other => panic!("not refused: {other:?}"),
    }
}

/// An index of two images, one of them for this machine. None of them is signed.
fn put_index(registry: &EmbeddedRegistry, tag: &str) -> (Descriptor, Descriptor, Descriptor) {
    let other = Platform {
        os: "plan9".into(),
        architecture: "mips".into(),
        variant: None,
    };
    let other = registry
        .put_image_for(REPOSITORY, "", other, &[b"for another machine"])
        .unwrap();
    let ours = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, tag, &[other.clone(), ours.clone()])
        .unwrap();
    (index, ours, other)
}

#[tokio::test]
async fn a_signed_image_pulls_as_each_runtime_asks() {
    let registry = registry().await;
    let stored = put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    for dialect in Dialect::ALL {
        for name in [image("acme/app:v1"), by_digest(&stored.digest)] {
            let pulled = node.runtime(dialect).pull(&name).await.unwrap();
            assert_eq!(
                (pulled.digest, pulled.blobs.len()),
                (stored.digest, 2),
                "{dialect:?} {name}"
            );
        }
    }
    let pulls = "pullgate_pulls_total{door=\"registry\",verdict=\"allow\",reason=\"none\"}";
    assert!(node.metric(pulls) >= 6);
}

#[tokio::test]
async fn each_algorithm_is_taken() {
    let registry = registry().await;
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let release = signer::get("release");
    for algorithm in SigningAlgorithm::ALL {
        let tag = algorithm.as_str().to_lowercase();
        let stored = put(&registry, REPOSITORY, &tag);
        let mut claims = release.claims(&stored.digest, REPOSITORY);
        claims.algorithm = algorithm;
        claims.message.insert("signingAlgorithm", algorithm.to_string());
        attach(
            &registry,
            REPOSITORY,
            &stored,
            &release.signed(&claims).to_string(),
        );
        node.pull(&image(&format!("acme/app:{tag}"))).await.unwrap();
    }
}

#[tokio::test]
async fn a_signed_index_covers_its_children_and_their_blobs() {
    let registry = registry().await;
    let (index, ours, other) = put_index(&registry, "v1");
    let record = signer::get("release")
        .record(&index.digest, REPOSITORY)
        .to_string();
    attach(&registry, REPOSITORY, &index, &record);
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    // By itself a child is unsigned, before and after: only through the index is it covered.
    node.assert_denied(&by_digest(&ours.digest), Reason::Unsigned)
        .await;
    let pulled = node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(pulled.manifests, [index.digest, ours.digest]);
    for child in [&ours, &other] {
        node.pull(&by_digest(&child.digest)).await.unwrap();
    }
    // Of the children nothing was looked up but the one time before the index was known.
    assert_eq!(asked(&registry, &format!("/referrers/{}", ours.digest)).len(), 1);
    assert_eq!(asked(&registry, &format!("/referrers/{}", other.digest)).len(), 0);
}

#[tokio::test]
async fn a_signed_child_does_not_cover_the_index_that_lists_it() {
    let registry = registry().await;
    let (_, ours, _) = put_index(&registry, "v1");
    attach(
        &registry,
        REPOSITORY,
        &ours,
        &signer::get("release")
            .record(&ours.digest, REPOSITORY)
            .to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.assert_denied(&image("acme/app:v1"), Reason::Unsigned).await;
    node.pull(&by_digest(&ours.digest)).await.unwrap();
}

#[tokio::test]
async fn what_an_admitted_image_covers_is_of_its_repository_alone() {
    let registry = registry().await;
    let (index, ours, _) = put_index(&registry, "v1");
    attach(
        &registry,
        REPOSITORY,
        &index,
        &signer::get("release")
            .record(&index.digest, REPOSITORY)
            .to_string(),
    );
    registry
        .put_image("acme/other", "", &[b"for this machine"])
        .unwrap();
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    node.assert_denied(&image(&format!("acme/other@{}", ours.digest)), Reason::Unsigned)
        .await;
    let layer = Digest::sha256(b"for this machine");
    let runtime = node.runtime(Dialect::Containerd);
    let blob = refusal(runtime.blob(&image("acme/other:v1"), &layer).await).await;
    assert_eq!(blob.reason(), Some("not-derived"));
    // What is covered as a manifest may not be fetched as a blob, nor the other way round.
    let blob = refusal(runtime.blob(&image("acme/app:v1"), &ours.digest).await).await;
    assert_eq!(blob.reason(), Some("not-derived"));
}

#[tokio::test]
async fn a_restart_in_the_middle_of_a_pull_breaks_nothing() {
    let registry = registry().await;
    let (index, ours, _) = put_index(&registry, "v1");
    let record = signer::get("release")
        .record(&index.digest, REPOSITORY)
        .to_string();
    let signature = attach(&registry, REPOSITORY, &index, &record);
    let rules = config(registry.url(), SIGNED);
    let node = Node::start(&rules).await;
    // The runtime has read the index; then the gate restarts, and who signed can no longer be asked.
    assert_eq!(
        node.runtime(Dialect::Containerd)
            .head(&image("acme/app:v1"))
            .await
            .unwrap(),
        index.digest
    );
    let folder = node.stop().await;
    let url = format!(
        "{}/v2/{REPOSITORY}/manifests/{}",
        registry.url(),
        signature.digest
    );
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    assert_eq!(
        client.delete(url).send().await.unwrap().status(),
        StatusCode::ACCEPTED
    );

    let node = Node::start_in(folder, &rules).await;
    node.pull(&by_digest(&ours.digest)).await.unwrap();
    // The index itself is judged anew, and nobody signed it now.
    node.assert_denied(&image("acme/app:v1"), Reason::Unsigned).await;
    let folder = node.stop().await;

    // Under another policy what was admitted counts for nothing.
    let node = Node::start_in(folder, &rules.replace("[\"release\"]", "[\"qa\"]")).await;
    node.assert_denied(&by_digest(&ours.digest), Reason::Unsigned)
        .await;
    let layer = Digest::sha256(b"for this machine");
    let blob = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert_eq!(refusal(blob).await.reason(), Some("not-derived"));
}

#[tokio::test]
async fn signatures_are_found_under_the_fallback_tag_and_in_the_directory() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let release = signer::get("release");
    let stored = put(&registry, REPOSITORY, "v1");
    let good = attach(
        &registry,
        REPOSITORY,
        &stored,
        &release.record(&stored.digest, REPOSITORY).to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.assert_denied(&image("acme/app:v1"), Reason::Unsigned).await;
    list(&registry, REPOSITORY, &stored, &[good]);
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();

    let stored = put(&registry, REPOSITORY, "v2");
    let record = release.record(&stored.digest, REPOSITORY).to_string();
    put_into_directory(&node.state(), &stored.digest, "release", &record);
    node.pull(&image("acme/app:v2")).await.unwrap();
    // Only where the configuration says so.
    let elsewhere = configured(registry.url(), "signatures = [\"referrers\"]", SIGNED);
    let node = Node::start_in(node.stop().await, &elsewhere).await;
    node.assert_denied(&image("acme/app:v2"), Reason::Unsigned).await;
}

#[tokio::test]
async fn a_place_that_fails_hides_no_good_signature_elsewhere() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let liar = Liar::start(Some(registry.addr()), |request| {
        if request.is_referrers() {
            Answer::status(500)
        } else {
            Answer::Honest
        }
    })
    .await;
    let node = Node::start(&config(&liar.url(), SIGNED)).await;
    node.assert_denied(&image("acme/app:v1"), Reason::SourceUnreachable)
        .await;
    let record = signer::get("release")
        .record(&stored.digest, REPOSITORY)
        .to_string();
    put_into_directory(&node.state(), &stored.digest, "release", &record);
    // And what could not be asked was not remembered as a denial.
    node.pull(&image("acme/app:v1")).await.unwrap();
}

#[tokio::test]
async fn one_good_signature_among_bad_ones_is_enough() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let release = signer::get("release");
    for junk in ["{", "null", "{\"signature\":1}", &"x".repeat(70_000)] {
        attach(&registry, REPOSITORY, &stored, junk);
    }
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &release.record(&stored.digest, "acme/other").to_string(),
    );
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &signer::get("stranger")
            .record(&stored.digest, REPOSITORY)
            .to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let refused = node.refused(&image("acme/app:v1")).await;
    assert!(
        refused.reason().is_some_and(|reason| reason != "unsigned"),
        "{refused:?}"
    );
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &release.record(&stored.digest, REPOSITORY).to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
}

#[tokio::test]
async fn mirrors_are_tried_in_order_and_judged_alike() {
    let (origin, mirror) = (registry().await, registry().await);
    let release = signer::get("release");
    let stored = put_signed(&mirror, "v1", release);
    let only_origin = put(&origin, REPOSITORY, "v2");
    attach(
        &origin,
        REPOSITORY,
        &only_origin,
        &release.record(&only_origin.digest, REPOSITORY).to_string(),
    );
    let gone = registry().await.url().to_owned();
    let mirrors = format!("mirrors = [\"{gone}\", \"{}\"]", mirror.url());
    let node = Node::start(&configured(origin.url(), &mirrors, SIGNED)).await;
    assert_eq!(
        node.pull(&image("acme/app:v1")).await.unwrap().digest,
        stored.digest
    );
    assert_eq!(asked(&origin, "/manifests/v1"), []);
    assert_eq!(
        node.pull(&image("acme/app:v2")).await.unwrap().digest,
        only_origin.digest
    );
    // A mirror's word is worth as much as the signatures over it.
    put(&mirror, REPOSITORY, "v3");
    put_signed(&origin, "v3", signer::get("qa"));
    assert!(node.refused(&image("acme/app:v3")).await.reason().is_some());
}

#[tokio::test]
async fn an_image_of_a_mirror_is_signed_under_the_name_that_the_rule_says() {
    let registry = registry().await;
    let stored = registry.put_image("mirror/acme/app", "v1", &[b"x"]).unwrap();
    let record = signer::get("release")
        .record(&stored.digest, "acme/app")
        .to_string();
    attach(&registry, "mirror/acme/app", &stored, &record);
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let name = image("mirror/acme/app:v1");
    node.assert_denied(&name, Reason::RepositoryMismatch).await;
    node.reload(&config(
        registry.url(),
        &format!("{SIGNED}signed_repository = \"acme/app\"\n"),
    ));
    node.pull(&name).await.unwrap();
}

const BOB: HeaderValue = HeaderValue::from_static("Basic Ym9iOnNlY3JldA==");
const MALLORY: HeaderValue = HeaderValue::from_static("Basic bWFsbG9yeTpndWVzcw==");

#[tokio::test]
async fn what_one_client_may_see_no_other_sees() {
    let auth = AuthPolicy::Basic {
        user: "bob".into(),
        password: "secret".into(),
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let stored = put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let layer = Digest::sha256(b"the layer of acme/app:v1");
    for dialect in Dialect::ALL {
        let bob = node.runtime(dialect).with_authorization(BOB);
        assert_eq!(
            bob.pull(&image("acme/app:v1")).await.unwrap().digest,
            stored.digest
        );
        for (other, is_denied) in [
            (node.runtime(dialect), false),
            (node.runtime(dialect).with_authorization(MALLORY), true),
        ] {
            let denials = || node.gate.watch(usize::MAX, |_| true).0.len();
            let challenges = || node.metric("pullgate_challenges_total");
            let before = (denials(), challenges());
            for name in [image("acme/app:v1"), by_digest(&stored.digest)] {
                // What the gate has just read for one is not at hand for another.
                bob.head(&image("acme/app:v1")).await.unwrap();
                let refused = refusal(other.pull(&name).await).await;
                assert!(refused.path.contains("/manifests/"), "{refused:?}");
                assert_eq!(
                    (refused.status, refused.reason()),
                    (StatusCode::UNAUTHORIZED, Some("registry-unauthorized"))
                );
                assert_eq!(
                    refused.challenge.as_ref().unwrap(),
                    "Basic realm=\"pullgate demo\""
                );
            }
            let refused = refusal(other.blob(&image("acme/app:v1"), &layer).await).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
            // Whoever has shown nothing yet is asked for it; that is no denial.
            assert_eq!(challenges() > before.1, !is_denied, "{dialect:?}");
            let (recorded, _) = node.gate.watch(denials() - before.0, |_| true);
            let denied = recorded
                .iter()
                .filter(|it| it.outcome.reason() == "registry-unauthorized");
            assert_eq!(denied.count() > 0, is_denied, "{dialect:?}");
        }
        bob.pull(&by_digest(&stored.digest)).await.unwrap();
    }
    for access in registry
        .log()
        .iter()
        .filter(|access| access.status == StatusCode::OK)
    {
        assert_eq!(access.authorization.as_ref(), Some(&BOB), "{access:?}");
    }
}

#[tokio::test]
async fn a_client_gets_its_own_token_where_the_registry_says() {
    let auth = AuthPolicy::Bearer {
        user: "bob".into(),
        password: "secret".into(),
        anonymous_pull: false,
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let runtime = node.runtime(Dialect::Containerd);
    let refused = refusal(runtime.pull(&image("acme/app:v1")).await).await;
    let challenge = refused.challenge.unwrap();
    let challenge = challenge.to_str().unwrap();
    assert!(
        challenge.contains(&format!("realm=\"{}/token\"", registry.url())),
        "{challenge}"
    );
    // The token is asked for at the registry's own end point, not at the gate: the gate sees no password.
    let url = format!("{}/token?scope=repository:acme/app:pull", registry.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = client.get(url).header("authorization", BOB).send().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.chunk().await.unwrap().unwrap()).unwrap();
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap())
        .parse()
        .unwrap();
    runtime
        .with_authorization(bearer)
        .pull(&image("acme/app:v1"))
        .await
        .unwrap();
    // The gate with credentials of its own needs nothing of its clients.
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let folder = node.stop().await;
    let auths = format!("{{\"auths\":{{\"{HOST}\":{{\"auth\":\"Ym9iOnNlY3JldA==\"}}}}}}");
    std::fs::write(folder.path().join("auth.json"), auths).unwrap();
    let own = configured(registry.url(), "credentials = { file = \"auth.json\" }", SIGNED);
    Node::start_in(folder, &own)
        .await
        .pull(&image("acme/app:v1"))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_rule_that_warns_lets_through_and_says_so() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let warn = format!("{SIGNED}mode = \"warn\"\n");
    let node = Node::start(&config(registry.url(), &warn)).await;
    let pulled = node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!((pulled.digest, pulled.blobs.len()), (stored.digest, 2));
    let line = "pullgate_pulls_total{door=\"registry\",verdict=\"warn\",reason=\"unsigned\"}";
    assert!(node.metric(line) >= 1);
    // Denied stays denied, and what nobody has stays missing.
    node.assert_denied(&image("acme/app:v2"), Reason::ImageNotFound)
        .await;
    node.reload(&config(
        registry.url(),
        &format!("{warn}[deny]\ndigests = [\"{}\"]\n", stored.digest),
    ));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
    let refused = refusal(node.pull(&by_digest(&stored.digest)).await).await;
    assert_eq!(refused.reason(), Some("digest-denied"));
}

/// What `pullgate sign` pushes stands whole in the list of the referrers tag: neither its manifest nor its record is asked
/// for by itself.
#[tokio::test]
async fn a_signature_is_read_out_of_the_list_that_names_it() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let folder = tempfile::tempdir().unwrap();
    let key = pullgate::tool::sign::PrivateKey::generate(2048).unwrap();
    put(&registry, REPOSITORY, "v1");
    let rule = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"made\"]\n\
                [[key]]\nname = \"made\"\npublic_key = \"made.pem\"\n";
    std::fs::write(folder.path().join("made.pem"), key.public_pem()).unwrap();
    sign_by_library(&registry, &key).await;

    let node = Node::start_in(folder, &config(registry.url(), rule)).await;
    registry.clear_log();
    node.pull(&image("acme/app:v1")).await.unwrap();
    let of_signatures: Vec<_> = registry
        .log()
        .into_iter()
        .map(|access| access.target)
        .filter(|target| target.contains("sha256-") || target.contains("/referrers/"))
        .collect();
    assert_eq!(of_signatures.len(), 2, "{of_signatures:?}");
    // The image's own three, and no request for what the list holds.
    assert_eq!(registry.log().len(), 2 + 3, "{:?}", registry.log());
}

/// As `pullgate sign` does it.
async fn sign_by_library(registry: &EmbeddedRegistry, key: &pullgate::tool::sign::PrivateKey) {
    let client = pullgate::net::registry::RegistryClient::new(
        vec![pullgate::net::registry::RegistryConfig {
            host: HOST.to_owned(),
            endpoints: vec![registry.url().parse().unwrap()],
            ca: None,
            credentials: pullgate::net::registry::Credentials::Anonymous,
            signatures: pullgate::signature::SourceName::DEFAULT.to_vec(),
        }],
        Vec::new(),
    )
    .unwrap();
    let access = pullgate::net::registry::Access {
        presented: None,
        deadline: std::time::Instant::now() + crate::support::LATEST,
    };
    let subject = pullgate::pull::resolve::resolve(&client, &image("acme/app:v1"), &access)
        .await
        .unwrap();
    let message = pullgate::signature::oracle::OracleMessage {
        description: String::new(),
        image_digest: *subject.digest(),
        kms_key_id: key.fingerprint().to_string(),
        kms_key_version_id: key.fingerprint().to_string(),
        metadata: String::new(),
        region: "local".to_owned(),
        repository_name: REPOSITORY.to_owned(),
        signing_algorithm: SigningAlgorithm::Sha256RsaPkcsPss,
    };
    let now = jiff::Timestamp::now();
    let record = pullgate::tool::sign::sign(&message, key, now).unwrap();
    let media_type = subject.document.media_type();
    let referrer = pullgate::tool::sign::artifact(&record, &subject.manifest, media_type, now);
    pullgate::tool::signature_store::attach(
        &client,
        &subject.repository,
        subject.digest(),
        &referrer,
        &access,
    )
    .await
    .unwrap();
}

#[tokio::test]
async fn a_threshold_counts_keys_and_not_signatures() {
    let registry = registry().await;
    let rule = SIGNED.replace("[\"release\"]", "[\"release\", \"qa\", \"old\"]\nthreshold = 2");
    let stored = put_signed(&registry, "v1", signer::get("release"));
    let attach_by = |name: &str| {
        let record = signer::get(name).record(&stored.digest, REPOSITORY).to_string();
        attach(&registry, REPOSITORY, &stored, &record);
    };
    // The same key again: another signature, for its salt is another.
    attach_by("release");
    attach_by("stranger");
    let node = Node::start(&config(registry.url(), &rule)).await;
    node.assert_denied(&image("acme/app:v1"), Reason::ThresholdNotMet)
        .await;
    attach_by("qa");
    let node = Node::start(&config(registry.url(), &rule)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
}

#[tokio::test]
async fn the_deny_list_stands_above_every_signature_and_rule() {
    let registry = registry().await;
    let (index, ours, other) = put_index(&registry, "v1");
    attach(
        &registry,
        REPOSITORY,
        &index,
        &signer::get("release")
            .record(&index.digest, REPOSITORY)
            .to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    let deny = |digest: &Digest| format!("{SIGNED}[deny]\ndigests = [\"{digest}\"]\n");
    // A child of an admitted index.
    node.reload(&config(registry.url(), &deny(&ours.digest)));
    let refused = refusal(node.pull(&image("acme/app:v1")).await).await;
    assert_eq!(
        (refused.reason(), &refused.method),
        (Some("digest-denied"), &Method::GET)
    );
    node.pull(&by_digest(&other.digest)).await.unwrap();
    // The index itself, and with it what only it covers.
    node.reload(&config(registry.url(), &deny(&index.digest)));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
    assert!(
        refusal(node.pull(&by_digest(&ours.digest)).await)
            .await
            .reason()
            .is_some()
    );
    let anything =
        deny(&index.digest).replace("\"signed\"\nkeys = [\"release\"]", "\"insecure-accept-anything\"");
    node.reload(&config(registry.url(), &anything));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
}

#[tokio::test]
async fn rules_by_digest_and_by_name_alone_ask_for_no_signature() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let rule = |rest: &str| {
        config(
            registry.url(),
            &format!("[[rule]]\nscope = \"{HOST}/**\"\n{rest}\n"),
        )
    };
    let node = Node::start(&rule(&format!(
        "require = \"digest\"\ndigests = [\"{}\"]",
        stored.digest
    )))
    .await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    node.reload(&rule("require = \"insecure-accept-anything\""));
    put(&registry, REPOSITORY, "v2");
    node.pull(&image("acme/app:v2")).await.unwrap();
    assert_eq!(asked(&registry, "/referrers/"), []);
}

#[tokio::test]
async fn a_reload_forgets_every_verdict() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let rules = config(registry.url(), SIGNED);
    let node = Node::start(&rules).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    node.reload(&rules.replacen("[[key]]\n", "[[key]]\nrevoked = true\n", 1));
    node.assert_denied(&image("acme/app:v1"), Reason::KeyRevoked)
        .await;
    node.reload(&rules);
    node.pull(&image("acme/app:v1")).await.unwrap();
}

#[tokio::test]
async fn a_cold_decision_costs_few_requests_and_a_warm_one_no_search() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let runtime = node.runtime(Dialect::Containerd);
    runtime.head(&image("acme/app:v1")).await.unwrap();
    assert!(registry.log().len() <= 4, "{:#?}", registry.log());
    registry.clear_log();
    runtime.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(asked(&registry, "/referrers/"), []);
}

#[tokio::test]
async fn many_pulls_of_one_image_search_once() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let pulls = (0..32).map(|_| async { node.pull(&image("acme/app:v1")).await });
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.unwrap();
    }
    assert_eq!(asked(&registry, "/referrers/").len(), 1);
}

#[tokio::test]
async fn blobs_come_whole_in_ranges_and_as_heads() {
    let registry = registry().await;
    let big: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).collect();
    let stored = registry.put_image(REPOSITORY, "v1", &[&big]).unwrap();
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &signer::get("release")
            .record(&stored.digest, REPOSITORY)
            .to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let app = image("acme/app:v1");
    let pulled = node.pull(&app).await.unwrap();
    assert!(pulled.bytes > 12_000_000);
    let runtime = node.runtime(Dialect::Containerd);
    let path = runtime.path(&app, "blobs", &Digest::sha256(&big).to_string());
    let head = runtime.get(Method::HEAD, path.clone(), None).await.unwrap();
    assert_eq!(head.headers()["content-length"], big.len().to_string());
    let mut part = runtime
        .get(Method::GET, path.clone(), Some("bytes=4-11"))
        .await
        .unwrap();
    assert_eq!(part.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(
        part.headers()["content-range"],
        format!("bytes 4-11/{}", big.len())
    );
    assert_eq!(part.chunk().await.unwrap().unwrap(), big[4..12]);
    let none = refusal(runtime.get(Method::GET, path, Some("bytes=99999999-")).await).await;
    assert_eq!(none.status, StatusCode::RANGE_NOT_SATISFIABLE);
}

#[tokio::test]
async fn what_writes_is_refused_and_reaches_no_origin() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let runtime = node.runtime(Dialect::Podman);
    let digest = Digest::sha256(b"x");
    for (method, path) in [
        (Method::POST, format!("/v2/{HOST}/acme/app/blobs/uploads/")),
        (Method::PUT, format!("/v2/{HOST}/acme/app/manifests/v1")),
        (Method::PATCH, format!("/v2/{HOST}/acme/app/blobs/uploads/1")),
        (Method::DELETE, format!("/v2/{HOST}/acme/app/manifests/{digest}")),
    ] {
        let refused = refusal(runtime.get(method.clone(), path, None).await).await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            "{method}"
        );
    }
    assert_eq!(registry.requests(), 0);
}
