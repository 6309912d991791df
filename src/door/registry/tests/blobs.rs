//! Blobs: passed on whole and in part, and cut when their registry breaks off.

use super::*;

#[tokio::test]
async fn blobs_are_passed_on_whole_in_part_and_as_heads() {
    let origin = registry().await;
    let layer: Vec<u8> = (0..300_000_u32)
        .map(|byte| u8::try_from(byte % 251).unwrap())
        .collect();
    let app = origin.put_image("team/app", "v1", &[&layer]).unwrap();
    let node = Node::start(origin, vec![("registry.test/**", only(&[&app]))]).await;
    let digest = Digest::sha256(&layer);
    let target = format!("/v2/registry.test/team/app/blobs/{digest}");
    // Before its manifest was admitted, nothing vouches for it.
    let (_, told) = node.refused(&format!("GET {target}"), "").await;
    assert_eq!(told["detail"]["reason"], "not-derived");
    node.ask("HEAD /v2/registry.test/team/app/manifests/v1", "").await;

    let (head, body) = node.ask(&format!("GET {target}"), "").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    assert_eq!(
        header(&head, "docker-content-digest"),
        Some(digest.to_string().as_str())
    );
    assert_eq!(body, layer);
    let (head, body) = node.ask(&format!("HEAD {target}"), "Range: bytes=0-1\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 ") && body.is_empty(), "{head}");
    assert_eq!(header(&head, "content-length"), Some("300000"));
    let (head, body) = node
        .ask(&format!("GET {target}"), "Range: bytes=250000-\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    assert_eq!(header(&head, "content-range"), Some("bytes 250000-299999/300000"));
    assert_eq!(body, layer[250_000..]);
    let (head, _) = node
        .ask(&format!("GET {target}"), "Range: bytes=400000-\r\n")
        .await;
    assert!(head.starts_with("HTTP/1.1 416 "), "{head}");

    // A blob of another repository, and one that is a manifest's name.
    let elsewhere = format!("GET /v2/registry.test/other/app/blobs/{digest}");
    assert_eq!(
        node.refused(&elsewhere, "").await.1["detail"]["reason"],
        "not-derived"
    );
    let manifest = format!("GET /v2/registry.test/team/app/blobs/{}", app.digest);
    assert_eq!(
        node.refused(&manifest, "").await.1["detail"]["reason"],
        "not-derived"
    );
}

#[tokio::test]
async fn a_registry_that_breaks_off_in_a_blob_leaves_the_body_short() {
    // Says that a megabyte comes, sends ten bytes, and either stays silent or goes away.
    for silent in [true, false] {
        let dying = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", dying.local_addr().unwrap());
        tokio::spawn(async move {
            let mut kept = Vec::new();
            loop {
                let (mut stream, _) = dying.accept().await.unwrap();
                stream.read_exact(&mut [0; 64]).await.unwrap();
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1048576\r\n\r\n0123456789")
                    .await
                    .unwrap();
                if silent {
                    kept.push(stream);
                }
            }
        });
        let limits = DoorLimits {
            blob: Duration::from_millis(500),
            ..LIMITS
        };
        let node = Node::with(config(), limits, registry().await, Vec::new()).await;
        node.gate.replace_settings(settings(
            &endpoint,
            vec![("registry.test/**", Requirement::InsecureAcceptAnything)],
        ));
        let began = Instant::now();
        let mut client = TcpStream::connect(node.address).await.unwrap();
        let line = format!(
            "GET /v2/registry.test/app/blobs/{} HTTP/1.1\r\nHost: gate\r\n\r\n",
            Digest::sha256(b"x")
        );
        client.write_all(line.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let ended = timeout(LATEST, client.read_to_end(&mut answer))
            .await
            .expect("cut in time");
        assert!(began.elapsed() < Duration::from_secs(5));
        let answer = String::from_utf8(answer).unwrap();
        assert!(
            !answer.contains("\r\n\r\n") || answer.ends_with("\r\n\r\n0123456789"),
            "{ended:?} {answer}"
        );
        assert_eq!(
            silent,
            began.elapsed() >= Duration::from_millis(490),
            "{:?}",
            began.elapsed()
        );
    }
}
