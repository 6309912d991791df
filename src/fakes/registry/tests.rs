use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions, StoreError, Tls, tar};
use crate::oci::Digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct Got {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl Got {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (StatusCode, String) {
        (
            self.status,
            self.json()["errors"][0]["code"].as_str().unwrap().to_owned(),
        )
    }
}

async fn send(method: Method, url: String, headers: &[(&str, &str)], body: Vec<u8>) -> Got {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send().await.unwrap();
    let mut got = Got {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: Vec::new(),
    };
    while let Some(chunk) = answer.chunk().await.unwrap() {
        got.body.extend_from_slice(&chunk);
    }
    got
}

async fn get(registry: &EmbeddedRegistry, path: &str) -> Got {
    send(Method::GET, format!("{}{path}", registry.url()), &[], Vec::new()).await
}

async fn open() -> EmbeddedRegistry {
    EmbeddedRegistry::start(FakeRegistryOptions::default())
        .await
        .unwrap()
}

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
async fn tampered_content_keeps_its_name_and_loses_its_bytes() {
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
async fn gives_ranges_of_blobs() {
    let registry = open().await;
    let blob = registry.put_blob("acme/app", "0123456789").unwrap();
    let url = format!("{}/v2/acme/app/blobs/{}", registry.url(), blob.digest);
    for (range, status, body, told) in [
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
        assert_eq!(seen, (status, body, told), "{range}");
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
async fn takes_uploads_whole_and_in_chunks() {
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
    let at = |got: &Got| format!("{}{}", registry.url(), got.header("location"));
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
async fn takes_manifests_whose_blobs_it_holds() {
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
async fn an_old_registry_has_no_referrers_api() {
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

#[tokio::test]
async fn basic_authentication_lets_one_user_in() {
    let auth = AuthPolicy::Basic {
        user: "bob".into(),
        password: "secret".into(),
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let got = get(&registry, "/v2/").await;
    assert_eq!(
        (got.status, got.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, "Basic realm=\"pullgate demo\"")
    );
    let url = format!("{}/v2/", registry.url());
    for (shown, status) in [
        ("Basic Ym9iOnNlY3JldA==", 200),
        ("basic Ym9iOnNlY3JldA==", 200),
        ("Basic Ym9iOg==", 401),
    ] {
        let got = send(Method::GET, url.clone(), &[("authorization", shown)], Vec::new()).await;
        assert_eq!(got.status.as_u16(), status, "{shown}");
    }
    let log = registry.log();
    assert_eq!((log.len(), registry.requests()), (4, 4));
    assert_eq!(
        (log[0].authorization.is_some(), log[1].authorization.is_some()),
        (false, true)
    );
    assert_eq!((log[1].target.as_str(), log[1].status), ("/v2/", StatusCode::OK));
    assert!(!format!("{log:?}").contains("Ym9i"));
    registry.clear_log();
    assert_eq!((registry.log().len(), registry.requests()), (0, 4));
}

#[tokio::test]
async fn a_token_opens_its_own_repository_alone() {
    let auth = AuthPolicy::Bearer {
        user: "bob".into(),
        password: "secret".into(),
        anonymous_pull: true,
    };
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    registry.put_image("acme/app", "v1", &[]).unwrap();
    registry.put_image("acme/two", "v1", &[]).unwrap();
    let got = get(&registry, "/v2/acme/app/manifests/v1").await;
    let realm = format!("{}/token", registry.url());
    let challenge = format!(
        "Bearer realm=\"{realm}\",service=\"{}\",scope=\"repository:acme/app:pull\"",
        registry.addr()
    );
    assert_eq!(
        (got.status, got.header("www-authenticate")),
        (StatusCode::UNAUTHORIZED, challenge.as_str())
    );
    let ask = |scope: &str, basic: Option<&'static str>| {
        let url = format!("{realm}?scope={scope}");
        async move {
            let headers: Vec<_> = basic.into_iter().map(|basic| ("authorization", basic)).collect();
            let got = send(Method::GET, url, &headers, Vec::new()).await;
            (
                got.status.as_u16(),
                format!("Bearer {}", got.json()["token"].as_str().unwrap_or_default()),
            )
        }
    };
    let (status, token) = ask("repository:acme/app:pull,push", None).await;
    assert_eq!(status, 200);
    let try_with = |token: String, method: Method, path: &str| {
        let url = format!("{}{path}", registry.url());
        async move { send(method, url, &[("authorization", token.as_str())], Vec::new()).await }
    };
    assert_eq!(
        try_with(token.clone(), Method::GET, "/v2/acme/app/manifests/v1")
            .await
            .status,
        200
    );
    assert_eq!(try_with(token.clone(), Method::GET, "/v2/").await.status, 200);
    let other = try_with(token.clone(), Method::GET, "/v2/acme/two/manifests/v1").await;
    assert!(
        other
            .header("www-authenticate")
            .ends_with("repository:acme/two:pull\",error=\"insufficient_scope\"")
    );
    let uploads = "/v2/acme/app/blobs/uploads/";
    let anonymous = try_with(token, Method::POST, uploads).await;
    assert!(
        anonymous
            .header("www-authenticate")
            .contains("repository:acme/app:pull,push\"")
    );
    let (_, token) = ask("repository:acme/app:pull,push", Some("Basic Ym9iOnNlY3JldA==")).await;
    assert_eq!(try_with(token, Method::POST, uploads).await.status, 202);
    assert_eq!(
        ask("repository:acme/app:pull", Some("Basic Ym9iOg==")).await.0,
        401
    );
    assert_eq!(try_with("Bearer ".into(), Method::GET, "/v2/").await.status, 401);
}

#[tokio::test]
async fn serves_https_and_refuses_a_chain_without_key() {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
    let (certificate, key) = (
        made.cert.pem().into_bytes(),
        made.signing_key.serialize_pem().into_bytes(),
    );
    let tls = Some(Tls {
        certificate: certificate.clone(),
        key,
    });
    let registry = EmbeddedRegistry::start(FakeRegistryOptions {
        tls,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let root = reqwest::Certificate::from_pem(&certificate).unwrap();
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let got = client
        .get(format!("{}/v2/", registry.url()))
        .send()
        .await
        .unwrap();
    assert_eq!(
        (got.status(), registry.url().split(':').next()),
        (StatusCode::OK, Some("https"))
    );
    let tls = Some(Tls {
        certificate,
        key: Vec::new(),
    });
    let error = EmbeddedRegistry::start(FakeRegistryOptions {
        tls,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
}

#[tokio::test]
async fn keeps_to_its_ceiling_and_gives_room_back() {
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

fn at_upload(registry: &EmbeddedRegistry, got: &Got) -> String {
    format!("{}{}", registry.url(), got.header("location"))
}

#[tokio::test]
async fn is_gone_when_dropped() {
    let registry = open().await;
    let addr = registry.addr();
    assert_eq!(get(&registry, "/v2/").await.status, StatusCode::OK);
    drop(registry);
    let mut tries = 0;
    while tokio::net::TcpStream::connect(addr).await.is_ok() {
        tries += 1;
        assert!(tries < 100, "still listening");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
}

#[test]
fn layers_are_archives() {
    let archive = tar(&[("hello", b"world")]);
    assert_eq!(archive.len(), 4 * 512);
    assert_eq!(
        (&archive[..5], &archive[512..517]),
        (&b"hello"[..], &b"world"[..])
    );
    // The sum of the header's bytes, the sum's own field read as eight spaces (POSIX pax, "ustar Interchange Format").
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
    fn paths_never_panic_and_names_are_plain(path in "/v2(/[a-z0-9._:/-]{0,40})?") {
        if let Some(name) = super::serve::repository_of(&path) {
            prop_assert!(!name.split('/').any(|part| part.is_empty() || part == ".."));
        }
    }
}
