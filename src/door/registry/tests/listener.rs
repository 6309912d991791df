//! The listener: TLS, refusals to bind, and the end of the door.

use super::*;

/// A throw-away certificate for `localhost` and its key.
fn certificate(folder: &Path) -> TlsFiles {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let files = TlsFiles {
        certificate: folder.join("gate.pem"),
        key: folder.join("gate.key"),
    };
    std::fs::write(&files.certificate, made.cert.pem()).unwrap();
    std::fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    files
}

#[tokio::test]
async fn tls_is_served_without_http_2() {
    let folder = TempDir::new().unwrap();
    let files = certificate(folder.path());
    let origin = registry().await;
    let app = origin.put_image("team/app", "v1", &[b"layer"]).unwrap();
    let node = Node::with(
        RegistryDoorSettings {
            tls: Some(files.clone()),
            ..config()
        },
        LIMITS,
        origin,
        vec![("registry.test/**", only(&[&app]))],
    )
    .await;
    let connect = async |protocols: &[&str]| {
        let mut roots = RootCertStore::empty();
        roots
            .add(CertificateDer::from_pem_file(&files.certificate).unwrap())
            .unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols
            .iter()
            .map(|protocol| protocol.as_bytes().to_vec())
            .collect();
        let stream = TcpStream::connect(node.address).await.unwrap();
        let name = ServerName::try_from("localhost").unwrap();
        tokio_rustls::TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    };
    for protocols in [&["h2", "http/1.1"][..], &["http/1.1"], &[]] {
        let stream = connect(protocols).await.unwrap();
        assert_ne!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (head, _) = ask(stream, "GET /v2/registry.test/team/app/manifests/v1", "").await;
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let stream = connect(protocols).await.unwrap();
        let (head, _) = ask(stream, "HEAD /v2/registry.test/team/app/manifests/v2", "").await;
        assert!(
            head.starts_with("HTTP/1.1 404 pullgate: image-not-found: "),
            "{head}"
        );
    }
    assert!(connect(&["h2"]).await.is_err());
    // Not a handshake at all: dropped, and the next one is served.
    let mut plain = TcpStream::connect(node.address).await.unwrap();
    plain.write_all(b"GET /v2/ HTTP/1.1\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    timeout(LATEST, plain.read_to_end(&mut answer))
        .await
        .unwrap()
        .unwrap();
    assert!(!answer.starts_with(b"HTTP"));
    assert!(connect(&[]).await.is_ok());
}

#[tokio::test]
async fn a_door_that_is_unsafe_or_cannot_listen_is_not_opened() {
    let folder = TempDir::new().unwrap();
    let files = certificate(folder.path());
    let refusal = async |config: RegistryDoorSettings| match RegistryDoor::bind(config, LIMITS).await {
        Ok(door) => panic!("{} was opened", door.local_addr()),
        Err(error) => chain(&error),
    };
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0"] {
        let said = refusal(RegistryDoorSettings {
            listen: listen.parse().unwrap(),
            ..config()
        })
        .await;
        assert!(
            said.starts_with("plain HTTP on `") && said.contains("loopback"),
            "{said}"
        );
    }
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let said = refusal(RegistryDoorSettings {
        listen: taken.local_addr().unwrap(),
        ..config()
    })
    .await;
    assert!(
        said.contains(&taken.local_addr().unwrap().to_string()) && said.contains("in use"),
        "{said}"
    );

    let other = TempDir::new().unwrap();
    let strange = certificate(other.path());
    let write = |name: &str, content: &[u8]| {
        let path = folder.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(content).unwrap();
        path
    };
    let with = |certificate: &Path, key: &Path| RegistryDoorSettings {
        tls: Some(TlsFiles {
            certificate: certificate.to_owned(),
            key: key.to_owned(),
        }),
        ..config()
    };
    let (none, empty) = (folder.path().join("none.pem"), write("empty.pem", b""));
    let (broken, large) = (
        write(
            "broken.pem",
            b"-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n",
        ),
        write("large.pem", &vec![b'a'; 1 << 21]),
    );
    for (config, said, path) in [
        (with(&none, &files.key), "could not read", &none),
        (with(&files.certificate, &none), "could not read", &none),
        (with(&empty, &files.key), "holds no certificate", &empty),
        (with(&broken, &files.key), "is not valid PEM", &broken),
        (with(&large, &files.key), "has more than 1048576 bytes", &large),
        (
            with(&files.certificate, &files.certificate),
            "is not valid PEM",
            &files.certificate,
        ),
        (
            with(&files.certificate, &strange.key),
            "does not hold a certificate that matches the key",
            &files.certificate,
        ),
    ] {
        let refused = refusal(config).await;
        assert!(
            refused.contains(said) && refused.contains(path.to_str().unwrap()),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn a_stopped_door_accepts_no_connection() {
    let node = Node::start(registry().await, Vec::new()).await;
    drop(node.stop);
    timeout(LATEST, node._task).await.unwrap().unwrap();
    assert!(TcpStream::connect(node.address).await.is_err());
}
