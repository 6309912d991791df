//! Lists of tags and of referrers.

use super::*;

#[tokio::test]
async fn tags_are_listed_page_by_page_at_this_door() {
    let origin = registry().await;
    for tag in ["a", "b", "c"] {
        origin.put_image("team/app", tag, &[tag.as_bytes()]).unwrap();
    }
    let node = Node::start(
        origin,
        vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
    )
    .await;
    let mut target = "/v2/team/app/tags/list?n=2&ns=registry.test".to_owned();
    let mut tags = Vec::new();
    for _ in 0..2 {
        let (head, body) = node.ask(&format!("GET {target}"), "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let page: serde_json::Value = serde_json::from_slice(&body).unwrap();
        tags.extend(
            page["tags"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tag| tag.as_str().unwrap().to_owned()),
        );
        match header(&head, "link") {
            Some(link) => {
                target = link
                    .strip_prefix('<')
                    .unwrap()
                    .strip_suffix(">; rel=\"next\"")
                    .unwrap()
                    .to_owned()
            }
            None => break,
        }
    }
    assert_eq!(tags, ["a", "b", "c"]);
    assert_eq!(target, "/v2/team/app/tags/list?n=2&last=b&ns=registry.test");
    let (head, _) = node
        .refused("GET /v2/registry.test/team/none/tags/list", "")
        .await;
    assert!(head.starts_with("HTTP/1.1 404 "), "{head}");
}

#[tokio::test]
async fn referrers_of_an_admitted_manifest_are_listed_with_and_without_the_referrers_api() {
    for referrers in [true, false] {
        let origin = EmbeddedRegistry::start(FakeRegistryOptions {
            referrers,
            ..FakeRegistryOptions::default()
        })
        .await
        .unwrap();
        let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
        let other = origin.put_image("team/app", "v2", &[b"other"]).unwrap();
        let manifest = serde_json::json!({
            "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "artifactType": "application/vnd.test", "layers": [],
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}"), "size": 2 },
            "subject": { "mediaType": app.media_type, "digest": app.digest, "size": app.size },
        });
        let stored = origin
            .put_manifest(
                "team/app",
                None,
                "application/vnd.oci.image.manifest.v1+json",
                manifest.to_string(),
            )
            .unwrap();
        let entry = Descriptor {
            artifact_type: Some("application/vnd.test".to_owned()),
            ..stored.clone()
        };
        if !referrers {
            origin
                .put_index("team/app", &app.digest.to_string().replace(':', "-"), &[entry])
                .unwrap();
        }
        let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
        let list = async |digest: &Digest, query: &str| {
            let (head, body) = node
                .ask(
                    &format!("GET /v2/registry.test/team/app/referrers/{digest}{query}"),
                    "",
                )
                .await;
            (head, serde_json::from_slice::<serde_json::Value>(&body).unwrap())
        };
        let (head, index) = list(&app.digest, "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        assert_eq!(
            header(&head, "content-type"),
            Some("application/vnd.oci.image.index.v1+json")
        );
        assert_eq!(header(&head, "oci-filters-applied"), None);
        assert_eq!(index["manifests"].as_array().unwrap().len(), 1, "{index}");
        assert_eq!(index["manifests"][0]["digest"], stored.digest.to_string());
        let (head, index) = list(&app.digest, "?artifactType=application/vnd.other").await;
        assert_eq!(header(&head, "oci-filters-applied"), Some("artifactType"));
        assert_eq!(index["manifests"], serde_json::json!([]));
        assert_eq!(
            list(&app.digest, "?artifactType=application%2Fvnd.test").await.1["manifests"]
                .as_array()
                .unwrap()
                .len(),
            1
        );
        let (head, _) = list(&other.digest, "").await;
        assert!(
            head.starts_with("HTTP/1.1 403 pullgate: rejected-by-rule"),
            "{head}"
        );
    }
}

#[tokio::test]
async fn a_list_of_referrers_that_is_too_long_is_an_error_and_not_shortened() {
    let origin = EmbeddedRegistry::start(FakeRegistryOptions {
        referrers: false,
        ..FakeRegistryOptions::default()
    })
    .await
    .unwrap();
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let tag = app.digest.to_string().replace(':', "-");
    let listed = |count| vec![app.clone(); count];
    origin.put_index("team/app", &tag, &listed(128)).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    let line = format!("GET /v2/registry.test/team/app/referrers/{}", app.digest);
    let (head, _) = node.ask(&line, "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    node.origin.put_index("team/app", &tag, &listed(129)).unwrap();
    let (head, told) = node.refused(&line, "").await;
    assert!(
        head.starts_with("HTTP/1.1 403 pullgate: limit-exceeded: "),
        "{head}"
    );
    assert_eq!(told["code"], "UNAVAILABLE");
}
