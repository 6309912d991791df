//! The sources and the contents of signatures.

use pullgate::base::reason::Reason;
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions};
use pullgate::trust::SigningAlgorithm;

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach, list};
use crate::support::{
    HOST, Node, REPOSITORY, SIGNED, config, configured, image, put, put_into_directory, registry,
};

#[tokio::test]
async fn each_algorithm_is_accepted() {
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
    // The directory is read only if the configuration names it.
    let elsewhere = configured(registry.url(), "signatures = [\"referrers\"]", SIGNED);
    let node = Node::start_in(node.stop().await, &elsewhere).await;
    node.assert_denied(&image("acme/app:v2"), Reason::Unsigned).await;
}

#[tokio::test]
async fn a_failing_source_does_not_hide_a_good_signature_in_another() {
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
    // The earlier denial was not cached, because a source had failed.
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
async fn the_rule_names_the_repository_that_an_image_of_a_mirror_is_signed_for() {
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

/// The referrers tag that `pullgate sign` writes contains the whole record, so the gate requests neither the signature's
/// manifest nor its blob.
#[tokio::test]
async fn a_signature_is_read_from_the_list_that_embeds_it() {
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
    let signature_requests: Vec<_> = registry
        .log()
        .into_iter()
        .map(|access| access.target)
        .filter(|target| target.contains("sha256-") || target.contains("/referrers/"))
        .collect();
    assert_eq!(signature_requests.len(), 2, "{signature_requests:?}");
    // Three requests are for the image itself, and none for the embedded record.
    assert_eq!(registry.log().len(), 2 + 3, "{:?}", registry.log());
}

/// Signs the image as `pullgate sign` does.
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
