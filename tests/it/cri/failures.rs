//! Images that are not the admitted ones, failed and cancelled pulls, and peers that stall.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};
use http::Request;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;

use super::runtime::{PullResponse, frame_message, wire};
use super::{CriNode, ID, NAME, call, configuration, named_by_digest, pull_request};
use crate::support::liar::{Answer, Liar};
use crate::support::{LATEST, REPOSITORY, SIGNED, config, put, put_signed, registry, signer, wait_until};

#[tokio::test]
async fn an_image_that_was_pulled_and_not_admitted_is_removed() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let mismatch = "SignatureValidationFailed: pullgate: digest-mismatch: ";
    // The tag moved between the decision and the pull; the image has no digest; its digest is malformed.
    for digests in [
        vec![named_by_digest(&other.digest)],
        vec![],
        vec!["nonsense".to_owned()],
    ] {
        cri.prepare_pull(NAME, ID, &digests);
        let response = cri.pull(&pull_request(NAME)).await;
        assert_eq!(response.status(), "2", "{response:?}");
        assert!(response.text().starts_with(mismatch), "{}", response.text());
        assert!(response.text().contains("it was removed"), "{}", response.text());
        assert_eq!(cri.state.images.lock().unwrap().len(), 0);
        let (recorded, _) = cri.node.gate.watch(1, |_| true);
        assert_eq!(recorded[0].outcome.reason(), "digest-mismatch");
    }
    // The image has the right digest beside others.
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&other.digest), named_by_digest(&signed.digest)],
    );
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
    // A pull that fails does not remove the stored image.
    cri.state.pulls.lock().unwrap().clear();
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "5");
    assert!(cri.state.images.lock().unwrap().contains_key(NAME));
}

/// A registry can give the runtime the image of another repository. The image must not be removed for that, and must lose its
/// names in the registry's repository.
#[tokio::test]
async fn an_image_of_another_repository_keeps_its_names_there() {
    const PAUSE: &str = "registry.k8s.example/pause:3.9";
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let elsewhere = format!("registry.k8s.example/pause@{}", other.digest);
    for is_not_containerd in [false, true] {
        cri.state
            .is_not_containerd
            .store(is_not_containerd, Ordering::SeqCst);
        for digests in [
            vec![elsewhere.clone(), named_by_digest(&other.digest)],
            vec![elsewhere.clone(), named_by_digest(&signed.digest)],
            vec![elsewhere.clone()],
        ] {
            // The configuration is the same, so it is one image for the runtime.
            let pulled = wire::Image {
                id: ID.to_owned(),
                repo_tags: vec![PAUSE.to_owned(), NAME.to_owned()],
                repo_digests: digests,
                size: 7,
            };
            cri.state.store(PAUSE.to_owned(), pulled.clone());
            cri.state.pulls.lock().unwrap().insert(NAME.to_owned(), pulled);
            let text = cri.pull(&pull_request(NAME)).await.text();
            assert!(text.contains("digest-mismatch"), "{text}");
            assert!(
                text.contains("its names in this repository were removed"),
                "{text}"
            );
            let images = cri.state.images.lock().unwrap();
            assert!(!images.contains_key(NAME));
            assert_eq!(images[ID].repo_tags, [PAUSE]);
            assert_eq!(images[ID].repo_digests, std::slice::from_ref(&elsewhere));
            assert!(images.contains_key(PAUSE));
        }
    }
}

/// An archive contains its own names, so the name with the admitted digest may belong to another image.
#[tokio::test]
async fn a_name_with_the_admitted_digest_does_not_admit_another_image() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let digest = signed.digest.to_string();
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let no_digest = format!("{digest}0");
    for (id, detail) in [
        (ID, "the runtime has another image under the admitted name"),
        (&*no_digest, "the runtime calls what it pulled"),
        ("", "the runtime calls what it pulled"),
    ] {
        cri.prepare_pull(NAME, id, &[named_by_digest(&signed.digest)]);
        *cri.state.pull_response.lock().unwrap() =
            (id.is_empty()).then(|| PullResponse::Named(NAME.to_owned()));
        let response = cri.pull(&pull_request(NAME)).await;
        assert_eq!(response.status(), "2", "{response:?}");
        let text = response.text();
        assert!(
            text.contains("digest-mismatch") && text.contains(detail),
            "{text}"
        );
        assert!(text.contains("it was removed"), "{text}");
    }
    // Docker with containerd's image store uses the digest of the manifest as the identifier. CRI-O uses no digest, but computes
    // the names from its manifests.
    for id in [&*digest, &ID[7..]] {
        cri.prepare_pull(NAME, id, &[named_by_digest(&signed.digest)]);
        assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
    }
}

/// An unfinished request is given up after 10 s.
#[tokio::test]
async fn an_unfinished_request_is_given_up() {
    let registry = registry().await;
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = cri.connect().await;
    let half = frame_message(&pull_request(NAME)).slice(..9);
    let body = stream::iter([Ok::<_, Infallible>(Frame::data(half))]).chain(stream::pending());
    let request = Request::post("http://localhost/runtime.v1.ImageService/PullImage")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(body).boxed_unsync())
        .unwrap();
    let started = Instant::now();
    let answer = sender.send_request(request);
    let answer = tokio::time::timeout(LATEST, answer).await.unwrap().unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4");
    // The door's limit for a message is a constant of 10 s, which really has to pass. The answer must not come at once.
    assert!(started.elapsed() > Duration::from_secs(5));
    assert_eq!(cri.state.paths(), Vec::<String>::new());
}

/// A registry can give the runtime another image than the gate, and let the pull fail after the image has its name.
#[tokio::test]
async fn a_failed_pull_leaves_no_image_that_was_not_admitted() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let respond = |response| *cri.state.pull_response.lock().unwrap() = Some(response);
    for status in ["5", "4", "2", "13"] {
        cri.prepare_pull(NAME, ID, &[named_by_digest(&other.digest)]);
        respond(PullResponse::Failed(status));
        let response = cri.pull(&pull_request(NAME)).await;
        assert_eq!(response.status(), "2", "{response:?}");
        assert!(response.text().contains("digest-mismatch"), "{response:?}");
        assert_eq!(cri.state.images.lock().unwrap().len(), 0);
    }
    // The runtime's own error is forwarded if its image is the admitted one.
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    let response = cri.pull(&pull_request(NAME)).await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        ("13", "no such layer")
    );
    assert!(cri.state.images.lock().unwrap().contains_key(NAME));
    // A runtime that does not report its images is not accused: its error is forwarded, and no image is removed.
    let denials = cri.node.gate.watch(usize::MAX, |_| true).0.len();
    cri.state.is_starting.store(true, Ordering::SeqCst);
    let response = cri.pull(&pull_request(NAME)).await;
    assert_eq!(
        (response.status(), response.text().as_str()),
        ("13", "no such layer")
    );
    let calls = cri.state.seen.lock().unwrap().len();
    let rechecked = async || cri.state.seen.lock().unwrap().len() > calls;
    wait_until(rechecked, "the door has checked the runtime's image again").await;
    cri.state.is_starting.store(false, Ordering::SeqCst);
    assert!(cri.state.images.lock().unwrap().contains_key(NAME));
    // The record has only the decision that allowed the pull.
    assert_eq!(cri.node.gate.watch(usize::MAX, |_| true).0.len(), denials + 1);
    cri.state.images.lock().unwrap().clear();
    // The door also finds an image that arrives after the response.
    cri.prepare_pull(NAME, ID, &[named_by_digest(&other.digest)]);
    let arrival = Arc::new(Notify::new());
    respond(PullResponse::Late(Arc::clone(&arrival)));
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "4");
    arrival.notify_one();
    let removed = async || {
        cri.state.paths().contains(&"RemoveImage".to_owned())
            && cri.state.images.lock().unwrap().is_empty()
            && cri.node.gate.watch(1, |_| true).0[0].outcome.reason() == "digest-mismatch"
    };
    wait_until(removed, "the late image is removed").await;
}

/// The kubelet starts the image that the response names, and another pull may have moved the tag since.
#[tokio::test]
async fn the_image_that_the_response_names_must_be_the_admitted_one() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let evil = wire::Image {
        id: ID.replace('1', "2"),
        repo_digests: vec![named_by_digest(&other.digest)],
        ..wire::Image::default()
    };
    for named in [evil.id.clone(), "sha256:of-nothing".to_owned(), String::new()] {
        cri.prepare_pull(
            NAME,
            &configuration(&registry, &signed),
            &[named_by_digest(&signed.digest)],
        );
        cri.state.store(evil.id.clone(), evil.clone());
        *cri.state.pull_response.lock().unwrap() = Some(PullResponse::Named(named.clone()));
        let response = cri.pull(&pull_request(NAME)).await;
        assert_eq!(response.status(), "2", "{named}: {response:?}");
        assert!(response.text().contains("digest-mismatch"), "{response:?}");
        let gone = !cri.state.images.lock().unwrap().contains_key(&evil.id);
        assert_eq!(gone, named == evil.id);
    }
    // CRI-O may answer with the name and the digest.
    *cri.state.pull_response.lock().unwrap() = Some(PullResponse::Named(named_by_digest(&signed.digest)));
    let right = wire::Image {
        id: configuration(&registry, &signed),
        repo_digests: vec![named_by_digest(&signed.digest)],
        ..wire::Image::default()
    };
    cri.state.store(named_by_digest(&signed.digest), right);
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
}

#[tokio::test]
async fn the_image_of_a_cancelled_pull_is_checked_too() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    // The runtime never finishes a pull that waits for this notification.
    *cri.state.hold.lock().unwrap() = Some(Arc::default());
    let mut sender = cri.connect().await;
    let path = "/runtime.v1.ImageService/PullImage";
    let pull =
        tokio::spawn(async move { call(&mut sender, path, &[], frame_message(&pull_request(NAME))).await });
    cri.await_runtime_pull().await;
    // The runtime stored the image before the pull was cancelled, and it is not the admitted one.
    let image = wire::Image {
        id: ID.to_owned(),
        repo_digests: vec![named_by_digest(&other.digest)],
        ..wire::Image::default()
    };
    cri.state.store(NAME.to_owned(), image.clone());
    cri.state.store(ID.to_owned(), image);
    pull.abort();
    // The runtime learns that the caller has gone.
    tokio::time::timeout(LATEST, cri.state.cancelled.notified())
        .await
        .unwrap();
    let removed = async || cri.state.images.lock().unwrap().is_empty();
    wait_until(removed, "the image is removed").await;
}

#[tokio::test]
async fn a_stalled_registry_leads_to_a_denial_within_the_callers_deadline() {
    let liar = Liar::start(None, |_| Answer::Silence).await;
    let cri = CriNode::start(&config(&liar.url(), SIGNED), false).await;
    let mut sender = cri.connect().await;
    let started = Instant::now();
    let path = "/runtime.v1.ImageService/PullImage";
    let response = call(
        &mut sender,
        path,
        &[("grpc-timeout", "2S")],
        frame_message(&pull_request(NAME)),
    )
    .await;
    // The bound is far below the door's own limit of 30 s, and leaves room for a busy machine.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
    // A kubelet whose own deadline has passed sees the same code, DEADLINE_EXCEEDED.
    assert_eq!(response.status(), "4", "{response:?}");
    assert!(
        response.text().starts_with("pullgate: deadline-exceeded: "),
        "{response:?}"
    );
}
