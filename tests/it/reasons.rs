//! Each reason for which a pull is blocked, brought about and read as a runtime reads it. The list is the closed one of
//! `reason.rs`: a reason that is added there does not compile here until it is shown.

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
    HOST, LATEST, Node, REPOSITORY, SIGNED, config, configured, hasty, image, put, put_signed, registry,
};

#[tokio::test]
async fn every_reason_can_be_brought_about() {
    for &reason in Reason::ALL {
        println!("{reason}");
        tokio::time::timeout(LATEST, show(reason)).await.expect("in time");
    }
}

async fn show(reason: Reason) {
    let registry = registry().await;
    let app = image("acme/app:v1");
    let rules = |more: &str| config(registry.url(), &format!("{SIGNED}{more}"));
    let release = signer::get("release");
    match reason {
        Reason::NoRule => {
            put_signed(&registry, "v1", release);
            let node = Node::start(&config(registry.url(), "")).await;
            node.assert_denied(&app, reason).await;
            assert_eq!(registry.requests(), 0, "a rule that decides alone asks nobody");
        }
        Reason::Unsigned => {
            put(&registry, REPOSITORY, "v1");
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
        }
        Reason::UntrustedKey => {
            put_signed(&registry, "v1", signer::get("stranger"));
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
            put_signed(&registry, "v2", signer::get("qa"));
            Node::start(&rules(""))
                .await
                .assert_denied(&image("acme/app:v2"), reason)
                .await;
        }
        Reason::Malformed => {
            registry
                .put_manifest(REPOSITORY, Some("v1"), "text/html", "<html>")
                .unwrap();
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
        }
        Reason::AlgorithmNotAllowed => {
            let rules = release_is(&registry, "algorithms = [\"SHA_512_RSA_PKCS_PSS\"]");
            Node::start(&rules).await.assert_denied(&app, reason).await;
        }
        Reason::KeyNotYetValid => {
            let rules = release_is(&registry, "not_before = 9000-01-01T00:00:00Z");
            Node::start(&rules).await.assert_denied(&app, reason).await;
        }
        Reason::KeyExpired => {
            let rules = release_is(&registry, "not_after = 2000-01-01T00:00:00Z");
            Node::start(&rules).await.assert_denied(&app, reason).await;
        }
        Reason::KeyRevoked => {
            let rules = release_is(&registry, "revoked = true");
            Node::start(&rules).await.assert_denied(&app, reason).await;
        }
        Reason::RepositoryMismatch => {
            let stored = put(&registry, REPOSITORY, "v1");
            let record = release.record(&stored.digest, "acme/other").to_string();
            attach(&registry, REPOSITORY, &stored, &record);
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
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
                .await;
        }
        Reason::BadSignature => {
            let stored = put(&registry, REPOSITORY, "v1");
            let mut record = release.record(&stored.digest, REPOSITORY);
            record["signature"] = release.record(&stored.digest, "acme/other")["signature"].clone();
            attach(&registry, REPOSITORY, &stored, &record.to_string());
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
        }
        Reason::ThresholdNotMet => {
            let rules = config(
                registry.url(),
                &SIGNED.replace("[\"release\"]", "[\"release\", \"qa\"]\nthreshold = 2"),
            );
            put_signed(&registry, "v1", release);
            Node::start(&rules).await.assert_denied(&app, reason).await;
        }
        Reason::NotDerived => {
            put_signed(&registry, "v1", release);
            let blob = registry.put_blob(REPOSITORY, "no manifest names it").unwrap();
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
            assert_eq!(
                (refusal.reason(), refusal.status),
                (Some(reason.code()), StatusCode::FORBIDDEN)
            );
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
            assert_eq!(registry.requests(), 0, "a rule that decides alone asks nobody");
            let other = Digest::sha256(b"another image");
            node.reload(&rule(&format!("require = \"digest\"\ndigests = [\"{other}\"]")));
            node.assert_denied(&app, reason).await;
        }
        Reason::DigestDenied => {
            let stored = put_signed(&registry, "v1", release);
            let node = Node::start(&rules(&format!("[deny]\ndigests = [\"{}\"]\n", stored.digest))).await;
            node.assert_denied(&app, reason).await;
            registry.clear_log();
            node.assert_denied(&image(&format!("acme/app@{}", stored.digest)), reason)
                .await;
            assert_eq!(registry.log(), [], "a denied digest is not asked for");
        }
        Reason::ImageNotFound => {
            put_signed(&registry, "v1", release);
            Node::start(&rules(""))
                .await
                .assert_denied(&image("acme/app:v2"), reason)
                .await;
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
            // Where the client's own credentials count it is asked for them, as the registry asks.
            let refusal = Node::start(&config(closed.url(), SIGNED))
                .await
                .refused(&app)
                .await;
            assert_eq!(
                (refusal.reason(), refusal.status),
                (Some(reason.code()), StatusCode::UNAUTHORIZED)
            );
            assert_eq!(refusal.challenge.unwrap(), "Basic realm=\"pullgate demo\"");
        }
        Reason::RegistryUnreachable => {
            let url = registry.url().to_owned();
            let node = Node::start(&config(&url, SIGNED)).await;
            drop(registry);
            node.assert_denied(&app, reason).await;
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
                .await;
        }
        Reason::LimitExceeded => {
            let big = format!("{{\"annotations\":{{\"x\":\"{}\"}}}}", "x".repeat(5 << 20));
            registry
                .put_manifest(REPOSITORY, Some("v1"), "application/json", big)
                .unwrap();
            Node::start(&rules("")).await.assert_denied(&app, reason).await;
        }
        Reason::DeadlineExceeded => {
            let liar = Liar::start(None, |_| Answer::Silence).await;
            Node::start(&hasty(&config(&liar.url(), SIGNED)))
                .await
                .assert_denied(&app, reason)
                .await;
        }
        Reason::InternalError => {
            put_signed(&registry, "v1", release);
            put_signed(&registry, "v2", release);
            let node = Node::start(&rules("")).await;
            {
                // The tests' own runtime has one thread: what is set on it holds for the gate's tasks as well.
                let _guard = tracing::subscriber::set_default(tracing_subscriber::registry().with(Saboteur));
                node.assert_denied(&app, reason).await;
                node.pull(&image("acme/app:v2"))
                    .await
                    .expect("a panic in one pull blocks no other");
            }
            node.pull(&app).await.unwrap();
        }
    }
}

/// An image signed by `release`, and a configuration that says this more of that key.
fn release_is(registry: &EmbeddedRegistry, line: &str) -> String {
    put_signed(registry, "v1", signer::get("release"));
    config(registry.url(), SIGNED).replacen("[[key]]\n", &format!("[[key]]\n{line}\n"), 1)
}

/// Panics inside the gate, on the line that is written of a pull of `acme/app:v1`.
struct Saboteur;

impl<S: tracing::Subscriber> Layer<S> for Saboteur {
    fn on_event(&self, event: &tracing::Event<'_>, _: Context<'_, S>) {
        struct Sees(bool);
        impl Visit for Sees {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= field.name() == "image.ref" && format!("{value:?}").contains("acme/app:v1");
            }
        }
        let mut sees = Sees(false);
        event.record(&mut sees);
        assert!(!sees.0, "sabotage");
    }
}

/// What the gate says is for people and for programs, and fits where each runtime looks.
#[tokio::test]
async fn a_denial_says_what_and_why_and_what_next() {
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
            panic!("let in")
        };
        let printed = runtime.prints(&app, &refusal);
        assert!(
            printed.contains("pullgate: unsigned: registry.example/acme/app:v1"),
            "{printed}"
        );
    }
}

/// The OCI error body, as programs read it.
#[tokio::test]
async fn a_denial_has_fields_for_programs() {
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
