//! The admission socket: what other programs on the node are told, and what they can not get out of it.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::HeaderValue;
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pullgate::base::proto::v1;
use pullgate::base::proto::v1::admission_client::AdmissionClient;
use pullgate::base::proto::v1::watch_decisions_response::Event;
use pullgate::door::admission;
use pullgate::door::listen::socket_settings::SocketSettings;
use pullgate::door::listen::unix_socket::{BoundSocket, SocketError};
use pullgate::door::{DoorLimits, ServeContext};
use pullgate::fakes::pull_client::Dialect;
use pullgate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use pullgate::net::uds_client::{Channel, origin};
use pullgate::oci::Descriptor;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::{Code, Request, Status};

use crate::support::liar::{Answer, Liar};
use crate::support::{
    LATEST, Node, REPOSITORY, SIGNED, config, configured, image, put, put_into_directory, put_signed,
    registry, signer, socket_folder,
};

/// An admission door before a node's gate.
struct Admission {
    socket: PathBuf,
    stop: DropGuard,
    task: JoinHandle<()>,
    _folder: TempDir,
}

impl Admission {
    async fn start(node: &Node) -> Self {
        let folder = socket_folder();
        let socket = folder.path().join("admission.sock");
        let settings = admission::AdmissionDoorSettings {
            socket: SocketSettings {
                path: socket.clone(),
                mode: 0o660,
                group: None,
            },
        };
        let limits = DoorLimits {
            pull: Duration::from_secs(30),
            ..DoorLimits::default()
        };
        let door = admission::AdmissionDoor::bind(&settings, limits).await.unwrap();
        let stop = CancellationToken::new();
        let task = tokio::spawn(door.serve(ServeContext {
            gate: std::sync::Arc::clone(&node.gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            socket,
            stop: stop.drop_guard(),
            task,
            _folder: folder,
        }
    }

    async fn client(&self) -> AdmissionClient<Channel> {
        AdmissionClient::with_origin(Channel::connect(&self.socket).await.unwrap(), origin())
    }

    async fn check(&self, question: v1::CheckRequest) -> Result<v1::CheckResponse, Status> {
        let answer = self.client().await.check(question).await?;
        Ok(answer.into_inner())
    }

    async fn verdict(&self, question: v1::CheckRequest) -> v1::Verdict {
        self.check(question).await.unwrap().verdict.unwrap()
    }

    async fn assert_allowed(&self, question: v1::CheckRequest) -> v1::Verdict {
        let verdict = self.verdict(question).await;
        assert_eq!(verdict.outcome(), v1::Outcome::Allow, "{verdict:?}");
        verdict
    }

    async fn assert_denied(&self, question: v1::CheckRequest, reason: &str) -> v1::Verdict {
        let verdict = self.verdict(question).await;
        assert_eq!(
            (verdict.outcome(), verdict.reason.as_str()),
            (v1::Outcome::Deny, reason),
            "{verdict:?}"
        );
        verdict
    }
}

fn named(name: &str) -> v1::CheckRequest {
    v1::CheckRequest {
        reference: format!("registry.example/{name}"),
        ..v1::CheckRequest::default()
    }
}

/// What containerd's plug-in asks: the tag, and the descriptor that it was resolved to.
fn resolved(name: &str, to: &Descriptor) -> v1::CheckRequest {
    v1::CheckRequest {
        digest: to.digest.to_string(),
        descriptor: Some(v1::Descriptor {
            media_type: to.media_type.clone(),
            digest: to.digest.to_string(),
            size: i64::try_from(to.size).unwrap(),
        }),
        ..named(name)
    }
}

fn on_linux(architecture: &str) -> pullgate::oci::Platform {
    pullgate::oci::Platform {
        os: "linux".to_owned(),
        architecture: architecture.to_owned(),
        variant: None,
    }
}

fn basic(user: &str, password: &str) -> v1::Credentials {
    v1::Credentials {
        username: user.to_owned(),
        password: password.to_owned(),
        ..v1::Credentials::default()
    }
}

#[tokio::test]
async fn a_signed_image_is_allowed_with_its_evidence_and_an_unsigned_one_is_not() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "unsigned");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let verdict = door.assert_allowed(named("acme/app:v1")).await;
    assert_eq!(verdict.digest, signed.digest.to_string());
    assert_eq!(verdict.rule, "registry.example/**");
    assert_eq!(
        verdict.generation,
        node.gate.settings().policy.generation().to_string()
    );
    assert!(!verdict.cached && verdict.reason.is_empty() && verdict.text.is_empty());
    let [signature] = &verdict.signatures[..] else {
        panic!("{verdict:?}")
    };
    assert_eq!(
        (
            signature.key.as_str(),
            signature.source.as_str(),
            signature.format.as_str()
        ),
        ("release", "referrers", "oracle")
    );
    assert!(signature.reason.is_empty() && signature.id.contains("sha256:"));
    assert!(door.assert_allowed(named("acme/app:v1")).await.cached);

    let verdict = door.assert_denied(named("acme/app:unsigned"), "unsigned").await;
    for part in [
        "acme/app:unsigned",
        "registry.example/**",
        "unsigned",
        &verdict.next_step,
    ] {
        assert!(verdict.text.contains(part), "{verdict:?}");
    }
    let verdict = door
        .assert_denied(
            v1::CheckRequest {
                reference: "elsewhere.example/app".to_owned(),
                ..v1::CheckRequest::default()
            },
            "no-rule",
        )
        .await;
    assert_eq!((verdict.rule.as_str(), verdict.retryable), ("default", false));

    // The same line and counters as at any other door; the caller is who the kernel says.
    let (recorded, _) = node.gate.watch(1, |_| true);
    assert_eq!(recorded[0].door.as_str(), "admission");
    let uid = rustix::process::getuid().as_raw();
    let pid = std::process::id();
    assert!(
        recorded[0].peer.starts_with(&format!("uid={uid} gid=")),
        "{recorded:?}"
    );
    assert!(recorded[0].peer.ends_with(&format!("pid={pid}")), "{recorded:?}");
    let denied = r#"pullgate_pulls_total{door="admission",verdict="deny",reason="unsigned"}"#;
    assert_eq!(node.metric(denied), 1);
}

#[tokio::test]
async fn what_was_resolved_is_what_is_judged() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    door.assert_allowed(resolved("acme/app:v1", &signed)).await;
    // The tag may have moved since: the digest counts.
    door.assert_denied(resolved("acme/app:v1", &unsigned), "unsigned")
        .await;
    door.assert_allowed(resolved("acme/app:v2", &signed)).await;

    for (of, expected) in [
        (
            v1::Descriptor {
                media_type: "application/vnd.oci.image.index.v1+json".to_owned(),
                ..resolved("acme/app:v1", &signed).descriptor.unwrap()
            },
            "application/vnd.oci.image.index.v1+json",
        ),
        (
            v1::Descriptor {
                size: 7,
                ..resolved("acme/app:v1", &signed).descriptor.unwrap()
            },
            "7 bytes",
        ),
    ] {
        let question = v1::CheckRequest {
            descriptor: Some(of),
            ..named("acme/app:v1")
        };
        let verdict = door.assert_denied(question, "malformed").await;
        assert!(verdict.detail.contains(expected), "{verdict:?}");
    }
}

#[tokio::test]
async fn what_is_no_question_is_said_to_be_none() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let other = put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let question = || resolved("acme/app:v1", &signed);
    let descriptor = || question().descriptor.unwrap();
    let shown = |auth: &str, registry_token: &str| {
        Some(v1::Credentials {
            auth: auth.to_owned(),
            registry_token: registry_token.to_owned(),
            ..v1::Credentials::default()
        })
    };
    let wrong = [
        (named("acme/APP"), "not an image name"),
        (v1::CheckRequest::default(), "not an image name"),
        (
            v1::CheckRequest {
                digest: "sha256:12".to_owned(),
                ..question()
            },
            "`digest` is not a digest",
        ),
        (
            v1::CheckRequest {
                digest: other.digest.to_string(),
                ..question()
            },
            "do not name the same digest",
        ),
        (
            v1::CheckRequest {
                digest: String::new(),
                reference: format!("registry.example/acme/app@{}", other.digest),
                ..question()
            },
            "do not name the same digest",
        ),
        (
            v1::CheckRequest {
                descriptor: Some(v1::Descriptor {
                    digest: "md5:00".to_owned(),
                    ..descriptor()
                }),
                ..question()
            },
            "`descriptor.digest` is not a digest",
        ),
        (
            v1::CheckRequest {
                descriptor: Some(v1::Descriptor {
                    size: -1,
                    ..descriptor()
                }),
                ..question()
            },
            "negative",
        ),
        (
            v1::CheckRequest {
                descriptor: Some(v1::Descriptor {
                    media_type: String::new(),
                    ..descriptor()
                }),
                ..question()
            },
            "media_type",
        ),
        (
            v1::CheckRequest {
                credentials: shown("not base64", ""),
                ..question()
            },
            "`auth` is not base64",
        ),
        (
            v1::CheckRequest {
                credentials: shown("", "two\nlines"),
                ..question()
            },
            "`registry_token`",
        ),
    ];
    for (question, expected) in wrong {
        let status = door.check(question.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{question:?}");
        assert!(status.message().contains(expected), "{status:?}");
        assert!(!status.message().contains("two"), "{status:?}");
    }
    let status = door.client().await.explain(v1::ExplainRequest::default()).await;
    assert_eq!(status.unwrap_err().code(), Code::InvalidArgument);
    let huge = v1::CheckRequest {
        reference: "a".repeat(128 * 1024),
        ..v1::CheckRequest::default()
    };
    assert_eq!(door.check(huge).await.unwrap_err().code(), Code::OutOfRange);
}

/// Who may open the socket must not fill it with what he never says: half a question, or what is no HTTP/2.
#[tokio::test]
async fn what_is_only_begun_is_given_up() {
    let registry = registry().await;
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut stranger = UnixStream::connect(&door.socket).await.unwrap();
    stranger
        .write_all(b"GET /pullgate.v1.Admission HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let said = tokio::time::timeout(LATEST, stranger.read(&mut [0; 64]))
        .await
        .unwrap();
    assert!(matches!(said, Ok(0) | Err(_)), "{said:?}");
    let stream = UnixStream::connect(&door.socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    // A message of 32 KiB, of which two bytes come.
    let half = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[
        0, 0, 0, 0x80, 0, 0x0a, 0x7f,
    ])))]);
    let request = http::Request::post("http://localhost/pullgate.v1.Admission/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(half.chain(stream::pending())))
        .unwrap();
    let began = Instant::now();
    let answer = tokio::time::timeout(LATEST, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
    assert!(began.elapsed() > Duration::from_secs(5));
    // Others are served meanwhile.
    door.assert_denied(named("acme/app:v1"), "image-not-found").await;
}

#[tokio::test]
async fn credentials_are_used_for_whom_they_were_shown_and_for_no_other() {
    for auth in [
        AuthPolicy::Basic {
            user: "bob".into(),
            password: "secret".into(),
        },
        AuthPolicy::Bearer {
            user: "bob".into(),
            password: "secret".into(),
            anonymous_pull: false,
        },
    ] {
        let registry = EmbeddedRegistry::start(FakeRegistryOptions {
            auth,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        put_signed(&registry, "v1", signer::get("release"));
        let node = Node::start(&config(registry.url(), SIGNED)).await;
        let door = Admission::start(&node).await;
        let with = |credentials| v1::CheckRequest {
            credentials: Some(credentials),
            ..named("acme/app:v1")
        };
        let mallory = with(basic("bob", "guess"));
        door.assert_denied(named("acme/app:v1"), "registry-unauthorized")
            .await;
        door.assert_denied(mallory.clone(), "registry-unauthorized").await;
        door.assert_allowed(with(basic("bob", "secret"))).await;
        // `bob:secret`.
        door.assert_allowed(with(v1::Credentials {
            auth: "Ym9iOnNlY3JldA==".to_owned(),
            server_address: "https://registry.example/v2/".to_owned(),
            ..v1::Credentials::default()
        }))
        .await;
        // A tag is looked up for each with what he shows.
        door.assert_denied(mallory, "registry-unauthorized").await;
        door.assert_denied(named("acme/app:v1"), "registry-unauthorized")
            .await;
        let elsewhere = v1::Credentials {
            server_address: "other.example".to_owned(),
            ..basic("bob", "secret")
        };
        door.assert_denied(with(elsewhere), "registry-unauthorized").await;
    }
}

/// containerd shows its credentials at the registry door and not to its verifier.
#[tokio::test]
async fn what_the_registry_door_has_just_resolved_needs_no_credentials() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth: AuthPolicy::Basic {
            user: "bob".into(),
            password: "secret".into(),
        },
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let bob = node
        .runtime(Dialect::Containerd)
        .with_authorization(HeaderValue::from_static("Basic Ym9iOnNlY3JldA=="));
    door.assert_denied(resolved("acme/app:v1", &signed), "registry-unauthorized")
        .await;
    bob.head(&image("acme/app:v1")).await.unwrap();
    bob.head(&image("acme/app:v2")).await.unwrap_err();
    registry.clear_log();
    let verdict = door.assert_allowed(resolved("acme/app:v1", &signed)).await;
    assert!(verdict.cached);
    door.assert_denied(resolved("acme/app:v2", &unsigned), "unsigned")
        .await;
    assert_eq!(registry.log(), []);
    // The content is still for those alone who may read it.
    node.runtime(Dialect::Containerd)
        .pull(&image(&format!("acme/app@{}", signed.digest)))
        .await
        .unwrap_err();
}

#[tokio::test]
async fn a_registry_that_stalls_is_a_verdict_within_the_callers_time() {
    let liar = Liar::start(None, |_| Answer::Silence).await;
    let node = Node::start(&config(&liar.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut request = Request::new(named("acme/app:v1"));
    request.set_timeout(Duration::from_secs(2));
    let began = Instant::now();
    let answer = door.client().await.check(request).await.unwrap();
    let verdict = answer.into_inner().verdict.unwrap();
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    assert_eq!(verdict.reason, "deadline-exceeded");
    assert!(verdict.retryable);

    let mut request = Request::new(named("acme/app:v1"));
    request
        .metadata_mut()
        .insert("grpc-timeout", "soon".parse().unwrap());
    let status = door.client().await.check(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn of_an_index_the_answer_names_the_manifest_that_will_run() {
    let registry = registry().await;
    let amd64 = registry
        .put_image_for(REPOSITORY, "", on_linux("amd64"), &[b"amd64"])
        .unwrap();
    let arm64 = registry
        .put_image_for(REPOSITORY, "", on_linux("arm64"), &[b"arm64"])
        .unwrap();
    let index = registry
        .put_index(REPOSITORY, "v1", &[amd64, arm64.clone()])
        .unwrap();
    let record = signer::get("release").record(&index.digest, REPOSITORY);
    signer::attach(&registry, REPOSITORY, &index, &record.to_string());
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let on = |architecture: &str| v1::CheckRequest {
        platform: Some(v1::Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant: String::new(),
        }),
        ..named("acme/app:v1")
    };
    let manifest = door.check(on("arm64")).await.unwrap().manifest.unwrap();
    assert_eq!(manifest.digest, arm64.digest.to_string());
    assert_eq!(manifest.size, i64::try_from(arm64.size).unwrap());
    assert_eq!(door.check(on("riscv64")).await.unwrap().manifest, None);
    assert_eq!(door.check(named("acme/app:v1")).await.unwrap().manifest, None);
    // The manifest by itself: what covers it is named.
    let verdict = door.assert_allowed(resolved("acme/app", &arm64)).await;
    assert_eq!(verdict.root, index.digest.to_string());
}

#[tokio::test]
async fn an_explanation_shows_each_stage() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    put_signed(&registry, "wrong", signer::get("stranger"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut client = door.client().await;
    let mut explain = async |name: &str| {
        let check = v1::CheckRequest {
            reference: name.to_owned(),
            ..v1::CheckRequest::default()
        };
        let explained = client.explain(v1::ExplainRequest { check: Some(check) }).await;
        let steps = explained.unwrap().into_inner().steps;
        let steps = steps.into_iter().map(|step| (step.stage, step.passed, step.text));
        steps.collect::<Vec<_>>()
    };
    let stages = |steps: &[(String, bool, String)]| {
        let stages = steps.iter().map(|(stage, passed, _)| (stage.clone(), *passed));
        stages.collect::<Vec<_>>()
    };
    let expected = |stages: &[(&str, bool)]| {
        let stages = stages
            .iter()
            .map(|(stage, passed)| ((*stage).to_owned(), *passed));
        stages.collect::<Vec<_>>()
    };
    let steps = explain("registry.example/acme/app:v1").await;
    assert_eq!(
        stages(&steps),
        expected(&[
            ("policy", true),
            ("resolve", true),
            ("find", true),
            ("verify", true),
            ("decide", true)
        ])
    );
    assert!(steps[0].2.contains("release"), "{steps:?}");
    assert!(steps[3].2.contains("the key release"), "{steps:?}");
    let steps = explain("registry.example/acme/app:wrong").await;
    assert_eq!(
        stages(&steps),
        expected(&[
            ("policy", true),
            ("resolve", true),
            ("find", true),
            ("verify", false),
            ("decide", false)
        ])
    );
    assert!(steps[3].2.contains("untrusted-key"), "{steps:?}");
    let steps = explain("elsewhere.example/app").await;
    assert_eq!(stages(&steps), expected(&[("policy", false), ("decide", false)]));
    let steps = explain("registry.example/acme/app:none").await;
    assert_eq!(
        stages(&steps),
        expected(&[("policy", true), ("resolve", false), ("decide", false)])
    );
}

#[tokio::test]
async fn who_watches_sees_what_was_what_comes_and_how_much_was_missed() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    door.assert_denied(named("acme/app:none"), "image-not-found")
        .await;
    door.assert_allowed(named("acme/app:v1")).await;
    let watch = async |backlog, denials_only| {
        let asked = v1::WatchDecisionsRequest {
            denials_only,
            backlog,
        };
        let watched = door.client().await.watch_decisions(asked).await;
        watched.unwrap().into_inner()
    };
    let next = async |events: &mut tonic::Streaming<v1::WatchDecisionsResponse>| {
        let event = tokio::time::timeout(LATEST, events.message())
            .await
            .unwrap()
            .unwrap();
        event.map(|event| event.event.unwrap())
    };
    let (mut all, mut denials, mut new) =
        (watch(9, false).await, watch(9, true).await, watch(0, false).await);
    door.assert_allowed(named("acme/app:v1")).await;
    let mut sequences = Vec::new();
    for _ in 0..3 {
        let Some(Event::Decision(decision)) = next(&mut all).await else {
            panic!("no decision")
        };
        sequences.push((decision.sequence, decision.outcome(), decision.reason));
    }
    assert_eq!(
        sequences,
        [
            (1, v1::Outcome::Deny, "image-not-found".to_owned()),
            (2, v1::Outcome::Allow, String::new()),
            (3, v1::Outcome::Allow, String::new())
        ]
    );
    let Some(Event::Decision(first)) = next(&mut new).await else {
        panic!("no decision")
    };
    assert_eq!(first.sequence, 3);
    assert_eq!(first.reference, "registry.example/acme/app:v1");
    assert!(first.took.is_some() && first.time.is_some() && first.cached);

    // Far more than the feed keeps and the connection holds, and nobody reads.
    for _ in 0..6000 {
        node.gate
            .admit(&pullgate::pull::request::PullRequest {
                door: pullgate::pull::request::DoorName::TOOL,
                peer: "test".to_owned(),
                reference: "elsewhere.example/app".parse().unwrap(),
                presented: None,
                deadline: Instant::now() + LATEST,
                pod: None,
                purpose: pullgate::pull::request::Purpose::VerdictOnly(None),
            })
            .await;
    }
    let (mut last, mut missed) = (3, 0);
    while last < 6003 {
        match next(&mut all).await.unwrap() {
            Event::Decision(decision) => {
                assert!(decision.sequence > last);
                last = decision.sequence;
            }
            Event::Missed(number) => missed += number,
        }
    }
    assert!(missed > 0, "nothing was missed");
    let Some(Event::Decision(first)) = next(&mut denials).await else {
        panic!("no decision")
    };
    assert_eq!((first.sequence, first.outcome()), (1, v1::Outcome::Deny));

    // A door that closes ends what would never end by itself.
    drop(door.stop);
    tokio::time::timeout(LATEST, door.task).await.unwrap().unwrap();
    while next(&mut all).await.is_some() {}
    assert!(!door.socket.exists(), "the socket's file stayed");
}

#[tokio::test]
async fn many_ask_at_one_time() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    // Beyond what one connection may ask at a time.
    let client = door.client().await;
    let mut asked = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let mut client = client.clone();
        asked.spawn(async move {
            let signed = number % 2 == 0;
            let name = if signed { "acme/app:v1" } else { "acme/app:v2" };
            let answer = client.check(named(name)).await.unwrap().into_inner();
            let expected = if signed {
                v1::Outcome::Allow
            } else {
                v1::Outcome::Deny
            };
            assert_eq!(answer.verdict.unwrap().outcome(), expected);
        });
    }
    while let Some(done) = asked.join_next().await {
        done.unwrap();
    }
}

#[tokio::test]
async fn forgotten_verdicts_stand_no_more_over_a_restart_too() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let rules = configured(registry.url(), "signatures = [\"directory\"]", SIGNED);
    let node = Node::start(&rules).await;
    let record = signer::get("release").record(&stored.digest, REPOSITORY);
    put_into_directory(&node.state(), &stored.digest, "one", &record.to_string());
    node.pull(&image("acme/app:v1")).await.unwrap();
    assert_eq!(node.gate.cached_verdicts().len(), 1);
    let folder = node
        .state()
        .join("signatures/sha256")
        .join(stored.digest.encoded());
    std::fs::remove_file(folder.join("one.json")).unwrap();
    // What is remembered is good for its time.
    node.pull(&image("acme/app:v1")).await.unwrap();
    let runtime = node.runtime(Dialect::Containerd);
    let layer = pullgate::oci::Digest::sha256(b"the layer of acme/app:v1");
    runtime.blob(&image("acme/app:v1"), &layer).await.unwrap();

    assert_eq!(node.gate.clear().unwrap(), 1);
    assert_eq!(node.gate.cached_verdicts().len(), 0);
    let refused = runtime.blob(&image("acme/app:v1"), &layer).await;
    assert!(
        refused.is_err(),
        "a layer is served whose image is signed no more"
    );
    node.assert_denied(&image("acme/app:v1"), pullgate::base::reason::Reason::Unsigned)
        .await;
    let node = Node::start_in(node.stop().await, &rules).await;
    node.assert_denied(&image("acme/app:v1"), pullgate::base::reason::Reason::Unsigned)
        .await;
    let refused = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert!(refused.is_err(), "the verdict came back with the restart");
}

/// A layer is good for as long as the verdict on its image, counted from when that was made.
#[tokio::test]
async fn what_is_covered_by_a_remembered_verdict_is_good_no_longer_than_that() {
    let registry = registry().await;
    let stored = put(&registry, REPOSITORY, "v1");
    let rules = configured(
        registry.url(),
        "signatures = [\"directory\"]",
        &format!("{SIGNED}[cache]\npositive = \"3s\"\n"),
    );
    let node = Node::start(&rules).await;
    let record = signer::get("release").record(&stored.digest, REPOSITORY);
    put_into_directory(&node.state(), &stored.digest, "one", &record.to_string());
    let began = Instant::now();
    node.pull(&image("acme/app:v1")).await.unwrap();
    let folder = node
        .state()
        .join("signatures/sha256")
        .join(stored.digest.encoded());
    std::fs::remove_file(folder.join("one.json")).unwrap();
    tokio::time::sleep(Duration::from_millis(2000)).await;
    // Pulled again, from memory: this must not count from now on.
    if node.pull(&image("acme/app:v1")).await.is_err() {
        // The machine was too slow to show anything.
        assert!(began.elapsed() > Duration::from_secs(3));
        return;
    }
    tokio::time::sleep(Duration::from_millis(1500)).await;
    let layer = pullgate::oci::Digest::sha256(b"the layer of acme/app:v1");
    let refused = node
        .runtime(Dialect::Containerd)
        .blob(&image("acme/app:v1"), &layer)
        .await;
    assert!(refused.is_err(), "the layer outlived the verdict");
}

#[tokio::test]
async fn the_socket_is_for_whom_its_mode_says_and_replaces_what_is_dead() {
    let folder = socket_folder();
    let path = folder.path().join("a.sock");
    let config = SocketSettings {
        path: path.clone(),
        mode: 0o620,
        group: None,
    };
    let bind = async |config: &SocketSettings| BoundSocket::bind(config).await;
    let first = bind(&config).await.unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o620);
    let error = bind(&config).await.unwrap_err();
    assert!(matches!(error, SocketError::InUse { .. }), "{error:?}");
    drop(first);
    assert!(!path.exists());
    // One that a killed daemon left.
    drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let second = bind(&config).await.unwrap();
    // A later daemon's own is not removed by an earlier one that ends.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "").unwrap();
    drop(second);
    assert!(path.exists());
    let error = bind(&config).await.unwrap_err();
    assert!(matches!(error, SocketError::NotASocket { .. }), "{error:?}");
    assert_eq!(std::fs::read(&path).unwrap(), b"");
    let nobody = SocketSettings {
        path: folder.path().join("b.sock"),
        group: Some("no-such-group".to_owned()),
        ..config
    };
    let error = bind(&nobody).await.unwrap_err();
    assert!(matches!(error, SocketError::NoGroup { .. }), "{error:?}");
    assert!(!left_over(folder.path()), "a socket under its first name stayed");
}

fn left_over(folder: &Path) -> bool {
    let mut names = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names.any(|name| name.to_string_lossy().ends_with(".new"))
}
