//! Pushes, deletions and the bound for bytes.

use http::{Method, StatusCode};
use serde_json::json;

use super::super::{EmbeddedRegistry, FakeRegistryOptions, StoreError};
use super::{MANIFEST, TestResponse, get, open, send};
use crate::oci::Digest;

#[tokio::test]
async fn accepts_uploads_in_one_request_and_in_chunks() {
    let registry = open().await;
    let base = format!("{}/v2/acme/app/blobs/uploads/", registry.url());
    let digest = Digest::sha256(b"0123456789");
    let whole = |body: &str| send(Method::POST, format!("{base}?digest={digest}"), &[], body.into());
    assert_eq!(
        whole("0123456780").await.code(),
        (StatusCode::BAD_REQUEST, "DIGEST_INVALID".to_owned())
    );
    assert_eq!(
        get(&registry, &format!("/v2/acme/app/blobs/{digest}"))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let got = whole("0123456789").await;
    assert_eq!(got.status, StatusCode::CREATED);
    assert_eq!(get(&registry, got.header("location")).await.body, b"0123456789");
    let deleted = send(
        Method::DELETE,
        format!("{}{}", registry.url(), got.header("location")),
        &[],
        vec![],
    )
    .await;
    assert_eq!(deleted.status, StatusCode::ACCEPTED);

    let got = send(Method::POST, base.clone(), &[], Vec::new()).await;
    assert_eq!(got.status, StatusCode::ACCEPTED);
    let at = |got: &TestResponse| format!("{}{}", registry.url(), got.header("location"));
    let got = send(
        Method::PATCH,
        at(&got),
        &[("content-range", "0-3")],
        b"0123".to_vec(),
    )
    .await;
    assert_eq!((got.status, got.header("range")), (StatusCode::ACCEPTED, "0-3"));
    let out_of_order = send(
        Method::PATCH,
        at(&got),
        &[("content-range", "5-6")],
        b"56".to_vec(),
    )
    .await;
    assert_eq!(
        (out_of_order.status, out_of_order.header("range")),
        (StatusCode::RANGE_NOT_SATISFIABLE, "0-3")
    );
    let got = send(Method::GET, at(&got), &[], Vec::new()).await;
    assert_eq!((got.status, got.header("range")), (StatusCode::NO_CONTENT, "0-3"));
    let end = format!("{}&digest={digest}", at(&got));
    let created = send(Method::PUT, end.clone(), &[], b"456789".to_vec()).await;
    assert_eq!(
        (created.status, created.header("docker-content-digest")),
        (StatusCode::CREATED, &*digest.to_string())
    );
    assert_eq!(
        send(Method::PUT, end, &[], Vec::new()).await.code().1,
        "BLOB_UPLOAD_UNKNOWN"
    );

    let mounted = format!(
        "{}/v2/acme/two/blobs/uploads/?mount={digest}&from=acme/app",
        registry.url()
    );
    assert_eq!(
        send(Method::POST, mounted, &[], Vec::new()).await.status,
        StatusCode::CREATED
    );
    assert_eq!(
        get(&registry, &format!("/v2/acme/two/blobs/{digest}")).await.body,
        b"0123456789"
    );
}

#[tokio::test]
async fn accepts_only_manifests_whose_blobs_exist() {
    let registry = open().await;
    let blob = registry.put_blob("acme/app", "{}").unwrap();
    let manifest = |digest: &Digest| {
        json!({ "config": { "mediaType": "text/x", "digest": digest, "size": 2 }, "layers": [] }).to_string()
    };
    let put = |reference: String, body: String| {
        let url = format!("{}/v2/acme/app/manifests/{reference}", registry.url());
        async move { send(Method::PUT, url, &[("content-type", MANIFEST)], body.into_bytes()).await }
    };
    let unknown = put("v1".into(), manifest(&Digest::sha256(b"?"))).await;
    assert_eq!(
        unknown.code(),
        (StatusCode::NOT_FOUND, "MANIFEST_BLOB_UNKNOWN".to_owned())
    );
    let other = put(Digest::sha256(b"?").to_string(), manifest(&blob.digest)).await;
    assert_eq!(other.code().1, "DIGEST_INVALID");
    assert_eq!(
        put("-v1".into(), manifest(&blob.digest)).await.code().1,
        "MANIFEST_INVALID"
    );
    assert_eq!(
        put("v1".into(), "nothing".into()).await.code().1,
        "MANIFEST_INVALID"
    );
    let good = put("v1".into(), manifest(&blob.digest)).await;
    let digest = Digest::sha256(manifest(&blob.digest).as_bytes()).to_string();
    assert_eq!(
        (good.status, good.header("docker-content-digest")),
        (StatusCode::CREATED, &*digest)
    );
    assert_eq!(good.header("oci-subject"), "");
    assert_eq!(
        registry.manifest("acme/app", "v1").unwrap(),
        manifest(&blob.digest)
    );
    let url = format!("{}/v2/acme/app/manifests", registry.url());
    let deleted = send(Method::DELETE, format!("{url}/{digest}"), &[], Vec::new()).await;
    assert_eq!(
        (deleted.status, registry.manifest("acme/app", "v1")),
        (StatusCode::ACCEPTED, None)
    );
    let again = send(Method::DELETE, format!("{url}/v1"), &[], Vec::new()).await;
    assert_eq!(again.code().1, "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn enforces_its_bound_for_bytes_and_releases_space() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        capacity: 1000,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let base = format!("{}/v2/acme/app/blobs/uploads/", registry.url());
    let digest = Digest::sha256(&[7; 800]);
    for _ in 0..3 {
        let got = send(Method::POST, format!("{base}?digest={digest}"), &[], vec![7; 800]).await;
        assert_eq!(got.status, StatusCode::CREATED);
        let second = send(Method::POST, base.clone(), &[], Vec::new()).await;
        let at = format!("{}{}", registry.url(), second.header("location"));
        assert_eq!(
            send(Method::PATCH, at.clone(), &[], vec![8; 300]).await.status,
            StatusCode::INSUFFICIENT_STORAGE
        );
        assert_eq!(
            send(Method::PATCH, at, &[], vec![8; 100]).await.status,
            StatusCode::ACCEPTED
        );
        assert_eq!(
            send(Method::DELETE, at_upload(&registry, &second), &[], vec![])
                .await
                .status,
            204
        );
        assert_eq!(registry.put_blob("acme/app", vec![9; 201]), Err(StoreError::Full));
        let gone = send(
            Method::DELETE,
            format!("{}{}", registry.url(), got.header("location")),
            &[],
            vec![],
        )
        .await;
        assert_eq!(gone.status, StatusCode::ACCEPTED);
    }
    assert!(registry.put_blob("acme/app", vec![9; 1000]).is_ok());
}

fn at_upload(registry: &EmbeddedRegistry, got: &TestResponse) -> String {
    format!("{}{}", registry.url(), got.header("location"))
}
