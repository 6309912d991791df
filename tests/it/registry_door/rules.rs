//! Modes, thresholds, the deny list, and reloads.

use http::Method;
use pullgate::base::reason::Reason;
use pullgate::oci::Digest;

use super::{by_digest, expect_refusal, put_index, requests_for};
use crate::support::signer::{self, attach};
use crate::support::{HOST, Node, REPOSITORY, SIGNED, config, image, put, put_signed, registry};

#[tokio::test]
async fn a_rule_in_mode_warn_admits_and_records_a_warning() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let warn = format!("{SIGNED}mode = \"warn\"\n");
    let node = Node::start(&config(registry.url(), &warn)).await;
    let pulled = node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!((pulled.digest, pulled.blobs.len()), (stored.digest, 2));
    let line = "pullgate_pulls_total{door=\"registry\",verdict=\"warn\",reason=\"unsigned\"}";
    assert!(node.metric(line) >= 1);
    // The mode does not admit a missing image, nor a digest on the deny list.
    node.assert_denied(&image("acme/app:v2"), Reason::ImageNotFound)
        .await;
    node.reload(&config(
        registry.url(),
        &format!("{warn}[deny]\ndigests = [\"{}\"]\n", stored.digest),
    ));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
    let refused = expect_refusal(node.pull(&by_digest(&stored.digest)).await).await;
    assert_eq!(refused.reason(), Some("digest-denied"));
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
    // The second signature of the same key differs, because its salt does.
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
async fn the_deny_list_overrides_every_signature_and_rule() {
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
    // The digest of a child of an admitted index is denied.
    node.reload(&config(registry.url(), &deny(&ours.digest)));
    let refused = expect_refusal(node.pull(&image("acme/app:v1")).await).await;
    assert_eq!(
        (refused.reason(), &refused.method),
        (Some("digest-denied"), &Method::GET)
    );
    node.pull(&by_digest(&other.digest)).await.unwrap();
    // The digest of the index is denied, and with it the children that only the index admits.
    node.reload(&config(registry.url(), &deny(&index.digest)));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
    assert!(
        expect_refusal(node.pull(&by_digest(&ours.digest)).await)
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
async fn rules_that_need_no_signature_search_for_none() {
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
    assert_eq!(requests_for(&registry, "/referrers/"), []);
}

#[tokio::test]
async fn a_reload_discards_every_cached_verdict() {
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
