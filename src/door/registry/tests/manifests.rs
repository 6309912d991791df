//! Manifests: admitted, answered whole, and pulled by each runtime.

use super::*;

#[tokio::test]
async fn an_admitted_index_is_pulled_with_its_child_and_blobs_by_every_runtime() {
    let origin = registry().await;
    let child = origin.put_image("team/app", "", &[b"one", b"two"]).unwrap();
    let index = origin
        .put_index("team/app", "v1", std::slice::from_ref(&child))
        .unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&index]))]).await;
    for dialect in Dialect::ALL {
        let pulled = PullClient::new(dialect, node.address)
            .unwrap()
            .pull(&image("team/app:v1"))
            .await
            .unwrap();
        assert_eq!(
            (pulled.digest, pulled.manifests),
            (index.digest, vec![index.digest, child.digest])
        );
        assert_eq!(pulled.blobs.len(), 3);
    }
}

#[tokio::test]
async fn a_manifest_is_answered_whole_with_its_digest_and_type() {
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let bytes = origin.manifest("team/app", "v1").unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    for target in [
        "/v2/team/app/manifests/v1?ns=registry.test",
        &format!("/v2/registry.test/team/app/manifests/{}", app.digest),
    ] {
        let (get, body) = node.ask(&format!("GET {target}"), "").await;
        let (head, empty) = node.ask(&format!("HEAD {target}"), "").await;
        assert_eq!(body, bytes);
        assert!(empty.is_empty());
        for head in [get, head] {
            assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
            assert_eq!(
                header(&head, "content-type"),
                Some("application/vnd.oci.image.manifest.v1+json")
            );
            assert_eq!(
                header(&head, "content-length"),
                Some(bytes.len().to_string().as_str())
            );
            assert_eq!(
                header(&head, "docker-content-digest"),
                Some(app.digest.to_string().as_str())
            );
            assert_eq!(
                header(&head, "docker-distribution-api-version"),
                Some("registry/2.0")
            );
        }
    }
}
