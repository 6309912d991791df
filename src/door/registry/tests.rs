//! The door with a gate behind it and a registry behind that.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{RegistryDoor, RegistryDoorSettings, TlsFiles};
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::door::test_gate::{gate, settings};
use crate::door::{DoorLimits, ServeContext};
use crate::fakes::pull_client::{ClientPullError, Dialect, PullClient};
use crate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use crate::oci::{Descriptor, Digest, Reference};
use crate::pull::gate::Gate;
use crate::pull::policy::Requirement;

const LATEST: Duration = Duration::from_secs(10);

/// A gate with its door in front of a registry that images call `registry.test`.
struct Node {
    address: SocketAddr,
    origin: EmbeddedRegistry,
    gate: Arc<Gate>,
    stop: DropGuard,
    _task: JoinHandle<()>,
}

fn config() -> RegistryDoorSettings {
    RegistryDoorSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        default_registry: None,
    }
}

const LIMITS: DoorLimits = DoorLimits {
    pull: Duration::from_secs(5),
    blob: Duration::from_secs(30),
    connections: 64,
};

fn only(digests: &[&Descriptor]) -> Requirement {
    Requirement::Digest(digests.iter().map(|descriptor| descriptor.digest).collect())
}

impl Node {
    async fn start(origin: EmbeddedRegistry, rules: Vec<(&str, Requirement)>) -> Self {
        Self::with(config(), LIMITS, origin, rules).await
    }

    async fn with(
        config: RegistryDoorSettings,
        limits: DoorLimits,
        origin: EmbeddedRegistry,
        rules: Vec<(&str, Requirement)>,
    ) -> Self {
        let gate = gate(settings(origin.url(), rules));
        let door = RegistryDoor::bind(config, limits).await.unwrap();
        let address = door.local_addr();
        let stop = CancellationToken::new();
        let task = tokio::spawn(door.serve(ServeContext {
            gate: Arc::clone(&gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            address,
            origin,
            gate,
            stop: stop.drop_guard(),
            _task: task,
        }
    }

    /// The head and the body of an answer. `headers` end in line breaks.
    async fn ask(&self, line: &str, headers: &str) -> (String, Vec<u8>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        ask(stream, line, headers).await
    }

    async fn refused(&self, line: &str, headers: &str) -> (String, serde_json::Value) {
        let (head, body) = self.ask(line, headers).await;
        let body: serde_json::Value =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {head}"));
        (head, body["errors"][0].clone())
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &str,
) -> (String, Vec<u8>) {
    let request = format!("{line} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(LATEST, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// A header's value.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

async fn registry() -> EmbeddedRegistry {
    EmbeddedRegistry::start(FakeRegistryOptions::default())
        .await
        .unwrap()
}

fn image(text: &str) -> Reference {
    format!("registry.test/{text}").parse().unwrap()
}

#[tokio::test]
async fn an_admitted_index_is_pulled_with_its_child_and_blobs_by_every_runtime() {
    let origin = registry().await;
    let child = origin.put_image("team/app", "", &[b"one", b"two"]).unwrap();
    let index = origin
        .put_index("team/app", "v1", std::slice::from_ref(&child))
        .unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&index]))]).await;
    for dialect in Dialect::ALL {
        let pulled = PullClient::new(dialect, node.address)
            .unwrap()
            .pull(&image("team/app:v1"))
            .await
            .unwrap();
        assert_eq!(
            (pulled.digest, pulled.manifests),
            (index.digest, vec![index.digest, child.digest])
        );
        assert_eq!(pulled.blobs.len(), 3);
    }
}

#[tokio::test]
async fn a_manifest_is_answered_whole_and_named() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let bytes = origin.manifest("team/app", "v1").unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    for target in [
        "/v2/team/app/manifests/v1?ns=registry.test",
        &format!("/v2/registry.test/team/app/manifests/{}", app.digest),
    ] {
        let (get, body) = node.ask(&format!("GET {target}"), "").await;
        let (head, empty) = node.ask(&format!("HEAD {target}"), "").await;
        assert_eq!(body, bytes);
        assert!(empty.is_empty());
        for head in [get, head] {
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(
                header(&head, "content-type"),
                Some("application/vnd.oci.image.manifest.v1+json")
            );
            assert_eq!(
                header(&head, "content-length"),
                Some(bytes.len().to_string().as_str())
            );
            assert_eq!(
                header(&head, "docker-content-digest"),
                Some(app.digest.to_string().as_str())
            );
            assert_eq!(
                header(&head, "docker-distribution-api-version"),
                Some("registry/2.0")
            );
        }
    }
}

#[tokio::test]
async fn blobs_pass_whole_in_part_and_by_name() {
    let origin = registry().await;
    let layer: Vec<u8> = (0..300_000_u32)
        .map(|byte| u8::try_from(byte % 251).unwrap())
        .collect();
    let app = origin.put_image("team/app", "v1", &[&layer]).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    let digest = Digest::sha256(&layer);
    let target = format!("/v2/registry.test/team/app/blobs/{digest}");
    // Before its manifest was admitted, nobody vouches for it.
    let (_, told) = node.refused(&format!("GET {target}"), "").await;
    assert_eq!(told["detail"]["reason"], "not-derived");
    node.ask("HEAD /v2/registry.test/team/app/manifests/v1", "").await;

    let (head, body) = node.ask(&format!("GET {target}"), "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(
        header(&head, "docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    assert_eq!(body, layer);
    let (head, body) = node.ask(&format!("HEAD {target}"), "Range: bytes=0-1\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    assert_eq!(header(&head, "content-length"), Some("300000"));
    let (head, body) = node
        .ask(&format!("GET {target}"), "Range: bytes=250000-\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert_eq!(header(&head, "content-range"), Some("bytes 250000-299999/300000"));
    assert_eq!(body, layer[250_000..]);
    let (head, _) = node
        .ask(&format!("GET {target}"), "Range: bytes=400000-\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 416 "), "{head}");

    // A blob of another repository, and one that is a manifest's name.
    let elsewhere = format!("GET /v2/registry.test/other/app/blobs/{digest}");
    assert_eq!(
        node.refused(&elsewhere, "").await.1["detail"]["reason"],
        "not-derived"
    );
    let manifest = format!("GET /v2/registry.test/team/app/blobs/{}", app.digest);
    assert_eq!(
        node.refused(&manifest, "").await.1["detail"]["reason"],
        "not-derived"
    );
}

#[tokio::test]
async fn a_denial_is_readable_wherever_a_runtime_looks() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let other = origin.put_image("team/other", "v1", &[b"other"]).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&other]))]).await;
    let target = "/v2/team/app/manifests/v1?ns=registry.test";
    let phrase = "HTTP/1.1 403 pullgate: rejected-by-rule: registry.test/team/app:v1 blocked by rule registry.test/**: ";
    let (head, body) = node.ask(&format!("HEAD {target}"), "").await;
    assert!(head.starts_with(phrase) && body.is_empty(), "{head}");
    let (get, told) = node.refused(&format!("GET {target}"), "").await;
    assert!(get.starts_with(phrase), "{get}");
    assert_eq!(header(&head, "content-length"), header(&get, "content-length"));
    assert_eq!(told["code"], "DENIED");
    assert_eq!(told["detail"]["digest"], app.digest.to_string());
    assert_eq!(told["detail"]["retry"], false);
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains(&app.digest.to_string()) && message.ends_with(Reason::RejectedByRule.next_step()),
        "{message}"
    );
    let (_, told) = node
        .refused(&format!("GET {target}"), "User-Agent: docker/20.10.24 go/1\r\n")
        .await;
    assert_eq!(told["code"], "UNSUPPORTED");

    for dialect in Dialect::ALL {
        let error = PullClient::new(dialect, node.address)
            .unwrap()
            .pull(&image("team/app:v1"))
            .await
            .unwrap_err();
        let ClientPullError::Refused(refusal) = error else {
            panic!("{error}")
        };
        assert_eq!(refusal.reason(), Some("rejected-by-rule"));
    }
    let (head, told) = node
        .refused("GET /v2/registry.test/team/none/manifests/v1", "")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 404 pullgate: image-not-found: "),
        "{head}"
    );
    assert_eq!(told["code"], "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn what_no_rule_covers_is_denied_without_a_request_outside() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let node = Node::start(
        origin,
        vec![
            ("registry.test/team/**", only(&[&app])),
            ("registry.test/team/no", Requirement::Reject),
        ],
    )
    .await;
    let requests = node.origin.requests();
    let digest = app.digest;
    for (target, reason) in [
        ("/v2/registry.test/app/manifests/v1".to_owned(), "no-rule"),
        ("/v2/evil.test/app/manifests/v1".to_owned(), "no-rule"),
        ("/v2/169.254.169.254/latest/manifests/v1".to_owned(), "no-rule"),
        (format!("/v2/registry.test/app/blobs/{digest}"), "no-rule"),
        (format!("/v2/registry.test/app/referrers/{digest}"), "no-rule"),
        ("/v2/registry.test/app/tags/list".to_owned(), "no-rule"),
        (
            "/v2/registry.test/team/no/tags/list".to_owned(),
            "rejected-by-rule",
        ),
        (
            "/v2/registry.test/team/no/manifests/v1".to_owned(),
            "rejected-by-rule",
        ),
    ] {
        let (head, told) = node.refused(&format!("GET {target}"), "").await;
        assert!(head.starts_with("HTTP/1.1 403 pullgate: "), "{head}");
        assert_eq!(told["detail"]["reason"], reason, "{target}");
    }
    assert_eq!(node.origin.requests(), requests);
}

#[tokio::test]
async fn nothing_is_written_and_nothing_proxied() {
    let node = Node::start(
        registry().await,
        vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
    )
    .await;
    for line in [
        "POST /v2/registry.test/app/blobs/uploads/",
        "PUT /v2/registry.test/app/manifests/v1",
        "PATCH /v2/registry.test/app/blobs/uploads/1",
        "DELETE /v2/registry.test/app/manifests/v1",
        "OPTIONS /v2/",
        "CONNECT registry.test:443",
    ] {
        let (head, told) = node.refused(line, "").await;
        assert!(
            head.starts_with("HTTP/1.1 405 pullgate: this door serves pulls only\r\n"),
            "{head}"
        );
        assert_eq!(
            (header(&head, "allow"), &told["code"]),
            (Some("GET, HEAD"), &"UNSUPPORTED".into())
        );
    }
    let (head, _) = node
        .refused("GET http://other.test/v2/registry.test/app/manifests/v1", "")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: this door is a registry, not a proxy"),
        "{head}"
    );
    let (head, _) = node.refused("GET /v2/app/manifests/v1", "").await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: the request names no registry"),
        "{head}"
    );
    assert_eq!(node.origin.requests(), 0);
}

#[tokio::test]
async fn tags_are_listed_page_by_page_at_this_door() {
    let origin = registry().await;
    for tag in ["a", "b", "c"] {
        origin.put_image("team/app", tag, &[tag.as_bytes()]).unwrap();
    }
    let node = Node::start(
        origin,
        vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
    )
    .await;
    let mut target = "/v2/team/app/tags/list?n=2&ns=registry.test".to_owned();
    let mut tags = Vec::new();
    for _ in 0..2 {
        let (head, body) = node.ask(&format!("GET {target}"), "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
        tags.extend(
            page["tags"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tag| tag.as_str().unwrap().to_owned()),
        );
        match header(&head, "link") {
            Some(link) => {
                target = link
                    .strip_prefix('<')
                    .unwrap()
                    .strip_suffix(">; rel=\"next\"")
                    .unwrap()
                    .to_owned()
            }
            None => break,
        }
    }
    assert_eq!(tags, ["a", "b", "c"]);
    assert_eq!(target, "/v2/team/app/tags/list?n=2&last=b&ns=registry.test");
    let (head, _) = node
        .refused("GET /v2/registry.test/team/none/tags/list", "")
        .await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[tokio::test]
async fn referrers_are_listed_of_what_is_admitted_with_and_without_their_api() {
    for referrers in [true, false] {
        let origin = EmbeddedRegistry::start(FakeRegistryOptions {
            referrers,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
        let other = origin.put_image("team/app", "v2", &[b"other"]).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.test", "layers": [],
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
            "subject": { "mediaType": app.media_type, "digest": app.digest, "size": app.size },
        });
        let stored = origin
            .put_manifest(
                "team/app",
                None,
                "application/vnd.oci.image.manifest.v1+json",
                manifest.to_string(),
            )
            .unwrap();
        let entry = Descriptor {
            artifact_type: Some("application/vnd.test".to_owned()),
            ..stored.clone()
        };
        if !referrers {
            origin
                .put_index("team/app", &app.digest.to_string().replace(':', "-"), &[entry])
                .unwrap();
        }
        let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
        let list = async |digest: &Digest, query: &str| {
            let (head, body) = node
                .ask(
                    &format!("GET /v2/registry.test/team/app/referrers/{digest}{query}"),
                    "",
                )
                .await;
            (head, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        };
        let (head, index) = list(&app.digest, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(
            header(&head, "content-type"),
            Some("application/vnd.oci.image.index.v1+json")
        );
        assert_eq!(header(&head, "oci-filters-applied"), None);
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
        assert_eq!(index["manifests"][0]["digest"], stored.digest.to_string());
        let (head, index) = list(&app.digest, "?artifactType=application/vnd.other").await;
        assert_eq!(header(&head, "oci-filters-applied"), Some("artifactType"));
        assert_eq!(index["manifests"], serde_json::json!([]));
        assert_eq!(
            list(&app.digest, "?artifactType=application%2Fvnd.test").await.1["manifests"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        let (head, _) = list(&other.digest, "").await;
        assert!(
            head.starts_with("HTTP/1.1 403 pullgate: rejected-by-rule"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_list_of_referrers_that_is_too_long_is_not_cut_short() {
    let origin = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let tag = app.digest.to_string().replace(':', "-");
    let listed = |count| vec![app.clone(); count];
    origin.put_index("team/app", &tag, &listed(128)).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    let line = format!("GET /v2/registry.test/team/app/referrers/{}", app.digest);
    let (head, _) = node.ask(&line, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    node.origin.put_index("team/app", &tag, &listed(129)).unwrap();
    let (head, told) = node.refused(&line, "").await;
    assert!(
        head.starts_with("HTTP/1.1 403 pullgate: limit-exceeded: "),
        "{head}"
    );
    assert_eq!(told["code"], "UNAVAILABLE");
}

#[tokio::test]
async fn the_clients_own_credentials_open_the_registry_and_nobody_elses() {
    let auth = AuthPolicy::Basic {
        user: "user".to_owned(),
        password: "secret".to_owned(),
    };
    let origin = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let rules = vec![("registry.test/**", only(&[&app]))];
    let config = RegistryDoorSettings {
        default_registry: Some("registry.test".to_owned()),
        ..config()
    };
    let node = Node::with(config, LIMITS, origin, rules).await;
    let right = "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    let target = "GET /v2/team/app/manifests/v1";
    for _ in 0..2 {
        let (head, told) = node.refused(target, "").await;
        assert!(
            head.starts_with("HTTP/1.1 401 pullgate: registry-unauthorized: "),
            "{head}"
        );
        assert!(
            header(&head, "www-authenticate")
                .unwrap()
                .starts_with("Basic realm="),
            "{head}"
        );
        assert_eq!(told["code"], "UNAUTHORIZED");
        let (head, _) = node.ask(target, right).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let (head, _) = node
        .refused(target, "Authorization: Basic dXNlcjp3cm9uZw==\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 40"), "{head}");
    let (head, _) = node.refused(target, &format!("{right}{right}")).await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: the request has `Authorization` twice\r\n"),
        "{head}"
    );

    let (head, _) = node.ask("GET /v2/", "").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(
        header(&head, "www-authenticate")
            .unwrap()
            .starts_with("Basic realm="),
        "{head}"
    );
    let (head, body) = node.ask("GET /v2/", right).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"{}", "{head}");
}

#[tokio::test]
async fn the_base_is_answered_without_a_registry() {
    let node = Node::start(registry().await, Vec::new()).await;
    for line in ["GET /v2/", "GET /v2", "HEAD /v2/"] {
        let (head, _) = node.ask(line, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(
            header(&head, "docker-distribution-api-version"),
            Some("registry/2.0")
        );
    }
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = RegistryDoorSettings {
        default_registry: Some("registry.test".to_owned()),
        ..config()
    };
    let node = Node::with(config, LIMITS, registry().await, Vec::new()).await;
    node.gate
        .replace_settings(settings(&format!("http://{gone}"), Vec::new()));
    let (head, body) = node.ask("GET /v2/", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"{}", "{head}");
}

#[tokio::test]
async fn an_origin_that_dies_in_the_middle_of_a_blob_leaves_it_short() {
    // Says that a megabyte comes, sends ten bytes, and either stays silent or goes away.
    for silent in [true, false] {
        let dying = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", dying.local_addr().unwrap());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = dying.accept().await.unwrap();
                stream.read_exact(&mut [0; 64]).await.unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n0123456789")
                    .await
                    .unwrap();
                if silent {
                    kept.push(stream);
                }
            }
        });
        let limits = DoorLimits {
            blob: Duration::from_millis(500),
            ..LIMITS
        };
        let node = Node::with(config(), limits, registry().await, Vec::new()).await;
        node.gate.replace_settings(settings(
            &endpoint,
            vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
        ));
        let began = Instant::now();
        let mut client = TcpStream::connect(node.address).await.unwrap();
        let line = format!(
            "GET /v2/registry.test/app/blobs/{} HTTP/1.1\r\nHost: gate\r\n\r\n",
            Digest::sha256(b"x")
        );
        client.write_all(line.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(LATEST, client.read_to_end(&mut answer))
            .await
            .expect("cut in time");
        assert!(began.elapsed() < Duration::from_secs(5));
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            !answer.contains("\r\n\r\n") || answer.ends_with("\r\n\r\n0123456789"),
            "{ended:?} {answer}"
        );
        assert_eq!(
            silent,
            began.elapsed() >= Duration::from_millis(490),
            "{:?}",
            began.elapsed()
        );
    }
}

/// A throw-away certificate for `localhost` and its key.
fn certificate(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("gate.pem"),
        key: folder.join("gate.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn tls_is_served_without_http_2() {
    let folder = TempDir::new().unwrap();
    let files = certificate(folder.path());
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let node = Node::with(
        RegistryDoorSettings {
            tls: Some(files.clone()),
            ..config()
        },
        LIMITS,
        origin,
        vec![("registry.test/**", only(&[&app]))],
    )
    .await;
    let connect = async |protocols: &[&str]| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&files.certificate).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let stream = TcpStream::connect(node.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let stream = connect(protocols).await.unwrap();
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (head, _) = ask(stream, "GET /v2/registry.test/team/app/manifests/v1", "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let stream = connect(protocols).await.unwrap();
        let (head, _) = ask(stream, "HEAD /v2/registry.test/team/app/manifests/v2", "").await;
        assert!(
            head.starts_with("HTTP/1.1 404 pullgate: image-not-found: "),
            "{head}"
        );
    }
    assert!(connect(&["h2"]).await.is_err());
    // Not a handshake at all: dropped, and the next one is served.
    let mut plain = TcpStream::connect(node.address).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(LATEST, plain.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(!answer.starts_with(b"HTTP"));
    assert!(connect(&[]).await.is_ok());
}

#[tokio::test]
async fn a_door_that_is_not_safe_or_not_possible_is_not_opened() {
    let folder = TempDir::new().unwrap();
    let files = certificate(folder.path());
    let refusal = async |config: RegistryDoorSettings| match RegistryDoor::bind(config, LIMITS).await {
        Ok(door) => panic!("{} was opened", door.local_addr()),
        Err(error) => chain(&error),
    };
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let said = refusal(RegistryDoorSettings {
            listen: listen.parse().unwrap(),
            ..config()
        })
        .await;
        assert!(
            said.starts_with("plain HTTP on `") && said.contains("loopback"),
            "{said}"
        );
    }
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let said = refusal(RegistryDoorSettings {
        listen: taken.local_addr().unwrap(),
        ..config()
    })
    .await;
    assert!(
        said.contains(&taken.local_addr().unwrap().to_string()) && said.contains("in use"),
        "{said}"
    );

    let other = TempDir::new().unwrap();
    let strange = certificate(other.path());
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        path
    };
    let with = |certificate: &Path, key: &Path| RegistryDoorSettings {
        tls: Some(TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }),
        ..config()
    };
    let (none, empty) = (folder.path().join("none.pem"), write("empty.pem", b""));
    let (broken, large) = (
        write(
            "broken.pem",
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ),
        write("large.pem", &vec![b'a'; 1 << 21]),
    );
    for (config, said, path) in [
        (with(&none, &files.key), "could not read", &none),
        (with(&files.certificate, &none), "could not read", &none),
        (with(&empty, &files.key), "holds no certificate", &empty),
        (with(&broken, &files.key), "is not valid PEM", &broken),
        (with(&large, &files.key), "is larger than 1048576 bytes", &large),
        (
            with(&files.certificate, &files.certificate),
            "is not valid PEM",
            &files.certificate,
        ),
        (
            with(&files.certificate, &strange.key),
            "does not hold a certificate that matches the key",
            &files.certificate,
        ),
    ] {
        let refused = refusal(config).await;
        assert!(
            refused.contains(said) && refused.contains(path.to_str().unwrap()),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_stopped_door_is_gone() {
    let node = Node::start(registry().await, Vec::new()).await;
    drop(node.stop);
    timeout(LATEST, node._task).await.unwrap().unwrap();
    assert!(TcpStream::connect(node.address).await.is_err());
}
