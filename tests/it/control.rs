//! The tool's commands for the running daemon, and containerd's verifier as containerd runs it.

use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pullgate::oci::Descriptor;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use crate::process::Daemon;
use crate::support::liar::{Answer, Liar};
use crate::support::{
    REPOSITORY, SIGNED, config, put, put_signed, registry, signer, socket_folder, wait_until,
};

/// A daemon with an admission and a control socket.
struct DaemonNode {
    daemon: Daemon,
    sockets: TempDir,
}

impl DaemonNode {
    fn start(endpoint: &str, rest: &str) -> Self {
        let sockets = socket_folder();
        let daemon = Daemon::start(&with_sockets(&config(endpoint, rest), sockets.path()));
        Self { daemon, sockets }
    }

    fn admission(&self) -> PathBuf {
        self.sockets.path().join("admission.sock")
    }

    fn rewrite(&self, config: &str) {
        self.daemon.write(&with_sockets(config, self.sockets.path()));
    }

    async fn tool(&self, arguments: &[&str]) -> Output {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_pullgate"));
        command.arg("--config").arg(self.daemon.file()).args(arguments);
        command.output().await.unwrap()
    }

    async fn json(&self, arguments: &[&str], code: i32) -> Value {
        let output = self.tool(&[arguments, &["--json"]].concat()).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

fn with_sockets(config: &str, folder: &Path) -> String {
    let sockets = format!(
        "[daemon]\nadmission = \"{0}/admission.sock\"\ncontrol = \"{0}/control.sock\"\n",
        folder.display()
    );
    config.replacen("[daemon]\n", &sockets, 1)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn status_shows_the_running_state_and_reload_applies_a_valid_configuration() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = DaemonNode::start(registry.url(), SIGNED);
    let status = node.json(&["status"], 0).await;
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!((&status["rules"], &status["keys"]), (&1.into(), &3.into()));
    assert_eq!(status["verdicts"], 0);
    let doors: Vec<&str> = status["doors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|door| door["name"].as_str().unwrap())
        .collect();
    assert_eq!(doors, ["registry", "admission", "control"]);
    let generation = status["generation"].as_str().unwrap().to_owned();
    let printed = text(&node.tool(&["status"]).await.stdout);
    assert!(
        printed.contains("1 rule, 3 keys") && printed.contains(&generation),
        "{printed}"
    );

    // An invalid configuration: the tool reports the error, and the old policy stays in effect.
    node.rewrite(&config(registry.url(), "[[rule]]\nscope = \"nginx\"\n"));
    let refused = node.tool(&["reload"]).await;
    assert_eq!(refused.status.code(), Some(1), "{refused:?}");
    let output_text = text(&refused.stderr);
    assert!(
        output_text.contains("pullgate.toml:") && output_text.contains("hint:"),
        "{output_text}"
    );
    let status = node.json(&["status"], 1).await;
    assert_eq!(status["generation"], generation.as_str());
    assert!(
        status["reload_error"]
            .as_str()
            .unwrap()
            .contains("pullgate.toml:")
    );

    // A valid one takes effect at once, and the tool names the settings that need a restart.
    let changed = config(registry.url(), &format!("{SIGNED}mode = \"warn\"\n")).replace("\"30s\"", "\"20s\"");
    node.rewrite(&changed);
    let loaded = node.json(&["reload"], 0).await;
    assert_eq!(loaded["needs_restart"], serde_json::json!(["limits"]));
    assert_ne!(loaded["generation"], generation.as_str());
    let status = node.json(&["status"], 1).await;
    assert_eq!(status["generation"], loaded["generation"]);
    assert_eq!(status["reload_error"], Value::Null);
}

/// Reloads by signal and by socket run concurrently, and the configuration that was written last takes effect.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_reloads_end_with_the_configuration_that_was_written_last() {
    let registry = registry().await;
    let node = DaemonNode::start(registry.url(), SIGNED);
    node.daemon.drain_notifications();
    let mut generations = Vec::new();
    for round in 0..5 {
        node.rewrite(&config(
            registry.url(),
            &format!("{SIGNED}[[rule]]\nscope = \"elsewhere.example/{round}\"\nrequire = \"reject\"\n"),
        ));
        let reloaded = join_all((0..4).map(|_| async {
            node.daemon.signal(Signal::HUP);
            let (loaded, status) = tokio::join!(node.json(&["reload"], 0), node.json(&["status"], 0));
            assert_eq!(loaded["loaded"], true, "{loaded}");
            assert!(
                status["reload_error"].as_str().is_none_or(str::is_empty),
                "{status}"
            );
            loaded["generation"].clone()
        }))
        .await;
        let status = node.json(&["status"], 0).await;
        assert!(
            reloaded
                .iter()
                .all(|generation| *generation == status["generation"]),
            "{reloaded:?} {status}"
        );
        generations.push(status["generation"].clone());
    }
    generations.sort_by_key(Value::to_string);
    generations.dedup();
    assert_eq!(generations.len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_tool_lists_and_clears_verdicts_and_shows_decisions() {
    let registry = registry().await;
    let stored = put_signed(&registry, "v1", signer::get("release"));
    put(&registry, REPOSITORY, "v2");
    let node = DaemonNode::start(registry.url(), SIGNED);
    let allowed = node.json(&["check", "registry.example/acme/app:v1"], 0).await;
    assert_eq!(allowed["signatures"][0]["key"], "release");
    let denied = node.json(&["check", "registry.example/acme/app:v2"], 1).await;
    assert_eq!(denied["reason"], "unsigned");
    let fresh = node
        .json(&["check", "--fresh", "registry.example/acme/app:v1"], 0)
        .await;
    assert_eq!(fresh, allowed);

    let listed = node.json(&["cache", "list"], 0).await;
    let verdicts = listed.as_array().unwrap();
    assert_eq!(verdicts.len(), 2, "{listed}");
    let signed = verdicts
        .iter()
        .find(|verdict| verdict["digest"] == stored.digest.to_string());
    let signed = signed.unwrap();
    assert_eq!(signed["signers"], serde_json::json!(["release"]));
    assert_eq!(signed["repository"], "registry.example/acme/app");
    assert!(signed["expires_in_s"].as_f64().unwrap() > 1.0);
    let printed = text(&node.tool(&["cache", "list"]).await.stdout);
    assert!(printed.contains(&stored.digest.to_string()), "{printed}");

    let decisions = node.json(&["decisions"], 0).await;
    let decisions = decisions.as_array().unwrap();
    // The daemon does not know the decision that the tool made in its own process.
    let seen: Vec<_> = decisions
        .iter()
        .map(|one| (one["door"].as_str().unwrap(), one["verdict"].as_str().unwrap()))
        .collect();
    assert_eq!(seen, [("admission", "allow"), ("admission", "deny")]);
    let denied = node.json(&["decisions", "--denied"], 0).await;
    assert_eq!(denied.as_array().unwrap().len(), 1);
    assert_eq!(denied[0]["reason"], "unsigned");
    assert_eq!(node.json(&["decisions", "-n", "1"], 0).await[0]["sequence"], 2);
    let none = node.json(&["decisions", "-n", "0"], 0).await;
    assert_eq!(none, serde_json::json!([]));

    assert_eq!(node.json(&["cache", "clear"], 0).await["verdicts"], 2);
    assert_eq!(node.json(&["cache", "list"], 0).await, serde_json::json!([]));

    let mut follow = Command::new(env!("CARGO_BIN_EXE_pullgate"))
        .arg("--config")
        .arg(node.daemon.file())
        .args(["decisions", "--follow", "-n", "1", "--json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut seen = String::new();
    let mut stdout = follow.stdout.take().unwrap();
    let mut byte = [0];
    while seen.lines().count() < 1 || !seen.ends_with('\n') {
        stdout.read_exact(&mut byte).unwrap();
        seen.push(char::from(byte[0]));
    }
    node.json(&["check", "registry.example/acme/app:v2"], 1).await;
    node.daemon.signal(Signal::TERM);
    stdout.read_to_string(&mut seen).unwrap();
    assert!(follow.wait().unwrap().success());
    let sequences: Vec<Value> = seen
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["sequence"].clone())
        .collect();
    assert_eq!(sequences, [2, 3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_daemon_the_tool_reports_it() {
    let registry = registry().await;
    put_signed(&registry, "v1", signer::get("release"));
    let node = DaemonNode::start(registry.url(), SIGNED);
    let folder = node.sockets.path().to_owned();
    node.daemon.signal(Signal::TERM);
    wait_until(
        async || !folder.join("control.sock").exists(),
        "the daemon has removed its socket",
    )
    .await;
    for verb in [&["status"][..], &["reload"], &["decisions"], &["cache", "clear"]] {
        let output = node.tool(verb).await;
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let output_text = text(&output.stderr);
        assert!(
            output_text.contains("control.sock") && output_text.contains("systemctl status"),
            "{output_text}"
        );
    }
    // A command that needs no daemon still works.
    node.json(&["check", "registry.example/acme/app:v1"], 0).await;
    node.rewrite(&config(registry.url(), SIGNED).replace("[daemon]", "[daemon]\n# "));
    let closed = config(registry.url(), SIGNED);
    node.daemon.write(&closed);
    let output = node.tool(&["status"]).await;
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("does not configure a control socket"));
}

/// Runs the verifier as containerd does. Returns its exit code and its standard output.
fn verify(socket: &Path, arguments: &[&str], stdin: &[u8]) -> (i32, String) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_pullgate-verifier"))
        .args(arguments)
        .env("PULLGATE_ADMISSION", socket)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The verifier may exit before it has read everything.
    let _broken_pipe = child.stdin.take().unwrap().write_all(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.stderr.is_empty(), "{output:?}");
    assert!(output.stdout.len() <= 2049, "{output:?}");
    (output.status.code().unwrap(), text(&output.stdout))
}

fn arguments<'a>(name: &'a str, digest: &'a str) -> [&'a str; 6] {
    [
        "-name",
        name,
        "-digest",
        digest,
        "-stdin-media-type",
        "application/vnd.oci.descriptor.v1+json",
    ]
}

fn descriptor(of: &Descriptor) -> Vec<u8> {
    let object =
        serde_json::json!({ "mediaType": of.media_type, "digest": of.digest.to_string(), "size": of.size });
    format!("{object}\n").into_bytes()
}

const NAME: &str = "registry.example/acme/app:v1";

#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_answers_as_containerd_expects() {
    let registry = registry().await;
    let signed = put_signed(&registry, "v1", signer::get("release"));
    let unsigned = put(&registry, REPOSITORY, "v2");
    let node = DaemonNode::start(registry.url(), SIGNED);
    let socket = node.admission();
    let digest = signed.digest.to_string();
    let (code, output_text) = verify(&socket, &arguments(NAME, &digest), &descriptor(&signed));
    assert_eq!(code, 0, "{output_text}");
    assert!(
        output_text.contains("allowed by rule registry.example/**"),
        "{output_text}"
    );
    let other = unsigned.digest.to_string();
    let (code, output_text) = verify(&socket, &arguments(NAME, &other), &descriptor(&unsigned));
    assert_eq!(code, 1);
    assert!(
        output_text.starts_with("pullgate: unsigned: registry.example/acme/app:v1@sha256:"),
        "{output_text}"
    );
    assert_eq!(output_text.lines().count(), 1);

    // Go's flags have another spelling.
    let joined = [
        format!("--name={NAME}"),
        format!("--digest={digest}"),
        "--stdin-media-type=application/vnd.oci.descriptor.v1+json".to_owned(),
    ];
    let joined: Vec<&str> = joined.iter().map(String::as_str).collect();
    assert_eq!(verify(&socket, &joined, &descriptor(&signed)).0, 0);

    let usual = arguments(NAME, &digest);
    let good = descriptor(&signed);
    let mut lies = signed;
    lies.size += 1;
    let garbage: Vec<u8> = (0..=255).collect();
    let twice = text(&good).replace("{", &format!("{{\"digest\":\"{other}\","));
    for (arguments, stdin, expected) in [
        (&usual[..], &b""[..], "is not a descriptor"),
        (&usual, b"null", "is not a descriptor"),
        (&usual, b"{}", "is not a descriptor"),
        (&usual, &garbage, "is not a descriptor"),
        (&usual, twice.as_bytes(), "is not a descriptor"),
        (&usual, &[b' '; 70_000], "larger than"),
        (&usual, &descriptor(&lies), "malformed"),
        (&usual, &descriptor(&unsigned), "do not name the same digest"),
        (&usual[..4], &good, "`-stdin-media-type` is missing"),
        (&usual[2..], &good, "`-name` is missing"),
        (&usual[..5], &good, "`-stdin-media-type` has no value"),
        (&["-name", "", "-digest", "x"], &good, "missing"),
        (&["--help"], &good, "is not an option"),
        (&["acme/app"], &good, "is not an option"),
        (
            &[
                "-name",
                NAME,
                "-digest",
                &digest,
                "-stdin-media-type",
                "text/plain",
            ],
            &good,
            "standard input has the media type `text/plain`",
        ),
        (
            &[
                "-name",
                "acme/APP",
                "-digest",
                &digest,
                "-stdin-media-type",
                usual[5],
            ],
            &good,
            "not an image name",
        ),
        (
            &["-name", NAME, "-digest", "latest", "-stdin-media-type", usual[5]],
            &good,
            "`digest` is not a digest",
        ),
    ] {
        let (code, output_text) = verify(&socket, arguments, stdin);
        assert_eq!(code, 1, "{arguments:?}: {output_text}");
        assert!(output_text.contains(expected), "{arguments:?}: {output_text}");
        assert!(
            !output_text.trim_end().contains(char::is_control),
            "{output_text:?}"
        );
    }

    let nowhere = node.sockets.path().join("none.sock");
    let (code, output_text) = verify(&nowhere, &usual, &good);
    assert_eq!(code, 1);
    assert!(
        output_text.contains("none.sock") && output_text.contains("check that pullgated runs"),
        "{output_text}"
    );
    // The socket is the daemon's control socket.
    let (code, output_text) = verify(&node.sockets.path().join("control.sock"), &usual, &good);
    assert_eq!(code, 1, "{output_text}");
    assert!(
        output_text.contains("control.sock` is not the gate's admission socket"),
        "{output_text}"
    );
    // The socket belongs to another program.
    let other = node.sockets.path().join("other.sock");
    let listener = std::os::unix::net::UnixListener::bind(&other).unwrap();
    let answering = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
        let _read = stream.read(&mut [0; 64]);
    });
    let (code, output_text) = verify(&other, &usual, &good);
    assert_eq!(code, 1, "{output_text}");
    answering.join().unwrap();
}

/// containerd waits 10 s for its verifier. The verifier answers before that with a reason.
#[tokio::test(flavor = "multi_thread")]
async fn the_verifier_answers_before_containerd_gives_up() {
    let liar = Liar::start(None, |_| Answer::Silence).await;
    let node = DaemonNode::start(&liar.url(), SIGNED);
    let socket = node.admission();
    let of = Descriptor {
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        digest: pullgate::oci::Digest::sha256(b"x"),
        size: 7,
        artifact_type: None,
        unverified_data: None,
        platform: None,
    };
    let digest = of.digest.to_string();
    let started = Instant::now();
    let (slow, silent, mute) = tokio::join!(
        tokio::task::spawn_blocking({
            let (socket, digest, stdin) = (socket.clone(), digest.clone(), descriptor(&of));
            move || verify(&socket, &arguments(NAME, &digest), &stdin)
        }),
        // A daemon that accepts the connection and does not answer.
        tokio::task::spawn_blocking({
            let silent = node.sockets.path().join("silent.sock");
            let (digest, stdin) = (digest.clone(), descriptor(&of));
            move || {
                let _listener = std::os::unix::net::UnixListener::bind(&silent).unwrap();
                verify(&silent, &arguments(NAME, &digest), &stdin)
            }
        }),
        // A containerd that neither writes a descriptor nor closes standard input.
        tokio::task::spawn_blocking({
            let (socket, digest) = (socket.clone(), digest.clone());
            move || {
                let mut child = Command::new(env!("CARGO_BIN_EXE_pullgate-verifier"))
                    .args(arguments(NAME, &digest))
                    .env("PULLGATE_ADMISSION", socket)
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                let held = child.stdin.take();
                let mut output_text = String::new();
                child
                    .stdout
                    .take()
                    .unwrap()
                    .read_to_string(&mut output_text)
                    .unwrap();
                drop(held);
                (child.wait().unwrap().code().unwrap(), output_text)
            }
        }),
    );
    let took = started.elapsed();
    // The texts below show that the verifier's own limit of 9 s ended each call. The bound is far below the daemon's limit of
    // 30 s, and leaves room for a busy machine.
    assert!(took < Duration::from_secs(25), "{took:?}");
    let (code, output_text) = slow.unwrap();
    assert_eq!(code, 1);
    assert!(output_text.contains("deadline-exceeded"), "{output_text}");
    let (code, output_text) = silent.unwrap();
    assert_eq!(code, 1);
    assert!(output_text.contains("did not answer within 9 s"), "{output_text}");
    let (code, output_text) = mute.unwrap();
    assert_eq!(code, 1);
    assert!(output_text.contains("did not arrive in time"), "{output_text}");
}
