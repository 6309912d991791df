//! The state that a stopped or killed daemon leaves for the next one.

use std::path::Path;
use std::process::{ExitStatus, Stdio};

use pullgate::fakes::pull_client::{Dialect, PullClient};
use pullgate::oci::Platform;
use rustix::process::Signal;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::signer::{self, attach};
use crate::support::{LATEST, REPOSITORY, SIGNED, config, image, registry, send, write};

/// A daemon, which is killed on drop.
struct Daemon {
    child: Child,
    /// The reader stays open because the daemon continues to write.
    _log: Lines<BufReader<ChildStdout>>,
    runtime: PullClient,
}

impl Daemon {
    /// Starts the daemon and waits until its log says that it is ready.
    async fn start(folder: &Path) -> Self {
        let mut child = command(folder).spawn().unwrap();
        let mut log = BufReader::new(child.stdout.take().unwrap()).lines();
        let ready = line_with(&mut log, "Ready").await;
        let addr = ready["door.registry"].as_str().unwrap().parse().unwrap();
        let runtime = PullClient::new(Dialect::Containerd, addr).unwrap();
        Self {
            child,
            _log: log,
            runtime,
        }
    }

    /// Sends a signal and waits until the daemon ends.
    async fn end(mut self, signal: Signal) -> ExitStatus {
        send(self.child.id().unwrap(), signal);
        tokio::time::timeout(LATEST, self.child.wait())
            .await
            .unwrap()
            .unwrap()
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgated"));
    command
        .arg("--config")
        .arg(folder.join("pullgate.toml"))
        .env_remove("NOTIFY_SOCKET")
        .env_remove("JOURNAL_STREAM")
        .env_remove("PULLGATE_LOG")
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    command
}

/// Returns the next line of the log with this message.
async fn line_with(log: &mut Lines<BufReader<ChildStdout>>, message: &str) -> serde_json::Value {
    let found = async {
        loop {
            let line = log.next_line().await.unwrap().expect("the daemon ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"]
                .as_str()
                .is_some_and(|text| text.starts_with(message))
            {
                return line;
            }
        }
    };
    tokio::time::timeout(LATEST, found)
        .await
        .unwrap_or_else(|_| panic!("the log has no line `{message}`"))
}

#[tokio::test]
async fn a_daemon_that_was_killed_during_a_pull_starts_again() {
    let registry = registry().await;
    let other = Platform {
        os: "plan9".into(),
        architecture: "mips".into(),
        variant: None,
    };
    let children = [
        registry
            .put_image_for(REPOSITORY, "", other, &[b"other"])
            .unwrap(),
        registry.put_image(REPOSITORY, "", &[b"ours"]).unwrap(),
    ];
    let index = registry.put_index(REPOSITORY, "v1", &children).unwrap();
    attach(
        &registry,
        REPOSITORY,
        &index,
        &signer::get("release")
            .record(&index.digest, REPOSITORY)
            .to_string(),
    );
    let folder = TempDir::new().unwrap();
    write(folder.path(), &config(registry.url(), SIGNED));
    for _ in 0..3 {
        let daemon = Daemon::start(folder.path()).await;
        // The runtime has resolved the tag. Whether the derivation reached the disk is not determined.
        daemon.runtime.head(&image("acme/app:v1")).await.unwrap();
        assert!(!daemon.end(Signal::KILL).await.success());
    }
    // An orderly stop writes the derivations: the gate admits the child without a search for signatures.
    let daemon = Daemon::start(folder.path()).await;
    daemon.runtime.head(&image("acme/app:v1")).await.unwrap();
    assert_eq!(daemon.end(Signal::TERM).await.code(), Some(0));
    registry.clear_log();
    let daemon = Daemon::start(folder.path()).await;
    let child = image(&format!("acme/app@{}", children[1].digest));
    daemon.runtime.pull(&child).await.unwrap();
    assert!(
        registry
            .log()
            .iter()
            .all(|access| !access.target.contains("/referrers/")),
        "{:?}",
        registry.log()
    );
    daemon.runtime.pull(&image("acme/app:v1")).await.unwrap();
}
