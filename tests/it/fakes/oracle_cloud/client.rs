//! A client that signs its requests as Oracle's SDK does, each on its own socket. Every part of a request can be
//! falsified.

use std::net::SocketAddr;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use jiff::Timestamp;
use rsa::PrivateKey;
use rsa::pkcs8::DecodePrivateKey as _;
use serde_json::Value;
use sha2::Sha256;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::oracle_cloud::authorization::signing_string;
use super::oracle_cloud::http::Request;

pub struct Client {
    pub address: SocketAddr,
    pub key_id: String,
    pub private: PrivateKey,
    /// The names of headers that are signed, before those of the body.
    pub signed: Vec<&'static str>,
}

/// The response, as far as it arrived.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(each, _)| each == name);
        found.map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    /// Returns the status and the code of an error.
    pub fn code(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap().to_owned())
    }

    /// Returns the OCIDs of a list's items.
    pub fn ids(&self) -> Vec<String> {
        assert_eq!(self.status, 200, "{}", String::from_utf8_lossy(&self.body));
        let json = self.json();
        let items = json["items"].as_array().unwrap().iter();
        items
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect()
    }
}

impl Client {
    pub fn new(address: SocketAddr, key_id: &str, private: &str) -> Self {
        Self {
            address,
            key_id: key_id.to_owned(),
            private: PrivateKey::from_pkcs8_pem(private).unwrap(),
            signed: vec!["date", "(request-target)", "host"],
        }
    }

    pub async fn get(&self, target: &str) -> Reply {
        self.send(self.signed_request("GET", target, None, Timestamp::now()))
            .await
    }

    pub async fn call(&self, method: &str, target: &str, body: &Value) -> Reply {
        let request = self.signed_request(method, target, Some(body), Timestamp::now());
        self.send(request).await
    }

    /// Returns a signed request, which the test may alter.
    pub fn signed_request(&self, method: &str, target: &str, body: Option<&Value>, at: Timestamp) -> Request {
        let body = body.map(|body| body.to_string().into_bytes());
        let mut request = Request {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Vec::new(),
            body: body.clone().unwrap_or_default(),
        };
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&at);
        let mut add = |name: &str, value: String| request.headers.push((name.to_owned(), value));
        add("host", self.address.to_string());
        add("date", date.unwrap());
        let mut signed: Vec<String> = self.signed.iter().map(|name| (*name).to_owned()).collect();
        if let Some(body) = &body {
            add("content-length", body.len().to_string());
            add("content-type", "application/json".to_owned());
            let hash = request.body_hash();
            request.headers.push(("x-content-sha256".to_owned(), hash));
            signed.extend(["content-length", "content-type", "x-content-sha256"].map(str::to_owned));
        }
        self.sign(&mut request, &signed);
        request
    }

    /// Adds the signature, or replaces it.
    pub fn sign(&self, request: &mut Request, signed: &[String]) {
        request.headers.retain(|(name, _)| name != "authorization");
        let text = signing_string(request, signed).unwrap();
        let signature = self.private.pkcs1v15_sign::<Sha256>(text.as_bytes()).unwrap();
        let authorization = format!(
            "Signature algorithm=\"rsa-sha256\",headers=\"{}\",keyId=\"{}\",signature=\"{}\",version=\"1\"",
            signed.join(" "),
            self.key_id,
            BASE64_STANDARD.encode(signature)
        );
        request.headers.push(("authorization".to_owned(), authorization));
    }

    pub async fn send(&self, request: Request) -> Reply {
        self.try_send(request).await.unwrap()
    }

    /// Sends a request and reads until the connection ends, whatever length was announced.
    pub async fn try_send(&self, request: Request) -> std::io::Result<Reply> {
        send_to(self.address, request).await
    }
}

pub async fn send_to(address: SocketAddr, request: Request) -> std::io::Result<Reply> {
    let mut head = format!(
        "{} {} HTTP/1.1\r\nconnection: close\r\n",
        request.method, request.target
    );
    for (name, value) in &request.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(format!("{head}\r\n").as_bytes()).await?;
    stream.write_all(&request.body).await?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await?;
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()));
    Ok(Reply {
        status,
        headers: headers.collect(),
        body: bytes[end + 4..].to_vec(),
    })
}
