//! Where a registry may send us, and where not.

use std::net::SocketAddr;

use super::support::*;
use crate::net::registry::{
    Access, Credentials, RegistryClient, RegistryConfig, RegistryError, RequestOutcome, Target,
};
use crate::oci::{Repository, Tag};

fn latest() -> Target {
    Target::Tag(Tag::latest())
}

async fn pull(client: &RegistryClient, access: &Access) -> Result<(), RegistryError> {
    client
        .manifest(&repository(), &latest(), access)
        .await
        .map(|_| ())
}

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
    pull(&client, &someone("Bearer of-the-client")).await.unwrap();
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
        &someone("Bearer of-the-client"),
    )
    .await
    .unwrap();
    assert_eq!(
        liar.seen()[1].header("authorization"),
        Some("Bearer of-the-client")
    );
}

#[tokio::test]
async fn credentials_once_dropped_stay_dropped() {
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
        &someone("Bearer of-the-client"),
    )
    .await
    .unwrap();
    assert_eq!(liar.seen()[1].header("authorization"), None);
}

#[tokio::test]
async fn a_challenge_from_where_a_redirect_led_is_not_answered() {
    let phisher = Liar::new(|_, _| challenge("Basic realm=\"give me\"")).await;
    let there = phisher.url("/");
    let liar = Liar::new(move |_, _| redirect(&there)).await;
    let file = credentials_file(&liar.address.to_string());
    let error = pull(&liar.client(Credentials::File(file.path().to_owned())), &anyone())
        .await
        .unwrap_err();
    let RegistryError::Unauthorized { challenge: None, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(phisher.seen().len(), 1);
    assert_eq!(phisher.seen()[0].header("authorization"), None);
}

/// A file with credentials for one server and for [`HOST`].
fn credentials_file(server: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text =
        format!(r#"{{"auths":{{"{HOST}":{{"auth":"dXNlcjpwYXNz"}},"{server}":{{"auth":"dXNlcjpwYXNz"}}}}}}"#);
    std::fs::write(file.path(), text).unwrap();
    file
}

#[tokio::test]
async fn no_redirect_leads_to_a_metadata_service_or_the_gate() {
    let gate: SocketAddr = "127.0.0.1:5443".parse().unwrap();
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
        let client = client(&[&liar.url("/")], Credentials::Anonymous, vec![gate]);
        assert_eq!(refused_for(&pull(&client, &anyone()).await), why, "{location}");
        assert_eq!(liar.seen().len(), 1, "{location}");
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_the_gate_is_refused_and_not_called_unreachable() {
    let gate = Liar::new(|_, _| manifest()).await;
    let url = format!("http://localhost:{}/", gate.address.port());
    let asking = client(&[&url], Credentials::Anonymous, vec![gate.address]);
    assert_eq!(
        refused_for(&pull(&asking, &anyone()).await),
        "it is pullgate itself"
    );
    assert!(gate.seen().is_empty());
    // The same name is of use where it is not the gate.
    let asking = client(
        &[&url],
        Credentials::Anonymous,
        vec!["127.0.0.1:1".parse().unwrap()],
    );
    pull(&asking, &anyone()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_without_a_place_is_malformed() {
    for reply in [
        answer("302 Found", &[], ""),
        redirect("http://[::1"),
        redirect("http://"),
        redirect("\u{e9}"),
    ] {
        let liar = Liar::new(move |_, _| reply.clone()).await;
        let result = pull(&liar.client(Credentials::Anonymous), &anyone()).await;
        assert_eq!(kind(&result), RequestOutcome::Malformed, "{result:?}");
    }
}

#[tokio::test]
async fn a_host_that_an_image_names_is_judged_as_well() {
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
            .manifest(&repository, &latest(), &anyone())
            .await
            .map(|_| ());
        refused_for(&result);
    }
    let repository = Repository::new("localhost:5443", "docker.io/library/nginx").unwrap();
    let result = client
        .manifest(&repository, &latest(), &anyone())
        .await
        .map(|_| ());
    assert_eq!(refused_for(&result), "it is pullgate itself");
}

#[tokio::test]
async fn a_configuration_that_could_never_work_is_refused_when_it_is_read() {
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
async fn mirrors_are_asked_in_order_and_the_endpoint_last() {
    let lost = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let broken = Liar::new(|_, _| answer("500 Internal Server Error", &[], "")).await;
    let lying = Liar::new(|_, _| answer("200 OK", &[], "other bytes")).await;
    let good = Liar::new(|_, _| manifest()).await;
    let unused = Liar::new(|_, _| manifest()).await;
    let endpoints = [&lost, &broken, &lying, &good, &unused].map(|liar| liar.url("/"));
    let endpoints: Vec<&str> = endpoints.iter().map(String::as_str).collect();
    let counted = Counted::default();
    let client = counted.observe(client(&endpoints, Credentials::Anonymous, vec![]));
    let target = Target::Digest(manifest_digest());
    client.manifest(&repository(), &target, &anyone()).await.unwrap();
    assert_eq!(
        counted
            .all()
            .iter()
            .map(|(_, outcome)| *outcome)
            .collect::<Vec<_>>(),
        [
            RequestOutcome::NotFound,
            RequestOutcome::Unreachable,
            RequestOutcome::DigestMismatch,
            RequestOutcome::Ok
        ]
    );
    assert_eq!(
        [&lost, &broken, &lying, &good, &unused].map(|liar| liar.seen().len()),
        [1, 1, 1, 1, 0]
    );
    // A mirror that was silent rests; one that answered does not.
    client.manifest(&repository(), &target, &anyone()).await.unwrap();
    assert_eq!(
        [&lost, &broken, &lying, &good, &unused].map(|liar| liar.seen().len()),
        [2, 1, 2, 2, 0]
    );
}

#[tokio::test]
async fn what_the_endpoint_says_is_what_is_said() {
    let missing = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let down = Liar::new(|_, _| Reply::HangUp).await;
    for (mirror, endpoint, outcome) in [
        (&missing, &down, RequestOutcome::Unreachable),
        (&down, &missing, RequestOutcome::NotFound),
    ] {
        let client = client(
            &[&mirror.url("/"), &endpoint.url("/")],
            Credentials::Anonymous,
            vec![],
        );
        assert_eq!(kind(&pull(&client, &anyone()).await), outcome);
    }
}

#[tokio::test]
async fn a_mirror_that_drips_leaves_time_for_the_endpoint() {
    let dripping = Liar::new(|_, _| Reply::Forever(vec![], vec![], std::time::Duration::from_secs(60))).await;
    let good = Liar::new(|_, _| manifest()).await;
    let client = client(
        &[&dripping.url("/"), &good.url("/")],
        Credentials::Anonymous,
        vec![],
    );
    pull(&client, &within(std::time::Duration::from_millis(600)))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_mirrors_empty_list_of_referrers_is_not_believed() {
    let index = format!(r#"{{"schemaVersion":2,"mediaType":"{OCI_INDEX}","manifests":[]}}"#);
    let lists = move |_: &Seen, _| answer("200 OK", &[("content-type", OCI_INDEX)], &index);
    let (mirror, endpoint) = (Liar::new(lists.clone()).await, Liar::new(lists).await);
    let client = client(
        &[&mirror.url("/"), &endpoint.url("/")],
        Credentials::Anonymous,
        vec![],
    );
    let found = client
        .referrers(&repository(), &manifest_digest(), &["a/b"], &anyone())
        .await;
    assert_eq!(found, Ok(vec![]));
    assert_eq!((mirror.seen().len(), endpoint.seen().len()), (1, 1));
}

#[tokio::test]
async fn a_clients_credentials_go_to_its_registry_and_to_no_mirror() {
    let mirror = Liar::new(|_, _| answer("404 Not Found", &[], "")).await;
    let endpoint = Liar::new(|_, _| manifest()).await;
    // A mirror at the same host and port is the registry's own.
    let own_mirror = endpoint.url("/v2/cache");
    let client = client(
        &[&mirror.url("/"), &own_mirror, &endpoint.url("/")],
        Credentials::Passthrough,
        vec![],
    );
    pull(&client, &someone("Bearer of-the-client")).await.unwrap();
    assert_eq!(mirror.seen()[0].header("authorization"), None);
    assert_eq!(endpoint.targets(), ["GET /v2/cache/team/app/manifests/latest"]);
    assert_eq!(
        endpoint.seen()[0].header("authorization"),
        Some("Bearer of-the-client")
    );
}

#[tokio::test]
async fn where_signatures_are_looked_for_is_as_configured() {
    use crate::net::registry::SourceName;
    let mut config = config(&["https://r.example/"], Credentials::Anonymous);
    config.signatures = vec![SourceName::Directory];
    let client = RegistryClient::new(vec![config], vec![]).unwrap();
    assert_eq!(client.sources(HOST), [SourceName::Directory]);
    assert_eq!(client.sources("other.test"), SourceName::DEFAULT);
}

#[tokio::test]
async fn a_public_registry_leads_nobody_into_the_private_network() {
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
            assert_eq!(refused_for(&pull(&client, &anyone()).await), why, "{place}");
        }
    }
    assert!(inside.seen().is_empty());
}

/// A client whose one registry is reached over TLS.
fn tls_client(liar: &Liar, ca: Option<Vec<u8>>, credentials: Credentials) -> RegistryClient {
    let endpoint = format!("https://localhost:{}/", liar.address.port());
    let config = RegistryConfig {
        ca,
        ..config(&[&endpoint], credentials)
    };
    RegistryClient::new(vec![config], vec![]).unwrap()
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_it_is_configured_alone() {
    let (liar, ca) = Liar::tls(|_, _| manifest()).await;
    pull(&tls_client(&liar, Some(ca), Credentials::Anonymous), &anyone())
        .await
        .unwrap();
    let begin = std::time::Instant::now();
    let error = pull(&tls_client(&liar, None, Credentials::Anonymous), &anyone())
        .await
        .unwrap_err();
    let RegistryError::Unreachable { what, .. } = error else {
        panic!("{error:?}")
    };
    assert!(what.contains("certificate"), "{what}");
    assert!(begin.elapsed() < std::time::Duration::from_secs(2));
    assert_eq!(liar.seen().len(), 1);
}

#[tokio::test]
async fn nothing_leads_from_https_to_http() {
    let plain = Liar::new(|_, _| manifest()).await;
    let url = plain.url("/token");
    for reply in [redirect(&url), challenge(&format!("Bearer realm=\"{url}\""))] {
        let (liar, ca) = Liar::tls(move |_, _| reply.clone()).await;
        let result = pull(&tls_client(&liar, Some(ca), Credentials::Anonymous), &anyone()).await;
        assert_eq!(kind(&result), RequestOutcome::Refused, "{result:?}");
    }
    let (liar, ca) = Liar::tls(move |seen, _| match seen.method.as_str() {
        "HEAD" => Reply::Keep(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n".to_vec()),
        _ => answer("202 Accepted", &[("location", url.as_str())], ""),
    })
    .await;
    let client = tls_client(&liar, Some(ca), Credentials::Anonymous);
    let pushed = client.push_blob(&repository(), &blob(b"x"), &anyone()).await;
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
    let result = pull(&client, &anyone()).await;
    assert_eq!(kind(&result), RequestOutcome::Unreachable, "{result:?}");
}

/// The child of the next test: alone in its process, because proxies are named by the environment of all.
#[tokio::test]
#[ignore = "runs in a process of its own, with HTTP_PROXY set, as a child of the next test"]
async fn child_behind_a_proxy() {
    if std::env::var_os("PULLGATE_TEST_PROXY").is_none() {
        return;
    }
    let remote = client(&["http://registry.invalid/"], Credentials::Anonymous, vec![]);
    pull(&remote, &anyone()).await.unwrap();
    // What leads to the proxy itself, or through it to a metadata service, is refused.
    let led = Repository::new(HOST, "led/astray").unwrap();
    let result = remote.manifest(&led, &latest(), &anyone()).await.map(|_| ());
    assert_eq!(refused_for(&result), "the address is a metadata service");
    // This machine is reached without a proxy.
    let near = Liar::new(|_, _| manifest()).await;
    pull(&near.client(Credentials::Anonymous), &anyone())
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
        "net::registry::tests::places::child_behind_a_proxy",
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
