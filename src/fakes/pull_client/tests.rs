use http::{HeaderValue, StatusCode};

use super::{ClientPullError, Dialect, PullClient};
use crate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use crate::oci::{Digest, Platform, Reference};

/// Starts a registry that the client uses in place of a gate.
async fn registry() -> (EmbeddedRegistry, [&'static str; 2]) {
    (
        EmbeddedRegistry::start(FakeRegistryOptions::default())
            .await
            .unwrap(),
        ["acme/app", "registry.example/acme/app"],
    )
}

fn image(text: &str) -> Reference {
    text.parse().unwrap()
}

fn requests(registry: &EmbeddedRegistry) -> Vec<String> {
    registry
        .log()
        .iter()
        .map(|access| format!("{} {}", access.method, access.target))
        .collect()
}

#[tokio::test]
async fn each_dialect_sends_the_requests_of_its_runtime() {
    let (registry, names) = registry().await;
    let mut digest = None;
    for name in names {
        digest = Some(registry.put_image(name, "v1", &[b"layer"]).unwrap().digest);
    }
    let digest = digest.unwrap();
    for dialect in Dialect::ALL {
        registry.clear_log();
        let runtime = PullClient::new(dialect, registry.addr()).unwrap();
        let pulled = runtime
            .pull(&image("registry.example/acme/app:v1"))
            .await
            .unwrap();
        assert_eq!(
            (pulled.digest, pulled.manifests.as_slice(), pulled.blobs.len()),
            (digest, &[digest][..], 2)
        );
        let first_two = match dialect {
            Dialect::Containerd => [
                "HEAD /v2/acme/app/manifests/v1?ns=registry.example".to_owned(),
                format!("GET /v2/acme/app/manifests/{digest}?ns=registry.example"),
            ],
            Dialect::Docker => [
                "HEAD /v2/registry.example/acme/app/manifests/v1".to_owned(),
                format!("GET /v2/registry.example/acme/app/manifests/{digest}"),
            ],
            Dialect::Podman => [
                "GET /v2/".to_owned(),
                "GET /v2/registry.example/acme/app/manifests/v1".to_owned(),
            ],
        };
        assert_eq!(requests(&registry)[..2], first_two);
        assert_eq!(requests(&registry).len(), 4);
    }
}

#[tokio::test]
async fn pulls_the_child_for_this_platform() {
    let (registry, [name, _]) = registry().await;
    let other = Platform {
        os: "plan9".into(),
        architecture: "mips".into(),
        variant: None,
    };
    let other = registry.put_image_for(name, "", other, &[b"other"]).unwrap();
    let ours = registry.put_image(name, "", &[b"ours"]).unwrap();
    let index = registry
        .put_index(name, "v1", &[other.clone(), ours.clone()])
        .unwrap();
    registry.put_index(name, "none", &[other]).unwrap();
    let runtime = PullClient::new(Dialect::Containerd, registry.addr()).unwrap();
    let pulled = runtime
        .pull(&image("registry.example/acme/app:v1"))
        .await
        .unwrap();
    assert_eq!(pulled.manifests, [index.digest, ours.digest]);
    assert_eq!(pulled.blobs[1], Digest::sha256(b"ours"));
    let none = runtime.pull(&image("registry.example/acme/app:none")).await;
    assert!(
        matches!(
            none,
            Err(ClientPullError::Unusable {
                what: "holds no manifest for this platform",
                ..
            })
        ),
        "{none:?}"
    );
}

#[tokio::test]
async fn refuses_content_with_another_digest() {
    let (registry, [name, _]) = registry().await;
    let manifest = registry.put_image(name, "manifest", &[b"a"]).unwrap();
    registry.put_image(name, "layer", &[b"b"]).unwrap();
    let bytes = registry.manifest(name, "manifest").unwrap();
    registry
        .tamper(name, &manifest.digest, [&bytes[..], b" "].concat())
        .unwrap();
    registry.tamper(name, &Digest::sha256(b"b"), "c").unwrap();
    let runtime = PullClient::new(Dialect::Containerd, registry.addr()).unwrap();
    for tag in ["manifest", "layer"] {
        let result = runtime
            .pull(&image(&format!("registry.example/acme/app:{tag}")))
            .await;
        assert!(
            matches!(result, Err(ClientPullError::Corrupt { .. })),
            "{tag}: {result:?}"
        );
    }
}

#[tokio::test]
async fn keeps_the_details_of_a_refusal() {
    let auth = AuthPolicy::Basic {
        user: "bob".into(),
        password: "secret".into(),
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    registry.put_image("acme/app", "v1", &[]).unwrap();
    let image = image("registry.example/acme/app:v1");
    let runtime = PullClient::new(Dialect::Containerd, registry.addr()).unwrap();
    let Err(ClientPullError::Refused(refusal)) = runtime.pull(&image).await else {
        panic!("the pull was not refused")
    };
    assert_eq!(
        (refusal.status, refusal.code.as_str()),
        (StatusCode::UNAUTHORIZED, "UNAUTHORIZED")
    );
    assert_eq!(
        (refusal.message.as_str(), refusal.reason()),
        ("authentication required", None)
    );
    assert!(refusal.challenge.is_some());
    let printed = runtime.prints(&image, &refusal);
    assert!(
        printed.starts_with("unexpected status from HEAD request to http://127.0.0.1:"),
        "{printed}"
    );
    assert!(
        printed.ends_with("/v2/acme/app/manifests/v1?ns=registry.example: 401 Unauthorized"),
        "{printed}"
    );
    let authorized = runtime.with_authorization(HeaderValue::from_static("Basic Ym9iOnNlY3JldA=="));
    assert_eq!(authorized.pull(&image).await.unwrap().blobs.len(), 1);
}
