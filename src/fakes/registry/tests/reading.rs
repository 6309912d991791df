//! Pulls: manifests, blobs, tags and referrers.

use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::json;

use super::super::{EmbeddedRegistry, FakeRegistryOptions, StoreError, tar};
use super::{MANIFEST, get, open, send};
use crate::oci::Digest;

#[tokio::test]
async fn serves_an_image_by_tag_and_by_digest() {
    let registry = open().await;
    let image = registry.put_image("acme/app", "v1", &[b"one", b"two"]).unwrap();
    for reference in ["v1", &image.digest.to_string()] {
        let path = format!("/v2/acme/app/manifests/{reference}");
        let got = get(&registry, &path).await;
        assert_eq!(
            (got.status, got.header("content-type")),
            (StatusCode::OK, MANIFEST)
        );
        assert_eq!(got.header("docker-content-digest"), image.digest.to_string());
        assert_eq!(Digest::sha256(&got.body), image.digest);
        let head = send(Method::HEAD, format!("{}{path}", registry.url()), &[], Vec::new()).await;
        assert_eq!(head.header("content-length"), got.body.len().to_string());
        assert_eq!((head.header("content-type"), head.body.len()), (MANIFEST, 0));
        let manifest = got.json();
        let layer = manifest["layers"][1]["digest"].as_str().unwrap();
        assert_eq!(
            get(&registry, &format!("/v2/acme/app/blobs/{layer}")).await.body,
            b"two"
        );
        let config = manifest["config"]["digest"].as_str().unwrap();
        let config = get(&registry, &format!("/v2/acme/app/blobs/{config}"))
            .await
            .json();
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            Digest::sha256(b"one").to_string()
        );
    }
    assert_eq!(
        get(&registry, "/v2/acme/app/manifests/v2").await.code().1,
        "MANIFEST_UNKNOWN"
    );
    assert_eq!(
        get(&registry, "/v2/acme/other/manifests/v1").await.code().1,
        "MANIFEST_UNKNOWN"
    );
    assert_eq!(
        get(&registry, "/v2/acme/app/blobs/sha256:zz").await.code().1,
        "DIGEST_INVALID"
    );
}

#[tokio::test]
async fn tampered_content_is_served_under_its_old_digest() {
    let registry = open().await;
    let image = registry.put_image("acme/app", "v1", &[b"one"]).unwrap();
    registry.tamper("acme/app", &image.digest, "other").unwrap();
    let got = get(&registry, "/v2/acme/app/manifests/v1").await;
    assert_eq!(
        (got.body.as_slice(), got.header("docker-content-digest")),
        (&b"other"[..], &*image.digest.to_string())
    );
    registry
        .tamper("acme/app", &Digest::sha256(b"one"), "blob")
        .unwrap();
    let path = format!("/v2/acme/app/blobs/{}", Digest::sha256(b"one"));
    assert_eq!(get(&registry, &path).await.body, b"blob");
    assert_eq!(
        registry.tamper("acme/app", &Digest::sha256(b"?"), "x"),
        Err(StoreError::Unknown)
    );
}

#[tokio::test]
async fn serves_ranges_of_blobs() {
    let registry = open().await;
    let blob = registry.put_blob("acme/app", "0123456789").unwrap();
    let url = format!("{}/v2/acme/app/blobs/{}", registry.url(), blob.digest);
    for (range, status, body, content_range) in [
        ("bytes=2-4", 206, "234", "bytes 2-4/10"),
        ("bytes=7-", 206, "789", "bytes 7-9/10"),
        ("bytes=7-99", 206, "789", "bytes 7-9/10"),
        ("bytes=-2", 206, "89", "bytes 8-9/10"),
        ("bytes=-99", 206, "0123456789", "bytes 0-9/10"),
        ("bytes=4-2", 200, "0123456789", ""),
        ("bytes=1-2,4-5", 200, "0123456789", ""),
        ("pages=1-2", 200, "0123456789", ""),
    ] {
        let got = send(Method::GET, url.clone(), &[("range", range)], Vec::new()).await;
        let seen = (
            got.status.as_u16(),
            std::str::from_utf8(&got.body).unwrap(),
            got.header("content-range"),
        );
        assert_eq!(seen, (status, body, content_range), "{range}");
    }
    for range in ["bytes=10-", "bytes=-0", "bytes=99-100"] {
        let got = send(Method::GET, url.clone(), &[("range", range)], Vec::new()).await;
        assert_eq!(
            (got.status.as_u16(), got.header("content-range")),
            (416, "bytes */10"),
            "{range}"
        );
    }
}

#[tokio::test]
async fn lists_tags_in_pages() {
    let registry = open().await;
    for tag in ["b", "a", "c"] {
        registry.put_image("acme/app", tag, &[]).unwrap();
    }
    let got = get(&registry, "/v2/acme/app/tags/list").await;
    assert_eq!(
        (got.json(), got.header("link")),
        (json!({ "name": "acme/app", "tags": ["a", "b", "c"] }), "")
    );
    let got = get(&registry, "/v2/acme/app/tags/list?n=2").await;
    let next = "</v2/acme/app/tags/list?n=2&last=b>; rel=\"next\"";
    assert_eq!(
        (&got.json()["tags"], got.header("link")),
        (&json!(["a", "b"]), next)
    );
    let got = get(&registry, "/v2/acme/app/tags/list?n=2&last=b").await;
    assert_eq!((&got.json()["tags"], got.header("link")), (&json!(["c"]), ""));
    assert_eq!(
        get(&registry, "/v2/acme/none/tags/list").await.code().1,
        "NAME_UNKNOWN"
    );
}

#[tokio::test]
async fn lists_referrers_filtered_and_in_pages() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        page: 2,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let image = registry.put_image("acme/app", "v1", &[]).unwrap();
    let config = registry.put_blob("acme/app", "{}").unwrap();
    let url = registry.url().to_owned();
    let push = |kind: &'static str, number: usize| {
        let mut body = json!({
            "config": { "mediaType": "text/config", "digest": config.digest, "size": 2 }, "layers": [],
            "subject": { "mediaType": MANIFEST, "digest": image.digest, "size": 1 },
            "annotations": { "number": number.to_string() },
        });
        if !kind.is_empty() {
            body["artifactType"] = kind.into();
        }
        let url = format!(
            "{url}/v2/acme/app/manifests/{}",
            Digest::sha256(body.to_string().as_bytes())
        );
        async move {
            send(
                Method::PUT,
                url,
                &[("content-type", MANIFEST)],
                body.to_string().into_bytes(),
            )
            .await
        }
    };
    for (number, kind) in ["text/a", "text/b", "text/a", "", "text/a"]
        .into_iter()
        .enumerate()
    {
        let got = push(kind, number).await;
        assert_eq!(
            (got.status, got.header("oci-subject")),
            (StatusCode::CREATED, &*image.digest.to_string())
        );
    }
    let mut seen = Vec::new();
    let mut next = format!("/v2/acme/app/referrers/{}?artifactType=text/a", image.digest);
    for _ in 0..2 {
        let got = get(&registry, &next).await;
        assert_eq!(got.header("oci-filters-applied"), "artifactType");
        assert_eq!(
            got.header("content-type"),
            "application/vnd.oci.image.index.v1+json"
        );
        seen.extend(got.json()["manifests"].as_array().unwrap().clone());
        next = got
            .header("link")
            .trim_start_matches('<')
            .split('>')
            .next()
            .unwrap()
            .to_owned();
    }
    assert_eq!((seen.len(), next.as_str()), (3, ""));
    assert!(
        seen.iter()
            .all(|each| each["artifactType"] == "text/a" && each["mediaType"] == MANIFEST)
    );
    assert!(seen.iter().any(|each| each["annotations"]["number"] == "4"));
    let all = get(
        &registry,
        &format!("/v2/acme/app/referrers/{}?artifactType=text/config", image.digest),
    )
    .await;
    assert_eq!(all.json()["manifests"].as_array().unwrap().len(), 1);
    let none = get(
        &registry,
        &format!("/v2/acme/app/referrers/{}", Digest::sha256(b"?")),
    )
    .await;
    assert_eq!(
        (none.status, none.header("oci-filters-applied")),
        (StatusCode::OK, "")
    );
    assert_eq!(none.json()["manifests"], json!([]));
}

#[tokio::test]
async fn without_the_referrers_api_the_path_is_not_found() {
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let image = registry.put_image("acme/app", "v1", &[]).unwrap();
    assert_eq!(
        get(&registry, &format!("/v2/acme/app/referrers/{}", image.digest))
            .await
            .status,
        StatusCode::NOT_FOUND
    );
    let body = json!({ "subject": { "digest": image.digest } }).to_string();
    let url = format!("{}/v2/acme/app/manifests/x", registry.url());
    let got = send(Method::PUT, url, &[("content-type", MANIFEST)], body.into_bytes()).await;
    assert_eq!((got.status, got.header("oci-subject")), (StatusCode::CREATED, ""));
}

#[test]
fn layers_are_tar_archives() {
    let archive = tar(&[("hello", b"world")]);
    assert_eq!(archive.len(), 4 * 512);
    assert_eq!(
        (&archive[..5], &archive[512..517]),
        (&b"hello"[..], &b"world"[..])
    );
    // The checksum is the sum of the header's bytes, with the checksum field as eight spaces (POSIX pax, "ustar Interchange Format").
    let field = 148..156;
    let others = archive[..512]
        .iter()
        .enumerate()
        .filter(|(at, _)| !field.contains(at));
    let sum: u32 = others.map(|(_, byte)| u32::from(*byte)).sum::<u32>() + 8 * 32;
    assert_eq!(
        std::str::from_utf8(&archive[148..154]).unwrap(),
        format!("{sum:06o}")
    );
}

proptest! {
    #[test]
    fn no_path_panics_and_repository_names_are_valid(path in "/v2(/[a-z0-9._:/-]{0,40})?") {
        if let Some(name) = super::super::serve::repository_of(&path) {
            prop_assert!(!name.split('/').any(|part| part.is_empty() || part == ".."));
        }
    }
}
