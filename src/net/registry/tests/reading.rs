//! What is read, and what is not taken for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use rustls::RootCertStore;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::support::*;
use crate::net::registry::{
    Credentials, RegistryConfig, RegistryError, RegistryOperation, RequestOutcome, SourceName, Target,
};
use crate::net::transport::guard::Guard;
use crate::net::transport::{OutgoingRequest, Transport};
use crate::oci::{Digest, DigestMismatch, Tag};

fn latest() -> Target {
    Target::Tag(Tag::latest())
}

fn by_digest() -> Target {
    Target::Digest(manifest_digest())
}

/// What a liar's only answer makes of a manifest asked for by tag and by digest.
async fn both(reply: Reply) -> [Result<Digest, RegistryError>; 2] {
    let liar = Liar::new(move |_, _| reply.clone()).await;
    let client = liar.client(Credentials::Anonymous);
    let mut results = Vec::new();
    for target in [latest(), by_digest()] {
        let fetched = client.manifest(&repository(), &target, &anyone()).await;
        results.push(fetched.map(|fetched| *fetched.blob.digest()));
    }
    results.try_into().unwrap()
}

fn host(liar: &Liar) -> String {
    liar.address.to_string()
}

#[tokio::test]
async fn a_manifest_is_read_and_hashed() {
    let liar = Liar::new(|_, _| manifest()).await;
    let counted = Counted::default();
    let client = counted.observe(liar.client(Credentials::Anonymous));
    let by_tag = client
        .manifest(&repository(), &latest(), &anyone())
        .await
        .unwrap();
    let by_digest = client
        .manifest(&repository(), &by_digest(), &anyone())
        .await
        .unwrap();
    assert_eq!(by_tag.blob, by_digest.blob);
    assert_eq!(*by_tag.blob.digest(), manifest_digest());
    assert_eq!(by_tag.content_type.as_deref(), Some(OCI_MANIFEST));
    let digest = manifest_digest();
    assert_eq!(
        liar.targets(),
        [
            "GET /v2/team/app/manifests/latest".to_owned(),
            format!("GET /v2/team/app/manifests/{digest}")
        ]
    );
    let request = &liar.seen()[0];
    assert_eq!(request.header("accept-encoding"), Some("identity"));
    assert_eq!(
        request.header("user-agent"),
        Some(concat!("pullgate/", env!("CARGO_PKG_VERSION")))
    );
    assert!(request.head.contains(OCI_INDEX) && request.head.contains("manifest.list.v2+json"));
    assert_eq!(request.header("authorization"), None);
    assert_eq!(request.header("cookie"), None);
    assert_eq!(request.header("referer"), None);
    assert_eq!(
        counted.all(),
        [(RegistryOperation::Manifest, RequestOutcome::Ok); 2]
    );
}

#[tokio::test]
async fn other_bytes_than_asked_for_are_refused() {
    let liar = Liar::new(|_, _| answer("200 OK", &[("content-type", OCI_MANIFEST)], "other")).await;
    let client = liar.client(Credentials::Anonymous);
    let error = client
        .manifest(&repository(), &by_digest(), &anyone())
        .await
        .unwrap_err();
    let mismatch = DigestMismatch {
        expected: manifest_digest(),
        actual: Digest::sha256(b"other"),
    };
    assert_eq!(
        error,
        RegistryError::DigestMismatch {
            host: host(&liar),
            mismatch
        }
    );
    // By tag the bytes speak for themselves.
    assert!(client.manifest(&repository(), &latest(), &anyone()).await.is_ok());
}

#[tokio::test]
async fn a_digest_header_that_lies_is_noticed_where_it_could_matter() {
    let lying = Digest::sha256(b"other").to_string();
    let headers = [
        ("content-type", OCI_MANIFEST),
        ("docker-content-digest", lying.as_str()),
    ];
    let [by_tag, by_digest] = both(answer("200 OK", &headers, MANIFEST)).await;
    assert_eq!(kind(&by_tag), RequestOutcome::DigestMismatch);
    // The bytes were hashed against what was asked: the header decides nothing.
    assert_eq!(by_digest, Ok(manifest_digest()));
    let [by_tag, _] = both(answer(
        "200 OK",
        &[("docker-content-digest", "sha256:../../x")],
        MANIFEST,
    ))
    .await;
    assert_eq!(kind(&by_tag), RequestOutcome::Malformed);
    let sha512 = format!("sha512:{}", "0".repeat(128));
    let [by_tag, _] = both(answer("200 OK", &[("docker-content-digest", &sha512)], MANIFEST)).await;
    assert_eq!(kind(&by_tag), RequestOutcome::DigestMismatch);
    let right = manifest_digest().to_string();
    let [by_tag, _] = both(answer("200 OK", &[("docker-content-digest", &right)], MANIFEST)).await;
    assert_eq!(by_tag, Ok(manifest_digest()));
}

#[tokio::test]
async fn each_status_has_its_own_meaning() {
    for (status, outcome) in [
        ("404 Not Found", RequestOutcome::NotFound),
        ("401 Unauthorized", RequestOutcome::Unauthorized),
        ("403 Forbidden", RequestOutcome::Unauthorized),
        ("408 Request Timeout", RequestOutcome::Unreachable),
        ("429 Too Many Requests", RequestOutcome::Unreachable),
        ("500 Internal Server Error", RequestOutcome::Unreachable),
        ("503 Service Unavailable", RequestOutcome::Unreachable),
        ("400 Bad Request", RequestOutcome::Malformed),
        ("405 Method Not Allowed", RequestOutcome::Malformed),
        ("410 Gone", RequestOutcome::Malformed),
        ("204 No Content", RequestOutcome::Malformed),
        ("206 Partial Content", RequestOutcome::Malformed),
        ("300 Multiple Choices", RequestOutcome::Malformed),
        ("304 Not Modified", RequestOutcome::Malformed),
    ] {
        for result in both(Reply::Close(
            format!("HTTP/1.1 {status}\r\nconnection: close\r\n\r\n").into(),
        ))
        .await
        {
            assert_eq!(kind(&result), outcome, "{status}");
        }
    }
}

#[tokio::test]
async fn the_registrys_words_are_quoted_and_harmless() {
    let document =
        "{\"errors\":[{\"code\":\"DENIED\",\"message\":\"no \\u001b[31mway\\nx\"},{\"code\":\"UNKNOWN\"}]}";
    let [error, _] = both(answer("403 Forbidden", &[], document)).await;
    let Err(RegistryError::Unauthorized {
        message,
        challenge: None,
        ..
    }) = error
    else {
        panic!("{error:?}")
    };
    assert_eq!(message, r"403 Forbidden: DENIED: no \u{1b}[31mway\nx; UNKNOWN");
    let [error, _] = both(answer(
        "500 Internal Server Error",
        &[("content-type", "text/plain")],
        "disk full\n",
    ))
    .await;
    let Err(RegistryError::Unreachable { what, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(what, "500 Internal Server Error: disk full");
    let [error, _] = both(answer(
        "500 Internal Server Error",
        &[("content-type", "text/html")],
        "<html>",
    ))
    .await;
    let Err(RegistryError::Unreachable { what, .. }) = error else {
        panic!("{error:?}")
    };
    assert_eq!(what, "500 Internal Server Error");
}

#[tokio::test]
async fn a_compressed_answer_is_refused() {
    for encoding in ["gzip", "br", "identity, gzip"] {
        let headers = [("content-encoding", encoding)];
        for result in both(answer("200 OK", &headers, MANIFEST)).await {
            assert_eq!(kind(&result), RequestOutcome::Malformed, "{encoding}");
        }
    }
    let [by_tag, _] = both(answer("200 OK", &[("content-encoding", "Identity")], MANIFEST)).await;
    assert_eq!(by_tag, Ok(manifest_digest()));
}

#[tokio::test]
async fn a_content_type_that_is_no_text_is_refused() {
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-type: \xff\xfe\r\n\r\nx".to_vec();
    let [by_tag, _] = both(Reply::Close(head.clone())).await;
    assert_eq!(kind(&by_tag), RequestOutcome::Malformed);
    head.clear();
    let long = "x".repeat(257);
    let [by_tag, _] = both(answer("200 OK", &[("content-type", &long)], MANIFEST)).await;
    assert_eq!(kind(&by_tag), RequestOutcome::Malformed);
}

#[tokio::test]
async fn a_small_blob_is_read_against_its_descriptor() {
    let liar = Liar::new(|_, _| answer("200 OK", &[], "content")).await;
    let client = liar.client(Credentials::Anonymous);
    let read = async |descriptor, limit| client.blob(&repository(), &descriptor, limit, &anyone()).await;
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
            host: host(&liar),
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
    assert_eq!(liar.seen().len(), asked, "a blob over the limit is not asked for");
}

#[tokio::test]
async fn embedded_data_is_hashed_and_nobody_is_asked() {
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
            kind(&client.blob(&repository(), &embedded, 64, &anyone()).await),
            outcome
        );
    }
    assert!(liar.seen().is_empty());
}

async fn collect(stream: crate::net::registry::BlobStream) -> Result<Vec<u8>, RegistryError> {
    let chunks: Vec<_> = stream.body.collect().await;
    let chunks: Result<Vec<_>, _> = chunks.into_iter().collect();
    chunks.map(|chunks| chunks.concat())
}

#[tokio::test]
async fn a_blob_streams_with_the_headers_that_matter() {
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
            .blob_stream(&repository(), &digest, method, range, &anyone())
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
async fn a_blob_stream_that_is_not_the_blob_is_an_error() {
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
            .blob_stream(&repository(), &digest, Method::GET, None, &anyone())
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
        .blob_stream(&repository(), &digest, Method::GET, None, &anyone())
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
async fn a_blob_stream_outlives_the_deadline_but_not_a_standstill() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n".to_vec();
    let liar =
        Liar::new(move |_, _| Reply::Forever(head.clone(), b"x".to_vec(), Duration::from_millis(20))).await;
    let client = liar.client(Credentials::Anonymous);
    let digest = Digest::sha256(b"content");
    let access = within(Duration::from_millis(200));
    let mut stream = client
        .blob_stream(&repository(), &digest, Method::GET, None, &access)
        .await
        .unwrap();
    for _ in 0..20 {
        assert!(stream.body.next().await.unwrap().is_ok());
    }
}

#[tokio::test]
async fn a_stream_that_nobody_reads_holds_the_origin_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let written = Arc::new(AtomicU64::new(0));
    let count = Arc::clone(&written);
    tokio::spawn(async move {
        let (mut connection, _) = listener.accept().await.unwrap();
        assert!(connection.read(&mut [0; 4096]).await.unwrap() > 0);
        connection
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 9999999999\r\n\r\n")
            .await
            .unwrap();
        while let Ok(length) = connection.write(&[0; 64 * 1024]).await {
            count.fetch_add(length.try_into().unwrap(), Ordering::Relaxed);
        }
    });
    let client = client(&[&format!("http://{address}/")], Credentials::Anonymous, vec![]);
    let digest = Digest::sha256(b"content");
    let mut stream = client
        .blob_stream(&repository(), &digest, Method::GET, None, &anyone())
        .await
        .unwrap();
    assert!(stream.body.next().await.unwrap().is_ok());
    // The sockets' buffers fill up (some MiB), and then it stands.
    let mut before = u64::MAX;
    for _ in 0..50 {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let now = written.load(Ordering::Relaxed);
        if now == before {
            assert!(now < 64 * 1024 * 1024, "{now}");
            return;
        }
        before = now;
    }
    panic!("{before} bytes were taken, and no end");
}

#[tokio::test]
async fn a_standstill_ends_a_stream() {
    let head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\nx".to_vec();
    let liar = Liar::new(move |_, _| Reply::Forever(head.clone(), vec![], Duration::from_secs(60))).await;
    let guard = Arc::new(Guard::new(vec![], vec![]));
    let (url, method) = (liar.url("/").parse().unwrap(), Method::GET);
    let lane = guard.check(&url, true).unwrap();
    let outgoing = OutgoingRequest {
        method: &method,
        url: &url,
        headers: HeaderMap::new(),
        body: None,
    };
    let transport = Transport::new(guard, &RootCertStore::empty(), None).unwrap();
    let response = transport.execute(outgoing, lane).await.unwrap();
    let stream = crate::net::registry::body::stream(response, "h".to_owned(), Duration::from_millis(50));
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

#[tokio::test]
async fn tags_are_handed_on_page_by_page() {
    let liar =
        Liar::new(|_, _| answer("200 OK", &[("link", "</v2/x>; rel=\"next\"")], "{\"tags\":[]}")).await;
    let client = liar.client(Credentials::Anonymous);
    let (body, link) = client
        .tags(&repository(), Some("n=5&last=a%26b&evil=1"), &anyone())
        .await
        .unwrap();
    assert_eq!(body, "{\"tags\":[]}");
    assert_eq!(link.unwrap(), "</v2/x>; rel=\"next\"");
    client.tags(&repository(), None, &anyone()).await.unwrap();
    assert_eq!(
        liar.targets(),
        [
            "GET /v2/team/app/tags/list?n=5&last=a%26b",
            "GET /v2/team/app/tags/list"
        ]
    );
}

#[test]
fn a_registry_that_nobody_named_is_reached_at_its_host() {
    for (host, endpoint) in [
        ("docker.io", "https://registry-1.docker.io/"),
        ("quay.io", "https://quay.io/"),
        ("localhost:5000", "https://localhost:5000/"),
        ("[::1]:5000", "https://[::1]:5000/"),
    ] {
        let config = RegistryConfig::default_for(host).unwrap();
        assert_eq!(config.endpoints, [endpoint.parse().unwrap()]);
        assert_eq!(config.credentials, Credentials::Passthrough);
        assert_eq!(config.signatures, SourceName::DEFAULT);
    }
    for host in [
        "",
        "quay.io/x",
        "quay.io?x",
        "quay.io#x",
        "user@quay.io",
        "quay.io\\x",
        "a b",
        ":secret@x",
        "quay.io:x",
    ] {
        let error = RegistryConfig::default_for(host).unwrap_err();
        assert!(
            matches!(error, RegistryError::Refused { .. }),
            "{host}: {error:?}"
        );
    }
}

#[tokio::test]
async fn everything_can_be_asked_from_another_thread() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let liar = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let client = liar.client(Credentials::Passthrough);
    let (repository, access, digest) = (repository(), anyone(), manifest_digest());
    assert!(
        sent(client.manifest(&repository, &latest(), &access))
            .await
            .is_err()
    );
    assert!(
        sent(client.referrers(&repository, &digest, &["a/b"], &access))
            .await
            .is_err()
    );
    assert!(
        sent(client.blob(&repository, &descriptor(b"x"), 9, &access))
            .await
            .is_err()
    );
    assert!(
        sent(client.blob_stream(&repository, &digest, Method::GET, None, &access))
            .await
            .is_err()
    );
    assert!(sent(client.tags(&repository, None, &access)).await.is_err());
    assert!(sent(client.challenge(HOST, &access)).await.is_err());
    assert!(
        sent(client.push_blob(&repository, &blob(b"x"), &access))
            .await
            .is_err()
    );
}
