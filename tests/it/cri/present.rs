//! Images that the runtime already has.

use std::sync::Arc;
use std::time::Duration;

use super::runtime::wire;
use super::{CriNode, NAME, configuration, named_by_digest, pull_request};
use crate::support::{Node, SIGNED, config, put_signed, registry, signer, wait_until};

#[tokio::test]
async fn images_that_were_not_admitted_are_hidden() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let rules = config(registry.url(), SIGNED);
    let cri = CriNode::start(&rules, true).await;
    let imported = wire::Image {
        id: "sha256:2222222222222222222222222222222222222222222222222222222222222222".to_owned(),
        repo_tags: vec!["registry.example/acme/imported:v1".to_owned()],
        repo_digests: vec![],
        size: 9,
    };
    let unsigned = wire::Image {
        id: "sha256:3333333333333333333333333333333333333333333333333333333333333333".to_owned(),
        repo_digests: vec![named_by_digest(&pullgate::oci::Digest::sha256(b"another"))],
        ..imported.clone()
    };
    // The image has the name of the signed one.
    let forged = wire::Image {
        id: "sha256:4444444444444444444444444444444444444444444444444444444444444444".to_owned(),
        repo_digests: vec![named_by_digest(&signed.digest)],
        ..imported.clone()
    };
    let nameless = wire::Image {
        id: "no digest".to_owned(),
        ..forged.clone()
    };
    {
        let mut images = cri.state.images.lock().unwrap();
        for image in [&imported, &unsigned, &forged, &nameless] {
            images.insert(image.id.clone(), image.clone());
        }
        images.insert("registry.example/acme/imported:v1".to_owned(), imported.clone());
    }
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
    registry.clear_log();

    let ids = async |cri: &CriNode| -> Vec<String> {
        let listed = cri.image_call("ListImages", "").await;
        let listed: wire::Images = listed.message();
        assert_eq!(listed.later, "kept");
        listed.images.into_iter().map(|image| image.id).collect()
    };
    let is_visible = async |cri: &CriNode, name: &str| {
        let status: wire::Images = cri.image_call("ImageStatus", name).await.message();
        !status.images.is_empty()
    };
    let id = configuration(&registry, &signed);
    assert_eq!(ids(&cri).await, [id.as_str()]);
    assert!(is_visible(&cri, NAME).await && is_visible(&cri, &id).await);
    assert!(!is_visible(&cri, "registry.example/acme/imported:v1").await);
    for hidden in [&imported, &unsigned, &forged, &nameless] {
        assert!(!is_visible(&cri, &hidden.id).await, "{hidden:?}");
    }
    let streamed = cri.image_call("StreamImages", "").await;
    assert_eq!(streamed.status(), "12");
    assert_eq!(registry.log(), [], "the registry received a request");

    // An image that is admitted under one name is not admitted under another.
    let open = "registry.example/open/app:v1";
    let two_names = wire::Image {
        id: "sha256:5555555555555555555555555555555555555555555555555555555555555555".to_owned(),
        repo_tags: vec![open.to_owned(), "registry.example/acme/app:v2".to_owned()],
        repo_digests: vec![
            format!("registry.example/open/app@{}", signed.digest),
            named_by_digest(&pullgate::oci::Digest::sha256(b"another")),
        ],
        size: 9,
    };
    for name in [
        &*two_names.id,
        open,
        "registry.example/acme/app:v2",
        "555555555555",
    ] {
        cri.state.store(name.to_owned(), two_names.clone());
    }
    cri.node.reload(&config(
        registry.url(),
        &format!(
            "{SIGNED}[[rule]]\nscope = \"registry.example/open/**\"\nrequire = \"insecure-accept-anything\"\n"
        ),
    ));
    assert!(is_visible(&cri, open).await);
    assert!(is_visible(&cri, &two_names.id).await && is_visible(&cri, "555555555555").await);
    assert!(!is_visible(&cri, "registry.example/acme/app:v2").await);
    assert!(ids(&cri).await.contains(&two_names.id));
    cri.node.reload(&rules);

    // Verdicts of another policy do not count.
    let other = format!("{SIGNED}threshold = 2\n").replace("[\"release\"]", "[\"release\", \"qa\"]");
    cri.node.reload(&config(registry.url(), &other));
    assert!(!is_visible(&cri, NAME).await);
    cri.node.reload(&rules);
    assert!(is_visible(&cri, NAME).await);
    cri.node.reload(&config(
        registry.url(),
        &format!("{SIGNED}[deny]\ndigests = [\"{}\"]\n", signed.digest),
    ));
    assert!(!is_visible(&cri, NAME).await);
    let anything = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"insecure-accept-anything\"\n";
    cri.node.reload(&config(registry.url(), anything));
    assert!(is_visible(&cri, &unsigned.id).await);
    cri.node.reload(&rules);
    cri.node.gate.clear().unwrap();
    assert!(!is_visible(&cri, NAME).await, "a cleared verdict still counts");

    // Without `recheck_present`, which is the default, the runtime's images are shown.
    let cri = CriNode::start(&rules, false).await;
    cri.state.store(imported.id.clone(), imported.clone());
    assert_eq!(ids(&cri).await, [imported.id.as_str()]);
}

/// An image that was admitted before a restart is admitted after it, without the network and beyond `[cache] positive`.
#[tokio::test]
async fn an_admitted_image_stays_admitted_after_a_restart() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let rules = config(registry.url(), &format!("{SIGNED}[cache]\npositive = \"1s\"\n"));
    let cri = CriNode::start(&rules, true).await;
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
    let CriNode { node, _stop, .. } = cri;
    drop(_stop);
    wait_until(async || Arc::strong_count(&node.gate) <= 2, "the door has ended").await;
    let folder = node.stop().await;
    drop(registry);
    // More time than `[cache] positive` has to pass, by the system's clock.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    let node = Node::start_in(folder, &rules).await;
    let repository = "registry.example/acme/app:v1"
        .parse::<pullgate::oci::Reference>()
        .unwrap()
        .repository;
    assert_eq!(
        node.gate.image_status(&repository, &signed.digest, None),
        pullgate::pull::gate::ImageStatus::Admitted
    );
}
