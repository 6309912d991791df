//! A client that costs little in comparison with the measured program: one blocking connection that counts and drops bodies.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// One connection.
pub struct Connection {
    stream: TcpStream,
    buffer: Box<[u8]>,
    /// The part of the buffer that was received and not yet used.
    unused: std::ops::Range<usize>,
}

/// A response.
#[derive(Debug)]
pub struct HttpResponse {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl HttpResponse {
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

    /// Sends a request and reads the whole response.
    pub fn request_response(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> HttpResponse {
        self.send(method, path, headers, body);
        let (status, head, length) = self.head();
        let mut response = HttpResponse {
            status,
            head,
            body: Vec::new(),
        };
        if method != "HEAD" {
            self.body(length, |chunk| response.body.extend_from_slice(chunk));
        }
        response
    }

    /// Sends a GET request, drops the body and returns its length. Panics if the status is not 200, because errors must not
    /// be measured as responses.
    pub fn fetch(&mut self, path: &str) -> u64 {
        self.send("GET", path, &[], b"");
        let (status, head, length) = self.head();
        assert_eq!(status, 200, "{path}: {head}");
        self.body(length, |_| ());
        length
    }

    /// Sends a GET request and returns the connection, for a caller that reads at its own pace.
    pub fn start_get(mut self, path: &str) -> TcpStream {
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
        assert_ne!(read, 0, "the connection ended within a response");
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
            "a response without a length: {head}"
        );
        (status, head, length.unwrap_or(0))
    }

    fn body(&mut self, mut left: u64, mut consume: impl FnMut(&[u8])) {
        while left > 0 {
            if self.unused.is_empty() {
                self.unused = 0..0;
                self.fill();
            }
            let chunk = self.unused.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            consume(&self.buffer[self.unused.start..self.unused.start + chunk]);
            self.unused.start += chunk;
            left -= chunk as u64;
        }
    }
}
