//! Invalid and unfinished questions, deadlines, and many questions at a time.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http_body_util::StreamBody;
use hyper::body::Frame;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pullgate::base::proto::v1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;
use tonic::{Code, Request};

use super::{Admission, named, resolved};
use crate::support::liar::{Answer, Liar};
use crate::support::{LATEST, Node, REPOSITORY, SIGNED, config, put, put_signed, registry, signer};

#[tokio::test]
async fn an_invalid_question_is_refused_as_invalid() {
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

/// A client must not occupy the socket with an unfinished question or with another protocol than HTTP/2.
#[tokio::test]
async fn an_unfinished_question_is_given_up() {
    let registry = registry().await;
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut stranger = UnixStream::connect(&door.socket).await.unwrap();
    stranger
        .write_all(b"GET /pullgate.v1.Admission HTTP/1.1\r\n\r\n")
        .await
        .unwrap();
    let read = tokio::time::timeout(LATEST, stranger.read(&mut [0; 64]))
        .await
        .unwrap();
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
    let stream = UnixStream::connect(&door.socket).await.unwrap();
    let (mut sender, connection) =
        hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .unwrap();
    tokio::spawn(connection);
    // Only two bytes of a message of 32 KiB arrive.
    let half = stream::iter([Ok::<_, Infallible>(Frame::data(Bytes::from_static(&[
        0, 0, 0, 0x80, 0, 0x0a, 0x7f,
    ])))]);
    let request = http::Request::post("http://localhost/pullgate.v1.Admission/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(StreamBody::new(half.chain(stream::pending())))
        .unwrap();
    let started = Instant::now();
    let answer = tokio::time::timeout(LATEST, sender.send_request(request))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(answer.headers()["grpc-status"], "4", "{answer:?}");
    // The door's limit for a message is a constant of 10 s, which really has to pass. The answer must not come at once.
    assert!(started.elapsed() > Duration::from_secs(5));
    // The door still serves others.
    door.assert_denied(named("acme/app:v1"), "image-not-found").await;
}

#[tokio::test]
async fn a_stalled_registry_leads_to_a_verdict_within_the_callers_deadline() {
    let liar = Liar::start(None, |_| Answer::Silence).await;
    let node = Node::start(&config(&liar.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    let mut request = Request::new(named("acme/app:v1"));
    request.set_timeout(Duration::from_secs(2));
    let started = Instant::now();
    let answer = door.client().await.check(request).await.unwrap();
    let verdict = answer.into_inner().verdict.unwrap();
    // The bound is far below the door's own limit of 30 s, and leaves room for a busy machine.
    assert!(
        started.elapsed() < Duration::from_secs(20),
        "{:?}",
        started.elapsed()
    );
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
async fn a_thousand_concurrent_questions_are_answered() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "v2");
    let node = Node::start(&config(registry.url(), SIGNED)).await;
    let door = Admission::start(&node).await;
    // There are more questions than one connection may have at a time.
    let client = door.client().await;
    let mut calls = tokio::task::JoinSet::new();
    for number in 0..1000 {
        let mut client = client.clone();
        calls.spawn(async move {
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
    while let Some(done) = calls.join_next().await {
        done.unwrap();
    }
}
