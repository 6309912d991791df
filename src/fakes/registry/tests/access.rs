//! Access control, HTTPS, and the end of the registry.

use http::{Method, StatusCode};

use super::super::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions, Tls};
use super::{get, open, send};

#[tokio::test]
async fn basic_authentication_admits_one_user() {
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
async fn a_token_grants_access_to_its_own_repository_only() {
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
async fn serves_https_and_refuses_a_chain_without_its_key() {
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
async fn stops_listening_when_dropped() {
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
