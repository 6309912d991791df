//! Registries that lie. The gate blocks each lie with its own reason, in time, and without more memory than any other pull
//! needs.

mod alone;
mod lies;
mod records;

use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect};
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::{Digest, MediaType};

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach};
use crate::support::{
    Node, REPOSITORY, SIGNED, config, hasty, image, put, put_signed, registry, run_alone, wait_until,
};

const MANIFEST: &str = MediaType::OciManifest.as_str();

/// The tests that measure the memory of the whole process run in a process of their own.
#[test]
fn no_lie_costs_memory() {
    run_alone("hostile::alone::", 2);
}

/// The gate serves the manifest that it has evaluated, whatever the response to HEAD says.
#[tokio::test]
async fn a_registry_that_sends_different_bytes_for_head_and_get_gains_nothing() {
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

/// A referrers API that hangs takes half of the time, and the records that the fallback tag lists are still read.
#[tokio::test]
async fn a_referrers_api_that_hangs_does_not_hide_the_records_of_the_tag() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let signed = put(&registry, REPOSITORY, "v1");
    let record = signer::get("release")
        .record(&signed.digest, REPOSITORY)
        .to_string();
    let referrer = attach(&registry, REPOSITORY, &signed, &record);
    signer::list(&registry, REPOSITORY, &signed, &[referrer]);
    let liar = Liar::start(Some(registry.addr()), |request| {
        if request.is_referrers() {
            Answer::Silence
        } else {
            Answer::Honest
        }
    })
    .await;
    let node = Node::start(&config(&liar.url(), SIGNED).replace("= \"30s\"", "= \"8s\"")).await;
    let pulled = node.runtime(Dialect::Podman).pull(&image("acme/app:v1")).await;
    assert_eq!(pulled.unwrap().digest, signed.digest);
}

/// The same bytes with another media type are refused, because they would be parsed differently (CVE-2021-41190).
#[tokio::test]
async fn the_same_bytes_with_another_media_type_are_refused() {
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

/// A tag moves between the evaluation and the read. The gate serves the digest that it has evaluated.
#[tokio::test]
async fn a_tag_that_moves_between_requests_serves_only_the_evaluated_digest() {
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
        // The next pull resolves the tag again.
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
async fn other_bytes_under_a_digest_are_refused() {
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

/// The gate does not hash blobs, because the runtime does. The runtime must detect the lie.
#[tokio::test]
async fn the_runtime_detects_other_bytes_for_a_blob() {
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

/// At the deadline of a blob the gate disconnects a client that does not read, and the registry with it.
#[tokio::test]
async fn a_client_that_stalls_does_not_hold_the_registrys_connection() {
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
    wait_until(async || liar.open() == 0, "the registry's connection is closed").await;
    drop(response);
}

/// Names that climb out of their folder never reach a registry.
#[tokio::test]
async fn names_and_digests_with_dots_reach_no_registry() {
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

/// Sends a GET request with exactly this target, which an HTTP library would normalise. Returns the status.
async fn raw_get(addr: std::net::SocketAddr, target: &str) -> u16 {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut stream = tokio::net::TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {target} HTTP/1.1\r\nhost: gate\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    std::str::from_utf8(&answer[9..12]).unwrap().parse().unwrap()
}

/// The gate follows a redirect to another host without its credentials.
#[tokio::test]
async fn a_redirect_to_another_host_carries_no_credentials() {
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
    // `/v2/` itself is redirected too, but a pull starts with the manifest.
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
