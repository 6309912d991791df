//! The registry through an HTTP client that is not the gate's own.

mod access;
mod reading;
mod writing;

use http::{Method, StatusCode};
use serde_json::Value;

use super::{EmbeddedRegistry, FakeRegistryOptions};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

struct TestResponse {
    status: StatusCode,
    headers: http::HeaderMap,
    body: Vec<u8>,
}

impl TestResponse {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> (StatusCode, String) {
        (
            self.status,
            self.json()["errors"][0]["code"].as_str().unwrap().to_owned(),
        )
    }
}

async fn send(method: Method, url: String, headers: &[(&str, &str)], body: Vec<u8>) -> TestResponse {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = client.request(method, url).body(body);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut answer = request.send().await.unwrap();
    let mut got = TestResponse {
        status: answer.status(),
        headers: answer.headers().clone(),
        body: Vec::new(),
    };
    while let Some(chunk) = answer.chunk().await.unwrap() {
        got.body.extend_from_slice(&chunk);
    }
    got
}

async fn get(registry: &EmbeddedRegistry, path: &str) -> TestResponse {
    send(Method::GET, format!("{}{path}", registry.url()), &[], Vec::new()).await
}

async fn open() -> EmbeddedRegistry {
    EmbeddedRegistry::start(FakeRegistryOptions::default())
        .await
        .unwrap()
}
