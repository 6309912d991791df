//! A client that costs little beside what it measures: one connection, blocking, bodies counted and dropped.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// What was read of the buffer and not yet used.
    unused: std::ops::Range<usize>,
}

/// The head of an answer, and its body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Connection {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(120))).unwrap();
        Self {
            stream,
            buffer: vec![0; 256 * 1024].into(),
            unused: 0..0,
        }
    }

    /// Asks and reads the answer whole.
    pub fn ask(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(method, path, headers, body);
        let (status, head, length) = self.head();
        let mut answer = Answer {
            status,
            head,
            body: Vec::new(),
        };
        if method != "HEAD" {
            self.body(length, |chunk| answer.body.extend_from_slice(chunk));
        }
        answer
    }

    /// GETs and drops the body; its length. Panics where the answer is not 200: a figure of errors would be a lie.
    pub fn fetch(&mut self, path: &str) -> u64 {
        self.send("GET", path, &[], b"");
        let (status, head, length) = self.head();
        assert_eq!(status, 200, "{path}: {head}");
        self.body(length, |_| ());
        length
    }

    /// The connection after a GET was sent on it, for whoever reads at a pace of his own.
    pub fn begin(mut self, path: &str) -> TcpStream {
        self.send("GET", path, &[], b"");
        self.stream
    }

    fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: bench.test\r\nUser-Agent: bench\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        if !matches!(method, "GET" | "HEAD") {
            request.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        request.push_str("\r\n");
        let mut request = request.into_bytes();
        request.extend_from_slice(body);
        self.stream.write_all(&request).unwrap();
    }

    fn fill(&mut self) {
        let (start, end) = (self.unused.start, self.unused.end);
        self.buffer.copy_within(start..end, 0);
        self.unused = 0..end - start;
        let read = self.stream.read(&mut self.buffer[self.unused.end..]).unwrap();
        assert_ne!(read, 0, "the connection ended within an answer");
        self.unused.end += read;
    }

    fn head(&mut self) -> (u16, String, u64) {
        let end = loop {
            let unused = &self.buffer[self.unused.clone()];
            if let Some(end) = unused.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.fill();
        };
        let head = &self.buffer[self.unused.start..self.unused.start + end];
        let head = String::from_utf8(head.to_vec()).unwrap();
        self.unused.start += end;
        let status = head[9..12].parse().unwrap();
        let length = head.lines().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case("content-length")
                .then(|| value.trim().parse().unwrap())
        });
        assert!(
            length.is_some() || status == 204,
            "an answer without a length: {head}"
        );
        (status, head, length.unwrap_or(0))
    }

    fn body(&mut self, mut left: u64, mut take: impl FnMut(&[u8])) {
        while left > 0 {
            if self.unused.is_empty() {
                self.unused = 0..0;
                self.fill();
            }
            let chunk = self.unused.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            take(&self.buffer[self.unused.start..self.unused.start + chunk]);
            self.unused.start += chunk;
            left -= chunk as u64;
        }
    }
}
