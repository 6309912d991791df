//! Attacks on the gate that worked in an earlier version.

use std::time::{Duration, Instant};

use jiff::{Timestamp, ToSpan as _};
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::Dialect;
use pullgate::fakes::registry::EmbeddedRegistry;
use pullgate::oci::{Descriptor, Digest, Reference};
use pullgate::pull::decide::Verdict;
use pullgate::pull::request::{DoorName, PullRequest, Purpose};
use sha2::{Digest as _, Sha512};

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach};
use crate::support::{HOST, LATEST, Node, REPOSITORY, SIGNED, config, image, put, put_signed, registry};

const NO_CACHE: &str = "[cache]\npositive = \"0s\"\nnegative = \"0s\"\n";

fn by_digest(digest: &Digest) -> Reference {
    image(&format!("acme/app@{digest}"))
}

/// Stores the indexes `v0`, `v1`, …, each of which lists the one before.
fn put_chain(registry: &EmbeddedRegistry, length: usize) -> Vec<Descriptor> {
    let mut below = registry.put_image(REPOSITORY, "", &[b"at the bottom"]).unwrap();
    let mut chain = Vec::new();
    for number in 0..length {
        below = registry
            .put_index(REPOSITORY, &format!("v{number}"), &[below])
            .unwrap();
        chain.push(below.clone());
    }
    chain
}

/// Each index of a chain is pulled by its tag, so that it is the parent of the index that it lists. A request for the lowest
/// must not walk the whole chain by recursion, because a stack overflow ends the process.
#[tokio::test]
async fn the_length_of_a_chain_of_indexes_does_not_set_the_depth_of_the_recursion() {
    let registry = registry().await;
    let chain = put_chain(&registry, 4);
    let warns = format!("{SIGNED}mode = \"warn\"\n{NO_CACHE}");
    let node = Node::start(&config(registry.url(), &warns)).await;
    let runtime = node.runtime(Dialect::Containerd);
    for number in 0..chain.len() {
        runtime
            .head(&image(&format!("acme/app:v{number}")))
            .await
            .unwrap();
    }
    registry.clear_log();
    runtime.head(&by_digest(&chain[0].digest)).await.unwrap();
    let searched: Vec<_> = registry
        .log()
        .into_iter()
        .filter(|access| access.target.contains("/referrers/"))
        .collect();
    let for_the_parent = format!("/referrers/{}", chain[1].digest);
    assert!(
        !searched.is_empty()
            && searched
                .iter()
                .all(|access| access.target.contains(&for_the_parent)),
        "{searched:#?}"
    );
}

/// The deny list contains a SHA-256 digest, and the same bytes have a SHA-512 digest too.
#[tokio::test]
async fn a_denied_manifest_is_denied_under_its_other_digest_too() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let bytes = registry.manifest(REPOSITORY, "v1").unwrap().to_vec();
    let other = Digest::Sha512(Sha512::digest(&bytes).into());
    let liar = Liar::start(Some(registry.addr()), move |request| {
        if request.last().starts_with("sha512:") {
            Answer::ok("application/vnd.oci.image.manifest.v1+json", bytes.clone())
        } else {
            Answer::Honest
        }
    })
    .await;
    let anything = |denied: &Digest| {
        format!(
            "[[rule]]\nscope = \"{HOST}/**\"\nrequire = \"insecure-accept-anything\"\n[deny]\ndigests = [\"{denied}\"]\n"
        )
    };
    let node = Node::start(&config(&liar.url(), &anything(&stored.digest))).await;
    node.assert_denied(&by_digest(&other), Reason::DigestDenied).await;
    node.reload(&config(&liar.url(), &anything(&other)));
    node.assert_denied(&image("acme/app:v1"), Reason::DigestDenied)
        .await;
}

/// A derivation expires at the latest with the keys that signed its root.
#[tokio::test]
async fn a_derivation_does_not_outlive_the_key_that_signed_its_root() {
    let registry = registry().await;
    let child = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, "v1", std::slice::from_ref(&child))
        .unwrap();
    let release = signer::get("release");
    attach(
        &registry,
        REPOSITORY,
        &index,
        &release.record(&index.digest, REPOSITORY).to_string(),
    );
    // The expiry of a key is compared with the system's clock, so the test has to wait for a real time to pass. On a busy
    // machine the first pull may come after the end, and then a later end is tried.
    let mut seconds = 4;
    let (node, end) = loop {
        let end = Timestamp::now() + seconds.seconds();
        let expiring = config(registry.url(), SIGNED).replacen(
            "name = \"release\"\n",
            &format!("name = \"release\"\nnot_after = {end}\n"),
            1,
        );
        let node = Node::start(&expiring).await;
        if node.pull(&image("acme/app:v1")).await.is_ok() {
            break (node, end);
        }
        assert!(
            Timestamp::now() > end,
            "the pull was refused while the key was valid"
        );
        seconds *= 4;
    };
    let remaining = Timestamp::now().duration_until(end);
    tokio::time::sleep(Duration::try_from(remaining).unwrap_or_default()).await;
    node.assert_denied(&image("acme/app:v1"), Reason::KeyExpired)
        .await;
    let refused = node.refused(&by_digest(&child.digest)).await;
    assert_eq!(refused.reason(), Some(Reason::Unsigned.code()), "{refused:?}");
}

/// A user can pull any number of images under a rule that accepts anything. They must not push the derivations of signed
/// images out of the bounded store.
#[tokio::test]
async fn unsigned_images_do_not_evict_derivations_of_signed_images() {
    let registry = registry().await;
    let child = registry
        .put_image(REPOSITORY, "", &[b"for this machine"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, "v1", std::slice::from_ref(&child))
        .unwrap();
    let record = signer::get("release").record(&index.digest, REPOSITORY);
    attach(&registry, REPOSITORY, &index, &record.to_string());
    let rules = "[[rule]]\nscope = \"registry.example/free/**\"\nrequire = \"insecure-accept-anything\"\n\
                 [cache]\npermits = 32\n";
    let rules = config(registry.url(), &format!("{SIGNED}{rules}"));
    let node = Node::start(&rules).await;
    let runtime = node.runtime(Dialect::Containerd);
    runtime.head(&image("acme/app:v1")).await.unwrap();
    // The store evicts the derivation that expires first, and expiries have a resolution of one second. A real second has to
    // pass, because the expiries come from the system's clock.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for number in 0..50 {
        put(&registry, "free/app", &format!("v{number}"));
        runtime
            .head(&image(&format!("free/app:v{number}")))
            .await
            .unwrap();
    }
    let node = Node::start_in(node.stop().await, &rules).await;
    node.pull(&by_digest(&child.digest)).await.unwrap();
}

/// A denial quotes the repository of the record, in terminals and logs too. The holder of any key of the rule chooses that
/// name.
#[tokio::test]
async fn a_signed_name_does_not_reach_a_terminal_unescaped() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let name = "acme/other\n\u{1b}[2Jverdict  allow";
    let record = signer::get("release").record(&stored.digest, name);
    attach(&registry, REPOSITORY, &stored, &record.to_string());
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let judgement = node
        .gate
        .admit(&PullRequest {
            door: DoorName::new("registry"),
            peer: "test".to_owned(),
            reference: image("acme/app:v1"),
            presented: None,
            deadline: Instant::now() + LATEST,
            pod: None,
            purpose: Purpose::Serve,
        })
        .await;
    let Verdict::Deny(denial) = judgement.verdict else {
        panic!("allowed");
    };
    assert_eq!(denial.reason, Reason::RepositoryMismatch);
    assert!(
        denial.detail.contains("acme/other\\n") && !denial.detail.contains(char::is_control),
        "{denial:?}"
    );
}

/// The configuration has one public key under two names. To revoke one of them revokes the key.
#[tokio::test]
async fn a_revoked_key_is_revoked_under_its_other_name_too() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let twice = config(registry.url(), SIGNED).replacen(
        "[[key]]\n",
        "[[key]]\nname = \"second\"\npublic_key = \"keys/release.pem\"\nrevoked = false\n[[key]]\n",
        1,
    );
    let node = Node::start(&twice).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    node.reload(&twice.replacen("revoked = false", "revoked = true", 1));
    node.assert_denied(&image("acme/app:v1"), Reason::KeyRevoked)
        .await;
}

/// The registry has more junk records than a pull reads, and the administrator's own directory is read all the same.
#[tokio::test]
async fn junk_in_the_registry_does_not_hide_the_local_directory() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    for number in 0..pullgate::base::limits::CANDIDATES {
        attach(&registry, REPOSITORY, &stored, &format!("{{\"junk\":{number}}}"));
    }
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let folder = node
        .state()
        .join("signatures/sha256")
        .join(stored.digest.encoded());
    std::fs::create_dir_all(&folder).unwrap();
    assert!(node.pull(&image("acme/app:v1")).await.is_err());
    let record = signer::get("release").record(&stored.digest, REPOSITORY);
    std::fs::write(folder.join("release.json"), record.to_string()).unwrap();
    let node = Node::start_in(node.stop().await, &config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
}
