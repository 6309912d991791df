//! The credentials of the clients and of the gate.

use http::{HeaderValue, StatusCode};
use pullgate::fakes::pull_client::Dialect;
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::Digest;

use super::{by_digest, expect_refusal};
use crate::support::signer;
use crate::support::{HOST, Node, SIGNED, config, configured, image, put_signed};

const BOB: HeaderValue = HeaderValue::from_static("Basic Ym9iOnNlY3JldA==");
const MALLORY: HeaderValue = HeaderValue::from_static("Basic bWFsbG9yeTpndWVzcw==");

#[tokio::test]
async fn an_image_that_one_client_may_read_is_not_served_to_another() {
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
    let stored = put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let layer = Digest::sha256(b"the layer of acme/app:v1");
    for dialect in Dialect::ALL {
        let bob = node.runtime(dialect).with_authorization(BOB);
        assert_eq!(
            bob.pull(&image("acme/app:v1")).await.unwrap().digest,
            stored.digest
        );
        for (other, is_denied) in [
            (node.runtime(dialect), false),
            (node.runtime(dialect).with_authorization(MALLORY), true),
        ] {
            let denials = || node.gate.watch(usize::MAX, |_| true).0.len();
            let challenges = || node.metric("pullgate_challenges_total");
            let before = (denials(), challenges());
            for name in [image("acme/app:v1"), by_digest(&stored.digest)] {
                // The gate has just read the image for this client, and must not serve it to the other from its cache.
                bob.head(&image("acme/app:v1")).await.unwrap();
                let refused = expect_refusal(other.pull(&name).await).await;
                assert!(refused.path.contains("/manifests/"), "{refused:?}");
                assert_eq!(
                    (refused.status, refused.reason()),
                    (StatusCode::UNAUTHORIZED, Some("registry-unauthorized"))
                );
                assert_eq!(
                    refused.challenge.as_ref().unwrap(),
                    "Basic realm=\"pullgate demo\""
                );
            }
            let refused = expect_refusal(other.blob(&image("acme/app:v1"), &layer).await).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
            // A client without credentials receives a challenge, which is not recorded as a denial.
            assert_eq!(challenges() > before.1, !is_denied, "{dialect:?}");
            let (recorded, _) = node.gate.watch(denials() - before.0, |_| true);
            let denied = recorded
                .iter()
                .filter(|it| it.outcome.reason() == "registry-unauthorized");
            assert_eq!(denied.count() > 0, is_denied, "{dialect:?}");
        }
        bob.pull(&by_digest(&stored.digest)).await.unwrap();
    }
    for access in registry
        .log()
        .iter()
        .filter(|access| access.status == StatusCode::OK)
    {
        assert_eq!(access.authorization.as_ref(), Some(&BOB), "{access:?}");
    }
}

#[tokio::test]
async fn a_client_gets_its_token_from_the_registrys_own_endpoint() {
    let auth = AuthPolicy::Bearer {
        user: "bob".into(),
        password: "secret".into(),
        anonymous_pull: false,
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let runtime = node.runtime(Dialect::Containerd);
    let refused = expect_refusal(runtime.pull(&image("acme/app:v1")).await).await;
    let challenge = refused.challenge.unwrap();
    let challenge = challenge.to_str().unwrap();
    assert!(
        challenge.contains(&format!("realm=\"{}/token\"", registry.url())),
        "{challenge}"
    );
    // The client requests the token from the registry and not from the gate, so the gate never sees the password.
    let url = format!("{}/token?scope=repository:acme/app:pull", registry.url());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut answer = client.get(url).header("authorization", BOB).send().await.unwrap();
    let answer: serde_json::Value = serde_json::from_slice(&answer.chunk().await.unwrap().unwrap()).unwrap();
    let bearer = format!("Bearer {}", answer["token"].as_str().unwrap())
        .parse()
        .unwrap();
    runtime
        .with_authorization(bearer)
        .pull(&image("acme/app:v1"))
        .await
        .unwrap();
    // If the gate has credentials of its own, its clients need none.
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let folder = node.stop().await;
    let auths = format!("{{\"auths\":{{\"{HOST}\":{{\"auth\":\"Ym9iOnNlY3JldA==\"}}}}}}");
    std::fs::write(folder.path().join("auth.json"), auths).unwrap();
    let own = configured(registry.url(), "credentials = { file = \"auth.json\" }", SIGNED);
    Node::start_in(folder, &own)
        .await
        .pull(&image("acme/app:v1"))
        .await
        .unwrap();
}
