//! A registry that lies. It speaks HTTP/1.1 on a bare socket, so that it can say what no HTTP library would: bodies that
//! never end, that break off, that drip, heads without end.
//!
//! A test gives it a function from requests to answers. [`Answer::Honest`] lets a real registry behind it answer, so a
//! test is one lie in an otherwise honest conversation.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};

/// What was asked.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// The path, as it came.
    pub path: String,
    /// What follows `?`, or nothing.
    pub query: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    /// How many requests with this method and path came before.
    pub nth: usize,
}

impl Request {
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub fn is_referrers(&self) -> bool {
        self.path.contains("/referrers/")
    }

    /// What stands after the last slash.
    pub fn last(&self) -> &str {
        self.path.rsplit('/').next().unwrap()
    }
}

/// What is answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// What the registry behind says.
    Honest,
    /// A whole answer. `Content-Length` is added unless a header says otherwise.
    Whole {
        status: u16,
        headers: Vec<(String, String)>,
        body: Vec<u8>,
    },
    /// A body that announces a length (or chunks, without one) and goes on until the client leaves.
    Endless {
        headers: Vec<(String, String)>,
        announced: Option<u64>,
    },
    /// A body whose bytes come one by one, so far apart.
    Drip {
        headers: Vec<(String, String)>,
        body: Vec<u8>,
        every: Duration,
    },
    /// A head that announces more than comes before the connection is closed.
    Truncated {
        headers: Vec<(String, String)>,
        announced: usize,
        body: Vec<u8>,
    },
    /// Exactly these bytes, then the connection is closed.
    Raw(Vec<u8>),
    /// A head that never ends.
    EndlessHead,
    /// Nothing, for as long as the client waits.
    Silence,
    /// The connection is closed without a word.
    Drop,
}

impl Answer {
    pub fn status(status: u16) -> Self {
        Self::Whole {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn ok(content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::Whole {
            status: 200,
            headers: headers(&[("content-type", content_type)]),
            body: body.into(),
        }
    }

    pub fn redirect(to: &str) -> Self {
        Self::Whole {
            status: 307,
            headers: headers(&[("location", to)]),
            body: Vec::new(),
        }
    }

    pub fn challenge(challenge: &str) -> Self {
        Self::Whole {
            status: 401,
            headers: headers(&[("www-authenticate", challenge)]),
            body: Vec::new(),
        }
    }

    /// Adds a header to a whole answer.
    pub fn with(self, name: &str, value: &str) -> Self {
        let Self::Whole {
            status,
            mut headers,
            body,
        } = self
        else {
            panic!("only a whole answer takes headers");
        };
        headers.push((name.to_owned(), value.to_owned()));
        Self::Whole {
            status,
            headers,
            body,
        }
    }
}

pub fn headers(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// A running liar. Dropping it closes its socket and every connection.
pub struct Liar {
    addr: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

type Script = dyn Fn(&Request) -> Answer + Send + Sync;

struct Shared {
    script: Box<Script>,
    honest: Option<SocketAddr>,
    seen: Mutex<Vec<Request>>,
    sent: AtomicU64,
    open: AtomicU64,
}

impl Liar {
    /// Starts on a free port of 127.0.0.1. `honest` is the registry that [`Answer::Honest`] asks.
    pub async fn start(
        honest: Option<SocketAddr>,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            script: Box::new(script),
            honest,
            seen: Mutex::new(Vec::new()),
            sent: AtomicU64::new(0),
            open: AtomicU64::new(0),
        });
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Self { addr, shared, task }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Every request so far.
    pub fn seen(&self) -> Vec<Request> {
        self.shared.seen.lock().unwrap().clone()
    }

    /// How many clients are being sent something endless now.
    pub fn open(&self) -> u64 {
        self.shared.open.load(Ordering::Relaxed)
    }

    /// How many bytes of endless answers went out.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Counts for as long as it lives.
struct Open<'a>(&'a AtomicU64);

impl<'a> Open<'a> {
    fn new(open: &'a AtomicU64) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(open)
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let (stream, _) = listener.accept().await.unwrap();
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            // A client that leaves in the middle is what most of these lies are for.
            drop(converse(stream, &shared).await);
        });
    }
}

async fn converse(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut buffer = Vec::new();
    while let Some(head) = read_head(&mut stream, &mut buffer).await? {
        let request = note(&head, shared);
        let answer = (shared.script)(&request);
        let head_only = request.method == "HEAD";
        match answer {
            Answer::Honest => {
                let honest = shared.honest.expect("an honest registry behind the liar");
                return pass_on(&mut stream, &head, honest).await;
            }
            Answer::Whole {
                status,
                mut headers,
                body,
            } => {
                let named = |name: &str| headers.iter().any(|(each, _)| each.eq_ignore_ascii_case(name));
                if !named("content-length") && !named("transfer-encoding") {
                    headers.push(("content-length".to_owned(), body.len().to_string()));
                }
                stream.write_all(&written(status, &headers)).await?;
                if !head_only {
                    stream.write_all(&body).await?;
                }
            }
            Answer::Endless {
                mut headers,
                announced,
            } => {
                match announced {
                    Some(length) => headers.push(("content-length".to_owned(), length.to_string())),
                    None => headers.push(("transfer-encoding".to_owned(), "chunked".to_owned())),
                }
                stream.write_all(&written(200, &headers)).await?;
                if head_only {
                    continue;
                }
                let _open = Open::new(&shared.open);
                let mut chunk = vec![b' '; 0x1_0000];
                if announced.is_none() {
                    chunk = [b"10000\r\n", chunk.as_slice(), b"\r\n"].concat();
                }
                loop {
                    stream.write_all(&chunk).await?;
                    shared.sent.fetch_add(0x1_0000, Ordering::Relaxed);
                }
            }
            Answer::Drip {
                mut headers,
                body,
                every,
            } => {
                headers.push(("content-length".to_owned(), body.len().to_string()));
                stream.write_all(&written(200, &headers)).await?;
                for byte in body.iter().take(if head_only { 0 } else { body.len() }) {
                    tokio::time::sleep(every).await;
                    stream.write_all(&[*byte]).await?;
                }
            }
            Answer::Truncated {
                mut headers,
                announced,
                body,
            } => {
                headers.push(("content-length".to_owned(), announced.to_string()));
                stream.write_all(&written(200, &headers)).await?;
                return stream.write_all(&body).await;
            }
            Answer::Raw(bytes) => return stream.write_all(&bytes).await,
            Answer::EndlessHead => {
                stream.write_all(b"HTTP/1.1 200 OK\r\n").await?;
                for number in 0_u64.. {
                    let line = format!("x-{number}: {}\r\n", "a".repeat(1000));
                    stream.write_all(line.as_bytes()).await?;
                    shared.sent.fetch_add(1000, Ordering::Relaxed);
                }
            }
            Answer::Silence => std::future::pending::<()>().await,
            Answer::Drop => return Ok(()),
        }
    }
    Ok(())
}

/// The next request's head, or none when the client has closed. Requests with bodies are not expected here.
async fn read_head(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> std::io::Result<Option<String>> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = buffer.split_off(end + 4);
            let head = std::mem::replace(buffer, rest);
            return Ok(Some(String::from_utf8(head).unwrap()));
        }
        assert!(buffer.len() < 65_536, "a head of 64 KiB");
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

fn note(head: &str, shared: &Shared) -> Request {
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap().split(' ');
    let (method, target) = (first.next().unwrap().to_owned(), first.next().unwrap());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut seen = shared.seen.lock().unwrap();
    let nth = seen
        .iter()
        .filter(|each| each.method == method && each.path == path)
        .count();
    let request = Request {
        method,
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        nth,
    };
    seen.push(request.clone());
    request
}

fn written(status: u16, headers: &[(String, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Said\r\n");
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    head.into_bytes()
}

/// Lets the honest registry answer, and closes.
async fn pass_on(stream: &mut TcpStream, head: &str, honest: SocketAddr) -> std::io::Result<()> {
    let mut registry = TcpStream::connect(honest).await?;
    let lines = head
        .trim_end()
        .split("\r\n")
        .filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    let head = lines.collect::<Vec<_>>().join("\r\n") + "\r\nconnection: close\r\n\r\n";
    registry.write_all(head.as_bytes()).await?;
    tokio::io::copy(&mut registry, stream).await?;
    Ok(())
}
