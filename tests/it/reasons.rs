//! Blocks a pull for each reason and reads the reason as a runtime does. The list of reasons comes from the enum itself. A new
//! reason does not compile until [`block_for`] has a branch for it, and a branch must return the code that a client received.

use http::{Method, StatusCode};
use pullgate::base::reason::Reason;
use pullgate::fakes::pull_client::{ClientPullError, Dialect};
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::Digest;
use serde_json::json;
use tracing::field::{Field, Visit};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use crate::support::liar::{Answer, Liar};
use crate::support::signer::{self, attach};
use crate::support::{
    HOST, LATEST, Node, REPOSITORY, RefusingAddress, SIGNED, config, configured, hasty, image, put,
    put_signed, registry,
};

#[tokio::test]
async fn a_pull_is_blocked_for_each_reason() {
    for &reason in Reason::ALL {
        let code = tokio::time::timeout(LATEST, block_for(reason))
            .await
            .unwrap_or_else(|_| panic!("{reason}: no answer in time"));
        assert_eq!(code, reason.code());
    }
}

/// Makes the gate block a pull for this reason. Returns the code that the client received.
async fn block_for(reason: Reason) -> String {
    let registry = registry().await;
    let app = image("acme/app:v1");
    let rules = |more: &str| config(registry.url(), &format!("{SIGNED}{more}"));
    let release = signer::get("release");
    match reason {
        Reason::NoRule => {
            put_signed(&registry, "v1", release);
            let node = Node::start(&config(registry.url(), "")).await;
            let code = node.assert_denied(&app, reason).await;
            assert_eq!(
                registry.requests(),
                0,
                "the policy alone decides, so no request is sent"
            );
            code
        }
        Reason::Unsigned => {
            put(&registry, REPOSITORY, "v1");
            Node::start(&rules("")).await.assert_denied(&app, reason).await
        }
        Reason::UntrustedKey => {
            put_signed(&registry, "v1", signer::get("stranger"));
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
            put_signed(&registry, "v2", signer::get("qa"));
            Node::start(&rules(""))
                .await
                .assert_denied(&image("acme/app:v2"), reason)
                .await
        }
        Reason::Malformed => {
            registry
                .put_manifest(REPOSITORY, Some("v1"), "text/html", "<html>")
                .unwrap();
            Node::start(&rules("")).await.assert_denied(&app, reason).await
        }
        Reason::AlgorithmNotAllowed => {
            let rules = release_is(&registry, "algorithms = [\"SHA_512_RSA_PKCS_PSS\"]");
            Node::start(&rules).await.assert_denied(&app, reason).await
        }
        Reason::KeyNotYetValid => {
            let rules = release_is(&registry, "not_before = 9000-01-01T00:00:00Z");
            Node::start(&rules).await.assert_denied(&app, reason).await
        }
        Reason::KeyExpired => {
            let rules = release_is(&registry, "not_after = 2000-01-01T00:00:00Z");
            Node::start(&rules).await.assert_denied(&app, reason).await
        }
        Reason::KeyRevoked => {
            let rules = release_is(&registry, "revoked = true");
            Node::start(&rules).await.assert_denied(&app, reason).await
        }
        Reason::RepositoryMismatch => {
            let stored = put(&registry, REPOSITORY, "v1");
            let record = release.record(&stored.digest, "acme/other").to_string();
            attach(&registry, REPOSITORY, &stored, &record);
            Node::start(&rules("")).await.assert_denied(&app, reason).await
        }
        Reason::DigestMismatch => {
            let stored = put(&registry, REPOSITORY, "v1");
            let record = release
                .record(&Digest::sha256(b"another image"), REPOSITORY)
                .to_string();
            attach(&registry, REPOSITORY, &stored, &record);
            let node = Node::start(&rules("")).await;
            node.assert_denied(&app, reason).await;
            let tampered = put_signed(&registry, "v2", release);
            registry.tamper(REPOSITORY, &tampered.digest, "{}").unwrap();
            node.assert_denied(&image("acme/app:v2"), reason).await;
            node.assert_denied(&image(&format!("acme/app@{}", tampered.digest)), reason)
                .await
        }
        Reason::BadSignature => {
            let stored = put(&registry, REPOSITORY, "v1");
            let mut record = release.record(&stored.digest, REPOSITORY);
            record["signature"] = release.record(&stored.digest, "acme/other")["signature"].clone();
            attach(&registry, REPOSITORY, &stored, &record.to_string());
            Node::start(&rules("")).await.assert_denied(&app, reason).await
        }
        Reason::ThresholdNotMet => {
            let rules = config(
                registry.url(),
                &SIGNED.replace("[\"release\"]", "[\"release\", \"qa\"]\nthreshold = 2"),
            );
            put_signed(&registry, "v1", release);
            Node::start(&rules).await.assert_denied(&app, reason).await
        }
        Reason::NotDerived => {
            put_signed(&registry, "v1", release);
            let blob = registry
                .put_blob(REPOSITORY, "no manifest lists this blob")
                .unwrap();
            let node = Node::start(&rules("")).await;
            node.pull(&app).await.unwrap();
            let error = node
                .runtime(Dialect::Containerd)
                .blob(&app, &blob.digest)
                .await
                .unwrap_err();
            let ClientPullError::Refused(refusal) = error else {
                panic!("{error}")
            };
            assert_eq!(refusal.status, StatusCode::FORBIDDEN);
            refusal.reason().unwrap().to_owned()
        }
        Reason::RejectedByRule => {
            put_signed(&registry, "v1", release);
            let rule = |rest: &str| {
                config(
                    registry.url(),
                    &format!("[[rule]]\nscope = \"{HOST}/**\"\n{rest}\n"),
                )
            };
            let node = Node::start(&rule("require = \"reject\"")).await;
            node.assert_denied(&app, reason).await;
            assert_eq!(
                registry.requests(),
                0,
                "the rule alone decides, so no request is sent"
            );
            let other = Digest::sha256(b"another image");
            node.reload(&rule(&format!("require = \"digest\"\ndigests = [\"{other}\"]")));
            node.assert_denied(&app, reason).await
        }
        Reason::DigestDenied => {
            let stored = put_signed(&registry, "v1", release);
            let node = Node::start(&rules(&format!("[deny]\ndigests = [\"{}\"]\n", stored.digest))).await;
            node.assert_denied(&app, reason).await;
            registry.clear_log();
            let code = node
                .assert_denied(&image(&format!("acme/app@{}", stored.digest)), reason)
                .await;
            assert_eq!(registry.log(), [], "the gate requests no digest on the deny list");
            code
        }
        Reason::ImageNotFound => {
            put_signed(&registry, "v1", release);
            Node::start(&rules(""))
                .await
                .assert_denied(&image("acme/app:v2"), reason)
                .await
        }
        Reason::RegistryUnauthorized => {
            let auth = AuthPolicy::Basic {
                user: "bob".into(),
                password: "secret".into(),
            };
            let closed = EmbeddedRegistry::start(FakeRegistryOptions {
                auth,
                ..FakeRegistryOptions::default()
            })
            .await
            .unwrap();
            put_signed(&closed, "v1", release);
            let anonymous = configured(closed.url(), "credentials = \"anonymous\"", SIGNED);
            Node::start(&anonymous).await.assert_denied(&app, reason).await;
            // If the gate uses the client's credentials, the client receives the registry's challenge.
            let refusal = Node::start(&config(closed.url(), SIGNED))
                .await
                .refused(&app)
                .await;
            assert_eq!(refusal.status, StatusCode::UNAUTHORIZED);
            let code = refusal.reason().unwrap().to_owned();
            assert_eq!(refusal.challenge.unwrap(), "Basic realm=\"pullgate demo\"");
            code
        }
        Reason::RegistryUnreachable => {
            let refusing = RefusingAddress::new();
            let node = Node::start(&config(&refusing.url, SIGNED)).await;
            node.assert_denied(&app, reason).await
        }
        Reason::SourceUnreachable => {
            put_signed(&registry, "v1", release);
            let liar = Liar::start(Some(registry.addr()), |request| {
                if request.is_referrers() {
                    Answer::status(500)
                } else {
                    Answer::Honest
                }
            });
            Node::start(&config(&liar.await.url(), SIGNED))
                .await
                .assert_denied(&app, reason)
                .await
        }
        Reason::LimitExceeded => {
            let big = format!("{{\"annotations\":{{\"x\":\"{}\"}}}}", "x".repeat(5 << 20));
            registry
                .put_manifest(REPOSITORY, Some("v1"), "application/json", big)
                .unwrap();
            Node::start(&rules("")).await.assert_denied(&app, reason).await
        }
        Reason::DeadlineExceeded => {
            let liar = Liar::start(None, |_| Answer::Silence).await;
            Node::start(&hasty(&config(&liar.url(), SIGNED)))
                .await
                .assert_denied(&app, reason)
                .await
        }
        Reason::InternalError => {
            put_signed(&registry, "v1", release);
            put_signed(&registry, "v2", release);
            let node = Node::start(&rules("")).await;
            let code;
            {
                // The test's runtime has one thread, so the subscriber of the thread receives the events of the gate's tasks too.
                let _guard =
                    tracing::subscriber::set_default(tracing_subscriber::registry().with(PanicOnRecord));
                code = node.assert_denied(&app, reason).await;
                node.pull(&image("acme/app:v2"))
                    .await
                    .expect("a panic in one pull must not block another");
            }
            node.pull(&app).await.unwrap();
            code
        }
    }
}

/// Stores an image signed by `release`. Returns a configuration with one more line in the table of that key.
fn release_is(registry: &EmbeddedRegistry, line: &str) -> String {
    put_signed(registry, "v1", signer::get("release"));
    config(registry.url(), SIGNED).replacen("[[key]]\n", &format!("[[key]]\n{line}\n"), 1)
}

/// Panics inside the gate when it logs a pull of `acme/app:v1`.
struct PanicOnRecord;

impl<S: tracing::Subscriber> Layer<S> for PanicOnRecord {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct NamesTheImage(bool);
        impl Visit for NamesTheImage {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= field.name() == "image.ref" && format!("{value:?}").contains("acme/app:v1");
            }
        }
        let mut names_the_image = NamesTheImage(false);
        event.record(&mut names_the_image);
        assert!(!names_the_image.0, "a panic on purpose");
    }
}

/// The texts of a denial reach the user through every runtime.
#[tokio::test]
async fn a_denial_names_the_image_the_reason_and_the_next_step() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let app = image("acme/app:v1");
    let refusal = node.refused(&app).await;
    let phrase = refusal.phrase.clone().unwrap();
    for part in [
        "pullgate: unsigned",
        "registry.example/acme/app:v1",
        "registry.example/**",
        "sign the image",
    ] {
        assert!(refusal.message.contains(part), "{part}: {}", refusal.message);
        assert!(phrase.contains(part), "{part}: {phrase}");
    }
    assert!(
        refusal.message.contains(&stored.digest.to_string()),
        "{}",
        refusal.message
    );
    assert_eq!(refusal.method, Method::HEAD);
    for dialect in Dialect::ALL {
        let runtime = node.runtime(dialect);
        let Err(ClientPullError::Refused(refusal)) = runtime.pull(&app).await else {
            panic!("not refused")
        };
        let printed = runtime.prints(&app, &refusal);
        assert!(
            printed.contains("pullgate: unsigned: registry.example/acme/app:v1"),
            "{printed}"
        );
    }
}

/// Programs read the OCI error body.
#[tokio::test]
async fn the_body_of_a_denial_has_machine_readable_fields() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let url = format!("http://{}/v2/{HOST}/acme/app/manifests/v1", node.addr);
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut response = client.get(url).send().await.unwrap();
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.unwrap() {
        body.extend_from_slice(&chunk);
    }
    let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let detail = &body["errors"][0]["detail"];
    assert_eq!(detail["image"], "registry.example/acme/app:v1");
    assert_eq!(detail["digest"], json!(stored.digest));
    assert_eq!(
        (&detail["rule"], &detail["reason"]),
        (&json!("registry.example/**"), &json!("unsigned"))
    );
    assert_eq!(
        (&detail["retry"], &detail["next"]),
        (&json!(false), &json!(Reason::Unsigned.next_step()))
    );
}
