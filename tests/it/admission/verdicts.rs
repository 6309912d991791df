//! The verdicts, their explanations, and their life in the cache.

use pullgate::base::proto::v1;
use pullgate::fakes::pull_client::Dialect;

use super::{Admission, named, resolved};
use crate::support::{
    Node, REPOSITORY, SIGNED, config, configured, image, put, put_into_directory, put_signed, registry,
    signer, wait_until,
};

fn on_linux(architecture: &str) -> pullgate::oci::Platform {
    pullgate::oci::Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: None,
    }
}

#[tokio::test]
async fn a_signed_image_is_allowed_with_its_signatures_and_an_unsigned_one_is_denied() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "unsigned");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let verdict = door.assert_allowed(named("acme/app:v1")).await;
    assert_eq!(verdict.digest, signed.digest.to_string());
    assert_eq!(verdict.rule, "registry.example/**");
    assert_eq!(
        verdict.generation,
        node.gate.settings().policy.generation().to_string()
    );
    assert!(!verdict.cached && verdict.reason.is_empty() && verdict.text.is_empty());
    let [signature] = &verdict.signatures[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (
            signature.key.as_str(),
            signature.source.as_str(),
            signature.format.as_str()
        ),
        ("release", "referrers", "oracle")
    );
    assert!(signature.reason.is_empty() && signature.id.contains("sha256:"));
    assert!(door.assert_allowed(named("acme/app:v1")).await.cached);

    let verdict = door.assert_denied(named("acme/app:unsigned"), "unsigned").await;
    for part in [
        "acme/app:unsigned",
        "registry.example/**",
        "unsigned",
        &verdict.next_step,
    ] {
        assert!(verdict.text.contains(part), "{verdict:?}");
    }
    let verdict = door
        .assert_denied(
            v1::CheckRequest {
                reference: "elsewhere.example/app".to_owned(),
                ..v1::CheckRequest::default()
            },
            "no-rule",
        )
        .await;
    assert_eq!((verdict.rule.as_str(), verdict.retryable), ("default", false));

    // The decision is recorded and counted as at any other door. The kernel names the caller.
    let (recorded, _) = node.gate.watch(1, |_| true);
    assert_eq!(recorded[0].door.as_str(), "admission");
    let uid = rustix::process::getuid().as_raw();
    let pid = std::process::id();
    assert!(
        recorded[0].peer.starts_with(&format!("uid={uid} gid=")),
        "{recorded:?}"
    );
    assert!(recorded[0].peer.ends_with(&format!("pid={pid}")), "{recorded:?}");
    let denied = r#"pullgate_pulls_total{door="admission",verdict="deny",reason="unsigned"}"#;
    assert_eq!(node.metric(denied), 1);
}

#[tokio::test]
async fn the_verdict_is_about_the_resolved_digest() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    door.assert_allowed(resolved("acme/app:v1", &signed)).await;
    // The tag may have moved since containerd resolved it, so the digest counts.
    door.assert_denied(resolved("acme/app:v1", &unsigned), "unsigned")
        .await;
    door.assert_allowed(resolved("acme/app:v2", &signed)).await;

    for (descriptor, expected) in [
        (
            v1::Descriptor {
                media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
                ..resolved("acme/app:v1", &signed).descriptor.unwrap()
            },
            "application/vnd.oci.image.index.v1+json",
        ),
        (
            v1::Descriptor {
                size: 7,
                ..resolved("acme/app:v1", &signed).descriptor.unwrap()
            },
            "7 bytes",
        ),
    ] {
        let question = v1::CheckRequest {
            descriptor: Some(descriptor),
            ..named("acme/app:v1")
        };
        let verdict = door.assert_denied(question, "malformed").await;
        assert!(verdict.detail.contains(expected), "{verdict:?}");
    }
}

#[tokio::test]
async fn the_verdict_on_an_index_names_the_manifest_for_the_platform() {
    let registry = registry().await;
    let amd64 = registry
        .put_image_for(REPOSITORY, "", on_linux("amd64"), &[b"amd64"])
        .unwrap();
    let arm64 = registry
        .put_image_for(REPOSITORY, "", on_linux("arm64"), &[b"arm64"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, "v1", &[amd64, arm64.clone()])
        .unwrap();
    let record = signer::get("release").record(&index.digest, REPOSITORY);
    signer::attach(&registry, REPOSITORY, &index, &record.to_string());
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let on = |architecture: &str| v1::CheckRequest {
        platform: Some(v1::Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: String::new(),
        }),
        ..named("acme/app:v1")
    };
    let manifest = door.check(on("arm64")).await.unwrap().manifest.unwrap();
    assert_eq!(manifest.digest, arm64.digest.to_string());
    assert_eq!(manifest.size, i64::try_from(arm64.size).unwrap());
    assert_eq!(door.check(on("riscv64")).await.unwrap().manifest, None);
    assert_eq!(door.check(named("acme/app:v1")).await.unwrap().manifest, None);
    // The verdict on the manifest alone names the index that admits it.
    let verdict = door.assert_allowed(resolved("acme/app", &arm64)).await;
    assert_eq!(verdict.root, index.digest.to_string());
}

#[tokio::test]
async fn an_explanation_shows_each_stage() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    put_signed(&registry, "wrong", signer::get("stranger"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut client = door.client().await;
    let mut explain = async |name: &str| {
        let check = v1::CheckRequest {
            reference: name.to_owned(),
            ..v1::CheckRequest::default()
        };
        let explained = client.explain(v1::ExplainRequest { check: Some(check) }).await;
        let steps = explained.unwrap().into_inner().steps;
        let steps = steps.into_iter().map(|step| (step.stage, step.passed, step.text));
        steps.collect::<Vec<_>>()
    };
    let stages = |steps: &[(String, bool, String)]| {
        let stages = steps.iter().map(|(stage, passed, _)| (stage.clone(), *passed));
        stages.collect::<Vec<_>>()
    };
    let expected = |stages: &[(&str, bool)]| {
        let stages = stages
            .iter()
            .map(|(stage, passed)| ((*stage).to_owned(), *passed));
        stages.collect::<Vec<_>>()
    };
    let steps = explain("registry.example/acme/app:v1").await;
    assert_eq!(
        stages(&steps),
        expected(&[
            ("policy", true),
            ("resolve", true),
            ("find", true),
            ("verify", true),
            ("decide", true)
        ])
    );
    assert!(steps[0].2.contains("release"), "{steps:?}");
    assert!(steps[3].2.contains("the key release"), "{steps:?}");
    let steps = explain("registry.example/acme/app:wrong").await;
    assert_eq!(
        stages(&steps),
        expected(&[
            ("policy", true),
            ("resolve", true),
            ("find", true),
            ("verify", false),
            ("decide", false)
        ])
    );
    assert!(steps[3].2.contains("untrusted-key"), "{steps:?}");
    let steps = explain("elsewhere.example/app").await;
    assert_eq!(stages(&steps), expected(&[("policy", false), ("decide", false)]));
    let steps = explain("registry.example/acme/app:none").await;
    assert_eq!(
        stages(&steps),
        expected(&[("policy", true), ("resolve", false), ("decide", false)])
    );
}

#[tokio::test]
async fn cleared_verdicts_do_not_return_with_a_restart() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let rules = configured(registry.url(), "signatures = [\"directory\"]", SIGNED);
    let node = Node::start(&rules).await;
    let record = signer::get("release").record(&stored.digest, REPOSITORY);
    put_into_directory(&node.state(), &stored.digest, "one", &record.to_string());
    node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(node.gate.cached_verdicts().len(), 1);
    let folder = node
        .state()
        .join("signatures/sha256")
        .join(stored.digest.encoded());
    std::fs::remove_file(folder.join("one.json")).unwrap();
    // The cached verdict is still in effect.
    node.pull(&image("acme/app:v1")).await.unwrap();
    let runtime = node.runtime(Dialect::Containerd);
    let layer = pullgate::oci::Digest::sha256(b"the layer of acme/app:v1");
    runtime.blob(&image("acme/app:v1"), &layer).await.unwrap();

    assert_eq!(node.gate.clear().unwrap(), 1);
    assert_eq!(node.gate.cached_verdicts().len(), 0);
    let refused = runtime.blob(&image("acme/app:v1"), &layer).await;
    assert!(
        refused.is_err(),
        "a layer of an image without a signature was served"
    );
    node.assert_denied(&image("acme/app:v1"), pullgate::base::reason::Reason::Unsigned)
        .await;
    let node = Node::start_in(node.stop().await, &rules).await;
    node.assert_denied(&image("acme/app:v1"), pullgate::base::reason::Reason::Unsigned)
        .await;
    let refused = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert!(refused.is_err(), "the restart restored the verdict");
}

/// The admission of a layer expires with the verdict on its image. A pull that the cache answers does not renew it.
#[tokio::test]
async fn a_layer_is_not_admitted_longer_than_the_verdict_on_its_image() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let rules = configured(
        registry.url(),
        "signatures = [\"directory\"]",
        &format!("{SIGNED}[cache]\npositive = \"3s\"\n"),
    );
    let node = Node::start(&rules).await;
    let record = signer::get("release").record(&stored.digest, REPOSITORY);
    put_into_directory(&node.state(), &stored.digest, "one", &record.to_string());
    node.pull(&image("acme/app:v1")).await.unwrap();
    let folder = node
        .state()
        .join("signatures/sha256")
        .join(stored.digest.encoded());
    std::fs::remove_file(folder.join("one.json")).unwrap();
    // Each of these pulls is answered from the cache, until the verdict has expired. If one of them renewed the admission of
    // the layer, the layer would be admitted for three more seconds.
    let expired = async || node.pull(&image("acme/app:v1")).await.is_err();
    wait_until(expired, "the verdict expires").await;
    let layer = pullgate::oci::Digest::sha256(b"the layer of acme/app:v1");
    let refused = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert!(refused.is_err(), "the layer outlived the verdict");
}
