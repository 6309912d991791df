//! Registries that lie, and what the gate makes of each lie: blocked, with a reason of its own, in time, and in no more
//! memory than any other pull.

mod alone;
mod lies;
mod records;

use std::time::{Duration, Instant};

use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect};
use pullgate::oci::{Digest, MediaType};

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach};
use crate::support::{LATEST, Node, REPOSITORY, SIGNED, config, hasty, image, put, put_signed, registry};

const MANIFEST: &str = MediaType::OciManifest.as_str();

/// The tests that watch the memory of their whole process run in one of their own.
#[test]
fn no_lie_costs_memory() {
    let this = std::env::current_exe().unwrap();
    let alone = std::process::Command::new(this)
        .args(["hostile::alone::", "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&alone.stdout);
    assert!(alone.status.success() && said.contains("2 passed"), "{said}");
}

/// What was judged is what is served, whatever HEAD says of it.
#[tokio::test]
async fn other_bytes_for_head_than_for_get() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "unsigned");
    for (head, get, expected) in [("v1", "unsigned", None), ("unsigned", "v1", Some(signed.digest))] {
        let honest = registry.addr();
        let bytes = |tag| registry.manifest(REPOSITORY, tag).unwrap().to_vec();
        let (head, get) = (bytes(head), bytes(get));
        let liar = Liar::start(Some(honest), move |request| {
            match (request.last(), request.method.as_str()) {
                ("v1", "HEAD") => Answer::ok(MANIFEST, head.clone())
                    .with("docker-content-digest", &Digest::sha256(&head).to_string()),
                ("v1", _) => Answer::ok(MANIFEST, get.clone()),
                _ => Answer::Honest,
            }
        })
        .await;
        for dialect in Dialect::ALL {
            let node = Node::start(&config(&liar.url(), SIGNED)).await;
            let pulled = node.runtime(dialect).pull(&image("acme/app:v1")).await;
            match expected {
                Some(digest) => assert_eq!(pulled.unwrap().digest, digest),
                None => assert_denied_as(pulled, Reason::Unsigned),
            }
        }
    }
    assert_ne!(signed.digest, unsigned.digest);
}

/// What was read once is not read again under another type: the same bytes, sent as something else, are refused
/// (CVE-2021-41190).
#[tokio::test]
async fn the_same_bytes_under_another_type() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let manifest = registry.manifest(REPOSITORY, "v1").unwrap().to_vec();
    let liar = Liar::start(Some(registry.addr()), move |request| {
        match (request.last(), request.nth) {
            ("v1", 2) => Answer::ok(MediaType::DockerManifest.as_str(), manifest.clone()),
            ("v1", _) => Answer::ok(MANIFEST, manifest.clone()),
            _ => Answer::Honest,
        }
    })
    .await;
    let node = Node::start(&config(&liar.url(), SIGNED)).await;
    for refused in [false, false, true, false] {
        let path = format!("/v2/{}/{REPOSITORY}/manifests/v1", crate::support::HOST);
        let status = reqwest::get(format!("http://{}{path}", node.addr))
            .await
            .unwrap()
            .status();
        assert_eq!(status.as_u16(), if refused { 403 } else { 200 });
    }
}

/// A tag that is signed when it is judged and not when it is read: the digest that was judged is what comes.
#[tokio::test]
async fn a_tag_that_moves_between_requests() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "unsigned");
    let moved = |first: &'static str, then: &'static str| {
        let bytes = |tag| registry.manifest(REPOSITORY, tag).unwrap().to_vec();
        let (first, then) = (bytes(first), bytes(then));
        Liar::start(Some(registry.addr()), move |request| {
            match (request.last(), request.nth) {
                ("v1", 0) => Answer::ok(MANIFEST, first.clone()),
                ("v1", _) => Answer::ok(MANIFEST, then.clone()),
                _ => Answer::Honest,
            }
        })
    };
    for dialect in Dialect::ALL {
        let liar = moved("v1", "unsigned").await;
        let node = Node::start(&config(&liar.url(), SIGNED)).await;
        let runtime = node.runtime(dialect);
        assert_eq!(
            runtime.pull(&image("acme/app:v1")).await.unwrap().digest,
            signed.digest,
            "{dialect:?}"
        );
        // The next pull sees what the tag means by then.
        assert_denied_as(runtime.pull(&image("acme/app:v1")).await, Reason::Unsigned);
        let by_digest = image(&format!("acme/app@{}", unsigned.digest));
        assert_denied_as(runtime.pull(&by_digest).await, Reason::Unsigned);

        let liar = moved("unsigned", "v1").await;
        let node = Node::start(&config(&liar.url(), SIGNED)).await;
        assert_denied_as(
            node.runtime(Dialect::Podman).pull(&image("acme/app:v1")).await,
            Reason::Unsigned,
        );
    }
}

#[tokio::test]
async fn other_bytes_by_digest() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "unsigned");
    let other = registry.manifest(REPOSITORY, "unsigned").unwrap();
    registry.tamper(REPOSITORY, &signed.digest, other).unwrap();
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let by_digest = image(&format!("acme/app@{}", signed.digest));
    node.assert_denied(&by_digest, Reason::DigestMismatch).await;
    let by_digest = image(&format!("acme/app@{}", unsigned.digest));
    node.assert_denied(&by_digest, Reason::Unsigned).await;
}

/// Blobs pass through unhashed, for the runtime hashes what it asked for by digest: it must see the lie as one.
#[tokio::test]
async fn other_bytes_for_a_blob() {
    let registry = registry().await;
    let layer = vec![7_u8; 300_000];
    let stored = registry.put_image(REPOSITORY, "v1", &[&layer]).unwrap();
    attach(
        &registry,
        REPOSITORY,
        &stored,
        &signer::get("release")
            .record(&stored.digest, REPOSITORY)
            .to_string(),
    );
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    node.pull(&image("acme/app:v1")).await.unwrap();
    let mut other = layer.clone();
    other[299_999] = 8;
    for tampered in [other, vec![7; 300_001], vec![7; 299_999], Vec::new()] {
        registry
            .tamper(REPOSITORY, &Digest::sha256(&layer), tampered)
            .unwrap();
        let result = node.pull(&image("acme/app:v1")).await;
        assert!(
            matches!(
                result,
                Err(ClientPullError::Corrupt { .. } | ClientPullError::Connection { .. })
            ),
            "{result:?}"
        );
    }
}

/// A client that takes nothing is let go of at the blob's deadline, and the origin with it.
#[tokio::test]
async fn a_client_that_stalls_frees_everything() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let layer = Digest::sha256(b"the layer of acme/app:v1").to_string();
    let name = layer.clone();
    let liar = Liar::start(Some(registry.addr()), move |request| {
        if request.last() == name {
            Answer::Endless {
                headers: Vec::new(),
                announced: None,
            }
        } else {
            Answer::Honest
        }
    })
    .await;
    let node = Node::start(&hasty(&config(&liar.url(), SIGNED))).await;
    let app = image("acme/app:v1");
    let runtime = node.runtime(Dialect::Containerd);
    runtime.head(&app).await.unwrap();
    let response = runtime
        .get(http::Method::GET, runtime.path(&app, "blobs", &layer), None)
        .await
        .unwrap();
    let deadline = Instant::now() + LATEST;
    while liar.open() > 0 {
        assert!(Instant::now() < deadline, "the origin is still held");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    drop(response);
}

/// Names that climb out of their folder never reach an origin.
#[tokio::test]
async fn names_and_digests_with_dots_reach_no_origin() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    for path in [
        "/v2/acme/app/manifests/sha256:../../../../etc/passwd?ns=registry.example",
        "/v2/acme/app/blobs/sha256:..%2f..%2f..%2fetc%2fpasswd?ns=registry.example",
        "/v2/acme/../../etc/manifests/v1?ns=registry.example",
        "/v2/acme/%2e%2e/%2e%2e/manifests/v1?ns=registry.example",
        "/v2/acme/app/manifests/..%2fv1?ns=registry.example",
        "/v2/acme/app/manifests/v1?ns=registry.example/../evil.example",
        "/v2/acme/app/manifests/v1?ns=169.254.169.254",
        "/v2/acme/app/manifests/v1?ns=registry.example&ns=other.example",
        "/v2/ACME/app/manifests/v1?ns=registry.example",
        "/v2/acme/app/manifests/v1%00?ns=registry.example",
        "/v2/acme/app/referrers/sha256:..?ns=registry.example",
        "http://registry.example/v2/acme/app/manifests/v1",
    ] {
        let status = raw_get(node.addr, path).await;
        assert!((400..500).contains(&status), "{path}: {status}");
    }
    assert_eq!(registry.requests(), 0);
}

/// A GET of exactly this target: HTTP libraries would tidy it up.
async fn raw_get(addr: std::net::SocketAddr, target: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap()
}

/// A redirect to another host is followed, and takes no credentials along.
#[tokio::test]
async fn a_redirect_takes_no_credentials_along() {
    let (other, front) = (registry().await, registry().await);
    let stored = put_signed(&other, "v1", signer::get("release"));
    let to = other.url().to_owned();
    let liar = Liar::start(Some(front.addr()), move |request| {
        let query = if request.query.is_empty() {
            String::new()
        } else {
            format!("?{}", request.query)
        };
        Answer::redirect(&format!("{to}{}{query}", request.path))
    })
    .await;
    let node = Node::start(&config(&liar.url(), SIGNED)).await;
    let bob = node
        .runtime(Dialect::Podman)
        .with_authorization("Basic Ym9iOnNlY3JldA==".parse().unwrap());
    // `/v2/` itself is redirected too; a pull begins with the manifest all the same.
    let digest = bob.head(&image("acme/app:v1")).await.unwrap();
    assert_eq!(digest, stored.digest);
    bob.blob(
        &image("acme/app:v1"),
        &Digest::sha256(b"the layer of acme/app:v1"),
    )
    .await
    .unwrap();
    assert!(
        liar.seen()
            .iter()
            .any(|request| request.headers.contains_key("authorization"))
    );
    let log = other.log();
    assert!(
        log.len() > 3 && log.iter().all(|access| access.authorization.is_none()),
        "{log:?}"
    );
}

fn assert_denied_as<T: std::fmt::Debug>(result: Result<T, ClientPullError>, reason: Reason) {
    match result {
        Err(ClientPullError::Refused(refusal)) => {
            assert_eq!(refusal.reason(), Some(reason.code()), "{refusal:?}")
        }
        other => panic!("not refused: {other:?}"),
    }
}
