//! HTTP/1.1 on a bare socket: the signature of a request covers its head exactly as it was sent, and an HTTP library
//! would refuse to write the faulty responses.

use std::io;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// A request exactly as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    pub method: String,
    /// Path and query, still percent-encoded.
    pub target: String,
    /// In the order of the request, with names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Request {
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// Returns the decoded parameters of the query.
    pub fn query(&self) -> Vec<(String, String)> {
        let query = self.target.split_once('?').map_or("", |(_, query)| query);
        url::form_urlencoded::parse(query.as_bytes())
            .into_owned()
            .collect()
    }

    /// Returns every value of a header.
    pub fn every<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let named = move |(each, _): &&(String, String)| each == name;
        self.headers.iter().filter(named).map(|(_, value)| value.as_str())
    }

    /// Returns the first value of a header.
    pub fn header<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        self.every(name).next()
    }

    /// Returns the value that `x-content-sha256` must have.
    pub fn body_hash(&self) -> String {
        BASE64_STANDARD.encode(Sha256::digest(&self.body))
    }
}

/// A whole response, except for `Content-Length`.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn empty(status: u16) -> Self {
        Self {
            status,
            headers: Vec::new(),
            body: Vec::new(),
        }
    }

    pub fn json(status: u16, value: &Value) -> Self {
        Self {
            body: value.to_string().into_bytes(),
            ..Self::empty(status)
        }
        .with("content-type", "application/json")
    }

    pub fn text(text: &str) -> Self {
        Self {
            body: text.into(),
            ..Self::empty(200)
        }
        .with("content-type", "text/plain")
    }

    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }
}

/// How a response is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// The bytes of the body one by one, with this pause between them.
    Drip(Duration),
    /// The connection is reset without a response.
    Reset,
    /// The head and this many bytes of the body; then the connection ends.
    Truncated(usize),
    Whole,
}

/// A connection, plain or not.
pub trait Wire: AsyncRead + AsyncWrite + Send + Unpin {
    fn socket(&self) -> &TcpStream;
}

impl Wire for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Wire for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// Reads the next request; `None` at the end of the connection. The rest of `buffer` belongs to the request after it.
pub async fn read(wire: &mut impl Wire, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    let invalid = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let end = loop {
        if let Some(end) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break end;
        }
        if buffer.len() > HEAD_BYTES {
            return Err(invalid("the head is too long"));
        }
        if wire.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    };
    let rest = buffer.split_off(end + 4);
    let head = String::from_utf8(std::mem::replace(buffer, rest))
        .map_err(|_utf8| invalid("the head is not UTF-8"))?;
    let mut lines = head.trim_end().split("\r\n");
    let mut start = lines.next().unwrap_or_default().split(' ');
    let (Some(method), Some(target), Some("HTTP/1.1")) = (start.next(), start.next(), start.next()) else {
        return Err(invalid("the request line is malformed"));
    };
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let mut request = Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body: Vec::new(),
    };
    if request.header("transfer-encoding").is_some() {
        return Err(invalid(
            "chunked bodies are not supported: the signature covers the length",
        ));
    }
    let length = request.header("content-length").map_or(Ok(0), str::parse);
    let length: usize = length.map_err(|_number| invalid("the length is not a number"))?;
    if length > BODY_BYTES {
        return Err(invalid("the body is too long"));
    }
    while buffer.len() < length {
        if wire.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
    let rest = buffer.split_off(length);
    request.body = std::mem::replace(buffer, rest);
    Ok(Some(request))
}

/// Sends a response. Returns whether the connection stays open.
pub async fn write(wire: &mut impl Wire, answer: &Answer, manner: Manner) -> io::Result<bool> {
    let reason = hyper::StatusCode::from_u16(answer.status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("-");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", answer.status).into_bytes();
    for (name, value) in &answer.headers {
        bytes.extend(format!("{name}: {value}\r\n").bytes());
    }
    // RFC 9110, section 8.6: not with 204.
    if answer.status != 204 {
        bytes.extend(format!("content-length: {}\r\n", answer.body.len()).bytes());
    }
    bytes.extend(b"\r\n");
    match manner {
        Manner::Reset => {
            wire.socket().set_zero_linger()?;
            return Ok(false);
        }
        Manner::Truncated(most) => {
            bytes.extend(answer.body.iter().take(most));
            wire.write_all(&bytes).await?;
            wire.shutdown().await?;
            return Ok(false);
        }
        Manner::Drip(pause) => {
            wire.write_all(&bytes).await?;
            for byte in &answer.body {
                tokio::time::sleep(pause).await;
                wire.write_all(&[*byte]).await?;
                wire.flush().await?;
            }
        }
        Manner::Whole => {
            bytes.extend(&answer.body);
            wire.write_all(&bytes).await?;
        }
    }
    wire.flush().await?;
    Ok(true)
}

/// Bounds of requests; the clients of these services send less.
const HEAD_BYTES: usize = 64 * 1024;
const BODY_BYTES: usize = 1024 * 1024;
