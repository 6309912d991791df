//! What a daemon that was stopped, or killed, leaves to the next one.

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

/// A daemon, killed when it is dropped.
struct Daemon {
    child: Child,
    /// Kept open: the daemon writes on.
    _log: Lines<BufReader<ChildStdout>>,
    runtime: PullClient,
}

impl Daemon {
    /// Starts it, and waits until its log says that it is ready.
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

    /// Sends a signal, and waits for the end.
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

/// The next line of the log with this message.
async fn line_with(log: &mut Lines<BufReader<ChildStdout>>, message: &str) -> serde_json::Value {
    let found = async {
        loop {
            let line = log.next_line().await.unwrap().expect("the daemon ended");
            let line: serde_json::Value = serde_json::from_str(&line).unwrap();
            if line["message"]
                .as_str()
                .is_some_and(|said| said.starts_with(message))
            {
                return line;
            }
        }
    };
    tokio::time::timeout(LATEST, found)
        .await
        .unwrap_or_else(|_| panic!("the log never said `{message}`"))
}

#[tokio::test]
async fn a_kill_in_the_middle_of_a_pull_breaks_nothing() {
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
        // The runtime has asked what the tag is; whether the disk knows of it is chance.
        daemon.runtime.head(&image("acme/app:v1")).await.unwrap();
        assert!(!daemon.end(Signal::KILL).await.success());
    }
    // Stopped in order, the disk knows: the child is let through, and nobody is asked who signed.
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
