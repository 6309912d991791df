//! The environment of the tests: a registry with images, keys that sign, and a node whose runtime pulls through a gate.

pub mod liar;
pub mod signer;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::registry::Registry;
use pullgate::base::reason::Reason;
use pullgate::door::ServeContext;
use pullgate::door::registry::{RegistryDoor, RegistryDoorSettings};
use pullgate::fakes::pull_client::{ClientPullError, Dialect, PullClient, Pulled, WireRefusal};
use pullgate::fakes::registry::{EmbeddedRegistry, FakeRegistryOptions};
use pullgate::oci::{Descriptor, Digest, Reference};
use pullgate::process::config::Config;
use pullgate::process::daemon;
use pullgate::pull::gate::{Gate, Storage};
use pullgate::pull::record::RequestMetrics;
use rustix::process::{Pid, Signal, kill_process};
use signer::{Signer, attach};
use tempfile::TempDir;
use tokio::net::TcpSocket;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

/// The registry's host in image names. RFC 2606 reserves `.example`, so the host cannot exist.
pub const HOST: &str = "registry.example";
/// The repository that most tests use.
pub const REPOSITORY: &str = "acme/app";

pub fn image(text: &str) -> Reference {
    format!("{HOST}/{text}").parse().unwrap()
}

pub async fn registry() -> EmbeddedRegistry {
    EmbeddedRegistry::start(FakeRegistryOptions::default())
        .await
        .unwrap()
}

/// Stores an image whose layer contains its name, so that no two images have the same digest.
pub fn put(registry: &EmbeddedRegistry, repository: &str, tag: &str) -> Descriptor {
    let layer = format!("the layer of {repository}:{tag}");
    registry.put_image(repository, tag, &[layer.as_bytes()]).unwrap()
}

/// Stores an image and its signature by `key` for the repository that it is pulled from.
pub fn put_signed(registry: &EmbeddedRegistry, tag: &str, key: &Signer) -> Descriptor {
    let image = put(registry, REPOSITORY, tag);
    attach(
        registry,
        REPOSITORY,
        &image,
        &key.record(&image.digest, REPOSITORY).to_string(),
    );
    image
}

/// The rule of most tests: every image of the registry must be signed by `release`.
pub const SIGNED: &str = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"signed\"\nformats = [\"oracle\"]\nkeys = [\"release\"]\n";

/// Returns a configuration with the usual tables, a registry at `endpoint` and the test's own tables.
pub fn config(endpoint: &str, rest: &str) -> String {
    configured(endpoint, "", rest)
}

/// Like [`config`], with more lines in the `[[registry]]` table.
pub fn configured(endpoint: &str, registry: &str, rest: &str) -> String {
    let keys: String = signer::NAMES
        .map(|name| format!("[[key]]\nname = \"{name}\"\npublic_key = \"keys/{name}.pem\"\n"))
        .concat();
    format!(
        "[daemon]\nstate = \"state\"\n[door.registry]\nlisten = \"127.0.0.1:0\"\n[limits]\npull = \"30s\"\nblob = \"30s\"\n\
         [policy]\ndefault = \"reject\"\n{keys}\
         [[registry]]\nhost = \"{HOST}\"\nendpoint = \"{endpoint}\"\n{registry}\n{rest}"
    )
}

/// Returns the configuration with limits of two seconds for a pull and a blob, for tests of peers that stall. Other tests
/// keep the long limits, so that they pass on a busy machine.
pub fn hasty(config: &str) -> String {
    config.replace("= \"30s\"", "= \"2s\"")
}

/// The time after which a test considers an operation as hanging.
pub const LATEST: Duration = Duration::from_secs(60);

/// A node: a gate with its registry door, and the runtimes that pull through it.
pub struct Node {
    pub gate: Arc<Gate>,
    pub addr: SocketAddr,
    pub metrics: Registry,
    requests: RequestMetrics,
    folder: TempDir,
    stop: DropGuard,
    task: JoinHandle<()>,
}

impl Node {
    pub async fn start(config: &str) -> Self {
        Self::start_in(TempDir::new().unwrap(), config).await
    }

    /// Starts a node in a folder, which may be the folder of a stopped node.
    pub async fn start_in(folder: TempDir, config: &str) -> Self {
        let config = load(folder.path(), config);
        let door = RegistryDoor::bind(
            config.doors.get::<RegistryDoorSettings>().unwrap().clone(),
            config.limits,
        )
        .await
        .unwrap();
        let addr = door.local_addr();
        let storage = Storage {
            derivations_file: Some(config.daemon.state.join("permits.redb")),
            max_derivations: config.cache.permits,
            max_records: config.cache.verdicts,
        };
        let mut metrics = Registry::with_prefix("pullgate");
        let requests = RequestMetrics::new(&mut metrics);
        let settings = daemon::gate_settings(&config, vec![addr], &requests).unwrap();
        let gate = Arc::new(Gate::new(settings, &storage, &mut metrics).unwrap());
        let stop = CancellationToken::new();
        let task = tokio::spawn(door.serve(ServeContext {
            gate: Arc::clone(&gate),
            stop: stop.clone(),
            grace: Duration::from_secs(1),
        }));
        Self {
            gate,
            addr,
            metrics,
            requests,
            folder,
            stop: stop.drop_guard(),
            task,
        }
    }

    /// Replaces the configuration as SIGHUP does.
    pub fn reload(&self, config: &str) {
        let config = load(self.folder.path(), config);
        self.gate
            .replace_settings(daemon::gate_settings(&config, vec![self.addr], &self.requests).unwrap());
    }

    /// Stops the node and returns its folder for the next one.
    pub async fn stop(self) -> TempDir {
        drop(self.stop);
        tokio::time::timeout(LATEST, self.task).await.unwrap().unwrap();
        drop(self.gate);
        self.folder
    }

    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    pub fn runtime(&self, dialect: Dialect) -> PullClient {
        PullClient::new(dialect, self.addr).unwrap()
    }

    /// Pulls as containerd does.
    pub async fn pull(&self, image: &Reference) -> Result<Pulled, ClientPullError> {
        self.runtime(Dialect::Containerd).pull(image).await
    }

    /// Pulls an image that must be refused, and returns the refusal. It must arrive in time even if a peer stalls.
    pub async fn refused(&self, image: &Reference) -> WireRefusal {
        let result = tokio::time::timeout(LATEST, self.pull(image)).await;
        match result.expect("an answer within the deadline") {
            Err(ClientPullError::Refused(refusal)) => *refusal,
            other => panic!("{image} was not refused: {other:?}"),
        }
    }

    /// Pulls an image that must be refused for this reason. Returns the reason's code as the client received it.
    pub async fn assert_denied(&self, image: &Reference, reason: Reason) -> String {
        let refusal = self.refused(image).await;
        assert_eq!(refusal.reason(), Some(reason.code()), "{refusal:?}");
        let (status, code) = pullgate::door::wire_codes::http_answer(reason);
        assert_eq!(
            (refusal.status, refusal.code.as_str()),
            (status, code),
            "{refusal:?}"
        );
        refusal.reason().unwrap().to_owned()
    }

    /// Returns the value of a metric, which `line` names with its labels. Returns zero for a metric that was never counted.
    pub fn metric(&self, line: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.metrics).unwrap();
        let value = text
            .lines()
            .find_map(|each| each.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }
}

/// Returns a folder whose path is short enough for a socket in it (unix(7): 108 bytes), however long `TMPDIR` is.
pub fn socket_folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    if folder.path().as_os_str().len() < 64 {
        return folder;
    }
    tempfile::Builder::new().tempdir_in("/tmp").unwrap()
}

/// Writes a configuration and the public keys that it names into a node's folder.
pub fn write(folder: &Path, config: &str) -> PathBuf {
    let keys = folder.join("keys");
    std::fs::create_dir_all(&keys).unwrap();
    std::fs::create_dir_all(folder.join("state/signatures")).unwrap();
    for name in signer::NAMES {
        std::fs::write(keys.join(format!("{name}.pem")), signer::get(name).public_pem()).unwrap();
    }
    let path = folder.join("pullgate.toml");
    std::fs::write(&path, config).unwrap();
    path
}

fn load(folder: &Path, config: &str) -> Config {
    Config::load(&write(folder, config)).unwrap_or_else(|errors| panic!("{errors}\n{config}"))
}

/// Writes a record into the folder that the `directory` source reads.
pub fn put_into_directory(state: &Path, digest: &Digest, name: &str, record: &str) {
    let folder = state
        .join("signatures")
        .join(digest.algorithm())
        .join(digest.encoded());
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("{name}.json")), record).unwrap();
}

/// Runs the ignored tests whose names start with `prefix` in a process of their own, and checks how many passed.
pub fn run_alone(prefix: &str, count: usize) {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args([prefix, "--ignored", "--test-threads=1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && text.contains(&format!("{count} passed")),
        "{text}"
    );
}

/// Waits until a condition holds.
pub async fn wait_until(condition: impl AsyncFn() -> bool, description: &str) {
    let waited = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    if tokio::time::timeout(LATEST, waited).await.is_err() {
        panic!("waited too long until {description}");
    }
}

/// An address of loopback that refuses connections. A socket that is bound and does not listen keeps its port from other
/// tests.
pub struct RefusingAddress {
    pub url: String,
    _socket: TcpSocket,
}

impl RefusingAddress {
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Self {
            url: format!("http://{}", socket.local_addr().unwrap()),
            _socket: socket,
        }
    }
}

/// Sends a signal to a process that a test has started.
pub fn send(process: u32, signal: Signal) {
    let process = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    kill_process(process, signal).unwrap();
}

/// Returns the resident memory of this process in bytes. The second field of `/proc/self/statm` counts pages (proc(5)), which
/// have 4 KiB on all machines that run these tests.
pub fn resident() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}
