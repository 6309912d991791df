//! The daemon as a process: READY, SIGHUP, SIGTERM, exit codes, metrics.

use std::io::{BufRead as _, BufReader, Read as _};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use pullgate::fakes::pull_client::{ClientPullError, Dialect, PullClient, Pulled};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::support::liar::{Answer, Liar};
use crate::support::{
    LATEST, REPOSITORY, SIGNED, config, image, put, put_signed, registry, send, signer, wait_until,
};

/// A running `pullgated`.
pub struct Daemon {
    child: Child,
    addr: SocketAddr,
    /// The log line with the addresses of the doors.
    ready: Value,
    folder: TempDir,
    log: Receiver<Value>,
    manager: UnixDatagram,
}

impl Daemon {
    /// Starts the daemon and waits for READY=1.
    pub fn start(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        write(folder.path(), config);
        let socket = folder.path().join("notify");
        let manager = UnixDatagram::bind(&socket).unwrap();
        manager.set_read_timeout(Some(LATEST)).unwrap();
        let mut child = command(&file(folder.path()))
            .env("NOTIFY_SOCKET", &socket)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let log = lines(child.stdout.take().unwrap());
        let mut daemon = Self {
            child,
            addr: "127.0.0.1:0".parse().unwrap(),
            ready: Value::Null,
            folder,
            log,
            manager,
        };
        daemon.await_notification("READY=1");
        daemon.ready = daemon.await_log("Ready");
        daemon.addr = daemon.ready["door.registry"].as_str().unwrap().parse().unwrap();
        daemon
    }

    /// Waits until the service manager receives this line.
    fn await_notification(&self, wanted: &str) {
        let mut message = [0; 512];
        loop {
            let length = self.manager.recv(&mut message).expect(wanted);
            if std::str::from_utf8(&message[..length])
                .unwrap()
                .lines()
                .any(|line| line == wanted)
            {
                return;
            }
        }
    }

    /// Reads the daemon's notifications from now on, as a service manager does. A few unread messages would block the daemon.
    pub fn drain_notifications(&self) {
        let manager = self.manager.try_clone().unwrap();
        std::thread::spawn(move || while manager.recv(&mut [0; 512]).is_ok() {});
    }

    /// Waits for a line of the log that starts with this text, and returns it.
    fn await_log(&self, prefix: &str) -> Value {
        let until = Instant::now() + LATEST;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let line = self
                .log
                .recv_timeout(left)
                .unwrap_or_else(|_| panic!("the log has no line `{prefix}`"));
            if line["message"]
                .as_str()
                .is_some_and(|message| message.starts_with(prefix))
            {
                return line;
            }
        }
    }

    /// Returns the path of the configuration file.
    pub fn file(&self) -> PathBuf {
        file(self.folder.path())
    }

    /// Writes another configuration. The daemon does not load it by itself.
    pub fn write(&self, config: &str) {
        write(self.folder.path(), config);
    }

    pub fn signal(&self, signal: Signal) {
        send(self.child.id(), signal);
    }

    /// Replaces the configuration and waits until the daemon has logged the outcome.
    fn reload(&self, config: &str, outcome: &str) {
        write(self.folder.path(), config);
        self.signal(Signal::HUP);
        self.await_notification("RELOADING=1");
        self.await_log(outcome);
        self.await_notification("READY=1");
    }

    async fn pull(&self, name: &str) -> Result<Pulled, ClientPullError> {
        PullClient::new(Dialect::Containerd, self.addr)
            .unwrap()
            .pull(&image(name))
            .await
    }

    fn ended(mut self) -> ExitStatus {
        ended(&mut self.child)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("pullgate.toml")
}

fn write(folder: &Path, config: &str) {
    std::fs::create_dir_all(folder.join("keys")).unwrap();
    for name in signer::NAMES {
        std::fs::write(
            folder.join(format!("keys/{name}.pem")),
            signer::get(name).public_pem(),
        )
        .unwrap();
    }
    let state = format!("state = \"{}\"", folder.join("state").display());
    std::fs::write(file(folder), config.replace("state = \"state\"", &state)).unwrap();
}

fn command(config: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgated"));
    command
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .env_remove("JOURNAL_STREAM")
        .env_remove("NOTIFY_SOCKET");
    command.env_remove("PULLGATE_LOG");
    command
}

fn lines(stdout: impl std::io::Read + Send + 'static) -> Receiver<Value> {
    let (send, log) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            let Ok(line) = line else { return };
            let line = serde_json::from_str(&line).unwrap_or(Value::String(line));
            if send.send(line).is_err() {
                return;
            }
        }
    });
    log
}

fn ended(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + LATEST;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(Instant::now() < until, "the daemon did not end");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reload_replaces_the_whole_policy_or_nothing() {
    let registry = registry().await;
    put(&registry, REPOSITORY, "plain");
    put_signed(&registry, "signed", signer::get("release"));
    let signed = config(registry.url(), SIGNED);
    let daemon = Daemon::start(&signed);
    assert!(daemon.pull("acme/app:signed").await.is_ok());
    assert!(daemon.pull("acme/app:plain").await.is_err());

    // An invalid file changes nothing; its valid rule does not take effect either.
    let accepting = "[[rule]]\nscope = \"registry.example/**\"\nrequire = \"insecure-accept-anything\"\n";
    let broken = config(
        registry.url(),
        &format!("{accepting}[[rule]]\nscope = \"nginx\"\nrequire = \"reject\"\n"),
    );
    daemon.reload(&broken, "The configuration did not load");
    assert!(daemon.pull("acme/app:plain").await.is_err());
    assert!(daemon.pull("acme/app:signed").await.is_ok());

    daemon.reload(&config(registry.url(), accepting), "Reloaded");
    assert!(daemon.pull("acme/app:plain").await.is_ok());

    daemon.reload(
        &signed.replace("keys = [\"release\"]", "keys = [\"qa\"]"),
        "Reloaded",
    );
    let Err(ClientPullError::Refused(refusal)) = daemon.pull("acme/app:signed").await else {
        panic!("not refused")
    };
    assert_eq!(
        refusal.reason(),
        Some("untrusted-key"),
        "the cached verdicts of the old policy do not count"
    );

    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_lets_a_running_pull_finish_and_closes_the_door() {
    let registry = registry().await;
    let layer = vec![7; 8 << 20];
    let stored = registry.put_image(REPOSITORY, "large", &[&layer]).unwrap();
    signer::attach(
        &registry,
        REPOSITORY,
        &stored,
        &signer::get("release")
            .record(&stored.digest, REPOSITORY)
            .to_string(),
    );
    let daemon = Daemon::start(&config(registry.url(), SIGNED));
    assert!(daemon.pull("acme/app:large").await.is_ok());
    let digest = pullgate::oci::Digest::sha256(&layer);

    let mut stream = tokio::net::TcpStream::connect(daemon.addr).await.unwrap();
    let request =
        format!("GET /v2/{REPOSITORY}/blobs/{digest}?ns=registry.example HTTP/1.1\r\nHost: gate\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first_part = vec![0; 1024];
    stream.read_exact(&mut first_part).await.unwrap();
    assert!(first_part.starts_with(b"HTTP/1.1 200"));

    daemon.signal(Signal::TERM);
    daemon.await_notification("STOPPING=1");
    daemon.await_log("Stopping");
    let refuses = async || tokio::net::TcpStream::connect(daemon.addr).await.is_err();
    wait_until(refuses, "the door is closed").await;
    let mut rest = Vec::new();
    tokio::time::timeout(LATEST, stream.read_to_end(&mut rest))
        .await
        .unwrap()
        .unwrap();
    assert!(
        first_part.len() + rest.len() > layer.len(),
        "the blob was cut off"
    );
    assert_eq!(daemon.ended().code(), Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_outlasts_the_grace_period_is_cut_off() {
    let silent_registry = Liar::start(None, |_| Answer::Silence).await;
    let config = config(&silent_registry.url(), SIGNED).replace("[limits]", "[limits]\ndrain = \"1s\"");
    let daemon = Daemon::start(&config);
    let mut stream = tokio::net::TcpStream::connect(daemon.addr).await.unwrap();
    stream
        .write_all(b"GET /v2/acme/app/manifests/v1?ns=registry.example HTTP/1.1\r\nHost: gate\r\n\r\n")
        .await
        .unwrap();
    wait_until(
        async || !silent_registry.seen().is_empty(),
        "the registry has the request",
    )
    .await;
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.ended().code(), Some(0));
    let mut rest = Vec::new();
    let _reset_or_end = stream.read_to_end(&mut rest).await;
    assert_eq!(rest, b"", "the response must not admit the image");
}

/// Starts a daemon that must not start, and returns the last line of its log.
fn refused(config: &str) -> String {
    let folder = TempDir::new().unwrap();
    write(folder.path(), config);
    let mut child = command(&file(folder.path()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = ended(&mut child);
    let log = lines(child.stdout.take().unwrap());
    let last = log.iter().last().unwrap();
    assert_eq!(status.code(), Some(1), "{last}");
    last["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_daemon_that_cannot_start_names_the_next_step() {
    let config = config("http://127.0.0.1:9", SIGNED);
    let first = Daemon::start(&config);
    let message = refused(&config.replace("127.0.0.1:0", &first.addr.to_string()));
    assert!(
        message.contains(&format!("ss -ltnp 'sport = :{}'", first.addr.port())),
        "{message}"
    );
    let state = format!("state = \"{}\"", first.folder.path().join("state").display());
    let message = refused(&config.replace("state = \"state\"", &state));
    assert!(message.contains("another pullgated uses it"), "{message}");
    let admission = |value: &str| config.replacen("[daemon]", &format!("[daemon]\nadmission = {value}"), 1);
    let taken = first.folder.path().join("keys/release.pem");
    let message = refused(&admission(&format!("\"{}\"", taken.display())));
    assert!(message.contains("is not a socket; see what it is"), "{message}");
    let path = first.folder.path().join("a.sock");
    let message = refused(&admission(&format!(
        "{{ listen = \"{}\", group = \"nobody-here\" }}",
        path.display()
    )));
    assert!(message.contains("groupadd --system nobody-here"), "{message}");
}

#[test]
fn an_invalid_configuration_ends_the_daemon_with_78_and_lists_all_errors() {
    let folder = TempDir::new().unwrap();
    write(folder.path(), "[policy]\ndefault = \"accept\"\nsurprise = 1\n");
    let mut child = command(&file(folder.path()))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let status = ended(&mut child);
    let mut message = String::new();
    child.stdout.take().unwrap().read_to_string(&mut message).unwrap();
    assert_eq!(status.code(), Some(78), "{message}");
    assert!(
        message.contains("pullgate.toml:2:") && message.contains("pullgate.toml:3:"),
        "{message}"
    );
}

#[test]
fn a_configuration_without_a_door_ends_the_daemon_with_78() {
    let folder = TempDir::new().unwrap();
    write(
        folder.path(),
        "[daemon]\nstate = \"state\"\n[policy]\ndefault = \"reject\"\n",
    );
    let mut child = command(&file(folder.path()))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    assert_eq!(ended(&mut child).code(), Some(78));
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_served_over_http_and_count_each_decision() {
    let registry = registry().await;
    put(&registry, REPOSITORY, "plain");
    let metrics = "[daemon]\nmetrics = \"127.0.0.1:0\"";
    let daemon = Daemon::start(&config(registry.url(), SIGNED).replace("[daemon]", metrics));
    let address = daemon.ready["door.metrics"].as_str().unwrap();
    assert!(daemon.pull("acme/app:plain").await.is_err());
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: gate\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        tokio::time::timeout(LATEST, stream.read_to_string(&mut answer))
            .await
            .unwrap()
            .unwrap();
        answer
    };
    let answer = get("/metrics").await;
    for zero_line in [
        "pullgate_pulls_total{door=\"cri\",verdict=\"deny\",reason=\"digest-mismatch\"} 0\n",
        "pullgate_pulls_total{door=\"registry\",verdict=\"deny\",reason=\"internal-error\"} 0\n",
        "pullgate_blobs_total{door=\"registry\",verdict=\"allow\",reason=\"none\"} 0\n",
        "pullgate_policy_reloads_total{outcome=\"failure\"} 0\n",
    ] {
        assert!(answer.contains(zero_line), "{zero_line}{answer}");
    }
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    for line in [
        "pullgate_pulls_total{door=\"registry\",verdict=\"deny\",reason=\"unsigned\"}",
        "pullgate_registry_requests_total{operation=\"manifest\",outcome=\"ok\"}",
        "pullgate_build_info{version=",
        "# EOF",
    ] {
        assert!(answer.contains(line), "no `{line}` in {answer}");
    }
    assert!(get("/").await.starts_with("HTTP/1.1 404"));
}
