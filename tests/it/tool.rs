//! `pullgate demo` as a program.

use std::process::Stdio;

use pullgate::fakes::pull_client::{ClientPullError, Dialect, PullClient};
use rustix::process::Signal;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;

use crate::support::{LATEST, image, send};

fn demo(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pullgate"));
    command
        .arg("demo")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    // The demonstration needs no environment of the machine.
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

#[tokio::test]
async fn the_demonstration_succeeds_when_every_pull_has_the_expected_result() {
    let output = demo(&["--json"]).output().await.unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report:#}");
    assert_eq!(
        (output.stderr.as_slice(), &report["as_expected"]),
        (&b""[..], &true.into())
    );
    let images = report["images"].as_array().unwrap();
    let results: Vec<_> = images
        .iter()
        .map(|image| (image["result"].as_str().unwrap(), image["reason"].as_str()))
        .collect();
    assert_eq!(
        results,
        [
            ("pulled", None),
            ("pulled", None),
            ("blocked", Some("unsigned")),
            ("blocked", Some("untrusted-key")),
            ("blocked", Some("digest-mismatch")),
            ("blocked", Some("bad-signature")),
        ]
    );
    assert!(
        images
            .iter()
            .all(|image| image["printed"].is_null() == image["reason"].is_null())
    );

    let output = demo(&[]).output().await.unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(
        text.contains("registry.example/acme/app:unsigned        blocked  unsigned"),
        "{text}"
    );
    assert!(
        text.ends_with("All 6 pulls had the expected result.\n") && !text.contains('\u{1b}'),
        "{text}"
    );
}

#[tokio::test]
async fn with_keep_it_serves_pulls_until_a_signal() {
    let mut child = demo(&["--keep"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut text = Vec::new();
    let all = async {
        while text.last().is_none_or(|line| line != "Press Ctrl-C to stop.") {
            text.push(lines.next_line().await.unwrap().unwrap());
        }
    };
    tokio::time::timeout(LATEST, all).await.unwrap();
    let command = text
        .iter()
        .find_map(|line| line.strip_prefix("  podman pull --tls-verify=false "))
        .unwrap();
    let gate = command.split('/').next().unwrap().parse().unwrap();
    for dialect in Dialect::ALL {
        let runtime = PullClient::new(dialect, gate).unwrap();
        runtime.pull(&image("acme/app:signed")).await.unwrap();
        let refused = runtime.pull(&image("acme/app:unsigned")).await;
        assert!(
            matches!(&refused, Err(ClientPullError::Refused(refusal)) if refusal.reason() == Some("unsigned")),
            "{refused:?}"
        );
    }
    send(child.id().unwrap(), Signal::INT);
    assert_eq!(
        tokio::time::timeout(LATEST, child.wait())
            .await
            .unwrap()
            .unwrap()
            .code(),
        Some(0)
    );
}
