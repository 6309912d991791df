//! The places to which a registry, an image name or a configuration may lead the client.

use std::net::SocketAddr;

use super::support::*;
use crate::net::registry::{Credentials, RegistryClient, RegistryConfig, RegistryError, RequestOutcome};
use crate::oci::Repository;
use crate::signature::SourceName;

fn refused_for(result: &Result<(), RegistryError>) -> &str {
    match result {
        Err(RegistryError::Refused { why, .. }) => why,
        _ => panic!("{result:?}"),
    }
}

#[tokio::test]
async fn a_redirect_is_followed_without_credentials_to_another_host() {
    let storage = Liar::new(|_, _| manifest()).await;
    let there = storage.url("/blob?signature=secret");
    let liar = Liar::new(move |_, _| redirect(&there)).await;
    let client = liar.client(Credentials::Passthrough);
    pull(&client, &presenting("Bearer of-the-client")).await.unwrap();
    assert_eq!(
        liar.seen()[0].header("authorization"),
        Some("Bearer of-the-client")
    );
    assert_eq!(storage.seen()[0].header("authorization"), None);
    assert_eq!(storage.targets(), ["GET /blob?signature=secret"]);
    assert_eq!(storage.seen()[0].header("referer"), None);
}

#[tokio::test]
async fn a_redirect_on_the_same_host_keeps_credentials() {
    let liar = Liar::new(|seen, _| match seen.path() {
        "/moved" => manifest(),
        _ => redirect("/moved"),
    })
    .await;
    pull(
        &liar.client(Credentials::Passthrough),
        &presenting("Bearer of-the-client"),
    )
    .await
    .unwrap();
    assert_eq!(
        liar.seen()[1].header("authorization"),
        Some("Bearer of-the-client")
    );
}

#[tokio::test]
async fn credentials_stay_dropped_after_a_redirect_to_another_host() {
    let home = std::sync::Arc::new(std::sync::OnceLock::<String>::new());
    let back = std::sync::Arc::clone(&home);
    let other = Liar::new(move |_, _| redirect(back.get().unwrap())).await;
    let there = other.url("/");
    let liar = Liar::new(move |seen, _| match seen.path() {
        "/back" => manifest(),
        _ => redirect(&there),
    })
    .await;
    home.set(liar.url("/back")).unwrap();
    pull(
        &liar.client(Credentials::Passthrough),
        &presenting("Bearer of-the-client"),
    )
    .await
    .unwrap();
    assert_eq!(liar.seen()[1].header("authorization"), None);
}

#[tokio::test]
async fn a_challenge_from_the_target_of_a_redirect_is_not_answered() {
    let phisher = Liar::new(|_, _| challenge("Basic realm=\"give me\"")).await;
    let there = phisher.url("/");
    let liar = Liar::new(move |_, _| redirect(&there)).await;
    let file = credentials_file(&liar.address.to_string());
    let error = pull(
        &liar.client(Credentials::File(file.path().to_owned())),
        &anonymous(),
    )
    .await
    .unwrap_err();
    let RegistryError::Unauthorized { challenge: None, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(phisher.seen().len(), 1);
    assert_eq!(phisher.seen()[0].header("authorization"), None);
}

/// Writes a credentials file for one server and for [`HOST`].
fn credentials_file(server: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        format!(r#"{{"auths":{{"{HOST}":{{"auth":"dXNlcjpwYXNz"}},"{server}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#);
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn a_redirect_to_a_metadata_service_or_to_pullgate_is_refused() {
    let own: SocketAddr = "127.0.0.1:5443".parse().unwrap();
    for (location, why) in [
        ("http://169.254.169.254/latest/", "the address is link-local"),
        ("http://[::ffff:169.254.169.254]/", "the address is link-local"),
        ("http://[fd00:ec2::254]/", "the address is a metadata service"),
        ("http://0.0.0.0/", "the address is unspecified"),
        ("http://127.0.0.1:5443/v2/", "it is pullgate itself"),
        ("http://127.9.9.9:5443/v2/", "it is pullgate itself"),
        ("http://localhost:5443/v2/", "it is pullgate itself"),
        (
            "http://user:secret@127.0.0.1:1/",
            "the URL holds a user name or password",
        ),
        ("file:///etc/passwd", "the scheme is neither http nor https"),
        ("gopher://127.0.0.1/", "the scheme is neither http nor https"),
    ] {
        let liar = Liar::new(move |_, _| redirect(location)).await;
        let client = client(&[&liar.url("/")], Credentials::Anonymous, vec![own]);
        assert_eq!(refused_for(&pull(&client, &anonymous()).await), why, "{location}");
        assert_eq!(liar.seen().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_pullgate_is_refused_rather_than_unreachable() {
    let gate = Liar::new(|_, _| manifest()).await;
    let url = format!("http://localhost:{}/", gate.address.port());
    let asking = client(&[&url], Credentials::Anonymous, vec![gate.address]);
    assert_eq!(
        refused_for(&pull(&asking, &anonymous()).await),
        "it is pullgate itself"
    );
    assert!(gate.seen().is_empty());
    // The same name is allowed where pullgate does not listen.
    let asking = client(
        &[&url],
        Credentials::Anonymous,
        vec!["127.0.0.1:1".parse().unwrap()],
    );
    pull(&asking, &anonymous()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_without_a_usable_location_is_malformed() {
    for reply in [
        answer("302 Found", &[], ""),
        redirect("http://[::1"),
        redirect("http://"),
        redirect("\u{e9}"),
    ] {
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let result = pull(&liar.client(Credentials::Anonymous), &anonymous()).await;
        assert_eq!(kind(&result), RequestOutcome::Malformed, "{result:?}");
    }
}

#[tokio::test]
async fn a_forbidden_host_in_an_image_name_is_refused() {
    let client = RegistryClient::new(vec![], vec!["127.0.0.1:5443".parse().unwrap()]).unwrap();
    for host in [
        "169.254.169.254",
        "127.0.0.1:5443",
        "[::ffff:169.254.169.254]",
        "0.0.0.0:80",
    ] {
        let Ok(repository) = Repository::new(host, "latest/meta-data") else {
            continue;
        };
        let result = client
            .manifest(&repository, &latest(), &anonymous())
            .await
            .map(|_| ());
        refused_for(&result);
    }
    let repository = Repository::new("localhost:5443", "docker.io/library/nginx").unwrap();
    let result = client
        .manifest(&repository, &latest(), &anonymous())
        .await
        .map(|_| ());
    assert_eq!(refused_for(&result), "it is pullgate itself");
}

#[tokio::test]
async fn a_configuration_that_could_never_work_is_refused_at_once() {
    let own: Vec<SocketAddr> = vec!["127.0.0.1:5443".parse().unwrap()];
    let refused = |config: RegistryConfig| {
        let error = RegistryClient::new(vec![config], own.clone())
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(error, RegistryError::Refused { .. }), "{error:?}");
        assert!(!format!("{error:?}").contains("secret"), "{error:?}");
    };
    for endpoint in [
        "http://127.0.0.1:5443/",
        "http://169.254.169.254/",
        "ftp://x/",
        "https://user:secret@x/",
    ] {
        refused(config(&[endpoint], Credentials::Anonymous));
        refused(config(&[endpoint, "https://r.example/"], Credentials::Anonymous));
    }
    refused(config(&[], Credentials::Anonymous));
    let twice = ["docker.io", "INDEX.docker.io"].map(|host| RegistryConfig {
        host: host.to_owned(),
        ..config(&["https://r.example/"], Credentials::Anonymous)
    });
    let error = RegistryClient::new(twice.into(), vec![]).map(|_| ()).unwrap_err();
    assert_eq!(refused_for(&Err(error)), "it is configured twice");
    for ca in [
        "",
        "no certificate",
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    ] {
        refused(RegistryConfig {
            ca: Some(ca.as_bytes().to_vec()),
            ..config(&["https://r.example/"], Credentials::Anonymous)
        });
    }
}

#[tokio::test]
async fn the_sources_of_signatures_come_from_the_configuration() {
    let mut config = config(&["https://r.example/"], Credentials::Anonymous);
    config.signatures = vec![SourceName("directory")];
    let client = RegistryClient::new(vec![config], vec![]).unwrap();
    assert_eq!(client.sources(HOST), [SourceName("directory")]);
    assert_eq!(client.sources("other.test"), SourceName::DEFAULT);
}

#[tokio::test]
async fn a_public_registry_cannot_lead_into_the_private_network() {
    let inside = Liar::new(|_, _| manifest()).await;
    let by_name = format!("http://localhost:{}/", inside.address.port());
    for place in [
        inside.url("/"),
        by_name,
        "http://10.0.0.1/".to_owned(),
        "http://[::1]:1/".to_owned(),
    ] {
        for reply in [redirect(&place), challenge(&format!("Bearer realm=\"{place}\""))] {
            let liar = Liar::new(move |_, _| reply.clone()).await;
            let client = liar.client(Credentials::Anonymous);
            client.registries.named(HOST).unwrap().endpoint().pretend_public();
            let why = "a public registry led to a private address";
            assert_eq!(refused_for(&pull(&client, &anonymous()).await), why, "{place}");
        }
    }
    assert!(inside.seen().is_empty());
}

/// Returns a client with this one registry, reached over TLS.
fn tls_client(liar: &Liar, ca: Option<Vec<u8>>, credentials: Credentials) -> RegistryClient {
    let endpoint = format!("https://localhost:{}/", liar.address.port());
    let config = RegistryConfig {
        ca,
        ..config(&[&endpoint], credentials)
    };
    RegistryClient::new(vec![config], vec![]).unwrap()
}

#[tokio::test]
async fn a_private_ca_is_trusted_only_for_its_registry() {
    let (liar, ca) = Liar::tls(|_, _| manifest()).await;
    pull(&tls_client(&liar, Some(ca), Credentials::Anonymous), &anonymous())
        .await
        .unwrap();
    let error = pull(&tls_client(&liar, None, Credentials::Anonymous), &anonymous())
        .await
        .unwrap_err();
    let RegistryError::Unreachable { what, .. } = error else {
        panic!("{error:?}")
    };
    assert!(what.contains("certificate"), "{what}");
    // A wrong certificate stays wrong, so that the request is not repeated: one connection for each pull.
    assert_eq!((liar.seen().len(), liar.connections()), (1, 2));
}

#[tokio::test]
async fn a_redirect_realm_or_upload_from_https_to_http_is_refused() {
    let plain = Liar::new(|_, _| manifest()).await;
    let url = plain.url("/token");
    for reply in [redirect(&url), challenge(&format!("Bearer realm=\"{url}\""))] {
        let (liar, ca) = Liar::tls(move |_, _| reply.clone()).await;
        let result = pull(&tls_client(&liar, Some(ca), Credentials::Anonymous), &anonymous()).await;
        assert_eq!(kind(&result), RequestOutcome::Refused, "{result:?}");
    }
    let (liar, ca) = Liar::tls(move |seen, _| match seen.method.as_str() {
        "HEAD" => Reply::Keep(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => answer("202 Accepted", &[("location", url.as_str())], ""),
    })
    .await;
    let client = tls_client(&liar, Some(ca), Credentials::Anonymous);
    let pushed = client.push_blob(&repository(), &blob(b"x"), &anonymous()).await;
    assert_eq!(kind(&pushed), RequestOutcome::Refused, "{pushed:?}");
    assert!(plain.seen().is_empty());
}

#[tokio::test]
async fn plain_text_where_tls_was_expected_is_unreachable() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("https://{}/", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let refusal = b"HTTP/1.1 400 Bad Request\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut connection, refusal)
                .await
                .unwrap();
        }
    });
    let client = client(&[&endpoint], Credentials::Anonymous, vec![]);
    let result = pull(&client, &anonymous()).await;
    assert_eq!(kind(&result), RequestOutcome::Unreachable, "{result:?}");
}

/// The child of the next test. It runs in a process of its own, because the environment of a process names the proxy.
#[tokio::test]
#[ignore = "runs in a process of its own, with HTTP_PROXY set, as a child of the next test"]
async fn child_behind_a_proxy() {
    if std::env::var_os("PULLGATE_TEST_PROXY").is_none() {
        return;
    }
    let remote = client(&["http://registry.invalid/"], Credentials::Anonymous, vec![]);
    pull(&remote, &anonymous()).await.unwrap();
    // A redirect through the proxy to a metadata service is refused.
    let led = Repository::new(HOST, "led/astray").unwrap();
    let result = remote.manifest(&led, &latest(), &anonymous()).await.map(|_| ());
    assert_eq!(refused_for(&result), "the address is a metadata service");
    // The proxy is bypassed for this machine.
    let near = Liar::new(|_, _| manifest()).await;
    pull(&near.client(Credentials::Anonymous), &anonymous())
        .await
        .unwrap();
    assert_eq!(near.targets(), ["GET /v2/team/app/manifests/latest"]);
}

#[tokio::test]
async fn the_proxy_of_the_environment_is_used() {
    let proxy = Liar::new(|seen, _| match seen.target.contains("led/astray") {
        true => redirect("http://metadata.google.internal/computeMetadata/v1/"),
        false => manifest(),
    })
    .await;
    let mut child = tokio::process::Command::new(std::env::current_exe().unwrap());
    for name in [
        "http_proxy",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
        "no_proxy",
        "NO_PROXY",
    ] {
        child.env_remove(name);
    }
    child
        .env_remove("REQUEST_METHOD")
        .env("HTTP_PROXY", proxy.url("/"))
        .env("PULLGATE_TEST_PROXY", "1");
    child.args([
        "--ignored",
        "--exact",
        "net::registry::tests::destinations::child_behind_a_proxy",
    ]);
    let output = child.output().await.unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
    let base = "GET http://registry.invalid/v2";
    assert_eq!(
        proxy.targets(),
        [
            format!("{base}/team/app/manifests/latest"),
            format!("{base}/led/astray/manifests/latest")
        ]
    );
}
