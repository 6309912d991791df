use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::{self, BoxStream};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{Request, Response};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{DoorAnswer, Handler, ResponseBody, ServeBounds, Server, serve};
use crate::door::listen::accept::{ACCEPT_PAUSE, accept_next};
use crate::net::registry::RegistryError;
use crate::oci::Digest;

/// No test takes as long: what waits for this failed.
const LATEST: Duration = Duration::from_secs(10);

/// Long enough that a test that waits for it was not cut by it.
const NEVER: Duration = Duration::from_secs(600);

/// Answers by path. Counts what is under way.
#[derive(Default)]
struct Toy {
    held: Arc<AtomicUsize>,
    due: Option<Duration>,
}

/// One that is held.
struct Held(Arc<AtomicUsize>);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

type Chunks = BoxStream<'static, Result<Bytes, RegistryError>>;

impl Handler for Toy {
    async fn handle(&self, request: Request<()>, _peer: &str) -> DoorAnswer {
        let due = Instant::now() + self.due.unwrap_or(NEVER);
        let chunk = || Ok(Bytes::from_static(&[7; 65_536]));
        let broken = RegistryError::Unreachable {
            host: "registry.test".to_owned(),
            what: "reset".to_owned(),
        };
        let response = match request.uri().path() {
            "/large" => Response::new(ResponseBody::whole(Bytes::from(vec![7; 64 << 20]))),
            "/panic" => panic!("on purpose"),
            "/slow" => {
                let _held = self.hold();
                sleep(Duration::from_millis(300)).await;
                Response::new(ResponseBody::whole(Bytes::from_static(b"done")))
            }
            "/never" => pending().await,
            "/endless" => self.blob(stream::repeat_with(chunk).boxed(), due),
            "/stalls" => self.blob(stream::iter([chunk()]).chain(stream::pending()).boxed(), due),
            "/drips" => {
                let drips = stream::repeat_with(|| sleep(Duration::from_millis(10)));
                self.blob(
                    drips
                        .then(|slept| async {
                            slept.await;
                            Ok(Bytes::from_static(b"x"))
                        })
                        .boxed(),
                    due,
                )
            }
            "/breaks" => self.blob(stream::iter([chunk(), Err(broken)]).boxed(), due),
            "/ends" => self.blob(stream::iter([chunk()]).boxed(), due),
            _ => Response::new(ResponseBody::whole(Bytes::from_static(b"hello"))),
        };
        DoorAnswer { response, due }
    }
}

impl Toy {
    fn hold(&self) -> Held {
        self.held.fetch_add(1, Ordering::SeqCst);
        Held(Arc::clone(&self.held))
    }

    /// A blob that claims to be a megabyte.
    fn blob(&self, chunks: Chunks, due: Instant) -> Response<ResponseBody> {
        let held = self.hold();
        let chunks = chunks
            .map(move |chunk| {
                let _ = &held;
                chunk
            })
            .boxed();
        let mut response = Response::new(ResponseBody::blob(chunks, Digest::sha256(b""), due));
        response
            .headers_mut()
            .insert(CONTENT_LENGTH, HeaderValue::from_static("1048576000"));
        response
    }
}

struct Running {
    address: std::net::SocketAddr,
    held: Arc<AtomicUsize>,
    stop: DropGuard,
    task: JoinHandle<()>,
}

const BOUNDS: ServeBounds = ServeBounds {
    connections: 16,
    head: NEVER,
    handshake: NEVER,
    stall: NEVER,
};

async fn run(bounds: ServeBounds, due: Option<Duration>) -> Running {
    run_with(bounds, due, Duration::from_millis(500)).await
}

async fn run_with(bounds: ServeBounds, due: Option<Duration>, grace: Duration) -> Running {
    let toy = Toy {
        due,
        ..Toy::default()
    };
    let held = Arc::clone(&toy.held);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stop = CancellationToken::new();
    let server = Arc::new(Server {
        handler: toy,
        tls: None,
        bounds,
    });
    let task = tokio::spawn(serve(server, listener, stop.clone(), grace));
    Running {
        address,
        held,
        stop: stop.drop_guard(),
        task,
    }
}

impl Running {
    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    async fn ask(&self, request: &str) -> TcpStream {
        let mut client = self.connect().await;
        client.write_all(request.as_bytes()).await.unwrap();
        client
    }

    /// Everything that comes until the server closes.
    async fn whole(&self, request: &str) -> String {
        rest(self.ask(request).await).await
    }

    async fn begun(&self) {
        self.until(|held| held > 0).await;
    }

    async fn all_freed(&self) {
        self.until(|held| held == 0).await;
    }

    async fn until(&self, is_so: impl Fn(usize) -> bool) {
        let so = async {
            while !is_so(self.held.load(Ordering::SeqCst)) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(LATEST, so).await.expect("it comes to that");
    }
}

/// Reads until the connection ends, also by a reset.
async fn rest(mut client: TcpStream) -> String {
    let mut read = Vec::new();
    let ended = timeout(LATEST, client.read_to_end(&mut read))
        .await
        .expect("the connection ends");
    if let Err(error) = ended {
        assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    }
    String::from_utf8(read).unwrap()
}

/// A head and the size of what follows it.
fn split(answer: &str) -> (&str, usize) {
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head, body.len())
}

const GET: &str = "GET / HTTP/1.1\r\nhost: x\r\n\r\n";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_head_has_the_length_and_not_the_body() {
    let server = run(BOUNDS, None).await;
    let get = server.whole(&get("/")).await;
    assert_eq!(split(&get).1, 5);
    let head = server
        .whole("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        .await;
    assert_eq!(split(&head).1, 0);
    assert!(head.contains("content-length: 5\r\n"), "{head}");
}

#[tokio::test]
async fn a_client_that_stops_reading_is_cut_and_everything_freed() {
    let server = run(
        ServeBounds {
            stall: Duration::from_millis(200),
            ..BOUNDS
        },
        None,
    )
    .await;
    let mut client = server.ask(&get("/endless")).await;
    client.read_exact(&mut [0; 1024]).await.unwrap();
    server.all_freed().await;
    // The bytes that the kernel held for it are gone as well: the client finds the connection reset, not drained.
    let mut read = Vec::new();
    let error = timeout(LATEST, client.read_to_end(&mut read))
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_client_that_drips_is_cut_when_the_answer_is_due() {
    let server = run(BOUNDS, Some(Duration::from_millis(300))).await;
    let mut client = server.ask(&get("/endless")).await;
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        while client.read_exact(&mut [0; 1024]).await.is_ok() {
            sleep(Duration::from_millis(1)).await;
        }
    });
    sleep(Duration::from_millis(100)).await;
    assert_eq!(server.held.load(Ordering::SeqCst), 1);
    server.all_freed().await;
    assert!(
        began.elapsed() >= Duration::from_millis(290),
        "{:?}",
        began.elapsed()
    );
    dripping.abort();
}

#[tokio::test]
async fn a_client_that_drips_is_cut_whatever_it_was_to_read() {
    let server = run(BOUNDS, Some(Duration::from_millis(300))).await;
    let mut client = server.ask(&get("/large")).await;
    // Fast enough that the socket never stalls, far too slow for 64 MiB.
    let mut buffer = vec![0; 32_768];
    let mut read = 0;
    let dripping = async {
        while client.read_exact(&mut buffer).await.is_ok() {
            read += buffer.len();
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(LATEST, dripping).await.expect("the connection ends");
    assert!(read < 32 << 20, "{read}");
}

#[tokio::test]
async fn a_client_that_reads_is_not_cut_for_being_slow() {
    let server = run(
        ServeBounds {
            stall: Duration::from_millis(600),
            ..BOUNDS
        },
        None,
    )
    .await;
    let mut client = server.ask(&get("/endless")).await;
    let mut buffer = vec![0; 4 << 20];
    // Longer than it may stall in all, never as long between two reads.
    for _ in 0..8 {
        client.read_exact(&mut buffer).await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(server.held.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_blob_that_is_cut_never_ends_cleanly() {
    let server = run(BOUNDS, Some(Duration::from_millis(200))).await;
    for path in ["/stalls", "/drips", "/breaks", "/ends"] {
        let answer = server
            .whole(&format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n"))
            .await;
        // One that breaks off at once may leave before its head is written: then the client receives no answer at all.
        if !answer.is_empty() {
            let (head, length) = split(&answer);
            assert!(head.contains("content-length: 1048576000"), "{head}");
            assert!(length <= 65_536, "{path}: {length}");
        }
        server.all_freed().await;
    }
}

#[tokio::test]
async fn a_client_that_goes_away_frees_the_origin() {
    let server = run(BOUNDS, None).await;
    let client = server.ask(&get("/drips")).await;
    server.begun().await;
    drop(client);
    server.all_freed().await;
}

#[tokio::test]
async fn the_next_connection_waits_for_room() {
    let server = run(
        ServeBounds {
            connections: 2,
            ..BOUNDS
        },
        None,
    )
    .await;
    let (first, second) = (server.ask(GET).await, server.ask(&get("/never")).await);
    let mut third = server.ask(GET).await;
    let mut byte = [0];
    assert!(
        timeout(Duration::from_millis(200), third.read_exact(&mut byte))
            .await
            .is_err(),
        "no room for it"
    );
    drop(second);
    timeout(LATEST, third.read_exact(&mut byte))
        .await
        .expect("there is room now")
        .unwrap();
    drop(first);
}

#[tokio::test]
async fn a_crash_blocks_one_request_and_no_other() {
    let server = run(BOUNDS, None).await;
    let mut client = server.ask("GET /panic HTTP/1.1\r\nhost: x\r\n\r\n").await;
    client.write_all(get("/").as_bytes()).await.unwrap();
    let answers = rest(client).await;
    assert!(
        answers.starts_with("HTTP/1.1 403 pullgate: internal-error: "),
        "{answers}"
    );
    assert!(
        answers.ends_with("\r\n\r\nhello"),
        "the same connection goes on: {answers}"
    );
    assert_eq!(split(&server.whole(&get("/")).await).1, 5);
}

#[tokio::test]
async fn a_body_is_never_read() {
    let server = run(BOUNDS, None).await;
    let smuggled = format!("content-length: {}\r\n\r\n{GET}", GET.len());
    let answer = server
        .whole(&format!("GET / HTTP/1.1\r\nhost: x\r\n{smuggled}"))
        .await;
    assert!(
        answer.starts_with("HTTP/1.1 400 pullgate: a GET or HEAD request must not have a body\r\n"),
        "{answer}"
    );
    assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{answer}");
    let answer = server
        .whole(&format!("POST / HTTP/1.1\r\nhost: x\r\n{smuggled}"))
        .await;
    assert!(
        answer.contains("connection: close") && answer.ends_with("hello"),
        "{answer}"
    );
    let chunked = "POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    assert_eq!(server.whole(chunked).await.matches("HTTP/1.1").count(), 1);
}

#[tokio::test]
async fn heads_are_bounded_in_time_and_size() {
    let server = run(
        ServeBounds {
            head: Duration::from_millis(200),
            ..BOUNDS
        },
        None,
    )
    .await;
    // Says nothing; says half of it; has said all and stays.
    for begin in ["", "GET / HT", "GET / HTTP/1.1\r\nhost: x\r\n", GET] {
        let client = server.ask(begin).await;
        rest(client).await;
    }
    let server = run(BOUNDS, None).await;
    let many = "a: b\r\n".repeat(200);
    let large = format!(
        "a: {}\r\n",
        "b".repeat(crate::door::registry::serve::REQUEST_HEAD_BYTES)
    );
    for headers in [many, large] {
        let answer = server.whole(&format!("GET / HTTP/1.1\r\n{headers}\r\n")).await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
    let long = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(100_000));
    let answer = server.whole(&long).await;
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
}

#[tokio::test]
async fn http_2_is_not_spoken() {
    let server = run(BOUNDS, None).await;
    let answer = server.whole("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await;
    assert!(!answer.contains("200"), "{answer}");
}

#[tokio::test]
async fn what_is_under_way_is_finished_and_nothing_new_begun() {
    let server = run_with(BOUNDS, None, NEVER).await;
    let mut idle = server.ask(GET).await;
    idle.read_exact(&mut [0; 4]).await.unwrap();
    let busy = server.ask("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    server.begun().await;
    drop(server.stop);
    let (idle, busy) = tokio::join!(rest(idle), rest(busy));
    assert!(idle.ends_with("hello") && busy.ends_with("done"), "{idle} {busy}");
    timeout(LATEST, server.task).await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}

#[tokio::test]
async fn what_does_not_finish_in_time_is_cut() {
    let server = run(BOUNDS, None).await;
    let clients = [
        server.ask(&get("/endless")).await,
        server.ask(&get("/never")).await,
    ];
    server.begun().await;
    let began = Instant::now();
    drop(server.stop);
    timeout(LATEST, server.task).await.unwrap().unwrap();
    assert!(
        began.elapsed() >= Duration::from_millis(450),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.held.load(Ordering::SeqCst), 0);
    drop(clients);
}

#[tokio::test]
async fn a_failed_accept_is_tried_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let failures = AtomicUsize::new(0);
    let accept = || async {
        match failures.fetch_add(1, Ordering::SeqCst) {
            0 => Err(std::io::Error::from_raw_os_error(24)),
            1 => Err(std::io::ErrorKind::ConnectionAborted.into()),
            2 => Err(std::io::Error::from_raw_os_error(12)),
            _ => listener.accept().await,
        }
    };
    let slots = Arc::new(tokio::sync::Semaphore::new(1));
    let began = Instant::now();
    let ((slot, ..), client) = tokio::join!(accept_next(&slots, accept), TcpStream::connect(address));
    assert_eq!(slots.available_permits(), 0);
    // Two of the three are the machine's trouble, and waited for.
    assert!(began.elapsed() >= ACCEPT_PAUSE * 2, "{:?}", began.elapsed());
    drop((slot, client));
}
