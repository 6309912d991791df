//! Calls that the door forwards, and calls that it must not forward.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures_util::{StreamExt as _, stream};
use http::{HeaderValue, Request};
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use tokio::sync::Notify;

use super::runtime::{FakeRuntime, frame_message};
use super::{CriNode, ID, NAME, call, configuration, named_by_digest, pull_request};
use crate::support::{
    LATEST, REPOSITORY, SIGNED, config, put, put_signed, registry, resident, run_alone, signer,
};
use prost::Message as _;

#[tokio::test]
async fn other_calls_are_forwarded_unchanged() {
    let registry = registry().await;
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = cri.connect().await;
    let body = Bytes::from_static(b"\x01\x00\x00\x00\x03\xff\xfe\xfd and more bytes");
    for path in [
        "/runtime.v1.RuntimeService/Version",
        "/runtime.v1.ImageService/ImageFsInfo",
        "/runtime.v1.ImageService/StreamImages",
        "/runtime.v1.RuntimeService/OfALaterKubelet?that=asks",
        "/runtime.v1alpha2.RuntimeService/Version",
        "/grpc.health.v1.Health/Check",
    ] {
        let headers = [
            ("grpc-timeout", "9S"),
            ("grpc-encoding", "gzip"),
            ("x-trace-bin", "AAEC"),
            ("user-agent", "grpc-go/1.83"),
            ("authorization", "Bearer of-another-service"),
        ];
        let response = call(&mut sender, path, &headers, body.clone()).await;
        let seen = cri.state.last();
        assert_eq!(seen.path, path.split('?').next().unwrap());
        assert_eq!(seen.authority, "localhost");
        for (name, value) in headers {
            assert_eq!(seen.headers[name], value, "{path}");
        }
        assert_eq!(seen.headers["te"], "trailers");
        assert_eq!(seen.body, body);
        assert_eq!(response.body, body, "{path}");
        assert_eq!(response.head["content-type"], "application/grpc+proto");
        assert_eq!(response.head["x-from-runtime"], "yes");
        assert!(!response.head.contains_key("date"), "{:?}", response.head);
        let trailers = response.trailers.unwrap();
        assert_eq!(
            (
                &trailers["grpc-status"],
                &trailers["grpc-message"],
                &trailers["x-detail-bin"]
            ),
            (
                &HeaderValue::from_static("7"),
                &HeaderValue::from_static("as%20it%20came"),
                &HeaderValue::from_static("AAEC")
            )
        );
    }
}

#[tokio::test]
async fn streams_are_forwarded_in_both_directions_and_end_with_the_caller() {
    let registry = registry().await;
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let mut sender = cri.connect().await;
    let (feed, fed) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
    let fed = stream::unfold(fed, |mut fed| async {
        let data = fed.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(data)), fed))
    });
    let request = Request::post("http://localhost/runtime.v1.RuntimeService/GetContainerEvents")
        .header("content-type", "application/grpc")
        .body(StreamBody::new(fed).boxed_unsync())
        .unwrap();
    let answer = sender.send_request(request).await.unwrap();
    let mut body = answer.into_body();
    for number in 0..50_u8 {
        // The door forwards each part of a message at once.
        feed.send(Bytes::from(vec![number; 100])).unwrap();
        let mut got = Vec::new();
        while got.len() < 100 {
            let frame = tokio::time::timeout(LATEST, body.frame()).await.unwrap();
            got.extend_from_slice(&frame.unwrap().unwrap().into_data().unwrap());
        }
        assert_eq!(got, vec![number; 100]);
    }
    drop((feed, body));

    let request = Request::post("http://localhost/runtime.v1.RuntimeService/Follow")
        .body(Full::default().boxed_unsync())
        .unwrap();
    let mut body = sender.send_request(request).await.unwrap().into_body();
    tokio::time::timeout(LATEST, body.frame())
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    drop(body);
    // The runtime learns that the client has gone.
    tokio::time::timeout(LATEST, cri.state.cancelled.notified())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_older_api_and_unreadable_requests_do_not_bypass_the_door() {
    let registry = registry().await;
    put(&registry, REPOSITORY, "v1");
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    cri.prepare_pull(NAME, ID, &[]);
    let mut sender = cri.connect().await;
    let request = frame_message(&pull_request(NAME));
    let path = "/runtime.v1alpha2.ImageService/PullImage";
    let response = call(&mut sender, path, &[], request.clone()).await;
    assert!(response.text().contains("unsigned"), "{response:?}");
    // A request that cannot be parsed is refused without a decision.
    let mut twice = BytesMut::from(&request[..]);
    twice.extend_from_slice(&request);
    let mut compressed = BytesMut::from(&request[..]);
    compressed[0] = 1;
    let mut short = BytesMut::from(&request[..]);
    short.truncate(request.len() - 1);
    let mut large = BytesMut::from(&request[..]);
    large.extend_from_slice(&vec![0; 2 * 1024 * 1024]);
    let garbage = Bytes::from_static(b"\x00\x00\x00\x00\x03\xff\xff\xff");
    for (body, code) in [
        (twice.freeze(), "3"),
        (compressed.freeze(), "12"),
        (short.freeze(), "3"),
        (large.freeze(), "8"),
        (garbage, "3"),
        (Bytes::new(), "3"),
        (Bytes::from_static(b"\x00\x00"), "3"),
    ] {
        let path = "/runtime.v1.ImageService/PullImage";
        let response = call(&mut sender, path, &[("grpc-encoding", "gzip")], body).await;
        assert_eq!(response.status(), code, "{response:?}");
        assert_eq!(response.head["grpc-accept-encoding"], "identity");
    }
    assert_eq!(cri.state.paths(), Vec::<String>::new());
    // Protobuf merges concatenated messages, in Go as in Rust. The runtime would pull the last name.
    put_signed(&registry, "v9", signer::get("release"));
    let mut parts = pull_request("registry.example/acme/app:v9").encode_to_vec();
    parts.extend_from_slice(&pull_request(NAME).encode_to_vec());
    let mut body = BytesMut::from(&[0][..]);
    body.extend_from_slice(&u32::try_from(parts.len()).unwrap().to_be_bytes());
    body.extend_from_slice(&parts);
    let path = "/runtime.v1.ImageService/PullImage";
    let response = call(&mut sender, path, &[], body.freeze()).await;
    assert!(
        response.text().contains("acme/app:v1") && response.text().contains("unsigned"),
        "{response:?}"
    );
    // A call that may be a pull for a runtime newer than this door is not forwarded.
    for path in [
        "/runtime.v2.ImageService/PullImage",
        "/runtime.v1.ImageService//PullImage",
        "//runtime.v1.ImageService/PullImage",
        "/PullImage",
        "/runtime.v1.ImageService/PullImage?no=method",
        "/runtime.v1.ImageService/PullImageWithProgress",
        "/containerd.services.transfer.v1.Transfer/Transfer",
        "/containerd.services.content.v1.Content/Write",
        "/containerd.services.images.v1.Images/Create",
        "/runtime.v2.RuntimeService/CreateContainer",
    ] {
        let response = call(&mut sender, path, &[], request.clone()).await;
        assert!(["12", "2"].contains(&response.status()), "{path}: {response:?}");
    }
    assert_eq!(cri.state.paths(), Vec::<String>::new());
}

#[tokio::test]
async fn a_runtime_that_is_down_is_reported_and_used_again_when_it_is_back() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let mut cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    cri.prepare_pull(
        NAME,
        &configuration(&registry, &signed),
        &[named_by_digest(&signed.digest)],
    );
    let mut sender = cri.connect().await;
    let version = "/runtime.v1.RuntimeService/Version";
    let alive = call(&mut sender, version, &[], Bytes::from_static(b"x")).await;
    assert_eq!(alive.status(), "7");
    let state = cri.runtime.take().unwrap().stop().await;
    let started = Instant::now();
    for path in [version, "/runtime.v1.ImageService/PullImage"] {
        let response = call(&mut sender, path, &[], frame_message(&pull_request(NAME))).await;
        assert_eq!(response.status(), "14", "{response:?}");
        assert!(response.text().contains("runtime.sock"), "{response:?}");
    }
    // The door reports it without waiting for the limit of a pull, which is 30 s.
    assert!(started.elapsed() < Duration::from_secs(25));
    let path = cri.folder.path().join("runtime.sock");
    cri.runtime = Some(FakeRuntime::start_with(&path, state));
    // The kubelet still uses the same connection.
    let response = call(&mut sender, version, &[], Bytes::from_static(b"x")).await;
    assert_eq!(response.status(), "7", "{response:?}");
    assert_eq!(cri.pull(&pull_request(NAME)).await.status(), "0");
}

/// The test that measures the memory of the whole process runs in a process of its own.
#[test]
fn concurrent_calls_cost_little_memory() {
    run_alone("cri::forward::a_thousand_concurrent_calls", 1);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "measures the memory of the whole process: `concurrent_calls_cost_little_memory` runs it alone"]
async fn a_thousand_concurrent_calls_take_little_memory() {
    let registry = registry().await;
    let cri = CriNode::start(&config(registry.url(), SIGNED), false).await;
    let hold = Arc::new(Notify::new());
    let mut sender = cri.connect().await;
    drop(
        call(
            &mut sender,
            "/runtime.v1.RuntimeService/Version",
            &[],
            Bytes::from_static(b"x"),
        )
        .await,
    );
    let before = resident();
    // Each stream stays open with a message on its way.
    let mut open = Vec::new();
    for _ in 0..1000 {
        let (feed, fed) = tokio::sync::mpsc::unbounded_channel::<Bytes>();
        let fed = stream::unfold(fed, |mut fed| async {
            let data = fed.recv().await?;
            Some((Ok::<_, Infallible>(Frame::data(data)), fed))
        });
        feed.send(Bytes::from_static(&[7; 1000])).unwrap();
        let request = Request::post("http://localhost/runtime.v1.RuntimeService/GetContainerEvents")
            .body(StreamBody::new(fed.boxed()).boxed_unsync())
            .unwrap();
        let answer = sender.send_request(request);
        open.push((feed, tokio::spawn(answer)));
    }
    let mut streams = Vec::new();
    for (feed, answer) in open {
        let answer = tokio::time::timeout(LATEST, answer)
            .await
            .unwrap()
            .unwrap()
            .unwrap();
        let mut body = answer.into_body();
        let frame = tokio::time::timeout(LATEST, body.frame()).await.unwrap();
        assert_eq!(frame.unwrap().unwrap().into_data().unwrap().len(), 1000);
        streams.push((feed, body));
    }
    let after = resident();
    // The client, the door and the runtime run in this process. The benches measure the door's share.
    assert!(
        after.saturating_sub(before) < 96 * 1024 * 1024,
        "{before} {after}"
    );
    drop(hold);
}
