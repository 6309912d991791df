//! `pullgate demo`, as it is typed.

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
    // It needs none of what a machine may have set up.
    command.env_clear().current_dir(std::env::temp_dir());
    command
}

#[tokio::test]
async fn the_demonstration_says_yes_when_all_came_out_as_it_must() {
    let ended = demo(&["--json"]).output().await.unwrap();
    let said: serde_json::Value = serde_json::from_slice(&ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said:#}");
    assert_eq!(
        (ended.stderr.as_slice(), &said["as_expected"]),
        (&b""[..], &true.into())
    );
    let images = said["images"].as_array().unwrap();
    let told: Vec<_> = images
        .iter()
        .map(|image| (image["result"].as_str().unwrap(), image["reason"].as_str()))
        .collect();
    assert_eq!(
        told,
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

    let ended = demo(&[]).output().await.unwrap();
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(ended.status.code(), Some(0), "{said}");
    assert!(
        said.contains("registry.example/acme/app:unsigned        blocked  unsigned"),
        "{said}"
    );
    assert!(
        said.ends_with("All 6 pulls came out as they must.\n") && !said.contains('\u{1b}'),
        "{said}"
    );
}

#[tokio::test]
async fn kept_it_can_be_pulled_from_until_it_is_told_to_end() {
    let mut child = demo(&["--keep"]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut said = Vec::new();
    let all = async {
        while said.last().is_none_or(|line| line != "Ctrl-C ends it.") {
            said.push(lines.next_line().await.unwrap().unwrap());
        }
    };
    tokio::time::timeout(LATEST, all).await.unwrap();
    let command = said
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
