//! Manifests and tag lists, and how the client reaches a registry without configuration.

use http::Method;

use super::support::*;
use crate::net::registry::{
    Credentials, RegistryConfig, RegistryError, RegistryOperation, RequestOutcome, Target,
};
use crate::oci::{Digest, DigestMismatch};

fn by_digest() -> Target {
    Target::Digest(manifest_digest())
}

/// Reads a manifest by tag and by digest from a registry that sends this reply to every request.
async fn both(reply: Reply) -> [Result<Digest, RegistryError>; 2] {
    let liar = Liar::new(move |_, _| reply.clone()).await;
    let client = liar.client(Credentials::Anonymous);
    let mut results = Vec::new();
    for target in [latest(), by_digest()] {
        let fetched = client.manifest(&repository(), &target, &anonymous()).await;
        results.push(fetched.map(|fetched| *fetched.blob.digest()));
    }
    results.try_into().unwrap()
}

#[tokio::test]
async fn a_manifest_is_read_and_hashed() {
    let liar = Liar::new(|_, _| manifest()).await;
    let counted = Counted::default();
    let client = counted.observe(liar.client(Credentials::Anonymous));
    let by_tag = client
        .manifest(&repository(), &latest(), &anonymous())
        .await
        .unwrap();
    let by_digest = client
        .manifest(&repository(), &by_digest(), &anonymous())
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
async fn content_with_another_digest_is_refused() {
    let liar = Liar::new(|_, _| answer("200 OK", &[("content-type", OCI_MANIFEST)], "other")).await;
    let client = liar.client(Credentials::Anonymous);
    let error = client
        .manifest(&repository(), &by_digest(), &anonymous())
        .await
        .unwrap_err();
    let mismatch = DigestMismatch {
        expected: manifest_digest(),
        actual: Digest::sha256(b"other"),
    };
    assert_eq!(
        error,
        RegistryError::DigestMismatch {
            host: liar.address.to_string(),
            mismatch
        }
    );
    // A tag accepts any content.
    assert!(
        client
            .manifest(&repository(), &latest(), &anonymous())
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn a_false_digest_header_is_refused_for_a_tag_and_ignored_for_a_digest() {
    let lying = Digest::sha256(b"other").to_string();
    let headers = [
        ("content-type", OCI_MANIFEST),
        ("docker-content-digest", lying.as_str()),
    ];
    let [by_tag, by_digest] = both(answer("200 OK", &headers, MANIFEST)).await;
    assert_eq!(kind(&by_tag), RequestOutcome::DigestMismatch);
    // The content was compared with the requested digest, so that the header does not matter.
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
async fn each_status_maps_to_one_error() {
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
async fn the_registrys_error_message_is_quoted_with_control_characters_escaped() {
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
async fn a_compressed_response_is_refused() {
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
async fn a_content_type_that_is_binary_or_too_long_is_refused() {
    let mut head = b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-type: \xff\xfe\r\n\r\nx".to_vec();
    let [by_tag, _] = both(Reply::Close(head.clone())).await;
    assert_eq!(kind(&by_tag), RequestOutcome::Malformed);
    head.clear();
    let long = "x".repeat(257);
    let [by_tag, _] = both(answer("200 OK", &[("content-type", &long)], MANIFEST)).await;
    assert_eq!(kind(&by_tag), RequestOutcome::Malformed);
}

#[tokio::test]
async fn tags_are_passed_on_page_by_page() {
    let liar =
        Liar::new(|_, _| answer("200 OK", &[("link", "</v2/x>; rel=\"next\"")], "{\"tags\":[]}")).await;
    let client = liar.client(Credentials::Anonymous);
    let (body, link) = client
        .tags(&repository(), Some("n=5&last=a%26b&evil=1"), &anonymous())
        .await
        .unwrap();
    assert_eq!(body, "{\"tags\":[]}");
    assert_eq!(link.unwrap(), "</v2/x>; rel=\"next\"");
    client.tags(&repository(), None, &anonymous()).await.unwrap();
    assert_eq!(
        liar.targets(),
        [
            "GET /v2/team/app/tags/list?n=5&last=a%26b",
            "GET /v2/team/app/tags/list"
        ]
    );
}

#[test]
fn a_registry_without_configuration_is_reached_at_its_host() {
    for (host, endpoint) in [
        ("docker.io", "https://registry-1.docker.io/"),
        ("quay.io", "https://quay.io/"),
        ("localhost:5000", "https://localhost:5000/"),
        ("[::1]:5000", "https://[::1]:5000/"),
    ] {
        let config = RegistryConfig::default_for(host).unwrap();
        assert_eq!(config.endpoints, [endpoint.parse().unwrap()]);
        assert_eq!(config.credentials, Credentials::Passthrough);
        assert_eq!(config.signatures, crate::signature::SourceName::DEFAULT);
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
async fn the_future_of_each_call_is_send() {
    fn sent<T: Send>(future: T) -> T {
        future
    }
    let liar = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let client = liar.client(Credentials::Passthrough);
    let (repository, access, digest) = (repository(), anonymous(), manifest_digest());
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
