//! The door with a gate behind it and a registry behind that.

mod blobs;
mod credentials;
mod denials;
mod listener;
mod lists;
mod manifests;

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{RegistryDoor, RegistryDoorSettings, TlsFiles};
use crate::base::error_chain::chain;
use crate::base::reason::Reason;
use crate::door::test_gate::{gate, settings};
use crate::door::{DoorLimits, ServeContext};
use crate::fakes::pull_client::{ClientPullError, Dialect, PullClient};
use crate::fakes::registry::{AuthPolicy, EmbeddedRegistry, FakeRegistryOptions};
use crate::oci::{Descriptor, Digest, Reference};
use crate::pull::gate::Gate;
use crate::pull::policy::Requirement;

const LATEST: Duration = Duration::from_secs(10);

/// A gate with its door in front of a registry that images call `registry.test`.
struct Node {
    address: SocketAddr,
    origin: EmbeddedRegistry,
    gate: Arc<Gate>,
    stop: DropGuard,
    _task: JoinHandle<()>,
}

fn config() -> RegistryDoorSettings {
    RegistryDoorSettings {
        listen: "127.0.0.1:0".parse().unwrap(),
        tls: None,
        default_registry: None,
    }
}

const LIMITS: DoorLimits = DoorLimits {
    pull: Duration::from_secs(5),
    blob: Duration::from_secs(30),
    connections: 64,
};

fn only(digests: &[&Descriptor]) -> Requirement {
    Requirement::Digest(digests.iter().map(|descriptor| descriptor.digest).collect())
}

impl Node {
    async fn start(origin: EmbeddedRegistry, rules: Vec<(&str, Requirement)>) -> Self {
        Self::with(config(), LIMITS, origin, rules).await
    }

    async fn with(
        config: RegistryDoorSettings,
        limits: DoorLimits,
        origin: EmbeddedRegistry,
        rules: Vec<(&str, Requirement)>,
    ) -> Self {
        let gate = gate(settings(origin.url(), rules));
        let door = RegistryDoor::bind(config, limits).await.unwrap();
        let address = door.local_addr();
        let stop = CancellationToken::new();
        let task = tokio::spawn(door.serve(ServeContext {
            gate: Arc::clone(&gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            address,
            origin,
            gate,
            stop: stop.drop_guard(),
            _task: task,
        }
    }

    /// The head and the body of an answer. `headers` end in line breaks.
    async fn ask(&self, line: &str, headers: &str) -> (String, Vec<u8>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        ask(stream, line, headers).await
    }

    async fn refused(&self, line: &str, headers: &str) -> (String, serde_json::Value) {
        let (head, body) = self.ask(line, headers).await;
        let body: serde_json::Value =
            serde_json::from_slice(&body).unwrap_or_else(|error| panic!("{error}: {head}"));
        (head, body["errors"][0].clone())
    }
}

async fn ask(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    line: &str,
    headers: &str,
) -> (String, Vec<u8>) {
    let request = format!("{line} HTTP/1.1\r\nHost: gate\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    timeout(LATEST, stream.read_to_end(&mut answer))
        .await
        .expect("an answer in time")
        .unwrap();
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head");
    let body = answer.split_off(end + 4);
    (String::from_utf8(answer).unwrap(), body)
}

/// A header's value.
fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(": ")?;
        key.eq_ignore_ascii_case(name).then_some(value)
    })
}

async fn registry() -> EmbeddedRegistry {
    EmbeddedRegistry::start(FakeRegistryOptions::default())
        .await
        .unwrap()
}

fn image(text: &str) -> Reference {
    format!("registry.test/{text}").parse().unwrap()
}
