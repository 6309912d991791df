//! Manifests of images and indexes, mirrors, restarts, and the number of requests.

use http::{Method, StatusCode};
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::Dialect;
use pullgate::oci::Digest;

use super::{by_digest, expect_refusal, put_index, requests_for};
use crate::support::signer::{self, attach};
use crate::support::{
    HOST, Node, REPOSITORY, RefusingAddress, SIGNED, config, configured, image, put, put_signed, registry,
};

#[tokio::test]
async fn each_runtime_pulls_a_signed_image() {
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
async fn a_signed_index_admits_its_children_and_their_blobs() {
    let registry = registry().await;
    let (index, ours, other) = put_index(&registry, "v1");
    let record = signer::get("release")
        .record(&index.digest, REPOSITORY)
        .to_string();
    attach(&registry, REPOSITORY, &index, &record);
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    // A child has no signature of its own. It is admitted only after the index was.
    node.assert_denied(&by_digest(&ours.digest), Reason::Unsigned)
        .await;
    let pulled = node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(pulled.manifests, [index.digest, ours.digest]);
    for child in [&ours, &other] {
        node.pull(&by_digest(&child.digest)).await.unwrap();
    }
    // The gate searched for a child's signatures only once, before it knew the index.
    assert_eq!(
        requests_for(&registry, &format!("/referrers/{}", ours.digest)).len(),
        1
    );
    assert_eq!(
        requests_for(&registry, &format!("/referrers/{}", other.digest)).len(),
        0
    );
}

#[tokio::test]
async fn a_signed_child_does_not_admit_the_index_that_lists_it() {
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
async fn a_pull_continues_after_a_restart_of_the_gate() {
    let registry = registry().await;
    let (index, ours, _) = put_index(&registry, "v1");
    let record = signer::get("release")
        .record(&index.digest, REPOSITORY)
        .to_string();
    let signature = attach(&registry, REPOSITORY, &index, &record);
    let rules = config(registry.url(), SIGNED);
    let node = Node::start(&rules).await;
    // The runtime has read the index. Then the gate restarts, and the signature is gone.
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
    // The index itself is evaluated again, and it has no signature any more.
    node.assert_denied(&image("acme/app:v1"), Reason::Unsigned).await;
    let folder = node.stop().await;

    // Derivations of another policy do not count.
    let node = Node::start_in(folder, &rules.replace("[\"release\"]", "[\"qa\"]")).await;
    node.assert_denied(&by_digest(&ours.digest), Reason::Unsigned)
        .await;
    let layer = Digest::sha256(b"for this machine");
    let blob = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert_eq!(expect_refusal(blob).await.reason(), Some("not-derived"));
}

#[tokio::test]
async fn mirrors_are_tried_in_order_and_need_the_same_signatures() {
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
    let refusing = RefusingAddress::new();
    let mirrors = format!("mirrors = [\"{}\", \"{}\"]", refusing.url, mirror.url());
    let node = Node::start(&configured(origin.url(), &mirrors, SIGNED)).await;
    assert_eq!(
        node.pull(&image("acme/app:v1")).await.unwrap().digest,
        stored.digest
    );
    assert_eq!(requests_for(&origin, "/manifests/v1"), []);
    assert_eq!(
        node.pull(&image("acme/app:v2")).await.unwrap().digest,
        only_origin.digest
    );
    // An unsigned image of a mirror is refused.
    put(&mirror, REPOSITORY, "v3");
    put_signed(&origin, "v3", signer::get("qa"));
    assert!(node.refused(&image("acme/app:v3")).await.reason().is_some());
}

#[tokio::test]
async fn a_cold_decision_needs_few_requests_and_a_warm_one_no_search() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let runtime = node.runtime(Dialect::Containerd);
    runtime.head(&image("acme/app:v1")).await.unwrap();
    assert!(registry.log().len() <= 4, "{:#?}", registry.log());
    registry.clear_log();
    runtime.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(requests_for(&registry, "/referrers/"), []);
}

#[tokio::test]
async fn concurrent_pulls_of_one_image_search_once() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let pulls = (0..32).map(|_| async { node.pull(&image("acme/app:v1")).await });
    for pulled in futures_util::future::join_all(pulls).await {
        pulled.unwrap();
    }
    assert_eq!(requests_for(&registry, "/referrers/").len(), 1);
}

#[tokio::test]
async fn requests_that_write_are_refused_and_reach_no_registry() {
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
        let refused = expect_refusal(runtime.get(method.clone(), path, None).await).await;
        assert_eq!(
            (refused.status, refused.code.as_str()),
            (StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED"),
            "{method}"
        );
    }
    assert_eq!(registry.requests(), 0);
}
