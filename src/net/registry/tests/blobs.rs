//! Blobs: read whole against a descriptor, or passed on as they arrive.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::*;
use crate::net::registry::body::stream;
use crate::net::registry::{BlobStream, Credentials, RegistryError, RequestOutcome};
use crate::net::transport::guard::Guard;
use crate::net::transport::{OutgoingRequest, Transport};
use crate::oci::Digest;

#[tokio::test]
async fn a_small_blob_is_checked_against_its_descriptor() {
    let liar = Liar::new(|_, _| answer("200 OK", &[], "content")).await;
    let client = liar.client(Credentials::Anonymous);
    let read = async |descriptor, limit| client.blob(&repository(), &descriptor, limit, &anonymous()).await;
    assert_eq!(read(descriptor(b"content"), 7).await, Ok(blob(b"content")));
    assert_eq!(
        kind(&read(descriptor(b"CONTENT"), 7).await),
        RequestOutcome::DigestMismatch
    );
    let mut longer = descriptor(b"content");
    longer.size = 8;
    assert_eq!(kind(&read(longer, 64).await), RequestOutcome::Malformed);
    let mut shorter = descriptor(b"content");
    shorter.size = 6;
    assert_eq!(
        read(shorter, 64).await,
        Err(RegistryError::TooLarge {
            host: liar.address.to_string(),
            limit: 6,
            unit: "bytes"
        })
    );
    let asked = liar.seen().len();
    let too_large = RegistryError::TooLarge {
        host: HOST.to_owned(),
        limit: 6,
        unit: "bytes",
    };
    assert_eq!(read(descriptor(b"content"), 6).await, Err(too_large));
    assert_eq!(liar.seen().len(), asked, "a blob over the limit is not requested");
}

#[tokio::test]
async fn embedded_data_is_hashed_and_read_without_a_request() {
    let liar = Liar::new(|_, _| Reply::HangUp).await;
    let client = liar.client(Credentials::Anonymous);
    let mut embedded = descriptor(b"content");
    for (data, outcome) in [
        (&b"content"[..], RequestOutcome::Ok),
        (b"CONTENT", RequestOutcome::DigestMismatch),
        (b"contents", RequestOutcome::Malformed),
        (b"", RequestOutcome::Malformed),
    ] {
        embedded.unverified_data = Some(Bytes::copy_from_slice(data));
        assert_eq!(
            kind(&client.blob(&repository(), &embedded, 64, &anonymous()).await),
            outcome
        );
    }
    assert!(liar.seen().is_empty());
}

/// Reads a stream to its end.
async fn collect(stream: BlobStream) -> Result<Vec<u8>, RegistryError> {
    let chunks: Vec<_> = stream.body.collect().await;
    let chunks: Result<Vec<_>, _> = chunks.into_iter().collect();
    chunks.map(|chunks| chunks.concat())
}

#[tokio::test]
async fn a_blob_stream_passes_on_ranges_and_selected_headers() {
    let headers = [
        ("content-type", "application/octet-stream"),
        ("accept-ranges", "bytes"),
        ("etag", "\"x\""),
        ("set-cookie", "a=b"),
        ("x-other", "y"),
    ];
    let liar = Liar::new(
        move |seen, _| match (seen.method.as_str(), seen.header("range")) {
            ("HEAD", _) => Reply::Keep(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\n\r\n".to_vec()),
            (_, Some("bytes=0-2")) => {
                answer("206 Partial Content", &[("content-range", "bytes 0-2/7")], "con")
            }
            (_, Some("bytes=9-")) => {
                answer("416 Range Not Satisfiable", &[("content-range", "bytes */7")], "")
            }
            _ => answer("200 OK", &headers, "content"),
        },
    )
    .await;
    let client = liar.client(Credentials::Anonymous);
    let digest = Digest::sha256(b"content");
    let ask = async |method, range: Option<&'static str>| {
        let range = range.map(HeaderValue::from_static);
        client
            .blob_stream(&repository(), &digest, method, range, &anonymous())
            .await
            .unwrap()
    };
    let whole = ask(Method::GET, None).await;
    assert_eq!(whole.status, StatusCode::OK);
    let mut names: Vec<_> = whole.headers.keys().map(ToString::to_string).collect();
    names.sort_unstable();
    assert_eq!(names, ["accept-ranges", "content-length", "content-type", "etag"]);
    assert_eq!(collect(whole).await.unwrap(), b"content");
    let part = ask(Method::GET, Some("bytes=0-2")).await;
    assert_eq!(
        (part.status, &part.headers["content-range"]),
        (StatusCode::PARTIAL_CONTENT, &"bytes 0-2/7".parse().unwrap())
    );
    assert_eq!(collect(part).await.unwrap(), b"con");
    assert_eq!(
        ask(Method::GET, Some("bytes=9-")).await.status,
        StatusCode::RANGE_NOT_SATISFIABLE
    );
    let whole = ask(Method::GET, Some("bytes=0-1,3-4")).await;
    assert_eq!(whole.status, StatusCode::OK);
    assert_eq!(liar.seen().last().unwrap().header("range"), None);
    let head = ask(Method::HEAD, None).await;
    assert_eq!(head.headers["content-length"], "7");
    assert_eq!(collect(head).await.unwrap(), b"");
}

#[tokio::test]
async fn a_blob_response_with_another_status_or_encoding_is_an_error() {
    let digest = Digest::sha256(b"content");
    for (reply, outcome) in [
        (answer("404 Not Found", &[], ""), RequestOutcome::NotFound),
        (
            answer("206 Partial Content", &[], "con"),
            RequestOutcome::Malformed,
        ),
        (
            answer("416 Range Not Satisfiable", &[], ""),
            RequestOutcome::Malformed,
        ),
        (
            answer("200 OK", &[("content-encoding", "gzip")], "x"),
            RequestOutcome::Malformed,
        ),
        (
            answer("500 Internal Server Error", &[], ""),
            RequestOutcome::Unreachable,
        ),
    ] {
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let client = liar.client(Credentials::Anonymous);
        let error = client
            .blob_stream(&repository(), &digest, Method::GET, None, &anonymous())
            .await
            .err()
            .unwrap();
        assert_eq!(kind::<()>(&Err(error)), outcome);
    }
}

#[tokio::test]
async fn a_blob_stream_that_breaks_off_ends_with_an_error() {
    let liar =
        Liar::new(|_, _| Reply::Close(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\ncon".to_vec())).await;
    let client = liar.client(Credentials::Anonymous);
    let digest = Digest::sha256(b"content");
    let stream = client
        .blob_stream(&repository(), &digest, Method::GET, None, &anonymous())
        .await
        .unwrap();
    let chunks: Vec<_> = stream.body.collect().await;
    assert_eq!(chunks[0], Ok(Bytes::from_static(b"con")));
    let Err(RegistryError::Unreachable { what, .. }) = &chunks[1] else {
        panic!("{chunks:?}")
    };
    assert!(what.starts_with("the response broke off: "), "{what}");
    assert_eq!(chunks.len(), 2);
}

#[tokio::test]
async fn a_blob_stream_continues_after_the_deadline() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let liar =
        Liar::new(move |_, _| Reply::Forever(head.clone(), b"x".to_vec(), Duration::from_millis(20))).await;
    let client = liar.client(Credentials::Anonymous);
    let digest = Digest::sha256(b"content");
    let access = within(LONG);
    let mut stream = client
        .blob_stream(&repository(), &digest, Method::GET, None, &access)
        .await
        .unwrap();
    assert!(stream.body.next().await.unwrap().is_ok());
    advance(LONG).await;
    for _ in 0..20 {
        assert!(stream.body.next().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_blob_stream_that_is_not_read_stops_the_origin() {
    /// More than the buffers of two sockets take.
    const MORE_THAN_FITS: usize = 64 * 1024 * 1024;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let origin = tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n")
            .await
            .unwrap();
        let mut written = 0;
        while written < MORE_THAN_FITS {
            written += connection.write(&[0; 64 * 1024]).await.unwrap();
        }
    });
    let client = client(&[&format!("http://{address}/")], Credentials::Anonymous, vec![]);
    let digest = Digest::sha256(b"content");
    let mut stream = client
        .blob_stream(&repository(), &digest, Method::GET, None, &anonymous())
        .await
        .unwrap();
    assert!(stream.body.next().await.unwrap().is_ok());
    // A client that read ahead would take all of it in this time; one that does not leaves the origin waiting for ever.
    let written = tokio::time::timeout(Duration::from_millis(500), origin).await;
    assert!(
        written.is_err(),
        "{MORE_THAN_FITS} bytes were taken although the stream was not read"
    );
}

#[tokio::test]
async fn a_blob_stream_ends_when_the_origin_stalls() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx".to_vec();
    let liar = Liar::new(move |_, _| Reply::Forever(head.clone(), vec![], Duration::from_secs(60))).await;
    let guard = Arc::new(Guard::new(vec![], vec![]));
    let (url, method) = (liar.url("/").parse().unwrap(), Method::GET);
    let policy = guard.check(&url, true).unwrap();
    let outgoing = OutgoingRequest {
        method: &method,
        url: &url,
        headers: HeaderMap::new(),
        body: None,
    };
    let transport = Transport::new(guard, &RootCertStore::empty(), None).unwrap();
    let response = transport.execute(outgoing, policy).await.unwrap();
    let stream = stream(response, "h".to_owned(), Duration::from_millis(50));
    let chunks: Vec<_> = stream.collect().await;
    assert_eq!(chunks[0], Ok(Bytes::from_static(b"x")));
    let what = "the response stalled for 0 s".to_owned();
    assert_eq!(
        chunks[1..],
        [Err(RegistryError::Unreachable {
            host: "h".to_owned(),
            what
        })]
    );
}
