//! The client's credentials, and the challenge for them.

use super::*;

#[tokio::test]
async fn the_registry_is_read_with_the_clients_own_credentials_alone() {
    let auth = AuthPolicy::Basic {
        user: "user".to_owned(),
        password: "secret".to_owned(),
    };
    let origin = EmbeddedRegistry::start(FakeRegistryOptions {
        auth,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let rules = vec![("registry.test/**", only(&[&app]))];
    let config = RegistryDoorSettings {
        default_registry: Some("registry.test".to_owned()),
        ..config()
    };
    let node = Node::with(config, LIMITS, origin, rules).await;
    let right = "Authorization: Basic dXNlcjpzZWNyZXQ=\r\n";
    let target = "GET /v2/team/app/manifests/v1";
    for _ in 0..2 {
        let (head, told) = node.refused(target, "").await;
        assert!(
            head.starts_with("HTTP/1.1 401 pullgate: registry-unauthorized: "),
            "{head}"
        );
        assert!(
            header(&head, "www-authenticate")
                .unwrap()
                .starts_with("Basic realm="),
            "{head}"
        );
        assert_eq!(told["code"], "UNAUTHORIZED");
        let (head, _) = node.ask(target, right).await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    }
    let (head, _) = node
        .refused(target, "Authorization: Basic dXNlcjp3cm9uZw==\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 40"), "{head}");
    let (head, _) = node.refused(target, &format!("{right}{right}")).await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: the request has `Authorization` twice\r\n"),
        "{head}"
    );

    let (head, _) = node.ask("GET /v2/", "").await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
    assert!(
        header(&head, "www-authenticate")
            .unwrap()
            .starts_with("Basic realm="),
        "{head}"
    );
    let (head, body) = node.ask("GET /v2/", right).await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"{}", "{head}");
}

#[tokio::test]
async fn the_base_endpoint_is_answered_when_the_registry_is_unreachable() {
    let node = Node::start(registry().await, Vec::new()).await;
    for line in ["GET /v2/", "GET /v2", "HEAD /v2/"] {
        let (head, _) = node.ask(line, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(
            header(&head, "docker-distribution-api-version"),
            Some("registry/2.0")
        );
    }
    let gone = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let config = RegistryDoorSettings {
        default_registry: Some("registry.test".to_owned()),
        ..config()
    };
    let node = Node::with(config, LIMITS, registry().await, Vec::new()).await;
    node.gate
        .replace_settings(settings(&format!("http://{gone}"), Vec::new()));
    let (head, body) = node.ask("GET /v2/", "").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body == b"{}", "{head}");
}
