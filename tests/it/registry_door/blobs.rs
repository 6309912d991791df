//! Blobs, and the images that admit them.

use http::{Method, StatusCode};
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::Dialect;
use pullgate::oci::Digest;

use super::{expect_refusal, put_index};
use crate::support::signer::{self, attach};
use crate::support::{Node, REPOSITORY, SIGNED, config, image, registry};

#[tokio::test]
async fn an_admitted_image_admits_its_parts_only_in_its_own_repository() {
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
    let blob = expect_refusal(runtime.blob(&image("acme/other:v1"), &layer).await).await;
    assert_eq!(blob.reason(), Some("not-derived"));
    // A digest that was admitted as a manifest cannot be fetched as a blob.
    let blob = expect_refusal(runtime.blob(&image("acme/app:v1"), &ours.digest).await).await;
    assert_eq!(blob.reason(), Some("not-derived"));
}

#[tokio::test]
async fn blobs_are_served_whole_in_ranges_and_by_head() {
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
    let none = expect_refusal(runtime.get(Method::GET, path, Some("bytes=99999999-")).await).await;
    assert_eq!(none.status, StatusCode::RANGE_NOT_SATISFIABLE);
}
