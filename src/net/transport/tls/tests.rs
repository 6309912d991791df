//! Tests against rustls's own server, over a wire that can corrupt bytes.

use std::sync::OnceLock;

use proptest::prelude::*;
use rustls::pki_types::PrivateKeyDer;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::net::transport::error::cause;

const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

type Server = tokio_rustls::server::TlsStream<DuplexStream>;

/// The wire through which the client reads.
struct Wire {
    io: DuplexStream,
    /// Most bytes of one read.
    piece: usize,
    /// The byte of the stream in which a bit is flipped.
    flipped: Option<usize>,
    seen: usize,
}

impl Wire {
    fn new(io: DuplexStream) -> Self {
        Self {
            io,
            piece: usize::MAX,
            flipped: None,
            seen: 0,
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut bytes = vec![0; buffer.remaining().min(self.piece)];
        let mut part = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.io).poll_read(context, &mut part))?;
        let count = part.filled().len();
        bytes.truncate(count);
        if let Some(place) = self.flipped.and_then(|at| at.checked_sub(self.seen))
            && let Some(byte) = bytes.get_mut(place)
        {
            *byte ^= 0x10;
        }
        self.seen += count;
        buffer.put_slice(&bytes);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

fn made() -> &'static rcgen::CertifiedKey<rcgen::KeyPair> {
    static MADE: OnceLock<rcgen::CertifiedKey<rcgen::KeyPair>> = OnceLock::new();
    MADE.get_or_init(|| rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap())
}

fn client(version: &'static SupportedProtocolVersion, is_trusted: bool) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    if is_trusted {
        roots.add(made().cert.der().clone()).unwrap();
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[version]);
    Arc::new(
        config
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth(),
    )
}

fn acceptor() -> TlsAcceptor {
    let key = PrivateKeyDer::try_from(made().signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_protocol_versions(&VERSIONS);
    let config = config.unwrap().with_no_client_auth();
    let config = config.with_single_cert(vec![made().cert.der().clone()], key);
    TlsAcceptor::from(Arc::new(config.unwrap()))
}

fn name(name: &'static str) -> ServerName<'static> {
    ServerName::try_from(name).unwrap()
}

async fn pair(
    version: &'static SupportedProtocolVersion,
    room: usize,
    wire: impl FnOnce(DuplexStream) -> Wire,
) -> (io::Result<TlsStream>, io::Result<Server>) {
    let (ours, theirs) = duplex(room);
    let wire = Box::new(wire(ours));
    let stream = TlsStream::connect(client(version, true), name("localhost"), wire);
    tokio::join!(stream, acceptor().accept(theirs))
}

async fn good(version: &'static SupportedProtocolVersion) -> (TlsStream, Server) {
    let (client, server) = pair(version, 256 * 1024, Wire::new).await;
    (client.unwrap(), server.unwrap())
}

fn blob(length: usize) -> Vec<u8> {
    let bytes = (0..length).map(|at| (at.wrapping_mul(2_654_435_761) >> 13).to_le_bytes()[0]);
    bytes.collect()
}

fn run<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.unwrap().block_on(work)
}

/// Reads until the end or an error, so many bytes at a time.
async fn read(stream: &mut TlsStream, sizes: &[usize]) -> (Vec<u8>, io::Result<()>) {
    let mut whole = Vec::new();
    for size in sizes.iter().cycle() {
        let mut part = vec![0; *size];
        match stream.read(&mut part).await {
            Ok(0) => return (whole, Ok(())),
            Ok(count) => whole.extend_from_slice(&part[..count]),
            Err(error) => return (whole, Err(error)),
        }
    }
    unreachable!("no sizes were given")
}

fn is_tls(error: &io::Error) -> bool {
    cause::<rustls::Error>(error).is_some()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn sent_bytes_arrive_in_whatever_pieces_they_are_read(
        length in 0_usize..1_500_000,
        sizes in prop::collection::vec(1_usize..300_000, 1..20),
        // At least the session tickets of the server must fit: the client does not read while the server sends them.
        room in 4096_usize..400_000,
        small in prop::bool::ANY,
    ) {
        let sizes: Vec<usize> = sizes.iter().map(|size| if small { size % 5000 + 1 } else { *size }).collect();
        for version in VERSIONS {
            run(async {
                let (client, server) = pair(version, room, Wire::new).await;
                let (mut client, mut server) = (client.unwrap(), server.unwrap());
                let sent = blob(length);
                let send = async {
                    server.write_all(&sent).await.unwrap();
                    server.shutdown().await.unwrap();
                    server
                };
                let ((received, end), mut server) = tokio::join!(read(&mut client, &sizes), send);
                end.unwrap();
                assert!(received == sent);
                // The other side has closed its half only.
                let answer = async {
                    client.write_all(&sent).await.unwrap();
                    client.shutdown().await.unwrap();
                };
                let mut answered = Vec::new();
                let (read, ()) = tokio::join!(server.read_to_end(&mut answered), answer);
                read.unwrap();
                assert!(answered == sent);
            });
        }
    }

    #[test]
    fn a_flipped_bit_at_any_place_is_an_error(at in 0_usize..30_000) {
        for version in VERSIONS {
            run(async {
                let flip = |io| Wire { flipped: Some(at), ..Wire::new(io) };
                let sent = blob(40_000);
                let (ours, theirs) = duplex(1024 * 1024);
                let send = async {
                    let mut server = acceptor().accept(theirs).await?;
                    server.write_all(&sent).await?;
                    server.shutdown().await?;
                    // Reads until the client closes, so that its alert does not meet a closed pipe.
                    let mut rest = Vec::new();
                    server.read_to_end(&mut rest).await
                };
                let receive = async {
                    let wire = Box::new(flip(ours));
                    let mut stream = TlsStream::connect(client(version, true), name("localhost"), wire).await?;
                    let (received, end) = read(&mut stream, &[7000]).await;
                    assert!(sent.starts_with(&received));
                    end
                };
                let (_, end) = tokio::join!(send, tokio::time::timeout(Duration::from_millis(500), receive));
                match end {
                    Ok(Ok(())) => panic!("the flipped bit was not noticed"),
                    Ok(Err(error)) => assert!(is_tls(&error) || error.kind() == io::ErrorKind::UnexpectedEof, "{error}"),
                    // A length field that grew: the client waits for more bytes, and its caller has a limit.
                    Err(_late) => {}
                }
            });
        }
    }
}

#[tokio::test]
async fn a_peer_may_send_one_byte_at_a_time() {
    for version in VERSIONS {
        let slow = |io| Wire {
            piece: 1,
            ..Wire::new(io)
        };
        let (client, server) = pair(version, 1024, slow).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let sent = blob(100_000);
        let send = async {
            server.write_all(&sent).await.unwrap();
            server.shutdown().await.unwrap();
        };
        let ((received, end), ()) = tokio::join!(read(&mut client, &[100_000]), send);
        end.unwrap();
        assert!(received == sent);
    }
}

#[tokio::test]
async fn one_read_takes_all_records_that_have_arrived() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        let sent = blob(200_000);
        server.write_all(&sent).await.unwrap();
        let mut part = vec![0; 300_000];
        assert_eq!(client.read(&mut part).await.unwrap(), 200_000);
        assert!(part[..200_000] == sent);
    }
}

#[tokio::test]
async fn an_end_without_close_notify_is_an_error_after_the_last_bytes() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        server.write_all(b"half of").await.unwrap();
        server.flush().await.unwrap();
        drop(server);
        let (received, end) = read(&mut client, &[100]).await;
        assert_eq!(received, b"half of");
        assert_eq!(end.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let again = client.read(&mut [0; 10]).await;
        assert_eq!(again.unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn a_close_notify_ends_the_stream() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        server.write_all(b"whole").await.unwrap();
        server.shutdown().await.unwrap();
        drop(server);
        let (received, end) = read(&mut client, &[100]).await;
        assert_eq!(received, b"whole");
        end.unwrap();
        assert_eq!(client.read(&mut [0; 10]).await.unwrap(), 0);
    }
}

#[tokio::test]
async fn a_shutdown_sends_close_notify_and_ends_writing() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        client.write_all(b"whole").await.unwrap();
        client.shutdown().await.unwrap();
        let error = client.write_all(b"more").await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        let mut received = Vec::new();
        server.read_to_end(&mut received).await.unwrap();
        assert_eq!(received, b"whole");
    }
}

#[tokio::test]
async fn a_bad_record_fails_reads_and_writes_and_sends_an_alert() {
    for version in VERSIONS {
        let (mut client, server) = good(version).await;
        let (mut bare, session) = server.into_inner();
        // A well-formed record under no key of this connection.
        let mut record = vec![23, 3, 3, 0, 40];
        record.extend_from_slice(&[7; 40]);
        bare.write_all(&record).await.unwrap();
        let (received, end) = read(&mut client, &[100]).await;
        assert_eq!(received, b"");
        let error = end.unwrap_err();
        assert_eq!(cause::<rustls::Error>(&error), Some(&rustls::Error::DecryptError));
        assert!(is_tls(&client.read(&mut [0; 10]).await.unwrap_err()));
        assert!(is_tls(&client.write_all(b"more").await.unwrap_err()));
        drop(client);
        let mut said = Vec::new();
        bare.read_to_end(&mut said).await.unwrap();
        let mut session = session;
        session.read_tls(&mut said.as_slice()).unwrap();
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::BadRecordMac);
        assert_eq!(session.process_new_packets().unwrap_err(), alert);
    }
}

#[tokio::test]
async fn bytes_before_a_bad_record_are_read() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        server.write_all(b"good").await.unwrap();
        server.flush().await.unwrap();
        let (mut bare, _) = server.into_inner();
        bare.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let (received, end) = read(&mut client, &[100]).await;
        assert_eq!(received, b"good");
        assert!(is_tls(&end.unwrap_err()));
    }
}

#[tokio::test]
async fn a_certificate_for_another_name_or_authority_is_a_tls_error() {
    for version in VERSIONS {
        for (host, is_trusted) in [("localhost", false), ("registry.example", true)] {
            let (ours, theirs) = duplex(64 * 1024);
            let stream = TlsStream::connect(client(version, is_trusted), name(host), Box::new(ours));
            let (stream, server) = tokio::join!(stream, acceptor().accept(theirs));
            let Err(error) = stream else { panic!("connected") };
            assert!(
                matches!(cause(&error), Some(rustls::Error::InvalidCertificate(_))),
                "{error}"
            );
            // The server gets an alert, not only a closed connection.
            let told = server.map(|_| ());
            if version.version == rustls::ProtocolVersion::TLSv1_2 {
                assert!(
                    matches!(cause(&told.unwrap_err()), Some(rustls::Error::AlertReceived(_))),
                    "{host}"
                );
            }
        }
    }
}

#[tokio::test]
async fn a_peer_that_does_not_speak_tls_is_a_tls_error() {
    let (ours, mut theirs) = duplex(64 * 1024);
    theirs
        .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        .await
        .unwrap();
    let stream = TlsStream::connect(client(&TLS13, true), name("localhost"), Box::new(ours)).await;
    assert!(stream.is_err_and(|error| is_tls(&error)));
}

#[tokio::test]
async fn a_connection_that_ends_in_the_handshake_is_a_transient_error() {
    for kept in [0, 3, 60, 500] {
        let (ours, theirs) = duplex(64 * 1024);
        let (between, mut server) = duplex(64 * 1024);
        let leave = async move {
            let (mut from_client, mut to_client) = tokio::io::split(theirs);
            let (mut from_server, mut to_server) = tokio::io::split(between);
            let there = tokio::io::copy(&mut from_client, &mut to_server);
            let back = async {
                let mut first = vec![0; kept];
                from_server.read_exact(&mut first).await.unwrap();
                to_client.write_all(&first).await.unwrap();
            };
            tokio::select! { _ = there => {}, () = back => {} }
        };
        let accept = async {
            let _ = acceptor().accept(&mut server).await;
        };
        let stream = TlsStream::connect(client(&TLS13, true), name("localhost"), Box::new(ours));
        let (stream, ()) = tokio::join!(stream, async {
            tokio::select! { () = leave => {}, () = async { accept.await; std::future::pending().await } => {} }
        });
        let Err(error) = stream else { panic!("connected") };
        let kinds = [io::ErrorKind::UnexpectedEof, io::ErrorKind::BrokenPipe];
        assert!(kinds.contains(&error.kind()), "{kept}: {error}");
        assert!(!is_tls(&error));
    }
}

#[tokio::test]
async fn a_writer_waits_for_the_socket() {
    for version in VERSIONS {
        let (client, server) = pair(version, 4096, Wire::new).await;
        let (mut client, mut server) = (client.unwrap(), server.unwrap());
        let sent = blob(1_000_000);
        let mut taken = 0;
        poll_fn(|context| {
            loop {
                match Pin::new(&mut client).poll_write(context, &sent[taken..]) {
                    Poll::Ready(count) => taken += count.unwrap(),
                    Poll::Pending => return Poll::Ready(()),
                }
            }
        })
        .await;
        assert!(taken >= WAITING, "{taken}");
        assert!(client.outgoing.bytes.len() < 3 * WAITING);
        let rest = async {
            client.write_all(&sent[taken..]).await.unwrap();
            client.shutdown().await.unwrap();
        };
        let mut received = Vec::new();
        let (read, ()) = tokio::join!(server.read_to_end(&mut received), rest);
        read.unwrap();
        assert!(received == sent);
        assert!(client.outgoing.bytes.capacity() <= SMALL);
    }
}

#[tokio::test]
async fn the_keys_may_change_in_the_middle() {
    let (mut client, mut server) = good(&TLS13).await;
    let sent = blob(300_000);
    let send = async {
        for part in sent.chunks(50_000) {
            server.get_mut().1.refresh_traffic_keys().unwrap();
            server.write_all(part).await.unwrap();
        }
        server.shutdown().await.unwrap();
    };
    let ((received, end), ()) = tokio::join!(read(&mut client, &[70_000]), send);
    end.unwrap();
    assert!(received == sent);
}

#[tokio::test]
async fn a_large_transfer_leaves_little_memory_behind() {
    for version in VERSIONS {
        let (mut client, mut server) = good(version).await;
        assert!(client.received.buffer.len() <= 4 * SMALL);
        let sent = blob(1_000_000);
        let (part, written) = (&mut vec![0; 1_000_000][..], server.write_all(&sent));
        let (read, written) = tokio::join!(client.read_exact(part), written);
        read.unwrap();
        written.unwrap();
        assert_eq!(client.received.buffer.len(), LARGE);
        assert_eq!(client.decrypted.bytes.capacity(), 0);
        let look = async |client: &mut TlsStream| {
            poll_fn(|context| {
                let polled = Pin::new(&mut *client).poll_read(context, &mut ReadBuf::new(&mut [0; 10]));
                assert!(polled.is_pending());
                Poll::Ready(())
            })
            .await;
        };
        // A short pause does not free the buffer.
        look(&mut client).await;
        assert_eq!(client.received.buffer.len(), LARGE);
        client.received.last = Instant::now().checked_sub(QUIET).unwrap();
        look(&mut client).await;
        assert_eq!(client.received.buffer.len(), SMALL);
        server.write_all(b"more").await.unwrap();
        client.read_exact(&mut part[..4]).await.unwrap();
        assert_eq!(&part[..4], b"more");
    }
}
