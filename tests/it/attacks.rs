//! Ways around or into the gate that once worked.

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

const NOTHING_REMEMBERED: &str = "[cache]\npositive = \"0s\"\nnegative = \"0s\"\n";

fn by_digest(digest: &Digest) -> Reference {
    image(&format!("acme/app@{digest}"))
}

/// Indexes `v0`, `v1`, … each of which lists the one before.
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

/// Indexes in a chain, each pulled by its tag, so that each is the root of what it lists: to ask for the lowest must
/// not walk all the way up, a call deeper for each (a stack that overflows ends the process).
#[tokio::test]
async fn a_chain_of_indexes_does_not_choose_how_deep_the_gate_goes() {
    let registry = registry().await;
    let chain = put_chain(&registry, 4);
    let warns = format!("{SIGNED}mode = \"warn\"\n{NOTHING_REMEMBERED}");
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
    let of_its_root = format!("/referrers/{}", chain[1].digest);
    assert!(
        !searched.is_empty() && searched.iter().all(|access| access.target.contains(&of_its_root)),
        "{searched:#?}"
    );
}

/// The deny list says `sha256:…`; the same bytes have a SHA-512 digest too.
#[tokio::test]
async fn a_denied_manifest_does_not_pass_under_its_other_digest() {
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

/// What an index covers is remembered no longer than the keys are good that signed it.
#[tokio::test]
async fn a_cover_does_not_outlive_the_key_that_signed_its_root() {
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
    let end = Timestamp::now() + 4.seconds();
    let ends = config(registry.url(), SIGNED).replacen(
        "name = \"release\"\n",
        &format!("name = \"release\"\nnot_after = {end}\n"),
        1,
    );
    let node = Node::start(&ends).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    let left = Timestamp::now().duration_until(end);
    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
    node.assert_denied(&image("acme/app:v1"), Reason::KeyExpired)
        .await;
    let refused = node.refused(&by_digest(&child.digest)).await;
    assert_eq!(refused.reason(), Some(Reason::Unsigned.code()), "{refused:?}");
}

/// Images under a rule that accepts anything, pulled by whoever likes, must not push out of the bounded store what
/// signed images cover.
#[tokio::test]
async fn unsigned_images_do_not_crowd_out_what_signed_ones_cover() {
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
    // What expires first goes first, by the second.
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

/// Of a record that names another repository the name is quoted, to terminals and logs too: whoever holds any key of the
/// rule chooses it.
#[tokio::test]
async fn a_signed_name_does_not_reach_a_terminal_as_it_is() {
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

/// One public key under two names, each in a rule of its own: to revoke the one revokes the key.
#[tokio::test]
async fn a_revoked_key_does_not_go_on_under_another_name() {
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

/// More junk in the registry than a pull looks at: the administrator's own directory is looked at all the same.
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
