//! Denials and refusals: what a client reads of them.

use super::*;

#[tokio::test]
async fn a_denial_is_readable_in_every_place_where_a_runtime_looks() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let other = origin.put_image("team/other", "v1", &[b"other"]).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&other]))]).await;
    let target = "/v2/team/app/manifests/v1?ns=registry.test";
    let phrase = "HTTP/1.1 403 pullgate: rejected-by-rule: registry.test/team/app:v1 blocked by rule registry.test/**: ";
    let (head, body) = node.ask(&format!("HEAD {target}"), "").await;
    assert!(head.starts_with(phrase) && body.is_empty(), "{head}");
    let (get, told) = node.refused(&format!("GET {target}"), "").await;
    assert!(get.starts_with(phrase), "{get}");
    assert_eq!(header(&head, "content-length"), header(&get, "content-length"));
    assert_eq!(told["code"], "DENIED");
    assert_eq!(told["detail"]["digest"], app.digest.to_string());
    assert_eq!(told["detail"]["retry"], false);
    let message = told["message"].as_str().unwrap();
    assert!(
        message.contains(&app.digest.to_string()) && message.ends_with(Reason::RejectedByRule.next_step()),
        "{message}"
    );
    let (_, told) = node
        .refused(&format!("GET {target}"), "User-Agent: docker/20.10.24 go/1\r\n")
        .await;
    assert_eq!(told["code"], "UNSUPPORTED");

    for dialect in Dialect::ALL {
        let error = PullClient::new(dialect, node.address)
            .unwrap()
            .pull(&image("team/app:v1"))
            .await
            .unwrap_err();
        let ClientPullError::Refused(refusal) = error else {
            panic!("{error}")
        };
        assert_eq!(refusal.reason(), Some("rejected-by-rule"));
    }
    let (head, told) = node
        .refused("GET /v2/registry.test/team/none/manifests/v1", "")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 404 pullgate: image-not-found: "),
        "{head}"
    );
    assert_eq!(told["code"], "MANIFEST_UNKNOWN");
}

#[tokio::test]
async fn an_image_without_a_rule_is_denied_without_a_request_to_its_registry() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let node = Node::start(
        origin,
        vec![
            ("registry.test/team/**", only(&[&app])),
            ("registry.test/team/no", Requirement::Reject),
        ],
    )
    .await;
    let requests = node.origin.requests();
    let digest = app.digest;
    for (target, reason) in [
        ("/v2/registry.test/app/manifests/v1".to_owned(), "no-rule"),
        ("/v2/evil.test/app/manifests/v1".to_owned(), "no-rule"),
        ("/v2/169.254.169.254/latest/manifests/v1".to_owned(), "no-rule"),
        (format!("/v2/registry.test/app/blobs/{digest}"), "no-rule"),
        (format!("/v2/registry.test/app/referrers/{digest}"), "no-rule"),
        ("/v2/registry.test/app/tags/list".to_owned(), "no-rule"),
        (
            "/v2/registry.test/team/no/tags/list".to_owned(),
            "rejected-by-rule",
        ),
        (
            "/v2/registry.test/team/no/manifests/v1".to_owned(),
            "rejected-by-rule",
        ),
    ] {
        let (head, told) = node.refused(&format!("GET {target}"), "").await;
        assert!(head.starts_with("HTTP/1.1 403 pullgate: "), "{head}");
        assert_eq!(told["detail"]["reason"], reason, "{target}");
    }
    assert_eq!(node.origin.requests(), requests);
}

#[tokio::test]
async fn pushes_and_proxy_requests_are_refused() {
    let node = Node::start(
        registry().await,
        vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
    )
    .await;
    for line in [
        "POST /v2/registry.test/app/blobs/uploads/",
        "PUT /v2/registry.test/app/manifests/v1",
        "PATCH /v2/registry.test/app/blobs/uploads/1",
        "DELETE /v2/registry.test/app/manifests/v1",
        "OPTIONS /v2/",
        "CONNECT registry.test:443",
    ] {
        let (head, told) = node.refused(line, "").await;
        assert!(
            head.starts_with("HTTP/1.1 405 pullgate: this door serves pulls only\r\n"),
            "{head}"
        );
        assert_eq!(
            (header(&head, "allow"), &told["code"]),
            (Some("GET, HEAD"), &"UNSUPPORTED".into())
        );
    }
    let (head, _) = node
        .refused("GET http://other.test/v2/registry.test/app/manifests/v1", "")
        .await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: this door is a registry, not a proxy"),
        "{head}"
    );
    let (head, _) = node.refused("GET /v2/app/manifests/v1", "").await;
    assert!(
        head.starts_with("HTTP/1.1 400 pullgate: the request names no registry"),
        "{head}"
    );
    assert_eq!(node.origin.requests(), 0);
}
